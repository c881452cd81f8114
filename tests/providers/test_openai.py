"""The Chat Completions provider, through the official client, against a real local server."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lash.core.errors import ConfigurationError
from lash.core.json import JsonObject
from lash.llm.provider import Provider
from lash.llm.request import (
    GenerationOptions,
    HistoryRef,
    JsonObjectOutput,
    JsonSchemaOutput,
    LlmMessage,
    LlmRequest,
    LlmScope,
    ModelSpec,
    OutputSpec,
    ReasoningBlock,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
    ToolSpec,
)
from lash.llm.response import (
    Evidence,
    LlmFailure,
    LlmResponse,
    ProviderFailure,
    ReasoningPart,
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
from lash.providers._openai_wire import AnswerCollector, parse_usage, request_body
from lash.providers.openai import OpenAICompatible
from lash.testing.openai_server import (
    Answer,
    BadJson,
    Behaviour,
    CutMidStream,
    ErrorEvent,
    HttpError,
    NoTerminalEvent,
    OpenAIServer,
    SlowFirstByte,
    Stall,
)

KEY = "sk-test-4f9a-do-not-print"
WEATHER = ToolSpec(
    name="weather",
    description="Look up the weather.",
    input_schema={"type": "object", "properties": {"town": {"type": "string"}}},
)


def request(
    *messages: LlmMessage,
    instructions: str = "Be brief.",
    tools: tuple[ToolSpec, ...] = (),
    generation: GenerationOptions | None = None,
) -> LlmRequest:
    return LlmRequest(
        model=ModelSpec(
            provider="openai", name="gpt-5.2", generation=generation or GenerationOptions()
        ),
        instructions=instructions,
        messages=messages or (user("Hello"),),
        tools=tools,
        history=HistoryRef(count=0, digest="none"),
        scope=LlmScope(session_id="s", request_id="s:turn:t:llm:0"),
    )


def user(text: str) -> LlmMessage:
    return LlmMessage(role="user", blocks=(TextBlock(text=text),))


@asynccontextmanager
async def provider_for(server: OpenAIServer, **options: object) -> AsyncIterator[OpenAICompatible]:
    settings = {"api_key": KEY, "base_url": server.base_url, **options}
    provider = OpenAICompatible(**settings)  # type: ignore[arg-type]  # options of one test each
    try:
        yield provider
    finally:
        await provider.aclose()


async def ask(
    behaviour: Behaviour,
    what: LlmRequest | None = None,
    *,
    wire_chunk_size: int | None = None,
    emit: Callable[[StreamEvent], None] = lambda _: None,
    **options: object,
) -> LlmResponse:
    async with (
        OpenAIServer([behaviour], wire_chunk_size=wire_chunk_size) as server,
        provider_for(server, **options) as provider,
    ):
        return await provider.complete(what or request(), emit)


async def failure_of(behaviour: Behaviour, **options: object) -> LlmFailure:
    with pytest.raises(ProviderFailure) as raised:
        await ask(behaviour, **options)  # type: ignore[arg-type]  # options of one test each
    return raised.value.failure


# --- answers --------------------------------------------------------------------------------------


async def test_a_plain_answer_comes_back_whole() -> None:
    response = await ask(Answer("Good morning."))
    assert response == LlmResponse(
        parts=(TextPart(text="Good morning."),),
        full_text="Good morning.",
        usage=Usage(input_tokens=10, output_tokens=5),
        terminal_reason="stop",
        evidence=Evidence(
            served_model="gpt-5.2",
            response_id="chatcmpl-1",
            request_id="req-1",
            finish_reason="stop",
        ),
    )


async def test_streamed_deltas_are_the_text() -> None:
    seen: list[StreamEvent] = []
    text = "The quick brown fox jumps over the lazy dog."
    await ask(Answer(text, chunk_size=5), emit=seen.append)
    deltas = [event.text for event in seen if isinstance(event, TextDelta)]
    assert "".join(deltas) == text
    assert len(deltas) == 9


@pytest.mark.parametrize("size", range(1, 8))
async def test_code_points_torn_apart_on_the_wire_arrive_whole(size: int) -> None:
    # U+2028 ends a line for str.splitlines, but not in this format.
    text = "Grüße, 世界 🌍!\u2028And \r\n more."
    response = await ask(Answer(text, chunk_size=3), wire_chunk_size=size)
    assert response.full_text == text


async def test_parallel_calls_keep_their_arguments_however_they_are_cut() -> None:
    first = '{"town": "Zürich", "days": 3}'
    second = '{"note":"say \\"hi\\" \U0001f30d", "n": 1.0}'
    longest = max(len(first.encode()), len(second.encode()))
    script = [
        Answer(tool_calls=[("weather", first), ("note", second)], chunk_size=size)
        for size in range(1, longest + 1)
    ]
    async with OpenAIServer(script) as server, provider_for(server) as provider:
        for number in range(1, longest + 1):
            seen: list[StreamEvent] = []
            response = await provider.complete(request(), seen.append)
            calls = (
                ToolCallPart(call_id=f"call_{number}_0", tool_name="weather", input_json=first),
                ToolCallPart(call_id=f"call_{number}_1", tool_name="note", input_json=second),
            )
            assert response.parts == calls
            assert response.terminal_reason == "tool_use"
            parts = [event.part for event in seen if isinstance(event, PartCompleted)]
            assert tuple(parts) == calls


@given(
    arguments=st.lists(st.text(max_size=12), min_size=1, max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_fragments_of_calls_may_interleave_in_any_way(arguments: list[str], order: Random) -> None:
    fragments = {index: list(text) for index, text in enumerate(arguments)}
    collector = AnswerCollector()
    while left := [index for index, chars in fragments.items() if chars]:
        index = order.choice(left)
        delta = {"index": index, "function": {"arguments": fragments[index].pop(0)}}
        collector.feed({"choices": [{"index": 0, "delta": {"tool_calls": [delta]}}]})
    got = [part.input_json for part in collector.response().parts if isinstance(part, ToolCallPart)]
    assert got == [text for text in arguments if text]


async def test_malformed_arguments_are_handed_on_as_they_came() -> None:
    response = await ask(Answer(tool_calls=[("weather", '{"town": ')]))
    assert response.parts == (
        ToolCallPart(call_id="call_1_0", tool_name="weather", input_json='{"town": '),
    )


async def test_reasoning_streams_beside_the_text() -> None:
    seen: list[StreamEvent] = []
    response = await ask(Answer("4", reasoning="Two and two."), emit=seen.append)
    assert response.parts == (ReasoningPart(text="Two and two."), TextPart(text="4"))
    assert response.full_text == "4"
    assert ReasoningDelta(text="Two and two.") in seen


def test_reasoning_said_under_both_names_counts_once() -> None:
    collector = AnswerCollector()
    delta = {"reasoning": "Hm.", "reasoning_content": "Hm."}
    assert collector.feed({"choices": [{"delta": delta}]}) == [ReasoningDelta(text="Hm.")]


def test_a_refusal_is_what_the_model_says() -> None:
    collector = AnswerCollector()
    events = collector.feed({"choices": [{"delta": {"refusal": "I cannot."}}]})
    assert events == [TextDelta(text="I cannot.")]
    assert collector.response().full_text == "I cannot."


def test_calls_without_an_index_are_told_apart_by_position() -> None:
    collector = AnswerCollector()
    calls = [
        {"id": "a", "function": {"name": "one", "arguments": "{}"}},
        {"id": "b", "function": {"name": "two", "arguments": "[]"}},
    ]
    collector.feed({"choices": [{"delta": {"tool_calls": calls}}]})
    assert collector.response().parts == (
        ToolCallPart(call_id="a", tool_name="one", input_json="{}"),
        ToolCallPart(call_id="b", tool_name="two", input_json="[]"),
    )


def test_a_call_keeps_its_first_id_and_name_when_a_proxy_repeats_or_renames_them() -> None:
    collector = AnswerCollector()
    for call_id, text in (("first", "{"), ("second", "}")):
        delta = {"index": 0, "id": call_id, "function": {"name": "go", "arguments": text}}
        collector.feed({"choices": [{"delta": {"tool_calls": [delta]}}]})
    assert collector.response().parts == (
        ToolCallPart(call_id="first", tool_name="go", input_json="{}"),
    )


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("stop", "stop"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("length", "output_limit"),
        ("content_filter", "content_filter"),
        ("error", "provider_error"),
    ],
)
async def test_the_finish_reason_is_translated(said: str, meant: str) -> None:
    response = await ask(Answer("So far", finish_reason=said))
    assert response.terminal_reason == meant
    assert (response.diagnostic is not None) == (meant == "provider_error")
    assert response.evidence is not None
    assert response.evidence.finish_reason == said


async def test_evidence_is_what_was_reported_and_not_what_was_asked_for() -> None:
    served = await ask(Answer("ok", model="gpt-5.2-2026-01-15"))
    assert served.evidence is not None
    assert served.evidence.served_model == "gpt-5.2-2026-01-15"
    silent = AnswerCollector()
    silent.feed({"id": "", "model": "", "choices": [{"delta": {"content": "Hi"}}]})
    assert silent.evidence() is None


# --- usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        (
            """{"prompt_tokens": 100, "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 40},
                "completion_tokens_details": {"reasoning_tokens": 15}}""",
            Usage(
                input_tokens=60,
                output_tokens=20,
                cache_read_input_tokens=40,
                reasoning_output_tokens=15,
            ),
        ),
        (
            '{"prompt_tokens": 100, "completion_tokens": 1, "prompt_cache_hit_tokens": 30}',
            Usage(input_tokens=70, output_tokens=1, cache_read_input_tokens=30),
        ),
        (
            '{"prompt_tokens": 100, "cached_tokens": 25, "cache_write_tokens": 50}',
            Usage(input_tokens=25, cache_read_input_tokens=25, cache_write_input_tokens=50),
        ),
        (
            """{"prompt_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 8}}""",
            Usage(cache_read_input_tokens=8, cache_write_input_tokens=8),
        ),
        (
            """{"prompt_tokens": 9, "cached_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 0}}""",
            Usage(input_tokens=9),
        ),
        (
            '{"prompt_tokens": 9, "completion_tokens": "many", "prompt_tokens_details": null}',
            Usage(input_tokens=9),
        ),
        ('{"prompt_tokens": true, "completion_tokens": -3}', Usage()),
    ],
)
def test_cached_tokens_are_counted_once(wire: str, usage: Usage) -> None:
    assert parse_usage(json.loads(wire)) == usage


async def test_usage_is_asked_for_and_reported() -> None:
    seen: list[StreamEvent] = []
    counts = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    response = await ask(Answer("ok", usage=counts), emit=seen.append)
    expected = Usage(input_tokens=7, output_tokens=2)
    assert response.usage == expected
    assert [event for event in seen if isinstance(event, UsageReported)] == [
        UsageReported(usage=expected)
    ]


def test_a_later_report_replaces_an_earlier_one() -> None:
    collector = AnswerCollector()
    for count in (3, 5):
        collector.feed({"choices": [], "usage": {"completion_tokens": count}})
    collector.feed({"choices": [], "usage": None})
    assert collector.usage == Usage(output_tokens=5)


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "kind", "retryable", "code", "wait"),
    [
        (HttpError(429, "Slow down.", retry_after=7), "quota", True, "429", 7_000),
        (HttpError(429, "Slow down.", retry_after=0.25), "quota", True, "429", 250),
        (HttpError(429, retry_after=9, retry_after_ms=1500), "quota", True, "429", 1_500),
        (HttpError(429, "Slow down."), "quota", True, "429", None),
        (
            HttpError(429, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
            "quota",
            True,
            "429",
            None,
        ),
        (HttpError(429, retry_after="-1"), "quota", True, "429", None),
        (HttpError(429, retry_after="inf"), "quota", True, "429", None),
        (HttpError(429, code="insufficient_quota"), "quota", False, "insufficient_quota", None),
        (HttpError(500), "http", True, "500", None),
        (HttpError(503, retry_after=1), "http", True, "503", 1_000),
        (HttpError(401, "Wrong key."), "auth", False, "401", None),
        (HttpError(400, "Bad temperature."), "validation", False, "400", None),
        (HttpError(404, code="model_not_found"), "unsupported", False, "model_not_found", None),
        (CutMidStream(), "transport", True, "connection_lost", None),
        (
            NoTerminalEvent("Half an ans"),
            "stream",
            True,
            "stream_ended_before_finish_reason",
            None,
        ),
        (NoTerminalEvent(), "stream", True, "stream_ended_before_finish_reason", None),
        (BadJson("Half"), "stream", True, "malformed_response", None),
        (ErrorEvent(text="Half"), "stream", True, "server_error", None),
        (ErrorEvent(code=503), "http", True, "503", None),
        (ErrorEvent(code="rate_limit_exceeded"), "stream", True, "rate_limit_exceeded", None),
        (
            ErrorEvent("No.", type="invalid_request_error"),
            "validation",
            False,
            "invalid_request_error",
            None,
        ),
    ],
)
async def test_each_misbehaviour_is_sorted(
    behaviour: Behaviour, kind: str, retryable: bool, code: str, wait: int | None
) -> None:
    failure = await failure_of(behaviour)
    assert (failure.kind, failure.retryable, failure.code, failure.retry_after_ms) == (
        kind,
        retryable,
        code,
        wait,
    )


async def test_a_failing_call_makes_one_attempt() -> None:
    async with OpenAIServer(default=HttpError(500)) as server, provider_for(server) as provider:
        with pytest.raises(ProviderFailure):
            await provider.complete(request(), lambda _: None)
        assert len(server.requests) == 1


async def test_an_http_error_says_what_the_server_said() -> None:
    failure = await failure_of(HttpError(400, "temperature must be at most 2"))
    assert failure.message == "HTTP 400: temperature must be at most 2"
    assert failure.status == 400
    assert failure.evidence == Evidence(request_id="req-1")


async def test_an_overflow_of_the_context_is_recognised() -> None:
    failure = await failure_of(HttpError(400, "Too long.", code="context_length_exceeded"))
    assert (failure.terminal_reason, failure.retryable) == ("context_overflow", False)


async def test_what_was_reported_before_the_failure_is_kept() -> None:
    failure = await failure_of(ErrorEvent(text="Half"))
    assert failure.evidence == Evidence(
        served_model="gpt-5.2", response_id="chatcmpl-1", request_id="req-1"
    )


async def test_what_streamed_before_the_failure_was_emitted() -> None:
    seen: list[StreamEvent] = []
    with pytest.raises(ProviderFailure):
        await ask(CutMidStream("abcdefgh", after_chunks=2, chunk_size=3), emit=seen.append)
    assert [event.text for event in seen if isinstance(event, TextDelta)] == ["abc", "def"]


@asynccontextmanager
async def raw_server(*events: bytes, finished: bool) -> AsyncIterator[str]:
    """A server that sends these bytes as its stream, with or without the end of the HTTP body."""

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for event in events:
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        writer.write(b"0\r\n\r\n" if finished else b"")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(stream, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (b'data: {"choices": [{"delta": {"content": 7}}]}\n\n', "$.choices[0].delta.content"),
        (b"data: [1, 2]\n\n", "Expected `object`"),
        (b'data: {"choices": "\xff"}\n\n', "can't decode byte 0xff"),
    ],
)
async def test_a_chunk_that_is_not_the_wire_format_is_a_malformed_response(
    event: bytes, says: str
) -> None:
    async with raw_server(event, finished=True) as url:
        provider = OpenAICompatible(api_key=KEY, base_url=url)
        with pytest.raises(ProviderFailure, match=re.escape(says)) as raised:
            await provider.complete(request(), lambda _: None)
        await provider.aclose()
    assert raised.value.failure.code == "malformed_response"
    assert raised.value.failure.retryable


async def test_comments_and_windows_line_ends_are_part_of_the_format() -> None:
    events = (
        b": PROCESSING\r\n\r\n",
        b'data: {"choices": [{"delta":\r\ndata: {"content": "Hi"}, "finish_reason": "stop"}]}',
        b"\r\n\r\n: bye\r\n\r\n",
    )
    async with raw_server(*events, finished=True) as url:
        provider = OpenAICompatible(api_key=KEY, base_url=url)
        response = await provider.complete(request(), lambda _: None)
        await provider.aclose()
    assert response.full_text == "Hi"


async def test_a_server_that_is_not_there_is_a_transport_failure() -> None:
    async with OpenAIServer() as server:
        gone = server.base_url
    provider = OpenAICompatible(api_key=KEY, base_url=gone)
    with pytest.raises(ProviderFailure) as raised:
        await provider.complete(request(), lambda _: None)
    await provider.aclose()
    failure = raised.value.failure
    assert (failure.kind, failure.retryable, failure.code) == (
        "transport",
        True,
        "connection_failed",
    )


@pytest.mark.parametrize("behaviour", [Stall(), Stall("Half")], ids=["before", "within"])
async def test_silence_is_a_timeout(behaviour: Behaviour) -> None:
    failure = await failure_of(behaviour, chunk_timeout=0.05)
    assert (failure.kind, failure.retryable, failure.code) == ("timeout", True, "timeout")


async def test_a_whole_call_has_a_limit_too() -> None:
    failure = await failure_of(Stall("Half"), total_timeout=0.05)
    assert (failure.kind, failure.retryable, failure.code) == ("timeout", True, "timeout")


async def test_a_slow_answer_is_waited_for() -> None:
    gate = asyncio.Event()
    async with (
        OpenAIServer([SlowFirstByte(gate, Answer("At last."))]) as server,
        provider_for(server) as provider,
    ):
        call = asyncio.create_task(provider.complete(request(), lambda _: None))
        await server.wait_for_requests()
        assert not call.done()
        gate.set()
        assert (await call).full_text == "At last."


async def test_an_answer_that_had_ended_survives_the_loss_of_its_trailer() -> None:
    event = b'data: {"choices": [{"delta": {"content": "Done."}, "finish_reason": "stop"}]}\n\n'
    async with raw_server(event, finished=False) as url:
        provider = OpenAICompatible(api_key=KEY, base_url=url)
        response = await provider.complete(request(), lambda _: None)
        await provider.aclose()
    assert (response.full_text, response.terminal_reason) == ("Done.", "stop")


async def test_an_error_of_the_listener_is_not_the_providers() -> None:
    def emit(event: StreamEvent) -> None:
        raise TimeoutError("the listener's own")

    with pytest.raises(TimeoutError, match="the listener's own"):
        await ask(Answer("ok"), emit=emit)


async def test_a_listener_that_fails_does_not_leave_the_server_generating() -> None:
    def emit(event: StreamEvent) -> None:
        raise ValueError(event)

    async with OpenAIServer([Stall("Half")]) as server, provider_for(server) as provider:
        # The error is kept, and with it the frames that hold the stream: nothing is left to chance.
        with pytest.raises(ValueError, match="Half") as kept:
            await provider.complete(request(), emit)
        await server.wait_for_disconnects()
    assert kept.tb is not None


@pytest.mark.parametrize("behaviour", [Stall(), Stall("Half")], ids=["before", "within"])
async def test_cancelling_hangs_up(behaviour: Stall) -> None:
    streaming = asyncio.Event()
    async with OpenAIServer([behaviour]) as server, provider_for(server) as provider:
        call = asyncio.create_task(provider.complete(request(), lambda _: streaming.set()))
        await server.wait_for_requests()
        if behaviour.text:
            await streaming.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.wait_for_disconnects()


async def test_a_connection_is_used_again_after_an_answer() -> None:
    async with OpenAIServer() as server, provider_for(server) as provider:
        for _ in range(3):
            await provider.complete(request(), lambda _: None)
        assert len(server._writers) == 1


async def test_a_closed_provider_opens_again() -> None:
    async with OpenAIServer() as server, provider_for(server) as provider:
        await provider.complete(request(), lambda _: None)
        await provider.aclose()
        await provider.aclose()
        assert (await provider.complete(request(), lambda _: None)).full_text == "ok"


# --- what is sent ---------------------------------------------------------------------------------

CONVERSATION = (
    user("Weather in Bern?"),
    LlmMessage(
        role="assistant",
        blocks=(
            TextBlock(text="Let me look."),
            ReasoningBlock(text="They want weather.", replay={"sealed": "x"}),
            ToolCallBlock(call_id="c1", tool_name="weather", input_json='{ "town":"Bern" }'),
            ToolCallBlock(call_id="c2", tool_name="weather", input_json=""),
        ),
    ),
    LlmMessage(
        role="user",
        blocks=(
            ToolResultBlock(call_id="c1", content="Sunny"),
            ToolResultBlock(call_id="c2", content=""),
        ),
    ),
    LlmMessage(role="system", blocks=(TextBlock(text="Runtime note:\nhurry"),)),
)


async def test_a_conversation_is_sent_in_the_wire_format() -> None:
    async with OpenAIServer() as server, provider_for(server) as provider:
        await provider.complete(request(*CONVERSATION, tools=(WEATHER,)), lambda _: None)
        (received,) = server.requests
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.headers["accept"] == "text/event-stream"
    assert received.body == {
        "model": "gpt-5.2",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Look up the weather.",
                    "parameters": {
                        "type": "object",
                        "properties": {"town": {"type": "string"}},
                    },
                },
            }
        ],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "text", "text": "Weather in Bern?"}]},
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "Let me look."}],
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{ "town":"Bern" }'},
                    },
                    {
                        "id": "c2",
                        "type": "function",
                        "function": {"name": "weather", "arguments": "{}"},
                    },
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
            {"role": "tool", "tool_call_id": "c2", "content": ""},
            {"role": "system", "content": [{"type": "text", "text": "Runtime note:\nhurry"}]},
        ],
    }


async def test_consecutive_requests_share_their_serialized_prefix() -> None:
    async with OpenAIServer() as server, provider_for(server) as provider:
        for count in range(1, len(CONVERSATION) + 1):
            what = request(*CONVERSATION[:count], tools=(WEATHER,))
            await provider.complete(what, lambda _: None)
        bodies = [received.raw for received in server.requests]
    for shorter, longer in pairwise(bodies):
        assert shorter.endswith(b"]}")
        assert longer.startswith(shorter.removesuffix(b"]}"))


def test_results_come_before_other_text_of_their_message() -> None:
    mixed = LlmMessage(
        role="user", blocks=(TextBlock(text="And?"), ToolResultBlock(call_id="c", content="1"))
    )
    assert request_body(request(mixed, instructions=""))["messages"] == [
        {"role": "tool", "tool_call_id": "c", "content": "1"},
        {"role": "user", "content": [{"type": "text", "text": "And?"}]},
    ]


def test_a_message_of_reasoning_alone_is_not_sent() -> None:
    thought = LlmMessage(role="assistant", blocks=(ReasoningBlock(text="Hm.", replay="x"),))
    assert request_body(request(thought, instructions=""))["messages"] == []


def test_a_call_without_text_has_null_content() -> None:
    call = ToolCallBlock(call_id="c", tool_name="go", input_json="{}")
    message = LlmMessage(role="assistant", blocks=(call,))
    assert request_body(request(message, instructions=""))["messages"] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "go", "arguments": "{}"}}
            ],
        }
    ]


def test_only_the_options_given_are_sent() -> None:
    options = GenerationOptions(
        output_token_cap=100, temperature=0.0, top_p=0.5, seed=0, reasoning_effort="low"
    )
    body = request_body(request(generation=options))
    named = ("max_completion_tokens", "temperature", "top_p", "seed", "reasoning_effort")
    assert [body[name] for name in named] == [100, 0.0, 0.5, 0, "low"]
    assert not set(named) & set(request_body(request()))


def test_the_tool_choice_is_sent_only_with_tools() -> None:
    without = replace(request(), tool_choice="required")
    assert "tool_choice" not in request_body(without)
    with_tools = replace(request(tools=(WEATHER,)), tool_choice="required")
    assert request_body(with_tools)["tool_choice"] == "required"


ANSWER_SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"why": {"type": "string"}, "answer": {"type": "integer"}},
    "required": ["why", "answer"],
}
SENT_SCHEMA = (
    b'{"type":"json_schema","json_schema":{"name":"Answer","schema":{"type":"object",'
    b'"properties":{"why":{"type":"string"},"answer":{"type":"integer"}},'
    b'"required":["why","answer"]},"strict":false}}'
)


@pytest.mark.parametrize(
    ("output", "sent"),
    [
        (JsonObjectOutput(), b'{"type":"json_object"}'),
        (
            JsonSchemaOutput(name="Answer", json_schema=ANSWER_SCHEMA),
            SENT_SCHEMA,
        ),
        (
            JsonSchemaOutput(name="Any", json_schema={}, strict=True),
            b'{"type":"json_schema","json_schema":{"name":"Any","schema":{},"strict":true}}',
        ),
    ],
)
async def test_the_kind_of_answer_is_sent_before_what_grows(
    output: OutputSpec, sent: bytes
) -> None:
    """Also the members of a schema stay in their order: models write them in that order."""
    async with OpenAIServer() as server, provider_for(server) as provider:
        await provider.complete(replace(request(), output=output), lambda _: None)
        await provider.complete(request(), lambda _: None)
        with_output, without = (received.raw for received in server.requests)
    before, after = without.split(b'"messages":')
    assert with_output == before + b'"response_format":' + sent + b',"messages":' + after


async def test_a_request_for_text_is_byte_for_byte_what_it_always_was() -> None:
    """Prompt caches hold what was sent; a field that nobody asked for would empty them all."""
    async with OpenAIServer() as server, provider_for(server) as provider:
        options = GenerationOptions(temperature=0.5)
        await provider.complete(request(tools=(WEATHER,), generation=options), lambda _: None)
        (received,) = server.requests
    assert received.raw == (
        b'{"model":"gpt-5.2","stream":true,"stream_options":{"include_usage":true},"temperature":0.5,'
        b'"tools":[{"type":"function","function":{"name":"weather","description":'
        b'"Look up the weather.","parameters":{"type":"object","properties":{"town":'
        b'{"type":"string"}}}}}],"messages":[{"role":"system","content":[{"type":"text",'
        b'"text":"Be brief."}]},{"role":"user","content":[{"type":"text","text":"Hello"}]}]}'
    )


# --- keys and wiring ------------------------------------------------------------------------------


async def test_the_key_is_never_told() -> None:
    echo = f"Incorrect API key provided: {KEY}."
    for behaviour in (HttpError(401, echo, code=KEY), ErrorEvent(echo), HttpError(500, echo)):
        async with OpenAIServer([behaviour]) as server, provider_for(server) as provider:
            assert KEY not in repr(provider)
            with pytest.raises(ProviderFailure) as raised:
                await provider.complete(request(), lambda _: None)
        assert KEY not in str(raised.value)
        assert KEY not in repr(raised.value.failure)
        assert "[api key]" in raised.value.failure.message


def test_credentials_in_the_url_are_not_shown() -> None:
    provider = OpenAICompatible(api_key=KEY, base_url="https://me:secret@models.test:8443/v1?k=s3")
    assert repr(provider) == (
        "OpenAICompatible(kind='openai', base_url='https://models.test:8443/v1')"
    )


async def test_a_key_function_is_asked_before_every_call() -> None:
    keys = iter(["key-one", "key-two"])

    async def fetch() -> str:
        return next(keys)

    async with OpenAIServer() as server, provider_for(server, api_key=fetch) as provider:
        for _ in range(2):
            await provider.complete(request(), lambda _: None)
        sent = [received.headers["authorization"] for received in server.requests]
    assert sent == ["Bearer key-one", "Bearer key-two"]


async def test_a_key_function_that_fails_is_an_auth_failure_that_quotes_nothing() -> None:
    async def fetch() -> str:
        raise RuntimeError(f"vault refused {KEY}")

    async def nothing() -> str:
        return ""

    for function, reason in ((fetch, "RuntimeError"), (nothing, "no key")):
        failure = await failure_of(Answer("ok"), api_key=function)
        assert (failure.kind, failure.code) == ("auth", "credential_refresh_failed")
        assert reason in failure.message
        assert KEY not in failure.message


@pytest.mark.parametrize("key", ["", "sk-abc\n", "two words", "schlüssel"])
def test_an_unusable_key_is_refused_at_once(key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        OpenAICompatible(api_key=key)
    assert raised.value.code == "provider_not_configured"


@pytest.mark.parametrize("url", ["models.test/v1", "ftp://models.test/v1", "http://"])
def test_an_unusable_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        OpenAICompatible(api_key=KEY, base_url=url)
    assert raised.value.code == "provider_not_configured"


def test_the_environment_names_key_and_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert "http://127.0.0.1:9/v1" in repr(OpenAICompatible.from_env())
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert "https://api.openai.com/v1" in repr(OpenAICompatible.from_env())


def test_a_missing_key_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="Set OPENAI_API_KEY") as raised:
        OpenAICompatible.from_env()
    assert raised.value.code == "provider_not_configured"


def test_a_missing_sdk_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'lash-runtime\[openai\]'") as raised:
        OpenAICompatible(api_key=KEY)
    assert raised.value.code == "provider_not_installed"


async def test_an_explicit_server_wins_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-environment")
    async with OpenAIServer() as server, provider_for(server) as provider:
        await provider.complete(request(), lambda _: None)
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_it_is_a_provider() -> None:
    provider: Provider = OpenAICompatible(api_key=KEY, kind="local", regenerates_safely=False)
    assert (provider.kind, provider.regenerates_safely) == ("local", False)
