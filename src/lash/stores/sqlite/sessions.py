"""Writing sessions in SQLite: reads facts, calls the planner, persists its plan."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence

import msgspec

from lash.core.clock import Clock
from lash.core.errors import StoreError
from lash.core.leases import (
    Busy,
    Fence,
    LeaseClaim,
    LeaseOwner,
    decide_claim,
    decide_release,
    decide_renewal,
    is_current,
)
from lash.core.scopes import TurnScope, journal_key
from lash.core.seams import SeamObserver
from lash.effects.journal import WriteAuthority
from lash.sessions.accepting import (
    Accepted,
    AcceptFacts,
    AcceptRequest,
    AcceptResult,
    ClaimedSession,
    ClaimResult,
    ReleaseResult,
    plan_accept,
    plan_restart,
)
from lash.sessions.committing import (
    CommitFacts,
    CommitPlan,
    CommitReceipt,
    CommitResult,
    TurnCommit,
    commit_node_ids,
    plan_commit,
)
from lash.sessions.ingress import CancelTarget, QueuedItem
from lash.sessions.model import (
    AcceptedTurn,
    Parked,
)
from lash.sessions.queueing import Enqueued
from lash.sessions.stopping import for_child, for_restart
from lash.stores.sqlite import graph, heads, queries, rows
from lash.stores.sqlite.attachment_refs import commit_turn_refs, missing_refs
from lash.stores.sqlite.columns import text
from lash.stores.sqlite.journal import add_records, finish_scope, has_record
from lash.stores.sqlite.queue import compose, concerns, enqueue, find_item, move, settle
from lash.stores.sqlite.reading import is_live
from lash.stores.sqlite.stopping import stop_children
from lash.stores.sqlite.waits import cancel_scope_waits, cancel_waits
from lash.stores.sqlite.writer import Writer


class SessionTables:
    """The sessions of a database; see `lash.sessions.store.SessionStore`."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        seams: SeamObserver,
        is_dead: Callable[[LeaseOwner], bool],
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._seams = seams
        self._is_dead = is_dead

    # --- accepting ------------------------------------------------------------------------------

    async def accept(self, request: AcceptRequest) -> AcceptResult:
        """Accept input and take the session's lease, in one transaction."""
        return await self._writer.submit(lambda connection: self._accept(connection, request))

    def _accept(self, connection: sqlite3.Connection, request: AcceptRequest) -> AcceptResult:
        session_id, now_ms = request.session_id, self._clock.now_ms()
        head, accepted = heads.read_head(connection, session_id)
        facts = AcceptFacts(
            now_ms=now_ms,
            lease=heads.read_lease(connection, session_id),
            next_sequence=accepted + 1,
            head=head,
            known=rows.find_turn(connection, session_id, request.turn_id, request.source_key),
            queued=self._queued(connection, request),
            open_turns=rows.open_turns(connection, session_id),
            deleted=head is None and heads.is_deleted(connection, session_id),
            cancellation=rows.read_cancellation(connection, session_id, request.turn_id),
            missing_attachments=missing_refs(connection, session_id, request.input.attachment_ids),
        )
        result = plan_accept(facts, request)
        if not isinstance(result, Accepted):
            return result
        composed = compose(connection, head, now_ms) if head is not None else None
        if result.new_session:
            heads.add_session(connection, result.head, now_ms)
        else:
            connection.execute(queries.COUNT_ACCEPTED, (now_ms, session_id))
        heads.write_lease(connection, session_id, result.lease)
        rows.add_input(connection, result.turn)
        self._seams("accept.inside")
        if composed is None:
            return result
        ahead = sorted((*result.ahead, composed), key=lambda turn: turn.sequence)
        return msgspec.structs.replace(result, ahead=tuple(ahead))

    def _queued(self, connection: sqlite3.Connection, request: AcceptRequest) -> QueuedItem | None:
        if request.source_key is None:
            return None
        target = CancelTarget(kind="source_key", value=request.source_key)
        return find_item(connection, request.session_id, target)

    # --- leases ---------------------------------------------------------------------------------

    async def claim(self, session_id: str, claim: LeaseClaim) -> ClaimResult | None:
        """Take a session's lease to drive its open turns."""

        def operation(connection: sqlite3.Connection) -> ClaimResult | None:
            head, accepted = heads.read_head(connection, session_id)
            if head is None:
                return None
            state, now_ms = heads.read_lease(connection, session_id), self._clock.now_ms()
            claimed = decide_claim(state, claim, now_ms)
            if isinstance(claimed, Busy):
                return claimed
            heads.write_lease(connection, session_id, claimed.lease)
            compose(connection, head, now_ms)
            self._seams("claim.inside")
            turns = rows.open_turns(connection, session_id)
            return ClaimedSession(lease=claimed.lease, head=head, turns=turns, accepted=accepted)

        return await self._writer.submit(operation)

    async def renew(self, leases: Sequence[WriteAuthority], ttl_ms: int) -> Sequence[str]:
        """Extend leases, all in one transaction; returns the sessions whose lease is lost."""

        def operation(connection: sqlite3.Connection) -> Sequence[str]:
            lost: list[str] = []
            for held in leases:
                state = heads.read_lease(connection, held.session_id)
                renewed = decide_renewal(state, held.fence, ttl_ms, self._clock.now_ms())
                if renewed is None:
                    lost.append(held.session_id)
                else:
                    heads.write_lease(connection, held.session_id, renewed)
            return lost

        return await self._writer.submit(operation)

    async def release(self, session_id: str, fence: Fence, seen: int | None) -> ReleaseResult:
        """Give a lease back, unless the session has accepted more than `seen`."""

        def operation(connection: sqlite3.Connection) -> ReleaseResult:
            if decide_release(heads.read_lease(connection, session_id), fence) is None:
                return "lost"
            _, accepted = heads.read_head(connection, session_id)
            if seen is not None and accepted > seen:
                return "work_arrived"
            heads.free_lease(connection, session_id, fence)
            return "released"

        return await self._writer.submit(operation)

    async def free(self, leases: Mapping[str, Fence]) -> int:
        """Give back leases that are still held as they were found; how many that were."""

        def operation(connection: sqlite3.Connection) -> int:
            freed = 0
            for session_id, fence in leases.items():
                if is_current(heads.read_lease(connection, session_id), fence):
                    heads.free_lease(connection, session_id, fence)
                    freed += 1
            return freed

        return await self._writer.submit(operation)

    # --- committing -----------------------------------------------------------------------------

    async def commit(self, commit: TurnCommit) -> CommitResult:
        """Land a turn, whole or not at all."""
        return await self._writer.submit(lambda connection: self._commit(connection, commit))

    def _commit(self, connection: sqlite3.Connection, commit: TurnCommit) -> CommitResult:
        session_id, turn_id = commit.session_id, commit.turn_id
        facts = self._commit_facts(connection, commit)
        planned = plan_commit(facts, commit)
        if not isinstance(planned, CommitPlan):
            return planned
        head = planned.head
        now_ms = planned.record.timing.committed_at_ms
        leaf = graph.add_nodes(connection, session_id, planned.nodes)
        moved = connection.execute(
            queries.ADVANCE_HEAD,
            (
                head.agent.name,
                head.agent.version,
                now_ms,
                head.revision,
                head.leaf_id,
                head.leaf_digest,
                head.turn_index,
                text(head.usage),
                head.frame_id,
                text(head.config),
                leaf,
                session_id,
                commit.expected_revision,
            ),
        )
        settled = connection.execute(queries.SETTLE_INPUT, (session_id, turn_id))
        clash = add_records(connection, commit.scope_key, commit.journal)
        if moved.rowcount != 1 or settled.rowcount != 1 or clash is not None:
            raise StoreError("store_corrupt", f"Session {session_id} changed within a transaction.")
        finish_scope(connection, commit.scope_key, now_ms)
        cancel_scope_waits(connection, commit.scope_key, now_ms)  # nobody waits any more
        if commit.cancellation is not None:
            why = for_child(commit.cancellation)
            stop_children(connection, session_id, turn_id, why, now_ms)
        record = (head.revision, planned.commit_hash, text(planned.record))
        connection.execute(queries.ADD_TURN, (session_id, turn_id, *record))
        graph.add_usage(connection, session_id, planned.ledger)
        commit_turn_refs(connection, session_id, turn_id, commit.attachments, now_ms)
        if facts.cancellation is not None:
            connection.execute(queries.SETTLE_CANCELLATION, (now_ms, session_id, turn_id))
        queued = [enqueue(connection, item, now_ms) for item in commit.queued]
        following = self._following(connection, commit, planned)
        lease_kept = following is not None or facts.other_open_turns > 0
        if not lease_kept:
            heads.free_lease(connection, session_id, commit.fence)
        self._seams("commit.inside")
        return CommitReceipt(
            record=planned.record,
            head=head,
            lease_kept=lease_kept,
            following=following,
            accepted=facts.accepted + sum(isinstance(each, Enqueued) for each in queued),
        )

    def _following(
        self, connection: sqlite3.Connection, commit: TurnCommit, planned: CommitPlan
    ) -> AcceptedTurn | None:
        """Settle the queue: the turn that goes on in another frame, or one made of what waits."""
        session_id, now_ms = commit.session_id, planned.record.timing.committed_at_ms
        queued = concerns(connection, session_id, commit.turn_id)
        if queued:
            settle(connection, commit, now_ms)
        if planned.following is None:
            return compose(connection, planned.head, now_ms) if queued else None
        rows.add_input(connection, planned.following)
        return rows.with_cancellations(connection, [planned.following])[0]

    def _commit_facts(self, connection: sqlite3.Connection, commit: TurnCommit) -> CommitFacts:
        session_id = commit.session_id
        head, accepted = heads.read_head(connection, session_id)
        receipt = rows.read_receipt(connection, session_id, commit.turn_id)
        taken = (
            node_id
            for node_id in commit_node_ids(commit)
            if connection.execute(queries.HAS_NODE, (session_id, node_id)).fetchone()
        )
        others = connection.execute(queries.COUNT_OTHER_OPEN, (session_id, commit.turn_id))
        return CommitFacts(
            now_ms=self._clock.now_ms(),
            lease=heads.read_lease(connection, session_id),
            head=head,
            turn=rows.find_open_turn(connection, session_id, commit.turn_id),
            receipt=receipt[0] if receipt else None,
            receipt_hash=receipt[1] if receipt else None,
            existing_nodes=frozenset(taken),
            other_open_turns=others.fetchone()[0],
            recorded_keys=frozenset(
                record.replay_key
                for record in commit.journal
                if has_record(connection, commit.scope_key, record.replay_key)
            ),
            cancellation=rows.read_cancellation(connection, session_id, commit.turn_id),
            accepted=accepted,
            deleted=head is None and heads.is_deleted(connection, session_id),
            missing_attachments=missing_refs(connection, session_id, commit.attachments),
        )

    # --- parking and beginning again ------------------------------------------------------------

    async def park(
        self, session_id: str, turn_id: str, parked: Parked | None, fence: Fence
    ) -> bool:
        """Say why an open turn cannot go on, or that it can again."""

        def operation(connection: sqlite3.Connection) -> bool:
            if not is_current(heads.read_lease(connection, session_id), fence):
                return False
            stamped = None if parked is None else self._stamped(parked)
            updated = connection.execute(queries.PARK_INPUT, (stamped, session_id, turn_id))
            return updated.rowcount == 1

        return await self._writer.submit(operation)

    async def note_waiting(self, session_id: str, turn_id: str, parked: Parked) -> bool:
        """Say what an open turn waits for that nobody drives."""

        def operation(connection: sqlite3.Connection) -> bool:
            if is_live(
                heads.read_lease(connection, session_id), self._clock.now_ms(), self._is_dead
            ):
                return False
            values = (self._stamped(parked), session_id, turn_id)
            return connection.execute(queries.NOTE_INPUT, values).rowcount == 1

        return await self._writer.submit(operation)

    def _stamped(self, parked: Parked) -> str:
        return text(msgspec.structs.replace(parked, parked_at_ms=self._clock.now_ms()))

    async def restart(self, session_id: str, turn_id: str, fence: Fence) -> AcceptedTurn | None:
        """Begin an open turn again from its input, under an id of its own."""

        def operation(connection: sqlite3.Connection) -> AcceptedTurn | None:
            if not is_current(heads.read_lease(connection, session_id), fence):
                return None
            turn = rows.find_open_turn(connection, session_id, turn_id)
            if turn is None:
                return None
            again = plan_restart(turn, lambda taken: rows.has_input(connection, session_id, taken))
            values = (again.turn_id, session_id, turn_id)
            # First, because a source key is held by one row at a time.
            if connection.execute(queries.SUPERSEDE_INPUT, values).rowcount != 1:
                raise StoreError("store_corrupt", f"Turn {turn_id} changed within a transaction.")
            rows.add_input(connection, again)
            move(connection, session_id, turn_id, again.turn_id)
            connection.execute(queries.MOVE_CANCELLATION, values)
            old = TurnScope(session_id=session_id, turn_id=turn_id)
            finish_scope(connection, journal_key(old), self._clock.now_ms())
            # Nobody waits for the old turn's answers any more; who brings one is told.
            now_ms = self._clock.now_ms()
            cancel_waits(connection, session_id, now_ms)
            # What its tools have begun is begun anew; nobody would book what the old ones go on to use.
            stop_children(connection, session_id, turn_id, for_restart(turn_id), now_ms)
            return rows.with_cancellations(connection, [again])[0]

        return await self._writer.submit(operation)
