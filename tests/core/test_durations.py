"""Lengths of time: seconds or a timedelta, in whole milliseconds, and nothing ends before its time."""

import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.durations import milliseconds
from lash.core.errors import ConfigurationError

THOUSAND_YEARS_S = 31_622_400_000


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (0, 0),
        (0.0, 0),
        (-0.0, 0),
        (3, 3_000),
        (0.25, 250),
        (2.0000001, 2_001),
        (0.0001, 1),
        (0.1 + 0.2, 300),  # what a float cannot hold is not a millisecond more
        (1.1, 1_100),
        (67_132_800.003, 67_132_800_003),  # times a thousand, in binary, this is a hair more
        (timedelta(days=777, milliseconds=3), 67_132_800_003),
        (timedelta(), 0),
        (timedelta(days=3), 259_200_000),
        (timedelta(microseconds=1), 1),
        (timedelta(microseconds=1_001), 2),
        (timedelta(milliseconds=1), 1),
        (THOUSAND_YEARS_S, 31_622_400_000_000),
    ],
)
def test_a_duration_is_whole_milliseconds_rounded_up(
    duration: timedelta | float, expected: int
) -> None:
    found = milliseconds(duration, "sleep")
    assert found == expected
    assert type(found) is int


@pytest.mark.parametrize(
    ("duration", "says"),
    [
        (-1, "not -1"),
        (-0.001, "not -0.001"),
        (
            timedelta(microseconds=-1),
            "not datetime.timedelta(days=-1, seconds=86399, microseconds=999999)",
        ),
        (math.nan, "not nan"),
        (math.inf, "a thousand years at most"),
        (-math.inf, "a thousand years at most"),
        (THOUSAND_YEARS_S + 1, "a thousand years at most"),
        (10**400, "a thousand years at most"),
        pytest.param(-(10**5_000), "a thousand years at most", id="too long to print"),
        (timedelta.max, "a thousand years at most"),
        (True, "not bool"),
        ("1", "not str"),
        (None, "not NoneType"),
        (Decimal(1), "not Decimal"),
        (Fraction(1, 2), "not Fraction"),
    ],
)
def test_what_is_no_length_of_time_is_refused(duration: object, says: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        milliseconds(duration, "The timeout of a wait")  # type: ignore[arg-type]  # that is the point
    assert raised.value.code == "duration_invalid"
    assert raised.value.message == (
        f"The timeout of a wait takes seconds or a timedelta, zero or more, {says}."
    )


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=36_500)))
def test_seconds_and_a_timedelta_say_the_same(duration: timedelta) -> None:
    micros = duration // timedelta(microseconds=1)
    assert milliseconds(duration, "sleep") == -(-micros // 1_000)
    assert milliseconds(duration.total_seconds(), "sleep") == -(-micros // 1_000)
