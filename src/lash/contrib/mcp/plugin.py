"""MCP servers as a plugin: their tools come and go with them, for every session of a runtime."""

import asyncio
import importlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lash.contrib.mcp.listing import Listed, Listing
from lash.contrib.mcp.names import ToolNames, server_prefix
from lash.contrib.mcp.servers import HttpServer, Server, StdioServer, invalid
from lash.contrib.mcp.state import ServerStatus
from lash.contrib.mcp.tool import McpTool
from lash.core.clock import Clock, SystemClock
from lash.core.errors import ConfigurationError
from lash.effects.shielding import shielded
from lash.plugins.plugin import Plugin, PluginHost
from lash.tools.model import Tool
from lash.tools.provider import ToolProvider

if TYPE_CHECKING:
    from lash.contrib.mcp.owner import Owner


class Mcp(Plugin):
    """Gives agents the tools of MCP servers.

        files = StdioServer("files", "npx", ["-y", "@modelcontextprotocol/server-filesystem", "."])
        runtime = lash.Runtime("agents.db", agents=[…], plugins=[Mcp([files])])

    The servers are connected when the runtime opens; one that is away does not keep it from opening, and
    is tried again. Its tools stay on offer meanwhile, and calls fail in a way that says so.

    Args:
        servers: The servers.
        id: What the plugin is called, if there are several.

    Raises:
        ConfigurationError: `mcp_server_invalid`: two servers share a name, or names that are the same to
            a model; `mcp_not_installed`.
    """

    def __init__(self, servers: Sequence[Server], *, id: str = "mcp") -> None:  # noqa: A002
        _check_installed()
        _check_servers(servers)
        self.id = id
        self._providers = tuple(McpProvider(server) for server in servers)
        self._users = 0

    def providers(self) -> Sequence[ToolProvider]:
        """One per server."""
        return self._providers

    def status(self) -> Sequence[ServerStatus]:
        """How it stands with each server."""
        return [provider.status() for provider in self._providers]

    async def notify_roots_changed(self) -> None:
        """Tell servers that were given roots that they may look at other places now."""
        for provider in self._providers:
            await provider.roots_changed()

    async def start(self, host: PluginHost) -> None:
        """Connect to every server, at once; returns when each of them was tried once."""
        self._users += 1
        if self._users == 1:
            await asyncio.gather(*(provider.start(host.clock) for provider in self._providers))

    async def stop(self) -> None:
        """Let go of every server, at once; returns within five seconds."""
        if self._users == 0:
            return
        self._users -= 1
        if self._users == 0:
            await shielded(self._stop())

    async def _stop(self) -> None:
        await asyncio.gather(*(provider.stop() for provider in self._providers))


class McpProvider:
    """The tools of one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._names = ToolNames(server.name)
        self._clock: Clock = SystemClock(asyncio.sleep)
        self._owner: Owner | None = None
        self._known = Listing()
        self._made: dict[str, tuple[Listed, McpTool]] = {}
        self._offered: tuple[Listing, tuple[Tool, ...]] = (self._known, ())

    @property
    def id(self) -> str:
        """`mcp:<server>`."""
        return f"mcp:{self._server.name}"

    def tools(self) -> Sequence[Tool]:
        """The server's tools as it named them last, also while it is away."""
        if self._owner is not None:
            self._known = self._owner.listing
        listing, offered = self._offered
        if listing is not self._known:
            offered = tuple(self._tool(listed) for listed in self._known.tools)
            self._offered = (self._known, offered)
        return offered

    def status(self) -> ServerStatus:
        """How it stands with the server."""
        owner = self._owner
        return ServerStatus(
            name=self._server.name,
            state=owner.state if owner is not None else "stopped",
            tools=tuple(tool.name for tool in self.tools()),
            refused=dict(self._known.refused or {}),
            reason=owner.reason if owner is not None else None,
            connections=owner.connections if owner is not None else 0,
            failures=owner.failures if owner is not None else 0,
        )

    async def start(self, clock: Clock) -> None:
        """Begin to keep the server connected; returns when it was tried once."""
        # The package takes a second to import, which is no time for the loop to stand still.
        await asyncio.to_thread(importlib.import_module, "lash.contrib.mcp.owner")
        from lash.contrib.mcp.owner import Owner

        self._clock = clock
        self._made.clear()
        self._offered = (Listing(), ())
        self._owner = Owner(self._server, self._names, clock, self._known)
        await self._owner.tried.wait()

    async def stop(self) -> None:
        """Let go of the server."""
        if self._owner is not None:
            await self._owner.stop()
            self._known = self._owner.listing
            self._owner = None

    async def roots_changed(self) -> None:
        """Tell the server, if it was given any."""
        if self._owner is not None and self._server.roots is not None:
            await self._owner.roots_changed()

    def _tool(self, listed: Listed) -> Tool:
        made = self._made.get(listed.original)
        if made is not None and _same(made[0], listed):
            return made[1]
        tool = McpTool(self._server, listed, lambda: self._owner, self._clock)
        self._made[listed.original] = (listed, tool)
        return tool


def _same(one: Listed, other: Listed) -> bool:
    return (one.name, one.description, one.schema) == (other.name, other.description, other.schema)


def _check_installed() -> None:
    if importlib.util.find_spec("mcp") is None:
        raise ConfigurationError(
            "mcp_not_installed",
            "MCP needs the official package: install it with pip install 'lash-runtime[mcp]'.",
        )


def _check_servers(servers: Sequence[Server]) -> None:
    if isinstance(servers, StdioServer | HttpServer) or not all(
        isinstance(server, StdioServer | HttpServer) for server in servers
    ):
        raise ConfigurationError(
            "mcp_server_invalid", "Mcp takes a list of StdioServer and HttpServer objects."
        )
    taken: dict[str, str] = {}
    for server in servers:
        prefix = server_prefix(server.name)
        if prefix in taken:
            raise invalid(
                server.name,
                f"its tools would be called the same as those of {taken[prefix]!r}; give it another name",
            )
        taken[prefix] = server.name
