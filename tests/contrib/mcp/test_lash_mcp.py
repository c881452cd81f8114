"""`lash mcp`: the package's own client against a runtime's agents and processes, over both transports."""

import asyncio
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from lash_mcp_harness import (
    BOTH,
    ERAS,
    Served,
    app,
    ask,
    client,
    environment,
    listen,
    refused,
    served,
)
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_harness import noted, until

pytestmark = pytest.mark.slow

__all__ = ["app", "served"]


@BOTH
@ERAS
async def test_a_turn_is_run_with_progress_and_asked_again_is_the_same_turn(
    app: Path, transport: str, mode: str
) -> None:
    (app / "look").touch()
    told: list[str | None] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    wanted = {"agent": "support", "session": "s", "prompt": "Where?", "request_id": "r1"}
    async with client(app, transport, mode) as one:
        first = await one.call_tool("run_agent", wanted, progress_callback=hear)
        again = await one.call_tool("run_agent", wanted)
        assert first.content[0].text == "On its way."  # type: ignore[union-attr]  # it is text
        assert first.structured_content == again.structured_content
        assert first.structured_content["request_id"] == "r1"
        assert first.structured_content["tools"] == ["look"]
        history = await ask(one, "session_history", session="s")
        assert [message["role"] for message in history["messages"]] == [
            "user",
            "assistant",
            "user",
            "assistant",
        ]
        last = await ask(one, "session_history", session="s", last=1)
        assert [message["text"] for message in last["messages"]] == ["On its way."]
        sessions = (await ask(one, "list_sessions"))["sessions"]
        assert [(each["session"], each["agent"], each["turns"]) for each in sessions] == [
            ("s", "support", 1)
        ]
    await until(lambda: len(told) >= 4, "everything was told")
    assert told[:4] == [
        "The model is asked.",
        "Tool look runs.",
        "Tool look has answered.",
        "The model is asked.",
    ]
    assert noted(app) == ["look"]


@BOTH
async def test_a_process_is_started_signalled_and_waited_for(app: Path, transport: str) -> None:
    async with client(app, transport) as one:
        begun = await ask(one, "start_process", name="double", args={"number": 5}, id="p")
        assert (begun["id"], begun["status"]) == ("p", "running")
        same = await ask(one, "start_process", name="double", args={"number": 5}, id="p")
        assert same["id"] == "p"
        late = await refused(one, "process_result", id="p", timeout=0.1)
        assert (late["code"], late["retryable"]) == ("process_result_timeout", True)
        await ask(one, "signal_process", id="p", name="approved", signal_id="click")
        await ask(one, "signal_process", id="p", name="approved", signal_id="click")
        assert (await ask(one, "process_result", id="p", timeout=20))["result"] == 20
        assert (await ask(one, "process_status", id="p"))["status"] == "completed"
        stopped = await ask(one, "start_process", name="double", args={"number": 1}, id="q")
        assert stopped["cancel_requested"] is False
        assert (await ask(one, "cancel_process", id="q"))["cancel_requested"] is True
        ended = await refused(one, "process_result", id="q", timeout=20)
        assert ended["code"] == "process_cancelled"


@BOTH
async def test_what_goes_wrong_is_told_with_its_code(app: Path, transport: str) -> None:
    async with client(app, transport) as one:
        wrong: dict[str, tuple[str, dict[str, Any]]] = {
            "session_unknown": ("session_history", {"session": "none"}),
            "process_unknown": ("process_status", {"id": "none"}),
            "process_arguments_invalid": (
                "start_process",
                {"name": "double", "args": {"number": "x"}},
            ),
            "invalid_tool_args": ("start_process", {"name": "nobody"}),
        }
        for code, (tool, args) in wrong.items():
            assert (await refused(one, tool, **args))["code"] == code
        await ask(one, "start_process", name="double", args={"number": 1}, id="p")
        unnamed = await refused(one, "run_agent", session="new", prompt="Hi")
        assert unnamed["code"] == "agent_ambiguous"
        conflict = await refused(one, "start_process", name="double", args={"number": 2}, id="p")
        assert conflict["code"] == "process_conflict"
        await ask(one, "start_process", name="fail", id="f")
        failed = await refused(one, "process_result", id="f", timeout=20)
        assert "no luck" in failed["message"]
        greeted = {"agent": "greeter", "session": "g", "request_id": "r"}
        assert (await ask(one, "run_agent", prompt="Hi", **greeted))["text"] == "Hello."
        other = await refused(one, "run_agent", prompt="Ho", **greeted)
        assert other["code"] == "turn_input_conflict"


async def test_a_turn_that_came_to_nothing_is_an_error_with_its_ids(app: Path) -> None:
    async with client(app, "stdio") as one:
        wanted = {"agent": "support", "session": "s", "prompt": "Where?", "request_id": "r1"}
        running = asyncio.create_task(one.call_tool("run_agent", wanted))
        await until(lambda: noted(app) == ["look"], "the tool runs")
        await ask(one, "cancel_turn", session="s", request_id="r1", reason="enough")
        result = await running
    assert result.is_error
    error = result.structured_content["error"]
    assert error["code"] == "cancelled"
    assert (error["session"], error["request_id"]) == ("s", "r1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("arguments", [(), ("--http", "127.0.0.1:0")])
def test_a_signal_ends_it_with_everything_closed(
    app: Path, number: signal.Signals, arguments: tuple[str, ...]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lash", "mcp", "shop", *arguments],
        cwd=app,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if not arguments:
        call = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        process.stdin.write(json.dumps(call) + "\n")
        process.stdin.flush()
    assert process.stdout.readline()  # it is up
    process.send_signal(number)
    process.wait(20)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert not (app / "lash.db-wal").exists()  # the database was closed, not left


# --- who may -------------------------------------------------------------------------------------------


def test_with_a_token_only_those_who_show_it_are_served(app: Path) -> None:
    one = listen(app, env={"LASH_MCP_TOKEN": "hunter2"})
    try:
        for header in (None, "Bearer wrong", "hunter2"):
            request = urllib.request.Request(one.url, data=b"{}", method="POST")  # noqa: S310  our own
            if header is not None:
                request.add_header("authorization", header)
            with pytest.raises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(request)  # noqa: S310  our own
            assert raised.value.code == 401
            raised.value.close()
        request = urllib.request.Request(one.url, data=b"{}", method="POST")  # noqa: S310  our own
        request.add_header("authorization", "Bearer hunter2")
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request)  # noqa: S310  our own
        assert raised.value.code != 401
        raised.value.close()
    finally:
        one.kill()
        assert one.process.stdout is not None
        one.process.stdout.close()


async def test_with_the_token_a_client_is_served(app: Path) -> None:
    import httpx2

    one = listen(app, env={"LASH_MCP_TOKEN": "hunter2"})
    try:
        headers = {"authorization": "Bearer hunter2"}
        async with httpx2.AsyncClient(headers=headers) as http:
            transport = streamable_http_client(one.url, http_client=http)
            async with Client(transport) as allowed:
                assert (await ask(allowed, "list_sessions"))["sessions"] == []
    finally:
        one.kill()
        assert one.process.stdout is not None
        one.process.stdout.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing_here"], "there is no module 'nothing_here'"),
        (["shop", "--http", "0.0.0.0:0"], "LASH_MCP_TOKEN"),
        (["shop", "--http", "127.0.0.1"], "write it as HOST:PORT"),
        (["shop", "--http", "127.0.0.1:99999"], "write it as HOST:PORT"),
        (["shop", "--http", "192.0.2.1:80"], "LASH_MCP_TOKEN"),
    ],
)
def test_what_cannot_be_served_is_said(app: Path, arguments: list[str], said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "lash", "mcp", *arguments],
        cwd=app,
        env=environment(),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_said(app: Path, served: Served) -> None:
    port = served.url.rsplit(":", 1)[1].split("/")[0]
    ended = subprocess.run(
        [sys.executable, "-m", "lash", "mcp", "shop", "--http", f"127.0.0.1:{port}"],
        cwd=app,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert f"127.0.0.1:{port} cannot be listened on" in ended.stderr
