"""The retry ladder's decisions, written down by hand, and the promise that it ends."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.llm.response import FailureKind, LlmFailure
from lash.llm.retry import (
    LadderState,
    RetryDecision,
    RetryPolicy,
    RetryReason,
    advance,
    begin,
    decide,
)

DEFAULTS = RetryPolicy()


def failure(
    kind: FailureKind = "http", *, retryable: bool = True, retry_after_ms: int | None = None
) -> LlmFailure:
    return LlmFailure(
        kind=kind, message="it failed", retryable=retryable, retry_after_ms=retry_after_ms
    )


def scheduled(reason: RetryReason, delay_ms: int, *, free: bool = False) -> RetryDecision:
    return RetryDecision(scheduled=True, reason=reason, delay_ms=delay_ms, budget_consumed=not free)


def refused(reason: RetryReason) -> RetryDecision:
    return RetryDecision(scheduled=False, reason=reason)


class Case(NamedTuple):
    promise: str
    used: int
    waited: int
    failure: LlmFailure
    expected: RetryDecision
    output_started: bool = False
    regenerates_safely: bool = False
    policy: RetryPolicy = DEFAULTS


UNSAFE: RetryReason = "output_started_without_retry_guarantee"
CASES = [
    Case("first wait is the base", 1, 0, failure(), scheduled("retryable_failure", 2_000)),
    Case("second wait doubles", 2, 0, failure(), scheduled("retryable_failure", 4_000)),
    Case("third wait doubles again", 3, 0, failure(), scheduled("retryable_failure", 8_000)),
    Case("fourth failure is the last", 4, 0, failure(), refused("retry_budget_exhausted")),
    Case(
        "own waits are capped",
        4,
        0,
        failure(),
        scheduled("retryable_failure", 10_000),
        policy=RetryPolicy(max_attempts=9),
    ),
    Case(
        "own waits stay capped",
        8,
        0,
        failure(),
        scheduled("retryable_failure", 10_000),
        policy=RetryPolicy(max_attempts=9),
    ),
    Case(
        "one attempt means no retry",
        1,
        0,
        failure(),
        refused("retry_budget_exhausted"),
        policy=RetryPolicy(max_attempts=1),
    ),
    Case("what is not retryable ends", 1, 0, failure(retryable=False), refused("not_retryable")),
    Case(
        "not even when asked to wait",
        1,
        0,
        failure("quota", retryable=False, retry_after_ms=10),
        refused("not_retryable"),
    ),
    Case(
        "the provider's wait is taken as it is",
        1,
        0,
        failure(retry_after_ms=17),
        scheduled("provider_retry_after", 17),
    ),
    Case(
        "also when longer than our own cap",
        1,
        0,
        failure(retry_after_ms=45_000),
        scheduled("provider_retry_after", 45_000),
    ),
    Case(
        "but not longer than its own cap",
        1,
        0,
        failure(retry_after_ms=60_001),
        scheduled("provider_retry_after", 60_000),
    ),
    Case(
        "a negative wait is no wait",
        1,
        0,
        failure(retry_after_ms=-5),
        scheduled("provider_retry_after", 0),
    ),
    Case(
        "a wait outside quotas uses an attempt",
        4,
        0,
        failure(retry_after_ms=17),
        refused("retry_budget_exhausted"),
    ),
    Case(
        "a throttled call waits for free",
        1,
        0,
        failure("quota", retry_after_ms=5_000),
        scheduled("provider_retry_after", 5_000, free=True),
    ),
    Case(
        "even with no attempt left",
        4,
        0,
        failure("quota", retry_after_ms=5_000),
        scheduled("provider_retry_after", 5_000, free=True),
    ),
    Case(
        "a quota without a wait uses an attempt",
        1,
        0,
        failure("quota"),
        scheduled("retryable_failure", 2_000),
    ),
    Case(
        "the throttle budget may be used up exactly",
        1,
        85_000,
        failure("quota", retry_after_ms=5_000),
        scheduled("provider_retry_after", 5_000, free=True),
    ),
    Case(
        "past it the wait uses an attempt",
        1,
        85_001,
        failure("quota", retry_after_ms=5_000),
        scheduled("provider_retry_after", 5_000),
    ),
    Case(
        "and ends with the attempts",
        4,
        85_001,
        failure("quota", retry_after_ms=5_000),
        refused("retry_budget_exhausted"),
    ),
    Case(
        "no wait at all is charged a second",
        1,
        89_000,
        failure("quota", retry_after_ms=0),
        scheduled("provider_retry_after", 0, free=True),
    ),
    Case(
        "so it cannot go on for ever",
        1,
        89_001,
        failure("quota", retry_after_ms=0),
        scheduled("provider_retry_after", 0),
    ),
    Case("output began, no guarantee", 1, 0, failure(), refused(UNSAFE), output_started=True),
    Case(
        "output began, throttled, no guarantee",
        1,
        0,
        failure("quota", retry_after_ms=1),
        refused(UNSAFE),
        output_started=True,
    ),
    Case(
        "output began, provider regenerates",
        1,
        0,
        failure(),
        scheduled("retryable_failure", 2_000),
        output_started=True,
        regenerates_safely=True,
    ),
    Case(
        "output began, not retryable",
        1,
        0,
        failure(retryable=False),
        refused("not_retryable"),
        output_started=True,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.promise)
def test_what_follows_a_failed_attempt(case: Case) -> None:
    decision = decide(
        case.policy,
        LadderState(attempts_used=case.used, throttle_waited_ms=case.waited),
        case.failure,
        output_started=case.output_started,
        regenerates_safely=case.regenerates_safely,
    )
    assert decision == case.expected


def test_a_throttled_attempt_is_given_back_and_its_wait_is_charged() -> None:
    state = begin(LadderState())
    assert state == LadderState(attempts_used=1)
    free = scheduled("provider_retry_after", 5_000, free=True)
    assert advance(state, free) == LadderState(attempts_used=0, throttle_waited_ms=5_000)
    instant = scheduled("provider_retry_after", 0, free=True)
    assert advance(state, instant) == LadderState(attempts_used=0, throttle_waited_ms=1_000)


def test_an_attempt_that_counts_stays_counted() -> None:
    state = LadderState(attempts_used=2, throttle_waited_ms=7)
    assert advance(state, scheduled("retryable_failure", 4_000)) == state
    assert begin(state) == LadderState(attempts_used=3, throttle_waited_ms=7)


def climb(policy: RetryPolicy, failures: list[LlmFailure]) -> list[RetryDecision]:
    """Fail with each of `failures` in turn, the last one for ever; return every decision."""
    state, decisions = LadderState(), list[RetryDecision]()
    while True:
        state = begin(state)
        now = failures[min(len(decisions), len(failures) - 1)]
        decision = decide(policy, state, now, output_started=False, regenerates_safely=False)
        decisions.append(decision)
        if not decision.scheduled:
            return decisions
        assert len(decisions) < 1_000, "the ladder does not end"
        state = advance(state, decision)


def test_a_call_that_always_fails_is_tried_four_times() -> None:
    assert [decision.delay_ms for decision in climb(DEFAULTS, [failure()])] == [
        2_000,
        4_000,
        8_000,
        0,
    ]


def test_throttled_calls_come_on_top_of_the_four_attempts() -> None:
    decisions = climb(DEFAULTS, [failure("quota", retry_after_ms=30_000)])
    assert [decision.budget_consumed for decision in decisions] == [False] * 3 + [True] * 4


failures = st.builds(
    failure,
    st.sampled_from(["quota", "http", "transport", "timeout"]),
    retryable=st.just(True),
    retry_after_ms=st.none() | st.integers(-10, 100_000),
)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 8),
    base_delay_ms=st.integers(0, 5_000),
    max_delay_ms=st.integers(0, 20_000),
    retry_after_cap_ms=st.integers(0, 70_000),
    throttle_wait_budget_ms=st.integers(0, 100_000),
)


@given(policies, st.lists(failures, min_size=1, max_size=200))
def test_the_ladder_ends_whatever_the_provider_says(
    policy: RetryPolicy, many: list[LlmFailure]
) -> None:
    decisions = climb(policy, many)
    free = [decision for decision in decisions if not decision.budget_consumed]
    assert len(decisions) - len(free) == policy.max_attempts
    assert len(free) <= policy.throttle_wait_budget_ms // 1_000
    assert sum(decision.delay_ms for decision in free) <= policy.throttle_wait_budget_ms
    longest = max(policy.max_delay_ms, policy.retry_after_cap_ms)
    assert all(0 <= decision.delay_ms <= longest for decision in decisions)
