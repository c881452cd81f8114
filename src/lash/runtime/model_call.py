"""One logical model call: the retry ladder over a provider's single attempts (facade spec 15).

Attempts are never separate effects: the outcome, with the ledger of every attempt, is recorded once.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.json import encode
from lash.core.text import described, well_formed
from lash.effects.outcomes import LlmCallOutcome
from lash.effects.transitions import MAX_OUTCOME_BYTES
from lash.llm.dialects import dialects_of, told
from lash.llm.provider import Provider
from lash.llm.request import LlmRequest
from lash.llm.response import (
    LlmFailure,
    LlmResponse,
    ProviderFailure,
    ResponsePart,
    TextPart,
    ToolCallPart,
)
from lash.llm.retry import (
    AttemptError,
    AttemptRecord,
    LadderState,
    LlmCallRecord,
    ProtocolPosition,
    RetryDecision,
    RetryPolicy,
    advance,
    begin,
    decide,
)
from lash.llm.stream import PartCompleted, StreamEvent
from lash.llm.stream import ReasoningDelta as ReasoningStreamed
from lash.llm.stream import TextDelta as TextStreamed
from lash.llm.stream import UsageReported as UsageStreamed
from lash.llm.usage import Usage
from lash.runtime.cancelling import being_cancelled
from lash.runtime.events import (
    Announce,
    ModelAttemptReset,
    ReasoningDelta,
    RetryScheduled,
    TextDelta,
)
from lash.turn.messages import join_prose

#: A ledger keeps the beginning of a provider's message; some echo the whole request.
_DIAGNOSTIC_LIMIT = 1024
#: Room for the ledger and the rest of the outcome beside the answer.
_ANSWER_LIMIT = MAX_OUTCOME_BYTES - 256 * 1024


@dataclass(slots=True)
class _Attempt:
    """What one attempt streamed so far."""

    correlation_id: str
    started_at_ms: int
    started: float
    text: list[str] = field(default_factory=list)
    parts: list[ResponsePart] = field(default_factory=list)
    usage: Usage | None = None
    shown: set[str] = field(default_factory=set)

    @property
    def output_started(self) -> bool:
        return bool(self.text or self.parts or self.shown)


#: What is kept and shown in the place of a text; raises `LashError` where that cannot be said.
Rewrite: TypeAlias = Callable[[str], str]


class ModelCall:
    """Asks a provider until it answers, or until the ladder ends.

    With `rewrite`, text is shown once the answer is complete, as it is kept.
    """

    def __init__(
        self,
        provider: Provider,
        request: LlmRequest,
        policy: RetryPolicy,
        clock: Clock,
        announce: Announce,
        *,
        rewrite: Rewrite | None = None,
    ) -> None:
        self._rewrite = rewrite
        self._provider = provider
        self._request = request
        self._told = request
        self._policy = policy
        self._clock = clock
        self._announce = announce
        self._attempts: list[AttemptRecord] = []

    async def run(self) -> LlmCallOutcome:
        """The answer, or the failure of the last attempt; never raises for a provider's trouble."""
        state = LadderState()
        wasted = Usage()
        try:
            self._told = told(self._request, dialects_of(self._provider))
        except LashError as error:
            return LlmCallOutcome(record=self._ledger(), failure=_untold(error))
        while True:
            state = begin(state)
            attempt = self._begin()
            result = await self._try(attempt)
            if isinstance(result, LlmResponse):
                return self._answered(attempt, _reconcile(result, attempt), wasted)
            decision = decide(
                self._policy,
                state,
                result,
                output_started=attempt.output_started,
                regenerates_safely=self._provider.regenerates_safely,
            )
            self._close(attempt, result, decision)
            if not decision.scheduled:
                return LlmCallOutcome(
                    record=self._ledger(), failure=_final(result, attempt, decision), wasted=wasted
                )
            try:
                wasted += _spent(result, attempt)
            except LashError as error:
                return LlmCallOutcome(record=self._ledger(), failure=_miscounted(error))
            self._retract(attempt, decision)
            await self._clock.sleep(decision.delay_ms / 1000)
            state = advance(state, decision)

    def _answered(self, attempt: _Attempt, response: LlmResponse, wasted: Usage) -> LlmCallOutcome:
        self._close(attempt, response, None)
        if self._rewrite is not None:
            try:
                response = self._rewritten(self._rewrite, attempt, response)
            except LashError as error:
                failure = _unwritten(error, response)
                return LlmCallOutcome(record=self._ledger(), failure=failure, wasted=wasted)
        size = len(encode(response.parts)) + len(response.full_text)
        if size > _ANSWER_LIMIT:
            failure = _too_large(response, size)
            return LlmCallOutcome(record=self._ledger(), failure=failure, wasted=wasted)
        return LlmCallOutcome(
            record=self._ledger(),
            response=response,
            text_streamed=bool(attempt.text),
            wasted=wasted,
        )

    def _rewritten(self, rewrite: Rewrite, attempt: _Attempt, response: LlmResponse) -> LlmResponse:
        """An answer with other texts, shown as a whole if it would have been shown piece by piece."""
        parts = tuple(
            msgspec.structs.replace(part, text=rewrite(part.text))
            if isinstance(part, TextPart)
            else part
            for part in response.parts
        )
        said = [part.text for part in parts if isinstance(part, TextPart)]
        # Where there are texts in parts, this is the same once more, as it was.
        full_text = rewrite(response.full_text) if response.full_text and not said else ""
        text = join_prose(said) or full_text
        if attempt.text and text:
            self._announce(TextDelta(text=text, correlation_id=f"{attempt.correlation_id}:text"))
        return msgspec.structs.replace(response, parts=parts, full_text=full_text)

    # --- one attempt ----------------------------------------------------------------------------

    def _begin(self) -> _Attempt:
        ordinal = len(self._attempts) + 1
        return _Attempt(
            correlation_id=f"{self._request.scope.request_id}:{ordinal}",
            started_at_ms=self._clock.now_ms(),
            started=self._clock.monotonic(),
        )

    async def _try(self, attempt: _Attempt) -> LlmResponse | LlmFailure:
        def emit(event: StreamEvent) -> None:
            self._streamed(attempt, event)

        try:
            return await self._provider.complete(self._told, emit)
        except ProviderFailure as error:
            failure = error.failure
        except asyncio.CancelledError as error:
            if being_cancelled():
                raise
            failure = _panicked(error)  # something it waited for was cancelled, and nobody else
        except Exception as error:  # noqa: BLE001  a provider's bug is a failed call, not a lost turn
            failure = _panicked(error)
        if being_cancelled():
            # It failed because it was stopped: when the turn is resumed, the model is asked again.
            raise asyncio.CancelledError
        return failure

    def _streamed(self, attempt: _Attempt, event: StreamEvent) -> None:
        match event:
            case TextStreamed(text=text) if text:
                attempt.text.append(text)
                if self._rewrite is not None:
                    return  # nobody is shown it as it is
                text = well_formed(text)  # a half of something is shown as such, and kept whole
                correlation = f"{attempt.correlation_id}:text"
                attempt.shown.add(correlation)
                self._announce(TextDelta(text=text, correlation_id=correlation))
            case ReasoningStreamed(text=text) if text:
                correlation = f"{attempt.correlation_id}:reasoning"
                attempt.shown.add(correlation)
                self._announce(ReasoningDelta(text=well_formed(text), correlation_id=correlation))
            case PartCompleted(part=part):
                attempt.parts.append(part)
            case UsageStreamed(usage=usage):
                attempt.usage = usage
            case _:
                pass  # an empty delta says nothing

    def _retract(self, attempt: _Attempt, decision: RetryDecision) -> None:
        """Take back what was shown before the wait begins, so that nobody reads it meanwhile."""
        if attempt.shown:
            self._announce(ModelAttemptReset(correlation_ids=tuple(sorted(attempt.shown))))
        scheduled = RetryScheduled(
            wait_ms=decision.delay_ms,
            attempt=len(self._attempts) + 1,
            max_attempts=self._policy.max_attempts,
            reason=decision.reason,
        )
        self._announce(scheduled)

    # --- the ledger -----------------------------------------------------------------------------

    def _close(
        self, attempt: _Attempt, result: LlmResponse | LlmFailure, decision: RetryDecision | None
    ) -> None:
        failure = result if isinstance(result, LlmFailure) else None
        usage = result.usage if result.usage != Usage() else attempt.usage
        self._attempts.append(
            AttemptRecord(
                ordinal=len(self._attempts) + 1,
                started_at_ms=attempt.started_at_ms,
                duration_ms=round((self._clock.monotonic() - attempt.started) * 1000),
                outcome="failed" if failure else "completed",
                position=_position(attempt, failure),
                retry=decision,
                error=_error(failure) if failure else None,
                usage=usage,
                evidence=result.evidence,
            )
        )

    def _ledger(self) -> LlmCallRecord:
        return LlmCallRecord(
            call_id=self._request.scope.request_id,
            model=f"{self._request.model.provider}:{self._request.model.name}",
            attempts=tuple(self._attempts),
        )


def _untold(error: LashError) -> LlmFailure:
    """The failure of a request that the provider cannot be told."""
    return LlmFailure(kind="validation", message=error.message, retryable=False, code=error.code)


def unasked(request: LlmRequest, failure: LlmFailure) -> LlmCallOutcome:
    """The outcome of a call that failed before any provider was asked."""
    record = LlmCallRecord(
        call_id=request.scope.request_id,
        model=f"{request.model.provider}:{request.model.name}",
        attempts=(),
    )
    return LlmCallOutcome(record=record, failure=failure)


def _miscounted(error: LashError) -> LlmFailure:
    return LlmFailure(kind="validation", message=error.message, retryable=False, code=error.code)


def _panicked(error: BaseException) -> LlmFailure:
    message = f"The provider raised {described(error)}"
    return LlmFailure(kind="unknown", message=message, retryable=False, code="effect_panicked")


def _position(attempt: _Attempt, failure: LlmFailure | None) -> ProtocolPosition:
    if failure is None:
        return "terminal_observed"
    if attempt.output_started:
        return "output_started"
    return "no_response" if failure.status is None else "response_observed"


def _error(failure: LlmFailure) -> AttemptError:
    return AttemptError(
        kind=failure.kind,
        message=failure.message[:_DIAGNOSTIC_LIMIT],
        code=failure.code,
        status=failure.status,
        retry_after_ms=failure.retry_after_ms,
    )


def _spent(result: LlmResponse | LlmFailure, attempt: _Attempt) -> Usage:
    """What an attempt reported to have used: at its end, or else while it streamed."""
    return result.usage if result.usage != Usage() else attempt.usage or Usage()


def _final(failure: LlmFailure, attempt: _Attempt, decision: RetryDecision) -> LlmFailure:
    """The failure the turn ends with, with what it cost; one that must not be repeated says so."""
    ended = msgspec.structs.replace(failure, usage=_spent(failure, attempt))
    if decision.reason != "output_started_without_retry_guarantee":
        return ended
    return msgspec.structs.replace(
        ended,
        message=f"The answer broke off and must not be asked for again: {failure.message}",
        retryable=False,
        code="unsafe_retry_after_output_started",
    )


def _reconcile(response: LlmResponse, attempt: _Attempt) -> LlmResponse:
    """Fill a bare final response from what was streamed; what the response says itself wins."""
    parts = response.parts
    if not parts and not response.full_text:
        streamed = "".join(attempt.text)
        calls = [part for part in attempt.parts if not isinstance(part, TextPart)]
        parts = (*((TextPart(text=streamed),) if streamed else ()), *calls)
    elif not any(isinstance(part, ToolCallPart) for part in parts):
        parts = (*parts, *(part for part in attempt.parts if isinstance(part, ToolCallPart)))
    return msgspec.structs.replace(
        response,
        parts=tuple(_well_formed(part) for part in parts),
        full_text=well_formed(response.full_text),
        usage=_spent(response, attempt),
    )


def _well_formed(part: ResponsePart) -> ResponsePart:
    if isinstance(part, ToolCallPart):
        return msgspec.structs.replace(
            part,
            call_id=well_formed(part.call_id),
            tool_name=well_formed(part.tool_name),
            input_json=well_formed(part.input_json),
        )
    return msgspec.structs.replace(part, text=well_formed(part.text))


def _unwritten(error: LashError, response: LlmResponse) -> LlmFailure:
    """The failure of an answer whose text may not be kept as it is; what it cost is kept."""
    return LlmFailure(
        kind="validation",
        message=error.message,
        retryable=False,
        code=str(error.code),
        usage=response.usage,
        evidence=response.evidence,
    )


def _too_large(response: LlmResponse, size: int) -> LlmFailure:
    """The failure that stands for an answer which cannot be recorded; what it cost is kept."""
    return LlmFailure(
        kind="validation",
        message=f"The model's answer is {size} bytes, more than the {_ANSWER_LIMIT} that can be recorded.",
        retryable=False,
        code="effect_outcome_too_large",
        usage=response.usage,
        evidence=response.evidence,
    )
