"""Taking input back: until a turn takes it, one by one or several, each with its outcome."""

import asyncio
from pathlib import Path

from session_harness import (
    code_of,
    held_in_a_tool,
    location,
    path,
    patient_session,
    seen,
)

from lash.sessions.ingress import (
    InputAlreadyCancelled,
    InputAlreadyClaimed,
    InputAlreadyCompleted,
    InputCancelled,
    InputNotFound,
)

__all__ = ["location", "path"]


async def test_input_can_be_taken_back_until_a_turn_takes_it(location: str | Path) -> None:
    async with held_in_a_tool(location) as (session, held):
        queued = await session.enqueue("Later.")
        injected = await session.inject("Now.")
        for item in (queued, injected):
            assert isinstance(await item.cancel(), InputCancelled)
            assert isinstance(await item.cancel(), InputAlreadyCancelled)
            assert (await item.refresh()).state == "cancelled"
            assert await code_of(item.result()) == "turn_input_cancelled"
        assert await session.pending() == []
        await held.let_go()
        await held.runtime.idle()
        assert len(await session.turns()) == 1
    assert all("Now." not in text for _, text in seen(held.model.asked[1]))


async def test_a_waiter_is_told_that_its_input_was_taken_back(location: str | Path) -> None:
    async with held_in_a_tool(location) as (session, held):
        queued = await session.enqueue("Later.")
        waiting = asyncio.create_task(code_of(queued.result()))
        await asyncio.sleep(0)
        await session.cancel_pending(queued.input_id)
        assert await waiting == "turn_input_cancelled"
        await held.let_go()


async def test_several_are_taken_back_at_once_each_with_its_outcome(
    location: str | Path,
) -> None:
    async with patient_session(location) as (runtime, session, holding):
        done = await session.enqueue("Done.")
        await holding.begun.wait()
        taken = await done.refresh()
        a = await session.enqueue("A", source_key="a")
        b = await session.enqueue("B", source_key="b")
        c = await session.enqueue("C")
        outcomes = await session.cancel_pending(
            a.input_id, taken.input_id, "nobody", source_keys=["b", "b"]
        )
        assert [type(outcome) for outcome in outcomes] == [
            InputCancelled,
            InputAlreadyClaimed,
            InputNotFound,
            InputCancelled,
            InputAlreadyCancelled,
        ]
        assert [item.input_id for item in await session.pending()] == [c.input_id]
        assert (await b.refresh()).state == "cancelled"
        holding.gate.open()
        await runtime.idle()
        assert isinstance(await done.cancel(), InputAlreadyCompleted)
        assert [turn.turn_id for turn in await session.turns()] == [
            f"{done.input_id}:turn",
            f"{c.input_id}:turn",
        ]


async def test_an_input_and_all_after_it_are_taken_back(location: str | Path) -> None:
    async with held_in_a_tool(location) as (session, held):
        a = await session.enqueue("A")
        b = await session.enqueue("B")
        c = await session.inject("C")
        d = await session.enqueue("D")
        await c.cancel()
        outcomes = await session.cancel_pending_from(b.input_id)
        assert [type(outcome) for outcome in outcomes] == [
            InputCancelled,
            InputAlreadyCancelled,
            InputCancelled,
        ]
        assert [item.input_id for item in await session.pending()] == [a.input_id]
        assert (await d.refresh()).state == "cancelled"
        assert await code_of(session.cancel_pending_from("nobody")) == "turn_input_unknown"
        await held.let_go()
        assert (await a.result()).turn_id == f"{a.input_id}:turn"


async def test_an_input_of_another_session_is_not_found(location: str | Path) -> None:
    async with held_in_a_tool(location) as (session, held):
        other = held.runtime.session("other")
        item = await session.enqueue("A")
        (outcome,) = await other.cancel_pending(item.input_id)
        assert isinstance(outcome, InputNotFound)
        assert await code_of(other.cancel_pending_from(item.input_id)) == "turn_input_unknown"
        await held.let_go()
        await item.result()
