"""Whether a scope is working or only waits for the outside; the latter keeps nobody busy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Occupancy:
    """Counts the effects under way, and those of them that wait.

    Args:
        on_parked: Called when the last effect that worked begins to wait.
    """

    __slots__ = ("_busy", "_on_parked", "_waiting")

    def __init__(self, on_parked: Callable[[], None] | None = None) -> None:
        self._busy = 0
        self._waiting = 0
        self._on_parked = on_parked

    @property
    def parked(self) -> bool:
        """Whether there are effects under way, and every one of them waits."""
        return 0 < self._busy == self._waiting

    @contextmanager
    def busy(self) -> Iterator[None]:
        """An effect is under way."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._tell()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The effect waits for the outside."""
        self._waiting += 1
        self._tell()
        try:
            yield
        finally:
            self._waiting -= 1

    def _tell(self) -> None:
        if self._on_parked is not None and self.parked:
            self._on_parked()
