"""`lash mcp`: the package's own client against a runtime's agents and processes, over both transports."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_harness import noted, until

import lash

APP = '''
import asyncio, os
from pathlib import Path
import lash
from lash.testing import ScriptedModel, calls, reply

FOLDER = Path(__file__).parent

def note(line):
    with (FOLDER / "calls").open("a") as file:
        file.write(f"{line}\\n")

async def gate(name):
    while not (FOLDER / name).exists():
        await asyncio.sleep(0.01)

print("what a module prints is no message")

@lash.tool
async def look(order_id: str) -> dict:
    """Look one order up."""
    print("nor what a tool prints")
    note("look")
    await gate("look")
    return {"order": order_id}

script = [calls(("look", {"order_id": "7"})), reply("On its way.")]
support = lash.Agent("support", model=ScriptedModel(script), tools=[look])
greeter = lash.Agent("greeter", model=ScriptedModel([reply("Hello.")]))

async def load(number: int) -> int:
    note(f"load {number}")
    return number * 2

@lash.process
async def double(ctx: lash.ProcessContext, number: int) -> int:
    """Doubles a number, twice, once it was approved."""
    first = await ctx.step(load, number)
    await ctx.signal("approved")
    return await ctx.step(load, first)

@lash.process
async def fail(ctx: lash.ProcessContext) -> None:
    raise ValueError("no luck")
'''

#: What the journal and the outside must hold at the end, whatever was killed in between.
LOOKS = {"look"}


@dataclass
class Served:
    """A `lash mcp` over HTTP."""

    process: subprocess.Popen[str]
    url: str

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


def environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "PYTHONPATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def parameters(app: Path) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=["-m", "lash", "mcp", "shop"], cwd=app, env=environment()
    )


def listen(app: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Served:
    process = subprocess.Popen(
        [sys.executable, "-m", "lash", "mcp", "shop", "--http", "127.0.0.1:0", *arguments],
        cwd=app,
        env=environment() | dict(env or {}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving MCP at http://127.0.0.1:"), line
    return Served(process, line.split()[-1])


@pytest.fixture
def served(app: Path) -> Iterator[Served]:
    one = listen(app)
    yield one
    one.kill()
    assert one.process.stdout is not None
    one.process.stdout.close()


@asynccontextmanager
async def client(app: Path, transport: str, mode: str = "auto") -> AsyncIterator[Client]:
    """The package's client, over one of the transports."""
    if transport == "stdio":
        with (app / "stderr").open("a") as errors:
            async with Client(stdio_client(parameters(app), errors), mode=mode) as one:
                yield one
        return
    served = listen(app)
    try:
        async with Client(served.url, mode=mode) as one:
            yield one
    finally:
        served.kill()
        assert served.process.stdout is not None
        served.process.stdout.close()


async def until_killed(app: Path, begin: Callable[[Client, Served], Awaitable[None]]) -> None:
    """Use a server until it is killed, whatever the client says to that."""
    one = listen(app)
    try:
        with suppress(Exception):
            async with Client(one.url) as leaving:
                await begin(leaving, one)
    finally:
        one.kill()
        assert one.process.stdout is not None
        one.process.stdout.close()


async def ask(one: Client, tool: str, **args: Any) -> Any:
    """What a tool answered, in its structure."""
    result = await one.call_tool(tool, args)
    assert not result.is_error, result.content
    return result.structured_content


async def refused(one: Client, tool: str, **args: Any) -> dict[str, Any]:
    result = await one.call_tool(tool, args)
    assert result.is_error
    error: dict[str, Any] = result.structured_content["error"]
    assert result.content[0].text == f"{error['code']}: {error['message']}"  # type: ignore[union-attr]  # it is text
    return error


BOTH = pytest.mark.parametrize("transport", ["stdio", "http"])
ERAS = pytest.mark.parametrize("mode", ["auto", "legacy"])


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
