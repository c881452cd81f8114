"""Clients of `lash mcp` that leave, and servers that are killed: what was accepted is finished."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from lash_mcp_harness import (
    ERAS,
    Served,
    app,
    ask,
    client,
    refused,
    served,
    until_killed,
)
from mcp import Client
from mcp_harness import HERE, noted, until

import lash
from lash.cli.importing import Work
from lash.cli.mcp.desk import Desk
from lash.testing import ScriptedModel, calls, reply

pytestmark = pytest.mark.slow

__all__ = ["app", "served"]


@ERAS
async def test_a_client_that_leaves_stops_nothing(app: Path, served: Served, mode: str) -> None:
    wanted = {"agent": "support", "session": "s", "prompt": "Where?", "request_id": "r1"}
    async with Client(served.url, mode=mode) as leaving:
        running = asyncio.create_task(leaving.call_tool("run_agent", wanted))
        await until(lambda: noted(app) == ["look"], "the tool runs")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    (app / "look").touch()
    async with Client(served.url, mode=mode) as coming:
        assert (await ask(coming, "run_agent", **wanted))["text"] == "On its way."
    assert noted(app) == ["look"]


async def test_a_client_that_leaves_and_cannot_be_told_stops_nothing(tmp_path: Path) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    @lash.tool
    async def look() -> str:
        begun.set()
        await go.wait()
        return "found"

    async def gone(progress: float, words: str) -> None:
        if words == "Tool look runs.":
            await begun.wait()
            message = "nobody listens"
            raise ConnectionError(message)

    script = [calls(("look", {})), reply("Found.")]
    agent = lash.Agent("a", model=ScriptedModel(script), tools=[look])
    async with lash.Runtime(":memory:", agents=[agent]) as runtime:
        desk = Desk(runtime, Work(agents=[agent]))
        wanted = {"session": "s", "prompt": "Look.", "request_id": "r"}
        with pytest.raises(ConnectionError):
            await desk.run_agent(wanted, gone)
        go.set()
        assert (await runtime.session("s").wait("r", timeout=20)).text == "Found."


async def test_two_clients_at_once_share_the_work_and_its_results(
    app: Path, served: Served
) -> None:
    wanted = {"agent": "support", "session": "s", "prompt": "Where?", "request_id": "r1"}
    async with Client(served.url) as one, Client(served.url) as other:
        first = asyncio.create_task(ask(one, "run_agent", **wanted))
        await until(lambda: noted(app) == ["look"], "the tool runs")
        second = asyncio.create_task(ask(other, "run_agent", **wanted))
        # A third one is served meanwhile: nobody holds up anybody.
        greeted = {"agent": "greeter", "session": "g", "prompt": "Hi"}
        assert (await ask(other, "run_agent", **greeted))["text"] == "Hello."
        (app / "look").touch()
        assert await first == await second
        await ask(one, "start_process", name="double", args={"number": 5}, id="p")
        waiting = asyncio.create_task(ask(other, "process_result", id="p", timeout=20))
        await ask(one, "signal_process", id="p", name="approved")
        assert (await waiting)["result"] == 20
    assert sorted(noted(app)) == ["load 10", "load 5", "look"]


async def test_two_clients_with_a_server_each_share_one_database(app: Path) -> None:
    wanted = {"agent": "support", "session": "s", "prompt": "Where?", "request_id": "r1"}
    async with client(app, "stdio") as one, client(app, "stdio") as other:
        first = asyncio.create_task(ask(one, "run_agent", **wanted))
        await until(lambda: noted(app) == ["look"], "the tool runs")
        second = asyncio.create_task(ask(other, "run_agent", **wanted))
        busy = await refused(other, "run_agent", session="s", prompt="And?", request_id="r2")
        assert (busy["code"], busy["retryable"]) == ("session_execution_busy", True)
        await ask(one, "start_process", name="double", args={"number": 5}, id="p")
        (app / "look").touch()
        assert (await first)["text"] == (await second)["text"] == "On its way."
        await ask(other, "signal_process", id="p", name="approved")
        assert (await ask(other, "process_result", id="p", timeout=20))["result"] == 20
    assert sorted(noted(app)) == ["load 10", "load 5", "look"]


async def test_killed_in_the_middle_of_a_turn_it_is_started_again_and_the_client_finds_the_answer(
    app: Path,
) -> None:
    wanted = {"agent": "support", "session": "s", "prompt": "Where?", "request_id": "r1"}
    killed: list[Served] = []

    async def begin(leaving: Client, one: Served) -> None:
        running = asyncio.create_task(leaving.call_tool("run_agent", wanted))
        await until(lambda: noted(app) == ["look"], "the tool runs")
        one.kill()
        killed.append(one)
        await asyncio.gather(running, return_exceptions=True)

    await until_killed(app, begin)
    assert len(killed) == 1
    (app / "look").touch()
    async with client(app, "http") as coming:
        assert (await ask(coming, "run_agent", **wanted))["text"] == "On its way."
    # The tool's outcome was not recorded when it died, so it ran again; the first model call was.
    assert noted(app) == ["look", "look"]
    async with lash.Runtime(app / "lash.db") as runtime:
        turns = await runtime.session("s").turns()
        assert [turn.turn_id for turn in turns] == ["r1"]


async def test_killed_in_the_middle_of_a_process_it_is_started_again_and_the_client_finds_the_result(
    app: Path,
) -> None:
    waits: list[Any] = [None]

    async def begin(leaving: Client, killed: Served) -> None:
        await ask(leaving, "start_process", name="double", args={"number": 5}, id="p")
        await until(lambda: noted(app) == ["load 5"], "the step is done")
        while waits[-1] is None:
            waits.append((await ask(leaving, "process_status", id="p"))["waits_for"])
        killed.kill()

    await until_killed(app, begin)
    assert (waits[-1]["kind"], waits[-1]["name"]) == ("signal", "approved")
    async with client(app, "stdio") as coming:
        same = await ask(coming, "start_process", name="double", args={"number": 5}, id="p")
        assert same["status"] == "running"
        await ask(coming, "signal_process", id="p", name="approved", signal_id="click")
        assert (await ask(coming, "process_result", id="p", timeout=20))["result"] == 20
    assert noted(app) == ["load 5", "load 10"]


async def test_over_stdio_a_client_that_leaves_in_the_middle_leaves_the_turn_to_the_next(
    app: Path,
) -> None:
    wanted = {"agent": "support", "session": "s", "prompt": "Where?", "request_id": "r1"}
    async with client(app, "stdio") as leaving:
        running = asyncio.create_task(leaving.call_tool("run_agent", wanted))
        await until(lambda: noted(app) == ["look"], "the tool runs")
    await asyncio.gather(running, return_exceptions=True)
    (app / "look").touch()
    async with client(app, "stdio") as coming:
        sessions = (await ask(coming, "list_sessions"))["sessions"]
        assert [each["session"] for each in sessions] == ["s"]
        assert (await ask(coming, "run_agent", **wanted))["text"] == "On its way."


async def test_an_agent_that_is_served_uses_servers_itself(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(f"""
import sys
import lash
from lash.contrib.mcp import Mcp, StdioServer
from lash.testing import ScriptedModel, calls, reply

args = [{str(HERE / "fair_server.py")!r}, {str(tmp_path)!r}, "stdio"]
mcp = Mcp([StdioServer("fair", sys.executable, args)])
script = [calls(("mcp__fair__say", {{"text": "x"}})), reply("Said.")]
agent = lash.Agent("a", model=ScriptedModel(script), plugins=[mcp])
""")
    async with client(tmp_path, "stdio") as one:
        answered = await ask(one, "run_agent", session="s", prompt="Say it.")
    assert (answered["text"], answered["tools"]) == ("Said.", ["mcp__fair__say"])
    assert noted(tmp_path) == ["say x"]
