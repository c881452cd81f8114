"""What tests of the turn machine share: a driver that follows a script, and ways to run a machine."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from lash.core.json import JsonValue
from lash.llm.request import HistoryRef, ModelSpec, ToolSpec
from lash.llm.response import LlmFailure, LlmResponse, TextPart
from lash.turn.driver import DriverAction, ExecResult, ProtocolDriver, StartLlm, TurnView
from lash.turn.events import SessionStreamEvent
from lash.turn.exchange import (
    CheckpointCompleted,
    CheckpointDelivery,
    CheckpointEffect,
    DoneEffect,
    EmitEffect,
    EnvironmentSynced,
    ExecCodeEffect,
    ExecCompleted,
    ExecutionEnvironment,
    LlmCallEffect,
    LlmCompleted,
    MachineEffect,
    ProgressEffect,
    SyncExecutionEnvironmentEffect,
    ToolCallsEffect,
    ToolsCompleted,
)
from lash.turn.machine import MachineConfig, TurnMachine
from lash.turn.messages import Message, text_message
from lash.turn.outcome import TurnOutcome
from lash.turn.projection import Projection
from lash.turn.tools import CompletedToolCall, ToolOutput, ToolSuccess

HELLO = text_message("m1", "user", "Hello")
LOOKUP = ToolSpec(name="lookup", description="Look it up.", input_schema={"type": "object"})

Script = Sequence[DriverAction] | Callable[[TurnView], Sequence[DriverAction]]


class ScriptedDriver:
    """Answers each callback with the next script for it, and keeps what it was told.

    Without a script an iteration begins with a model call.
    """

    def __init__(
        self,
        *,
        prepare: Iterable[Script] = (),
        llm: Iterable[Script] = (),
        tools: Iterable[Script] = (),
        cells: Iterable[Script] = (),
    ) -> None:
        self._prepare, self._llm = deque(prepare), deque(llm)
        self._tools, self._cells = deque(tools), deque(cells)
        self.answers: list[tuple[LlmResponse, JsonValue, bool]] = []
        self.results: list[tuple[CompletedToolCall, ...]] = []
        self.cells: list[tuple[ExecResult, JsonValue]] = []

    def prepare_protocol_iteration(self, turn: TurnView) -> Sequence[DriverAction]:
        if not self._prepare:
            return (StartLlm(request=turn.request()),)
        return _play(self._prepare, turn)

    def handle_llm_success(
        self, turn: TurnView, response: LlmResponse, driver_state: JsonValue, *, text_streamed: bool
    ) -> Sequence[DriverAction]:
        self.answers.append((response, driver_state, text_streamed))
        return _play(self._llm, turn)

    def handle_tool_results(
        self, turn: TurnView, results: Sequence[CompletedToolCall]
    ) -> Sequence[DriverAction]:
        self.results.append(tuple(results))
        return _play(self._tools, turn)

    def handle_exec_result(
        self, turn: TurnView, result: ExecResult, driver_state: JsonValue
    ) -> Sequence[DriverAction]:
        self.cells.append((result, driver_state))
        return _play(self._cells, turn)


def _play(scripts: deque[Script], turn: TurnView) -> Sequence[DriverAction]:
    script = scripts.popleft()
    return script(turn) if callable(script) else script


def config_for(
    driver: ProtocolDriver,
    *,
    sync: bool = False,
    max_turns: int | None = None,
    window: int | None = None,
    instructions: str = "Be brief.",
    tools: tuple[ToolSpec, ...] = (LOOKUP,),
) -> MachineConfig:
    return MachineConfig(
        driver=driver,
        session_id="s",
        turn_id="t",
        model=ModelSpec(provider="fake", name="model", context_window_tokens=window),
        history=HistoryRef(count=0, digest="d"),
        projection=Projection(),
        instructions=instructions,
        tools=tools,
        sync_execution_environment=sync,
        max_turns=max_turns,
    )


def drain(machine: TurnMachine) -> list[MachineEffect]:
    """Every effect the machine hands out before it waits or is done."""
    effects = []
    while (effect := machine.poll()) is not None:
        effects.append(effect)
    return effects


def said(effects: Iterable[MachineEffect]) -> list[SessionStreamEvent]:
    """The events among the effects."""
    return [effect.event for effect in effects if isinstance(effect, EmitEffect)]


def progress(effects: Iterable[MachineEffect]) -> list[ProgressEffect]:
    """The progress reports among the effects."""
    return [effect for effect in effects if isinstance(effect, ProgressEffect)]


def done(effects: Sequence[MachineEffect]) -> DoneEffect:
    """The last effect of a turn that is over."""
    last = effects[-1]
    assert isinstance(last, DoneEffect)
    return last


def outcome(effects: Sequence[MachineEffect]) -> TurnOutcome:
    """What the turn came to."""
    outcomes = [event.outcome for event in said(effects) if event.__struct_config__.tag == OUTCOME]  # type: ignore[union-attr]
    assert len(outcomes) == 1
    return outcomes[0]


OUTCOME = "turn_outcome"


def answer(
    machine: TurnMachine,
    result: LlmResponse | LlmFailure | str,
    *,
    streamed: bool = False,
) -> list[MachineEffect]:
    """Answer the model call that is due; return what follows."""
    effect = drain(machine)[-1]
    assert isinstance(effect, LlmCallEffect)
    if isinstance(result, str):
        result = LlmResponse(parts=(TextPart(text=result),))
    assert machine.respond(LlmCompleted(id=effect.id, result=result, text_streamed=streamed))
    return drain(machine)


def success(call_id: str, text: str = "ok", **more: JsonValue) -> CompletedToolCall:
    """A call that succeeded."""
    return CompletedToolCall(
        call_id=call_id,
        tool_name="lookup",
        args=dict(more),
        output=ToolOutput(outcome=ToolSuccess(payload=text)),
        model_text=text,
    )
