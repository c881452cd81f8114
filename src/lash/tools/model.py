"""What a tool is to the runtime, and what its body may say besides a value."""

import logging
from dataclasses import dataclass, field
from typing import Protocol

from lash.core.cancel import Cancellation, CancelToken
from lash.core.json import Data, JsonObject, JsonValue
from lash.llm.request import ToolSpec
from lash.llm.retry import check_retry
from lash.turn.tools import (
    FailureClass,
    NeverRetry,
    RetryStatus,
    SafeToRetry,
    ToolFailure,
    ToolOutput,
)

_log = logging.getLogger("lash.tools")


class ToolRetry(Data):
    """How often a tool that declares a failure safe to repeat is run again. Milliseconds.

    Attributes:
        max_attempts: Attempts in all, the first included.
        base_delay_ms: The first wait; each further one doubles.
        max_delay_ms: No wait is longer; 0 means no cap.
    """

    max_attempts: int = 3
    base_delay_ms: int = 200
    max_delay_ms: int = 10_000

    def __post_init__(self) -> None:
        """Refuse what cannot be counted or waited.

        Raises:
            ConfigurationError: `retry_invalid`.
        """
        check_retry(self)


class Finish(Data):
    """Returned by a tool: end the turn with this value."""

    value: JsonValue = None


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


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool's body may know of its call. Ask for it with a parameter of this type.

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
    """

    session_id: str
    turn_id: str
    call_id: str
    tool_name: str
    attempt: int
    max_attempts: int
    idempotency_key: str
    cancel: CancelToken = field(default_factory=CancelToken)


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

    async def run(self, args: JsonObject, context: ToolContext) -> ToolOutput:
        """Run the body once. Failures are values; only cancellation is raised."""
        ...
