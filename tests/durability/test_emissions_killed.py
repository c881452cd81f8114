"""A process, or a tool, that emits an event is killed with SIGKILL at every seam; it emits it once.

The table was written by hand. The rule: whoever opens the file next runs the code again where nothing is
recorded of it, and finds the event that it has emitted; each subscription is started exactly once. How
often the code ran is a part of the table.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from crash_matrix import KillScene

WORKER = Path(__file__).with_name("emission_worker.py")

#: All that was asked for was done, once.
WHOLE: dict[str, Any] = {
    "occurrences": 1,
    "deliveries": [["archive", "started"], ["refunds", "started"]],
    "processes": [["archive", "completed"], ["refund", "completed"]],
    "told": True,
    "findings": [],
}
OF_PROCESS = WHOLE | {"processes": [*WHOLE["processes"], ["sells", "completed"]], "told": None}

# What emits, where it dies, and how often its code runs in all. A turn records its model call first, a process
# the time it has read.
MATRIX = [
    ("process", "trigger.ingest.inside", 1, 2),
    ("process", "trigger.ingest.after", 1, 2),
    ("process", "trigger.start.after", 1, 2),
    ("process", "record.before", 2, 2),
    ("process", "record.inside", 2, 2),
    ("process", "record.after", 2, 2),  # the code is run again, and answered from the journal
    ("tool", "trigger.ingest.after", 1, 2),
    ("tool", "trigger.start.after", 2, 2),
    ("tool", "tool.after", 1, 2),
    ("tool", "record.before", 2, 2),
    ("tool", "record.inside", 2, 2),
    ("tool", "record.after", 2, 1),
]


class Scene(KillScene):
    """A folder in which an event is emitted."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "emit", WORKER)

    def ran(self) -> Counter[str]:
        """How often each piece of code ran."""
        return Counter(self.lines("ledger"))


@pytest.mark.parametrize(("emitter", "point", "nth", "runs"), MATRIX)
def test_what_was_emitted_by_who_was_killed_is_emitted_once(
    tmp_path: Path, emitter: str, point: str, nth: int, runs: int
) -> None:
    scene = Scene(tmp_path)
    scene.killed(emitter, point, nth)
    assert scene.finished("recover") == (OF_PROCESS if emitter == "process" else WHOLE)
    ran = scene.ran()
    assert ran.pop("emits") == runs
    # One process for each subscription, whose step began again only if it was under way.
    assert sorted(line.split(" ")[0] for line in ran) == ["archive", "refund"]
    assert max(ran.values()) <= 2


@pytest.mark.parametrize("emitter", ["process", "tool"])
def test_two_deaths_in_a_row_emit_once(tmp_path: Path, emitter: str) -> None:
    scene = Scene(tmp_path)
    scene.killed(emitter, "trigger.ingest.after", 1)
    scene.killed("recover", "record.before", 1)
    assert scene.finished("recover") == (OF_PROCESS if emitter == "process" else WHOLE)
    ran = scene.ran()
    assert ran.pop("emits") >= 2
    assert len(ran) == 2
