"""A worker of durable processes in an operating-system process of its own. Run as a script by the tests.

    process_peer.py FOLDER NAME TTL_MS RENEW_MS [kill|stop POINT NTH]

It reads commands as JSON lines and answers as JSON lines. Every step that really begins is said, and
counted in the ledger with this worker's name and the time; so is every fault that the runtime tells of.
`hold` waits until it is told `go`. With a point, it kills or stops itself there.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from process_ledger import Ledger

import lash
from lash.core.seams import Seam, unobserved
from lash.runtime.environment import RuntimeEvent
from lash.runtime.events import ProcessFaultEvent
from lash.testing import ScriptedModel, reply


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class SignalAt:
    """Sends a signal to this very process when a seam is passed the nth time."""

    def __init__(self, how: str, seam: str, nth: str) -> None:
        self._signal = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[how]
        self._seam = seam
        self._left = int(nth)

    def __call__(self, seam: Seam) -> None:
        if seam == self._seam:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._signal)


class Peer:
    """This worker: what it runs, and how it is held up."""

    def __init__(self, folder: Path, name: str) -> None:
        self._ledger = Ledger(folder / "ledger")
        self._unblocked = folder / "unblocked"
        self.folder = folder
        self.name = name
        self.gate = asyncio.Event()

    def begin(self, what: str) -> str:
        self._ledger.note(what, self.name, time.time_ns() // 1_000_000)
        say(started=what)
        return self.name

    async def step(self, what: str) -> str:
        return self.begin(what)

    async def hold(self) -> str:
        self.begin("hold")
        await self.gate.wait()
        return self.name

    async def stall(self) -> str:
        """Keeps the whole loop from running, until a file says that it may go on."""
        self.begin("stall")
        while not self._unblocked.exists():
            time.sleep(0.01)  # noqa: ASYNC251  what it is for
        return self.name

    def functions(self) -> list[Any]:
        peer = self

        def step(ctx: lash.ProcessContext, what: str) -> Any:
            return ctx.step(peer.step, what, name=what)

        @lash.process
        async def held(ctx: lash.ProcessContext) -> list[str]:
            return [await step(ctx, "first"), await ctx.step(peer.hold), await step(ctx, "last")]

        @lash.process
        async def ending(ctx: lash.ProcessContext) -> list[str]:
            """Nothing is recorded between what holds it and its end."""
            return [await step(ctx, "first"), await peer.hold()]

        @lash.process
        async def stalled(ctx: lash.ProcessContext) -> list[str]:
            return [await step(ctx, "first"), await ctx.step(peer.stall), await step(ctx, "last")]

        @lash.process
        async def sleeper(ctx: lash.ProcessContext, seconds: float) -> list[str]:
            first = await step(ctx, "first")
            await ctx.sleep(seconds)
            return [first, await step(ctx, "last")]

        @lash.process(signals={"go": int})
        async def listener(ctx: lash.ProcessContext) -> list[Any]:
            first = await step(ctx, "first")
            return [first, await ctx.signal("go"), await step(ctx, "last")]

        @lash.process
        async def parent(ctx: lash.ProcessContext) -> list[Any]:
            first = await step(ctx, "first")
            child = await ctx.start(held, id="child")
            return [first, await child.result()]

        @lash.process
        async def waker(ctx: lash.ProcessContext) -> str:
            await ctx.wake("tell them")
            done: str = await step(ctx, "last")
            return done

        return [held, ending, stalled, sleeper, listener, parent, waker]

    def heard(self, event: RuntimeEvent) -> None:
        if isinstance(event, ProcessFaultEvent):
            say(fault=event.code, process=event.process_id)


async def perform(runtime: lash.Runtime, peer: Peer, command: dict[str, Any]) -> None:
    processes = runtime.processes
    match command["do"]:
        case "run":
            result = await runtime.session("s", agent="talker").run(command["text"])
            say(ran=result.text)
        case "start":
            session = command.get("session")
            given = command.get("given", {})
            await processes.start_named(
                command["function"], given, id=command["id"], session=session
            )
            say(accepted=command["id"])
        case "signal":
            await processes.signal(command["id"], "go", command["payload"], id="click-1")
            say(signalled=command["id"])
        case "result":
            try:
                value = await processes.handle(command["id"]).result(timeout=60)
            except lash.LashError as error:
                say(result=command["id"], error=error.code)
            else:
                say(result=command["id"], value=value)
        case "go":
            peer.gate.set()
        case "knows":
            # Whether it has seen that others live.
            while len(runtime.engine.sweep.living) < 2:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.01)
            say(knows=True)


async def main(folder: Path, name: str, timings: lash.LeaseTimings, halt: list[str]) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    peer = Peer(folder, name)
    seams = SignalAt(*halt) if halt else unobserved
    talker = lash.Agent("talker", model=ScriptedModel(lambda request: reply("So it is.")))
    running: set[asyncio.Task[None]] = set()
    async with lash.Runtime(
        folder / "agents.db",
        agents=[talker],
        processes=peer.functions(),
        lease=timings,
        on_event=peer.heard,
        seams=seams,
    ) as runtime:
        say(ready=time.time_ns() // 1_000_000, pid=os.getpid())
        while line := await commands.readline():
            command = json.loads(line)
            if command["do"] == "close":
                break
            running.add(asyncio.create_task(perform(runtime, peer, command)))
    say(closed=True)


if __name__ == "__main__":
    directory, called, ttl_ms, renew_ms, *point = sys.argv[1:]
    lease = lash.LeaseTimings(ttl_ms=int(ttl_ms), renew_ms=int(renew_ms))
    asyncio.run(main(Path(directory), called, lease, point))
