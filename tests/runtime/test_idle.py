"""`idle()` returns when nothing accepted can go on without the outside, and not before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from deploys import Deploy, Opened, left, summary

import lash
from lash.testing import ScriptedModel, calls, reply


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


class Desk:
    """An agent that leaves questions to the outside, and one that works until it is told to stop."""

    def __init__(self, *made: str) -> None:
        self.keys: asyncio.Queue[lash.AwaitEventKey] = asyncio.Queue()
        self.working = asyncio.Event()
        self.go = asyncio.Event()

        @lash.tool
        async def ask(ctx: lash.ToolContext) -> lash.PendingCompletion:
            """Leave the answer to the outside."""
            return await ctx.defer(self.keys.put_nowait)

        @lash.tool
        async def work() -> str:
            """Work until the test says so."""
            self.working.set()
            await self.go.wait()
            return "worked"

        model = ScriptedModel([calls(*((name, {}) for name in made)), reply("Over.")])
        self.agent = lash.Agent("desk", model=model, tools=[ask, work])

    @asynccontextmanager
    async def opened(self, path: Path) -> AsyncIterator[Opened]:
        async with asyncio.timeout(30), Opened(path, self.agent) as opened:
            yield opened


async def still_busy(opened: Opened) -> "asyncio.Task[None]":
    """`idle()`, which has not returned although it had the time for any look at the store."""
    idle = asyncio.create_task(opened.runtime.idle())
    for _ in range(20):
        await opened.runtime.sessions()
    assert not idle.done()
    return idle


async def test_idle_returns_while_a_turn_waits_for_an_answer_also_with_input_behind_it(
    path: Path,
) -> None:
    desk = Desk("ask")
    async with desk.opened(path) as opened:
        session = opened.runtime.session("s", agent="desk")
        first = asyncio.create_task(session.run("Ask.", turn_id="t"))
        key = await desk.keys.get()
        await opened.runtime.idle()
        assert await summary(opened.runtime) == ("running", None, None, 1)
        second = asyncio.create_task(session.run("And behind?", turn_id="u"))
        while (await summary(opened.runtime))[3] < 2:  # noqa: ASYNC110  the store says so
            await asyncio.sleep(0)
        await opened.runtime.idle()
        assert not first.done()
        await opened.runtime.completions.resolve(key, "yes")
        assert (await first).text == "Over."
        key = await desk.keys.get()  # the second turn asks as well
        await opened.runtime.idle()
        assert not second.done()
        await opened.runtime.completions.resolve(key, "yes")
        assert (await second).text == "Over."


async def test_idle_returns_while_another_runtime_waits_for_an_answer(path: Path) -> None:
    desk = Desk("ask")
    async with desk.opened(path) as here, Opened(path, desk.agent) as there:
        turn = asyncio.create_task(here.runtime.session("s", agent="desk").run("Ask."))
        key = await desk.keys.get()
        await there.runtime.idle()
        assert await summary(there.runtime) == ("running", None, None, 1)
        await there.runtime.completions.resolve(key, "yes")
        assert (await turn).text == "Over."


async def test_idle_does_not_return_while_a_tool_works_beside_one_that_waits(path: Path) -> None:
    desk = Desk("ask", "work")
    async with desk.opened(path) as opened:
        turn = asyncio.create_task(opened.runtime.session("s", agent="desk").run("Ask."))
        await desk.working.wait()
        key = await desk.keys.get()
        idle = await still_busy(opened)
        desk.go.set()
        await idle
        assert not turn.done()
        await opened.runtime.completions.resolve(key, "yes")
        assert (await turn).text == "Over."


async def test_idle_does_not_return_while_another_session_works(path: Path) -> None:
    waiting, working = Desk("ask"), Desk("work")
    agents = [
        waiting.agent,
        lash.Agent("busy", model=working.agent.model, tools=working.agent.tools),
    ]
    async with asyncio.timeout(30), Opened(path, *agents) as opened:
        first = asyncio.create_task(opened.runtime.session("s", agent="desk").run("Ask."))
        second = asyncio.create_task(opened.runtime.session("b", agent="busy").run("Work."))
        await working.working.wait()
        await waiting.keys.get()
        idle = await still_busy(opened)
        working.go.set()
        await idle
        assert (await second).text == "Over."
        assert not first.done()
        first.cancel()


async def test_idle_returns_while_turns_are_parked_and_not_while_others_work(path: Path) -> None:
    await left(path)
    desk = Desk("work")
    agents = [Deploy(instructions="Be thorough.").agent, desk.agent]
    async with asyncio.timeout(30), Opened(path, *agents, on_drift="refuse") as opened:
        await opened.runtime.idle()
        turn = asyncio.create_task(opened.runtime.session("b", agent="desk").run("Work."))
        await desk.working.wait()
        idle = await still_busy(opened)
        desk.go.set()
        await idle
        assert (await turn).text == "Over."


async def test_idle_does_not_return_between_an_answer_and_the_turn_that_goes_on_with_it(
    path: Path,
) -> None:
    desk = Desk("ask")
    async with desk.opened(path) as opened:
        for number in range(10):
            session = opened.runtime.session(f"s{number}", agent="desk")
            turn = asyncio.create_task(session.run("Ask."))
            key = await desk.keys.get()
            await opened.runtime.idle()
            await opened.runtime.completions.resolve(key, "yes")
            await opened.runtime.idle()
            assert len(await session.turns()) == 1
            await turn
