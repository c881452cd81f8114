"""Looking at processes, ending those that others do, giving up, draining and forgetting."""

import asyncio
from datetime import timedelta
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
    settles,
    waits,
)

import lash
from lash.processes.listing import Pruned, Upserted
from lash.processes.model import ExternalRef, HostOriginator, SessionOriginator
from lash.processes.outcomes import (
    NoLongerRetained,
    ProcessAbandoned,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)
from lash.testing import VirtualClock

__all__ = ["ledger", "location", "path"]


# --- work of others -------------------------------------------------------------------------------------


async def test_work_of_others_is_recorded_and_ended_by_them(path: Path) -> None:
    async with opened(path) as runtime:
        processes = runtime.processes
        handle = await processes.start_external(
            {"title": "Import", "rows": 7}, id="p", session="s", reference=("airflow", "run-1")
        )
        await runtime.idle(10)
        record = await handle.status()
        assert record.status == "running"
        assert record.registration.identity.label == "Import"
        assert record.state.external_ref == ExternalRef(backend="airflow", id="run-1")
        assert [each.process_id for each in await processes.list(session="s")] == ["p"]
    async with opened(path) as runtime:
        await runtime.processes.complete("p", {"rows": 7}, granted_to="airflow")
        assert await runtime.processes.handle("p").result() == {"rows": 7}


async def test_whoever_did_the_work_may_also_say_that_it_failed_or_was_stopped(
    location: str | Path,
) -> None:
    async with opened(location) as runtime:
        processes = runtime.processes
        for name in ("a", "b"):
            await processes.start_external(id=name)
        await processes.fail("a", "no rows", code="import_empty")
        await processes.complete_cancelled("b", "not needed")
        assert await processes.handle("a").outcome() == ProcessFailure(
            failure_class="external", code="import_empty", message="no rows"
        )
        assert await processes.handle("b").outcome() == ProcessCancelled(message="not needed")


async def test_an_end_is_said_once(location: str | Path) -> None:
    async with opened(location) as runtime:
        processes = runtime.processes
        await processes.start_external(id="p")
        first = await processes.complete("p", 1)
        assert (await processes.complete("p", 1)).change == first.change
        assert await code_of(processes.complete("p", 2)) == "process_already_terminal"
        assert await code_of(processes.fail("p", "no")) == "process_already_terminal"
        assert await code_of(processes.complete("q", 1)) == "process_unknown"
        assert await code_of(processes.complete("p", object())) == "value_not_json"
        assert await processes.handle("p").result() == 1


async def test_what_lash_runs_is_not_ended_by_others(location: str | Path) -> None:
    async with opened(location, waits) as runtime:
        handle = await begun(runtime, waits)
        processes = runtime.processes
        assert await code_of(processes.complete("p", 1)) == "process_completion_refused"
        assert await code_of(processes.fail("p", "no")) == "process_completion_refused"
        assert await code_of(processes.complete_cancelled("p", "")) == "process_completion_refused"
        await handle.signal("go", "undisturbed")
        assert await handle.result(timeout=20) == "undisturbed"


async def test_a_parent_may_wait_for_work_of_others(path: Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        return await ctx.signal("imported")

    async with opened(path, parent) as runtime:
        handle = await begun(runtime, parent)
        await runtime.processes.start_external(id="import")
        await runtime.processes.signal("import", "progress", 0.5)  # kept in its log
        await runtime.processes.complete("import", 7)
        await handle.signal("imported", await runtime.processes.handle("import").result())
        assert await handle.result(timeout=20) == 7


# --- giving up ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["a step", "a signal"])
async def test_a_live_process_is_dropped_without_another_word(
    location: str | Path, ledger: Ledger, where: str
) -> None:
    @lash.process
    async def hanging(ctx: lash.ProcessContext) -> None:
        try:
            if where == "a signal":
                await ctx.signal("never")
            await ctx.step(asyncio.Event().wait, name="hangs")
        finally:
            await ctx.step(ledger.note, "another word")

    async with opened(location, hanging) as runtime:
        handle = await runtime.processes.start(hanging, id="p")
        if where == "a signal":
            await runtime.idle(30)
        await runtime.processes.abandon("p", by="ana", reason="hangs")
        ended = await handle.outcome(timeout=20)
        assert isinstance(ended, ProcessAbandoned)
        assert ended.evidence.writer == "reconciled_request"
        assert (await handle.status()).state.abandon_request is not None
        assert await code_of(handle.result()) == "process_abandoned"
        assert await code_of(runtime.processes.abandon("p")) == "process_already_terminal"
    assert ledger.runs == []


async def test_what_nobody_can_run_is_given_up_by_whoever_is_there(path: Path) -> None:
    await left(path, waits)
    async with opened(path) as runtime:
        await runtime.idle(30)
        assert (await runtime.processes.get("p")).state.parked is not None
        await runtime.processes.abandon("p", reason="the code is gone for good")
        handle = runtime.processes.handle("p")
        ended = await handle.outcome(timeout=20)
        assert isinstance(ended, ProcessAbandoned)
        assert ended.evidence.writer == "reconciled_request"
        assert await code_of(handle.result()) == "process_abandoned"


async def test_work_of_others_is_given_up_too(location: str | Path) -> None:
    async with opened(location) as runtime:
        handle = await runtime.processes.start_external(id="p")
        await runtime.processes.abandon("p")
        assert isinstance(await handle.outcome(timeout=20), ProcessAbandoned)
        assert await code_of(runtime.processes.complete("p", 1)) == "process_already_terminal"


async def test_a_request_that_is_filed_while_nobody_runs_it_is_heard_later(path: Path) -> None:
    await left(path, waits)
    async with opened(path, run_processes=False) as runtime:
        await runtime.processes.abandon("p", by="ana")
        assert (await runtime.processes.get("p")).outcome is None
        assert await code_of(runtime.processes.abandon("q")) == "process_unknown"
    ended = await outcome(path, waits)
    assert isinstance(ended, ProcessAbandoned)
    assert ended.evidence.writer == "reconciled_request"


# --- work that is bound to its worker -------------------------------------------------------------------


@lash.process(recovery="owner_bound")
async def bound(ctx: lash.ProcessContext, steps: int = 1) -> Any:
    for _ in range(steps):
        await ctx.step(lambda: None, name="began")
    return await ctx.signal("go")


@pytest.mark.parametrize("steps", [0, 1])
async def test_bound_work_is_given_up_when_its_worker_shuts_down(path: Path, steps: int) -> None:
    async with opened(path, bound, waits) as runtime:
        await begun(runtime, bound, steps)
        await runtime.processes.start(waits, id="other")
        await runtime.idle(30)
    async with opened(path, bound, waits) as runtime:
        ended = await runtime.processes.handle("p").outcome(timeout=20)
        assert isinstance(ended, ProcessAbandoned)
        assert ended.evidence.writer == "owner_drain"
        assert (await runtime.processes.get("other")).outcome is None
        await runtime.processes.signal("other", "go", "went on")
        assert await runtime.processes.handle("other").result(timeout=20) == "went on"


async def test_bound_work_that_was_not_begun_is_begun_once(path: Path) -> None:
    async with opened(path, bound, run_processes=False) as runtime:
        await runtime.processes.start(bound, id="p")
        await runtime.processes.signal("p", "go", 1)
    assert await outcome(path, bound) == ProcessSuccess(value=1)


# --- looking --------------------------------------------------------------------------------------------


async def test_a_list_holds_what_was_asked_for(path: Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        return await (await ctx.start(waits, id="child")).result()

    async with opened(path, waits, quick, parent) as runtime:
        processes = runtime.processes
        await processes.start(parent, id="parent", session="s")
        await processes.start(waits, id="waits")
        await (await processes.start(quick, id="quick")).outcome(timeout=20)
        await processes.start_external(id="external", session="s")
        await runtime.idle(30)

        async def ids(**wanted: Any) -> list[str]:
            return [each.process_id for each in await processes.list(**wanted)]

        assert await ids() == ["child", "external", "parent", "waits"]
        assert await ids(status="any") == ["child", "external", "parent", "quick", "waits"]
        assert await ids(status="retired") == await ids(status="completed") == ["quick"]
        assert await ids(status="any", name="waits") == ["child", "waits"]
        assert await ids(kind="external") == ["external"]
        assert await ids(session="s") == ["external", "parent"]
        assert await ids(session="other") == []
        assert await ids(parent="parent") == ["child"]
        assert await ids(originator=SessionOriginator(session_id="s")) == [
            "child",
            "external",
            "parent",
        ]
        assert await ids(originator=HostOriginator()) == ["waits"]
        assert await ids(limit=2) == ["child", "external"]
        assert await ids(limit=2, after="external") == ["parent", "waits"]
        assert await ids(name="waits", parent="parent", status="failed") == []


async def test_who_may_see_a_process_can_be_changed(location: str | Path) -> None:
    async with opened(location, waits) as runtime:
        await begun(runtime, waits)
        processes = runtime.processes
        await processes.show_to("p", "s", by="ana")
        assert [each.process_id for each in await processes.list(session="s")] == ["p"]
        await processes.hide_from("p", "s")
        assert await processes.list(session="s") == []
        assert await code_of(processes.show_to("p", " ")) == "session_id_invalid"
        assert await code_of(processes.show_to("q", "s")) == "process_unknown"


async def test_a_reader_of_the_feed_misses_nothing(path: Path) -> None:
    async with (
        opened(path, quick, run_processes=False) as writer,
        opened(path, run_processes=False) as reader,
    ):
        seen: dict[str, str] = {}
        cursor = 0
        for number in range(10):
            await writer.processes.start(quick, number, id=f"p{number}")
            page = await reader.processes.changes(cursor, limit=3)
            cursor = page.cursor
            for change in page.changes:
                assert isinstance(change, Upserted)
                seen[change.record.process_id] = change.record.status
        assert seen == {f"p{number}": "running" for number in range(10)}
    async with opened(path, quick) as runtime:
        await runtime.idle(30)
        await runtime.processes.prune()
        gone, end = set(), cursor
        while (page := await runtime.processes.changes(end)).changes:
            end = page.cursor
            gone |= {each.tombstone.process_id for each in page.changes if isinstance(each, Pruned)}
        assert gone == set(seen)
        assert (await runtime.processes.changes(end)).cursor == end
        assert (await runtime.processes.changes(0, limit=0)).changes == ()


async def test_the_feed_tells_behind_a_place_what_changed_and_nothing_else(
    location: str | Path,
) -> None:
    async with opened(location, waits, quick) as runtime:
        processes = runtime.processes

        async def changed(after: int = 0) -> list[str]:
            changes = (await processes.changes(after)).changes
            return [each.record.process_id for each in changes if isinstance(each, Upserted)]

        await (await processes.start(quick, id="a")).result(timeout=20)
        for process_id in ("b", "c"):
            await processes.start(waits, id=process_id)
            await runtime.idle(30)
        assert await changed() == ["a", "b", "c"]
        place = (await processes.changes()).cursor
        await processes.signal("b", "go")
        await processes.handle("b").result(timeout=20)
        assert set(await changed(place)) == {"b"}


async def test_which_code_is_still_needed_is_told(path: Path) -> None:
    @lash.process(name="waits", version="2")
    async def second(ctx: lash.ProcessContext) -> Any:
        return await ctx.signal("go")

    async with opened(path, waits, second, quick) as runtime:
        for process_id in ("a", "b"):
            await runtime.processes.start(waits, id=process_id)
        await runtime.processes.start(second, id="c")
        await (await runtime.processes.start(quick)).outcome(timeout=20)
        needed = {
            (each.definition, each.version): each.count
            for each in await runtime.processes.live_references()
        }
        assert needed == {("waits", "1"): 2, ("waits", "2"): 1}


# --- quiet ----------------------------------------------------------------------------------------------


async def test_processes_that_wait_are_quiet_and_those_that_run_are_not(
    location: str | Path, ledger: Ledger
) -> None:
    gate = asyncio.Event()

    @lash.process
    async def working(ctx: lash.ProcessContext) -> None:
        ledger.runs.append("began")
        await ctx.step(gate.wait)
        await ctx.signal("go")

    async with opened(location, working) as runtime:
        await runtime.processes.start(working, id="p")
        await has_come_to(lambda: ledger.runs)
        assert await code_of(runtime.idle(0.05)) == "idle_timeout"
        gate.set()
        await runtime.idle(20)
        assert await recorded(runtime) == ["step:wait:1:attempt:1"]


@pytest.mark.parametrize("waiting_too", [False, True])
async def test_quiet_comes_only_when_everything_that_can_be_done_is_done(
    location: str | Path, ledger: Ledger, waiting_too: bool
) -> None:
    """A chain of children, steps and branches; beside it something may wait all the while."""

    @lash.process
    async def leaf(ctx: lash.ProcessContext, name: str) -> str:
        for number in range(3):
            await ctx.step(ledger.note, f"{name}{number}")
        return name

    @lash.process
    async def tree(ctx: lash.ProcessContext) -> None:
        async def branch(name: str) -> None:
            await (await ctx.start(leaf, name)).result()
            await ctx.step(ledger.note, name)

        work = ctx.gather(branch("a"), branch("b"))
        if waiting_too:
            await ctx.race(work, ctx.signal("never"))
        else:
            await work
        await ctx.step(ledger.note, "over")
        await ctx.signal("go")

    async with opened(location, tree, leaf) as runtime:
        await runtime.processes.start(tree, id="p")
        await runtime.idle(30)
        assert ledger.runs[-1] == "over"
        assert len(ledger.runs) == 9


async def test_a_signal_that_was_sent_is_work_that_can_be_done(
    location: str | Path, ledger: Ledger
) -> None:
    @lash.process
    async def noting(ctx: lash.ProcessContext) -> None:
        while True:
            await ctx.step(ledger.note, await ctx.signal("item"))

    async with opened(location, noting) as runtime:
        handle = await begun(runtime, noting)
        for number in range(20):
            await handle.signal("item", number)
            await runtime.idle(20)
            assert ledger.runs[-1] == number
            await handle.signal("other")  # nobody asks for it, so nothing can be done
            await runtime.idle(20)


async def test_what_does_not_wait_at_all_is_no_waiting(
    location: str | Path, ledger: Ledger
) -> None:
    @lash.process
    async def hurrying(ctx: lash.ProcessContext) -> None:
        for _ in range(30):
            await ctx.sleep(0)
        await ctx.step(ledger.note, "there")
        await ctx.signal("go")

    async with opened(location, hurrying) as runtime:
        await runtime.processes.start(hurrying, id="p")
        await runtime.idle(20)
        assert ledger.runs == ["there"]


# --- forgetting -----------------------------------------------------------------------------------------


async def test_what_has_ended_is_forgotten_and_what_lives_is_not(path: Path) -> None:
    async with opened(path, quick, waits) as runtime:
        await (await runtime.processes.start(quick, 1, id="ended")).result(timeout=20)
        handle = await begun(runtime, waits)
        report = await runtime.processes.prune()
        assert (report.processes, report.events, report.more) == (1, 2, False)
        assert (await runtime.processes.prune()).processes == 0
        ended = runtime.processes.handle("ended")
        outcome = await ended.outcome()
        assert isinstance(outcome, NoLongerRetained)
        assert outcome.terminal_status == "completed"
        assert await code_of(ended.result()) == "process_no_longer_retained"
        assert await code_of(ended.status()) == "process_no_longer_retained"
        for again in (
            runtime.processes.start(quick, 1, id="ended"),
            runtime.processes.start(waits, id="ended"),
        ):
            assert await code_of(again) == "process_no_longer_retained"
        assert await code_of(runtime.processes.handle("never").result()) == "process_unknown"
        assert [each.process_id for each in await runtime.processes.list(status="any")] == ["p"]
        assert await recorded(runtime, "ended") == []
        await handle.signal("go", "undisturbed")
        assert await handle.result(timeout=20) == "undisturbed"


async def test_only_what_is_old_enough_and_was_seen_is_forgotten(path: Path) -> None:
    clock = VirtualClock()
    async with opened(path, quick, waits, clock=clock) as runtime:
        processes = runtime.processes
        await (await processes.start(quick, id="old")).result(timeout=20)
        seen = (await processes.changes()).cursor
        clock.advance(timedelta(days=2).total_seconds())
        await (await processes.start(quick, id="new")).result(timeout=20)
        assert (await processes.prune(timedelta(days=3))).processes == 0
        assert (await processes.prune(timedelta(days=1), name="waits")).processes == 0
        assert (await processes.prune(timedelta(days=1), through=seen - 1)).processes == 0
        assert (await processes.prune(timedelta(days=1), through=seen)).processes == 1
        left_over = [each.process_id for each in await processes.list(status="any")]
        assert left_over == ["new"]
        assert await code_of(processes.prune(timedelta(days=-1))) == "duration_invalid"


async def test_many_are_forgotten_in_pieces(path: Path) -> None:
    async with opened(path, quick) as runtime:
        handles = await asyncio.gather(
            *(runtime.processes.start(quick, number) for number in range(600))
        )
        await asyncio.gather(*(handle.outcome(timeout=60) for handle in handles))
        assert (await runtime.processes.prune()).processes == 600
        assert await runtime.processes.list(status="any") == []


async def test_who_waits_for_a_process_that_is_forgotten_is_told(location: str | Path) -> None:
    async with opened(location) as runtime:
        handle = await runtime.processes.start_external(id="p")
        await runtime.processes.complete("p", 1)
        await runtime.processes.prune()
        assert isinstance(await handle.outcome(timeout=5), NoLongerRetained)


async def test_a_handle_changes_nothing_by_being_dropped(path: Path) -> None:
    async with opened(path, waits) as runtime:
        await begun(runtime, waits)
        waiting = asyncio.create_task(runtime.processes.handle("p").result())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not (await runtime.processes.get("p")).retired
    assert (await come_back(path, waits)).outcome is None


async def test_who_waits_when_the_runtime_closes_is_told(path: Path) -> None:
    async with opened(path, waits) as runtime:
        handle = await begun(runtime, waits)
        waiting = asyncio.create_task(code_of(handle.result()))
        following = asyncio.create_task(code_of(followed(handle)))
        await settles(lambda: started(waiting))
    async with asyncio.timeout(20):
        assert await waiting == "runtime_closed"
        assert await following in {"runtime_closed", "store_closed"}


async def followed(handle: lash.ProcessHandle[Any]) -> None:
    async for _ in handle.events():
        pass


async def started(task: asyncio.Task[Any]) -> bool:
    await asyncio.sleep(0)
    return not task.done()
