"""Two runtimes on one file: whatever is asked of a session in one is done by the one that drives it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from two_runtimes import Desk, begin, code_of, going, opened, path, said, stopped_by, until, valid

import lash
from lash.runtime.observed import Committed, Event, Snapshot
from lash.sessions.ingress import InputAlreadyClaimed, InputCancelled

__all__ = ["path"]


# --- input --------------------------------------------------------------------------------------------


async def test_input_from_here_comes_into_the_turn_that_runs_there(path: Path) -> None:
    desk = Desk()
    async with going(path, desk) as (_, here, running):
        item = await here.session("s").inject("And 8.")
        assert (item.state, item.turn_id) == ("pending_active", "t")
        desk.go.set()
        turn = await running
        assert turn.text == "And 8.!"
        assert await item.result() == turn
        assert await said(here) == ["Go.", "And 8."]
        assert (await item.refresh()).state == "completed"


async def test_input_queued_here_is_the_next_turn_of_the_one_that_drives(path: Path) -> None:
    desk, idle = Desk(), Desk()
    async with going(path, desk, idle) as (there, here, running):
        items = [await here.session("s").enqueue(text) for text in ("A", "B")]
        results = [asyncio.create_task(item.result()) for item in items]
        mine = await there.session("s").enqueue("C")
        desk.go.set()
        await running
        turns = [await result for result in results]
        assert await mine.result() == turns[0]
        assert turns[0] == turns[1]
        assert turns[0].text == "A\nB\nC!"
        assert len(await here.session("s").turns()) == 2
    assert idle.model.requests == []


async def test_input_queued_here_while_nobody_drives_is_driven_here(path: Path) -> None:
    desk, own = Desk(), Desk()
    async with opened(path, desk, own) as (there, here):
        await there.session("s").run("Hello.")
        turn = await (await here.session("s").enqueue("Again.")).result()
        assert turn.text == "Again.!"
        assert await there.session("s").wait(turn.turn_id) == turn
        assert (await there.session("s").run("More.")).text == "More.!"
        assert await said(here) == ["Hello.", "Again.", "More."]
    assert len(own.model.requests) == 1
    assert [len(request.messages) for request in desk.model.requests] == [1, 5]


async def test_input_from_both_ends_each_in_one_turn_in_its_order(path: Path) -> None:
    async with opened(path, Desk()) as (one, other):

        async def feed(runtime: lash.Runtime, name: str) -> Sequence[lash.TurnResult]:
            items = [await runtime.session("s").enqueue(f"{name}{n}") for n in range(20)]
            return [await item.result() for item in items]

        await asyncio.gather(feed(one, "a"), feed(other, "b"))
        await one.idle()
        words = "\n".join(await said(one)).split("\n")
        assert [word for word in words if word[0] == "a"] == [f"a{n}" for n in range(20)]
        assert [word for word in words if word[0] == "b"] == [f"b{n}" for n in range(20)]
        assert len(words) == 40
        assert await valid(one)


async def test_the_same_source_key_from_both_is_one_item(path: Path) -> None:
    async with opened(path, Desk()) as (one, other):
        items = await asyncio.gather(
            *(
                runtime.session("s").enqueue("Once.", source_key="k")
                for runtime in (one, other, one, other)
            )
        )
        assert len({item.input_id for item in items}) == 1
        results = [await item.result() for item in items]
        assert results == [results[0]] * 4
        assert await said(one) == ["Once."]


async def test_input_queued_there_is_taken_back_here(path: Path) -> None:
    desk = Desk()
    async with going(path, desk) as (there, here, running):
        queued = await there.session("s").enqueue("Later.")
        waiting = asyncio.create_task(code_of(queued.result()))
        injected = await there.session("s").inject("Now.")
        outcomes = await here.session("s").cancel_pending(queued.input_id, injected.input_id)
        assert [type(outcome) for outcome in outcomes] == [InputCancelled, InputCancelled]
        assert await waiting == "turn_input_cancelled"
        desk.go.set()
        await running
        assert await said(here) == ["Go."]


async def test_input_that_a_turn_there_took_is_not_taken_back_here(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        item = await there.session("s").enqueue("Go.")
        await desk.begun.wait()
        (outcome,) = await here.session("s").cancel_pending(item.input_id)
        assert isinstance(outcome, InputAlreadyClaimed)
        receipt = await here.session("s").cancel(outcome.item.turn_id)
        assert receipt.outcome == "requested"
        assert stopped_by(await item.result()) is not None


async def test_a_command_from_here_waits_its_turn_there(path: Path) -> None:
    desk = Desk()
    async with going(path, desk) as (there, here, running):
        layer = lash.PromptLayer.add("guidance", "Be loud.")
        configuring = asyncio.create_task(here.session("s").configure(prompt=layer))

        async def queued() -> bool:
            info = await here.session("s").info()
            return info is not None and info.queued == 1

        await until(queued)
        desk.go.set()
        assert (await running).command is None
        assert (await configuring).command == "configure_session"
        await there.session("s").run("Hello.")
        assert "Be loud." in desk.model.requests[-1].instructions


# --- waiting and looking --------------------------------------------------------------------------------


async def test_a_turn_driven_there_is_waited_for_here(path: Path) -> None:
    desk, idle = Desk(), Desk()
    async with going(path, desk, idle) as (_, here, running):
        waiting = asyncio.create_task(here.session("s").wait("t"))
        again = begin(here, turn_id="t")
        assert await code_of(here.session("s").run("Other.")) == "session_execution_busy"
        assert await code_of(here.session("s").wait("nobody")) == "turn_unknown"
        desk.go.set()
        turn = await running
        assert (await waiting, await again) == (turn, turn)
    assert (desk.ran, idle.ran) == (1, 0)


async def test_a_turn_that_was_left_there_is_carried_on_here_by_who_waits(path: Path) -> None:
    desk, own = Desk(), Desk()
    own.go.set()
    async with asyncio.timeout(30), lash.Runtime(path, agents=[own.agent]) as here:
        async with lash.Runtime(path, agents=[desk.agent]) as there:
            running = begin(there, turn_id="t")
            await desk.begun.wait()
            waiting = asyncio.create_task(here.session("s").wait("t"))
            later = await here.session("s").enqueue("Later.")
        assert await code_of(running) == "runtime_closed"
        assert (await waiting).text == "Go.!"
        assert (await later.result()).text == "Later.!"
        assert len(await here.session("s").turns()) == 2
    assert (desk.ran, own.ran) == (1, 1)


async def test_idle_here_waits_for_what_is_driven_and_queued_there(path: Path) -> None:
    desk = Desk()
    async with going(path, desk) as (_, here, running):
        await here.session("s").enqueue("Later.")
        assert await code_of(here.idle(timeout=0.05)) == "idle_timeout"
        desk.go.set()
        await here.idle()
        assert running.done()
        assert len(await here.session("s").turns()) == 2


async def test_commits_there_are_observed_here(path: Path) -> None:
    desk = Desk()
    async with opened(path, desk) as (there, here):
        await there.session("s").run("One.", turn_id="t1")
        async with here.session("s").observe() as items:
            first = await anext(items)
            assert isinstance(first, Snapshot)
            assert [message.role for message in first.view.messages] == ["user", "assistant"]
            second = await there.session("s").run("Two.", turn_id="t2")
            seen = await anext(items)
            assert isinstance(seen, Event)
            assert isinstance(seen.event, Committed)
            assert (seen.event.turn_id, seen.event.revision) == ("t2", second.revision)
            third = await here.session("s").run("Three.", turn_id="t3")
            async for item in items:
                if isinstance(item, Event) and isinstance(item.event, Committed):
                    assert (item.event.turn_id, item.event.revision) == ("t3", third.revision)
                    break


async def test_a_view_here_ends_up_with_the_history_however_the_turns_were_driven(
    path: Path,
) -> None:
    from lash.app.live_view import LiveView

    async with opened(path, Desk()) as (there, here):
        view = LiveView()

        async def follow() -> None:
            async with here.session("s").observe() as items:
                async for item in items:
                    view.apply(item)
                    if view.turn_index == 9:
                        return

        following = asyncio.create_task(follow())
        for number in range(9):
            runtime = there if number % 3 else here
            await runtime.session("s").run(f"Number {number}.")
        await following
        assert list(view.messages) == list(await there.session("s").history())
        assert view.live == {}


async def test_a_runtime_without_the_agent_may_stop_wait_and_look(path: Path) -> None:
    desk = Desk()
    async with (
        asyncio.timeout(30),
        lash.Runtime(path, agents=[desk.agent]) as there,
        lash.Runtime(path) as here,
    ):
        running = begin(there, turn_id="t")
        await desk.begun.wait()
        waiting = asyncio.create_task(here.session("s").wait("t"))
        assert (await here.session("s").cancel(request_id="r")).outcome == "requested"
        turn = await running
        assert await waiting == turn
        assert stopped_by(turn) == "r"
        assert await here.session("s").turns() == [turn]
