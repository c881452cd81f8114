"""Token counts: which buckets add up to what, and what cannot be added."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.errors import LashError
from lash.llm.usage import FIELDS, Usage

LIMIT = 2**63 - 1
SOME = Usage(
    input_tokens=1,
    output_tokens=20,
    cache_read_input_tokens=300,
    cache_write_input_tokens=4_000,
    reasoning_output_tokens=7,
)
counts = st.integers(0, 2**40)
usages = st.builds(Usage, **dict.fromkeys(FIELDS, counts))


def test_the_prompt_is_what_was_read_written_and_neither() -> None:
    assert SOME.prompt_tokens == 4_301


def test_reasoning_is_part_of_the_output_and_never_added_again() -> None:
    assert SOME.total_tokens == 4_321


def test_usages_add_up_bucket_by_bucket() -> None:
    twice = SOME + SOME
    assert twice == Usage(
        input_tokens=2,
        output_tokens=40,
        cache_read_input_tokens=600,
        cache_write_input_tokens=8_000,
        reasoning_output_tokens=14,
    )


@given(usages, usages, usages)
def test_the_order_of_adding_does_not_matter(a: Usage, b: Usage, c: Usage) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Usage() == a


@pytest.mark.parametrize("name", FIELDS)
def test_a_sum_may_reach_64_bits_and_not_leave_them(name: str) -> None:
    one = Usage(**{name: 1})
    assert getattr(Usage(**{name: LIMIT - 1}) + one, name) == LIMIT
    with pytest.raises(LashError) as caught:
        Usage(**{name: LIMIT}) + one
    assert caught.value.code == "token_usage_accounting"
    assert caught.value.details == {"field": name}


@pytest.mark.parametrize("name", FIELDS)
def test_a_negative_count_is_refused_also_where_the_sum_is_positive(name: str) -> None:
    plenty, negative = Usage(**{name: 10}), Usage(**{name: -1})
    for one, other in ((plenty, negative), (negative, plenty), (negative, negative)):
        with pytest.raises(LashError) as caught:
            one + other
        assert caught.value.code == "token_usage_accounting"
        assert caught.value.details == {"field": name}
