"""The Chat Completions wire format: our request as its JSON body, its stream as our response. Pure.

Two rules keep prompt caches and journals working. What is sent is a function of each message by
itself, with the messages last in the body, so requests of one session share their serialized prefix.
And argument text is carried as it came: parsing and writing it again would change its bytes.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from lash.core.attachments import ProviderScope
from lash.core.json import Data, JsonObject, JsonValue
from lash.llm.request import (
    AttachmentBlock,
    JsonObjectOutput,
    LlmMessage,
    LlmRequest,
    OutputSpec,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
)
from lash.llm.response import (
    Evidence,
    LlmResponse,
    ReasoningPart,
    ResponsePart,
    TerminalReason,
    TextPart,
    ToolCallPart,
)
from lash.llm.stream import (
    PartCompleted,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    UsageReported,
)
from lash.llm.usage import Usage
from lash.providers._openai_content import content_parts, text_part, tool_result

_FINISH_REASONS: Mapping[str, TerminalReason] = {
    "stop": "stop",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "length": "output_limit",
    "max_tokens": "output_limit",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "content_filter",
}

_Path: TypeAlias = tuple[str, ...]
_CACHE_READ: Sequence[_Path] = (
    ("prompt_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cached_tokens"),
    ("cached_tokens",),
    ("prompt_cache_hit_tokens",),
)
_CACHE_WRITE: Sequence[_Path] = (
    ("prompt_tokens_details", "cache_write_tokens"),
    ("input_tokens_details", "cache_write_tokens"),
    ("cache_write_tokens",),
)
_REASONING: Sequence[_Path] = (("completion_tokens_details", "reasoning_tokens"),)


# --- what is sent ---------------------------------------------------------------------------------


def request_body(
    request: LlmRequest,
    scope: ProviderScope = ProviderScope(provider="openai"),  # noqa: B008  a value
) -> dict[str, JsonValue]:
    """The JSON body of a streaming request. What grows with the session stands last.

    `scope` says which provider's files may be named in it.

    Raises:
        ProviderFailure: It shows something that cannot be sent there.
    """
    body: dict[str, JsonValue] = {
        "model": request.model.name,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    generation = request.model.generation
    options: JsonObject = {
        "max_completion_tokens": generation.output_token_cap,
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "seed": generation.seed,
        "reasoning_effort": generation.reasoning_effort,
    }
    body.update({name: value for name, value in options.items() if value is not None})
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.input_schema,
                    **({"strict": True} if tool.strict else {}),
                },
            }
            for tool in request.tools
        ]
        if request.tool_choice != "auto":
            body["tool_choice"] = request.tool_choice
    if request.output is not None:
        body["response_format"] = _response_format(request.output)
    messages: list[JsonValue] = []
    if request.instructions:
        messages.append({"role": "system", "content": _texts([request.instructions])})
    for message in request.messages:
        messages.extend(_messages(message, scope))
    body["messages"] = messages
    return body


def _response_format(output: OutputSpec) -> JsonValue:
    if isinstance(output, JsonObjectOutput):
        return {"type": "json_object"}
    described: JsonObject = {
        "name": output.name,
        "schema": output.json_schema,
        "strict": output.strict,
    }
    return {"type": "json_schema", "json_schema": described}


def _messages(message: LlmMessage, scope: ProviderScope) -> list[JsonValue]:
    """One message of ours: its tool results first, as they must follow their calls, then the rest.

    Reasoning is left out: this format has no field in which every server takes it back.
    """
    sent: list[JsonValue] = []
    parts: list[JsonValue] = []
    for block in message.blocks:
        if isinstance(block, ToolResultBlock):
            answer, behind = tool_result(block, scope)
            sent.append(answer)
            parts += behind
    shown = [each for each in message.blocks if isinstance(each, TextBlock | AttachmentBlock)]
    parts += content_parts(shown, scope)
    calls = [_call(block) for block in message.blocks if isinstance(block, ToolCallBlock)]
    if not parts and not calls:
        return sent
    said: dict[str, JsonValue] = {"role": message.role, "content": parts or None}
    if calls:
        said["tool_calls"] = calls
    return [*sent, said]


def _texts(texts: Sequence[str]) -> JsonValue:
    """Text content, always as an array: a shape that depended on the text would break prefixes."""
    return [text_part(text) for text in texts]


def _call(block: ToolCallBlock) -> JsonValue:
    function = {"name": block.tool_name, "arguments": block.input_json or "{}"}
    return {"id": block.call_id, "type": "function", "function": function}


# --- what comes back ------------------------------------------------------------------------------


class _FunctionDelta(Data):
    name: str | None = None
    arguments: str | None = None


class _ToolCallDelta(Data):
    index: int | None = None
    id: str | None = None
    function: _FunctionDelta | None = None


class _Delta(Data):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: tuple[_ToolCallDelta, ...] | None = None


class _Choice(Data):
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(Data):
    id: str | None = None
    model: str | None = None
    choices: tuple[_Choice, ...] | None = None
    usage: dict[str, object] | None = None


class _Call:
    """A tool call while its fragments arrive."""

    __slots__ = ("arguments", "call_id", "name")

    def __init__(self) -> None:
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []

    def part(self) -> ToolCallPart:
        return ToolCallPart(
            call_id=self.call_id, tool_name=self.name, input_json="".join(self.arguments)
        )


class AnswerCollector:
    """Puts one streamed answer together.

    Attributes:
        usage: The last token counts reported.
        finish_reason: The server's own word for why it ended; None until it said so.
    """

    def __init__(self, *, request_id: str | None = None) -> None:
        self.usage = Usage()
        self.finish_reason: str | None = None
        self._request_id = request_id
        self._response_id: str | None = None
        self._served_model: str | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}

    def feed(self, data: object) -> list[StreamEvent]:
        """Take in one decoded chunk and return what it says.

        Raises:
            msgspec.ValidationError: The chunk does not have the wire format's shape.
        """
        chunk = msgspec.convert(data, _Chunk)
        self._response_id = self._response_id or chunk.id or None
        self._served_model = self._served_model or chunk.model or None
        events: list[StreamEvent] = []
        for choice in chunk.choices or ():
            # One answer is asked for; a server that sends more has no place to put them here.
            if choice.index:
                continue
            self.finish_reason = choice.finish_reason or self.finish_reason
            if choice.delta is not None:
                events.extend(self._take(choice.delta))
        if chunk.usage is not None:
            self.usage = parse_usage(chunk.usage)
            events.append(UsageReported(usage=self.usage))
        return events

    def _take(self, delta: _Delta) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        # Servers name the field one way or the other; those that send both say the same twice.
        if thought := delta.reasoning_content or delta.reasoning:
            self._reasoning.append(thought)
            events.append(ReasoningDelta(text=thought))
        # A refusal is what the model says to the user instead of content.
        if text := delta.content or delta.refusal:
            self._text.append(text)
            events.append(TextDelta(text=text))
        for position, fragment in enumerate(delta.tool_calls or ()):
            self._merge(position, fragment)
        return events

    def _merge(self, position: int, fragment: _ToolCallDelta) -> None:
        """Add a fragment to its call, found by index: ids are repeated or made anew by some proxies."""
        index = position if fragment.index is None else fragment.index
        call = self._calls.setdefault(index, _Call())
        call.call_id = call.call_id or fragment.id or ""
        if fragment.function is not None:
            call.name = call.name or fragment.function.name or ""
            call.arguments.append(fragment.function.arguments or "")

    def completed_parts(self) -> list[StreamEvent]:
        """The tool calls as whole parts, once the answer is complete."""
        return [PartCompleted(part=part) for part in self._tool_calls()]

    def response(self) -> LlmResponse:
        """The whole answer. Only meaningful once a finish reason was seen."""
        text = "".join(self._text)
        parts: list[ResponsePart] = []
        if self._reasoning:
            parts.append(ReasoningPart(text="".join(self._reasoning)))
        if text:
            parts.append(TextPart(text=text))
        parts.extend(self._tool_calls())
        reason = _FINISH_REASONS.get(self.finish_reason or "")
        return LlmResponse(
            parts=tuple(parts),
            full_text=text,
            usage=self.usage,
            terminal_reason=reason or "provider_error",
            diagnostic=None if reason else f"Unknown finish reason {self.finish_reason!r}.",
            evidence=self.evidence(),
        )

    def evidence(self) -> Evidence | None:
        """What the server reported about the call; None if it reported nothing."""
        evidence = Evidence(
            served_model=self._served_model,
            response_id=self._response_id,
            request_id=self._request_id,
            finish_reason=self.finish_reason,
        )
        return None if evidence == Evidence() else evidence

    def _tool_calls(self) -> list[ToolCallPart]:
        return [self._calls[index].part() for index in sorted(self._calls)]


def parse_usage(reported: Mapping[str, object]) -> Usage:
    """Token counts in our buckets. The server counts cached tokens in the prompt; we count them once.

    A count that is missing or no number is taken as not reported: a finished answer is worth more
    than its bill.
    """
    read = _count(reported, _CACHE_READ)
    written = _count(reported, _CACHE_WRITE)
    prompt = _count(reported, (("prompt_tokens",),))
    return Usage(
        input_tokens=max(0, prompt - read - written),
        output_tokens=_count(reported, (("completion_tokens",),)),
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        reasoning_output_tokens=_count(reported, _REASONING),
    )


def _count(reported: Mapping[str, object], paths: Sequence[_Path]) -> int:
    """The first of the aliases that holds a count; an explicit 0 is one."""
    for path in paths:
        value: object = reported
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, int) and not isinstance(value, bool):
            return max(0, value)
    return 0
