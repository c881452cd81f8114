"""Handing wakes over: from the outbox into the queues of sessions, as soon as they are there (spec 8)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from lash.core.clock import Clock
from lash.core.seams import SeamObserver
from lash.effects.racing import raced
from lash.effects.shielding import shielded
from lash.processes.store import ProcessStore

_log = logging.getLogger("lash.runtime")

#: What waits for a session that has not begun is looked at again after this, at the latest.
_SLOWLY_S = 30.0


class WakeDelivery:
    """Delivers wakes while the runtime is open.

    Args:
        store: Where the outbox is.
        clock: For wakes whose session has not begun.
        seams: Told where a crash would be interesting.
        see_to: Has a session's work taken up.
        resting: Told when there is nothing to deliver now.
    """

    def __init__(
        self,
        store: ProcessStore,
        clock: Clock,
        seams: SeamObserver,
        see_to: Callable[[str], Awaitable[None]],
        resting: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._seams = seams
        self._see_to = see_to
        self._resting = resting
        self._there = asyncio.Event()
        self._there.set()
        self._at_work = False

    @property
    def quiet(self) -> bool:
        """Whether nothing is being delivered or about to be."""
        return not self._at_work and not self._there.is_set()

    def woken(self) -> None:
        """A wake was put into the outbox."""
        self._there.set()

    async def run(self) -> None:
        """Deliver for as long as the runtime is open."""
        while True:
            await self._there.wait()
            self._at_work = True
            self._there.clear()
            rest: float | None = 1.0
            try:
                rest = await self._deliver()
            except Exception:  # noqa: BLE001  the store may take it the next time
                _log.warning("wakes could not be delivered; trying again", exc_info=True)
            finally:
                self._at_work = False
            self._resting()
            if rest is not None:
                await raced(self._there.wait(), self._clock.sleep(rest))
                self._there.set()

    async def _have_taken_up(self, session_id: str) -> None:
        try:
            await self._see_to(session_id)
        except Exception:  # noqa: BLE001  the others are to hear of theirs all the same
            _log.warning("session %s could not be taken up", session_id, exc_info=True)

    async def _deliver(self) -> float | None:
        """Deliver what is due; how long to rest then, unless nothing is left."""
        woken: dict[str, None] = {}
        try:
            while True:
                self._seams("wakes.before")
                passed = await shielded(self._store.deliver_wakes())
                self._seams("wakes.after")
                woken.update(dict.fromkeys(passed.delivered))
                if not passed.delivered and not passed.discarded:
                    break
        finally:
            # Once all are there: what waits together is told to the model together.
            for session_id in woken:
                await self._have_taken_up(session_id)
        if passed.next_attempt_at_ms is None:
            return None
        left = (passed.next_attempt_at_ms - self._clock.now_ms()) / 1000
        return min(max(left, 0.01), _SLOWLY_S)
