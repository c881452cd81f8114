"""Turns with pictures, killed at a seam and gone on with elsewhere. Outcomes are written by hand."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("picture_worker.py")

#: How long the pictures are: the user's and the tool's have 12 bytes, the tool's of a second run 13.
FIRST, AGAIN = 12, 13


class Left(NamedTuple):
    """What is left of a turn that was killed.

    `swept` is how many contents a sweep takes before anybody goes on, `turns` how many turns are
    committed in the end; `asked` which pictures the model is then shown, None when it is not asked again;
    `kept` which pictures the session keeps. Nothing else is ever left.
    """

    swept: int
    turns: int
    asked: list[int] | None
    kept: list[int]


def work(*arguments: object) -> Mapping[str, object] | None:
    """Run the worker to its end and give what it told, or None when it was killed."""
    run = subprocess.run(
        [sys.executable, str(WORKER), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if run.returncode == -signal.SIGKILL:
        return None
    assert run.returncode == 0, run.stderr
    told: Mapping[str, object] = json.loads(run.stdout.splitlines()[-1])
    return told


KILLED = [
    # A tool answers with a picture. What was not recorded is made again, and what the first run had
    # stored belongs to the turn.
    ("tool", "tool.after", 1, Left(0, 1, [AGAIN], [AGAIN])),
    ("tool", "attachment.bytes.after", 1, Left(0, 1, [AGAIN], [FIRST, AGAIN])),
    # Once it is recorded it is never made again, however long nobody goes on and whatever is swept.
    ("tool", "model.before", 2, Left(0, 1, [FIRST], [FIRST])),
    ("tool", "commit.before", 1, Left(0, 1, None, [FIRST])),
    ("tool", "commit.after", 1, Left(0, 1, None, [FIRST])),
    # A user says a picture. Stored and not accepted, it is nobody's.
    ("said", "attachment.bytes.after", 1, Left(1, 0, None, [])),
    ("said", "accept.inside", 1, Left(1, 0, None, [])),
    # Accepted, it stays with its turn.
    ("said", "model.before", 1, Left(0, 1, [FIRST], [FIRST])),
    ("said", "commit.before", 1, Left(0, 1, None, [FIRST])),
]


@pytest.mark.parametrize(("job", "seam", "nth", "left"), KILLED)
def test_a_killed_turn_loses_no_picture_and_leaves_none_behind(
    tmp_path: Path, job: str, seam: str, nth: int, left: Left
) -> None:
    db = tmp_path / "a.db"
    assert work(job, db, seam, nth) is None
    assert work("resume", db) == {
        "swept": left.swept,
        "turns": left.turns,
        "pictures": left.asked,
        "left": 0,
        "kept": left.kept,
        "unkept": 0,
    }
