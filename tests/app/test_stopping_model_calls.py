"""Stopping a turn in its model call, or just before its commit: no answer of it is kept."""

import asyncio
from pathlib import Path

import pytest
from session_harness import (
    Holding,
    Staged,
    echo_agent,
    echo_session,
    is_valid,
    just_before,
    location,
    opened,
    path,
    patient,
    seen,
    stop_word,
    told,
    under_way,
)
from stopping_harness import goes_on, stopped_by, went

import lash
from lash.app.stopping import CancelReceipt
from lash.events import TextDelta
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.testing import calls, fail, reply
from lash.testing.scripted import Failure, Step

__all__ = ["location", "path"]


async def test_nothing_of_a_model_call_that_was_dropped_is_kept(location: str | Path) -> None:
    model, agent = echo_agent()
    model.hold(0, "It ", "is ")
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        shown: list[str] = []
        async with session.stream("Go.", turn_id="t") as live:
            async for event in live:
                if isinstance(event, TextDelta):
                    shown.append(event.text)
                    if len(shown) == 2:
                        receipt = await session.cancel("t", request_id="r")
                        assert receipt.outcome == "requested"
            turn = await live.result()
        assert shown == ["It ", "is "]
        assert stopped_by(turn) == "r"
        assert turn.usage == lash.Usage()
        assert await told(session) == [("user", "Go.")]
        await goes_on(runtime, session)
    assert seen(model.asked[1]) == [("user", "Go."), ("user", "Next.")]


async def test_an_answer_that_comes_although_its_call_was_dropped_is_not_kept(
    location: str | Path,
) -> None:
    begun = asyncio.Event()

    class Stubborn(Staged):
        async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass
            return await super().complete(request, emit)

    agent = lash.Agent("agent", model=Stubborn([reply("Late.")]))
    async with under_way(location, agent, begun, turn_id="t") as (_, session, running):
        await session.cancel("t", request_id="r")
        turn = await running
        assert stopped_by(turn) == "r"
        assert await told(session) == [("user", "Go.")]
        assert turn.usage == lash.Usage(input_tokens=10, output_tokens=5)


async def test_a_wait_between_two_attempts_of_a_model_call_is_given_up(
    location: str | Path,
) -> None:
    model = Staged([fail(status=429, retry_after=30.0), reply("Never.")])
    agent = lash.Agent("agent", model=model)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.stream("Go.", turn_id="t") as live:
            async for event in live:
                if event.__struct_config__.tag == "retry_status":
                    break
            await session.cancel("t")
            turn = await live.result()
        assert stopped_by(turn) is not None
        assert len(model.asked) == 1
        assert await told(session) == [("user", "Go.")]


async def test_a_reader_that_leaves_early_stops_the_turn(location: str | Path) -> None:
    model, agent = echo_agent()
    model.hold(0, "It ")
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.stream("Go.", turn_id="t") as live:
            async for event in live:
                if isinstance(event, TextDelta):
                    break
        (turn,) = await session.turns()
        assert turn.cancellation is not None
        assert turn.cancellation.origin == "stream"
        assert await live.result() == turn
        await goes_on(runtime, session)


async def test_a_stop_that_comes_just_before_the_commit_takes_the_answer_away(
    location: str | Path,
) -> None:
    receipts: list[CancelReceipt] = []
    async with echo_session(location) as (runtime, session):

        async def stop() -> None:
            receipts.append(await session.cancel("t", request_id="r"))

        happened = just_before(runtime, "commit_turn", stop)
        turn = await session.run("Go.", turn_id="t")
        assert happened == ["commit_turn"]
        assert [receipt.outcome for receipt in receipts] == ["requested"]
        assert stopped_by(turn) == "r"
        assert await told(session) == [("user", "Go.")]
        assert turn.usage == lash.Usage(input_tokens=10, output_tokens=5)
        await goes_on(runtime, session)


async def test_a_stop_just_before_the_commit_of_a_turn_with_tools_keeps_their_results(
    location: str | Path,
) -> None:
    holding = Holding(is_open=True)
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        just_before(runtime, "commit_turn", lambda: session.cancel("t"))
        turn = await session.run("Go.", turn_id="t")
        assert (stop_word(turn), went(turn)) == ("cancelled", ["success"])
        assert await told(session) == [
            ("user", "Go."),
            ("assistant", "->wait"),
            ("user", "<-done"),
        ]
        await goes_on(runtime, session)


@pytest.mark.parametrize("attempt", range(5))
async def test_a_stop_at_the_very_commit_is_answered_truthfully(
    location: str | Path, attempt: int
) -> None:
    _, agent = echo_agent()
    asked: list[asyncio.Task[CancelReceipt]] = []
    sessions: list[lash.Session] = []

    async def stop() -> CancelReceipt:
        for _ in range(attempt):  # a little later each time
            await asyncio.sleep(0)
        return await sessions[0].cancel("t", request_id="r")

    def passing(seam: str) -> None:
        if seam == "commit.before" and not asked:
            asked.append(asyncio.create_task(stop()))

    async with opened(location, agent, seams=passing) as runtime:
        session = runtime.session("s")
        sessions.append(session)
        turn = await session.run("Go.", turn_id="t")
        receipt = await asked[0]
        if receipt.outcome == "requested":
            assert stopped_by(turn) == "r"
            assert await told(session) == [("user", "Go.")]
        else:
            assert receipt.outcome == "completion_won_race"
            assert (turn.text, receipt.result) == ("Go.!", turn)


@pytest.mark.parametrize("ending", ["tool_value", "failed call", "limit"])
async def test_a_stop_just_before_any_ending_wins(location: str | Path, ending: str) -> None:
    @lash.tool
    async def decide() -> lash.Finish:
        """Decide."""
        return lash.Finish(value=7)

    steps: dict[str, list[Step | Failure]] = {
        "tool_value": [calls(("decide", {}))],
        "failed call": [fail("no", status=401)],
        "limit": [calls(("nothing", {})), calls(("nothing", {}))],
    }
    agent = lash.Agent("agent", model=Staged(steps[ending]), tools=[decide], max_turns=2)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        just_before(runtime, "commit_turn", lambda: session.cancel("t", request_id="r"))
        turn = await session.run("Go.", turn_id="t")
        assert stopped_by(turn) == "r"
        assert await is_valid(runtime)
