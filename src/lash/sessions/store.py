"""The contract a session store keeps. Every method is one transaction; a refusal writes nothing."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from lash.core.leases import Fence, LeaseClaim, LeaseOwner, LeaseState
from lash.core.tiers import DurabilityTier
from lash.effects.journal import Journal, WriteAuthority
from lash.effects.waits.store import AwaitEventStore
from lash.sessions.model import (
    AcceptedTurn,
    Parked,
    SessionHead,
    SessionNode,
    SessionSummary,
    TurnRecord,
)
from lash.sessions.planner import (
    AcceptRequest,
    AcceptResult,
    ClaimResult,
    CommitResult,
    KnownTurn,
    OpenSession,
    TurnCommit,
)


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

    async def release_lease(self, session_id: str, fence: Fence) -> bool:
        """Give a lease back; False when it was lost before."""
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

    async def load_path(self, session_id: str) -> Sequence[SessionNode]:
        """The active path, root first."""
        ...

    async def list_sessions(self) -> Sequence[SessionSummary]:
        """All sessions, most recently changed first."""
        ...

    async def list_turns(self, session_id: str) -> Sequence[TurnRecord]:
        """The committed turns of a session, in order."""
        ...

    async def list_open_turns(self, session_id: str) -> Sequence[AcceptedTurn]:
        """The turns of a session that are accepted and not committed, in order."""
        ...


class Store(SessionStore, Journal, AwaitEventStore, Protocol):
    """Everything a runtime keeps, in one place with one transaction domain."""

    @property
    def facets(self) -> Mapping[str, DurabilityTier]:
        """What this store keeps, and how much of it survives the process."""
        ...

    def is_dead(self, owner: LeaseOwner) -> bool:
        """Whether an owner is proven dead right now. False means only that there is no proof."""
        ...

    def register_owner(self, owner_id: str, incarnation: str) -> LeaseOwner:
        """Announce an owner, with whatever proof of life this store knows."""
        ...

    async def aclose(self) -> None:
        """Finish what was begun and let go of the database."""
        ...
