"""Whether a scope is working or only waits for the outside; the latter keeps nobody busy."""

from collections.abc import Callable


class Occupancy:
    """Counts the effects under way, and those of them that wait.

    Plain calls and no context managers: every effect passes here.

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

    def begin(self) -> None:
        """An effect is under way."""
        self._busy += 1

    def end(self) -> None:
        """The effect is over."""
        self._busy -= 1
        self._tell()

    def begin_waiting(self) -> None:
        """An effect that is under way waits for the outside."""
        self._waiting += 1
        self._tell()

    def end_waiting(self) -> None:
        """The effect goes on."""
        self._waiting -= 1

    def _tell(self) -> None:
        if self._waiting and self._on_parked is not None and self.parked:
            self._on_parked()
