"""How a turn ended (turns spec, section 8)."""

from typing import TypeAlias

from lash.core.cancel import Cancellation
from lash.core.json import Data, JsonValue


class AssistantMessage(Data, tag_field="type", tag="assistant_message"):
    """The model answered in prose."""

    text: str


class ToolValue(Data, tag_field="type", tag="tool_value"):
    """A tool ended the turn with a value."""

    tool_name: str
    value: JsonValue = None


class FinalValue(Data, tag_field="type", tag="final_value"):
    """Code ended the turn with a value."""

    value: JsonValue = None


TurnFinish: TypeAlias = AssistantMessage | ToolValue | FinalValue


class Cancelled(Data, tag_field="type", tag="cancelled"):
    """Somebody asked the turn to stop; the fields are the evidence.

    Attributes:
        request_id: The request that stopped it. None when nobody is known to have asked: the
            provider said so, or the record is older than the evidence.
        origin: Who asked.
        reason: Why.
    """

    request_id: str | None = None
    origin: str | None = None
    reason: str | None = None


class Incomplete(Data, tag_field="type", tag="incomplete"):
    """The model reached its output limit."""


class InvalidInput(Data, tag_field="type", tag="invalid_input"):
    """The input could not be used."""


class MaxTurns(Data, tag_field="type", tag="max_turns"):
    """The turn limit was reached before a final answer."""


class ProviderStopped(Data, tag_field="type", tag="provider_error"):
    """The model call failed for good; the turn's issues say how."""


class RuntimeStopped(Data, tag_field="type", tag="runtime_error"):
    """The turn could not go on; the turn's issues say why."""


class ToolFailureStop(Data, tag_field="type", tag="tool_failure"):
    """The turn ended without an outcome after a tool call had not succeeded."""


class PluginAbort(Data, tag_field="type", tag="plugin_abort"):
    """A plugin refused the turn."""

    code: str
    message: str


class SubmittedError(Data, tag_field="type", tag="submitted_error"):
    """Code ended the turn as failed, with a value."""

    value: JsonValue = None


class ToolStopped(Data, tag_field="type", tag="tool_error"):
    """A tool asked to end the turn as failed."""

    tool_name: str
    value: JsonValue = None


TurnStop: TypeAlias = (
    Cancelled
    | Incomplete
    | InvalidInput
    | MaxTurns
    | ProviderStopped
    | RuntimeStopped
    | ToolFailureStop
    | PluginAbort
    | SubmittedError
    | ToolStopped
)


class Finished(Data, tag_field="status", tag="finished"):
    """The turn came to its end."""

    result: TurnFinish


class AgentFrameSwitch(Data, tag_field="status", tag="agent_frame_switch"):
    """The turn ended by handing a task to another agent frame."""

    frame_id: str
    task: str


class Stopped(Data, tag_field="status", tag="stopped"):
    """The turn was stopped before its end. It commits all the same."""

    reason: TurnStop


TurnOutcome: TypeAlias = Finished | AgentFrameSwitch | Stopped


def cancelled_by(cancellation: Cancellation) -> Stopped:
    """The outcome of a turn that this cancellation stopped."""
    return Stopped(
        reason=Cancelled(
            request_id=cancellation.request_id,
            origin=cancellation.origin,
            reason=cancellation.reason,
        )
    )


class TurnIssue(Data):
    """Something that went wrong, or changed, during a turn.

    Attributes:
        kind: Which part of lash saw it: `llm_provider`, `execution_environment`, `drift`, ….
        message: What happened.
        code: A documented code, or the provider's.
        terminal_reason: The model call's terminal reason, if one ended the turn.
        retryable: Whether asking again later may help; None when unknown.
        paths: For a drift, what changed.
    """

    kind: str
    message: str
    code: str | None = None
    terminal_reason: str | None = None
    retryable: bool | None = None
    paths: tuple[str, ...] = ()
