"""Tools made from a JSON schema and a function that takes the arguments as they are: one dict."""

import functools
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

from lash.core.errors import ConfigurationError
from lash.core.json import JsonObject, JsonValue
from lash.effects.outcomes import PendingCompletion
from lash.llm.request import ToolSpec
from lash.llm.schema_projection import SchemaContract, SchemaProjection
from lash.tools.bodies import run_body
from lash.tools.function import check_activation, check_tool_name
from lash.tools.manifest import MATERIALIZE, ArgumentProjection, ToolActivation
from lash.tools.model import ToolContext, ToolRetry
from lash.tools.threads import in_thread
from lash.tools.validation import input_schema as looked_at
from lash.turn.tools import ToolOutput

#: Takes the arguments, and the call's context if it has a second parameter. May be `async`.
RawBody: TypeAlias = Callable[..., object]


class RawTool:
    """A tool whose arguments are described by a JSON schema given as data; see `raw_tool`."""

    def __init__(
        self,
        name: str,
        description: str,
        input_schema: JsonObject,
        run: RawBody,
        *,
        serial: bool,
        retry: ToolRetry | None,
        timeout: timedelta | None,
        activation: ToolActivation,
        argument_projection: ArgumentProjection,
        projection: SchemaProjection,
    ) -> None:
        check_tool_name(name)
        self._schema = looked_at(input_schema, name)
        self._spec = ToolSpec(
            name=name,
            description=description,
            input_schema=self._schema.document,
            projection=projection if projection != SchemaProjection() else None,
        )
        self._contract = SchemaContract(canonical=self._schema.document, projection=projection)
        self._body = run
        self._context = _context_parameter(name, run)
        self._is_async = inspect.iscoroutinefunction(inspect.unwrap(run))
        self._serial = serial
        self._retry = retry
        self._timeout = timeout
        self._activation = check_activation(name, activation)
        self._argument_projection = argument_projection

    def __repr__(self) -> str:
        return f"<lash.raw_tool {self.name}>"

    @property
    def id(self) -> str:
        """The tool's identity, `tool:<name>`."""
        return f"tool:{self.name}"

    @property
    def name(self) -> str:
        """The name the model calls."""
        return self._spec.name

    @property
    def spec(self) -> ToolSpec:
        """How it is offered to a model."""
        return self._spec

    @property
    def input_contract(self) -> SchemaContract:
        """Its schema, with how it may be told to models that take less."""
        return self._contract

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
        """Validate arguments against the schema, without running anything.

        Raises:
            LashError: `invalid_tool_args`, with the first misfit as `<pointer>: <message>`.
        """
        self._schema.read(args)

    async def run(self, args: JsonObject, context: ToolContext) -> ToolOutput | PendingCompletion:
        """Run the body once. What it raises becomes a failure the model is shown."""
        given = self._schema.read(args)
        return await run_body(
            self.name, lambda: self._invoke(given, context), context, self._timeout
        )

    async def _invoke(self, args: JsonValue, context: ToolContext) -> object:
        call: Callable[[], object] = functools.partial(self._body, args)
        if self._context is not None and self._context.kind is inspect.Parameter.KEYWORD_ONLY:
            call = functools.partial(self._body, args, **{self._context.name: context})
        elif self._context is not None:
            call = functools.partial(self._body, args, context)
        # A plain function may block; on the loop it would hold up every other turn.
        result = call() if self._is_async else await in_thread(call, {})
        return await result if inspect.isawaitable(result) else result


def raw_tool(
    name: str,
    description: str,
    input_schema: JsonObject,
    run: RawBody,
    *,
    serial: bool = False,
    retry: ToolRetry | None = None,
    timeout: timedelta | None = None,
    activation: ToolActivation = "always",
    argument_projection: ArgumentProjection = MATERIALIZE,
    projection: SchemaProjection | None = None,
) -> RawTool:
    """Make a tool from a JSON schema, where there is no signature to take one from.

        lookup = lash.raw_tool("lookup", "Look up one order.", schema_from_a_file, call_the_backend)

    Arguments are checked against the schema before `run` sees them; of what does not fit, the model is
    told the first. A null for a property that is not required and may not be null counts as left out.
    An integer that came as `1.0` is `1`. `format` describes and is not checked. The schema is read as
    draft 2020-12 unless it names another with `$schema`.

    Args:
        name: The name the model calls.
        description: What the model is told.
        input_schema: The schema of the arguments: an object. References stay within it (`#/…`).
        run: Called with the arguments as one dict, and with the call's `ToolContext` if it has a second
            parameter. A plain function runs in a thread, an `async` one on the event loop.
        serial: Never run it beside other calls of the same message.
        retry: Run it again when it raises `ToolError(..., retry=True)`.
        timeout: How long one attempt may take.
        activation: `internal` keeps it from models; processes may call it.
        argument_projection: How references that code hands in reach it.
        projection: How the schema may be told to models that take less than all of JSON Schema.

    Raises:
        ConfigurationError: `tool_schema_invalid`, `tool_signature_invalid`.
    """
    return RawTool(
        name,
        description,
        input_schema,
        run,
        serial=serial,
        retry=retry,
        timeout=timeout,
        activation=activation,
        argument_projection=argument_projection,
        projection=projection or SchemaProjection(),
    )


def _context_parameter(name: str, run: RawBody) -> inspect.Parameter | None:
    """Which parameter receives the context: one annotated so, or a second one that has no default."""
    try:
        parameters = list(inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        return None
    if not parameters or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY:
        raise ConfigurationError(
            "tool_signature_invalid",
            f"The function of tool {name!r} takes no arguments. Give it one parameter for all of them, "
            "for example `async def run(args: dict) -> str`.",
            tool=name,
        )
    for parameter in parameters[1:]:
        annotation = parameter.annotation
        said = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        if said.rpartition(".")[2] == ToolContext.__name__:
            return parameter
    second = parameters[1] if len(parameters) > 1 else None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if second is None or second.kind not in positional:
        return None
    return second if second.default is inspect.Parameter.empty else None
