"""A local model server that speaks Chat Completions, for tests of anything that talks to a model.

It is a real HTTP server on a random port of 127.0.0.1, so what is tested includes the client, its
connection pool and its timeouts; and it can misbehave in each of the ways real servers do.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self, TypeAlias

from lash.core.json import JsonObject
from lash.testing._openai_script import (
    Answer,
    BadJson,
    Behaviour,
    CutMidStream,
    ErrorEvent,
    HttpError,
    NoTerminalEvent,
    Reply,
    SlowFirstByte,
    Stall,
    reply,
)

__all__ = [
    "Answer",
    "BadJson",
    "Behaviour",
    "CutMidStream",
    "ErrorEvent",
    "HttpError",
    "NoTerminalEvent",
    "OpenAIServer",
    "ReceivedRequest",
    "SlowFirstByte",
    "Stall",
]

_PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it arrived: its headers (names in lower case), its bytes and their JSON."""

    headers: Mapping[str, str]
    raw: bytes
    body: JsonObject


Default: TypeAlias = Behaviour | Callable[[ReceivedRequest], Behaviour]


class OpenAIServer:
    """A scripted Chat Completions server; enter it with `async with`.

    ```python
    async with OpenAIServer([HttpError(429, retry_after=0), Answer("Hello!")]) as server:
        provider = OpenAICompatible(api_key="test", base_url=server.base_url)
    ```

    Args:
        script: What to do with each request, in order of arrival.
        default: What to do with every request after those: a behaviour, or a function of the
            request, which is what clients need that may repeat requests or send several at once.
        wire_chunk_size: Send bodies in pieces of that many bytes, whatever they hold, so that
            lines, JSON and code points straddle the borders.

    Attributes:
        requests: Every request received so far.
        disconnects: How many clients left while they were waiting for more.
    """

    def __init__(
        self,
        script: Sequence[Behaviour] = (),
        *,
        default: Default = Answer("ok"),  # noqa: B008  immutable
        wire_chunk_size: int | None = None,
    ) -> None:
        self.requests: list[ReceivedRequest] = []
        self.disconnects = 0
        self._script = list(script)
        self._default = default
        self._wire_chunk_size = wire_chunk_size
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._handlers: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def base_url(self) -> str:
        """Where the API lives, as clients want it: with `/v1`."""
        if self._server is None:
            raise RuntimeError("The server is not running; enter it with `async with`.")
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/v1"

    async def wait_for_requests(self, count: int = 1) -> None:
        """Wait until that many requests have arrived in all."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    async def wait_for_disconnects(self, count: int = 1) -> None:
        """Wait until that many clients in all have left while they were waiting for more."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.disconnects >= count)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            # Handlers see their connection end and return; none is cancelled in the middle.
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.gather(*self._handlers)
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self._handlers.append(asyncio.create_task(self._converse(reader, writer)))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after the other until one side closes the connection."""
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # The client is gone, or the server is closing.
        finally:
            writer.close()
            try:
                await writer.wait_closed()
            except ConnectionError:
                pass  # Closed all the same.

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether another may follow."""
        path, headers = _parse_head(await reader.readuntil(b"\r\n\r\n"))
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        body = _decode(raw)
        if path != _PATH or body is None:
            problem = f"This server answers JSON objects posted to {_PATH}."
            await self._send(writer, reply(HttpError(404, problem), 0, {}), 0)
            return True
        request = ReceivedRequest(headers=headers, raw=raw, body=body)
        behaviour = self._next_behaviour(request)
        self.requests.append(request)
        number = len(self.requests)
        await self._notify()
        if isinstance(behaviour, SlowFirstByte):
            if not await _waited(behaviour.wait, reader):
                await self._note_disconnect()
                return False
            behaviour = behaviour.then
        answer = reply(behaviour, number, body)
        if answer.ending != "stall" or answer.pieces:
            await self._send(writer, answer, number)
        if answer.ending == "stall":
            await _end_of(reader)
            await self._note_disconnect()
        return answer.ending == "complete"

    def _next_behaviour(self, request: ReceivedRequest) -> Behaviour:
        if self._script:
            return self._script.pop(0)
        return self._default(request) if callable(self._default) else self._default

    async def _note_disconnect(self) -> None:
        # Connections that end because the server closes were not left by their clients.
        if self._server is not None:
            self.disconnects += 1
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _send(self, writer: asyncio.StreamWriter, answer: Reply, number: int) -> None:
        head = [
            f"HTTP/1.1 {answer.status} {_phrase(answer.status)}",
            f"x-request-id: req-{number}",
            "transfer-encoding: chunked",
            *(f"{name}: {value}" for name, value in answer.headers.items()),
        ]
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        for piece in _resize(answer.pieces, self._wire_chunk_size):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        if answer.ending == "complete":
            writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _end_of(reader: asyncio.StreamReader) -> None:
    """Wait for the client to leave: all there is to read while it waits for its answer."""
    try:
        await reader.read()
    except ConnectionError:
        pass  # Left the hard way.


async def _waited(wait: asyncio.Event | float, reader: asyncio.StreamReader) -> bool:
    """Wait for the event or the time; False when the client leaves first."""
    waiting: asyncio.Task[object] = asyncio.create_task(
        wait.wait() if isinstance(wait, asyncio.Event) else asyncio.sleep(wait)
    )
    left = asyncio.create_task(_end_of(reader))
    try:
        await asyncio.wait([waiting, left], return_when=asyncio.FIRST_COMPLETED)
        return waiting.done()
    finally:
        waiting.cancel()
        left.cancel()
        await asyncio.wait([waiting, left])


def _parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    """The path, without a query, and the headers of a request."""
    first, *lines = head.decode("latin-1").split("\r\n")
    target = first.split(" ")[1]
    fields = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    return target.partition("?")[0], headers


def _decode(raw: bytes) -> JsonObject | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _resize(pieces: Sequence[bytes], size: int | None) -> Sequence[bytes]:
    if size is None:
        return pieces
    whole = b"".join(pieces)
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
