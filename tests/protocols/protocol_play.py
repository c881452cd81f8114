"""One turn under the standard protocol, played against the turn machine with answers written by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lash.core.json import JsonValue
from lash.llm.request import (
    HistoryRef,
    LlmRequest,
    ModelSpec,
    ToolSpec,
)
from lash.llm.response import (
    LlmFailure,
    LlmResponse,
    ResponsePart,
    TextPart,
    TextPhase,
    ToolCallPart,
)
from lash.protocols.standard import StandardProtocol
from lash.turn.events import (
    ErrorReported,
    OutcomeReached,
    SessionStreamEvent,
)
from lash.turn.exchange import (
    CheckpointCompleted,
    CheckpointDelivery,
    CheckpointEffect,
    DoneEffect,
    EmitEffect,
    LlmCallEffect,
    LlmCompleted,
    MachineEffect,
    MachineResponse,
    ToolCallsEffect,
    ToolsCompleted,
)
from lash.turn.machine import MachineConfig, TurnMachine
from lash.turn.messages import Message, is_valid_transcript, text_message
from lash.turn.outcome import (
    AssistantMessage,
    Finished,
    TurnIssue,
    TurnOutcome,
)
from lash.turn.output import OutputContract
from lash.turn.projection import Projection
from lash.turn.tools import (
    CompletedToolCall,
    PendingToolCall,
    ToolControl,
    ToolOutput,
    ToolSuccess,
    model_text,
)

HELLO = text_message("m1", "user", "Hello")
LOOKUP = ToolSpec(name="lookup", description="Look it up.", input_schema={"type": "object"})


def prose(text: str, phase: TextPhase | None = None) -> TextPart:
    return TextPart(text=text, phase=phase)


def call(call_id: str, tool: str = "lookup", arguments: str = "{}") -> ToolCallPart:
    return ToolCallPart(call_id=call_id, tool_name=tool, input_json=arguments)


def said(*parts: ResponsePart) -> LlmResponse:
    return LlmResponse(parts=parts)


def ok(payload: JsonValue = "ok", control: ToolControl | None = None) -> ToolOutput:
    return ToolOutput(outcome=ToolSuccess(payload=payload), control=control)


@dataclass
class Play:
    """One turn, played to its end: what was asked in which order, and what came of it."""

    answers: Sequence[LlmResponse | LlmFailure]
    outputs: Mapping[str, ToolOutput] = field(default_factory=dict)
    deliveries: Mapping[int, tuple[Message, ...]] = field(default_factory=dict)
    max_turns: int | None = None
    streamed: bool = False
    messages: Sequence[Message] = (HELLO,)
    message_scope: str | None = None
    output: OutputContract | None = None
    asked: list[str] = field(default_factory=list)
    requests: list[LlmRequest] = field(default_factory=list)
    calls: list[tuple[PendingToolCall, ...]] = field(default_factory=list)
    events: list[SessionStreamEvent] = field(default_factory=list)
    last: DoneEffect | None = None

    def run(self) -> "Play":
        config = MachineConfig(
            driver=StandardProtocol(),
            session_id="s",
            turn_id="t",
            model=ModelSpec(provider="fake", name="model"),
            history=HistoryRef(count=0, digest="d"),
            projection=Projection(),
            instructions="Be brief.",
            tools=(LOOKUP,),
            sync_execution_environment=False,
            max_turns=self.max_turns,
            message_scope=self.message_scope,
            output=self.output,
        )
        machine = TurnMachine(config, self.messages)
        while (effect := machine.poll()) is not None:
            if (response := self._perform(effect)) is not None:
                assert machine.respond(response)
        assert machine.finished
        assert is_valid_transcript(self.final)
        return self

    def _perform(self, effect: MachineEffect) -> MachineResponse | None:
        match effect:
            case EmitEffect(event=event):
                self.events.append(event)
            case DoneEffect():
                self.last = effect
            case LlmCallEffect(id=id_, request=request):
                self.asked.append("model")
                self.requests.append(request)
                result = self.answers[len(self.requests) - 1]
                return LlmCompleted(id=id_, result=result, text_streamed=self.streamed)
            case ToolCallsEffect(id=id_, calls=calls):
                self.asked.append("tools")
                self.calls.append(calls)
                results = tuple(self._answer(pending) for pending in calls)
                return ToolsCompleted(id=id_, results=results)
            case CheckpointEffect(id=id_, checkpoint=checkpoint):
                self.asked.append(checkpoint)
                number = sum(kind in {"after_work", "before_completion"} for kind in self.asked)
                arrived = CheckpointDelivery(
                    committed_user_messages=self.deliveries.get(number, ())
                )
                return CheckpointCompleted(id=id_, delivery=arrived)
        return None

    def _answer(self, pending: PendingToolCall) -> CompletedToolCall:
        output = self.outputs.get(pending.call_id, ok())
        return CompletedToolCall(
            call_id=pending.call_id,
            tool_name=pending.tool_name,
            args=pending.args,
            output=output,
            model_text=model_text(output),
        )

    @property
    def final(self) -> tuple[Message, ...]:
        assert self.last is not None
        return self.last.messages

    @property
    def outcome(self) -> TurnOutcome:
        (reached,) = [event for event in self.events if isinstance(event, OutcomeReached)]
        return reached.outcome

    @property
    def issues(self) -> list[TurnIssue]:
        return [event.issue for event in self.events if isinstance(event, ErrorReported)]


def answer(text: str) -> Finished:
    return Finished(result=AssistantMessage(text=text))
