"""Tools made from plain functions: the schema comes from the signature (ARCHITECTURE D10)."""

import asyncio
import functools
import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Generic, ParamSpec, TypeVar, overload

import msgspec

from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonObject, to_json
from lash.core.schema import CallSchema, call_schema
from lash.core.text import described, spelled_out
from lash.effects.outcomes import PendingCompletion
from lash.llm.request import ToolSpec
from lash.tools.model import Finish, SwitchFrame, ToolContext, ToolError, ToolRetry, give_up
from lash.tools.threads import in_thread
from lash.turn.tools import (
    FinishControl,
    SwitchAgentFrameControl,
    ToolFailed,
    ToolOutput,
    ToolSuccess,
    failed,
)

P = ParamSpec("P")
R = TypeVar("R")


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
    ) -> None:
        self._function = function
        self._schema: CallSchema = call_schema(function, injected_type=ToolContext)
        self._name = name if name is not None else getattr(function, "__name__", "")
        if not self._name.strip():
            raise ConfigurationError(
                "tool_signature_invalid", "A tool needs a name; give it one with name=."
            )
        self._spec = ToolSpec(
            name=self._name,
            description=description if description is not None else self._schema.description,
            input_schema=self._schema.json_schema,
        )
        self._serial = serial
        self._retry = retry
        self._timeout = timeout
        self._is_async = inspect.iscoroutinefunction(inspect.unwrap(function))
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function as if it were not a tool."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<lash.tool {self._name}>"

    @property
    def id(self) -> str:
        """The tool's identity, `tool:<name>`."""
        return f"tool:{self._name}"

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

    def check(self, args: JsonObject) -> None:
        """Validate arguments without running anything.

        Raises:
            LashError: `invalid_tool_args`.
        """
        self._schema.convert(args)

    async def run(self, args: JsonObject, context: ToolContext) -> ToolOutput | PendingCompletion:
        """Run the function once. What it raises becomes a failure the model is shown."""
        keywords = self._schema.convert(args)
        if self._schema.injected is not None:
            keywords[self._schema.injected] = context
        limit = self._timeout.total_seconds() if self._timeout else None
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                value = await self._invoke(keywords)
        except TimeoutError as error:
            if deadline.expired():
                give_up(context, "tool_timeout")
                return failed("timeout", "tool_timeout", f"{self._name} took more than {limit} s.")
            return _panicked(error)
        except ToolError as error:
            return _declared(error)
        except LashError as error:  # of the context, or of something of lash that the body uses
            return failed("execution", error.code, spelled_out(error.message), source="tool")
        except Exception as error:  # noqa: BLE001  whatever a tool raises is a value to the turn
            return _panicked(error)
        return value if isinstance(value, PendingCompletion) else self._output(value)

    async def _invoke(self, keywords: dict[str, object]) -> object:
        function: Callable[..., object] = self._function
        if self._is_async:
            result = function(**keywords)
        else:
            # A plain function may block; on the loop it would hold up every other turn.
            result = await in_thread(function, keywords)
        return await result if inspect.isawaitable(result) else result

    def _output(self, value: object) -> ToolOutput:
        try:
            if isinstance(value, Finish):
                ending = to_json(value.value)
                control = FinishControl(value=ending)
                return ToolOutput(outcome=ToolSuccess(payload=ending), control=control)
            if isinstance(value, SwitchFrame):
                switch = SwitchAgentFrameControl(frame_id=value.frame_id, task=value.task)
                said = f"The task goes on in frame {value.frame_id}."
                return ToolOutput(outcome=ToolSuccess(payload=said), control=switch)
            return ToolOutput(outcome=ToolSuccess(payload=to_json(value)))
        except LashError as error:
            message = f"{self._name} returned something that cannot be stored. {error.message}"
            return failed("execution", "tool_output_not_json", message)


def _declared(error: ToolError) -> ToolOutput:
    """A failure as the tool declared it, with details that can be stored."""
    failure = error.failure
    try:
        raw = to_json(failure.raw)
    except LashError as refused:
        raw = refused.message
    kept = msgspec.structs.replace(failure, message=spelled_out(failure.message), raw=raw)
    return ToolOutput(outcome=ToolFailed(payload=kept))


def _panicked(error: Exception) -> ToolOutput:
    return failed("execution", "tool_panicked", described(error), source="tool")


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
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    serial: bool = False,
    retry: ToolRetry | None = None,
    timeout: timedelta | None = None,
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Make a function a tool: `@lash.tool` or `@lash.tool(retry=…)`.

    The schema comes from the annotations, the description from the docstring. Plain functions run in
    a thread, `async` ones on the event loop. A parameter annotated with `ToolContext` is given the
    call's context and is not shown to the model.

    Args:
        function: The function.
        name: The name the model calls; the function's own by default.
        description: What the model is told; the docstring's text by default.
        serial: Never run it beside other calls of the same message.
        retry: Run it again when it raises `ToolError(..., retry=True)`.
        timeout: How long one attempt may take.

    Raises:
        ConfigurationError: `tool_signature_invalid`, naming the parameter and the remedy.
    """

    def decorate(decorated: Callable[P, R]) -> FunctionTool[P, R]:
        return FunctionTool(
            decorated,
            name=name,
            description=description,
            serial=serial,
            retry=retry,
            timeout=timeout,
        )

    return decorate if function is None else decorate(function)
