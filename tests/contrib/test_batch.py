"""`batch`: several calls in one, each with its own end, and none run again after a crash."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.contrib.batch import Batch
from lash.testing import ScriptedModel, calls, reply


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else tmp_path / "a.db"


async def results(location: str | Path, made: list[Any], *tools: Any) -> list[Any]:
    script = [calls(("batch", {"tool_calls": made})), reply("Done.")]
    agent = lash.Agent("a", model=ScriptedModel(script), tools=[*Batch().tools(), *tools])
    async with asyncio.timeout(30), lash.Runtime(location, agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
    payload: Any = turn.tool_calls[0].output.outcome.payload
    told = payload["results"]
    assert [each["index"] for each in told] == list(range(len(made)))
    return [each.get("result", each.get("error", {}).get("code")) for each in told]


async def test_each_call_has_its_own_end_in_the_order_of_the_batch(location: str | Path) -> None:
    @lash.tool
    async def double(number: int) -> int:
        """Twice a number."""
        return 2 * number

    @lash.tool
    async def fails() -> None:
        """Fails."""
        raise lash.ToolError("no", code="my_code")

    made = [
        {"tool": "double", "parameters": {"number": 1}},
        {"tool": "fails"},
        {"tool": "double", "parameters": {"number": 3}},
        {"tool": "missing"},
        {"tool": "double", "parameters": {"number": "x"}},
        {"tool": "batch", "parameters": {"tool_calls": []}},
    ]
    assert await results(location, made, double, fails) == [
        2,
        "my_code",
        6,
        "process_tool_missing",
        "invalid_tool_args",
        "invalid_tool_args",
    ]


async def test_calls_run_side_by_side(location: str | Path) -> None:
    both = [asyncio.Event(), asyncio.Event()]

    @lash.tool
    async def meet(number: int) -> str:
        """Wait for the other."""
        both[number].set()
        await both[1 - number].wait()
        return "met"

    made = [{"tool": "meet", "parameters": {"number": number}} for number in (0, 1)]
    assert await results(location, made, meet) == ["met", "met"]


async def test_only_so_many_calls_are_made(location: str | Path) -> None:
    made_calls: list[int] = []

    @lash.tool
    async def note(number: int) -> int:
        """Note a number."""
        made_calls.append(number)
        return number

    made = [{"tool": "note", "parameters": {"number": number}} for number in range(27)]
    told = await results(location, made, note)
    assert told == [*range(25), "invalid_tool_args", "invalid_tool_args"]
    assert sorted(made_calls) == list(range(25))


async def test_after_a_restart_calls_that_ended_are_not_made_again(tmp_path: Path) -> None:
    ran: list[str] = []
    waits = asyncio.Event()

    @lash.tool
    async def quick() -> str:
        """Ends at once."""
        ran.append("quick")
        return "quick"

    @lash.tool
    async def slow() -> str:
        """Does not end in the first runtime."""
        ran.append("slow")
        await waits.wait()
        return "slow"

    script = [calls(("batch", {"tool_calls": [{"tool": "quick"}, {"tool": "slow"}]})), reply("")]
    tools = [*Batch().tools(), quick, slow]

    def agent() -> lash.Agent:
        return lash.Agent("a", model=ScriptedModel(script), tools=tools)

    path = tmp_path / "a.db"
    async with asyncio.timeout(30), lash.Runtime(path, agents=[agent()]) as runtime:
        running = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        while True:
            done = await runtime.processes.list(status="completed")
            if done and "slow" in ran:
                break
            await asyncio.sleep(0.005)
    with pytest.raises((lash.LashError, asyncio.CancelledError)):
        await running
    waits.set()
    async with asyncio.timeout(30), lash.Runtime(path, agents=[agent()]) as runtime:
        turn = await runtime.session("s").run("Go.", turn_id="t")
    payload: Any = turn.tool_calls[0].output.outcome.payload
    assert [each["result"] for each in payload["results"]] == ["quick", "slow"]
    assert ran.count("quick") == 1
    assert ran.count("slow") == 2


async def test_a_model_reaches_no_internal_tool_through_a_batch() -> None:
    ran: list[str] = []

    @lash.tool(activation="internal")
    async def purge() -> str:
        """For processes alone."""
        ran.append("purge")
        return "purged"

    script = [calls(("batch", {"tool_calls": [{"tool": "purge"}]})), reply("")]
    agent = lash.Agent("a", model=ScriptedModel(script), tools=[*Batch().tools(), purge])
    async with asyncio.timeout(30), lash.Runtime(":memory:", agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
    payload: Any = turn.tool_calls[0].output.outcome.payload
    (told,) = payload["results"]
    assert told["error"]["code"] == "process_tool_missing"
    assert ran == []
