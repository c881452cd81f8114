"""An operation is killed with SIGKILL at its seams; a second process enters it and goes on behind them.

Every row of the table was written by hand: how often each function and model call is started in all,
over both processes. The rule behind it: what was recorded is never started again; what was running, or
had returned but was not recorded yet, is started once more. An attempt that failed and was recorded is
not made again either: the next one is.
"""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("operation_worker.py")
ONCE = dict.fromkeys(("load", "charge1", "charge2", "ask", "left", "right"), 1)


def again(*names: str) -> dict[str, int]:
    return ONCE | dict.fromkeys(names, 2)


# Records in order: 1 = load, 2 = the time, 3 = the first charge, which fails, 4 = the wait before the
# second, 5 = the second, 6 = a sleep, 7 = the model's answer, 8 = the approval, 9 = left, 10 = right,
# 11 = an id.
MATRIX = [
    ("during.load", 1, again("load")),
    ("record.inside", 1, again("load")),
    ("record.after", 1, ONCE),
    ("record.inside", 2, ONCE),
    ("during.charge1", 1, again("charge1")),
    ("record.before", 3, again("charge1")),
    ("record.after", 3, ONCE),
    ("during.charge2", 1, again("charge2")),
    ("record.inside", 5, again("charge2")),
    ("during.ask", 1, again("ask")),
    ("record.after", 7, ONCE),
    ("record.before", 8, ONCE),
    ("during.left", 1, again("left", "right")),
    ("record.before", 9, again("left", "right")),
    ("record.after", 9, again("right")),
    ("during.right", 1, again("right")),
    ("record.after", 10, ONCE),
    ("record.after", 11, ONCE),
]

#: Kills of the first process, then of the second; a third finishes.
PAIRS = [
    ("during.charge1", 1, "during.charge1", 1, ONCE | {"charge1": 3}),
    ("record.after", 3, "during.charge2", 1, again("charge2")),
    ("record.inside", 7, "record.after", 2, again("ask")),
]

FACTS = {
    "rows": ["Rows", ["a", "b"], "2024-02-29T12:00:00+00:00"],
    "charged": "2 rows in UTC",
    "told": "Two rows.",
    "tokens": 10,
    "approved": {"by": "ana"},
    "sides": ["left", "right"],
}
RECORDED = {
    "step:load:1:attempt:1",
    "value:now:1",
    "step:charge:1:attempt:1",
    "step:charge:1:attempt:1:sleep",
    "step:charge:1:attempt:2",
    "sleep:1",
    "direct:direct:ordinal:1",
    "await:approved:1",
    "step:left:1:attempt:1",
    "step:right:1:attempt:1",
    "value:uuid:1",
}


class Scene:
    """A database, a ledger, and the processes that meet there."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "agents.db"
        self.ledger = folder / "ledger"

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, str(WORKER), str(self.database), str(self.ledger)]
        return subprocess.Popen(
            command + [str(item) for item in arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def killed(self, point: str, nth: int) -> None:
        process = self.start(point, nth)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, errors

    def finished(self, process: "subprocess.Popen[str] | None" = None) -> dict[str, Any]:
        process = process or self.start()
        said, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        facts: dict[str, Any] = json.loads(said)
        return facts

    def starts(self) -> dict[str, int]:
        return dict(Counter(self.ledger.read_text().split()))


def assert_whole(facts: dict[str, Any]) -> None:
    recorded = facts.pop("recorded")
    assert facts == FACTS
    assert len(recorded) == len(RECORDED)
    assert set(recorded) == RECORDED


def test_an_undisturbed_operation_is_the_one_the_table_expects(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for _ in range(2):
        assert_whole(scene.finished())
    assert scene.starts() == ONCE


@pytest.mark.parametrize(
    ("point", "nth", "starts"), MATRIX, ids=[f"{point}-{nth}" for point, nth, _ in MATRIX]
)
def test_what_was_recorded_before_a_kill_is_not_done_again(
    tmp_path: Path, point: str, nth: int, starts: dict[str, int]
) -> None:
    scene = Scene(tmp_path)
    scene.killed(point, nth)
    assert_whole(scene.finished())
    assert scene.starts() == starts


@pytest.mark.parametrize(
    ("first", "first_nth", "second", "second_nth", "starts"),
    PAIRS,
    ids=[f"{pair[0]}-{pair[1]}+{pair[2]}-{pair[3]}" for pair in PAIRS],
)
def test_two_kills_in_a_row_converge(
    tmp_path: Path,
    first: str,
    first_nth: int,
    second: str,
    second_nth: int,
    starts: dict[str, int],
) -> None:
    scene = Scene(tmp_path)
    scene.killed(first, first_nth)
    scene.killed(second, second_nth)
    assert_whole(scene.finished())
    assert scene.starts() == starts


def test_of_two_processes_at_once_the_first_to_record_is_followed_by_both(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    processes = [scene.start("race") for _ in range(2)]
    one, other = (scene.finished(process) for process in processes)
    assert scene.starts() == {"work": 2}
    assert one["won"] == other["won"] == one["after"] == other["after"]
    assert one["won"] in {one["mine"], other["mine"]}
    third = scene.finished(scene.start("race"))
    assert third["won"] == one["won"]
    assert scene.starts() == {"work": 2}
