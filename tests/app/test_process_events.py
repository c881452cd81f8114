"""The events of a process: its own, once over restarts; following the log, and resuming it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from process_harness import (
    Ledger,
    begun,
    code_of,
    come_back,
    ledger,
    left,
    location,
    opened,
    path,
    signalled,
)

import lash

__all__ = ["ledger", "location", "path"]


@dataclass
class Progress:
    done: int


@lash.process(events={"progress": Progress, "anything": object})
async def reporting(ctx: lash.ProcessContext, count: int) -> list[int]:
    places = []
    for number in range(count):
        places.append(await ctx.emit("progress", Progress(number)))
        await ctx.signal("go")
    return places


async def own(runtime: lash.Runtime, event_type: str = "progress") -> Sequence[object]:
    events = await runtime.processes.events("p")
    return [each.payload for each in events if each.event_type == event_type]


async def test_an_event_is_appended_once_over_restarts(path: Path) -> None:
    await left(path, reporting, 3)
    for number in range(3):
        async with opened(path, reporting) as runtime:
            await runtime.idle(30)
            assert await own(runtime) == [{"done": each} for each in range(number + 1)]
            await runtime.processes.signal("p", "go")
            await runtime.idle(30)
    async with opened(path, reporting) as runtime:
        places = await runtime.processes.handle("p").result(timeout=20)
        events = await runtime.processes.events("p")
        assert [events[place - 1].payload for place in places] == [
            {"done": 0},
            {"done": 1},
            {"done": 2},
        ]
        assert [each.sequence for each in events] == list(range(1, len(events) + 1))


async def test_equal_events_are_as_many_as_were_appended(path: Path, ledger: Ledger) -> None:
    @lash.process(events={"same": object})
    async def repeating(ctx: lash.ProcessContext) -> None:
        async def branch() -> None:
            await ctx.emit("same", 1)
            await ctx.step(ledger.note, "step")
            await ctx.emit("same", 1)

        await ctx.gather(branch(), branch())
        await ctx.emit("same", 1)
        await ctx.signal("go")

    await left(path, repeating)
    await come_back(path, repeating)
    async with opened(path, repeating) as runtime:
        await runtime.processes.signal("p", "go")
        await runtime.processes.handle("p").result(timeout=20)
        assert await own(runtime, "same") == [1] * 5
    assert ledger.runs == ["step", "step"]


@pytest.mark.parametrize(
    ("event_type", "payload", "code"),
    [
        ("undeclared", 1, "process_event_undeclared"),
        ("progress", {"done": "much"}, "process_event_invalid"),
        ("progress", {}, "process_event_invalid"),
        ("progress", object(), "value_not_json"),
        ("anything", float("nan"), "value_not_json"),
        ("process.completed", {"await_output": {}}, "process_event_reserved"),
        ("process.started", {}, "process_event_reserved"),
        ("process.wake", {"text": ""}, "process_event_invalid"),
    ],
)
async def test_what_a_process_does_not_declare_is_refused_also_on_replay(
    path: Path, ledger: Ledger, event_type: str, payload: object, code: str
) -> None:
    @lash.process(events={"progress": Progress, "anything": object})
    async def careless(ctx: lash.ProcessContext) -> Any:
        try:
            await ctx.emit(event_type, payload)
        except lash.LashError as error:
            await ctx.step(ledger.note, error.code)
            await ctx.emit("anything", "afterwards")
            return [error.code, await ctx.signal("go")]

    await left(path, careless)
    async with opened(path, careless) as runtime:
        await runtime.processes.signal("p", "go", 1)
        assert await runtime.processes.handle("p").result(timeout=20) == [code, 1]
        assert await own(runtime, "anything") == ["afterwards"]
        assert await own(runtime, event_type if event_type == "undeclared" else "none") == []
    assert ledger.runs == [code]


REFUSED: dict[str, tuple[Callable[[lash.ProcessContext], Awaitable[object]], str]] = {
    "undeclared": (lambda ctx: ctx.emit("other", 1), "process_event_undeclared"),
    "of another type": (lambda ctx: ctx.emit("progress", "half"), "process_event_invalid"),
    "of lash's own": (
        lambda ctx: ctx.emit("process.completed", {"await_output": {"type": "success"}}),
        "process_event_reserved",
    ),
    "an empty wake": (lambda ctx: ctx.wake(""), "process_event_invalid"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_an_event_that_is_refused_is_the_end_of_whoever_does_not_catch_it(
    location: str | Path, what: str
) -> None:
    emit, code = REFUSED[what]

    @lash.process(events={"progress": int})
    async def careless(ctx: lash.ProcessContext) -> None:
        await emit(ctx)

    async with opened(location, careless) as runtime:
        handle = await runtime.processes.start(careless)
        with pytest.raises(lash.ProcessError) as raised:
            await handle.result(timeout=20)
        assert raised.value.code == code


async def test_events_of_a_later_segment_are_others(path: Path) -> None:
    @lash.process(events={"round": int})
    async def rounds(ctx: lash.ProcessContext, number: int = 1) -> None:
        await ctx.emit("round", number)
        await ctx.signal("go")
        if number < 3:
            ctx.continue_as_new(number + 1)

    await left(path, rounds)
    for _ in range(3):
        await signalled(path, rounds)
    async with opened(path, rounds) as runtime:
        await runtime.processes.handle("p").result(timeout=20)
        assert await own(runtime, "round") == [1, 2, 3]


async def test_following_the_log_ends_with_the_process(location: str | Path) -> None:
    async with opened(location, reporting) as runtime:
        handle = await runtime.processes.start(reporting, 2, id="p")

        async def follow() -> list[tuple[int, str]]:
            return [(each.sequence, each.event_type) async for each in handle.events()]

        following = asyncio.create_task(follow())
        await runtime.idle(30)
        await handle.signal("go")
        await runtime.idle(30)
        await handle.signal("go")
        seen = await following
    names = [name for _, name in seen if name not in {"process.waiting", "process.resumed"}]
    assert names == [
        "process.started",
        "progress",
        "signal.go",
        "progress",
        "signal.go",
        "process.completed",
    ]
    assert [sequence for sequence, _ in seen] == list(range(1, len(seen) + 1))


async def test_the_log_is_taken_up_behind_a_place_and_by_another_runtime(path: Path) -> None:
    async with opened(path, reporting) as runtime:
        handle = await begun(runtime, reporting, 1)
        first = [each async for each in handle.events(follow=False)]
        assert [each.event_type for each in first[:2]] == ["process.started", "progress"]
    async with opened(path, reporting) as runtime, opened(path, run_processes=False) as other:
        following = asyncio.create_task(collected(other, first[1].sequence))
        await runtime.processes.signal("p", "go")
        seen = await following
        assert seen[0].sequence == first[1].sequence + 1
        assert seen[-1].event_type == "process.completed"
        nothing = [
            each async for each in other.processes.handle("p").events(after=seen[-1].sequence)
        ]
        assert nothing == []


async def collected(runtime: lash.Runtime, after: int) -> list[Any]:
    return [each async for each in runtime.processes.handle("p").events(after=after)]


async def test_what_is_not_there_has_no_log(location: str | Path) -> None:
    async with opened(location, reporting) as runtime:
        assert await code_of(runtime.processes.events("p")) == "process_unknown"
        assert await code_of(anext(runtime.processes.handle("p").events())) == "process_unknown"
        await (await runtime.processes.start(reporting, 0, id="p")).result(timeout=20)
        await runtime.processes.prune()
        assert await code_of(runtime.processes.events("p")) == "process_no_longer_retained"


async def test_a_log_longer_than_a_page_is_followed_whole(location: str | Path) -> None:
    @lash.process(events={"number": int})
    async def counting(ctx: lash.ProcessContext) -> None:
        for number in range(600):
            await ctx.emit("number", number)

    async with opened(location, counting) as runtime:
        handle = await runtime.processes.start(counting, id="p")
        seen = [each.payload async for each in handle.events() if each.event_type == "number"]
        assert seen == list(range(600))
        page = await runtime.processes.events("p", after=100, limit=50)
        assert [each.sequence for each in page] == list(range(101, 151))
