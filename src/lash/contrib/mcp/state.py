"""How it stands with a server: what calls are told while it is away, and when it is tried again. Pure."""

from typing import Literal, TypeAlias

import msgspec

from lash.contrib.mcp.content import failure, safe
from lash.core.json import Data
from lash.turn.tools import ToolOutput

State: TypeAlias = Literal["connecting", "connected", "away", "exhausted", "stopped"]


class ServerStatus(Data):
    """How it stands with a server.

    Attributes:
        name: The server.
        state: `connecting` for the first time; `connected`; `away`, to be tried again; `exhausted`, not
            to be tried again; `stopped`, with the runtime.
        tools: The names of its tools on offer, also while it is away.
        refused: Why other tools of it are not on offer, by what the server calls them.
        reason: Why it is not connected.
        connections: How often it was connected.
        failures: How often in a row it was tried in vain.
    """

    name: str
    state: State
    tools: tuple[str, ...] = ()
    refused: dict[str, str] = msgspec.field(default_factory=dict)
    reason: str | None = None
    connections: int = 0
    failures: int = 0


def refusal(server: str, state: State, reason: str | None, retry_after_s: float) -> ToolOutput:
    """What a call comes to that cannot be sent."""
    why = f": {reason}" if reason else ""
    match state:
        case "stopped":
            message = f"MCP server {server!r} is stopped, because the runtime is closing."
            return failure("unavailable", "mcp_pool_shut_down", message)
        case "exhausted":
            message = (
                f"MCP server {server!r} could not be reached as often as was allowed, and is not tried "
                f"again{why}."
            )
            return failure("unavailable", "mcp_reconnect_exhausted", message)
        case _:
            message = (
                f"MCP server {server!r} cannot be reached just now{why}. The call was not sent; it is "
                "tried to reach the server again."
            )
            return failure(
                "unavailable", "mcp_server_unavailable", message, retry=safe(retry_after_s)
            )


def rest_s(first_s: float, most_s: float, failures: int) -> float:
    """How long to wait before connecting again, after so many failures in a row (from 1)."""
    doubled = first_s * 2.0 ** min(failures - 1, 32)
    return min(doubled, most_s)


def is_exhausted(failures: int, allowed: int | None) -> bool:
    """Whether it was tried often enough."""
    return allowed is not None and failures > allowed
