"""Tools that leave their answer to the outside: every way it can come, or not come."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from desk import ASK, Desk, Key, ask, failure, finished, outcomes, run, waiting

import lash
from lash.effects.waits.model import (
    AlreadyResolved,
    ExternalCompletionError,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedErr,
    ResolvedOk,
    ResolvedTimeout,
    UnknownOrRevoked,
)
from lash.events import ToolCallCompleted
from lash.testing import VirtualClock
from lash.turn.tools import (
    ToolCancelled,
    ToolFailed,
    ToolFailure,
    ToolSuccess,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture(params=["durable", "ephemeral"])
def opening(request: pytest.FixtureRequest, path: Path) -> dict[str, Any]:
    """How a runtime is opened in which keys may be handed out."""
    if request.param == "durable":
        return {"store": path}
    return {"store": ":memory:", "process_lifetime_keys": True}


# --- how it is answered ---------------------------------------------------------------------------------

VALUES: list[tuple[Any, str]] = [
    ("yes", "yes"),
    ({"by": "ana", "ok": True}, '{"by":"ana","ok":true}'),
    (None, "null"),
    ([], "[]"),
]


@pytest.mark.parametrize(("value", "shown"), VALUES, ids=[shown for _, shown in VALUES])
async def test_a_value_from_outside_is_the_tools_answer(
    opening: dict[str, Any], value: object, shown: str
) -> None:
    desk = Desk(ASK)
    async with lash.Runtime(agents=[desk.agent], **opening) as runtime:
        turn = run(runtime)
        key = await desk.key()
        assert await runtime.completions.peek(key) is None
        assert await runtime.completions.resolve(key, value) == ResolveAccepted()
        result = await finished(turn)
        assert await runtime.completions.peek(key) == ResolvedOk(payload=value)  # type: ignore[arg-type]  # JSON
        history = await runtime.session("s").history()
    assert outcomes(result) == [ToolSuccess(payload=value)]  # type: ignore[arg-type]  # JSON
    assert (result.text, desk.ran) == (shown, ["may I?"])
    assert [answer.text for answer in history[2].tool_results] == [shown]


async def test_a_failure_from_outside_is_the_tools_failure(opening: dict[str, Any]) -> None:
    desk = Desk(ASK)
    async with lash.Runtime(agents=[desk.agent], **opening) as runtime:
        turn = run(runtime)
        answer = await runtime.completions.fail(
            await desk.key(), "the bank says no", code="refused", raw={"limit": 5}
        )
        assert answer == ResolveAccepted()
        result = await finished(turn)
    assert failure(result) == ToolFailure(
        failure_class="execution", code="refused", message="the bank says no", raw={"limit": 5}
    )
    assert result.text == "[Tool execution failed]\nthe bank says no"


async def test_a_cancelled_answer_is_a_cancelled_call(opening: dict[str, Any]) -> None:
    desk = Desk(ASK)
    async with lash.Runtime(agents=[desk.agent], **opening) as runtime:
        turn = run(runtime)
        assert await runtime.completions.cancel(await desk.key()) == ResolveAccepted()
        result = await finished(turn)
    (outcome,) = outcomes(result)
    assert isinstance(outcome, ToolCancelled)
    assert result.text.startswith("[Tool execution cancelled]\n")


@pytest.mark.parametrize("allowed", [90, timedelta(seconds=90)], ids=["seconds", "timedelta"])
async def test_an_answer_that_does_not_come_in_time_is_a_timeout(
    opening: dict[str, Any], allowed: float | timedelta
) -> None:
    clock, desk = VirtualClock(), Desk(ASK)
    desk.timeout = allowed
    async with lash.Runtime(agents=[desk.agent], clock=clock, **opening) as runtime:
        turn = run(runtime)
        key = await desk.key()
        await waiting(clock)
        clock.advance(89.999)
        await waiting(clock)
        assert not turn.done()
        assert await runtime.completions.peek(key) is None
        clock.advance(0.001)
        result = await finished(turn)
        late = await runtime.completions.resolve(key, "yes")
        assert late == AlreadyResolved(terminal=ResolvedTimeout())
    assert failure(result).failure_class == "timeout"
    assert failure(result).code == "tool_completion_timeout"
    assert result.text == "[Tool execution failed]\nNobody answered before the deadline."


async def test_an_answer_that_comes_in_time_beats_the_deadline(opening: dict[str, Any]) -> None:
    clock, desk = VirtualClock(), Desk(ASK)
    desk.timeout = 90
    async with lash.Runtime(agents=[desk.agent], clock=clock, **opening) as runtime:
        turn = run(runtime)
        clock.advance(89)
        await runtime.completions.resolve(await desk.key(), "yes")
        assert (await finished(turn)).text == "yes"


async def test_an_answer_before_the_tool_returned_is_kept(opening: dict[str, Any]) -> None:
    @lash.tool
    async def ask_quickly(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask somebody who answers while the question is still being asked."""

        async def announce(key: Key) -> None:
            assert await runtime.completions.resolve(key, "at once") == ResolveAccepted()

        return await ctx.defer(announce, timeout=0)

    desk = Desk(("ask_quickly", {}), tools=[ask_quickly])
    async with lash.Runtime(agents=[desk.agent], **opening) as runtime:
        assert (await finished(run(runtime))).text == "at once"


async def test_the_first_answer_stands(opening: dict[str, Any]) -> None:
    desk = Desk(ASK)
    async with lash.Runtime(agents=[desk.agent], **opening) as runtime:
        turn, key = run(runtime), await desk.key()
        completions = runtime.completions
        answers = [
            await completions.resolve(key, "first"),
            await completions.fail(key.token, "second"),
            await completions.cancel(key),
            await completions.resolve(msgspec.json.encode(key).decode(), "first"),
        ]
        result = await finished(turn)
        answers.append(await completions.resolve(key, "after the turn"))
    first = ResolvedOk(payload="first")
    assert answers == [ResolveAccepted(), *[AlreadyResolved(terminal=first)] * 4]
    assert result.text == "first"


TERMINALS = [
    ("fail", {"message": "no", "code": "refused"}, ResolvedErr(
        payload=ExternalCompletionError(code="refused", message="no")
    )),
    ("cancel", {}, ResolvedCancelled()),
]  # fmt: skip


@pytest.mark.parametrize(("method", "named", "terminal"), TERMINALS, ids=["fail", "cancel"])
async def test_a_late_answer_is_told_which_one_won(
    path: Path, method: str, named: dict[str, str], terminal: ResolvedErr | ResolvedCancelled
) -> None:
    desk = Desk(ASK)
    async with lash.Runtime(path, agents=[desk.agent]) as runtime:
        turn, key = run(runtime), await desk.key()
        await getattr(runtime.completions, method)(key, **named)
        late = await runtime.completions.resolve(key, "yes")
        assert late == AlreadyResolved(terminal=terminal)
        await finished(turn)


# --- several calls of one message -----------------------------------------------------------------------


async def test_answers_in_another_order_are_reported_in_call_order(
    opening: dict[str, Any],
) -> None:
    desk = Desk(ask("a"), ("echo", {"text": "b"}), ask("c"), ask("d"))
    async with (
        lash.Runtime(agents=[desk.agent], **opening) as runtime,
        asyncio.timeout(20),
        runtime.session("s").stream("Go.", turn_id="t") as live,
    ):
        for question in ("d", "a", "c"):
            await runtime.completions.resolve(await desk.key(question), f"{question}!")
            async for event in live:  # one answer is seen before the next is given
                if isinstance(event, ToolCallCompleted) and event.call.tool == "ask":
                    assert event.call.args == {"question": question}
                    break
        result = await live.result()
        history = await runtime.session("s").history()
    assert result.text == "a! | b | c! | d!"
    assert [call.args for call in result.tool_calls] == [
        {"question": "a"}, {"text": "b"}, {"question": "c"}, {"question": "d"},
    ]  # fmt: skip
    assert [answer.text for answer in history[2].tool_results] == ["a!", "b", "c!", "d!"]
    assert len({key.key_id for key in desk.keys.values()}) == 3
    assert sorted(desk.ran) == ["a", "b", "c", "d"]


async def test_a_serial_tool_begins_when_the_answers_before_it_are_there(path: Path) -> None:
    desk = Desk(("alone", {"question": "x"}), ask("a"), ("alone", {"question": "y"}))

    @lash.tool(serial=True)
    async def alone(question: str, ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask somebody, with nothing else going on."""
        desk.ran.append(question)
        return await ctx.defer(desk.post(question))

    desk.agent = lash.Agent("desk", model=desk.model, tools=[*desk.agent.tools, alone])
    async with lash.Runtime(path, agents=[desk.agent]) as runtime:
        turn = run(runtime)
        for ran in (["a"], ["a", "x"], ["a", "x", "y"]):
            key = await desk.key(ran[-1])
            await runtime.idle(timeout=20)
            assert desk.ran == ran
            await runtime.completions.resolve(key, f"{ran[-1]}!")
        assert (await finished(turn)).text == "x! | a! | y!"


async def test_a_plain_function_can_leave_its_answer_to_the_outside(path: Path) -> None:
    @lash.tool
    def ask_plainly(ctx: lash.ToolContext) -> Awaitable[lash.PendingCompletion]:
        """Ask from a thread."""
        return ctx.defer(desk.post("plain"))

    desk = Desk(("ask_plainly", {}), tools=[ask_plainly])
    async with lash.Runtime(path, agents=[desk.agent]) as runtime:
        turn = run(runtime)
        await runtime.completions.resolve(await desk.key("plain"), "yes")
        assert (await finished(turn)).text == "yes"


# --- tools that do something else ------------------------------------------------------------------------


async def test_a_tool_that_asks_and_then_raises_has_failed_and_waits_for_nobody(
    opening: dict[str, Any],
) -> None:
    @lash.tool
    async def ask_and_fall(ctx: lash.ToolContext) -> str:
        """Ask, then fall over."""
        await ctx.defer(desk.post("lost"))
        raise ValueError("fell over")

    desk = Desk(("ask_and_fall", {}), tools=[ask_and_fall])
    async with lash.Runtime(agents=[desk.agent], **opening) as runtime:
        result = await finished(run(runtime))
        # The turn is over: nobody would come for an answer.
        assert await runtime.completions.resolve(desk.keys["lost"], "yes") == UnknownOrRevoked()
        assert list(await runtime.session("s").turns()) == [result]
    assert failure(result).code == "tool_panicked"
    assert result.text == "[Tool execution failed]\nValueError: fell over"


async def test_a_tool_that_asks_and_returns_something_else_has_answered(
    opening: dict[str, Any],
) -> None:
    @lash.tool
    async def ask_and_answer(ctx: lash.ToolContext) -> str:
        """Ask, then know it after all."""
        await ctx.defer(desk.post("needless"))
        return "I knew it"

    desk = Desk(("ask_and_answer", {}), tools=[ask_and_answer])
    async with lash.Runtime(agents=[desk.agent], **opening) as runtime:
        result = await finished(run(runtime))
    assert outcomes(result) == [ToolSuccess(payload="I knew it")]


@pytest.mark.parametrize("whose", ["call", "turn", "session"])
async def test_a_key_of_another_call_is_no_way_to_leave_an_answer(
    opening: dict[str, Any], whose: str
) -> None:
    kept: list[lash.PendingCompletion] = []

    @lash.tool(serial=True)
    async def borrow(question: str, ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask once, and return the same thing ever after."""
        if not kept:
            kept.append(await ctx.defer(desk.post(question)))
        return kept[0]

    twice = [("borrow", {"question": "mine"})] * (2 if whose == "call" else 1)
    desk = Desk(*twice, tools=[borrow])
    async with lash.Runtime(agents=[desk.agent], **opening) as runtime:
        turn = run(runtime)
        await runtime.completions.resolve(await desk.key("mine"), "yes")
        result = await finished(turn)
        if whose != "call":
            assert result.text == "yes"
            other = runtime.session("s" if whose == "turn" else "s2")
            # The same call in the same place: nothing but the scope tells the two apart.
            turn_id = "t2" if whose == "turn" else "t"
            result = await asyncio.wait_for(other.run("Again.", turn_id=turn_id), 20)
    last = outcomes(result)[-1]
    assert isinstance(last, ToolFailed)
    assert last.payload.code == "pending_tool_missing_completion_key"
    assert outcomes(result)[:-1] == [ToolSuccess(payload="yes")] * (len(twice) - 1)


async def test_an_announcement_that_raises_is_a_failed_attempt(opening: dict[str, Any]) -> None:
    @lash.tool
    async def ask_nobody(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask where nobody can be reached."""

        def announce(key: Key) -> None:
            raise ConnectionError("no mail today")

        return await ctx.defer(announce)

    desk = Desk(("ask_nobody", {}), tools=[ask_nobody])
    async with lash.Runtime(agents=[desk.agent], **opening) as runtime:
        result = await finished(run(runtime))
    assert failure(result).code == "tool_panicked"
    assert result.text == "[Tool execution failed]\nConnectionError: no mail today"


async def test_the_next_attempt_announces_the_same_key(opening: dict[str, Any]) -> None:
    announced: list[Key] = []

    @lash.tool(retry=lash.ToolRetry(max_attempts=3, base_delay_ms=1))
    async def ask_again(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Ask until somebody can be reached."""

        async def announce(key: Key) -> None:
            announced.append(key)
            if ctx.attempt < 3:
                raise lash.ToolError("no mail today", retry=True)
            await desk.post("again")(key)

        return await ctx.defer(announce)

    desk = Desk(("ask_again", {}), tools=[ask_again])
    async with lash.Runtime(agents=[desk.agent], **opening) as runtime:
        turn = run(runtime)
        await runtime.completions.resolve(await desk.key("again"), "yes")
        result = await finished(turn)
    assert (result.text, result.tool_calls[0].attempts) == ("yes", 3)
    assert len(announced) == 3
    assert len(set(announced)) == 1


@pytest.mark.parametrize("allowed", [-1, float("nan"), "soon"], ids=str)
async def test_a_length_of_time_that_is_none_is_the_tools_failure(path: Path, allowed: Any) -> None:
    desk = Desk(ASK)
    desk.timeout = allowed
    async with lash.Runtime(path, agents=[desk.agent]) as runtime:
        result = await finished(run(runtime))
    assert failure(result).code == "duration_invalid"
    assert desk.keys == {}  # refused before anybody was told


# --- keys that die with the process ------------------------------------------------------------------------


async def test_where_nothing_is_kept_no_key_is_handed_out_unless_the_host_wants_that() -> None:
    desk = Desk(ASK)
    async with lash.Runtime(":memory:", agents=[desk.agent]) as runtime:
        result = await finished(run(runtime))
    assert failure(result).code == "tool_completion_key_process_lifetime"
    assert "process_lifetime_keys=True" in failure(result).message
    assert desk.keys == {}
