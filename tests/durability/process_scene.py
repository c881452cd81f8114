"""The tests' side of the processes' crash matrix: `crash_scene`, with what durable processes leave.

A table lists every point that a scenario passes, in order, with what a kill there leaves and what is
begun once more. It was written down by hand, by these rules:

- Until it is registered nothing is there; from then on it comes to the same end as undisturbed.
- A step, tool or model call is begun once more if it was begun and not recorded, and else is not.
- Events, signals and wakes are there once, whatever is done again.

Marks are points whose place among the others is left open: that a process waits is written down beside
what it does, and wakes are delivered beside it.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from crash_matrix import LONG, KillScene, KillTable, Pair, Point, without_repeated_looks

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
class Table(KillTable):
    """A scenario's table. What is left once its application did the same again is `whole`, as a rule.

    Attributes:
        left: What the names in `points` mean; one of several, where it was not decided yet. `nothing`
            is always the same.
        marks: The points whose place among the others is left open.
        begun: How often its processes are begun if nobody dies.
        sends: The outside has something to say to it, and says it again when somebody died.
    """

    #: As a rule nothing is different there from the point before.
    seldom: ClassVar[tuple[str, ...]] = (
        ".before",
        "model.after",
        "tool.after",
        "checkpoint.after",
        "process.wait.after",
        "process.resume.inside",
        "process.complete.after",
    )

    left: Mapping[str, Left | Sequence[Left]]
    marks: Sequence[Point] = ()
    begun: int = 1
    sends: bool = False

    def killed_at(self) -> Sequence[Point]:
        return [*self.points, *self.marks]


NOTHING = Left({}, [])


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


class ProcessScene(KillScene):
    """A scene of durable processes, with keys that something outside is done under."""

    def __init__(self, folder: Path, table: Table) -> None:
        super().__init__(folder, table.scenario, WORKER)
        self._table = table

    def without_chance(self, text: str) -> str:
        return _WORDING.sub(r"event: \1", _PLACE.sub(r"\1N", _UUID.sub("uuid", text)))

    def left(self, facts: dict[str, Any], what: str, again: str = "", perhaps: str = "") -> None:
        """Assert what a store shows, and what was begun how often to get there."""
        known = NOTHING if what == "nothing" else self._table.left[what]
        begun = [facts["processes"][name].pop("begun") for name in facts["processes"]]
        may_be = [known] if isinstance(known, Left) else known
        shown = [each for each in may_be if facts["processes"] == _as_shown(each)]
        assert shown, f"{facts['processes']} is not {known}; {self.errors()}"
        left = shown[0]
        assert all(count <= self._table.begun + self.kills for count in begun)
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
        begun_at_all = Counter(self.lines("ledger"))
        surely = Counter([*left.starts, *again.split()])
        assert surely <= begun_at_all <= surely + Counter(perhaps.split()), begun_at_all
        # What is done again outside is done under the same key.
        keys = {line.split()[0]: line.split()[1] for line in self.lines("keys")}
        assert all(keys[what] == key for what, key in map(str.split, self.lines("keys")))


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


@dataclass(frozen=True)
class PairBeside(Pair):
    """Of what runs beside the second kill it is not known how far it got.

    Attributes:
        perhaps: What is begun once more, or is not.
    """

    perhaps: str = ""


def check_pair(folder: Path, table: Table, pair: Pair) -> None:
    """Two crashes in a row converge."""
    scene = ProcessScene(folder, table)
    scene.killed("drive", pair.first, pair.first_nth)
    if table.sends:
        scene.finished("send")
    scene.killed("recover", pair.second, pair.second_nth)
    perhaps = pair.perhaps if isinstance(pair, PairBeside) else ""
    scene.left(scene.finished("recover"), pair.left, pair.again, perhaps)
