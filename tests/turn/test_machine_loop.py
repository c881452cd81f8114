"""The turn machine's loop: polling, responding, syncing, applying a driver's actions, finishing."""

import msgspec
import pytest
from turn_harness import (
    HELLO,
    LOOKUP,
    Script,
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

from lash.llm.request import HistoryRef, LlmMessage, LlmRequest, LlmScope, TextBlock, ToolSpec
from lash.turn.driver import (
    AdvanceProtocolIteration,
    AppendEvents,
    EmitAction,
    ExecResult,
    Finish,
    ResumePreparing,
    StartCheckpoint,
    StartExec,
    StartLlm,
    StartTools,
)
from lash.turn.events import (
    ConversationRecord,
    DoneReported,
    ErrorReported,
    LlmRequested,
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
    ExecutionEnvironment,
    LlmCallEffect,
    LlmCompleted,
    MachineResponse,
    ProgressEffect,
    SyncExecutionEnvironmentEffect,
    ToolCallsEffect,
    ToolsCompleted,
)
from lash.turn.machine import TurnMachine
from lash.turn.messages import text_message
from lash.turn.outcome import AssistantMessage, Finished, RuntimeStopped, Stopped, TurnIssue
from lash.turn.tools import PendingToolCall

ENDED = Finished(result=AssistantMessage(text="bye"))
NOTE = ConversationRecord(message=text_message("m2", "assistant", "noted", kind="prose"))
MARK = ProtocolRecord(plugin_id="p", payload={"n": 1})
CALL = PendingToolCall(call_id="c", tool_name="lookup", args={"q": 1})


def is_driver_started_nothing(issue: TurnIssue) -> bool:
    return issue.kind == "turn_protocol" and "started nothing" in issue.message


# --- the first effects of a turn ------------------------------------------------------------------


def test_a_turn_without_sync_begins_with_the_model_call() -> None:
    machine = machine_for(ScriptedDriver())
    request = LlmRequest(
        model=config_for(ScriptedDriver()).model,
        instructions="Be brief.",
        messages=(LlmMessage(role="user", blocks=(TextBlock(text="Hello"),)),),
        tools=(LOOKUP,),
        history=HistoryRef(count=0, digest="d"),
        scope=LlmScope(session_id="s", turn_id="t", request_id="s:turn:t:llm:0"),
    )
    assert drain(machine) == [
        EmitEffect(event=LlmRequested(protocol_iteration=0, message_count=1, tools=("lookup",))),
        LlmCallEffect(id=1, request=request),
    ]


def test_the_first_iteration_is_synced_once_and_by_the_initial_sync() -> None:
    machine = machine_for(ScriptedDriver(), sync=True)
    assert drain(machine) == [SyncExecutionEnvironmentEffect(id=1, update_machine_config=False)]
    effects = reply(machine, EnvironmentSynced(id=1))
    assert [type(effect) for effect in effects] == [EmitEffect, LlmCallEffect]


def test_what_the_initial_sync_says_holds_for_the_first_model_call() -> None:
    machine = machine_for(ScriptedDriver(), sync=True)
    owed(machine)
    changed = ExecutionEnvironment(instructions="Other.", tools=())
    machine.respond(EnvironmentSynced(id=1, environment=changed))
    call = owed(machine)
    assert isinstance(call, LlmCallEffect)
    assert call.request.instructions == "Other."
    assert call.request.tools == ()


def test_a_changed_catalogue_is_seen_by_the_very_next_model_call() -> None:
    advance = (AdvanceProtocolIteration(),)
    machine = machine_for(ScriptedDriver(llm=[advance, advance]), sync=True)
    owed(machine)
    reply(machine, EnvironmentSynced(id=1))
    effects = reply(machine, LlmCompleted(id=2, result=text("more")))
    assert effects[-1] == SyncExecutionEnvironmentEffect(id=3, update_machine_config=True)

    other = ToolSpec(name="other", description="", input_schema={})
    changed = ExecutionEnvironment(instructions="Be long.", tools=(LOOKUP, other))
    effects = reply(machine, EnvironmentSynced(id=3, environment=changed))
    assert events(effects) == [
        LlmRequested(protocol_iteration=1, message_count=1, tools=("lookup", "other"))
    ]
    call = effects[-1]
    assert isinstance(call, LlmCallEffect)
    assert (call.request.instructions, call.request.tools) == ("Be long.", (LOOKUP, other))

    # A sync that reports no change leaves what the last one brought.
    reply(machine, LlmCompleted(id=4, result=text("more")))
    again = reply(machine, EnvironmentSynced(id=5))[-1]
    assert isinstance(again, LlmCallEffect)
    assert (again.request.instructions, again.request.tools) == ("Be long.", (LOOKUP, other))


def test_each_iteration_is_synced_exactly_once() -> None:
    advance = (AdvanceProtocolIteration(),)
    machine = machine_for(
        ScriptedDriver(llm=[advance, advance, (Finish(outcome=ENDED),)]), sync=True
    )
    handed_out = []
    while not machine.finished:
        effect = owed(machine)
        handed_out.append((type(effect).__name__, effect.id))
        if isinstance(effect, SyncExecutionEnvironmentEffect):
            machine.respond(EnvironmentSynced(id=effect.id))
        else:
            machine.respond(LlmCompleted(id=effect.id, result=text("more")))
    assert handed_out == [
        ("SyncExecutionEnvironmentEffect", 1),
        ("LlmCallEffect", 2),
        ("SyncExecutionEnvironmentEffect", 3),
        ("LlmCallEffect", 4),
        ("SyncExecutionEnvironmentEffect", 5),
        ("LlmCallEffect", 6),
    ]


@pytest.mark.parametrize("later", [False, True], ids=["initial sync", "later sync"])
def test_a_failed_sync_ends_the_turn_as_a_runtime_error(later: bool) -> None:
    machine = machine_for(ScriptedDriver(llm=[(AdvanceProtocolIteration(),)]), sync=True)
    sync = owed(machine)
    if later:
        reply(machine, EnvironmentSynced(id=1))
        sync = reply(machine, LlmCompleted(id=2, result=text("more")))[-1]  # type: ignore[assignment]  # asserted below
    assert isinstance(sync, SyncExecutionEnvironmentEffect)
    effects = reply(machine, EnvironmentSynced(id=sync.id, error="no such tool"))
    issue = TurnIssue(
        kind="execution_environment", code="reconfigure_failed", message="no such tool"
    )
    stopped = Stopped(reason=RuntimeStopped())
    assert effects == [
        EmitEffect(event=ErrorReported(issue=issue)),
        EmitEffect(event=OutcomeReached(outcome=stopped)),
        EmitEffect(event=DoneReported()),
        DoneEffect(messages=(HELLO,), event_delta=(), protocol_iteration=int(later)),
    ]


# --- responses that do not fit --------------------------------------------------------------------


def waiting_for(kind: str) -> TurnMachine:
    """A machine whose outstanding effect, of the given kind, has id 1."""
    if kind == "sync":
        machine = machine_for(ScriptedDriver(), sync=True)
    else:
        starts: dict[str, Script] = {
            "llm": lambda turn: (StartLlm(request=turn.request()),),
            "tools": lambda turn: (StartTools(calls=(CALL,)),),
            "exec": lambda turn: (StartExec(language="python", code="1"),),
            "checkpoint": lambda turn: (
                StartCheckpoint(checkpoint="after_work", on_empty=ResumePreparing()),
            ),
        }
        machine = machine_for(ScriptedDriver(prepare=[starts[kind]]))
    assert owed(machine).id == 1
    return machine


def response(kind: str, effect_id: int) -> MachineResponse:
    match kind:
        case "sync":
            return EnvironmentSynced(id=effect_id)
        case "llm":
            return LlmCompleted(id=effect_id, result=text("hi"))
        case "tools":
            return ToolsCompleted(id=effect_id, results=(success("c"),))
        case "exec":
            return ExecCompleted(id=effect_id, result=ExecResult(output=1))
        case _:
            return CheckpointCompleted(id=effect_id, delivery=CheckpointDelivery())


KINDS = ["sync", "llm", "tools", "exec", "checkpoint"]


@pytest.mark.parametrize("answered", KINDS)
@pytest.mark.parametrize("waiting", KINDS)
def test_a_response_of_another_kind_or_id_is_dropped_and_nothing_changes(
    waiting: str, answered: str
) -> None:
    machine = waiting_for(waiting)
    before = machine.checkpoint()
    for effect_id in (0, 2, 99) if waiting == answered else (0, 1, 2):
        assert machine.respond(response(answered, effect_id)) is False
    assert machine.checkpoint() == before
    assert machine.poll() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_turn_that_has_not_begun_or_is_over_takes_no_response(kind: str) -> None:
    fresh = machine_for(ScriptedDriver())
    over = machine_for(ScriptedDriver(prepare=[(Finish(outcome=ENDED),)]))
    drain(over)
    for machine in (fresh, over):
        before = machine.checkpoint()
        assert machine.respond(response(kind, 1)) is False
        assert machine.checkpoint() == before


def test_an_answer_is_taken_once() -> None:
    driver = ScriptedDriver(llm=[(Finish(outcome=ENDED),)])
    machine = machine_for(driver)
    owed(machine)
    reply(machine, LlmCompleted(id=1, result=text("hi")))
    assert machine.respond(LlmCompleted(id=1, result=text("hi"))) is False
    assert len(driver.answers) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_outstanding_effect_is_handed_out_once(kind: str) -> None:
    machine = waiting_for(kind)
    assert [machine.poll() for _ in range(3)] == [None, None, None]


# --- applying actions -----------------------------------------------------------------------------


def test_conversation_records_become_messages_and_protocol_records_do_not() -> None:
    actions = (AppendEvents(records=(NOTE, MARK)), Finish(outcome=ENDED))
    machine = machine_for(ScriptedDriver(prepare=[actions]))
    effects = drain(machine)
    assert done(effects).messages == (HELLO, NOTE.message)
    assert reports(effects) == [ProgressEffect(event_delta=(NOTE, MARK), protocol_iteration=0)]


def test_progress_comes_once_per_list_and_before_what_is_outstanding() -> None:
    actions = (
        AppendEvents(records=(NOTE,)),
        StartTools(calls=(CALL,)),
        AppendEvents(records=(MARK,)),
        EmitAction(event=TextEmitted(text="x")),
    )
    machine = machine_for(ScriptedDriver(prepare=[actions]))
    assert drain(machine) == [
        EmitEffect(event=TextEmitted(text="x")),
        ProgressEffect(event_delta=(NOTE, MARK), protocol_iteration=0),
        ToolCallsEffect(id=1, calls=(CALL,)),
    ]


def test_progress_reports_only_what_is_new_and_nothing_twice() -> None:
    advance = AdvanceProtocolIteration()
    machine = machine_for(
        ScriptedDriver(
            llm=[
                (AppendEvents(records=(NOTE,)), advance),
                (advance,),
                (AppendEvents(records=(MARK,)), Finish(outcome=ENDED)),
            ]
        )
    )
    owed(machine)
    deltas = [
        reports(reply(machine, LlmCompleted(id=number, result=text("more"))))
        for number in (1, 2, 3)
    ]
    assert deltas == [
        [ProgressEffect(event_delta=(NOTE,), protocol_iteration=1)],
        [ProgressEffect(event_delta=(), protocol_iteration=2)],
        [ProgressEffect(event_delta=(MARK,), protocol_iteration=2)],
    ]


def test_a_list_that_changes_no_history_reports_no_progress() -> None:
    machine = machine_for(ScriptedDriver())
    assert reports(drain(machine)) == []


def test_done_carries_what_no_progress_reported() -> None:
    actions = (AppendEvents(records=(NOTE, MARK)), AdvanceProtocolIteration())
    machine = machine_for(ScriptedDriver(prepare=[actions]))
    machine.poll()
    unreported = msgspec.structs.replace(machine.checkpoint(), progress_cursor=1, queued=())
    ending = ScriptedDriver(prepare=[(Finish(outcome=ENDED),)])
    effects = drain(TurnMachine.restore(config_for(ending), unreported))
    assert done(effects).event_delta == (MARK,)


def test_finish_ends_the_list_and_progress_precedes_it() -> None:
    actions = (
        AppendEvents(records=(NOTE,)),
        Finish(outcome=ENDED),
        AppendEvents(records=(MARK,)),
        StartTools(calls=(CALL,)),
    )
    machine = machine_for(ScriptedDriver(prepare=[actions]))
    assert drain(machine) == [
        ProgressEffect(event_delta=(NOTE,), protocol_iteration=0),
        EmitEffect(event=OutcomeReached(outcome=ENDED)),
        EmitEffect(event=DoneReported()),
        DoneEffect(messages=(HELLO, NOTE.message), event_delta=(), protocol_iteration=0),
    ]
    assert machine.finished
    assert machine.poll() is None


def test_a_driver_that_starts_nothing_ends_the_turn_instead_of_spinning() -> None:
    machine = machine_for(ScriptedDriver(prepare=[(EmitAction(event=TextEmitted(text="x")),)]))
    effects = drain(machine)
    assert outcome(effects) == Stopped(reason=RuntimeStopped())
    (error,) = [event for event in events(effects) if isinstance(event, ErrorReported)]
    assert is_driver_started_nothing(error.issue)


def test_a_driver_may_advance_and_start_in_the_next_iteration() -> None:
    machine = machine_for(ScriptedDriver(prepare=[(AdvanceProtocolIteration(),)]))
    effects = drain(machine)
    assert [type(effect) for effect in effects] == [ProgressEffect, EmitEffect, LlmCallEffect]
    assert machine.iteration == 1


# --- tools and code -------------------------------------------------------------------------------


def test_tool_calls_are_reported_in_the_order_of_the_response_and_then_given_to_the_driver() -> (
    None
):
    driver = ScriptedDriver(
        prepare=[(StartTools(calls=(CALL,)),)], tools=[(Finish(outcome=ENDED),)]
    )
    machine = machine_for(driver)
    assert owed(machine) == ToolCallsEffect(id=1, calls=(CALL,))
    results = (success("b"), success("a"))
    effects = reply(machine, ToolsCompleted(id=1, results=results))
    assert effects[:3] == [
        EmitEffect(event=ToolCallReported(call=results[0])),
        EmitEffect(event=ToolCallReported(call=results[1])),
        EmitEffect(event=OutcomeReached(outcome=ENDED)),
    ]
    assert driver.results == [results]


def test_a_cells_result_comes_back_with_the_drivers_own_state() -> None:
    driver = ScriptedDriver(
        prepare=[(StartExec(language="python", code="1+1", driver_state={"cell": 7}),)],
        cells=[(Finish(outcome=ENDED),)],
    )
    machine = machine_for(driver)
    assert owed(machine) == ExecCodeEffect(id=1, language="python", code="1+1")
    reply(machine, ExecCompleted(id=1, result=ExecResult(output=2)))
    assert driver.cells == [(ExecResult(output=2), {"cell": 7})]


def test_a_model_calls_answer_comes_back_with_the_drivers_own_state() -> None:
    driver = ScriptedDriver(
        prepare=[lambda turn: (StartLlm(request=turn.request(), driver_state=[1, "x"]),)],
        llm=[(Finish(outcome=ENDED),)],
    )
    machine = machine_for(driver)
    owed(machine)
    reply(machine, LlmCompleted(id=1, result=text("hi"), text_streamed=True))
    assert driver.answers == [(text("hi"), [1, "x"], True)]


def test_an_empty_checkpoint_goes_on_as_the_driver_said() -> None:
    wait = StartCheckpoint(checkpoint="after_work", on_empty=ResumePreparing())
    machine = machine_for(ScriptedDriver(prepare=[(wait,)]))
    assert owed(machine) == CheckpointEffect(id=1, checkpoint="after_work")
    effects = reply(machine, CheckpointCompleted(id=1, delivery=CheckpointDelivery()))
    assert [type(effect) for effect in effects] == [EmitEffect, LlmCallEffect]
    call = effects[-1]
    assert isinstance(call, LlmCallEffect)
    assert call.id == 2
