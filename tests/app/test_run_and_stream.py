"""run() and stream(): what a caller gets, live and afterwards, on a file and in memory."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

import lash
from lash.events import (
    ModelAttemptReset,
    ModelRequestStarted,
    RetryScheduled,
    TextDelta,
    ToolCallCompleted,
    ToolCallStarted,
    TurnEvent,
    UsageReported,
)
from lash.llm.usage import Usage
from lash.sessions.model import messages_of
from lash.testing import ScriptedModel, calls, fail, reply
from lash.turn.messages import is_valid_transcript


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else tmp_path / "agents.db"


@lash.tool
async def look_up(order: str) -> dict[str, str]:
    """Look up an order."""
    return {"order": order, "state": "shipped"}


def support(model: ScriptedModel) -> lash.Agent:
    return lash.Agent("support", model=model, instructions="Be brief.", tools=[look_up])


async def heard(live: lash.LiveTurn) -> Sequence[TurnEvent]:
    return [event async for event in live]


async def test_a_turn_tells_everything_it_did(location: str | Path) -> None:
    model = ScriptedModel(
        [
            calls(("look_up", {"order": "7"}), ("look_up", {"order": "8"}), text="Looking."),
            reply("Both shipped.", usage=Usage(input_tokens=30, output_tokens=7)),
        ]
    )
    async with lash.Runtime(location, agents=[support(model)]) as runtime:
        result = await runtime.session("s", agent="support").run("Where?", turn_id="t")

    assert (result.session_id, result.turn_id, result.text) == ("s", "t", "Both shipped.")
    assert result.is_success
    assert result.value is None
    assert result.raise_for_outcome() is result
    assert result.usage == Usage(input_tokens=40, output_tokens=12)
    assert [(call.tool, call.args, call.attempts) for call in result.tool_calls] == [
        ("look_up", {"order": "7"}, 1),
        ("look_up", {"order": "8"}, 1),
    ]
    assert [len(call.attempts) for call in result.llm_calls] == [1, 1]
    assert result.issues == ()
    assert result.revision == 1
    assert result.durability == ("ephemeral" if location == ":memory:" else "durable")
    assert result.timing.accepted_at_ms <= result.timing.committed_at_ms


async def test_history_and_turns_tell_the_committed_conversation(location: str | Path) -> None:
    model = ScriptedModel([calls(("look_up", {"order": "7"})), reply("Shipped.")])
    async with lash.Runtime(location, agents=[support(model)]) as runtime:
        session = runtime.session("s", agent="support")
        first = await session.run("Where is 7?")
        second = await session.run("And now?")
        history = await session.history()
        turns = await session.turns()
        nodes = await runtime.engine.store.load_path("s")
        info = await session.info()
        others = await runtime.session("other", agent="support").info()

    one = [
        ("user", "Where is 7?"),
        ("assistant", ""),
        ("user", ""),
        ("assistant", "Shipped."),
    ]
    assert [(message.role, message.text) for message in history] == [
        *one,
        ("user", "And now?"),
        *one[1:],
    ]
    assert [(call.tool, json.loads(call.arguments)) for call in history[1].tool_calls] == [
        ("look_up", {"order": "7"})
    ]
    assert [answer.text for answer in history[2].tool_results] == [
        '{"order":"7","state":"shipped"}'
    ]
    assert turns == [first, second]
    assert is_valid_transcript(messages_of(nodes))
    assert len({message.id for message in history}) == len(history)
    assert info is not None
    assert (info.state, info.turns, info.open_turns) == ("idle", 2, 0)
    assert info.usage == Usage(input_tokens=40, output_tokens=20)
    assert others is None


async def test_a_stream_tells_what_happens_in_order(location: str | Path) -> None:
    model = ScriptedModel([calls(("look_up", {"order": "7"})), reply("It is shipped.")])
    async with (
        lash.Runtime(location, agents=[support(model)]) as runtime,
        runtime.session("s", agent="support").stream("Where?", turn_id="t") as live,
    ):
        assert live.turn_id == "t"
        events = await heard(live)
        again = await heard(live)
        result = await live.result()

    assert [type(event) for event in events] == [
        ModelRequestStarted,
        UsageReported,
        ToolCallStarted,
        ToolCallCompleted,
        ModelRequestStarted,
        TextDelta,
        TextDelta,
        TextDelta,
        UsageReported,
    ]
    texts = [event for event in events if isinstance(event, TextDelta)]
    assert "".join(event.text for event in texts) == "It is shipped." == result.text
    assert len({event.correlation_id for event in texts}) == 1
    completed = next(event for event in events if isinstance(event, ToolCallCompleted))
    assert completed.call == result.tool_calls[0]
    assert again == []


async def test_text_of_a_failed_attempt_is_taken_back(location: str | Path) -> None:
    model = ScriptedModel([fail(after_text="It is lo", retry_after=0.0), reply("Shipped.")])
    policy = lash.RetryPolicy(base_delay_ms=0)
    agent = lash.Agent("support", model=model, retry=policy)
    async with (
        lash.Runtime(location, agents=[agent]) as runtime,
        runtime.session("s").stream("Where?") as live,
    ):
        events = await heard(live)
        result = await live.result()

    shown: dict[str, str] = {}
    for event in events:
        if isinstance(event, TextDelta):
            shown[event.correlation_id] = shown.get(event.correlation_id, "") + event.text
        elif isinstance(event, ModelAttemptReset):
            assert set(event.correlation_ids) <= shown.keys()
            for correlation_id in event.correlation_ids:
                del shown[correlation_id]
    assert list(shown.values()) == ["Shipped."]
    reset = next(i for i, event in enumerate(events) if isinstance(event, ModelAttemptReset))
    retried = events[reset + 1]
    assert isinstance(retried, RetryScheduled)
    assert (retried.attempt, retried.max_attempts) == (2, 4)
    (ledger,) = result.llm_calls
    assert [(item.outcome, item.position) for item in ledger.attempts] == [
        ("failed", "output_started"),
        ("completed", "terminal_observed"),
    ]


async def test_a_provider_failure_is_data_and_the_turn_commits(location: str | Path) -> None:
    model = ScriptedModel([fail("no such key", status=401)])
    async with lash.Runtime(location, agents=[support(model)]) as runtime:
        session = runtime.session("s", agent="support")
        result = await session.run("Where?")
        info = await session.info()

    assert not result.is_success
    assert result.text == ""
    assert [issue.code for issue in result.issues] == ["401"]
    with pytest.raises(lash.LashError, match="no such key") as raised:
        result.raise_for_outcome()
    assert raised.value.code == "401"
    assert info is not None
    assert info.turns == 1


async def test_a_tool_may_end_the_turn_with_a_value(location: str | Path) -> None:
    @lash.tool
    async def decide() -> lash.Finish:
        """Decide."""
        return lash.Finish(value={"refund": True})

    model = ScriptedModel([calls(("decide", {})), reply("never asked")])
    agent = lash.Agent("judge", model=model, tools=[decide])
    async with lash.Runtime(location, agents=[agent]) as runtime:
        session = runtime.session("s")
        result = await session.run("Decide.")
        nodes = await runtime.engine.store.load_path("s")
        await session.run("Decide again.")

    assert result.value == {"refund": True}
    assert result.is_success
    assert len(model.requests) == 2
    assert is_valid_transcript(messages_of(nodes))


async def test_a_limit_on_model_calls_stops_the_turn_with_a_valid_history(
    location: str | Path,
) -> None:
    model = ScriptedModel([calls(("look_up", {"order": str(n)})) for n in range(9)])
    agent = lash.Agent("support", model=model, tools=[look_up], max_turns=2)
    async with lash.Runtime(location, agents=[agent]) as runtime:
        result = await runtime.session("s").run("Where?")
        nodes = await runtime.engine.store.load_path("s")

    assert isinstance(result.outcome, lash.Stopped)
    assert len(model.requests) == 2
    assert len(result.tool_calls) == 2
    assert is_valid_transcript(messages_of(nodes))


async def test_leaving_a_stream_early_stops_the_turn_and_waits_for_its_commit(
    location: str | Path,
) -> None:
    model = ScriptedModel([calls(("wait", {})), reply("Never.")])

    @lash.tool
    async def wait() -> str:
        """Wait."""
        await asyncio.Event().wait()
        return "never"

    agent = lash.Agent("patient", model=model, tools=[wait])
    async with lash.Runtime(location, agents=[agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        async with session.stream("Wait.", turn_id="t") as live:
            async for event in live:
                if isinstance(event, ToolCallStarted):
                    break
        (turn,) = await session.turns()
        result = await live.result()
    assert result == turn
    assert isinstance(turn.outcome, lash.Stopped)
    assert turn.cancellation is not None
    assert (turn.cancellation.origin, turn.text) == ("stream", "")


@pytest.mark.parametrize("how", ["detached", "dropped"])
async def test_a_turn_goes_on_when_its_stream_is_detached_or_its_reader_is_cancelled(
    location: str | Path, how: str
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @lash.tool
    async def wait() -> str:
        """Wait."""
        begun.set()
        await go.wait()
        return "done"

    agent = lash.Agent(
        "patient", model=ScriptedModel([calls(("wait", {})), reply("Over.")]), tools=[wait]
    )
    async with lash.Runtime(location, agents=[agent]) as runtime, asyncio.timeout(20):
        session = runtime.session("s")

        async def read() -> None:
            async with session.stream("Wait.", turn_id="t") as live:
                async for event in live:
                    if how == "detached" and isinstance(event, ToolCallStarted):
                        live.detach()
                        return

        reading = asyncio.create_task(read())
        await begun.wait()
        if how == "dropped":
            reading.cancel()
        await asyncio.wait([reading])
        go.set()
        assert (await session.wait("t")).text == "Over."


async def test_a_reader_that_never_reads_does_not_hold_the_turn(location: str | Path) -> None:
    text = " ".join(str(number) for number in range(2_000))
    async with (
        lash.Runtime(location, agents=[support(ScriptedModel([reply(text)]))]) as runtime,
        runtime.session("s", agent="support").stream("Count.") as live,
    ):
        result = await live.result()
        events = await heard(live)

    assert result.text == text
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == text


async def test_any_number_of_readers_hear_a_turn(location: str | Path) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @lash.tool
    async def wait() -> str:
        """Wait."""
        begun.set()
        await go.wait()
        return "done"

    model = ScriptedModel([calls(("wait", {})), reply("Over.")])
    agent = lash.Agent("patient", model=model, tools=[wait])
    async with lash.Runtime(location, agents=[agent]) as runtime:
        session = runtime.session("s")
        async with session.stream("Wait.", turn_id="t") as first:
            await begun.wait()
            async with session.stream("Wait.", turn_id="t") as second:
                go.set()
                late, early = await heard(second), await heard(first)

    assert late == early[-len(late) :]
    assert any(isinstance(event, ToolCallCompleted) for event in late)


async def test_a_stream_of_a_committed_turn_ends_at_once_with_its_result(
    location: str | Path,
) -> None:
    async with lash.Runtime(location, agents=[support(ScriptedModel([reply("Hi.")]))]) as runtime:
        session = runtime.session("s", agent="support")
        first = await session.run("Hello?", turn_id="t")
        async with session.stream("Hello?", turn_id="t") as live:
            events = await heard(live)
            assert await live.result() == first

    assert events == []


async def test_a_known_result_can_be_read_after_the_runtime_closed(location: str | Path) -> None:
    async with (
        lash.Runtime(location, agents=[support(ScriptedModel([reply("Hi.")]))]) as runtime,
        runtime.session("s", agent="support").stream("Hello?") as live,
    ):
        await live.result()

    assert (await live.result()).text == "Hi."


async def test_a_stream_says_how_it_is_used(location: str | Path) -> None:
    async with lash.Runtime(location, agents=[support(ScriptedModel([reply("Hi.")]))]) as runtime:
        session = runtime.session("s", agent="support")
        live = session.stream("Hello?")
        with pytest.raises(lash.LashError, match="async with") as raised:
            await live.result()
        assert raised.value.code == "stream_not_entered"
        with pytest.raises(lash.LashError, match="async with"):
            await heard(live)
        async with live:
            await live.result()
        with pytest.raises(lash.LashError, match="entered once"):
            await live.__aenter__()
        assert len(await session.turns()) == 1


async def test_token_counts_that_make_no_sense_stop_the_turn_and_not_the_session(
    location: str | Path,
) -> None:
    model = ScriptedModel([reply("Hi.", usage=Usage(input_tokens=-1))])
    async with lash.Runtime(location, agents=[support(model)]) as runtime:
        result = await runtime.session("s", agent="support").run("Hello?")

    assert [issue.code for issue in result.issues] == ["token_usage_accounting"]
    assert isinstance(result.outcome, lash.Stopped)
