"""The tests' side of the crash matrix: processes to kill, and tables of what must be left.

A table lists every point that a scenario passes, in order, by what is going on there. What a kill at a
point of a kind means was written down by hand, once per kind:

- `accepted`, `queued`, `forked`…: until the transaction is through nothing of it is there; then all.
- `model`, `tool`: from the start to the record, it is started once more; before and after, it is not.
- `taken`, `waited`: asking again gives the same answer, and no body is started.
- `committed`: the turn stands, or the next process commits the same; nothing is started.
"""

import atexit
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

WORKER = Path(__file__).with_name("crash_worker.py")

#: Whether every point is killed at; or only those that are the scenario's own, and of these not the
#: seams right before something, where nothing has changed since the point before.
LONG = bool(os.environ.get("LASH_LONG"))


class Point(NamedTuple):
    """A kill: where, what must be left of it, and what is started once more."""

    name: str
    left: str
    again: str = ""

    @property
    def is_of_other(self) -> bool:
        """Whether it is the other process that dies."""
        return self.name.startswith("other.")


class Session(NamedTuple):
    """What a session must show. Turns: id, ending, tool calls, number of model calls."""

    turns: Sequence[tuple[str, str, str, int]]
    history: str
    state: str = "idle"


class Left(NamedTuple):
    """What must be left: sessions, everything that was ever queued, and what was started once."""

    sessions: Mapping[str, Session]
    starts: str
    queue: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class Table:
    """A scenario's table.

    Attributes:
        scenario: Its name.
        points: Every point it passes, in order, with what a kill there leaves.
        left: What the names in `points` mean. `nothing` is always the same.
        common: How many points it has in common with a scenario that is tested at each of them.
        repeated: What is left once the application did the same again; by what was left before.
    """

    scenario: str
    points: Sequence[Point]
    left: Mapping[str, Left]
    common: int = 0
    repeated: Mapping[str, str] = field(default_factory=dict)

    def kills(self) -> Iterable[object]:
        """Every kill, as a parameter: the table, the point and which of its occurrences it is."""
        passed: Counter[str] = Counter()
        for index, point in enumerate(self.points):
            passed[point.name] += 1
            if LONG or (index >= self.common and not point.name.endswith(".before")):
                nth = passed[point.name]
                name = f"{self.scenario}-{point.name}-{nth}"
                yield pytest.param(self, point, nth, id=name)


NOTHING = Left({}, "")


def every_kill(tables: Iterable[Table]) -> list[object]:
    return [kill for table in tables for kill in table.kills()]


# --- kinds of points ----------------------------------------------------------------------------------------


def accepted(before: str, after: str, again: str = "") -> list[Point]:
    inside = [Point(name, before, again) for name in ("accept.before", "accept.inside")]
    return [*inside, Point("accept.after", after, again)]


def recorded(what: str, left: str, also: str = "") -> list[Point]:
    """`what` has run and is written down."""
    again = f"{also} {what}".strip()
    before = [Point(name, left, again) for name in ("record.before", "record.inside")]
    return [*before, Point("record.after", left, also)]


def model(what: str, left: str, *other: Point, then: str = "", also: str = "") -> list[Point]:
    """A model call. With `other`, another process does something meanwhile; `then` is left."""
    then, again = then or left, f"{also} {what}".strip()
    return [
        Point("model.before", left, also),
        Point(f"during.{what}", left, again),
        *other,
        Point("model.after", then, again),
        *recorded(what, then, also),
    ]


def tool(what: str, left: str, *other: Point, then: str = "", also: str = "") -> list[Point]:
    """A tool call, as `model`."""
    then, again = then or left, f"{also} {what}".strip()
    return [
        Point("tool.before", left, also),
        Point(f"during.{what}", left, again),
        *other,
        Point("tool.after", then, again),
        *recorded(what, then, also),
    ]


def looked(left: str, also: str = "") -> list[Point]:
    """A checkpoint at which nothing has arrived."""
    return [Point("checkpoint.before", left, also)]


def taken(left: str, *other: Point, then: str = "") -> list[Point]:
    """A checkpoint that takes what has arrived."""
    inside = [Point(name, then or left) for name in ("checkpoint.inside", "checkpoint.after")]
    return [Point("checkpoint.before", left), *other, *inside, *recorded("", then or left)]


def committed(left: str, *other: Point, then: str = "", also: str = "") -> list[Point]:
    names = ("commit.inside", "commit.after")
    return [
        Point("commit.before", left, also),
        *other,
        *(Point(name, then or left, also) for name in names),
    ]


# --- processes ------------------------------------------------------------------------------------------------


@cache
def worker() -> "subprocess.Popen[str]":
    """The process that forks the others. It ends when its input does."""
    process = subprocess.Popen(
        [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(process.communicate)
    return process


class Scene:
    """A folder with a database and a ledger, and the processes that meet there."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.folder = folder
        self.table = table
        self._started = 0

    def _run(self, mode: str, kill: tuple[str, int] | None = None) -> int:
        self._started += 1
        job = {
            "scenario": self.table.scenario,
            "mode": mode,
            "folder": str(self.folder),
            "label": self._label,
            "kill": kill,
        }
        process = worker()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    @property
    def _label(self) -> str:
        return f"p{self._started}"

    def errors(self) -> str:
        return (self.folder / f"{self._label}.err").read_text()

    def killed(self, mode: str, point: str, nth: int) -> None:
        assert self._run(mode, (point, nth)) == -signal.SIGKILL, self.errors()

    def other_killed(self, point: str, nth: int) -> dict[str, Any]:
        """The driver survives the death of the other process."""
        assert self._run("drive", (point, nth)) == 0, self.errors()
        facts = self._facts()
        assert facts["other"] == -signal.SIGKILL
        return facts

    def finished(self, mode: str) -> dict[str, Any]:
        assert self._run(mode) == 0, self.errors()
        return self._facts()

    def _facts(self) -> dict[str, Any]:
        # A child session's name has a hash of the call in it.
        found = re.sub(
            r":child:[0-9a-f]{24}:", ":child:", (self.folder / f"{self._label}.json").read_text()
        )
        facts: dict[str, Any] = json.loads(found)
        return facts

    def starts(self) -> dict[str, int]:
        ledger = self.folder / "ledger"
        return dict(Counter(ledger.read_text().split())) if ledger.exists() else {}

    def left(self, facts: dict[str, Any], what: str, again: str = "") -> None:
        """Assert what a store shows, and what was started how often to get there."""
        left = NOTHING if what == "nothing" else self.table.left[what]
        assert facts["sessions"] == {
            name: {
                "state": session.state,
                "turns": [list(turn) for turn in session.turns],
                "history": [line.strip() for line in session.history.strip().splitlines()],
            }
            for name, session in left.sessions.items()
        }
        assert facts["queue"] == [list(item) for item in left.queue]
        assert facts["findings"] == []
        assert facts["leases"] == []
        # A lease lasts 30 s; the dead owner was recognised, not waited for.
        assert facts["idle_after"] < 10
        starts = dict.fromkeys(left.starts.split(), 1)
        for name, extra in Counter(again.split()).items():
            starts[name] = starts.get(name, 0) + extra
        assert self.starts() == starts


def check_undisturbed(folder: Path, table: Table, left: str) -> None:
    """The scenario passes the points of its table, no others, and comes to what it says."""
    scene = Scene(folder, table)
    facts = scene.finished("drive")
    assert without_repeated_looks(facts["trace"]) == [point.name for point in table.points]
    scene.left(facts, left)


def without_repeated_looks(trace: Sequence[str]) -> Sequence[str]:
    """A trace in which a process takes a session once: it may look again, and find nothing new."""
    look = "claim.inside"
    first = trace.index(look) if look in trace else 0
    return [point for at, point in enumerate(trace) if point != look or at == first]


def check_kill(folder: Path, table: Table, point: Point, nth: int) -> None:
    """One process dies at a point; another one finishes what was accepted, without being asked."""
    scene = Scene(folder, table)
    if point.is_of_other:
        facts = scene.other_killed(point.name, nth)
    else:
        scene.killed("drive", point.name, nth)
        facts = scene.finished("recover")
    scene.left(facts, point.left, point.again)
    after = table.repeated.get(point.left)
    if LONG and after is not None:
        # Whoever accepts the same under the same names finds it where it is.
        scene.left(scene.finished("again"), after, point.again)


class Pair(NamedTuple):
    """Two kills: of the process that drives, then of the one that recovers; a third finishes."""

    first: str
    first_nth: int
    second: str
    second_nth: int
    left: str
    again: str = ""


def pairs(table: Table, *kills: Pair) -> list[object]:
    return [
        pytest.param(
            table,
            pair,
            id=f"{table.scenario}-{pair.first}-{pair.first_nth}+{pair.second}-{pair.second_nth}",
        )
        for pair in kills
    ]


def check_pair(folder: Path, table: Table, pair: Pair) -> None:
    """Two crashes in a row converge."""
    scene = Scene(folder, table)
    scene.killed("drive", pair.first, pair.first_nth)
    scene.killed("recover", pair.second, pair.second_nth)
    scene.left(scene.finished("recover"), pair.left, pair.again)
