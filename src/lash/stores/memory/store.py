"""The memory store: the same contract and the same planner as the durable ones, without a file.

Every operation validates first and then mutates without awaiting, so each is one transaction.
"""

import os
from collections.abc import Mapping, Sequence

from lash.core.cancel import Cancellation
from lash.core.clock import Clock
from lash.core.leases import Fence, LeaseClaim, LeaseOwner, LeaseState
from lash.core.scopes import TurnScope, from_journal_key
from lash.core.seams import SeamObserver, unobserved
from lash.core.tiers import DurabilityTier
from lash.effects.journal import (
    AlreadyRecorded,
    Authority,
    FenceRefused,
    JournalEntry,
    JournalRecord,
    ProcessAuthority,
    Recorded,
    RecordResult,
    Retirement,
    RetireTarget,
    WriteAuthority,
)
from lash.effects.waits.keys import SECRET_BYTES
from lash.effects.waits.model import Resolution, ResolveOutcome, UnknownOrRevoked
from lash.effects.waits.transitions import WaitMissing, WaitRow, WaitState
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
from lash.stores.memory.attachments import Attachments, MemoryBlobs
from lash.stores.memory.processes import Processes
from lash.stores.memory.queues import Queues
from lash.stores.memory.scopes import Scopes
from lash.stores.memory.session import Held
from lash.stores.memory.sessions import Sessions
from lash.stores.memory.triggers import MemoryTriggers
from lash.stores.memory.upkeep import Upkeep


class MemoryStore(Processes):
    """Sessions, processes, journal and waits in memory.

    Args:
        clock: The store's clock: leases and timestamps are told by it.
        seams: Told where a durable store would have written and not yet committed.
    """

    def __init__(self, clock: Clock, *, seams: SeamObserver = unobserved) -> None:
        self._changes = 0
        # A secret, not an id: nobody may foretell it, so no injected source makes it.
        self._secret = os.urandom(SECRET_BYTES)
        held, scopes, changed = Held(), Scopes(clock, self._count), self._count
        self._queues = Queues(held, clock, seams, changed)
        self._triggers = MemoryTriggers(clock, seams, held, changed)
        super().__init__(
            clock, seams, scopes, held, self._queues, triggers=self._triggers, changed=changed
        )
        self._attachments = Attachments(held, self._processes, clock, seams, changed)
        self._blobs = MemoryBlobs(clock)
        self._sessions = Sessions(held, clock, seams, scopes, changed)
        self._upkeep = Upkeep(held, clock, seams, scopes, self, changed=changed)

    def _count(self) -> None:
        self._changes += 1

    @property
    def tier(self) -> DurabilityTier:
        """Dies with the process."""
        return "ephemeral"

    @property
    def facets(self) -> Mapping[str, DurabilityTier]:
        """All of it dies with the process."""
        kept = ("sessions", "processes", "journal", "await_events", "triggers", "attachments")
        return dict.fromkeys(kept, self.tier)

    @property
    def triggers(self) -> MemoryTriggers:
        """Subscriptions and occurrences."""
        return self._triggers

    @property
    def attachments(self) -> Attachments:
        """Who refers to which attachment."""
        return self._attachments

    @property
    def blobs(self) -> MemoryBlobs:
        """The bytes of attachments."""
        return self._blobs

    def register_owner(self, owner_id: str, incarnation: str) -> LeaseOwner:
        """Announce an owner; it lives as long as this process."""
        return LeaseOwner(owner_id=owner_id, incarnation=incarnation)

    def is_dead(self, owner: LeaseOwner) -> bool:
        """Nobody here can be proven dead: whoever asks lives in the same process."""
        del owner
        return False

    def living_owners(self) -> frozenset[str]:
        """None that this store could tell of: they live and die with it."""
        return frozenset()

    async def aclose(self) -> None:
        """Nothing to let go of: closing does not forget, so that a reopened store can be tested."""

    # --- sessions: writing ----------------------------------------------------------------------

    async def accept_turn(self, request: AcceptRequest) -> AcceptResult:
        """Accept input and take the session's lease."""
        return self._sessions.accept(request)

    async def claim_session(self, session_id: str, claim: LeaseClaim) -> ClaimResult | None:
        """Take a session's lease to drive its open turns."""
        return self._sessions.claim(session_id, claim)

    async def renew_leases(self, leases: Sequence[WriteAuthority], ttl_ms: int) -> Sequence[str]:
        """Extend leases; returns the sessions whose lease is lost."""
        return self._sessions.renew(leases, ttl_ms)

    async def release_lease(
        self, session_id: str, fence: Fence, seen: int | None = None
    ) -> ReleaseResult:
        """Give a lease back, unless work arrived that its holder has not seen."""
        return self._sessions.release(session_id, fence, seen)

    async def free_dead_leases(self) -> int:
        """Nobody here can be proven dead."""
        return 0

    async def commit_turn(self, commit: TurnCommit) -> CommitResult:
        """Land a turn, whole or not at all."""
        return self._sessions.commit(commit)

    async def park_turn(
        self, session_id: str, turn_id: str, parked: Parked | None, fence: Fence
    ) -> bool:
        """Say why an open turn cannot go on, or that it can again."""
        return self._sessions.park(session_id, turn_id, parked, fence)

    async def note_waiting(self, session_id: str, turn_id: str, parked: Parked) -> bool:
        """Say what an open turn waits for that nobody drives."""
        return self._sessions.note_waiting(session_id, turn_id, parked)

    async def restart_turn(
        self, session_id: str, turn_id: str, fence: Fence
    ) -> AcceptedTurn | None:
        """Begin an open turn again from its input; None when the fence is lost or it is not open."""
        return self._sessions.restart(session_id, turn_id, fence)

    # --- sessions: reading ----------------------------------------------------------------------

    async def find_turn(self, session_id: str, turn_id: str) -> KnownTurn | None:
        """A turn, open or committed; one that was begun again, as it is now."""
        return self._sessions.find_turn(session_id, turn_id)

    async def open_sessions(self) -> Sequence[OpenSession]:
        """Sessions with accepted input that is not committed, oldest first."""
        return self._sessions.open()

    async def lease_of(self, session_id: str) -> LeaseState:
        """Who holds a session."""
        return self._sessions.lease_of(session_id)

    async def load_head(self, session_id: str) -> SessionHead | None:
        """Where a session stands."""
        return self._sessions.head(session_id)

    async def load_path(self, session_id: str, *, whole: bool = False) -> Sequence[SessionNode]:
        """The active path, root first."""
        return self._sessions.path(session_id, whole=whole)

    async def load_nodes(self, session_id: str, turn_ids: Sequence[str]) -> Sequence[SessionNode]:
        """The nodes that a session's newest turns have added, in order."""
        return self._sessions.newest_nodes(session_id, turn_ids)

    async def list_sessions(self) -> Sequence[SessionSummary]:
        """All sessions, most recently changed first."""
        return self._sessions.summaries()

    async def load_summary(self, session_id: str) -> SessionSummary | None:
        """One session, as it would be listed."""
        return self._sessions.summary(session_id)

    async def list_turns(self, session_id: str, *, after: int = 0) -> Sequence[TurnRecord]:
        """The committed turns of a session behind a revision, in order."""
        return self._sessions.turns(session_id, after)

    async def list_open_turns(self, session_id: str) -> Sequence[AcceptedTurn]:
        """The turns of a session that are accepted and not committed, in order."""
        return self._sessions.open_turns(session_id)

    async def list_usage(self, session_id: str) -> Sequence[UsageEntry]:
        """What a session used, by source and model."""
        return self._sessions.usage(session_id)

    # --- the queue ------------------------------------------------------------------------------

    async def enqueue(self, request: EnqueueRequest) -> EnqueueResult:
        """Put an item into a session's queue, without any lease."""
        return self._queues.enqueue(request)

    async def has_arrived(self, claim: CheckpointClaim) -> bool:
        """Whether a checkpoint would take anything."""
        return self._queues.has_arrived(claim)

    async def take(self, claim: CheckpointClaim) -> TakeResult:
        """Take what a checkpoint admits."""
        return self._queues.take(claim)

    async def cancel_items(
        self, session_id: str, targets: Sequence[CancelTarget]
    ) -> Sequence[CancelInputOutcome]:
        """Take items back before a turn takes them."""
        return self._queues.cancel_items(session_id, targets)

    async def cancel_items_from(
        self, session_id: str, anchor: CancelTarget
    ) -> Sequence[CancelInputOutcome] | None:
        """Take back an item and all that came after it."""
        return self._queues.cancel_items_from(session_id, anchor)

    async def list_queue(self, session_id: str) -> Sequence[QueuedItem]:
        """What waits and was not taken, in order."""
        return self._queues.queue(session_id)

    async def find_item(self, session_id: str, target: CancelTarget) -> QueuedItem | None:
        """One item of the queue, whatever became of it."""
        return self._queues.find_item(session_id, target)

    # --- stopping -------------------------------------------------------------------------------

    async def request_cancel(self, request: CancelRequest) -> CancelOutcome:
        """Ask a turn to stop, against its commit."""
        return self._queues.request_cancel(request)

    async def cancelled_turns(
        self, session_ids: Sequence[str]
    ) -> Mapping[tuple[str, str], Cancellation]:
        """Who was asked to stop among the open turns of some sessions."""
        return self._queues.cancelled(session_ids)

    # --- whole sessions -------------------------------------------------------------------------

    async def fork_session(self, request: ForkRequest) -> ForkResult:
        """Begin a session that shares the history of another one up to a node."""
        return self._upkeep.fork(request)

    async def delete_session(self, session_id: str, claim: LeaseClaim) -> DeleteResult:
        """Remove a session for ever, unless another live owner holds it."""
        return self._upkeep.delete(session_id, claim)

    async def vacuum(self, request: VacuumRequest) -> VacuumReport:
        """Give back the space of what nobody will ask for, up to a limit, in one transaction."""
        return self._upkeep.vacuum(request)

    async def check(self) -> Sequence[Finding]:
        """What does not fit together in what is kept."""
        committed = self._attachments.committed()
        return [*self._upkeep.check(), *await check_bytes(committed, self._blobs)]

    # --- the journal ----------------------------------------------------------------------------

    async def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: Authority | None,
    ) -> RecordResult:
        """Append to a journal under a fence; without one, the first writer wins."""
        if authority is not None and not self._may_write(authority):
            return FenceRefused()
        winner = self._scopes.taken(scope_key, records)
        if winner is not None:
            return AlreadyRecorded(winner=winner)
        self._seams("record.inside")
        self._scopes.append(scope_key, records)
        return Recorded()

    def _may_write(self, authority: Authority) -> bool:
        if isinstance(authority, ProcessAuthority):
            return self.is_running(authority)
        return self._sessions.is_current(authority)

    async def lookup(self, scope_key: str, replay_key: str) -> JournalRecord | None:
        """The record under a key."""
        return self._scopes.records(scope_key).get(replay_key)

    async def load_journal(self, scope_key: str) -> Sequence[JournalRecord]:
        """All records of a scope, in order."""
        return list(self._scopes.records(scope_key).values())

    async def list_journal(self, scope_key: str) -> Sequence[JournalEntry]:
        """All records of a scope in brief, in order."""
        return self._scopes.entries(scope_key)

    async def load_surroundings(self, digest: str) -> str | None:
        """What a record's `surroundings` digests, if it was ever given."""
        return self._scopes.surroundings(digest)

    async def reopen_scope(self, scope_key: str) -> None:
        """Say that a scope's work goes on."""
        self._scopes.reopen(scope_key)

    async def finish_scope(
        self, scope_key: str, records: Sequence[JournalRecord]
    ) -> Recorded | AlreadyRecorded:
        """Say that a scope's work is done, and keep what waited for that."""
        winner = self._scopes.taken(scope_key, records)
        if records:
            self._seams("record.inside")
        self._scopes.append(scope_key, records)
        self._scopes.finish(scope_key, create=True)
        return Recorded() if winner is None else AlreadyRecorded(winner=winner)

    async def retire(self, target: RetireTarget, *, limit: int = 500) -> Retirement:
        """Remove up to `limit` scopes with their records and waits."""
        return self._scopes.retire(target, limit, self._sessions.is_open)

    # --- waits ----------------------------------------------------------------------------------

    @property
    def signing_secret(self) -> bytes:
        """The secret that signs wait keys; it was made with the store."""
        return self._secret

    async def open_wait(self, row: WaitRow) -> WaitState:
        """Make sure that a promise is there, and say how it stands."""
        return self._scopes.open_wait(row)

    async def resolve_wait(self, row: WaitRow, resolution: Resolution) -> ResolveOutcome:
        """Resolve a promise, also one nobody has waited for yet."""
        missing = isinstance(self._scopes.wait_state(row), WaitMissing)
        if missing and not row.turn_control and self._is_of_turn_that_is_over(row):
            return UnknownOrRevoked()  # nobody will come for it any more
        return self._scopes.resolve_wait(row, resolution)

    def _is_of_turn_that_is_over(self, row: WaitRow) -> bool:
        scope = from_journal_key(row.scope_key)
        return isinstance(scope, TurnScope) and self._sessions.is_over(scope)

    async def inspect_waits(self, rows: Sequence[WaitRow]) -> Mapping[str, WaitState]:
        """How promises stand, by key id."""
        return {row.key_id: self._scopes.wait_state(row) for row in rows}

    async def cancel_session_waits(self, session_id: str) -> Sequence[str]:
        """Cancel the pending promises of a session; the key ids that were."""
        return self._scopes.cancel_waits(session_id)

    async def revoke_session_waits(self, session_id: str) -> Sequence[str]:
        """Forget the promises of a session and refuse its keys for ever; the key ids forgotten."""
        return self._scopes.revoke_waits(session_id)

    async def is_revoked(self, session_id: str) -> bool:
        """Whether a session's keys are refused."""
        return self._scopes.is_revoked(session_id)

    async def list_waits(self, scope_key: str) -> Sequence[WaitRow]:
        """The promises of a scope, in the order in which they were made."""
        return self._scopes.waits_of_scope(scope_key)

    async def change_token(self) -> int | None:
        """A number that grows with every write."""
        return self._changes
