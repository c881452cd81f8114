"""Tools of MCP servers, for agents; the other way round is `lash mcp`.

Needs the extra `mcp`, which is imported when a runtime with such a plugin opens, and not before.
"""

from lash.contrib.mcp.hooks import (
    Elicitation,
    ElicitationAnswer,
    Root,
    SamplingAnswer,
    SamplingRequest,
)
from lash.contrib.mcp.plugin import Mcp
from lash.contrib.mcp.servers import HttpServer, Server, StdioServer
from lash.contrib.mcp.state import ServerStatus

__all__ = [
    "Elicitation",
    "ElicitationAnswer",
    "HttpServer",
    "Mcp",
    "Root",
    "SamplingAnswer",
    "SamplingRequest",
    "Server",
    "ServerStatus",
    "StdioServer",
]
