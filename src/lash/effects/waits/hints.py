"""Resting until a store was written to, or for a while if it cannot tell."""

import logging
from typing import Protocol

from lash.core.clock import Clock

_log = logging.getLogger("lash.effects")

#: How often a store's change token is looked at. A write is noticed within this and one read.
HINT_S = 0.03

#: How often rows are read that others may change: ever more seldom, unless the store says that somebody
#: wrote.
POLL_FIRST_S = 0.025
POLL_MAX_S = 1.0


class Changes(Protocol):
    """A store that may be able to tell that it was written to."""

    async def change_token(self) -> int | None:
        """A number that changes when anybody wrote to the store; None when it cannot tell."""
        ...


async def token_of(store: Changes) -> int | None:
    """The store's change token; None also when it cannot be read just now: it is only a hint."""
    try:
        return await store.change_token()
    except Exception:  # noqa: BLE001  whoever reads the rows next is told what is wrong
        _log.debug("the change token cannot be read", exc_info=True)
        return None


async def changed_within(store: Changes, clock: Clock, seconds: float, token: int | None) -> bool:
    """Rest up to `seconds`, or until the store is no longer as it was at `token`."""
    left = seconds
    while left > 0:
        tick = left if token is None else min(HINT_S, left)
        await clock.sleep(tick)
        left -= tick
        if token is None:
            continue
        now = await token_of(store)
        if now is not None and now != token:
            return True
        token = now
    return False
