"""Stopping a turn in its tools: what is done keeps its result, and nothing else is waited for."""

import asyncio
import threading
from pathlib import Path

from session_harness import (
    Gate,
    Holding,
    Staged,
    begin,
    is_valid,
    location,
    on_go,
    opened,
    path,
    patient,
    speaking,
    told,
    tripped,
    under_way,
)
from stopping_harness import GONE, goes_on, stopped_by, went

import lash
from lash.app.stopping import CancelReceipt
from lash.effects.waits.model import ResolveAccepted
from lash.events import ToolCallCompleted
from lash.testing import calls, reply
from lash.turn.tools import ToolSuccess

__all__ = ["location", "path"]


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

    model, agent = speaking([calls(("careful", {})), reply("Never.")], tools=[careful])
    async with under_way(location, agent, begun, turn_id="t") as (runtime, session, running):
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
    _, agent = patient(holding, on_go("wait"))
    begun = holding.begun
    async with under_way(location, agent, begun, turn_id="t") as (runtime, session, running):
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

    _, agent = speaking([calls(("block", {})), reply("Never.")], tools=[block])
    async with under_way(location, agent, begun, turn_id="t") as (_, session, running):
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

    _, agent = speaking(on_go("ask"), tools=[ask])
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

    _, agent = speaking(
        [calls(("ask", {}), ("wait", {})), reply("Never.")], tools=[ask, holding.tool]
    )
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

    _, agent = speaking(on_go("stubborn"), tools=[stubborn])
    async with under_way(location, agent, begun, turn_id="t") as (runtime, session, running):
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

    _, agent = speaking([calls(("tidy", {})), reply("Never.")], tools=[tidy])
    async with under_way(location, agent, begun, turn_id="t") as (_, session, running):
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

    _, agent = speaking(on_go("flaky"), tools=[flaky])
    async with under_way(location, agent, failed, turn_id="t") as (runtime, session, running):
        await session.cancel("t")
        turn = await running
        assert (went(turn), ran) == (["cancelled"], [1])
        await goes_on(runtime, session)


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

    _, agent = speaking([calls(("touchy", {}), ("touchy", {})), reply("Never.")], tools=[touchy])
    async with under_way(location, agent, begun, turn_id="t") as (_, session, running):
        receipt = await session.cancel("t", request_id="r")
        assert receipt.outcome == "requested"
        turn = await running
        assert (stopped_by(turn), went(turn)) == ("r", ["cancelled", "cancelled"])
