"""What happened in each session of late, in bounded memory, for readers that come back or lag behind.

Appending stands in the path of every streamed word: it is synchronous, takes constant time, waits for
nobody and never raises. Readers hold nothing: each has a position in the session's one buffer, so a
replay goes over into live events without a seam, and a reader that is too slow finds a gap.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec

from lash.core.clock import Clock
from lash.core.json import Data
from lash.sessions.cursor import SessionCursor

_log = logging.getLogger("lash.runtime")

E = TypeVar("E")

#: Why events are missing. `trimmed`: they were kept too long ago. `unavailable`: this run does not
#: know them. `lagged`: the reader was connected and too slow.
GapReason: TypeAlias = Literal["trimmed", "unavailable", "lagged"]

#: Events kept over all sessions; past that, the session that was silent longest gives up its own.
_TOTAL = 262_144
#: Sessions whose last position is remembered after their events are gone.
_TAILS = 65_536


class Entry(msgspec.Struct, Generic[E], frozen=True):
    """An event, where it stands in its session and when it came (monotonic seconds)."""

    position: int
    at: float
    event: E


class ReplayGap(Data):
    """Events are missing: the reader has to begin from a fresh view."""

    reason: GapReason


class _Buffer(Generic[E]):
    """One session's events. Their positions are contiguous and the last one's is `tail`.

    `at` is when an event came, or when the events were last let go of. Nothing before `broken` leads
    on to what came after it.
    """

    __slots__ = ("at", "broken", "entries", "readers", "tail", "waiting")

    def __init__(self, tail: int, at: float) -> None:
        self.entries: deque[Entry[E]] = deque()
        self.tail = tail
        self.at = at
        self.broken = 0
        self.readers = 0
        self.waiting: list[asyncio.Future[None]] = []

    def lacks(self, position: int) -> bool:
        """Whether an event after `position` is no longer here."""
        return position < self.tail - len(self.entries)

    def wake(self) -> None:
        """Have every waiting reader look again."""
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


class LiveReplay(Generic[E]):
    """The live events of a runtime's sessions. Use it on the event loop's thread.

    Positions count from 1 in each session and never start again within an incarnation, also when the
    events themselves are gone: a cursor that is too old finds a gap, never other events.

    Args:
        clock: Its monotonic time is what events age by.
        incarnation: Names this run; cursors of another one are `unavailable`.
        capacity: How many events of a session are kept.
        max_age_ms: How long they are kept.
        total: How many events of all sessions are kept.
    """

    def __init__(
        self,
        clock: Clock,
        incarnation: str,
        capacity: int = 2048,
        max_age_ms: int = 120_000,
        total: int = _TOTAL,
    ) -> None:
        self.incarnation = incarnation
        self._clock = clock
        self._capacity = capacity
        self._max_age = max_age_ms / 1000
        self._total = max(total, capacity)
        self._held = 0
        self._buffers: OrderedDict[str, _Buffer[E]] = OrderedDict()  # longest silent first
        self._tails: OrderedDict[str, int] = OrderedDict()
        self._floor = 0  # the highest position of a session that is not remembered any more

    @property
    def held(self) -> int:
        """How many events are kept."""
        return self._held

    @property
    def buffers(self) -> int:
        """How many sessions have a buffer."""
        return len(self._buffers)

    # --- writing --------------------------------------------------------------------------------

    def append(self, session_id: str, event: E) -> None:
        """Keep an event and wake its readers. Never raises and never waits."""
        try:
            now = self._clock.monotonic()
            buffer = self._buffers.get(session_id)
            if buffer is None:
                buffer = self._open(session_id, now)
            entries = buffer.entries
            entries.append(Entry(buffer.tail + 1, now, event))
            buffer.tail += 1
            buffer.at = now
            self._held += 1
            oldest = now - self._max_age
            if len(entries) > self._capacity or entries[0].at < oldest:
                self._trim(buffer, oldest)
            self._buffers.move_to_end(session_id)
            self._retire(oldest)
            if buffer.waiting:
                buffer.wake()
        except Exception:  # noqa: BLE001  what is watched must not suffer from being watched
            _log.exception("a live event of session %s was lost", session_id)
            self.cut(session_id)

    def cut(self, session_id: str) -> None:
        """What comes next does not follow from what was seen so far: every reader finds a gap."""
        buffer = self._buffers.get(session_id)
        if buffer is None:
            self._remember(session_id, self.tail(session_id) + 1)
            return
        self._held -= len(buffer.entries)
        buffer.entries.clear()
        buffer.tail += 1
        buffer.broken = buffer.tail
        self.nudge(session_id)

    def nudge(self, session_id: str) -> None:
        """Have the readers of a session look again, though no event came."""
        buffer = self._buffers.get(session_id)
        if buffer is not None:
            buffer.wake()

    def sweep(self) -> None:
        """Let go of what is too old. Appending does so as well; call it where nothing is appended."""
        oldest = self._clock.monotonic() - self._max_age
        while self._buffers:
            session_id, buffer = next(iter(self._buffers.items()))
            if buffer.at >= oldest:
                return
            self._drop(session_id, buffer)

    # --- reading --------------------------------------------------------------------------------

    def tail(self, session_id: str) -> int:
        """The position of the newest event; 0 before the first one."""
        buffer = self._buffers.get(session_id)
        return self._tails.get(session_id, self._floor) if buffer is None else buffer.tail

    def replay(self, session_id: str, cursor: SessionCursor) -> Sequence[Entry[E]] | ReplayGap:
        """The events strictly after a cursor. No events means that nothing happened since."""
        tail, position = self.tail(session_id), cursor.position
        if cursor.incarnation != self.incarnation or position > tail:
            return ReplayGap(reason="unavailable")
        if position == tail:
            return ()
        buffer = self._buffers.get(session_id)
        if buffer is not None:
            self._trim(buffer, self._clock.monotonic() - self._max_age)
        if buffer is None or not buffer.entries or position < buffer.broken:
            return ReplayGap(reason="unavailable")
        if buffer.lacks(position):
            return ReplayGap(reason="trimmed")
        return [entry for entry in buffer.entries if entry.position > position]

    def subscribe(self, session_id: str, cursor: SessionCursor | None = None) -> "Subscription[E]":
        """Read on after a cursor, or without one from now on. Close it when done."""
        found = self.replay(session_id, cursor) if cursor is not None else ()
        buffer = self._buffers.get(session_id)
        if buffer is None:
            buffer = self._open(session_id, self._clock.monotonic())
        buffer.readers += 1
        gap = found if isinstance(found, ReplayGap) else None
        position = buffer.tail if cursor is None else cursor.position
        return Subscription(self, session_id, buffer, position, gap)

    def left(self, session_id: str, buffer: _Buffer[E]) -> None:
        """A subscription was closed."""
        buffer.readers -= 1
        buffer.wake()
        if not buffer.readers and not buffer.entries:
            self._drop(session_id, buffer)

    # --- room -----------------------------------------------------------------------------------

    def _open(self, session_id: str, now: float) -> _Buffer[E]:
        tail = self._tails.pop(session_id, self._floor)
        buffer: _Buffer[E] = _Buffer(tail, now)
        self._buffers[session_id] = buffer
        return buffer

    def _trim(self, buffer: _Buffer[E], oldest: float) -> None:
        entries = buffer.entries
        while entries and (len(entries) > self._capacity or entries[0].at < oldest):
            entries.popleft()
            self._held -= 1

    def _retire(self, oldest: float) -> None:
        """Let go of up to two sessions that are silent too long: more than one append can add."""
        for _ in range(2):
            session_id = next(iter(self._buffers))
            buffer = self._buffers[session_id]
            if buffer.at >= oldest and self._held <= self._total:
                return
            self._drop(session_id, buffer)

    def _drop(self, session_id: str, buffer: _Buffer[E]) -> None:
        self._held -= len(buffer.entries)
        if buffer.readers:
            buffer.entries.clear()
            buffer.at = self._clock.monotonic()  # looked at, so that silent ones do not come first
            self._buffers.move_to_end(session_id)
        else:
            del self._buffers[session_id]
            self._remember(session_id, buffer.tail)

    def _remember(self, session_id: str, tail: int) -> None:
        self._tails[session_id] = tail
        self._tails.move_to_end(session_id)
        if len(self._tails) > _TAILS:
            _, forgotten = self._tails.popitem(last=False)
            self._floor = max(self._floor, forgotten)


class Subscription(Generic[E]):
    """One reader's place in a session's events. It holds nothing but its position.

    Attributes:
        position: The last event taken.
        gap: Why reading on is not possible before `restart`.
    """

    def __init__(
        self,
        replay: LiveReplay[E],
        session_id: str,
        buffer: _Buffer[E],
        position: int,
        gap: ReplayGap | None,
    ) -> None:
        self.position = position
        self.gap = gap
        self._replay = replay
        self._session_id = session_id
        self._buffer = buffer
        self._closed = False

    def take(self) -> Entry[E] | ReplayGap | None:
        """The next event; a gap, again and again until `restart`; None when there is nothing new."""
        buffer, position = self._buffer, self.position
        if self.gap is not None:
            return self.gap
        if position == buffer.tail:
            return None
        if buffer.lacks(position):
            self.gap = ReplayGap(reason="unavailable" if position < buffer.broken else "lagged")
            return self.gap
        entry = buffer.entries[position - buffer.tail]
        self.position = entry.position
        return entry

    def restart(self) -> None:
        """Go on from now: skip what was not taken and forget the gap."""
        self.gap = None
        self.position = self._buffer.tail

    async def ready(self) -> None:
        """Wait until there may be something new; it may also be nothing."""
        if self._closed or self.gap is not None or self.position != self._buffer.tail:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer.waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._buffer.waiting:
                self._buffer.waiting.remove(waiter)

    def close(self) -> None:
        """Read no more."""
        if not self._closed:
            self._closed = True
            self._replay.left(self._session_id, self._buffer)
