"""Tools that have another agent work for them, in a session of its own."""

import asyncio
from pathlib import Path

import pytest

import lash
from lash.events import ChildUsageReported
from lash.sessions.model import ChildSession
from lash.testing import ScriptedModel, calls, fail, reply
from lash.tools.model import Tool


@pytest.fixture(params=[":memory:", "agents.db"], ids=["ephemeral", "durable"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    place: str = request.param
    return place if place == ":memory:" else tmp_path / place


@lash.tool
async def research(topic: str, ctx: lash.ToolContext) -> str:
    """Have somebody find out."""
    first = await ctx.child("researcher", f"Find out about {topic}.")
    second = await ctx.child("researcher", "And where?")
    other = await ctx.child("researcher", "Who else?", name="other")
    return f"{first.text} {second.text} {other.text}"


def lead(tool: Tool | None = None) -> lash.Agent:
    used = tool or research
    model = ScriptedModel([calls((used.name, {"topic": "owls"})), reply("Over.")])
    return lash.Agent("lead", model=model, tools=[used])


def researcher(*answers: str) -> tuple[ScriptedModel, lash.Agent]:
    model = ScriptedModel([reply(answer) for answer in answers] or [reply("Found.")])
    return model, lash.Agent("researcher", model=model)


async def test_children_of_one_name_are_one_conversation_and_of_another_another(
    location: str | Path,
) -> None:
    model, child = researcher()
    async with lash.Runtime(location, agents=[lead(), child]) as runtime:
        turn = await runtime.session("s", agent="lead").run("Go.")
        (call,) = turn.tool_calls
        assert call.output.outcome.payload == "Found. Found. Found."
        children = [item for item in await runtime.sessions() if item.session_id != "s"]
        histories = sorted(
            [
                [m.text for m in await runtime.session(item.session_id).history()]
                for item in children
            ]
        )
    assert histories == [
        ["Find out about owls.", "Found.", "And where?", "Found."],
        ["Who else?", "Found."],
    ]
    for item in children:
        assert isinstance(item.relation, ChildSession)
        assert (item.relation.parent_session_id, item.relation.depth) == ("s", 1)
        assert item.relation.turn_id == turn.turn_id
    assert len(model.requests) == 3


async def test_what_children_use_is_booked_once_and_told_while_they_work(
    location: str | Path,
) -> None:
    _, child = researcher()
    async with lash.Runtime(location, agents=[lead(), child]) as runtime:
        session = runtime.session("s", agent="lead")
        async with session.stream("Go.") as live:
            heard = [event async for event in live]
            turn = await live.result()
        report = await session.usage()
        own = [await runtime.session(c.session_id).usage() for c in turn.children_usage]
    assert [each.usage.total_tokens for each in turn.children_usage] == [15, 15, 15]
    assert (turn.usage.total_tokens, turn.total_usage.total_tokens) == (30, 75)
    assert {name: used.total_tokens for name, used in report.by_source.items()} == {
        "turn": 30,
        "child": 45,
    }
    assert report.total_tokens == 75
    assert [each.total_tokens for each in own] == [30, 30, 15]
    told = [
        event.child.usage.total_tokens for event in heard if isinstance(event, ChildUsageReported)
    ]
    assert told == [15, 15, 15]


async def test_a_child_that_is_stopped_is_a_failure_the_model_is_told_of(
    location: str | Path,
) -> None:
    broken = lash.Agent("researcher", model=ScriptedModel([fail(status=400)]))
    async with lash.Runtime(location, agents=[lead(), broken]) as runtime:
        turn = await runtime.session("s", agent="lead").run("Go.")
    (call,) = turn.tool_calls
    assert turn.text == "Over."
    assert call.output.outcome.payload.code == "child_stopped"  # type: ignore[union-attr]  # a failure


async def test_an_unknown_agent_is_a_failure_the_model_is_told_of(location: str | Path) -> None:
    async with lash.Runtime(location, agents=[lead()]) as runtime:
        turn = await runtime.session("s", agent="lead").run("Go.")
    (call,) = turn.tool_calls
    assert call.output.outcome.payload.code == "agent_unknown"  # type: ignore[union-attr]  # a failure


async def test_stopping_the_parent_stops_the_child(location: str | Path) -> None:
    begun = asyncio.Event()

    @lash.tool
    async def hold(topic: str) -> str:
        """Never ends."""
        begun.set()
        await asyncio.Event().wait()
        return topic

    child = lash.Agent(
        "researcher",
        model=ScriptedModel([calls(("hold", {"topic": "x"})), reply("?")]),
        tools=[hold],
    )
    async with lash.Runtime(location, agents=[lead(), child]) as runtime, asyncio.timeout(20):
        session = runtime.session("s", agent="lead")
        running = asyncio.create_task(session.run("Go.", turn_id="t"))
        await begun.wait()
        receipt = await session.cancel("t", reason="enough")
        turn = await running
        await runtime.idle()
        (item,) = [each for each in await runtime.sessions() if each.session_id != "s"]
        (stopped,) = await runtime.session(item.session_id).turns()
    assert receipt.outcome == "requested"
    assert isinstance(turn.outcome, lash.Stopped)
    assert stopped.cancellation is not None
    assert (stopped.cancellation.origin, stopped.cancellation.reason) == ("parent", "enough")


async def test_a_chain_of_agents_that_hand_on_to_themselves_comes_to_an_end(
    location: str | Path,
) -> None:
    @lash.tool
    async def deeper(topic: str, ctx: lash.ToolContext) -> str:
        """Hand on."""
        return (await ctx.child("lead", topic)).text

    agent = lead(deeper)
    async with lash.Runtime(location, agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
        sessions = await runtime.sessions()
    assert turn.text == "Over."
    assert len(sessions) == 9


async def test_a_tool_that_would_wait_for_its_own_session_is_told_so(location: str | Path) -> None:
    runtimes: list[lash.Runtime] = []

    @lash.tool
    async def again(topic: str) -> str:
        """Waits for itself."""
        return (await runtimes[0].session("s").run(topic)).text

    async with lash.Runtime(location, agents=[lead(again)]) as runtime, asyncio.timeout(20):
        runtimes.append(runtime)
        turn = await runtime.session("s").run("Go.")
    (call,) = turn.tool_calls
    assert call.output.outcome.payload.code == "session_waits_for_itself"  # type: ignore[union-attr]  # a failure


async def test_the_answer_of_a_child_can_be_asked_for_in_a_form(location: str | Path) -> None:
    @lash.tool
    async def count(topic: str, ctx: lash.ToolContext) -> int:
        """Count."""
        answer = await ctx.child("researcher", topic, output=list[int])
        assert isinstance(answer.value, list)
        return sum(answer.value)

    _, child = researcher("[1, 2, 4]")
    async with lash.Runtime(location, agents=[lead(count), child]) as runtime:
        turn = await runtime.session("s", agent="lead").run("Go.")
    assert turn.tool_calls[0].output.outcome.payload == 7


async def test_a_turn_that_is_resumed_finds_its_child_where_it_is(tmp_path: Path) -> None:
    path, begun, counted = tmp_path / "agents.db", asyncio.Event(), list[str]()

    @lash.tool
    async def once(topic: str, ctx: lash.ToolContext) -> str:
        """Waits after its child."""
        answer = await ctx.child("researcher", "Find out.")
        counted.append(answer.turn_id)
        if len(counted) == 1:
            begun.set()
            await asyncio.Event().wait()
        return answer.text

    model, child = researcher("Found.")
    agents = [lead(once), child]
    async with lash.Runtime(path, agents=agents) as runtime:
        running = asyncio.create_task(runtime.session("s", agent="lead").run("Go.", turn_id="t"))
        await begun.wait()
    with pytest.raises(lash.LashError):
        await running
    async with lash.Runtime(path, agents=agents) as runtime, asyncio.timeout(20):
        turn = await runtime.session("s", agent="lead").wait("t")
    assert turn.text == "Over."
    assert counted[0] == counted[1]
    assert len(model.requests) == 1
    assert [each.usage.total_tokens for each in turn.children_usage] == [15]
