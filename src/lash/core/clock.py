"""Time and identity, injected: nothing else in lash reads a clock or draws an id.

Wall-clock milliseconds for what is stored, monotonic seconds for what is measured. Sleeping needs an
event loop, which this floor does not know, so a real clock is given its sleep by whoever builds it.
"""

import os
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


class Clock(Protocol):
    """Where time comes from."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, for what is stored."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back, for what is measured."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`; cancelling the task ends the wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._sleep = sleep

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds on the machine's monotonic clock."""
        return time.perf_counter()

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await self._sleep(max(0.0, seconds))


class IdSource(Protocol):
    """Where ids that cannot be derived come from: turns nobody named, lease nonces, owners."""

    def new(self, prefix: str) -> str:
        """A fresh id, `{prefix}_{26 characters}`, sorted by time of creation."""
        ...


class SystemIds:
    """Ids from the machine's clock and random source: 48 bits of time, 80 of chance, as ULIDs.

    Ids of one source sort in the order they were made, also within a millisecond and when the clock
    is set back.
    """

    def __init__(self) -> None:
        self._last = 0

    def new(self, prefix: str) -> str:
        """A fresh id; two calls never agree."""
        stamp = time.time_ns() // 1_000_000
        value = (stamp << 80) | int.from_bytes(os.urandom(10))
        if value <= self._last:
            # 64 random bits on top of the last id: later than it, and still nobody's guess.
            value = self._last + 1 + int.from_bytes(os.urandom(8))
        self._last = value
        digits = (_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))
        return f"{prefix}_{''.join(digits)}"


class SequentialIds:
    """Ids that count up, for tests and simulation: the same run gives the same ids."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, prefix: str) -> str:
        """`{prefix}_{n}` with n padded to sort."""
        self._count += 1
        return f"{prefix}_{self._count:026d}"
