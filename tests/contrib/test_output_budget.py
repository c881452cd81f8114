"""What of an output is shown: within its budget, with honest marks, and never half a character."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lash
from lash.contrib.output_budget import OutputBudget, Shown, cut_text, shown

TEXTS = st.one_of(
    st.text(max_size=2000),
    st.lists(st.text("aé🦉", max_size=60), max_size=60).map("\n".join),
    st.integers(0, 4000).map(lambda count: "🦉" * count),
)
BUDGETS = st.builds(
    OutputBudget,
    max_bytes=st.integers(256, 1000),
    max_lines=st.integers(1, 50),
    keep=st.sampled_from(["head", "tail"]),
)
HINTS = st.sampled_from(["", "/tmp/all.txt", "x" * 500, "ö" * 300, "a\nb"])  # noqa: S108  only text
JSON = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=300)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=20), inner, max_size=6)
    ),
    max_leaves=20,
)


@given(TEXTS, BUDGETS, HINTS)
def test_a_text_is_within_its_budget_and_what_is_left_out_is_counted(
    text: str, budget: OutputBudget, hint: str
) -> None:
    told = cut_text(text, budget, hint=hint)
    size = len(text.encode("utf-8", "surrogatepass"))
    assert len(told.text.encode("utf-8", "surrogatepass")) <= budget.max_bytes
    if told.omitted_bytes == 0:
        assert told.text == text
        return
    lines = told.text.split("\n")
    if budget.keep == "head":
        kept = told.text[: told.text.rindex("...", 0, len(told.text) - 3)]
        kept = kept if text.startswith(kept) else kept.removesuffix("\n")
        assert text.startswith(kept)
    else:
        kept = told.text[told.text.index("...\n") + 4 :]
        assert text.endswith(kept)
    assert len(lines) <= budget.max_lines + 2
    missing = size - len(kept.encode("utf-8", "surrogatepass"))
    assert missing - 1 <= told.omitted_bytes <= missing + 1
    assert str(told.omitted_bytes) in told.text


@given(TEXTS, BUDGETS)
def test_a_text_that_fits_is_not_touched(text: str, budget: OutputBudget) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    fits = size <= budget.max_bytes and len(text.splitlines()) <= budget.max_lines
    lines = text.count("\n") + 1
    if fits and lines <= budget.max_lines:
        assert cut_text(text, budget) == Shown(text=text)


@given(JSON, BUDGETS, HINTS)
def test_json_is_within_its_budget(value: Any, budget: OutputBudget, hint: str) -> None:
    told = shown(value, budget, hint=hint)
    assert len(told.text.encode("utf-8", "surrogatepass")) <= budget.max_bytes
    if not isinstance(value, str) and not told.omitted_bytes:
        assert json.loads(told.text) == value or "truncated" in told.text


def test_the_head_or_the_tail_is_kept_with_a_mark() -> None:
    text = "".join(f"{number}\n" for number in range(1, 1001))
    head = cut_text(text, OutputBudget(max_lines=2), hint="/all.txt")
    assert head.text == "1\n2\n...998 lines (3889 bytes) truncated; /all.txt..."
    assert head.omitted_bytes == 3889
    tail = cut_text(text, OutputBudget(max_lines=2, keep="tail"))
    assert tail.text == "...998 lines (3884 bytes) truncated...\n999\n1000\n"


def test_a_single_long_line_is_cut_and_never_dropped() -> None:
    budget = OutputBudget(max_bytes=256)
    told = cut_text("x" * 1000, budget)
    assert told.text == "x" * 176 + "\n...824 bytes truncated..."
    told = cut_text("short\n" + "é" * 1000, budget)
    assert told.text.startswith("short\n" + "é" * 85 + "\n")
    tail = cut_text("é" * 1000, OutputBudget(max_bytes=256, keep="tail"))
    assert tail.text == "...1824 bytes truncated...\n" + "é" * 88


def test_a_path_in_the_mark_is_whole_where_there_is_room() -> None:
    path = "/var/lib/agents/output/" + "x" * 100
    assert path in cut_text("y" * 2000, OutputBudget(max_bytes=1000), hint=path).text
    little = cut_text("y" * 2000, OutputBudget(max_bytes=256), hint=path)
    assert "; /var/lib/agents/output/xx" in little.text
    assert little.text.startswith("y" * 100)


def test_text_is_shown_as_it_is_and_other_json_compact() -> None:
    assert shown("a b", OutputBudget()).text == "a b"
    assert shown({"b": [1, None], "a": "x"}, OutputBudget()).text == '{"a":"x","b":[1,null]}'


def test_json_keeps_its_form_and_its_short_texts_while_the_long_ones_are_cut() -> None:
    value = {"path": "a.txt", "long": "x" * 5000, "also": "y" * 5000}
    told = shown(value, OutputBudget(max_bytes=2000))
    read = json.loads(told.text)
    assert read["path"] == "a.txt"
    assert re.fullmatch(r"x+\n\.\.\.\d+ bytes truncated\.\.\.", read["long"])
    assert len(read["long"]) == len(read["also"])
    assert 1900 <= len(told.text) <= 2000
    assert told.omitted_bytes > 8000


def test_json_that_is_too_large_without_its_texts_is_cut_like_text() -> None:
    told = shown(list(range(10_000)), OutputBudget(max_bytes=300))
    assert told.text.startswith("[0,1,2,3,")
    assert told.text.endswith("bytes truncated...")


@pytest.mark.parametrize("budget", [OutputBudget(max_bytes=255), OutputBudget(max_lines=0)])
def test_a_budget_that_shows_nothing_is_refused(budget: OutputBudget) -> None:
    for cut in (cut_text, shown):
        with pytest.raises(lash.ConfigurationError) as refused:
            cut("text", budget)
        assert refused.value.code == "tool_set_invalid"
