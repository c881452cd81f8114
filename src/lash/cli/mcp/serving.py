"""The desk as a server of the official package, over stdio and over streamable HTTP."""

import asyncio
import hmac
import json
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeAlias

import mcp_types
import uvicorn
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from lash.cli.mcp.desk import Desk
from lash.cli.mcp.tools import Offered, offered
from lash.contrib.mcp.schemas import checker
from lash.core.errors import CATALOGUE, ConfigurationError, LashError
from lash.core.json import JsonObject
from lash.core.text import described, spelled_out

#: How long requests that wait for something have to end once the server is to stop.
_PATIENCE_S = 2

_PATH = "/mcp"

_INSTRUCTIONS = (
    "Agents and background processes whose work survives connections, crashes and restarts. Name what you "
    "ask for with ids of your own: after a failure, ask again with the same ones."
)

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


def make_server(desk: Desk) -> Server[Any]:
    """A server that offers what the desk does."""
    tools = offered(desk)
    checks = {name: checker(tool.schema) for name, tool in tools.items()}

    async def list_tools(
        context: ServerRequestContext[Any], params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        del context, params
        return mcp_types.ListToolsResult(tools=[_described(tool) for tool in tools.values()])

    async def call_tool(
        context: ServerRequestContext[Any], params: mcp_types.CallToolRequestParams
    ) -> mcp_types.CallToolResult:
        tool = tools.get(params.name)
        if tool is None:
            known = ", ".join(tools)
            message = f"There is no tool {params.name!r}. Tools: {known}."
            raise MCPError(mcp_types.INVALID_PARAMS, message)
        args: JsonObject = params.arguments or {}
        try:
            args = checks[params.name].read(args)
        except LashError as error:
            return _failed(error.code, f"The arguments do not fit: {error.message}", {})

        async def report(progress: float, words: str) -> None:
            await context.session.report_progress(progress, None, words)

        return await _carried_out(tool, args, report)

    return Server(
        "lash",
        version=_version(),
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _carried_out(
    tool: Offered, args: JsonObject, report: Callable[[float, str], Awaitable[None]]
) -> mcp_types.CallToolResult:
    try:
        value = await tool.run(args, report)
    except LashError as error:
        return _failed(error.code, error.message, error.details)
    except Exception as error:  # noqa: BLE001  the client is told, and the server stays up
        return _failed("mcp_internal_error", described(error), {})
    text = value.get("text")
    shown = text if isinstance(text, str) and text else json.dumps(value, ensure_ascii=False)
    return mcp_types.CallToolResult(
        content=[mcp_types.TextContent(type="text", text=spelled_out(shown))],
        structured_content=dict(value),
    )


def _failed(code: str, message: str, details: Any) -> mcp_types.CallToolResult:
    info = CATALOGUE.get(code)
    ids = {name: details[name] for name in ("session", "request_id") if name in details}
    error = {
        "code": code,
        "message": spelled_out(message),
        "retryable": info is not None and info.retryable,
        **ids,
    }
    return mcp_types.CallToolResult(
        content=[mcp_types.TextContent(type="text", text=f"{code}: {error['message']}")],
        structured_content={"error": error},
        is_error=True,
    )


def _described(tool: Offered) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=dict(tool.schema),
        annotations=mcp_types.ToolAnnotations(
            read_only_hint=tool.reads, idempotent_hint=tool.reads or tool.repeats
        ),
    )


# --- transports ---------------------------------------------------------------------------------------


async def serve_stdio(server: Server[Any]) -> None:
    """Serve one client over stdin and stdout; returns when it has left."""
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


async def serve_http(
    server: Server[Any], host: str, port: int, token: str | None, stopping: asyncio.Event
) -> None:
    """Serve any number of clients, until told to stop.

    Raises:
        ConfigurationError: `usage_invalid`: the address cannot be listened on.
    """
    app: _App = server.streamable_http_app(streamable_http_path=_PATH, host=host)
    if token is not None:
        app = _guarded(app, token)
    with _listening(host, port) as listener:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_PATIENCE_S,
        )
        web = _Web(config)
        where = f"[{host}]" if ":" in host else host
        sys.stdout.write(f"serving MCP at http://{where}:{listener.getsockname()[1]}{_PATH}\n")
        sys.stdout.flush()
        stop = asyncio.create_task(_stop(web, stopping))
        try:
            await web.serve(sockets=[listener])
        finally:
            stop.cancel()


class _Web(uvicorn.Server):
    """Leaves signals to the command, which closes the runtime before it ends."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is caught here."""
        yield


async def _stop(web: uvicorn.Server, stopping: asyncio.Event) -> None:
    await stopping.wait()
    web.should_exit = True


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            "usage_invalid", f"{host}:{port} cannot be listened on: {error.strerror or error}."
        ) from error
    with listener:
        yield listener


def _guarded(app: _App, token: str) -> _App:
    """The app, for those who show the token."""
    wanted = f"Bearer {token}".encode()

    async def guarded(scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "http":
            shown = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(shown, wanted):
                await send(
                    {
                        "type": "http.response.start",
                        "status": 401,
                        "headers": [(b"www-authenticate", b"Bearer")],
                    }
                )
                await send({"type": "http.response.body", "body": b""})
                return
        await app(scope, receive, send)

    return guarded


def _version() -> str:
    try:
        return version("lash-runtime")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"
