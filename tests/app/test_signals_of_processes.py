"""Signals: kept in order from the moment they are sent, and each taken by one wait."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from processes_harness import opened, rested

import lash
from lash.testing import VirtualClock


@dataclass
class Approval:
    by: str
    amount: int = 0


@lash.process
async def collect(ctx: lash.ProcessContext, count: int) -> list[Any]:
    return [await ctx.signal("n") for _ in range(count)]


@lash.process(signals={"approved": Approval})
async def approved(ctx: lash.ProcessContext) -> str:
    approval: Approval = await ctx.signal("approved")
    return f"{type(approval).__name__} {approval.by} {approval.amount}"


@lash.process
async def patient(ctx: lash.ProcessContext) -> str:
    try:
        await ctx.signal("go", timeout=timedelta(days=3))
    except lash.WaitError as error:
        late = await ctx.signal("go")
        return f"{error.code}, then {late}"
    return "in time"


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "memory" else tmp_path / "p.db"


async def test_two_signals_inside_one_wait_are_both_taken_in_order(place: str | Path) -> None:
    async with opened(place, [collect]) as runtime:
        handle = await runtime.processes.start(collect, 2)
        await rested(runtime)  # it waits for the first
        await asyncio.gather(handle.signal("n", 1), handle.signal("n", 2))
        assert sorted(await handle.result(timeout=5)) == [1, 2]
        log = [event.payload async for event in handle.events() if event.event_type == "signal.n"]
        assert await handle.result() == log


async def test_signals_sent_before_anybody_waits_are_there(place: str | Path) -> None:
    @lash.process
    async def late(ctx: lash.ProcessContext) -> list[int]:
        await ctx.signal("begin")
        return [await ctx.signal("n"), await ctx.signal("n")]

    async with opened(place, [late]) as runtime:
        handle = await runtime.processes.start(late)
        await handle.signal("n", 1)
        await handle.signal("n", 2)
        await handle.signal("begin")
        assert await handle.result(timeout=5) == [1, 2]


async def test_signals_sent_while_nobody_runs_it_are_taken_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    async with opened(path, [collect]) as runtime:
        await runtime.processes.start(collect, 3, id="c")
        await runtime.processes.signal("c", "n", 1)
        await rested(runtime)
    async with lash.Runtime(path, run_processes=False) as sender:
        await sender.processes.signal("c", "n", 2)
        assert (await sender.processes.get("c")).outcome is None
    async with opened(path, [collect]) as runtime:
        await rested(runtime)
        await runtime.processes.signal("c", "n", 3)
        assert await runtime.processes.handle("c").result(timeout=5) == [1, 2, 3]


async def test_a_signal_of_another_runtime_over_the_file_wakes_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    async with opened(path, [collect]) as runtime, lash.Runtime(path, run_processes=False) as other:
        handle = await runtime.processes.start(collect, 1, id="c")
        await rested(runtime)
        await other.processes.signal("c", "n", 7)
        assert await handle.result(timeout=5) == [7]
        assert await other.processes.handle("c").result(timeout=5) == [7]


async def test_ten_thousand_signals_arrive_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path / "p.db", [collect]) as runtime:
        handle = await runtime.processes.start(collect, 10_000)
        for first in range(0, 10_000, 500):
            await asyncio.gather(*(handle.signal("n", n) for n in range(first, first + 500)))
        assert await handle.result(timeout=60) == list(range(10_000))


async def test_the_same_id_and_payload_is_one_signal(place: str | Path) -> None:
    async with opened(place, [collect]) as runtime:
        handle = await runtime.processes.start(collect, 2)
        first = await handle.signal("n", {"a": 1, "b": 2}, id="click")
        again = await handle.signal("n", {"b": 2, "a": 1}, id="click")
        assert again.sequence == first.sequence
        with pytest.raises(lash.ConflictError) as refused:
            await handle.signal("n", {"a": 2}, id="click")
        assert refused.value.code == "process_event_conflict"
        await handle.signal("n", "other", id="click-2")
        assert await handle.result(timeout=5) == [{"a": 1, "b": 2}, "other"]


async def test_what_is_not_declared_or_does_not_fit_is_refused_and_disturbs_nobody(
    place: str | Path,
) -> None:
    async with opened(place, [approved]) as runtime:
        handle = await runtime.processes.start(approved)
        await rested(runtime)
        refusals = [
            ("aproved", {"by": "ana"}, "process_signal_undeclared"),
            ("approved", {"amount": 1}, "process_event_invalid"),
            ("approved", {"by": 7}, "process_event_invalid"),
            ("no spaces", None, "process_signal_name_invalid"),
            ("approved", {"by": float("nan")}, "value_not_json"),
        ]
        for name, payload, code in refusals:
            with pytest.raises(lash.LashError) as refused:
                await handle.signal(name, payload)
            assert refused.value.code == code
        assert "approved" in (await refuse(handle, "aproved")).message
        await handle.signal("approved", {"by": "ana", "amount": 3})
        assert await handle.result(timeout=5) == "Approval ana 3"


async def refuse(handle: lash.ProcessHandle[str], name: str) -> lash.LashError:
    with pytest.raises(lash.LashError) as refused:
        await handle.signal(name)
    return refused.value


async def test_signals_to_what_has_ended_or_never_was_are_told(place: str | Path) -> None:
    async with opened(place, [collect]) as runtime:
        handle = await runtime.processes.start(collect, 0, id="c")
        assert await handle.result(timeout=5) == []
        assert (await refuse(handle, "n")).code == "process_already_terminal"  # type: ignore[arg-type]  # whatever it gives
        with pytest.raises(lash.LashError) as unknown:
            await runtime.processes.signal("nobody", "n")
        assert unknown.value.code == "process_unknown"
        await runtime.processes.prune()
        with pytest.raises(lash.LashError) as gone:
            await runtime.processes.signal("c", "n")
        assert gone.value.code == "process_no_longer_retained"


async def test_a_timeout_takes_no_signal_and_its_clock_does_not_begin_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "p.db", VirtualClock()
    async with opened(path, [patient], clock=clock) as runtime:
        await runtime.processes.start(patient, id="p")
        await rested(runtime)
        clock.advance(2 * 86_400)
    async with opened(path, [patient], clock=clock) as runtime:
        await rested(runtime)
        clock.advance(86_400 - 1)
        await rested(runtime)
        assert (await runtime.processes.get("p")).status != "completed"
        clock.advance(1)
        await rested(runtime)
        await runtime.processes.signal("p", "go", "late")
        result = await runtime.processes.handle("p").result(timeout=5)
    assert result == "process_signal_timeout, then late"


async def test_two_waits_on_one_name_side_by_side_take_one_each(place: str | Path) -> None:
    @lash.process
    async def both(ctx: lash.ProcessContext) -> list[int]:
        return await ctx.gather(ctx.signal("n"), ctx.signal("n"))

    async with opened(place, [both]) as runtime:
        handle = await runtime.processes.start(both)
        await rested(runtime)
        await handle.signal("n", 1)
        await rested(runtime)
        assert (await handle.status()).outcome is None
        await handle.signal("n", 2)
        assert sorted(await handle.result(timeout=5)) == [1, 2]
