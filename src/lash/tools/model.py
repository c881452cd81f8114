"""What a tool is to the runtime, and what its body may say besides a value."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, TypeVar, overload

from lash.core.backoff import Backoff
from lash.core.cancel import Cancellation, CancelToken
from lash.core.durations import Duration
from lash.core.errors import ConfigurationError, LashError
from lash.core.json import Data, JsonObject, JsonValue
from lash.effects.outcomes import PendingCompletion
from lash.effects.waits.model import AwaitEventKey
from lash.llm.direct import DirectResult
from lash.llm.request import ToolSpec
from lash.tools.attachments import ToolAttachments
from lash.tools.processes import ToolProcesses
from lash.tools.triggers import ToolTriggers
from lash.turn.outcome import Stopped, TurnOutcome
from lash.turn.tools import (
    FailureClass,
    NeverRetry,
    RetryStatus,
    SafeToRetry,
    ToolFailure,
    ToolOutput,
)

T = TypeVar("T")

_log = logging.getLogger("lash.tools")


class ToolRetry(Backoff):
    """How often a tool that declares a failure safe to repeat is run again; see `Backoff`.

    Attributes:
        type: Why repeating is in order. `safe`: an attempt that failed so had no effect. `idempotent`:
            it may have had one, and the tool hands its idempotency key on, so that what is done once is
            not done twice. Attempts are counted and spaced alike.
    """

    type: Literal["safe", "idempotent"] = "safe"

    def __post_init__(self) -> None:
        """Refuse what cannot be counted or waited, and a type there is not.

        Raises:
            ConfigurationError: `retry_invalid`.
        """
        if self.type not in ("safe", "idempotent"):
            raise ConfigurationError(
                "retry_invalid",
                f"type must be 'safe' or 'idempotent', not {self.type!r}.",
                field="type",
            )
        Backoff(
            max_attempts=self.max_attempts,
            base_delay_ms=self.base_delay_ms,
            max_delay_ms=self.max_delay_ms,
        )


class Finish(Data):
    """Returned by a tool: end the turn with this value."""

    value: JsonValue = None


@dataclass(frozen=True, slots=True)
class Fail:
    """Returned by a tool: end the turn as failed.

    The call itself is answered with the message, so that the session stays whole and goes on with the
    next turn. To tell the model of a failure and let it go on, raise `ToolError` instead.

    Attributes:
        message: Why, for whoever reads the turn's outcome.
        code: A code of the tool's own.
        failure_class: What sort of failure it is.
        raw: Details, kept with the outcome.
    """

    message: str
    code: str = field(default="tool_error", kw_only=True)
    failure_class: FailureClass = field(default="execution", kw_only=True)
    raw: JsonValue = field(default=None, kw_only=True)

    @property
    def failure(self) -> ToolFailure:
        """It as the turn's outcome carries it."""
        return ToolFailure(
            failure_class=self.failure_class,
            code=str(self.code),
            message=str(self.message),
            raw=self.raw,
        )


class SwitchFrame(Data):
    """Returned by a tool: end the turn and go on with `task` in another agent frame.

    What was said so far stays in the history and is not shown to the model any more; the frame begins
    with the task. A blank or current `frame_id` goes on in the frame it is in.
    """

    frame_id: str
    task: str


class ToolError(Exception):
    """Raised by a tool: the call failed, and the model is told so.

    Args:
        message: What the model is shown.
        code: A code of the tool's own.
        failure_class: What sort of failure it is.
        retry: The attempt had no effect and may be repeated (the tool's `retry` policy decides).
        retry_after_ms: How long to wait before it is.
        raw: Details kept with the call, not shown to the model.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "tool_error",
        failure_class: FailureClass = "execution",
        retry: bool = False,
        retry_after_ms: int | None = None,
        raw: JsonValue = None,
    ) -> None:
        super().__init__(message)
        wait = None if retry_after_ms is None else max(0, round(retry_after_ms))
        status: RetryStatus = SafeToRetry(after_ms=wait) if retry else NeverRetry()
        # What is raised in a hurry is often not text: an HTTP status as a code, an exception as a
        # message. It is kept as text, because a failure that cannot be kept helps nobody.
        self.failure = ToolFailure(
            failure_class=failure_class, code=str(code), message=str(message), retry=status, raw=raw
        )


Announce: TypeAlias = Callable[[AwaitEventKey], Awaitable[object] | object]


class ToolServices(Protocol):
    """What the runtime does for a tool's body."""

    async def completion_key(self) -> AwaitEventKey:
        """The key by which the outside answers this call; the same however often it is asked for."""
        ...

    def deadline_after(self, timeout: Duration) -> int:
        """When a wait that begins now times out."""
        ...

    async def direct(
        self, prompt: str, *, output: object, instructions: str, model: object
    ) -> DirectResult[object]:
        """Ask a model once, outside the turn; booked with this attempt."""
        ...

    async def child(self, agent: str, prompt: str, *, name: str, output: object) -> "ChildAnswer":
        """Run a turn of a child session; booked with this attempt."""
        ...

    @property
    def processes(self) -> ToolProcesses:
        """The background processes of the session."""
        ...

    @property
    def triggers(self) -> ToolTriggers:
        """The events that the body may emit."""
        ...

    @property
    def attachments(self) -> ToolAttachments | None:
        """The attachments of the session; None where nothing can keep any."""
        ...


@dataclass(frozen=True, slots=True)
class ChildAnswer:
    """What another agent came to in a session of its own.

    Attributes:
        session_id: The child session, which stays and can be looked at like any other.
        turn_id: The turn.
        text: Its final answer, or "".
        outcome: How the turn ended.
        value: The answer read as what was asked for with `output`; else the text.
    """

    session_id: str
    turn_id: str
    text: str
    outcome: TurnOutcome
    value: object = None


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool's body may know of its call, and what the runtime does for it.

    Ask for it with a parameter of this type.

    Attributes:
        session_id: The session.
        turn_id: The turn.
        call_id: The model's call.
        tool_name: The tool.
        attempt: Which attempt this is, from 1.
        max_attempts: How many there may be.
        idempotency_key: The same for every attempt of this call, also after a crash: hand it to
            systems outside, so that what they did once they do not do twice.
        cancel: Tripped when the attempt is given up: it took too long, or the runtime stops driving
            the turn. A plain function in its thread learns of it in no other way.
        services: What stands behind `defer`, `direct`, `child`, `processes`, `triggers` and
            `attachments`; given by the runtime.
        execution_binding: What the grant hands along, in a call that was granted.
    """

    session_id: str
    turn_id: str
    call_id: str
    tool_name: str
    attempt: int
    max_attempts: int
    idempotency_key: str
    cancel: CancelToken = field(default_factory=CancelToken)
    services: ToolServices | None = field(default=None, repr=False)
    execution_binding: JsonValue = None

    async def defer(
        self,
        announce: Announce | None = None,
        *,
        timeout: Duration | None = None,  # noqa: ASYNC109  of the wait, not of this call
    ) -> PendingCompletion:
        """Leave the answer to the outside: return what this returns.

        The call's key is taken first and given to `announce`, which sends it to whoever will answer.
        The turn then waits, over restarts, until `runtime.completions.resolve(key, value)` is called
        in any process over the same store, or until `timeout`.

            return await ctx.defer(send_approval_request, timeout=timedelta(days=3))

        Args:
            announce: Called with the key, once per attempt. If it raises, the attempt has failed.
            timeout: Seconds or a `timedelta`; None waits for ever. The clock is not started again by
                a restart.

        Raises:
            LashError: `tool_completion_key_process_lifetime` in a runtime whose keys die with the
                process; `tool_context_detached`, `duration_invalid`.
        """
        services = self._attached()
        deadline = None if timeout is None else services.deadline_after(timeout)
        key = await services.completion_key()
        if announce is not None:
            announced = announce(key)
            if inspect.isawaitable(announced):
                await announced
        return PendingCompletion(key=key, deadline_at_ms=deadline)

    @overload
    async def direct(
        self, prompt: str, *, instructions: str = "", model: object = None
    ) -> DirectResult[str]: ...

    @overload
    async def direct(
        self, prompt: str, *, output: type[T], instructions: str = "", model: object = None
    ) -> DirectResult[T]: ...

    @overload
    async def direct(
        self, prompt: str, *, output: JsonObject, instructions: str = "", model: object = None
    ) -> DirectResult[JsonValue]: ...

    async def direct(
        self, prompt: str, *, output: object = None, instructions: str = "", model: object = None
    ) -> DirectResult[object]:
        """Ask a model once, outside the turn. Part of this attempt: it is not recorded on its own.

        What it costs is booked with the attempt, once, and shows in the turn's usage.

        Args:
            prompt: What to ask.
            output: None for text, `dict` for any JSON object, a type, or a JSON schema.
            instructions: The system prompt.
            model: Which model; the agent's own by default.

        Raises:
            DirectError: `direct_failed`, `invalid_structured_output`.
            ConfigurationError: `direct_request_invalid`, and what resolving the model raises.
        """
        return await self._attached().direct(
            prompt, output=output, instructions=instructions, model=model
        )

    async def child(
        self, agent: str, prompt: str, *, name: str = "child", output: object = None
    ) -> ChildAnswer:
        """Have another agent work on a task, in a session of its own, and wait for its answer.

            answer = await ctx.child("researcher", f"Find out about {topic}.")

        The child is a durable session like any other. It is named by this tool call: when the call is
        run again after a crash, it finds the child's turn where it is, finished or not. Asking again
        under the same name goes on with the same conversation; another name begins another one. What
        the child used is booked with this turn, apart from its own. Stopping this turn stops the child.

        Args:
            agent: The agent, by name; one that the runtime has.
            prompt: What it is to do.
            name: Tells the children of one call apart.
            output: What the answer is to be, as for `Session.run`.

        Raises:
            ToolError: `child_stopped`: the child's turn was stopped; the message says why.
            ConfigurationError: `agent_unknown`.
            LashError: `child_session_too_deep`; why the turn cannot be driven here now.
        """
        answer = await self._attached().child(agent, prompt, name=name, output=output)
        if isinstance(answer.outcome, Stopped):
            reason = answer.outcome.reason.__struct_config__.tag
            raise ToolError(
                f"The agent {agent!r} came to no answer ({reason}); its session is "
                f"{answer.session_id!r}.",
                code="child_stopped",
            )
        return answer

    @property
    def processes(self) -> ToolProcesses:
        """Background work: start it, wait for it, tell it things, from within this call.

            export = await ctx.processes.start(export_orders, year=2026)
            return await ctx.processes.result(export)      # or return `export`, and ask in a later turn

        What is started is durable and outlives the turn; what it is called derives from this call, so
        that an attempt that is run again starts nothing twice. The session sees it from then on.

        Raises:
            LashError: `tool_context_detached`.
        """
        return self._attached().processes

    @property
    def triggers(self) -> ToolTriggers:
        """Events: `await ctx.triggers.emit("order.paid", {"id": "o-7"})`, once for all attempts of this call.

        Raises:
            LashError: `tool_context_detached`.
        """
        return self._attached().triggers

    @property
    def attachments(self) -> ToolAttachments:
        """Files and pictures of the session: put what the tool makes, read what the session holds.

            chart = await ctx.attachments.put(png, label="chart.png")
            return {"title": "Sales", "chart": chart}      # the model is shown the picture at its place

        Raises:
            LashError: `tool_context_detached`.
        """
        attachments = self._attached().attachments
        if attachments is None:
            raise LashError("tool_context_detached", "Nothing here can keep attachments.")
        return attachments

    def _attached(self) -> ToolServices:
        if self.services is None:
            raise LashError(
                "tool_context_detached",
                f"The context of {self.tool_name} belongs to no runtime, so it can only be read.",
            )
        return self.services


def give_up(context: ToolContext, reason: str) -> None:
    """Tell a tool's body that nobody waits for this attempt any more."""
    stop = Cancellation(request_id=context.call_id, origin="runtime", reason=reason)
    try:
        context.cancel.cancel(stop)
    except Exception:  # noqa: BLE001  the body's own callbacks; they change nothing for the turn
        _log.exception("a cancel callback of tool %s failed", context.tool_name)


class Tool(Protocol):
    """A tool as the dispatcher sees it."""

    @property
    def id(self) -> str:
        """The tool's identity, `tool:<name>`."""
        ...

    @property
    def name(self) -> str:
        """The name the model calls."""
        ...

    @property
    def spec(self) -> ToolSpec:
        """How it is offered to a model."""
        ...

    @property
    def serial(self) -> bool:
        """Whether it must not run beside other calls of the same message."""
        ...

    @property
    def retry(self) -> ToolRetry | None:
        """How often a failure that is safe to repeat is repeated."""
        ...

    def check(self, args: JsonObject) -> None:
        """Validate arguments without running anything.

        Raises:
            LashError: `invalid_tool_args`.
        """
        ...

    async def run(self, args: JsonObject, context: ToolContext) -> ToolOutput | PendingCompletion:
        """Run the body once. Failures are values; only cancellation is raised.

        A `PendingCompletion` leaves the answer to the outside.
        """
        ...
