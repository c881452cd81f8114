"""What may cross the boundary (effects spec, section 3). A command is asked for; see `outcomes`."""

from typing import Literal, TypeAlias

from lash.core.causality import EffectKind
from lash.core.json import Data, JsonObject, JsonValue
from lash.effects.process_commands import ProcessCommand
from lash.effects.trigger_commands import TriggerCommand
from lash.effects.waits.model import AwaitEventKey
from lash.llm.request import LlmRequest
from lash.turn.driver import CheckpointKind
from lash.turn.tools import PendingToolCall


class LlmCallCommand(Data, tag_field="type", tag="llm_call"):
    """Call a model. Retries happen inside; the outcome holds their ledger."""

    request: LlmRequest


class DirectCommand(Data, tag_field="type", tag="direct"):
    """Call a model once, outside any turn. `usage_source` says in whose name."""

    request: LlmRequest
    usage_source: str


class ToolBatchCommand(Data, tag_field="type", tag="tool_batch"):
    """Run all calls of one model message. Interpreted again on replay; its attempts are recorded."""

    batch_id: str
    calls: tuple[PendingToolCall, ...]


class PreparedToolCall(Data):
    """A call on its way to its tool; `tool_id` is None when there is no tool of that name."""

    call_id: str
    tool_id: str | None
    tool_name: str
    args: JsonObject


class ToolAttemptCommand(Data, tag_field="type", tag="tool_attempt"):
    """Run a tool's body once. The atom of opaque host code.

    `execution_grant` is the permission by which it is run, if the tool is in no catalogue.
    """

    call: PreparedToolCall
    attempt: int
    max_attempts: int
    execution_grant: JsonValue = None


class ExecCodeCommand(Data, tag_field="type", tag="exec_code"):
    """Run a piece of code. Interpreted again on replay; the effects it asks for are recorded."""

    language: str
    code: str


class CheckpointCommand(Data, tag_field="type", tag="checkpoint"):
    """Collect what arrived for the running turn."""

    checkpoint: CheckpointKind


class SyncExecutionEnvironmentCommand(Data, tag_field="type", tag="sync_execution_environment"):
    """Bring prompt and tools up to date."""

    update_machine_config: bool


class SleepCommand(Data, tag_field="type", tag="sleep"):
    """Wait. The due time is fixed when the sleep is first asked for."""

    duration_ms: int


class AwaitEventCommand(Data, tag_field="type", tag="await_event"):
    """Wait until a promise is resolved."""

    key: AwaitEventKey


class PeekAwaitEventCommand(Data, tag_field="type", tag="peek_await_event"):
    """Look at a promise without waiting. Recorded, because it steers what is asked for next."""

    key: AwaitEventKey


class DurableStepCommand(Data, tag_field="type", tag="durable_step"):
    """Run a named piece of host code once. `input` is what it is called with."""

    step_id: str
    input: JsonValue = None
    attempt: int = 1
    max_attempts: int = 1


class TriggerEffectCommand(Data, tag_field="type", tag="trigger"):
    """Change or list trigger subscriptions."""

    command: TriggerCommand


class ProcessEffectCommand(Data, tag_field="type", tag="process"):
    """Start, steer or look at a background process."""

    command: ProcessCommand


RuntimeValueOperation: TypeAlias = Literal["now", "random", "uuid", "settled", "cancelled"]


class RuntimeValueCommand(Data, tag_field="type", tag="runtime_value"):
    """Read the clock (milliseconds), a random number in [0, 1) of 53 bits, or a fresh id.

    Or keep which of several branches of a process came first, or at which of its effects it was told to
    stop: what happened to happen, and steers what follows.
    """

    operation: RuntimeValueOperation


EffectCommand: TypeAlias = (
    LlmCallCommand
    | DirectCommand
    | ToolBatchCommand
    | ToolAttemptCommand
    | ExecCodeCommand
    | CheckpointCommand
    | SyncExecutionEnvironmentCommand
    | SleepCommand
    | AwaitEventCommand
    | PeekAwaitEventCommand
    | DurableStepCommand
    | TriggerEffectCommand
    | ProcessEffectCommand
    | RuntimeValueCommand
)


def command_kind(command: EffectCommand) -> EffectKind:
    """The kind of effect a command asks for: its tag on the wire."""
    return _KINDS[type(command)]


def is_composite(command: EffectCommand) -> bool:
    """Whether a command is interpreted again on replay, so that only its atoms are recorded."""
    return isinstance(command, ToolBatchCommand | ExecCodeCommand)


_KINDS: dict[type[EffectCommand], EffectKind] = {
    LlmCallCommand: "llm_call",
    DirectCommand: "direct",
    ToolBatchCommand: "tool_batch",
    ToolAttemptCommand: "tool_attempt",
    ExecCodeCommand: "exec_code",
    CheckpointCommand: "checkpoint",
    SyncExecutionEnvironmentCommand: "sync_execution_environment",
    SleepCommand: "sleep",
    AwaitEventCommand: "await_event",
    PeekAwaitEventCommand: "peek_await_event",
    DurableStepCommand: "durable_step",
    TriggerEffectCommand: "trigger",
    ProcessEffectCommand: "process",
    RuntimeValueCommand: "runtime_value",
}
