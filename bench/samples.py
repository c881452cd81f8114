"""What a bench measures, round by round, and what all rounds come to."""

import statistics
from typing import TypeAlias

#: A measure: its median, lowest and highest value, and how often it was taken.
Facts: TypeAlias = dict[str, dict[str, float]]


class Samples:
    """What was measured, by name, a value or more each round."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def note(self, name: str, value: float) -> None:
        """Keep a value."""
        self._values.setdefault(name, []).append(value)

    def last(self, name: str) -> float:
        """This round's value."""
        return self._values[name][-1]

    def ratio(self, name: str, of: str, to: str) -> None:
        """Keep how many times as much this round's value is as another one of it."""
        self.note(name, self.last(of) / self.last(to))

    def facts(self) -> Facts:
        """What all rounds came to."""
        return {
            name: {
                "median": statistics.median(values),
                "low": min(values),
                "high": max(values),
                "n": len(values),
            }
            for name, values in self._values.items()
        }
