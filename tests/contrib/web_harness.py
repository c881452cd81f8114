"""A web server that says byte by byte what it is told to, and remembers what it was asked."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Site:
    """A server of pages by path.

    Attributes:
        pages: What it answers, by path.
        asked: What it was asked: each request's head.
        bodies: What was sent with them.
        to: The addresses it was connected at.
    """

    pages: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    to: list[str] = field(default_factory=list)
    port: int = 0

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            self.to.append(writer.get_extra_info("sockname")[0])
            lines = head.lower().splitlines()
            length = next((line for line in lines if line.startswith("content-length:")), ":0")
            self.bodies.append(await reader.readexactly(int(length.split(":")[1])))
            answer = self.pages.get(head.split()[1], page(b"not here", status="404 Not Found"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has left
        finally:
            writer.close()


def page(body: bytes, kind: str = "text/html", status: str = "200 OK", **headers: str) -> bytes:
    """A page as it is sent; a header's name with `_` for `-`."""
    also = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {"Content-Type": kind, "Content-Length": str(len(body)), **also}
    lines = [f"{name}: {value}" for name, value in given.items() if value]
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""])
    return head.encode() + body


def redirect(to: str) -> bytes:
    return page(b"", status="302 Found", Location=to)


@asynccontextmanager
async def serving(
    host: str = "0.0.0.0",  # noqa: S104  the loopback has many addresses
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[Site]:
    """A site for as long as it is needed; what it still says is cut off then."""
    site = Site()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await site.serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(serve, host, 0, ssl=context)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
