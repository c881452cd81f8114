"""What a scripted model server can do with a request, and the bytes each behaviour puts on the wire.

Pure: a behaviour and a request go in, a `Reply` comes out. `openai_server` sends it.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal, TypeAlias

from lash.core.json import JsonObject, JsonValue


def _default_usage() -> JsonObject:
    return {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@dataclass(frozen=True)
class Answer:
    """A complete answer.

    Attributes:
        text: What the model says.
        tool_calls: Names with arguments: a mapping, or the raw argument text, which may be malformed.
            The fragments of parallel calls arrive interleaved.
        reasoning: Reasoning, sent before the text as `reasoning_content`.
        usage: The `usage` object as it stands on the wire; None reports none.
        finish_reason: The finish reason; by default `tool_calls` if there are any, else `stop`.
        chunk_size: How many UTF-8 bytes of text or arguments one chunk holds. Code points stay
            whole, as JSON strings must; the server's `wire_chunk_size` splits those too.
        model: The model named as having answered; by default the one asked for.
    """

    text: str = ""
    tool_calls: Sequence[tuple[str, Mapping[str, JsonValue] | str]] = ()
    reasoning: str = ""
    usage: Mapping[str, JsonValue] | None = field(default_factory=_default_usage)
    finish_reason: str | None = None
    chunk_size: int | None = None
    model: str | None = None


@dataclass(frozen=True)
class HttpError:
    """An error response instead of an answer.

    Attributes:
        status: The HTTP status.
        message: The error's message.
        code: The error's code, such as `insufficient_quota`.
        type: The error's type, such as `invalid_request_error`.
        retry_after: The `Retry-After` header: seconds, or any text.
        retry_after_ms: The `retry-after-ms` header.
    """

    status: int
    message: str = "The server had an error."
    code: str | None = None
    type: str | None = None
    retry_after: float | str | None = None
    retry_after_ms: float | None = None


@dataclass(frozen=True)
class ErrorEvent:
    """An answer that begins with `text` and turns into an `error` event."""

    message: str = "The server had an error while processing your request."
    code: str | int | None = None
    type: str | None = "server_error"
    text: str = ""


@dataclass(frozen=True)
class CutMidStream:
    """An answer whose connection ends after that many chunks of text, in the middle of the body."""

    text: str = "This answer is never finished."
    after_chunks: int = 1
    chunk_size: int = 8


@dataclass(frozen=True)
class NoTerminalEvent:
    """An answer that ends properly as HTTP, but without a finish reason or `[DONE]`."""

    text: str = ""


@dataclass(frozen=True)
class BadJson:
    """An answer that begins with `text` and goes on with something that is not JSON."""

    text: str = ""


@dataclass(frozen=True)
class Stall:
    """Says `text` and then nothing more, until the client leaves. Without text, not even a status."""

    text: str = ""


@dataclass(frozen=True)
class SlowFirstByte:
    """Waits for an event, or some seconds, before it does `then`."""

    wait: asyncio.Event | float
    then: "Immediate" = field(default_factory=lambda: Answer("ok"))


_Completing: TypeAlias = Answer | ErrorEvent | CutMidStream | NoTerminalEvent | BadJson | Stall
Immediate: TypeAlias = HttpError | _Completing
Behaviour: TypeAlias = Immediate | SlowFirstByte
Ending: TypeAlias = Literal["complete", "cut", "stall"]


@dataclass(frozen=True)
class Reply:
    """What goes over the wire: a head, a body in pieces, and how it ends."""

    pieces: Sequence[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = "complete"


def reply(behaviour: Immediate, number: int, body: JsonObject) -> Reply:
    """What `behaviour` answers the `number`-th request with."""
    if isinstance(behaviour, HttpError):
        return _error_reply(behaviour)
    wire = _Wire(number, str(body.get("model", "")))
    ending: Ending = "complete"
    if isinstance(behaviour, CutMidStream):
        ending = "cut"
    elif isinstance(behaviour, Stall):
        ending = "stall"
    if body.get("stream") is not True:
        whole = _whole(behaviour, wire)
        return Reply(whole, headers={"content-type": "application/json"}, ending=ending)
    options = body.get("stream_options")
    with_usage = isinstance(options, Mapping) and options.get("include_usage") is True
    events = _streamed(behaviour, wire, with_usage=with_usage)
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return Reply(events, headers=headers, ending=ending)


def _error_reply(error: HttpError) -> Reply:
    headers = {"content-type": "application/json"}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if error.retry_after_ms is not None:
        headers["retry-after-ms"] = str(error.retry_after_ms)
    return Reply([_json(_error(error))], status=error.status, headers=headers)


def _error(error: HttpError | ErrorEvent) -> JsonObject:
    said: JsonObject = {
        "message": error.message,
        "type": error.type,
        "param": None,
        "code": error.code,
    }
    return {"error": said}


def _streamed(behaviour: _Completing, wire: "_Wire", *, with_usage: bool) -> list[bytes]:
    """The events of an answer, as far as it comes."""
    if isinstance(behaviour, Answer):
        return list(wire.answer(behaviour, with_usage=with_usage))
    if isinstance(behaviour, Stall) and not behaviour.text:
        return []
    opening = wire.chunk({"role": "assistant", "content": ""})
    if isinstance(behaviour, CutMidStream):
        said = list(wire.texts("content", behaviour.text, behaviour.chunk_size))
        return [opening, *said[: behaviour.after_chunks]]
    events = [opening, *wire.texts("content", behaviour.text)]
    if isinstance(behaviour, BadJson):
        events.append(_event(b'{"choices": [{"delta": '))
    elif isinstance(behaviour, ErrorEvent):
        events.append(_event(_json(_error(behaviour))))
    return events


def _whole(behaviour: _Completing, wire: "_Wire") -> list[bytes]:
    """The same for a request that does not stream: one JSON object, or as much of it as comes."""
    if isinstance(behaviour, Answer):
        return [_json(wire.completion(behaviour))]
    if isinstance(behaviour, ErrorEvent):
        return [_json(_error(behaviour))]
    unfinished = _json(wire.completion(Answer(behaviour.text, usage=None), finished=False))
    if isinstance(behaviour, NoTerminalEvent):
        return [unfinished]
    if isinstance(behaviour, Stall) and not behaviour.text:
        return []
    return [unfinished[: len(unfinished) // 2]]


class _Wire:
    """Renders one answer in the wire format."""

    def __init__(self, number: int, model: str) -> None:
        self._number = number
        self._model = model

    def answer(self, answer: Answer, *, with_usage: bool) -> Iterator[bytes]:
        """The events of a complete streamed answer."""
        self._model = answer.model or self._model
        yield self.chunk({"role": "assistant", "content": ""})
        yield from self.texts("reasoning_content", answer.reasoning, answer.chunk_size)
        yield from self.texts("content", answer.text, answer.chunk_size)
        yield from self._calls(answer)
        yield self.chunk({}, finish_reason=_finish_reason(answer))
        if with_usage and answer.usage is not None:
            yield _event(
                _json({**self._head("chat.completion.chunk"), "choices": [], "usage": answer.usage})
            )
        yield _event(b"[DONE]")

    def chunk(self, delta: JsonObject, *, finish_reason: str | None = None) -> bytes:
        """One event with one delta."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event(_json({**self._head("chat.completion.chunk"), "choices": [choice]}))

    def texts(self, name: str, text: str, size: int | None = None) -> Iterator[bytes]:
        """Events whose deltas together say `text` in that field."""
        return (self.chunk({name: piece}) for piece in _split(text, size))

    def completion(self, answer: Answer, *, finished: bool = True) -> JsonObject:
        """The whole answer as one object."""
        self._model = answer.model or self._model
        message: dict[str, JsonValue] = {"role": "assistant", "content": answer.text or None}
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.tool_calls:
            message["tool_calls"] = [
                {
                    "id": self._call_id(index),
                    "type": "function",
                    "function": {"name": name, "arguments": _argument_text(arguments)},
                }
                for index, (name, arguments) in enumerate(answer.tool_calls)
            ]
        choice: JsonObject = {
            "index": 0,
            "message": message,
            "finish_reason": _finish_reason(answer) if finished else None,
        }
        whole = {**self._head("chat.completion"), "choices": [choice]}
        return whole if answer.usage is None else {**whole, "usage": answer.usage}

    def _calls(self, answer: Answer) -> Iterator[bytes]:
        for index, (name, _) in enumerate(answer.tool_calls):
            opened: JsonObject = {
                "index": index,
                "id": self._call_id(index),
                "type": "function",
                "function": {"name": name, "arguments": ""},
            }
            yield self.chunk({"tool_calls": [opened]})
        split = [
            _split(_argument_text(arguments), answer.chunk_size)
            for _, arguments in answer.tool_calls
        ]
        for fragments in zip_longest(*split):
            for index, fragment in enumerate(fragments):
                if fragment is not None:
                    more: JsonObject = {"index": index, "function": {"arguments": fragment}}
                    yield self.chunk({"tool_calls": [more]})

    def _call_id(self, index: int) -> str:
        return f"call_{self._number}_{index}"

    def _head(self, kind: str) -> dict[str, JsonValue]:
        return {
            "id": f"chatcmpl-{self._number}",
            "object": kind,
            "created": 0,
            "model": self._model,
        }


def _finish_reason(answer: Answer) -> str:
    return answer.finish_reason or ("tool_calls" if answer.tool_calls else "stop")


def _argument_text(arguments: Mapping[str, JsonValue] | str) -> str:
    return arguments if isinstance(arguments, str) else _json(dict(arguments)).decode()


def _split(text: str, size: int | None) -> list[str]:
    """`text` in pieces of at most `size` UTF-8 bytes, or of one code point where that is larger."""
    if size is None:
        return [text] if text else []
    pieces: list[str] = []
    room = 0
    for char in text:
        width = len(char.encode())
        if not pieces or width > room:
            pieces.append("")
            room = max(size, width)
        pieces[-1] += char
        room -= width
    return pieces


def _json(value: object) -> bytes:
    # Not ASCII-escaped: code points are to lie on the wire as bytes that can be torn apart.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"
