"""Stopping a turn that another runtime drives: as true and as whole as at home."""

import asyncio
from pathlib import Path
from typing import Any

from two_runtimes import Desk, begin, going, opened, path, said, stopped_by, until, valid

import lash
from lash.events import ToolCallStarted, TurnEvent
from lash.runtime.events import TurnCancelRequested
from lash.testing import ScriptedModel, calls

__all__ = ["path"]


async def test_a_turn_driven_there_is_stopped_from_here(path: Path) -> None:
    desk = Desk()
    async with going(path, desk) as (there, here, running):
        receipt = await here.session("s").cancel("t", request_id="r", origin="here")
        assert (receipt.outcome, receipt.turn_id) == ("requested", "t")
        turn = await running
        assert stopped_by(turn) == "r"
        assert await here.session("s").wait("t") == turn
        assert await valid(here)
        assert (await there.session("s").run("Next.")).text == "Next.!"


async def test_what_was_left_to_a_runtime_that_finished_it_is_not_claimed_again(path: Path) -> None:
    desk = Desk()
    async with going(path, desk) as (_there, here, running):
        waiting = asyncio.create_task(here.session("s").wait("t"))
        here.engine.leave_to_others("s")
        desk.go.set()
        turn = await running
        assert await waiting == turn
        store: Any = here.engine.store

        async def given_back() -> bool:
            return (await store.lease_of("s")).held is None

        await until(given_back)
        before = (await store.lease_of("s")).fencing_token
        await here.engine.take_over()
        await here.engine.take_over()
        assert not here.engine.drives("s")
        assert (await store.lease_of("s")).fencing_token == before


async def test_who_follows_a_turn_there_hears_that_it_was_asked_to_stop_here(path: Path) -> None:
    desk = Desk()
    events: list[TurnEvent] = []
    async with (
        opened(path, desk) as (there, here),
        there.session("s").stream("Go.", turn_id="t") as live,
    ):
        async for event in live:
            events.append(event)
            if isinstance(event, ToolCallStarted):
                await here.session("s").cancel("t", request_id="r")
        assert stopped_by(await live.result()) == "r"
    (told,) = [event for event in events if isinstance(event, TurnCancelRequested)]
    assert told.cancellation.request_id == "r"


async def test_every_turn_is_stopped_from_the_other_one_after_the_other(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        for number in range(4):
            desk.begun.clear()
            running = begin(there, turn_id=f"t{number}")
            await desk.begun.wait()
            receipt = await here.session("s").cancel(request_id=f"r{number}")
            assert (receipt.outcome, receipt.turn_id) == ("requested", f"t{number}")
            assert stopped_by(await running) == f"r{number}"


async def test_turns_of_several_sessions_are_stopped_from_the_other(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        tasks = {
            name: asyncio.create_task(there.session(name).run("Go.", turn_id="t"))
            for name in ("a", "b", "c")
        }

        async def all_began() -> bool:
            return desk.ran == 3

        await until(all_began)
        await here.session("a").cancel("t", request_id="ra")
        await here.session("c").cancel("t", request_id="rc")
        assert stopped_by(await tasks["a"]) == "ra"
        assert stopped_by(await tasks["c"]) == "rc"
        assert not tasks["b"].done()
        desk.go.set()
        assert (await tasks["b"]).is_success


async def test_a_tools_broken_callback_does_not_keep_later_turns_from_being_stopped(
    path: Path,
) -> None:
    begun = asyncio.Event()

    def broken(_: object) -> None:
        raise RuntimeError("my own callback")

    @lash.tool
    async def touchy(ctx: lash.ToolContext) -> str:
        """Registers a callback."""
        ctx.cancel.on_cancel(broken)
        begun.set()
        await asyncio.Event().wait()
        return "never"

    desk = Desk()
    touched = lash.Agent("touched", model=ScriptedModel([calls(("touchy", {}))]), tools=[touchy])
    async with (
        asyncio.timeout(10),
        lash.Runtime(path, agents=[desk.agent, touched]) as there,
        lash.Runtime(path, agents=[desk.agent, touched]) as here,
    ):
        first = asyncio.create_task(there.session("x", agent="touched").run("Go.", turn_id="t"))
        await begun.wait()
        await here.session("x").cancel("t")
        assert stopped_by(await first) is not None
        second = asyncio.create_task(there.session("s", agent="desk").run("Go.", turn_id="t"))
        await desk.begun.wait()
        await here.session("s").cancel("t", request_id="r")
        assert stopped_by(await asyncio.wait_for(second, 2)) == "r"


async def test_a_stop_from_here_just_before_the_commit_there_wins(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        store: Any = there.engine.store
        commit = store.commit_turn
        outcomes: list[str] = []

        async def stopped_first(request: Any) -> Any:
            if not outcomes:
                receipt = await here.session("s").cancel("t", request_id="r")
                outcomes.append(receipt.outcome)
            return await commit(request)

        store.commit_turn = stopped_first
        turn = await there.session("s").run("Hello.", turn_id="t")
        assert outcomes == ["requested"]
        assert stopped_by(turn) == "r"
        assert await said(here) == ["Hello."]
        assert [message.role for message in await here.session("s").history()] == ["user"]


async def test_a_stop_from_here_after_the_commit_there_says_so(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        turn = await there.session("s").run("Hello.", turn_id="t")
        receipt = await here.session("s").cancel("t")
        assert (receipt.outcome, receipt.result) == ("completion_won_race", turn)


async def test_a_turn_that_comes_there_is_stopped_by_a_request_from_here_before(
    path: Path,
) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        await there.session("s").run("Hello.")
        assert (await here.session("s").cancel("t", request_id="r")).outcome == "requested"
        assert stopped_by(await there.session("s").run("Go.", turn_id="t")) == "r"
    assert desk.ran == 0


async def test_a_wait_for_the_outside_there_is_given_up_from_here(path: Path) -> None:
    keys: asyncio.Queue[lash.AwaitEventKey] = asyncio.Queue()

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask."""
        return await ctx.defer(keys.put)

    agent = lash.Agent("desk", model=ScriptedModel([calls(("ask", {}))]), tools=[ask])
    async with (
        asyncio.timeout(30),
        lash.Runtime(path, agents=[agent]) as there,
        lash.Runtime(path) as here,
    ):
        running = begin(there, turn_id="t")
        await keys.get()
        await there.idle()
        await here.session("s").cancel("t", request_id="r")
        assert stopped_by(await running) == "r"
        assert await valid(here)
