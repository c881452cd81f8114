"""Servers that lie, flood, freeze, die or say nothing: each has a clear outcome, and the runtime stays up."""

import asyncio
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp_harness import Bench, bench, failure, fair, kill, lives, noted, rude, until, value

from lash.contrib.mcp import HttpServer, Mcp, StdioServer
from lash.core.errors import LashError
from lash.testing import VirtualClock
from lash.tools.model import ToolContext, ToolRetry
from lash.turn.tools import NeverRetry, RetriesExhausted, SafeToRetry, ToolOutput

QUICK: dict[str, Any] = {"reconnect_first": 0.05, "reconnect_most": 0.05}


# --- away at the start --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manner", "settings", "reason"),
    [
        ("exits", {}, "the server's process ended with exit code 3"),
        ("mute", {"startup_timeout": 0.5}, "the server did not answer the handshake within 0.5 s"),
        (
            "old",
            {},
            "the handshake failed: Unsupported protocol version from the server: 1999-01-01",
        ),
        (
            "no-list",
            {},
            "the server could not name its tools: its answer does not fit the protocol",
        ),
    ],
)
async def test_a_server_that_does_not_come_up_is_away_with_the_reason(
    tmp_path: Path, manner: str, settings: dict[str, Any], reason: str
) -> None:
    async with bench(rude(tmp_path / "r", manner, **settings), fair(tmp_path / "f")) as b:
        status = b.status("rude")
        assert (status.state, status.reason) == ("away", reason)
        assert value(await b.call("mcp__fair__say", text="here")) == "here"


async def test_programs_and_hosts_that_are_not_there_keep_no_runtime_from_opening(
    tmp_path: Path,
) -> None:
    async with bench(
        StdioServer("none", "/no/such/program"),
        HttpServer("closed", "http://127.0.0.1:9/mcp?key=hunter2"),
        fair(tmp_path),
    ) as b:
        assert b.status("none").reason == "it could not be started: No such file or directory"
        assert b.status("closed").reason == "it could not be connected to"
        assert value(await b.call("mcp__fair__say", text="here")) == "here"


async def test_a_server_that_does_not_answer_is_connected_to_once_it_does(tmp_path: Path) -> None:
    flag = tmp_path / "up"
    wait = f'while [ ! -e {flag} ]; do sleep 0.05; done; exec {sys.executable} "$@"'
    real = rude(tmp_path / "r", "polite")
    server = StdioServer("rude", "sh", ["-c", wait, "sh", *real.args], startup_timeout=2, **QUICK)
    async with bench(server) as b:
        assert b.status("rude").state == "away"
        assert b.tools() == set()
        flag.touch()
        await until(lambda: b.status("rude").state == "connected", "it is connected")
        assert value(await b.call("mcp__rude__say", text="late")) == "hello"


async def test_a_server_that_ends_when_asked_for_the_newest_protocol_is_connected_to_at_once(
    tmp_path: Path,
) -> None:
    async with bench(rude(tmp_path, "hates-discover")) as b:
        assert b.status("rude").state == "connected"
        assert value(await b.call("mcp__rude__say", text="x")) == "hello"


async def test_a_server_that_passes_over_what_it_does_not_know_is_connected_to_in_time(
    tmp_path: Path,
) -> None:
    async with bench(rude(tmp_path, "ignores-unknown", startup_timeout=2)) as b:
        assert b.status("rude").state == "connected"
        assert noted(tmp_path) == ["started"]


async def test_a_server_that_cannot_be_reached_as_often_as_allowed_is_given_up(
    tmp_path: Path,
) -> None:
    async with bench(rude(tmp_path, "exits", reconnect_attempts=2, **QUICK)) as b:
        await until(lambda: b.status("rude").state == "exhausted", "it is given up")
        started = len(noted(tmp_path))
    # Each try asks for the newest protocol first, and shakes hands after that came to nothing.
    assert started == 6


async def test_what_a_server_says_on_stderr_is_in_no_reason(tmp_path: Path) -> None:
    async with bench(rude(tmp_path, "exits")) as b:
        assert "secret-token-123" not in str(b.status("rude"))


# --- what it names ------------------------------------------------------------------------------------


async def test_tools_whose_schema_cannot_be_used_are_not_on_offer_and_others_are(
    tmp_path: Path,
) -> None:
    async with bench(rude(tmp_path, "bad-schema")) as b:
        status = b.status("rude")
        assert status.tools == ("mcp__rude__say",)
        assert status.refused == {
            "outside": "its schema cannot be used: it refers to 'https://a.example/s', which is not in it",
            "wrong": "its schema cannot be used: -1 is less than the minimum of 0",
            "say": "the server names it twice",
        }
        assert value(await b.call("mcp__rude__say", text="x")) == "hello"


@pytest.mark.parametrize("manner", ["flood", "endless-list"])
async def test_a_server_cannot_offer_tools_without_end(tmp_path: Path, manner: str) -> None:
    async with bench(rude(tmp_path, manner)) as b:
        assert b.status("rude").state == "connected"
        assert len(b.tools()) == {"flood": 512, "endless-list": 64}[manner]


async def test_names_stay_the_same_when_the_server_comes_back_with_another_order(
    tmp_path: Path,
) -> None:
    async with bench(rude(tmp_path, "shuffles", **QUICK)) as b:
        before = {tool.id: tool.name for tool in b.mcp.providers()[0].tools()}
        (tmp_path / "again").touch()
        kill(tmp_path)
        await until(lambda: b.status("rude").connections == 2, "it is connected again")
        tools = b.mcp.providers()[0].tools()
        assert [tool.id for tool in tools] == ["mcp:rude/a_b", "mcp:rude/a.b", "mcp:rude/a-b"]
        assert {tool.id: tool.name for tool in tools} == before
    assert before == {
        "mcp:rude/a-b": "mcp__rude__a_b",
        "mcp:rude/a.b": "mcp__rude__a_b_2",
        "mcp:rude/a_b": "mcp__rude__a_b_3",
    }


async def test_a_pattern_that_takes_for_ever_holds_nobody_up(tmp_path: Path) -> None:
    async with bench(rude(tmp_path, "slow-pattern")) as b:
        async with asyncio.timeout(10):
            assert value(await b.call("mcp__rude__say", text="a" * 40 + "!")) == "hello"


# --- what it answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("manner", "settings", "code", "said"),
    [
        ("lies", {}, "mcp_result_invalid", "`$.n`: 'seven' is not of type 'integer'.\nhello"),
        ("no-result", {}, "mcp_result_invalid", "something that is no result of MCP"),
        ("refuses", {}, "mcp_request_refused", "refused say (JSON-RPC -32602): no such thing"),
        (
            "huge",
            {"max_message_bytes": 1_000_000},
            "mcp_result_too_large",
            "more than the 1000000 that are read",
        ),
        (
            "huge-nameless",
            {"max_message_bytes": 1_000_000},
            "mcp_connection_lost",
            "a message of 3000000 bytes, more than the 1000000 that are read",
        ),
    ],
)
async def test_an_answer_that_cannot_be_used_is_a_failure_and_the_next_call_works(
    tmp_path: Path, manner: str, settings: dict[str, Any], code: str, said: str
) -> None:
    async with bench(rude(tmp_path / "r", manner, **settings), fair(tmp_path / "f")) as b:
        failed = failure(await b.call("mcp__rude__say", text="x"))
        assert failed.code == code
        assert said in failed.message
        assert value(await b.call("mcp__fair__say", text="here")) == "here"
        await until(lambda: b.status("rude").state == "connected", "it is there (again)")


async def test_halves_of_characters_are_mended(tmp_path: Path) -> None:
    async with bench(rude(tmp_path, "surrogates")) as b:
        assert value(await b.call("mcp__rude__say", text="x")) == "a\ufffd"


async def test_output_without_end_is_not_held(tmp_path: Path) -> None:
    server = rude(tmp_path, "endless", max_message_bytes=100_000, call_timeout=1)
    async with bench(server, fair(tmp_path / "f")) as b:
        failed = failure(await b.call("mcp__rude__say", text="x"))
        assert failed.code == "mcp_call_timeout"
        assert value(await b.call("mcp__fair__say", text="here")) == "here"


async def test_garbage_between_messages_is_passed_over(tmp_path: Path) -> None:
    async with bench(rude(tmp_path, "chatty")) as b:
        assert value(await b.call("mcp__rude__say", text="x")) == "hello"


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


# --- time ---------------------------------------------------------------------------------------------


def _has(folder: Path, line: str) -> bool:
    return line in noted(folder)


def _has_failed(b: Bench, times: int) -> bool:
    return b.status("rude").failures == times


async def _settle() -> None:
    """Let everything that can go on go on; what is read from pipes takes real time."""
    for _ in range(20):
        await asyncio.sleep(0.005)


async def test_a_call_without_a_sign_of_life_times_out(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with bench(fair(tmp_path, call_timeout=60), clock=clock) as b:
        session = b.session("s", ("mcp__fair__wait", {"name": "never"}))
        running = asyncio.create_task(session.run("Do it."))
        await until(lambda: "wait never" in noted(tmp_path), "the call arrives")
        clock.advance(59.9)
        await _settle()
        assert not running.done()
        clock.advance(0.2)
        failed = failure((await running).tool_calls[0].output)
        assert (failed.code, failed.failure_class) == ("mcp_call_timeout", "timeout")
        assert "gave no sign of life for 60 s" in failed.message
        await until(lambda: "cancelled never" in noted(tmp_path), "the server is told")
        assert b.status("fair").state == "connected"  # it answered the probe


@pytest.mark.parametrize(
    ("extends", "code"), [(True, "mcp_call_deadline_exceeded"), (False, "mcp_call_timeout")]
)
async def test_progress_is_a_sign_of_life_up_to_the_limit_in_all(
    tmp_path: Path, *, extends: bool, code: str
) -> None:
    clock = VirtualClock()
    server = fair(tmp_path, call_timeout=60, call_max_total_timeout=150, progress_extends=extends)
    async with bench(server, clock=clock) as b:
        session = b.session("s", ("mcp__fair__wait", {"name": "go"}))
        running = asyncio.create_task(session.run("Do it."))
        await until(lambda: "wait go" in noted(tmp_path), "the call arrives")
        for number in range(3 if extends else 2):  # 50, 100 and 150 seconds
            with (tmp_path / "go").open("a") as file:
                file.write(f"p{number}\n")
            told = partial(_has, tmp_path, f"progress p{number}")
            await until(told, "it is told")
            await _settle()
            assert not running.done()
            clock.advance(50)
            await _settle()
        failed = failure((await running).tool_calls[0].output)
        assert failed.code == code


async def test_a_server_that_does_not_answer_to_a_ping_is_given_up_and_started_again(
    tmp_path: Path,
) -> None:
    server = rude(tmp_path, "freezes", call_timeout=0.3, probe_timeout=0.3, **QUICK)
    async with bench(server) as b:
        assert failure(await b.call("mcp__rude__say", text="x")).code == "mcp_call_timeout"
        await until(lambda: noted(tmp_path).count("started") == 2, "it is started again")
        await until(lambda: b.status("rude").connections == 2, "it is connected again")


async def test_a_frozen_server_is_found_by_regular_questions_alone(tmp_path: Path) -> None:
    server = fair(tmp_path, probe_interval=0.1, probe_timeout=0.3, **QUICK)
    async with bench(server) as b:
        pid = kill(tmp_path, signal.SIGSTOP)
        await until(lambda: b.status("fair").connections == 2, "it is connected again")
        await until(lambda: not lives(pid), "the frozen one is gone")


async def test_a_server_is_given_up_after_so_many_timeouts_in_a_row(tmp_path: Path) -> None:
    server = rude(
        tmp_path,
        "silent-calls",
        call_timeout=0.1,
        on_timeout="consecutive_timeouts",
        timeouts_before_disconnect=2,
        **QUICK,
    )
    async with bench(server) as b:
        await b.call("mcp__rude__say", text="x")
        await asyncio.sleep(0)
        assert b.status("rude").connections == 1
        await b.call("mcp__rude__say", text="x")
        await until(lambda: b.status("rude").connections == 2, "it is connected again")


async def test_reconnecting_waits_longer_each_time_by_the_runtimes_clock(tmp_path: Path) -> None:
    clock = VirtualClock()
    server = rude(tmp_path, "exits", protocol="handshake")
    async with bench(server, clock=clock) as b:
        for tries, wait in ((1, 0.5), (2, 1.0), (3, 2.0)):
            failed = partial(_has_failed, b, tries)
            await until(failed, "it is tried in vain")
            assert noted(tmp_path) == ["started"] * tries
            await _settle()
            clock.advance(wait - 0.01)
            await _settle()
            assert noted(tmp_path) == ["started"] * tries
            clock.advance(0.02)


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
    assert time.monotonic() - begun < 1 + 5
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
