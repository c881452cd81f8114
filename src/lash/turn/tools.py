"""What a turn knows of tools: calls, outputs, failures, controls and what the model is shown.

Failures are values: a tool that failed answers the model, it never ends a turn (turns spec 2.3).
"""

from typing import Literal, TypeAlias

from lash.core.json import Data, JsonObject, JsonValue, canonical
from lash.turn.messages import Pieces

FailureClass: TypeAlias = Literal[
    "invalid_request",
    "unavailable",
    "permission_denied",
    "timeout",
    "execution",
    "external",
    "resource_limit",
    "internal",
]
FailureSource: TypeAlias = Literal["runtime", "tool", "plugin", "policy", "cancellation"]


class NeverRetry(Data, tag_field="type", tag="never"):
    """Running the tool again cannot help, or is not safe."""


class SafeToRetry(Data, tag_field="type", tag="safe"):
    """The attempt had no effect; it may be repeated, after `after_ms` if given."""

    after_ms: int | None = None


class RetriesExhausted(Data, tag_field="type", tag="exhausted"):
    """The attempt was safe to repeat and was repeated as often as allowed."""

    attempts: int


RetryStatus: TypeAlias = NeverRetry | SafeToRetry | RetriesExhausted


class ToolFailure(Data):
    """Why a tool did not succeed."""

    failure_class: FailureClass
    code: str
    message: str
    source: FailureSource = "tool"
    retry: RetryStatus = NeverRetry()
    raw: JsonValue = None


class ToolSuccess(Data, tag_field="status", tag="success"):
    """The tool returned `payload`.

    `has_attachments` says that attachments stand in it, each in the tagged form of
    `lash.attachments.values`. Without it no object is one, whatever it looks like.
    """

    payload: JsonValue = None
    has_attachments: bool = False


class ToolFailed(Data, tag_field="status", tag="failure"):
    """The tool failed."""

    payload: ToolFailure


class ToolCancellation(Data):
    """Why a tool was stopped."""

    message: str
    source: FailureSource = "cancellation"


class ToolCancelled(Data, tag_field="status", tag="cancelled"):
    """The tool was stopped."""

    payload: ToolCancellation


ToolOutcome: TypeAlias = ToolSuccess | ToolFailed | ToolCancelled


class FinishControl(Data, tag_field="type", tag="finish"):
    """End the turn with a value."""

    value: JsonValue = None


class FailControl(Data, tag_field="type", tag="fail"):
    """End the turn as failed."""

    failure: ToolFailure


class SwitchAgentFrameControl(Data, tag_field="type", tag="switch_agent_frame"):
    """End the turn and go on with `task` in another agent frame."""

    frame_id: str
    task: str


ToolControl: TypeAlias = FinishControl | FailControl | SwitchAgentFrameControl


class ToolOutput(Data):
    """A tool call's outcome, and what a successful one asks the turn to do."""

    outcome: ToolOutcome
    control: ToolControl | None = None


class PendingToolCall(Data):
    """A call the model made and nobody has answered yet.

    `args_error` is set when the model's argument text was not a JSON object; such a call is refused
    rather than run with made-up arguments.
    """

    call_id: str
    tool_name: str
    args: JsonObject
    args_error: str | None = None


class CompletedToolCall(Data):
    """A call with its answer.

    `model_text` is what the model is shown; `pieces` is what it is shown where attachments are among it,
    and `model_text` then names them. `emitted` are the occurrences that the call has emitted.
    """

    call_id: str
    tool_name: str
    args: JsonObject
    output: ToolOutput
    model_text: str
    duration_ms: int = 0
    attempts: int = 1
    emitted: tuple[str, ...] = ()
    pieces: Pieces = ()


def model_text(output: ToolOutput) -> str:
    """The default text a model is shown: strings verbatim, other JSON compact, failures marked."""
    match output.outcome:
        case ToolSuccess(payload=payload):
            return payload if isinstance(payload, str) else canonical(payload).decode()
        case ToolFailed(payload=failure):
            return f"[Tool execution failed]\n{failure.message}".rstrip("\n")
        case ToolCancelled(payload=cancellation):
            return f"[Tool execution cancelled]\n{cancellation.message}".rstrip("\n")


def failed(
    failure_class: FailureClass,
    code: str,
    message: str,
    *,
    source: FailureSource = "runtime",
) -> ToolOutput:
    """An output that says the call failed."""
    failure = ToolFailure(failure_class=failure_class, code=code, message=message, source=source)
    return ToolOutput(outcome=ToolFailed(payload=failure))
