"""Templates: what an event says, put into the arguments of a process or the prompt of a session.

A text template names parts of the event in braces: `{event}` is all of it, `{event.order.id}` a part;
`{event.lines.0}` counts in lists. `{{` and `}}` are braces. Text is put in as it is, everything else as
JSON.
"""

import re
from collections.abc import Mapping, Sequence

from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue, encode
from lash.triggers.model import EventInput, InputSource

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_EVENT = "event"


def select(payload: JsonValue, path: Sequence[str | int]) -> JsonValue:
    """The part of a payload that a path leads to.

    Raises:
        LashError: `trigger_input_missing`, naming the step that leads nowhere.
    """
    at = payload
    for place, step in enumerate(path):
        if isinstance(at, Mapping) and isinstance(step, str) and step in at:
            at = at[step]
            continue
        listed = isinstance(at, Sequence) and not isinstance(at, str | Mapping)
        if listed and isinstance(step, int) and 0 <= step < len(at):  # type: ignore[arg-type]  # listed says so
            at = at[step]  # type: ignore[index]  # so it does
            continue
        walked = ".".join(map(str, (_EVENT, *path[: place + 1])))
        raise LashError(
            "trigger_input_missing",
            f"The event has no {walked}, which the subscription takes from it.",
            path=walked,
        )
    return at


def arguments(template: Mapping[str, InputSource], payload: JsonValue) -> JsonObject:
    """The arguments that a template makes of an event.

    Raises:
        LashError: `trigger_input_missing`.
    """
    return {
        name: select(payload, source.path) if isinstance(source, EventInput) else source.value
        for name, source in template.items()
    }


def check_text(template: str, what: str) -> None:
    """Refuse a text template that names something else than the event.

    Raises:
        LashError: `trigger_subscription_invalid`.
    """
    for found in _PART.finditer(template):
        part, named = found.group(), found.group(1)
        if part in {"{{", "}}"}:
            continue
        if named is None or _path(named) is None:
            raise LashError(
                "trigger_subscription_invalid",
                f"{what} holds {part!r}, which names no part of the event; write {{event}} or "
                "{event.name}, and {{ for a brace. Nothing was subscribed.",
            )


def render(template: str, payload: JsonValue) -> str:
    """A text template with what the event says in its places.

    Raises:
        LashError: `trigger_input_missing`.
    """

    def fill(found: re.Match[str]) -> str:
        part, named = found.group(), found.group(1)
        if named is None:
            return part[:1]
        value = _selected(payload, _path(named) or ())
        return value if isinstance(value, str) else encode(value).decode()

    return _PART.sub(fill, template)


def _path(named: str) -> tuple[str, ...] | None:
    first, *rest = named.split(".")
    return tuple(rest) if first == _EVENT and all(rest) else None


def _selected(payload: JsonValue, path: Sequence[str]) -> JsonValue:
    """The part that names lead to; in lists, a number is a place."""
    at, steps = payload, list[str | int]()
    for step in path:
        listed = isinstance(at, Sequence) and not isinstance(at, str)
        steps.append(int(step) if listed and step.isdecimal() else step)
        at = select(payload, steps)
    return at
