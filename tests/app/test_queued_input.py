"""Input for later: into the running turn, or the next one; in order, once, and never lost."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from session_harness import (
    Holding,
    Staged,
    accepted,
    answering,
    begin,
    code_of,
    echoing,
    is_valid,
    just_before,
    location,
    opened,
    path,
    patient,
    seen,
    stop_word,
    told,
    until,
)

import lash
from lash.app.queued import QueuedInput
from lash.sessions.ingress import (
    InputAlreadyCancelled,
    InputAlreadyClaimed,
    InputAlreadyCompleted,
    InputCancelled,
    InputNotFound,
)
from lash.testing import calls, reply
from lash.testing.scripted import Step

__all__ = ["location", "path"]


def echo_agent() -> tuple[Staged, lash.Agent]:
    model = Staged(echoing())
    return model, lash.Agent("agent", model=model)


# --- into the running turn ------------------------------------------------------------------------------


async def test_injected_input_is_in_the_models_next_request_and_once_in_the_history(
    location: str | Path,
) -> None:
    holding = Holding()
    model, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        queued = await session.inject("And 8.")
        assert (queued.state, queued.turn_id, queued.text) == ("pending_active", "t", "And 8.")
        holding.gate.open()
        turn = await running
        history = await session.history()
        after = await queued.refresh()
        assert await queued.result() == turn
        assert await session.turns() == [turn]
        assert await session.pending() == []
        assert await is_valid(runtime)

    begun = [("user", "Go."), ("assistant", "->wait"), ("user", "<-done")]
    assert seen(model.asked[1]) == [*begun, ("user", "And 8.")]
    assert [message.text for message in history] == ["Go.", "", "", "And 8.", "Over."]
    (injected,) = [message for message in history if message.text == "And 8."]
    assert (injected.id, injected.role) == (f"m_ingress_{queued.input_id}", "user")
    assert (after.state, after.turn_id) == ("completed", "t")


async def test_input_that_comes_with_the_answer_displaces_it_and_both_stay(
    location: str | Path,
) -> None:
    model = Staged([reply("One."), reply("Two.")])
    gate = model.hold(0)
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await gate.reached.wait()
        await session.inject("Wait, also this.")
        gate.open()
        turn = await running
        history = await told(session)

    said = [("user", "Go."), ("assistant", "One."), ("user", "Wait, also this.")]
    assert seen(model.asked[1]) == said
    assert history == [*said, ("assistant", "Two.")]
    assert (turn.text, len(model.asked)) == ("Two.", 2)
    assert turn.usage == lash.Usage(input_tokens=20, output_tokens=10)


async def test_input_for_the_end_is_not_shown_before_the_model_thinks_it_is_done(
    location: str | Path,
) -> None:
    holding = Holding()
    model, agent = patient(holding, [calls(("wait", {})), reply("One."), reply("Two.")])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        late = await session.inject("Late.", boundary="before_completion")
        soon = await session.inject("Soon.")
        holding.gate.open()
        turn = await running
        assert (await late.result(), await soon.result()) == (turn, turn)
        history = await told(session)

    begun = [("user", "Go."), ("assistant", "->wait"), ("user", "<-done"), ("user", "Soon.")]
    assert seen(model.asked[1]) == begun
    assert seen(model.asked[2]) == [*begun, ("assistant", "One."), ("user", "Late.")]
    assert history == [*begun, ("assistant", "One."), ("user", "Late."), ("assistant", "Two.")]


async def test_several_injected_inputs_come_in_their_order(location: str | Path) -> None:
    holding = Holding()
    model, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        for number in range(5):
            await session.inject(f"Also {number}.")
        holding.gate.open()
        await running
    assert [text for _, text in seen(model.asked[1])][3:] == [f"Also {n}." for n in range(5)]


async def test_input_after_the_last_checkpoint_is_the_next_turns(location: str | Path) -> None:
    _, agent = echo_agent()
    items: list[QueuedInput] = []
    async with opened(location, agent) as runtime:
        session = runtime.session("s")

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
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
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
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("Go.", turn_id="t")
        assert await code_of(session.inject("Late.", turn_id="other")) == "turn_unknown"
        await runtime.idle()
        assert await session.pending() == []
        assert len(await session.turns()) == 1


async def test_input_into_the_turn_that_waits_behind_is_kept_for_that_turn(
    location: str | Path,
) -> None:
    holding = Holding()
    model, agent = patient(holding, answering(lambda made, _: _steps(made)))
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        first = begin(session, "First.", turn_id="t1")
        await holding.begun.wait()
        second = begin(session, "Second.", turn_id="t2")
        await accepted(session, 2)
        item = await session.inject("For the second.", turn_id="t2")
        holding.gate.open()
        assert await item.result() == await second
        assert (await first).turn_id == "t1"
    shown = [[text for _, text in seen(request)] for request in model.asked]
    assert "For the second." not in shown[1]
    assert shown[3][-1] == "For the second."


def _steps(made: int) -> Step:
    return calls(("wait", {})) if made == 0 else reply("Over.")


async def test_input_of_a_turn_that_a_tool_ends_goes_to_the_next_turn(
    location: str | Path,
) -> None:
    holding = Holding()

    @lash.tool
    async def decide() -> lash.Finish:
        """Decide."""
        await holding.gate.passed()
        return lash.Finish(value=7)

    model = Staged(
        answering(lambda _, said: calls(("decide", {})) if said == "Go." else reply(f"{said}!"))
    )
    agent = lash.Agent("agent", model=model, tools=[decide])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        item = await session.inject("Also this.")
        holding.gate.open()
        assert (await running).value == 7
        turn = await item.result()
        assert (turn.turn_id, turn.text) == (f"{item.input_id}:turn", "Also this.!")


# --- idempotency --------------------------------------------------------------------------------------


async def test_the_same_source_key_again_is_the_same_item(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        first = await session.inject("And 8.", source_key="k")
        again = await session.inject("And 8.", source_key="k")
        assert (again.input_id, again.source_key) == (first.input_id, "k")
        assert [item.input_id for item in await session.pending()] == [first.input_id]
        holding.gate.open()
        await running
        over = await session.inject("And 8.", source_key="k")
        assert (over.input_id, over.state) == (first.input_id, "completed")
        queued = await session.enqueue("And 8.", source_key="k")
        assert queued.input_id == first.input_id
        await runtime.idle()
        assert len(await session.turns()) == 1
        assert [text for _, text in await told(session)].count("And 8.") == 1


async def test_a_source_key_with_other_content_is_a_conflict(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        await session.inject("And 8.", source_key="k")
        assert await code_of(session.inject("And 9.", source_key="k")) == "turn_input_conflict"
        assert await code_of(session.enqueue("And 9.", source_key="k")) == "turn_input_conflict"
        holding.gate.open()
        await running
        assert await code_of(session.enqueue("And 9.", source_key="k")) == "turn_input_conflict"
        assert len(await session.turns()) == 1


async def test_a_runs_source_key_is_taken_for_queued_input(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", source_key="k")
        await holding.begun.wait()
        assert await code_of(session.enqueue("Other.", source_key="k")) == "turn_input_conflict"
        assert await code_of(session.inject("Other.", source_key="k")) == "turn_input_conflict"
        holding.gate.open()
        await running
        assert await code_of(session.enqueue("Other.", source_key="k")) == "turn_input_conflict"
        assert await session.pending() == []


async def test_queued_inputs_source_key_is_taken_for_a_run_of_other_content(
    location: str | Path,
) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        await session.enqueue("Later.", source_key="k")
        assert await code_of(session.run("Other.", source_key="k")) == "turn_input_conflict"
        holding.gate.open()
        await running


async def test_a_run_with_the_key_of_queued_input_waits_for_the_turn_that_takes_it(
    location: str | Path,
) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        queued = await session.enqueue("Later.", source_key="k")
        also = begin(session, "Later.", source_key="k")
        injected = await session.inject("Now.", source_key="n")
        joined = begin(session, "Now.", source_key="n")
        holding.gate.open()
        assert (await also) == (await queued.result())
        assert (await also).turn_id == f"{queued.input_id}:turn"
        assert (await joined) == (await running) == (await injected.result())
        assert len(await session.turns()) == 2


async def test_a_run_with_the_key_of_input_that_was_taken_back_says_so(
    location: str | Path,
) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        queued = await session.enqueue("Later.", source_key="k")
        assert isinstance(await queued.cancel(), InputCancelled)
        assert await code_of(session.run("Later.", source_key="k")) == "turn_input_cancelled"
        holding.gate.open()
        await running


# --- for the next turn --------------------------------------------------------------------------------


async def test_what_waits_together_is_one_turn_with_all_texts_in_order(
    location: str | Path,
) -> None:
    holding = Holding()
    _, agent = patient(
        holding,
        answering(lambda _, said: calls(("wait", {})) if said == "Go." else reply("Over.")),
    )
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        items = [await session.enqueue(text) for text in ("A", "B", "C")]
        assert [item.state for item in items] == ["deferred_next_turn"] * 3
        assert [item.input_id for item in await session.pending()] == [i.input_id for i in items]
        info = await session.info()
        assert info is not None
        assert (info.open_turns, info.queued) == (1, 3)
        holding.gate.open()
        await running
        results = [await item.result() for item in items]
        turns = await session.turns()
        history = await session.history()

    assert results == [turns[1]] * 3
    assert len(turns) == 2
    (message,) = [message for message in history if "B" in message.text]
    assert message.text == "A\nB\nC"
    assert message.id == f"m_ingress_{items[0].input_id}"


async def test_what_waits_is_not_taken_across_a_run_between(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(
        holding,
        answering(lambda _, said: calls(("wait", {})) if said == "Go." else reply(f"{said}!")),
    )
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        first = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        a = await session.enqueue("A")
        between = begin(session, "B", turn_id="b")
        await accepted(session, 2)
        c = await session.enqueue("C")
        d = await session.enqueue("D")
        holding.gate.open()
        await asyncio.gather(first, between)
        results = [await item.result() for item in (a, c, d)]
        said = [text for role, text in await told(session) if role == "user"]

    assert [turn.text for turn in results] == ["A!", "C\nD!", "C\nD!"]
    assert said == ["Go.", "<-done", "A", "B", "C\nD"]


async def test_input_of_one_caller_each_ends_in_exactly_one_turn(location: str | Path) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        items = [await session.enqueue(f"<{number}>") for number in range(40)]
        await runtime.idle()
        said = "\n".join(text for role, text in await told(session) if role == "user")
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
    model, agent = echo_agent()
    gate = model.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        first = begin(session, "Go.")
        await gate.reached.wait()
        for number in range(70):
            await session.enqueue(str(number))
        gate.open()
        await first
        await runtime.idle()
        said = [text for role, text in await told(session) if role == "user"]

    assert said == [
        "Go.",
        "\n".join(str(number) for number in range(64)),
        "\n".join(str(number) for number in range(64, 70)),
    ]


async def test_input_with_a_prompt_layer_has_a_turn_of_its_own(location: str | Path) -> None:
    model, agent = echo_agent()
    gate = model.hold(0)
    layer = lash.PromptLayer.add("guidance", "Be loud.")
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        first = begin(session, "Go.")
        await gate.reached.wait()
        await session.enqueue("A")
        await session.enqueue("B", prompt_layer=layer)
        await session.enqueue("C")
        gate.open()
        await first
        await runtime.idle()
    assert [seen(request)[-1][1] for request in model.asked] == ["Go.", "A", "B", "C"]
    loud = ["Be loud." in request.instructions for request in model.asked]
    assert loud == [False, False, True, False]


async def test_input_outlives_the_runtime_and_is_taken_by_the_next(path: Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        now = await session.inject("Now.")
        later = await session.enqueue("Later.")
    assert await code_of(running) == "runtime_closed"

    _, agent = patient(Holding(is_open=True))
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        await runtime.idle()
        turns = await session.turns()
        said = [text for role, text in await told(session) if role == "user"]
    assert [turn.turn_id for turn in turns] == ["t", f"{later.input_id}:turn"]
    assert said == ["Go.", "<-done", "Now.", "Later.", "<-done"]
    assert now.turn_id == "t"


# --- taking it back -----------------------------------------------------------------------------------


async def test_input_can_be_taken_back_until_a_turn_takes_it(location: str | Path) -> None:
    holding = Holding()
    model, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        queued = await session.enqueue("Later.")
        injected = await session.inject("Now.")
        for item in (queued, injected):
            assert isinstance(await item.cancel(), InputCancelled)
            assert isinstance(await item.cancel(), InputAlreadyCancelled)
            assert (await item.refresh()).state == "cancelled"
            assert await code_of(item.result()) == "turn_input_cancelled"
        assert await session.pending() == []
        holding.gate.open()
        await running
        await runtime.idle()
        assert len(await session.turns()) == 1
    assert all("Now." not in text for _, text in seen(model.asked[1]))


async def test_a_waiter_is_told_that_its_input_was_taken_back(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        queued = await session.enqueue("Later.")
        waiting = asyncio.create_task(code_of(queued.result()))
        await asyncio.sleep(0)
        await session.cancel_pending(queued.input_id)
        assert await waiting == "turn_input_cancelled"
        holding.gate.open()
        await running


async def test_several_are_taken_back_at_once_each_with_its_outcome(
    location: str | Path,
) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
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
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
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
        holding.gate.open()
        await running
        assert (await a.result()).turn_id == f"{a.input_id}:turn"


async def test_an_input_of_another_session_is_not_found(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session, other = runtime.session("s"), runtime.session("other")
        running = begin(session, "Go.")
        await holding.begun.wait()
        item = await session.enqueue("A")
        (outcome,) = await other.cancel_pending(item.input_id)
        assert isinstance(outcome, InputNotFound)
        assert await code_of(other.cancel_pending_from(item.input_id)) == "turn_input_unknown"
        holding.gate.open()
        await running
        await item.result()


# --- commands in the order of things ------------------------------------------------------------------


async def test_a_command_keeps_its_place_between_queued_inputs(location: str | Path) -> None:
    model, agent = echo_agent()
    gate = model.hold(0)
    loud = lash.PromptLayer.add("guidance", "Be loud.")
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        first = begin(session, "Go.")
        await gate.reached.wait()
        before = await session.enqueue("Before.")
        configuring = asyncio.create_task(session.configure(prompt=loud))

        async def queued() -> bool:
            info = await session.info()
            return info is not None and info.queued == 2

        await until(queued)
        after = await session.enqueue("After.")
        gate.open()
        await first
        configured = await configuring
        assert (await before.result()).turn_id != (await after.result()).turn_id
        turns = await session.turns()

    assert [turn.command for turn in turns] == [None, None, "configure_session", None]
    assert turns[2] == configured
    assert stop_word(configured) == "finished"
    assert ["Be loud." in request.instructions for request in model.asked] == [False, False, True]


async def test_a_command_is_no_input_that_can_be_taken_back(location: str | Path) -> None:
    model, agent = echo_agent()
    gate = model.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        first = begin(session, "Go.")
        await gate.reached.wait()
        configuring = asyncio.create_task(session.configure(prompt=lash.PromptLayer()))
        await asyncio.sleep(0)
        assert await session.pending() == []
        gate.open()
        await first
        assert (await configuring).command == "configure_session"


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["enqueue", "inject"])
async def test_input_that_cannot_be_kept_is_refused(location: str | Path, how: str) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        say = getattr(session, how)
        assert await code_of(say(" ")) == "turn_input_empty"
        assert await code_of(say("\ud800")) == "turn_input_invalid"
        assert await code_of(say(7)) == "turn_input_invalid"
        assert await code_of(say("Hi.", source_key=" ")) == "source_key_invalid"
        assert await session.info() is None


async def test_a_boundary_that_does_not_exist_is_refused(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        with pytest.raises(lash.LashError) as raised:
            await session.inject("Hi.", boundary="whenever")  # type: ignore[arg-type]  # that is the point
        assert not isinstance(raised.value, lash.StoreError)


@pytest.mark.parametrize(
    "layer",
    [
        "Be loud.",
        lash.PromptLayer.add("guidance", 7),  # type: ignore[arg-type]  # that is the point
        lash.PromptLayer(slots={"nowhere": 7}),  # type: ignore[dict-item]  # that is the point
    ],
    ids=["text", "content", "slot"],
)
async def test_a_prompt_layer_that_is_none_is_refused(location: str | Path, layer: Any) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        with pytest.raises(lash.LashError) as raised:
            await session.enqueue("Hi.", prompt_layer=layer)
        assert not isinstance(raised.value, lash.StoreError)


async def test_queued_input_for_another_agents_session_is_refused(location: str | Path) -> None:
    other = lash.Agent("other", model=Staged(echoing()))
    _, agent = echo_agent()
    async with opened(location, agent, other) as runtime:
        await runtime.session("s", agent="agent").run("Go.")
        session = runtime.session("s", agent="other")
        assert await code_of(session.enqueue("Hi.")) == "session_agent_mismatch"
        assert await code_of(session.inject("Hi.")) == "session_agent_mismatch"
        assert await session.pending() == []


async def closed_under_a_waiter(location: str | Path) -> str:
    """What somebody is told who waits for input that no turn has taken when the runtime closes."""
    model, agent = echo_agent()
    gate = model.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        begin(session, "Go.")
        await gate.reached.wait()
        queued = await session.enqueue("Later.")
        waiting = asyncio.create_task(queued.result())
        for _ in range(3):  # it has looked for the turn that takes its input, and found none
            await queued.refresh()
        assert not waiting.done()
    async with asyncio.timeout(2):
        return await code_of(waiting)


async def test_who_waits_for_queued_input_in_memory_is_told_that_the_runtime_closed() -> None:
    assert await closed_under_a_waiter(":memory:") == "runtime_closed"


async def test_who_waits_for_queued_input_on_a_file_is_told_that_the_runtime_closed(
    path: Path,
) -> None:
    assert await closed_under_a_waiter(path) == "runtime_closed"


async def test_input_that_was_taken_when_its_runtime_closed_is_in_the_history_once(
    path: Path,
) -> None:
    holding, took = Holding(), asyncio.Event()
    _, agent = patient(holding)
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        item = await session.inject("And 8.")
        store: Any = runtime.engine.store
        take = store.take

        async def never_told(claim: Any) -> Any:
            await take(claim)
            took.set()
            await asyncio.Event().wait()

        store.take = never_told
        holding.gate.open()
        await took.wait()
        assert (await item.refresh()).state == "accepted"
    assert await code_of(running) == "runtime_closed"

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
    holding = Holding()
    _, agent = patient(holding)
    async with opened(path, agent) as runtime:
        running = begin(runtime.session("s"), "Go.", turn_id="t")
        await holding.begun.wait()
        item = await runtime.session("s").inject("And 8.", source_key="k")
    assert await code_of(running) == "runtime_closed"

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


async def test_more_than_one_checkpoint_takes_comes_at_the_next(location: str | Path) -> None:
    holding = Holding()
    model, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await holding.begun.wait()
        for number in range(70):
            await session.inject(str(number))
        holding.gate.open()
        await running
        assert len(await session.turns()) == 1
    numbers = [text for role, text in seen(model.asked[2]) if role == "user"][2:]
    assert numbers == [str(number) for number in range(70)]
    assert len(model.asked[1].messages) == 3 + 64


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


async def left_behind(path: Path) -> None:
    """Leave a turn of version 1 under way in session `s`."""
    holding = Holding()
    _, agent = patient(holding)
    async with opened(path, agent) as runtime:
        running = begin(runtime.session("s"), "Go.", turn_id="t")
        await holding.begun.wait()
    assert await code_of(running) == "runtime_closed"


async def code_of_result(session: lash.Session, what: str) -> str:
    """What who waits for an input or a command is told within a second."""
    async with asyncio.timeout(1):
        if what == "a command":
            return await code_of(session.configure(prompt=lash.PromptLayer()))
        say = session.enqueue if what == "queued input" else session.inject
        return await code_of((await say("Later.")).result())


@pytest.mark.parametrize("what", ["queued input", "injected input", "a command"])
async def test_who_waits_behind_a_turn_that_needs_a_person_is_told_as_run_tells(
    path: Path, what: str
) -> None:
    await left_behind(path)
    model = Staged(echoing())
    tools = [Holding(is_open=True).tool]
    changed = lash.Agent("agent", model=model, instructions="Changed.", tools=tools)
    async with opened(path, changed, on_drift="refuse") as runtime:
        session = runtime.session("s")

        async def parked() -> bool:
            info = await session.info()
            return info is not None and info.state == "parked"

        await until(parked)
        assert await code_of(session.run("Now.")) == "effect_drift_refused"
        assert await code_of_result(session, what) == "effect_drift_refused"


@pytest.mark.parametrize("what", ["queued input", "a command"])
async def test_who_waits_behind_a_turn_whose_agent_is_missing_is_told_as_run_tells(
    path: Path, what: str
) -> None:
    await left_behind(path)
    newer = lash.Agent("agent", model=Staged(echoing()), version="2")
    async with opened(path, newer) as runtime:
        session = runtime.session("s")
        assert await code_of(session.run("Now.")) == "agent_version_missing"
        assert await code_of_result(session, what) == "agent_version_missing"


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

    model = Staged(
        answering(lambda _, said: calls(("note", {})) if said == "Go." else reply(f"{said}!"))
    )
    agent = lash.Agent("agent", model=model, tools=[note])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        assert (await session.run("Go.")).text == "For this turn.!"
        await runtime.idle()
        assert [turn.text for turn in await session.turns()] == [
            "For this turn.!",
            "For the next.!",
        ]
