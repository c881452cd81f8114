"""A turn that is cut anywhere and restored from its snapshot goes on as if nothing had happened."""

from collections.abc import Iterator
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turn_harness import HELLO, ScriptedDriver, config_for, drain, machine_for, owed, text
from turn_scripts import CellProtocol, TurnScript, respond, turn_scripts

from lash.llm.response import LlmResponse, ToolCallPart
from lash.protocols.standard import StandardProtocol
from lash.turn.driver import ProtocolDriver
from lash.turn.exchange import (
    CheckpointCompleted,
    CheckpointDelivery,
    CheckpointEffect,
    DoneEffect,
    EmitEffect,
    LlmCallEffect,
    LlmCompleted,
    MachineEffect,
    OwedEffect,
    ProgressEffect,
    ToolCallsEffect,
)
from lash.turn.machine import MachineConfig, TurnMachine
from lash.turn.messages import is_valid_transcript, text_message
from lash.turn.state import TurnCheckpoint

pytestmark = pytest.mark.slow

PROTOCOLS: list[ProtocolDriver] = [StandardProtocol(), CellProtocol()]


def restored(config: MachineConfig, machine: TurnMachine) -> TurnMachine:
    """The machine after a trip through JSON."""
    snapshot = machine.checkpoint()
    read = msgspec.json.decode(msgspec.json.encode(snapshot), type=TurnCheckpoint)
    assert read == snapshot
    return TurnMachine.restore(config, read)


def is_owed(effect: MachineEffect) -> bool:
    return not isinstance(effect, EmitEffect | ProgressEffect | DoneEffect)


class Host:
    """Drives a machine one step at a time, a step being a poll or a response; keeps the effects."""

    def __init__(self, script: TurnScript, machine: TurnMachine) -> None:
        self.script = script
        self.machine = machine
        self.effects: list[MachineEffect] = []
        self.outstanding: OwedEffect | None = None

    def steps(self) -> Iterator[None]:
        """Take the next step each time it is resumed, until the turn is over."""
        for _ in range(2_000):
            if self.outstanding is not None:
                effect, self.outstanding = self.outstanding, None
                assert self.machine.poll() is None
                assert self.machine.respond(respond(self.script, effect))
            elif (polled := self.machine.poll()) is not None:
                self.effects.append(polled)
                if not isinstance(polled, EmitEffect | ProgressEffect | DoneEffect):
                    self.outstanding = polled
            else:
                return
            yield
        raise AssertionError("the turn does not end")

    def restart(self, config: MachineConfig) -> MachineEffect | None:
        """Go on with a restored machine, which must ask again for what was outstanding."""
        again, self.outstanding = self.outstanding, None
        self.machine = restored(config, self.machine)
        return again


def start(script: TurnScript, driver: ProtocolDriver) -> tuple[MachineConfig, Host]:
    config = config_for(driver, sync=script.sync, max_turns=script.max_turns)
    history = (text_message("h1", "user", "Before"), text_message("h2", "assistant", "Yes"), HELLO)
    config.projection.extend(history[:2])
    return config, Host(script, TurnMachine(config, history))


def run(script: TurnScript, driver: ProtocolDriver) -> Host:
    _, host = start(script, driver)
    for _ in host.steps():
        pass
    return host


def assert_same_end(host: Host, uncut: Host) -> None:
    assert host.machine.finished
    assert host.effects[-1] == uncut.effects[-1]
    assert host.machine.usage == uncut.machine.usage
    assert host.machine.checkpoint() == uncut.machine.checkpoint()


@pytest.mark.parametrize("driver", PROTOCOLS, ids=lambda driver: type(driver).__name__)
@settings(max_examples=60, deadline=None)
@given(script=turn_scripts)
def test_a_turn_cut_at_any_point_goes_on_with_the_same_effects(
    driver: ProtocolDriver, script: TurnScript
) -> None:
    uncut = run(script, driver)
    config, walker = start(script, driver)
    position = walker.steps()
    while True:
        cut = Host(script, walker.machine)
        cut.effects = list(walker.effects)
        cut.outstanding = walker.outstanding
        expected = list(uncut.effects)
        if (again := cut.restart(config)) is not None:
            expected.insert(len(walker.effects), again)
        for _ in cut.steps():
            pass
        assert cut.effects == expected
        assert_same_end(cut, uncut)
        if next(position, "over") == "over":
            break
    assert walker.effects == uncut.effects


@pytest.mark.parametrize("driver", PROTOCOLS, ids=lambda driver: type(driver).__name__)
@settings(max_examples=60, deadline=None)
@given(script=turn_scripts, cuts=st.sets(st.integers(0, 200)))
def test_a_turn_may_be_cut_as_often_as_it_likes(
    driver: ProtocolDriver, script: TurnScript, cuts: set[int]
) -> None:
    uncut = run(script, driver)
    config, host = start(script, driver)
    repeated: list[int] = []
    for number, _ in enumerate(host.steps()):
        if number in cuts and host.restart(config) is not None:
            repeated.append(len(host.effects))
    for place in reversed(repeated):
        assert host.effects[place] == host.effects[place - 1]
        del host.effects[place]
    assert host.effects == uncut.effects
    assert_same_end(host, uncut)


@settings(max_examples=100, deadline=None)
@given(script=turn_scripts)
def test_effect_ids_count_from_one_and_every_turn_ends_once(script: TurnScript) -> None:
    for driver in PROTOCOLS:
        effects = run(script, driver).effects
        ids = [effect.id for effect in effects if is_owed(effect)]  # type: ignore[union-attr]  # only owed effects have ids
        assert ids == list(range(1, len(ids) + 1))
        assert [isinstance(effect, DoneEffect) for effect in effects] == [False] * (
            len(effects) - 1
        ) + [True]


@settings(max_examples=100, deadline=None)
@given(script=turn_scripts)
def test_progress_and_done_report_every_record_once_and_in_order(script: TurnScript) -> None:
    for driver in PROTOCOLS:
        host = run(script, driver)
        told = [
            record
            for effect in host.effects
            if isinstance(effect, ProgressEffect | DoneEffect)
            for record in effect.event_delta
        ]
        assert told == list(host.machine.checkpoint().events)


@settings(max_examples=100, deadline=None)
@given(script=turn_scripts)
def test_requests_of_one_turn_extend_the_same_prefix(script: TurnScript) -> None:
    for driver in PROTOCOLS:
        requests = [
            effect.request.messages
            for effect in run(script, driver).effects
            if isinstance(effect, LlmCallEffect)
        ]
        for before, after in pairwise(requests):
            assert after[: len(before)] == before


@settings(max_examples=150, deadline=None)
@given(script=turn_scripts)
def test_what_the_standard_protocol_leaves_behind_is_never_half_a_conversation(
    script: TurnScript,
) -> None:
    last = run(script, StandardProtocol()).effects[-1]
    assert isinstance(last, DoneEffect)
    assert is_valid_transcript(last.messages)


# --- the same by hand -----------------------------------------------------------------------------


def test_a_snapshot_before_the_answer_asks_the_model_the_same_again() -> None:
    config = config_for(StandardProtocol())
    machine = TurnMachine(config, (HELLO,))
    call = owed(machine)
    assert drain(restored(config, machine)) == [call]


def test_a_snapshot_after_the_answer_replays_the_checkpoint_and_not_the_call() -> None:
    config = config_for(StandardProtocol())
    machine = TurnMachine(config, (HELLO,))
    machine.respond(LlmCompleted(id=owed(machine).id, result=text("hi")))
    drain(machine)
    again = restored(config, machine)
    assert drain(again) == [CheckpointEffect(id=2, checkpoint="before_completion")]
    assert again.respond(CheckpointCompleted(id=2, delivery=CheckpointDelivery()))
    assert isinstance(drain(again)[-1], DoneEffect)


def test_a_snapshot_keeps_a_parallel_batch_whole_and_hands_it_out_once() -> None:
    config = config_for(StandardProtocol())
    machine = TurnMachine(config, (HELLO,))
    parts = tuple(
        ToolCallPart(call_id=name, tool_name="lookup", input_json='{"q":1}') for name in "ab"
    )
    machine.respond(LlmCompleted(id=owed(machine).id, result=LlmResponse(parts=parts)))
    batch = owed(machine)
    assert isinstance(batch, ToolCallsEffect)
    assert [call.call_id for call in batch.calls] == ["a", "b"]
    again = restored(config, machine)
    assert drain(again) == [batch]
    assert again.poll() is None


def test_what_is_queued_but_not_yet_polled_survives() -> None:
    config = config_for(StandardProtocol())
    machine = TurnMachine(config, (HELLO,))
    machine.respond(LlmCompleted(id=owed(machine).id, result=text("hi")))
    twin = restored(config, machine)
    assert drain(twin) == drain(machine)


def test_restoring_leaves_the_machine_it_came_from_alone() -> None:
    machine = machine_for(ScriptedDriver())
    owed(machine)
    before = machine.checkpoint()
    twin = TurnMachine.restore(config_for(StandardProtocol()), before)
    twin.respond(LlmCompleted(id=1, result=text("hi")))
    drain(twin)
    assert machine.checkpoint() == before


def test_a_snapshot_has_this_wire_form() -> None:
    machine = machine_for(ScriptedDriver(), sync=True)
    owed(machine)
    assert msgspec.json.decode(msgspec.json.encode(machine.checkpoint())) == {
        "state": {
            "state": "waiting_execution_environment",
            "effect_id": 1,
            "update_machine_config": False,
        },
        "queued": [],
        "next_effect_id": 2,
        "next_message_id": 1,
        "messages": [
            {
                "id": "m1",
                "role": "user",
                "parts": [{"id": "m1.p0", "kind": "text", "content": "Hello"}],
            }
        ],
        "events": [],
        "progress_cursor": 0,
        "iteration": 0,
        "run_offset": 0,
        "usage": {},
        "instructions": "Be brief.",
        "tools": [
            {
                "name": "lookup",
                "description": "Look it up.",
                "input_schema": {"type": "object"},
            }
        ],
    }
