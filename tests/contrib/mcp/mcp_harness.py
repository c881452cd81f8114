"""Runtimes with MCP servers of the tests' own, and what the tests want to know of them."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import lash
from lash.contrib.mcp import Mcp, ServerStatus, StdioServer
from lash.contrib.mcp.servers import Server
from lash.core.clock import Clock
from lash.testing import ScriptedModel, calls, reply
from lash.turn.tools import ToolFailed, ToolFailure, ToolOutput, ToolSuccess

HERE = Path(__file__).parent

#: How long anything may take that is waited for.
PATIENCE_S = 30.0


def fair(folder: Path, name: str = "fair", **settings: Any) -> StdioServer:
    """A server that keeps to the protocol."""
    folder.mkdir(exist_ok=True)
    script = [str(HERE / "fair_server.py"), str(folder), "stdio"]
    return StdioServer(name, sys.executable, script, **settings)


def rude(folder: Path, manner: str, name: str = "rude", **settings: Any) -> StdioServer:
    """A server that does not."""
    folder.mkdir(exist_ok=True)
    script = [str(HERE / "rude_server.py"), str(folder), manner]
    return StdioServer(name, sys.executable, script, **settings)


class Bench:
    """A runtime whose model calls the tools it is told to."""

    def __init__(self, runtime: lash.Runtime, mcp: Mcp, model: ScriptedModel) -> None:
        self.runtime = runtime
        self.mcp = mcp
        self._model = model
        self._count = 0

    def status(self, name: str) -> ServerStatus:
        return next(each for each in self.mcp.status() if each.name == name)

    def tools(self) -> set[str]:
        return {name for each in self.mcp.status() for name in each.tools}

    async def call(self, tool: str, **args: Any) -> ToolOutput:
        """What one call of a tool came to."""
        return (await self.call_all((tool, args)))[0]

    async def call_all(self, *wanted: tuple[str, dict[str, Any]]) -> list[ToolOutput]:
        """What calls of one message came to."""
        self._count += 1
        result = await self.session(f"s{self._count}", *wanted).run("Do it.")
        return [record.output for record in result.tool_calls]

    def session(self, name: str, *wanted: tuple[str, dict[str, Any]]) -> lash.Session:
        self._model.__init__([calls(*wanted), reply("Done.")])  # type: ignore[misc]  # another script
        return self.runtime.session(name)


@asynccontextmanager
async def bench(
    *servers: Server, clock: Clock | None = None, store: str | Path = ":memory:"
) -> AsyncIterator[Bench]:
    """A runtime with these servers, each of which was tried once."""
    model = ScriptedModel([reply("Nothing to do.")])
    mcp = Mcp(servers)
    agent = lash.Agent("a", model=model)
    async with lash.Runtime(store, agents=[agent], plugins=[mcp], clock=clock) as runtime:
        yield Bench(runtime, mcp, model)


def value(output: ToolOutput) -> Any:
    assert isinstance(output.outcome, ToolSuccess), output
    return output.outcome.payload


def failure(output: ToolOutput) -> ToolFailure:
    assert isinstance(output.outcome, ToolFailed), output
    return output.outcome.payload


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that will be so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"it never came about that {what}"
        await asyncio.sleep(0.01)


def noted(folder: Path) -> list[str]:
    """What a server wrote down."""
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def kill(folder: Path, number: signal.Signals = signal.SIGKILL) -> int:
    """Send a server a signal; which process it was."""
    pid = int((folder / "pid").read_text())
    os.kill(pid, number)
    return pid


def lives(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
