"""The tests' side of the crash matrix: processes to kill, and tables of what must be left.

A table lists every point that a scenario passes, in order, by what is going on there. What a kill at a
point of a kind means was written down by hand, once per kind:

- `accepted`, `queued`, `forked`…: until the transaction is through nothing of it is there; then all.
- `model`, `tool`: from the start to the record, it is started once more; before and after, it is not.
- `taken`, `waited`: asking again gives the same answer, and no body is started.
- `committed`: the turn stands, or the next process commits the same; nothing is started.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from crash_matrix import LONG, KillScene, KillTable, Pair, Point, without_repeated_looks

WORKER = Path(__file__).with_name("crash_worker.py")


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
class Table(KillTable):
    """A scenario's table, with every point it passes.

    Attributes:
        left: What the names in `points` mean. `nothing` is always the same.
    """

    left: Mapping[str, Left]


NOTHING = Left({}, "")


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


class Scene(KillScene):
    """A scene of sessions and turns."""

    def __init__(self, folder: Path, table: Table) -> None:
        super().__init__(folder, table.scenario, WORKER)
        self._table = table

    def without_chance(self, text: str) -> str:
        # A child session's name has a hash of the call in it.
        return re.sub(r":child:[0-9a-f]{24}:", ":child:", text)

    def starts(self) -> dict[str, int]:
        return dict(Counter(self.lines("ledger")))

    def left(self, facts: dict[str, Any], what: str, again: str = "") -> None:
        """Assert what a store shows, and what was started how often to get there."""
        left = NOTHING if what == "nothing" else self._table.left[what]
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


def check_pair(folder: Path, table: Table, pair: Pair) -> None:
    """Two crashes in a row converge."""
    scene = Scene(folder, table)
    scene.killed("drive", pair.first, pair.first_nth)
    scene.killed("recover", pair.second, pair.second_nth)
    scene.left(scene.finished("recover"), pair.left, pair.again)
