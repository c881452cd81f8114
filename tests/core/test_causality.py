"""Who caused what, and the replay keys that follow from it. Every key here is written by hand."""

import pytest

from lash.core.causality import (
    CausalRef,
    EffectCauseRef,
    EffectKind,
    EffectSubject,
    ProcessCauseRef,
    ProcessEventCauseRef,
    ProcessEventSubject,
    ProcessSubject,
    ReplayKey,
    RuntimeInvocation,
    RuntimeScope,
    RuntimeSubject,
    SessionNodeCauseRef,
    SessionNodeSubject,
    ToolCallCauseRef,
    TriggerOccurrenceCauseRef,
    TriggerOccurrenceSubject,
    TurnCauseRef,
    causal_ref,
    child_effect,
    turn_effect,
)
from lash.core.json import canonical


def model_call(effect_id: int = 3) -> RuntimeInvocation:
    return turn_effect(
        session_id="s",
        turn_id="t",
        turn_index=4,
        protocol_iteration=2,
        kind="llm_call",
        effect_id=effect_id,
    )


def test_a_turn_effect_has_exactly_this_wire_form() -> None:
    assert canonical(model_call()) == (
        b'{"caused_by":{"session_id":"s","turn_id":"t","type":"turn"},'
        b'"replay":{"key":"s:t:4:2:llm_call:3"},'
        b'"scope":{"protocol_iteration":2,"session_id":"s","turn_id":"t","turn_index":4},'
        b'"subject":{"effect_id":"3","kind":"llm_call","type":"effect"}}'
    )


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("llm_call", "s:t:0:1:llm_call:7"),
        ("tool_batch", "s:t:0:1:tool_batch:7"),
        ("checkpoint", "s:t:0:1:checkpoint:7"),
        ("sync_execution_environment", "s:t:0:1:sync_execution_environment:7"),
    ],
)
def test_a_turn_effects_key_names_session_turn_index_iteration_kind_and_number(
    kind: EffectKind, key: str
) -> None:
    invocation = turn_effect(
        session_id="s", turn_id="t", turn_index=0, protocol_iteration=1, kind=kind, effect_id=7
    )
    assert invocation.replay == ReplayKey(key=key)


def test_effect_ids_restart_with_the_turn_but_keys_do_not_repeat() -> None:
    keys = {
        turn_effect(
            session_id="s",
            turn_id=turn_id,
            turn_index=turn_index,
            protocol_iteration=iteration,
            kind="llm_call",
            effect_id=1,
        ).replay
        for turn_id, turn_index, iteration in [
            ("t", 0, 0),
            ("u", 0, 0),
            ("t", 1, 0),
            ("t", 0, 1),
        ]
    }
    assert len(keys) == 4


def test_children_extend_their_parents_key_generation_by_generation() -> None:
    batch = turn_effect(
        session_id="s",
        turn_id="t",
        turn_index=0,
        protocol_iteration=0,
        kind="tool_batch",
        effect_id=2,
    )
    attempt = child_effect(batch, kind="tool_attempt", suffix="child:0:call_a:attempt:1")
    sleep = child_effect(attempt, kind="sleep", suffix="sleep")

    assert attempt == RuntimeInvocation(
        scope=batch.scope,
        subject=EffectSubject(effect_id="2:child:0:call_a:attempt:1", kind="tool_attempt"),
        caused_by=EffectCauseRef(session_id="s", turn_id="t", effect_id="2"),
        replay=ReplayKey(key="s:t:0:0:tool_batch:2:child:0:call_a:attempt:1"),
    )
    assert sleep == RuntimeInvocation(
        scope=batch.scope,
        subject=EffectSubject(effect_id="2:child:0:call_a:attempt:1:sleep", kind="sleep"),
        caused_by=EffectCauseRef(
            session_id="s", turn_id="t", effect_id="2:child:0:call_a:attempt:1"
        ),
        replay=ReplayKey(key="s:t:0:0:tool_batch:2:child:0:call_a:attempt:1:sleep"),
    )


def test_a_child_of_an_effect_without_a_key_takes_the_effects_id() -> None:
    parent = RuntimeInvocation(
        scope=RuntimeScope(session_id="s"), subject=EffectSubject(effect_id="9", kind="tool_batch")
    )
    child = child_effect(parent, kind="sleep", suffix="x")
    assert child.replay == ReplayKey(key="9:x")


def test_a_child_of_what_is_no_effect_is_named_after_the_word_effect() -> None:
    parent = RuntimeInvocation(
        scope=RuntimeScope(session_id="runtime"), subject=ProcessSubject(process_id="p")
    )
    child = child_effect(parent, kind="sleep", suffix="x")
    assert child.replay == ReplayKey(key="effect:x")
    assert child.caused_by == ProcessCauseRef(process_id="p")


@pytest.mark.parametrize(
    ("subject", "cause"),
    [
        (
            EffectSubject(effect_id="1", kind="sleep"),
            EffectCauseRef(session_id="s", turn_id="t", effect_id="1"),
        ),
        (ProcessSubject(process_id="p"), ProcessCauseRef(process_id="p")),
        (
            ProcessEventSubject(process_id="p", sequence=5, event_type="signal"),
            ProcessEventCauseRef(process_id="p", sequence=5),
        ),
        (
            TriggerOccurrenceSubject(occurrence_id="o"),
            TriggerOccurrenceCauseRef(occurrence_id="o"),
        ),
        (SessionNodeSubject(node_id="n"), SessionNodeCauseRef(session_id="s", node_id="n")),
    ],
)
def test_every_subject_can_be_named_as_a_cause(subject: RuntimeSubject, cause: CausalRef) -> None:
    scope = RuntimeScope(session_id="s", turn_id="t")
    assert causal_ref(RuntimeInvocation(scope=scope, subject=subject)) == cause


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (
            EffectSubject(effect_id="1", kind="sleep"),
            '{"effect_id":"1","kind":"sleep","type":"effect"}',
        ),
        (ProcessSubject(process_id="p"), '{"process_id":"p","type":"process"}'),
        (
            ProcessEventSubject(process_id="p", sequence=5, event_type="wake"),
            '{"event_type":"wake","process_id":"p","sequence":5,"type":"process_event"}',
        ),
        (
            TriggerOccurrenceSubject(occurrence_id="o"),
            '{"occurrence_id":"o","type":"trigger_occurrence"}',
        ),
        (SessionNodeSubject(node_id="n"), '{"node_id":"n","type":"session_node"}'),
        (
            TurnCauseRef(session_id="s", turn_id="t"),
            '{"session_id":"s","turn_id":"t","type":"turn"}',
        ),
        (
            EffectCauseRef(session_id="s", effect_id="1"),
            '{"effect_id":"1","session_id":"s","type":"effect"}',
        ),
        (
            ToolCallCauseRef(session_id="s", call_id="c"),
            '{"call_id":"c","session_id":"s","type":"tool_call"}',
        ),
        (
            ProcessEventCauseRef(process_id="p", sequence=5),
            '{"process_id":"p","sequence":5,"type":"process_event"}',
        ),
        (
            SessionNodeCauseRef(session_id="s", node_id="n"),
            '{"node_id":"n","session_id":"s","type":"session_node"}',
        ),
        (
            TriggerOccurrenceCauseRef(occurrence_id="o"),
            '{"occurrence_id":"o","type":"trigger_occurrence"}',
        ),
    ],
)
def test_subjects_and_causes_have_exactly_these_wire_forms(value: object, wire: str) -> None:
    assert canonical(value).decode() == wire
