"""Children: started once, waited for over restarts, run side by side without holding each other up."""

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
    refused,
    result_after_go,
    waits,
)

import lash
from lash.core.causality import ProcessCauseRef
from lash.processes.model import SessionOriginator
from lash.processes.outcomes import (
    NoLongerRetained,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)

__all__ = ["ledger", "location", "path"]


@lash.process
async def double(ctx: lash.ProcessContext, number: int) -> int:
    return await ctx.step(lambda: 2 * number, name="double")


@lash.process
async def fails(ctx: lash.ProcessContext, how: str) -> None:
    def read() -> None:
        raise ValueError("no number")

    if how == "as it says":
        raise lash.StepError("declined", "card_declined")
    if how == "in a step":
        await ctx.step(read)
    raise KeyError("broken")


FAILURES = {
    "as it says": ("card_declined", "declined"),
    "in a step": ("durable_step_failed", "Step 'read' failed: ValueError: no number"),
    "by itself": ("process_failed", "KeyError: 'broken'"),
}


@lash.process
async def asks(ctx: lash.ProcessContext, depth: int) -> int:
    if depth == 0:
        return await (await ctx.start(double, 1)).result()
    return 1 + await (await ctx.start(asks, depth - 1)).result()


# --- what a parent is told ------------------------------------------------------------------------------


async def test_a_parent_is_told_what_its_child_came_to(location: str | Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        child = await ctx.start(double, 4)
        again = await ctx.start(double, number=5)
        return [await child.result(), await again.result(), await child.result()]

    async with opened(location, parent, double) as runtime:
        handle = await runtime.processes.start(parent, id="p")
        assert await handle.result(timeout=20) == [8, 10, 8]
        children = await runtime.processes.list(status="any", parent="p")
        assert [each.process_id for each in children] == ["p/double:1", "p/double:2"]


@pytest.mark.parametrize("how", FAILURES)
async def test_a_childs_failure_has_its_own_code(path: Path, how: str) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        child = await ctx.start(fails, how)
        outcome = await child.outcome()
        assert isinstance(outcome, ProcessFailure)
        try:
            await child.result()
        except lash.ProcessError as error:
            return [outcome.code, error.code, error.message, await ctx.signal("go")]

    await left(path, parent, also=[fails])
    got = await result_after_go(path, parent, fails, payload=1)
    code, message = FAILURES[how]
    assert got == [code, code, message, 1]


@pytest.mark.parametrize("how", FAILURES)
async def test_a_childs_failure_that_nobody_catches_is_its_parents(
    location: str | Path, how: str
) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> None:
        await (await ctx.start(fails, how)).result()

    async with opened(location, parent, fails) as runtime:
        ended = await (await runtime.processes.start(parent)).outcome(timeout=20)
    code, message = FAILURES[how]
    assert ended == ProcessFailure(failure_class="execution", code=code, message=message)


async def test_a_child_that_somebody_stopped_is_told_as_cancelled(location: str | Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        child = await ctx.start(waits, id="c")
        try:
            await child.result()
        except lash.ProcessError as error:
            return [error.code, (await child.outcome()) == ProcessCancelled(message="enough")]

    async with opened(location, parent, waits) as runtime:
        handle = await begun(runtime, parent)
        await runtime.processes.cancel("c", "enough")
        assert await handle.result(timeout=20) == ["process_cancelled", True]


async def test_a_parent_may_signal_its_child_once(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def counting(ctx: lash.ProcessContext) -> int:
        got = [await ctx.signal("item"), await ctx.signal("item")]
        await ctx.signal("done")
        return len(got) + len(await nothing_more(ctx))

    async def nothing_more(ctx: lash.ProcessContext) -> list[Any]:
        try:
            return [await ctx.signal("item", timeout=0)]
        except lash.WaitError:
            return []

    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        child = await ctx.start(counting, id="c")
        await child.signal("item", 1)
        await child.signal("item", 1)
        await ctx.step(ledger.note, "sent")
        await ctx.signal("go")
        await child.signal("done", id="own")
        return await child.result()

    await left(path, parent, also=[counting])
    await come_back(path, parent, counting)
    assert await result_after_go(path, parent, counting) == 2
    assert ledger.runs == ["sent"]


@pytest.mark.parametrize("call", ["signal", "start"])
async def test_what_is_refused_is_refused_on_replay_too(
    path: Path, ledger: Ledger, call: str
) -> None:
    """What follows depends on it, so it is recorded as any other outcome."""

    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        child = await ctx.start(double, 1, id="c")
        await child.result()
        try:
            if call == "signal":
                await child.signal("go")
            else:
                await ctx.start(double, 2, id="c")
        except lash.LashError as error:
            await ctx.step(ledger.note, error.code)
            return [type(error).__name__, error.code, await ctx.signal("go")]

    await left(path, parent, also=[double])
    got = await result_after_go(path, parent, double, payload=1)
    expected = {
        "signal": ["LashError", "process_already_terminal", 1],
        "start": ["ConflictError", "process_conflict", 1],
    }
    assert got == expected[call]
    assert ledger.runs == [expected[call][1]]


# --- over restarts --------------------------------------------------------------------------------------


async def test_children_are_started_once_over_restarts_and_found_again_finished_or_not(
    path: Path, ledger: Ledger
) -> None:
    @lash.process
    async def child(ctx: lash.ProcessContext, name: str) -> Any:
        said = await ctx.step(ledger.note, name)
        await ctx.signal("end")
        return said

    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        one = await ctx.start(child, "one")
        two = await ctx.start(child, "two", id="named")
        await one.signal("end")
        first = await one.result()
        await ctx.signal("go")
        return [first, await two.result()]

    await left(path, parent, also=[child])
    await come_back(path, parent, child)
    async with opened(path, parent, child) as runtime:
        (live,) = await runtime.processes.list(parent="p")
        assert live.process_id == "named"
        await runtime.processes.signal("p", "go")
        await runtime.processes.signal("named", "end")
        assert await runtime.processes.handle("p").result(timeout=20) == ["one", "two"]
        children = await runtime.processes.list(status="any", parent="p")
        assert [each.process_id for each in children] == ["named", "p/child:1"]
        log = await runtime.processes.events("p/child:1")
        assert [each.event_type for each in log].count("signal.end") == 1
    assert sorted(map(str, ledger.runs)) == ["one", "two"]


async def test_a_parent_that_comes_back_finds_its_child_finished(path: Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        return await (await ctx.start(waits, id="c")).result()

    await left(path, parent, also=[waits])
    async with opened(path, waits) as runtime:  # it has the child's code alone
        await runtime.processes.signal("c", "go", "meanwhile")
        assert await runtime.processes.handle("c").result(timeout=20) == "meanwhile"
    assert await outcome(path, parent, waits) == ProcessSuccess(value="meanwhile")


async def test_a_child_may_run_in_another_runtime_than_its_parent(path: Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        return await (await ctx.start(double, 21)).result()

    async with opened(path, parent) as one, opened(path, double):
        handle = await one.processes.start(parent, id="p")
        assert await handle.result(timeout=30) == 42


async def test_a_child_goes_on_when_its_parent_has_ended(location: str | Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> str:
        return (await ctx.start(waits, id="c")).id

    async with opened(location, parent, waits) as runtime:
        assert await (await runtime.processes.start(parent)).result(timeout=20) == "c"
        child = runtime.processes.handle("c")
        await child.signal("go", "alone")
        assert await child.result(timeout=20) == "alone"


async def test_a_child_that_was_pruned_is_told_as_such(path: Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        child = await ctx.start(double, 1, id="c")
        await ctx.signal("go")
        try:
            await child.result()
        except lash.ProcessError as error:
            return [error.code, isinstance(await child.outcome(), NoLongerRetained)]

    async with opened(path, parent, double) as runtime:
        await begun(runtime, parent)
        await runtime.processes.handle("c").result()
        assert (await runtime.processes.prune(name="double")).processes == 1
        await runtime.processes.signal("p", "go")
        got = await runtime.processes.handle("p").result(timeout=20)
    assert got == ["process_no_longer_retained", True]


# --- who they are ---------------------------------------------------------------------------------------


async def test_an_id_of_its_own_attaches_to_the_same_process(path: Path, ledger: Ledger) -> None:
    @lash.process
    async def once(ctx: lash.ProcessContext) -> Any:
        return await ctx.step(ledger.note, "ran")

    @lash.process
    async def parent(ctx: lash.ProcessContext, name: str) -> Any:
        child = await ctx.start(once, id="shared")
        return [name, await child.result()]

    async with opened(path, parent, once) as runtime:
        first = await runtime.processes.start(parent, "a")
        assert await first.result(timeout=20) == ["a", "ran"]
        second = await runtime.processes.start(parent, "b")
        ended = await second.outcome(timeout=20)
    # Another parent is another origin: the id is taken.
    assert isinstance(ended, ProcessFailure)
    assert ended.code == "process_conflict"
    assert ledger.runs == ["ran"]


async def test_children_are_accountable_to_whoever_their_parents_are(
    location: str | Path,
) -> None:
    @lash.process
    async def middle(ctx: lash.ProcessContext) -> Any:
        return await (await ctx.start(waits, id="grandchild")).result()

    @lash.process
    async def top(ctx: lash.ProcessContext) -> Any:
        return await (await ctx.start(middle, id="child")).result()

    async with opened(location, top, middle, waits) as runtime:
        handle = await runtime.processes.start(top, id="p", session="s")
        await runtime.idle(30)
        record = await runtime.processes.get("grandchild")
        provenance = record.registration.provenance
        assert provenance.originator == SessionOriginator(session_id="s")
        assert provenance.parent_id == "child"
        assert provenance.caused_by == ProcessCauseRef(process_id="child")
        assert record.registration.wake_session_id == "s"
        seen = await runtime.processes.list(session="s")
        assert [each.process_id for each in seen] == ["p"]  # whoever started it sees it
        await runtime.processes.signal("grandchild", "go", "up")
        assert await handle.result(timeout=20) == "up"


@pytest.mark.parametrize("process_id", ["", " ", "a#b", "x" * 1025, "half a \ud83d", 7])
async def test_a_child_cannot_have_an_id_that_no_process_can_have(
    location: str | Path, process_id: Any
) -> None:
    parent = refused(lambda ctx: ctx.start(double, 1, id=process_id))
    async with opened(location, parent, double) as runtime:
        handle = await runtime.processes.start(parent)
        assert await handle.result(timeout=20) == "process_id_invalid"


async def test_arguments_of_a_child_are_checked_where_it_is_started(
    location: str | Path,
) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        codes = []
        for arguments in (("x",), (), (1, 2), (float("nan"),)):
            try:
                await ctx.start(double, *arguments)
            except lash.LashError as error:
                codes.append(error.code)
        return codes

    async with opened(location, parent, double) as runtime:
        handle = await runtime.processes.start(parent, id="p")
        assert await handle.result(timeout=20) == [
            "process_arguments_invalid",
            "process_arguments_invalid",
            "process_arguments_invalid",
            "value_not_json",
        ]
        assert await runtime.processes.list(status="any", parent="p") == []


# --- permits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("permits", [1, 2])
async def test_a_parent_that_waits_does_not_keep_its_children_from_running(
    location: str | Path, permits: int
) -> None:
    async with opened(location, asks, double, process_concurrency=permits) as runtime:
        handle = await runtime.processes.start(asks, 3, id="p")
        assert await handle.result(timeout=30) == 5
        ids = [each.process_id for each in await runtime.processes.list(status="any")]
        assert ids == [
            "p",
            "p/asks:1",
            "p/asks:1/asks:1",
            "p/asks:1/asks:1/asks:1",
            "p/asks:1/asks:1/asks:1/double:1",
        ]


@pytest.mark.parametrize("reopened", [False, True])
async def test_two_hundred_parents_and_their_children_share_eight_permits(
    path: Path, reopened: bool
) -> None:
    async with opened(
        path, asks, double, process_concurrency=8, run_processes=not reopened
    ) as runtime:
        handles = [await runtime.processes.start(asks, 0, id=f"p{each}") for each in range(200)]
        if not reopened:
            results = await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
            assert results == [2] * 200
            return
    async with opened(path, asks, double, process_concurrency=8) as runtime:
        results = await asyncio.gather(
            *(runtime.processes.handle(f"p{each}").result(timeout=60) for each in range(200))
        )
        assert results == [2] * 200


@pytest.mark.parametrize("in_a_step", [True, False])
async def test_no_more_run_at_once_than_there_are_permits(
    location: str | Path, in_a_step: bool
) -> None:
    now, at_once = 0, list[int]()

    async def work() -> None:
        nonlocal now
        now += 1
        at_once.append(now)
        for _ in range(5):
            await asyncio.sleep(0.001)
        now -= 1

    @lash.process
    async def working(ctx: lash.ProcessContext) -> None:
        await ctx.step(work)
        await ctx.sleep(0.001)
        await (ctx.step(work) if in_a_step else work())

    async with opened(location, working, process_concurrency=3) as runtime:
        handles = [await runtime.processes.start(working) for _ in range(20)]
        await asyncio.gather(*(handle.result(timeout=30) for handle in handles))
    assert len(at_once) == 40
    assert max(at_once) == 3


async def test_branches_that_wait_give_the_permit_back_only_when_all_of_them_do(
    location: str | Path, ledger: Ledger
) -> None:
    """One branch waits and the other works, so another process does not begin."""
    gate = asyncio.Event()

    async def work() -> None:
        ledger.runs.append("works")
        await gate.wait()
        ledger.runs.append("worked")

    @lash.process
    async def both(ctx: lash.ProcessContext) -> None:
        await ctx.gather(ctx.signal("go"), ctx.step(work))

    @lash.process
    async def other(ctx: lash.ProcessContext) -> None:
        await ctx.step(ledger.note, "other")

    async with opened(location, both, other, process_concurrency=1) as runtime:
        handle = await runtime.processes.start(both, id="p")
        await has_come_to(lambda: ledger.runs)
        second = await runtime.processes.start(other)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert ledger.runs == ["works"]
        gate.set()
        await second.result(timeout=20)
        assert ledger.runs == ["works", "worked", "other"]
        await handle.signal("go")
        await handle.result(timeout=20)


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "8"])
async def test_a_number_of_permits_that_nothing_could_run_with_is_refused(number: Any) -> None:
    with pytest.raises(lash.LashError):
        lash.Runtime(":memory:", process_concurrency=number)


async def test_children_side_by_side_over_a_restart(path: Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        async def branch(name: str) -> Any:
            child = await ctx.start(waits, id=name)
            return await child.result()

        return await ctx.gather(branch("a"), branch("b"), branch("c"))

    async with opened(path, parent, waits) as runtime:
        await begun(runtime, parent)
        await runtime.processes.signal("b", "go", 2)
        await runtime.idle(30)
    async with opened(path, parent, waits) as runtime:
        await runtime.processes.signal("c", "go", 3)
        await runtime.processes.signal("a", "go", 1)
        assert await runtime.processes.handle("p").result(timeout=20) == [1, 2, 3]


async def test_a_handle_waits_no_longer_than_it_was_told(location: str | Path) -> None:
    async with opened(location, waits) as runtime:
        handle = await begun(runtime, waits)
        for limit in (0, 0.01, timedelta(milliseconds=10)):
            with pytest.raises(lash.ProcessError) as raised:
                await handle.result(timeout=limit)
            assert raised.value.code == "process_result_timeout"
            assert raised.value.retryable
        assert await code_of(handle.result(timeout=-1)) == "duration_invalid"
        await handle.signal("go", "it went on")
        assert await handle.result(timeout=20) == "it went on"


async def test_a_child_of_another_segment_is_another_child(path: Path) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext, left: int = 2) -> Any:
        child = await ctx.start(double, left)
        got = await child.result()
        await ctx.signal("go")
        if left:
            ctx.continue_as_new(left - 1)
        return got

    async with opened(path, parent, double) as runtime:
        await begun(runtime, parent)
        for _ in range(3):
            await runtime.processes.signal("p", "go")
        assert await runtime.processes.handle("p").result(timeout=20) == 0
        children = await runtime.processes.list(status="any", parent="p")
        results = [await runtime.processes.handle(each.process_id).result() for each in children]
    assert sorted(results) == [0, 2, 4]
