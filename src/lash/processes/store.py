"""The contract a registry of processes keeps. Every method is one transaction; a refusal writes nothing.

Stores read rows, ask `transitions`, and persist what they are told. The store's clock is read inside
the transaction, after the lock was taken. Every change of a process takes the next number of one
counter in its own transaction, so that whoever follows the feed misses nothing.
"""

from collections.abc import Sequence
from typing import Protocol

from lash.effects.journal import ProcessAuthority
from lash.processes.events import ProcessEvent
from lash.processes.listing import (
    ChangePage,
    LiveReference,
    ProcessFilter,
    PruneReport,
    PruneRequest,
)
from lash.processes.model import (
    ProcessEnv,
    ProcessRecord,
    ProcessTombstone,
)
from lash.processes.registration import RegisterRequest, RegisterResult
from lash.processes.wakes import WakeDelivery, WakePass, WakeState
from lash.processes.writes import ProcessWrite, WriteResult


class ProcessStore(Protocol):
    """Processes, their events, who may see them, and their wakes."""

    # --- writing --------------------------------------------------------------------------------

    async def register_process(self, request: RegisterRequest) -> RegisterResult:
        """Register a process with its observers and environment (`plan_register`)."""
        ...

    async def write_process(self, process_id: str, write: ProcessWrite) -> WriteResult:
        """Do something to a process (`plan_write`): row, events, outbox, journal and edges at once."""
        ...

    async def renew_processes(self, held: Sequence[ProcessAuthority], ttl_ms: int) -> Sequence[str]:
        """Extend leases; returns the processes whose lease is lost. Not a change of the process."""
        ...

    async def transfer_observers(
        self, from_session: str, to_session: str, process_ids: Sequence[str], by: str
    ) -> Sequence[str]:
        """Hand processes from one session to another, all or none, each audited by events.

        Returns the ones that `from_session` cannot see; if there are any, nothing was moved.
        """
        ...

    async def deliver_wakes(self, limit: int = 32) -> WakePass:
        """Put pending wakes into their sessions' queues, each process's in order."""
        ...

    async def redrive_wake(self, process_id: str, sequence: int) -> bool:
        """Try a discarded wake again; False when there is none."""
        ...

    async def prune_processes(self, request: PruneRequest) -> PruneReport:
        """Forget ended processes with events, edges, journals and promises; tombstones stay."""
        ...

    # --- reading --------------------------------------------------------------------------------

    async def load_process(self, process_id: str) -> ProcessRecord | ProcessTombstone | None:
        """A process as it stands; None when the id was never used."""
        ...

    async def load_env(self, env_ref: str) -> ProcessEnv | None:
        """An environment by its name."""
        ...

    async def list_processes(
        self, wanted: ProcessFilter, *, after: str = "", limit: int = 1000
    ) -> Sequence[ProcessRecord]:
        """Processes by id, behind `after`."""
        ...

    async def runnable_processes(
        self, *, after: str = "", through: str | None = None, limit: int = 256
    ) -> Sequence[ProcessRecord]:
        """Processes that somebody could claim as far as their own state goes (`runnable_at`), by id.

        Includes what a live owner runs: who asks knows whether owners live. `through` bounds a scan
        to what it saw when it began.
        """
        ...

    async def last_runnable(self) -> str | None:
        """The last id that `runnable_processes` would give now."""
        ...

    async def next_runnable_at(self) -> int | None:
        """When the next process is worth claiming that rests after a failed attempt."""
        ...

    async def process_events(
        self,
        process_id: str,
        *,
        after: int = 0,
        event_type: str | None = None,
        limit: int = 1000,
    ) -> Sequence[ProcessEvent]:
        """Events behind a sequence number, in order; of one type, if one is named."""
        ...

    async def recent_events(self, process_id: str, count: int) -> Sequence[ProcessEvent]:
        """The last events, in order."""
        ...

    async def count_events(self, process_id: str, event_type: str, through: int) -> int:
        """How many events of a type there are up to a sequence number, that one included."""
        ...

    async def observers_of(self, process_id: str) -> Sequence[str]:
        """The sessions that may see a process, sorted."""
        ...

    async def processes_changed_since(self, cursor: int, limit: int = 256) -> ChangePage:
        """The change feed behind a cursor, which begins at 0."""
        ...

    async def change_cursor(self) -> int:
        """Where the change feed ends now."""
        ...

    async def changed_ids(self, cursor: int, limit: int = 1000) -> tuple[Sequence[str], int]:
        """The feed in brief: which processes changed behind a cursor, and where to go on."""
        ...

    async def live_references(self) -> Sequence[LiveReference]:
        """Which code and environments live processes need, with how many do."""
        ...

    async def count_live(self) -> int:
        """How many processes have not ended."""
        ...

    async def list_wakes(
        self, process_id: str, state: WakeState | None = None
    ) -> Sequence[WakeDelivery]:
        """A process's wakes, in order."""
        ...
