"""A server that does what the protocol says: `fair_server.py FOLDER stdio` or `FOLDER http PORT`.

What it did is written into FOLDER, one line each, so that tests can tell what reached it.
"""

import asyncio
import os
import signal
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

warnings.simplefilter("ignore")

FOLDER = Path(sys.argv[1])
server = MCPServer("fair")
meeting: list[asyncio.Event] = []


def note(line: str) -> None:
    with (FOLDER / "calls").open("a") as file:
        file.write(f"{line}\n")


class Weather(BaseModel):
    city: str
    degrees: int


@server.tool()
def weather(city: str) -> Weather:
    """How warm it is."""
    note(f"weather {city}")
    return Weather(city=city, degrees=21)


@server.tool(structured_output=False)
def say(text: str) -> str:
    """Says it."""
    note(f"say {text}")
    return text


@server.tool(structured_output=False)
def picture() -> list[types.ContentBlock]:
    """A picture between two texts."""
    return [
        types.TextContent(type="text", text="before"),
        types.ImageContent(type="image", data="aGVsbG8=", mime_type="image/png"),
        types.TextContent(type="text", text="after"),
    ]


@server.tool(structured_output=False)
def broken() -> str:
    """Fails."""
    message = "the disk is full"
    raise ToolError(message)


@server.tool(structured_output=False)
def who() -> str:
    """Which process this is."""
    return str(os.getpid())


@server.tool(structured_output=False)
async def meet() -> str:
    """Answers once two calls of it are under way."""
    here = asyncio.Event()
    meeting.append(here)
    if len(meeting) == 2:
        for each in meeting:
            each.set()
    await here.wait()
    return "met"


@server.tool(structured_output=False)
async def wait(name: str, ctx: Context) -> str:
    """Answers once the file of that name is there; each line in it is told as progress first."""
    note(f"wait {name}")
    note(f"key {(ctx.request_context.meta or {}).get('lash/idempotencyKey')}")
    told = 0
    try:
        while True:
            path = FOLDER / name
            lines = path.read_text().splitlines() if path.exists() else []
            for line in lines[told:]:
                if line == "end":
                    return "done"
                await ctx.report_progress(told, 100, line)
                note(f"progress {line}")
                told += 1
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        note(f"cancelled {name}")
        raise


@server.tool(structured_output=False)
def die() -> str:
    """Ends its own process in the middle of the call."""
    note("die")
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@server.tool(structured_output=False)
async def ask(what: str, ctx: Context) -> str:
    """Asks the host back, as servers up to 2025 do."""
    request: Any
    result: Any
    match what:
        case "model":
            message = types.SamplingMessage(
                role="user", content=types.TextContent(type="text", text="How much is 6 times 7?")
            )
            params = types.CreateMessageRequestParams(messages=[message], max_tokens=10)
            request, result = (
                types.CreateMessageRequest(params=params),
                types.CreateMessageResult,
            )
        case "person" | "person, then wait":
            request, result = _person(), types.ElicitResult
        case _:
            request, result = types.ListRootsRequest(), types.ListRootsResult
    answer = await ctx.session.send_request(request, result)
    if what.endswith("then wait"):
        note("answered")
        while not (FOLDER / "go").exists():  # noqa: ASYNC110  a file
            await asyncio.sleep(0.01)
    return str(answer.model_dump_json(exclude_none=True))


@server.tool(structured_output=False)
def ask_later(ctx: Context) -> Any:
    """Asks a person, as servers from 2026 on do."""
    if ctx.input_responses is None:
        return types.InputRequiredResult(input_requests={"q": _person()}, request_state="kept")
    answer = ctx.input_responses["q"]
    return f"{ctx.request_state} {answer.model_dump_json(exclude_none=True)}"


def _person() -> types.ElicitRequest:
    schema = {
        "type": "object",
        "properties": {"size": {"type": "integer"}},
        "required": ["size"],
    }
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message="Which size?", requested_schema=schema)
    )


def extra() -> str:
    return "extra"


@server.tool(structured_output=False)
async def change(add: str, remove: str, ctx: Context) -> str:
    """Gives itself another tool, takes one away and says so."""
    server.add_tool(extra, name=add, structured_output=False)
    if remove:
        server.remove_tool(remove)
    await ctx.notify_tools_changed()  # to those who listen, since 2026
    await ctx.session.send_tool_list_changed()  # to everybody, before
    return "changed"


def main() -> None:
    (FOLDER / "pid").write_text(str(os.getpid()))
    if sys.argv[2] == "stdio":
        server.run("stdio")
        return
    listener = socket.create_server(("127.0.0.1", int(sys.argv[3])))
    (FOLDER / "half").write_text(str(listener.getsockname()[1]))
    (FOLDER / "half").rename(FOLDER / "port")  # whole, or not there
    config = uvicorn.Config(server.streamable_http_app(), log_level="error")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
