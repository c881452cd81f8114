"""Letting go of a session: refused while it is in use, final for the handle, and taken up again later."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from session_harness import (
    code_of,
    echo_agent,
    echo_session,
    held_in_a_tool,
    location,
    opened,
    path,
    seen,
    told,
)

import lash
from lash.app.session import ParkedSession

__all__ = ["location", "path"]


async def ran(runtime: lash.Runtime, session: lash.Session, prompt: str) -> lash.TurnResult:
    """A turn, and all that is done behind it."""
    turn = await session.run(prompt)
    await runtime.idle()
    return turn


async def let_go(session: lash.Session, how: str) -> object:
    return await (session.park() if how == "park" else session.close())


async def observed(session: lash.Session) -> object:
    async with session.observe() as items:
        return await anext(items)


async def streamed(session: lash.Session) -> object:
    async with session.stream("Hi.") as live:
        return await live.result()


CALLS: dict[str, Callable[[lash.Session], Awaitable[object]]] = {
    "run": lambda session: session.run("Hi."),
    "stream": streamed,
    "wait": lambda session: session.wait("t"),
    "cancel": lambda session: session.cancel(),
    "enqueue": lambda session: session.enqueue("Hi."),
    "inject": lambda session: session.inject("Hi."),
    "pending": lambda session: session.pending(),
    "cancel_pending": lambda session: session.cancel_pending("i"),
    "cancel_pending_from": lambda session: session.cancel_pending_from("i"),
    "compact": lambda session: session.compact(),
    "configure": lambda session: session.configure(prompt=lash.PromptLayer()),
    "park": lambda session: session.park(),
    "close": lambda session: session.close(),
    "observe": observed,
    "history": lambda session: session.history(),
    "turns": lambda session: session.turns(),
    "usage": lambda session: session.usage(),
    "info": lambda session: session.info(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("how", ["park", "close"])
async def test_a_handle_that_let_go_refuses_everything(
    location: str | Path, how: str, call: str
) -> None:
    async with echo_session(location) as (runtime, session):
        await ran(runtime, session, "Go.")
        await let_go(session, how)
        assert await code_of(CALLS[call](session)) == "session_closed"
        await runtime.idle()
        assert len(await runtime.session("s").turns()) == 1


async def test_a_handle_that_let_go_forks_nothing(location: str | Path) -> None:
    async with echo_session(location) as (runtime, session):
        await ran(runtime, session, "Go.")
        await session.close()
        assert await code_of(session.fork("new")) == "session_closed"
        assert [each.session_id for each in await runtime.sessions()] == ["s"]


async def test_a_handle_that_let_go_is_not_opened_again(location: str | Path) -> None:
    async with echo_session(location) as (runtime, session):
        await ran(runtime, session, "Go.")
        await session.close()

        async def enter() -> None:
            async with session:
                pass

        assert await code_of(enter()) == "session_closed"
        await runtime.session("s").park()


@pytest.mark.parametrize("how", ["park", "close"])
async def test_a_session_is_kept_while_a_turn_runs(location: str | Path, how: str) -> None:
    async with held_in_a_tool(location) as (session, held):
        assert await code_of(let_go(session, how)) == "session_still_in_use"
        assert await session.pending() == []  # nothing was changed
        await held.let_go()
        await held.runtime.idle()
        await let_go(session, how)


@pytest.mark.parametrize("how", ["park", "close"])
async def test_a_session_can_be_let_go_of_as_soon_as_its_result_is_there(
    location: str | Path, how: str
) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        for number in range(20):
            session = runtime.session(f"s{number}")
            await session.run("Go.")
            await let_go(session, how)


async def test_a_session_is_kept_while_a_stream_is_open(location: str | Path) -> None:
    model, agent = echo_agent()
    gate = model.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.stream("Go.") as live:
            await gate.reached.wait()
            assert await code_of(session.park()) == "session_still_in_use"
            gate.open()
            assert (await live.result()).text == "Go.!"
        await runtime.idle()
        await session.park()


async def test_a_session_is_kept_while_queued_input_waits_for_its_turn(
    location: str | Path,
) -> None:
    model, agent = echo_agent()
    gate = model.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        queued = await session.enqueue("Go.")
        await gate.reached.wait()
        assert await code_of(session.park()) == "session_still_in_use"
        gate.open()
        await queued.result()
        await runtime.idle()
        await session.park()


@pytest.mark.parametrize("how", ["park", "close"])
async def test_a_session_is_kept_while_another_handle_is_open(
    location: str | Path, how: str
) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        mine = runtime.session("s")
        async with runtime.session("s") as other, mine:
            await ran(runtime, other, "Go.")
            assert await code_of(let_go(mine, how)) == "session_still_in_use"
            assert len(await mine.history()) == 2
            async with runtime.session("else") as stranger:
                await let_go(stranger, how)
        async with mine:
            await let_go(mine, how)  # its own handle is no other
        async with runtime.session("s") as again:
            assert len(await again.history()) == 2
            await let_go(again, how)


async def test_a_parked_session_is_taken_up_again(location: str | Path) -> None:
    model, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s", agent="agent")
        await ran(runtime, session, "One.")
        parked = await session.park()
        assert isinstance(parked, ParkedSession)
        assert parked.session_id == "s"
        resumed, again = parked.resume(), parked.resume()
        await ran(runtime, resumed, "Two.")
        await ran(runtime, again, "Three.")
        assert await told(resumed) == await told(again)
    assert [text for _, text in seen(model.asked[2])] == [
        "One.",
        "One.!",
        "Two.",
        "Two.!",
        "Three.",
    ]


async def test_a_session_that_was_let_go_here_is_as_others_left_it(path: Path) -> None:
    _, first = echo_agent()
    model, second = echo_agent()
    async with opened(path, first) as one, opened(path, second) as other:
        await ran(other, other.session("s"), "One.")
        parked = await other.session("s").park()
        await ran(one, one.session("s"), "Two.")
        await parked.resume().run("Three.")
    assert [text for _, text in seen(model.asked[1])] == [
        "One.",
        "One.!",
        "Two.",
        "Two.!",
        "Three.",
    ]


async def test_a_session_that_never_began_may_be_parked(location: str | Path) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        parked = await runtime.session("new").park()
        assert (await parked.resume().run("Hello.")).text == "Hello.!"


async def test_parking_changes_nothing_that_is_stored(location: str | Path) -> None:
    async with echo_session(location) as (runtime, session):
        await ran(runtime, session, "One.")
        before = (await runtime.sessions(), await session.turns(), await told(session))
        await session.park()
        fresh = runtime.session("s")
        assert (await runtime.sessions(), await fresh.turns(), await told(fresh)) == before


async def test_a_handle_is_counted_until_its_block_is_left_however(location: str | Path) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:

        async def fail() -> None:
            async with runtime.session("s"):
                raise RuntimeError("mine")

        with pytest.raises(RuntimeError):
            await fail()
        task = asyncio.create_task(hold(runtime))
        await asyncio.sleep(0)
        assert await code_of(runtime.session("s").park()) == "session_still_in_use"
        task.cancel()
        await asyncio.wait([task])
        await runtime.session("s").park()


async def hold(runtime: lash.Runtime) -> None:
    async with runtime.session("s"):
        await asyncio.Event().wait()
