"""An emitter is killed with SIGKILL at every seam; whoever opens the file next finishes what it began.

The table was written by hand. The rule: until the occurrence is committed nothing happened, and the
caller, who heard nothing, emits again; from then on every subscription is started, exactly once, without
anybody asking, and emitting again starts nothing.
"""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).with_name("trigger_worker.py")

#: Nobody has heard of the event.
NOTHING = {
    "occurrences": [],
    "deliveries": [],
    "processes": [],
    "linked": True,
    "results": [],
    "said": [],
    "findings": [],
    "statuses": [],
}
#: All that the event means was done.
WHOLE = {
    "occurrences": ["payment-1"],
    "deliveries": [["archive", "started"], ["refunds", "started"], ["tell", "started"]],
    "processes": [["archive", "completed"], ["refund", "completed"]],
    "linked": True,
    "results": ["archive 7", "refund 7"],
    "said": [["user", "Order 7 was paid."], ["assistant", "Noted."]],
    "findings": [],
    "statuses": [],
}
KEYS = ("archive", "refunds", "tell")

# Where it dies, and what whoever comes next finds, having asked for nothing. Commands come before: three
# subscriptions, of which the third is not there if it dies in the middle of it.
MATRIX = [
    ("trigger.execute.inside", 3, NOTHING),
    ("trigger.ingest.before", 1, NOTHING),
    ("trigger.ingest.inside", 1, NOTHING),
    ("trigger.ingest.after", 1, WHOLE),
    ("trigger.start.before", 1, WHOLE),
    ("trigger.start.before", 3, WHOLE),
    ("process.register.before", 1, WHOLE),
    ("process.register.inside", 1, WHOLE),
    ("process.register.inside", 2, WHOLE),
    ("process.register.after", 2, WHOLE),
    ("enqueue.inside", 1, WHOLE),
    ("trigger.start.after", 1, WHOLE),
    ("trigger.start.after", 2, WHOLE),
    ("trigger.start.after", 3, WHOLE),
    ("trigger.settle.before", 1, WHOLE),
    ("trigger.settle.inside", 1, WHOLE),
    ("trigger.settle.after", 1, WHOLE),
]

#: Who recovers dies as well, and a third process finishes.
PAIRS = [
    ("trigger.ingest.after", 1, "trigger.start.before", 1),
    ("trigger.ingest.after", 1, "trigger.start.after", 1),
    ("trigger.ingest.after", 1, "process.register.inside", 2),
    ("trigger.start.after", 2, "trigger.settle.inside", 1),
]


class Scene:
    def __init__(self, folder: Path) -> None:
        self._database, self._ledger = folder / "agents.db", folder / "ledger"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(WORKER), str(self._database), str(self._ledger), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def killed(self, mode: str, point: str, nth: int) -> None:
        ended = self.run(mode, point, str(nth))
        assert ended.returncode == -signal.SIGKILL, ended.stderr

    def finished(self, mode: str) -> Any:
        ended = self.run(mode)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def steps(self) -> Counter[str]:
        """How often each step began: more than once only where a kill met it."""
        return Counter(self._ledger.read_text().splitlines())


@pytest.mark.parametrize(("point", "nth", "left"), MATRIX, ids=lambda each: str(each)[:24])
def test_what_an_emitter_began_that_was_killed_is_finished_without_asking(
    tmp_path: Path, point: str, nth: int, left: dict[str, Any]
) -> None:
    scene = Scene(tmp_path)
    scene.killed("emit", point, nth)
    assert scene.finished("recover") == left
    status = "started" if left is NOTHING else "already_started"
    assert scene.finished("again") == WHOLE | {"statuses": [f"{key} {status}" for key in KEYS]}
    # One process for each subscription, whose step began again only if it was under way.
    assert {line.split(" ")[0] for line in scene.steps()} == {"refund", "archive"}
    assert len(scene.steps()) == 2
    assert max(scene.steps().values()) <= 2


@pytest.mark.parametrize(("first", "nth", "second", "times"), PAIRS)
def test_two_deaths_in_a_row_converge(
    tmp_path: Path, first: str, nth: int, second: str, times: int
) -> None:
    scene = Scene(tmp_path)
    scene.killed("emit", first, nth)
    scene.killed("recover", second, times)
    assert scene.finished("recover") == WHOLE
    assert len(scene.steps()) == 2
