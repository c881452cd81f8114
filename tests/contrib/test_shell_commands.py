"""`exec_command`: what it tells of a command, and that nothing of a command is left, whatever it does."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from files_harness import context, outcome
from shell_harness import agent_of, comes, marked, payload, runtime_of, shell_in, until

import lash
from lash.contrib.shell import Shell
from lash.contrib.shell.output import Output, cleaned, decoded
from lash.core.cancel import Cancellation, CancelToken
from lash.testing import calls, reply
from lash.tools.model import Tool
from lash.turn.tools import ToolFailure


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """Stands in the environment of a test's commands, and of no other."""
    return str(tmp_path)


def executing(shell: Shell) -> Tool:
    return shell.tools()[0]


async def run(place: Path, cmd: str, mark: str = "none", **args: Any) -> Any:
    async with asyncio.timeout(60):
        return await outcome(executing(shell_in(place, mark)), {"cmd": cmd, **args})


async def test_a_command_that_fails_is_a_success_with_its_exit_code(
    place: Path, tmp_path: Path
) -> None:
    shell = shell_in(place)
    script = [calls(("exec_command", {"cmd": "echo out; echo err >&2; exit 3"})), reply("Over.")]
    async with (
        asyncio.timeout(60),
        runtime_of(tmp_path / "a.db", shell, agent_of(shell, script)) as runtime,
    ):
        told = payload(await runtime.session("s").run("Go."))
    assert told.pop("wall_time_seconds") >= 0
    assert told == {"output": "out\nerr\n", "status": "completed", "exit_code": 3}


async def test_a_command_that_a_signal_ends_says_which(place: Path) -> None:
    told = await run(place, "kill -9 $$")
    assert (told["exit_code"], told["signal"]) == (None, 9)


async def test_a_command_has_no_input_and_only_the_environment_of_the_host(place: Path) -> None:
    os.environ["LASH_TEST_SECRET"] = "secret"
    try:
        told = await run(place, "cat; env | sort")
    finally:
        del os.environ["LASH_TEST_SECRET"]
    names = [line.split("=")[0] for line in told["output"].splitlines()]
    assert names == ["MARK", "PATH", "PWD"]


async def test_by_default_only_harmless_variables_are_passed_on(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    told = await outcome(executing(Shell(place)), {"cmd": "env"})
    assert "LANG=C.UTF-8" in told["output"]
    assert "secret" not in told["output"]


async def test_a_command_runs_below_the_folder_and_nowhere_else(place: Path) -> None:
    (place / "inner").mkdir()
    (place / "out").symlink_to("/")
    assert (await run(place, "pwd", workdir="inner"))["output"] == f"{place}/inner\n"
    for elsewhere in ("..", "/", "out", "inner/../.."):
        assert (await run(place, "pwd", workdir=elsewhere)).code == "path_outside_root"
    assert (await run(place, "pwd", workdir="missing")).code == "shell_unavailable"


async def test_a_command_that_hangs_is_ended_after_its_time_and_what_it_printed_is_told(
    place: Path, mark: str
) -> None:
    failure = await run(place, "echo begun; sleep 300", mark, timeout_ms=200)
    assert isinstance(failure, ToolFailure)
    assert (failure.code, failure.failure_class) == ("shell_timeout", "execution")
    assert failure.message.endswith("It had printed:\nbegun\n")
    assert isinstance(failure.raw, dict)
    assert failure.raw["status"] == "timed_out"
    assert marked(mark) == []


async def test_the_host_s_limit_holds_whatever_the_model_asks_for(place: Path) -> None:
    tool = executing(shell_in(place, timeout=0.2))
    async with asyncio.timeout(30):
        failure = await outcome(tool, {"cmd": "sleep 300", "timeout_ms": 600_000})
    assert failure.code == "shell_timeout"


async def test_what_ignores_the_request_to_end_is_killed_with_its_daemons(
    place: Path, mark: str
) -> None:
    stubborn = (
        "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 300; sleep 300' &);"
        " sh -c 'trap \"\" TERM; sleep 300' & echo begun; sleep 300; sleep 300"
    )
    failure = await run(place, stubborn, mark, timeout_ms=300)
    assert failure.code == "shell_timeout"
    assert marked(mark) == []


async def test_what_a_command_leaves_in_the_background_ends_with_it(place: Path, mark: str) -> None:
    cmd = "(setsid sh -c 'sleep 300; sleep 300' &); nohup sleep 300 & echo done"
    told = await run(place, cmd, mark)
    assert (told["output"], told["exit_code"]) == ("done\n", 0)
    assert marked(mark) == []


async def test_a_fork_storm_is_ended(place: Path, mark: str) -> None:
    storm = "i=0; while [ $i -lt 200 ]; do (setsid sh -c 'sleep 300; sleep 300' &); i=$((i+1)); done; sleep 300"
    failure = await run(place, storm, mark, timeout_ms=1500)
    assert failure.code == "shell_timeout"
    assert marked(mark) == []


async def test_a_command_that_closes_its_output_is_waited_for(place: Path) -> None:
    told = await run(place, "echo said; exec >&- 2>&-; sleep 0.2; exit 7")
    assert (told["output"], told["exit_code"]) == ("said\n", 7)


async def test_of_fifty_megabytes_the_end_is_told_and_all_of_it_is_in_a_private_file(
    place: Path,
) -> None:
    told = await run(place, "head -c 50000000 /dev/zero | tr '\\0' x; echo; echo the end")
    assert told["output"].endswith("xx\nthe end\n")
    assert told["output"].startswith("...")
    assert len(told["output"]) <= 50 * 1024
    assert told["output_bytes"] == 50_000_009
    whole = Path(told["full_output_path"])
    assert whole.parent == place / "output"
    assert whole.stat().st_size == 50_000_009
    assert whole.stat().st_mode & 0o777 == 0o600


async def test_what_is_too_much_for_the_file_too_is_dropped_and_said_so(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lash.contrib.shell.output.SPILL_MOST", 100_000)
    told = await run(place, "head -c 300000 /dev/zero | tr '\\0' x")
    assert told["full_output_cut"] is True
    assert Path(told["full_output_path"]).stat().st_size == 100_000
    assert told["output_bytes"] == 300_000


async def test_without_a_folder_long_output_keeps_its_end(place: Path) -> None:
    tool = executing(Shell(place))
    told = await outcome(tool, {"cmd": "seq 1 100000"})
    assert told["output"].endswith("\n99999\n100000\n")
    assert "full_output_path" not in told


async def test_bytes_that_are_no_text_are_marked(place: Path) -> None:
    told = await run(place, "printf 'a\\377\\000\\200b'")
    assert told["output"] == "a\ufffd\ufffdb"


async def test_a_link_in_the_folder_for_output_is_not_followed(place: Path) -> None:
    victim = place / "victim"
    victim.write_text("mine")
    tool, ctx = executing(shell_in(place)), context("exec_command")
    args = {"cmd": "seq 1 20000"}
    first = await outcome(tool, args, ctx)
    spilled = Path(first["full_output_path"])
    spilled.unlink()
    spilled.symlink_to(victim)
    again = await outcome(tool, args, ctx)
    assert again["full_output_path"] == str(spilled)
    assert victim.read_text() == "mine"
    assert not spilled.is_symlink()


async def test_a_call_that_is_stopped_ends_its_command_at_once(place: Path, mark: str) -> None:
    tool, cancel = executing(shell_in(place, mark)), CancelToken()
    ctx = context("exec_command", cancel=cancel)
    async with asyncio.timeout(30):
        running = asyncio.create_task(
            outcome(tool, {"cmd": "trap '' TERM; echo begun; sleep 300; sleep 300"}, ctx)
        )
        await comes(lambda: marked(mark))
        cancel.cancel(Cancellation(request_id="r"))
        failure = await running
    assert failure.code == "shell_stopped"
    assert marked(mark) == []


async def test_a_turn_that_is_stopped_ends_its_command(
    place: Path, mark: str, tmp_path: Path
) -> None:
    shell = shell_in(place, mark)
    cmd = "trap '' TERM; (setsid sh -c 'sleep 300; sleep 300' &); sleep 300; sleep 300"
    script = [calls(("exec_command", {"cmd": cmd})), reply("Never.")]
    async with (
        asyncio.timeout(60),
        runtime_of(tmp_path / "a.db", shell, agent_of(shell, script)) as runtime,
    ):
        session = runtime.session("s")
        running = asyncio.create_task(session.run("Go.", turn_id="t"))
        await comes(lambda: len(marked(mark)) >= 3)
        await session.cancel("t")
        turn = await running
        assert isinstance(turn.outcome, lash.Stopped)
        await comes(lambda: not marked(mark))


async def test_a_runtime_that_closes_leaves_no_command_behind(
    place: Path, mark: str, tmp_path: Path
) -> None:
    shell = shell_in(place, mark)
    cmd = "trap '' TERM; (setsid sh -c 'sleep 300; sleep 300' &); sleep 300; sleep 300"
    script = [calls(("exec_command", {"cmd": cmd})), reply("Never.")]
    async with asyncio.timeout(60):
        async with runtime_of(tmp_path / "a.db", shell, agent_of(shell, script)) as runtime:
            running = asyncio.create_task(runtime.session("s").run("Go."))
            await comes(lambda: len(marked(mark)) >= 3)
        assert marked(mark) == []
        with pytest.raises((lash.LashError, asyncio.CancelledError)):
            await running


ALONE = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from files_harness import outcome
from shell_harness import shell_in
cmd = "trap '' HUP TERM; (setsid sh -c 'sleep 300; sleep 300' &); echo; sleep 300; sleep 300"
asyncio.run(outcome(shell_in(Path(sys.argv[1]), sys.argv[3]).tools()[0], {"cmd": cmd}))
"""


def test_when_the_runtime_is_killed_its_commands_end(place: Path, mark: str) -> None:
    here = Path(__file__).parent
    worker = subprocess.Popen([sys.executable, "-c", ALONE, str(place), str(here), mark])
    try:
        # the worker's own environment has no mark
        until(lambda: len(marked(mark)) >= 3)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        until(lambda: not marked(mark))
    finally:
        worker.kill()
        worker.wait()
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)


async def test_a_command_is_given_no_descriptors_but_the_usual_ones(place: Path) -> None:
    told = await run(place, "ls /proc/self/fd")
    assert told["output"].split() == ["0", "1", "2", "3"]  # the last one is of `ls` itself


async def test_a_command_whose_supervisor_is_killed_is_ended_and_nobody_knows_how(
    place: Path, mark: str
) -> None:
    running = asyncio.create_task(run(place, "echo begun; sleep 300; sleep 300", mark))
    await comes(lambda: len(marked(mark)) == 2)
    parents = [_parent(pid) for pid in marked(mark)]
    (supervisor,) = [each for each in parents if each not in marked(mark)]
    os.kill(supervisor, signal.SIGKILL)
    told = await running
    assert (told["output"], told["exit_code"]) == ("begun\n", None)
    await comes(lambda: not marked(mark))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_what_only_a_terminal_understands_is_cleaned_away() -> None:
    said = (
        "\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b]8;;http://a\x1b\\link\x1b(B a\r\nb\rc\x08\x00\td"
    )
    assert cleaned(said) == "red link a\nb\nc\td"


def test_half_a_character_at_the_start_is_left_out() -> None:
    assert decoded("é1".encode()[1:]) == "1"
    assert decoded(b"\x80\x80\x80\x80") == "\ufffd"


def test_only_so_much_of_an_output_is_kept_in_memory() -> None:
    output = Output(None, "x")
    for number in range(3000):
        output.add(b"%08d" % number * 100)
    text = output.text
    assert output.size == 2_400_000
    assert 512_000 - 800 <= len(text) <= 512_000
    assert text.endswith("00002999")


@pytest.mark.parametrize(
    "options", [{"shell": "sh"}, {"shell": "/nowhere/sh"}, {"workdir": "/nowhere"}]
)
def test_a_shell_that_cannot_work_is_refused_where_it_is_set_up(
    place: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(lash.ConfigurationError) as refused:
        Shell(**{"workdir": place, **options})
    assert refused.value.code == "tool_set_invalid"


def test_its_environment_is_not_shown(place: Path) -> None:
    assert "secret" not in repr(Shell(place, env={"KEY": "secret"}))
