"""Operations: what hosts may ask of a plugin by name (tools spec 4.4).

    class Notes(Plugin):
        id = "notes"

        @query
        def notes(self, session) -> list[str]:
            return session.state or []

        @command
        def add(self, session, note: str) -> int:
            session.remember([*(session.state or []), note])
            return len(session.state)

A first parameter called `session` is given the session; the others are the arguments, whose schema comes
from their annotations.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar, cast

from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonObject
from lash.core.schema import CallSchema, call_schema
from lash.plugins.contexts import PluginSession
from lash.plugins.plugin import Plugin

F = TypeVar("F", bound=Callable[..., object])

OperationKind: TypeAlias = Literal["query", "command", "task"]

#: Whether an operation is asked of a session, may be, or is none of any session's business.
SessionParam: TypeAlias = Literal["required", "optional", "forbidden"]

_MARK = "__lash_operation__"


def query(function: F) -> F:
    """Declare a method that answers from what is there, and changes nothing."""
    return _declared(function, "query")


def command(function: F) -> F:
    """Declare a method that may remember something of a session, and queue turns of it."""
    return _declared(function, "command")


def task(function: F) -> F:
    """Declare a command that takes its time, and that hosts may stop meanwhile."""
    return _declared(function, "task")


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a plugin.

    Attributes:
        plugin_id: Whose.
        name: What it is called.
        kind: `query`, `command` or `task`.
        description: What its docstring says.
        input_schema: The JSON schema of its arguments.
        session: Whether it is asked of a session.
    """

    plugin_id: str
    name: str
    kind: OperationKind
    description: str
    input_schema: JsonObject
    session: SessionParam
    _method: Callable[..., object] = field(repr=False)
    _schema: CallSchema = field(repr=False)

    def read(self, args: JsonObject) -> Mapping[str, object]:
        """The arguments as Python values.

        Raises:
            LashError: `plugin_operation_args_invalid`, naming what does not fit.
        """
        try:
            return self._schema.convert(args)
        except LashError as error:
            raise LashError(
                "plugin_operation_args_invalid",
                f"Operation {self.name!r} of plugin {self.plugin_id!r} was not run: {error.message}",
                plugin_id=self.plugin_id,
                operation=self.name,
                problems=error.details.get("problems", ()),
            ) from error

    def bound(self, args: JsonObject, session: PluginSession | None) -> Callable[[], object]:
        """The call, once its arguments are found to fit.

        Raises:
            LashError: `plugin_operation_args_invalid`, `plugin_operation_without_session`.
        """
        keywords = self.read(args)
        if self.session == "forbidden":
            return functools.partial(self._method, **keywords)
        if self.session == "required" and session is None:
            raise LashError(
                "plugin_operation_without_session",
                f"Operation {self.name!r} of plugin {self.plugin_id!r} is asked of a session: "
                f"`session.plugin({self.plugin_id!r}).call({self.name!r})`.",
                plugin_id=self.plugin_id,
                operation=self.name,
            )
        return functools.partial(self._method, session, **keywords)


def operations_of(plugin: Plugin) -> Mapping[str, Operation]:
    """The operations that a plugin declares, by name.

    Raises:
        ConfigurationError: `plugin_invalid`: one of them cannot be called with JSON.
    """
    found: dict[str, Operation] = {}
    for name in dir(type(plugin)):
        # What a class derived from it puts in its place is an operation as well.
        declared = (vars(each).get(name) for each in type(plugin).__mro__)
        kind = next((getattr(each, _MARK) for each in declared if hasattr(each, _MARK)), None)
        if kind is not None:
            found[name] = _operation(plugin, name, kind)
    return found


def operation_of(plugin: Plugin, operations: Mapping[str, Operation], name: str) -> Operation:
    """The operation of a name.

    Raises:
        LashError: `plugin_operation_unknown`, naming those there are.
    """
    given: object = name
    found = operations.get(given) if isinstance(given, str) else None
    if found is None:
        known = ", ".join(sorted(operations)) or "none"
        raise LashError(
            "plugin_operation_unknown",
            f"Plugin {plugin.id!r} has no operation {name!r}; it has: {known}. Nothing was done.",
            plugin_id=plugin.id,
            operation=name,
        )
    return found


def _declared(function: F, kind: OperationKind) -> F:
    if not inspect.isroutine(function) or isinstance(function, staticmethod | classmethod):
        raise ConfigurationError(
            "plugin_invalid", f"@{kind} is written above a method of a plugin, not {function!r}."
        )
    setattr(function, _MARK, kind)
    return function


def _operation(plugin: Plugin, name: str, kind: OperationKind) -> Operation:
    method = cast("Callable[..., object]", getattr(plugin, name))
    parameters = list(inspect.signature(method).parameters.values())
    first = parameters[0] if parameters and parameters[0].name == "session" else None
    session: SessionParam = "forbidden"
    if first is not None:
        session = "required" if first.default is inspect.Parameter.empty else "optional"
    if kind != "query" and session != "required":
        raise ConfigurationError(
            "plugin_invalid",
            f"{name} of plugin {plugin.id!r} is a {kind}, which is something that happens in a session: "
            "its first parameter is `session`.",
            plugin=plugin.id,
        )
    told = method if first is None else functools.partial(method, None)
    try:
        schema = call_schema(told)
    except ConfigurationError as error:
        raise ConfigurationError(
            "plugin_invalid",
            f"Operation {name!r} of plugin {plugin.id!r} cannot be called: {error.message}",
            plugin=plugin.id,
        ) from error
    return Operation(
        plugin_id=plugin.id,
        name=name,
        kind=kind,
        description=schema.description,
        input_schema=schema.json_schema,
        session=session,
        _method=method,
        _schema=schema,
    )
