"""Runs a turn whose tool ends the interpreter, or leaves a child behind: `hostile_worker.py FOLDER MANNER`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import lash
from lash.testing import ScriptedModel, calls, reply

KEYS, CHILD, STAY = "keys", "child", "stay"


def agent(folder: Path, manner: str) -> lash.Agent:
    """The agent of the turn, whose tool notes its idempotency key each time it runs."""

    @lash.tool
    async def hostile(ctx: lash.ToolContext) -> str:
        """Misbehaves."""
        with (folder / KEYS).open("a") as notes:
            notes.write(f"{ctx.idempotency_key}\n")
        if (folder / STAY).exists():
            return "stayed"
        if manner == "exits":
            os._exit(7)
        child = os.fork()
        if child == 0:  # it never comes back, and has every file of its parent open
            signal.pause()
            os._exit(0)
        (folder / "new").write_text(str(child))
        (folder / "new").rename(folder / CHILD)
        await asyncio.Event().wait()
        return "never"

    return lash.Agent(
        "worker", model=ScriptedModel([calls(("hostile", {})), reply("Over.")]), tools=[hostile]
    )


async def run(folder: Path, manner: str) -> str:
    """The turn's text, once it has ended."""
    async with lash.Runtime(folder / "agents.db", agents=[agent(folder, manner)]) as runtime:
        return (await runtime.session("s").run("Go.", turn_id="t")).text


if __name__ == "__main__":
    print(asyncio.run(run(Path(sys.argv[1]), sys.argv[2])))
