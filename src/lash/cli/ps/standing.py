"""How a process stands, for whoever looks from outside: one word, since when, and for whom it waits.

The row tells `running` and `waiting`. Whether anybody runs it, and whether it goes on by itself, follows
from its lease, from who of the owners lives, and from what its log says of parks and rests.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from lash.cli.ps.states import State
from lash.core.leases import Lease
from lash.core.scopes import ProcessScope, journal_key
from lash.core.text import key_part
from lash.effects.journal import JournalEntry, JournalRecord
from lash.processes import event_types as types
from lash.processes.model import (
    ProcessRecord,
    SignalWaitKind,
    TimerWaitKind,
    WaitState,
    segment_scope_id,
)
from lash.runtime.stores import Store

Lives: TypeAlias = Callable[[Lease], bool]


@dataclass(frozen=True, slots=True)
class Known:
    """A process with what its row does not tell.

    Attributes:
        record: The process.
        stopped_at_ms: When it was parked, or began to rest.
        due_at_ms: When what it waits for comes at the latest.
    """

    record: ProcessRecord
    stopped_at_ms: int | None = None
    due_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """A process as it stands now.

    Attributes:
        record: The process.
        state: In one word.
        since_ms: Since when; None where nobody knows.
        due_at_ms: When what it waits for comes at the latest.
        holder: Who holds its lease, and whether they live.
        holder_lives: False also without a holder.
    """

    record: ProcessRecord
    state: State
    since_ms: int | None
    due_at_ms: int | None
    holder: Lease | None
    holder_lives: bool

    @property
    def needs_person(self) -> bool:
        """Whether nothing happens to it until a person does something."""
        parked = self.record.state.parked
        by_person = parked is not None and parked.waits_for == "person"
        return self.state == "stranded" or (self.state == "parked" and by_person)


# --- looking ----------------------------------------------------------------------------------------


class Owners:
    """Which holders of leases live, as of one look; each owner is asked for once."""

    def __init__(self, store: Store, now_ms: int) -> None:
        self._store = store
        self._now_ms = now_ms
        self._dead: dict[str, bool] = {}

    def live(self, lease: Lease) -> bool:
        """Whether a lease's holder may still be at work: not dead for certain, and not out of time."""
        if lease.expires_at_ms <= self._now_ms:
            return False
        name = lease.owner.incarnation
        if name not in self._dead:
            self._dead[name] = self._store.is_dead(lease.owner)
        return not self._dead[name]


async def known(store: Store, record: ProcessRecord) -> Known:
    """A process with what its log and its journal tell beside its row."""
    state = record.state
    if record.retired:
        return Known(record)
    if state.parked is not None:
        return Known(record, await _last(store, record, types.PARKED))
    if state.retry is not None:
        return Known(record, await _last(store, record, types.RETRY_SCHEDULED))
    if state.wait is None:
        return Known(record)
    due_at_ms = state.wait.due_at_ms
    if due_at_ms is None:
        due_at_ms = await _due(store, record, state.wait)
    return Known(record, due_at_ms=due_at_ms)


async def _last(store: Store, record: ProcessRecord, event_type: str) -> int | None:
    """When the newest event of a type happened."""
    after, newest = 0, None
    while True:
        page = await store.process_events(record.process_id, after=after, event_type=event_type)
        if not page:
            return newest
        after, newest = page[-1].sequence, page[-1].occurred_at_ms


async def _due(store: Store, record: ProcessRecord, wait: WaitState) -> int | None:
    """When what a process waits for comes at the latest, as far as its journal tells."""
    segment = segment_scope_id(record.process_id, record.state.segment.ordinal)
    scope_key = journal_key(ProcessScope(process_id=segment))
    match wait.kind:
        case TimerWaitKind():
            return _newest_timer(await store.list_journal(scope_key), wait.since_ms)
        case SignalWaitKind(name=name, ordinal=ordinal):
            key = f"signal:{key_part(name)}:{ordinal}:deadline"
            deadline = await store.lookup(scope_key, key)
            return None if deadline is None else _moment(deadline)
        case _:
            return None


def _newest_timer(entries: Sequence[JournalEntry], since_ms: int) -> int | None:
    """When the sleep ends that was begun last: of earlier ones nobody knows whether they go on."""
    due = [entry.due_at_ms for entry in entries if (entry.due_at_ms or 0) >= since_ms]
    return due[-1] if due else None


class _Moment(msgspec.Struct):
    """What is read of a recorded deadline."""

    value: int


def _moment(record: JournalRecord) -> int | None:
    try:
        return msgspec.json.decode(record.outcome, type=_Moment).value
    except msgspec.MsgspecError:  # recorded by another version
        return None


# --- deciding ---------------------------------------------------------------------------------------


def standing(process: Known, lives: Lives, now_ms: int) -> Standing:
    """How a process stands."""
    record, held = process.record, process.record.lease.held
    alive = held is not None and lives(held)
    state = _state(record, now_ms, alive=alive)
    return Standing(
        record=record,
        state=state,
        since_ms=_since(process, state),
        due_at_ms=process.due_at_ms,
        holder=held,
        holder_lives=alive,
    )


def _state(record: ProcessRecord, now_ms: int, *, alive: bool) -> State:  # noqa: PLR0911  a case per state
    state = record.state
    match record.status:
        case "completed" | "failed" | "cancelled" | "abandoned" as ended:
            return ended
        case _:
            pass
    if state.parked is not None:
        return "parked"
    if record.registration.disposition == "externally_owned":
        return "external"
    bound = record.registration.disposition == "owner_bound" and state.first_started is not None
    if bound and not alive:
        return "stranded"
    if state.retry is not None and state.retry.next_attempt_at_ms > now_ms:
        return "resting"
    if state.wait is not None:
        return "waiting"
    return "running" if alive else "ready"


def _since(process: Known, state: State) -> int | None:
    record, of = process.record, process.record.state
    began = None if of.started is None else of.started.started_at_ms
    moments: Mapping[State, int | None] = {
        "running": began,
        "waiting": None if of.wait is None else of.wait.since_ms,
        "parked": process.stopped_at_ms,
        "resting": process.stopped_at_ms,
        "ready": record.created_at_ms if began is None else None,  # nobody knows when it was left
        "external": record.created_at_ms,
        "stranded": None,
    }
    return moments.get(state, of.updated_at_ms)
