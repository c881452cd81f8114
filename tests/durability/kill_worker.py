"""The process that is killed, and the one that finds what it left. Run as a script by the tests.

    kill_worker.py drive  DATABASE LEDGER [POINT NTH]     begin the turn; die at a point
    kill_worker.py resume DATABASE LEDGER [POINT NTH]     open the file, name no turn, wait until idle

The ledger gets a line for every model call and tool that really starts; a line written with one
`write` outlives SIGKILL. In the first process the two parallel tools overlap in a fixed order: both
are running, then `a` returns and is recorded, then `b` returns.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import cast

import msgspec

import lash
from lash.core.seams import Seam
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit, TextDelta
from lash.testing import KillAt, ScriptedModel, calls, reply
from lash.testing.scripted import calls_made

TURN_ID = "turn-1"
PROMPT = "Check a and b, then c."


class Stage:
    """Counts seams, keeps the overlap of the parallel tools in order, and dies on cue."""

    def __init__(self, ledger: Path, *, gated: bool, point: str, nth: int) -> None:
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._point, self._nth = point, nth
        self._kill = KillAt(cast("Seam", point), nth)
        self._records = 0
        self.b_started = asyncio.Event()
        self.a_recorded = asyncio.Event()
        if not gated:
            self.b_started.set()
            self.a_recorded.set()

    def seam(self, seam: Seam) -> None:
        if seam == "record.after":
            self._records += 1
            if self._records == 2:  # the first model call, then tool a
                self.a_recorded.set()
        self._kill(seam)

    def started(self, what: str) -> None:
        os.write(self._ledger, f"{what}\n".encode())

    def during(self, what: str) -> None:
        if self._point == f"during.{what}":
            os.kill(os.getpid(), signal.SIGKILL)


def make_agent(stage: Stage) -> lash.Agent:
    @lash.tool
    async def a(key: str) -> dict[str, str]:
        """Read a."""
        stage.started("a")
        await stage.b_started.wait()
        stage.during("a")
        return {"a": key}

    @lash.tool
    async def b(key: str) -> str:
        """Read b."""
        stage.started("b")
        stage.b_started.set()
        await stage.a_recorded.wait()
        stage.during("b")
        return f"b is {key}"

    @lash.tool
    async def c(number: int) -> int:
        """Double a number."""
        stage.started("c")
        stage.during("c")
        return number * 2

    class Model(ScriptedModel):
        async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
            what = f"m{calls_made(request) + 1}"
            stage.started(what)
            emit(TextDelta(text="half a sen"))
            stage.during(what)
            return await super().complete(request, emit)

    script = [
        calls(("a", {"key": "x"}), ("b", {"key": "y"}), text="Reading."),
        calls(("c", {"number": 21})),
        reply("All checked: 42."),
    ]
    return lash.Agent("checker", model=Model(script), instructions="Check.", tools=[a, b, c])


async def main(mode: str, database: Path, ledger: Path, point: str, nth: int) -> None:
    stage = Stage(ledger, gated=mode == "drive", point=point, nth=nth)
    opened = time.monotonic()
    runtime = lash.Runtime(database, agents=[make_agent(stage)], seams=stage.seam)
    async with runtime:
        if mode == "drive":
            await runtime.session("s", agent="checker").run(PROMPT, turn_id=TURN_ID)
        else:
            await runtime.idle(timeout=20)
        idle_after = time.monotonic() - opened
        session = runtime.session("s", agent="checker")
        turns = await session.turns()
        facts = {
            "idle_after": idle_after,
            "states": [item.state for item in await runtime.sessions()],
            "history": [
                [
                    message.role,
                    message.text,
                    [[call.tool, call.arguments] for call in message.tool_calls],
                    [[result.tool, result.text] for result in message.tool_results],
                ]
                for message in await session.history()
            ],
            "turns": [
                {
                    "turn_id": turn.turn_id,
                    "text": turn.text,
                    "outcome": msgspec.to_builtins(turn.outcome),
                    "usage": msgspec.to_builtins(turn.usage),
                    "tool_calls": [
                        [call.tool, call.args, msgspec.to_builtins(call.output)]
                        for call in turn.tool_calls
                    ],
                    "model_calls": len(turn.llm_calls),
                    "issues": len(turn.issues),
                }
                for turn in turns
            ],
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    mode, database, ledger, *rest = sys.argv[1:]
    point, nth = (rest[0], int(rest[1])) if rest else ("", 0)
    asyncio.run(main(mode, Path(database), Path(ledger), point, nth))
