"""What crosses the boundary and what comes back (effects spec, section 3).

A command is asked for; an outcome is what gets recorded. Whatever an executor changes on the side
must be in its outcome, because a replay skips the executor.
"""

from typing import TypeAlias

from lash.core.causality import EffectKind
from lash.core.json import Data, JsonObject
from lash.llm.request import LlmRequest
from lash.llm.response import LlmFailure, LlmResponse
from lash.llm.retry import LlmCallRecord
from lash.llm.usage import Usage
from lash.turn.driver import CheckpointKind
from lash.turn.exchange import CheckpointDelivery, ExecutionEnvironment
from lash.turn.tools import CompletedToolCall, PendingToolCall, ToolOutput


class LlmCallCommand(Data, tag_field="type", tag="llm_call"):
    """Call a model. Retries happen inside; the outcome holds their ledger."""

    request: LlmRequest


class ToolBatchCommand(Data, tag_field="type", tag="tool_batch"):
    """Run all calls of one model message. Interpreted again on replay; its attempts are recorded."""

    batch_id: str
    calls: tuple[PendingToolCall, ...]


class PreparedToolCall(Data):
    """A call whose tool was found and whose arguments fit its schema."""

    call_id: str
    tool_id: str
    tool_name: str
    args: JsonObject


class ToolAttemptCommand(Data, tag_field="type", tag="tool_attempt"):
    """Run a tool's body once. The atom of opaque host code."""

    call: PreparedToolCall
    attempt: int
    max_attempts: int


class CheckpointCommand(Data, tag_field="type", tag="checkpoint"):
    """Collect what arrived for the running turn."""

    checkpoint: CheckpointKind


class SyncExecutionEnvironmentCommand(Data, tag_field="type", tag="sync_execution_environment"):
    """Bring prompt and tools up to date."""

    update_machine_config: bool


class SleepCommand(Data, tag_field="type", tag="sleep"):
    """Wait. The due time is fixed when the sleep is first asked for."""

    duration_ms: int


EffectCommand: TypeAlias = (
    LlmCallCommand
    | ToolBatchCommand
    | ToolAttemptCommand
    | CheckpointCommand
    | SyncExecutionEnvironmentCommand
    | SleepCommand
)


class LlmCallOutcome(Data, tag_field="type", tag="llm_call"):
    """A model's answer, or why there is none; exactly one of `response` and `failure` is set.

    `wasted` sums what failed attempts reported; `text_streamed` says that the text was shown live.
    """

    record: LlmCallRecord
    response: LlmResponse | None = None
    failure: LlmFailure | None = None
    text_streamed: bool = False
    wasted: Usage = Usage()


class ToolBatchOutcome(Data, tag_field="type", tag="tool_batch"):
    """The answers of a batch, in call order."""

    results: tuple[CompletedToolCall, ...]


class ToolAttemptOutcome(Data, tag_field="type", tag="tool_attempt"):
    """What one run of a tool came to, and whether another follows.

    The decision is part of the outcome: a resumed turn goes on as it was decided, also when the tool's
    retry policy has changed since.
    """

    output: ToolOutput
    duration_ms: int = 0
    retry_in_ms: int | None = None


class CheckpointOutcome(Data, tag_field="type", tag="checkpoint"):
    """What a checkpoint delivers."""

    delivery: CheckpointDelivery = CheckpointDelivery()


class SyncExecutionEnvironmentOutcome(Data, tag_field="type", tag="sync_execution_environment"):
    """The changed environment, None when nothing changed, or an error.

    `max_turns` is the limit that holds from here on. It is recorded, so that a turn whose limit was
    lowered while it was interrupted still uses the answers it has paid for.
    """

    environment: ExecutionEnvironment | None = None
    error: str | None = None
    max_turns: int | None = None


class SleepOutcome(Data, tag_field="type", tag="sleep"):
    """When the sleep is over, in milliseconds since the epoch. Recorded before waiting."""

    due_at_ms: int


class EffectFailed(Data, tag_field="type", tag="failed"):
    """The effect failed for a reason that would be the same next time."""

    code: str
    message: str


EffectOutcome: TypeAlias = (
    LlmCallOutcome
    | ToolBatchOutcome
    | ToolAttemptOutcome
    | CheckpointOutcome
    | SyncExecutionEnvironmentOutcome
    | SleepOutcome
    | EffectFailed
)


def command_kind(command: EffectCommand) -> EffectKind:
    """The kind of effect a command asks for."""
    match command:
        case LlmCallCommand():
            return "llm_call"
        case ToolBatchCommand():
            return "tool_batch"
        case ToolAttemptCommand():
            return "tool_attempt"
        case CheckpointCommand():
            return "checkpoint"
        case SyncExecutionEnvironmentCommand():
            return "sync_execution_environment"
        case SleepCommand():
            return "sleep"
