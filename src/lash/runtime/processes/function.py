"""Processes made from plain functions: `@lash.process` on an `async def` (ARCHITECTURE D9, D15)."""

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from lash.core.errors import ConfigurationError, LashError, ReplayError
from lash.core.json import JsonObject, JsonValue, to_json
from lash.core.typed import TypedValue
from lash.processes.event_types import (
    WAKE_TYPE,
    ProcessEventType,
)
from lash.processes.model import (
    EngineInput,
    ProcessEnv,
    ProcessIdentity,
    ProcessProvenance,
    ProcessRegistration,
    RecoveryDisposition,
)
from lash.processes.registration import RegisterRequest, env_ref_of
from lash.runtime.processes.context import ProcessContext
from lash.runtime.processes.declaring import (
    check_async,
    event_types,
    max_attempts_of,
    name_of,
    payload_type,
    recovery_of,
    result_type,
    schema_of,
    signal_types,
    version_of,
    without_context,
)

P = ParamSpec("P")
R = TypeVar("R")

#: The kind of engine that runs Python functions.
PYTHON = "python"

_NOTHING = ProcessEnv()


class ProcessFunction(Generic[P, R]):
    """A function that runs as a durable process. Calling it calls the function itself.

    Attributes:
        name: What processes of it are known by; never its source.
        version: Which version it is.
        recovery: What happens when the worker dies.
        max_attempts: How often one may be begun without getting anywhere.
        description: What its docstring says.
    """

    def __init__(
        self,
        function: Callable[Concatenate[ProcessContext, P], Awaitable[R]],
        *,
        name: str | None,
        version: str,
        signals: Mapping[str, object] | None,
        events: Mapping[str, object] | None,
        recovery: RecoveryDisposition,
        max_attempts: int | None,
    ) -> None:
        self._function = function
        self.name = name_of(function, name)
        self.version = version_of(self.name, version)
        self.recovery = recovery_of(self.name, recovery)
        self.max_attempts = max_attempts_of(self.name, max_attempts)
        check_async(function, self.name)
        bare = without_context(function, self.name)
        self._schema = schema_of(bare, self.name)
        self._signature = inspect.signature(bare)
        self.description = self._schema.description
        self.result = result_type(function, self.name)
        self._signals = {
            name: payload_type(annotation, f"Signal {name!r} of process {self.name!r}")
            for name, annotation in (signals or {}).items()
        }
        self._open = signals is None
        self._types = (*signal_types(self.name, self._signals), *event_types(self.name, events))
        functools.update_wrapper(self, function)

    def __call__(self, ctx: ProcessContext, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """Call the function, as a part of the process that `ctx` belongs to."""
        return self._function(ctx, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<lash.process {self.name} version {self.version}>"

    @property
    def json_schema(self) -> JsonObject:
        """The schema of its arguments."""
        return self._schema.json_schema

    @property
    def event_types(self) -> tuple[ProcessEventType, ...]:
        """The signals it takes and the events it appends."""
        return (*self._types, WAKE_TYPE)

    def signal_reader(self, name: str) -> TypedValue | None:
        """How the payload of a signal is read, as it was declared."""
        return self._signals.get(name)

    def arguments(self, args: tuple[object, ...], keywords: Mapping[str, object]) -> JsonObject:
        """Arguments by name, as they are stored.

        Raises:
            LashError: `process_arguments_invalid`, `value_not_json`.
        """
        try:
            bound = self._signature.bind(*args, **keywords)
        except TypeError as error:
            raise _unfitting(self.name, str(error)) from None
        given: dict[str, JsonValue] = {}
        for name, value in bound.arguments.items():
            try:
                given[name] = to_json(value)
            except LashError as error:
                raise LashError(
                    "value_not_json",
                    f"Argument {name!r} of process {self.name!r} cannot be stored: {error.message} "
                    "Nothing was registered.",
                    argument=name,
                ) from error
        self._read(given)
        return given

    def _read(self, args: JsonObject) -> dict[str, object]:
        try:
            return self._schema.convert(args)
        except LashError as error:
            raise _unfitting(self.name, error.message, **error.details) from error

    def registration(
        self,
        process_id: str,
        args: JsonObject,
        *,
        provenance: ProcessProvenance,
        wake_session_id: str | None = None,
        env: ProcessEnv = _NOTHING,
        observers: tuple[str, ...] = (),
        label: str | None = None,
    ) -> RegisterRequest:
        """What registers a process of this function."""
        payload: JsonObject = {"name": self.name, "version": self.version, "args": args}
        return RegisterRequest(
            registration=ProcessRegistration(
                process_id=process_id,
                input=EngineInput(kind=PYTHON, payload=payload),
                disposition=self.recovery,
                identity=ProcessIdentity(
                    kind=PYTHON,
                    label=label or self.name,
                    definition=self.name,
                    version=self.version,
                ),
                provenance=provenance,
                event_types=self.event_types,
                open_signals=self._open,
                env_ref=env_ref_of(env),
                max_attempts=self.max_attempts,
                wake_session_id=wake_session_id,
            ),
            observers=observers,
            env=env,
        )

    def run(self, ctx: ProcessContext, args: JsonObject) -> Awaitable[R]:
        """Call the function with stored arguments.

        Raises:
            ReplayError: `process_arguments_invalid`: they were stored by another signature.
        """
        try:
            given = self._schema.convert(args)
        except LashError as error:
            raise ReplayError(
                "process_arguments_invalid",
                f"The arguments that process {self.name!r} was begun with do not fit its code any more: "
                f"{error.message} Go on with the code that took them, or begin a new process.",
                **error.details,
            ) from error
        return self._function(ctx, **given)  # type: ignore[call-arg, arg-type]  # read by its own schema

    def read_result(self, value: JsonValue) -> R:
        """The result as the function's annotation says.

        Raises:
            LashError: `value_not_of_type`.
        """
        return typing.cast("R", value if self.result is None else self.result.read(value))


@overload
def process(
    function: Callable[Concatenate[ProcessContext, P], Awaitable[R]], /
) -> ProcessFunction[P, R]: ...


@overload
def process(
    *,
    name: str | None = None,
    version: str = "1",
    signals: Mapping[str, object] | None = None,
    events: Mapping[str, object] | None = None,
    recovery: RecoveryDisposition = "rerunnable",
    max_attempts: int | None = None,
) -> Callable[[Callable[Concatenate[ProcessContext, P], Awaitable[R]]], ProcessFunction[P, R]]: ...


def process(
    function: Callable[Concatenate[ProcessContext, P], Awaitable[R]] | None = None,
    /,
    *,
    name: str | None = None,
    version: str = "1",
    signals: Mapping[str, object] | None = None,
    events: Mapping[str, object] | None = None,
    recovery: RecoveryDisposition = "rerunnable",
    max_attempts: int | None = None,
) -> (
    ProcessFunction[P, R]
    | Callable[[Callable[Concatenate[ProcessContext, P], Awaitable[R]]], ProcessFunction[P, R]]
):
    """Make an `async def` a durable process: `@lash.process` or `@lash.process(version="2")`.

    Its first parameter receives a `ProcessContext`; the others are its arguments, which are validated
    by their annotations when a process is started. After a crash the function is run again from its
    beginning, and what it asked the context for is answered from the journal: so it must ask the context
    for everything that is not the same every time.

    Args:
        function: The function.
        name: What its processes are known by; the function's own name by default.
        version: Which version it is. Processes go on with the version they began with, so register the
            old one beside the new one until its processes have ended.
        signals: The signals it takes, by name, with the type of their payload. Others are refused
            where they are sent. None takes any.
        events: The events it appends with `ctx.emit`, by name, with the type of their payload.
        recovery: `rerunnable`: any worker takes it up again. `owner_bound`: it is begun once, and
            given up when its worker shuts down.
        max_attempts: How often in a row it may be begun and get nowhere before it is given up; None for
            ever.

    Raises:
        ConfigurationError: `process_function_invalid`, naming what is wrong and what to do.
    """

    def decorate(
        decorated: Callable[Concatenate[ProcessContext, P], Awaitable[R]],
    ) -> ProcessFunction[P, R]:
        return ProcessFunction(
            decorated,
            name=name,
            version=version,
            signals=signals,
            events=events,
            recovery=recovery,
            max_attempts=max_attempts,
        )

    return decorate if function is None else decorate(function)


class ProcessFunctions:
    """The process functions of a runtime, by name and version.

    Raises:
        ConfigurationError: `process_duplicate`, `process_function_invalid`.
    """

    def __init__(self, functions: typing.Iterable[ProcessFunction[..., Any]]) -> None:
        self._known: dict[tuple[str, str], ProcessFunction[..., Any]] = {}
        self._newest: dict[str, ProcessFunction[..., Any]] = {}
        for function in functions:
            if not isinstance(function, ProcessFunction):
                raise ConfigurationError(
                    "process_function_invalid",
                    f"{function!r} is no process; decorate the function with @lash.process.",
                )
            key = (function.name, function.version)
            if key in self._known and self._known[key] is not function:
                raise ConfigurationError(
                    "process_duplicate",
                    f"Two processes are called {function.name!r} in version {function.version!r}; "
                    "give one another name or version.",
                )
            self._known[key] = self._newest[function.name] = function

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, sorted."""
        return tuple(sorted(self._newest))

    def find(self, name: str, version: str) -> ProcessFunction[..., Any] | None:
        """A function by name and version."""
        return self._known.get((name, version))

    def named(self, name: str) -> ProcessFunction[..., Any]:
        """The function of a name that was registered last.

        Raises:
            ConfigurationError: `process_unregistered`.
        """
        found = self._newest.get(name)
        if found is None:
            known = ", ".join(self.names) or "none"
            raise ConfigurationError(
                "process_unregistered",
                f"No process {name!r} is registered in this runtime (it has: {known}); pass it with "
                "Runtime(…, processes=[…]).",
            )
        return found

    def check(self, function: ProcessFunction[..., Any]) -> None:
        """Refuse a function that no worker of this runtime could run.

        Raises:
            ConfigurationError: `process_unregistered`.
        """
        if self.find(function.name, function.version) is None:
            raise ConfigurationError(
                "process_unregistered",
                f"Process {function.name!r} (version {function.version!r}) is not registered in this "
                "runtime; pass it with Runtime(…, processes=[…]).",
            )


def _unfitting(name: str, why: str, **details: object) -> LashError:
    return LashError(
        "process_arguments_invalid",
        f"The arguments do not fit process {name!r}: {why} Nothing was registered.",
        **details,
    )
