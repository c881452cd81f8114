"""Runs that end from outside at an awkward moment: nothing hangs, and nothing is taken for an end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.processes.model import ProcessRecord
from lash.processes.outcomes import ProcessCancelled, ProcessSuccess
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@asynccontextmanager
async def opened(
    path: Path, *functions: lash.ProcessFunction[..., Any], **options: Any
) -> AsyncIterator[lash.Runtime]:
    async with asyncio.timeout(20), lash.Runtime(path, processes=functions, **options) as runtime:
        yield runtime


@lash.process
async def patient(ctx: lash.ProcessContext) -> Any:
    try:
        return await ctx.signal("go")
    except lash.ProcessCancelledError:
        return await ctx.signal("again")


async def test_a_run_that_is_told_and_stopped_at_once_is_stopped(path: Path) -> None:
    """Only one of the two cancellations reaches the code; it must not be taken for the telling alone."""
    async with opened(path, patient) as runtime:
        handle = await runtime.processes.start(patient, id="p")
        await runtime.idle(10)
        run = runtime.engine.processes.worker.runs["p"]
        runtime.engine.processes.registry.changed.append(lambda _: run.stop())
        await handle.cancel()
        while "p" in runtime.engine.processes.worker.runs:  # noqa: ASYNC110  it has no event of its own
            await asyncio.sleep(0.001)
    async with opened(path, patient) as runtime:
        await runtime.idle(10)
        await runtime.processes.signal("p", "again", "told")
        assert await runtime.processes.handle("p").result(timeout=10) == "told"


async def test_a_run_that_loses_its_lease_writes_nothing_more(path: Path) -> None:
    ran: list[str] = []

    @lash.process
    async def tidy(ctx: lash.ProcessContext) -> str:
        try:
            await ctx.signal("go")
        finally:
            ran.append("finally")
            await ctx.step(lambda: ran.append("released"), name="release")
        return "done"

    async with opened(path, tidy) as runtime:
        await runtime.processes.start(tidy, id="p")
        await runtime.idle(10)
        runtime.engine.processes.worker.runs["p"].lose()
        while "p" in runtime.engine.processes.worker.runs:  # noqa: ASYNC110  as above
            await asyncio.sleep(0.001)
        assert ran == ["finally"]
    async with opened(path, tidy) as runtime:
        await runtime.processes.signal("p", "go")
        assert await runtime.processes.handle("p").result(timeout=10) == "done"
    assert ran[-1] == "released"
    assert ran.count("released") == 1


async def test_a_process_that_cancels_its_own_task_rests_longer_and_longer(path: Path) -> None:
    clock, ran = VirtualClock(), list[float]()

    @lash.process
    async def wild(ctx: lash.ProcessContext) -> None:
        ran.append(clock.monotonic())
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await ctx.signal("go")

    async def resting(failures: int) -> ProcessRecord:
        while True:
            record = await runtime.processes.get("p")
            if record.state.failures == failures and not runtime.engine.processes.worker.runs:
                return record
            await asyncio.sleep(0.001)

    async with opened(path, wild, clock=clock) as runtime:
        await runtime.processes.start(wild, id="p")
        for failures, rest_ms in enumerate((100, 200, 400), start=1):
            record = await resting(failures)
            assert record.state.retry is not None
            assert record.state.retry.code == "process_recovery_failed"
            due = record.state.retry.next_attempt_at_ms
            assert due == clock.now_ms() + rest_ms
            assert len(ran) == failures
            clock.advance(rest_ms / 1000)


async def test_what_was_decided_just_before_a_runtime_closes_stays_decided(path: Path) -> None:
    first = asyncio.Event()
    decided = list[int]()

    async def opens_now() -> str:
        await first.wait()
        return "first"

    async def at_once() -> str:
        return "second"

    @lash.process
    async def racing(ctx: lash.ProcessContext) -> Any:
        index, _ = await ctx.race(opens_now(), at_once())
        decided.append(index)
        return await ctx.signal("go")

    async with opened(path, racing) as runtime:
        await runtime.processes.start(racing, id="p")
        await runtime.idle(10)
    first.set()  # now the other one would win
    async with opened(path, racing) as runtime:
        await runtime.processes.signal("p", "go", "done")
        assert await runtime.processes.handle("p").result(timeout=10) == "done"
    assert decided == [1, 1]


@pytest.mark.parametrize("method", ["record", "process_events", "load_journal", "write_process"])
async def test_a_store_that_fails_once_holds_the_process_up_and_does_not_end_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    ran: list[int] = []

    async def note(number: int) -> None:
        ran.append(number)

    @lash.process(events={"told": int})
    async def working(ctx: lash.ProcessContext) -> str:
        try:
            await ctx.step(note, 1)
            await ctx.emit("told", 1)
            await ctx.signal("go")
            await ctx.emit("told", 2)
        finally:
            await ctx.step(note, 2)
        return "done"

    async with opened(path, working) as runtime:
        await runtime.processes.start(working, id="p")
        await runtime.idle(10)
    assert ran == [1]
    async with opened(path, run_processes=False) as runtime:
        await runtime.processes.signal("p", "go")
    real, failed = getattr(SqliteStore, method), list[str]()

    def once(store: SqliteStore, *arguments: Any, **named: Any) -> Any:
        if not failed:
            failed.append(method)
            return failing()
        return real(store, *arguments, **named)

    async def failing() -> None:
        raise lash.StoreError("store_busy", "The disk is busy.")

    monkeypatch.setattr(SqliteStore, method, once)
    async with opened(path, working) as runtime:
        assert await runtime.processes.handle("p").outcome(timeout=10) == ProcessSuccess(
            value="done"
        )
        told = [
            each.payload
            for each in await runtime.processes.events("p")
            if each.event_type == "told"
        ]
    assert told == [1, 2]
    assert ran == [1, 2]
    assert failed == [method]


async def test_a_request_to_stop_that_comes_while_the_journal_is_read_is_heard(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @lash.process
    async def waiting(ctx: lash.ProcessContext) -> None:
        await ctx.signal("never")

    async with opened(path, waiting) as runtime:
        await runtime.processes.start(waiting, id="p")
        await runtime.idle(10)
    real, reading, go_on = SqliteStore.load_journal, asyncio.Event(), asyncio.Event()

    async def slowly(store: SqliteStore, scope_key: str) -> Any:
        records = await real(store, scope_key)
        reading.set()
        await go_on.wait()
        return records

    monkeypatch.setattr(SqliteStore, "load_journal", slowly)
    async with opened(path, waiting) as runtime:
        await reading.wait()
        await runtime.processes.cancel("p", "enough")
        go_on.set()
        ended = await runtime.processes.handle("p").outcome(timeout=10)
    assert ended == ProcessCancelled(message="enough")
