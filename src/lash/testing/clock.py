"""A clock that stands still until a test moves it: leases expire and timers fire without waiting."""

import asyncio

_NANOS = 1_000_000_000
_NANOS_PER_MS = 1_000_000


class VirtualClock:
    """A `lash.core.clock.Clock` whose time passes only in `advance`.

    Tasks that sleep wake in the order of their due times; those due at the same moment, in the order
    in which they went to sleep. A task runs only after `advance` has returned and the test awaits
    something, so it sees the time after the whole step; make small steps where that matters.

        clock = VirtualClock()
        waiting = asyncio.create_task(clock.sleep(30))
        await asyncio.sleep(0)      # the task goes to sleep
        clock.advance(30)
        await waiting

    Use it on the thread of the event loop; only reading the time is safe from others.

    Args:
        start_ms: What `now_ms` says at first.
    """

    def __init__(self, start_ms: int = 1_750_000_000_000) -> None:
        self._start_ms = start_ms
        self._elapsed = 0  # in nanoseconds: sums of many small steps stay exact
        self._sleepers: dict[tuple[int, int], asyncio.Future[None]] = {}
        self._arrivals = 0

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self._start_ms + self._elapsed // _NANOS_PER_MS

    def monotonic(self) -> float:
        """Seconds that were advanced in all."""
        return self._elapsed / _NANOS

    @property
    def sleeping(self) -> int:
        """How many tasks sleep."""
        return len(self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was advanced by `seconds`; nothing or less gives way once."""
        nanos = round(seconds * _NANOS)
        if nanos <= 0:
            await asyncio.sleep(0)
            return
        self._arrivals += 1
        key = (self._elapsed + nanos, self._arrivals)
        woken = asyncio.get_running_loop().create_future()
        self._sleepers[key] = woken
        try:
            await woken
        finally:
            self._sleepers.pop(key, None)

    def advance(self, seconds: float) -> None:
        """Let time pass and wake, in order, everybody who is due.

        Raises:
            ValueError: Time was asked to go back.
        """
        if seconds < 0:
            message = f"time cannot go back: advance({seconds})"
            raise ValueError(message)
        self._elapsed += round(seconds * _NANOS)
        for key in sorted(key for key in self._sleepers if key[0] <= self._elapsed):
            woken = self._sleepers.pop(key)
            if not woken.done():  # cancelled, and not yet unwound
                woken.set_result(None)
