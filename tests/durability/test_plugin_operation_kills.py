"""A plugin's command and SIGKILL: what was accepted is done, whole, whoever goes on with it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("notes_worker.py")

DONE = [{"notes": ["a"]}, ["Read a.", "Read."]]

#: Where it dies, how often the command has run in the end, and what the next process makes of it.
#: The first commit is the command's: before it is over, what the command came to is recorded nowhere.
TABLE = [
    ("enqueue.inside", 1, 0, [None, []]),
    ("body", 1, 2, DONE),
    ("commit.before", 1, 2, DONE),
    ("commit.inside", 1, 2, DONE),
    ("commit.after", 1, 1, DONE),
    ("commit.before", 2, 1, DONE),
]


def ran(folder: Path, seam: str, nth: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, WORKER, folder / "agents.db", folder / "ledger", seam, nth]
    return subprocess.run(
        [str(item) for item in command], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("seam", "nth", "times", "left"), TABLE)
def test_a_command_that_was_accepted_is_done_whole_and_once_recorded_never_again(
    tmp_path: Path, seam: str, nth: int, times: int, left: object
) -> None:
    (tmp_path / "ledger").touch()
    assert ran(tmp_path, seam, nth).returncode == -signal.SIGKILL
    after = ran(tmp_path, "none")
    assert after.returncode == 0, after.stderr
    assert json.loads(after.stdout) == left
    assert (tmp_path / "ledger").read_text().splitlines() == ["a"] * times
