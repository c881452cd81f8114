"""`lash mcp` as a process, and clients of it."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

APP = '''
import asyncio, os
from pathlib import Path
import lash
from lash.testing import ScriptedModel, calls, reply

FOLDER = Path(__file__).parent

def note(line):
    with (FOLDER / "calls").open("a") as file:
        file.write(f"{line}\\n")

async def gate(name):
    while not (FOLDER / name).exists():
        await asyncio.sleep(0.01)

print("what a module prints is no message")

@lash.tool
async def look(order_id: str) -> dict:
    """Look one order up."""
    print("nor what a tool prints")
    note("look")
    await gate("look")
    return {"order": order_id}

script = [calls(("look", {"order_id": "7"})), reply("On its way.")]
support = lash.Agent("support", model=ScriptedModel(script), tools=[look])
greeter = lash.Agent("greeter", model=ScriptedModel([reply("Hello.")]))

async def load(number: int) -> int:
    note(f"load {number}")
    return number * 2

@lash.process
async def double(ctx: lash.ProcessContext, number: int) -> int:
    """Doubles a number, twice, once it was approved."""
    first = await ctx.step(load, number)
    await ctx.signal("approved")
    return await ctx.step(load, first)

@lash.process
async def fail(ctx: lash.ProcessContext) -> None:
    raise ValueError("no luck")
'''


@dataclass
class Served:
    """A `lash mcp` over HTTP."""

    process: subprocess.Popen[str]
    url: str

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "PYTHONPATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def parameters(app: Path) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=["-m", "lash", "mcp", "shop"], cwd=app, env=environment()
    )


def listen(app: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Served:
    process = subprocess.Popen(
        [sys.executable, "-m", "lash", "mcp", "shop", "--http", "127.0.0.1:0", *arguments],
        cwd=app,
        env=environment() | dict(env or {}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving MCP at http://127.0.0.1:"), line
    return Served(process, line.split()[-1])


@asynccontextmanager
async def client(app: Path, transport: str, mode: str = "auto") -> AsyncIterator[Client]:
    """The package's client, over one of the transports."""
    if transport == "stdio":
        with (app / "stderr").open("a") as errors:
            async with Client(stdio_client(parameters(app), errors), mode=mode) as one:
                yield one
        return
    served = listen(app)
    try:
        async with Client(served.url, mode=mode) as one:
            yield one
    finally:
        served.kill()
        assert served.process.stdout is not None
        served.process.stdout.close()


async def until_killed(app: Path, begin: Callable[[Client, Served], Awaitable[None]]) -> None:
    """Use a server until it is killed, whatever the client says to that."""
    one = listen(app)
    try:
        with suppress(Exception):
            async with Client(one.url) as leaving:
                await begin(leaving, one)
    finally:
        one.kill()
        assert one.process.stdout is not None
        one.process.stdout.close()


async def ask(one: Client, tool: str, **args: Any) -> Any:
    """What a tool answered, in its structure."""
    result = await one.call_tool(tool, args)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(one: Client, tool: str, **args: Any) -> dict[str, Any]:
    result = await one.call_tool(tool, args)
    assert result.is_error
    error: dict[str, Any] = result.structured_content["error"]
    assert result.content[0].text == f"{error['code']}: {error['message']}"  # type: ignore[union-attr]  # it is text
    return error


BOTH = pytest.mark.parametrize("transport", ["stdio", "http"])
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


@pytest.fixture
def served(app: Path) -> Iterator[Served]:
    one = listen(app)
    yield one
    one.kill()
    assert one.process.stdout is not None
    one.process.stdout.close()
