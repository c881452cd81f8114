"""The events a process may append: their payloads, and what they mean (process spec 1.7).

A type says what its payload must look like, and by selectors what of it ends the process or wakes a
session. What a type means is decided once, when an event is appended, and kept with the event.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from lash.core.errors import LashError
from lash.core.json import Data, JsonObject, JsonValue, encode

TerminalStatus: TypeAlias = Literal["completed", "failed", "cancelled", "abandoned"]


# --- selectors ----------------------------------------------------------------------------------------


class SelectPayload(Data, tag_field="select", tag="payload"):
    """The whole payload."""


class SelectPointer(Data, tag_field="select", tag="pointer"):
    """What a JSON pointer (`/a/b`) leads to; leading nowhere is an error."""

    pointer: str


class SelectConst(Data, tag_field="select", tag="const"):
    """Always the same."""

    value: JsonValue = None


class SelectTemplate(Data, tag_field="select", tag="template"):
    """Text in which each `{name}` stands for what its field selects."""

    template: str
    fields: Mapping[str, "Selector"] = {}


class SelectPresent(Data, tag_field="select", tag="present"):
    """Whether a JSON pointer leads anywhere."""

    pointer: str


Selector: TypeAlias = SelectPayload | SelectPointer | SelectConst | SelectTemplate | SelectPresent

_MISSING = object()


def select(selector: Selector, payload: JsonValue) -> JsonValue:
    """What a selector finds in a payload.

    Raises:
        LashError: `process_event_selector_failed`: a pointer leads nowhere.
    """
    match selector:
        case SelectPayload():
            return payload
        case SelectConst(value=value):
            return value
        case SelectPresent(pointer=pointer):
            return _follow(pointer, payload) is not _MISSING
        case SelectPointer(pointer=pointer):
            found = _follow(pointer, payload)
            if found is _MISSING:
                raise LashError(
                    "process_event_selector_failed",
                    f"The event's payload has nothing at {pointer!r}, which its type refers to; "
                    "nothing was appended.",
                    pointer=pointer,
                )
            return found  # type: ignore[return-value]  # not the marker, so it is part of the payload
        case SelectTemplate(template=template, fields=fields):
            text = template
            for name, inner in fields.items():
                text = text.replace(f"{{{name}}}", as_text(select(inner, payload)))
            return text


def _follow(pointer: str, payload: JsonValue) -> object:
    """What a JSON pointer leads to (RFC 6901), or `_MISSING`."""
    if not pointer:
        return payload
    found: object = payload
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, Sequence) and not isinstance(found, str) and _is_index(name, found):
            found = found[int(name)]
        else:
            return _MISSING
    return found


def _is_index(name: str, items: Sequence[object]) -> bool:
    plain = name.isascii() and name.isdigit() and (name == "0" or not name.startswith("0"))
    return plain and int(name) < len(items)


def as_text(value: JsonValue) -> str:
    """A JSON value in a text: text as it is, anything else as compact JSON."""
    return value if isinstance(value, str) else encode(value).decode()


def is_truthy(value: JsonValue) -> bool:
    """Whether a value means yes: not null, false, or anything empty. Numbers mean yes, zero too."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, int | float):
        return True
    return len(value) > 0


# --- types ----------------------------------------------------------------------------------------------


class TerminalSpec(Data):
    """An event of the type ends the process. `outcome` selects how; the whole payload without it."""

    status: TerminalStatus
    outcome: Selector | None = None


class WakeSpec(Data):
    """An event of the type wakes a session, if `when` finds something true; `input` is what it is told."""

    input: Selector
    when: Selector | None = None


class ProcessEventType(Data):
    """An event that a process may append: its name, the JSON schema of its payload, what it means."""

    name: str
    payload_schema: JsonObject = msgspec.field(default_factory=dict)
    terminal: TerminalSpec | None = None
    wake: WakeSpec | None = None


#: Before the name of a signal.
SIGNAL_PREFIX = "signal."

CANCEL_REQUESTED = "process.cancel_requested"
STARTED = "process.started"
WAITING = "process.waiting"
RESUMED = "process.resumed"
EXTERNAL_REF_SET = "process.external_ref_set"
ABANDON_REQUESTED = "process.abandon_requested"
PARKED = "process.parked"
UNPARKED = "process.unparked"
RETRY_SCHEDULED = "process.retry_scheduled"
CONTINUED = "process.continued"
OBSERVER_ADDED = "process.observer_added"
OBSERVER_REMOVED = "process.observer_removed"
WAKE_RETARGETED = "process.subscription_retargeted"

_TERMINALS: tuple[TerminalStatus, ...] = ("completed", "failed", "cancelled", "abandoned")

#: The type of the event that ends a process, by status.
TERMINAL_TYPES: Mapping[TerminalStatus, str] = {
    status: f"process.{status}" for status in _TERMINALS
}

#: Only the runtime appends these, through operations of their own.
RESERVED: frozenset[str] = frozenset(
    {
        STARTED,
        WAITING,
        RESUMED,
        EXTERNAL_REF_SET,
        ABANDON_REQUESTED,
        PARKED,
        UNPARKED,
        RETRY_SCHEDULED,
        CONTINUED,
        OBSERVER_ADDED,
        OBSERVER_REMOVED,
        WAKE_RETARGETED,
        *TERMINAL_TYPES.values(),
    }
)

#: Types that every process has without declaring them.
BUILT_IN: Mapping[str, ProcessEventType] = {
    CANCEL_REQUESTED: ProcessEventType(
        name=CANCEL_REQUESTED,
        payload_schema={
            "type": "object",
            "properties": {"reason": {"type": ["string", "null"]}},
        },
    ),
    **{name: ProcessEventType(name=name) for name in sorted(RESERVED)},
    **{
        name: ProcessEventType(
            name=name,
            terminal=TerminalSpec(status=status, outcome=SelectPointer(pointer="/await_output")),
        )
        for status, name in TERMINAL_TYPES.items()
    },
}

#: Wakes the session with a text; part of every Python process.
WAKE_TYPE = ProcessEventType(
    name="process.wake",
    payload_schema={
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 1}},
        "required": ["text"],
    },
    wake=WakeSpec(input=SelectPointer(pointer="/text")),
)


def signal_type(name: str) -> str:
    """The event type of a signal."""
    return SIGNAL_PREFIX + name


def is_signal(event_type: str) -> bool:
    """Whether events of a type are signals."""
    return event_type.startswith(SIGNAL_PREFIX)


def is_signal_name(name: str) -> bool:
    """Whether a name can be a signal's: letters, digits, `_` and `-`."""
    return bool(name) and all(char.isascii() and (char.isalnum() or char in "_-") for char in name)
