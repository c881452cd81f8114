"""What every command has in common: errors as JSON, narrow terminals, Ctrl-C at any moment."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_turns import committed
from terminal import Terminal

from lash.cli import main


@pytest.mark.parametrize(
    ("command", "code", "exit_code"),
    [
        (["sessions"], "store_unreachable", 1),
        (["sessions", "--db", "postgresql://x/y"], "store_url_unknown", 2),
        (["show"], "usage_invalid", 2),
        (["nonsense"], "usage_invalid", 2),
        (["doctor"], "store_unreachable", 1),
        (["tail", "c-1"], "store_unreachable", 1),
        (["rm", "c-1"], "usage_invalid", 2),
        (["ps"], "store_unreachable", 1),
        (["ps", "p-1"], "store_unreachable", 1),
        (["ps", "--db", "postgresql://x/y"], "store_url_unknown", 2),
        (["signal", "p-1", "go"], "store_unreachable", 1),
        (["signal", "p-1"], "usage_invalid", 2),
        (["cancel"], "usage_invalid", 2),
        (["cancel", "--process", "p-1"], "store_unreachable", 1),
        (["abandon", "p-1"], "usage_invalid", 2),
        (["abandon", "p-1", "--yes"], "store_unreachable", 1),
        (["worker"], "usage_invalid", 2),
        (["run", "  ", "--model", "scripted"], "usage_invalid", 2),
    ],
)
def test_errors_are_one_json_object_for_those_who_read_json(
    command: list[str], code: str, exit_code: int, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--json"]) == exit_code
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    error = json.loads(line)["error"]
    assert set(error) == {"code", "message"}
    assert error["code"] == code
    assert code not in error["message"]


def test_errors_are_text_for_everybody_else(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("usage: lash show ")
    assert "lash show: error: the following arguments are required: SESSION" in told


def test_a_key_that_is_not_understood_is_not_repeated(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resolve", "key", "1", "lash-key-secret", "--json"]) == 2
    told = capsys.readouterr().err
    assert "lash-key-…" in json.loads(told)["error"]["message"]
    assert "secret" not in told


@pytest.mark.parametrize(
    ("command", "seen"),
    [
        (["journal", "c-42", "t-1"], ["state: recorded", "effect: llm call", "size: "]),
        (["journal", "c-42"], ["journal: kept"]),
        (["sessions"], ["changed: "]),
    ],
)
def test_a_narrow_terminal_loses_nothing(here: Path, command: list[str], seen: list[str]) -> None:
    asyncio.run(committed(here / "lash.db"))
    with Terminal(*command, cwd=here, columns=40) as terminal:
        assert terminal.ended() == 0
        for text in seen:
            assert text in terminal.screen.text
        assert all(len(line) <= 40 for line in terminal.screen.lines)
    with Terminal(*command, cwd=here, columns=120) as terminal:
        assert terminal.ended() == 0
        assert seen[0] not in terminal.screen.text


@pytest.mark.parametrize(
    "module", ["lash.cli.entry", "lash.cli.arguments", "lash.cli.dispatch", "lash.cli.sessions"]
)
def test_ctrl_c_while_the_command_is_being_loaded_ends_with_130(
    module: str, tmp_path: Path
) -> None:
    interrupted = f"""
import importlib.abc, os, signal, sys
class Interrupt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000): pass
sys.meta_path.insert(0, Interrupt())
from lash.cli import main
sys.exit(main(["sessions"]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", interrupted],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, "")
