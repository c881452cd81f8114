"""What plans are made of: what a store knows, what it is to persist, and one event more (spec 2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec

from lash.core.json import JsonValue
from lash.core.leases import LeaseState
from lash.effects.journal import JournalRecord
from lash.processes.events import EventSemantics, ProcessEvent, after
from lash.processes.model import ProcessRecord
from lash.processes.wakes import WakeDelivery, wake_of
from lash.processes.writes import WriteRefused, WriteResult, Written

FindEvent: TypeAlias = Callable[[str], ProcessEvent | None]


@dataclass(frozen=True, slots=True)
class WriteFacts:
    """What the store knows of a process when something is done to it.

    Attributes:
        now_ms: The store's clock, read inside the transaction.
        record: The process.
        next_change: The next place in the change feed.
        find: The event under a replay key, if there is one.
    """

    now_ms: int
    record: ProcessRecord
    next_change: int
    find: FindEvent


@dataclass(frozen=True, slots=True)
class WritePlan:
    """What to persist, and what to answer. Without a record there is nothing to persist.

    Attributes:
        result: The answer.
        record: The row as it is afterwards.
        events: What is appended to its log.
        wakes: What goes into the outbox.
        records: What is appended to the journal of `scope_key`, before it is finished.
        scope_key: The scope that is finished: marked so, and its pending waits cancelled.
        add_observers: Sessions that may see it from here on.
        remove_observers: Sessions that may not.
        discard_wakes: Its wakes that are pending are discarded.
    """

    result: WriteResult
    record: ProcessRecord | None = None
    events: tuple[ProcessEvent, ...] = ()
    wakes: tuple[WakeDelivery, ...] = ()
    records: tuple[JournalRecord, ...] = ()
    scope_key: str = ""
    add_observers: tuple[str, ...] = ()
    remove_observers: tuple[str, ...] = ()
    discard_wakes: bool = False


def one(
    facts: WriteFacts,
    event_type: str,
    payload: JsonValue,
    replay_key: str | None = None,
    semantics: EventSemantics = EventSemantics(),  # noqa: B008  a value
    *,
    lease: LeaseState | None = None,
) -> WritePlan:
    """One event, and the process as it is with it."""
    before = facts.record
    event = event_of(
        before, event_type, payload, facts.now_ms, replay_key=replay_key, semantics=semantics
    )
    if semantics.terminal is not None:
        lease = freed(before.lease)
    record = appended(before, event, change=facts.next_change, lease=lease)
    wake = wake_of(event, record.state.wake_session_id)
    return WritePlan(
        Written(record=record, event=event, wakes=wake is not None),
        record,
        (event,),
        wakes=() if wake is None else (wake,),
    )


def event_of(
    record: ProcessRecord,
    event_type: str,
    payload: JsonValue,
    now_ms: int,
    *,
    replay_key: str | None = None,
    semantics: EventSemantics = EventSemantics(),  # noqa: B008  a value
) -> ProcessEvent:
    """The next event of a process."""
    return ProcessEvent(
        process_id=record.process_id,
        sequence=record.state.sequence + 1,
        event_type=event_type,
        payload=payload,
        occurred_at_ms=now_ms,
        semantics=semantics,
        replay_key=replay_key,
    )


def appended(
    record: ProcessRecord,
    event: ProcessEvent,
    *,
    change: int,
    lease: LeaseState | None = None,
) -> ProcessRecord:
    """A process as it is once an event was appended."""
    return msgspec.structs.replace(
        record,
        state=after(record.state, event),
        change=change,
        lease=record.lease if lease is None else lease,
    )


def freed(lease: LeaseState) -> LeaseState:
    """The lease given back; its fencing token is kept."""
    return LeaseState(fencing_token=lease.fencing_token)


def with_scope(plan: WritePlan, records: Sequence[JournalRecord], scope_key: str) -> WritePlan:
    """A plan that also ends a scope of effects, with what waited for its next transaction."""
    return replace(plan, records=tuple(records), scope_key=scope_key)


def already_ended(record: ProcessRecord) -> WritePlan:
    """The refusal of whatever cannot be done to a process that has ended."""
    return refused(
        "process_already_terminal",
        f"Process {record.process_id!r} has ended ({record.status}); nothing was changed.",
        status=record.status,
    )


def refused(code: str, message: str, **details: object) -> WritePlan:
    """A refusal: nothing is persisted."""
    return WritePlan(WriteRefused(code=code, message=message, details=details))  # type: ignore[arg-type]  # all of it JSON
