"""Input into the running turn: in the next request, in its order, and never lost."""

import asyncio
from pathlib import Path
from typing import Any

from session_harness import (
    Holding,
    Staged,
    accepted,
    answering,
    begin,
    code_of,
    echo_agent,
    echo_session,
    held_at_the_model,
    held_in_a_tool,
    is_valid,
    just_before,
    location,
    on_go,
    opened,
    path,
    patient,
    seen,
    speaking,
    told,
    under_way,
)

import lash
from lash.app.queued import QueuedInput
from lash.testing import calls, reply

__all__ = ["location", "path"]


async def test_injected_input_is_in_the_models_next_request_and_once_in_the_history(
    location: str | Path,
) -> None:
    async with held_in_a_tool(location, turn_id="t") as (session, held):
        queued = await session.inject("And 8.")
        assert (queued.state, queued.turn_id, queued.text) == ("pending_active", "t", "And 8.")
        turn = await held.let_go()
        history = await session.history()
        after = await queued.refresh()
        assert await queued.result() == turn
        assert await session.turns() == [turn]
        assert await session.pending() == []
        assert await is_valid(held.runtime)

    begun = [("user", "Go."), ("assistant", "->wait"), ("user", "<-done")]
    assert seen(held.model.asked[1]) == [*begun, ("user", "And 8.")]
    assert [message.text for message in history] == ["Go.", "", "", "And 8.", "Over."]
    (injected,) = [message for message in history if message.text == "And 8."]
    assert (injected.id, injected.role) == (f"m_ingress_{queued.input_id}", "user")
    assert (after.state, after.turn_id) == ("completed", "t")


async def test_input_that_comes_with_the_answer_displaces_it_and_both_stay(
    location: str | Path,
) -> None:
    twice = speaking([reply("One."), reply("Two.")])
    async with held_at_the_model(location, twice) as (session, held):
        await session.inject("Wait, also this.")
        turn = await held.let_go()
        history = await told(session)

    said = [("user", "Go."), ("assistant", "One."), ("user", "Wait, also this.")]
    assert seen(held.model.asked[1]) == said
    assert history == [*said, ("assistant", "Two.")]
    assert (turn.text, len(held.model.asked)) == ("Two.", 2)
    assert turn.usage == lash.Usage(input_tokens=20, output_tokens=10)


async def test_input_for_the_end_is_not_shown_before_the_model_thinks_it_is_done(
    location: str | Path,
) -> None:
    script = [calls(("wait", {})), reply("One."), reply("Two.")]
    async with held_in_a_tool(location, script) as (session, held):
        late = await session.inject("Late.", boundary="before_completion")
        soon = await session.inject("Soon.")
        turn = await held.let_go()
        assert (await late.result(), await soon.result()) == (turn, turn)
        history = await told(session)

    begun = [("user", "Go."), ("assistant", "->wait"), ("user", "<-done"), ("user", "Soon.")]
    assert seen(held.model.asked[1]) == begun
    assert seen(held.model.asked[2]) == [*begun, ("assistant", "One."), ("user", "Late.")]
    assert history == [*begun, ("assistant", "One."), ("user", "Late."), ("assistant", "Two.")]


async def test_several_injected_inputs_come_in_their_order(location: str | Path) -> None:
    async with held_in_a_tool(location) as (session, held):
        for number in range(5):
            await session.inject(f"Also {number}.")
        await held.let_go()
    assert [text for _, text in seen(held.model.asked[1])][3:] == [f"Also {n}." for n in range(5)]


async def test_more_than_one_checkpoint_takes_comes_at_the_next(location: str | Path) -> None:
    async with held_in_a_tool(location) as (session, held):
        for number in range(70):
            await session.inject(str(number))
        await held.let_go()
        assert len(await session.turns()) == 1
    numbers = [text for role, text in seen(held.model.asked[2]) if role == "user"][2:]
    assert numbers == [str(number) for number in range(70)]
    assert len(held.model.asked[1].messages) == 3 + 64


async def test_input_after_the_last_checkpoint_is_the_next_turns(location: str | Path) -> None:
    items: list[QueuedInput] = []
    async with echo_session(location) as (runtime, session):

        async def inject() -> None:
            items.append(await session.inject("Late.", turn_id="t"))

        happened = just_before(runtime, "commit_turn", inject)
        first = await session.run("Go.", turn_id="t")
        (item,) = items
        assert (happened, item.state, item.turn_id) == (["commit_turn"], "pending_active", "t")
        second = await item.result()
        history = await told(session)
        turns = await session.turns()

    assert (first.text, second.text) == ("Go.!", "Late.!")
    assert [turn.turn_id for turn in turns] == ["t", f"{item.input_id}:turn"]
    assert history == [
        ("user", "Go."),
        ("assistant", "Go.!"),
        ("user", "Late."),
        ("assistant", "Late.!"),
    ]


async def test_input_into_a_turn_that_is_over_is_the_next_turns(location: str | Path) -> None:
    async with echo_session(location) as (_, session):
        await session.run("Go.", turn_id="t")
        item = await session.inject("Late.", turn_id="t")
        assert item.state == "deferred_next_turn"
        turn = await item.result()
        assert (turn.turn_id, turn.text) == (f"{item.input_id}:turn", "Late.!")
        assert len(await session.turns()) == 2


async def test_input_into_no_turn_at_all_is_the_next_turns(location: str | Path) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        turn = await (await runtime.session("new").inject("Hello.")).result()
        assert turn.text == "Hello.!"


async def test_input_into_a_turn_that_never_was_is_refused(location: str | Path) -> None:
    async with echo_session(location) as (runtime, session):
        await session.run("Go.", turn_id="t")
        assert await code_of(session.inject("Late.", turn_id="other")) == "turn_unknown"
        await runtime.idle()
        assert await session.pending() == []
        assert len(await session.turns()) == 1


async def test_input_into_the_turn_that_waits_behind_is_kept_for_that_turn(
    location: str | Path,
) -> None:
    script = answering(lambda made, _: calls(("wait", {})) if made == 0 else reply("Over."))
    async with held_in_a_tool(location, script, prompt="First.", turn_id="t1") as (session, held):
        second = begin(session, "Second.", turn_id="t2")
        await accepted(session, 2)
        item = await session.inject("For the second.", turn_id="t2")
        held.gate.open()
        assert await item.result() == await second
        assert (await held.running).turn_id == "t1"
    shown = [[text for _, text in seen(request)] for request in held.model.asked]
    assert "For the second." not in shown[1]
    assert shown[3][-1] == "For the second."


async def test_input_of_a_turn_that_a_tool_ends_goes_to_the_next_turn(
    location: str | Path,
) -> None:
    holding = Holding()

    @lash.tool
    async def decide() -> lash.Finish:
        """Decide."""
        await holding.gate.passed()
        return lash.Finish(value=7)

    _, agent = speaking(on_go("decide"), tools=[decide])
    async with under_way(location, agent, holding.begun, turn_id="t") as (_, session, running):
        item = await session.inject("Also this.")
        holding.gate.open()
        assert (await running).value == 7
        turn = await item.result()
        assert (turn.turn_id, turn.text) == (f"{item.input_id}:turn", "Also this.!")


async def test_a_tool_may_say_something_to_its_own_turn_and_to_the_next(
    location: str | Path,
) -> None:
    @lash.tool
    async def note(ctx: lash.ToolContext) -> str:
        """Leave notes."""
        session = runtime.session(ctx.session_id)
        await session.inject("For this turn.", turn_id=ctx.turn_id, source_key=ctx.idempotency_key)
        await session.enqueue("For the next.", source_key=f"{ctx.idempotency_key}:next")
        return "noted"

    _, agent = speaking(on_go("note"), tools=[note])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        assert (await session.run("Go.")).text == "For this turn.!"
        await runtime.idle()
        assert [turn.text for turn in await session.turns()] == [
            "For this turn.!",
            "For the next.!",
        ]


async def test_input_that_was_taken_when_its_runtime_closed_is_in_the_history_once(
    path: Path,
) -> None:
    took = asyncio.Event()
    async with held_in_a_tool(path, turn_id="t") as (session, held):
        item = await session.inject("And 8.")
        store: Any = held.runtime.engine.store
        take = store.take

        async def never_told(claim: Any) -> Any:
            await take(claim)
            took.set()
            await asyncio.Event().wait()

        store.take = never_told
        held.gate.open()
        await took.wait()
        assert (await item.refresh()).state == "accepted"
    assert await code_of(held.running) == "runtime_closed"

    model, agent = patient(Holding(is_open=True))
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        assert (await session.wait("t")).text == "Over."
        await runtime.idle()
        assert [text for _, text in await told(session)] == [
            "Go.",
            "->wait",
            "<-done",
            "And 8.",
            "Over.",
        ]
        assert len(await session.turns()) == 1
    assert seen(model.asked[-1])[-1] == ("user", "And 8.")


async def test_input_moves_with_a_turn_that_is_begun_again(path: Path) -> None:
    async with held_in_a_tool(path, turn_id="t") as (session, held):
        item = await session.inject("And 8.", source_key="k")
    assert await code_of(held.running) == "runtime_closed"

    model = Staged([calls(("wait", {})), reply("Over.")])
    tools = [Holding(is_open=True).tool]
    agent = lash.Agent("agent", model=model, instructions="Changed.", tools=tools)
    async with opened(path, agent, on_drift="restart") as runtime:
        session = runtime.session("s")
        turn = await session.wait("t")
        assert (turn.turn_id, turn.text) == ("t:restart:1", "Over.")
        again = await session.inject("And 8.", source_key="k")
        assert (again.input_id, again.state) == (item.input_id, "completed")
        assert await again.result() == turn
        assert [text for _, text in await told(session)].count("And 8.") == 1
        assert len(await session.turns()) == 1
