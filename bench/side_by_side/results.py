"""What was measured: every figure of every round, on which machine, and what came of the aims."""

import datetime as dt
import os
import platform
import sqlite3
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from side_by_side.contenders import LIMITS, OURS, PEERS, Contender
from side_by_side.workloads import AIMS, MEASURES, Aim

CONTENDERS = {each.name: each for each in (*OURS, *LIMITS, *PEERS)}


def machine() -> dict[str, str]:
    """Where, when and with what it was measured."""
    now = dt.datetime.now(dt.UTC)
    return {
        "date": now.date().isoformat(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an aim.

    Attributes:
        aim: The aim.
        found: How many times as good, or the figure itself.
        met: Whether it was reached.
    """

    aim: Aim
    found: float
    met: bool


@dataclass(slots=True)
class Results:
    """The figures, by contender and measure.

    Attributes:
        machine: Where, when and with what.
        rounds: How often everything was done.
        quick: Whether it was only to see that all of it works.
        figures: What was measured, a value for each round.
        missing: Who was not measured, and why.
    """

    machine: Mapping[str, str]
    rounds: int
    quick: bool = False
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def note(self, contender: Contender, figures: Mapping[str, float]) -> None:
        """Keep what a contender measured in one run."""
        for name, figure in figures.items():
            self.figures.setdefault(contender.name, {}).setdefault(name, []).append(figure)

    def median(self, contender: str, measure: str) -> float | None:
        """The median of the rounds, if there were any."""
        values = self.figures.get(contender, {}).get(measure)
        return statistics.median(values) if values else None

    def spread(self, contender: str, measure: str) -> float:
        """Half of what lies between the lowest and the highest value, as a part of the median."""
        values = self.figures[contender][measure]
        return (max(values) - min(values)) / 2 / (statistics.median(values) or 1)

    def times_as_good(self, measure: str, subject: str, other: str) -> float | None:
        """How many times as good one contender is as another."""
        ours, theirs = self.median(subject, measure), self.median(other, measure)
        return None if ours is None or theirs is None else better(measure, ours, theirs)

    def verdicts(self) -> list[Verdict]:
        """What came of the aims that can be told."""
        found = [(aim, self._found(aim)) for aim in AIMS]
        return [
            Verdict(aim, value, _is_met(aim, value)) for aim, value in found if value is not None
        ]

    def _found(self, aim: Aim) -> float | None:
        ours = self.median(aim.subject, aim.measure)
        if aim.against is None or ours is None:
            return ours
        theirs = self.median(aim.against, aim.against_measure or aim.measure)
        return None if theirs is None else better(aim.measure, ours, theirs)

    def plain(self) -> dict[str, object]:
        """All of it as JSON."""
        return {
            "machine": dict(self.machine),
            "rounds": self.rounds,
            "quick": self.quick,
            "settings": {name: CONTENDERS[name].settings for name in self.figures},
            "figures": {
                contender: {
                    measure: {
                        "median": statistics.median(values),
                        "low": min(values),
                        "high": max(values),
                        "values": values,
                    }
                    for measure, values in measured.items()
                }
                for contender, measured in self.figures.items()
            },
            "missing": self.missing,
            "aims": [
                {
                    "measure": each.aim.measure,
                    "subject": each.aim.subject,
                    "against": each.aim.against,
                    "at_least": each.aim.at_least,
                    "at_most": each.aim.at_most,
                    "found": each.found,
                    "met": each.met,
                }
                for each in self.verdicts()
            ],
        }


def better(measure: str, ours: float, theirs: float) -> float:
    """How many times as good a figure is as another: higher rates, and less of all else."""
    if MEASURES[measure].more_is_better:
        return ours / theirs
    return theirs / ours


def _is_met(aim: Aim, found: float) -> bool:
    if aim.at_least is not None:
        return found >= aim.at_least
    return aim.at_most is not None and found <= aim.at_most
