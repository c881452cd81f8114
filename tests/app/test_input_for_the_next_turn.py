"""Input for the next turn: taken together, in order, between commands and runs, and by the next runtime."""

import asyncio
from pathlib import Path

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
    location,
    on_go,
    opened,
    path,
    patient,
    seen,
    stop_word,
    told,
    until_queued,
    user_texts,
)

import lash
from lash.testing import calls, reply

__all__ = ["location", "path"]


async def test_what_waits_together_is_one_turn_with_all_texts_in_order(
    location: str | Path,
) -> None:
    async with held_in_a_tool(location, on_go("wait", then="Over.")) as (session, held):
        items = [await session.enqueue(text) for text in ("A", "B", "C")]
        assert [item.state for item in items] == ["deferred_next_turn"] * 3
        assert [item.input_id for item in await session.pending()] == [i.input_id for i in items]
        info = await session.info()
        assert info is not None
        assert (info.open_turns, info.queued) == (1, 3)
        await held.let_go()
        results = [await item.result() for item in items]
        turns = await session.turns()
        history = await session.history()

    assert results == [turns[1]] * 3
    assert len(turns) == 2
    (message,) = [message for message in history if "B" in message.text]
    assert message.text == "A\nB\nC"
    assert message.id == f"m_ingress_{items[0].input_id}"


async def test_what_waits_is_not_taken_across_a_run_between(location: str | Path) -> None:
    async with held_in_a_tool(location, on_go("wait"), turn_id="t") as (session, held):
        a = await session.enqueue("A")
        between = begin(session, "B", turn_id="b")
        await accepted(session, 2)
        c = await session.enqueue("C")
        d = await session.enqueue("D")
        held.gate.open()
        await asyncio.gather(held.running, between)
        results = [await item.result() for item in (a, c, d)]
        said = await user_texts(session)

    assert [turn.text for turn in results] == ["A!", "C\nD!", "C\nD!"]
    assert said == ["Go.", "<-done", "A", "B", "C\nD"]


async def test_input_of_one_caller_each_ends_in_exactly_one_turn(location: str | Path) -> None:
    async with echo_session(location) as (runtime, session):
        items = [await session.enqueue(f"<{number}>") for number in range(40)]
        await runtime.idle()
        said = "\n".join(await user_texts(session))
        ends = [await item.refresh() for item in items]

    assert said == "\n".join(f"<{number}>" for number in range(40))
    assert {item.state for item in ends} == {"completed"}


async def test_a_session_may_begin_with_queued_input(location: str | Path) -> None:
    model, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("new")
        assert await session.info() is None
        queued = await session.enqueue("Hello.", source_key="k")
        turn = await queued.result()
        assert (turn.text, turn.revision) == ("Hello.!", 1)
        assert await told(session) == [("user", "Hello."), ("assistant", "Hello.!")]
        assert (await session.run("Hello.", source_key="k")) == turn
    assert len(model.asked) == 1


async def test_idle_waits_for_queued_work(location: str | Path) -> None:
    model, agent = echo_agent()
    gate = model.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.enqueue("Hello.")
        idle = asyncio.create_task(runtime.idle())
        await gate.reached.wait()
        assert not idle.done()
        gate.open()
        await idle
        assert len(await session.turns()) == 1


async def test_more_than_one_turn_takes_comes_in_the_turn_after(location: str | Path) -> None:
    async with held_at_the_model(location) as (session, held):
        for number in range(70):
            await session.enqueue(str(number))
        await held.let_go()
        await held.runtime.idle()
        said = await user_texts(session)

    assert said == [
        "Go.",
        "\n".join(str(number) for number in range(64)),
        "\n".join(str(number) for number in range(64, 70)),
    ]


async def test_input_with_a_prompt_layer_has_a_turn_of_its_own(location: str | Path) -> None:
    layer = lash.PromptLayer.add("guidance", "Be loud.")
    async with held_at_the_model(location) as (session, held):
        await session.enqueue("A")
        await session.enqueue("B", prompt_layer=layer)
        await session.enqueue("C")
        await held.let_go()
        await held.runtime.idle()
    assert [seen(request)[-1][1] for request in held.model.asked] == ["Go.", "A", "B", "C"]
    loud = ["Be loud." in request.instructions for request in held.model.asked]
    assert loud == [False, False, True, False]


async def test_input_outlives_the_runtime_and_is_taken_by_the_next(path: Path) -> None:
    async with held_in_a_tool(path, turn_id="t") as (session, held):
        now = await session.inject("Now.")
        later = await session.enqueue("Later.")
    assert await code_of(held.running) == "runtime_closed"

    _, agent = patient(Holding(is_open=True))
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        await runtime.idle()
        turns = await session.turns()
        said = await user_texts(session)
    assert [turn.turn_id for turn in turns] == ["t", f"{later.input_id}:turn"]
    assert said == ["Go.", "<-done", "Now.", "Later.", "<-done"]
    assert now.turn_id == "t"


async def test_a_session_that_a_tool_queued_input_for_may_ask_that_tools_session(
    location: str | Path,
) -> None:
    answers: asyncio.Queue[str] = asyncio.Queue()

    @lash.tool
    async def pass_on() -> str:
        """Leave something for the other session, without waiting for it."""
        await runtime.session("b", agent="second").enqueue("Go.")
        return "passed on"

    @lash.tool
    async def ask_back() -> str:
        """Ask the first session."""
        try:
            answers.put_nowait((await runtime.session("a").run("Well?")).text)
        except lash.LashError as error:
            answers.put_nowait(error.code)
        return "asked"

    def going(tool: str) -> Staged:
        return Staged(
            answering(
                lambda made, said: (
                    calls((tool, {})) if said == "Go." and made == 0 else reply(f"{said}!")
                )
            )
        )

    first = lash.Agent("first", model=going("pass_on"), tools=[pass_on])
    second = lash.Agent("second", model=going("ask_back"), tools=[ask_back])
    async with opened(location, first, second) as runtime:
        await runtime.session("a", agent="first").run("Go.")
        assert await answers.get() == "Well?!"


async def test_a_command_keeps_its_place_between_queued_inputs(location: str | Path) -> None:
    loud = lash.PromptLayer.add("guidance", "Be loud.")
    async with held_at_the_model(location) as (session, held):
        before = await session.enqueue("Before.")
        configuring = asyncio.create_task(session.configure(prompt=loud))
        await until_queued(session, 2)
        after = await session.enqueue("After.")
        await held.let_go()
        configured = await configuring
        assert (await before.result()).turn_id != (await after.result()).turn_id
        turns = await session.turns()

    assert [turn.command for turn in turns] == [None, None, "configure_session", None]
    assert turns[2] == configured
    assert stop_word(configured) == "finished"
    shown = ["Be loud." in request.instructions for request in held.model.asked]
    assert shown == [False, False, True]


async def test_a_command_is_no_input_that_can_be_taken_back(location: str | Path) -> None:
    async with held_at_the_model(location) as (session, held):
        configuring = asyncio.create_task(session.configure(prompt=lash.PromptLayer()))
        await until_queued(session, 1)
        assert await session.pending() == []
        await held.let_go()
        assert (await configuring).command == "configure_session"
