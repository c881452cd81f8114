"""What an effect comes to: what is recorded, and replayed (effects spec, section 3).

Whatever an executor changes on the side must be in its outcome, because a replay skips the executor.
A model's and a tool's failures are data in here; `EffectFailed` is for what failed around them.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from lash.core.json import Data, JsonObject, JsonValue
from lash.effects.process_commands import ProcessEffectOutcome
from lash.effects.trigger_commands import TriggerEffectOutcome, TriggerEmission
from lash.effects.waits.model import AwaitEventKey, Resolution
from lash.llm.response import LlmFailure, LlmResponse
from lash.llm.retry import LlmCallRecord
from lash.llm.usage import Usage
from lash.turn.exchange import CheckpointDelivery, ExecutionEnvironment
from lash.turn.messages import Message
from lash.turn.tools import CompletedToolCall, ToolOutput


class LlmCallOutcome(Data, tag_field="type", tag="llm_call"):
    """A model's answer, or why there is none; exactly one of `response` and `failure` is set.

    `wasted` sums what failed attempts reported; `text_streamed` says that the text was shown live.
    """

    record: LlmCallRecord
    response: LlmResponse | None = None
    failure: LlmFailure | None = None
    text_streamed: bool = False
    wasted: Usage = Usage()

    @property
    def spent(self) -> Usage:
        """What the call used in all, failed attempts included.

        Raises:
            LashError: `token_usage_accounting`: the counts make no sense.
        """
        return _spent(self.response or self.failure, self.wasted)


class DirectOutcome(Data, tag_field="type", tag="direct"):
    """The answer to one model call outside any turn, or why there is none."""

    record: LlmCallRecord
    response: LlmResponse | None = None
    failure: LlmFailure | None = None
    wasted: Usage = Usage()

    @property
    def spent(self) -> Usage:
        """What the call used in all; raises as `LlmCallOutcome.spent`."""
        return _spent(self.response or self.failure, self.wasted)


def _spent(answer: LlmResponse | LlmFailure | None, wasted: Usage) -> Usage:
    return (answer.usage if answer is not None else Usage()) + wasted


class ToolBatchOutcome(Data, tag_field="type", tag="tool_batch"):
    """The answers of a batch, in call order."""

    results: tuple[CompletedToolCall, ...]


class PendingCompletion(Data):
    """A tool call whose answer comes from outside.

    Attributes:
        key: What the outside resolves.
        deadline_at_ms: When the call times out. Fixed when the tool was left, so that a restart does
            not start the clock again.
    """

    key: AwaitEventKey
    deadline_at_ms: int | None = None


class DirectCall(Data):
    """A model call that a tool's body made: what it cost, booked with the attempt that made it."""

    record: LlmCallRecord
    usage: Usage


class ChildTurn(Data):
    """A turn of a child session that a tool's body waited for: what it used, booked with the attempt."""

    session_id: str
    turn_id: str
    model: str
    usage: Usage


#: What a plugin remembers from here on, numbered: of several changes the one with the highest number holds.
StateChange: TypeAlias = tuple[int, Any]


class ToolAttemptOutcome(Data, tag_field="type", tag="tool_attempt"):
    """What one run of a tool came to, and what follows: another attempt, a wait, or nothing.

    The decision is part of the outcome: a resumed turn goes on as it was decided, also when the tool's
    retry policy has changed since. `output` is set unless the call is `pending`.

    Attributes:
        args: What a plugin has put in the place of the model's arguments.
        held_by: The plugin that holds the call until the outside has spoken; the tool has not run.
        shown: What a plugin lets the model see of the answer.
        plugin_state: What plugins remember from here on.
        emissions: The events that the body has emitted.
    """

    output: ToolOutput | None = None
    pending: PendingCompletion | None = None
    duration_ms: int = 0
    retry_in_ms: int | None = None
    direct_calls: tuple[DirectCall, ...] = ()
    children: tuple[ChildTurn, ...] = ()
    args: JsonObject | None = None
    held_by: str | None = None
    shown: str | None = None
    plugin_state: Mapping[str, StateChange] = {}
    emissions: tuple[TriggerEmission, ...] = ()


class ExecCodeOutcome(Data, tag_field="type", tag="exec_code"):
    """What a piece of code came to, or why it could not be run."""

    response: JsonObject | None = None
    error: str | None = None


class CheckpointOutcome(Data, tag_field="type", tag="checkpoint"):
    """What a checkpoint delivers, and what plugins remember from here on."""

    delivery: CheckpointDelivery = CheckpointDelivery()
    plugin_state: Mapping[str, StateChange] = {}


class QueuedPrompt(Data):
    """A turn that a plugin has the session take, once the one that it belongs to is committed."""

    prompt: str
    source_key: str | None = None


class PluginAnswer(Data):
    """What an operation of a plugin came to."""

    value: JsonValue = None
    queued: tuple[QueuedPrompt, ...] = ()


class SyncExecutionEnvironmentOutcome(Data, tag_field="type", tag="sync_execution_environment"):
    """The changed environment, None when nothing changed, or an error.

    `max_turns` is the limit that holds from here on. It is recorded, so that a turn whose limit was
    lowered while it was interrupted still uses the answers it has paid for. `messages` and
    `transient_messages` are what plugins put in before the first model call. `answer` is what a plugin
    answered a host, where the turn is one that asks it. `shown_from` is the message from which on the
    model is shown the conversation, if not from its beginning; `compact` what a summary is to keep that is
    to be made after the turn, if one is.
    """

    environment: ExecutionEnvironment | None = None
    error: str | None = None
    max_turns: int | None = None
    messages: tuple[Message, ...] = ()
    transient_messages: tuple[Message, ...] = ()
    plugin_state: Mapping[str, StateChange] = {}
    answer: PluginAnswer | None = None
    shown_from: str | None = None
    compact: str | None = None


class SleepOutcome(Data, tag_field="type", tag="sleep"):
    """When the sleep is over, in milliseconds since the epoch. Recorded before waiting.

    `cancelled` is what is recorded, under a key of its own, when the sleep was broken off.
    """

    due_at_ms: int
    cancelled: bool = False


class AwaitEventOutcome(Data, tag_field="type", tag="await_event"):
    """How a wait ended."""

    resolution: Resolution


class PeekAwaitEventOutcome(Data, tag_field="type", tag="peek_await_event"):
    """How a promise stood: its resolution, or None while it had none."""

    resolution: Resolution | None = None


class DurableStepOutcome(Data, tag_field="type", tag="durable_step"):
    """What one attempt of a step came to: its value, or its failure and whether another follows."""

    value: JsonValue = None
    failure: "StepFailure | None" = None
    retry_in_ms: int | None = None


class StepFailure(Data):
    """What a step raised, by type and words: the exception itself cannot be kept."""

    type: str
    message: str
    code: str | None = None


class TriggerOutcome(Data, tag_field="type", tag="trigger"):
    """What a trigger command came to."""

    result: TriggerEffectOutcome


class ProcessOutcome(Data, tag_field="type", tag="process"):
    """What a process command came to."""

    result: ProcessEffectOutcome


class RuntimeValueOutcome(Data, tag_field="type", tag="runtime_value"):
    """What was read from the clock or the source of chance."""

    value: int | float | str


class EffectFailed(Data, tag_field="type", tag="failed"):
    """The effect failed for a reason that would be the same next time.

    `plugin_state` is what plugins remember from here on all the same.
    """

    code: str
    message: str
    plugin_state: Mapping[str, StateChange] = {}


EffectOutcome: TypeAlias = (
    LlmCallOutcome
    | DirectOutcome
    | ToolBatchOutcome
    | ToolAttemptOutcome
    | ExecCodeOutcome
    | CheckpointOutcome
    | SyncExecutionEnvironmentOutcome
    | SleepOutcome
    | AwaitEventOutcome
    | PeekAwaitEventOutcome
    | DurableStepOutcome
    | TriggerOutcome
    | ProcessOutcome
    | RuntimeValueOutcome
    | EffectFailed
)
