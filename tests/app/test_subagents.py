"""Sub-agents: a model hands work to another agent, which runs as a process and is found again."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from process_harness_of_sessions import answer, runtime
from session_harness import Gate, begin, code_of, location, path

import lash
from lash.events import ChildUsageReported
from lash.llm.request import LlmRequest
from lash.sessions.model import ChildSession
from lash.testing import ScriptedModel, calls, fail, reply
from lash.testing.scripted import Step, calls_made

__all__ = ["location", "path"]


def lead(*tasks: dict[str, Any], **named: Any) -> lash.Agent:
    """An agent whose turn spawns an agent for each task, all in one message."""
    asked = tasks or ({"task": "Find owls.", "agent": "researcher"},)
    model = ScriptedModel([calls(*(("spawn_agent", each) for each in asked)), reply("Over.")])
    return lash.Agent("lead", model=model, tools=lash.subagents(["researcher"], **named))


def researcher(script: Sequence[Step], **named: Any) -> tuple[ScriptedModel, lash.Agent]:
    model = ScriptedModel(script)
    return model, lash.Agent("researcher", model=model, **named)


async def test_a_sub_agent_answers_as_a_process_in_a_session_of_its_own(
    location: str | Path,
) -> None:
    model, child = researcher([reply("Seven.")])
    async with asyncio.timeout(90), runtime(location, lead(), child) as lashed:
        turn = await lashed.session("s", agent="lead").run("Go.")
        assert answer(turn) == "Seven."
        (record,) = await lashed.processes.list(status="any")
        assert record.process_id.startswith("process:subagent:")
        assert (record.registration.identity.kind, record.status) == ("session_turn", "completed")
        assert await lashed.engine.store.observers_of(record.process_id) == ["s"]
        (item,) = [each for each in await lashed.sessions() if each.session_id != "s"]
        assert item.relation == ChildSession(
            parent_session_id="s",
            turn_id=turn.turn_id,
            call_id=turn.tool_calls[0].call_id,
            depth=1,
        )
        history = await lashed.session(item.session_id).history()
        assert [message.text for message in history] == ["Find owls.", "Seven."]
    assert len(model.requests) == 1


async def test_sub_agents_of_one_message_work_side_by_side(location: str | Path) -> None:
    both = [Gate(), Gate()]

    @lash.tool
    async def meet(number: int) -> str:
        """Wait for the other."""
        both[number].open()
        await both[1 - number].passed()
        return "met"

    def script(request: LlmRequest) -> Step:
        if calls_made(request):
            return reply("Met.")
        said = str(request.messages[-1].blocks[0])
        return calls(("meet", {"number": 0 if "first" in said else 1}))

    child = lash.Agent("researcher", model=ScriptedModel(script), tools=[meet])
    asking = lead(
        {"task": "Be the first.", "agent": "researcher"},
        {"task": "Be the other.", "agent": "researcher"},
    )
    async with asyncio.timeout(90), runtime(location, asking, child) as lashed:
        turn = await lashed.session("s", agent="lead").run("Go.")
    assert [answer(turn, 0), answer(turn, 1)] == ["Met.", "Met."]


async def test_the_answer_may_be_asked_for_in_a_form(location: str | Path) -> None:
    _, child = researcher([reply('{"count": 7}')])
    form = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    asking = lead({"task": "Count.", "agent": "researcher", "output": form})
    async with asyncio.timeout(90), runtime(location, asking, child) as lashed:
        turn = await lashed.session("s", agent="lead").run("Go.")
    assert answer(turn) == {"count": 7}


async def test_what_a_sub_agent_uses_is_booked_with_its_parent_once(location: str | Path) -> None:
    _, child = researcher([reply("Seven.")])
    async with asyncio.timeout(90), runtime(location, lead(), child) as lashed:
        session = lashed.session("s", agent="lead")
        async with session.stream("Go.") as live:
            heard = [event async for event in live]
            turn = await live.result()
        report = await session.usage()
    (booked,) = turn.children_usage
    assert (booked.model, booked.usage.total_tokens) == ("scripted:script", 15)
    assert (turn.usage.total_tokens, turn.total_usage.total_tokens) == (30, 45)
    assert {name: used.total_tokens for name, used in report.by_source.items()} == {
        "turn": 30,
        "child": 15,
    }
    told = [event.child for event in heard if isinstance(event, ChildUsageReported)]
    assert told == [booked]


async def test_what_a_sub_agent_used_that_failed_is_booked_as_well(location: str | Path) -> None:
    @lash.tool
    async def look() -> str:
        """Look."""
        return "nothing"

    _, child = researcher([calls(("look", {})), fail(status=400)], tools=[look])
    async with asyncio.timeout(90), runtime(location, lead(), child) as lashed:
        turn = await lashed.session("s", agent="lead").run("Go.")
    assert answer(turn) == "process_session_turn_failed"
    assert turn.text == "Over."
    assert [each.usage.total_tokens for each in turn.children_usage] == [15]


async def test_agents_that_spawn_themselves_come_to_an_end_and_are_told_why(
    location: str | Path,
) -> None:
    def script(request: LlmRequest) -> Step:
        if calls_made(request) == 0:
            return calls(("spawn_agent", {"task": "Go on.", "agent": "researcher"}))
        return reply(str(request.messages[-1].blocks[0]))

    model = ScriptedModel(script)
    agent = lash.Agent("researcher", model=model, tools=lash.subagents(["researcher"], max_depth=2))
    async with asyncio.timeout(90), runtime(location, agent) as lashed:
        await lashed.session("s").run("Go.")
        sessions = await lashed.sessions()
        assert len(sessions) == 3
        (deepest,) = [
            each
            for each in sessions
            if isinstance(each.relation, ChildSession) and each.relation.depth == 2
        ]
        (turn,) = await lashed.session(deepest.session_id).turns()
        assert answer(turn) == "child_session_too_deep"
        assert "2 is the limit" in turn.tool_calls[0].output.outcome.payload.message  # type: ignore[union-attr]  # a failure
        assert len(await lashed.processes.list(status="any")) == 2


async def test_five_sessions_deep_is_the_limit_unless_another_is_given(
    location: str | Path,
) -> None:
    model = ScriptedModel(
        [calls(("spawn_agent", {"task": "Go on.", "agent": "researcher"})), reply("Over.")]
    )
    agent = lash.Agent("researcher", model=model, tools=lash.subagents(["researcher"]))
    async with asyncio.timeout(90), runtime(location, agent) as lashed:
        await lashed.session("s").run("Go.")
        assert len(await lashed.sessions()) == 6


async def test_stopping_the_parent_stops_the_sub_agent(location: str | Path) -> None:
    gate = Gate()

    @lash.tool
    async def hold() -> str:
        """Never ends."""
        await gate.passed()
        return "?"

    _, child = researcher([calls(("hold", {})), reply("?")], tools=[hold])
    async with asyncio.timeout(90), runtime(location, lead(), child) as lashed:
        session = lashed.session("s", agent="lead")
        running = begin(session, "Go.", turn_id="t")
        await gate.reached.wait()
        await session.cancel("t", reason="enough")
        turn = await running
        await lashed.idle()
        (record,) = await lashed.processes.list(status="any")
        (item,) = [each for each in await lashed.sessions() if each.session_id != "s"]
        (stopped,) = await lashed.session(item.session_id).turns()
    assert isinstance(turn.outcome, lash.Stopped)
    assert isinstance(stopped.outcome, lash.Stopped)
    assert stopped.cancellation is not None
    assert stopped.cancellation.reason == "enough"
    assert record.status == "cancelled"


async def test_a_parent_that_is_resumed_finds_its_sub_agent_at_work(path: Path) -> None:
    gate, ran = Gate(), list[int]()

    @lash.tool
    async def look() -> str:
        """Look for a while."""
        ran.append(1)
        await gate.passed()
        return "an owl"

    model, child = researcher([calls(("look", {})), reply("Seven.")], tools=[look])
    agents = [lead(), child]
    async with asyncio.timeout(90), runtime(path, *agents) as lashed:
        running = begin(lashed.session("s", agent="lead"), "Go.", turn_id="t")
        await gate.reached.wait()
    assert await code_of(running) == "runtime_closed"
    gate.open()
    async with asyncio.timeout(90), runtime(path, *agents) as lashed:
        session = lashed.session("s", agent="lead")
        turn = await session.wait("t")
        await lashed.idle()
        report = await session.usage()
        processes = await lashed.processes.list(status="any")
    assert answer(turn) == "Seven."
    assert len(model.requests) == 2  # its first model call was recorded, and is not paid again
    assert len(ran) == 2
    assert len(processes) == 1
    assert [each.usage.total_tokens for each in turn.children_usage] == [30]
    assert report.by_source["child"].total_tokens == 30


async def test_a_parent_that_is_resumed_finds_a_sub_agent_that_is_done_and_books_it_once(
    path: Path,
) -> None:
    gate = Gate()

    class Forgetful:
        """Closes between a sub-agent's end and the record of the call that waits for it."""

        def __call__(self, seam: str) -> None:
            if seam == "tool.after" and not gate.reached.is_set():
                gate.reached.set()
                raise asyncio.CancelledError

    model, child = researcher([reply("Seven.")])
    agents = [lead(), child]
    async with asyncio.timeout(90), runtime(path, *agents, seams=Forgetful()) as lashed:
        running = begin(lashed.session("s", agent="lead"), "Go.", turn_id="t")
        await gate.reached.wait()
        (record,) = await lashed.processes.list(status="any")
        assert record.status == "completed"
    await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(90), runtime(path, *agents) as lashed:
        session = lashed.session("s", agent="lead")
        turn = await session.wait("t")
        report = await session.usage()
        assert len(await lashed.processes.list(status="any")) == 1
    assert answer(turn) == "Seven."
    assert len(model.requests) == 1
    assert [each.usage.total_tokens for each in turn.children_usage] == [15]
    assert report.total_tokens == 45


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({"task": "Go.", "agent": "nobody"}, "invalid_tool_args"),
        ({"task": " ", "agent": "researcher"}, "task_blank"),
        ({"task": "Go.", "agent": "researcher"}, "agent_unknown"),
    ],
)
async def test_what_cannot_be_handed_on_is_a_failure_the_model_is_told_of(
    location: str | Path, args: dict[str, Any], code: str
) -> None:
    async with asyncio.timeout(90), runtime(location, lead(args)) as lashed:
        turn = await lashed.session("s").run("Go.")
        assert answer(turn) == code
        assert await lashed.processes.list(status="any") == []


@pytest.mark.parametrize("agents", [[], [""], ["a", "a"], "a", [7]])
def test_sub_agents_are_named_each_once(agents: Any) -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.subagents(agents)
    assert raised.value.code == "agent_invalid"


@pytest.mark.parametrize("limit", [0, -1, True, "5"])
def test_the_limit_is_a_number_above_zero(limit: Any) -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.subagents(["a"], max_depth=limit)
    assert raised.value.code == "agent_invalid"


def test_agents_may_be_given_themselves() -> None:
    _, child = researcher([reply("Seven.")])
    (tool,) = lash.subagents([child])
    schema: Any = tool.spec.input_schema
    assert schema["properties"]["agent"]["enum"] == ["researcher"]
