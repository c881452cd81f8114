"""Edits of texts: found once in the original, none over another, and everything else left as it was."""

from typing import Any

import pytest
from files_harness import Desk
from hypothesis import given
from hypothesis import strategies as st

from lash.contrib.files.diffing import Change, diff
from lash.contrib.files.editing import Edit, edited
from lash.tools.model import ToolError
from lash.turn.tools import ToolFailure


def change(text: str, *pairs: tuple[str, str]) -> str:
    return edited(text, [Edit(old_text=old, new_text=new) for old, new in pairs], "a").text


def refused(text: str, *pairs: tuple[str, str]) -> str:
    with pytest.raises(ToolError) as failure:
        change(text, *pairs)
    return failure.value.failure.code


def test_all_edits_are_found_in_the_original() -> None:
    assert change("a b c", ("a", "b"), ("b", "a")) == "b a c"
    assert change("one two three", ("three", "3"), ("one", "1")) == "1 two 3"


def test_what_is_there_twice_or_not_at_all_is_refused_and_nothing_is_changed() -> None:
    assert refused("a a", ("a", "b")) == "edit_not_unique"
    assert refused("aaa", ("aa", "b")) == "edit_not_unique"
    assert refused("abc", ("d", "e")) == "edit_not_found"
    assert refused("abc", ("a", "1"), ("d", "e")) == "edit_not_found"


def test_edits_over_one_another_are_refused_and_side_by_side_they_are_not() -> None:
    assert refused("abcd", ("abc", "x"), ("cd", "y")) == "edits_overlap"
    assert change("abcd", ("ab", "x"), ("cd", "y")) == "xy"


def test_edits_of_nothing_or_to_the_same_are_refused() -> None:
    assert refused("abc") == "edit_invalid"
    assert refused("abc", ("", "x")) == "edit_invalid"
    assert refused("abc", ("b", "b")) == "edit_invalid"


def test_line_endings_stay_as_they_are_even_where_they_are_mixed() -> None:
    assert change("a\r\nb\r\nc\r\n", ("a\nb", "1\n2")) == "1\r\n2\r\nc\r\n"
    assert change("a\r\nb\nc\r\nd", ("b\nc", "x\ny")) == "a\r\nx\r\ny\r\nd"
    assert change("a\nb\r\nc", ("a\nb\nc", "x\ny")) == "x\ny"
    assert change("a\r\nb", ("a\r\nb", "x")) == "x"
    assert change("a\rb", ("b", "x")) == "a\rx"


def test_a_mark_of_the_byte_order_stays() -> None:
    assert change("\ufeffabc", ("a", "x")) == "\ufeffxbc"


@pytest.mark.parametrize(
    ("text", "old"),
    [
        ("say \u201chi\u201d", 'say "hi"'),
        ("it\u2019s", "it's"),
        ("a \u2013 b", "a - b"),
        ("a\u00a0b", "a b"),
        ("\ufb01ne", "fine"),
        ("a  \t\nb", "a\nb"),
        ("a\nb", "a \nb"),
        ("a  \r\nb", "a\nb"),
    ],
)
def test_what_looks_alike_is_found_if_nothing_is_there_exactly(text: str, old: str) -> None:
    assert change(f"<{text}>", (f"{old}>", "new")) == "<new"


def test_what_is_there_exactly_goes_before_what_looks_alike() -> None:
    assert change("it\u2019s it's", ("it's", "x")) == "it\u2019s x"


def test_what_only_looks_alike_must_be_there_once_as_well() -> None:
    assert refused("it\u2019s it\u2018s", ("it's", "x")) == "edit_not_unique"


def test_part_of_a_character_is_not_replaced() -> None:
    assert refused("\ufb01ne", ("i", "x")) == "edit_not_found"


def test_what_surrounds_a_match_that_looks_alike_stays() -> None:
    assert change("\u201ca\u201d \u201cb\u201d", ('"b"', "c")) == "\u201ca\u201d c"


@given(
    st.text("ab\n\r\u2019' ", max_size=40),
    st.text("xy\n", min_size=1, max_size=5),
    st.data(),
)
def test_an_edit_changes_its_stretch_and_nothing_else(text: str, new: str, data: Any) -> None:
    before = text.replace("\r", "")
    middle = "UNIQUE"
    at = data.draw(st.integers(0, len(before)))
    whole = f"{before[:at]}{middle}{before[at:]}"
    assert change(whole, (middle, new)) == f"{before[:at]}{new}{before[at:]}"


def test_a_diff_says_what_changed_with_three_lines_around() -> None:
    text = "".join(f"{number}\n" for number in range(1, 21))
    told = diff(text, [Change(text.index("10"), text.index("10") + 2, "ten\nand")], "a.txt")
    assert told.splitlines() == [
        "--- a/a.txt",
        "+++ b/a.txt",
        "@@ -7,7 +7,8 @@",
        " 7",
        " 8",
        " 9",
        "-10",
        "+ten",
        "+and",
        " 11",
        " 12",
        " 13",
    ]


def test_a_diff_of_far_changes_has_two_parts_and_of_near_ones_one() -> None:
    text = "".join(f"line {number:02}\n" for number in range(1, 31))

    def at(number: int) -> Change:
        start = text.index(f"line {number:02}")
        return Change(start, start + 7, "x")

    far = diff(text, [at(2), at(20)], "a").splitlines()
    assert [line for line in far if line.startswith("@@")] == [
        "@@ -1,5 +1,5 @@",
        "@@ -17,7 +17,7 @@",
    ]
    near = diff(text, [at(2), at(8)], "a").splitlines()
    assert [line for line in near if line.startswith("@@")] == ["@@ -1,11 +1,11 @@"]


def test_a_diff_of_lines_that_go_and_lines_that_join() -> None:
    assert diff("a\nb\nc\n", [Change(2, 4, "")], "a").splitlines()[2:] == [
        "@@ -1,3 +1,2 @@",
        " a",
        "-b",
        "-c",
        "+c",
    ]
    assert diff("a\nb", [Change(1, 2, "")], "a").splitlines()[2:] == [
        "@@ -1,2 +1,1 @@",
        "-a",
        "-b",
        "+ab",
    ]


async def test_the_tool_tells_the_diff_and_the_first_line_that_changed(tmp_path: Any) -> None:
    desk = Desk(tmp_path)
    desk.put("a", b"\xef\xbb\xbfone\r\ntwo\r\n\xe2\x80\x9cx\xe2\x80\x9d")
    edits = [{"oldText": "two", "newText": "2"}, {"oldText": '"x"', "newText": "y"}]
    told = await desk("edit", path="a", edits=edits)
    assert (tmp_path / "a").read_bytes() == b"\xef\xbb\xbfone\r\n2\r\ny"
    assert told["details"]["firstChangedLine"] == 2
    assert told["details"]["diff"].splitlines()[3:] == [
        " one",
        "-two",
        "-\u201cx\u201d",
        "+2",
        "+y",
    ]
    assert (told["path"], told["replacements"]) == ("a", 2)
    assert told["summary"].startswith("Made 2 edits in a. 1 matched only after")


async def test_a_file_that_is_no_utf8_or_too_large_is_left_alone(tmp_path: Any) -> None:
    desk, edits = Desk(tmp_path), [{"oldText": "a", "newText": "b"}]
    desk.put("latin", "añ".encode("latin-1"))
    assert await desk.code("edit", path="latin", edits=edits) == "file_not_utf8"
    desk.put("large", b"a" + b"x" * 4 * 1024 * 1024)
    assert await desk.code("edit", path="large", edits=edits) == "file_too_large"


async def test_an_edit_of_a_file_that_was_changed_meanwhile_is_not_written(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path)
    file = desk.put("a", "old")

    def late(*args: Any) -> Any:
        done = edited(*args)
        file.write_text("by somebody else")
        return done

    monkeypatch.setattr("lash.contrib.files.tools.edited", late)
    failure = await desk("edit", path="a", edits=[{"oldText": "old", "newText": "new"}])
    assert isinstance(failure, ToolFailure)
    assert failure.code == "file_changed"
    assert file.read_text() == "by somebody else"
