"""How soon a turn sees that somebody else answered it, and what waiting costs meanwhile.

Two runtimes on one file: one waits, the other answers. Time is virtual, so the bounds are exact.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from deploys import Opened
from desk import ASK, Desk, finished, run, stopped

import lash
from lash.core.errors import StoreError
from lash.events import ModelRequestStarted
from lash.testing import ScriptedModel, VirtualClock, reply

#: Milliseconds. Time passes in such steps, so that what is measured is at most one too much.
STEP = 5
#: How often the store is asked whether anything was written, and how often the rows are read anyway.
HINT, POLL = 30, 1000
#: Four tasks of a runtime always sleep: one keeps leases, one sweeps, one follows processes, one watches whether
#: other owners live; another while anything is
#: driven, which looks for requests to stop. Leases are renewed every ten seconds, which is a write like
#: any other, so no test lets that much time pass.
RESTING = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


class Timed(Opened):
    """A runtime whose time passes step by step, and only while nothing else goes on in it."""

    def __init__(self, path: Path, *agents: lash.Agent) -> None:
        self.time = VirtualClock()
        super().__init__(path, *agents, clock=self.time)

    async def asleep(self, more: int = 1, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Until so many tasks sleep besides those that always do."""
        async with asyncio.timeout(20):
            while self.time.sleeping < self._resting + more and not unless():  # noqa: ASYNC110  polled
                await asyncio.sleep(0)
        for _ in range(10):  # whoever was told something meanwhile gets to run
            await asyncio.sleep(0)

    @property
    def _resting(self) -> int:
        return RESTING + bool(self.runtime.engine.driven)

    async def let_pass(self, milliseconds: int, more: int = 1) -> None:
        """Let time pass; whoever wakes is asleep again before the next step."""
        for _ in range(milliseconds // STEP):
            await self.asleep(more)
            self.time.advance(STEP / 1000)
        await self.asleep(more)

    async def let_end(self, turn: "asyncio.Task[lash.TurnResult]", more: int = 1) -> None:
        """Let time pass until the end of a turn is known here."""
        for _ in range(10 * POLL // STEP):
            await self.asleep(more, unless=turn.done)
            if turn.done():
                return
            self.time.advance(STEP / 1000)
        pytest.fail("the end of the turn was not seen in ten seconds")


@asynccontextmanager
async def opened(path: Path, *agents: lash.Agent) -> AsyncIterator[tuple[Timed, Timed]]:
    """Two runtimes on one file, each with a time of its own."""
    async with Timed(path, *agents) as here, Timed(path, *agents) as there:
        yield here, there


def on(runtime: Timed) -> None:
    """Leave hints as they are."""
    del runtime


def off(runtime: Timed) -> None:
    """Have a runtime's store say that it cannot tell whether anybody wrote."""

    async def cannot_tell() -> None:
        return None

    runtime.store.instead["change_token"] = cannot_tell


def broken(runtime: Timed, times: int | None = None) -> None:
    """Have it fail to say so, always or so many times."""
    left = count() if times is None else iter(range(times))

    async def fails() -> None:
        for _ in left:
            raise StoreError("store_io_failed", "the disk did not answer")

    runtime.store.before["change_token"] = fails


HINTS = [(on, HINT), (off, POLL), (broken, POLL)]  # the rows are read all the same


@pytest.mark.parametrize(("hints", "bound"), HINTS, ids=["on", "off", "broken"])
@pytest.mark.parametrize("before_ms", [0, 5_000], ids=["at once", "after a while"])
async def test_an_answer_from_another_runtime_is_seen_in_time(
    path: Path, hints: Callable[[Timed], None], bound: int, before_ms: int
) -> None:
    desk = Desk(ASK)
    async with opened(path, desk.agent) as (here, there):
        hints(here)
        turn, key = run(here.runtime), await desk.key()
        await here.let_pass(before_ms)  # polling grows slower the longer nothing happens
        answered_ms = here.time.now_ms()
        await there.runtime.completions.resolve(key, "yes")
        await here.let_end(turn)
        assert (await turn).text == "yes"
        journal = await here.runtime.journal("s", "t")
    (seen_ms,) = [entry.recorded_at_ms for entry in journal if entry.kind == "await_event"]
    assert seen_ms - answered_ms <= bound + STEP


async def test_an_answer_from_the_same_runtime_is_seen_before_any_time_passes(path: Path) -> None:
    desk = Desk(ASK)
    async with opened(path, desk.agent) as (here, _):
        off(here)
        turn, key = run(here.runtime), await desk.key()
        await here.let_pass(5_000)
        await here.runtime.completions.resolve(key, "yes")
        assert (await finished(turn)).text == "yes"


async def reads_while_waiting(path: Path, sessions: int) -> int:
    """How often the rows are read in four seconds in which nothing happens, for so many waits."""
    desk = Desk(ASK)
    async with Timed(path, desk.agent) as here:
        begun = [
            asyncio.create_task(here.runtime.session(f"s{number}").run("Go."))
            for number in range(sessions)
        ]
        async with asyncio.timeout(20):
            while len(desk.ran) < sessions:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0)
        await here.runtime.idle()
        await here.let_pass(5_000)
        before = here.store.counts["inspect_waits"]
        await here.let_pass(4_000)
        reads = here.store.counts["inspect_waits"] - before
    for turn in begun:
        await stopped(turn)
    return reads


async def test_many_waits_are_read_as_one(tmp_path: Path) -> None:
    assert await reads_while_waiting(tmp_path / "one.db", 1) == 4
    assert await reads_while_waiting(tmp_path / "many.db", 30) == 4


async def test_nothing_is_read_while_nobody_waits(path: Path) -> None:
    desk = Desk(ASK)
    async with opened(path, desk.agent) as (here, _):
        turn, key = run(here.runtime), await desk.key()
        await here.asleep()
        await here.runtime.completions.resolve(key, "yes")
        await finished(turn)
        await here.let_pass(2 * POLL, more=0)
        before = here.store.counts.copy()
        await here.let_pass(5_000, more=0)
        assert here.store.counts == before


async def test_what_others_write_meanwhile_disturbs_no_wait(path: Path) -> None:
    desk = Desk(ASK)
    busy = lash.Agent("busy", model=ScriptedModel([reply("Done.")]))
    async with opened(path, desk.agent, busy) as (here, there):
        session = here.runtime.session("s", agent="desk")
        async with session.stream("Go.", turn_id="t") as live:
            key = await desk.key()
            for number in range(20):
                await there.runtime.session(f"b{number}", agent="busy").run("Work.")
                await here.let_pass(50)
            await there.runtime.completions.resolve(key, "yes")
            await here.let_end(asyncio.create_task(live.result()))
            heard = [event async for event in live]
            assert (await live.result()).text == "yes"
    assert sum(isinstance(event, ModelRequestStarted) for event in heard) == 2
    assert desk.ran == ["may I?"]


# --- who follows a turn that another runtime drives -------------------------------------------------------


async def followed(here: Timed, there: Timed, desk: Desk) -> "asyncio.Task[lash.TurnResult]":
    """A caller in one runtime who waits for a turn that waits in the other."""
    turn = run(here.runtime)
    await desk.key()
    await here.asleep()
    turn.cancel()  # its caller leaves, the turn stays
    following = run(there.runtime)
    await there.asleep()
    return following


async def settled(here: Timed, desk: Desk) -> None:
    """Answer the turn, and wait until it is committed."""
    await here.runtime.completions.resolve(desk.keys["may I?"], "yes")
    async with asyncio.timeout(20):
        while not await here.runtime.session("s").turns():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)


@pytest.mark.parametrize(("hints", "bound"), HINTS, ids=["on", "off", "broken"])
async def test_who_follows_a_turn_of_another_runtime_sees_its_end_in_time(
    path: Path, hints: Callable[[Timed], None], bound: int
) -> None:
    desk = Desk(ASK)
    async with opened(path, desk.agent) as (here, there):
        hints(there)
        following = await followed(here, there, desk)
        await there.let_pass(5_000)
        await settled(here, desk)
        settled_ms = there.time.now_ms()
        await there.let_end(following)
        assert (await following).text == "yes"
        assert there.time.now_ms() - settled_ms <= bound + STEP


async def test_who_follows_a_turn_sees_its_end_although_hints_fail_for_a_moment(
    path: Path,
) -> None:
    desk = Desk(ASK)
    async with opened(path, desk.agent) as (here, there):
        following = await followed(here, there, desk)
        broken(there, times=1)
        await there.let_pass(2 * HINT, more=0)
        await settled(here, desk)
        await there.let_end(following, more=0)
        assert (await following).text == "yes"
