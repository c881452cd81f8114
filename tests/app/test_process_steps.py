"""Steps, values and readings of processes: once, whatever becomes of the runtime meanwhile."""

import asyncio
import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from process_harness import (
    START,
    Ledger,
    charging,
    come_back,
    has_come_to,
    ledger,
    left,
    location,
    opened,
    outcome,
    path,
    recorded,
    result_after_go,
    signalled,
)

import lash
from lash.processes.outcomes import ProcessFailure, ProcessSuccess
from lash.testing import ScriptedModel, VirtualClock, reply

__all__ = ["ledger", "location", "path"]

DAY = timedelta(days=1)


@dataclass
class Order:
    number: int
    at: datetime


# --- once -----------------------------------------------------------------------------------------------


async def test_steps_run_once_over_restarts(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def stepping(ctx: lash.ProcessContext) -> Any:
        got = []
        for number in range(3):
            got.append(await ctx.step(ledger.note, number))
            await ctx.signal("go")
        return got

    await left(path, stepping)
    for number in range(3):
        assert ledger.runs == list(range(number + 1))
        await signalled(path, stepping)
    assert await outcome(path, stepping) == ProcessSuccess(value=[0, 1, 2])
    assert ledger.runs == [0, 1, 2]


async def test_effects_of_all_sorts_happen_once_however_often_it_is_run_again(
    path: Path, ledger: Ledger
) -> None:
    seen: list[object] = []

    def plain(name: str) -> str:
        ledger.runs.append(name)
        return name

    @lash.process(events={"progress": int})
    async def all_sorts(ctx: lash.ProcessContext, name: str) -> list[Any]:
        seen.append((await ctx.now(), await ctx.random(), await ctx.uuid()))
        first = await ctx.step(plain, f"{name} sync")
        await ctx.emit("progress", 50)
        second = await ctx.step(ledger.note, f"{name} async")
        await ctx.sleep(0.001)
        return [first, second, await ctx.signal("go")]

    await left(path, all_sorts, "x")
    for _ in range(2):
        await come_back(path, all_sorts)
    async with opened(path, all_sorts) as runtime:
        handle = runtime.processes.handle("p")
        await handle.signal("go", 1)
        assert await handle.result(timeout=20) == ["x sync", "x async", 1]
        events = [each.event_type async for each in handle.events()]
    assert ledger.runs == ["x sync", "x async"]
    assert len(seen) == 4
    assert len(set(map(repr, seen))) == 1
    assert events.count("progress") == 1
    assert events[-1] == "process.completed"


async def test_a_value_is_the_same_on_the_first_run_as_on_every_later_one(path: Path) -> None:
    values: list[object] = []

    async def order() -> Order:
        return Order(7, START)

    @lash.process
    async def stepping(ctx: lash.ProcessContext) -> None:
        values.append(await ctx.step(order))
        await ctx.signal("go")

    await left(path, stepping)
    await come_back(path, stepping)
    assert values == [Order(7, START)] * 2


async def test_plain_functions_run_in_threads(location: str | Path) -> None:
    @lash.process
    async def stepping(ctx: lash.ProcessContext) -> bool:
        return await ctx.step(in_main_thread)

    def in_main_thread() -> bool:
        return threading.current_thread() is threading.main_thread()

    async with opened(location, stepping) as runtime:
        assert await (await runtime.processes.start(stepping)).result() is False


async def test_a_step_that_was_stopped_runs_again(path: Path, ledger: Ledger) -> None:
    async def work() -> str:
        ledger.runs.append("began")
        if len(ledger.runs) == 1:
            await asyncio.Event().wait()
        return "done"

    @lash.process
    async def stepping(ctx: lash.ProcessContext) -> str:
        return await ctx.step(work)

    async with opened(path, stepping) as runtime:
        await runtime.processes.start(stepping, id="p")
        await has_come_to(lambda: ledger.runs)
    assert await outcome(path, stepping) == ProcessSuccess(value="done")
    assert ledger.runs == ["began", "began"]


async def test_a_failure_is_caught_and_raised_again_on_replay(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def stepping(ctx: lash.ProcessContext) -> Any:
        try:
            await ctx.step(charging(ledger))
        except lash.StepError as error:
            return [error.code, error.message, await ctx.signal("go")]

    await left(path, stepping)
    assert await result_after_go(path, stepping, payload=1) == [
        "durable_step_failed",
        "Step 'charge' failed: ValueError: no",
        1,
    ]
    assert ledger.runs == ["charge"]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("no"), "process_failed", "ValueError: no"),
        (lash.StepError("declined", "card_declined"), "card_declined", "declined"),
        (ExceptionGroup("two", [ValueError("a"), KeyError("b")]), "process_failed", None),
    ],
)
async def test_what_the_code_raises_is_its_end(
    location: str | Path, error: Exception, code: str, message: str | None
) -> None:
    @lash.process
    async def failing(ctx: lash.ProcessContext) -> None:
        raise error

    async with opened(location, failing) as runtime:
        handle = await runtime.processes.start(failing)
        ended = await handle.outcome()
        assert isinstance(ended, ProcessFailure)
        assert (ended.failure_class, ended.code) == ("execution", code)
        assert message is None or ended.message == message
        with pytest.raises(lash.ProcessError) as raised:
            await handle.result()
        assert raised.value.code == code


async def test_attempts_go_on_over_restarts(path: Path, ledger: Ledger) -> None:
    clock = VirtualClock()
    policy = lash.StepRetry(max_attempts=3, base_delay_ms=60_000, max_delay_ms=60_000)
    charge = ledger.fails(OSError("down"), OSError("down"))

    @lash.process
    async def stepping(ctx: lash.ProcessContext) -> str:
        return await ctx.step(charge, retry=policy)

    await left(path, stepping, clock=clock)
    clock.advance(30)
    await come_back(path, stepping, clock=clock)
    assert ledger.runs == [1]
    clock.advance(30)  # nobody is there when the second is due, and somebody when the third is
    async with opened(path, stepping, clock=clock) as runtime:
        await runtime.idle(30)
        clock.advance(59.9)
        await runtime.idle(30)
        assert ledger.runs == [1, 2]
        clock.advance(0.1)
        handle = runtime.processes.handle("p")
        assert await handle.outcome(timeout=20) == ProcessSuccess(value="charged")
    assert ledger.runs == [1, 2, 3]
    assert await outcome(path, stepping, clock=clock) == ProcessSuccess(value="charged")


async def test_no_attempt_left_is_a_failure(location: str | Path, ledger: Ledger) -> None:
    @lash.process
    async def stepping(ctx: lash.ProcessContext) -> str:
        policy = lash.StepRetry(max_attempts=2, base_delay_ms=0)
        return await ctx.step(charging(ledger), retry=policy)

    async with opened(location, stepping) as runtime:
        assert await (await runtime.processes.start(stepping)).outcome() == ProcessFailure(
            failure_class="execution",
            code="durable_step_failed",
            message="Step 'charge' failed after 2 attempts: ValueError: no",
        )
    assert ledger.runs == ["charge", "charge"]


@pytest.mark.parametrize("limit", [0.02, timedelta(milliseconds=20)])
async def test_a_step_that_never_returns_is_ended_by_its_timeout(
    location: str | Path, limit: float | timedelta
) -> None:
    @lash.process
    async def stepping(ctx: lash.ProcessContext) -> None:
        await ctx.step(asyncio.Event().wait, name="hangs", timeout=limit)

    async with opened(location, stepping) as runtime:
        assert await (await runtime.processes.start(stepping)).outcome() == ProcessFailure(
            failure_class="execution",
            code="durable_step_failed",
            message="Step 'hangs' failed: TimeoutError: it took more than 0.02 s",
        )


async def test_a_thread_that_never_returns_does_not_hold_up_its_process(
    location: str | Path,
) -> None:
    gate = threading.Event()

    @lash.process
    async def stepping(ctx: lash.ProcessContext) -> str:
        try:
            await ctx.step(gate.wait, name="hangs", timeout=0.02)
        except lash.StepError as error:
            return error.code
        return "it returned"

    async with opened(location, stepping) as runtime:
        handle = await runtime.processes.start(stepping)
        assert await handle.result() == "durable_step_failed"
    gate.set()


# --- tearing down ---------------------------------------------------------------------------------------


async def test_closing_the_runtime_runs_no_more_of_the_process(path: Path, ledger: Ledger) -> None:
    """Its `finally` blocks run, but what they ask for belongs to another run."""

    @lash.process
    async def tidy(ctx: lash.ProcessContext) -> str:
        try:
            await ctx.signal("go")
        finally:
            await ctx.step(ledger.note, "released")
            await ctx.emit("process.wake", {"text": "released"})
        return "done"

    await left(path, tidy)
    assert ledger.runs == []
    async with opened(path, tidy) as runtime:
        assert await recorded(runtime) == []
        await runtime.processes.signal("p", "go")
        assert await runtime.processes.handle("p").result(timeout=20) == "done"
    assert ledger.runs == ["released"]


@pytest.mark.parametrize("swallowed", [asyncio.CancelledError, BaseException])
async def test_a_process_that_swallows_the_end_of_its_run_goes_on_in_the_next(
    path: Path, swallowed: type[BaseException]
) -> None:
    @lash.process
    async def swallowing(ctx: lash.ProcessContext) -> Any:
        try:
            return await ctx.signal("go")
        except swallowed:
            return "swallowed"

    await left(path, swallowing)
    async with opened(path, swallowing) as runtime:
        assert (await runtime.processes.get("p")).outcome is None
        await runtime.processes.signal("p", "go", 1)
        assert await runtime.processes.handle("p").result(timeout=20) == 1


async def test_a_process_that_waits_on_and_on_does_not_hold_up_closing(path: Path) -> None:
    @lash.process
    async def stubborn(ctx: lash.ProcessContext) -> None:
        while True:
            try:
                await ctx.signal("never")
            except lash.ProcessCancelledError:
                pass

    await left(path, stubborn)
    async with opened(path, stubborn, within=20) as runtime:
        await runtime.idle(10)
        await runtime.processes.cancel("p")
    assert (await come_back(path, stubborn)).outcome is None


# --- time and chance ------------------------------------------------------------------------------------


async def test_time_and_chance_are_read_once(path: Path, ledger: Ledger) -> None:
    clock, read = VirtualClock(), list[list[Any]]()

    @lash.process
    async def reading(ctx: lash.ProcessContext) -> None:
        values = [await ctx.now(), await ctx.random(), await ctx.uuid()]
        await ctx.step(ledger.note, "written with this")
        read.append([*values, await ctx.now()])
        await ctx.signal("go")
        read.append([await ctx.now()])
        await ctx.signal("go")

    await left(path, reading, clock=clock)
    for _ in range(2):
        clock.advance(DAY.total_seconds())
        await signalled(path, reading, clock=clock)
    first = read[0]
    assert first[0] == first[3] == START
    assert isinstance(first[1], float)
    assert isinstance(first[2], UUID)
    # What was read behind the last record was written when the runtime closed.
    assert read[1] == first
    assert read[2:] == [[START + DAY], first, [START + DAY]]


async def test_what_was_drawn_is_written_before_anything_outside_is_begun_with_it(
    path: Path, ledger: Ledger
) -> None:
    """It may be the key that the outside knows a payment by."""

    async def pay(key: str) -> str:
        ledger.runs.append(key)
        if len(ledger.runs) == 1:
            await asyncio.Event().wait()
        return key

    @lash.process
    async def paying(ctx: lash.ProcessContext) -> str:
        return await ctx.step(pay, str(await ctx.uuid()))

    async with opened(path, paying) as runtime:
        await runtime.processes.start(paying, id="p")
        await has_come_to(lambda: ledger.runs)
    assert await outcome(path, paying) == ProcessSuccess(value=str(ledger.runs[0]))
    assert ledger.runs[0] == ledger.runs[1]


@pytest.mark.parametrize("use", ["emit", "start", "direct"])
async def test_the_same_goes_for_events_children_and_models(
    path: Path, ledger: Ledger, use: str
) -> None:
    """The runtime closes right behind; what was asked for before must be the same again."""
    model = ScriptedModel([reply("one"), reply("two")])

    @lash.process
    async def child(ctx: lash.ProcessContext, key: str) -> str:
        return key

    async def stop() -> None:
        ledger.runs.append("stop")
        if len(ledger.runs) < 3:
            await asyncio.Event().wait()  # no effect, so nothing is recorded of it

    @lash.process(events={"paid": str})
    async def paying(ctx: lash.ProcessContext) -> str:
        key = str(await ctx.uuid())
        if use == "emit":
            await ctx.emit("paid", key)
        elif use == "start":
            await ctx.start(child, key, id="c")
        else:
            await ctx.direct(key, model=model)
        await stop()
        return key

    for number in (1, 2):
        async with opened(path, paying, child) as runtime:
            await runtime.processes.start(paying, id="p")
            await has_come_to(lambda n=number: len(ledger.runs) == n)  # type: ignore[misc]  # a default
    ended = await outcome(path, paying, child)
    assert isinstance(ended, ProcessSuccess)
    async with opened(path, paying, child) as runtime:
        if use == "emit":
            events = await runtime.processes.events("p")
            assert [each.payload for each in events if each.event_type == "paid"] == [ended.value]
        elif use == "start":
            assert await runtime.processes.handle("c").result() == ended.value
        else:
            assert len(model.requests) == 1


# --- logging --------------------------------------------------------------------------------------------


async def test_a_process_logs_what_it_does_and_not_what_it_repeats(
    path: Path, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lash.process")

    @lash.process
    async def logging_(ctx: lash.ProcessContext) -> None:
        async def branch(name: str) -> None:
            await ctx.step(ledger.note, name)
            ctx.logger.info("branch %s", name)

        await ctx.step(ledger.note, "first")
        ctx.logger.info("before")
        await ctx.gather(branch("a"), branch("b"))
        await ctx.step(ledger.note, "second")
        ctx.logger.info("waiting")
        await ctx.signal("go")
        ctx.logger.info("after")

    await left(path, logging_)
    await come_back(path, logging_)
    async with opened(path, logging_) as runtime:
        await runtime.processes.signal("p", "go")
        await runtime.processes.handle("p").outcome(timeout=20)
    said = [each.getMessage() for each in caplog.records if each.name == "lash.process"]
    assert said == [
        "[p] before",
        "[p] branch a",
        "[p] branch b",
        "[p] waiting",
        "[p] waiting",  # nothing was recorded behind it, so nobody knows that it was said
        "[p] waiting",
        "[p] after",
    ]


# --- long journals --------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_process_of_ten_thousand_effects_is_resumed_soon(
    path: Path, ledger: Ledger
) -> None:
    @lash.process
    async def long(ctx: lash.ProcessContext) -> int:
        for number in range(80):
            await asyncio.gather(*(ctx.step(ledger.note, number) for _ in range(100)))
            for _ in range(25):
                await ctx.step(ledger.note, number)
        ledger.runs.append("there")
        return int(await ctx.signal("go"))

    await left(path, long, within=100)
    assert len(ledger.runs) == 10_001
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await result_after_go(path, long, payload=7) == 7
    assert loop.time() - began < 15  # about a second; a lookup for each effect would not pass
    assert len(ledger.runs) == 10_002
