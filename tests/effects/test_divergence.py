"""Where two requests differ: every place, both values, and what such a difference usually comes from."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.effects.divergence import Change, changes

CLOCK = "a clock is read where the text is made"
CHANCE = "a random id is made where the text is made"
ADDRESS = "an object's address is in the text: give its class a __repr__ or __str__"
WORDS = "the same words in another order: a set gives its members in any order"
MEMBERS = "the same members in another order: a set or a directory listing gives them in any order"
ADDED, REMOVED = "it was added", "it was removed"
NOTHING = ""


def found(before: Any, after: Any) -> list[Change]:
    return list(changes(before, after, "p"))


# --- where ------------------------------------------------------------------------------------------


def tool(name: str, description: str = "It works.") -> dict[str, Any]:
    return {"name": name, "description": description}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        (1, 2, [("p", "1", "2", NOTHING)]),
        (1, 1.0, [("p", "1", "1.0", NOTHING)]),
        (True, 1, [("p", "true", "1", NOTHING)]),
        (None, "", [("p", "null", "", NOTHING)]),
        ({"a": 1}, [1], [("p", '{"a":1}', "[1]", NOTHING)]),
        ({}, {"a": None}, [("p.a", None, "null", ADDED)]),
        ({"a": [1]}, {}, [("p.a", "[1]", None, REMOVED)]),
        (
            {"b": {"x": 1}, "a": 1},
            {"b": {"x": 2}, "c": 1},
            [
                ("p.b.x", "1", "2", NOTHING),
                ("p.a", "1", None, REMOVED),
                ("p.c", None, "1", ADDED),
            ],
        ),
        ([1, 2], [1, 3], [("p[1]", "2", "3", NOTHING)]),
        ([1], [1, 2], [("p[1]", None, "2", ADDED)]),
        ([1, 2], [1], [("p[1]", "2", None, REMOVED)]),
        ([1, 2, 3], [3, 1, 2], [("p", "[1,2,3]", "[3,1,2]", MEMBERS)]),
        (
            [{"a": 1}, {"a": 2}],
            [{"a": 2}, {"a": 1}],
            [("p", '[{"a":1},{"a":2}]', '[{"a":2},{"a":1}]', MEMBERS)],
        ),
        ([1, 1], [1], [("p[1]", "1", None, REMOVED)]),
        ((1, 2), [1, 2], []),
        (
            [tool("a"), tool("b")],
            [tool("b"), tool("a")],
            [("p", '["a","b"]', '["b","a"]', MEMBERS)],
        ),
        (
            [tool("a"), tool("b")],
            [tool("b", "It may."), tool("a")],
            [
                ("p", '["a","b"]', '["b","a"]', MEMBERS),
                ("p[b].description", "It works.", "It may.", NOTHING),
            ],
        ),
        (
            [tool("a"), tool("b")],
            [tool("c"), tool("a")],
            [
                ("p[b]", '{"description":"It works.","name":"b"}', None, REMOVED),
                ("p[c]", None, '{"description":"It works.","name":"c"}', ADDED),
            ],
        ),
        ([], [tool("a")], [("p[a]", None, '{"description":"It works.","name":"a"}', ADDED)]),
        # Two of a name cannot be told apart by it.
        (
            [tool("a"), tool("a", "Two.")],
            [tool("a"), tool("a", "2.")],
            [("p[1].description", "Two.", "2.", NOTHING)],
        ),
    ],
)
def test_every_difference_is_found_where_it_is(
    before: Any, after: Any, expected: list[tuple[str, str | None, str | None, str]]
) -> None:
    assert found(before, after) == [
        Change(path=path, before=old, after=new, hint=hint) for path, old, new, hint in expected
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab ", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=8,
)


@given(json_values, json_values)
def test_something_is_found_exactly_where_something_differs(before: Any, after: Any) -> None:
    def plain(value: Any) -> Any:
        """The value with its kinds written out: True is not 1 here."""
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, list) else (type(value), value)

    assert bool(found(before, after)) == (plain(before) != plain(after))


# --- how it is shown --------------------------------------------------------------------------------


def test_a_long_text_is_cut_around_the_place_where_it_differs() -> None:
    shared = "x" * 1_000
    (change,) = found(shared + "old" + "y" * 1_000, shared + "new" + "y" * 1_000)
    assert change.before == "…" + "x" * 40 + "old" + "y" * 77 + "…"
    assert change.after == "…" + "x" * 40 + "new" + "y" * 77 + "…"


def test_a_long_text_that_was_only_continued_shows_where() -> None:
    (change,) = found("x" * 200, "x" * 200 + " The end.")
    assert change.before == "…" + "x" * 40
    assert change.after == "…" + "x" * 40 + " The end."


def test_what_was_added_at_length_is_cut_at_its_end() -> None:
    (change,) = found({}, {"a": "x" * 121})
    assert change.after == "x" * 119 + "…"
    (change,) = found({}, {"a": "x" * 120})
    assert change.after == "x" * 120


# --- what it usually comes from ---------------------------------------------------------------------

SHA_A = hashlib.sha256(b"a").hexdigest()
SHA_B = hashlib.sha256(b"b").hexdigest()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Today is 2025-06-01.", "Today is 2025-06-02."),
        ("2025-06-01T10:00:00Z", "2025-06-02T11:30:09Z"),
        ("at 2025-06-01 10:00:00.123456+00:00", "at 2025-06-01 10:00:01+00:00"),
        ("It is 9:05.", "It is 10:15."),
        ("It is 11:59 AM now", "It is 12:01 p.m. now"),
        ("Today is Monday, 2 June 2025.", "Today is Tuesday, 3 June 2025."),
        ("It is March 5, 2025", "It is April 12th, 2026"),
        ("Mon, 02 Jun 2025 10:00:00 GMT", "Tue, 03 Jun 2025 11:00:00 GMT"),
        ("As of June 2025", "As of July 2025"),
        ("Day: Friday", "Day: Saturday"),
        ("on 6/1/2025", "on 6/2/2025"),
        ("am 1.6.2025", "am 2.6.2025"),
        ("t=1750000000.123", "t=1750000001.9"),
        (1750000000, 1750000001),
        (1750000000000, 1750000000001),
        ({"now": "10:00"}, {"now": "10:01"}),
    ],
)
def test_a_clock_is_recognised(before: Any, after: Any) -> None:
    assert [change.hint for change in found(before, after)] == [CLOCK]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Order 2025-06-01 has 5 items", "Order 2025-06-01 has 6 items"),
        ("Since 2024-01-01: at most 3", "Since 2024-01-01: at most 4"),
        ("Limit of 5 in March", "Limit of 6 in March"),
        ("You help with marketing.", "You help with decorating."),
        ("Sell novels.", "Sell marbles."),
        ("You may decide.", "You must decide."),
        ("Version 1.2.3", "Version 1.2.4"),
        ("Answer in 5 words.", "Answer in 6 words."),
        ("Today is 2025-06-01.", "Today is a good day."),
        ("Today is 2025-06-01.", "Now it is 2025-06-02."),
        ("ratio 3:2", "ratio 3:1"),
        (5, 6),
        (2_500_000_000, 2_500_000_001),
    ],
)
def test_what_only_stands_beside_a_time_is_no_clock(before: Any, after: Any) -> None:
    assert [change.hint for change in found(before, after)] == [NOTHING]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "id 80000000-0000-4000-8000-000000000005.",
            "id 00000000-0000-4000-8000-00000000004d.",
        ),
        ("5F0C6C0E-3F5B-4C3F-9A1B-2C3D4E5F6A7B", "0a0c6c0e-3f5b-4c3f-9a1b-2c3d4e5f6a7c"),
        ("x_5f0c6c0e3f5b4c3f9a1b2c3d4e5f6a7b", "x_0a0c6c0e3f5b4c3f9a1b2c3d4e5f6a7c"),
        ("01JZ6H8K9M2N3P4Q5R6S7T8V9W", "01JZ6H8K9M2N3P4Q5R6S7T8V9X"),
        ("turn_01jz6h8k9m2n3p4q5r6s7t8v9w is on", "turn_01jz6h8k9m2n3p4q5r6s7t8v9x is on"),
    ],
)
def test_a_random_id_is_recognised(before: str, after: str) -> None:
    assert [change.hint for change in found(before, after)] == [CHANCE]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SHA_A, SHA_B),  # a hash changes with its content, not by chance
        (hashlib.sha1(b"a").hexdigest(), hashlib.sha1(b"b").hexdigest()),  # noqa: S324  the same
        (f"sha256:{SHA_A}", f"sha256:{SHA_B}"),
        (hashlib.md5(b"a").hexdigest(), hashlib.md5(b"b").hexdigest()),  # noqa: S324  the same
        ("abcdefghijklmnopqrstuvwxyz", "zbcdefghijklmnopqrstuvwxya"),
        ("z123456789abcdefghjkmnpqrs", "y123456789abcdefghjkmnpqrs"),
        ("id 80000000-0000-4000-8000-000000000005", "id 7"),
        (
            "80000000-0000-4000-8000-000000000005 has 5",
            "00000000-0000-4000-8000-00000000004d has 6",
        ),
    ],
)
def test_what_only_looks_like_a_random_id_is_none(before: str, after: str) -> None:
    assert [change.hint for change in found(before, after)] == [NOTHING]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Use <Order object at 0x7f2c5e10>.", "Use <Order object at 0x7f2c99a0>."),
        ("[<function f at 0x7F2C5E>]", "[<function f at 0x10A>]"),
    ],
)
def test_an_objects_address_is_recognised(before: str, after: str) -> None:
    assert [change.hint for change in found(before, after)] == [ADDRESS]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("The colour is 0xff00ff", "The colour is 0x00ff00"),
        ("<Order object at 0x7f2c5e10>", "<Line object at 0x7f2c99a0>"),
    ],
)
def test_a_number_that_is_no_address_is_none(before: str, after: str) -> None:
    assert [change.hint for change in found(before, after)] == [NOTHING]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{'a', 'b', 'c'}", "{'c', 'a', 'b'}"),
        ("Use a, b or c.", "Use b, a or c."),
        ("tools: (x; y)", "tools: (y; x)"),
    ],
)
def test_another_order_of_words_is_recognised(before: str, after: str) -> None:
    assert [change.hint for change in found(before, after)] == [WORDS]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a,b", "a b"),  # the words stand as they stood
        ("Be brief.", "Be brief.\n"),
        ("a b", "a b c"),
        ("a b b", "a a b"),
        ("ab", "ba"),
    ],
)
def test_other_words_in_the_same_order_are_none(before: str, after: str) -> None:
    assert [change.hint for change in found(before, after)] == [NOTHING]
