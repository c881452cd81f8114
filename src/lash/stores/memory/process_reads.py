"""What a memory store tells of processes. Nothing here writes."""

from collections.abc import Sequence

from lash.core.clock import Clock
from lash.processes.events import ProcessEvent
from lash.processes.listing import (
    ChangePage,
    LiveReference,
    ProcessChange,
    ProcessFilter,
    Pruned,
    Upserted,
    matches,
)
from lash.processes.model import ProcessEnv, ProcessRecord, ProcessTombstone
from lash.processes.running import runnable_at
from lash.processes.wakes import WakeDelivery, WakeState
from lash.stores.memory.process import HeldProcess, HeldProcesses


class ProcessReads:
    """The reading half of the contract.

    Args:
        held: The processes and the tombstones.
        clock: The store's clock.
    """

    def __init__(self, held: HeldProcesses, clock: Clock) -> None:
        self._processes = held
        self._clock = clock

    async def load_process(self, process_id: str) -> ProcessRecord | ProcessTombstone | None:
        """A process as it stands."""
        return self._processes.find(process_id)

    async def load_env(self, env_ref: str) -> ProcessEnv | None:
        """An environment by its name."""
        return self._processes.envs.get(env_ref)

    # --- lists ----------------------------------------------------------------------------------

    async def list_processes(
        self, wanted: ProcessFilter, *, after: str = "", limit: int = 1000
    ) -> Sequence[ProcessRecord]:
        """Processes by id, behind `after`."""
        found = self._processes.by_id(lambda held: _matches(held, wanted), after=after)
        return [held.record for held in found][: max(limit, 0)]

    async def runnable_processes(
        self, *, after: str = "", through: str | None = None, limit: int = 256
    ) -> Sequence[ProcessRecord]:
        """Processes that somebody could claim as far as their own state goes."""
        found = self._processes.by_id(self._is_runnable, after=after, through=through)
        return [held.record for held in found][: max(limit, 0)]

    async def last_runnable(self) -> str | None:
        """The last id that `runnable_processes` would give now."""
        found = self._processes.by_id(self._is_runnable)
        return max((held.record.process_id for held in found), default=None)

    def _is_runnable(self, held: HeldProcess) -> bool:
        at = runnable_at(held.record)
        return at is not None and at <= self._clock.now_ms()

    async def next_runnable_at(self) -> int | None:
        """When the next process is worth claiming that rests after a failed attempt."""
        now_ms = self._clock.now_ms()
        times = (runnable_at(held.record) for held in self._processes.processes.values())
        return min((at for at in times if at is not None and at > now_ms), default=None)

    async def live_references(self) -> Sequence[LiveReference]:
        """Which code and environments live processes need, with how many do."""
        counts: dict[tuple[str | None, str | None, str | None], int] = {}
        for held in self._live():
            asked = held.record.registration
            key = (asked.identity.definition, asked.identity.version, asked.env_ref)
            counts[key] = counts.get(key, 0) + 1
        ordered = sorted(counts.items(), key=lambda item: [(part or "") for part in item[0]])
        return [
            LiveReference(definition=definition, version=version, env_ref=env_ref, count=count)
            for (definition, version, env_ref), count in ordered
        ]

    async def count_live(self) -> int:
        """How many processes have not ended."""
        return len(self._live())

    def _live(self) -> Sequence[HeldProcess]:
        return [held for held in self._processes.processes.values() if not held.record.retired]

    # --- logs -----------------------------------------------------------------------------------

    async def process_events(
        self,
        process_id: str,
        *,
        after: int = 0,
        event_type: str | None = None,
        limit: int = 1000,
    ) -> Sequence[ProcessEvent]:
        """Events behind a sequence number, in order; of one type, if one is named."""
        behind = self._log(process_id)[max(after, 0) :]
        found = [event for event in behind if event_type in {None, event.event_type}]
        return found[: max(limit, 0)]

    async def recent_events(self, process_id: str, count: int) -> Sequence[ProcessEvent]:
        """The last events, in order."""
        log = self._log(process_id)
        return log[max(len(log) - max(count, 0), 0) :]

    async def count_events(self, process_id: str, event_type: str, through: int) -> int:
        """How many events of a type there are up to a sequence number, that one included."""
        upto = self._log(process_id)[: max(through, 0)]
        return sum(event.event_type == event_type for event in upto)

    def _log(self, process_id: str) -> Sequence[ProcessEvent]:
        held = self._processes.processes.get(process_id)
        return held.events if held else []

    # --- who sees it, and who is woken ------------------------------------------------------------

    async def observers_of(self, process_id: str) -> Sequence[str]:
        """The sessions that may see a process, sorted."""
        held = self._processes.processes.get(process_id)
        return sorted(held.observers) if held else []

    async def list_wakes(
        self, process_id: str, state: WakeState | None = None
    ) -> Sequence[WakeDelivery]:
        """A process's wakes, in order."""
        held = self._processes.processes.get(process_id)
        wakes = sorted(held.wakes.items()) if held else []
        return [wake for _, wake in wakes if state in {None, wake.state}]

    # --- the feed -------------------------------------------------------------------------------

    async def processes_changed_since(self, cursor: int, limit: int = 256) -> ChangePage:
        """The change feed behind a cursor."""
        found = self._processes.changes(cursor)[: max(limit, 0)]
        changes = tuple(self._change(process_id) for _, process_id in found)
        return ChangePage(changes=changes, cursor=found[-1][0] if found else cursor)

    def _change(self, process_id: str) -> ProcessChange:
        held = self._processes.processes.get(process_id)
        if held is not None:
            return Upserted(record=held.record)
        return Pruned(tombstone=self._processes.tombstones[process_id])

    async def change_cursor(self) -> int:
        """Where the change feed ends now."""
        return self._processes.last_change

    async def changed_ids(self, cursor: int, limit: int = 1000) -> tuple[Sequence[str], int]:
        """The feed in brief."""
        found = self._processes.changes(cursor)[: max(limit, 0)]
        return [process_id for _, process_id in found], found[-1][0] if found else cursor


def _matches(held: HeldProcess, wanted: ProcessFilter) -> bool:
    return matches(held.record, wanted, observed=wanted.observed_by in held.observers)
