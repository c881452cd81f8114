"""Servers that die, come back, are given up and are stopped."""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mcp_harness import bench, failure, fair, kill, lives, noted, rude, until, value

from lash.contrib.mcp import Mcp, StdioServer
from lash.core.errors import LashError
from lash.tools.model import ToolContext, ToolRetry
from lash.turn.tools import NeverRetry, RetriesExhausted, SafeToRetry, ToolOutput

pytestmark = pytest.mark.slow

QUICK: dict[str, Any] = {"reconnect_first": 0.05, "reconnect_most": 0.05}


# --- death --------------------------------------------------------------------------------------------


async def test_a_server_killed_in_the_middle_of_a_call_fails_it_and_comes_back(
    tmp_path: Path,
) -> None:
    async with bench(fair(tmp_path, **QUICK)) as b:
        first = value(await b.call("mcp__fair__who"))
        session = b.session("s", ("mcp__fair__wait", {"name": "never"}))
        running = asyncio.create_task(session.run("Do it."))
        await until(lambda: "wait never" in noted(tmp_path), "the call arrives")
        kill(tmp_path)
        failed = failure((await running).tool_calls[0].output)
        assert failed.code == "mcp_connection_lost"
        assert "the server's process ended with signal 9" in failed.message
        assert failed.retry == SafeToRetry()
        await until(lambda: b.status("fair").connections == 2, "it is connected again")
        assert value(await b.call("mcp__fair__who")) != first


async def test_every_call_under_way_is_told_when_the_server_dies(tmp_path: Path) -> None:
    async with bench(fair(tmp_path, **QUICK)) as b:
        outputs = await b.call_all(
            ("mcp__fair__wait", {"name": "never"}),
            ("mcp__fair__die", {}),
            ("mcp__fair__meet", {}),
        )
        assert [failure(each).code for each in outputs] == ["mcp_connection_lost"] * 3


async def test_tools_stay_on_offer_while_the_server_is_away_and_calls_say_so(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    script = tmp_path / "server.py"
    script.write_text(Path(fair(folder).args[0]).read_text())
    server = StdioServer("fair", sys.executable, [str(script), str(folder), "stdio"], **QUICK)
    async with bench(server) as b:
        offered = b.tools()
        script.rename(tmp_path / "moved.py")  # it cannot be started again
        kill(folder)
        await until(lambda: b.status("fair").state == "away", "it is away")
        assert b.tools() == offered
        failed = failure(await b.call("mcp__fair__say", text="x"))
        assert failed.code == "mcp_server_unavailable"
        assert "The call was not sent" in failed.message
        assert failed.retry == SafeToRetry(after_ms=50)
        assert LashError(failed.code, "").retryable
        (tmp_path / "moved.py").rename(script)
        await until(lambda: b.status("fair").state == "connected", "it is back")
        assert value(await b.call("mcp__fair__say", text="x")) == "x"


async def test_with_a_retry_policy_a_call_is_made_again_until_the_server_is_back(
    tmp_path: Path,
) -> None:
    retry = ToolRetry(max_attempts=20, base_delay_ms=50, max_delay_ms=200)
    async with bench(rude(tmp_path, "silent-calls", retry=retry, **QUICK)) as b:
        session = b.session("s", ("mcp__rude__say", {"text": "x"}))
        running = asyncio.create_task(session.run("Do it."))
        await until(lambda: len(noted(tmp_path)) == 2, "the call arrives")
        kill(tmp_path)
        await until(lambda: noted(tmp_path).count("started") == 2, "the server is back")
        await until(lambda: len(noted(tmp_path)) == 4, "the call arrives again")
        await session.cancel()
        await running


async def test_a_call_that_was_repeated_in_vain_says_so(tmp_path: Path) -> None:
    retry = ToolRetry(max_attempts=2, base_delay_ms=1)
    async with bench(fair(tmp_path, retry=retry, reconnect_first=20)) as b:
        kill(tmp_path)
        await until(lambda: b.status("fair").state == "away", "it is away")
        # What the failure asks for is capped by the policy only where it has a cap.
        policy = ToolRetry(max_attempts=2, base_delay_ms=1, max_delay_ms=5)
        object.__setattr__(b.mcp.providers()[0]._server, "retry", policy)  # type: ignore[attr-defined]
        failed = failure(await b.call("mcp__fair__say", text="x"))
        assert failed.retry == RetriesExhausted(attempts=2)


async def test_calls_of_a_server_given_up_and_of_a_closed_runtime_say_which(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    script = tmp_path / "server.py"
    script.write_text(Path(rude(folder, "polite").args[0]).read_text())
    server = StdioServer(
        "rude", sys.executable, [str(script), str(folder), "polite"], reconnect_attempts=1, **QUICK
    )
    async with bench(server) as b:
        tool = b.mcp.providers()[0].tools()[0]
        script.unlink()
        kill(folder)
        await until(lambda: b.status("rude").state == "exhausted", "it is given up")
        failed = failure(await b.call("mcp__rude__say", text="x"))
        assert (failed.code, failed.retry) == ("mcp_reconnect_exhausted", NeverRetry())
    context = ToolContext("s", "t", "c", tool.name, 1, 1, "key")
    stopped = await tool.run({"text": "x"}, context)
    assert isinstance(stopped, ToolOutput)
    assert failure(stopped).code == "mcp_pool_shut_down"


# --- the end --------------------------------------------------------------------------------------------


async def test_stopping_ends_the_servers_processes_and_their_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    real = fair(tmp_path / "f")
    script = f'sleep 1000 & echo $! > {child}; exec {sys.executable} "$@"'
    async with bench(StdioServer("fair", "sh", ["-c", script, "sh", *real.args])) as b:
        assert b.status("fair").state == "connected"
        pids = [int(child.read_text()), int((tmp_path / "f" / "pid").read_text())]
        assert all(lives(pid) for pid in pids)
    await until(lambda: not any(lives(pid) for pid in pids), "they are gone")


async def test_stopping_servers_that_do_not_want_to_end_takes_less_than_five_seconds(
    tmp_path: Path,
) -> None:
    servers = [rude(tmp_path / str(n), "stubborn", name=f"s{n}") for n in range(3)]
    async with bench(*servers) as b:
        assert {each.state for each in b.mcp.status()} == {"connected"}
        pids = [int((tmp_path / str(n) / "pid").read_text()) for n in range(3)]
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert not any(lives(pid) for pid in pids)
    assert all("stdin closed" in noted(tmp_path / str(n)) for n in range(3))


async def test_a_runtime_that_is_given_up_while_it_opens_leaves_no_server_behind(
    tmp_path: Path,
) -> None:
    async def give_up() -> None:
        async with asyncio.timeout(1), bench(rude(tmp_path, "mute", startup_timeout=60)):
            pass

    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        await give_up()
    assert time.monotonic() - begun < 1 + 2
    assert not lives(int((tmp_path / "pid").read_text()))


async def test_secrets_that_a_server_repeats_are_concealed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "lash")
    server = rude(tmp_path, "tells", env={"API_KEY": "hunter2-hunter2"})
    async with bench(server) as b:
        failed = failure(await b.call("mcp__rude__say", text="x"))
        assert failed.message.endswith("(JSON-RPC -32000): … is no good key")
        await until(lambda: "on stderr" in caplog.text, "it is logged")
        assert "hunter2" not in f"{caplog.text} {b.mcp.status()} {failed}"


async def test_a_runtime_can_be_opened_again_with_the_same_plugin(tmp_path: Path) -> None:
    import lash
    from lash.testing import ScriptedModel, calls, reply

    mcp = Mcp([fair(tmp_path)])
    for number in range(2):
        model = ScriptedModel([calls(("mcp__fair__say", {"text": "x"})), reply("Done.")])
        agent = lash.Agent("a", model=model)
        async with lash.Runtime(":memory:", agents=[agent], plugins=[mcp]) as runtime:
            result = await runtime.session(f"s{number}").run("Do it.")
            assert value(result.tool_calls[0].output) == "x"
    assert mcp.status()[0].tools != ()  # they stay known


async def test_the_environment_of_the_host_is_not_the_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2")
    program = f"env > {tmp_path}/env; exit 1"
    async with bench(StdioServer("env", "sh", ["-c", program], env={"GIVEN": "yes"})):
        environment = (tmp_path / "env").read_text()
    assert "hunter2" not in environment
    assert "GIVEN=yes" in environment
    assert f"PATH={os.environ['PATH']}" in environment
