"""Asking a turn to stop: the answer is true, input that it did not take is kept, and the session goes on."""

from pathlib import Path
from typing import Any

import pytest
from session_harness import (
    Holding,
    Staged,
    accepted,
    begin,
    code_of,
    echo_agent,
    echo_session,
    held_at_the_model,
    held_in_a_tool,
    just_before,
    location,
    on_go,
    opened,
    path,
    patient_session,
    stop_word,
    told,
    under_way,
    user_texts,
)
from stopping_harness import GONE, asked_by, goes_on, stopped_by

import lash
from lash.events import ToolCallCompleted
from lash.runtime.events import TurnCancelRequested
from lash.testing import calls, reply
from lash.turn.tools import ToolCancelled

__all__ = ["location", "path"]


# --- what the answer says -----------------------------------------------------------------------------


async def test_a_turn_asked_to_stop_before_it_comes_never_asks_the_model(
    location: str | Path,
) -> None:
    model, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("Hello.")
        receipt = await session.cancel("t", request_id="r", origin="ui", reason="changed my mind")
        assert (receipt.outcome, receipt.turn_id) == ("requested", "t")
        assert receipt.cancellation == asked_by("r", "ui", "changed my mind")
        turn = await session.run("Go.", turn_id="t")
        assert stopped_by(turn) == "r"
        assert turn.cancellation == asked_by("r", "ui", "changed my mind")
        assert await told(session) == [
            ("user", "Hello."),
            ("assistant", "Hello.!"),
            ("user", "Go."),
        ]
        assert len(model.asked) == 1
        await goes_on(runtime, session)


async def test_a_request_for_a_turn_of_a_session_that_is_not_there_finds_nothing(
    location: str | Path,
) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("nobody")
        assert (await session.cancel("t")).outcome == "unknown_or_revoked"
        assert (await session.cancel()).outcome == "unknown_or_revoked"
        await runtime.session("s").run("Go.")
        assert (await runtime.session("s").cancel()).outcome == "unknown_or_revoked"


async def test_a_stop_after_the_end_changes_nothing_and_says_how_it_ended(
    location: str | Path,
) -> None:
    async with echo_session(location) as (runtime, session):
        turn = await session.run("Go.", turn_id="t")
        receipt = await session.cancel("t", request_id="r")
        assert (receipt.outcome, receipt.turn_id) == ("completion_won_race", "t")
        assert (receipt.result, receipt.cancellation) == (turn, None)
        assert await session.turns() == [turn]
        await goes_on(runtime, session)


async def test_the_first_of_two_requests_is_the_one_that_counts(location: str | Path) -> None:
    async with held_in_a_tool(location, turn_id="t") as (session, held):
        first = await session.cancel("t", request_id="r1", origin="ui", reason="one")
        second = await session.cancel("t", request_id="r2", origin="api", reason="two")
        turn = await held.running
        third = await session.cancel("t", request_id="r3")
    evidence = asked_by("r1", "ui", "one")
    assert (first.outcome, first.cancellation) == ("requested", evidence)
    assert (second.outcome, second.cancellation) == ("already_requested", evidence)
    assert (third.outcome, third.cancellation) == ("completion_won_race", evidence)
    assert third.result == turn
    assert turn.cancellation == evidence


async def test_a_stop_without_a_turn_is_for_the_one_that_comes_first(
    location: str | Path,
) -> None:
    async with held_in_a_tool(location, turn_id="t") as (session, held):
        behind = begin(session, "Next.", turn_id="behind")
        await accepted(session, 2)
        receipt = await session.cancel()
        assert (receipt.outcome, receipt.turn_id) == ("requested", "t")
        assert stop_word(await held.running) == "cancelled"
        held.gate.open()
        assert (await behind).is_success


# --- who hears of it ----------------------------------------------------------------------------------


async def test_the_stop_is_told_to_who_follows(location: str | Path) -> None:
    async with (
        patient_session(location) as (_, session, holding),
        session.stream("Go.", turn_id="t") as live,
    ):
        await holding.begun.wait()
        await session.cancel("t", request_id="r", reason="enough")
        events = [event async for event in live]
    asked = [event for event in events if isinstance(event, TurnCancelRequested)]
    assert asked == [TurnCancelRequested(cancellation=asked_by("r", None, "enough"))]
    (completed,) = [event for event in events if isinstance(event, ToolCallCompleted)]
    assert isinstance(completed.call.output.outcome, ToolCancelled)


async def test_an_error_in_the_readers_block_stops_the_turn_and_is_raised(
    location: str | Path,
) -> None:
    async with patient_session(location) as (_, session, holding):

        async def read() -> None:
            async with session.stream("Go.", turn_id="t"):
                await holding.begun.wait()
                raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            await read()
        assert [stop_word(turn) for turn in await session.turns()] == ["cancelled"]


async def test_a_command_may_be_stopped_and_changes_nothing_then(location: str | Path) -> None:
    model, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("Go.")

        async def stop() -> None:
            await session.cancel()

        just_before(runtime, "commit_turn", stop)
        turn = await session.configure(prompt=lash.PromptLayer.add("guidance", "Be loud."))
        assert (stop_word(turn), turn.command) == ("cancelled", "configure_session")
        await session.run("Next.")
        assert all("Be loud." not in request.instructions for request in model.asked)


# --- the turn's place, and its input ------------------------------------------------------------------


async def test_a_turn_that_waits_behind_another_is_stopped_in_its_place(
    location: str | Path,
) -> None:
    async with held_in_a_tool(location, prompt="First.", turn_id="t1") as (session, held):
        behind = begin(session, "Second.", turn_id="t2")
        await accepted(session, 2)
        assert (await session.cancel("t2", request_id="r")).outcome == "requested"
        assert not behind.done()
        assert (await held.let_go()).is_success
        assert stopped_by(await behind) == "r"
        said = await user_texts(session)
        assert said == ["First.", "<-done", "Second."]
    assert len(held.model.asked) == 2


async def test_what_a_stopped_turn_did_not_take_is_the_next_turns_once(
    location: str | Path,
) -> None:
    async with held_in_a_tool(location, on_go("wait"), turn_id="t") as (session, held):
        injected = await session.inject("Injected.")
        late = await session.inject("Late.", boundary="before_completion")
        queued = await session.enqueue("Queued.")
        await session.cancel("t")
        assert stop_word(await held.running) == "cancelled"
        results = [await item.result() for item in (injected, late, queued)]
        await held.runtime.idle()
        turns = await session.turns()
        said = await user_texts(session)
    assert len(turns) == 2
    assert results == [turns[1]] * 3
    assert said == ["Go.", f"<-{GONE}", "Injected.\nLate.\nQueued."]


async def test_what_a_stopped_turn_took_stays_with_it(location: str | Path) -> None:
    holding, model = Holding(is_open=True), Staged([calls(("wait", {})), reply("Never.")])
    gate = model.hold(1)
    agent = lash.Agent("agent", model=model, tools=[holding.tool])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        first = model.hold(0)
        running = begin(session, "Go.", turn_id="t")
        await first.reached.wait()
        item = await session.inject("And 8.")
        first.open()
        await gate.reached.wait()
        assert (await item.refresh()).state == "accepted"
        await session.cancel("t")
        turn = await running
        assert stop_word(turn) == "cancelled"
        assert await item.result() == turn
        await runtime.idle()
        assert len(await session.turns()) == 1
        assert (await told(session))[-1] == ("user", "And 8.")


async def test_a_stopped_turn_that_took_input_together_settles_all_of_it(
    location: str | Path,
) -> None:
    model, agent = echo_agent()
    first, second = model.hold(0), model.hold(1)
    async with under_way(location, agent, first.reached) as (runtime, session, running):
        items = [await session.enqueue(text) for text in ("A", "B")]
        first.open()
        await running
        await second.reached.wait()
        receipt = await session.cancel()
        assert receipt.turn_id == f"{items[0].input_id}:turn"
        results = [await item.result() for item in items]
        assert results[0] == results[1]
        assert stop_word(results[0]) == "cancelled"
        await runtime.idle()
        assert len(await session.turns()) == 2


async def test_queued_input_that_a_stop_comes_before_is_stopped_as_a_turn(
    location: str | Path,
) -> None:
    async with held_at_the_model(location) as (session, held):
        item = await session.enqueue("Later.")
        receipt = await session.cancel(f"{item.input_id}:turn")
        assert receipt.outcome == "requested"
        await held.let_go()
        assert stop_word(await item.result()) == "cancelled"
    assert len(held.model.asked) == 1


# --- what is refused ----------------------------------------------------------------------------------


async def test_a_request_that_cannot_be_kept_is_refused(location: str | Path) -> None:
    async with echo_session(location) as (_, session):
        assert await code_of(session.cancel(" ")) == "turn_id_invalid"
        bad: Any = 7
        assert await code_of(session.cancel(bad)) == "turn_id_invalid"
        wrong = session.cancel("t", request_id=" ")
        assert await code_of(wrong) == "invalid_turn_cancel_request"


@pytest.mark.parametrize(
    "evidence", [{"origin": 7}, {"reason": {"why": 7}}, {"reason": "\ud800"}, {"origin": object()}]
)
async def test_evidence_that_cannot_be_kept_is_refused(
    location: str | Path, evidence: dict[str, Any]
) -> None:
    async with held_in_a_tool(location, turn_id="t") as (session, _):
        code = await code_of(session.cancel("t", **evidence))
        assert code == "invalid_turn_cancel_request"
