"""The SQLite store: one file, its connections, and what is kept in it."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

from lash.core.cancel import Cancellation
from lash.core.clock import Clock
from lash.core.errors import StoreError
from lash.core.leases import Fence, LeaseClaim, LeaseOwner, LeaseState
from lash.core.seams import SeamObserver, unobserved
from lash.core.tiers import DurabilityTier
from lash.effects.journal import (
    AlreadyRecorded,
    Authority,
    JournalEntry,
    JournalRecord,
    Recorded,
    RecordResult,
    Retirement,
    RetireTarget,
    WriteAuthority,
)
from lash.effects.shielding import shielded
from lash.effects.waits.model import Resolution, ResolveOutcome
from lash.effects.waits.transitions import WaitRow, WaitState
from lash.sessions.accepting import (
    AcceptRequest,
    AcceptResult,
    ClaimResult,
    KnownTurn,
    OpenSession,
    ReleaseResult,
)
from lash.sessions.checking import Finding
from lash.sessions.committing import CommitResult, TurnCommit
from lash.sessions.deleting import DeleteResult
from lash.sessions.forking import ForkRequest, ForkResult
from lash.sessions.ingress import CancelInputOutcome, CancelTarget, EnqueueRequest, QueuedItem
from lash.sessions.maintenance import VacuumReport, VacuumRequest
from lash.sessions.model import (
    AcceptedTurn,
    Parked,
    SessionHead,
    SessionNode,
    SessionSummary,
    TurnRecord,
)
from lash.sessions.queueing import CheckpointClaim, EnqueueResult, TakeResult
from lash.sessions.stopping import CancelOutcome, CancelRequest
from lash.sessions.usage import UsageEntry
from lash.stores.blobs import check_bytes
from lash.stores.files import FileBlobs
from lash.stores.sqlite.attachment_blobs import SqliteBlobs
from lash.stores.sqlite.attachments import AttachmentTables
from lash.stores.sqlite.connection import connect, prepare, read_secret
from lash.stores.sqlite.journal import JournalTable
from lash.stores.sqlite.owners import OwnerLocks
from lash.stores.sqlite.process_facet import ProcessFacet
from lash.stores.sqlite.queue import QueueTable
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.reading import SessionReadings
from lash.stores.sqlite.sessions import SessionTables
from lash.stores.sqlite.stopping import TurnCancelTable
from lash.stores.sqlite.triggers import SqliteTriggers
from lash.stores.sqlite.upkeep import Upkeep
from lash.stores.sqlite.waits import AwaitEventTable
from lash.stores.sqlite.writer import Writer


class SqliteStore(ProcessFacet):
    """Sessions, processes, journal and waits in one SQLite file.

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
        connection = connect(path, create=create)
        try:
            prepare(connection, path, create=create)
            self._secret = read_secret(connection, path)
        except BaseException:
            connection.close()
            raise
        self._writer = Writer(connection, path, clock.monotonic)
        self._owners = OwnerLocks(path)
        self._readers = Readers(path)
        super().__init__(self._writer, self._readers, clock, seams)
        self._sessions = SessionTables(self._writer, clock, seams, self._owners.is_dead)
        self._reading = SessionReadings(self._readers, clock, self._owners.is_dead)
        self._queue = QueueTable(self._writer, self._readers, clock, seams)
        self._cancels = TurnCancelTable(self._writer, self._readers, clock, seams)
        self._journal = JournalTable(self._writer, self._readers, clock, seams)
        self._upkeep = Upkeep(self._writer, self._readers, clock, seams, self._owners.is_dead)
        self._triggers = SqliteTriggers(self._writer, self._readers, clock, seams)
        self._waits = AwaitEventTable(self._writer, self._readers, clock)
        self._attachments = AttachmentTables(self._writer, self._readers, clock, seams)
        files = FileBlobs(path.with_name(path.name + ".attachments"), clock, seams=seams)
        self._blobs = SqliteBlobs(self._writer, self._readers, files, clock)

    @property
    def tier(self) -> DurabilityTier:
        """Survives the process."""
        return "durable"

    @property
    def facets(self) -> Mapping[str, DurabilityTier]:
        """All of it survives the process."""
        kept = ("sessions", "processes", "journal", "await_events", "attachments", "triggers")
        return dict.fromkeys(kept, self.tier)

    @property
    def attachments(self) -> AttachmentTables:
        """Who refers to which attachment."""
        return self._attachments

    @property
    def blobs(self) -> SqliteBlobs:
        """The bytes of attachments: small ones in the database, large ones in files beside it."""
        return self._blobs

    @property
    def triggers(self) -> SqliteTriggers:
        """Subscriptions and occurrences."""
        return self._triggers

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

    def living_owners(self) -> frozenset[str]:
        """The owners on this host that live, by incarnation."""
        return self._owners.living()

    async def aclose(self) -> None:
        """Finish what was submitted, then close every connection and let go of the locks."""
        self._readers.refuse()
        await shielded(asyncio.to_thread(self._close))

    def _close(self) -> None:
        self._readers.close()
        self._writer.close()  # last, so that it leaves one file without a log
        self._owners.release()

    # --- sessions: writing ----------------------------------------------------------------------

    async def accept_turn(self, request: AcceptRequest) -> AcceptResult:
        """Accept input and take the session's lease, in one transaction."""
        return await self._sessions.accept(request)

    async def claim_session(self, session_id: str, claim: LeaseClaim) -> ClaimResult | None:
        """Take a session's lease to drive its open turns."""
        return await self._sessions.claim(session_id, claim)

    async def renew_leases(self, leases: Sequence[WriteAuthority], ttl_ms: int) -> Sequence[str]:
        """Extend leases, all in one transaction; returns the sessions whose lease is lost."""
        return await self._sessions.renew(leases, ttl_ms)

    async def release_lease(
        self, session_id: str, fence: Fence, seen: int | None = None
    ) -> ReleaseResult:
        """Give a lease back, unless work arrived that its holder has not seen."""
        return await self._sessions.release(session_id, fence, seen)

    async def free_dead_leases(self) -> int:
        """Give back what owners hold that are proven dead, where nothing is open."""
        found = await self._reading.idle_leases_of_the_dead()
        return await self._sessions.free(found) if found else 0

    async def commit_turn(self, commit: TurnCommit) -> CommitResult:
        """Land a turn, whole or not at all."""
        return await self._sessions.commit(commit)

    async def park_turn(
        self, session_id: str, turn_id: str, parked: Parked | None, fence: Fence
    ) -> bool:
        """Say why an open turn cannot go on, or that it can again."""
        return await self._sessions.park(session_id, turn_id, parked, fence)

    async def note_waiting(self, session_id: str, turn_id: str, parked: Parked) -> bool:
        """Say what an open turn waits for that nobody drives."""
        return await self._sessions.note_waiting(session_id, turn_id, parked)

    async def restart_turn(
        self, session_id: str, turn_id: str, fence: Fence
    ) -> AcceptedTurn | None:
        """Begin an open turn again from its input; None when the fence is lost or it is not open."""
        return await self._sessions.restart(session_id, turn_id, fence)

    # --- sessions: reading ----------------------------------------------------------------------

    async def find_turn(self, session_id: str, turn_id: str) -> KnownTurn | None:
        """A turn, open or committed; one that was begun again, as it is now."""
        return await self._reading.find_turn(session_id, turn_id)

    async def open_sessions(self) -> Sequence[OpenSession]:
        """Sessions with accepted input that is not committed, oldest first."""
        return await self._reading.open()

    async def lease_of(self, session_id: str) -> LeaseState:
        """Who holds a session."""
        return await self._reading.lease_of(session_id)

    async def load_head(self, session_id: str) -> SessionHead | None:
        """Where a session stands."""
        return await self._reading.head(session_id)

    async def load_path(self, session_id: str, *, whole: bool = False) -> Sequence[SessionNode]:
        """The active path, root first."""
        return await self._reading.path(session_id, whole=whole)

    async def load_nodes(self, session_id: str, turn_ids: Sequence[str]) -> Sequence[SessionNode]:
        """The nodes that a session's newest turns have added, in order."""
        return await self._reading.nodes(session_id, turn_ids)

    async def list_sessions(self) -> Sequence[SessionSummary]:
        """All sessions, most recently changed first."""
        return await self._reading.summaries()

    async def load_summary(self, session_id: str) -> SessionSummary | None:
        """One session, as it would be listed."""
        return await self._reading.summary(session_id)

    async def list_turns(self, session_id: str, *, after: int = 0) -> Sequence[TurnRecord]:
        """The committed turns of a session behind a revision, in order."""
        return await self._reading.turns(session_id, after)

    async def list_open_turns(self, session_id: str) -> Sequence[AcceptedTurn]:
        """The turns of a session that are accepted and not committed, in order."""
        return await self._reading.open_turns(session_id)

    async def list_usage(self, session_id: str) -> Sequence[UsageEntry]:
        """What a session used, by source and model."""
        return await self._reading.usage(session_id)

    # --- the queue ------------------------------------------------------------------------------

    async def enqueue(self, request: EnqueueRequest) -> EnqueueResult:
        """Put an item into a session's queue, without any lease."""
        return await self._queue.enqueue(request)

    async def has_arrived(self, claim: CheckpointClaim) -> bool:
        """Whether a checkpoint would take anything."""
        return await self._queue.has_arrived(claim)

    async def take(self, claim: CheckpointClaim) -> TakeResult:
        """Take what a checkpoint admits."""
        return await self._queue.take(claim)

    async def cancel_items(
        self, session_id: str, targets: Sequence[CancelTarget]
    ) -> Sequence[CancelInputOutcome]:
        """Take items back before a turn takes them, in one transaction."""
        return await self._queue.cancel(session_id, targets)

    async def cancel_items_from(
        self, session_id: str, anchor: CancelTarget
    ) -> Sequence[CancelInputOutcome] | None:
        """Take back an item and all that came after it."""
        return await self._queue.cancel_from(session_id, anchor)

    async def list_queue(self, session_id: str) -> Sequence[QueuedItem]:
        """What waits and was not taken, in order."""
        return await self._queue.waiting(session_id)

    async def find_item(self, session_id: str, target: CancelTarget) -> QueuedItem | None:
        """One item of the queue, whatever became of it."""
        return await self._queue.find(session_id, target)

    # --- stopping -------------------------------------------------------------------------------

    async def request_cancel(self, request: CancelRequest) -> CancelOutcome:
        """Ask a turn to stop, against its commit."""
        return await self._cancels.request(request)

    async def cancelled_turns(
        self, session_ids: Sequence[str]
    ) -> Mapping[tuple[str, str], Cancellation]:
        """Who was asked to stop among the open turns of some sessions."""
        return await self._cancels.among(session_ids)

    # --- whole sessions -------------------------------------------------------------------------

    async def fork_session(self, request: ForkRequest) -> ForkResult:
        """Begin a session that shares the history of another one up to a node."""
        return await self._upkeep.fork(request)

    async def delete_session(self, session_id: str, claim: LeaseClaim) -> DeleteResult:
        """Remove a session for ever, unless another live owner holds it."""
        return await self._upkeep.delete(session_id, claim)

    async def vacuum(self, request: VacuumRequest) -> VacuumReport:
        """Give back the space of what nobody will ask for, up to a limit, in one transaction."""
        return await self._upkeep.vacuum(request)

    async def check(self) -> Sequence[Finding]:
        """What does not fit together in what is kept."""
        found = await self._upkeep.check()
        committed = await self._attachments.committed()
        return [*found, *await check_bytes(committed, self._blobs)]

    # --- the journal ----------------------------------------------------------------------------

    def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: Authority | None,
    ) -> Awaitable[RecordResult]:
        """Append to a journal under a fence; without one, the first writer wins."""
        return self._journal.record(scope_key, records, authority)

    async def lookup(self, scope_key: str, replay_key: str) -> JournalRecord | None:
        """The record under a key."""
        return await self._journal.lookup(scope_key, replay_key)

    async def load_journal(self, scope_key: str) -> Sequence[JournalRecord]:
        """All records of a scope, in order."""
        return await self._journal.load(scope_key)

    async def list_journal(self, scope_key: str) -> Sequence[JournalEntry]:
        """All records of a scope in brief, in order."""
        return await self._journal.entries(scope_key)

    async def load_surroundings(self, digest: str) -> str | None:
        """What a record's `surroundings` digests, if it was ever given."""
        return await self._journal.surroundings(digest)

    async def reopen_scope(self, scope_key: str) -> None:
        """Say that a scope's work goes on."""
        await self._journal.reopen(scope_key)

    async def finish_scope(
        self, scope_key: str, records: Sequence[JournalRecord]
    ) -> Recorded | AlreadyRecorded:
        """Say that a scope's work is done, and keep what waited for that."""
        return await self._journal.finish(scope_key, records)

    async def retire(self, target: RetireTarget, *, limit: int = 500) -> Retirement:
        """Remove up to `limit` scopes with their records and waits, in one transaction."""
        return await self._journal.retire(target, limit)

    # --- waits ----------------------------------------------------------------------------------

    @property
    def signing_secret(self) -> bytes:
        """The secret that signs wait keys; it was made with the database."""
        return self._secret

    async def open_wait(self, row: WaitRow) -> WaitState:
        """Make sure that a promise is there, and say how it stands."""
        return await self._waits.open(row)

    async def resolve_wait(self, row: WaitRow, resolution: Resolution) -> ResolveOutcome:
        """Resolve a promise, also one nobody has waited for yet."""
        return await self._waits.resolve(row, resolution)

    async def inspect_waits(self, rows: Sequence[WaitRow]) -> Mapping[str, WaitState]:
        """How promises stand, by key id, all at one moment."""
        return await self._waits.inspect(rows)

    async def cancel_session_waits(self, session_id: str) -> Sequence[str]:
        """Cancel the pending promises of a session; the key ids that were."""
        return await self._waits.cancel_session(session_id)

    async def revoke_session_waits(self, session_id: str) -> Sequence[str]:
        """Forget the promises of a session and refuse its keys for ever; the key ids forgotten."""
        return await self._waits.revoke_session(session_id)

    async def is_revoked(self, session_id: str) -> bool:
        """Whether a session's keys are refused."""
        return await self._waits.is_revoked(session_id)

    async def list_waits(self, scope_key: str) -> Sequence[WaitRow]:
        """The promises of a scope, in the order in which they were made."""
        return await self._waits.of_scope(scope_key)

    async def change_token(self) -> int | None:
        """A number that changes when anybody has committed to the database."""
        return await self._readers.data_version()
