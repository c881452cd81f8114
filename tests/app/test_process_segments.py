"""Continuing as new: the journal begins again, and nothing else does."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from process_harness import (
    Ledger,
    begun,
    code_of,
    come_back,
    has_come_to,
    ledger,
    left,
    location,
    opened,
    path,
    recorded,
    result_after_go,
)

import lash
from lash.processes.outcomes import ProcessFailure

__all__ = ["ledger", "location", "path"]


def summing(ledger: Ledger) -> lash.ProcessFunction[..., Any]:
    @lash.process(name="summing")
    async def summing(ctx: lash.ProcessContext, sums: list[int] | None = None) -> list[int]:
        """Three segments of two signals each."""
        done = list(sums or [])
        first, second = await ctx.signal("item"), await ctx.signal("item")
        await ctx.step(ledger.note, first + second)
        done.append(first + second)
        if len(done) < 3:
            ctx.continue_as_new(done)
        return done

    return summing


async def segment(runtime: lash.Runtime) -> int:
    return (await runtime.processes.get("p")).state.segment.ordinal


async def test_signals_that_were_not_taken_are_the_next_segments(
    location: str | Path, ledger: Ledger
) -> None:
    function = summing(ledger)
    async with opened(location, function) as runtime:
        handle = await begun(runtime, function)
        for number in range(6):
            await handle.signal("item", number)
        assert await handle.result(timeout=20) == [1, 5, 9]
    assert ledger.runs == [1, 5, 9]


async def test_segments_go_on_over_restarts(path: Path, ledger: Ledger) -> None:
    function = summing(ledger)
    await left(path, function)
    for number in range(5):
        async with opened(path, function) as runtime:
            await runtime.processes.signal("p", "item", number)
            await runtime.idle(30)
            assert await segment(runtime) == (number + 1) // 2
    async with opened(path, function) as runtime:
        await runtime.processes.signal("p", "item", 5)
        assert await runtime.processes.handle("p").result(timeout=20) == [1, 5, 9]
    assert ledger.runs == [1, 5, 9]


async def test_who_waits_notices_nothing(path: Path, ledger: Ledger) -> None:
    function = summing(ledger)

    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        return await (await ctx.start(function, id="p")).result()

    async with opened(path, function, parent) as runtime:
        above = await runtime.processes.start(parent, id="parent")
        await runtime.idle(30)
        handle = runtime.processes.handle("p")
        waiting = asyncio.create_task(handle.result(timeout=30))
        for number in range(6):
            await handle.signal("item", number)
            await runtime.idle(30)
        assert await waiting == await above.result(timeout=20) == [1, 5, 9]
        assert (await handle.status()).state.segment.ordinal == 2


async def test_two_waits_side_by_side_leave_the_right_signals_behind(
    path: Path, ledger: Ledger
) -> None:
    """The later signal of two was taken before the segment ended, the earlier one too, a third was not."""

    @lash.process
    async def pair(ctx: lash.ProcessContext, before: list[Any] | None = None) -> Any:
        if before is None:
            taken = await ctx.gather(ctx.signal("item"), ctx.signal("item"))
            await ctx.signal("go")
            ctx.continue_as_new([*taken])
        return [before, await ctx.signal("item")]

    async with opened(path, pair) as runtime:
        handle = await begun(runtime, pair)
        for number in range(3):
            await handle.signal("item", number)
        await runtime.idle(30)
    assert await result_after_go(path, pair) == [[0, 1], 2]


async def test_a_segment_has_a_journal_and_children_of_its_own(path: Path) -> None:
    @lash.process
    async def child(ctx: lash.ProcessContext, number: int) -> int:
        return number

    @lash.process
    async def rounds(ctx: lash.ProcessContext, number: int = 0) -> list[str]:
        started = await ctx.start(child, number)
        assert await started.result() == number
        await ctx.signal("go")
        if number < 2:
            ctx.continue_as_new(number + 1)
        return [started.id]

    async with opened(path, rounds, child) as runtime:
        await begun(runtime, rounds)
        for scope in ("p", "p#1", "p#2"):
            assert await recorded(runtime, scope) == ["start:1", "result:1"]
            await runtime.processes.signal("p", "go")
            await runtime.idle(30)
        children = await runtime.processes.list(status="any", parent="p")
        assert len({each.process_id for each in children}) == 3
        assert all("#" not in each.process_id for each in children)


@pytest.mark.parametrize("caught", [True, False])
@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("many",), "process_arguments_invalid"),
        ((1, 2), "process_arguments_invalid"),
        ((float("nan"),), "value_not_json"),
    ],
)
async def test_arguments_of_the_next_segment_are_checked(
    location: str | Path, args: tuple[Any, ...], code: str, caught: bool
) -> None:
    @lash.process
    async def going_on(ctx: lash.ProcessContext, number: int = 0) -> str:
        try:
            ctx.continue_as_new(*args)
        except lash.LashError as error:
            if caught:
                return error.code
            raise

    async with opened(location, going_on) as runtime:
        handle = await runtime.processes.start(going_on, id="p")
        if caught:
            assert await handle.result(timeout=20) == code
        else:
            assert await code_of(handle.result(timeout=20)) == code
        assert (await handle.status()).state.segment.ordinal == 0


@pytest.mark.parametrize("where", ["gather", "task", "step"])
async def test_a_branch_cannot_end_the_run_of_all(location: str | Path, where: str) -> None:
    @lash.process
    async def branching(ctx: lash.ProcessContext, number: int = 0) -> None:
        async def branch() -> None:
            if where == "task":
                await ctx.now()
            ctx.continue_as_new(1)

        if where == "gather":
            await ctx.gather(branch(), ctx.signal("never"))
        elif where == "task":
            await asyncio.create_task(branch())
        else:
            await ctx.step(branch)

    async with opened(location, branching) as runtime:
        ended = await (await runtime.processes.start(branching)).outcome(timeout=20)
    assert isinstance(ended, ProcessFailure)
    assert "misused" in ended.message


async def test_it_passes_by_whoever_catches_errors(location: str | Path, ledger: Ledger) -> None:
    @lash.process
    async def careful(ctx: lash.ProcessContext, number: int = 0) -> int:
        try:
            if number < 2:
                ctx.continue_as_new(number + 1)
        except Exception:
            return -1
        finally:
            await ctx.step(ledger.note, number)
        return number

    async with opened(location, careful) as runtime:
        assert await (await runtime.processes.start(careful)).result(timeout=20) == 2
    assert ledger.runs == [0, 1, 2]


async def test_a_run_that_is_stopped_between_two_segments_goes_on_in_the_second(
    path: Path, ledger: Ledger
) -> None:
    @lash.process
    async def rounds(ctx: lash.ProcessContext, number: int = 0) -> int:
        ledger.runs.append(number)
        if number == 0:
            ctx.continue_as_new(1)
        await ctx.signal("go")
        return number

    stop: list[lash.Runtime] = []

    def at_the_seam(seam: str) -> None:
        if seam == "process.continue.after":
            stop[0].engine.processes.worker.runs["p"].stop()

    async with opened(path, rounds, seams=at_the_seam) as runtime:
        stop.append(runtime)
        await runtime.processes.start(rounds, id="p")
        await has_come_to(lambda: not runtime.engine.processes.worker.runs)
    assert ledger.runs == [0]
    assert (await come_back(path, rounds)).state.segment.ordinal == 1
    assert await result_after_go(path, rounds) == 1
    assert set(ledger.runs[1:]) == {1}


async def test_a_process_may_go_on_for_ever(path: Path) -> None:
    @lash.process
    async def ticking(ctx: lash.ProcessContext, number: int = 0) -> int:
        await ctx.step(lambda: number, name="tick")
        if number < 200:
            ctx.continue_as_new(number + 1)
        return number

    async with opened(path, ticking) as runtime:
        handle = await runtime.processes.start(ticking, id="p")
        assert await handle.result(timeout=30) == 200
        assert (await handle.status()).state.segment.ordinal == 200
