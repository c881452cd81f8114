"""Lengths of time as callers give them: a `timedelta`, or seconds."""

import math
from datetime import timedelta
from decimal import Decimal
from typing import TypeAlias

from lash.core.errors import ConfigurationError

Duration: TypeAlias = timedelta | float | int

#: A thousand years: what is longer was given in the wrong unit.
_LONGEST_S = 1000 * 366 * 24 * 3600


def milliseconds(duration: Duration, what: str) -> int:
    """A duration in whole milliseconds, rounded up, so that nothing ends before its time.

    Raises:
        ConfigurationError: `duration_invalid`.
    """
    if isinstance(duration, timedelta):
        seconds: float = duration.total_seconds()
    elif isinstance(duration, bool) or not isinstance(duration, int | float):
        raise _invalid(what, f"not {type(duration).__name__}")
    else:
        seconds = duration
    if not 0 <= seconds <= _LONGEST_S:
        too_long = abs(seconds) > _LONGEST_S
        raise _invalid(what, "a thousand years at most" if too_long else f"not {duration!r}")
    # In decimal, as the number reads: 67132800.003 * 1000 is a hair more in binary, and so is 0.1 + 0.2.
    return math.ceil(round(Decimal(repr(float(seconds))), 9) * 1000)


def _invalid(what: str, given: str) -> ConfigurationError:
    return ConfigurationError(
        "duration_invalid", f"{what} takes seconds or a timedelta, zero or more, {given}."
    )
