"""A session's usage by source and model, and what was used between two reports."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.errors import LashError
from lash.llm.usage import Usage
from lash.sessions.usage import (
    SessionUsageReport,
    UsageEntry,
    diff_usage_reports,
    merge,
    report,
)


def spent(source: str, model: str, *buckets: int) -> UsageEntry:
    """Tokens in the order input, output, read from cache, written to cache, reasoning."""
    return UsageEntry(
        source=source, model=model, usage=Usage(**dict(zip(NAMES, buckets, strict=False)))
    )


NAMES = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "reasoning_output_tokens",
)
ENTRIES = st.lists(
    st.builds(
        spent,
        st.sampled_from(["turn", "direct", "child", "night shift"]),
        st.sampled_from(["a:x", "b:y"]),
        *[st.integers(0, 1000)] * 5,
    ),
    max_size=8,
)


def test_entries_of_one_source_and_model_are_one() -> None:
    merged = merge(
        [
            spent("turn", "openai:big", 10, 4, 3, 2, 1),
            spent("child", "openai:big", 5),
            spent("turn", "openai:big", 1, 1, 1, 1, 1),
            spent("turn", "openai:small", 7),
        ]
    )

    assert merged == (
        spent("child", "openai:big", 5),
        spent("turn", "openai:big", 11, 5, 4, 3, 2),
        spent("turn", "openai:small", 7),
    )


def test_what_used_nothing_is_left_out() -> None:
    assert merge([spent("turn", "m"), spent("direct", "m", 0, 1)]) == (spent("direct", "m", 0, 1),)


def test_a_report_sums_up_by_source_and_by_model() -> None:
    found = report(
        [
            spent("turn", "big", 100, 20, 40, 5, 15),
            spent("turn", "small", 10, 2),
            spent("compaction", "small", 30, 3, 0, 0, 1),
            spent("nightly check", "big", 1),
        ]
    )

    assert found == SessionUsageReport(
        entry_count=4,
        usage=Usage(
            input_tokens=141,
            output_tokens=25,
            cache_read_input_tokens=40,
            cache_write_input_tokens=5,
            reasoning_output_tokens=16,
        ),
        total_tokens=141 + 25 + 40 + 5,  # reasoning is part of the output
        by_source={
            "compaction": Usage(input_tokens=30, output_tokens=3, reasoning_output_tokens=1),
            "nightly check": Usage(input_tokens=1),
            "turn": Usage(
                input_tokens=110,
                output_tokens=22,
                cache_read_input_tokens=40,
                cache_write_input_tokens=5,
                reasoning_output_tokens=15,
            ),
        },
        by_model={
            "big": Usage(
                input_tokens=101,
                output_tokens=20,
                cache_read_input_tokens=40,
                cache_write_input_tokens=5,
                reasoning_output_tokens=15,
            ),
            "small": Usage(input_tokens=40, output_tokens=5, reasoning_output_tokens=1),
        },
        by_source_model=(
            spent("compaction", "small", 30, 3, 0, 0, 1),
            spent("nightly check", "big", 1),
            spent("turn", "big", 100, 20, 40, 5, 15),
            spent("turn", "small", 10, 2),
        ),
    )


def test_nothing_used_is_an_empty_report() -> None:
    assert report([]) == SessionUsageReport(
        entry_count=0, usage=Usage(), total_tokens=0, by_source={}, by_model={}, by_source_model=()
    )


def test_the_difference_holds_only_what_was_used_between() -> None:
    earlier = report([spent("turn", "big", 10, 2), spent("direct", "big", 3)])
    later = report(
        [spent("turn", "big", 15, 2), spent("direct", "big", 3), spent("child", "small", 0, 9)]
    )

    between = diff_usage_reports(earlier, later)

    assert between.by_source_model == (spent("child", "small", 0, 9), spent("turn", "big", 5))
    assert between.entry_count == 2
    assert between.total_tokens == 14


@pytest.mark.parametrize(
    ("earlier", "later", "field"),
    [
        ([spent("turn", "m", 2)], [spent("turn", "m", 1)], "input_tokens"),
        (
            [spent("turn", "m", 1, 0, 0, 0, 5)],
            [spent("turn", "m", 9, 9, 9, 9, 4)],
            "reasoning_output_tokens",
        ),
        ([spent("turn", "m", 0, 0, 3)], [], "cache_read_input_tokens"),
        # More in all, but less of one pair.
        ([spent("turn", "m", 0, 4)], [spent("child", "m", 0, 9)], "output_tokens"),
    ],
)
def test_a_report_that_decreased_is_refused(
    earlier: list[UsageEntry], later: list[UsageEntry], field: str
) -> None:
    with pytest.raises(LashError) as caught:
        diff_usage_reports(report(earlier), report(later))

    assert caught.value.code == "usage_report_decreased"
    assert caught.value.details["field"] == field


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(LashError) as caught:
        merge([spent("turn", "m", -1)])

    assert caught.value.code == "token_usage_accounting"


@given(before=ENTRIES, after=ENTRIES)
def test_the_difference_is_the_report_of_what_came_after(
    before: list[UsageEntry], after: list[UsageEntry]
) -> None:
    assert diff_usage_reports(report(before), report(before + after)) == report(after)
