"""Speaking to a server that is a program of this machine, and ending it in a time that is known.

The official package's own transport holds lines of any length and takes more than five seconds over a
program that does not want to end; otherwise this one does as it does.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, cast

import anyio
import mcp_types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage

from lash.contrib.mcp.content import mended
from lash.contrib.mcp.lines import Lines, TooLong, answered
from lash.contrib.mcp.servers import StdioServer
from lash.contrib.mcp.wire import Lost, too_long, unreadable

if TYPE_CHECKING:
    from lash.contrib.mcp.wire import Streams

_log = logging.getLogger("lash.contrib.mcp")

#: How long a program has to end by itself once its stdin is closed, after SIGTERM, and after SIGKILL.
#: Together they stay below the five seconds that stopping may take.
GRACE_S, TERM_S, REAP_S = 2.0, 1.0, 1.0

#: How often it is looked at meanwhile. Nothing tells: waiting for a process also waits for its pipes,
#: which its own children may hold.
_LOOK_S = 0.01

_CHUNK = 64 * 1024

#: How an escaped character begins that is one of two, of which servers that cut text may send one.
_HALF_A_PAIR = b"\\ud"
_LONGEST_LOG_LINE = 2000


@asynccontextmanager
async def stdio_transport(server: StdioServer, lost: Lost) -> AsyncIterator["Streams"]:
    """Start the program and speak to it; end it on the way out.

    Raises:
        OSError: It cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        server.command,
        *server.args,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=get_default_environment() | dict(server.env),
        cwd=server.cwd,
        start_new_session=True,  # a group of its own, so that its children end with it
    )
    incoming, readable = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    writable, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    work = [
        asyncio.ensure_future(each)
        for each in (
            _read(process, server, incoming, lost),
            _write(process, outgoing, lost),
            _log_stderr(process, server),
        )
    ]
    try:
        yield readable, writable
    finally:
        ending = asyncio.ensure_future(_end(process))
        try:
            await asyncio.shield(ending)
        finally:
            for task in work:
                task.cancel()
            for stream in (incoming, readable, writable, outgoing):
                stream.close()
            if not ending.done():  # we are being cancelled: nobody will wait for the grace
                _kill(process)
                ending.cancel()
            _close_pipes(process)


async def _read(
    process: Process,
    server: StdioServer,
    incoming: "MemoryObjectSendStream[SessionMessage | Exception]",
    lost: Lost,
) -> None:
    stdout = cast("asyncio.StreamReader", process.stdout)
    lines, garbage = Lines(server.max_message_bytes), 0
    reason = "the server closed its stdout"
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        while chunk := await stdout.read(_CHUNK):
            for line in lines.feed(chunk):
                message = _message(line, server.max_message_bytes)
                if isinstance(message, str):
                    reason = message
                    break
                if message is not None:
                    await incoming.send(message)
                elif isinstance(line, bytes) and line.strip():
                    garbage += 1
                    if garbage == 1:
                        _log.warning(
                            "MCP server %r writes what is no message to its stdout; it is passed over",
                            server.name,
                        )
            else:
                continue
            break
        else:
            if await _ended(process, REAP_S) and process.returncode is not None:
                reason = f"the server's process ended with {_ending(process.returncode)}"
    if garbage:
        reason += f"; {garbage} lines that it wrote were no messages"
    lost.tell(reason)
    incoming.close()
    with suppress(OSError):  # a program that cannot get rid of its output does not end by itself
        while await stdout.read(_CHUNK):
            pass


def _message(line: bytes | TooLong, limit: int) -> SessionMessage | str | None:
    """The message in a line; None when it is none, and text when nothing can go on behind it."""
    if isinstance(line, TooLong):
        if line.request_id is None:
            return f"the server sent a message of {line.size} bytes, more than the {limit} that are read"
        return too_long(line.request_id, line.size, limit)
    adapter = mcp_types.jsonrpc_message_adapter
    try:
        return SessionMessage(adapter.validate_json(line, by_name=False))
    except (ValueError, RecursionError):
        if _HALF_A_PAIR not in line.lower():
            return _unread(line)
    try:  # the package takes no half of a character, and would never hear of what was asked
        return SessionMessage(adapter.validate_python(mended(json.loads(line)), by_name=False))
    except (ValueError, RecursionError):
        return _unread(line)


def _unread(line: bytes) -> SessionMessage | None:
    request_id = answered(line, line)
    return None if request_id is None else unreadable(request_id)


async def _write(
    process: Process, outgoing: "MemoryObjectReceiveStream[SessionMessage]", lost: Lost
) -> None:
    stdin = cast("asyncio.StreamWriter", process.stdin)
    try:
        async for item in outgoing:
            text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
            stdin.write(text.encode() + b"\n")
            await stdin.drain()
    except (anyio.ClosedResourceError, anyio.BrokenResourceError):
        pass
    except (OSError, RuntimeError):  # the latter from a pipe that is closed already
        lost.tell("the server reads its stdin no more")
    finally:
        outgoing.close()


async def _log_stderr(process: Process, server: StdioServer) -> None:
    stderr = cast("asyncio.StreamReader", process.stderr)
    lines = Lines(_LONGEST_LOG_LINE)
    with suppress(OSError):
        while chunk := await stderr.read(_CHUNK):
            for line in lines.feed(chunk):
                if isinstance(line, bytes):
                    told = server.concealed(line.decode(errors="replace").rstrip())
                    _log.info("MCP server %r: %s", server.name, told)


async def _end(process: Process) -> None:
    """Close its stdin, then ask it to end, then have it ended."""
    if process.stdin is not None:
        with suppress(OSError, RuntimeError):
            process.stdin.close()
    if not await _ended(process, GRACE_S):
        _signal(process, signal.SIGTERM)
        if not await _ended(process, TERM_S):
            _kill(process)
            if not await _ended(process, REAP_S):
                _log.warning("MCP server process %d does not end; it is left behind", process.pid)
                return
    _kill(process)  # whatever of its group is left


async def _ended(process: Process, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while process.returncode is None:  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(_LOOK_S)
    return process.returncode is not None


def _kill(process: Process) -> None:
    _signal(process, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, number)


def _close_pipes(process: Process) -> None:
    """Let go of the pipes, which children of the program may still hold the other ends of."""
    transport = getattr(process, "_transport", None)  # nothing public leads to it
    if transport is not None:
        with suppress(PermissionError):
            transport.close()


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
