"""Who waits for a turn, or for the turn that takes an item of a queue.

Each caller has a ticket of its own, so that none can take another's away.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from lash.core.tiers import DurabilityTier
from lash.runtime.events import TurnEvent
from lash.sessions.model import TurnRecord

_log = logging.getLogger("lash.runtime")

Observer: TypeAlias = Callable[[TurnEvent], None]


class Ticket:
    """One caller's claim on the result of a turn. Dropping it does not stop the turn.

    Attributes:
        session_id: The session.
        turn_id: The turn.
        durability: How much survives the process that drives it.
        observer: Told what is really executed; None to hear nothing (more).
        attached: The turn was accepted before; this caller came later.
    """

    def __init__(
        self,
        followers: "Followers",
        session_id: str,
        turn_id: str,
        durability: DurabilityTier,
        observer: Observer | None = None,
    ) -> None:
        self.session_id = session_id
        self.turn_id = turn_id
        self.durability = durability
        self.observer = observer
        self.attached = False
        self._followers = followers
        self._result: asyncio.Future[TurnRecord] = asyncio.get_running_loop().create_future()

    @property
    def done(self) -> bool:
        """Whether the turn's end, or the reason why it cannot be reached here, is known."""
        return self._result.done()

    async def record(self) -> TurnRecord:
        """The committed turn.

        Raises:
            LashError: The turn cannot be driven here now; it stays accepted.
        """
        return await asyncio.shield(self._result)

    def when_done(self, callback: Callable[[], None]) -> None:
        """Call back once the end is known; soon, if it is already."""
        self._result.add_done_callback(lambda _: callback())

    def leave(self) -> None:
        """Wait no longer. The turn goes on."""
        self._followers.remove(self)

    def settle(self, record: TurnRecord) -> None:
        """The turn was committed."""
        if not self.done:
            self._result.set_result(record)

    def fail(self, error: Exception) -> None:
        """The turn cannot be driven here now."""
        if not self.done:
            self._result.set_exception(error)
            self._result.exception()  # retrieved: whoever dropped the ticket need not hear of it


class Followers:
    """The tickets of one runtime, by turn."""

    def __init__(self) -> None:
        self._tickets: dict[tuple[str, str], list[Ticket]] = {}

    def add(self, ticket: Ticket) -> None:
        """Tell this ticket from now on."""
        self._tickets.setdefault((ticket.session_id, ticket.turn_id), []).append(ticket)

    def remove(self, ticket: Ticket) -> None:
        """Tell this ticket nothing more."""
        key = (ticket.session_id, ticket.turn_id)
        left = [item for item in self._tickets.get(key, ()) if item is not ticket]
        if left:
            self._tickets[key] = left
        else:
            self._tickets.pop(key, None)

    def has(self, ticket: Ticket) -> bool:
        """Whether somebody still holds this ticket and waits."""
        return ticket in self._tickets.get((ticket.session_id, ticket.turn_id), ())

    def any_of(self, session_id: str) -> bool:
        """Whether anybody waits for a turn of a session."""
        return any(session == session_id for session, _ in self._tickets)

    def announce(self, session_id: str, turn_id: str, event: TurnEvent) -> None:
        """Tell the observers of a turn; one that fails is logged and does not disturb the turn."""
        for ticket in tuple(self._tickets.get((session_id, turn_id), ())):
            if ticket.observer is None:
                continue
            try:
                ticket.observer(event)
            except Exception:  # noqa: BLE001  an observer must not change what it observes
                _log.exception("an observer of turn %s failed", turn_id)

    def restarted(self, session_id: str, turn_id: str, restarted_as: str) -> None:
        """A turn goes by another id from now on."""
        for ticket in self._tickets.pop((session_id, turn_id), ()):
            ticket.turn_id = restarted_as
            self.add(ticket)

    def settled(self, session_id: str, turn_id: str, record: TurnRecord) -> None:
        """A turn was committed."""
        for ticket in self._tickets.pop((session_id, turn_id), ()):
            ticket.settle(record)

    def failed(self, session_id: str, turn_ids: Sequence[str], error: Exception) -> None:
        """Turns cannot be driven here now."""
        for turn_id in turn_ids:
            for ticket in self._tickets.pop((session_id, turn_id), ()):
                ticket.fail(error)

    def unclaimed(self, session_id: str, error: Exception) -> None:
        """No turn that was accepted before can be driven here now.

        Who is accepting at this moment brings a lease along, and is told for itself.
        """
        waiting = [ticket for tickets in self._tickets.values() for ticket in tickets]
        for ticket in waiting:
            if ticket.session_id == session_id and ticket.attached:
                self.remove(ticket)
                ticket.fail(error)

    def close(self, error: Exception) -> None:
        """Nothing is driven here any more."""
        tickets, self._tickets = self._tickets, {}
        for waiting in tickets.values():
            for ticket in waiting:
                ticket.fail(error)


class News:
    """What happens here in a session while somebody waits for an item of its queue.

    Attributes:
        came: Set when there is something new.
        turn_id: The turn that cannot go on here, if one cannot.
        error: Why not.
    """

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.turn_id = ""
        self.error: Exception | None = None

    def failed(self, turn_id: str, error: Exception) -> None:
        """A turn of the session cannot go on here."""
        self.turn_id, self.error = turn_id, error
        self.came.set()


class ItemWaiters:
    """Who waits here for items of queues to be taken, by session."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[News]] = {}

    @contextmanager
    def listening(self, session_id: str) -> Iterator[News]:
        """What happens in a session, for as long as somebody waits."""
        news = News()
        self._waiting.setdefault(session_id, set()).add(news)
        try:
            yield news
        finally:
            self._waiting[session_id].discard(news)
            if not self._waiting[session_id]:
                del self._waiting[session_id]

    def any_of(self, session_id: str) -> bool:
        """Whether anybody waits for an item of the session's queue."""
        return session_id in self._waiting

    def taken(self, session_id: str) -> None:
        """A turn that is driven here took items: whoever waits for one looks at once."""
        for news in self._waiting.get(session_id, ()):
            news.came.set()

    def failed(self, session_id: str, turn_id: str, error: Exception) -> None:
        """A turn cannot go on here: whoever waits for what is behind it is told."""
        for news in self._waiting.get(session_id, ()):
            news.failed(turn_id, error)
