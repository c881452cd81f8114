"""The scenarios of the processes' crash matrix: what each process does, and what the application does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crash_stage import Play
from process_stage import OPEN, Gates, ProcessStage

import lash
from lash.runtime.processes.function import ProcessFunction
from lash.testing import calls, reply

Functions = Callable[[ProcessStage], Sequence[ProcessFunction[..., Any]]]
Script = Callable[[lash.Runtime, ProcessStage], Awaitable[object]]
Send = Callable[[lash.Runtime], Awaitable[object]]


async def nothing(runtime: lash.Runtime) -> None:
    """Nobody outside has anything to say."""


#: No models, and no other process.
SILENT = Play({})


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is played.

    Attributes:
        functions: The process functions.
        script: What the application does.
        send: What the outside says to the process, under names of its own; saying it again changes
            nothing.
        gates: What is held back so that the points come in one order.
        play: What models answer, and what the other process is asked to do.
    """

    functions: Functions
    script: Script
    send: Send = nothing
    gates: Gates = OPEN
    play: Play = SILENT


async def sent(runtime: lash.Runtime, send: Send) -> None:
    """What the outside says. It hears when there is nobody (any more) to say it to."""
    try:
        await send(runtime)
    except lash.LashError as error:
        if error.code not in {"process_unknown", "process_already_terminal"}:
            raise


class Steps:
    """A context and a stage: asks for the stage's steps by name."""

    def __init__(self, ctx: lash.ProcessContext, stage: ProcessStage) -> None:
        self._ctx = ctx
        self._stage = stage

    def __call__(self, what: str, retry: lash.StepRetry | None = None) -> Awaitable[str]:
        return self._ctx.step(self._stage.run, what, name=what, retry=retry)


def start(function: str = "p", **options: Any) -> Script:
    """Start a process and wait for its end."""

    async def script(runtime: lash.Runtime, stage: ProcessStage) -> None:
        handle = await runtime.processes.start_named(function, {}, id="p", **options)
        await handle.outcome(timeout=30)

    return script


def start_and_tell(send: Send, point: str) -> Script:
    """Start a process, and tell it something once a point is passed."""

    async def script(runtime: lash.Runtime, stage: ProcessStage) -> None:
        handle = await runtime.processes.start_named("p", {}, id="p")
        await stage.until(point)
        await sent(runtime, send)
        await handle.outcome(timeout=30)

    return script


async def start_and_be_told(runtime: lash.Runtime, stage: ProcessStage) -> None:
    """Start a process that another one tells something; where nobody else does, say the same."""
    handle = await runtime.processes.start_named("p", {}, id="p")
    await stage.until("process.wait.after")
    if stage.is_alone:
        await sent(runtime, go)
    await handle.outcome(timeout=30)


# --- steps ------------------------------------------------------------------------------------------------


def two_steps(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process
    async def p(ctx: lash.ProcessContext) -> list[str]:
        step = Steps(ctx, stage)
        return [await step("a"), await step("b")]

    return [p]


def retried_step(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    async def flaky() -> str:
        await stage.during("flaky")
        if stage.calls("flaky") == 1:
            raise ValueError("the first time")
        return "flaky done"

    @lash.process
    async def p(ctx: lash.ProcessContext) -> list[str]:
        step = Steps(ctx, stage)
        retry = lash.StepRetry(max_attempts=2, base_delay_ms=20)
        return [await ctx.step(flaky, retry=retry), await step("b")]

    return [p]


def failing(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process
    async def p(ctx: lash.ProcessContext) -> None:
        await Steps(ctx, stage)("a")
        raise ValueError("no")

    return [p]


def resting(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    """The first time, what surrounds the step fails, and not the step: the process rests."""

    async def flaky() -> str:
        await stage.during("flaky")
        if stage.calls("flaky") == 1:
            raise lash.StoreError("store_busy", "The database is busy.")
        return "flaky done"

    @lash.process
    async def p(ctx: lash.ProcessContext) -> list[str]:
        step = Steps(ctx, stage)
        return [await step("a"), await ctx.step(flaky)]

    return [p]


def parked(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    """The first time, its code is not what it was: it waits for somebody who opens a runtime."""

    @lash.process
    async def p(ctx: lash.ProcessContext) -> list[str]:
        step = Steps(ctx, stage)
        done = [await step("a")]
        await stage.during("look")
        if stage.calls("look") == 1:
            raise lash.ReplayError("effect_replay_mismatch", "It was another one.")
        return [*done, await step("b")]

    return [p]


async def start_and_try_again(runtime: lash.Runtime, stage: ProcessStage) -> None:
    handle = await runtime.processes.start_named("p", {}, id="p")
    await runtime.idle(timeout=20)
    await runtime.processes.drive()
    await handle.outcome(timeout=30)


# --- waits ------------------------------------------------------------------------------------------------


def sleeping(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process
    async def p(ctx: lash.ProcessContext) -> list[str]:
        step = Steps(ctx, stage)
        done = [await step("a")]
        await ctx.sleep(0.2)
        return [*done, await step("b")]

    return [p]


async def go(runtime: lash.Runtime) -> None:
    await runtime.processes.signal("p", "go", {"by": "ana"}, id="click-1")


def signalled(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process(signals={"go": dict})
    async def p(ctx: lash.ProcessContext) -> list[str]:
        step = Steps(ctx, stage)
        done = [await step("a")]
        said = await ctx.signal("go")
        return [*done, said["by"], await step("b")]

    return [p]


def timed(seconds: float) -> Functions:
    def functions(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
        @lash.process(signals={"go": dict})
        async def p(ctx: lash.ProcessContext) -> list[str]:
            step = Steps(ctx, stage)
            done = [await step("a")]
            try:
                said = await ctx.signal("go", timeout=seconds)
            except lash.WaitError:
                return [*done, "nobody", await step("late")]
            return [*done, said["by"], await step("b")]

        return [p]

    return functions


async def cancel(runtime: lash.Runtime) -> None:
    await runtime.processes.cancel("p", "enough")


def cleaning_up(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process
    async def p(ctx: lash.ProcessContext) -> None:
        step = Steps(ctx, stage)
        await step("a")
        try:
            await ctx.sleep(60)
        except lash.ProcessCancelledError:
            await step("tidy")
            await step("tell")
            raise

    return [p]


async def give_up(runtime: lash.Runtime) -> None:
    await runtime.processes.abandon("p", by="ana")


# --- side by side ---------------------------------------------------------------------------------------------


def with_child(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process
    async def kid(ctx: lash.ProcessContext, number: int) -> int:
        await Steps(ctx, stage)("c")
        return number + 1

    @lash.process
    async def p(ctx: lash.ProcessContext) -> list[Any]:
        step = Steps(ctx, stage)
        done = await step("a")
        child = await ctx.start(kid, 41)
        return [done, await child.result(), await step("b")]

    return [p, kid]


def gathering(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process
    async def p(ctx: lash.ProcessContext) -> list[Any]:
        step = Steps(ctx, stage)

        async def branch(name: str) -> list[str]:
            return [await step(f"{name}1"), await step(f"{name}2")]

        return [*await ctx.gather(branch("a"), branch("b")), await step("z")]

    return [p]


def racing(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process
    async def p(ctx: lash.ProcessContext) -> list[Any]:
        step = Steps(ctx, stage)

        async def quick() -> list[str]:
            return [await step("a1"), await step("a2")]

        async def slow() -> list[str]:
            await ctx.sleep(60)
            return []

        first, value = await ctx.race(slow(), quick())
        return [first, value, await step("z")]

    return [p]


def racing_time(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    """The step is first, and by the time that anybody goes on after a kill the sleep is over too."""

    @lash.process(events={"came": int})
    async def p(ctx: lash.ProcessContext) -> int:
        step = Steps(ctx, stage)
        first, _ = await ctx.race(ctx.sleep(0.3), step("a"))
        await ctx.emit("came", first)
        await step("z")
        return first

    return [p]


async def time_passes(runtime: lash.Runtime) -> None:
    """The sleep of the race comes to its end."""
    await asyncio.sleep(0.3)


# --- telling --------------------------------------------------------------------------------------------------


def emitting(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process(events={"progress": int})
    async def p(ctx: lash.ProcessContext) -> list[str]:
        step = Steps(ctx, stage)
        await ctx.emit("progress", 1)
        done = [await step("a")]
        await ctx.emit("progress", 2)
        return [*done, await step("b")]

    return [p]


def chance(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    """What it drew by chance is shown to the outside in three ways, each before anything is recorded."""

    async def pay(key: str) -> str:
        stage.given("charge", key)
        await stage.during("charge")
        return key

    @lash.process
    async def kid(ctx: lash.ProcessContext, key: str) -> str:
        await Steps(ctx, stage)("c")
        return key

    @lash.process(events={"drawn": str})
    async def p(ctx: lash.ProcessContext) -> list[bool]:
        drawn = str(await ctx.uuid())
        await ctx.emit("drawn", drawn)
        second = str(await ctx.uuid())
        child = await ctx.start(kid, second)
        came = await child.result()
        third = str(await ctx.uuid())
        return [came == second, await ctx.step(pay, third) == third]

    return [p, kid]


def waking(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process
    async def p(ctx: lash.ProcessContext) -> str:
        step = Steps(ctx, stage)
        await step("a")
        await ctx.wake("tell that a is done")
        return await step("b")

    return [p]


async def start_for_session(runtime: lash.Runtime, stage: ProcessStage) -> None:
    await runtime.session("s", agent="first").run("t1", turn_id="t1")
    handle = await runtime.processes.start_named("p", {}, id="p", session="s")
    await handle.outcome(timeout=30)


# --- on and on ------------------------------------------------------------------------------------------------


async def tick_three_times(runtime: lash.Runtime) -> None:
    for number in (1, 2, 3):
        await runtime.processes.signal("p", "tick", number, id=f"tick-{number}")


def counting(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    @lash.process(signals={"tick": int})
    async def p(ctx: lash.ProcessContext, seen: list[int] | None = None) -> list[int]:
        step = Steps(ctx, stage)
        if seen is None:
            await step("a")
        seen = [*(seen or []), await ctx.signal("tick")]
        await step(f"s{len(seen)}")
        if len(seen) < 3:
            ctx.continue_as_new(seen)
        return seen

    return [p]


# --- what is no Python process ------------------------------------------------------------------------------------


def no_functions(stage: ProcessStage) -> Sequence[ProcessFunction[..., Any]]:
    return []


async def start_tool(runtime: lash.Runtime, stage: ProcessStage) -> None:
    handle = await runtime.processes.start_tool("cashier", "pay", {}, id="p")
    await handle.outcome(timeout=30)


async def start_turn(runtime: lash.Runtime, stage: ProcessStage) -> None:
    handle = await runtime.processes.start_turn("first", "t1", id="p")
    await handle.outcome(timeout=30)


async def done_elsewhere(runtime: lash.Runtime, stage: ProcessStage) -> None:
    """What somebody else does, step by step; each of them may be repeated."""
    processes = runtime.processes
    await processes.start_external({"title": "build 7"}, id="p", reference=("ci", "7"))
    await processes.show_to("p", "s")
    await processes.wake_session("p", "s")
    await processes.complete("p", "green")


# --- the scenarios ------------------------------------------------------------------------------------------------

RESUMED = ("process.resume.after", 1)

SCENARIOS: Mapping[str, Scenario] = {
    "steps": Scenario(two_steps, start()),
    "retried": Scenario(retried_step, start()),
    "failure": Scenario(failing, start()),
    "rest": Scenario(resting, start()),
    "park": Scenario(parked, start_and_try_again),
    "sleep": Scenario(sleeping, start(), gates=Gates({"b": RESUMED})),
    "signal_early": Scenario(
        signalled,
        start_and_tell(go, "wakes.after"),
        go,
        Gates({"a": ("process.append.after", 1)}),
    ),
    "signal_late": Scenario(
        signalled, start_and_tell(go, "process.wait.after"), go, Gates({"b": RESUMED})
    ),
    "signal_from_elsewhere": Scenario(
        signalled,
        start_and_be_told,
        go,
        Gates({"b": RESUMED}),
        Play({}, {("process.wait.after", 1): [("send", {})]}),
    ),
    "signal_timeout": Scenario(timed(0.2), start(), gates=Gates({"late": RESUMED})),
    "signal_in_time": Scenario(
        timed(60), start_and_tell(go, "process.wait.after"), go, Gates({"b": RESUMED})
    ),
    "cancel": Scenario(
        cleaning_up,
        start_and_tell(cancel, "process.wait.after"),
        cancel,
        Gates({"tidy": RESUMED}),
    ),
    "give_up": Scenario(signalled, start_and_tell(give_up, "process.wait.after"), give_up),
    "child": Scenario(
        with_child,
        start(),
        gates=Gates({"c": ("process.wait.after", 1), "b": RESUMED}),
    ),
    "gather": Scenario(
        gathering,
        start(),
        gates=Gates(
            before={
                "b1": ("during.a1", 1),
                "a2": ("record.after", 2),
                "b2": ("record.after", 3),
            },
            after={"a1": ("during.b1", 1), "b1": ("record.after", 1)},
        ),
    ),
    "race": Scenario(racing, start(), gates=Gates({"a1": ("record.after", 1)})),
    "race_time": Scenario(racing_time, start(), time_passes, Gates({"a": ("record.after", 1)})),
    "emit": Scenario(emitting, start()),
    "chance": Scenario(
        chance,
        start(),
        gates=Gates({"c": ("process.wait.after", 1), "charge": RESUMED}),
    ),
    "wake": Scenario(
        waking,
        start_for_session,
        gates=Gates({"b": ("commit.after", 2)}),
        play=Play({"t1": [reply("Hello.")], "Runtime": [reply("So it is.")]}),
    ),
    "continue": Scenario(
        counting,
        start_and_tell(tick_three_times, "wakes.after"),
        tick_three_times,
        Gates({"a": ("process.append.after", 3)}),
    ),
    "tool": Scenario(no_functions, start_tool),
    "turn": Scenario(
        no_functions,
        start_turn,
        gates=Gates({"t1.1": ("process.wait.after", 1)}),
        play=Play({"t1": [calls(("a", {})), reply("Done.")]}),
    ),
    "elsewhere": Scenario(no_functions, done_elsewhere),
}
