"""How a turn ended (turns spec, section 8)."""

from typing import TypeAlias

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
    """Somebody asked the turn to stop."""


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
