"""The demo's two processes: the one that is killed, and the one that finds what it left.

worker drive  DATABASE LEDGER SEAM NTH    begin the turn; die at a seam
worker resume DATABASE LEDGER             open the file, name no turn, wait until nothing is left
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import cast

from lash.app.agent import Agent, ToolLike
from lash.app.runtime import Runtime
from lash.cli.demo.ledger import Ledger
from lash.core.clock import Clock, SystemClock
from lash.core.json import Data, encode
from lash.core.seams import Seam
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.testing.crash import KillAt
from lash.testing.scripted import ScriptedModel, calls, calls_made, reply
from lash.tools.function import tool
from lash.tools.model import ToolContext

SESSION = "lisbon-trip"
PROMPT = "Book me a flight and a room in Lisbon, then pay."

#: Seconds, long enough to see and to be killed in; a real model takes longer.
_THINKING = 0.35
_FLIGHT, _ROOM, _PAYMENT = 0.3, 0.55, 0.4
#: The demo fails rather than hang.
_PATIENCE_S = 20.0


class ResumeReport(Data):
    """What the second process measured, in milliseconds from before it opened the file.

    `working_after_ms` is None when there was nothing left to do.
    """

    pid: int
    working_after_ms: float | None
    idle_after_ms: float


class WitnessedModel(ScriptedModel):
    """A scripted model that writes its calls into the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        script = [
            calls(
                ("reserve_flight", {"to": "LIS"}),
                ("reserve_room", {"city": "Lisbon", "nights": 3}),
                text="I'll reserve both.",
                delay=_THINKING,
            ),
            calls(("pay", {"euros": 412}), text="Both are held. Paying.", delay=_THINKING),
            reply("Done: flight TP 573 and a room for three nights, 412 € paid.", delay=_THINKING),
        ]
        super().__init__(script)
        self._ledger = ledger

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        """Answer, between two lines in the ledger."""
        effect, label = request.scope.request_id, f"model call {calls_made(request) + 1}"
        self._ledger.started(effect, label)
        response = await super().complete(request, emit)
        self._ledger.ended(effect, label)
        return response


def make_agent(ledger: Ledger) -> Agent:
    """The travel agent of the demo; both processes have the same."""
    return Agent(
        "travel-agent",
        model=WitnessedModel(ledger),
        instructions="Book what is asked for. Pay last.",
        tools=make_tools(ledger),
    )


def make_tools(ledger: Ledger) -> list[ToolLike]:
    """Three tools whose effect on the world is a line in the ledger."""

    async def work(context: ToolContext, seconds: float) -> None:
        effect = f"{context.call_id}:attempt:{context.attempt}"
        ledger.started(effect, context.tool_name, idempotency_key=context.idempotency_key)
        await asyncio.sleep(seconds)
        ledger.ended(effect, context.tool_name)

    @tool
    async def reserve_flight(to: str, context: ToolContext) -> object:
        """Reserve a flight."""
        await work(context, _FLIGHT)
        return {"flight": "TP 573", "to": to}

    @tool
    async def reserve_room(city: str, nights: int, context: ToolContext) -> object:
        """Reserve a hotel room."""
        await work(context, _ROOM)
        return {"room": "12", "city": city, "nights": nights}

    @tool
    async def pay(euros: int, context: ToolContext) -> object:
        """Pay with the card on file."""
        await work(context, _PAYMENT)
        return {"paid": euros}

    return [reserve_flight, reserve_room, pay]


class FirstStep:
    """Notes when the runtime passes its first seam: it has found the turn and goes on with it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.at: float | None = None

    def __call__(self, seam: Seam) -> None:
        """Note the time, once."""
        del seam
        if self.at is None:
            self.at = self._clock.monotonic()


async def drive(database: Path, ledger: Path, seam: Seam, nth: int) -> None:
    """Run the turn in a process that will not survive it."""
    agent = make_agent(Ledger(ledger, SystemClock(asyncio.sleep)))
    async with Runtime(database, agents=[agent], seams=KillAt(seam, nth)) as runtime:
        await runtime.session(SESSION, agent=agent.name).run(PROMPT)


async def resume(database: Path, ledger: Path) -> ResumeReport:
    """Open the file and wait; which turn, or that there is one, is for lash to find out."""
    clock = SystemClock(asyncio.sleep)
    agent = make_agent(Ledger(ledger, clock))
    step = FirstStep(clock)
    opening = clock.monotonic()
    async with Runtime(database, agents=[agent], seams=step) as runtime:
        await runtime.idle(timeout=_PATIENCE_S)
        idle_after = clock.monotonic() - opening
    working_after = None if step.at is None else round((step.at - opening) * 1_000, 1)
    return ResumeReport(
        pid=os.getpid(),
        working_after_ms=working_after,
        idle_after_ms=round(idle_after * 1_000, 1),
    )


def main(mode: str, database: str, ledger: str, seam: str = "", nth: str = "0") -> None:
    """Be one of the two processes."""
    paths = (Path(database), Path(ledger))
    if mode == "drive":
        asyncio.run(drive(*paths, cast("Seam", seam), int(nth)))
    else:
        sys.stdout.buffer.write(encode(asyncio.run(resume(*paths))))


if __name__ == "__main__":
    main(*sys.argv[1:])
