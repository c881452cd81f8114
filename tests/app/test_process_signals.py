"""Signals: kept until they are asked for, taken once and in order, over restarts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import msgspec
import pydantic
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
    recorded,
    refused,
    settles,
    signalled,
)

import lash
from lash.processes.outcomes import ProcessSuccess
from lash.testing import VirtualClock

__all__ = ["ledger", "location", "path"]


@lash.process
async def collect(ctx: lash.ProcessContext, count: int) -> list[Any]:
    return [await ctx.signal("item") for _ in range(count)]


# --- when a signal comes --------------------------------------------------------------------------------


@pytest.mark.parametrize("begins", ["before them", "after them"])
async def test_signals_that_came_before_anybody_waited_are_taken_in_order(
    location: str | Path, begins: str
) -> None:
    @lash.process
    async def late(ctx: lash.ProcessContext) -> list[Any]:
        await ctx.signal("begin")
        return [await ctx.signal("item"), await ctx.signal("item")]

    async with opened(location, late) as runtime:
        handle = await runtime.processes.start(late, id="p")
        if begins == "before them":
            await runtime.idle(30)
        await handle.signal("item", "first")
        await handle.signal("item", "second")
        await handle.signal("begin")
        assert await handle.result(timeout=20) == ["first", "second"]


async def test_two_signals_inside_one_wait_are_both_taken(location: str | Path) -> None:
    async with opened(location, collect) as runtime:
        handle = await begun(runtime, collect, 2)
        await asyncio.gather(handle.signal("item", 1), handle.signal("item", 2))
        assert await handle.result(timeout=20) == [1, 2]
        log = [each.payload async for each in handle.events() if each.event_type == "signal.item"]
        assert log == [1, 2]


async def test_a_signal_that_is_sent_while_nobody_runs_the_process_is_there_when_it_is_run_again(
    path: Path,
) -> None:
    await left(path, collect, 3)
    async with opened(path, run_processes=False) as runtime:
        await runtime.processes.signal("p", "item", "by a host that runs no processes")
    async with opened(path) as runtime:  # it has no such function
        await runtime.processes.handle("p").signal("item", "by a host without its code")
    async with opened(path, collect) as runtime:
        await runtime.processes.signal("p", "item", "by the one that runs it")
        assert await runtime.processes.handle("p").result(timeout=20) == [
            "by a host that runs no processes",
            "by a host without its code",
            "by the one that runs it",
        ]


@pytest.mark.parametrize("run_processes", [True, False])
async def test_a_signal_that_another_runtime_sends_wakes_the_one_that_runs_it(
    path: Path, run_processes: bool
) -> None:
    async with (
        opened(path, collect) as runtime,
        opened(path, collect, run_processes=run_processes) as other,
    ):
        handle = await begun(runtime, collect, 2)
        await other.processes.signal("p", "item", 1)
        await other.processes.signal("p", "item", 2)
        assert await handle.result(timeout=5) == [1, 2]
        assert await other.processes.handle("p").result(timeout=5) == [1, 2]


async def test_what_was_taken_before_a_restart_is_not_taken_again(
    path: Path, ledger: Ledger
) -> None:
    @lash.process
    async def noting(ctx: lash.ProcessContext) -> list[Any]:
        got = []
        for _ in range(4):
            got.append(await ctx.signal("item"))
            await ctx.step(ledger.note, got[-1])
        return got

    await left(path, noting)
    for number in range(3):
        await signalled(path, noting, name="item", payload=number)
    async with opened(path, noting) as runtime:
        await runtime.processes.signal("p", "item", 3)
        assert await runtime.processes.handle("p").result(timeout=20) == [0, 1, 2, 3]
    assert ledger.runs == [0, 1, 2, 3]


async def test_many_signals_that_were_taken_do_not_keep_the_next_one_from_being_found(
    path: Path,
) -> None:
    """They are read a page at a time, and whole pages of them were taken before."""
    async with opened(path, collect) as runtime:
        handle = await begun(runtime, collect, 601)
        await asyncio.gather(*(handle.signal("item", number) for number in range(600)))
        await settles(lambda: taken(runtime, 600))
    async with opened(path, run_processes=False) as runtime:
        await runtime.processes.signal("p", "item", 600)
    async with opened(path, collect) as runtime:
        got = await runtime.processes.handle("p").result(timeout=20)
        assert got[-1] == 600
        assert sorted(got) == list(range(601))


async def taken(runtime: lash.Runtime, count: int) -> bool:
    """Whether process `p` has recorded so many effects."""
    return len(await recorded(runtime)) == count


@pytest.mark.slow
async def test_ten_thousand_signals_are_taken_in_the_order_in_which_they_were_sent(
    path: Path,
) -> None:
    """One after the other: they must not be read again and again from the beginning."""

    @lash.process
    async def in_order(ctx: lash.ProcessContext, count: int) -> int:
        for expected in range(count):
            if await ctx.signal("item") != expected:
                return expected
        return count

    async with opened(path, in_order, within=110) as runtime:
        handle = await begun(runtime, in_order, 10_000)
        for first in range(0, 10_000, 500):
            await asyncio.gather(*(handle.signal("item", first + each) for each in range(500)))
        assert await handle.result(timeout=60) == 10_000


async def test_names_have_lines_of_their_own(location: str | Path) -> None:
    @lash.process
    async def both(ctx: lash.ProcessContext) -> list[Any]:
        return [await ctx.signal("b"), await ctx.signal("a"), await ctx.signal("b")]

    async with opened(location, both) as runtime:
        handle = await begun(runtime, both)
        for name, payload in (("a", 1), ("b", 2), ("b", 3)):
            await handle.signal(name, payload)
        assert await handle.result(timeout=20) == [2, 1, 3]


async def test_two_waits_side_by_side_on_one_name_are_served_in_the_order_of_asking(
    path: Path,
) -> None:
    @lash.process
    async def pair(ctx: lash.ProcessContext) -> list[Any]:
        return list(
            await ctx.gather(ctx.signal("item", timeout=timedelta(days=1)), ctx.signal("item"))
        )

    await left(path, pair)
    await signalled(path, pair, name="item", payload="first")
    async with opened(path, pair) as runtime:
        await runtime.processes.signal("p", "item", "second")
        assert await runtime.processes.handle("p").result(timeout=20) == ["first", "second"]


async def test_each_of_two_waits_on_one_name_takes_one_signal(location: str | Path) -> None:
    @lash.process
    async def both(ctx: lash.ProcessContext) -> list[int]:
        return await ctx.gather(ctx.signal("item"), ctx.signal("item"))

    async with opened(location, both) as runtime:
        handle = await begun(runtime, both)
        await handle.signal("item", 1)
        await runtime.idle(30)
        assert (await handle.status()).outcome is None
        await handle.signal("item", 2)
        assert sorted(await handle.result(timeout=20)) == [1, 2]


async def test_a_wait_that_is_given_up_leaves_the_signal_to_the_next(location: str | Path) -> None:
    @lash.process
    async def racing(ctx: lash.ProcessContext) -> list[Any]:
        first = await ctx.race(ctx.signal("item"), ctx.signal("stop"))
        return [list(first), await ctx.signal("item")]

    async with opened(location, racing) as runtime:
        handle = await begun(runtime, racing)
        await handle.signal("stop", "stopped")
        await runtime.idle(30)  # it is decided: of two that came at once either may win
        await handle.signal("item", "kept")
        assert await handle.result(timeout=20) == [[1, "stopped"], "kept"]


# --- the same signal twice ------------------------------------------------------------------------------


async def test_the_same_id_and_payload_is_one_signal_whoever_sends_it(path: Path) -> None:
    await left(path, collect, 2)
    async with opened(path, run_processes=False) as runtime:
        sent = await runtime.processes.signal("p", "item", {"by": "ana"}, id="click-1")
    async with opened(path, collect) as runtime:
        handle = runtime.processes.handle("p")
        assert await handle.signal("item", {"by": "ana"}, id="click-1") == sent
        await handle.signal("item", {"by": "ben"}, id="click-2")
        assert await handle.result(timeout=20) == [{"by": "ana"}, {"by": "ben"}]
        assert await handle.signal("item", {"by": "ana"}, id="click-1") == sent


async def test_one_id_of_two_names_is_two_signals(location: str | Path) -> None:
    @lash.process
    async def both(ctx: lash.ProcessContext) -> list[Any]:
        return [await ctx.signal("a"), await ctx.signal("b")]

    async with opened(location, both) as runtime:
        handle = await begun(runtime, both)
        await handle.signal("a", 1, id="x")
        await handle.signal("b", 2, id="x")
        assert await handle.result(timeout=20) == [1, 2]


async def test_the_same_id_with_another_payload_is_a_conflict_and_changes_nothing(
    location: str | Path,
) -> None:
    """The keys of a payload have no order."""
    async with opened(location, collect) as runtime:
        handle = await begun(runtime, collect, 2)
        first = await handle.signal("item", {"a": 1, "b": 2}, id="x")
        assert (await handle.signal("item", {"b": 2, "a": 1}, id="x")).sequence == first.sequence
        with pytest.raises(lash.ConflictError) as raised:
            await handle.signal("item", {"a": 2}, id="x")
        assert raised.value.code == "process_event_conflict"
        await handle.signal("item", "other", id="y")
        assert await handle.result(timeout=20) == [{"a": 1, "b": 2}, "other"]


# --- what is refused ------------------------------------------------------------------------------------


@dataclass
class Approval:
    by: str
    amount: int = 1


class Note(pydantic.BaseModel):
    text: str


class Place(msgspec.Struct):
    x: int


@lash.process(
    signals={
        "approve": Approval,
        "note": Note,
        "place": Place,
        "any": object,
        "pick": Literal["a", "b"],
    }
)
async def declared(ctx: lash.ProcessContext, name: str) -> str:
    got = await ctx.signal(name)
    return f"{type(got).__name__}: {got}"


@pytest.mark.parametrize(
    ("name", "payload", "says"),
    [
        ("approve", {"by": "ana"}, "Approval: Approval(by='ana', amount=1)"),
        ("approve", Approval("ben", 2), "Approval: Approval(by='ben', amount=2)"),
        ("note", Note(text="hm"), "Note: text='hm'"),
        ("place", Place(3), "Place: Place(x=3)"),
        ("any", [1, None], "list: [1, None]"),
        ("pick", "b", "str: b"),
    ],
)
async def test_a_payload_is_read_as_it_was_declared(
    path: Path, name: str, payload: object, says: str
) -> None:
    await left(path, declared, name)
    async with opened(path, declared) as runtime:
        handle = runtime.processes.handle("p", declared)
        await handle.signal(name, payload)
        assert await handle.result(timeout=20) == says


@pytest.mark.parametrize(
    ("name", "payload", "code"),
    [
        ("reject", None, "process_signal_undeclared"),
        ("approve", {"amount": 1}, "process_event_invalid"),
        ("approve", {"by": 7}, "process_event_invalid"),
        ("approve", None, "process_event_invalid"),
        ("approve", {"by": float("nan")}, "value_not_json"),
        ("pick", "c", "process_event_invalid"),
        ("any", float("nan"), "value_not_json"),
        ("any", {"lock": object()}, "value_not_json"),
        ("any", "half a \ud83d", "value_not_json"),
        ("", None, "process_signal_name_invalid"),
        ("a b", None, "process_signal_name_invalid"),
        ("a.b", None, "process_signal_name_invalid"),
        ("ä", None, "process_signal_name_invalid"),
        (None, None, "process_signal_name_invalid"),
    ],
)
async def test_what_a_process_does_not_take_is_refused_where_it_is_sent(
    location: str | Path, name: Any, payload: object, code: str
) -> None:
    async with opened(location, declared) as runtime:
        handle = await begun(runtime, declared, "approve")
        before = await runtime.processes.events("p")
        with pytest.raises(lash.LashError) as raised:
            await handle.signal(name, payload)
        assert raised.value.code == code
        if code == "process_signal_undeclared":
            assert "approve" in raised.value.message  # it says what there is
        assert await code_of(runtime.processes.signal("p", name, payload)) == code
        await runtime.idle(30)
        types = [each.event_type for each in await runtime.processes.events("p")]
        assert [each for each in types if each.startswith("signal.")] == []
        assert len(before) <= len(types)
        await handle.signal("approve", {"by": "ana"})
        assert await handle.result(timeout=20) == "Approval: Approval(by='ana', amount=1)"


async def test_a_process_that_declares_no_signals_at_all_takes_none(location: str | Path) -> None:
    @lash.process(signals={})
    async def deaf(ctx: lash.ProcessContext) -> None:
        await ctx.sleep(timedelta(days=1))

    async with opened(location, deaf) as runtime:
        handle = await begun(runtime, deaf)
        assert await code_of(handle.signal("item", 1)) == "process_signal_undeclared"


async def test_a_wait_may_say_itself_how_a_payload_is_read(path: Path) -> None:
    @lash.process
    async def reading(ctx: lash.ProcessContext) -> str:
        approval = await ctx.signal("approve", Approval)
        try:
            await ctx.signal("approve", Approval)
        except lash.LashError as error:
            return f"{approval.by} {error.code}"
        return "nothing was wrong"

    await left(path, reading)
    async with opened(path, reading) as runtime:
        await runtime.processes.signal("p", "approve", {"by": "ana"})
        await runtime.processes.signal("p", "approve", {"amount": 1})
    assert await outcome(path, reading) == ProcessSuccess(value="ana value_not_of_type")


@pytest.mark.parametrize("name", ["", "a b", None])
async def test_a_process_cannot_wait_for_a_name_that_no_signal_can_have(
    location: str | Path, name: Any
) -> None:
    waiting = refused(lambda ctx: ctx.signal(name))
    async with opened(location, waiting) as runtime:
        handle = await runtime.processes.start(waiting)
        assert await handle.result(timeout=20) == "process_signal_name_invalid"


Send = Callable[[lash.Runtime], Awaitable[object]]

SENDS: Mapping[str, Send] = {
    "handle": lambda runtime: runtime.processes.handle("p").signal("item", 1),
    "processes": lambda runtime: runtime.processes.signal("p", "item", 1),
}


@pytest.mark.parametrize("send", SENDS)
async def test_signals_to_what_is_not_there_any_more_are_refused(
    location: str | Path, send: str
) -> None:
    async with opened(location, collect) as runtime:
        assert await code_of(SENDS[send](runtime)) == "process_unknown"
        handle = await runtime.processes.start(collect, 0, id="p")
        assert await handle.result(timeout=20) == []
        assert await code_of(SENDS[send](runtime)) == "process_already_terminal"
        await runtime.processes.prune()
        assert await code_of(SENDS[send](runtime)) == "process_no_longer_retained"


# --- timeouts -------------------------------------------------------------------------------------------


@lash.process
async def patient(ctx: lash.ProcessContext) -> list[Any]:
    got: list[Any] = []
    try:
        got.append(await ctx.signal("item", timeout=timedelta(days=3)))
    except lash.WaitError as error:
        got.append(error.code)
    got.append(await ctx.signal("item"))
    return got


async def test_a_wait_that_timed_out_takes_nothing_also_over_restarts(path: Path) -> None:
    clock = VirtualClock()
    await left(path, patient, clock=clock)
    clock.advance(timedelta(days=3).total_seconds())
    assert (await come_back(path, patient, clock=clock)).outcome is None
    async with opened(path, patient, clock=clock) as runtime:
        await runtime.processes.signal("p", "item", "late")
        got = await runtime.processes.handle("p").result(timeout=20)
    assert got == ["process_signal_timeout", "late"]


async def test_a_timeout_counts_from_the_first_time_that_the_wait_began(path: Path) -> None:
    clock = VirtualClock()
    await left(path, patient, clock=clock)
    for _ in range(2):
        clock.advance(timedelta(days=1).total_seconds())
        await come_back(path, patient, clock=clock)
    async with opened(path, patient, clock=clock) as runtime:
        await runtime.idle(30)
        clock.advance(timedelta(days=1).total_seconds() - 0.001)
        await runtime.idle(30)
        assert await recorded(runtime) == ["signal:item:1:deadline"]
        clock.advance(0.001)
        await settles(lambda: taken(runtime, 2))
        assert await recorded(runtime) == ["signal:item:1:deadline", "signal:item:1"]
        await runtime.processes.signal("p", "item", "late")
        got = await runtime.processes.handle("p").result(timeout=20)
        assert got == ["process_signal_timeout", "late"]


async def test_a_signal_that_came_in_time_is_taken_although_the_process_is_run_much_later(
    path: Path,
) -> None:
    clock = VirtualClock()
    await left(path, patient, clock=clock)
    clock.advance(timedelta(days=2).total_seconds())
    async with opened(path, run_processes=False, clock=clock) as runtime:
        await runtime.processes.signal("p", "item", "in time")
        await runtime.processes.signal("p", "item", "the next")
    clock.advance(timedelta(days=30).total_seconds())
    assert await outcome(path, patient, clock=clock) == ProcessSuccess(
        value=["in time", "the next"]
    )


async def test_a_signal_that_came_too_late_is_not_taken_although_nobody_ran_the_process_meanwhile(
    path: Path,
) -> None:
    """What a wait comes to does not depend on when its process is run again."""
    clock = VirtualClock()
    await left(path, patient, clock=clock)
    clock.advance(timedelta(days=4).total_seconds())
    async with opened(path, run_processes=False, clock=clock) as runtime:
        await runtime.processes.signal("p", "item", "too late")
    got = await outcome(path, patient, clock=clock)
    assert got == ProcessSuccess(value=["process_signal_timeout", "too late"])


async def test_a_timeout_of_nothing_takes_what_is_there_and_waits_for_nothing(
    location: str | Path, ledger: Ledger
) -> None:
    @lash.process
    async def polling(ctx: lash.ProcessContext) -> list[Any]:
        got: list[Any] = []
        await ctx.signal("begin")
        for _ in range(3):
            try:
                got.append(await ctx.signal("item", timeout=0))
            except lash.WaitError as error:
                got.append(error.code)
        return got

    async with opened(location, polling) as runtime:
        handle = await begun(runtime, polling)
        await handle.signal("item", 1)
        await handle.signal("item", 2)
        await handle.signal("begin")
        assert await handle.result(timeout=20) == [1, 2, "process_signal_timeout"]


@pytest.mark.parametrize("length", [-1, float("nan"), "soon", True])
async def test_a_timeout_that_is_no_length_of_time_is_refused(
    location: str | Path, length: Any
) -> None:
    waiting = refused(lambda ctx: ctx.signal("item", timeout=length))
    async with opened(location, waiting) as runtime:
        handle = await runtime.processes.start(waiting)
        assert await handle.result(timeout=20) == "duration_invalid"


async def test_what_a_process_waits_for_is_shown(path: Path) -> None:
    async with opened(path, collect) as runtime:
        await begun(runtime, collect, 2)
        await runtime.processes.signal("p", "item", 1)

        async def second() -> bool:
            record = await runtime.processes.get("p")
            wait = record.state.wait
            return wait is not None and getattr(wait.kind, "ordinal", None) == 2

        await settles(second)
        record = await runtime.processes.get("p")
        assert record.status == "waiting"
        assert [each.process_id for each in await runtime.processes.list(status="waiting")] == ["p"]


async def test_a_signal_is_told_to_nobody_but_its_process(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path, collect) as runtime:
        handle = await begun(runtime, collect, 1)
        event = await handle.signal("item", "a secret of somebody's")
        assert "secret" not in repr(event)
        await handle.outcome(timeout=20)
        await has_come_to(lambda: not runtime.engine.processes.worker.runs)
    assert "secret" not in caplog.text
