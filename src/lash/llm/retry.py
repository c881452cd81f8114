"""The retry ladder's decisions, as pure functions (facade spec 15.2 to 15.4).

1. Only a failure that says it is retryable is retried.
2. An answer that broke off after output began is retried only if the provider regenerates safely;
   its streamed text is retracted first.
3. A throttled call (quota, with Retry-After) waits without using up an attempt, against a budget of
   waiting time of its own; each such wait is charged at least a second.
4. Anything else uses up an attempt and waits `base * 2^i`, capped, or the capped Retry-After.
"""

from typing import Literal, TypeAlias

from lash.core.backoff import check_retry
from lash.core.json import Data
from lash.llm.response import Evidence, FailureKind, LlmFailure
from lash.llm.usage import Usage

RetryReason: TypeAlias = Literal[
    "provider_retry_after",
    "retryable_failure",
    "not_retryable",
    "retry_budget_exhausted",
    "output_started_without_retry_guarantee",
]
AttemptOutcome: TypeAlias = Literal["completed", "failed", "aborted"]
ProtocolPosition: TypeAlias = Literal[
    "no_response", "response_observed", "output_started", "terminal_observed"
]

RETRYABLE_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
#: A throttled wait is charged at least this much, so that "Retry-After: 0" cannot loop for ever.
_MIN_THROTTLE_CHARGE_MS = 1_000


class RetryPolicy(Data):
    """How a model call is retried. Times in milliseconds.

    Attributes:
        max_attempts: Attempts in all, the first included.
        base_delay_ms: The first wait; each further one doubles.
        max_delay_ms: No wait of our own choosing is longer.
        retry_after_cap_ms: No wait the provider asked for is longer.
        throttle_wait_budget_ms: How long throttled calls may wait in all.
    """

    max_attempts: int = 4
    base_delay_ms: int = 2_000
    max_delay_ms: int = 10_000
    retry_after_cap_ms: int = 60_000
    throttle_wait_budget_ms: int = 90_000

    def __post_init__(self) -> None:
        """Refuse what cannot be counted or waited.

        Raises:
            ConfigurationError: `retry_invalid`.
        """
        check_retry(self)


class LadderState(Data):
    """What one call has used up so far."""

    attempts_used: int = 0
    throttle_waited_ms: int = 0


class RetryDecision(Data):
    """Whether another attempt follows, after how long, and why."""

    scheduled: bool
    reason: RetryReason
    delay_ms: int = 0
    budget_consumed: bool = True


class AttemptError(Data):
    """What an attempt failed with."""

    kind: FailureKind
    message: str
    code: str | None = None
    status: int | None = None
    retry_after_ms: int | None = None


class AttemptRecord(Data):
    """One attempt, for the ledger. `usage` is set only when the provider reported it."""

    ordinal: int
    started_at_ms: int
    duration_ms: int
    outcome: AttemptOutcome
    position: ProtocolPosition
    retry: RetryDecision | None = None
    error: AttemptError | None = None
    usage: Usage | None = None
    evidence: Evidence | None = None


class LlmCallRecord(Data):
    """The ledger of one logical model call: every attempt, billed or not.

    `source` says in whose name it was made: the `turn` itself, or a direct completion's source.
    """

    call_id: str
    model: str
    attempts: tuple[AttemptRecord, ...]
    source: str = "turn"


def decide(
    policy: RetryPolicy,
    state: LadderState,
    failure: LlmFailure,
    *,
    output_started: bool,
    regenerates_safely: bool,
) -> RetryDecision:
    """What follows a failed attempt; `state` counts it as used."""
    if not failure.retryable:
        return RetryDecision(scheduled=False, reason="not_retryable")
    if output_started and not regenerates_safely:
        return RetryDecision(scheduled=False, reason="output_started_without_retry_guarantee")
    wait = failure.retry_after_ms
    if wait is not None:
        wait = min(max(wait, 0), policy.retry_after_cap_ms)
        throttled = failure.kind == "quota"
        charge = max(wait, _MIN_THROTTLE_CHARGE_MS)
        if throttled and state.throttle_waited_ms + charge <= policy.throttle_wait_budget_ms:
            return RetryDecision(
                scheduled=True,
                reason="provider_retry_after",
                delay_ms=wait,
                budget_consumed=False,
            )
    if state.attempts_used >= policy.max_attempts:
        return RetryDecision(scheduled=False, reason="retry_budget_exhausted")
    if wait is not None:
        return RetryDecision(scheduled=True, reason="provider_retry_after", delay_ms=wait)
    delay = min(policy.base_delay_ms << (state.attempts_used - 1), policy.max_delay_ms)
    return RetryDecision(scheduled=True, reason="retryable_failure", delay_ms=delay)


def advance(state: LadderState, decision: RetryDecision) -> LadderState:
    """The state after an attempt that `decision` followed."""
    if decision.budget_consumed:
        return state
    waited = state.throttle_waited_ms + max(decision.delay_ms, _MIN_THROTTLE_CHARGE_MS)
    return LadderState(attempts_used=state.attempts_used - 1, throttle_waited_ms=waited)


def begin(state: LadderState) -> LadderState:
    """The state once another attempt has begun."""
    return LadderState(
        attempts_used=state.attempts_used + 1, throttle_waited_ms=state.throttle_waited_ms
    )
