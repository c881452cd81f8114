"""Processes in time: sleeps that were fixed when they began, and dates."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from process_harness import (
    START,
    Ledger,
    begun,
    come_back,
    has_come_to,
    ledger,
    left,
    location,
    opened,
    path,
    recorded,
    refused,
    settles,
)

import lash
from lash.testing import VirtualClock

__all__ = ["ledger", "location", "path"]

MONTH = timedelta(days=30)


def sleeping(ledger: Ledger, how: str) -> lash.ProcessFunction[[], Any]:
    @lash.process(name="sleeping")
    async def sleeping(ctx: lash.ProcessContext) -> Any:
        if how == "sleep":
            await ctx.sleep(MONTH)
        else:
            await ctx.sleep_until(START + MONTH)
        await ctx.step(ledger.note, "woke")
        return await ctx.now()

    return sleeping


@pytest.mark.parametrize("how", ["sleep", "sleep_until"])
async def test_a_sleep_ends_when_it_was_to_end_whoever_was_there_meanwhile(
    path: Path, ledger: Ledger, how: str
) -> None:
    clock, function = VirtualClock(), sleeping(ledger, how)
    await left(path, function, clock=clock)
    for days in (10, 19):
        clock.advance(timedelta(days=days).total_seconds())
        await come_back(path, function, clock=clock)
    async with opened(path, function, clock=clock) as runtime:
        await runtime.idle(30)
        clock.advance(timedelta(days=1).total_seconds() - 0.001)
        await runtime.idle(30)
        assert ledger.runs == []
        clock.advance(0.001)
        got = await runtime.processes.handle("p").result(timeout=20)
    assert datetime.fromisoformat(got) == START + MONTH
    assert ledger.runs == ["woke"]


@pytest.mark.parametrize("how", ["sleep", "sleep_until"])
async def test_a_sleep_that_ended_while_nobody_was_there_is_over(
    path: Path, ledger: Ledger, how: str
) -> None:
    clock, function = VirtualClock(), sleeping(ledger, how)
    await left(path, function, clock=clock)
    clock.advance(2 * MONTH.total_seconds())
    async with opened(path, function, clock=clock) as runtime:
        got = await runtime.processes.handle("p").result(timeout=20)
    assert datetime.fromisoformat(got) == START + 2 * MONTH


async def test_a_date_counts_from_a_time_that_was_read_before_a_restart(path: Path) -> None:
    clock = VirtualClock()

    @lash.process
    async def monthly(ctx: lash.ProcessContext) -> str:
        began = await ctx.now()
        await ctx.sleep(timedelta(days=29))
        await ctx.sleep_until(began + MONTH)
        return str(await ctx.now() - began)

    await left(path, monthly, clock=clock)
    clock.advance(timedelta(days=15).total_seconds())
    async with opened(path, monthly, clock=clock) as runtime:
        for days in (0, 14):
            clock.advance(timedelta(days=days).total_seconds())
            await runtime.idle(30)
        clock.advance(timedelta(days=1).total_seconds() - 1)
        await runtime.idle(30)
        assert (await runtime.processes.get("p")).outcome is None
        clock.advance(1)
        result = await runtime.processes.handle("p").result(timeout=20)
    assert result == "30 days, 0:00:00"


@pytest.mark.slow
async def test_a_real_sleep_is_hardly_late_although_the_runtime_was_reopened(path: Path) -> None:
    """The machine may be busy, so one of three must be in time; none of them may be early."""

    @lash.process
    async def napping(ctx: lash.ProcessContext) -> list[datetime]:
        began = await ctx.now()
        await ctx.step(lambda: None, name="written")
        await ctx.sleep(1.5)
        return [began, await ctx.now()]

    late = []
    for attempt in range(3):
        file = path.with_name(f"{attempt}.db")
        await left(file, napping)
        await asyncio.sleep(0.5)
        async with opened(file, napping) as runtime:
            began, woke = await runtime.processes.handle("p", napping).result(timeout=20)
        late.append((woke - began).total_seconds() - 1.5)
        if late[-1] < 0.1:
            break
    assert min(late) < 0.1
    assert min(late) >= 0


async def test_a_date_that_is_past_does_not_wait(location: str | Path) -> None:
    @lash.process
    async def dated(ctx: lash.ProcessContext) -> str:
        await ctx.sleep_until(datetime(2001, 1, 1, tzinfo=UTC))
        await ctx.sleep_until(datetime(2001, 1, 1, tzinfo=timezone(timedelta(hours=5))))
        await ctx.sleep(0)
        return "awake"

    async with opened(location, dated, clock=VirtualClock()) as runtime:
        assert await (await runtime.processes.start(dated)).result(timeout=20) == "awake"


async def test_a_date_is_a_moment_whatever_its_zone(path: Path) -> None:
    """A replay may name the same moment in another zone; another moment is another process."""
    clock, zones = VirtualClock(), [timezone(timedelta(hours=hours)) for hours in (0, 5, -7)]

    @lash.process
    async def dated(ctx: lash.ProcessContext) -> str:
        await ctx.sleep_until((START + MONTH).astimezone(zones[0]))
        return "awake"

    await left(path, dated, clock=clock)
    zones.pop(0)
    assert (await come_back(path, dated, clock=clock)).state.parked is None
    clock.advance(MONTH.total_seconds())
    async with opened(path, dated, clock=clock) as runtime:
        assert await runtime.processes.handle("p").result(timeout=20) == "awake"


async def test_another_date_is_another_process(path: Path) -> None:
    clock, when = VirtualClock(), [START + MONTH]

    @lash.process
    async def dated(ctx: lash.ProcessContext) -> None:
        await ctx.sleep_until(when[0])

    await left(path, dated, clock=clock)
    when[0] += timedelta(seconds=1)
    record = await come_back(path, dated, clock=clock)
    assert record.state.parked is not None
    assert record.state.parked.code == "effect_replay_mismatch"


@pytest.mark.parametrize(
    ("how", "given"),
    [
        ("sleep_until", datetime(2030, 1, 1)),  # noqa: DTZ001  that is the point
        ("sleep_until", "2030-01-01"),
        ("sleep_until", 1_900_000_000),
        ("sleep", -1),
        ("sleep", float("inf")),
        ("sleep", "1 h"),
        ("sleep", timedelta(days=1_000_000)),
    ],
)
async def test_what_is_no_time_is_refused(location: str | Path, how: str, given: object) -> None:
    asking = refused(lambda ctx: getattr(ctx, how)(given))
    async with opened(location, asking) as runtime:
        handle = await runtime.processes.start(asking)
        assert await handle.result(timeout=20) == "duration_invalid"


async def test_sleeps_side_by_side_end_in_their_order(path: Path, ledger: Ledger) -> None:
    clock = VirtualClock()

    @lash.process
    async def several(ctx: lash.ProcessContext) -> None:
        async def after(seconds: int) -> None:
            await ctx.sleep(seconds)
            await ctx.step(ledger.note, seconds)

        await ctx.gather(*(after(seconds) for seconds in (30, 10, 20)))

    await left(path, several, clock=clock)
    clock.advance(15)
    async with opened(path, several, clock=clock) as runtime:
        await has_come_to(lambda: ledger.runs == [10])
        await runtime.idle(30)
        clock.advance(5)
        await has_come_to(lambda: ledger.runs == [10, 20])
        await runtime.idle(30)
        clock.advance(10)
        await runtime.processes.handle("p").result(timeout=20)
    assert ledger.runs == [10, 20, 30]


async def test_what_a_process_that_sleeps_shows(path: Path) -> None:
    @lash.process
    async def long(ctx: lash.ProcessContext) -> None:
        await ctx.sleep(MONTH)

    async with opened(path, long) as runtime:
        await begun(runtime, long)

        async def shown() -> bool:
            return list(await recorded(runtime)) == ["sleep:1"]

        await settles(shown)
