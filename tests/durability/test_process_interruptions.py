"""Interruptions that are no crash: callers that are cancelled, loops that end, clocks that go on meanwhile."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from process_peers import Peer, Place, now_ms

import lash
from lash.core.clock import SystemClock
from lash.core.seams import Seam
from lash.effects.journal import JournalRecord
from lash.effects.waits.hints import POLL_MAX_S
from lash.processes.model import ProcessRecord
from lash.runtime.processes.function import ProcessFunction
from lash.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

#: How long something may take that does not take long, in seconds.
SOON_S = 10.0

#: By how much a timer may be late, in milliseconds.
LATE_MS = 100


class Counted:
    """A process of two steps, of which the second waits until it is let go; both are counted."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.holds = asyncio.Event()
        self.go = asyncio.Event()
        counted = self

        async def first() -> str:
            counted.begun.append("first")
            return "first"

        async def second() -> str:
            counted.begun.append("second")
            counted.holds.set()
            await counted.go.wait()
            return "second"

        @lash.process
        async def two(ctx: lash.ProcessContext) -> list[str]:
            return [await ctx.step(first), await ctx.step(second)]

        @lash.process
        async def listening(ctx: lash.ProcessContext) -> object:
            await ctx.step(first)
            return await ctx.signal("go")

        self.functions: list[ProcessFunction[..., Any]] = [two, listening]
        self.two = two
        self.listening = listening


class CancelAt:
    """Cancels a task when a seam is passed."""

    def __init__(self, seam: str) -> None:
        self._seam = seam
        self.task: asyncio.Task[Any] | None = None
        self._loop = asyncio.get_running_loop()

    def __call__(self, seam: Seam) -> None:
        if seam == self._seam and self.task is not None:
            task, self.task = self.task, None
            self._loop.call_soon_threadsafe(task.cancel)


async def ended(runtime: lash.Runtime, process_id: str) -> ProcessRecord:
    """A process, once it has ended; it may not be there yet."""
    async with asyncio.timeout(SOON_S):
        while True:
            found = await runtime.processes.list(status="retired")
            for record in found:
                if record.process_id == process_id:
                    return record
            await asyncio.sleep(0.01)


# --- callers that are cancelled -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seam", ["process.register.before", "process.register.inside", "process.register.after"]
)
async def test_cancelling_who_starts_a_process_does_not_stop_it(tmp_path: Path, seam: str) -> None:
    counted, cancel = Counted(), CancelAt(seam)
    counted.go.set()
    async with lash.Runtime(
        tmp_path / "agents.db", processes=counted.functions, seams=cancel
    ) as runtime:
        starting = asyncio.create_task(runtime.processes.start(counted.two, id="p"))
        cancel.task = starting
        with pytest.raises(asyncio.CancelledError):
            await starting
        record = await ended(runtime, "p")
        assert record.status == "completed"
        # It was begun with its row, by whoever registered it, and by nobody again.
        assert record.state.started is not None
        assert record.state.started.attempt == 1
    assert counted.begun == ["first", "second"]


async def test_cancelling_who_waits_for_a_result_does_not_stop_the_process(tmp_path: Path) -> None:
    counted = Counted()
    async with lash.Runtime(tmp_path / "agents.db", processes=counted.functions) as runtime:
        handle = await runtime.processes.start(counted.two, id="p")
        waiting = asyncio.create_task(handle.result())
        await counted.holds.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(lash.ProcessError) as late:
            await handle.result(timeout=0.05)
        assert late.value.code == "process_result_timeout"
        counted.go.set()
        assert await handle.result(timeout=SOON_S) == ["first", "second"]
    assert counted.begun == ["first", "second"]


@pytest.mark.parametrize("seam", ["process.append.before", "process.append.after"])
async def test_cancelling_who_sends_a_signal_does_not_take_it_back(
    tmp_path: Path, seam: str
) -> None:
    counted, cancel = Counted(), CancelAt(seam)
    async with lash.Runtime(
        tmp_path / "agents.db", processes=counted.functions, seams=cancel
    ) as runtime:
        handle = await runtime.processes.start(counted.listening, id="p")
        sending = asyncio.create_task(handle.signal("go", 7))
        cancel.task = sending
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await handle.result(timeout=SOON_S) == 7


#: Runtimes that nobody ever closes.
LEFT_OPEN: list[lash.Runtime] = []

# --- closing --------------------------------------------------------------------------------------------------


async def goes_on(path: Path, counted: Counted) -> ProcessRecord:
    """What comes of process `p` in another runtime over the file."""
    counted.go.set()
    async with lash.Runtime(path, processes=counted.functions) as runtime:
        handle = runtime.processes.handle("p")
        assert await handle.result(timeout=SOON_S) == ["first", "second"]
        assert await runtime.check() == []
        return await handle.status()


def test_a_loop_that_ends_in_the_middle_of_a_run_leaves_the_process_to_others(
    tmp_path: Path,
) -> None:
    path = tmp_path / "agents.db"

    async def left_open() -> Counted:
        counted = Counted()
        runtime = lash.Runtime(path, processes=counted.functions)
        LEFT_OPEN.append(runtime)
        await runtime.__aenter__()
        await runtime.processes.start(counted.two, id="p")
        await counted.holds.wait()
        return counted

    before = asyncio.run(left_open())
    assert before.begun == ["first", "second"]
    # Its owner lives, as far as anybody can tell, and its lease lasts 30 s: it was given back.
    assert Place(tmp_path).rows("SELECT owner_id FROM processes") == [(None,)]

    async def again() -> ProcessRecord:
        return await goes_on(path, Counted())

    record = asyncio.run(again())
    assert record.state.failures == 0  # it was given back, and not lost


async def closes_at(
    path: Path, seam: str, act: Callable[[lash.Runtime, Counted], Awaitable[object]]
) -> None:
    """Begin to close a runtime at the very moment at which a seam is passed."""
    counted, reached, loop = Counted(), asyncio.Event(), asyncio.get_running_loop()

    def seams(passed: Seam) -> None:
        if passed == seam:
            loop.call_soon_threadsafe(reached.set)

    runtime = lash.Runtime(path, processes=counted.functions, seams=seams)
    await runtime.__aenter__()
    acting = asyncio.ensure_future(act(runtime, counted))
    await reached.wait()
    async with asyncio.timeout(SOON_S):
        await runtime.__aexit__(None, None, None)
        await asyncio.gather(acting, return_exceptions=True)


@pytest.mark.parametrize(
    "seam", ["process.register.before", "process.register.inside", "process.register.after"]
)
async def test_closing_while_a_process_is_registered_leaves_no_lease_behind(
    tmp_path: Path, seam: str
) -> None:
    async def start(runtime: lash.Runtime, counted: Counted) -> None:
        await runtime.processes.start(counted.two, id="p")

    path = tmp_path / "agents.db"
    await closes_at(path, seam, start)
    assert Place(tmp_path).rows("SELECT owner_id FROM processes") == [(None,)]
    record = await goes_on(path, Counted())
    assert record.state.failures == 0


async def test_closing_waits_for_a_process_that_is_being_registered(tmp_path: Path) -> None:
    counted, reached, path = Counted(), asyncio.Event(), tmp_path / "agents.db"

    def seams(passed: Seam) -> None:
        if passed == "process.register.before":
            reached.set()

    runtime = lash.Runtime(path, processes=counted.functions, seams=seams)
    await runtime.__aenter__()
    engine = runtime.engine
    with closing(sqlite3.connect(path, isolation_level=None)) as locked:
        locked.execute("BEGIN IMMEDIATE")  # so that it takes as long as the lock is held
        starting = asyncio.create_task(runtime.processes.start(counted.two, id="p"))
        await reached.wait()
        leaving = asyncio.create_task(runtime.__aexit__(None, None, None))
        async with asyncio.timeout(SOON_S):
            while not engine.closing:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0)
            for _ in range(100):  # closing comes as far as it may
                await asyncio.sleep(0.001)
        locked.execute("ROLLBACK")
    async with asyncio.timeout(SOON_S):
        await asyncio.gather(leaving, starting)
    assert Place(tmp_path).rows("SELECT owner_id FROM processes") == [(None,)]
    record = await goes_on(path, Counted())
    assert record.state.failures == 0


@pytest.mark.parametrize(
    "seam", ["process.claim.before", "process.claim.inside", "process.claim.after"]
)
async def test_closing_while_a_process_is_claimed_leaves_no_lease_behind(
    tmp_path: Path, seam: str
) -> None:
    path = tmp_path / "agents.db"
    async with lash.Runtime(path, processes=Counted().functions, run_processes=False) as runtime:
        await runtime.processes.start_named("two", {}, id="p")

    async def nothing(runtime: lash.Runtime, counted: Counted) -> None:
        """It is taken up without being asked for."""

    await closes_at(path, seam, nothing)
    assert Place(tmp_path).rows("SELECT owner_id FROM processes") == [(None,)]
    record = await goes_on(path, Counted())
    assert record.state.failures == 0


# --- asked to stop at any moment --------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", range(12))
async def test_a_process_that_is_cancelled_while_it_is_taken_up_hears_of_it(
    tmp_path: Path, nth: int
) -> None:
    path = tmp_path / "agents.db"
    counted = Counted()
    async with lash.Runtime(path, processes=counted.functions) as runtime:
        await runtime.processes.start(counted.listening, id="p")
        await runtime.idle()
    async with lash.Runtime(path, processes=Counted().functions) as runtime:
        for _ in range(nth):
            await asyncio.sleep(0)  # one step of the loop further each time
        await runtime.processes.cancel("p", "enough")
        async with asyncio.timeout(SOON_S):
            with pytest.raises(lash.ProcessError) as stopped:
                await runtime.processes.handle("p").result()
        assert stopped.value.code == "process_cancelled"


class SlowJournal(SqliteStore):
    """A store whose journals take a while to be read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SystemClock(asyncio.sleep))
        self.reading = asyncio.Event()
        self.go = asyncio.Event()

    async def load_journal(self, scope_key: str) -> Sequence[JournalRecord]:
        found = await super().load_journal(scope_key)
        self.reading.set()
        await self.go.wait()
        return found


async def test_a_process_that_is_cancelled_while_its_journal_is_read_hears_of_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "agents.db"
    async with lash.Runtime(path, processes=Counted().functions) as runtime:
        await runtime.processes.start_named("listening", {}, id="p")
        await runtime.idle()
    store = SlowJournal(path)
    async with lash.Runtime(store, processes=Counted().functions) as runtime:
        await store.reading.wait()
        await runtime.processes.cancel("p", "enough")
        # Whatever else tells of it, such as the change feed, has done so by then.
        await asyncio.sleep(2 * POLL_MAX_S)
        store.go.set()
        async with asyncio.timeout(SOON_S):
            with pytest.raises(lash.ProcessError) as stopped:
                await runtime.processes.handle("p").result()
        assert stopped.value.code == "process_cancelled"


async def test_a_process_that_is_cancelled_while_it_continues_as_new_hears_of_it(
    tmp_path: Path,
) -> None:
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    cancelling: list[asyncio.Task[Any]] = []

    @lash.process
    async def on_and_on(ctx: lash.ProcessContext, segment: int = 0) -> None:
        if segment == 0:
            ctx.continue_as_new(1)
        await ctx.signal("never")

    def seams(passed: Seam) -> None:
        # In the transaction that begins the segment: the cancel is in the next one.
        if passed == "process.continue.inside":
            loop.call_soon_threadsafe(cancel)

    def cancel() -> None:
        cancelling.append(asyncio.create_task(stop()))

    async def stop() -> None:
        await runtime.processes.cancel("p", "enough")
        asked.set()

    async with lash.Runtime(tmp_path / "agents.db", processes=[on_and_on], seams=seams) as runtime:
        handle = await runtime.processes.start(on_and_on, id="p")
        await asked.wait()
        async with asyncio.timeout(SOON_S):
            with pytest.raises(lash.ProcessError) as stopped:
                await handle.result()
        assert stopped.value.code == "process_cancelled"


# --- timers -------------------------------------------------------------------------------------------------------


def test_a_timer_that_comes_due_after_a_restart_is_on_time(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with Peer(tmp_path, "one") as one:
        one.start("sleeper", given={"seconds": 3.0})
        one.hear("accepted")
        place.until_waiting()
        one.kill()
    with Peer(tmp_path, "two") as two:
        assert two.result() == ["one", "two"]
        two.close()
    times = place.times()
    late_ms = times["last"] - (times["first"] + 3000)
    assert 0 <= late_ms < LATE_MS, late_ms


def test_a_timer_that_came_due_while_nobody_was_there_is_over_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with Peer(tmp_path, "one") as one:
        one.start("sleeper", given={"seconds": 0.3})
        one.hear("accepted")
        place.until_waiting()
        one.kill()
    due_ms = place.times()["first"] + 300
    place.until(lambda: now_ms() > due_ms, "time stands still")
    with Peer(tmp_path, "two") as two:
        assert two.result() == ["one", "two"]
        two.close()
        opened = two.ready_ms
    late_ms = place.times()["last"] - opened
    assert late_ms < LATE_MS, late_ms
