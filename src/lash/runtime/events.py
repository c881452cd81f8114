"""What an application sees of a running turn (facade spec 5.4).

Each event is announced where the work is really executed, so replayed work is silent (D18). Live text
is a preview: `ModelAttemptReset` retracts it, and the turn's result is the truth.
"""

from collections.abc import Callable
from typing import TypeAlias

from lash.core.json import Data, JsonObject
from lash.llm.usage import Usage
from lash.sessions.model import ToolCallRecord


class ModelRequestStarted(Data, tag_field="type", tag="model_request_started"):
    """A model is being asked."""

    protocol_iteration: int


class TextDelta(Data, tag_field="type", tag="assistant_prose_delta"):
    """More of the answer's text. Texts of one `correlation_id` belong together."""

    text: str
    correlation_id: str


class ReasoningDelta(Data, tag_field="type", tag="reasoning_delta"):
    """More of the model's reasoning."""

    text: str
    correlation_id: str


class ModelAttemptReset(Data, tag_field="type", tag="model_attempt_reset"):
    """Drop the live text shown under these ids: the attempt that streamed it failed."""

    correlation_ids: tuple[str, ...]


class RetryScheduled(Data, tag_field="type", tag="retry_status"):
    """A model call failed and is tried again after a wait."""

    wait_ms: int
    attempt: int
    max_attempts: int
    reason: str


class ToolCallStarted(Data, tag_field="type", tag="tool_call_started"):
    """A tool is being run."""

    call_id: str
    tool: str
    args: JsonObject


class ToolCallCompleted(Data, tag_field="type", tag="tool_call_completed"):
    """A tool call has its answer; failures are answers too."""

    call: ToolCallRecord


class UsageReported(Data, tag_field="type", tag="usage"):
    """Tokens of one model call, failed attempts included."""

    protocol_iteration: int
    usage: Usage


TurnEvent: TypeAlias = (
    ModelRequestStarted
    | TextDelta
    | ReasoningDelta
    | ModelAttemptReset
    | RetryScheduled
    | ToolCallStarted
    | ToolCallCompleted
    | UsageReported
)
Announce: TypeAlias = Callable[[TurnEvent], None]
