"""What a checkpoint may bring into a running turn, and how the iteration limit ends one."""

import pytest
from turn_harness import (
    HELLO,
    LOOKUP,
    ScriptedDriver,
    done,
    drain,
    events,
    machine_for,
    outcome,
    owed,
    reply,
    reports,
    text,
)

from lash.core.errors import LashError
from lash.llm.request import LlmMessage, TextBlock
from lash.turn.driver import (
    AppendEvents,
    CheckpointKind,
    ResumeFinishing,
    ResumePreparing,
    ScheduleTurnLimitFinal,
    StartCheckpoint,
    StartLlm,
)
from lash.turn.events import (
    ConversationRecord,
    DoneReported,
    LlmRequested,
    MessagesInjected,
    OutcomeReached,
)
from lash.turn.exchange import (
    CheckpointCompleted,
    CheckpointDelivery,
    CheckpointEffect,
    EnvironmentSynced,
    LlmCallEffect,
    LlmCompleted,
    ProgressEffect,
    SyncExecutionEnvironmentEffect,
    TurnCause,
)
from lash.turn.machine import TurnMachine
from lash.turn.messages import Message, Part, PluginOrigin, ProcessOrigin, text_message
from lash.turn.outcome import AssistantMessage, Finished, MaxTurns, Stopped, ToolValue, TurnOutcome

ANSWER = Finished(result=AssistantMessage(text="forty-two"))
ASIDE = text_message("u9", "user", "And also?")
WAKE = TurnCause(id="w1", event_type="process.done#3", text="It is done.", origin="p")
WOKEN = "Background process wake\nProcess: p\nEvent: process.done#3\nIt is done."


def at_checkpoint(
    kind: CheckpointKind = "before_completion",
    *,
    would_finish: TurnOutcome | None = ANSWER,
    max_turns: int | None = None,
    sync: bool = False,
    messages: tuple[Message, ...] = (HELLO,),
    driver: ScriptedDriver | None = None,
) -> TurnMachine:
    """A machine that waits at its first checkpoint, effect 1 (2 with sync)."""
    on_empty = ResumeFinishing(outcome=would_finish) if would_finish else ResumePreparing()
    begin = StartCheckpoint(checkpoint=kind, on_empty=on_empty)
    machine = machine_for(
        driver or ScriptedDriver(prepare=[(begin,)]),
        max_turns=max_turns,
        sync=sync,
        messages=messages,
    )
    if sync:
        machine.respond(EnvironmentSynced(id=owed(machine).id))
    assert owed(machine) == CheckpointEffect(id=1 + sync, checkpoint=kind)
    return machine


def deliver(
    user: tuple[Message, ...] = (),
    *,
    plugin: tuple[Message, ...] = (),
    transient: tuple[Message, ...] = (),
    causes: tuple[TurnCause, ...] = (),
    effect_id: int = 1,
) -> CheckpointCompleted:
    delivery = CheckpointDelivery(
        committed_user_messages=user,
        messages=plugin,
        transient_messages=transient,
        turn_causes=causes,
    )
    return CheckpointCompleted(id=effect_id, delivery=delivery)


def test_an_empty_delivery_finishes_as_the_driver_said() -> None:
    effects = reply(at_checkpoint(), deliver())
    assert outcome(effects) == ANSWER
    assert done(effects).messages == (HELLO,)


def test_what_arrives_is_appended_in_the_order_of_its_kinds() -> None:
    machine = at_checkpoint("after_work", would_finish=None)
    effects = reply(
        machine,
        deliver(
            (ASIDE,),
            plugin=(text_message("p1", "system", "Mind the gap."),),
            transient=(text_message("x1", "user", "Only now."),),
            causes=(WAKE,),
        ),
    )
    durable = PluginOrigin(plugin_id="plugin")
    passing = PluginOrigin(plugin_id="plugin", transient=True)
    injected = (
        ASIDE,
        text_message("p1", "system", "Mind the gap.", origin=durable),
        text_message("x1", "user", "Only now.", origin=passing),
        text_message("w1", "event", WOKEN),
    )
    assert [message.transient for message in injected] == [False, False, True, False]
    assert machine.messages == [HELLO, *injected]
    records = tuple(ConversationRecord(message=message) for message in injected)
    assert events(effects)[0] == MessagesInjected(checkpoint="after_work", messages=injected)
    assert reports(effects) == [ProgressEffect(event_delta=records, protocol_iteration=0)]
    call = effects[-1]
    assert isinstance(call, LlmCallEffect)
    assert call.request.messages == (
        LlmMessage(role="user", blocks=(TextBlock(text="Hello"),)),
        LlmMessage(role="user", blocks=(TextBlock(text="And also?"),)),
        LlmMessage(role="system", blocks=(TextBlock(text="Runtime note:\nMind the gap."),)),
        LlmMessage(role="user", blocks=(TextBlock(text="Only now."),)),
        LlmMessage(
            role="user",
            blocks=(TextBlock(text=f"Runtime event:\n{WOKEN}"),),
        ),
    )


def test_a_delivery_after_work_costs_no_iteration() -> None:
    machine = at_checkpoint("after_work", would_finish=None)
    reply(machine, deliver((ASIDE,)))
    assert machine.iteration == 0


def test_a_delivery_before_completion_costs_an_iteration_and_a_sync() -> None:
    machine = at_checkpoint(sync=True)
    effects = reply(machine, deliver((ASIDE,), effect_id=2))
    assert machine.iteration == 1
    assert effects[-1] == SyncExecutionEnvironmentEffect(id=3, update_machine_config=True)


def test_the_answer_an_injection_displaces_is_kept_before_it() -> None:
    machine = at_checkpoint()
    effects = reply(machine, deliver((ASIDE,)))
    displaced = text_message("m_sansio_t_displaced_1", "assistant", "forty-two", kind="prose")
    assert machine.messages == [HELLO, displaced, ASIDE]
    assert reports(effects) == [
        ProgressEffect(
            event_delta=(ConversationRecord(message=displaced), ConversationRecord(message=ASIDE)),
            protocol_iteration=1,
        )
    ]
    assert events(effects)[0] == MessagesInjected(checkpoint="before_completion", messages=(ASIDE,))


@pytest.mark.parametrize(
    "would_finish",
    [
        Finished(result=AssistantMessage(text="")),
        Finished(result=ToolValue(tool_name="x", value=1)),
        Stopped(reason=MaxTurns()),
    ],
)
def test_only_an_answer_in_prose_is_kept(would_finish: TurnOutcome) -> None:
    machine = at_checkpoint(would_finish=would_finish)
    reply(machine, deliver((ASIDE,)))
    assert machine.messages == [HELLO, ASIDE]


# --- what a delivery may hold ---------------------------------------------------------------------


def test_a_cause_the_turn_has_seen_is_not_appended_again() -> None:
    seen = text_message("w1", "event", "process.done\nIt is done.")
    machine = at_checkpoint("after_work", would_finish=None, messages=(HELLO, seen))
    fresh = TurnCause(id="w2", event_type="timer", text="Ring.")
    reply(machine, deliver(causes=(WAKE, fresh, fresh)))
    assert machine.messages == [HELLO, seen, text_message("w2", "event", "timer\nRing.")]


def test_a_delivery_of_nothing_but_seen_causes_is_an_empty_one() -> None:
    seen = text_message("w1", "event", "process.done\nIt is done.")
    machine = at_checkpoint(messages=(HELLO, seen))
    effects = reply(machine, deliver(causes=(WAKE,)))
    assert outcome(effects) == ANSWER
    assert done(effects).messages == (HELLO, seen)


def test_input_the_turn_has_seen_is_not_appended_again() -> None:
    machine = at_checkpoint("after_work", would_finish=None, messages=(HELLO, ASIDE))
    fresh = text_message("u10", "user", "One more!")
    again = text_message("u10", "user", "One more, again!")
    effects = reply(machine, deliver((ASIDE, fresh, again)))
    assert machine.messages == [HELLO, ASIDE, fresh]
    assert events(effects)[0] == MessagesInjected(checkpoint="after_work", messages=(fresh,))


def test_a_delivery_of_nothing_but_seen_input_lets_the_turn_finish() -> None:
    machine = at_checkpoint(messages=(HELLO, ASIDE))
    effects = reply(machine, deliver((ASIDE,)))
    assert outcome(effects) == ANSWER
    assert done(effects).messages == (HELLO, ASIDE)


def test_a_plugins_message_is_kept_once_and_a_transient_one_comes_as_often_as_it_likes() -> None:
    memo = text_message("p1", "system", "Memo.")
    kept = text_message("p1", "system", "Memo.", origin=PluginOrigin(plugin_id="plugin"))
    passing = text_message(
        "p1", "system", "Memo.", origin=PluginOrigin(plugin_id="plugin", transient=True)
    )
    machine = at_checkpoint("after_work", would_finish=None, messages=(HELLO, passing))
    reply(machine, deliver(plugin=(memo, memo), transient=(memo, memo)))
    assert machine.messages == [HELLO, passing, kept, passing, passing]


@pytest.mark.parametrize("role", ["assistant", "event"])
@pytest.mark.parametrize("transient", [True, False])
def test_a_plugin_may_not_speak_for_the_model_and_a_refusal_changes_nothing(
    role: str, transient: bool
) -> None:
    machine = at_checkpoint()
    before = machine.checkpoint()
    forged = (text_message("p1", role, "I said so."),)  # type: ignore[arg-type]  # from parametrize
    with pytest.raises(LashError) as caught:
        machine.respond(deliver(transient=forged) if transient else deliver(plugin=forged))
    assert caught.value.code == "plugin_message_role"
    assert machine.checkpoint() == before
    assert outcome(reply(machine, deliver())) == ANSWER


def test_parts_of_plugin_messages_are_named_anew_and_never_missing() -> None:
    parts = (Part(id="mine", kind="text", content="a"), Part(id="mine", kind="text", content="b"))
    machine = at_checkpoint("after_work", would_finish=None)
    reply(
        machine,
        deliver(
            plugin=(
                Message(id="p1", role="user", parts=parts),
                Message(id="p2", role="user", parts=()),
            )
        ),
    )
    assert [
        [(part.id, part.content) for part in message.parts] for message in machine.messages[1:]
    ] == [
        [("p1.p0", "a"), ("p1.p1", "b")],
        [("p2.p0", "")],
    ]


@pytest.mark.parametrize(
    ("origin", "transient", "expected"),
    [
        (None, False, PluginOrigin(plugin_id="plugin")),
        (None, True, PluginOrigin(plugin_id="plugin", transient=True)),
        (PluginOrigin(plugin_id="memo"), False, PluginOrigin(plugin_id="memo")),
        (PluginOrigin(plugin_id="memo"), True, PluginOrigin(plugin_id="memo", transient=True)),
        (PluginOrigin(plugin_id="memo", transient=True), False, PluginOrigin(plugin_id="memo")),
        (
            ProcessOrigin(process_id="p", event_type="e", sequence=1),
            False,
            ProcessOrigin(process_id="p", event_type="e", sequence=1),
        ),
    ],
)
def test_how_a_message_was_delivered_decides_whether_it_is_transient(
    origin: PluginOrigin | ProcessOrigin | None, transient: bool, expected: object
) -> None:
    machine = at_checkpoint("after_work", would_finish=None)
    message = text_message("p1", "user", "x", origin=origin)
    reply(machine, deliver(transient=(message,)) if transient else deliver(plugin=(message,)))
    assert machine.messages[1].origin == expected


# --- the iteration limit --------------------------------------------------------------------------


def always_answering() -> ScriptedDriver:
    """Whatever the model says is an answer, once nothing else arrived."""
    ask = StartCheckpoint(checkpoint="before_completion", on_empty=ResumeFinishing(outcome=ANSWER))
    return ScriptedDriver(llm=[(ask,)] * 5)


def test_the_limit_lands_softly_with_one_more_model_call() -> None:
    machine = machine_for(always_answering(), max_turns=1)
    owed(machine)
    reply(machine, LlmCompleted(id=1, result=text("forty-two")))
    effects = reply(machine, deliver((ASIDE,), effect_id=2))

    displaced = text_message("m_sansio_t_displaced_1", "assistant", "forty-two", kind="prose")
    announced = machine.messages[-1]
    assert machine.messages == [HELLO, displaced, ASIDE, announced]
    assert (announced.id, announced.role) == ("m_sansio_t_turn_limit_2", "system")
    assert "limit of 1" in announced.parts[0].content
    # The announcement is for the model; the turn's history does not report it.
    (report,) = reports(effects)
    assert [
        record.message for record in report.event_delta if isinstance(record, ConversationRecord)
    ] == [
        displaced,
        ASIDE,
    ]
    assert isinstance(effects[-1], LlmCallEffect)
    assert len(effects[-1].request.messages) == 4

    reply(machine, LlmCompleted(id=3, result=text("forty-two")))
    assert outcome(reply(machine, deliver(effect_id=4))) == ANSWER


def test_an_injection_into_the_last_call_ends_the_turn_at_the_limit() -> None:
    machine = machine_for(always_answering(), max_turns=1)
    owed(machine)
    reply(machine, LlmCompleted(id=1, result=text("forty-two")))
    reply(machine, deliver((ASIDE,), effect_id=2))
    reply(machine, LlmCompleted(id=3, result=text("forty-two")))
    late = text_message("u10", "user", "One more!")
    effects = reply(machine, deliver((late,), effect_id=4))
    assert events(effects) == [
        MessagesInjected(checkpoint="before_completion", messages=(late,)),
        OutcomeReached(outcome=Stopped(reason=MaxTurns())),
        DoneReported(),
    ]
    (report,) = reports(effects)
    assert ConversationRecord(message=late) in report.event_delta
    assert done(effects).messages[-1] == late


@pytest.mark.parametrize(
    ("limit", "run_offset", "announced_after"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 3), (1, 7, 1), (2, 7, 2), (None, 0, None)],
)
def test_the_limit_counts_from_where_the_turn_began(
    limit: int | None, run_offset: int, announced_after: int | None
) -> None:
    machine = machine_for(always_answering(), max_turns=limit, run_offset=run_offset)
    announced = None
    for number in range(1, 4):
        machine.respond(LlmCompleted(id=owed(machine).id, result=text("forty-two")))
        machine.respond(
            deliver((text_message(f"u{number}", "user", "?"),), effect_id=owed(machine).id)
        )
        if any("turn_limit" in message.id for message in machine.messages):
            announced = number
            break
    assert announced == announced_after


def test_a_limit_the_driver_scheduled_counts_as_announced() -> None:
    notice = text_message("mine", "system", "Last call.")
    ask = StartCheckpoint(checkpoint="before_completion", on_empty=ResumeFinishing(outcome=ANSWER))
    machine = machine_for(ScriptedDriver(prepare=[(ScheduleTurnLimitFinal(message=notice), ask)]))
    effects = drain(machine)
    assert reports(effects) == [ProgressEffect(event_delta=(), protocol_iteration=0)]
    assert machine.messages == [HELLO, notice]
    assert outcome(reply(machine, deliver((ASIDE,)))) == Stopped(reason=MaxTurns())


def test_the_events_of_a_model_call_tell_its_place_in_the_turn() -> None:
    machine = machine_for(always_answering())
    owed(machine)
    reply(machine, LlmCompleted(id=1, result=text("forty-two")))
    effects = reply(machine, deliver((ASIDE,), effect_id=2))
    assert events(effects)[-1] == LlmRequested(
        protocol_iteration=1, message_count=3, tools=(LOOKUP.name,)
    )


def test_each_model_call_of_a_turn_has_a_request_id_of_its_own() -> None:
    machine = machine_for(always_answering())
    calls = []
    for number in range(3):
        call = owed(machine)
        assert isinstance(call, LlmCallEffect)
        calls.append(call.request.scope.request_id)
        machine.respond(LlmCompleted(id=call.id, result=text("forty-two")))
        machine.respond(
            deliver((text_message(f"u{number}", "user", "?"),), effect_id=owed(machine).id)
        )
    assert calls == ["s:turn:t:llm:0", "s:turn:t:llm:1", "s:turn:t:llm:2"]


def test_records_appended_before_a_checkpoint_are_part_of_the_next_request() -> None:
    note = text_message("n1", "assistant", "noted", kind="prose")
    ask = StartCheckpoint(checkpoint="after_work", on_empty=ResumePreparing())
    driver = ScriptedDriver(
        prepare=[
            (AppendEvents(records=(ConversationRecord(message=note),)), ask),
            lambda turn: (StartLlm(request=turn.request()),),
        ]
    )
    machine = at_checkpoint("after_work", driver=driver)
    call = reply(machine, deliver((ASIDE,)))[-1]
    assert isinstance(call, LlmCallEffect)
    assert [message.role for message in call.request.messages] == ["user", "assistant", "user"]
