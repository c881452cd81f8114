"""Resting until a store was written to, or for a while if it cannot tell."""

from typing import Protocol

from lash.core.clock import Clock

#: How often a store's change token is looked at. A write is noticed within this and one read.
HINT_S = 0.03


class Changes(Protocol):
    """A store that may be able to tell that it was written to."""

    async def change_token(self) -> int | None:
        """A number that changes when anybody wrote to the store; None when it cannot tell."""
        ...


async def changed_within(store: Changes, clock: Clock, seconds: float, token: int | None) -> bool:
    """Rest up to `seconds`, or until the store is no longer as it was at `token`."""
    left = seconds
    while left > 0:
        tick = left if token is None else min(HINT_S, left)
        await clock.sleep(tick)
        left -= tick
        if token is not None and await store.change_token() != token:
            return True
    return False
