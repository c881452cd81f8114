"""The scripted model server, as clients other than lash's own see it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
from openai import AsyncOpenAI

from lash.testing.openai_server import (
    Answer,
    BadJson,
    Behaviour,
    CutMidStream,
    ErrorEvent,
    HttpError,
    NoTerminalEvent,
    OpenAIServer,
    ReceivedRequest,
    SlowFirstByte,
    Stall,
)


@asynccontextmanager
async def client_of(server: OpenAIServer) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
        yield client


async def ask(client: AsyncOpenAI, text: str = "Hi") -> str | None:
    answer = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": text}]
    )
    return answer.choices[0].message.content


async def raw(server: OpenAIServer, request: bytes) -> bytes:
    """Everything the server sends in answer to some bytes, to its first end."""
    port = int(server.base_url.removesuffix("/v1").rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_request_that_does_not_stream_gets_one_object() -> None:
    script = [Answer("Hello.", tool_calls=[("go", {"to": "Zürich"})], reasoning="Hm.")]
    async with OpenAIServer(script) as server, client_of(server) as client:
        answer = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}]
        )
    assert answer.to_dict() == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": "tool_calls",
                "message": {
                    "role": "assistant",
                    "content": "Hello.",
                    "reasoning_content": "Hm.",
                    "tool_calls": [
                        {
                            "id": "call_1_0",
                            "type": "function",
                            "function": {"name": "go", "arguments": '{"to":"Zürich"}'},
                        }
                    ],
                },
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


async def test_usage_is_streamed_only_when_it_is_asked_for() -> None:
    async with OpenAIServer() as server, client_of(server) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert all(chunk.usage is None for chunk in chunks)
    assert [choice.finish_reason for choice in chunks[-1].choices] == ["stop"]


async def test_the_script_is_followed_and_then_the_default() -> None:
    server = OpenAIServer([Answer("one"), Answer("two")], default=Answer("more"))
    async with server, client_of(server) as client:
        said = [await ask(client) for _ in range(4)]
    assert said == ["one", "two", "more", "more"]


async def test_the_default_may_depend_on_the_request() -> None:
    def echo(request: ReceivedRequest) -> Behaviour:
        messages = request.body["messages"]
        assert isinstance(messages, list)
        return Answer(messages[-1]["content"].upper())

    async with OpenAIServer(default=echo) as server, client_of(server) as client:
        first, second = await asyncio.gather(ask(client, "a"), ask(client, "b"))
    assert (first, second) == ("A", "B")


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (HttpError(429), openai.RateLimitError),
        (HttpError(599), openai.InternalServerError),
        (CutMidStream(), openai.APIConnectionError),
        (BadJson(), ValueError),
    ],
)
async def test_misbehaviour_reaches_a_client_that_does_not_stream(
    behaviour: Behaviour, error: type[Exception]
) -> None:
    async with OpenAIServer([behaviour]) as server, client_of(server) as client:
        with pytest.raises(error):
            await ask(client)


async def test_an_answer_without_its_end_has_no_finish_reason_when_it_does_not_stream() -> None:
    async with OpenAIServer([NoTerminalEvent("Half")]) as server, client_of(server) as client:
        answer = await client.post("/chat/completions", cast_to=object, body={"model": "m"})
    assert isinstance(answer, dict)
    choice = {"index": 0, "message": {"role": "assistant", "content": "Half"}}
    assert answer["choices"] == [{**choice, "finish_reason": None}]


async def test_an_error_event_is_an_error_object_when_it_does_not_stream() -> None:
    async with OpenAIServer([ErrorEvent("Broken.")]) as server, client_of(server) as client:
        answer = await client.post("/chat/completions", cast_to=object, body={"model": "m"})
    said = {"message": "Broken.", "type": "server_error", "param": None, "code": None}
    assert answer == {"error": said}


async def test_the_wire_is_cut_where_it_is_told_to() -> None:
    body = b'{"model": "m", "stream": true}'
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    async with OpenAIServer([Answer("é")], wire_chunk_size=1) as server:
        answer = await raw(server, request)
    assert b"1\r\n\xc3\r\n1\r\n\xa9\r\n" in answer


async def test_what_is_no_completion_request_is_told_so() -> None:
    async with OpenAIServer() as server:
        answer = await raw(server, b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"posted to /v1/chat/completions" in answer
    assert server.requests == []


@pytest.mark.parametrize("behaviour", [Stall(), Stall("Half"), SlowFirstByte(asyncio.Event())])
async def test_a_client_that_leaves_while_it_waits_is_noticed(behaviour: Behaviour) -> None:
    async with OpenAIServer([behaviour]) as server, client_of(server) as client:
        call = asyncio.create_task(ask(client))
        await server.wait_for_requests()
        assert server.disconnects == 0
        call.cancel()
        await server.wait_for_disconnects()
        assert server.disconnects == 1


async def test_a_wait_may_be_given_in_seconds() -> None:
    async with OpenAIServer([SlowFirstByte(0.01)]) as server, client_of(server) as client:
        assert await ask(client) == "ok"


async def test_closing_the_server_ends_what_is_stalled_and_counts_no_disconnect() -> None:
    async with OpenAIServer([Stall()]) as server, client_of(server) as client:
        call = asyncio.create_task(ask(client))
        await server.wait_for_requests()
        await server.__aexit__(None, None, None)
        with pytest.raises(openai.APIConnectionError):
            await call
        assert server.disconnects == 0


def test_a_server_that_is_not_running_has_no_url() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = OpenAIServer().base_url
