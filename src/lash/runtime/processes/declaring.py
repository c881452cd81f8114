"""Reading the declaration of a process function: what `@lash.process` was given, checked and typed.

Every refusal is a `ConfigurationError` with the code `process_function_invalid`.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from lash.core.errors import ConfigurationError
from lash.core.schema import CallSchema, call_schema
from lash.core.text import is_utf8
from lash.core.typed import TypedValue, typed_value
from lash.processes.event_types import ProcessEventType, is_signal_name, signal_type
from lash.processes.model import RecoveryDisposition


def _invalid(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        "process_function_invalid", f"Process {name!r} cannot be declared like this: {why}."
    )


def name_of(function: object, name: str | None) -> str:
    """The name that processes of a function are known by."""
    chosen: object = getattr(function, "__name__", "") if name is None else name
    if not isinstance(chosen, str) or not chosen.strip() or not is_utf8(chosen):
        raise _invalid(
            str(chosen), "it needs a name, text that is not blank; give it one with name="
        )
    return chosen


def version_of(name: str, version: object) -> str:
    """Which version of it this is."""
    if not isinstance(version, str) or not version.strip() or not is_utf8(version):
        raise _invalid(name, "its version must be text that is not blank")
    return version


def recovery_of(name: str, recovery: RecoveryDisposition) -> RecoveryDisposition:
    """What becomes of its processes when their worker dies."""
    if recovery not in {"rerunnable", "owner_bound"}:
        raise _invalid(name, f"recovery is 'rerunnable' or 'owner_bound', not {recovery!r}")
    return recovery


def max_attempts_of(name: str, most: object) -> int | None:
    """How often one may be begun without getting anywhere."""
    if most is None:
        return None
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise _invalid(name, f"max_attempts is a number from 1, or None, not {most!r}")
    return most


def check_async(function: Callable[..., object], name: str) -> None:
    """Refuse what cannot be waited for."""
    if not inspect.iscoroutinefunction(inspect.unwrap(function)):
        raise _invalid(name, "it must be an `async def`")


def without_context(function: Callable[..., object], name: str) -> Callable[..., object]:
    """The function as it is called from outside: without its first parameter."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    if not parameters or parameters[0].kind not in positional:
        raise _invalid(name, "its first parameter must be the context: `async def name(ctx, …)`")
    context = parameters[0].name

    @functools.wraps(function)
    def bare(*args: object, **keywords: object) -> object:
        return function(*args, **keywords)

    hints = dict(getattr(function, "__annotations__", {}))
    hints.pop(context, None)
    bare.__annotations__ = hints
    bare.__signature__ = signature.replace(parameters=parameters[1:])  # type: ignore[attr-defined]  # read by inspect
    return bare


def schema_of(bare: Callable[..., object], name: str) -> CallSchema:
    """How its arguments are read."""
    try:
        return call_schema(bare)
    except ConfigurationError as error:
        raise _invalid(name, error.message.rstrip(".")) from error


def payload_type(annotation: object, what: str) -> TypedValue | None:
    """How a payload is read; None for any JSON."""
    if annotation is Any or annotation is object:
        return None
    try:
        return typed_value(annotation, what)
    except ConfigurationError as error:
        raise ConfigurationError("process_function_invalid", error.message) from error


def signal_types(
    name: str, signals: Mapping[str, TypedValue | None]
) -> tuple[ProcessEventType, ...]:
    """The events that its signals are."""
    for signal in signals:
        if not is_signal_name(signal):
            raise _invalid(name, f"{signal!r} is no name of a signal: letters, digits, '_' and '-'")
    return tuple(
        ProcessEventType(
            name=signal_type(signal), payload_schema=typed.json_schema if typed else {}
        )
        for signal, typed in signals.items()
    )


def event_types(name: str, events: Mapping[str, object] | None) -> tuple[ProcessEventType, ...]:
    """The events of its own."""
    declared: list[ProcessEventType] = []
    for event, annotation in (events or {}).items():
        if isinstance(annotation, ProcessEventType):
            declared.append(annotation)
            continue
        if not event.strip() or event.startswith(("process.", "signal.")):
            raise _invalid(name, f"{event!r} is no name of an event of its own")
        typed = payload_type(annotation, f"Event {event!r} of process {name!r}")
        schema = typed.json_schema if typed else {}
        declared.append(ProcessEventType(name=event, payload_schema=schema))
    return tuple(declared)


def result_type(function: Callable[..., object], name: str) -> TypedValue | None:
    """How its result is read; None for any JSON."""
    try:
        hint = typing.get_type_hints(inspect.unwrap(function), include_extras=True).get(
            "return", Any
        )
    except (NameError, TypeError, AttributeError):
        return None  # it cannot be told, so the value stays JSON
    if hint in {Any, object, None, type(None)}:
        return None
    return payload_type(hint, f"The result of process {name!r}")
