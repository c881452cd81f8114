"""Source keys of input: the same key is the same item, and other content under it a conflict."""

from pathlib import Path

from session_harness import begin, code_of, held_in_a_tool, location, path, told

from lash.sessions.ingress import InputCancelled

__all__ = ["location", "path"]


async def test_the_same_source_key_again_is_the_same_item(location: str | Path) -> None:
    async with held_in_a_tool(location) as (session, held):
        first = await session.inject("And 8.", source_key="k")
        again = await session.inject("And 8.", source_key="k")
        assert (again.input_id, again.source_key) == (first.input_id, "k")
        assert [item.input_id for item in await session.pending()] == [first.input_id]
        await held.let_go()
        over = await session.inject("And 8.", source_key="k")
        assert (over.input_id, over.state) == (first.input_id, "completed")
        queued = await session.enqueue("And 8.", source_key="k")
        assert queued.input_id == first.input_id
        await held.runtime.idle()
        assert len(await session.turns()) == 1
        assert [text for _, text in await told(session)].count("And 8.") == 1


async def test_a_source_key_with_other_content_is_a_conflict(location: str | Path) -> None:
    async with held_in_a_tool(location) as (session, held):
        await session.inject("And 8.", source_key="k")
        assert await code_of(session.inject("And 9.", source_key="k")) == "turn_input_conflict"
        assert await code_of(session.enqueue("And 9.", source_key="k")) == "turn_input_conflict"
        await held.let_go()
        assert await code_of(session.enqueue("And 9.", source_key="k")) == "turn_input_conflict"
        assert len(await session.turns()) == 1


async def test_a_runs_source_key_is_taken_for_queued_input(location: str | Path) -> None:
    async with held_in_a_tool(location, source_key="k") as (session, held):
        assert await code_of(session.enqueue("Other.", source_key="k")) == "turn_input_conflict"
        assert await code_of(session.inject("Other.", source_key="k")) == "turn_input_conflict"
        await held.let_go()
        assert await code_of(session.enqueue("Other.", source_key="k")) == "turn_input_conflict"
        assert await session.pending() == []


async def test_queued_inputs_source_key_is_taken_for_a_run_of_other_content(
    location: str | Path,
) -> None:
    async with held_in_a_tool(location) as (session, held):
        await session.enqueue("Later.", source_key="k")
        assert await code_of(session.run("Other.", source_key="k")) == "turn_input_conflict"
        await held.let_go()


async def test_a_run_with_the_key_of_queued_input_waits_for_the_turn_that_takes_it(
    location: str | Path,
) -> None:
    async with held_in_a_tool(location) as (session, held):
        queued = await session.enqueue("Later.", source_key="k")
        also = begin(session, "Later.", source_key="k")
        injected = await session.inject("Now.", source_key="n")
        joined = begin(session, "Now.", source_key="n")
        held.gate.open()
        assert (await also) == (await queued.result())
        assert (await also).turn_id == f"{queued.input_id}:turn"
        assert (await joined) == (await held.running) == (await injected.result())
        assert len(await session.turns()) == 2


async def test_a_run_with_the_key_of_input_that_was_taken_back_says_so(
    location: str | Path,
) -> None:
    async with held_in_a_tool(location) as (session, held):
        queued = await session.enqueue("Later.", source_key="k")
        assert isinstance(await queued.cancel(), InputCancelled)
        assert await code_of(session.run("Later.", source_key="k")) == "turn_input_cancelled"
        await held.let_go()
