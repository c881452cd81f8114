"""Code that is not the code that recorded: the process is parked, says why, and goes on with the old code."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from process_harness import (
    Ledger,
    begun,
    ledger,
    left,
    opened,
    parked,
    path,
    recorded,
    result_after_go,
)

import lash
from lash.runtime.events import ProcessParkedEvent
from lash.runtime.processes.function import ProcessFunction

__all__ = ["ledger", "path"]

Body = Callable[[lash.ProcessContext, Ledger], Awaitable[Any]]


def process_of(body: Body, ledger: Ledger, version: str = "1") -> ProcessFunction[[], Any]:
    @lash.process(name="p", version=version, events={"told": object}, signals={"go": object})
    async def function(ctx: lash.ProcessContext) -> Any:
        return await body(ctx, ledger)

    return function


async def recorded_first(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    await ctx.step(ledger.note, "b", name="b")
    await ctx.emit("told", 1)
    await ctx.sleep(0)
    child = await ctx.start(CHILD, 1)
    await child.result()
    await ctx.gather(ctx.step(ledger.note, "c", name="c"), in_branch(ctx, ledger))
    return await ctx.signal("go")


async def in_branch(ctx: lash.ProcessContext, ledger: Ledger, *, also: bool = True) -> None:
    if also:
        await ctx.step(ledger.note, "d", name="d")


@lash.process
async def child(ctx: lash.ProcessContext, number: int) -> int:
    return number


CHILD = child


# --- what changed ---------------------------------------------------------------------------------------


async def renamed(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="other")


async def other_arguments(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "another", name="a")


async def removed(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "b", name="b")
    await ctx.emit("told", 1)
    await ctx.step(ledger.note, "new", name="new")


async def added_in_front(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "new", name="new")


async def waits_early(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    return await ctx.signal("go")


async def waits_without_the_first(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "b", name="b")
    return await ctx.signal("go")


async def reordered(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "b", name="b")
    await ctx.step(ledger.note, "b again", name="b")


async def returned_early(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    return "done"


async def failed_early(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    raise ValueError("no")


async def began_again_early(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    ctx.continue_as_new()


async def other_event(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    await ctx.step(ledger.note, "b", name="b")
    await ctx.emit("told", 2)


async def no_event(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    await ctx.step(ledger.note, "b", name="b")
    await ctx.sleep(0)
    handle = await ctx.start(CHILD, 1)
    await handle.result()
    await ctx.gather(ctx.step(ledger.note, "c", name="c"), in_branch(ctx, ledger))
    await ctx.step(ledger.note, "new", name="new")


async def other_sleep(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    await ctx.step(ledger.note, "b", name="b")
    await ctx.emit("told", 1)
    await ctx.sleep(1)


async def other_child(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    await ctx.step(ledger.note, "b", name="b")
    await ctx.emit("told", 1)
    await ctx.sleep(0)
    await ctx.start(CHILD, 2)


async def shorter_branch(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    await ctx.step(ledger.note, "b", name="b")
    await ctx.emit("told", 1)
    await ctx.sleep(0)
    handle = await ctx.start(CHILD, 1)
    await handle.result()
    work = in_branch(ctx, ledger, also=False)
    await ctx.gather(ctx.step(ledger.note, "c", name="c"), work)
    return await ctx.signal("go")


async def shrugs_it_off(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    """Whoever catches the error does not get away with it."""
    try:
        await ctx.step(ledger.note, "new", name="new")
    except lash.LashError as error:
        return error.code
    finally:
        await ctx.step(ledger.note, "a", name="a")


CHANGES: dict[str, tuple[Body, str, str]] = {
    "another name": (renamed, "process_journal_left_over", "asked for step:other:1"),
    "other arguments": (other_arguments, "effect_replay_mismatch", "step:a:1"),
    "a step less": (removed, "process_journal_left_over", "asked for step:new:1"),
    "a step more in front": (added_in_front, "process_journal_left_over", "holds step:a:1"),
    "an early wait": (waits_early, "process_journal_left_over", "holds step:b:1"),
    "no first step, and a wait": (
        waits_without_the_first,
        "process_journal_left_over",
        "holds step:a:1",
    ),
    "another order": (reordered, "process_journal_left_over", "holds step:a:1"),
    "an early return": (returned_early, "process_journal_left_over", "came to its end"),
    "an early failure": (failed_early, "process_journal_left_over", "came to its end"),
    "an early segment": (began_again_early, "process_journal_left_over", "came to its end"),
    "another event": (other_event, "effect_replay_mismatch", "told"),
    "no event": (no_event, "process_journal_left_over", "holds emit:1"),
    "another sleep": (other_sleep, "effect_replay_mismatch", "sleep:1"),
    "another child": (other_child, "effect_replay_mismatch", "start:1"),
    "a shorter branch": (shorter_branch, "process_journal_left_over", "&g1.1"),
    "an error that is caught": (shrugs_it_off, "process_journal_left_over", "step:new:1"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_changed_code_parks_the_process_and_the_old_code_goes_on(
    path: Path, ledger: Ledger, change: str
) -> None:
    body, code, says = CHANGES[change]
    old = process_of(recorded_first, ledger)
    async with opened(path, old, child) as runtime:
        await begun(runtime, old)
        before = sorted(await recorded(runtime))
    ran = list(ledger.runs)
    assert sorted(map(str, ran)) == ["a", "b", "c", "d"]

    why = await parked(path, process_of(body, ledger), child)
    assert (why.code, why.waits_for) == (code, "person")
    assert says in why.message
    assert ledger.runs == ran

    async with opened(path, old, child) as runtime:
        await runtime.idle(30)
        assert sorted(await recorded(runtime)) == before
        await runtime.processes.signal("p", "go", "went on")
        assert await runtime.processes.handle("p").result(timeout=20) == "went on"
    assert ledger.runs == ran


async def test_who_watches_is_told_why_a_process_is_parked(path: Path, ledger: Ledger) -> None:
    await left(path, process_of(waits, ledger))
    told: list[object] = []
    async with opened(path, process_of(added_in_front, ledger), on_event=told.append) as runtime:
        await runtime.idle(30)
        (shown,) = await runtime.processes.list(parked=True)
        assert shown.state.parked is not None
        assert await runtime.processes.list(parked=False) == []
    (event,) = told
    assert isinstance(event, ProcessParkedEvent)
    assert (event.process_id, event.code) == ("p", "process_journal_left_over")
    assert event.message == shown.state.parked.message


async def waits(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
    await ctx.step(ledger.note, "a", name="a")
    return await ctx.signal("go")


async def test_a_parked_process_keeps_what_comes_meanwhile(path: Path, ledger: Ledger) -> None:
    await left(path, process_of(waits, ledger))
    async with opened(path, process_of(added_in_front, ledger)) as runtime:
        await runtime.idle(30)
        await runtime.processes.signal("p", "go", "meanwhile")
        await runtime.idle(30)
        assert (await runtime.processes.get("p")).state.parked is not None
    async with opened(path, process_of(waits, ledger)) as runtime:
        assert await runtime.processes.handle("p").result(timeout=20) == "meanwhile"


async def test_code_that_goes_on_behind_what_was_recorded_is_no_change(
    path: Path, ledger: Ledger
) -> None:
    async def longer(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
        await ctx.step(ledger.note, "a", name="a")
        await ctx.step(ledger.note, "new", name="new")
        return await ctx.signal("go")

    await left(path, process_of(waits, ledger))
    assert await result_after_go(path, process_of(longer, ledger), payload=1) == 1
    assert ledger.runs == ["a", "new"]


# --- code that is not here ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has", "code"), [("nothing", "process_missing"), ("version 2", "process_version_missing")]
)
async def test_a_process_whose_code_is_not_here_says_so_and_goes_on_when_it_comes(
    path: Path, ledger: Ledger, has: str, code: str
) -> None:
    old = process_of(waits, ledger)
    functions = [process_of(renamed, ledger, "2")] if has == "version 2" else []
    await left(path, old)
    told: list[Any] = []
    async with opened(path, *functions, on_event=told.append) as runtime:
        await runtime.idle(30)
        record = await runtime.processes.get("p")
        assert record.status == "waiting"
        assert record.state.parked is not None
        assert (record.state.parked.code, record.state.parked.waits_for) == (code, "code")
        assert "'p'" in record.state.parked.message
        await runtime.processes.signal("p", "go", "meanwhile")
    assert [(event.process_id, event.code) for event in told] == [("p", code)]
    async with opened(path, old, *functions) as runtime:
        assert await runtime.processes.handle("p").result(timeout=20) == "meanwhile"
    assert ledger.runs == ["a"]


async def test_code_that_comes_in_another_runtime_takes_the_process_up(
    path: Path, ledger: Ledger
) -> None:
    await left(path, process_of(waits, ledger))
    async with opened(path) as without:
        await without.idle(30)
        assert (await without.processes.get("p")).state.parked is not None
        async with opened(path, process_of(waits, ledger)) as runtime:
            await without.processes.signal("p", "go", 1)
            assert await runtime.processes.handle("p").result(timeout=20) == 1
            assert await without.processes.handle("p").result(timeout=20) == 1


async def test_versions_side_by_side_run_their_own_processes(path: Path, ledger: Ledger) -> None:
    async def second(ctx: lash.ProcessContext, ledger: Ledger) -> Any:
        return [2, await ctx.signal("go")]

    old, new = process_of(waits, ledger), process_of(second, ledger, "2")
    await left(path, old)
    async with opened(path, old, new) as runtime:
        handle = await runtime.processes.start_named("p", {}, id="q")
        for process_id in ("p", "q"):
            await runtime.processes.signal(process_id, "go", process_id)
        assert await handle.result(timeout=20) == [2, "q"]
        assert await runtime.processes.handle("p").result(timeout=20) == "p"


async def test_arguments_that_the_code_does_not_take_any_more_park_the_process(
    path: Path,
) -> None:
    @lash.process(name="taking")
    async def text(ctx: lash.ProcessContext, what: str) -> Any:
        return [what, await ctx.signal("go")]

    @lash.process(name="taking")
    async def number(ctx: lash.ProcessContext, what: int) -> Any:
        return [what, await ctx.signal("go")]

    await left(path, text, "words")
    why = await parked(path, number)
    assert (why.code, why.waits_for) == ("process_arguments_invalid", "person")
    assert "'taking'" in why.message
    assert await result_after_go(path, text, payload=1) == ["words", 1]
