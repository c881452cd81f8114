"""The store of a worker: what is written through it is what the worker does, so it is told from here.

Nothing is missed and nothing told twice, however many workers share the database: each tells what it
wrote itself, once it is durable.
"""

from pathlib import Path

from lash.cli.worker.report import Report
from lash.core.clock import Clock
from lash.core.leases import Fence, LeaseClaim, LeaseOwner
from lash.processes.registration import Registered, RegisterRequest, RegisterResult
from lash.processes.writes import ClaimRun, ParkRun, ProcessWrite, ReleaseRun, WriteResult, Written
from lash.sessions.accepting import (
    Accepted,
    AcceptRequest,
    AcceptResult,
    ClaimedSession,
    ClaimResult,
)
from lash.sessions.committing import CommitReceipt, CommitResult, TurnCommit
from lash.sessions.model import AcceptedTurn, Parked
from lash.stores.sqlite import SqliteStore


class WorkersStore(SqliteStore):
    """Tells a report what becomes of processes and turns here."""

    def __init__(self, path: Path, clock: Clock, report: Report) -> None:
        super().__init__(path, clock)
        self._report = report

    def register_owner(self, owner_id: str, incarnation: str) -> LeaseOwner:
        """Announce the worker: whatever it does comes behind that."""
        owner = super().register_owner(owner_id, incarnation)
        self._report.ready(owner)
        return owner

    # --- processes ------------------------------------------------------------------------------

    async def register_process(self, request: RegisterRequest) -> RegisterResult:
        """Register a process, which may begin it."""
        result = await super().register_process(request)
        if isinstance(result, Registered) and result.lease is not None:
            self._report.began(result.record)
        return result

    async def write_process(self, process_id: str, write: ProcessWrite) -> WriteResult:
        """Do something to a process."""
        result = await super().write_process(process_id, write)
        if isinstance(result, Written):
            self._written(write, result)
        return result

    def _written(self, write: ProcessWrite, result: Written) -> None:
        record = result.record
        if record.retired:
            if result.event is not None and result.event.semantics.terminal is not None:
                self._report.ended(record)
            return
        match write:
            case ClaimRun() if result.lease is not None:
                self._report.began(record)
            case ParkRun():
                self._report.parked(record)
            case ReleaseRun(retry=None):
                self._report.given_back(record)
            case ReleaseRun():
                self._report.rests(record)
            case _:
                pass

    # --- turns ----------------------------------------------------------------------------------

    async def accept_turn(self, request: AcceptRequest) -> AcceptResult:
        """Accept input, which may begin a turn."""
        result = await super().accept_turn(request)
        if isinstance(result, Accepted):
            self._report.turns_taken((*result.ahead, result.turn))
        return result

    async def claim_session(self, session_id: str, claim: LeaseClaim) -> ClaimResult | None:
        """Take a session's lease to drive its open turns."""
        result = await super().claim_session(session_id, claim)
        if isinstance(result, ClaimedSession):
            self._report.turns_taken(result.turns)
        return result

    async def commit_turn(self, commit: TurnCommit) -> CommitResult:
        """Land a turn."""
        result = await super().commit_turn(commit)
        if isinstance(result, CommitReceipt) and not result.replayed:
            self._report.turn_ended(result.record)
            if result.following is not None and result.lease_kept:
                self._report.turns_taken((result.following,))
        return result

    async def park_turn(
        self, session_id: str, turn_id: str, parked: Parked | None, fence: Fence
    ) -> bool:
        """Say why an open turn cannot go on."""
        told = await super().park_turn(session_id, turn_id, parked, fence)
        if told and parked is not None:
            self._report.turn_parked(session_id, turn_id, parked)
        return told

    async def note_waiting(self, session_id: str, turn_id: str, parked: Parked) -> bool:
        """Say what an open turn waits for that nobody drives."""
        told = await super().note_waiting(session_id, turn_id, parked)
        if told:
            self._report.turn_parked(session_id, turn_id, parked)
        return told

    async def restart_turn(
        self, session_id: str, turn_id: str, fence: Fence
    ) -> AcceptedTurn | None:
        """Begin an open turn again from its input."""
        turn = await super().restart_turn(session_id, turn_id, fence)
        if turn is not None:
            self._report.turn_restarted(turn, turn_id)
        return turn
