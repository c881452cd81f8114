"""Events of a process in words. What signals and other payloads say is not told, or shortened."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from lash.cli.ps.words import REASON_LIMIT, awaited_text, outcome_text, owner_text, parked_text
from lash.cli.wording import local_time, one_line, size_text
from lash.core.json import JsonValue, encode
from lash.processes import event_types as types
from lash.processes.events import (
    AbandonFact,
    CancelFact,
    ContinuedFact,
    ExternalRefFact,
    ObserverFact,
    ParkedFact,
    ProcessEvent,
    RetargetedFact,
    RetryFact,
    StartedFact,
    WaitFact,
)
from lash.processes.outcomes import ProcessAwaitOutput, ProcessSuccess

F = TypeVar("F")

#: Longer payloads are cut.
PAYLOAD_LIMIT = 80


class _Ended(msgspec.Struct):
    await_output: ProcessAwaitOutput


def event_name(event: ProcessEvent) -> str:
    """What sort of event it is, in words."""
    if types.is_signal(event.event_type):
        return "signal"
    return event.event_type.removeprefix("process.").replace("_", " ")


def event_text(event: ProcessEvent) -> str:
    """What an event says, on a line."""
    name = event.event_type
    if types.is_signal(name):
        size = size_text(len(encode(event.payload)))
        return f"{name.removeprefix(types.SIGNAL_PREFIX)} · {size}"
    tell = _TELLERS.get(name)
    try:
        return payload_text(event.payload) if tell is None else one_line(tell(event.payload), 800)
    except msgspec.ValidationError:  # written by another version
        return payload_text(event.payload)


def whole_text(event: ProcessEvent) -> str:
    """What an event says, with the whole payload of a signal or of an event of the process's own."""
    name = event.event_type
    if types.is_signal(name):
        return f"{name.removeprefix(types.SIGNAL_PREFIX)} · {payload_text(event.payload, None)}"
    return event_text(event) if name in _TELLERS else payload_text(event.payload, None)


def payload_text(payload: JsonValue, limit: int | None = PAYLOAD_LIMIT) -> str:
    """A payload on a line, cut where it gets too long; whole without a limit."""
    text = encode(payload).decode()
    return one_line(text, len(text) if limit is None else limit)


def _fact(kind: type[F], tell: Callable[[F], str]) -> Callable[[JsonValue], str]:
    return lambda payload: tell(msgspec.convert(payload, kind))


def _started(fact: StartedFact) -> str:
    lost = ", after its worker was lost" if fact.lost else ""
    return f"attempt {fact.started.attempt} on {owner_text(fact.started.owner)}{lost}"


def _waits(fact: WaitFact) -> str:
    return awaited_text(fact.wait.kind, fact.wait.due_at_ms)


def _abandoned(fact: AbandonFact) -> str:
    why = f": {one_line(fact.request.reason, REASON_LIMIT)}" if fact.request.reason else ""
    return f"by {fact.request.requested_by}{why}"


def _rests(fact: RetryFact) -> str:
    why = f"{one_line(fact.retry.message, REASON_LIMIT)} [{fact.retry.code}]"
    return f"at {local_time(fact.retry.next_attempt_at_ms)}: {why}"


def _ended(fact: _Ended) -> str:
    if isinstance(fact.await_output, ProcessSuccess):
        return payload_text(fact.await_output.value)
    return outcome_text(fact.await_output)


_TELLERS: Mapping[str, Callable[[JsonValue], str]] = {
    types.STARTED: _fact(StartedFact, _started),
    types.WAITING: _fact(WaitFact, _waits),
    types.RESUMED: _fact(WaitFact, _waits),
    types.CANCEL_REQUESTED: _fact(CancelFact, lambda fact: fact.reason or ""),
    types.EXTERNAL_REF_SET: _fact(
        ExternalRefFact, lambda fact: f"{fact.external_ref.backend}:{fact.external_ref.id}"
    ),
    types.ABANDON_REQUESTED: _fact(AbandonFact, _abandoned),
    types.PARKED: _fact(ParkedFact, lambda fact: parked_text(fact.parked)),
    types.RETRY_SCHEDULED: _fact(RetryFact, _rests),
    types.CONTINUED: _fact(ContinuedFact, lambda fact: f"segment {fact.segment.ordinal}"),
    types.OBSERVER_ADDED: _fact(ObserverFact, lambda fact: f"session {fact.session_id}"),
    types.OBSERVER_REMOVED: _fact(ObserverFact, lambda fact: f"session {fact.session_id}"),
    types.WAKE_RETARGETED: _fact(
        RetargetedFact, lambda fact: f"session {fact.session_id}" if fact.session_id else "nobody"
    ),
    **{name: _fact(_Ended, _ended) for name in types.TERMINAL_TYPES.values()},
}
