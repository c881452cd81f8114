"""The states of a turn, and the snapshot from which a machine goes on (turns spec 1.1, 1.7)."""

from typing import TypeAlias

from lash.core.json import Data, JsonValue
from lash.llm.request import LlmRequest, ToolSpec
from lash.llm.usage import Usage
from lash.turn.driver import CheckpointKind, CheckpointResume
from lash.turn.events import HistoryRecord
from lash.turn.exchange import (
    CheckpointEffect,
    ExecCodeEffect,
    LlmCallEffect,
    OwedEffect,
    QueuedEffect,
    SyncExecutionEnvironmentEffect,
    ToolCallsEffect,
)
from lash.turn.messages import Message
from lash.turn.tools import PendingToolCall


class PreparingProtocol(Data, tag_field="state", tag="preparing_protocol"):
    """Initial: the first sync of the environment is due."""


class PrepareIteration(Data, tag_field="state", tag="prepare_iteration"):
    """The protocol must be asked what comes next."""


class WaitingExecutionEnvironment(Data, tag_field="state", tag="waiting_execution_environment"):
    """A sync is outstanding."""

    effect_id: int
    update_machine_config: bool


class WaitingLlm(Data, tag_field="state", tag="waiting_llm"):
    """A model call is outstanding."""

    effect_id: int
    request: LlmRequest
    driver_state: JsonValue = None


class WaitingTools(Data, tag_field="state", tag="waiting_tools"):
    """Tool calls are outstanding."""

    effect_id: int
    calls: tuple[PendingToolCall, ...]


class WaitingExec(Data, tag_field="state", tag="waiting_exec"):
    """A code cell is outstanding."""

    effect_id: int
    language: str
    code: str
    driver_state: JsonValue = None


class WaitingCheckpoint(Data, tag_field="state", tag="waiting_checkpoint"):
    """A checkpoint is outstanding."""

    effect_id: int
    checkpoint: CheckpointKind
    on_empty: CheckpointResume


class MachineFinished(Data, tag_field="state", tag="finished"):
    """The turn is over."""


MachineState: TypeAlias = (
    PreparingProtocol
    | PrepareIteration
    | WaitingExecutionEnvironment
    | WaitingLlm
    | WaitingTools
    | WaitingExec
    | WaitingCheckpoint
    | MachineFinished
)


def owed_effect(state: MachineState) -> OwedEffect | None:
    """The effect a state waits for. It follows from the state alone, so a restored one re-issues it."""
    match state:
        case WaitingExecutionEnvironment(effect_id=id_, update_machine_config=update):
            return SyncExecutionEnvironmentEffect(id=id_, update_machine_config=update)
        case WaitingLlm(effect_id=id_, request=request):
            return LlmCallEffect(id=id_, request=request)
        case WaitingTools(effect_id=id_, calls=calls):
            return ToolCallsEffect(id=id_, calls=calls)
        case WaitingExec(effect_id=id_, language=language, code=code):
            return ExecCodeEffect(id=id_, language=language, code=code)
        case WaitingCheckpoint(effect_id=id_, checkpoint=checkpoint):
            return CheckpointEffect(id=id_, checkpoint=checkpoint)
        case PreparingProtocol() | PrepareIteration() | MachineFinished():
            return None


class TurnCheckpoint(Data):
    """Everything a machine knows. For tests and embedding; the runtime resumes from its journal."""

    state: MachineState
    queued: tuple[QueuedEffect, ...]
    next_effect_id: int
    next_message_id: int
    messages: tuple[Message, ...]
    events: tuple[HistoryRecord, ...]
    progress_cursor: int
    iteration: int
    run_offset: int
    usage: Usage
    instructions: str
    tools: tuple[ToolSpec, ...]
    synced_iteration: int | None = None
    limit_scheduled: bool = False
    max_turns: int | None = None
