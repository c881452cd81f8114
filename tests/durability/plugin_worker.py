"""A process of its own that has plugins, or answers for others. Run as a script by the tests.

    plugin_worker.py DATABASE LEDGER PLAY [--kill POINT NTH]

It reads commands as JSON lines and answers as JSON lines. The ledger gets a line for every hook, model
call and tool that really starts; a line written with one `write` outlives SIGKILL. Plays: `hooks` has a
plugin at every hook, `held` one that holds its call, `serial` counts calls that run one by one, `none`
has no agent and only answers.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

import lash
from lash.contrib.approvals import ApprovalRequest, Approvals
from lash.core.seams import Seam
from lash.events import PluginEmitted
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.plugins import (
    CheckpointHook,
    Plugin,
    ReplaceArgs,
    Say,
    ToolCallHook,
    TurnEnded,
    TurnHook,
)
from lash.testing import KillAt, ScriptedModel, calls, reply
from lash.testing.scripted import calls_made
from lash.turn.tools import ToolOutput

TURN_ID = "turn-1"
PROMPT = "Charge."


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class Ledger:
    """Counts what really starts."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, what: str) -> None:
        os.write(self._file, f"{what}\n".encode())


class Everywhere(Plugin):
    """Does something at every hook, and counts in what it remembers how often it was asked."""

    id = "everywhere"

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def _count(self, told: Any, what: str) -> None:
        self._ledger(what)
        told.session.remember((told.session.state or 0) + 1)
        told.session.emit(what)

    async def before_turn(self, turn: TurnHook) -> Say:
        self._count(turn, "begin")
        return Say("Be careful.")

    async def before_tool(self, call: ToolCallHook) -> ReplaceArgs:
        self._count(call, "before")
        return ReplaceArgs({"amount": call.args["amount"] + 1})

    async def after_tool(self, call: ToolCallHook, output: ToolOutput) -> None:
        self._count(call, "after")

    async def at_checkpoint(self, checkpoint: CheckpointHook) -> Say | None:
        work = checkpoint.checkpoint == "after_work"
        self._count(checkpoint, "work" if work else "completion")
        return Say("Well done.") if work else None

    async def after_turn(self, turn: TurnEnded) -> None:
        self._ledger("ended")


class Counter(Plugin):
    """Counts the calls that were made."""

    id = "counter"

    async def after_tool(self, call: ToolCallHook, output: ToolOutput) -> None:
        call.session.remember((call.session.state or 0) + 1)


class Play:
    """An agent and the plugins of a play."""

    def __init__(self, name: str, ledger: Ledger) -> None:
        self._ledger = ledger
        self.agents: list[lash.Agent] = []
        self.plugins: list[Plugin] = []
        if name == "none":
            return
        amounts = {"hooks": [7], "held": [500], "serial": [1, 2, 3]}[name]
        self.agents = [self._agent(amounts, serial=name == "serial")]
        plugins: dict[str, Plugin] = {
            "hooks": Everywhere(ledger),
            "held": Approvals("charge", ask=self._ask),
            "serial": Counter(),
        }
        self.plugins = [plugins[name]]

    def _ask(self, request: ApprovalRequest) -> None:
        self._ledger("ask")
        say(
            asked=request.session_id,
            key=msgspec.to_builtins(request.key),
            token=request.key.token,
            idempotency_key=request.idempotency_key,
        )

    def _agent(self, amounts: list[int], *, serial: bool) -> lash.Agent:
        ledger = self._ledger

        @lash.tool(serial=serial)
        async def charge(amount: int) -> str:
            """Charge an amount."""
            ledger(f"charge {amount}")
            return f"charged {amount}"

        class Model(ScriptedModel):
            async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
                ledger(f"m{calls_made(request) + 1}")
                return await super().complete(request, emit)

        script = [calls(*(("charge", {"amount": each}) for each in amounts)), reply("Done.")]
        return lash.Agent("clerk", model=Model(script), tools=[charge])


async def run(runtime: lash.Runtime, session_id: str) -> None:
    session = runtime.session(session_id, agent="clerk")
    async with session.stream(PROMPT, turn_id=TURN_ID) as live:
        heard = [event.name async for event in live if isinstance(event, PluginEmitted)]
        result = await live.result()
    head = await runtime.engine.store.load_head(session_id)
    history = await session.history()
    say(
        turn=session_id,
        heard=heard,
        outcomes=[
            msgspec.to_builtins(call.output.outcome)["payload"] for call in result.tool_calls
        ],
        state=dict(head.config.plugin_state) if head else None,
        ids=[message.id for message in history],
        texts=[message.text for message in history],
    )


async def obey(runtime: lash.Runtime, command: dict[str, Any]) -> None:
    match command["do"]:
        case "run":
            await run(runtime, command["session"])
        case "idle":
            await runtime.idle(timeout=30)
            say(idle=True)
        case "resolve":
            outcome = await runtime.completions.resolve(command["key"], command["value"])
            say(resolved=outcome.__struct_config__.tag)


async def main(given: argparse.Namespace) -> None:
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    play = Play(given.play, Ledger(given.ledger))
    running: set[asyncio.Task[None]] = set()
    async with lash.Runtime(
        given.database, agents=play.agents, plugins=play.plugins, seams=KillAt(*given.kill)
    ) as runtime:
        say(ready=True)
        while line := await commands.readline():
            command = json.loads(line)
            if command["do"] == "close":
                break
            running.add(asyncio.create_task(obey(runtime, command)))
    say(closed=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("database", type=Path)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("play")
    parser.add_argument("--kill", nargs=2, default=("accept.before", "0"))
    given = parser.parse_args()
    point: Seam = given.kill[0]
    given.kill = point, int(given.kill[1])  # the 0th time never comes
    return given


if __name__ == "__main__":
    asyncio.run(main(arguments()))
