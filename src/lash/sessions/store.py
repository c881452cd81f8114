"""The contract a session store keeps. Every method is one transaction; a refusal writes nothing."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from lash.core.cancel import Cancellation
from lash.core.leases import Fence, LeaseClaim, LeaseState
from lash.core.tiers import DurabilityTier
from lash.effects.journal import WriteAuthority
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


class SessionStore(Protocol):
    """Sessions, their accepted input and their committed turns."""

    @property
    def tier(self) -> DurabilityTier:
        """How much survives the process."""
        ...

    async def accept_turn(self, request: AcceptRequest) -> AcceptResult:
        """Accept input and take the session's lease, or say why not (`plan_accept`)."""
        ...

    async def claim_session(self, session_id: str, claim: LeaseClaim) -> ClaimResult | None:
        """Take a session's lease to drive its open turns; None when there is no such session."""
        ...

    async def renew_leases(self, leases: Sequence[WriteAuthority], ttl_ms: int) -> Sequence[str]:
        """Extend leases; returns the sessions whose lease is lost."""
        ...

    async def release_lease(
        self, session_id: str, fence: Fence, seen: int | None = None
    ) -> ReleaseResult:
        """Give a lease back, unless it was lost, or the session has accepted more than `seen` items.

        `seen` is what the holder knows of, so that nothing arrives unnoticed behind its last look.
        """
        ...

    async def free_dead_leases(self) -> int:
        """Give back what owners hold that are proven dead, where nothing is open; how many that were."""
        ...

    async def commit_turn(self, commit: TurnCommit) -> CommitResult:
        """Land a turn, whole or not at all (`plan_commit`)."""
        ...

    async def park_turn(
        self, session_id: str, turn_id: str, parked: Parked | None, fence: Fence
    ) -> bool:
        """Say why an open turn cannot go on (None: it can again); False when the fence is lost."""
        ...

    async def note_waiting(self, session_id: str, turn_id: str, parked: Parked) -> bool:
        """Say what an open turn waits for that nobody drives.

        False, and nothing is written, when a live lease is held on the session, when the turn is not
        open, or when it is parked already.
        """
        ...

    async def restart_turn(
        self, session_id: str, turn_id: str, fence: Fence
    ) -> AcceptedTurn | None:
        """Begin an open turn again from its input (`plan_restart`); None when the fence is lost.

        From then on the old id and the source key stand for the new turn. The old turn's journal
        stays readable, as that of a finished scope; what it waited for is cancelled.
        """
        ...

    async def find_turn(self, session_id: str, turn_id: str) -> KnownTurn | None:
        """A turn, open or committed. An id that was restarted finds the turn it became."""
        ...

    async def open_sessions(self) -> Sequence[OpenSession]:
        """Sessions with accepted input that is not committed, oldest first."""
        ...

    async def lease_of(self, session_id: str) -> LeaseState:
        """Who holds a session."""
        ...

    async def load_head(self, session_id: str) -> SessionHead | None:
        """Where a session stands."""
        ...

    async def load_path(self, session_id: str, *, whole: bool = False) -> Sequence[SessionNode]:
        """The active path, root first: what the current frame shows, or with `whole` all of it."""
        ...

    async def load_nodes(self, session_id: str, turn_ids: Sequence[str]) -> Sequence[SessionNode]:
        """The nodes that some of a session's newest turns have added, in order.

        What came on top of them since is left out, and what is older is not read.
        """
        ...

    async def list_sessions(self) -> Sequence[SessionSummary]:
        """All sessions, most recently changed first."""
        ...

    async def load_summary(self, session_id: str) -> SessionSummary | None:
        """One session, as it would be listed; None when there is none."""
        ...

    async def list_turns(self, session_id: str, *, after: int = 0) -> Sequence[TurnRecord]:
        """The committed turns of a session behind a revision, in order."""
        ...

    async def list_open_turns(self, session_id: str) -> Sequence[AcceptedTurn]:
        """The turns of a session that are accepted and not committed, in order."""
        ...

    async def list_usage(self, session_id: str) -> Sequence[UsageEntry]:
        """What a session used, by source and model; its child sessions' under their own sources."""
        ...

    # --- the queue ------------------------------------------------------------------------------

    async def enqueue(self, request: EnqueueRequest) -> EnqueueResult:
        """Put an item into a session's queue, without any lease (`plan_enqueue`)."""
        ...

    async def has_arrived(self, claim: CheckpointClaim) -> bool:
        """Whether a checkpoint would take anything. Reads only, so that idle checkpoints cost little."""
        ...

    async def take(self, claim: CheckpointClaim) -> TakeResult:
        """Take what a checkpoint admits (`plan_checkpoint`); the same again under the same key."""
        ...

    async def cancel_items(
        self, session_id: str, targets: Sequence[CancelTarget]
    ) -> Sequence[CancelInputOutcome]:
        """Take items back before a turn takes them, in one transaction (`plan_cancel_input`)."""
        ...

    async def cancel_items_from(
        self, session_id: str, anchor: CancelTarget
    ) -> Sequence[CancelInputOutcome] | None:
        """Take back an item and all that came after it; None when there is no such item."""
        ...

    async def list_queue(self, session_id: str) -> Sequence[QueuedItem]:
        """What waits and was not taken, in order."""
        ...

    async def find_item(self, session_id: str, target: CancelTarget) -> QueuedItem | None:
        """One item of the queue, whatever became of it."""
        ...

    # --- stopping -------------------------------------------------------------------------------

    async def request_cancel(self, request: CancelRequest) -> CancelOutcome:
        """Ask a turn to stop, against its commit: the first of the two wins (`plan_cancel`)."""
        ...

    async def cancelled_turns(
        self, session_ids: Sequence[str]
    ) -> Mapping[tuple[str, str], Cancellation]:
        """Who was asked to stop among the open turns of some sessions, by session and turn."""
        ...

    # --- whole sessions -------------------------------------------------------------------------

    async def fork_session(self, request: ForkRequest) -> ForkResult:
        """Begin a session that shares the history of another one up to a node (`plan_fork`).

        Nothing is copied, no lease is needed, and the source goes on as it was. The same fork again is
        answered with its head while nothing was committed in it.
        """
        ...

    async def delete_session(self, session_id: str, claim: LeaseClaim) -> DeleteResult:
        """Remove a session for ever, unless another live owner holds it (`plan_delete`).

        Its promises are revoked and its journals go with it. What forks share of its history stays.
        From then on every write to the id is refused.
        """
        ...

    async def vacuum(self, request: VacuumRequest) -> VacuumReport:
        """Give back the space of what nobody will ask for, up to a limit, in one transaction."""
        ...

    async def check(self) -> Sequence[Finding]:
        """What does not fit together in what is kept; nothing, in a store that is whole.

        Reads everything, one session after the other, beside whoever works.
        """
        ...
