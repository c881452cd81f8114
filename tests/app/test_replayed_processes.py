"""A process is run again from its beginning, and nothing that was recorded happens twice."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from processes_harness import Functions, Ledger, opened, parked_because, rested, until

import lash
from lash.testing import VirtualClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p.db"


async def reopened(path: Path, functions: Functions, times: int = 2) -> None:
    """Open and close a runtime so often, until nothing goes on each time."""
    for _ in range(times):
        async with opened(path, functions) as runtime:
            await rested(runtime)


async def test_every_effect_happens_once_however_often_it_is_run_again(path: Path) -> None:
    ledger = Ledger()
    seen: list[object] = []

    @lash.process(events={"progress": int})
    async def all_sorts(ctx: lash.ProcessContext, name: str) -> str:
        moment, chance, fresh = await ctx.now(), await ctx.random(), await ctx.uuid()
        seen.append((moment, chance, fresh))
        first = await ctx.step(ledger.do, f"{name} sync")
        await ctx.emit("progress", 50)
        second = await ctx.step(ledger.aio, f"{name} async")
        await ctx.sleep(0.001)
        await ctx.signal("go")
        return f"{first}, {second}"

    async with opened(path, [all_sorts]) as runtime:
        await runtime.processes.start(all_sorts, "x", id="a")
        await rested(runtime)
    await reopened(path, [all_sorts])
    async with opened(path, [all_sorts]) as runtime:
        handle = runtime.processes.handle("a", all_sorts)
        await handle.signal("go")
        assert await handle.result(timeout=5) == "did x sync, did x async"
        events = [event.event_type async for event in handle.events()]
    assert ledger.ran == {"x sync": 1, "x async": 1}
    assert len(seen) == 4
    assert len(set(map(repr, seen))) == 1
    assert events.count("progress") == 1
    assert events[-1] == "process.completed"


async def test_retries_of_a_step_go_on_where_they_were(path: Path) -> None:
    attempts: list[int] = []

    def flaky() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            message = "not yet"
            raise ValueError(message)
        return "done"

    @lash.process
    async def retried(ctx: lash.ProcessContext) -> str:
        return await ctx.step(flaky, retry=lash.StepRetry(max_attempts=3, base_delay_ms=3_600_000))

    clock = VirtualClock()
    for done in (1, 2, 3):
        async with opened(path, [retried], clock=clock) as runtime:
            handle = await runtime.processes.start(retried, id="r")
            if done > 1:
                await rested(runtime)
                clock.advance(7_200)
            await rested(runtime)
            assert len(attempts) == done
    async with opened(path, [retried], clock=clock) as runtime:
        handle = runtime.processes.handle("r")
        assert await handle.result(timeout=5) == "done"


async def test_a_failed_step_is_caught_and_a_step_that_never_returns_times_out(path: Path) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    @lash.process
    async def careful(ctx: lash.ProcessContext) -> str:
        try:
            await ctx.step(never, timeout=0.02)
        except lash.StepError as error:
            return error.code
        return "?"

    @lash.process
    async def careless(ctx: lash.ProcessContext) -> None:
        await ctx.step(never, timeout=timedelta(milliseconds=20))

    async with opened(path, [careful, careless]) as runtime:
        assert await (await runtime.processes.start(careful)).result(timeout=5) == (
            "durable_step_failed"
        )
        with pytest.raises(lash.ProcessError) as failed:
            await (await runtime.processes.start(careless)).result(timeout=5)
        assert failed.value.code == "durable_step_failed"
        assert "0.02 s" in failed.value.message


async def test_thirty_days_pass_on_a_virtual_clock(path: Path) -> None:
    @lash.process
    async def monthly(ctx: lash.ProcessContext) -> str:
        begun = await ctx.now()
        await ctx.sleep(timedelta(days=29))
        await ctx.sleep_until(begun + timedelta(days=30))
        return (await ctx.now() - begun).__str__()

    clock = VirtualClock()
    async with opened(path, [monthly], clock=clock) as runtime:
        await runtime.processes.start(monthly, id="m")
        await rested(runtime)
        clock.advance(15 * 86_400)
    async with opened(path, [monthly], clock=clock) as runtime:
        await rested(runtime)
        clock.advance(14 * 86_400)
        await rested(runtime)
        clock.advance(86_400 - 1)
        await rested(runtime)
        assert (await runtime.processes.get("m")).outcome is None
        clock.advance(1)
        assert await runtime.processes.handle("m").result(timeout=5) == "30 days, 0:00:00"


async def test_past_times_do_not_wait_and_naive_ones_are_refused(path: Path) -> None:
    @lash.process
    async def past(ctx: lash.ProcessContext) -> str:
        await ctx.sleep_until(datetime(2020, 1, 1, tzinfo=UTC))
        try:
            await ctx.sleep_until(datetime(2020, 1, 1))  # noqa: DTZ001  that is the point
        except lash.LashError as error:
            return str(error.code)
        return "?"

    async with opened(path, [past]) as runtime:
        assert await (await runtime.processes.start(past)).result(timeout=5) == "duration_invalid"


@pytest.mark.parametrize("how", ["gather", "asyncio", "group"])
async def test_branches_find_their_effects_whatever_finished_first(path: Path, how: str) -> None:
    ledger = Ledger()
    gates = {name: asyncio.Event() for name in "abc"}

    async def gated(name: str, number: int) -> str:
        await gates[name].wait()
        return ledger.do(f"{name}{number}")

    @lash.process
    async def parallel(ctx: lash.ProcessContext, how: str) -> list[str]:
        async def branch(name: str) -> str:
            first = await ctx.step(gated, name, 1)
            second = await ctx.step(gated, name, 2)
            return f"{first}, {second}"

        if how == "gather":
            done = await ctx.gather(*(branch(name) for name in "abc"))
        elif how == "asyncio":
            done = list(await asyncio.gather(*(branch(name) for name in "abc")))
        else:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(branch(name)) for name in "abc"]
            done = [task.result() for task in tasks]
        await ctx.signal("go")
        return done

    async with opened(path, [parallel]) as runtime:
        await runtime.processes.start(parallel, how, id="p")
        for name in "cba":  # in another order than they were asked for
            gates[name].set()
            await until(lambda name=name: ledger.ran[f"{name}2"] == 1)  # type: ignore[misc]  # a default
        await rested(runtime)
    async with opened(path, [parallel]) as runtime:
        await runtime.processes.signal("p", "go")
        assert await runtime.processes.handle("p").result(timeout=5) == [
            "did a1, did a2",
            "did b1, did b2",
            "did c1, did c2",
        ]
    assert ledger.ran == dict.fromkeys(("a1", "a2", "b1", "b2", "c1", "c2"), 1)


async def test_a_race_that_was_decided_is_followed_and_its_losers_are_not_run_again(
    path: Path,
) -> None:
    ledger = Ledger()

    async def slow() -> str:
        ledger.do("slow")
        await asyncio.Event().wait()
        return "?"

    @lash.process
    async def racing(ctx: lash.ProcessContext) -> str:
        async def quick() -> str:
            await ctx.step(ledger.do, "quick 1")
            return await ctx.step(ledger.do, "quick 2")

        async def loser() -> str:
            await ctx.step(ledger.do, "loser")
            return await ctx.step(slow)

        index, value = await ctx.race(loser(), quick())
        await ctx.step(ledger.do, "after")
        await ctx.signal("go")
        return f"{index} {value}"

    async with opened(path, [racing]) as runtime:
        await runtime.processes.start(racing, id="r")
        await rested(runtime)
    await reopened(path, [racing])
    async with opened(path, [racing]) as runtime:
        await runtime.processes.signal("r", "go")
        assert await runtime.processes.handle("r").result(timeout=5) == "1 did quick 2"
    assert all(count == 1 for count in ledger.ran.values())
    assert set(ledger.ran) >= {"quick 1", "quick 2", "after"}


async def test_a_timer_can_race_a_signal(path: Path) -> None:
    @lash.process
    async def impatient(ctx: lash.ProcessContext) -> int:
        index, _ = await ctx.race(ctx.signal("never"), ctx.sleep(0.01))
        await ctx.signal("go")
        return index

    async with opened(path, [impatient]) as runtime:
        await runtime.processes.start(impatient, id="i")
        await rested(runtime)
    async with opened(path, [impatient]) as runtime:
        await runtime.processes.signal("i", "go")
        assert await runtime.processes.handle("i").result(timeout=5) == 1


async def test_the_first_branch_that_fails_ends_the_others_also_on_replay(path: Path) -> None:
    ledger = Ledger()

    def breaks() -> None:
        ledger.do("breaks")
        message = "no"
        raise ValueError(message)

    @lash.process
    async def failing(ctx: lash.ProcessContext) -> str:
        async def waits() -> None:
            await ctx.signal("never")

        try:
            await ctx.gather(waits(), ctx.step(breaks), waits())
        except lash.StepError:
            await ctx.signal("go")
        return "went on"

    async with opened(path, [failing]) as runtime:
        await runtime.processes.start(failing, id="f")
        await rested(runtime)
    async with opened(path, [failing]) as runtime:
        await runtime.processes.signal("f", "go")
        assert await runtime.processes.handle("f").result(timeout=5) == "went on"
    assert ledger.ran == {"breaks": 1}


async def test_ten_thousand_effects_are_replayed_fast(path: Path) -> None:
    ledger = Ledger()

    @lash.process
    async def long(ctx: lash.ProcessContext) -> int:
        for number in range(10_000):
            await ctx.step(ledger.aio, str(number % 7))
        await ctx.signal("go")
        return sum(ledger.ran.values())

    async with opened(path, [long]) as runtime:
        await runtime.processes.start(long, id="l")
        await runtime.idle(timeout=100)
    began = time.perf_counter()
    async with opened(path, [long]) as runtime:
        await rested(runtime)
        took = time.perf_counter() - began
        await runtime.processes.signal("l", "go")
        assert await runtime.processes.handle("l").result(timeout=5) == 10_000
    assert took < 15  # about a second; a lookup per effect, or worse, would not pass


async def test_the_logger_is_silent_while_it_only_repeats(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lash.process")

    @lash.process
    async def chatty(ctx: lash.ProcessContext) -> None:
        ctx.logger.info("before")
        await ctx.step(abs, -1)
        ctx.logger.info("between")
        await ctx.signal("go")
        ctx.logger.info("after %s", "all")
        await ctx.step(abs, -2)

    async with opened(path, [chatty]) as runtime:
        await runtime.processes.start(chatty, id="c")
        await rested(runtime)
    async with opened(path, [chatty]) as runtime:
        await rested(runtime)
        await runtime.processes.signal("c", "go")
        await runtime.processes.handle("c").result(timeout=5)
    assert [record.getMessage() for record in caplog.records if record.name == "lash.process"] == [
        "[c] before",
        "[c] between",
        "[c] between",  # nothing was recorded behind it, so nobody knows that it was said
        "[c] after all",
    ]


# --- going on as new ------------------------------------------------------------------------------------


async def test_a_process_that_continues_keeps_its_signals_its_id_and_whoever_waits(
    path: Path,
) -> None:
    ledger = Ledger()

    @lash.process
    async def forever(ctx: lash.ProcessContext, round_: int, total: int = 0) -> int:
        await ctx.step(ledger.do, f"round {round_}")
        total += await ctx.signal("n")
        if round_ < 3:
            ctx.continue_as_new(round_ + 1, total=total)
        return total

    async with opened(path, [forever]) as runtime:
        handle = await runtime.processes.start(forever, 1, id="f")
        waiting = asyncio.create_task(handle.result())
        for number in (1, 10):
            await handle.signal("n", number)
        await rested(runtime)
        assert (await handle.status()).state.segment.ordinal == 2
        assert not waiting.done()
        waiting.cancel()
    async with opened(path, [forever]) as runtime:
        await rested(runtime)
        await runtime.processes.signal("f", "n", 100)
        assert await runtime.processes.handle("f").result(timeout=5) == 111
    assert ledger.ran == {"round 1": 1, "round 2": 1, "round 3": 1}


async def test_continuing_with_arguments_that_do_not_fit_fails_the_process(path: Path) -> None:
    @lash.process
    async def wrong(ctx: lash.ProcessContext, number: int) -> None:
        ctx.continue_as_new("seven")

    async with opened(path, [wrong]) as runtime:
        with pytest.raises(lash.ProcessError) as failed:
            await (await runtime.processes.start(wrong, 7)).result(timeout=5)
    assert failed.value.code == "process_arguments_invalid"


# --- code that changed ----------------------------------------------------------------------------------


def made(*steps: object, early: bool = False) -> lash.ProcessFunction[..., Any]:
    """A process that does these steps, then waits, then comes to its end."""

    @lash.process(name="changing", events={"said": str})
    async def changing(ctx: lash.ProcessContext) -> str:
        for step in steps:
            match step:
                case ("emit", str(text)):
                    await ctx.emit("said", text)
                case (str(name), value):
                    await ctx.step(str, value, name=name)
                case name:
                    await ctx.step(str, 1, name=str(name))
        if not early:
            await ctx.signal("go")
        return "ended"

    return changing


@pytest.mark.parametrize(
    ("now", "code", "named"),
    [
        (made("a", "renamed"), "process_journal_left_over", "step:b:1"),
        (made("a", ("b", 2)), "effect_replay_mismatch", "step:b:1"),
        (made("a"), "process_journal_left_over", "step:b:1"),
        (made("new", "a", "b"), "process_journal_left_over", "step:a:1"),
        (made("b"), "process_journal_left_over", "step:a:1"),
        (made("a", early=True), "process_journal_left_over", "step:b:1"),
        (made("a", early=True), "process_journal_left_over", "came to its end"),
    ],
    ids=["renamed", "arguments", "removed", "inserted", "first removed", "early", "early, said"],
)
async def test_changed_code_is_found_out_and_the_old_code_goes_on(
    path: Path, now: lash.ProcessFunction[..., Any], code: str, named: str
) -> None:
    before = made("a", "b")
    async with opened(path, [before]) as runtime:
        await runtime.processes.start(before, id="c")
        await rested(runtime)
    async with opened(path, [now]) as runtime:
        assert await parked_because(runtime, "c") == code
        parked = (await runtime.processes.get("c")).state.parked
        assert parked is not None
        assert named in parked.message
        assert parked.waits_for == "person"
        (found,) = await runtime.processes.list(parked=True)
        assert found.process_id == "c"
    async with opened(path, [before]) as runtime:
        await rested(runtime)
        await runtime.processes.signal("c", "go")
        assert await runtime.processes.handle("c").result(timeout=5) == "ended"


async def test_another_event_in_the_place_of_one_is_found_out(path: Path) -> None:
    before, now = made(("emit", "hello")), made(("emit", "hullo"))
    async with opened(path, [before]) as runtime:
        await runtime.processes.start(before, id="c")
        await rested(runtime)
    async with opened(path, [now]) as runtime:
        assert await parked_because(runtime, "c") == "effect_replay_mismatch"


async def test_a_version_or_a_name_that_is_missing_is_waited_for_visibly(path: Path) -> None:
    told: list[object] = []

    @lash.process(name="job", version="1")
    async def one(ctx: lash.ProcessContext) -> str:
        await ctx.signal("go")
        return "one"

    @lash.process(name="job", version="2")
    async def two(ctx: lash.ProcessContext) -> str:
        return "two"

    async with opened(path, [one]) as runtime:
        await runtime.processes.start(one, id="j")
        await rested(runtime)
    async with opened(path, [two], on_event=told.append) as runtime:
        assert await parked_because(runtime, "j") == "process_version_missing"
        await runtime.processes.signal("j", "go")  # accepted all the same
    async with opened(path, []) as runtime:
        await rested(runtime)
        assert (await runtime.processes.get("j")).status == "waiting"
    assert [getattr(event, "process_id", None) for event in told] == ["j"]
    async with opened(path, [one, two]) as runtime:
        assert await runtime.processes.handle("j").result(timeout=5) == "one"
