"""How the end of a model call may end its turn (turns spec 1.4). Pure."""

import msgspec

from lash.llm.response import LlmFailure, LlmResponse, TerminalReason, TextPart
from lash.turn.messages import join_prose
from lash.turn.outcome import Cancelled, Incomplete, ProviderStopped, TurnIssue, TurnStop

#: An answer with no output at all and a prompt this full did not hit its output limit.
_OVERFLOW_PERCENT = 95

#: What a turn ends with when the model call ended for this reason. The others go to the driver.
_TERMINAL: dict[TerminalReason, TurnStop] = {
    "output_limit": Incomplete(),
    "context_overflow": ProviderStopped(),
    "content_filter": ProviderStopped(),
    "provider_error": ProviderStopped(),
    "cancelled": Cancelled(),
}


def reclassify(response: LlmResponse, window: int | None) -> LlmResponse:
    """An output limit with no output and a full prompt is an overflow in disguise.

    Args:
        response: What the model answered.
        window: The model's context window in tokens, if it is known.
    """
    if (
        response.terminal_reason != "output_limit"
        or window is None
        or response.usage.output_tokens
        or response.usage.prompt_tokens < window * _OVERFLOW_PERCENT // 100
    ):
        return response
    diagnostic = (
        f"The prompt fills the model's context window ({response.usage.prompt_tokens} of "
        f"{window} tokens) and left no room for an answer. Shorten the conversation."
    )
    return msgspec.structs.replace(
        response, terminal_reason="context_overflow", diagnostic=diagnostic
    )


def stop_after(response: LlmResponse) -> TurnStop | None:
    """What the turn ends with when the model stopped short; None when the driver is to go on."""
    return _TERMINAL.get(response.terminal_reason)


def stop_issue(response: LlmResponse) -> TurnIssue:
    """What to report of a model that stopped short."""
    reason = response.terminal_reason
    return TurnIssue(
        kind="llm_provider",
        code=reason,
        message=response.diagnostic or f"The model stopped without an answer: {reason}.",
        terminal_reason=reason,
        retryable=False,
    )


def failure_stop(failure: LlmFailure) -> TurnStop:
    """What the turn ends with when the model call failed for good."""
    return Cancelled() if failure.terminal_reason == "cancelled" else ProviderStopped()


def failure_issue(failure: LlmFailure) -> TurnIssue:
    """What to report of a model call that failed for good."""
    return TurnIssue(
        kind="llm_provider",
        code=failure.code,
        message=f"LLM error: {failure.message}",
        terminal_reason=failure.terminal_reason,
        retryable=failure.retryable,
    )


def response_text(response: LlmResponse) -> str:
    """The visible text of a model's answer."""
    if not response.parts:
        return response.full_text
    return join_prose([part.text for part in response.parts if isinstance(part, TextPart)])
