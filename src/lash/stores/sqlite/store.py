"""The SQLite store: reads facts, calls the planner, persists its plan."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from lash.core.clock import Clock
from lash.core.errors import StoreError
from lash.core.leases import (
    Busy,
    Fence,
    LeaseClaim,
    LeaseOwner,
    LeaseState,
    decide_claim,
    decide_release,
    decide_renewal,
    is_current,
)
from lash.core.seams import SeamObserver, unobserved
from lash.core.tiers import DurabilityTier
from lash.effects.journal import (
    AlreadyRecorded,
    FenceRefused,
    JournalRecord,
    Recorded,
    RecordResult,
    WriteAuthority,
)
from lash.effects.shielding import shielded
from lash.sessions.model import (
    AcceptedTurn,
    Parked,
    SessionHead,
    SessionNode,
    SessionSummary,
    TurnRecord,
)
from lash.sessions.planner import (
    Accepted,
    AcceptFacts,
    AcceptRequest,
    AcceptResult,
    ClaimedSession,
    ClaimResult,
    CommitFacts,
    CommitPlan,
    CommitReceipt,
    CommitResult,
    KnownTurn,
    OpenSession,
    TurnCommit,
    plan_accept,
    plan_commit,
)
from lash.sessions.summary import summarise
from lash.stores.sqlite import queries, rows
from lash.stores.sqlite.connection import connect, prepare
from lash.stores.sqlite.owners import OwnerLocks
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.writer import Writer

T = TypeVar("T")


class _Taken(Exception):  # noqa: N818  control flow inside one transaction: it rolls the others back
    """A replay key was recorded before."""

    def __init__(self, winner: JournalRecord) -> None:
        super().__init__(winner.replay_key)
        self.winner = winner


class SqliteStore:
    """Sessions and journal in one SQLite file.

    Args:
        path: The file; created if `create` and it does not exist.
        clock: The store's clock: leases and timestamps are told by it.
        seams: Told when a transaction has written and not yet committed.
        create: Whether a missing file is created; if not, it is `store_unreachable`.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        seams: SeamObserver = unobserved,
        create: bool = True,
    ) -> None:
        path = path.resolve()  # one database has one name, whatever links or directories led to it
        self._path = path
        self._clock = clock
        self._seams = seams
        connection = connect(path, create=create)
        try:
            prepare(connection, path, create=create)
        except BaseException:
            connection.close()
            raise
        self._writer = Writer(connection, path)
        self._owners = OwnerLocks(path)
        self._readers = Readers(path)

    @property
    def tier(self) -> DurabilityTier:
        """Survives the process."""
        return "durable"

    @property
    def transactions(self) -> int:
        """How many transactions were committed so far."""
        return self._writer.transactions

    def register_owner(self, owner_id: str, incarnation: str) -> LeaseOwner:
        """Announce an owner and hold its file lock.

        Raises:
            StoreError: `store_unreachable` when the lock file cannot be made.
        """
        try:
            return self._owners.hold(owner_id, incarnation)
        except OSError as error:
            raise StoreError(
                "store_unreachable",
                f"No lock file can be made beside {self._path}: {error}. The directory must be "
                "writable.",
                path=str(self._path),
            ) from error

    def is_dead(self, owner: LeaseOwner) -> bool:
        """Whether an owner's process is gone for certain."""
        return self._owners.is_dead(owner)

    async def aclose(self) -> None:
        """Finish what was submitted, then close every connection and let go of the locks."""
        self._readers.refuse()
        await shielded(asyncio.to_thread(self._close))

    def _close(self) -> None:
        self._readers.close()
        self._writer.close()  # last, so that it leaves one file without a log
        self._owners.release()

    # --- writing --------------------------------------------------------------------------------

    async def accept_turn(self, request: AcceptRequest) -> AcceptResult:
        """Accept input and take the session's lease, in one transaction."""
        return await self._writer.submit(lambda connection: self._accept(connection, request))

    def _accept(self, connection: sqlite3.Connection, request: AcceptRequest) -> AcceptResult:
        session_id = request.session_id
        head, accepted = rows.read_head(connection, session_id)
        facts = AcceptFacts(
            now_ms=self._clock.now_ms(),
            lease=rows.read_lease(connection, session_id),
            next_sequence=accepted + 1,
            head=head,
            known=rows.find_turn(connection, session_id, request.turn_id, request.source_key),
            open_turns=rows.open_turns(connection, session_id),
        )
        result = plan_accept(facts, request)
        if not isinstance(result, Accepted):
            return result
        if result.new_session:
            agent = request.agent
            connection.execute(
                queries.ADD_SESSION,
                (session_id, agent.name, agent.version, facts.now_ms, facts.now_ms),
            )
        else:
            connection.execute(queries.COUNT_ACCEPTED, (facts.now_ms, session_id))
        rows.write_lease(connection, session_id, result.lease)
        rows.add_input(connection, result.turn)
        self._seams("accept.inside")
        return result

    async def claim_session(self, session_id: str, claim: LeaseClaim) -> ClaimResult | None:
        """Take a session's lease to drive its open turns."""

        def operation(connection: sqlite3.Connection) -> ClaimResult | None:
            head, _ = rows.read_head(connection, session_id)
            if head is None:
                return None
            state = rows.read_lease(connection, session_id)
            claimed = decide_claim(state, claim, self._clock.now_ms())
            if isinstance(claimed, Busy):
                return claimed
            rows.write_lease(connection, session_id, claimed.lease)
            turns = rows.open_turns(connection, session_id)
            return ClaimedSession(lease=claimed.lease, head=head, turns=turns)

        return await self._writer.submit(operation)

    async def renew_leases(self, leases: Sequence[WriteAuthority], ttl_ms: int) -> Sequence[str]:
        """Extend leases, all in one transaction; returns the sessions whose lease is lost."""

        def operation(connection: sqlite3.Connection) -> Sequence[str]:
            lost: list[str] = []
            for held in leases:
                state = rows.read_lease(connection, held.session_id)
                renewed = decide_renewal(state, held.fence, ttl_ms, self._clock.now_ms())
                if renewed is None:
                    lost.append(held.session_id)
                else:
                    rows.write_lease(connection, held.session_id, renewed)
            return lost

        return await self._writer.submit(operation)

    async def release_lease(self, session_id: str, fence: Fence) -> bool:
        """Give a lease back."""

        def operation(connection: sqlite3.Connection) -> bool:
            if decide_release(rows.read_lease(connection, session_id), fence) is None:
                return False
            rows.free_lease(connection, session_id, fence)
            return True

        return await self._writer.submit(operation)

    async def commit_turn(self, commit: TurnCommit) -> CommitResult:
        """Land a turn, whole or not at all."""
        return await self._writer.submit(lambda connection: self._commit(connection, commit))

    def _commit(self, connection: sqlite3.Connection, commit: TurnCommit) -> CommitResult:
        session_id = commit.session_id
        planned = plan_commit(self._commit_facts(connection, commit), commit)
        if not isinstance(planned, CommitPlan):
            return planned
        head = planned.head
        moved = connection.execute(
            queries.ADVANCE_HEAD,
            (
                head.agent.name,
                head.agent.version,
                planned.record.timing.committed_at_ms,
                head.revision,
                head.leaf_id,
                head.leaf_digest,
                head.turn_index,
                rows.text(head.usage),
                session_id,
                commit.expected_revision,
            ),
        )
        settled = connection.execute(queries.SETTLE_INPUT, (session_id, commit.turn_id))
        clash = rows.add_records(connection, commit.scope_key, commit.journal)
        if moved.rowcount != 1 or settled.rowcount != 1 or clash is not None:
            raise StoreError("store_corrupt", f"Session {session_id} changed within a transaction.")
        rows.add_nodes(connection, session_id, planned.nodes)
        record = (head.revision, planned.commit_hash, rows.text(planned.record))
        connection.execute(queries.ADD_TURN, (session_id, commit.turn_id, *record))
        if planned.release_lease:
            rows.free_lease(connection, session_id, commit.fence)
        self._seams("commit.inside")
        return CommitReceipt(record=planned.record, head=head, lease_kept=not planned.release_lease)

    def _commit_facts(self, connection: sqlite3.Connection, commit: TurnCommit) -> CommitFacts:
        session_id = commit.session_id
        head, _ = rows.read_head(connection, session_id)
        known = rows.find_turn(connection, session_id, commit.turn_id)
        receipt = rows.read_receipt(connection, session_id, commit.turn_id)
        taken = (
            message.id
            for message in commit.messages
            if connection.execute(queries.HAS_NODE, (session_id, message.id)).fetchone()
        )
        others = connection.execute(queries.COUNT_OTHER_OPEN, (session_id, commit.turn_id))
        return CommitFacts(
            now_ms=self._clock.now_ms(),
            lease=rows.read_lease(connection, session_id),
            head=head,
            turn=known.open if known else None,
            receipt=receipt[0] if receipt else None,
            receipt_hash=receipt[1] if receipt else None,
            existing_nodes=frozenset(taken),
            other_open_turns=others.fetchone()[0],
            recorded_keys=frozenset(
                record.replay_key
                for record in commit.journal
                if rows.find_record(connection, commit.scope_key, record.replay_key)
            ),
        )

    async def park_turn(
        self, session_id: str, turn_id: str, parked: Parked | None, fence: Fence
    ) -> bool:
        """Say why an open turn cannot go on, or that it can again."""

        def operation(connection: sqlite3.Connection) -> bool:
            if not is_current(rows.read_lease(connection, session_id), fence):
                return False
            stamped = None
            if parked is not None:
                now = self._clock.now_ms()
                stamped = rows.text(msgspec.structs.replace(parked, parked_at_ms=now))
            updated = connection.execute(queries.PARK_INPUT, (stamped, session_id, turn_id))
            return updated.rowcount == 1

        return await self._writer.submit(operation)

    async def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: WriteAuthority | None,
    ) -> RecordResult:
        """Append to a journal under a fence; without one, the first writer wins."""

        def operation(connection: sqlite3.Connection) -> RecordResult:
            if authority is not None and not is_current(
                rows.read_lease(connection, authority.session_id), authority.fence
            ):
                return FenceRefused()
            winner = rows.add_records(connection, scope_key, records)
            if winner is not None:
                raise _Taken(winner)
            self._seams("record.inside")
            return Recorded()

        try:
            return await self._writer.submit(operation)
        except _Taken as taken:
            return AlreadyRecorded(winner=taken.winner)

    # --- reading --------------------------------------------------------------------------------

    async def lookup(self, scope_key: str, replay_key: str) -> JournalRecord | None:
        """The record under a key."""
        return await self._readers.read(
            lambda connection: rows.find_record(connection, scope_key, replay_key)
        )

    async def load_journal(self, scope_key: str) -> Sequence[JournalRecord]:
        """All records of a scope, in order."""
        return await self._all(queries.JOURNAL, scope_key, rows.journal_record)

    async def find_turn(self, session_id: str, turn_id: str) -> KnownTurn | None:
        """A turn, open or committed."""
        return await self._readers.read(
            lambda connection: rows.find_turn(connection, session_id, turn_id)
        )

    async def open_sessions(self) -> Sequence[OpenSession]:
        """Sessions with accepted input that is not committed, oldest first."""

        def operation(connection: sqlite3.Connection) -> Sequence[OpenSession]:
            found = [
                OpenSession(
                    session_id=session_id,
                    turns=rows.open_turns(connection, session_id),
                    lease=rows.read_lease(connection, session_id),
                )
                for (session_id,) in connection.execute(queries.OPEN_SESSIONS).fetchall()
            ]
            return sorted(found, key=lambda item: (item.turns[0].accepted_at_ms, item.session_id))

        return await self._readers.read(operation)

    async def lease_of(self, session_id: str) -> LeaseState:
        """Who holds a session."""
        return await self._readers.read(lambda connection: rows.read_lease(connection, session_id))

    async def load_head(self, session_id: str) -> SessionHead | None:
        """Where a session stands."""
        head, _ = await self._readers.read(
            lambda connection: rows.read_head(connection, session_id)
        )
        return head

    async def load_path(self, session_id: str) -> Sequence[SessionNode]:
        """The active path, root first."""

        def operation(connection: sqlite3.Connection) -> Sequence[SessionNode]:
            head, _ = rows.read_head(connection, session_id)
            if head is None or head.leaf_id is None:
                return []
            found = connection.execute(queries.ACTIVE_PATH, {"session": session_id})
            path = [rows.session_node(row) for row in found]
            if not path or path[0].parent_id is not None:
                raise StoreError(
                    "store_corrupt",
                    f"The history of session {session_id} does not reach its beginning: a message "
                    "is missing. The database was damaged; restore it from a backup.",
                    session_id=session_id,
                )
            return path

        return await self._readers.read(operation)

    async def list_sessions(self) -> Sequence[SessionSummary]:
        """All sessions, most recently changed first."""
        return await self._readers.read(
            lambda connection: [
                self._summary(row) for row in connection.execute(queries.LIST_SESSIONS)
            ]
        )

    def _summary(self, row: rows.Row) -> SessionSummary:
        held = rows.lease_state(row[12:19]).held
        alive = held is not None and held.expires_at_ms > self._clock.now_ms()
        return summarise(
            rows.session_head(row),
            running=alive and held is not None and not self.is_dead(held.owner),
            open_turns=row[10],
            parked=rows.parked_reason(row[11]),
            updated_at_ms=row[9],
        )

    async def list_turns(self, session_id: str) -> Sequence[TurnRecord]:
        """The committed turns of a session, in order."""
        return await self._all(queries.LIST_TURNS, session_id, rows.turn_record)

    async def list_open_turns(self, session_id: str) -> Sequence[AcceptedTurn]:
        """The turns of a session that are accepted and not committed, in order."""
        return await self._all(queries.OPEN_INPUTS, session_id, rows.accepted_turn)

    async def _all(self, query: str, key: str, build: Callable[[rows.Row], T]) -> Sequence[T]:
        return await self._readers.read(
            lambda connection: [build(row) for row in connection.execute(query, (key,))]
        )
