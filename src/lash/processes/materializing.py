"""What an event means when it is appended: whether it ends its process, and whom it tells (spec 1.9)."""

from collections.abc import Mapping
from typing import assert_never

import msgspec

from lash.core.errors import LashError
from lash.core.json import JsonValue
from lash.processes.event_types import (
    ProcessEventType,
    TerminalSpec,
    TerminalStatus,
    as_text,
    is_truthy,
    select,
)
from lash.processes.events import EventSemantics, Terminal
from lash.processes.outcomes import (
    ProcessAbandoned,
    ProcessAwaitOutput,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)

_TAGS = {"success", "failure", "cancelled", "abandoned"}


def status_of(outcome: ProcessAwaitOutput) -> TerminalStatus:
    """The status of a process that ended like this."""
    match outcome:
        case ProcessSuccess():
            return "completed"
        case ProcessFailure():
            return "failed"
        case ProcessCancelled():
            return "cancelled"
        case ProcessAbandoned():
            return "abandoned"
        case _:
            assert_never(outcome)


def materialize(declared: ProcessEventType, payload: JsonValue) -> EventSemantics:
    """What an event of a declared type means.

    Raises:
        LashError: `process_event_selector_failed`, `process_outcome_mismatch`; nothing is appended.
    """
    terminal, wake = declared.terminal, declared.wake
    text: str | None = None
    if wake is not None and (wake.when is None or is_truthy(select(wake.when, payload))):
        text = as_text(select(wake.input, payload))
    ended = None
    if terminal is not None:
        outcome = _outcome(terminal, payload)
        if status_of(outcome) != terminal.status:
            raise LashError(
                "process_outcome_mismatch",
                f"{declared.name!r} ends a process as {terminal.status}, and its payload says "
                f"{status_of(outcome)}; nothing was appended.",
                declared=terminal.status,
                said=status_of(outcome),
            )
        ended = Terminal(status=terminal.status, outcome=outcome)
    return EventSemantics(terminal=ended, wake=text)


def _outcome(terminal: TerminalSpec, payload: JsonValue) -> ProcessAwaitOutput:
    if terminal.outcome is None:
        return ProcessSuccess(value=payload)
    value = select(terminal.outcome, payload)
    if isinstance(value, Mapping) and value.get("type") in _TAGS:
        try:
            return msgspec.convert(value, ProcessAwaitOutput)  # type: ignore[no-any-return]  # a union of structs
        except msgspec.ValidationError:
            pass  # it only looks like one
    match terminal.status:
        case "completed":
            return ProcessSuccess(value=value)
        case "failed":
            return ProcessFailure(
                failure_class="execution", code="process_failed", message=as_text(value), raw=value
            )
        case "cancelled":
            return ProcessCancelled(message=as_text(value), raw=value)
        case "abandoned":
            raise LashError(
                "process_outcome_mismatch",
                "Only recovery can say that a process was abandoned; nothing was appended.",
            )
        case _:
            assert_never(terminal.status)
