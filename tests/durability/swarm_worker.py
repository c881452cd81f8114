"""One of several workers that run the same durable processes, start them and tell them things, until killed.

What is to be done is decided by a seed, before anything runs. Each worker has a part of it, and goes on
where the one before it in its place was killed: what was acknowledged is not asked for again, what was
not is asked for under the same id. The ledger has what really happened:

    begin PROCESS STEP NONCE PID    a step begins in an operating-system process; NONCE is what it returns
    done NUMBER WHAT                starting process NUMBER, or telling it something, was acknowledged
"""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

from process_ledger import Ledger

import lash
from lash.runtime.processes.function import ProcessFunction
from lash.testing import ScriptedModel, reply

Shape = Literal[
    "steps",
    "sleeps",
    "signals",
    "deadline",
    "family",
    "branches",
    "wakes",
    "emits",
    "segments",
    "fails",
    "stops",
]

SHAPES: Sequence[Shape] = get_args(Shape)

#: The sessions that processes wake.
SESSIONS = ("s0", "s1", "s2")

#: How long a step takes at most, in milliseconds: most kills meet one under way.
STEP_MS = 30


@dataclass(frozen=True, slots=True)
class Job:
    """A process that is to be started: when, by whom, and how it goes on."""

    number: int
    shape: Shape
    at: float
    place: int
    size: int

    @property
    def id(self) -> str:
        return f"p{self.number}"

    @property
    def session(self) -> str | None:
        return SESSIONS[self.number % len(SESSIONS)] if self.shape == "wakes" else None

    @property
    def signals(self) -> int:
        """How many signals it is sent."""
        match self.shape:
            case "signals" | "segments":
                return self.size
            case "deadline":
                return self.number % 2
            case _:
                return 0


def planned(seed: int, *, processes: int, seconds: float, places: int) -> Sequence[Job]:
    """All that is to be done, over a time in seconds."""
    random = Random(f"swarm {seed}")  # noqa: S311  chance that can be had again
    return [
        Job(
            number,
            random.choice(SHAPES),
            seconds * number / processes,
            random.randrange(places),
            random.randint(1, 3),
        )
        for number in range(processes)
    ]


class Swarm:
    """The process functions, as one worker runs them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def step(self, ctx: lash.ProcessContext, what: str) -> Any:
        """Something that takes a while, and that can be told from doing it again."""

        async def begin(process: str, what: str) -> str:
            nonce = self._ledger.nonce()
            self._ledger.note("begin", process, what, nonce, os.getpid())
            chance = Random(f"{process} {what}")  # noqa: S311  the same for the same step
            await asyncio.sleep(chance.random() * STEP_MS / 1000)
            return nonce

        return ctx.step(begin, ctx.id, what, name=what)

    def functions(self) -> Sequence[ProcessFunction[..., Any]]:
        return [*self._alone(), *self._told(), *self._together()]

    def _alone(self) -> Sequence[ProcessFunction[..., Any]]:
        step = self.step

        @lash.process
        async def steps(ctx: lash.ProcessContext, size: int) -> list[str]:
            return [await step(ctx, f"a{number}") for number in range(size + 1)]

        @lash.process
        async def sleeps(ctx: lash.ProcessContext, size: int) -> list[str]:
            done = [await step(ctx, "a0")]
            for number in range(size):
                await ctx.sleep(0.05 + 0.1 * number)
                done.append(await step(ctx, f"b{number}"))
            return done

        @lash.process(events={"progress": str})
        async def emits(ctx: lash.ProcessContext, size: int) -> list[str]:
            done = []
            for number in range(size):
                await ctx.emit("progress", str(await ctx.uuid()))
                done.append(await step(ctx, f"a{number}"))
            return done

        @lash.process
        async def wakes(ctx: lash.ProcessContext, size: int) -> list[str]:
            done = []
            for number in range(size):
                done.append(await step(ctx, f"a{number}"))
                await ctx.wake(f"<{ctx.id}.{number}>")
            return done

        @lash.process
        async def fails(ctx: lash.ProcessContext, size: int) -> None:
            for number in range(size):
                await step(ctx, f"a{number}")
            raise ValueError(ctx.id)

        return [steps, sleeps, emits, wakes, fails]

    def _told(self) -> Sequence[ProcessFunction[..., Any]]:
        step = self.step

        @lash.process(signals={"go": int})
        async def signals(ctx: lash.ProcessContext, size: int) -> list[Any]:
            done: list[Any] = []
            for number in range(size):
                done += [await ctx.signal("go"), await step(ctx, f"a{number}")]
            return done

        @lash.process(signals={"go": int})
        async def deadline(ctx: lash.ProcessContext, size: int) -> list[Any]:
            try:
                heard = await ctx.signal("go", timeout=0.3)
            except lash.WaitError:
                return ["late", await step(ctx, "late")]
            return [heard, await step(ctx, "heard")]

        @lash.process(signals={"go": int})
        async def segments(
            ctx: lash.ProcessContext, size: int, done: list[Any] | None = None
        ) -> list[Any]:
            done = done or []
            number = len(done) // 2
            done = [*done, await ctx.signal("go"), await step(ctx, f"a{number}")]
            if number + 1 < size:
                ctx.continue_as_new(size, done)
            return done

        @lash.process
        async def stops(ctx: lash.ProcessContext, size: int) -> None:
            try:
                await ctx.sleep(3600)
            except lash.ProcessCancelledError:
                for number in range(size):
                    await step(ctx, f"tidy{number}")
                raise

        return [signals, deadline, segments, stops]

    def _together(self) -> Sequence[ProcessFunction[..., Any]]:
        step = self.step

        @lash.process
        async def kid(ctx: lash.ProcessContext, number: int) -> list[Any]:
            await ctx.sleep(0.02 * number)
            return [number, await step(ctx, "a0")]

        @lash.process
        async def family(ctx: lash.ProcessContext, size: int) -> list[Any]:
            children = [await ctx.start(kid, number) for number in range(size)]
            done: list[Any] = [await step(ctx, "a0")]
            return [*done, *[await child.result() for child in children]]

        @lash.process
        async def branches(ctx: lash.ProcessContext, size: int) -> list[list[str]]:
            async def branch(name: str) -> list[str]:
                return [await step(ctx, f"{name}{number}") for number in range(size)]

            return await ctx.gather(branch("a"), branch("b"))

        return [kid, family, branches]


class Client:
    """Starts one place's processes, and tells them what they are to be told."""

    def __init__(self, runtime: lash.Runtime, ledger: Ledger, done: set[tuple[int, str]]) -> None:
        self._runtime = runtime
        self._ledger = ledger
        self._done = done

    async def perform(self, job: Job) -> None:
        """Ask until it is acknowledged, as far as it was not before; then wait for the process to end."""
        processes = self._runtime.processes
        await self._once(job, "start", self._start)
        for number in range(job.signals):
            await asyncio.sleep(0.05)
            await self._once(job, f"signal{number}", lambda job, n=number: self._signal(job, n))
        if job.shape == "stops":
            await asyncio.sleep(0.1)
            await self._once(job, "cancel", lambda job: processes.cancel(job.id, "enough"))
        await processes.handle(job.id).outcome()

    async def _once(self, job: Job, what: str, ask: Any) -> None:
        if (job.number, what) in self._done:
            return
        try:
            await ask(job)
        except lash.LashError as error:
            if error.code != "process_already_terminal":  # its deadline was over before
                raise
        self._ledger.note("done", job.number, what)

    async def _start(self, job: Job) -> None:
        given = {"size": job.size}
        await self._runtime.processes.start_named(job.shape, given, id=job.id, session=job.session)

    async def _signal(self, job: Job, number: int) -> None:
        payload = 100 * job.number + number
        await self._runtime.processes.signal(job.id, "go", payload, id=f"signal-{number}")


def agents() -> Sequence[lash.Agent]:
    return [lash.Agent("told", model=ScriptedModel(lambda request: reply("I see.")))]


async def live(folder: Path, todo: Sequence[Job], started: float, lease: lash.LeaseTimings) -> None:
    """Run whatever there is, and ask for what is left of `todo`, each at its time; then rest."""
    ledger = Ledger(folder / "ledger")
    done = {(int(line[1]), line[2]) for line in ledger.lines() if line[0] == "done"}
    functions = Swarm(ledger).functions()
    async with lash.Runtime(
        folder / "agents.db", agents=agents(), processes=functions, lease=lease
    ) as runtime:
        client = Client(runtime, ledger, done)

        async def at_its_time(job: Job) -> None:
            await asyncio.sleep(max(0.0, started + job.at - time.time()))
            await client.perform(job)

        for name in SESSIONS:
            session = runtime.session(name, agent="told")
            await session.enqueue("Hello.", source_key=f"hello-{name}")
        async with asyncio.TaskGroup() as group:
            for job in todo:
                group.create_task(at_its_time(job))
        await runtime.idle(timeout=60)
