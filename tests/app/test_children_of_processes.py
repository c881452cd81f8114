"""Processes that start processes, and who may run while others wait."""

import asyncio
from pathlib import Path

import pytest
from processes_harness import Functions, Ledger, opened, rested

import lash
from lash.testing import ScriptedModel, reply


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p.db"


@lash.process
async def nested(ctx: lash.ProcessContext, depth: int) -> int:
    if depth == 0:
        return 1
    child = await ctx.start(nested, depth - 1)
    return 1 + await child.result()


async def test_parent_child_and_grandchild_run_with_one_permit(path: Path) -> None:
    async with opened(path, [nested], process_concurrency=1) as runtime:
        handle = await runtime.processes.start(nested, 4, id="n")
        assert await handle.result(timeout=20) == 5
        ids = [record.process_id for record in await runtime.processes.list(status="any")]
    assert ids == ["n", "n/nested:1", "n/nested:1/nested:1"] + [
        "n" + "/nested:1" * depth for depth in (3, 4)
    ]


async def test_two_hundred_parents_await_their_children_with_eight_permits(path: Path) -> None:
    async with opened(path, [nested], process_concurrency=8) as runtime:
        handles = [await runtime.processes.start(nested, 1) for _ in range(200)]
        results = await asyncio.gather(*(handle.result(timeout=60) for handle in handles))
        assert results == [2] * 200


async def test_no_more_run_at_once_than_there_are_permits(path: Path) -> None:
    at_once: list[int] = []
    inside = 0

    async def work() -> None:
        nonlocal inside
        inside += 1
        at_once.append(inside)
        await asyncio.sleep(0.002)
        inside -= 1

    @lash.process
    async def worker(ctx: lash.ProcessContext) -> None:
        await ctx.step(work)
        await ctx.sleep(0.001)
        await ctx.step(work)

    async with opened(path, [worker], process_concurrency=3) as runtime:
        handles = [await runtime.processes.start(worker) for _ in range(20)]
        await asyncio.gather(*(handle.result(timeout=20) for handle in handles))
    assert len(at_once) == 40
    assert max(at_once) == 3


async def test_a_child_is_started_once_and_found_finished_or_not(path: Path) -> None:
    ledger = Ledger()

    @lash.process
    async def child(ctx: lash.ProcessContext, name: str) -> str:
        said = await ctx.step(ledger.do, name)
        await ctx.signal("end")
        return said

    @lash.process
    async def parent(ctx: lash.ProcessContext) -> list[str]:
        one = await ctx.start(child, "one")
        two = await ctx.start(child, "two", id="named")
        await one.signal("end")
        first = await one.result()
        await ctx.signal("go")
        return [first, await two.result()]

    functions: Functions = [child, parent]
    async with opened(path, functions) as runtime:
        await runtime.processes.start(parent, id="p")
        await rested(runtime)
    async with opened(path, functions) as runtime:
        await rested(runtime)
        await runtime.processes.signal("p", "go")
        await runtime.processes.signal("named", "end")
        assert await runtime.processes.handle("p").result(timeout=5) == ["did one", "did two"]
        children = await runtime.processes.list(status="any", parent="p")
        assert [record.process_id for record in children] == ["named", "p/child:1"]
        log = await runtime.processes.events("p/child:1")
    assert ledger.ran == {"one": 1, "two": 1}
    assert [event.event_type for event in log].count("signal.end") == 1


async def test_what_a_child_failed_with_is_its_parents_to_handle(path: Path) -> None:
    @lash.process
    async def breaks(ctx: lash.ProcessContext, how: str) -> None:
        if how == "raises":
            message = "broken"
            raise KeyError(message)
        await ctx.step(int, "no number", name="read")

    @lash.process
    async def parent(ctx: lash.ProcessContext, how: str) -> str:
        child = await ctx.start(breaks, how)
        try:
            await child.result()
        except lash.ProcessError as error:
            return f"{error.code}: {error.message}"
        return "?"

    @lash.process
    async def careless(ctx: lash.ProcessContext) -> None:
        await (await ctx.start(breaks, "raises")).result()

    async with opened(path, [breaks, parent, careless]) as runtime:
        raised = await runtime.processes.start(parent, "raises")
        assert await raised.result(timeout=5) == "process_failed: KeyError: 'broken'"
        step = await runtime.processes.start(parent, "step")
        assert (await step.result(timeout=5)).startswith("durable_step_failed: Step 'read' failed")
        with pytest.raises(lash.ProcessError) as through:
            await (await runtime.processes.start(careless)).result(timeout=5)
        assert through.value.code == "process_failed"


async def test_children_live_on_and_are_accountable_to_whom_their_parent_is(path: Path) -> None:
    @lash.process
    async def lives(ctx: lash.ProcessContext) -> str:
        await ctx.signal("end")
        return "lived"

    @lash.process
    async def leaves(ctx: lash.ProcessContext) -> None:
        await ctx.start(lives, id="left")

    async with opened(path, [lives, leaves]) as runtime:
        await (await runtime.processes.start(leaves, session="s")).result(timeout=5)
        await rested(runtime)
        left = await runtime.processes.get("left")
        assert left.outcome is None
        assert left.registration.provenance.originator.__struct_config__.tag == "session"
        assert left.registration.wake_session_id == "s"
        await runtime.processes.signal("left", "end")
        assert await runtime.processes.handle("left").result(timeout=5) == "lived"


async def test_an_agent_is_asked_once_and_its_answer_is_kept(path: Path) -> None:
    model = ScriptedModel([reply("Forty-two.")])
    agent = lash.Agent("oracle", model=model)

    @lash.process
    async def asks(ctx: lash.ProcessContext) -> str:
        answer = await ctx.run_turn("oracle", "How much?")
        short = await ctx.direct("And in short?", model=model)
        await ctx.signal("go")
        return f"{answer.text} {answer.value} {short.value}"

    async with opened(path, [asks], agents=[agent]) as runtime:
        await runtime.processes.start(asks, id="a")
        await rested(runtime)
    async with opened(path, [asks], agents=[agent]) as runtime:
        await rested(runtime)
        await runtime.processes.signal("a", "go")
        said = await runtime.processes.handle("a").result(timeout=5)
        (turn,) = await runtime.processes.list(status="any", kind="session_turn")
        assert turn.registration.provenance.parent_id == "a"
        sessions = [session.session_id for session in await runtime.sessions()]
    assert said == "Forty-two. Forty-two. Forty-two."
    assert len(model.requests) == 2
    assert sessions == [f"{turn.process_id}:session"]


async def test_turns_and_tools_run_as_processes_of_the_host(path: Path) -> None:
    @lash.tool
    async def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    @lash.tool
    async def refuses() -> str:
        """Refuse."""
        message = "not today"
        raise lash.ToolError(message, code="closed")

    agent = lash.Agent("worker", model=ScriptedModel([reply("Done.")]), tools=[add, refuses])
    async with opened(path, [], agents=[agent]) as runtime:
        turn = await runtime.processes.start_turn("worker", "Work.", id="t")
        assert (await turn.result(timeout=5))["turn"]["text"] == "Done."
        tool = await runtime.processes.start_tool("worker", "add", {"a": 1, "b": 2}, id="tool")
        assert await tool.result(timeout=5) == 3
        failing = await runtime.processes.start_tool("worker", "refuses", {})
        with pytest.raises(lash.ProcessError, match="not today") as failed:
            await failing.result(timeout=5)
        assert failed.value.code == "closed"
        for name, args, code in (
            ("missing", {}, "process_tool_missing"),
            ("add", {"a": 1}, "invalid_tool_args"),
        ):
            with pytest.raises(lash.LashError) as refused:
                await runtime.processes.start_tool("worker", name, args)
            assert refused.value.code == code
