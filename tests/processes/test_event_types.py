"""What selectors find in a payload, and what an event means by them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.errors import LashError
from lash.core.json import JsonValue
from lash.processes.event_types import (
    BUILT_IN,
    RESERVED,
    TERMINAL_TYPES,
    ProcessEventType,
    SelectConst,
    Selector,
    SelectPayload,
    SelectPointer,
    SelectPresent,
    SelectTemplate,
    TerminalSpec,
    WakeSpec,
    as_text,
    is_signal,
    is_signal_name,
    is_truthy,
    select,
    signal_type,
)
from lash.processes.events import EventSemantics, Terminal
from lash.processes.materializing import materialize, status_of
from lash.processes.outcomes import (
    AbandonEvidence,
    ProcessAbandoned,
    ProcessAwaitOutput,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)

DOCUMENT: JsonValue = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "m~n": 8,
    "~1": 9,
    "nested": {"deep": [{"x": None}], "0": "zero"},
    "01": "leading",
}

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(
    ["~", "/", "~0", "~1", "~01", "a/b", "0", "01", "-", ""]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=12,
)


def pointed(pointer: str, payload: JsonValue = DOCUMENT) -> JsonValue:
    return select(SelectPointer(pointer=pointer), payload)


# --- pointers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pointer", "found"),
    [
        ("", DOCUMENT),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/foo/1", "baz"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/m~0n", 8),
        ("/~01", 9),
        ("/nested/deep/0/x", None),
        ("/nested/0", "zero"),
        ("/01", "leading"),
    ],
)
def test_a_pointer_leads_where_the_standard_says(pointer: str, found: JsonValue) -> None:
    assert pointed(pointer) == found
    assert select(SelectPresent(pointer=pointer), DOCUMENT) is True


@pytest.mark.parametrize(
    "pointer",
    [
        "/bar",
        "/foo/2",
        "/foo/-1",
        "/foo/-",
        "/foo/01",
        "/foo/+1",
        "/foo/1.0",
        "/foo/²",
        "/foo/٣",
        "/foo/",
        "/foo/0/0",
        "/a/b",
        "/m~n/",
        "//",
        "/nested/deep/0/x/y",
    ],
)
def test_a_pointer_that_leads_nowhere_is_an_error(pointer: str) -> None:
    with pytest.raises(LashError) as caught:
        pointed(pointer)

    assert caught.value.code == "process_event_selector_failed"
    assert repr(pointer) in caught.value.message
    assert select(SelectPresent(pointer=pointer), DOCUMENT) is False


@pytest.mark.parametrize("payload", ["text", 7, None, True])
def test_there_is_nothing_inside_of_what_holds_nothing(payload: JsonValue) -> None:
    assert select(SelectPresent(pointer="/0"), payload) is False
    assert pointed("", payload) == payload


@given(values)
def test_every_part_of_a_payload_is_found_under_its_pointer(payload: JsonValue) -> None:
    for pointer, part in parts("", payload):
        assert pointed(pointer, payload) == part


def parts(pointer: str, value: JsonValue) -> list[tuple[str, JsonValue]]:
    """Every part of a value, and the pointer that the standard gives it."""
    found: list[tuple[str, JsonValue]] = [(pointer, value)]
    if isinstance(value, dict):
        for key, inner in value.items():
            step = "".join({"~": "~0", "/": "~1"}.get(char, char) for char in key)
            found += parts(f"{pointer}/{step}", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += parts(f"{pointer}/{index}", inner)
    return found


# --- the other selectors ------------------------------------------------------------------------------


def test_the_whole_payload_and_a_constant() -> None:
    assert select(SelectPayload(), DOCUMENT) == DOCUMENT
    assert select(SelectConst(value=[1, {"a": None}]), DOCUMENT) == [1, {"a": None}]
    assert select(SelectConst(), DOCUMENT) is None


def test_a_template_puts_what_its_fields_select_in_their_places() -> None:
    template = SelectTemplate(
        template="{a} and {b}, {a}: {unknown} {{b}}",
        fields={"a": SelectPointer(pointer="/foo/0"), "b": SelectPointer(pointer="/nested/deep")},
    )

    assert select(template, DOCUMENT) == 'bar and [{"x":null}], bar: {unknown} {[{"x":null}]}'


def test_a_template_may_hold_templates() -> None:
    inner = SelectTemplate(template="<{n}>", fields={"n": SelectPointer(pointer="/foo/1")})

    assert select(SelectTemplate(template="{x}{x}", fields={"x": inner}), DOCUMENT) == "<baz><baz>"


def test_a_template_fails_with_its_fields() -> None:
    with pytest.raises(LashError, match="nothing at '/gone'"):
        select(SelectTemplate(template="none", fields={"x": SelectPointer(pointer="/gone")}), {})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain é", "plain é"),
        ("", ""),
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (1.0, "1.0"),
        ([1, "a"], '[1,"a"]'),
        ({"b": 1, "a": {"é": []}}, '{"a":{"é":[]},"b":1}'),
    ],
)
def test_a_value_in_a_text_is_text_or_compact_json(value: JsonValue, text: str) -> None:
    assert as_text(value) == text


@pytest.mark.parametrize(
    ("value", "yes"),
    [
        (None, False),
        (False, False),
        (True, True),
        (0, True),
        (0.0, True),
        (-1, True),
        ("", False),
        ("no", True),
        ([], False),
        ([None], True),
        ({}, False),
        ({"a": None}, True),
    ],
)
def test_what_means_yes(value: JsonValue, *, yes: bool) -> None:
    assert is_truthy(value) is yes


@pytest.mark.parametrize("name", ["a", "Z9", "-", "_", "with-dashes_and_9", "a" * 200])
def test_names_of_signals(name: str) -> None:
    assert is_signal_name(name)
    assert is_signal(signal_type(name))
    assert signal_type(name) == f"signal.{name}"


@pytest.mark.parametrize("name", ["", " ", "a b", "a.b", "é", "²", "a\n", "a/b", "signal.x"])
def test_what_is_no_name_of_a_signal(name: str) -> None:
    assert not is_signal_name(name)


@given(st.text())
def test_a_signal_name_is_letters_digits_dashes_and_underscores(name: str) -> None:
    assert is_signal_name(name) == bool(re.fullmatch(r"[A-Za-z0-9_-]+", name))


def test_all_types_of_lashs_own_are_built_in_and_only_a_request_to_stop_may_be_appended() -> None:
    assert set(BUILT_IN) == {*RESERVED, "process.cancel_requested"}
    assert set(TERMINAL_TYPES.values()) == {
        name for name, declared in BUILT_IN.items() if declared.terminal is not None
    }
    assert all(name == declared.name for name, declared in BUILT_IN.items())


# --- what an event means ------------------------------------------------------------------------------

OUTCOMES: list[tuple[ProcessAwaitOutput, str]] = [
    (ProcessSuccess(value=1), "completed"),
    (ProcessFailure(failure_class="timeout", code="c", message="m"), "failed"),
    (ProcessCancelled(message="m"), "cancelled"),
    (ProcessAbandoned(evidence=AbandonEvidence(writer="sweep", epoch_ms=1)), "abandoned"),
]


def declared(
    terminal: TerminalSpec | None = None, wake: WakeSpec | None = None
) -> ProcessEventType:
    return ProcessEventType(name="own", terminal=terminal, wake=wake)


@pytest.mark.parametrize(("outcome", "status"), OUTCOMES)
def test_the_status_of_an_outcome(outcome: ProcessAwaitOutput, status: str) -> None:
    assert status_of(outcome) == status


def test_an_event_that_declares_nothing_means_nothing() -> None:
    assert materialize(declared(), {"any": 1}) == EventSemantics()


def test_an_event_may_wake_and_end_at_once() -> None:
    both = declared(
        TerminalSpec(status="completed"), WakeSpec(input=SelectPointer(pointer="/text"))
    )

    assert materialize(both, {"text": "done"}) == EventSemantics(
        terminal=Terminal(status="completed", outcome=ProcessSuccess(value={"text": "done"})),
        wake="done",
    )


def test_when_is_asked_before_what_a_session_would_be_told() -> None:
    wake = WakeSpec(input=SelectPointer(pointer="/text"), when=SelectPresent(pointer="/text"))

    assert materialize(declared(wake=wake), {}) == EventSemantics()


@pytest.mark.parametrize(
    ("status", "payload", "outcome"),
    [
        ("completed", {"type": "success", "value": [1]}, ProcessSuccess(value=[1])),
        ("completed", {"type": "success", "control": {"f": 1}}, ProcessSuccess(control={"f": 1})),
        ("completed", {"type": "order"}, ProcessSuccess(value={"type": "order"})),
        ("completed", "text", ProcessSuccess(value="text")),
        (
            "failed",
            {"type": "failure", "code": "only"},
            ProcessFailure(
                failure_class="execution",
                code="process_failed",
                message='{"code":"only","type":"failure"}',
                raw={"type": "failure", "code": "only"},
            ),
        ),
        (
            "failed",
            "no paper",
            ProcessFailure(
                failure_class="execution", code="process_failed", message="no paper", raw="no paper"
            ),
        ),
        ("cancelled", 7, ProcessCancelled(message="7", raw=7)),
        ("cancelled", {"type": "cancelled", "message": "x"}, ProcessCancelled(message="x")),
    ],
)
def test_what_a_terminal_selects_is_the_outcome_or_becomes_one(
    status: str, payload: JsonValue, outcome: ProcessAwaitOutput
) -> None:
    spec = TerminalSpec(status=status, outcome=SelectPayload())  # type: ignore[arg-type]  # one of them

    assert materialize(declared(spec), payload).terminal == Terminal(
        status=status,  # type: ignore[arg-type]  # one of them
        outcome=outcome,
    )


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("completed", {"type": "cancelled", "message": "m"}),
        ("failed", {"type": "success", "value": 1}),
        ("cancelled", {"type": "failure", "failure_class": "internal", "code": "", "message": ""}),
        ("completed", {"type": "abandoned", "evidence": {"writer": "sweep", "epoch_ms": 1}}),
        ("abandoned", "nobody knows"),
    ],
)
def test_an_outcome_must_be_what_is_declared(status: str, said: JsonValue) -> None:
    spec = TerminalSpec(status=status, outcome=SelectPointer(pointer="/o"))  # type: ignore[arg-type]  # one of them

    with pytest.raises(LashError) as caught:
        materialize(declared(spec), {"o": said})

    assert caught.value.code == "process_outcome_mismatch"


@pytest.mark.parametrize(
    "selector",
    [
        SelectPayload(),
        SelectPointer(pointer="/foo/0"),
        SelectConst(value=None),
        SelectPresent(pointer="/foo"),
        SelectTemplate(template="{x}", fields={"x": SelectPayload()}),
    ],
)
def test_what_a_session_is_told_is_always_text(selector: Selector) -> None:
    told = materialize(declared(wake=WakeSpec(input=selector)), DOCUMENT).wake

    assert isinstance(told, str)
