"""Waiting for promises: rows are the truth, everything else is a hint to read them (D6).

One task reads for all who wait in this process: when somebody here has resolved something, when the
store's change token moves, and now and then without any hint, ever more slowly. It runs only while
somebody waits.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from lash.core.cancel import CancelToken
from lash.core.clock import Clock
from lash.core.errors import LashError, StoreError
from lash.effects.racing import raced, set_when_cancelled
from lash.effects.shielding import shielded
from lash.effects.waits.hints import POLL_FIRST_S, POLL_MAX_S, changed_within, token_of
from lash.effects.waits.model import (
    AlreadyResolved,
    Resolution,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedTimeout,
    unknown_or_revoked,
)
from lash.effects.waits.store import AwaitEventStore
from lash.effects.waits.transitions import (
    WaitPending,
    WaitResolved,
    WaitRevoked,
    WaitRow,
    WaitState,
    is_due,
)

_log = logging.getLogger("lash.effects")


class Parking(Protocol):
    """Told when a wait really waits, and when it no longer does."""

    def begin_waiting(self) -> None:
        """There is no answer yet."""
        ...

    def end_waiting(self) -> None:
        """There is one, or the wait was given up."""
        ...


class _Waiter:
    """One task that waits; woken whenever it should look again."""

    __slots__ = ("_parked", "_parking", "error", "row", "state", "wake")

    def __init__(self, row: WaitRow, parking: Parking | None) -> None:
        self.row = row
        self.state: WaitState | None = None
        self.error: Exception | None = None
        self.wake = asyncio.Event()
        self._parking = parking
        self._parked = False

    def park(self) -> None:
        """Say that there is nothing to do before somebody answers."""
        if self._parking is not None and not self._parked:
            self._parked = True
            self._parking.begin_waiting()

    def unpark(self) -> None:
        """Say that there is something to do: as soon as it is known, not when the task gets to it."""
        if self._parking is not None and self._parked:
            self._parked = False
            self._parking.end_waiting()

    def fail(self, error: Exception) -> None:
        """The promise cannot be waited for."""
        self.error = error
        self.unpark()
        self.wake.set()

    def see(self, state: WaitState) -> None:
        """How the promise stands; the task goes on unless it is still open."""
        if isinstance(state, WaitPending):
            return
        self.state = state
        self.unpark()
        self.wake.set()

    async def woken(self) -> None:
        await self.wake.wait()
        self.wake.clear()


class WaitBoard:
    """Who waits in this process, over one store."""

    def __init__(self, store: AwaitEventStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiters: dict[object, _Waiter] = {}
        self._nudged = asyncio.Event()
        self._closed = False
        self._reader: asyncio.Task[None] | None = None

    async def wait(
        self,
        row: WaitRow,
        cancel: CancelToken | None = None,
        deadline_at_ms: int | None = None,
        parking: Parking | None = None,
    ) -> Resolution:
        """Wait for a promise. Dropping the wait writes nothing.

        A deadline in the row, and a cancel, are resolutions like any other: proposed, and what won
        is returned. A promise that steers a turn is never written by its waiter.

        Args:
            row: The promise. Its deadline counts if this is the first wait; later ones keep the first.
            cancel: Gives up the wait.
            deadline_at_ms: For promises that steer a turn: when this waiter gives up.
            parking: Told while there is no answer.

        Raises:
            LashError: `await_event_unknown_or_revoked`, `turn_control_wait_cancelled`,
                `turn_control_wait_timeout`.
            StoreError: The store could not be read when the wait began.
        """
        waiter, place = _Waiter(row, parking), object()
        # On the board before the first read, so that nothing happens unseen in between.
        self._waiters[place] = waiter
        unsubscribe = set_when_cancelled(waiter.wake, cancel)
        try:
            waiter.state = await self._store.open_wait(row)
            while True:
                if waiter.error is not None:
                    raise waiter.error
                match waiter.state:
                    case WaitResolved(resolution=resolution):
                        return resolution
                    case WaitRevoked():
                        raise unknown_or_revoked()
                    case WaitPending(deadline_at_ms=own):
                        ended = await self._give_up(waiter, own, cancel, deadline_at_ms)
                        if ended is not None:
                            return ended
                    case _:  # retired meanwhile: begin again
                        waiter.state = await self._store.open_wait(row)
                        continue
                self._read_on()
                waiter.park()
                await self._next(waiter, deadline_at_ms if row.turn_control else own)
        finally:
            waiter.unpark()
            unsubscribe()
            del self._waiters[place]

    def settle(self, key_id: str, resolution: Resolution) -> None:
        """Something was resolved here: whoever waits for it goes on, without reading it again."""
        for waiter in self._waiters.values():
            if waiter.row.key_id == key_id:
                waiter.see(WaitResolved(resolution=resolution))

    def nudge(self) -> None:
        """Something was written here: look at once."""
        self._nudged.set()

    async def aclose(self) -> None:
        """Stop reading, and tell whoever still waits that the runtime is closed. Nothing is written."""
        self._closed = True
        for waiter in self._waiters.values():
            waiter.fail(closed())
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    # --- one waiter -----------------------------------------------------------------------------

    async def _give_up(
        self,
        waiter: _Waiter,
        due_at_ms: int | None,
        cancel: CancelToken | None,
        deadline_at_ms: int | None,
    ) -> Resolution | None:
        """The promise's end, if it is time for this waiter to give up; what won, not what it wanted."""
        now_ms, row = self._clock.now_ms(), waiter.row
        if row.turn_control:
            if cancel is not None and cancel.cancelled:
                raise LashError("turn_control_wait_cancelled", "The wait for a turn was given up.")
            if is_due(deadline_at_ms, now_ms):
                raise LashError(
                    "turn_control_wait_timeout", "The turn did not get there before the deadline."
                )
            return None
        proposal: Resolution | None = None
        if is_due(due_at_ms, now_ms):
            proposal = ResolvedTimeout()
        elif cancel is not None and cancel.cancelled:
            proposal = ResolvedCancelled()
        if proposal is None:
            return None
        waiter.unpark()
        return await self._propose(row, proposal)

    async def _propose(self, row: WaitRow, resolution: Resolution) -> Resolution:
        outcome = await shielded(self._store.resolve_wait(row, resolution))
        match outcome:
            case ResolveAccepted():
                self.settle(row.key_id, resolution)
                return resolution
            case AlreadyResolved(terminal=terminal):
                return terminal
            case _:
                raise unknown_or_revoked()

    async def _next(self, waiter: _Waiter, due_at_ms: int | None) -> None:
        """Wait until there is something to look at: a new state, a cancel, or the deadline."""
        if due_at_ms is None:
            await waiter.woken()
            return
        left = max(0.0, (due_at_ms - self._clock.now_ms()) / 1000)
        await raced(waiter.woken(), self._clock.sleep(left))

    # --- reading for all ------------------------------------------------------------------------

    def _read_on(self) -> None:
        """Have the rows read; a reader that is resting looks at once for whoever came just now."""
        if self._closed:
            raise closed()
        self.nudge()
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(
                self._read(), name="lash-await-events"
            )

    async def _read(self) -> None:
        wait = POLL_FIRST_S
        while self._waiters:
            try:
                # Read before the rows: a write in between moves it past what is remembered here.
                token = await token_of(self._store)
                await self._look()
            except Exception:  # noqa: BLE001  the store may answer the next time
                _log.warning("waits could not be read; trying again", exc_info=True)
                token = None
            told = await self._pause(wait, token)
            wait = POLL_FIRST_S if told else min(wait * 2, POLL_MAX_S)

    async def _look(self) -> None:
        self._nudged.clear()
        waiters = list(self._waiters.values())
        try:
            states = await self._store.inspect_waits([waiter.row for waiter in waiters])
        except StoreError as error:
            if error.terminal:
                await self._look_one_by_one(waiters)
                return
            raise
        for waiter in waiters:
            waiter.see(states[waiter.row.key_id])

    async def _look_one_by_one(self, waiters: Sequence[_Waiter]) -> None:
        """A row that cannot be read is told to who waits for it, and keeps nobody else waiting."""
        for waiter in waiters:
            try:
                waiter.see((await self._store.inspect_waits([waiter.row]))[waiter.row.key_id])
            except StoreError as error:
                if not error.terminal:
                    raise
                waiter.fail(error)

    async def _pause(self, seconds: float, token: int | None) -> bool:
        """Rest until the rows should be read again; whether that is because something was written."""
        changed = changed_within(self._store, self._clock, seconds, token)
        nudged, resting = await raced(self._nudged.wait(), changed)
        return nudged.done() or resting.result()


def closed() -> LashError:
    """What is told who waits when the runtime closes."""
    return LashError(
        "runtime_closed",
        "The runtime was closed before there was an answer. The wait goes on when it is asked for "
        "again; an answer is kept meanwhile.",
    )
