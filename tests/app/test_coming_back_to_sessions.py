"""Readers of a session that come late, fall behind or come back: they end up with what is so."""

import asyncio
from pathlib import Path

from observing_harness import is_commit, read_until, shown, watching, word
from session_harness import (
    Holding,
    Staged,
    answering,
    begin,
    code_of,
    echo_agent,
    echo_session,
    held_in_a_tool,
    just_before,
    location,
    opened,
    path,
    patient,
)

import lash
from lash.app.live_view import LiveView
from lash.runtime.observed import Event, Gap, Snapshot, TurnInterrupted
from lash.testing import calls, reply

__all__ = ["location", "path"]


async def test_who_comes_in_the_middle_is_shown_what_is_live(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding, [calls(("wait", {}), text="Let me see."), reply("Over.")])
    early, late = LiveView(), LiveView()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.configure(prompt=lash.PromptLayer())
        async with session.observe() as first:
            running = begin(session, "Go.", turn_id="t")
            for item in await read_until(first, lambda item: word(item) == "tool_call_started"):
                early.apply(item)
            async with session.observe() as second:
                (snapshot,) = await read_until(second, lambda _: True)
                late.apply(snapshot)
                assert isinstance(snapshot, Snapshot)
                assert late.live == early.live
                assert late.text == "Let me see."
                (call,) = late.live["t"].tool_calls
                assert (call.tool, call.call) == ("wait", None)
                holding.gate.open()
                for view, items in ((early, first), (late, second)):
                    for item in await read_until(items, is_commit("t")):
                        view.apply(item)
        await running
        history = await shown(session)
    assert list(early.messages) == list(late.messages) == history
    assert dict(early.live) == dict(late.live) == {}


async def test_a_reader_that_comes_back_goes_on_behind_what_it_saw(location: str | Path) -> None:
    async with echo_session(location) as (_, session):
        async with watching(session) as items:
            await session.run("One two three.", turn_id="t1")
            everything = await read_until(items, is_commit("t1"))
            await session.run("Four.", turn_id="t2")
            everything += await read_until(items, is_commit("t2"))
        for place in range(len(everything) - 1):
            async with session.observe(everything[place].cursor) as items:
                rest = await read_until(items, is_commit("t2"))
            assert rest == everything[place + 1 :]


async def test_five_thousand_events_missed_are_a_gap_with_a_view_that_goes_on(
    location: str | Path,
) -> None:
    long = " ".join(str(number) for number in range(5_000))
    model = Staged(answering(lambda _, said: reply("Yes." if said == "And on." else long)))
    agent = lash.Agent("agent", model=model)
    view = LiveView()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        first = await session.run("Go.", turn_id="t1")
        async with session.observe() as items:
            (snapshot,) = await read_until(items, lambda _: True)
            view.apply(snapshot)
        await session.run("Go on.", turn_id="t2")
        assert view.cursor is not None
        async with session.observe(view.cursor) as items:
            gap = await anext(items)
            assert isinstance(gap, Gap)
            assert (gap.reason, gap.requested) == ("trimmed", snapshot.cursor)
            assert gap.view.revision == 2
            view.apply(gap)
            assert list(view.messages) == await shown(session)
            await session.run("And on.", turn_id="t3")
            for item in await read_until(items, is_commit("t3")):
                view.apply(item)
        assert first.text == long
        assert list(view.messages) == await shown(session)
        assert (view.revision, view.turn_index, dict(view.live)) == (3, 3, {})


async def test_a_reader_that_is_too_slow_finds_a_gap_and_goes_on(location: str | Path) -> None:
    long = " ".join(str(number) for number in range(5_000))
    model = Staged(answering(lambda _, said: reply("Yes." if said == "Again." else long)))
    view = LiveView()
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        async with session.observe() as items:
            view.apply(await anext(items))
            turn = await session.run("Go.", turn_id="t1")  # nothing is read meanwhile
            gap = await anext(items)
            assert isinstance(gap, Gap)
            assert gap.reason == "lagged"
            view.apply(gap)
            assert list(view.messages) == await shown(session)
            await session.run("Again.", turn_id="t2")
            async for item in items:
                view.apply(item)
                if view.turn_index == 2:
                    break
        assert list(view.messages) == await shown(session)
    assert turn.text == long


async def test_a_cursor_of_another_runtime_leads_to_a_gap(path: Path) -> None:
    view = LiveView()
    async with echo_session(path) as (_, session):
        async with watching(session, view) as items:
            await session.run("One.", turn_id="t1")
            for item in await read_until(items, is_commit("t1")):
                view.apply(item)
        await session.run("Two.")
    async with echo_session(path) as (_, session):
        async with session.observe(view.cursor) as items:
            gap = await anext(items)
            assert isinstance(gap, Gap)
            assert gap.requested == view.cursor
            view.apply(gap)
        assert list(view.messages) == await shown(session)
        assert len(view.messages) == 4


async def test_a_runtime_that_closes_ends_its_readers(location: str | Path) -> None:
    async with held_in_a_tool(location, turn_id="t") as (session, _):
        observation = session.observe()

        async def read() -> None:
            async with observation as items:
                async for _ in items:
                    pass

        reading = asyncio.create_task(code_of(read()))
        await asyncio.sleep(0)
    assert await reading == "runtime_closed"


async def test_what_was_shown_of_a_turn_that_broke_off_is_withdrawn(path: Path) -> None:
    model, agent = echo_agent()
    view = LiveView()

    async def fail_once() -> None:
        raise lash.StoreError("store_failed", "The disk is full.")

    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        just_before(runtime, "commit_turn", fail_once)
        async with watching(session, view) as items:
            assert await code_of(session.run("Go.", turn_id="t")) == "store_failed"
            seen = await read_until(
                items,
                lambda item: isinstance(item, Event) and isinstance(item.event, TurnInterrupted),
            )
            for item in seen[:-1]:
                view.apply(item)
            assert view.text == "Go.!"
            view.apply(seen[-1])
            assert (view.text, dict(view.live)) == ("", {})
            turn = await session.wait("t")
            async for item in items:
                view.apply(item)
                if is_commit("t")(item):
                    break
        assert turn.text == "Go.!"
        assert list(view.messages) == await shown(session)
    assert len(model.asked) == 1
