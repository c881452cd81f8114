"""The protocol driver seam: what a turn protocol is asked, and what it may answer (turns spec 1.2).

A driver is a pure object. It sees the turn through a `TurnView` and answers with a list of actions,
which the machine applies in order; `Finish` ends the list.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from lash.core.json import Data, JsonValue
from lash.llm.request import LlmRequest, ToolSpec
from lash.llm.response import LlmResponse
from lash.turn.events import HistoryRecord, SessionStreamEvent
from lash.turn.messages import Message
from lash.turn.outcome import TurnOutcome
from lash.turn.output import OutputContract
from lash.turn.tools import CompletedToolCall, PendingToolCall

CheckpointKind: TypeAlias = Literal["after_work", "before_completion"]


class ResumePreparing(Data, tag_field="type", tag="prepare_iteration"):
    """After an empty checkpoint, go on with the next iteration."""


class ResumeFinishing(Data, tag_field="type", tag="finish"):
    """After an empty checkpoint, finish."""

    outcome: TurnOutcome


CheckpointResume: TypeAlias = ResumePreparing | ResumeFinishing


class EmitAction(Data):
    """Say something."""

    event: SessionStreamEvent


class AppendEvents(Data):
    """Add to the turn's history; conversation records become messages."""

    records: tuple[HistoryRecord, ...]


class StartLlm(Data):
    """Call the model."""

    request: LlmRequest
    driver_state: JsonValue = None


class StartTools(Data):
    """Run tool calls, all of one message."""

    calls: tuple[PendingToolCall, ...]


class StartExec(Data):
    """Run a cell of code."""

    language: str
    code: str
    driver_state: JsonValue = None


class StartCheckpoint(Data):
    """Ask the host whether anything arrived; `on_empty` says how to go on if not."""

    checkpoint: CheckpointKind
    on_empty: CheckpointResume


class AdvanceProtocolIteration(Data):
    """Count one iteration; the environment is due for a sync again."""


class ScheduleTurnLimitFinal(Data):
    """Append a message and allow one more model call before the limit ends the turn."""

    message: Message


class Finish(Data):
    """End the turn; later actions are ignored."""

    outcome: TurnOutcome


DriverAction: TypeAlias = (
    EmitAction
    | AppendEvents
    | StartLlm
    | StartTools
    | StartExec
    | StartCheckpoint
    | AdvanceProtocolIteration
    | ScheduleTurnLimitFinal
    | Finish
)


class ExecResult(Data):
    """What a code cell came to: its output, or an error text."""

    output: JsonValue = None
    error: str | None = None


class TurnView(Protocol):
    """What a driver may look at."""

    @property
    def turn_id(self) -> str:
        """The turn."""
        ...

    @property
    def message_scope(self) -> str:
        """What the ids of messages and calls derive from: the turn's id, unless the host says else."""
        ...

    @property
    def messages(self) -> Sequence[Message]:
        """The transcript so far, the session's history first."""
        ...

    @property
    def iteration(self) -> int:
        """How many iterations the turn has made."""
        ...

    @property
    def run_offset(self) -> int:
        """The iteration at which the turn began."""
        ...

    @property
    def max_turns(self) -> int | None:
        """How many iterations the turn may make."""
        ...

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        """The tools on offer."""
        ...

    @property
    def output(self) -> OutputContract | None:
        """What the final answer is to be; None for any text."""
        ...

    def request(self) -> LlmRequest:
        """The model request that the transcript, prompt and tools come to."""
        ...


class ProtocolDriver(Protocol):
    """A turn protocol."""

    def prepare_protocol_iteration(self, turn: TurnView) -> Sequence[DriverAction]:
        """Decide what an iteration begins with."""
        ...

    def handle_llm_success(
        self, turn: TurnView, response: LlmResponse, driver_state: JsonValue, *, text_streamed: bool
    ) -> Sequence[DriverAction]:
        """Decide what follows a model's answer."""
        ...

    def handle_tool_results(
        self, turn: TurnView, results: Sequence[CompletedToolCall]
    ) -> Sequence[DriverAction]:
        """Decide what follows the answers of one message's tool calls, given in call order."""
        ...

    def handle_exec_result(
        self, turn: TurnView, result: ExecResult, driver_state: JsonValue
    ) -> Sequence[DriverAction]:
        """Decide what follows a code cell."""
        ...
