"""Between transports and sessions: how a connection that ended is noticed, and why it did."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

import mcp_types
from mcp.shared.message import SessionMessage

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, WriteStream

    #: What a transport gives: what comes from the server, and what goes to it.
    Streams = tuple[ReadStream[SessionMessage | Exception], WriteStream[SessionMessage]]

#: The code of the error that takes the place of a message which was too long to be read.
TOO_LONG = -32090

#: The code of the error that takes the place of an answer that could not be read.
UNREADABLE = -32091


class Lost:
    """Whether a connection is over, and why; the first reason stays.

    Attributes:
        reason: Why it is over.
        doubted: Set when it may be over, so that somebody asks.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.doubted = asyncio.Event()
        self._event = asyncio.Event()

    def tell(self, reason: str) -> None:
        """It is over."""
        if self.reason is None:
            self.reason = reason
        self._event.set()

    async def wait(self) -> None:
        """Return once it is over."""
        await self._event.wait()


class Watched:
    """The stream a session reads from. Its end is the end of the connection."""

    def __init__(self, stream: "ReadStream[SessionMessage | Exception]", lost: Lost) -> None:
        self._stream = stream
        self._lost = lost

    @property
    def last_context(self) -> object:
        """What the transport says of the sender; part of the package's own contract of streams."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        """The next message."""
        return await self._stream.receive()

    async def aclose(self) -> None:
        """Read no further."""
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            self._lost.tell("the connection was closed")
            raise
        except Exception:
            self._lost.tell("the connection broke off")
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._stream.__aexit__(kind, error, trace)


def too_long(request_id: int | str, size: int, limit: int) -> SessionMessage:
    """What answers a request whose answer was too long to be read."""
    error = mcp_types.ErrorData(
        code=TOO_LONG, message=f"it is {size} bytes, more than the {limit} that are read"
    )
    return SessionMessage(mcp_types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error))


def unreadable(request_id: int) -> SessionMessage:
    """What answers a request whose answer could not be read, so that nobody waits for it in vain."""
    error = mcp_types.ErrorData(
        code=UNREADABLE, message="its answer is no message, or nested too deeply to be read"
    )
    return SessionMessage(mcp_types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error))
