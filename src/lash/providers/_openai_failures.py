"""What the `openai` client raises, as failures the retry ladder can decide on.

Imported only once the client is in use: it needs the SDK.
"""

import json
import math
from collections.abc import Mapping
from typing import Protocol

import openai

from lash.llm.classify import classify
from lash.llm.response import Evidence, FailureKind, LlmFailure

#: How much of an error page that is not JSON is worth showing.
_SNIPPET = 200
#: Errors inside a stream that blame the request. Any other one came after the request was accepted
#: and work on it had begun, so asking again may help.
_REQUEST_AT_FAULT: Mapping[str, FailureKind] = {
    "invalid_request_error": "validation",
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "permission_error": "auth",
    "not_found_error": "unsupported",
}


class _Headers(Protocol):
    def get(self, key: str) -> str | None: ...


def failure_of(error: Exception, *, streaming: bool) -> LlmFailure:
    """Sort what the client raised. `streaming` is whether the response had begun."""
    match error:
        case openai.APIStatusError():
            return _status(error)
        case openai.APITimeoutError():
            return timed_out(f"The provider did not answer in time ({_cause(error)}).")
        case openai.APIConnectionError():
            return _connection(error, streaming=streaming)
        case openai.APIError():
            return _event(error)
        case json.JSONDecodeError() | UnicodeDecodeError():
            return malformed(str(error))
        case _:
            return classify(message=f"The call failed ({type(error).__name__}: {error}).")


def timed_out(message: str) -> LlmFailure:
    """The failure of a call that took too long."""
    return classify(message=message, kind="timeout", code="timeout")


def malformed(what: str) -> LlmFailure:
    """The failure of a stream that is not the wire format."""
    message = f"The provider's stream cannot be read: {what}"
    return classify(message=message, kind="stream", code="malformed_response")


def retry_after_ms(headers: _Headers) -> int | None:
    """The wait the server asks for: `retry-after-ms`, or `retry-after` in seconds; dates are ignored."""
    for name, unit in (("retry-after-ms", 1), ("retry-after", 1_000)):
        try:
            wait = float(headers.get(name) or "") * unit
        except ValueError:
            continue
        if math.isfinite(wait) and wait >= 0:
            return math.ceil(wait)
    return None


def _connection(error: openai.APIConnectionError, *, streaming: bool) -> LlmFailure:
    if streaming:
        message = f"The connection broke while the answer was streaming ({_cause(error)})."
        return classify(message=message, kind="transport", code="connection_lost")
    message = f"The provider could not be reached ({_cause(error)})."
    return classify(message=message, kind="transport", code="connection_failed")


def _status(error: openai.APIStatusError) -> LlmFailure:
    return classify(
        message=f"HTTP {error.status_code}: {_said(error)}",
        status=error.status_code,
        code=error.code,
        raw=error.type if isinstance(error.type, str) else "",
        retry_after_ms=retry_after_ms(error.response.headers),
        evidence=Evidence(request_id=error.request_id) if error.request_id else None,
    )


def _event(error: openai.APIError) -> LlmFailure:
    """An `error` inside a stream that had begun with HTTP 200. A numeric code counts as a status."""
    code = error.code or ""
    kind_name = error.type if isinstance(error.type, str) else ""
    status = int(code) if code.isascii() and code.isdigit() and len(code) == 3 else None
    return classify(
        message=f"The provider reported an error while streaming: {_said(error)}",
        status=status,
        code=code or kind_name or None,
        raw=kind_name,
        kind=_REQUEST_AT_FAULT.get(code) or _REQUEST_AT_FAULT.get(kind_name) or "stream",
    )


def _said(error: openai.APIError) -> str:
    """The server's own words, as far as it had any."""
    body = error.body
    if isinstance(body, dict):
        for name in ("message", "detail"):
            if isinstance(body.get(name), str):
                return str(body[name])
    if isinstance(body, str) and body:
        return body[:_SNIPPET]
    return "no further explanation was given"


def _cause(error: Exception) -> str:
    cause = error.__cause__
    if cause is None:
        return type(error).__name__
    return f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__
