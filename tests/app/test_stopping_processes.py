"""A process is asked to stop, and told so once, at a place that is recorded; or it is given up."""

import asyncio
from pathlib import Path

import pytest
from processes_harness import Ledger, opened, rested, until

import lash
from lash.processes.outcomes import (
    ProcessAbandoned,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p.db"


@lash.process
async def waits(ctx: lash.ProcessContext, what: str) -> str:
    match what:
        case "signal":
            await ctx.signal("never")
        case "timer":
            await ctx.sleep(3600)
        case "child":
            child = await ctx.start(waits, "signal")
            await child.result()
        case "branches":
            await ctx.gather(ctx.signal("never"), ctx.sleep(3600))
    return "?"


@pytest.mark.parametrize("what", ["signal", "timer", "child", "branches"])
async def test_a_process_that_waits_stops_where_it_waits(path: Path, what: str) -> None:
    async with opened(path, [waits]) as runtime:
        handle = await runtime.processes.start(waits, what)
        await rested(runtime)
        asked = await handle.cancel("enough")
        assert asked.process_id == handle.id
        assert await handle.outcome(timeout=5) == ProcessCancelled(message="enough")
        with pytest.raises(lash.ProcessError) as stopped:
            await handle.result()
        assert stopped.value.code == "process_cancelled"


async def test_cleaning_up_goes_on_over_a_restart(path: Path) -> None:
    ledger = Ledger()

    @lash.process
    async def tidy(ctx: lash.ProcessContext) -> str:
        await ctx.step(ledger.do, "book")
        try:
            await ctx.signal("paid")
        except lash.ProcessCancelledError as stop:
            assert ctx.cancelled
            await ctx.step(ledger.do, f"undo: {stop.reason}")
            await ctx.signal("undone")  # what is asked for from here on runs, and waits
            raise
        return "paid"

    async with opened(path, [tidy]) as runtime:
        await runtime.processes.start(tidy, id="t")
        await rested(runtime)
        await runtime.processes.cancel("t", "no")
        await until(lambda: ledger.ran["undo: no"] == 1)
        await rested(runtime)
        await runtime.processes.cancel("t", "really")  # it was told, and is not told again
        await rested(runtime)
        assert (await runtime.processes.get("t")).outcome is None
    async with opened(path, [tidy]) as runtime:
        await rested(runtime)
        await runtime.processes.signal("t", "undone")
        outcome = await runtime.processes.handle("t").outcome(timeout=5)
    assert outcome == ProcessCancelled(message="no")
    assert ledger.ran == {"book": 1, "undo: no": 1}


async def test_a_step_under_way_comes_to_its_end_first(path: Path) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        begun.set()
        await end.wait()
        return "done"

    @lash.process
    async def steps(ctx: lash.ProcessContext) -> str:
        said = await ctx.step(slow)
        try:
            await ctx.step(abs, -1)
        except lash.ProcessCancelledError:
            return f"{said}, then stopped"
        return "?"

    async with opened(path, [steps]) as runtime:
        handle = await runtime.processes.start(steps)
        await begun.wait()
        await handle.cancel()
        end.set()
        assert await handle.outcome(timeout=5) == ProcessSuccess(value="done, then stopped")


async def test_a_request_that_came_while_nobody_ran_it_is_kept(path: Path) -> None:
    async with opened(path, [waits]) as runtime:
        await runtime.processes.start(waits, "signal", id="w")
        await rested(runtime)
    async with lash.Runtime(path, run_processes=False) as other:
        await other.processes.cancel("w", "later")
        await other.processes.cancel("w", "later")  # the same request
    async with opened(path, [waits]) as runtime:
        assert await runtime.processes.handle("w").outcome(timeout=5) == ProcessCancelled(
            message="later"
        )
        log = await runtime.processes.events("w")
    assert [event.event_type for event in log].count("process.cancel_requested") == 1


async def test_what_has_ended_stays_as_it_is(path: Path) -> None:
    @lash.process
    async def quick(ctx: lash.ProcessContext) -> int:
        return 7

    async with opened(path, [quick]) as runtime:
        handle = await runtime.processes.start(quick)
        assert await handle.result(timeout=5) == 7
        assert (await handle.cancel("late")).status == "completed"
        with pytest.raises(lash.LashError) as refused:
            await runtime.processes.abandon(handle.id)
        assert refused.value.code == "process_already_terminal"


async def test_a_cancelled_child_is_an_error_to_its_parent(path: Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> str:
        child = await ctx.start(waits, "signal")
        await child.cancel("not needed")
        try:
            await child.result()
        except lash.ProcessError as error:
            return error.code
        return "?"

    async with opened(path, [parent, waits]) as runtime:
        handle = await runtime.processes.start(parent)
        assert await handle.result(timeout=5) == "process_cancelled"


async def test_a_process_is_given_up_live_parked_or_done_elsewhere(path: Path) -> None:
    @lash.process(name="waits")
    async def other(ctx: lash.ProcessContext) -> None:
        return None

    async with opened(path, [waits]) as runtime:
        live = await runtime.processes.start(waits, "signal", id="live")
        await rested(runtime)
        await runtime.processes.abandon("live", by="ana", reason="gone")
        ended = await live.outcome(timeout=5)
        assert isinstance(ended, ProcessAbandoned)
        assert ended.evidence.writer == "reconciled_request"
        outside = await runtime.processes.start_external({"name": "print"}, id="print")
        await runtime.processes.abandon("print")
        assert isinstance(await outside.outcome(timeout=5), ProcessAbandoned)
        await runtime.processes.start(waits, "signal", id="parked")
        await rested(runtime)
    async with opened(path, []) as runtime:
        await rested(runtime)
        await runtime.processes.abandon("parked")
        with pytest.raises(lash.ProcessError) as given_up:
            await runtime.processes.handle("parked").result(timeout=5)
    assert given_up.value.code == "process_abandoned"


async def test_bound_work_is_given_up_when_its_worker_shuts_down_and_other_work_is_not(
    path: Path,
) -> None:
    @lash.process(recovery="owner_bound")
    async def bound(ctx: lash.ProcessContext) -> None:
        await ctx.signal("never")

    async with opened(path, [bound, waits]) as runtime:
        await runtime.processes.start(bound, id="b")
        await runtime.processes.start(waits, "signal", id="w")
        await rested(runtime)
    async with opened(path, [bound, waits]) as runtime:
        ended = await runtime.processes.handle("b").outcome(timeout=5)
        assert isinstance(ended, ProcessAbandoned)
        assert ended.evidence.writer == "owner_drain"
        assert (await runtime.processes.get("w")).outcome is None


async def test_work_elsewhere_is_completed_by_who_does_it(path: Path) -> None:
    async with opened(path, [waits]) as runtime:
        processes = runtime.processes
        job = await processes.start_external(
            {"title": "Print 40 pages"}, id="job", reference=("cups", "17")
        )
        record = await job.status()
        assert record.registration.identity.label == "Print 40 pages"
        assert record.state.external_ref is not None
        assert (record.state.external_ref.backend, record.state.external_ref.id) == ("cups", "17")
        await rested(runtime)  # nobody here runs it, so it keeps nobody busy
        await processes.complete("job", {"pages": 40})
        assert await job.result(timeout=5) == {"pages": 40}
        await processes.complete("job", {"pages": 40})  # said twice
        with pytest.raises(lash.LashError) as otherwise:
            await processes.fail("job", "jam")
        assert otherwise.value.code == "process_already_terminal"
        failed = await processes.start_external(id="other")
        await processes.fail("other", "no paper", code="printer_empty")
        assert await failed.outcome() == ProcessFailure(
            failure_class="external", code="printer_empty", message="no paper"
        )
        ours = await processes.start(waits, "signal", id="ours")
        with pytest.raises(lash.LashError) as refused:
            await processes.complete("ours", 1)
        assert refused.value.code == "process_completion_refused"
        assert (await ours.status()).outcome is None
