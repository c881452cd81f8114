"""Keeps one server connected: a task that opens, holds and closes each connection, one after the other.

The package's scopes must be left in the task that entered them, so nobody else opens or closes anything.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from lash.contrib.mcp.connection import (
    ConnectError,
    Connection,
    brief,
    connected,
    in_time,
    within,
)
from lash.contrib.mcp.listing import Listing, listing
from lash.contrib.mcp.names import ToolNames
from lash.contrib.mcp.servers import Server
from lash.contrib.mcp.state import State, is_exhausted, rest_s
from lash.contrib.mcp.wire import Lost
from lash.core.clock import Clock
from lash.effects.racing import raced

_log = logging.getLogger("lash.contrib.mcp")

#: A server that changes its tools all the time is listened to ten times a second.
_BETWEEN_LISTINGS_S = 0.1

#: What failures of HTTP are, by their names: their own texts may hold whole URLs.
_WORDS = {
    "ConnectError": "it could not be connected to",
    "ConnectTimeout": "it could not be connected to in time",
    "ReadError": "it broke off the connection",
    "RemoteProtocolError": "it broke off the connection",
}

#: How long the whole of stopping may take: a little less than is promised for all servers together.
STOP_S = 4.8


class Owner:
    """Owns the connection to one server.

    Attributes:
        state: How it stands.
        reason: Why the server is not connected.
        listing: Its tools, as they were named last.
        connections: How often it was connected.
        failures: How often in a row it was tried in vain.
        tried: Set once the first try has come to something.
    """

    def __init__(self, server: Server, names: ToolNames, clock: Clock, known: Listing) -> None:
        self._server = server
        self._names = names
        self._clock = clock
        self._connection: Connection | None = None
        self._stopping = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._lost = Lost()
        self._timeouts = 0
        self.failures = 0
        self.state: State = "connecting"
        self.reason: str | None = None
        self.listing = known
        self.connections = 0
        self.tried = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"mcp {server.name}")

    @property
    def connection(self) -> Connection | None:
        """The connection; None while the server is away."""
        return self._connection

    async def stop(self) -> None:
        """End the connection and the task; returns within five seconds."""
        self._stopping.set()
        self._lost.tell("the runtime is closing")
        self.state = "stopped"
        _, running = await asyncio.wait({self._task}, timeout=STOP_S)
        if running:
            _log.warning("MCP server %r does not end; its connection is cut", self._server.name)
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=0.2)
        for task in self._background:
            task.cancel()

    # --- the task -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                await self._once()
                self.tried.set()
                if self._stopping.is_set() or self._give_up():
                    return
                pause = rest_s(
                    self._server.seconds("reconnect_first"),
                    self._server.seconds("reconnect_most"),
                    max(self.failures, 1),
                )
                await raced(self._clock.sleep(pause), self._stopping.wait())
        finally:
            self.tried.set()

    def _give_up(self) -> bool:
        if not is_exhausted(self.failures, self._server.reconnect_attempts):
            return False
        self.state = "exhausted"
        _log.error("MCP server %r is given up: %s", self._server.name, self.reason)
        return True

    async def _once(self) -> None:
        """Connect, and stay connected as long as that goes."""
        problem = await self._attempt(handshake=self._server.protocol == "handshake")
        if problem is not None and problem.asked and not self._stopping.is_set():
            # Some servers end when they are asked for a protocol that they do not know.
            problem = await self._attempt(handshake=True)
        if problem is not None:
            self._failed(str(problem))

    async def _attempt(self, *, handshake: bool) -> ConnectError | None:
        """One connection, from beginning to end; what went wrong before it could be used."""
        self._lost = lost = Lost()
        if self._stopping.is_set():
            return None
        before = self.connections
        try:
            async with connected(
                self._server, self._clock, lost, handshake=handshake
            ) as connection:
                await self._hold(connection)
        except ConnectError as error:
            return error
        except Exception as error:  # noqa: BLE001  whatever the package raises when a connection ends
            lost.tell(_innermost(error))
            nested = _connect_error(error)
            if self.connections == before:
                return nested or ConnectError(lost.reason or "")
        finally:
            self._connection = None
        if not self._stopping.is_set():
            self._failed(lost.reason or "the connection was closed")
        return None

    def _failed(self, reason: str) -> None:
        self.failures += 1
        if self._stopping.is_set():
            return
        self.reason = self._server.concealed(reason)
        if self.state != "away":
            _log.warning("MCP server %r is away: %s", self._server.name, self.reason)
        self.state = "away"

    async def _hold(self, connection: Connection) -> None:
        limit = self._server.seconds("startup_timeout")
        naming = self._list(connection)
        try:
            await in_time(self._clock, limit, connection, naming, "name its tools")
        except (MCPError, ValidationError) as error:
            why = connection.lost.reason or brief(error)
            raise ConnectError(f"the server could not name its tools: {why}") from error
        self._connection = connection
        self.connections += 1
        self.failures, self._timeouts = 0, 0
        self.reason, self.state = None, "connected"
        self.tried.set()
        work = [asyncio.ensure_future(each) for each in self._beside(connection)]
        ends = [
            asyncio.ensure_future(each) for each in (self._stopping.wait(), connection.lost.wait())
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connection = None
            for task in (*work, *ends):
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    def _beside(self, connection: Connection) -> list[Coroutine[Any, Any, None]]:
        """What goes on while a server is connected."""
        beside = [
            self._follow_tools(connection),
            self._listen(connection),
            self._look_into_doubts(connection),
        ]
        if self._server.probe_interval is not None:
            beside.append(self._probe_regularly(connection))
        return beside

    # --- tools --------------------------------------------------------------------------------------

    async def _list(self, connection: Connection) -> None:
        described = await connection.list_tools()
        # Looking at schemas takes time, and how many there are is the server's choice.
        found = await asyncio.to_thread(listing, self._server.name, described, self._names)
        for original, why in (found.refused or {}).items():
            if (self.listing.refused or {}).get(original) != why:
                _log.warning(
                    "tool %r of MCP server %r is not on offer: %s",
                    original,
                    self._server.name,
                    self._server.concealed(why),
                )
        self.listing = found

    async def _listen(self, connection: Connection) -> None:
        failures = 0
        while await connection.listen():
            failures += 1
            first, most = (self._server.seconds(f"reconnect_{name}") for name in ("first", "most"))
            await self._clock.sleep(rest_s(first, most, failures))

    async def _follow_tools(self, connection: Connection) -> None:
        while True:
            await connection.tools_changed()
            try:
                limit = self._server.seconds("startup_timeout")
                await within(self._clock, limit, self._list(connection))
            except (MCPError, ValidationError, TimeoutError) as error:
                _log.warning(
                    "MCP server %r says that its tools have changed, and does not name them (%s); "
                    "the old ones stay on offer",
                    self._server.name,
                    type(error).__name__,
                )
            await self._clock.sleep(_BETWEEN_LISTINGS_S)

    # --- life -----------------------------------------------------------------------------------------

    def answered(self) -> None:
        """A call was answered."""
        self._timeouts = 0

    def timed_out(self, connection: Connection) -> None:
        """A call timed out: see to it that a dead connection does not stay."""
        self._timeouts += 1
        match self._server.on_timeout:
            case "ping_probe":
                task = asyncio.create_task(self._probe(connection))
                self._background.add(task)
                task.add_done_callback(self._background.discard)
            case "consecutive_timeouts":
                if self._timeouts >= self._server.timeouts_before_disconnect:
                    connection.lost.tell(f"{self._timeouts} calls in a row timed out")
            case "never":
                pass

    async def _probe(self, connection: Connection) -> None:
        dead = await connection.probe()
        if dead is not None:
            connection.lost.tell(dead)

    async def _look_into_doubts(self, connection: Connection) -> None:
        while True:
            await connection.lost.doubted.wait()
            await self._probe(connection)
            connection.lost.doubted.clear()

    async def _probe_regularly(self, connection: Connection) -> None:
        while True:
            await self._clock.sleep(self._server.seconds("probe_interval"))
            await self._probe(connection)

    async def roots_changed(self) -> None:
        """Tell the server, if it is there; one that comes back asks anyway."""
        if self._connection is not None:
            await self._connection.roots_changed()


def _connect_error(error: BaseException) -> ConnectError | None:
    if isinstance(error, ConnectError):
        return error
    if isinstance(error, BaseExceptionGroup):
        found = (_connect_error(each) for each in error.exceptions)
        return next((each for each in found if each is not None), None)
    return None


def _innermost(error: BaseException) -> str:
    """What began it, in words that hold no secret: exceptions of HTTP may name whole URLs."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
        return f"it could not be started: {error.strerror}"
    if isinstance(error, ConnectError):
        return str(error)
    kind = type(error).__name__
    return _WORDS.get(kind, f"the connection failed ({kind})")
