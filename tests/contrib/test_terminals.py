"""Commands in terminals: durable processes that are typed into, read from, stopped, and never left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shell_harness import agent_of, comes, marked, payload, runtime_of, shell_in, until

import lash
from lash.contrib.shell.terminal import EVENTS_BYTES
from lash.llm.request import LlmRequest
from lash.processes.outcomes import ProcessAbandoned, ProcessCancelled
from lash.testing import ScriptedModel, calls, reply
from lash.testing.scripted import Step, calls_made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """Stands in the environment of a test's commands, and of no other."""
    return str(tmp_path)


def results(request: LlmRequest) -> list[Any]:
    """What the tools of a turn have answered so far, as the model is shown it."""
    found = []
    for message in request.messages:
        for block in message.blocks:
            content = getattr(block, "content", None)
            if isinstance(content, str):
                try:
                    found.append(json.loads(content))
                except json.JSONDecodeError:
                    found.append(content)
    return found


def steps(*made: Any) -> Any:
    """A model that calls one tool after another; what it gives them may come from answers before."""

    def script(request: LlmRequest) -> Step:
        done = calls_made(request)
        if done >= len(made):
            return reply("Over.")
        name, args = made[done]
        return calls((name, args(results(request)) if callable(args) else args))

    return script


def of_first(**args: Any) -> Any:
    return lambda before: {"process_id": before[0]["id"], **args}


async def test_a_started_command_is_typed_into_and_read_from_and_ends_with_its_exit_code(
    place: Path, tmp_path: Path
) -> None:
    shell = shell_in(place)
    model = steps(
        ("start_command", {"cmd": "stty -echo; printf 'name? '; read n; echo \"hi $n\"; exit 3"}),
        ("read_output", of_first(wait_ms=20_000)),
        ("write_stdin", of_first(chars="ana\n")),
        (
            "read_output",
            lambda before: {
                "process_id": before[0]["id"],
                "after": before[1]["next"],
                "wait_ms": 20_000,
            },
        ),
    )
    agent = lash.Agent("coder", model=ScriptedModel(model), tools=shell.tools())
    async with asyncio.timeout(60), runtime_of(tmp_path / "a.db", shell, agent) as runtime:
        turn = await runtime.session("s").run("Go.")
        started = payload(turn, 0)
        assert started["status"] == "running"
        assert payload(turn, 1)["output"] == "name? "
        assert payload(turn, 2)["status"] == "signalled"
        assert payload(turn, 3)["output"].startswith("hi ana")
        handle = runtime.processes.handle(started["id"])
        assert await handle.result(timeout=20) == {"exit_code": 3, "output_bytes": 14}
        record = await runtime.processes.get(started["id"])
        assert record.registration.disposition == "owner_bound"


async def test_stopping_a_command_ends_it_with_all_it_has_started(
    place: Path, mark: str, tmp_path: Path
) -> None:
    shell = shell_in(place, mark)
    stubborn = "trap '' TERM HUP; (setsid sleep 300 &); sleep 300 & echo ready; wait; sleep 300"
    model = steps(
        ("start_command", {"cmd": stubborn}),
        ("read_output", of_first(wait_ms=20_000)),
        ("stop_command", of_first()),
        ("read_output", of_first()),
    )
    agent = lash.Agent("coder", model=ScriptedModel(model), tools=shell.tools())
    async with asyncio.timeout(60), runtime_of(tmp_path / "a.db", shell, agent) as runtime:
        turn = await runtime.session("s").run("Go.")
        assert payload(turn, 1)["output"] == "ready\n"
        assert payload(turn, 2)["status"] == "cancelled"
        assert payload(turn, 3)["status"] == "cancelled"
        ended = await runtime.processes.handle(payload(turn, 0)["id"]).outcome(timeout=10)
        assert isinstance(ended, ProcessCancelled)
        assert marked(mark) == []


async def test_other_processes_of_the_session_are_no_commands(place: Path, tmp_path: Path) -> None:
    @lash.process
    async def other(ctx: lash.ProcessContext) -> None:
        await ctx.signal("stdin")

    shell = shell_in(place)
    script = [
        calls(
            ("read_output", {"process_id": "o"}),
            ("stop_command", {"process_id": "o"}),
            ("write_stdin", {"process_id": "o", "chars": "x"}),
            ("read_output", {"process_id": "none"}),
        ),
        reply("Over."),
    ]
    agent = agent_of(shell, script)
    processes = [other, *shell.processes()]
    async with (
        asyncio.timeout(60),
        lash.Runtime(tmp_path / "a.db", agents=[agent], processes=processes) as runtime,
    ):
        session = runtime.session("s")
        await session.processes.start(other, id="o")
        turn = await session.run("Go.")
        assert [payload(turn, index).code for index in range(4)] == ["process_not_visible"] * 4
        assert (await runtime.processes.get("o")).outcome is None


async def test_what_is_printed_without_end_is_told_up_to_a_bound_and_kept_in_the_file(
    place: Path, tmp_path: Path
) -> None:
    shell = shell_in(place)
    script = [
        calls(("start_command", {"cmd": "head -c 3000000 /dev/zero | tr '\\0' x"})),
        reply(""),
    ]
    async with (
        asyncio.timeout(60),
        runtime_of(tmp_path / "a.db", shell, agent_of(shell, script)) as runtime,
    ):
        turn = await runtime.session("s").run("Go.")
        handle = runtime.processes.handle(payload(turn)["id"])
        ended: Any = await handle.result(timeout=40)
        events: list[Any] = [
            each.payload
            async for each in handle.events(follow=False)
            if each.event_type == "output"
        ]
    assert ended["exit_code"] == 0
    assert ended["output_bytes"] == 3_000_000
    assert sum(len(each.get("text", "")) for each in events) == EVENTS_BYTES
    assert [each for each in events if each.get("dropped")] == [{"dropped": True}]
    whole = Path(ended["full_output_path"])
    assert whole.read_bytes() == b"x" * 3_000_000
    assert whole.stat().st_mode & 0o777 == 0o600


async def test_the_terminal_has_the_size_it_is_given(place: Path, tmp_path: Path) -> None:
    shell = shell_in(place)
    cmd = "stty size; read x; stty size"
    script = [calls(("start_command", {"cmd": cmd, "rows": 50, "columns": 120})), reply("")]
    async with (
        asyncio.timeout(60),
        runtime_of(tmp_path / "a.db", shell, agent_of(shell, script)) as runtime,
    ):
        turn = await runtime.session("s").run("Go.")
        handle = runtime.processes.handle(payload(turn)["id"])
        said = ""
        async for event in handle.events():
            if event.event_type == "output" and isinstance(event.payload, dict):
                said += str(event.payload["text"])
            if said == "50 120\r\n" and event.event_type == "output":
                await handle.signal("resize", {"rows": 10, "columns": 20})
                await handle.signal("stdin", {"chars": "", "close_stdin": True})
        assert said.endswith("10 20\r\n")


async def test_a_command_is_ended_when_its_runtime_closes_and_is_abandoned(
    place: Path, mark: str, tmp_path: Path
) -> None:
    shell = shell_in(place, mark)
    script = [calls(("start_command", {"cmd": "(setsid sleep 300 &); sleep 300"})), reply("")]
    agent = agent_of(shell, script)
    async with asyncio.timeout(60), runtime_of(tmp_path / "a.db", shell, agent) as runtime:
        turn = await runtime.session("s").run("Go.")
        await comes(lambda: len(marked(mark)) >= 3)
    assert marked(mark) == []
    async with asyncio.timeout(60), runtime_of(tmp_path / "a.db", shell, agent) as runtime:
        ended = await runtime.processes.handle(payload(turn)["id"]).outcome(timeout=10)
        assert isinstance(ended, ProcessAbandoned)


WORKER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from shell_harness import agent_of, comes, marked, payload, runtime_of, shell_in
from lash.testing import calls, reply

async def main():
    shell = shell_in(Path(sys.argv[2]), sys.argv[4])
    stubborn = "trap '' HUP TERM; (setsid sh -c 'trap \\"\\" HUP TERM; sleep 300' &); sleep 300"
    agent = agent_of(shell, [calls(("start_command", {"cmd": stubborn})), reply("")])
    async with runtime_of(sys.argv[1], shell, agent) as runtime:
        turn = await runtime.session("s").run("Go.")
        await comes(lambda: len(marked(sys.argv[4])) >= 4)
        print(payload(turn)["id"], flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_when_the_worker_is_killed_nothing_of_its_commands_is_left_and_they_are_abandoned(
    place: Path, mark: str, tmp_path: Path
) -> None:
    path, here = tmp_path / "a.db", Path(__file__).parent
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), str(place), str(here), mark],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout is not None
        process_id = worker.stdout.readline().strip()
        assert marked(mark)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        until(lambda: not marked(mark))
        shell = shell_in(place)
        async with runtime_of(path, shell, agent_of(shell, [])) as runtime:
            ended = await runtime.processes.handle(process_id).outcome(timeout=20)
        assert isinstance(ended, ProcessAbandoned)
    finally:
        worker.kill()
        worker.communicate()
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)
