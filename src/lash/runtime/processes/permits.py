"""How much runs at once: what runs holds a permit, and gives it back while all of it waits (spec 5.3).

A parent that waits for its child must not keep the child from running. A process may wait in several
branches: only when every one of them waits does it rest.
"""

import asyncio
from collections.abc import Callable

#: For so many turns of the loop nothing may have changed before a process is taken to rest. What comes
#: after an effect may take a few: a branch that ended is noticed by the one that waits for it.
_TURNS = 8


class Slot:
    """One running process's permit.

    Args:
        permits: Where permits come from; one is held from the start.
        on_parked: Called when all that is under way waits and the permit was given back.
        on_resumed: Called when the permit was taken again.
    """

    __slots__ = (
        "_busy",
        "_closed",
        "_held",
        "_on_parked",
        "_on_resumed",
        "_permits",
        "_stirred",
        "_taking",
        "_waiting",
    )

    def __init__(
        self,
        permits: asyncio.Semaphore,
        on_parked: Callable[[], None],
        on_resumed: Callable[[], None],
    ) -> None:
        self._permits = permits
        self._on_parked = on_parked
        self._on_resumed = on_resumed
        self._held = True
        self._busy = 0
        self._waiting = 0
        self._closed = False
        self._stirred = 0
        self._taking: asyncio.Future[None] | None = None

    @property
    def parked(self) -> bool:
        """Whether all that is under way waits."""
        return not self._held and not self._closed

    def begin(self) -> None:
        """An effect is under way."""
        self._stirred += 1
        self._busy += 1

    def end(self) -> None:
        """The effect is over; perhaps all others wait."""
        self._busy -= 1
        self._look_soon()

    def begin_waiting(self) -> None:
        """An effect that is under way waits."""
        self._waiting += 1
        self._look_soon()

    def end_waiting(self) -> None:
        """It no longer waits. Before it goes on it needs `ensure`."""
        self._waiting -= 1

    def _look_soon(self) -> None:
        # Not now: where an effect is over the next one may follow.
        self._stirred += 1
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._look, self._stirred, _TURNS)

    def _look(self, stirred: int, turns: int) -> None:
        if stirred != self._stirred:
            return  # something changed since; that looks again
        if turns:
            asyncio.get_running_loop().call_soon(self._look, stirred, turns - 1)
        elif self._held and 0 < self._waiting == self._busy:
            self._held = False
            self._permits.release()
            self._on_parked()

    async def ensure(self) -> None:
        """Hold the permit, waiting for one if it was given back."""
        while not self._held and not self._closed:
            if self._taking is not None:
                await asyncio.shield(self._taking)
                continue
            await self._take()

    async def _take(self) -> None:
        """Take the permit again, for every branch of the process that waits for it."""
        self._taking = taking = asyncio.get_running_loop().create_future()
        try:
            await self._permits.acquire()
            if self._closed:
                self._permits.release()
                return
            self._held = True
            self._on_resumed()
        finally:
            self._taking = None
            if not taking.done():
                taking.set_result(None)

    def close(self) -> None:
        """The process runs no more: the permit is somebody else's."""
        self._closed = True
        if self._held:
            self._held = False
            self._permits.release()
