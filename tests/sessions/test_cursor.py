"""Cursors come back as they were given out, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.errors import LashError
from lash.sessions.cursor import SessionCursor, format_cursor, parse_cursor


def code_of(text: str, session_id: str = "s") -> str:
    with pytest.raises(LashError) as caught:
        parse_cursor(text, session_id)
    return caught.value.code


def test_a_cursor_is_written_as_the_specification_says() -> None:
    cursor = SessionCursor(session_id="chat:7", revision=3, incarnation="run_a1", position=40)

    assert format_cursor(cursor) == "lashsc1:3:run_a1.40:chat:7"


def test_a_session_id_may_hold_colons_dots_spaces_and_lines() -> None:
    found = parse_cursor("lashsc1:0:run.x.0:a:b.1:\n c", "a:b.1:\n c")

    assert found == SessionCursor(
        session_id="a:b.1:\n c", revision=0, incarnation="run.x", position=0
    )


@given(
    session_id=st.text(min_size=1),
    revision=st.integers(0, 10**18 - 1),
    position=st.integers(0, 10**18 - 1),
    incarnation=st.text("abc019_.-", min_size=1),
)
def test_every_cursor_comes_back_as_it_was(
    session_id: str, revision: int, position: int, incarnation: str
) -> None:
    cursor = SessionCursor(
        session_id=session_id, revision=revision, incarnation=incarnation, position=position
    )

    assert parse_cursor(format_cursor(cursor), session_id) == cursor


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "lashsc1",
        "lashsc1:1:run.2",
        "lashsc1:1:run.2:",
        "lashsc2:1:run.2:s",
        " lashsc1:1:run.2:s",
        "lashsc1:1:2:s",
        "lashsc1:1:.2:s",
        "lashsc1:1:run.:s",
        "lashsc1:-1:run.2:s",
        "lashsc1:+1:run.2:s",
        "lashsc1:01:run.2:s",
        "lashsc1:1_0:run.2:s",
        "lashsc1:1:run.-2:s",
        "lashsc1:\u0661:run.2:s",
        "lashsc1:1:run.²:s",
        "lashsc1:1.5:run.2:s",
        "lashsc1:1:run.2:other".replace("lashsc1", "LASHSC1"),
        f"lashsc1:{'9' * 5000}:run.2:s",
        f"lashsc1:1:run.{'9' * 5000}:s",
    ],
)
def test_what_was_never_given_out_is_malformed(text: str) -> None:
    assert code_of(text) == "session_cursor_malformed"


def test_a_cursor_of_another_session_is_refused() -> None:
    assert code_of("lashsc1:1:run.2:other") == "session_cursor_wrong_session"
    assert code_of("lashsc1:1:run.2:s:x") == "session_cursor_wrong_session"


def test_a_cursor_that_could_not_be_read_back_is_not_given_out() -> None:
    for incarnation in ("", "a:b", "a b"):
        cursor = SessionCursor(session_id="s", revision=0, incarnation=incarnation, position=0)
        with pytest.raises(ValueError, match="read back"):
            format_cursor(cursor)
