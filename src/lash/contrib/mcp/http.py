"""Speaking to a server over streamable HTTP: answers have a limit, and an ended session is noticed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from lash.contrib.mcp.servers import HttpServer
from lash.contrib.mcp.wire import Lost

if TYPE_CHECKING:
    from lash.contrib.mcp.wire import Streams

#: How long a request may take to be connected and sent. How long its answer may take is the call's affair.
_SEND_S = 30.0

#: How long each step of ending a session may take.
_END_S = 1.0

_SESSION = "mcp-session-id"

#: What proxies answer in the place of a server that is away.
_AWAY = frozenset({502, 503, 504})


class _Limited(httpx2.AsyncByteStream):
    """The body of a response, no longer than a limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > self._limit:
                raise httpx2.StreamError(TOO_LONG_TEXT)
            yield chunk

    async def aclose(self) -> None:
        """Read no further."""
        await self._stream.aclose()


#: What the package repeats in the error that takes the place of an answer that was too long.
TOO_LONG_TEXT = "the answer is longer than what is read"


@asynccontextmanager
async def http_transport(server: HttpServer, lost: Lost) -> AsyncIterator["Streams"]:
    """Speak to the server; end the session there on the way out."""

    async def hurry(request: httpx2.Request) -> None:
        if request.method == "DELETE":  # the end of a session, which a frozen server never confirms
            request.extensions["timeout"] = httpx2.Timeout(_END_S).as_dict()

    async def look(response: httpx2.Response) -> None:
        if response.status_code in {401, 403}:
            lost.tell(f"the server refused the credentials (HTTP {response.status_code})")
        elif response.status_code == 404 and _SESSION in response.request.headers:
            lost.tell("the server does not know the session any more")
        elif (
            response.has_redirect_location
        ):  # not followed: headers hold what is for this host alone
            lost.tell(f"the server sends elsewhere (HTTP {response.status_code}); give its own url")
        elif response.status_code in _AWAY:
            lost.tell(f"the server answered with HTTP {response.status_code}")
        elif response.status_code == 400 and _SESSION in response.request.headers:
            lost.doubted.set()  # what some servers answer for a session that they do not know
        kind = response.headers.get("content-type", "").lower()
        if not kind.startswith("text/event-stream"):  # whose events have a limit each
            stream: Any = response.stream
            response.stream = _Limited(stream, server.max_message_bytes)

    # An answer that is small when packed may be large: it is measured as it comes.
    headers = {"accept-encoding": "identity", **server.headers}
    timeout = httpx2.Timeout(_SEND_S, read=None)
    async with (
        httpx2.AsyncClient(
            headers=headers, timeout=timeout, event_hooks={"request": [hurry], "response": [look]}
        ) as client,
        streamable_http_client(
            server.url, http_client=client, max_sse_event_size=server.max_message_bytes
        ) as streams,
    ):
        yield streams
