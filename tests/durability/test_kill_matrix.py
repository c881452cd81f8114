"""A turn is killed with SIGKILL at every seam; a second process finishes it without being asked.

Every row of the table was written by hand: how often each model call and tool is started in all, over
both processes. The rule behind it: what was recorded is never started again; what was running, or had
returned but was not recorded yet, is started once more.
"""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("kill_worker.py")
ONCE = {"m1": 1, "a": 1, "b": 1, "m2": 1, "c": 1, "m3": 1}
NOTHING: dict[str, int] = {}


def again(*names: str) -> dict[str, int]:
    return ONCE | dict.fromkeys(names, 2)


# Records in order: 1 = m1, 2 = a, 3 = b, 4 = m2, 5 = c, 6 = m3.
# Each row: the point, which of its occurrences, the starts in all.
MATRIX = [
    # Not accepted: the caller never had an answer, and nothing is there.
    ("accept.before", 1, NOTHING),
    ("accept.inside", 1, NOTHING),
    ("accept.after", 1, ONCE),
    # First model call.
    ("model.before", 1, ONCE),
    ("during.m1", 1, again("m1")),
    ("model.after", 1, again("m1")),
    ("record.before", 1, again("m1")),
    ("record.inside", 1, again("m1")),
    ("record.after", 1, ONCE),
    # Two tools side by side, each body in a task of its own; a is recorded while b still runs.
    ("tool.before", 1, ONCE),
    ("tool.before", 2, ONCE),
    ("during.a", 1, again("a", "b")),
    ("tool.after", 1, again("a", "b")),
    ("record.before", 2, again("a", "b")),
    ("record.inside", 2, again("a", "b")),
    ("record.after", 2, again("b")),
    ("during.b", 1, again("b")),
    ("tool.after", 2, again("b")),
    ("record.before", 3, again("b")),
    ("record.inside", 3, again("b")),
    ("record.after", 3, ONCE),
    # Second model call.
    ("model.before", 2, ONCE),
    ("during.m2", 1, again("m2")),
    ("model.after", 2, again("m2")),
    ("record.before", 4, again("m2")),
    ("record.inside", 4, again("m2")),
    ("record.after", 4, ONCE),
    # A tool by itself.
    ("tool.before", 3, ONCE),
    ("during.c", 1, again("c")),
    ("tool.after", 3, again("c")),
    ("record.before", 5, again("c")),
    ("record.inside", 5, again("c")),
    ("record.after", 5, ONCE),
    # Third model call.
    ("model.before", 3, ONCE),
    ("during.m3", 1, again("m3")),
    ("model.after", 3, again("m3")),
    ("record.before", 6, again("m3")),
    ("record.inside", 6, again("m3")),
    ("record.after", 6, ONCE),
    # The commit: whole or not at all.
    ("commit.before", 1, ONCE),
    ("commit.inside", 1, ONCE),
    ("commit.after", 1, ONCE),
]

#: Kills of the first process, then of the one that resumes it; a third finishes. The gates that order
#: a and b stand in the first process only.
PAIRS = [
    ("record.after", 1, "model.after", 1, again("m2")),
    ("during.m1", 1, "during.m1", 1, ONCE | {"m1": 3}),
    ("during.m2", 1, "during.c", 1, again("m2", "c")),
    ("record.inside", 4, "record.inside", 1, ONCE | {"m2": 3}),
    ("tool.after", 3, "commit.inside", 1, again("c")),
    ("commit.before", 1, "commit.inside", 1, ONCE),
    ("commit.inside", 1, "commit.after", 1, ONCE),
]

HISTORY = [
    ["user", "Check a and b, then c.", [], []],
    ["assistant", "Reading.", [["a", '{"key":"x"}'], ["b", '{"key":"y"}']], []],
    ["user", "", [], [["a", '{"a":"x"}'], ["b", "b is y"]]],
    ["assistant", "", [["c", '{"number":21}']], []],
    ["user", "", [], [["c", "42"]]],
    ["assistant", "All checked: 42.", [], []],
]
TURN = {
    "turn_id": "turn-1",
    "text": "All checked: 42.",
    "outcome": {
        "status": "finished",
        "result": {"type": "assistant_message", "text": "All checked: 42."},
    },
    "usage": {"input_tokens": 30, "output_tokens": 15},
    "tool_calls": [
        ["a", {"key": "x"}, {"outcome": {"status": "success", "payload": {"a": "x"}}}],
        ["b", {"key": "y"}, {"outcome": {"status": "success", "payload": "b is y"}}],
        ["c", {"number": 21}, {"outcome": {"status": "success", "payload": 42}}],
    ],
    "model_calls": 3,
    "issues": 0,
}


class Scene:
    """A database, a ledger, and the processes that meet there."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "agents.db"
        self.ledger = folder / "ledger"

    def start(self, mode: str, *kill: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(WORKER), mode, str(self.database), str(self.ledger)]
        arguments = command + [str(item) for item in kill]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)

    def killed(self, mode: str, *kill: object) -> None:
        process = self.start(mode, *kill)
        assert process.returncode == -signal.SIGKILL, process.stderr

    def finished(self, mode: str) -> dict[str, Any]:
        process = self.start(mode)
        assert process.returncode == 0, process.stderr
        facts: dict[str, Any] = json.loads(process.stdout)
        return facts

    def starts(self) -> dict[str, int]:
        lines = self.ledger.read_text().split() if self.ledger.exists() else []
        return dict(Counter(lines))


def assert_whole(facts: dict[str, Any]) -> None:
    assert facts["history"] == HISTORY
    assert facts["turns"] == [TURN]
    assert facts["states"] == ["idle"]


def test_undisturbed_run_is_the_one_the_table_expects(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert_whole(scene.finished("drive"))
    assert scene.starts() == ONCE


@pytest.mark.parametrize(
    ("point", "nth", "starts"), MATRIX, ids=[f"{point}-{nth}" for point, nth, _ in MATRIX]
)
def test_killed_turn_is_finished_and_nothing_recorded_runs_again(
    tmp_path: Path, point: str, nth: int, starts: dict[str, int]
) -> None:
    scene = Scene(tmp_path)
    scene.killed("drive", point, nth)
    facts = scene.finished("resume")
    assert scene.starts() == starts
    if starts == NOTHING:
        assert facts["history"] == []
        assert facts["turns"] == []
        assert facts["states"] == []
    else:
        assert_whole(facts)
    # A lease lasts 30 s; the dead owner was recognised, not waited for.
    assert facts["idle_after"] < 10


@pytest.mark.parametrize(
    ("first", "first_nth", "second", "second_nth", "starts"),
    PAIRS,
    ids=[f"{pair[0]}-{pair[1]}+{pair[2]}-{pair[3]}" for pair in PAIRS],
)
def test_two_crashes_in_a_row_converge(
    tmp_path: Path,
    first: str,
    first_nth: int,
    second: str,
    second_nth: int,
    starts: dict[str, int],
) -> None:
    scene = Scene(tmp_path)
    scene.killed("drive", first, first_nth)
    scene.killed("resume", second, second_nth)
    assert_whole(scene.finished("resume"))
    assert scene.starts() == starts


def test_a_finished_file_is_left_alone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.finished("drive")
    assert_whole(scene.finished("resume"))
    assert scene.starts() == ONCE
