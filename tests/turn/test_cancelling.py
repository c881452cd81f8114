"""A cancelled turn ends at once from any state, and what it leaves is a whole conversation."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turn_harness import (
    HELLO,
    ScriptedDriver,
    config_for,
    done,
    drain,
    events,
    machine_for,
    outcome,
    owed,
    reply,
    reports,
    success,
    text,
)
from turn_scripts import CellProtocol, TurnScript, respond, turn_scripts

from lash.core.cancel import Cancellation
from lash.llm.response import LlmResponse, ResponsePart, ToolCallPart
from lash.protocols.standard import StandardProtocol
from lash.turn.cancelling import cancelled_call
from lash.turn.driver import (
    AdvanceProtocolIteration,
    AppendEvents,
    EmitAction,
    ExecResult,
    Finish,
    ProtocolDriver,
    ResumePreparing,
    StartCheckpoint,
    StartExec,
    StartTools,
)
from lash.turn.events import (
    ConversationRecord,
    DoneReported,
    OutcomeReached,
    ProtocolRecord,
    TextEmitted,
    ToolCallReported,
)
from lash.turn.exchange import (
    CheckpointCompleted,
    CheckpointDelivery,
    CheckpointEffect,
    DoneEffect,
    EmitEffect,
    EnvironmentSynced,
    ExecCodeEffect,
    ExecCompleted,
    LlmCallEffect,
    LlmCompleted,
    MachineEffect,
    OwedEffect,
    ProgressEffect,
    SyncExecutionEnvironmentEffect,
    ToolCallsEffect,
    ToolsCompleted,
)
from lash.turn.machine import MachineConfig, TurnMachine
from lash.turn.messages import Message, Part, is_valid_transcript, text_message
from lash.turn.outcome import (
    AssistantMessage,
    Cancelled,
    Finished,
    Stopped,
    ToolValue,
)
from lash.turn.state import TurnCheckpoint
from lash.turn.tools import (
    CompletedToolCall,
    FinishControl,
    PendingToolCall,
    ToolCancellation,
    ToolCancelled,
    ToolOutput,
    ToolSuccess,
)

pytestmark = pytest.mark.slow

STOP = Cancellation(request_id="stop-1", origin="ana", reason="changed my mind")
STOPPED = Stopped(reason=Cancelled(request_id="stop-1", origin="ana", reason="changed my mind"))
ENDING = [
    EmitEffect(event=OutcomeReached(outcome=STOPPED)),
    EmitEffect(event=DoneReported()),
]
TOLD = "[Tool execution cancelled]\ntool call cancelled"


def answered(call_id: str, tool_name: str = "lookup") -> CompletedToolCall:
    """A call that was cancelled before it had an answer."""
    stopped = ToolCancelled(payload=ToolCancellation(message="tool call cancelled"))
    return CompletedToolCall(
        call_id=call_id,
        tool_name=tool_name,
        args={},
        output=ToolOutput(outcome=stopped),
        model_text=TOLD,
    )


def result_part(part_id: str, call_id: str, content: str = TOLD) -> Part:
    return Part(
        id=part_id,
        kind="tool_result",
        content=content,
        tool_call_id=call_id,
        tool_name="lookup",
    )


def waiting_for_tools(*call_ids: str, max_turns: int | None = None) -> TurnMachine:
    """A machine under the standard protocol whose model called `lookup`; effect 2 is the batch."""
    machine = machine_for(StandardProtocol(), max_turns=max_turns)
    parts: list[ResponsePart] = [
        ToolCallPart(call_id=name, tool_name="lookup", input_json="{}") for name in call_ids
    ]
    machine.respond(LlmCompleted(id=owed(machine).id, result=LlmResponse(parts=tuple(parts))))
    assert isinstance(owed(machine), ToolCallsEffect)
    return machine


# --- each state by hand ---------------------------------------------------------------------------


@pytest.mark.parametrize("sync", [True, False])
def test_a_turn_cancelled_before_its_first_poll_asks_for_nothing(sync: bool) -> None:
    machine = machine_for(StandardProtocol(), sync=sync)
    assert machine.cancel(STOP)
    assert drain(machine) == [
        *ENDING,
        DoneEffect(messages=(HELLO,), event_delta=(), protocol_iteration=0),
    ]


def test_a_turn_waiting_for_its_environment_is_cancelled() -> None:
    machine = machine_for(StandardProtocol(), sync=True)
    assert isinstance(owed(machine), SyncExecutionEnvironmentEffect)
    assert machine.cancel(STOP)
    assert outcome(drain(machine)) == STOPPED
    assert not machine.respond(EnvironmentSynced(id=1))


def test_nothing_of_a_model_call_that_was_cancelled_enters_history() -> None:
    machine = machine_for(StandardProtocol())
    assert isinstance(owed(machine), LlmCallEffect)
    assert machine.cancel(STOP)
    assert drain(machine) == [
        *ENDING,
        DoneEffect(messages=(HELLO,), event_delta=(), protocol_iteration=0),
    ]
    before = machine.checkpoint()
    assert not machine.respond(LlmCompleted(id=1, result=text("Too late.")))
    assert machine.checkpoint() == before


def test_a_model_call_that_was_not_handed_out_yet_never_is() -> None:
    machine = machine_for(StandardProtocol())
    assert isinstance(machine.poll(), EmitEffect)
    assert machine.cancel(STOP)
    assert not [effect for effect in drain(machine) if isinstance(effect, LlmCallEffect)]


def test_unanswered_calls_are_answered_and_reported_in_call_order() -> None:
    machine = waiting_for_tools("b", "a")
    assert machine.cancel(STOP)
    effects = drain(machine)
    assert events(effects) == [
        ToolCallReported(call=answered("b")),
        ToolCallReported(call=answered("a")),
        OutcomeReached(outcome=STOPPED),
        DoneReported(),
    ]
    name = "m_standard_t_0_tool_results"
    results = Message(
        id=name,
        role="user",
        parts=(result_part(f"{name}.p0", "b"), result_part(f"{name}.p1", "a")),
    )
    assert done(effects).messages[2:] == (results,)
    assert reports(effects) == [
        ProgressEffect(event_delta=(ConversationRecord(message=results),), protocol_iteration=0)
    ]
    assert is_valid_transcript(done(effects).messages)
    assert not machine.respond(ToolsCompleted(id=2, results=(success("b"), success("a"))))


def test_a_cancelled_batch_does_not_say_that_the_limit_ended_the_turn() -> None:
    machine = waiting_for_tools("a", max_turns=1)
    machine.cancel(STOP)
    effects = drain(machine)
    assert outcome(effects) == STOPPED
    assert [message.role for message in done(effects).messages] == ["user", "assistant", "user"]


def test_results_that_came_in_time_are_kept_beside_the_cancelled_ones() -> None:
    machine = waiting_for_tools("a", "b")
    late = PendingToolCall(call_id="b", tool_name="lookup", args={})
    reply(machine, ToolsCompleted(id=2, results=(success("a", "found"), cancelled_call(late))))
    assert machine.cancel(STOP)
    effects = drain(machine)
    assert outcome(effects) == STOPPED
    assert [part.content for part in done(effects).messages[-1].parts] == ["found", TOLD]


def test_the_answer_that_waits_at_its_last_checkpoint_is_not_kept() -> None:
    machine = machine_for(StandardProtocol())
    machine.respond(LlmCompleted(id=owed(machine).id, result=text("Almost said.")))
    assert owed(machine) == CheckpointEffect(id=2, checkpoint="before_completion")
    assert machine.cancel(STOP)
    effects = drain(machine)
    assert outcome(effects) == STOPPED
    assert done(effects).messages == (HELLO,)
    assert not machine.respond(CheckpointCompleted(id=2, delivery=CheckpointDelivery()))


def test_tool_results_before_a_checkpoint_stay() -> None:
    machine = waiting_for_tools("a")
    reply(machine, ToolsCompleted(id=2, results=(success("a", "found"),)))
    assert machine.cancel(STOP)
    messages = done(drain(machine)).messages
    assert [part.content for part in messages[-1].parts] == ["found"]


def test_a_code_cell_that_runs_is_given_up() -> None:
    machine = machine_for(
        ScriptedDriver(prepare=[(StartExec(language="python", code="1", driver_state=None),)])
    )
    assert isinstance(owed(machine), ExecCodeEffect)
    assert machine.cancel(STOP)
    assert outcome(drain(machine)) == STOPPED


# --- a turn that is over --------------------------------------------------------------------------


def test_a_second_cancellation_changes_nothing() -> None:
    machine = waiting_for_tools("a")
    assert machine.cancel(STOP)
    before = machine.checkpoint()
    assert not machine.cancel(Cancellation(request_id="stop-2"))
    assert machine.checkpoint() == before
    drain(machine)
    assert not machine.cancel(Cancellation(request_id="stop-3"))
    assert drain(machine) == []


def test_what_the_driver_finished_with_stays_as_it_is() -> None:
    machine = waiting_for_tools("a")
    control = FinishControl(value=7)
    found = success("a")
    ended = msgspec.structs.replace(
        found, output=ToolOutput(outcome=ToolSuccess(payload="ok"), control=control)
    )
    assert machine.respond(ToolsCompleted(id=2, results=(ended,)))
    assert not machine.cancel(STOP)
    assert outcome(drain(machine)) == Finished(result=ToolValue(tool_name="lookup", value=7))


def test_an_answer_whose_checkpoint_was_empty_stays_an_answer() -> None:
    machine = machine_for(StandardProtocol())
    machine.respond(LlmCompleted(id=owed(machine).id, result=text("Said.")))
    owed(machine)
    assert machine.respond(CheckpointCompleted(id=2, delivery=CheckpointDelivery()))
    assert not machine.cancel(STOP)
    assert outcome(drain(machine)) == Finished(result=AssistantMessage(text="Said."))


# --- drivers that answer their calls in another way -----------------------------------------------

ASKED = Message(
    id="asked",
    role="assistant",
    parts=(
        Part(id="asked.p0", kind="tool_call", content="{}", tool_call_id="a", tool_name="lookup"),
        Part(id="asked.p1", kind="tool_call", content="{}", tool_call_id="b", tool_name="lookup"),
    ),
)
CALLS = tuple(PendingToolCall(call_id=name, tool_name="lookup", args={}) for name in "ab")
ASKING = (AppendEvents(records=(ConversationRecord(message=ASKED),)), StartTools(calls=CALLS))


def test_calls_that_the_driver_leaves_open_are_closed_by_the_machine() -> None:
    half = Message(id="half", role="user", parts=(result_part("half.p0", "a", "A"),))
    keeps_half = (
        AppendEvents(records=(ConversationRecord(message=half),)),
        AdvanceProtocolIteration(),
        StartCheckpoint(checkpoint="after_work", on_empty=ResumePreparing()),
    )
    machine = machine_for(ScriptedDriver(prepare=[ASKING], tools=[keeps_half]))
    owed(machine)
    machine.cancel(STOP)
    messages = done(drain(machine)).messages
    name = "m_sansio_t_cancelled_1"
    assert messages == (
        HELLO,
        ASKED,
        half,
        Message(id=name, role="user", parts=(result_part(f"{name}.p0", "b"),)),
    )
    assert is_valid_transcript(messages)


def test_a_driver_is_not_followed_beyond_what_it_says_and_keeps() -> None:
    mark = ProtocolRecord(plugin_id="p", payload=1)
    said = EmitAction(event=TextEmitted(text="noted"))
    after = AppendEvents(records=(ConversationRecord(message=text_message("n", "system", "no")),))
    wants = (
        said,
        AppendEvents(records=(mark,)),
        Finish(outcome=Finished(result=AssistantMessage(text="done"))),
        after,
    )
    machine = machine_for(ScriptedDriver(prepare=[ASKING], tools=[wants]))
    owed(machine)
    machine.cancel(STOP)
    effects = drain(machine)
    assert outcome(effects) == STOPPED
    assert TextEmitted(text="noted") in events(effects)
    assert mark in machine.checkpoint().events
    assert "n" not in [message.id for message in done(effects).messages]
    assert is_valid_transcript(done(effects).messages)


def test_a_turn_that_is_cancelled_while_code_runs_leaves_no_call_open() -> None:
    asking = (ASKING[0], StartExec(language="python", code="1", driver_state=None))
    machine = machine_for(ScriptedDriver(prepare=[asking]))
    effect = owed(machine)
    machine.cancel(STOP)
    assert is_valid_transcript(done(drain(machine)).messages)
    assert not machine.respond(ExecCompleted(id=effect.id, result=ExecResult(output=1)))


# --- random turns, cancelled at every point -------------------------------------------------------

PROTOCOLS: list[ProtocolDriver] = [StandardProtocol(), CellProtocol()]


def start(script: TurnScript, driver: ProtocolDriver) -> TurnMachine:
    return TurnMachine(
        config_for(driver, sync=script.sync, max_turns=script.max_turns),
        (text_message("h1", "user", "Before"), text_message("h2", "assistant", "Yes"), HELLO),
    )


def play(
    script: TurnScript, machine: TurnMachine, steps: int
) -> tuple[list[MachineEffect], OwedEffect | None]:
    """Take so many steps, a step being a poll or a response; the effects, and what is outstanding."""
    effects: list[MachineEffect] = []
    outstanding: OwedEffect | None = None
    for _ in range(steps):
        if outstanding is not None:
            assert machine.respond(respond(script, outstanding))
            outstanding = None
        elif (polled := machine.poll()) is not None:
            effects.append(polled)
            if not isinstance(polled, EmitEffect | ProgressEffect | DoneEffect):
                outstanding = polled
        else:
            break
    return effects, outstanding


def check_ending(effects: Sequence[MachineEffect], machine: TurnMachine) -> None:
    ends = [effect for effect in effects if isinstance(effect, DoneEffect)]
    assert ends == [effects[-1]]
    assert len([event for event in events(effects) if isinstance(event, OutcomeReached)]) == 1
    assert machine.poll() is None
    assert machine.finished
    told = [
        record
        for effect in effects
        if isinstance(effect, ProgressEffect | DoneEffect)
        for record in effect.event_delta
    ]
    assert told == list(machine.checkpoint().events)


@pytest.mark.parametrize("driver", PROTOCOLS, ids=lambda driver: type(driver).__name__)
@settings(max_examples=60, deadline=None)
@given(script=turn_scripts)
def test_a_turn_cancelled_at_any_point_ends_there_once_and_whole(
    driver: ProtocolDriver, script: TurnScript
) -> None:
    uncut, _ = play(script, start(script, driver), 2_000)
    assert isinstance(uncut[-1], DoneEffect)
    for steps in range(2_000):
        machine = start(script, driver)
        before, outstanding = play(script, machine, steps)
        over = machine.finished
        kept = list(machine.messages)
        if over:
            assert not machine.cancel(STOP)
            assert [*before, *drain(machine)] == uncut
            return
        assert machine.cancel(STOP)
        if outstanding is not None:
            assert not machine.respond(respond(script, outstanding))
        after = drain(machine)
        check_ending([*before, *after], machine)
        assert outcome(after) == STOPPED
        assert all(isinstance(item, EmitEffect | ProgressEffect | DoneEffect) for item in after)
        left = done(after).messages
        assert is_valid_transcript(left)
        assert list(left[: len(kept)]) == kept
        # Nothing is added to what was there but the answers to calls.
        added = [part.kind for message in left[len(kept) :] for part in message.parts]
        if isinstance(outstanding, ToolCallsEffect):
            assert added == ["tool_result"] * len(outstanding.calls)
            reported = [event for event in events(after) if isinstance(event, ToolCallReported)]
            assert [event.call for event in reported] == [
                cancelled_call(call) for call in outstanding.calls
            ]
        else:
            assert set(added) <= {"tool_result"}


def restored(config: MachineConfig, machine: TurnMachine) -> TurnMachine:
    wire = msgspec.json.encode(machine.checkpoint())
    return TurnMachine.restore(config, msgspec.json.decode(wire, type=TurnCheckpoint))


@pytest.mark.parametrize("driver", PROTOCOLS, ids=lambda driver: type(driver).__name__)
@settings(max_examples=60, deadline=None)
@given(script=turn_scripts, steps=st.integers(0, 30))
def test_a_cancelled_turn_survives_its_snapshot_and_a_restored_one_can_be_cancelled(
    driver: ProtocolDriver, script: TurnScript, steps: int
) -> None:
    config = config_for(driver, sync=script.sync, max_turns=script.max_turns)
    machine = start(script, driver)
    play(script, machine, steps)
    twin = restored(config, machine)
    assert twin.cancel(STOP) == machine.cancel(STOP)
    third = restored(config, machine)
    assert drain(third) == drain(twin) == drain(machine)
