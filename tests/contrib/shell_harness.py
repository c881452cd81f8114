"""Commands in tests: an agent that runs them, and what of them is still there."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lash
from lash.contrib.shell import Shell
from lash.testing import ScriptedModel
from lash.testing.scripted import Step


def marked(mark: str) -> list[int]:
    """The processes in whose environment a mark stands; what has ended does not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"MARK={mark}\0".encode() in environ:
                found.append(int(entry.name))
    return found


def until(condition: Callable[[], object], within: float = 20) -> None:
    """Wait until something without an event of its own is so."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it never came to be so"
        time.sleep(0.01)


async def comes(condition: Callable[[], object], within: float = 20) -> None:
    """Wait until something without an event of its own is so, and let others work meanwhile."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  see above
            await asyncio.sleep(0.01)


def shell_in(folder: Path, mark: str = "none", **options: Any) -> Shell:
    env = {"PATH": os.environ["PATH"], "MARK": mark}
    return Shell(folder, env=env, output_folder=folder / "output", **options)


def agent_of(shell: Shell, script: Sequence[Step]) -> lash.Agent:
    return lash.Agent("coder", model=ScriptedModel(script), tools=shell.tools())


def runtime_of(location: str | Path, shell: Shell, agent: lash.Agent) -> lash.Runtime:
    return lash.Runtime(location, agents=[agent], processes=shell.processes())


def payload(turn: lash.TurnResult, index: int = 0) -> Any:
    """What a tool call came to: its value, or its failure."""
    return turn.tool_calls[index].output.outcome.payload
