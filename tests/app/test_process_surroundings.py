"""Trouble of the place: the process rests and is tried again, and nothing of it is taken for its end."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process_harness import (
    Ledger,
    come_back,
    has_come_to,
    ledger,
    location,
    opened,
    outcome,
    path,
    settles,
)

import lash
from lash.processes.model import ProcessRecord
from lash.processes.outcomes import ProcessAbandoned, ProcessSuccess
from lash.runtime.events import ProcessFaultEvent
from lash.testing import VirtualClock

__all__ = ["ledger", "location", "path"]

BUSY = lash.StoreError("store_busy", "The other store is busy.")

TROUBLE = [
    BUSY,
    lash.StoreError("store_failed", "The other store failed."),
    lash.LashError("session_execution_busy", "The session is driven elsewhere."),
    lash.LashError("runtime_closed", "The other runtime is closed."),
]


@pytest.mark.parametrize("error", TROUBLE)
async def test_trouble_in_a_step_is_not_the_process_end(
    location: str | Path, ledger: Ledger, error: lash.LashError
) -> None:
    clock, charge, told = VirtualClock(), ledger.fails(error), list[Any]()

    @lash.process
    async def charging(ctx: lash.ProcessContext) -> str:
        return await ctx.step(charge)

    async with opened(location, charging, clock=clock, on_event=told.append) as runtime:
        await runtime.processes.start(charging, id="p")
        assert await after_its_rests(runtime, clock) == ProcessSuccess(value="charged")
        types = [each.event_type for each in await runtime.processes.events("p")]
        assert types == [
            "process.started",
            "process.retry_scheduled",
            "process.started",
            "process.completed",
        ]
    assert ledger.runs == [1, 2]
    assert [(type(each), each.process_id, each.code) for each in told] == [
        (ProcessFaultEvent, "p", error.code)
    ]


@pytest.mark.parametrize("error", TROUBLE)
async def test_trouble_that_the_code_itself_meets_is_not_its_end_either(
    location: str | Path, ledger: Ledger, error: lash.LashError
) -> None:
    clock = VirtualClock()

    @lash.process
    async def meeting(ctx: lash.ProcessContext) -> int:
        ledger.runs.append("ran")
        if len(ledger.runs) == 1:
            raise error
        return ctx.attempt

    async with opened(location, meeting, clock=clock) as runtime:
        await runtime.processes.start(meeting, id="p")
        assert await after_its_rests(runtime, clock) == ProcessSuccess(value=2)


async def comes_to(
    runtime: lash.Runtime, clock: VirtualClock, state: Callable[[ProcessRecord], bool]
) -> None:
    """Wait until process `p` is in some state; whenever it rests, the time passes."""

    async def there() -> bool:
        record = await runtime.processes.get("p")
        if record.state.retry is not None:
            clock.advance(max(record.state.retry.next_attempt_at_ms - clock.now_ms(), 0) / 1000)
        return state(record)

    await settles(there)


async def after_its_rests(runtime: lash.Runtime, clock: VirtualClock) -> Any:
    """What process `p` comes to."""
    await comes_to(runtime, clock, lambda record: record.outcome is not None)
    return await runtime.processes.handle("p").outcome(timeout=20)


async def test_a_process_rests_longer_each_time(path: Path, ledger: Ledger) -> None:
    clock = VirtualClock()
    charge = ledger.fails(*[BUSY] * 4)

    @lash.process
    async def charging(ctx: lash.ProcessContext) -> str:
        return await ctx.step(charge)

    async with opened(path, charging, clock=clock) as runtime:
        handle = await runtime.processes.start(charging, id="p")
        rests = []
        for attempt in range(1, 5):
            await settles(lambda n=attempt: rested(runtime, n))  # type: ignore[misc]  # a default
            record = await handle.status()
            assert record.state.retry is not None
            assert record.status == "running"
            rests.append(record.state.retry.next_attempt_at_ms - clock.now_ms())
            clock.advance(rests[-1] / 1000)
        assert rests == [100, 200, 400, 800]
        assert await handle.result(timeout=20) == "charged"
        assert (await handle.status()).state.failures == 4


async def rested(runtime: lash.Runtime, times: int) -> bool:
    state = (await runtime.processes.get("p")).state
    return state.failures == times and state.retry is not None


async def test_a_process_rests_also_over_a_restart(path: Path, ledger: Ledger) -> None:
    clock = VirtualClock()
    charge = ledger.fails(BUSY)

    @lash.process
    async def charging(ctx: lash.ProcessContext) -> str:
        return await ctx.step(charge)

    async with opened(path, charging, clock=clock) as runtime:
        await runtime.processes.start(charging, id="p")
        await settles(lambda: rested(runtime, 1))
    assert (await come_back(path, charging, clock=clock)).outcome is None
    assert ledger.runs == [1]
    clock.advance(0.1)
    assert await outcome(path, charging, clock=clock) == ProcessSuccess(value="charged")


async def test_a_process_is_given_up_that_gets_nowhere_too_often(
    path: Path, ledger: Ledger
) -> None:
    clock, charge = VirtualClock(), ledger.fails(*[BUSY] * 9)

    @lash.process(max_attempts=3)
    async def charging(ctx: lash.ProcessContext) -> str:
        return await ctx.step(charge)

    async with opened(path, charging, clock=clock) as runtime:
        handle = await runtime.processes.start(charging, id="p")
        ended = await after_its_rests(runtime, clock)
        assert isinstance(ended, ProcessAbandoned)
        assert ended.evidence.writer == "engine_gave_up"
        with pytest.raises(lash.ProcessError) as raised:
            await handle.result()
        assert raised.value.code == "process_abandoned"
    assert ledger.runs == [1, 2, 3]


async def test_attempts_are_counted_again_from_where_a_process_got_somewhere(
    path: Path, ledger: Ledger
) -> None:
    clock, charge = VirtualClock(), ledger.fails(BUSY, BUSY, None, BUSY, BUSY, None)

    @lash.process(max_attempts=3)
    async def charging(ctx: lash.ProcessContext) -> str:
        await ctx.step(charge)
        await ctx.signal("go")
        return await ctx.step(charge)

    async with opened(path, charging, clock=clock) as runtime:
        handle = await runtime.processes.start(charging, id="p")
        await comes_to(runtime, clock, lambda record: record.state.wait is not None)
        await handle.signal("go")
        assert await after_its_rests(runtime, clock) == ProcessSuccess(value="charged")
    assert ledger.runs == [1, 2, 3, 4, 5, 6]


async def test_nothing_is_done_any_more_once_the_surroundings_failed(
    path: Path, ledger: Ledger
) -> None:
    """What `finally` blocks ask for would be recorded behind a gap, and the next run would not get there."""
    charge = Ledger().fails(BUSY)

    @lash.process
    async def tidy(ctx: lash.ProcessContext) -> str:
        async def branch() -> None:
            try:
                await ctx.signal("never")
            finally:
                await ctx.step(ledger.note, "branch released")

        try:
            await ctx.gather(ctx.step(charge), ctx.step(ledger.note, "beside"))
            return (await ctx.race(branch(), ctx.step(ledger.note, "won")))[1]  # type: ignore[return-value]  # text
        finally:
            await ctx.step(ledger.note, "released")

    async with opened(path, tidy) as runtime:
        handle = await runtime.processes.start(tidy, id="p")
        assert await handle.outcome(timeout=20) == ProcessSuccess(value="won")
    assert ledger.runs == ["beside", "won", "branch released", "released"]


async def test_nobody_gets_away_with_catching_it(path: Path, ledger: Ledger) -> None:
    charge = ledger.fails(BUSY)

    @lash.process
    async def shrugging(ctx: lash.ProcessContext) -> str:
        try:
            return await ctx.step(charge)
        except lash.LashError:
            return "shrugged"

    async with opened(path, shrugging) as runtime:
        handle = await runtime.processes.start(shrugging, id="p")
        assert await handle.outcome(timeout=20) == ProcessSuccess(value="charged")


@pytest.mark.parametrize("kind", ["gather", "race", "TaskGroup"])
async def test_trouble_in_a_branch_decides_nothing(path: Path, ledger: Ledger, kind: str) -> None:
    charge = ledger.fails(BUSY)

    @lash.process
    async def branching(ctx: lash.ProcessContext) -> Any:
        if kind == "gather":
            return await ctx.gather(ctx.step(charge), ctx.signal("go"))
        if kind == "race":
            return list(await ctx.race(ctx.step(charge), ctx.signal("never")))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ctx.step(charge)), group.create_task(ctx.signal("go"))]
        return [task.result() for task in tasks]

    async with opened(path, branching) as runtime:
        handle = await runtime.processes.start(branching, id="p")
        await has_come_to(lambda: ledger.runs == [1, 2])
        await handle.signal("go", 1)
        assert await handle.result(timeout=20) == (
            [0, "charged"] if kind == "race" else ["charged", 1]
        )
