"""Side by side in a process: all of several, whichever comes first, and plain asyncio, over restarts."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from process_harness import (
    Ledger,
    begun,
    charging,
    code_of,
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
from lash.testing import VirtualClock

__all__ = ["ledger", "location", "path"]

Together = Callable[..., Awaitable[Any]]


async def in_a_task_group(_: lash.ProcessContext, *work: Any) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
    return [task.result() for task in tasks]


async def gathered_by_asyncio(_: lash.ProcessContext, *work: Any) -> list[Any]:
    return list(await asyncio.gather(*work))


async def gathered(ctx: lash.ProcessContext, *work: Any) -> list[Any]:
    return await ctx.gather(*work)


WAYS: dict[str, Together] = {
    "ctx.gather": gathered,
    "asyncio.gather": gathered_by_asyncio,
    "TaskGroup": in_a_task_group,
}


# --- all of several -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
async def test_branches_that_finish_in_another_order_on_replay_keep_their_results(
    path: Path, ledger: Ledger, way: str
) -> None:
    """The first run stops `a` in its second step and `b` at its end; `a` is the faster one later."""
    gate = asyncio.Event()

    async def work(name: str, number: int) -> str:
        if name == "a" and number == 2 and not gate.is_set():
            await asyncio.Event().wait()
        return str(await ledger.note(f"{name}{number}"))

    @lash.process
    async def branching(ctx: lash.ProcessContext) -> Any:
        async def branch(name: str) -> str:
            return "".join([await ctx.step(work, name, number) for number in (1, 2, 3)])

        both = await WAYS[way](ctx, branch("a"), branch("b"))
        await ctx.step(ledger.note, "after")
        return [*both, await ctx.signal("go")]

    async with opened(path, branching) as runtime:
        await runtime.processes.start(branching, id="p")
        await has_come_to(lambda: "b3" in ledger.runs)
    assert ledger.runs == ["a1", "b1", "b2", "b3"]
    gate.set()
    for _ in range(2):
        await come_back(path, branching)
        assert ledger.runs == ["a1", "b1", "b2", "b3", "a2", "a3", "after"]
    assert await result_after_go(path, branching, payload=1) == ["a1a2a3", "b1b2b3", 1]
    assert ledger.runs == ["a1", "b1", "b2", "b3", "a2", "a3", "after"]


@pytest.mark.parametrize("way", WAYS)
async def test_equal_steps_of_branches_are_told_apart(path: Path, ledger: Ledger, way: str) -> None:
    @lash.process
    async def branching(ctx: lash.ProcessContext) -> Any:
        async def branch(name: str) -> Any:
            await ctx.signal(name)
            return await ctx.step(ledger.note, name, name="same")

        return await WAYS[way](ctx, branch("a"), branch("b"), branch("c"))

    await left(path, branching)
    for name in ("c", "a"):
        await signalled(path, branching, name=name)
    assert ledger.runs == ["c", "a"]
    async with opened(path, branching) as runtime:
        await runtime.processes.signal("p", "b")
        assert await runtime.processes.handle("p").result() == ["a", "b", "c"]
    assert ledger.runs == ["c", "a", "b"]


@pytest.mark.parametrize("way", WAYS)
async def test_effects_that_are_made_first_and_awaited_together_keep_their_order(
    path: Path, ledger: Ledger, way: str
) -> None:
    @lash.process
    async def branching(ctx: lash.ProcessContext) -> Any:
        got = await WAYS[way](ctx, *(ctx.step(ledger.note, each) for each in range(5)))
        await ctx.signal("go")
        return got

    await left(path, branching)
    assert await result_after_go(path, branching) == [0, 1, 2, 3, 4]
    assert sorted(ledger.runs, key=str) == [0, 1, 2, 3, 4]


async def test_branches_have_branches(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def nested(ctx: lash.ProcessContext) -> Any:
        async def leaf(name: str) -> Any:
            await ctx.step(ledger.note, name)
            return [name, await ctx.signal(name)]

        async def inner(name: str) -> Any:
            return await ctx.gather(leaf(f"{name}1"), leaf(f"{name}2"))

        return await ctx.gather(inner("a"), inner("b"))

    await left(path, nested)
    for number, name in enumerate(("b2", "a1", "b1")):
        await signalled(path, nested, name=name, payload=number)
    async with opened(path, nested) as runtime:
        await runtime.processes.signal("p", "a2", 3)
        assert await runtime.processes.handle("p").result() == [
            [["a1", 1], ["a2", 3]],
            [["b1", 2], ["b2", 0]],
        ]
    assert sorted(map(str, ledger.runs)) == ["a1", "a2", "b1", "b2"]


async def test_nothing_is_gathered_into_nothing(location: str | Path) -> None:
    @lash.process
    async def empty(ctx: lash.ProcessContext) -> Any:
        return await ctx.gather()

    async with opened(location, empty) as runtime:
        assert await (await runtime.processes.start(empty)).result() == []


async def test_the_first_failure_ends_the_others_and_decides_on_replay_too(
    path: Path, ledger: Ledger
) -> None:
    @lash.process
    async def failing(ctx: lash.ProcessContext) -> Any:
        async def slow() -> None:
            try:
                await ctx.sleep(timedelta(days=1))
            except asyncio.CancelledError:
                ledger.runs.append("given up")
                raise

        async def fails() -> None:
            await ctx.step(ledger.note, "tried")
            await ctx.step(charging(ledger))

        try:
            await ctx.gather(slow(), fails())
        except lash.StepError as error:
            await ctx.step(ledger.note, "after")
            return [error.message, await ctx.signal("go")]

    await left(path, failing)
    got = await result_after_go(path, failing, payload=1)
    assert got == ["Step 'charge' failed: ValueError: no", 1]
    assert ledger.runs == ["tried", "charge", "given up", "after"]


async def test_a_failure_that_nobody_catches_is_the_process_end(location: str | Path) -> None:
    @lash.process
    async def failing(ctx: lash.ProcessContext) -> Any:
        async def bad() -> None:
            await ctx.now()
            raise KeyError("gone")

        await ctx.gather(ctx.signal("never"), bad())

    async with opened(location, failing) as runtime:
        ended = await (await runtime.processes.start(failing)).outcome()
    assert ended == ProcessFailure(
        failure_class="execution", code="process_failed", message="KeyError: 'gone'"
    )


async def test_one_error_in_a_task_group_counts_for_itself(location: str | Path) -> None:
    @lash.process
    async def failing(ctx: lash.ProcessContext) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.signal("never"))
            group.create_task(ctx.step(charging(Ledger())))

    async with opened(location, failing) as runtime:
        handle = await runtime.processes.start(failing)
        assert await handle.outcome() == ProcessFailure(
            failure_class="execution",
            code="durable_step_failed",
            message="Step 'charge' failed: ValueError: no",
        )


# --- whichever comes first ------------------------------------------------------------------------------


async def test_a_race_that_was_decided_is_followed_on_replay(path: Path, ledger: Ledger) -> None:
    """The loser was in its second step: what it did not record is not done again."""
    clock = VirtualClock()

    async def forever() -> None:
        ledger.runs.append("second")
        await asyncio.Event().wait()

    @lash.process
    async def racing(ctx: lash.ProcessContext) -> Any:
        async def work() -> str:
            await ctx.step(ledger.note, "first")
            await ctx.step(forever)
            return "worked"

        async def deadline() -> object:
            await ctx.sleep(60)
            await ctx.step(ledger.note, "too late")
            return await ctx.step(ledger.note, "over")

        won = await ctx.race(work(), deadline())
        await ctx.step(ledger.note, "after")
        return [*won, await ctx.signal("go")]

    async with opened(path, racing, clock=clock) as runtime:
        await runtime.processes.start(racing, id="p")
        await has_come_to(lambda: "second" in ledger.runs)
        clock.advance(60)
        await has_come_to(lambda: "after" in ledger.runs)
        await runtime.idle(30)
    for _ in range(2):
        await come_back(path, racing, clock=clock)
    assert await result_after_go(path, racing, payload=1, clock=clock) == [1, "over", 1]
    assert ledger.runs == ["first", "second", "too late", "over", "after"]


async def test_losers_are_cancelled_before_the_race_is_over(
    location: str | Path, ledger: Ledger
) -> None:
    @lash.process
    async def racing(ctx: lash.ProcessContext) -> Any:
        async def loser() -> None:
            try:
                await ctx.signal("never")
            finally:
                ledger.runs.append("lost")

        got = await ctx.race(loser(), ctx.step(ledger.note, "won"), loser())
        ledger.runs.append("over")
        return list(got)

    async with opened(location, racing) as runtime:
        assert await (await runtime.processes.start(racing)).result() == [1, "won"]
    assert ledger.runs == ["won", "lost", "lost", "over"]


async def test_a_loser_that_cleans_up_may_ask_for_effects(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def racing(ctx: lash.ProcessContext) -> Any:
        async def loser() -> None:
            try:
                await ctx.signal("never")
            finally:
                await ctx.step(ledger.note, "cleaned")

        await ctx.race(loser(), ctx.sleep(0))
        await ctx.step(ledger.note, "after")
        return await ctx.signal("go")

    await left(path, racing)
    assert await result_after_go(path, racing, payload=1) == 1
    assert ledger.runs == ["cleaned", "after"]


async def test_the_first_to_fail_wins_with_its_failure(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def racing(ctx: lash.ProcessContext) -> Any:
        try:
            await ctx.race(ctx.signal("never"), ctx.step(charging(ledger)))
        except lash.StepError as error:
            return [error.code, await ctx.signal("go")]

    await left(path, racing)
    assert await result_after_go(path, racing, payload=1) == ["durable_step_failed", 1]
    assert ledger.runs == ["charge"]


async def test_a_race_in_a_branch_that_lost_is_no_matter(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def racing(ctx: lash.ProcessContext) -> Any:
        async def inner(name: str) -> Any:
            first = await ctx.race(ctx.step(ledger.note, name), ctx.signal("never"))
            return [*first, await ctx.signal(name)]

        got = await ctx.race(inner("a"), inner("b"))
        await ctx.step(ledger.note, "after")
        return [*got, await ctx.signal("go")]

    await left(path, racing)
    await signalled(path, racing, name="b", payload=1)
    assert await result_after_go(path, racing, payload=2) == [1, [0, "b", 1], 2]
    assert sorted(map(str, ledger.runs)) == ["a", "after", "b"]


async def test_a_race_of_nobody_is_refused(location: str | Path) -> None:
    @lash.process
    async def racing(ctx: lash.ProcessContext) -> str:
        try:
            await ctx.race()
        except ValueError as error:
            return str(error)
        return "it was run"

    async with opened(location, racing) as runtime:
        handle = await runtime.processes.start(racing)
        assert await handle.result() == "race needs at least one to run"


async def test_a_signal_that_a_loser_had_taken_is_the_next_waits(path: Path) -> None:
    """Both came at once, and both were recorded as taken before the race was decided."""

    @lash.process
    async def racing(ctx: lash.ProcessContext) -> list[Any]:
        first = await ctx.race(ctx.signal("stop"), ctx.signal("item"))
        got = [*first, await ctx.signal("item")]
        await ctx.signal("go")
        return [*got, await ctx.signal("item")]

    async with opened(path, racing) as runtime:
        handle = await runtime.processes.start(racing, id="p")
        await asyncio.gather(handle.signal("stop"), handle.signal("item", "kept"))
        await runtime.idle(30)
    for _ in range(2):
        await come_back(path, racing)
    async with opened(path, racing) as runtime:
        handle = runtime.processes.handle("p")
        await handle.signal("go")
        await handle.signal("item", "next")
        got = await handle.result()
    assert got in ([0, None, "kept", "next"], [1, "kept", "next", "never"])


@pytest.mark.parametrize(("days", "result"), [(2, [0, "ana", 1]), (3, [1, None, 1])])
async def test_a_signal_and_a_timer_race_also_over_restarts(
    path: Path, days: int, result: list[Any]
) -> None:
    clock = VirtualClock()

    @lash.process
    async def asking(ctx: lash.ProcessContext) -> Any:
        won = await ctx.race(ctx.signal("approved"), ctx.sleep(timedelta(days=3)))
        return [*won, await ctx.signal("go")]

    await left(path, asking, clock=clock)
    clock.advance(timedelta(days=days).total_seconds())
    async with opened(path, asking, clock=clock) as runtime:
        await runtime.idle(30)
        await runtime.processes.signal("p", "approved", "ana")
        await runtime.idle(30)
    clock.advance(timedelta(days=30).total_seconds())
    assert await result_after_go(path, asking, payload=1, clock=clock) == result


# --- tasks that plain asyncio makes ---------------------------------------------------------------------


async def test_tasks_of_its_own_are_branches(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def tasks(ctx: lash.ProcessContext) -> Any:
        async def background() -> Any:
            await ctx.step(ledger.note, "background", name="same")
            return await ctx.signal("go")

        task = asyncio.create_task(background())
        await ctx.step(ledger.note, "foreground", name="same")
        return await task

    await left(path, tasks)
    assert await result_after_go(path, tasks, payload=1) == 1
    assert sorted(map(str, ledger.runs)) == ["background", "foreground"]


async def test_tasks_that_nobody_waits_for_end_with_the_process(
    path: Path, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    @lash.process
    async def careless(ctx: lash.ProcessContext) -> str:
        async def background() -> None:
            try:
                await ctx.signal("never")
            except asyncio.CancelledError:
                ledger.runs.append("cancelled")
                with pytest.raises(asyncio.CancelledError):
                    await ctx.step(ledger.note, "too late")
                raise

        ledger.runs.append(asyncio.create_task(background()))
        await ctx.step(ledger.note, "done")
        return "ended"

    async with opened(path, careless) as runtime:
        handle = await runtime.processes.start(careless, id="p")
        assert await handle.result() == "ended"
        assert ledger.runs[1:] == ["done", "cancelled"]
    assert caplog.records == []


async def test_an_await_that_was_cancelled_by_the_code_itself_is_a_failure_of_its_own(
    location: str | Path,
) -> None:
    @lash.process
    async def cancelling(ctx: lash.ProcessContext) -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        await ctx.now()
        task.cancel()
        await task

    async with opened(location, cancelling) as runtime:
        ended = await (await runtime.processes.start(cancelling)).outcome()
    assert ended == ProcessFailure(
        failure_class="execution", code="process_failed", message="CancelledError"
    )


# --- where a context may be used ------------------------------------------------------------------------


async def test_a_context_is_of_no_use_outside_of_its_run(
    location: str | Path, ledger: Ledger
) -> None:
    contexts: list[lash.ProcessContext] = []

    @lash.process
    async def lending(ctx: lash.ProcessContext) -> None:
        contexts.append(ctx)
        await ctx.signal("go")

    @lash.process
    async def borrowing(ctx: lash.ProcessContext) -> str:
        await ctx.now()
        with pytest.raises(lash.LashError, match="outside of the run of its process") as raised:
            await contexts[0].step(ledger.note, "borrowed")
        return raised.value.code

    async with opened(location, lending, borrowing) as runtime:
        await begun(runtime, lending)
        uses: list[Callable[[lash.ProcessContext], object]] = [
            lambda ctx: ctx.step(ledger.note, "stolen"),
            lambda ctx: ctx.sleep(1),
            lambda ctx: ctx.signal("x"),
            lambda ctx: ctx.emit("x"),
            lambda ctx: ctx.start(borrowing),
            lambda ctx: ctx.gather(),
            lambda ctx: ctx.now(),
        ]
        for use in uses:
            with pytest.raises(lash.LashError) as raised:
                use(contexts[0])
            assert raised.value.code == "process_context_misused"
        handle = await runtime.processes.start(borrowing)
        assert await handle.result() == "process_context_misused"
    assert ledger.runs == []


async def test_a_step_may_not_ask_for_effects_of_its_own_process(
    location: str | Path, ledger: Ledger
) -> None:
    @lash.process
    async def nesting(ctx: lash.ProcessContext) -> str:
        async def outer() -> str:
            try:
                await ctx.step(ledger.note, "inner")
            except lash.LashError as error:
                return error.code
            return "it ran"

        async def in_a_task() -> str:
            return await asyncio.create_task(outer())

        return f"{await ctx.step(outer)} {await ctx.step(in_a_task)}"

    async with opened(location, nesting) as runtime:
        handle = await runtime.processes.start(nesting)
        assert await handle.result() == "process_context_misused process_context_misused"
    assert ledger.runs == []


async def test_the_journal_names_branches(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def branching(ctx: lash.ProcessContext) -> None:
        async def branch(name: str) -> None:
            await ctx.step(ledger.note, name)

        await ctx.gather(branch("a"), branch("b"))
        await asyncio.gather(branch("c"))
        await ctx.signal("go")

    async with opened(path, branching) as runtime:
        await begun(runtime, branching)
        assert sorted(await recorded(runtime)) == [
            "&g1.0|step:note:1:attempt:1",
            "&g1.1|step:note:1:attempt:1",
            "&t1|step:note:1:attempt:1",
        ]
        assert await code_of(runtime.processes.handle("q").outcome()) == "process_unknown"
    assert await outcome_after_go(path, branching) == ProcessSuccess(value=None)


async def outcome_after_go(path: Path, function: lash.ProcessFunction[..., Any]) -> Any:
    async with opened(path, run_processes=False) as runtime:
        await runtime.processes.signal("p", "go")
    return await outcome(path, function)
