"""Messages: joining prose, what a reader sees, and which transcripts every provider accepts."""

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.turn.messages import (
    Message,
    Part,
    PartKind,
    PluginOrigin,
    ProcessOrigin,
    Role,
    TurnInputOrigin,
    is_valid_transcript,
    join_prose,
    text_message,
    visible_text,
)

# --- prose ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "joined"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a\n\nb"),
        (["a\n", "b"], "a\n\nb"),
        (["a", "\nb"], "a\n\nb"),
        (["a\n", "\nb"], "a\n\nb"),
        (["a\n\n", "b"], "a\n\nb"),
        (["a\n\n\n", "b"], "a\n\n\nb"),
        (["a", "", "b"], "a\n\nb"),
        (["", "a", ""], "a"),
        (["a", "\n", "b"], "a\n\nb"),
        (["\n", "b"], "\n\nb"),
        (["a ", " b"], "a \n\n b"),
        (["\na\n"], "\na\n"),
    ],
)
def test_pieces_of_prose_are_two_newlines_apart(pieces: list[str], joined: str) -> None:
    assert join_prose(pieces) == joined


prose = st.lists(st.text(alphabet="ab \n", max_size=5), max_size=5)


@given(prose)
def test_joining_adds_nothing_but_newlines_at_boundaries(pieces: list[str]) -> None:
    kept = [piece for piece in pieces if piece]
    pattern = r"\n{0,2}".join(re.escape(piece) for piece in kept)
    assert re.fullmatch(pattern, join_prose(pieces))


@given(prose)
def test_no_two_words_of_different_pieces_are_closer_than_two_newlines(pieces: list[str]) -> None:
    words = [piece for piece in pieces if piece.strip("\n")]
    joined = join_prose(words)
    position = 0
    for before, after in pairwise(words):
        position = joined.index(before.rstrip("\n"), position) + len(before.rstrip("\n"))
        gap = joined[position : joined.index(after.lstrip("\n"), position)]
        assert len(gap) >= 2
        assert set(gap) == {"\n"}


# --- what is visible ------------------------------------------------------------------------------


def part(kind: PartKind, content: str = "", call_id: str | None = None) -> Part:
    return Part(id="p", kind=kind, content=content, tool_call_id=call_id)


def message(role: Role, *parts: Part) -> Message:
    return Message(id="m", role=role, parts=parts)


def test_a_reader_sees_text_but_neither_calls_results_nor_reasoning() -> None:
    shown: list[PartKind] = ["text", "prose", "code", "output", "error"]
    hidden: list[PartKind] = ["tool_call", "tool_result", "reasoning"]
    parts = [part(kind, kind) for kind in [*shown, *hidden]]
    assert visible_text(message("assistant", *parts)) == "text\n\nprose\n\ncode\n\noutput\n\nerror"


def test_a_text_message_has_one_part_named_after_it() -> None:
    assert text_message("m7", "user", "hi", kind="prose") == Message(
        id="m7", role="user", parts=(Part(id="m7.p0", kind="prose", content="hi"),)
    )


@pytest.mark.parametrize(
    ("origin", "transient"),
    [
        (None, False),
        (PluginOrigin(plugin_id="p"), False),
        (PluginOrigin(plugin_id="p", transient=True), True),
        (ProcessOrigin(process_id="p", event_type="e", sequence=1), False),
        (TurnInputOrigin(turn_id="t"), False),
    ],
)
def test_only_a_plugin_can_make_a_message_transient(
    origin: PluginOrigin | ProcessOrigin | TurnInputOrigin | None, transient: bool
) -> None:
    assert text_message("m", "user", "x", origin=origin).transient is transient


# --- valid transcripts ----------------------------------------------------------------------------


def call(call_id: str | None) -> Part:
    return part("tool_call", "{}", call_id)


def result(call_id: str | None) -> Part:
    return part("tool_result", "", call_id)


TRANSCRIPTS: list[tuple[str, list[Message], bool]] = [
    ("empty", [], True),
    ("no tools", [message("user", part("text", "hi")), message("assistant", part("prose"))], True),
    ("answered", [message("assistant", call("a")), message("user", result("a"))], True),
    (
        "two answered in another order",
        [message("assistant", call("a"), call("b")), message("user", result("b"), result("a"))],
        True,
    ),
    (
        "answers in two messages",
        [
            message("assistant", call("a"), call("b")),
            message("user", result("a")),
            message("user", result("b")),
        ],
        True,
    ),
    (
        "an id again after its answer",
        [message("assistant", call("a")), message("user", result("a"))] * 2,
        True,
    ),
    ("reasoning is ignored", [message("user", part("reasoning", "x", "a"))], True),
    ("unanswered", [message("assistant", call("a"))], False),
    (
        "one of two unanswered",
        [message("assistant", call("a"), call("b")), message("user", result("a"))],
        False,
    ),
    (
        "answered twice",
        [message("assistant", call("a")), message("user", result("a"), result("a"))],
        False,
    ),
    ("answered before", [message("user", result("a")), message("assistant", call("a"))], False),
    ("answered without a call", [message("user", result("a"))], False),
    (
        "an id twice at once",
        [message("assistant", call("a"), call("a")), message("user", result("a"), result("a"))],
        False,
    ),
    ("a call without an id", [message("assistant", call("")), message("user", result(""))], False),
    ("a call with no id", [message("assistant", call(None)), message("user", result(None))], False),
    ("a user calls", [message("user", call("a")), message("user", result("a"))], False),
    ("a system note calls", [message("system", call("a")), message("user", result("a"))], False),
    (
        "the assistant answers",
        [message("assistant", call("a")), message("assistant", result("a"))],
        False,
    ),
    ("an event answers", [message("assistant", call("a")), message("event", result("a"))], False),
]


@pytest.mark.parametrize(
    ("messages", "valid"),
    [(messages, valid) for _, messages, valid in TRANSCRIPTS],
    ids=[name for name, _, _ in TRANSCRIPTS],
)
def test_which_transcripts_every_provider_accepts(messages: list[Message], valid: bool) -> None:
    assert is_valid_transcript(messages) is valid


def by_brute_force(messages: Sequence[Message]) -> bool:
    """Per id, calls and results must alternate, beginning with a call and ending with a result."""
    histories: dict[str | None, str] = {}
    for item in messages:
        for piece in item.parts:
            letter = {"tool_call": "C", "tool_result": "R"}.get(piece.kind)
            if letter is None:
                continue
            if {"C": "assistant", "R": "user"}[letter] != item.role or not piece.tool_call_id:
                return False
            histories[piece.tool_call_id] = histories.get(piece.tool_call_id, "") + letter
    return all(re.fullmatch("(CR)+", history) for history in histories.values())


tool_parts = st.builds(
    part,
    st.sampled_from(["tool_call", "tool_result", "text"]),
    st.just(""),
    st.sampled_from(["a", "b", "", None]),
)
# Mostly well-formed, so that valid transcripts of some length turn up too.
exchanges = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.permutations(names).map(
        lambda answers: [
            message("assistant", *map(call, names)),
            message("user", *map(result, answers)),
        ]
    )
)
noise = st.builds(
    lambda role, parts: [message(role, *parts)],
    st.sampled_from(["assistant", "user", "system", "event"]),
    st.lists(tool_parts, max_size=3),
)
transcripts = st.lists(exchanges | exchanges | exchanges | noise, max_size=5).map(
    lambda groups: [item for group in groups for item in group]
)


@given(transcripts)
def test_validity_agrees_with_brute_force(messages: list[Message]) -> None:
    assert is_valid_transcript(messages) is by_brute_force(messages)


@given(st.lists(exchanges, max_size=5), st.data())
def test_a_transcript_cut_between_call_and_answer_is_not_valid(
    groups: list[list[Message]], data: st.DataObject
) -> None:
    messages = [item for group in groups for item in group]
    cut = data.draw(st.integers(0, len(messages)))
    assert is_valid_transcript(messages[:cut]) is (cut % 2 == 0)
