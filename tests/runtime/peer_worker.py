"""A process of its own with a runtime, told what to do line by line. Run as a script by the tests.

    peer_worker.py DATABASE TTL_MS RENEW_MS

It reads commands as JSON lines and answers as JSON lines; every tool and gated model call that really
starts is reported. What is gated waits until the command `go` comes.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import lash
from lash.llm.request import LlmRequest, TextBlock
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.testing import ScriptedModel, calls, reply
from lash.testing.scripted import Step, calls_made


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class GatedModel(ScriptedModel):
    """Waits at the gate before it answers the second call of a turn that asks for a slow model."""

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__(self.answer)
        self._gate = gate

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        if prompt(request).startswith("Slow model") and calls_made(request) == 1:
            say(started="model")
            await self._gate.wait()
        return await super().complete(request, emit)

    @staticmethod
    def answer(request: LlmRequest) -> Step:
        asked = prompt(request)
        if calls_made(request) == 1:
            return reply(f"Answer to: {asked}")
        if asked.startswith("Quick"):
            return reply("At once.")
        return calls(("quick" if asked.startswith("Slow model") else "wait", {}))


def prompt(request: LlmRequest) -> str:
    block = request.messages[request.history.count].blocks[0]
    assert isinstance(block, TextBlock)
    return block.text


def make_agent(gate: asyncio.Event) -> lash.Agent:
    @lash.tool
    async def wait() -> str:
        """Wait at the gate."""
        say(started="tool")
        await gate.wait()
        return "done"

    @lash.tool
    async def quick() -> str:
        """Return at once."""
        return "quick"

    return lash.Agent("peer", model=GatedModel(gate), tools=[wait, quick])


async def run(runtime: lash.Runtime, command: dict[str, Any]) -> None:
    session = runtime.session(command["session"])
    try:
        result = await session.run(command["prompt"], turn_id=command["turn"])
    except lash.LashError as error:
        details = {key: str(value) for key, value in error.details.items()}
        say(
            turn=command["turn"],
            error=error.code,
            kind=type(error).__name__,
            retryable=error.retryable,
            details=details,
        )
    else:
        say(turn=command["turn"], text=result.text, revision=result.revision)


async def main(database: Path, ttl_ms: int, renew_ms: int) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    gate = asyncio.Event()
    running: set[asyncio.Task[None]] = set()
    lease = lash.LeaseTimings(ttl_ms=ttl_ms, renew_ms=renew_ms)
    async with lash.Runtime(database, agents=[make_agent(gate)], lease=lease) as runtime:
        say(ready=True)
        while line := await commands.readline():
            command = json.loads(line)
            match command["do"]:
                case "run":
                    running.add(asyncio.create_task(run(runtime, command)))
                case "go":
                    gate.set()
                case "idle":
                    await runtime.idle(timeout=30)
                    say(idle=True)
                case "sessions":
                    items = await runtime.sessions()
                    say(sessions={item.session_id: item.state for item in items})
                case "knows":
                    # Whether it has seen that the other lives.
                    while len(runtime.engine.sweep.living) < 2:  # noqa: ASYNC110  nobody tells
                        await asyncio.sleep(0.01)
                    say(knows=True)
                case "close":
                    await asyncio.gather(*running)
                    break
                case "leave":
                    break
    await asyncio.gather(*running)
    say(closed=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
