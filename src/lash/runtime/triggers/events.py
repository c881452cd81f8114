"""Events as an application declares them: a name, and what an event of that name says."""

from collections.abc import Iterable, Mapping

from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonObject, JsonValue, to_json
from lash.core.text import is_utf8
from lash.core.typed import TypedValue, typed_value
from lash.triggers.payloads import payload_problem, schema_problem


class TriggerEvent:
    """An event that may occur, given to `Runtime(triggers=[…])`.

        paid = lash.TriggerEvent("order.paid", payload=Order)

    Attributes:
        name: What it is called: in the database, in the terminal, everywhere.
        payload_schema: What it says, as a JSON schema; anything, if it is empty.

    Args:
        name: What it is called.
        payload: What it says: a type, or a JSON schema. None for anything.

    Raises:
        ConfigurationError: `trigger_event_invalid`, `type_without_json`.
    """

    def __init__(self, name: str, payload: object = None) -> None:
        given: object = name
        if not isinstance(given, str) or not given.strip() or not is_utf8(given):
            raise _invalid(f"its name must be text that is not blank, not {given!r}")
        self.name = name
        self._typed: TypedValue | None = None
        schema: JsonObject = {}
        if isinstance(payload, Mapping):
            schema = _schema(name, payload)
        elif payload is not None:
            self._typed = typed_value(payload, f"Event {name!r}")
            schema = self._typed.json_schema
        self.payload_schema: JsonObject = schema

    def __repr__(self) -> str:
        return f"TriggerEvent({self.name!r})"

    def check(self, payload: object) -> JsonValue:
        """What an event of this name says, as JSON.

        Raises:
            LashError: `trigger_payload_invalid`, `value_not_json`.
        """
        told = to_json(payload)
        problem = payload_problem(self.payload_schema, told)
        if problem is None and self._typed is not None:
            try:
                self._typed.read(told)
            except LashError as error:
                problem = error.message.rstrip(".")
        if problem is not None:
            raise LashError(
                "trigger_payload_invalid",
                f"The payload does not fit event {self.name!r}: {problem}. Nothing was emitted.",
                event=self.name,
            )
        return told


class TriggerEvents:
    """The events of a runtime, by name.

    Raises:
        ConfigurationError: `trigger_event_duplicate`, `trigger_event_invalid`.
    """

    def __init__(self, events: Iterable[TriggerEvent]) -> None:
        self._known: dict[str, TriggerEvent] = {}
        for event in events:
            given: object = event
            if not isinstance(given, TriggerEvent):
                raise _invalid(f"{given!r} is no event; give Runtime(triggers=[…]) TriggerEvents")
            if self._known.get(event.name, event) is not event:
                raise ConfigurationError(
                    "trigger_event_duplicate",
                    f"Two events are called {event.name!r}; give one of them another name.",
                    event=event.name,
                )
            self._known[event.name] = event

    def named(self, event: TriggerEvent | str) -> TriggerEvent:
        """A declared event, by itself or by its name.

        Raises:
            ConfigurationError: `trigger_event_unknown`.
        """
        name = event.name if isinstance(event, TriggerEvent) else event
        found = self._known.get(name)
        if isinstance(event, TriggerEvent) and found is not None:
            if event.payload_schema == found.payload_schema:
                return found
            raise ConfigurationError(
                "trigger_event_unknown",
                f"Event {name!r} is declared in this runtime, and says something else there; use the "
                "declared one, or its name.",
                event=name,
            )
        if found is None:
            known = ", ".join(sorted(self._known)) or "none"
            raise ConfigurationError(
                "trigger_event_unknown",
                f"No event {name!r} is declared in this runtime (it has: {known}); pass it with "
                "Runtime(…, triggers=[…]).",
                event=str(name),
            )
        return found


def _schema(name: str, given: Mapping[object, object]) -> JsonObject:
    schema = to_json(given)
    if not isinstance(schema, dict):
        raise _invalid(f"the schema of {name!r} is no JSON object")
    problem = schema_problem(schema)
    if problem is not None:
        raise _invalid(f"the schema of {name!r} is none: {problem}")
    return schema


def _invalid(why: str) -> ConfigurationError:
    return ConfigurationError(
        "trigger_event_invalid", f"An event cannot be declared like this: {why}."
    )
