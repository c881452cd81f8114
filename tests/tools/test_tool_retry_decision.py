"""When a tool is run again: a pure decision, held against a table written by hand."""

import pytest

from lash.tools.model import ToolRetry
from lash.tools.transitions import RetryTool, ToolDone, after_attempt
from lash.turn.tools import (
    NeverRetry,
    RetriesExhausted,
    RetryStatus,
    SafeToRetry,
    ToolCancellation,
    ToolCancelled,
    ToolFailed,
    ToolFailure,
    ToolOutput,
    ToolSuccess,
)


def failing(retry: RetryStatus) -> ToolOutput:
    return ToolOutput(
        outcome=ToolFailed(
            payload=ToolFailure(failure_class="external", code="down", message="down", retry=retry)
        )
    )


POLICY = ToolRetry(max_attempts=4, base_delay_ms=100, max_delay_ms=250)


@pytest.mark.parametrize(
    ("output", "policy", "attempt"),
    [
        (ToolOutput(outcome=ToolSuccess(payload=1)), POLICY, 1),
        (ToolOutput(outcome=ToolCancelled(payload=ToolCancellation(message="no"))), POLICY, 1),
        (failing(NeverRetry()), POLICY, 1),
        (failing(SafeToRetry()), None, 1),
    ],
)
def test_what_is_not_safe_or_not_wanted_stands(
    output: ToolOutput, policy: ToolRetry | None, attempt: int
) -> None:
    assert after_attempt(output, policy, attempt) == ToolDone(output=output)


@pytest.mark.parametrize(
    ("after_ms", "attempt", "delay_ms"),
    [
        (None, 1, 100),
        (None, 2, 200),
        (None, 3, 250),  # 400, capped
        (40, 1, 40),
        (40, 3, 40),
        (9_000, 1, 250),  # capped
        (0, 1, 0),
        (-5, 1, 0),
    ],
)
def test_a_safe_failure_waits_and_is_repeated(
    after_ms: int | None, attempt: int, delay_ms: int
) -> None:
    output = failing(SafeToRetry(after_ms=after_ms))
    assert after_attempt(output, POLICY, attempt) == RetryTool(delay_ms=delay_ms)


def test_no_cap_means_no_cap() -> None:
    policy = ToolRetry(max_attempts=9, base_delay_ms=100, max_delay_ms=0)
    assert after_attempt(failing(SafeToRetry()), policy, 8) == RetryTool(delay_ms=12_800)


@pytest.mark.parametrize("attempt", [4, 5])
def test_the_last_attempt_says_that_it_was_the_last(attempt: int) -> None:
    exhausted = failing(RetriesExhausted(attempts=attempt))
    assert after_attempt(failing(SafeToRetry()), POLICY, attempt) == ToolDone(output=exhausted)
