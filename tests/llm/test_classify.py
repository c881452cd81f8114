"""How a provider's failure is sorted: one row per thing a provider is known to say."""

from typing import NamedTuple

import pytest

from lash.llm.classify import classify
from lash.llm.response import Evidence, FailureKind, LlmFailure, TerminalReason
from lash.llm.usage import Usage


class Row(NamedTuple):
    said: str
    status: int | None
    kind: FailureKind
    retryable: bool
    terminal: TerminalReason = "provider_error"


BY_STATUS = [
    Row("bad request", 400, "validation", False),
    Row("unauthorized", 401, "auth", False),
    Row("payment required", 402, "http", False),
    Row("forbidden", 403, "auth", False),
    Row("not found", 404, "http", False),
    Row("request timeout", 408, "timeout", True),
    Row("conflict", 409, "http", True),
    Row("payload too large", 413, "validation", False),
    Row("unprocessable", 422, "validation", False),
    Row("too early", 425, "http", True),
    Row("slow down", 429, "quota", True),
    Row("internal error", 500, "http", True),
    Row("not implemented", 501, "http", False),
    Row("bad gateway", 502, "http", True),
    Row("overloaded", 503, "http", True),
    Row("gateway timeout", 504, "http", True),
]
BY_TEXT = [
    Row("context_length_exceeded", 400, "validation", False, "context_overflow"),
    Row(
        "This model's maximum context length is 8192 tokens",
        400,
        "validation",
        False,
        "context_overflow",
    ),
    Row("Prompt is too long: 210000 tokens", 400, "validation", False, "context_overflow"),
    Row("Input exceeds the context window", None, "validation", False, "context_overflow"),
    # Rate-limit texts mention tokens too; they are throttling and not an overflow.
    Row("Rate limit reached: too many tokens per minute (TPM)", 429, "quota", True),
    Row("Too many requests: too many tokens", 429, "quota", True),
    # A hard quota does not come back by waiting, whatever status carries it.
    Row("You exceeded your quota: insufficient_quota", 429, "quota", False),
    Row("usage_limit_reached", 429, "quota", False),
    Row("Your credit balance is too low", 400, "quota", False),
    Row("Blocked by content_filter", 400, "validation", False, "content_filter"),
    Row("PROHIBITED_CONTENT", 500, "validation", False, "content_filter"),
    Row("model_not_found", 404, "unsupported", False),
    Row("The model `x` does not exist", 404, "unsupported", False),
    Row("Unsupported parameter: temperature", 400, "unsupported", False),
]


@pytest.mark.parametrize("row", BY_STATUS + BY_TEXT, ids=lambda row: f"{row.status} {row.said}")
def test_a_failure_is_sorted_by_its_text_and_then_by_its_status(row: Row) -> None:
    failure = classify(message=row.said, status=row.status)
    assert (failure.kind, failure.retryable, failure.terminal_reason) == (
        row.kind,
        row.retryable,
        row.terminal,
    )


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        ("transport", True),
        ("timeout", True),
        ("stream", True),
        ("auth", False),
        ("validation", False),
        ("unknown", False),
    ],
)
def test_without_a_status_the_kind_decides(kind: FailureKind, retryable: bool) -> None:
    failure = classify(message="broken", kind=kind)
    assert (failure.kind, failure.retryable) == (kind, retryable)


def test_the_status_outranks_the_kind() -> None:
    assert classify(message="broken", status=401, kind="transport").kind == "auth"


@pytest.mark.parametrize(
    "where", [{"code": "Context_Length_Exceeded"}, {"raw": '{"m":"CONTEXT WINDOW"}'}]
)
def test_code_and_raw_text_are_read_as_well_in_any_case(where: dict[str, str]) -> None:
    failure = classify(message="no", status=400, code=where.get("code"), raw=where.get("raw", ""))
    assert failure.terminal_reason == "context_overflow"


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [("overloaded", 503, "overloaded"), (None, 503, "503"), ("x", None, "x"), (None, None, None)],
)
def test_the_status_stands_in_for_a_missing_code(
    code: str | None, status: int | None, expected: str | None
) -> None:
    assert classify(message="no", code=code, status=status).code == expected


def test_what_the_provider_said_is_kept_but_not_its_raw_text() -> None:
    usage, evidence = Usage(input_tokens=5), Evidence(request_id="r")
    failure = classify(
        message="slow down",
        status=429,
        raw="the whole body",
        retry_after_ms=1_500,
        usage=usage,
        evidence=evidence,
    )
    assert failure == LlmFailure(
        kind="quota",
        message="slow down",
        retryable=True,
        code="429",
        status=429,
        retry_after_ms=1_500,
        usage=usage,
        evidence=evidence,
    )
