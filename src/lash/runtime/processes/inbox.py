"""The signals of one running process: each wait takes the next one that no wait took (process spec 7).

The log is what is true; it is read again whenever there may be news. Without timeouts the n-th wait on a
name gets the n-th signal of that name; a wait that timed out takes none.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from lash.core.clock import Clock
from lash.core.json import JsonObject
from lash.effects.outcomes import AwaitEventOutcome
from lash.effects.racing import raced
from lash.effects.waits.model import ResolvedOk, ResolvedTimeout
from lash.processes.event_types import signal_type
from lash.processes.events import ProcessEvent
from lash.processes.model import SignalCursor
from lash.processes.store import ProcessStore
from lash.runtime.processes.news import ProcessNews

#: How many signals are read at once.
_PAGE = 256


class _Mail:
    """The signals of one name."""

    __slots__ = ("beyond", "read", "through", "waiters", "waiting")

    def __init__(self, cursor: SignalCursor) -> None:
        self.through = cursor.through  # all up to here were taken
        self.beyond = Counter(
            cursor.beyond
        )  # and these: by how many waits, if some came to nothing
        self.read = cursor.through  # all up to here were read
        self.waiting: deque[ProcessEvent] = deque()  # read, and not taken
        self.waiters: deque[object] = deque()  # in the order in which they asked

    def taken(self, sequence: int) -> None:
        if sequence > self.through:
            self.beyond[sequence] += 1

    def given_back(self, sequence: int) -> bool:
        """One wait less took it; whether it is free now."""
        if self.beyond[sequence] > 1:
            self.beyond[sequence] -= 1
            return False
        return self.beyond.pop(sequence, 0) > 0

    @property
    def cursor(self) -> SignalCursor:
        """All that was read and does not wait was taken: one number says so."""
        through = max(self.through, self.waiting[0].sequence - 1 if self.waiting else self.read)
        beyond = sorted(each for each in self.beyond if each > through)
        return SignalCursor(through=through, beyond=tuple(beyond))


class SignalInbox:
    """Hands out signals in order, each once.

    Args:
        store: Whose log it is.
        news: Tells when to read.
        clock: For waits that end.
        process_id: The process.
        cursors: What earlier segments took.
    """

    def __init__(
        self,
        store: ProcessStore,
        news: ProcessNews,
        clock: Clock,
        process_id: str,
        cursors: Mapping[str, SignalCursor],
    ) -> None:
        self._store = store
        self._news = news
        self._clock = clock
        self._process_id = process_id
        self._mail = {name: _Mail(cursor) for name, cursor in cursors.items()}

    def mark_taken(self, name: str, sequences: Iterable[int]) -> None:
        """Signals that the journal says were taken."""
        mail = self._named(name)
        for sequence in sequences:
            mail.taken(sequence)

    def cursors(self) -> Mapping[str, SignalCursor]:
        """What was taken so far, for the next segment."""
        return {name: mail.cursor for name, mail in self._mail.items()}

    def _named(self, name: str) -> _Mail:
        mail = self._mail.get(name)
        if mail is None:
            mail = self._mail[name] = _Mail(SignalCursor())
        return mail

    @contextmanager
    def queueing(self, name: str) -> Iterator[object]:
        """A place among those who wait for signals of a name: whoever asked first is given the first."""
        mail, place = self._named(name), object()
        mail.waiters.append(place)
        try:
            yield place
        finally:
            mail.waiters.remove(place)
            if mail.waiters and mail.waiting:
                self._news.bump(self._process_id)  # whoever is first now

    async def take(
        self, name: str, place: object, due_at_ms: int | None = None
    ) -> ProcessEvent | None:
        """The next signal of a name; waits for one that comes until it is due, and gives None then.

        A signal that came later is not taken, although it may be there by now: what a wait comes to
        does not depend on when its process was run again.
        """
        mail = self._named(name)
        with self._news.listening(self._process_id) as came:
            while True:
                came.clear()
                while not mail.waiting and await self._read(name, mail):
                    pass  # all of it was taken before
                if mail.waiting and mail.waiters[0] is place:
                    event = mail.waiting[0]
                    if due_at_ms is not None and event.occurred_at_ms > due_at_ms:
                        return None
                    mail.waiting.popleft()
                    mail.taken(event.sequence)
                    return event
                if due_at_ms is None:
                    await came.wait()
                elif not await self._came_before(came, due_at_ms):
                    return None

    async def taking(
        self,
        name: str,
        place: object,
        due_at_ms: int | None,
        taken: list[ProcessEvent],
    ) -> AwaitEventOutcome:
        """What waiting for a signal comes to; what it took is put into `taken`, should it be given back."""
        event = await self.take(name, place, due_at_ms)
        if event is None:
            return AwaitEventOutcome(resolution=ResolvedTimeout())
        taken.append(event)
        payload: JsonObject = {"sequence": event.sequence, "payload": event.payload}
        return AwaitEventOutcome(resolution=ResolvedOk(payload=payload))

    def put_back(self, name: str, event: ProcessEvent) -> None:
        """The wait that took a signal came to nothing, so it is the next one's."""
        mail = self._named(name)
        if not mail.given_back(event.sequence):
            return
        mail.waiting = deque(sorted((event, *mail.waiting), key=lambda each: each.sequence))
        self._news.bump(self._process_id)

    def release(self, name: str, sequence: int) -> None:
        """What an earlier run took came to nothing, so it is the next one's."""
        mail = self._named(name)
        if not mail.given_back(sequence):
            return
        # Read all of it again: it may have been passed over.
        mail.read = mail.through
        mail.waiting.clear()
        self._news.bump(self._process_id)

    async def _came_before(self, came: asyncio.Event, due_at_ms: int) -> bool:
        left = due_at_ms - self._clock.now_ms()
        if left <= 0:
            return False
        heard, _ = await raced(came.wait(), self._clock.sleep(left / 1000))
        return heard.done() or self._clock.now_ms() < due_at_ms

    async def _read(self, name: str, mail: _Mail) -> bool:
        """Read what came since; False when there was nothing."""
        events = await self._store.process_events(
            self._process_id, after=mail.read, event_type=signal_type(name), limit=_PAGE
        )
        for event in events:
            if event.sequence <= mail.read:
                continue  # another wait has read it meanwhile
            mail.read = event.sequence
            if event.sequence not in mail.beyond:
                mail.waiting.append(event)
        return bool(events)
