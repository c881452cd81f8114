"""Asking a turn to stop: the answer is true, the turn lands whole, and the session goes on."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from session_harness import (
    Gate,
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
    tripped,
    until,
)

import lash
from lash.app.stopping import CancelReceipt
from lash.core.cancel import Cancellation
from lash.effects.waits.model import ResolveAccepted
from lash.events import TextDelta, ToolCallCompleted
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.runtime.events import TurnCancelRequested
from lash.testing import ScriptedModel, calls, fail, reply
from lash.testing.scripted import Failure, Step
from lash.turn.outcome import Cancelled
from lash.turn.tools import ToolCancelled, ToolSuccess

__all__ = ["location", "path"]

GONE = "[Tool execution cancelled]\ntool call cancelled"


def echo_agent() -> tuple[Staged, lash.Agent]:
    model = Staged(echoing())
    return model, lash.Agent("agent", model=model)


def stopped_by(turn: lash.TurnResult) -> str | None:
    """The request that stopped the turn."""
    assert isinstance(turn.outcome, lash.Stopped)
    assert isinstance(turn.outcome.reason, Cancelled)
    assert turn.cancellation is not None
    assert turn.cancellation.request_id == turn.outcome.reason.request_id
    assert (turn.text, turn.is_success) == ("", False)
    return turn.outcome.reason.request_id


def asked_by(request_id: str, origin: str | None, reason: str | None) -> Cancellation:
    return Cancellation(request_id=request_id, origin=origin, reason=reason)


def went(turn: lash.TurnResult) -> list[str]:
    """What became of each tool call of a turn."""
    return [str(call.output.outcome.__struct_config__.tag) for call in turn.tool_calls]


async def goes_on(runtime: lash.Runtime, session: lash.Session, *, word: str = "Next.") -> None:
    """The session takes the next turn, with a history that every provider takes."""
    assert await is_valid(runtime, session.id)
    turn = await session.run(word)
    assert turn.is_success
    assert await is_valid(runtime, session.id)
    assert await session.pending() == []


# --- before, during, between, after -------------------------------------------------------------------


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


async def test_the_stop_is_told_to_who_follows(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.stream("Go.", turn_id="t") as live:
            await holding.begun.wait()
            await session.cancel("t", request_id="r", reason="enough")
            events = [event async for event in live]
    asked = [event for event in events if isinstance(event, TurnCancelRequested)]
    assert asked == [TurnCancelRequested(cancellation=asked_by("r", None, "enough"))]
    (completed,) = [event for event in events if isinstance(event, ToolCallCompleted)]
    assert isinstance(completed.call.output.outcome, ToolCancelled)


async def test_a_tool_that_ends_by_itself_within_the_grace_keeps_its_result(
    location: str | Path,
) -> None:
    begun = asyncio.Event()

    @lash.tool
    async def careful(ctx: lash.ToolContext) -> str:
        """Stops when asked to."""
        begun.set()
        await tripped(ctx.cancel)
        stop = ctx.cancel.cancellation
        return f"half done: {stop.request_id if stop else None}"

    model = Staged([calls(("careful", {})), reply("Never.")])
    agent = lash.Agent("agent", model=model, tools=[careful])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await begun.wait()
        await session.cancel("t", request_id="r")
        turn = await running
        assert stopped_by(turn) == "r"
        assert [call.output.outcome for call in turn.tool_calls] == [
            ToolSuccess(payload="half done: r")
        ]
        assert await told(session) == [
            ("user", "Go."),
            ("assistant", "->careful"),
            ("user", "<-half done: r"),
        ]
        assert len(model.asked) == 1
        assert await is_valid(runtime)


async def test_a_tool_that_never_returns_is_answered_for(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(
        holding,
        answering(lambda _, said: calls(("wait", {})) if said == "Go." else reply(f"{said}!")),
    )
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        await session.cancel("t", request_id="r")
        turn = await running
        assert (stopped_by(turn), went(turn), holding.ended) == ("r", ["cancelled"], ["cancelled"])
        assert turn.usage == lash.Usage(input_tokens=10, output_tokens=5)
        assert await told(session) == [
            ("user", "Go."),
            ("assistant", "->wait"),
            ("user", f"<-{GONE}"),
        ]
        await goes_on(runtime, session)


async def test_a_plain_function_in_its_thread_is_not_waited_for(location: str | Path) -> None:
    begun, go, over = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    told_to_stop: list[bool] = []

    @lash.tool
    def block(ctx: lash.ToolContext) -> str:
        """Blocks."""
        loop.call_soon_threadsafe(begun.set)
        go.wait(20)
        told_to_stop.append(ctx.cancel.cancelled)
        over.set()
        return "too late"

    model = Staged([calls(("block", {})), reply("Never.")])
    agent = lash.Agent("agent", model=model, tools=[block])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await begun.wait()
        await session.cancel("t")
        turn = await running
        assert went(turn) == ["cancelled"]
        go.set()
        await asyncio.to_thread(over.wait, 20)
        assert await session.turns() == [turn]
        assert await told(session) == [
            ("user", "Go."),
            ("assistant", "->block"),
            ("user", f"<-{GONE}"),
        ]
    assert told_to_stop == [True]


async def test_of_several_calls_those_that_are_done_keep_their_results(
    location: str | Path,
) -> None:
    holding = Holding()
    told_of: list[str] = []

    @lash.tool
    async def quick(n: int) -> str:
        """Quick."""
        return f"result {n}"

    @lash.tool
    async def broken() -> str:
        """Broken."""
        raise lash.ToolError("no such thing")

    @lash.tool(serial=True)
    async def last() -> str:
        """Alone."""
        told_of.append("ran")
        return "never"

    model = Staged(
        [
            calls(
                ("quick", {"n": 1}), ("wait", {}), ("broken", {}), ("quick", {"n": 2}), ("last", {})
            ),
            reply("Never."),
        ]
    )
    agent = lash.Agent("agent", model=model, tools=[quick, holding.tool, broken, last])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        async with session.stream("Go.", turn_id="t") as live:
            done = 0
            async for event in live:
                if isinstance(event, ToolCallCompleted):
                    done += 1
                    if done == 3:
                        break
            await session.cancel("t")
            turn = await live.result()
        assert went(turn) == ["success", "cancelled", "failure", "success", "cancelled"]
        assert [call.tool for call in turn.tool_calls] == [
            "quick",
            "wait",
            "broken",
            "quick",
            "last",
        ]
        assert told_of == []
        assert (await told(session))[-1] == (
            "user",
            f"<-result 1 <-{GONE} <-[Tool execution failed]\nno such thing <-result 2 <-{GONE}",
        )
        assert await is_valid(runtime)


async def test_a_wait_for_the_outside_is_given_up(location: str | Path) -> None:
    asked = asyncio.Event()
    keys: list[lash.AwaitEventKey] = []

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask."""

        def announce(key: lash.AwaitEventKey) -> None:
            keys.append(key)

        pending = await ctx.defer(announce)
        asked.set()
        return pending

    model = Staged(
        answering(lambda _, said: calls(("ask", {})) if said == "Go." else reply(f"{said}!"))
    )
    agent = lash.Agent("agent", model=model, tools=[ask])
    async with opened(location, agent, process_lifetime_keys=True) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await asked.wait()
        await runtime.idle()  # it waits for the outside
        await session.cancel("t")
        turn = await running
        assert went(turn) == ["cancelled"]
        assert (await told(session))[-1] == (
            "user",
            "<-[Tool execution cancelled]\nThe wait for an answer was cancelled.",
        )
        await goes_on(runtime, session)
        assert not isinstance(await runtime.completions.resolve(keys[0], "late"), ResolveAccepted)
        assert (await session.turns())[0] == turn


async def test_an_answer_that_came_before_the_stop_is_kept(location: str | Path) -> None:
    holding = Holding()
    keys: asyncio.Queue[lash.AwaitEventKey] = asyncio.Queue()

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask."""
        return await ctx.defer(keys.put)

    model = Staged([calls(("ask", {}), ("wait", {})), reply("Never.")])
    agent = lash.Agent("agent", model=model, tools=[ask, holding.tool])
    async with opened(location, agent, process_lifetime_keys=True) as runtime:
        session = runtime.session("s")
        async with session.stream("Go.", turn_id="t") as live:
            await runtime.completions.resolve(await keys.get(), "yes")
            async for event in live:
                if isinstance(event, ToolCallCompleted):
                    break
            await session.cancel("t")
            turn = await live.result()
        assert went(turn) == ["success", "cancelled"]
        assert (await told(session))[-1] == ("user", f"<-yes <-{GONE}")


async def test_a_tool_that_keeps_its_cancellation_to_itself_is_left_behind(
    location: str | Path,
) -> None:
    begun, go, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @lash.tool
    async def stubborn() -> str:
        """Does not stop."""
        begun.set()
        while not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                continue
        over.set()
        return "too late"

    model = Staged(
        answering(lambda _, said: calls(("stubborn", {})) if said == "Go." else reply(f"{said}!"))
    )
    agent = lash.Agent("agent", model=model, tools=[stubborn])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await begun.wait()
        await session.cancel("t")
        turn = await running
        assert went(turn) == ["cancelled"]
        await goes_on(runtime, session)
        go.set()
        await over.wait()
        await runtime.idle()
        assert (await session.turns())[0] == turn
        assert (await told(session))[2] == ("user", f"<-{GONE}")
        entries = await runtime.journal("s", "t") if location != ":memory:" else []
        assert all("too late" not in repr(entry) for entry in entries)


async def test_a_tool_that_answers_its_cancellation_within_the_grace_keeps_the_answer(
    location: str | Path,
) -> None:
    begun = asyncio.Event()

    @lash.tool
    async def tidy() -> str:
        """Says what it came to."""
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "tidied up"
        return "never"

    model = Staged([calls(("tidy", {})), reply("Never.")])
    agent = lash.Agent("agent", model=model, tools=[tidy])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await begun.wait()
        await session.cancel("t")
        turn = await running
        assert went(turn) == ["success"]
        assert (await told(session))[-1] == ("user", "<-tidied up")


async def test_a_wait_between_two_attempts_of_a_tool_is_given_up(location: str | Path) -> None:
    failed = asyncio.Event()
    ran: list[int] = []

    @lash.tool(retry=lash.ToolRetry(max_attempts=3, base_delay_ms=600_000, max_delay_ms=600_000))
    async def flaky(ctx: lash.ToolContext) -> str:
        """Fails."""
        ran.append(ctx.attempt)
        failed.set()
        raise lash.ToolError("not now", retry=True, retry_after_ms=600_000)

    model = Staged(
        answering(lambda _, said: calls(("flaky", {})) if said == "Go." else reply(f"{said}!"))
    )
    agent = lash.Agent("agent", model=model, tools=[flaky])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await failed.wait()
        await session.cancel("t")
        turn = await running
        assert (went(turn), ran) == (["cancelled"], [1])
        await goes_on(runtime, session)


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


async def test_a_stop_between_two_effects_is_noticed_before_the_next(
    location: str | Path,
) -> None:
    model = Staged([calls(("look", {})), reply("Never.")])
    receipts: list[CancelReceipt] = []

    @lash.tool
    async def look(ctx: lash.ToolContext) -> str:
        """Asks for its own turn's stop, and is done."""
        receipts.append(await runtime.session("s").cancel(ctx.turn_id, request_id="r"))
        return "seen"

    agent = lash.Agent("agent", model=model, tools=[look])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t")
        assert [receipt.outcome for receipt in receipts] == ["requested"]
        assert (stopped_by(turn), went(turn), len(model.asked)) == ("r", ["success"], 1)
        assert (await told(session))[-1] == ("user", "<-seen")


async def test_a_stop_after_the_end_changes_nothing_and_says_how_it_ended(
    location: str | Path,
) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t")
        receipt = await session.cancel("t", request_id="r")
        assert (receipt.outcome, receipt.turn_id) == ("completion_won_race", "t")
        assert (receipt.result, receipt.cancellation) == (turn, None)
        assert await session.turns() == [turn]
        await goes_on(runtime, session)


async def test_the_first_of_two_requests_is_the_one_that_counts(location: str | Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        first = await session.cancel("t", request_id="r1", origin="ui", reason="one")
        second = await session.cancel("t", request_id="r2", origin="api", reason="two")
        turn = await running
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
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        behind = begin(session, "Next.", turn_id="behind")
        await accepted(session, 2)
        receipt = await session.cancel()
        assert (receipt.outcome, receipt.turn_id) == ("requested", "t")
        assert stop_word(await running) == "cancelled"
        holding.gate.open()
        assert (await behind).is_success


# --- the turn's place ---------------------------------------------------------------------------------


async def test_a_turn_that_waits_behind_another_is_stopped_in_its_place(
    location: str | Path,
) -> None:
    holding = Holding()
    model, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "First.", turn_id="t1")
        await holding.begun.wait()
        behind = begin(session, "Second.", turn_id="t2")
        await accepted(session, 2)
        assert (await session.cancel("t2", request_id="r")).outcome == "requested"
        assert not behind.done()
        holding.gate.open()
        assert (await running).is_success
        assert stopped_by(await behind) == "r"
        said = [text for role, text in await told(session) if role == "user"]
        assert said == ["First.", "<-done", "Second."]
    assert len(model.asked) == 2


async def test_what_a_stopped_turn_did_not_take_is_the_next_turns_once(
    location: str | Path,
) -> None:
    holding = Holding()
    _, agent = patient(
        holding,
        answering(lambda _, said: calls(("wait", {})) if said == "Go." else reply(f"{said}!")),
    )
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        injected = await session.inject("Injected.")
        late = await session.inject("Late.", boundary="before_completion")
        queued = await session.enqueue("Queued.")
        await session.cancel("t")
        assert stop_word(await running) == "cancelled"
        results = [await item.result() for item in (injected, late, queued)]
        await runtime.idle()
        turns = await session.turns()
        said = [text for role, text in await told(session) if role == "user"]
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
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await first.reached.wait()
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
    model, agent = echo_agent()
    gate = model.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await gate.reached.wait()
        item = await session.enqueue("Later.")
        receipt = await session.cancel(f"{item.input_id}:turn")
        assert receipt.outcome == "requested"
        gate.open()
        await running
        assert stop_word(await item.result()) == "cancelled"
    assert len(model.asked) == 1


# --- who stops it -------------------------------------------------------------------------------------


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


async def test_an_error_in_the_readers_block_stops_the_turn_and_is_raised(
    location: str | Path,
) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")

        async def read() -> None:
            async with session.stream("Go.", turn_id="t"):
                await holding.begun.wait()
                raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            await read()
        assert [stop_word(turn) for turn in await session.turns()] == ["cancelled"]


async def test_a_stop_that_comes_just_before_the_commit_takes_the_answer_away(
    location: str | Path,
) -> None:
    _, agent = echo_agent()
    receipts: list[CancelReceipt] = []
    async with opened(location, agent) as runtime:
        session = runtime.session("s")

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


# --- over restarts ------------------------------------------------------------------------------------


async def test_a_turn_is_stopped_by_the_runtime_that_comes_after(path: Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(path, agent) as runtime:
        running = begin(runtime.session("s"), "Go.", turn_id="t")
        await holding.begun.wait()
    assert await code_of(running) == "runtime_closed"

    other = lash.Agent("other", model=ScriptedModel([reply("Hi.")]))
    async with opened(path, other) as runtime:
        session = runtime.session("s")
        receipt = await session.cancel("t", request_id="r")
        assert receipt.outcome == "requested"
        turn = await session.wait("t")
        assert stopped_by(turn) == "r"
        info = await session.info()
        assert info is not None
        assert (info.state, info.open_turns) == ("idle", 0)
        assert await told(session) == [("user", "Go.")]

    _, agent = patient(Holding(is_open=True))
    async with opened(path, agent) as runtime:
        await goes_on(runtime, runtime.session("s"))


async def test_a_stop_that_nobody_carried_out_yet_outlives_the_runtime(path: Path) -> None:
    _, agent = echo_agent()
    async with opened(path, agent) as runtime:
        await runtime.session("s").run("Hello.")
        await runtime.session("s").cancel("t", request_id="r")
    model, agent = echo_agent()
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        receipt = await session.cancel("t", request_id="later")
        assert receipt.outcome == "already_requested"
        assert stopped_by(await session.run("Go.", turn_id="t")) == "r"
    assert model.asked == []


async def test_a_resumed_turn_that_is_to_stop_keeps_what_was_done(path: Path) -> None:
    holding = Holding()
    ran: list[str] = []

    @lash.tool
    async def look() -> str:
        """Look."""
        ran.append("look")
        return "seen"

    def agent() -> lash.Agent:
        model = Staged([calls(("look", {})), calls(("wait", {})), reply("Never.")])
        return lash.Agent("agent", model=model, tools=[look, holding.tool])

    async with opened(path, agent()) as runtime:
        running = begin(runtime.session("s"), "Go.", turn_id="t")
        await holding.begun.wait()
    await code_of(running)

    holding.gate.reached.clear()
    async with opened(path, agent()) as runtime:
        session = runtime.session("s")
        await holding.begun.wait()
        await session.cancel("t")
        turn = await session.wait("t")
        assert (went(turn), ran) == (["success", "cancelled"], ["look"])
        assert await told(session) == [
            ("user", "Go."),
            ("assistant", "->look"),
            ("user", "<-seen"),
            ("assistant", "->wait"),
            ("user", f"<-{GONE}"),
        ]


async def test_a_parked_turn_can_be_stopped_and_the_session_goes_on(path: Path) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(path, agent) as runtime:
        running = begin(runtime.session("s"), "Go.", turn_id="t")
        await holding.begun.wait()
    await code_of(running)

    # The same turn now asks for something else than what was recorded.
    other = Holding(is_open=True)
    changed = lash.Agent(
        "agent", model=Staged(echoing()), instructions="Changed.", tools=[other.tool]
    )
    async with opened(path, changed, on_drift="refuse") as runtime:
        session = runtime.session("s")

        async def parked() -> bool:
            info = await session.info()
            return info is not None and info.state == "parked"

        await until(parked)
        assert await code_of(session.run("More.")) == "effect_drift_refused"
        receipt = await session.cancel("t", request_id="r")
        assert receipt.outcome == "requested"
        assert stopped_by(await session.wait("t")) == "r"
        await goes_on(runtime, session)
        said = [text for role, text in await told(session) if role == "user"]
        assert said == ["Go.", "Next."]


# --- what is refused ----------------------------------------------------------------------------------


async def test_a_request_that_cannot_be_kept_is_refused(location: str | Path) -> None:
    _, agent = echo_agent()
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
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
    holding = Holding()
    _, agent = patient(holding)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        code = await code_of(session.cancel("t", **evidence))
        assert code == "invalid_turn_cancel_request"


async def test_a_tools_own_cancel_callback_cannot_keep_the_turn_from_stopping(
    location: str | Path,
) -> None:
    begun = asyncio.Event()
    gate = Gate()

    def broken(_: object) -> None:
        raise RuntimeError("my own callback")

    @lash.tool
    async def touchy(ctx: lash.ToolContext) -> str:
        """Registers a callback."""
        ctx.cancel.on_cancel(broken)
        begun.set()
        await gate.passed()
        return "never"

    model = Staged([calls(("touchy", {}), ("touchy", {})), reply("Never.")])
    agent = lash.Agent("agent", model=model, tools=[touchy])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await begun.wait()
        receipt = await session.cancel("t", request_id="r")
        assert receipt.outcome == "requested"
        turn = await running
        assert (stopped_by(turn), went(turn)) == ("r", ["cancelled", "cancelled"])


async def test_a_stop_outlives_a_commit_that_failed_and_what_was_done_is_kept(
    path: Path,
) -> None:
    holding = Holding()

    @lash.tool
    async def tidy() -> str:
        """Says what it came to."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "tidied up"
        return "never"

    def agent() -> lash.Agent:
        model = Staged([calls(("tidy", {}), ("wait", {})), reply("Never.")])
        return lash.Agent("agent", model=model, tools=[tidy, holding.tool])

    async def fail_once() -> None:
        raise lash.StoreError("store_failed", "The disk is full.")

    async with opened(path, agent()) as runtime:
        session = runtime.session("s")
        just_before(runtime, "commit_turn", fail_once)
        running = begin(session, "Go.", turn_id="t")
        await holding.begun.wait()
        await session.cancel("t", request_id="r")
        assert await code_of(running) == "store_failed"
    async with opened(path, agent()) as runtime:
        session = runtime.session("s")
        turn = await session.wait("t")
        assert (stopped_by(turn), went(turn)) == ("r", ["success", "cancelled"])
        assert (await told(session))[-1] == ("user", f"<-tidied up <-{GONE}")
        assert turn.usage == lash.Usage(input_tokens=10, output_tokens=5)
    assert holding.ran == 1


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
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.", turn_id="t")
        await begun.wait()
        await session.cancel("t", request_id="r")
        turn = await running
        assert stopped_by(turn) == "r"
        assert await told(session) == [("user", "Go.")]
        assert turn.usage == lash.Usage(input_tokens=10, output_tokens=5)


async def test_what_a_turn_used_is_booked_also_when_it_is_stopped_without_its_agent(
    path: Path,
) -> None:
    holding = Holding()
    _, agent = patient(holding)
    async with opened(path, agent) as runtime:
        running = begin(runtime.session("s"), "Go.", turn_id="t")
        await holding.begun.wait()
    await code_of(running)
    async with opened(path) as runtime:
        session = runtime.session("s")
        await session.cancel("t")
        turn = await session.wait("t")
        assert turn.usage == lash.Usage(input_tokens=10, output_tokens=5)
