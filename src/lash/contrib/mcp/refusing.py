"""What a call comes to that the server refused, or that nobody will ever hear of again."""

import mcp_types
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from lash.contrib.mcp.content import failure, safe
from lash.contrib.mcp.http import TOO_LONG_TEXT
from lash.contrib.mcp.servers import Server
from lash.contrib.mcp.wire import TOO_LONG, UNREADABLE
from lash.core.text import spelled_out
from lash.turn.tools import ToolOutput

_LONGEST = 2000

#: How the package begins to say that a connection, or the stream of one answer, broke off.
_BROKEN_OFF = ("Connection closed", "SSE stream ended")


def refused(server: Server, tool: str, error: BaseException | None, lost: str | None) -> ToolOutput:
    """The output of a call that was not answered with a result."""
    what = f"{tool} of MCP server {server.name!r}"
    if isinstance(error, ValidationError):
        message = f"{what} was answered with something that is no result of MCP."
        return failure("external", "mcp_result_invalid", message)
    if not isinstance(error, MCPError):
        return _connection_lost(what, lost)
    said = server.concealed(spelled_out(error.message)[:_LONGEST])
    if error.code == TOO_LONG or TOO_LONG_TEXT in said or "SSE stream failed" in said:
        message = f"The answer of {what} is too long: {said}. Ask for less."
        return failure("resource_limit", "mcp_result_too_large", message)
    if error.code == UNREADABLE:
        message = f"The answer of {what} could not be used: {said}."
        return failure("external", "mcp_result_invalid", message)
    if lost is not None or (
        # Servers use the same code for errors of their own.
        error.code == mcp_types.CONNECTION_CLOSED and said.startswith(_BROKEN_OFF)
    ):
        return _connection_lost(what, lost)
    invalid = error.code == mcp_types.INVALID_PARAMS
    message = f"MCP server {server.name!r} refused {tool} (JSON-RPC {error.code}): {said}"
    return failure("invalid_request" if invalid else "external", "mcp_request_refused", message)


def _connection_lost(what: str, lost: str | None) -> ToolOutput:
    why = f": {lost}" if lost else ""
    message = (
        f"The connection was lost while {what} was under way{why}. Whether it was carried out is not "
        "known."
    )
    return failure("unavailable", "mcp_connection_lost", message, retry=safe())
