"""A process of its own that waits for answers, or gives them. Run as a script by the tests.

    wait_worker.py DATABASE LEDGER [--without-agent] [--deaf] [--timeout SECONDS] [--kill POINT NTH]

It reads commands as JSON lines and answers as JSON lines. The ledger gets a line for every model call
and tool that really starts. With `--without-agent` it can answer for others and drives nothing; with
`--deaf` its store never hints that somebody wrote, so that only polling is left.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

import lash
from lash.core.clock import SystemClock
from lash.core.seams import Seam
from lash.effects.waits.model import AlreadyResolved, ResolveOutcome
from lash.llm.request import LlmRequest, ToolResultBlock
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.stores.sqlite import SqliteStore
from lash.testing import KillAt, ScriptedModel, calls, reply
from lash.testing.scripted import Step, calls_made

PROMPT = "Ask somebody."


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def now() -> float:
    """Seconds, on the clock that the processes of one machine share."""
    return time.time()


class Waiting:
    """The agent: it asks somebody outside, then says what it was told."""

    def __init__(self, ledger: Path, wait_s: float | None) -> None:
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._wait_s = wait_s

    def started(self, what: str) -> None:
        os.write(self._ledger, f"{what}\n".encode())

    def agent(self) -> lash.Agent:
        @lash.tool
        async def ask(ctx: lash.ToolContext) -> lash.PendingCompletion:
            """Ask somebody."""
            self.started("ask")

            def announce(key: lash.AwaitEventKey) -> None:
                said = msgspec.to_builtins(key)
                say(announced=ctx.session_id, key=said, token=key.token, at=now())

            return await ctx.defer(announce, timeout=self._wait_s)

        waiting = self

        class Model(ScriptedModel):
            async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
                call = calls_made(request) + 1
                waiting.started(f"m{call}")
                if call == 2:
                    say(answered=request.scope.session_id, at=now())
                return await super().complete(request, emit)

        return lash.Agent("asker", model=Model(answer), tools=[ask])


def answer(request: LlmRequest) -> Step:
    if calls_made(request) == 0:
        return calls(("ask", {}))
    block = request.messages[-1].blocks[0]
    assert isinstance(block, ToolResultBlock)
    return reply(f"Told: {block.content}")


class DeafStore(SqliteStore):
    """Cannot tell that somebody wrote."""

    async def change_token(self) -> int | None:
        return None


def told(outcome: ResolveOutcome) -> dict[str, Any]:
    """How an answer was taken, and what won if it did not."""
    facts: dict[str, Any] = {"status": outcome.__struct_config__.tag}
    if isinstance(outcome, AlreadyResolved):
        facts["terminal"] = msgspec.to_builtins(outcome.terminal)
    return facts


async def run(runtime: lash.Runtime, session_id: str) -> None:
    try:
        result = await runtime.session(session_id, agent="asker").run(PROMPT, turn_id="t")
    except lash.LashError as error:
        say(turn=session_id, error=error.code)
    else:
        say(
            turn=session_id,
            text=result.text,
            committed_at_ms=result.timing.committed_at_ms,
            failed=[msgspec.to_builtins(call.output.outcome) for call in result.tool_calls],
        )


async def obey(runtime: lash.Runtime, command: dict[str, Any]) -> None:
    key = command.get("key", "")
    key = key if isinstance(key, str) else json.dumps(key)
    match command["do"]:
        case "run":
            await run(runtime, command["session"])
        case "idle":
            await runtime.idle(timeout=30)
            say(idle=True)
        case "resolve":
            outcome = await runtime.completions.resolve(key, command["value"])
            say(resolved=told(outcome), at=now())
        case "peek":
            try:
                say(peeked=msgspec.to_builtins(await runtime.completions.peek(key)))
            except lash.LashError as error:
                say(peeked=error.code)
        case "revoke":
            host = runtime.engine.effects
            say(revoked=await host.revoke_await_events_for_session(command["session"]))


async def main(given: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    seams = KillAt(*given.kill)
    clock = SystemClock(asyncio.sleep)
    store = (DeafStore if given.deaf else SqliteStore)(given.database, clock, seams=seams)
    agents = [] if given.without_agent else [Waiting(given.ledger, given.timeout).agent()]
    running: set[asyncio.Task[None]] = set()
    async with lash.Runtime(store, agents=agents, seams=seams, clock=clock) as runtime:
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
    parser.add_argument("--without-agent", action="store_true")
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--kill", nargs=2, default=("accept.before", "0"))
    given = parser.parse_args()
    point: Seam = given.kill[0]
    given.kill = point, int(given.kill[1])  # the 0th time never comes
    return given


if __name__ == "__main__":
    asyncio.run(main(arguments()))
