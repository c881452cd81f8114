"""What an application sees of a running turn (facade spec 5.4).

Each event is announced where the work is really executed, so replayed work is silent (D18). Live text
is a preview: `ModelAttemptReset` retracts it, and the turn's result is the truth.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

from lash.core.cancel import Cancellation
from lash.core.json import Data, JsonObject, JsonValue
from lash.llm.usage import Usage
from lash.sessions.model import ChildUsage, ToolCallRecord
from lash.turn.driver import CheckpointKind


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


class ToolCallDeferred(Data, tag_field="type", tag="tool_call_deferred"):
    """A tool left its answer to the outside; the turn waits for it, until the deadline if there is one."""

    call_id: str
    tool: str
    deadline_at_ms: int | None = None


class ToolCallCompleted(Data, tag_field="type", tag="tool_call_completed"):
    """A tool call has its answer; failures are answers too."""

    call: ToolCallRecord


class UsageReported(Data, tag_field="type", tag="usage"):
    """Tokens of one model call, failed attempts included."""

    protocol_iteration: int
    usage: Usage


class QueuedInputAccepted(Data, tag_field="type", tag="queued_input_accepted"):
    """A checkpoint of the turn took these items of the session's queue."""

    checkpoint: CheckpointKind
    input_ids: tuple[str, ...]


class ChildUsageReported(Data, tag_field="type", tag="child_usage"):
    """Tokens that a child session has used for a tool call so far, and by which model."""

    child: ChildUsage


class TurnCancelRequested(Data, tag_field="type", tag="turn_cancel_requested"):
    """Somebody asked the turn to stop; it will be committed as cancelled."""

    cancellation: Cancellation


class PluginEmitted(Data, tag_field="type", tag="plugin_event"):
    """A plugin says something to whoever watches the session; nothing is kept of it."""

    plugin_id: str
    name: str
    payload: JsonValue = None


class TurnParked(Data, tag_field="type", tag="turn_parked"):
    """A turn does not go on by itself: a person has to decide, or its agent's version is missing."""

    session_id: str
    turn_id: str
    code: str
    message: str
    waits_for: Literal["person", "agent"] = "person"


class TurnRestarted(Data, tag_field="type", tag="turn_restarted"):
    """A turn was begun again from its input, under another id, because its surroundings changed."""

    session_id: str
    turn_id: str
    restarted_as: str
    message: str


class ProcessParkedEvent(Data, tag_field="type", tag="process_parked"):
    """A process does not go on by itself: a person has to decide, or its code is not here."""

    process_id: str
    code: str
    message: str
    waits_for: Literal["person", "code"] = "person"


class ProcessFaultEvent(Data, tag_field="type", tag="process_fault"):
    """Something went wrong with a process that is none of its own doing; it is tried again.

    `operation` says at what: `claim_lease`, `renew_lease`, `run`; `drain` when it was given up because
    its worker shut down.
    """

    process_id: str
    operation: str
    code: str
    message: str


class TriggerDeliveryFailed(Data, tag_field="type", tag="trigger_delivery_failed"):
    """What an event means for a subscription cannot be started; it waits until somebody asks for it again."""

    delivery_id: str
    event: str
    key: str
    code: str
    message: str


TurnEvent: TypeAlias = (
    ModelRequestStarted
    | TextDelta
    | ReasoningDelta
    | ModelAttemptReset
    | RetryScheduled
    | ToolCallStarted
    | ToolCallDeferred
    | ToolCallCompleted
    | UsageReported
    | ChildUsageReported
    | QueuedInputAccepted
    | TurnCancelRequested
    | PluginEmitted
    | TurnParked
    | TurnRestarted
)
Announce: TypeAlias = Callable[[TurnEvent], None]
