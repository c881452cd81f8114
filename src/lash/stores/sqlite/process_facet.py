"""The processes of a SQLite store: each method of the contract, handed to where it is done."""

from collections.abc import Sequence

from lash.core.clock import Clock
from lash.core.seams import SeamObserver
from lash.effects.journal import ProcessAuthority
from lash.processes.events import ProcessEvent
from lash.processes.listing import (
    ChangePage,
    LiveReference,
    ProcessFilter,
    PruneReport,
    PruneRequest,
)
from lash.processes.model import ProcessEnv, ProcessRecord, ProcessTombstone
from lash.processes.registration import RegisterRequest, RegisterResult
from lash.processes.wakes import WakeDelivery, WakePass, WakeState
from lash.processes.writes import ProcessWrite, WriteResult
from lash.stores.sqlite.outbox import Outbox
from lash.stores.sqlite.process_reading import ProcessReadings
from lash.stores.sqlite.processes import ProcessTables
from lash.stores.sqlite.pruning import Pruning
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.writer import Writer


class ProcessFacet:
    """Processes, their events, who may see them, and their wakes; see `lash.processes.store`."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, seams: SeamObserver) -> None:
        self._processes = ProcessTables(writer, clock, seams)
        self._process_reading = ProcessReadings(readers, clock)
        self._outbox = Outbox(writer, readers, clock, seams)
        self._pruning = Pruning(writer, readers, clock, seams)

    # --- writing --------------------------------------------------------------------------------

    async def register_process(self, request: RegisterRequest) -> RegisterResult:
        """Register a process with its observers and environment."""
        return await self._processes.register(request)

    async def write_process(self, process_id: str, write: ProcessWrite) -> WriteResult:
        """Do something to a process, in one transaction."""
        return await self._processes.write(process_id, write)

    async def renew_processes(self, held: Sequence[ProcessAuthority], ttl_ms: int) -> Sequence[str]:
        """Extend leases, all in one transaction; returns the processes whose lease is lost."""
        return await self._processes.renew(held, ttl_ms)

    async def transfer_observers(
        self, from_session: str, to_session: str, process_ids: Sequence[str], by: str
    ) -> Sequence[str]:
        """Hand processes from one session to another, all or none; those that it cannot see."""
        return await self._processes.transfer(from_session, to_session, process_ids, by)

    async def deliver_wakes(self, limit: int = 32) -> WakePass:
        """Put pending wakes into their sessions' queues, each process's in order."""
        return await self._outbox.deliver(limit)

    async def redrive_wake(self, process_id: str, sequence: int) -> bool:
        """Try a discarded wake again; False when there is none."""
        return await self._outbox.redrive(process_id, sequence)

    async def prune_processes(self, request: PruneRequest) -> PruneReport:
        """Forget ended processes with all that is theirs; tombstones stay."""
        return await self._pruning.prune(request)

    # --- reading --------------------------------------------------------------------------------

    async def load_process(self, process_id: str) -> ProcessRecord | ProcessTombstone | None:
        """A process as it stands; None when the id was never used."""
        return await self._process_reading.load(process_id)

    async def load_env(self, env_ref: str) -> ProcessEnv | None:
        """An environment by its name."""
        return await self._process_reading.env(env_ref)

    async def list_processes(
        self, wanted: ProcessFilter, *, after: str = "", limit: int = 1000
    ) -> Sequence[ProcessRecord]:
        """Processes by id, behind `after`."""
        return await self._process_reading.list(wanted, after, limit)

    async def runnable_processes(
        self, *, after: str = "", through: str | None = None, limit: int = 256
    ) -> Sequence[ProcessRecord]:
        """Processes that somebody could claim as far as their own state goes, by id."""
        return await self._process_reading.runnable(after, through, limit)

    async def last_runnable(self) -> str | None:
        """The last id that `runnable_processes` would give now."""
        return await self._process_reading.last_runnable()

    async def next_runnable_at(self) -> int | None:
        """When the next process is worth claiming that rests after a failed attempt."""
        return await self._process_reading.next_runnable_at()

    async def process_events(
        self,
        process_id: str,
        *,
        after: int = 0,
        event_type: str | None = None,
        limit: int = 1000,
    ) -> Sequence[ProcessEvent]:
        """Events behind a sequence number, in order; of one type, if one is named."""
        return await self._process_reading.events(process_id, after, event_type, limit)

    async def recent_events(self, process_id: str, count: int) -> Sequence[ProcessEvent]:
        """The last events, in order."""
        return await self._process_reading.recent_events(process_id, count)

    async def count_events(self, process_id: str, event_type: str, through: int) -> int:
        """How many events of a type there are up to a sequence number, that one included."""
        return await self._process_reading.count_events(process_id, event_type, through)

    async def observers_of(self, process_id: str) -> Sequence[str]:
        """The sessions that may see a process, sorted."""
        return await self._process_reading.observers(process_id)

    async def processes_changed_since(self, cursor: int, limit: int = 256) -> ChangePage:
        """The change feed behind a cursor, which begins at 0."""
        return await self._process_reading.changed_since(cursor, limit)

    async def change_cursor(self) -> int:
        """Where the change feed ends now."""
        return await self._process_reading.cursor()

    async def changed_ids(self, cursor: int, limit: int = 1000) -> tuple[Sequence[str], int]:
        """The feed in brief: which processes changed behind a cursor, and where to go on."""
        return await self._process_reading.changed_ids(cursor, limit)

    async def live_references(self) -> Sequence[LiveReference]:
        """Which code and environments live processes need, with how many do."""
        return await self._process_reading.live_references()

    async def count_live(self) -> int:
        """How many processes have not ended."""
        return await self._process_reading.count_live()

    async def list_wakes(
        self, process_id: str, state: WakeState | None = None
    ) -> Sequence[WakeDelivery]:
        """A process's wakes, in order."""
        return await self._outbox.list(process_id, state)
