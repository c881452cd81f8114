"""The tests' side of the processes' crash matrix: `crash_scene`, with what durable processes leave.

A table lists every point that a scenario passes, in order, with what a kill there leaves and what is
begun once more. It was written down by hand, by these rules:

- Until it is registered nothing is there; from then on it comes to the same end as undisturbed.
- A step, tool or model call is begun once more if it was begun and not recorded, and else is not.
- Events, signals and wakes are there once, whatever is done again.

Marks are points whose place among the others is left open: that a process waits is written down beside
what it does, and wakes are delivered beside it.
"""

import atexit
import json
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
from crash_scene import LONG, Point, without_repeated_looks

WORKER = Path(__file__).with_name("process_worker.py")
_MARKS = ("process.wait.", "process.resume.", "wakes.", "other.wakes.", "enqueue.")
#: What a session is told besides the text of a wake.
_WORDING = re.compile(r"event: [^\"]*(tell that a is done)")
#: Where in its log an event stands depends on how often the process was begun before.
_PLACE = re.compile(r"(wake:p:|process:p:event:)\d+")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Process(NamedTuple):
    """What a process must show: how it ended, its own events and signals, its wakes, who may see it."""

    status: str
    outcome: object
    events: Sequence[str] = ()
    wakes: Sequence[str] = ()
    reference: str | None = None
    observers: Sequence[str] = ()
    tells: str | None = None
    parked: str | None = None


class Left(NamedTuple):
    """What must be left: processes, what was begun how often, sessions and what was queued for them."""

    processes: Mapping[str, Process]
    starts: Sequence[str]
    sessions: Mapping[str, tuple[Sequence[tuple[str, str]], str]] = {}
    queue: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Table:
    """A scenario's table.

    Attributes:
        scenario: Its name.
        points: The points it passes, in order, with what a kill there leaves.
        left: What the names in `points` mean; one of several, where it was not decided yet. `nothing`
            is always the same.
        marks: The points whose place among the others is left open.
        common: How many points it has in common with a scenario that is tested at each of them.
        begun: How often its processes are begun if nobody dies.
        repeated: What is left once the application did the same again, by what was left before; `whole`
            for what is not named.
        sends: The outside has something to say to it, and says it again when somebody died.
    """

    scenario: str
    points: Sequence[Point]
    left: Mapping[str, Left | Sequence[Left]]
    marks: Sequence[Point] = ()
    common: int = 0
    begun: int = 1
    repeated: Mapping[str, str] = field(default_factory=dict)
    sends: bool = False

    def kills(self) -> Iterable[object]:
        """Every kill, as a parameter: the table, the point and which of its occurrences it is."""
        passed: Counter[str] = Counter()
        for index, point in enumerate([*self.points, *self.marks]):
            passed[point.name] += 1
            own = index >= self.common and not point.name.endswith(_SELDOM)
            if LONG or own:
                nth = passed[point.name]
                name = f"{self.scenario}-{point.name}-{nth}"
                yield pytest.param(self, point, nth, id=name)


#: Not killed at in the short run: as a rule nothing is different from the point before.
_SELDOM = (
    ".before",
    "model.after",
    "tool.after",
    "checkpoint.after",
    "process.wait.after",
    "process.resume.inside",
    "process.complete.after",
)

NOTHING = Left({}, [])


def every_kill(tables: Iterable[Table]) -> list[object]:
    return [kill for table in tables for kill in table.kills()]


# --- kinds of points ----------------------------------------------------------------------------------------


def done(what: str, before: str, after: str | None = None, again: str = "") -> list[Point]:
    """Something that is written to a process: what is left until it is through, and from then on."""
    until = [Point(f"process.{what}.{place}", before, again) for place in ("before", "inside")]
    return [*until, Point(f"process.{what}.after", after or before, again)]


def opened() -> list[Point]:
    """The runtime looks for wakes when it opens."""
    return [Point("wakes.before", "nothing"), Point("wakes.after", "nothing")]


def registered(left: str = "whole") -> list[Point]:
    return done("register", "nothing", left)


def recorded(what: str = "", left: str = "whole", also: str = "") -> list[Point]:
    """`what` has run and is written down."""
    again = f"{also} {what}".strip()
    before = [Point(name, left, again) for name in ("record.before", "record.inside")]
    return [*before, Point("record.after", left, also)]


def step(what: str, left: str = "whole", also: str = "") -> list[Point]:
    """A step. `also` is under way beside it."""
    return [Point(f"during.{what}", left, f"{also} {what}".strip()), *recorded(what, left, also)]


def waits(left: str = "whole", again: str = "") -> list[Point]:
    """It is written down that it waits."""
    return done("wait", left, again=again)


def resumes(left: str = "whole", again: str = "") -> list[Point]:
    return done("resume", left, again=again)


def completed(left: str = "whole") -> list[Point]:
    return done("complete", left)


# --- processes ------------------------------------------------------------------------------------------------


@cache
def worker() -> "subprocess.Popen[str]":
    """The process that forks the others. It ends when its input does."""
    process = subprocess.Popen(
        [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(process.communicate)
    return process


class ProcessScene:
    """A folder with a database, a ledger and keys, and the processes that meet there."""

    def __init__(self, folder: Path, table: Table) -> None:
        self._folder = folder
        self._table = table
        self._started = 0
        self._kills = 0

    def _run(self, mode: str, kill: tuple[str, int] | None = None) -> int:
        self._started += 1
        job = {
            "scenario": self._table.scenario,
            "mode": mode,
            "folder": str(self._folder),
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

    def _errors(self) -> str:
        return (self._folder / f"{self._label}.err").read_text()

    def killed(self, mode: str, point: str, nth: int) -> None:
        assert self._run(mode, (point, nth)) == -signal.SIGKILL, self._errors()
        self._kills += 1

    def other_killed(self, point: str, nth: int) -> dict[str, Any]:
        """The driver survives the death of the other process."""
        assert self._run("drive", (point, nth)) == 0, self._errors()
        facts = self._facts()
        assert facts["other"] == -signal.SIGKILL
        return facts

    def finished(self, mode: str) -> dict[str, Any]:
        assert self._run(mode) == 0, self._errors()
        return self._facts()

    def _facts(self) -> dict[str, Any]:
        text = (self._folder / f"{self._label}.json").read_text()
        text = _WORDING.sub(r"event: \1", _PLACE.sub(r"\1N", _UUID.sub("uuid", text)))
        facts: dict[str, Any] = json.loads(text)
        return facts

    def _lines(self, name: str) -> Sequence[str]:
        path = self._folder / name
        return path.read_text().splitlines() if path.exists() else []

    def left(self, facts: dict[str, Any], what: str, again: str = "", perhaps: str = "") -> None:
        """Assert what a store shows, and what was begun how often to get there."""
        known = NOTHING if what == "nothing" else self._table.left[what]
        begun = [facts["processes"][name].pop("begun") for name in facts["processes"]]
        may_be = [known] if isinstance(known, Left) else known
        shown = [each for each in may_be if facts["processes"] == _as_shown(each)]
        assert shown, f"{facts['processes']} is not {known}; {self._errors()}"
        left = shown[0]
        assert all(count <= self._table.begun + self._kills for count in begun)
        sessions = {
            name: {
                "state": "idle",
                "turns": [list(turn) for turn in turns],
                "history": [line.strip() for line in history.strip().splitlines()],
            }
            for name, (turns, history) in left.sessions.items()
        }
        assert facts["sessions"] == sessions, facts["sessions"]
        assert facts["queue"] == [list(item) for item in left.queue], facts["queue"]
        assert facts["twice"] == []
        assert facts["findings"] == []
        assert facts["leases"] == []
        # A lease lasts 30 s; the dead owner was recognised, not waited for.
        assert facts["settled_after"] < 10, facts["settled_after"]
        begun_at_all = Counter(self._lines("ledger"))
        surely = Counter([*left.starts, *again.split()])
        assert surely <= begun_at_all <= surely + Counter(perhaps.split()), begun_at_all
        # What is done again outside is done under the same key.
        keys = {line.split()[0]: line.split()[1] for line in self._lines("keys")}
        assert all(keys[what] == key for what, key in map(str.split, self._lines("keys")))


def _as_shown(left: Left) -> dict[str, Any]:
    return {
        name: {
            "status": process.status,
            "outcome": process.outcome,
            "events": list(process.events),
            "wakes": list(process.wakes),
            "ends": 0 if process.status in {"running", "waiting"} else 1,
            "reference": process.reference,
            "observers": list(process.observers),
            "tells": process.tells,
            "parked": process.parked,
        }
        for name, process in left.processes.items()
    }


def check_undisturbed(folder: Path, table: Table, left: str = "whole") -> None:
    """The scenario passes the points of its table, no others, and comes to what it says."""
    scene = ProcessScene(folder, table)
    facts = scene.finished("drive")
    trace = without_repeated_looks(facts["trace"])
    in_order = [point for point in trace if not point.startswith(_MARKS)]
    assert in_order == [point.name for point in table.points], trace
    beside = Counter(point for point in trace if point.startswith(_MARKS))
    # On a busy machine it is also written down that it waits where it does not wait for long.
    assert beside >= Counter(point.name for point in table.marks)
    scene.left(facts, left)


def check_kill(folder: Path, table: Table, point: Point, nth: int) -> None:
    """One process dies at a point; another one goes on with what was accepted, without being asked."""
    scene = ProcessScene(folder, table)
    if point.is_of_other:
        facts = scene.other_killed(point.name, nth)
    else:
        scene.killed("drive", point.name, nth)
        if table.sends:
            scene.finished("send")
        facts = scene.finished("recover")
    scene.left(facts, point.left, point.again)
    if LONG and not point.is_of_other:
        # Whoever starts the same under the same names finds it where it is.
        again = point.again if point.left != "nothing" else ""
        after = table.repeated.get(point.left, "whole")
        scene.left(scene.finished("again"), after, again)


class Pair(NamedTuple):
    """Two kills: of the process that drives, then of the one that goes on; a third finishes.

    Of what runs beside the second kill it is not known how far it got: `perhaps` it is begun once more.
    """

    first: str
    first_nth: int
    second: str
    second_nth: int
    left: str
    again: str = ""
    perhaps: str = ""


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
    scene = ProcessScene(folder, table)
    scene.killed("drive", pair.first, pair.first_nth)
    if table.sends:
        scene.finished("send")
    scene.killed("recover", pair.second, pair.second_nth)
    scene.left(scene.finished("recover"), pair.left, pair.again, pair.perhaps)
