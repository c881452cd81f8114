"""Asking again later, and later still, what cannot be done just now."""

from lash.core.clock import Clock

_FIRST_S = 0.05
_MOST_S = 2.0


class Rests:
    """Each twice as long as the one before, from 50 ms to two seconds, for as often as it takes."""

    __slots__ = ("_clock", "_next_s")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next_s = _FIRST_S

    async def rest(self) -> None:
        """Wait; the next wait is twice as long."""
        await self._clock.sleep(self._next_s)
        self._next_s = min(self._next_s * 2, _MOST_S)
