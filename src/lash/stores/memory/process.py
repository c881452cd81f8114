"""One process in memory: all that is kept of it, and the feed of changes over all of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from lash.core.errors import LashError
from lash.processes.events import ProcessEvent, fold
from lash.processes.model import ProcessEnv, ProcessRecord, ProcessTombstone
from lash.processes.planning import WriteFacts, WritePlan
from lash.processes.wakes import DiscardReason, WakeDelivery, discarded
from lash.sessions.checking import Finding


@dataclass(slots=True)
class HeldProcess:
    """All that is kept of one process: its row, its log, who may see it, and its wakes by event."""

    record: ProcessRecord
    events: list[ProcessEvent] = field(default_factory=list)
    by_key: dict[str, ProcessEvent] = field(default_factory=dict)
    observers: set[str] = field(default_factory=set)
    wakes: dict[int, WakeDelivery] = field(default_factory=dict)

    def append(self, events: Sequence[ProcessEvent]) -> None:
        """Put events at the end of the log."""
        self.events.extend(events)
        self.by_key.update((event.replay_key, event) for event in events if event.replay_key)

    def pending(self) -> Sequence[WakeDelivery]:
        """The wakes that are not delivered, in order."""
        found = (wake for wake in self.wakes.values() if wake.state == "pending")
        return sorted(found, key=lambda wake: wake.sequence)

    def discard_wakes(self, why: DiscardReason, session_id: str | None = None) -> int:
        """Give up what is not delivered, to one session or to all; how many that were."""
        gone = [
            wake for wake in self.pending() if session_id is None or wake.session_id == session_id
        ]
        self.wakes.update((wake.sequence, discarded(wake, why)) for wake in gone)
        return len(gone)


@dataclass(slots=True)
class HeldProcesses:
    """All processes, and the tombstones of those that were pruned. `feed` leads from a place to an id."""

    processes: dict[str, HeldProcess] = field(default_factory=dict)
    tombstones: dict[str, ProcessTombstone] = field(default_factory=dict)
    envs: dict[str, ProcessEnv] = field(default_factory=dict)
    feed: dict[int, str] = field(default_factory=dict)
    last_change: int = 0

    def find(self, process_id: str) -> ProcessRecord | ProcessTombstone | None:
        """A process as it stands."""
        held = self.processes.get(process_id)
        return held.record if held else self.tombstones.get(process_id)

    def facts(self, held: HeldProcess, now_ms: int) -> WriteFacts:
        """What the planner is told of a process."""
        return WriteFacts(
            now_ms=now_ms,
            record=held.record,
            next_change=self.last_change + 1,
            find=held.by_key.get,
        )

    def take_change(self, process_id: str, before: int | None = None) -> int:
        """Take the next place in the feed, and give up the one before."""
        if before is not None:
            self.feed.pop(before, None)
        self.last_change += 1
        self.feed[self.last_change] = process_id
        return self.last_change

    def persist(self, held: HeldProcess, plan: WritePlan) -> None:
        """Keep what a plan says of the process itself; its journal is kept elsewhere."""
        if plan.record is None:
            return
        if plan.events:
            self.take_change(held.record.process_id, held.record.change)
        if plan.discard_wakes:
            held.discard_wakes("retargeted")
        held.record = plan.record
        held.append(plan.events)
        held.wakes.update((wake.sequence, wake) for wake in plan.wakes)
        held.observers.difference_update(plan.remove_observers)
        held.observers.update(plan.add_observers)

    def by_id(
        self, wanted: Callable[[HeldProcess], bool], *, after: str = "", through: str | None = None
    ) -> Iterator[HeldProcess]:
        """Processes in the order of their ids."""
        names = (
            name for name in self.processes if name > after and (through is None or name <= through)
        )
        return filter(wanted, (self.processes[name] for name in sorted(names)))

    def changes(self, cursor: int) -> Sequence[tuple[int, str]]:
        """What changed behind a cursor, in order: its place and its id."""
        found: list[tuple[int, str]] = []
        for change, process_id in reversed(self.feed.items()):
            if change <= cursor:
                break
            found.append((change, process_id))
        return found[::-1]


def check_process(held: HeldProcess) -> Sequence[Finding]:
    """What does not fit in one process."""
    record = held.record
    if [event.sequence for event in held.events] != list(range(1, len(held.events) + 1)):
        return [_finding(record, "process_log_broken", "its log has gaps")]
    try:
        state = fold(record.registration, record.created_at_ms, held.events)
    except (LashError, msgspec.MsgspecError) as error:
        return [_finding(record, "process_log_broken", f"its log cannot be read: {error}")]
    if state != record.state:
        return [_finding(record, "process_state_mismatch", "its row is not what its log comes to")]
    if record.retired and record.lease.held is not None:
        return [
            _finding(record, "process_lease_kept", "it has ended, and somebody holds its lease")
        ]
    return []


def _finding(record: ProcessRecord, code: str, why: str) -> Finding:
    message = f"Process {record.process_id!r} does not fit together: {why}."
    return Finding(code=code, severity="error", session_id=None, message=message)
