"""A model that answers by script: for tests, demos and examples, without a network."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lash.core.json import canonical
from lash.llm.classify import classify
from lash.llm.dialects import SchemaDialects
from lash.llm.request import LlmRequest
from lash.llm.response import (
    LlmFailure,
    LlmResponse,
    ProviderFailure,
    ReasoningPart,
    ResponsePart,
    TerminalReason,
    TextPart,
    ToolCallPart,
)
from lash.llm.stream import Emit, ReasoningDelta, TextDelta, UsageReported
from lash.llm.usage import Usage

#: What a scripted call costs unless the script says otherwise.
_USAGE = Usage(input_tokens=10, output_tokens=5)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. Made with `reply` or `calls`."""

    text: str
    tool_calls: tuple[tuple[str, str], ...]
    usage: Usage
    deltas: tuple[str, ...]
    reasoning: str
    reason: TerminalReason
    delay: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt. Made with `fail`."""

    failure: LlmFailure
    after_text: str
    delay: float


Step: TypeAlias = Reply | Failure
Script: TypeAlias = Sequence[Step] | Callable[[LlmRequest], Step | Sequence[Step]]


def reply(
    text: str,
    *,
    usage: Usage = _USAGE,
    deltas: Sequence[str] | None = None,
    reasoning: str = "",
    reason: TerminalReason = "stop",
    delay: float = 0.0,
) -> Reply:
    """The model answers with `text`, streamed word by word or as `deltas`, after `delay` seconds."""
    pieces = tuple(deltas) if deltas is not None else _words(text)
    return Reply(text, (), usage, pieces, reasoning, reason, delay)


def calls(
    *tool_calls: tuple[str, Mapping[str, object] | str],
    text: str = "",
    usage: Usage = _USAGE,
    delay: float = 0.0,
) -> Reply:
    """The model calls tools, all in one message: `calls(("lookup", {"id": 7}), …)`.

    Arguments given as a string are sent as they are, also when they are not JSON.
    """
    encoded = tuple(
        (name, args if isinstance(args, str) else canonical(args).decode())
        for name, args in tool_calls
    )
    return Reply(text, encoded, usage, _words(text), "", "tool_use", delay)


def fail(
    message: str = "scripted failure",
    *,
    status: int | None = None,
    code: str | None = None,
    retry_after: float | None = None,
    after_text: str = "",
    delay: float = 0.0,
) -> Failure:
    """The next attempt fails, `after_text` having been streamed. Without a status, the line drops."""
    failure = classify(
        message=message,
        status=status,
        code=code,
        retry_after_ms=None if retry_after is None else round(retry_after * 1000),
        kind="transport",
    )
    return Failure(failure, after_text, delay)


class ScriptedModel:
    """Answers by how many model calls the turn has made, so that a resumed turn continues rightly.

    A turn's first call gets the first answer of the script, its second call the second, and so on;
    every turn starts at the beginning. `fail(…)` steps before an answer are what the first attempts
    of that call meet. A function instead of a list is asked anew for each call.

    Args:
        script: What it answers.
        name: What it is shown as.
        dialects: The schema dialects it takes, as those of a vendor; None has it told schemas as they are.

    Attributes:
        requests: Every request made, one per attempt, as the model was told it.
    """

    kind = "scripted"
    regenerates_safely = True

    def __init__(
        self, script: Script, *, name: str = "script", dialects: SchemaDialects | None = None
    ) -> None:
        self.name = name
        self.schema_dialects = dialects
        self._script = script
        self._attempts: dict[str, int] = {}
        self.requests: list[LlmRequest] = []

    def __repr__(self) -> str:
        return f"ScriptedModel({self.name!r})"

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        """Play the step that this attempt of this call has come to."""
        self.requests.append(request)
        key = request.scope.request_id
        attempt = self._attempts.get(key, 0)
        self._attempts[key] = attempt + 1
        step = self._step(request, attempt)
        if step.delay:
            await asyncio.sleep(step.delay)
        if isinstance(step, Failure):
            for piece in _words(step.after_text):
                emit(TextDelta(text=piece))
            raise ProviderFailure(step.failure)
        return self._play(step, request, emit)

    async def aclose(self) -> None:
        """Nothing to let go of."""

    def _step(self, request: LlmRequest, attempt: int) -> Step:
        if callable(self._script):
            answer = self._script(request)
            steps = [answer] if isinstance(answer, Reply | Failure) else list(answer)
            group = steps
        else:
            number = calls_made(request)
            groups = _by_call(self._script)
            if number >= len(groups):
                raise ProviderFailure(
                    LlmFailure(
                        kind="validation",
                        message=f"The script ends after {len(groups)} model calls of a turn.",
                        retryable=False,
                        code="script_exhausted",
                    )
                )
            group = groups[number]
        return group[min(attempt, len(group) - 1)]

    def _play(self, step: Reply, request: LlmRequest, emit: Emit) -> LlmResponse:
        parts: list[ResponsePart] = []
        if step.reasoning:
            emit(ReasoningDelta(text=step.reasoning))
            parts.append(ReasoningPart(text=step.reasoning))
        for piece in step.deltas:
            emit(TextDelta(text=piece))
        if step.text:
            parts.append(TextPart(text=step.text))
        turn, number = request.scope.turn_id, calls_made(request)
        parts.extend(
            ToolCallPart(
                call_id=f"call_{turn}_{number}_{index}", tool_name=name, input_json=arguments
            )
            for index, (name, arguments) in enumerate(step.tool_calls)
        )
        emit(UsageReported(usage=step.usage))
        return LlmResponse(parts=tuple(parts), usage=step.usage, terminal_reason=step.reason)


def calls_made(request: LlmRequest) -> int:
    """How many model calls the running turn has made before this one."""
    added = request.messages[request.history.count :]
    return sum(message.role == "assistant" for message in added)


def _by_call(script: Sequence[Step]) -> list[list[Step]]:
    """The script by model call: failures belong to the answer they come before."""
    groups: list[list[Step]] = []
    waiting: list[Step] = []
    for step in script:
        waiting.append(step)
        if isinstance(step, Reply):
            groups.append(waiting)
            waiting = []
    if waiting:
        groups.append(waiting)
    return groups


def _words(text: str) -> tuple[str, ...]:
    """Text in pieces as a model would stream it: words with the space that follows them."""
    *firsts, last = text.split(" ")
    return tuple(piece for piece in (*(word + " " for word in firsts), last) if piece)
