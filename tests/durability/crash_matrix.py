"""What the crash matrices have in common on the tests' side: where to kill, and the processes that die.

`crash_scene` has the matrix of sessions and turns, `process_scene` the one of durable processes.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

#: Whether every point is killed at; or only those that are the scenario's own, and of these not those
#: where as a rule nothing has changed since the point before.
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


@dataclass(frozen=True)
class KillTable:
    """A scenario's table, as far as it says where to kill.

    Attributes:
        scenario: Its name.
        points: The points it passes, in order, with what a kill there leaves.
        common: How many points it has in common with a scenario that is tested at each of them.
        repeated: What is left once the application did the same again, by what was left before.
    """

    #: How the points are called that are not killed at in the short run.
    seldom: ClassVar[tuple[str, ...]] = (".before",)

    scenario: str
    points: Sequence[Point]
    common: int = field(default=0, kw_only=True)
    repeated: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def killed_at(self) -> Sequence[Point]:
        """The points that somebody may be killed at."""
        return self.points

    def kills(self) -> Iterable[object]:
        """Every kill, as a parameter: the table, the point and which of its occurrences it is."""
        passed: Counter[str] = Counter()
        for index, point in enumerate(self.killed_at()):
            passed[point.name] += 1
            if LONG or (index >= self.common and not point.name.endswith(self.seldom)):
                nth = passed[point.name]
                name = f"{self.scenario}-{point.name}-{nth}"
                yield pytest.param(self, point, nth, id=name)


def every_kill(tables: Iterable[KillTable]) -> list[object]:
    return [kill for table in tables for kill in table.kills()]


@dataclass(frozen=True)
class Pair:
    """Two kills: of the process that drives, then of the one that goes on; a third finishes."""

    first: str
    first_nth: int
    second: str
    second_nth: int
    left: str
    again: str = ""


def pairs(table: KillTable, *kills: Pair) -> list[object]:
    return [
        pytest.param(
            table,
            pair,
            id=f"{table.scenario}-{pair.first}-{pair.first_nth}+{pair.second}-{pair.second_nth}",
        )
        for pair in kills
    ]


def without_repeated_looks(trace: Sequence[str]) -> Sequence[str]:
    """A trace in which a process takes a session once: it may look again, and find nothing new."""
    look = "claim.inside"
    first = trace.index(look) if look in trace else 0
    return [point for at, point in enumerate(trace) if point != look or at == first]


@cache
def _worker(script: Path) -> "subprocess.Popen[str]":
    """The process that forks the others. It ends when its input does."""
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(process.communicate)
    return process


class KillScene:
    """A folder with a database and a ledger, and the processes that meet there."""

    def __init__(self, folder: Path, scenario: str, worker: Path) -> None:
        self.folder = folder
        #: How many processes were killed so far, without the other one.
        self.kills = 0
        self._scenario = scenario
        self._worker = worker
        self._started = 0

    def _run(self, mode: str, kill: tuple[str, int] | None = None) -> int:
        self._started += 1
        job = {
            "scenario": self._scenario,
            "mode": mode,
            "folder": str(self.folder),
            "label": self._label,
            "kill": kill,
        }
        process = _worker(self._worker)
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
        self.kills += 1

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
        text = self.without_chance((self.folder / f"{self._label}.json").read_text())
        facts: dict[str, Any] = json.loads(text)
        return facts

    def without_chance(self, text: str) -> str:
        """What a process found, without what differs from run to run and no table can name."""
        return text

    def lines(self, name: str) -> Sequence[str]:
        """What is written in a file of the folder, if it is there."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []
