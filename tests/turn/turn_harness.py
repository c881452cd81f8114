"""What tests of the turn machine share: a driver that follows a script, and ways to run a machine."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from lash.core.json import JsonValue
from lash.llm.request import HistoryRef, ModelSpec, ToolSpec
from lash.llm.response import LlmResponse, TextPart
from lash.turn.driver import DriverAction, ExecResult, ProtocolDriver, StartLlm, TurnView
from lash.turn.events import OutcomeReached, SessionStreamEvent
from lash.turn.exchange import (
    DoneEffect,
    EmitEffect,
    MachineEffect,
    MachineResponse,
    OwedEffect,
    ProgressEffect,
)
from lash.turn.machine import MachineConfig, TurnMachine
from lash.turn.messages import Message, text_message
from lash.turn.outcome import TurnOutcome
from lash.turn.projection import Projection
from lash.turn.tools import CompletedToolCall, ToolOutput, ToolSuccess

HELLO = text_message("m1", "user", "Hello")
LOOKUP = ToolSpec(name="lookup", description="Look it up.", input_schema={"type": "object"})

Actions: TypeAlias = Sequence[DriverAction]
Script: TypeAlias = Actions | Callable[[TurnView], Actions]


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

    def prepare_protocol_iteration(self, turn: TurnView) -> Actions:
        if not self._prepare:
            return (StartLlm(request=turn.request()),)
        return _play(self._prepare, turn)

    def handle_llm_success(
        self, turn: TurnView, response: LlmResponse, driver_state: JsonValue, *, text_streamed: bool
    ) -> Actions:
        self.answers.append((response, driver_state, text_streamed))
        return _play(self._llm, turn)

    def handle_tool_results(self, turn: TurnView, results: Sequence[CompletedToolCall]) -> Actions:
        self.results.append(tuple(results))
        return _play(self._tools, turn)

    def handle_exec_result(
        self, turn: TurnView, result: ExecResult, driver_state: JsonValue
    ) -> Actions:
        self.cells.append((result, driver_state))
        return _play(self._cells, turn)


def _play(scripts: deque[Script], turn: TurnView) -> Actions:
    script = scripts.popleft()
    return script(turn) if callable(script) else script


def config_for(
    driver: ProtocolDriver,
    *,
    sync: bool = False,
    max_turns: int | None = None,
    window: int | None = None,
) -> MachineConfig:
    """How a turn `t` of session `s` runs under `driver`."""
    return MachineConfig(
        driver=driver,
        session_id="s",
        turn_id="t",
        model=ModelSpec(provider="fake", name="model", context_window_tokens=window),
        history=HistoryRef(count=0, digest="d"),
        projection=Projection(),
        instructions="Be brief.",
        tools=(LOOKUP,),
        sync_execution_environment=sync,
        max_turns=max_turns,
    )


def machine_for(
    driver: ProtocolDriver,
    *,
    sync: bool = False,
    max_turns: int | None = None,
    window: int | None = None,
    messages: Sequence[Message] = (HELLO,),
    run_offset: int = 0,
) -> TurnMachine:
    """A machine at the beginning of a turn whose input is `messages`."""
    config = config_for(driver, sync=sync, max_turns=max_turns, window=window)
    return TurnMachine(config, messages, run_offset=run_offset)


def drain(machine: TurnMachine) -> list[MachineEffect]:
    """Every effect the machine hands out before it waits or is over."""
    effects: list[MachineEffect] = []
    while (effect := machine.poll()) is not None:
        effects.append(effect)
    return effects


def owed(machine: TurnMachine) -> OwedEffect:
    """The effect the machine waits for, which is the last one it hands out."""
    effect = drain(machine)[-1]
    assert not isinstance(effect, EmitEffect | ProgressEffect | DoneEffect)
    return effect


def reply(machine: TurnMachine, response: MachineResponse) -> list[MachineEffect]:
    """Feed a response that must be taken; return every effect that follows."""
    assert machine.respond(response)
    return drain(machine)


def events(effects: Iterable[MachineEffect]) -> list[SessionStreamEvent]:
    """The events among the effects."""
    return [effect.event for effect in effects if isinstance(effect, EmitEffect)]


def reports(effects: Iterable[MachineEffect]) -> list[ProgressEffect]:
    """The progress reports among the effects."""
    return [effect for effect in effects if isinstance(effect, ProgressEffect)]


def done(effects: Sequence[MachineEffect]) -> DoneEffect:
    """The last effect of a turn that is over."""
    last = effects[-1]
    assert isinstance(last, DoneEffect)
    return last


def outcome(effects: Sequence[MachineEffect]) -> TurnOutcome:
    """What the turn came to."""
    (reached,) = [event for event in events(effects) if isinstance(event, OutcomeReached)]
    return reached.outcome


def text(content: str) -> LlmResponse:
    """A model's answer in prose."""
    return LlmResponse(parts=(TextPart(text=content),))


def success(call_id: str, payload: str = "ok") -> CompletedToolCall:
    """A call of `lookup` that succeeded."""
    output = ToolOutput(outcome=ToolSuccess(payload=payload))
    return CompletedToolCall(
        call_id=call_id, tool_name="lookup", args={}, output=output, model_text=payload
    )
