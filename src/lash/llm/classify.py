"""Sorting a provider's failure: is it worth another try, and what does it mean (facade spec 15.2).

The order of the rules matters: rate-limit texts mention tokens too, so a context overflow is looked
for only where no throttling word stands, and a hard quota outranks the status that carries it.
"""

from lash.llm.response import Evidence, FailureKind, LlmFailure, TerminalReason
from lash.llm.retry import RETRYABLE_STATUS
from lash.llm.usage import Usage

_THROTTLE_WORDS = (
    "rate limit",
    "rate_limit",
    "tpm",
    "rpm",
    "quota",
    "throttl",
    "too many requests",
)
_OVERFLOW_PHRASES = (
    "context_length_exceeded",
    "context length",
    "context window",
    "maximum context",
    "prompt is too long",
    "input is too long",
    "too many tokens",
)
_HARD_QUOTA = (
    "insufficient_quota",
    "usage_limit_reached",
    "usage_not_included",
    "credit balance is too low",
    "billing_hard_limit",
)
_FILTER = ("content_filter", "prohibited_content", "content policy", "content management policy")
_UNSUPPORTED = ("model_not_found", "does not exist", "unsupported_value", "unsupported parameter")


def classify(
    *,
    message: str,
    status: int | None = None,
    code: str | None = None,
    raw: str = "",
    retry_after_ms: int | None = None,
    kind: FailureKind = "unknown",
    usage: Usage | None = None,
    evidence: Evidence | None = None,
) -> LlmFailure:
    """Sort what a provider said into a failure the ladder can decide on.

    `kind` is used when there is no HTTP status: transport and timeout failures are retryable.
    """
    text = f"{code or ''} {message} {raw}".lower()
    kind, retryable, terminal = _sort(text, status, kind)
    return LlmFailure(
        kind=kind,
        message=message,
        retryable=retryable,
        code=code or (str(status) if status is not None else None),
        status=status,
        terminal_reason=terminal,
        retry_after_ms=retry_after_ms,
        usage=usage or Usage(),
        evidence=evidence,
    )


def _sort(
    text: str, status: int | None, kind: FailureKind
) -> tuple[FailureKind, bool, TerminalReason]:
    def says(phrases: tuple[str, ...]) -> bool:
        return any(phrase in text for phrase in phrases)

    if says(_OVERFLOW_PHRASES) and not says(_THROTTLE_WORDS):
        return "validation", False, "context_overflow"
    if says(_HARD_QUOTA):
        return "quota", False, "provider_error"
    if says(_FILTER):
        return "validation", False, "content_filter"
    if says(_UNSUPPORTED):
        return "unsupported", False, "provider_error"
    if status is None:
        return kind, kind in {"transport", "timeout", "stream"}, "provider_error"
    return _by_status(status), status in RETRYABLE_STATUS, "provider_error"


def _by_status(status: int) -> FailureKind:
    if status == 429:
        return "quota"
    if status in {401, 403}:
        return "auth"
    if status in {400, 413, 422}:
        return "validation"
    if status == 408:
        return "timeout"
    return "http"
