"""What the machine asks of its host, and how it is answered (turns spec 1.1).

Effects with an id need a response; the others are told and forgotten. Effect ids start at 1 in every
turn.
"""

from typing import TypeAlias

from lash.core.json import Data
from lash.llm.request import LlmRequest, ToolSpec
from lash.llm.response import LlmFailure, LlmResponse
from lash.llm.usage import Usage
from lash.turn.driver import CheckpointKind, ExecResult
from lash.turn.events import HistoryRecord, SessionStreamEvent
from lash.turn.messages import Message
from lash.turn.tools import CompletedToolCall, PendingToolCall


class EmitEffect(Data, tag_field="type", tag="emit"):
    """Say this to whoever listens."""

    event: SessionStreamEvent


class ProgressEffect(Data, tag_field="type", tag="progress"):
    """The turn's history grew; `event_delta` is what was not reported before."""

    event_delta: tuple[HistoryRecord, ...]
    protocol_iteration: int


class DoneEffect(Data, tag_field="type", tag="done"):
    """The turn is over; `messages` is the whole transcript."""

    messages: tuple[Message, ...]
    event_delta: tuple[HistoryRecord, ...]
    protocol_iteration: int


class SyncExecutionEnvironmentEffect(Data, tag_field="type", tag="sync_execution_environment"):
    """Bring tools and prompt up to date."""

    id: int
    update_machine_config: bool


class LlmCallEffect(Data, tag_field="type", tag="llm_call"):
    """Call the model."""

    id: int
    request: LlmRequest


class ToolCallsEffect(Data, tag_field="type", tag="tool_calls"):
    """Run the calls of one message and answer in call order."""

    id: int
    calls: tuple[PendingToolCall, ...]


class ExecCodeEffect(Data, tag_field="type", tag="exec_code"):
    """Run a cell of code."""

    id: int
    language: str
    code: str


class CheckpointEffect(Data, tag_field="type", tag="checkpoint"):
    """Deliver what arrived since the last checkpoint."""

    id: int
    checkpoint: CheckpointKind


QueuedEffect: TypeAlias = EmitEffect | ProgressEffect | DoneEffect
OwedEffect: TypeAlias = (
    SyncExecutionEnvironmentEffect
    | LlmCallEffect
    | ToolCallsEffect
    | ExecCodeEffect
    | CheckpointEffect
)
MachineEffect: TypeAlias = QueuedEffect | OwedEffect


class ExecutionEnvironment(Data):
    """The prompt and tools that the next model request uses."""

    instructions: str
    tools: tuple[ToolSpec, ...]


class TurnCause(Data):
    """A reason for the turn that is not the user's: a process woke it, a trigger fired."""

    id: str
    event_type: str
    text: str
    origin: str | None = None


class CheckpointDelivery(Data):
    """What a checkpoint brings into the turn, in the order it is appended."""

    committed_user_messages: tuple[Message, ...] = ()
    messages: tuple[Message, ...] = ()
    transient_messages: tuple[Message, ...] = ()
    turn_causes: tuple[TurnCause, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing arrived."""
        return not (
            self.committed_user_messages
            or self.messages
            or self.transient_messages
            or self.turn_causes
        )


class EnvironmentSynced(Data):
    """Answers a sync: the new environment, None for no change, or an error; and what is put in."""

    id: int
    environment: ExecutionEnvironment | None = None
    error: str | None = None
    messages: tuple[Message, ...] = ()


class LlmCompleted(Data):
    """Answers a model call. `wasted` counts tokens of attempts that failed."""

    id: int
    result: LlmResponse | LlmFailure
    text_streamed: bool = False
    wasted: Usage = Usage()


class ToolsCompleted(Data):
    """Answers tool calls, in call order."""

    id: int
    results: tuple[CompletedToolCall, ...]


class ExecCompleted(Data):
    """Answers a code cell."""

    id: int
    result: ExecResult


class CheckpointCompleted(Data):
    """Answers a checkpoint."""

    id: int
    delivery: CheckpointDelivery


MachineResponse: TypeAlias = (
    EnvironmentSynced | LlmCompleted | ToolsCompleted | ExecCompleted | CheckpointCompleted
)
