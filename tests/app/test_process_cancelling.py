"""Asking processes to stop: told once, at a place that a replay finds again, and then let clean up."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
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
    outcome,
    path,
    quick,
    recorded,
    result_after_go,
    settles,
    signalled,
)

import lash
from lash.processes.outcomes import ProcessCancelled, ProcessFailure, ProcessSuccess
from lash.runtime.processes import controlling
from lash.testing import VirtualClock

__all__ = ["ledger", "location", "path"]

STOPPED = ProcessCancelled(message="enough")


@lash.process
async def sleeper(ctx: lash.ProcessContext) -> None:
    await ctx.sleep(timedelta(days=30))


async def flaky() -> None:
    raise OSError("down")


Wait = Callable[[lash.ProcessContext], Coroutine[Any, Any, Any]]


async def for_a_child(ctx: lash.ProcessContext) -> None:
    await (await ctx.start(sleeper)).result()


async def side_by_side(ctx: lash.ProcessContext) -> None:
    await ctx.gather(ctx.signal("a"), ctx.signal("b"), ctx.sleep(timedelta(days=1)))


async def in_a_task_group(ctx: lash.ProcessContext) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(ctx.signal("a"))
        group.create_task(ctx.signal("b"))


async def in_a_race(ctx: lash.ProcessContext) -> None:
    await ctx.race(ctx.signal("a"), for_a_child(ctx))


WAITS: dict[str, Wait] = {
    "a signal": lambda ctx: ctx.signal("never"),
    "a signal with a timeout": lambda ctx: ctx.signal("never", timeout=timedelta(days=1)),
    "a timer": lambda ctx: ctx.sleep(timedelta(days=1)),
    "a date": lambda ctx: ctx.sleep_until(datetime(2999, 1, 1, tzinfo=UTC)),
    "a child": for_a_child,
    "the next attempt": lambda ctx: ctx.step(flaky, retry=lash.StepRetry(base_delay_ms=100_000)),
    "several": side_by_side,
    "a task group": in_a_task_group,
    "a race": in_a_race,
}


def waiting_for(what: str) -> lash.ProcessFunction[[], None]:
    @lash.process(name="waiting")
    async def waiting(ctx: lash.ProcessContext) -> None:
        await WAITS[what](ctx)

    return waiting


# --- where it is told -----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", WAITS)
async def test_a_process_that_waits_is_told_where_it_waits(location: str | Path, what: str) -> None:
    function = waiting_for(what)
    async with opened(location, function, sleeper) as runtime:
        handle = await begun(runtime, function)
        record = await handle.cancel("enough")
        assert (record.process_id, record.retired) == ("p", False)
        assert await handle.outcome(timeout=20) == STOPPED
        assert (await handle.status()).status == "cancelled"
        with pytest.raises(lash.ProcessError, match="was cancelled: enough") as raised:
            await handle.result()
        assert raised.value.code == "process_cancelled"


@pytest.mark.parametrize("what", WAITS)
async def test_a_process_that_nobody_runs_is_told_when_it_is_run_again(
    path: Path, what: str
) -> None:
    function = waiting_for(what)
    await left(path, function, also=[sleeper])
    async with opened(path, run_processes=False) as runtime:
        for _ in range(2):  # the same request
            record = await runtime.processes.cancel("p", "enough")
            assert record.status in {"running", "waiting"}
    async with opened(path, function, sleeper) as runtime:
        assert await runtime.processes.handle("p").outcome(timeout=20) == STOPPED
        assert await asked(runtime) == [{"reason": "enough"}]


async def asked(runtime: lash.Runtime) -> list[object]:
    """What process `p` was asked to stop with, in order."""
    return [
        each.payload
        for each in await runtime.processes.events("p")
        if each.event_type == "process.cancel_requested"
    ]


async def test_another_runtime_may_ask_it_to_stop(path: Path) -> None:
    function = waiting_for("a signal")
    async with opened(path, function) as runtime, opened(path, run_processes=False) as other:
        handle = await begun(runtime, function)
        await other.processes.cancel("p", "enough")
        assert await handle.outcome(timeout=20) == STOPPED


async def test_a_step_under_way_comes_to_its_end_first(
    location: str | Path, ledger: Ledger
) -> None:
    gate = asyncio.Event()

    async def work() -> str:
        await gate.wait()
        return str(await ledger.note("worked"))

    @lash.process
    async def working(ctx: lash.ProcessContext) -> None:
        ledger.runs.append("began")
        ledger.runs.append(await ctx.step(work))
        await ctx.step(ledger.note, "too much")

    async with opened(location, working) as runtime:
        handle = await runtime.processes.start(working, id="p")
        await has_come_to(lambda: ledger.runs)
        await handle.cancel("enough")
        gate.set()
        assert await handle.outcome(timeout=20) == STOPPED
    assert ledger.runs == ["began", "worked", "worked"]


async def test_a_process_that_asks_for_nothing_more_comes_to_its_end_all_the_same(
    location: str | Path, ledger: Ledger
) -> None:
    gate = asyncio.Event()

    @lash.process
    async def working(ctx: lash.ProcessContext) -> str:
        ledger.runs.append("began")
        await ctx.step(gate.wait)
        return "done"

    async with opened(location, working) as runtime:
        handle = await runtime.processes.start(working, id="p")
        await has_come_to(lambda: ledger.runs)
        await handle.cancel("enough")
        gate.set()
        assert await handle.outcome(timeout=20) == ProcessSuccess(value="done")


async def test_a_step_that_does_not_come_to_its_end_is_stopped_after_a_while(
    location: str | Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controlling, "GRACE_S", 0.05)

    async def hangs() -> None:
        ledger.runs.append("hangs")
        await asyncio.Event().wait()

    @lash.process
    async def hanging(ctx: lash.ProcessContext) -> Any:
        try:
            await ctx.step(hangs)
        except lash.ProcessCancelledError as error:
            await ctx.step(ledger.note, "cleaned")
            return [error.reason, await ctx.signal("go")]

    async with opened(location, hanging) as runtime:
        handle = await runtime.processes.start(hanging, id="p")
        await has_come_to(lambda: ledger.runs)
        await handle.cancel("enough")
        await has_come_to(lambda: "cleaned" in ledger.runs)
        await handle.signal("go", 1)
        assert await handle.result(timeout=20) == ["enough", 1]
    assert ledger.runs == ["hangs", "cleaned"]


async def test_a_process_that_was_not_begun_is_told_at_its_first_effect(
    path: Path, ledger: Ledger
) -> None:
    @lash.process
    async def fresh(ctx: lash.ProcessContext) -> None:
        ledger.runs.append("began")
        await ctx.step(ledger.note, "too much")

    async with opened(path, fresh, run_processes=False) as runtime:
        handle = await runtime.processes.start(fresh, id="p")
        await handle.cancel("enough")
    assert await outcome(path, fresh) == STOPPED
    assert ledger.runs == ["began"]


# --- what comes of it -----------------------------------------------------------------------------------


def cleaning(ledger: Ledger) -> lash.ProcessFunction[[], Any]:
    @lash.process(name="cleaning")
    async def cleaning(ctx: lash.ProcessContext) -> Any:
        seen = [ctx.cancelled]
        await ctx.step(ledger.note, "reserved")
        seen.append(ctx.cancelled)
        try:
            await ctx.signal("never")
        except lash.ProcessCancelledError as error:
            seen.append(ctx.cancelled)
            await ctx.step(ledger.note, f"released: {error.reason}")
            await ctx.signal("go")
            await ctx.step(ledger.note, "told the customer")
            raise
        finally:
            ledger.runs.append(tuple(seen))

    return cleaning


async def cleans_up_to_its_end(
    path: Path, function: lash.ProcessFunction[[], Any], ledger: Ledger
) -> None:
    async with opened(path, function) as runtime:
        await runtime.processes.signal("p", "go")
        assert await runtime.processes.handle("p").outcome(timeout=20) == STOPPED
    assert [each for each in ledger.runs if isinstance(each, str)] == [
        "reserved",
        "released: enough",
        "told the customer",
    ]


async def test_cleaning_up_goes_on_over_restarts(path: Path, ledger: Ledger) -> None:
    function = cleaning(ledger)
    async with opened(path, function) as runtime:
        handle = await begun(runtime, function)
        await handle.cancel("enough")
        await has_come_to(lambda: len(ledger.runs) == 2)
        await runtime.idle(30)
        await handle.cancel("really")  # it was told, and is not told again
        await runtime.idle(30)
        assert (await handle.status()).outcome is None
    await come_back(path, function)
    await cleans_up_to_its_end(path, function, ledger)
    assert {each for each in ledger.runs if isinstance(each, tuple)} == {(False, False, True)}


async def test_a_process_is_told_at_the_same_place_on_replay(path: Path, ledger: Ledger) -> None:
    """Two waits side by side: the second run is ready in another order and is told where the first was."""

    @lash.process
    async def pair(ctx: lash.ProcessContext) -> Any:
        async def branch(name: str) -> str:
            try:
                await ctx.signal(name)
            except lash.ProcessCancelledError:
                await ctx.step(ledger.note, f"{name} was told")
                return "told"
            return "went on"

        got = await ctx.gather(branch("a"), branch("b"))
        await ctx.signal("go")
        return got

    async with opened(path, pair) as runtime:
        handle = await begun(runtime, pair)
        await handle.cancel()
        await has_come_to(lambda: ledger.runs)
        await runtime.idle(30)
    await signalled(path, pair, name="b")
    assert await result_after_go(path, pair) == ["told", "went on"]
    assert ledger.runs == ["a was told"]


async def test_a_process_that_returns_a_value_all_the_same_has_completed(
    location: str | Path,
) -> None:
    @lash.process
    async def polite(ctx: lash.ProcessContext) -> str:
        try:
            await ctx.signal("never")
        except lash.ProcessCancelledError as error:
            return f"stopped: {error.reason}"
        return "went on"

    async with opened(location, polite) as runtime:
        handle = await begun(runtime, polite)
        await handle.cancel()
        assert await handle.outcome(timeout=20) == ProcessSuccess(value="stopped: None")


async def test_a_process_that_fails_while_it_cleans_up_has_failed(location: str | Path) -> None:
    @lash.process
    async def clumsy(ctx: lash.ProcessContext) -> None:
        try:
            await ctx.signal("never")
        finally:
            raise ValueError("cannot clean up")

    async with opened(location, clumsy) as runtime:
        handle = await begun(runtime, clumsy)
        await handle.cancel("enough")
        assert await handle.outcome(timeout=20) == ProcessFailure(
            failure_class="execution",
            code="process_failed",
            message="ValueError: cannot clean up",
        )


async def test_it_is_told_once_however_often_it_is_asked(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def stubborn(ctx: lash.ProcessContext) -> Any:
        try:
            await ctx.signal("a")
        except lash.ProcessCancelledError as error:
            ledger.runs.append(error.reason)
        return await ctx.signal("b")

    async with opened(path, stubborn) as runtime:
        handle = await begun(runtime, stubborn)
        for reason in ("first", "first", "second", None):
            await handle.cancel(reason)
        await has_come_to(lambda: ledger.runs)
        assert await asked(runtime) == [{"reason": "first"}, {"reason": "second"}, {}]
    async with opened(path, stubborn) as runtime:
        handle = runtime.processes.handle("p")
        await handle.cancel("third")
        await handle.signal("b", "went on")
        assert await handle.result(timeout=20) == "went on"
    assert set(ledger.runs) == {"first"}


async def test_what_has_ended_stays_as_it_is(location: str | Path) -> None:
    async with opened(location, quick) as runtime:
        handle = await runtime.processes.start(quick, "done", id="p")
        assert await handle.result(timeout=20) == "done"
        before = await runtime.processes.events("p")
        assert (await handle.cancel("too late")).status == "completed"
        assert (await runtime.processes.cancel("p")).status == "completed"
        assert await code_of(runtime.processes.abandon("p")) == "process_already_terminal"
        assert await handle.outcome() == ProcessSuccess(value="done")
        assert await runtime.processes.events("p") == before


async def test_what_is_not_there_cannot_be_asked(location: str | Path) -> None:
    async with opened(location, quick) as runtime:
        assert await code_of(runtime.processes.cancel("p")) == "process_unknown"
        await (await runtime.processes.start(quick, id="p")).result()
        await runtime.processes.prune()
        assert await code_of(runtime.processes.cancel("p")) == "process_no_longer_retained"


async def test_a_signal_that_was_taken_is_not_lost_by_being_told(path: Path) -> None:
    """Signal and request come at once: either the wait has the signal, or the next one has."""

    @lash.process
    async def both(ctx: lash.ProcessContext) -> Any:
        try:
            first = await ctx.signal("item")
        except lash.ProcessCancelledError:
            first = "told"
        try:
            return [first, await ctx.signal("item", timeout=0)]
        except lash.ProcessCancelledError:
            return [first, "told"]
        except lash.WaitError:
            return [first, "nothing"]

    for _ in range(5):
        async with opened(":memory:", both) as runtime:
            handle = await begun(runtime, both)
            await asyncio.gather(handle.signal("item", 1), handle.cancel())
            assert await handle.result(timeout=20) in (["told", 1], [1, "told"])


async def test_a_process_that_is_told_while_its_runtime_closes_is_told_again(
    path: Path, ledger: Ledger
) -> None:
    function = cleaning(ledger)
    async with opened(path, function) as runtime:
        handle = await begun(runtime, function)
        await handle.cancel("enough")
    await cleans_up_to_its_end(path, function, ledger)


async def test_it_is_not_told_again_in_its_next_segment(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def going_on(ctx: lash.ProcessContext, told: bool = False) -> Any:
        try:
            assert ctx.cancelled is told
            got = await ctx.signal("a" if not told else "b")
        except lash.ProcessCancelledError:
            ledger.runs.append("told")
            ctx.continue_as_new(told=True)
        return got

    async with opened(path, going_on) as runtime:
        handle = await begun(runtime, going_on)
        await handle.cancel()
        await has_come_to(lambda: ledger.runs)
        await settles(lambda: in_segment(runtime, 1))
    await come_back(path, going_on)
    async with opened(path, going_on) as runtime:
        await runtime.processes.signal("p", "b", 1)
        assert await runtime.processes.handle("p").result(timeout=20) == 1
    assert ledger.runs == ["told"]


async def in_segment(runtime: lash.Runtime, ordinal: int) -> bool:
    return (await runtime.processes.get("p")).state.segment.ordinal == ordinal


# --- children -------------------------------------------------------------------------------------------


async def test_a_parent_may_stop_its_child(path: Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        child = await ctx.start(sleeper)
        await ctx.signal("go")
        await child.cancel("not needed")
        outcome = await child.outcome()
        try:
            await child.result()
        except lash.ProcessError as error:
            return [error.code, outcome == ProcessCancelled(message="not needed")]

    await left(path, parent)
    assert await result_after_go(path, parent, sleeper) == ["process_cancelled", True]


async def test_a_child_goes_on_when_its_parent_is_stopped(location: str | Path) -> None:
    function = waiting_for("a child")
    async with opened(location, function, sleeper) as runtime:
        handle = await begun(runtime, function)
        await handle.cancel("enough")
        assert await handle.outcome(timeout=20) == STOPPED
        (child,) = await runtime.processes.list(parent="p")
        assert child.state.cancel is None
        assert not child.retired


async def test_a_timer_that_was_broken_off_stays_broken_off(path: Path, ledger: Ledger) -> None:
    clock = VirtualClock()

    @lash.process
    async def timing(ctx: lash.ProcessContext) -> Any:
        try:
            await ctx.sleep(60)
        except lash.ProcessCancelledError:
            await ctx.step(ledger.note, "told")
        await ctx.sleep(60)
        return "slept"

    async with opened(path, timing, clock=clock) as runtime:
        handle = await begun(runtime, timing)
        await handle.cancel()
        await has_come_to(lambda: ledger.runs)
        await runtime.idle(30)
        assert (
            await recorded(runtime)
            == [
                "sleep:1",
                "cancelled",
                "step:note:1:attempt:1:readings:1",  # that it was told is written before anything is done
                "step:note:1:attempt:1",
                "sleep:2",
            ]
        )
    clock.advance(3600)
    assert await outcome(path, timing, clock=clock) == ProcessSuccess(value="slept")
    assert ledger.runs == ["told"]
