"""Tools made from plain functions and methods: the schema comes from the signature (ARCHITECTURE D10)."""

import functools
import inspect
from collections.abc import Callable
from datetime import timedelta
from types import MethodType
from typing import Concatenate, Generic, NoReturn, ParamSpec, TypeVar, cast, overload

from lash.core.errors import ConfigurationError
from lash.core.json import JsonObject
from lash.core.schema import CallSchema, call_schema
from lash.effects.outcomes import PendingCompletion
from lash.llm.request import ToolSpec
from lash.llm.schema_projection import SchemaProjection
from lash.tools.bodies import run_body
from lash.tools.manifest import MATERIALIZE, ArgumentProjection, ToolActivation
from lash.tools.model import ToolContext, ToolRetry
from lash.tools.threads import in_thread
from lash.turn.tools import ToolOutput

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class FunctionTool(Generic[P, R]):
    """A function the model can call. Calling it from Python calls the function itself."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        serial: bool = False,
        retry: ToolRetry | None = None,
        timeout: timedelta | None = None,
        activation: ToolActivation = "always",
        argument_projection: ArgumentProjection = MATERIALIZE,
        projection: SchemaProjection | None = None,
        schema: CallSchema | None = None,
    ) -> None:
        self._function = function
        self._schema = schema or call_schema(function, injected_type=ToolContext)
        self._name = name if name is not None else getattr(function, "__name__", "")
        check_tool_name(self._name)
        self._spec = ToolSpec(
            name=self._name,
            description=description if description is not None else self._schema.description,
            input_schema=self._schema.json_schema,
            projection=projection,
        )
        self._serial = serial
        self._retry = retry
        self._timeout = timeout
        self._activation = check_activation(self._name, activation)
        self._argument_projection = argument_projection
        self._is_async = inspect.iscoroutinefunction(inspect.unwrap(function))
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as if it were not a tool."""
        return self._function(*args, **kwargs)

    @overload
    def __get__(
        self: "FunctionTool[P, R]", instance: None, owner: object = None
    ) -> "FunctionTool[P, R]": ...

    @overload
    def __get__(
        self: "FunctionTool[Concatenate[S, Q], R]", instance: S, owner: object = None
    ) -> "FunctionTool[Q, R]": ...

    def __get__(self, instance: object, owner: object = None) -> object:
        """The tool itself: what is not a method does not care which object it is read from."""
        del instance, owner
        return self

    def __repr__(self) -> str:
        return f"<lash.tool {self._name}>"

    @property
    def id(self) -> str:
        """The tool's identity, `tool:<name>`."""
        return f"tool:{self.name}"

    @property
    def name(self) -> str:
        """The name the model calls."""
        return self._name

    @property
    def spec(self) -> ToolSpec:
        """How it is offered to a model."""
        return self._spec

    @property
    def serial(self) -> bool:
        """Whether it must not run beside other calls of the same message."""
        return self._serial

    @property
    def retry(self) -> ToolRetry | None:
        """How often a failure that is safe to repeat is repeated."""
        return self._retry

    @property
    def activation(self) -> ToolActivation:
        """Who may call it: models and processes, or processes alone."""
        return self._activation

    @property
    def argument_projection(self) -> ArgumentProjection:
        """How references in its arguments are handed in."""
        return self._argument_projection

    def check(self, args: JsonObject) -> None:
        """Validate arguments without running anything.

        Raises:
            LashError: `invalid_tool_args`.
        """
        self._schema.convert(args, nulls_left_out=True)

    async def run(self, args: JsonObject, context: ToolContext) -> ToolOutput | PendingCompletion:
        """Run the function once. What it raises becomes a failure the model is shown."""
        keywords = self._schema.convert(args, nulls_left_out=True)
        if self._schema.injected is not None:
            keywords[self._schema.injected] = context
        return await run_body(self._name, lambda: self._invoke(keywords), context, self._timeout)

    async def _invoke(self, keywords: dict[str, object]) -> object:
        function: Callable[..., object] = self._function
        if self._is_async:
            result = function(**keywords)
        else:
            # A plain function may block; on the loop it would hold up every other turn.
            result = await in_thread(function, keywords)
        return await result if inspect.isawaitable(result) else result


class MethodTool(FunctionTool[P, R]):
    """A method declared as a tool, as its class holds it. It becomes a tool when read from an instance."""

    def __init__(
        self,
        function: Callable[P, R],
        bind: Callable[[CallSchema | None, Callable[..., object]], FunctionTool[..., object]],
        *,
        of_class: bool = False,
    ) -> None:
        self._function = function
        self._bind = bind
        self._of_class = of_class
        self._schema_once: CallSchema | None = None
        functools.update_wrapper(self, function)
        try:
            # Without its first parameter, as whoever calls it on an instance sees it.
            self._once(MethodType(function, object()))
        except ConfigurationError as error:
            # An annotation may name the class itself, which is still being made.
            if not isinstance(error.__cause__, NameError):
                raise

    def __get__(self, instance: object, owner: object = None) -> object:  # type: ignore[override]  # typed by the base class's overloads
        """The tool of one instance, or this declaration where it is read from the class."""
        bound_to = (owner if instance is None else type(instance)) if self._of_class else instance
        if bound_to is None:
            return self
        method = MethodType(self._function, bound_to)
        return self._bind(self._once(method), method)

    def __repr__(self) -> str:
        return f"<lash.tool method {self._function.__qualname__}>"

    def _once(self, method: Callable[..., object]) -> CallSchema:
        if self._schema_once is None:
            self._schema_once = call_schema(method, injected_type=ToolContext)
        return self._schema_once

    @property
    def name(self) -> str:
        """Refused.

        Raises:
            ConfigurationError: `tool_signature_invalid`.
        """
        self._refuse()

    @property
    def spec(self) -> ToolSpec:
        """Refused.

        Raises:
            ConfigurationError: `tool_signature_invalid`.
        """
        self._refuse()

    def check(self, args: JsonObject) -> None:
        """Refused.

        Raises:
            ConfigurationError: `tool_signature_invalid`.
        """
        del args
        self._refuse()

    async def run(self, args: JsonObject, context: ToolContext) -> ToolOutput | PendingCompletion:
        """Refused.

        Raises:
            ConfigurationError: `tool_signature_invalid`.
        """
        del args, context
        self._refuse()

    def _refuse(self) -> NoReturn:
        qualname = self._function.__qualname__
        owner, _, method = qualname.rpartition(".")
        owner = owner.rpartition(".")[2]
        raise ConfigurationError(
            "tool_signature_invalid",
            f"{owner}.{method} is a method, and needs an instance to become a tool. Make one and pass "
            f"its method, as in `{owner.lower()} = {owner}(…)` and `tools=[{owner.lower()}.{method}]`, "
            f"or all of its tools with `tools=lash.tools_of({owner.lower()})`.",
            function=qualname,
        )


@overload
def tool(  # type: ignore[overload-overlap]  # a staticmethod can be called as well
    function: "staticmethod[P, R]", /
) -> "staticmethod[P, R]": ...


@overload
def tool(function: "classmethod[S, P, R]", /) -> "classmethod[S, P, R]": ...


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    serial: bool = False,
    retry: ToolRetry | None = None,
    timeout: timedelta | None = None,
    activation: ToolActivation = "always",
    argument_projection: ArgumentProjection = MATERIALIZE,
    projection: SchemaProjection | None = None,
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(
    function: object = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    serial: bool = False,
    retry: ToolRetry | None = None,
    timeout: timedelta | None = None,
    activation: ToolActivation = "always",
    argument_projection: ArgumentProjection = MATERIALIZE,
    projection: SchemaProjection | None = None,
) -> object:
    """Make a function or a method a tool: `@lash.tool` or `@lash.tool(retry=…)`.

    The schema comes from the annotations, the description from the docstring. Plain functions run in
    a thread, `async` ones on the event loop. A parameter annotated with `ToolContext` is given the
    call's context and is not shown to the model. A null that a model sends for a parameter which has a
    default and takes no `None` counts as left out.

    A method becomes a tool of each instance: `Agent(tools=[orders.lookup])`, or all that an instance
    has with `tools_of`.

    Args:
        function: The function.
        name: The name the model calls; the function's own by default.
        description: What the model is told; the docstring's text by default.
        serial: Never run it beside other calls of the same message.
        retry: Run it again when it raises `ToolError(..., retry=True)`.
        timeout: How long one attempt may take.
        activation: `internal` keeps it from models; processes may call it.
        argument_projection: How references that code hands in reach it.
        projection: How the schema may be told to models that take less than all of JSON Schema.

    Raises:
        ConfigurationError: `tool_signature_invalid`, naming the parameter and the remedy.
    """

    def made(
        schema: CallSchema | None, decorated: Callable[..., object]
    ) -> FunctionTool[..., object]:
        return FunctionTool(
            decorated,
            name=name,
            description=description,
            serial=serial,
            retry=retry,
            timeout=timeout,
            activation=activation,
            argument_projection=argument_projection,
            projection=projection,
            schema=schema,
        )

    def decorate(decorated: object) -> object:
        if isinstance(decorated, staticmethod):
            return staticmethod(made(None, decorated.__func__))
        if isinstance(decorated, classmethod):
            return MethodTool(decorated.__func__, made, of_class=True)
        plain = cast("Callable[..., object]", decorated)
        receiver = _receiver(plain)
        if receiver == "cls":
            raise ConfigurationError(
                "tool_signature_invalid",
                f"`{plain.__qualname__}` takes the class it is read from. Write @lash.tool above "
                "@classmethod, not below.",
                function=plain.__qualname__,
                parameter="cls",
            )
        return made(None, plain) if receiver is None else MethodTool(plain, made)

    return decorate if function is None else decorate(function)


def check_tool_name(name: str) -> None:
    """Refuse a name that nobody can call, or that a terminal would obey.

    Raises:
        ConfigurationError: `tool_signature_invalid`.
    """
    if not str(name).strip():
        raise ConfigurationError(
            "tool_signature_invalid", "A tool needs a name; give it one with name=."
        )
    if not str(name).isprintable():
        raise ConfigurationError(
            "tool_signature_invalid",
            f"The tool's name {name!a} holds characters that cannot be printed; give it another "
            "one with name=.",
        )


def check_activation(name: str, activation: ToolActivation) -> ToolActivation:
    """The activation, if there is such a one.

    Raises:
        ConfigurationError: `tool_signature_invalid`.
    """
    if activation not in ("always", "internal"):
        raise ConfigurationError(
            "tool_signature_invalid",
            f"The activation of tool {name!r} must be 'always' or 'internal', not {activation!r}.",
        )
    return activation


def _receiver(function: Callable[..., object]) -> str | None:
    """The first parameter of what is written in the body of a class, if it is `self` or `cls`."""
    place = getattr(function, "__qualname__", "").rpartition(".")[0]
    if not inspect.isfunction(function) or not place or place.endswith("<locals>"):
        return None
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.annotation is not inspect.Parameter.empty:
        return None
    return first.name if first.name in {"self", "cls"} else None
