"""What may be registered as a process, and which registrations are the same."""

from typing import TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.errors import LashError
from lash.core.json import JsonValue
from lash.effects.commands import PreparedToolCall
from lash.processes.event_types import (
    BUILT_IN,
    WAKE_TYPE,
    ProcessEventType,
    SelectPayload,
    TerminalSpec,
)
from lash.processes.model import (
    EngineInput,
    ExternalInput,
    HostOriginator,
    ProcessEnv,
    ProcessIdentity,
    ProcessProvenance,
    ProcessRegistration,
    ProcessTombstone,
    SessionOriginator,
    SessionTurnInput,
    ToolCallInput,
    engine_kind,
    originator_id,
    segment_scope_id,
)
from lash.processes.registration import (
    RegisterRequest,
    check_process_id,
    differences,
    env_ref_of,
    fingerprint,
    prepare,
)
from lash.processes.transitions import plan_register
from lash.testing.conformance.processes.samples import EVENT_TYPES, NOTE, refund

T = TypeVar("T")
TURN = SessionTurnInput(session_id="s", agent_name="a", agent_version="1", turn_input=None)


def code_of(registration: ProcessRegistration) -> str:
    with pytest.raises(LashError) as caught:
        prepare(registration)
    return caught.value.code


def changed(**fields: object) -> ProcessRegistration:
    """The usual registration with other fields, not prepared."""
    return msgspec.structs.replace(refund(), **fields)


# --- ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process_id", ["p", " p ", "process:subagent:call_1", "é☃", "x" * 1024])
def test_an_id_may_be_any_text(process_id: str) -> None:
    assert check_process_id(process_id) == process_id


@pytest.mark.parametrize(
    ("process_id", "why"),
    [
        ("", "blank"),
        (" \n\t", "blank"),
        ("p#1", "'#'"),
        ("#", "'#'"),
        ("x" * 1025, "1024"),
        ("\ud800", "UTF-8"),
        (7, "not int"),
        (None, "not NoneType"),
    ],
)
def test_an_id_that_would_not_do_is_refused_in_words(process_id: object, why: str) -> None:
    with pytest.raises(LashError, match="Nothing was registered") as caught:
        check_process_id(process_id)

    assert caught.value.code == "process_id_invalid"
    assert why in caught.value.message


def test_the_id_is_checked_when_a_registration_is_prepared() -> None:
    assert code_of(changed(process_id="p#1")) == "process_id_invalid"


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ((ProcessEventType(name=""),), "no name"),
        ((ProcessEventType(name="  "),), "no name"),
        ((ProcessEventType(name="\udc00"),), "no name"),
        ((NOTE, NOTE), "twice"),
        ((NOTE, ProcessEventType(name="note")), "twice"),
        ((ProcessEventType(name="process.started", payload_schema={"a": 1}),), "lash's own"),
        (
            (
                ProcessEventType(
                    name="process.failed", terminal=TerminalSpec(status="failed", outcome=None)
                ),
            ),
            "lash's own",
        ),
        ((ProcessEventType(name="signal.a b"),), "no signal"),
        ((ProcessEventType(name="signal."),), "no signal"),
        ((ProcessEventType(name="bad", payload_schema={"type": 7}),), "schema"),
        ((ProcessEventType(name="off", terminal=TerminalSpec(status="failed")),), "not how"),
        ((ProcessEventType(name="off", terminal=TerminalSpec(status="abandoned")),), "not how"),
    ],
)
def test_event_types_that_would_not_do_are_refused(
    declared: tuple[ProcessEventType, ...], why: str
) -> None:
    with pytest.raises(LashError) as caught:
        prepare(changed(event_types=declared))

    assert caught.value.code == "process_registration_invalid"
    assert why in caught.value.message


def test_only_a_completion_may_go_without_an_outcome() -> None:
    sold = ProcessEventType(name="sold", terminal=TerminalSpec(status="completed"))
    off = ProcessEventType(
        name="off", terminal=TerminalSpec(status="cancelled", outcome=SelectPayload())
    )

    assert prepare(changed(event_types=(sold, off))).event_types == (off, sold)


CALL = ToolCallInput(call=PreparedToolCall(call_id="c", tool_id="look", tool_name="look", args={}))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"input": CALL, "env_ref": None}, "none is named"),
        ({"input": EngineInput(kind="python"), "env_ref": None}, "none is named"),
        ({"input": TURN, "env_ref": "e"}, "one is named"),
        (
            {"input": ExternalInput(), "disposition": "externally_owned", "env_ref": "e"},
            "one is named",
        ),
        ({"input": ExternalInput(), "env_ref": None}, "externally owned"),
        ({"disposition": "externally_owned"}, "externally owned"),
        ({"max_attempts": 0}, "at least 1"),
        ({"max_attempts": -1}, "at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(LashError) as caught:
        prepare(changed(**fields))

    assert caught.value.code == "process_registration_invalid"
    assert why in caught.value.message


@pytest.mark.parametrize(
    "fields",
    [
        {"input": CALL, "env_ref": "e"},
        {"input": TURN, "env_ref": None},
        {"input": TURN, "env_ref": None, "disposition": "owner_bound"},
        {"input": ExternalInput(), "disposition": "externally_owned", "env_ref": None},
        {"max_attempts": 1},
    ],
)
def test_what_goes_together_is_taken(fields: dict[str, object]) -> None:
    asked = changed(**fields)

    assert prepare(asked) == asked


# --- what is the same ---------------------------------------------------------------------------------


def test_built_in_types_are_not_kept_and_preparing_twice_changes_nothing() -> None:
    asked = prepare(changed(event_types=(*BUILT_IN.values(), *EVENT_TYPES, WAKE_TYPE)))

    assert [each.name for each in asked.event_types] == [
        "broke",
        "note",
        "process.wake",
        "ring",
        "signal.approve",
        "signal.hello",
        "sold",
        "stopped",
    ]
    assert prepare(asked) == asked


@given(
    types=st.permutations([*EVENT_TYPES, *BUILT_IN.values()]),
    observers=st.permutations(["a", "b", "c"]),
    again=st.lists(st.sampled_from(["a", "b", "c"])),
)
def test_neither_order_nor_repetition_make_another_process(
    types: list[ProcessEventType], observers: list[str], again: list[str]
) -> None:
    asked = prepare(changed(event_types=tuple(types)))

    assert fingerprint(asked, [*observers, *again]) == fingerprint(refund(), ["a", "b", "c"])


@given(st.permutations([("b", 1), ("a", {"y": 1, "x": 2}), ("c", None)]))
def test_the_order_of_keys_makes_no_other_process(items: list[tuple[str, JsonValue]]) -> None:
    one = refund(input=EngineInput(kind="python", payload=dict(items)))
    same: JsonValue = {"a": {"x": 2, "y": 1}, "b": 1, "c": None}

    assert fingerprint(one, []) == fingerprint(
        refund(input=EngineInput(kind="python", payload=same)), []
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input", EngineInput(kind="python", payload=None)),
        ("disposition", "owner_bound"),
        ("identity", ProcessIdentity(kind="python")),
        ("provenance", ProcessProvenance(parent_id="q")),
        ("event_types", ()),
        ("open_signals", True),
        ("env_ref", "other"),
        ("max_attempts", 1),
        ("wake_session_id", "s"),
    ],
)
def test_every_field_but_the_id_makes_another_process(name: str, value: object) -> None:
    other = changed(**{name: value})

    assert fingerprint(other, []) != fingerprint(refund(), [])
    assert differences(refund(), other) == (name,)
    assert fingerprint(changed(process_id="q"), []) == fingerprint(refund(), [])
    assert fingerprint(refund(), ["s"]) != fingerprint(refund(), [])


def test_a_tombstone_answers_whatever_is_registered_under_its_id() -> None:
    stone = ProcessTombstone(process_id="p", status="completed", pruned_at_ms=1, change=2)

    plan = plan_register(stone, RegisterRequest(registration=refund()), now_ms=5, next_change=9)

    assert (plan.result, plan.record, plan.events) == (stone, None, ())


# --- names --------------------------------------------------------------------------------------------


def test_an_environment_is_named_by_its_content() -> None:
    env = ProcessEnv(plugin_options={"b": 1, "a": 2})

    assert env_ref_of(env) == env_ref_of(ProcessEnv(plugin_options={"a": 2, "b": 1}))
    assert env_ref_of(env) != env_ref_of(ProcessEnv(plugin_options={"a": 2}))
    assert env_ref_of(env).startswith("process-env:v1:sha256:")


def test_who_is_accountable_in_one_word() -> None:
    assert originator_id(HostOriginator()) == "host"
    assert originator_id(HostOriginator(scope="cron")) == "host:cron"
    assert originator_id(SessionOriginator(session_id="s", agent_frame_id="f")) == "session:s"


def test_who_runs_what() -> None:
    assert engine_kind(CALL) == "tool_call"
    assert engine_kind(TURN) == "session_turn"
    assert engine_kind(ExternalInput()) == "external"
    assert engine_kind(EngineInput(kind="lua")) == "lua"


def test_each_segment_has_a_journal_of_its_own() -> None:
    assert [segment_scope_id("p", ordinal) for ordinal in (0, 1, 12)] == ["p", "p#1", "p#12"]
