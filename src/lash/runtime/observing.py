"""Observing sessions: what a reader of a session is told, from any point on, without hole or repetition.

A reader begins with a snapshot or after a cursor and then gets events (`observed`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias

import msgspec

from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.effects.waits.hints import (
    HINT_S,
    POLL_FIRST_S,
    POLL_MAX_S,
    changed_within,
    token_of,
)
from lash.runtime.events import (
    TurnEvent,
)
from lash.runtime.live_replay import Entry, GapReason, LiveReplay, ReplayGap, Subscription
from lash.runtime.observed import (
    AgentFrameSwitched,
    Committed,
    Event,
    Gap,
    Item,
    LiveTurns,
    Notice,
    Observed,
    ProcessChanged,
    QueueChanged,
    SessionView,
    Snapshot,
    TurnActivity,
    TurnInterrupted,
    correlation,
    grown,
)
from lash.sessions.cursor import SessionCursor, format_cursor, parse_cursor
from lash.sessions.model import SessionHead, SessionNode, TurnRecord
from lash.turn.messages import Message

_log = logging.getLogger("lash.runtime")

#: Looking takes at most a tenth of the time, however many sessions are observed.
_REST_PER_LOOK = 9
#: How often a view is read again because the session moved on meanwhile.
_VIEW_ATTEMPTS = 64

# --- one runtime's worth of observing ---------------------------------------------------------------


class ObservedStore(Protocol):
    """What observing reads of a store."""

    async def load_head(self, session_id: str) -> SessionHead | None:
        """Where a session stands."""
        ...

    async def load_path(self, session_id: str, *, whole: bool = False) -> Sequence[SessionNode]:
        """The path to the session's leaf, root first."""
        ...

    async def load_nodes(self, session_id: str, turn_ids: Sequence[str]) -> Sequence[SessionNode]:
        """The nodes that the session's newest turns have added, in order."""
        ...

    async def list_turns(self, session_id: str, *, after: int = 0) -> Sequence[TurnRecord]:
        """The turns committed after a revision, in order."""
        ...

    async def change_token(self) -> int | None:
        """A number that changes when anybody wrote to the store; None when it cannot tell."""
        ...


class _Activity(msgspec.Struct, frozen=True):
    """An activity as it is kept: its ids are made only for those who read it."""

    turn_id: str
    event: TurnEvent


_Kept: TypeAlias = _Activity | Notice


class _Session:
    """A session that is observed, or of which a turn runs here.

    Attributes:
        id: The session.
        live: What was shown of the turns that run here.
        observers: How many read it.
        revision: The commit that the newest live event stands for; None while nobody needs it.
        known: It exists in the store.
        deleted: It was deleted.
    """

    __slots__ = ("deleted", "id", "known", "live", "observers", "revision")

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.live = LiveTurns()
        self.observers = 0
        self.revision: int | None = None
        self.known = False
        self.deleted = False


class Observations:
    """The observable life of one runtime's sessions. Use it on the event loop's thread.

    Whoever drives tells it what happens (`announce`, `committed`, …): these calls are synchronous,
    take constant time and never raise. Readers `observe`. What other processes commit is found in
    the store while somebody observes.

    Args:
        store: Where committed turns are read.
        clock: The runtime's clock.
        incarnation: Names this run of the runtime, without colons or spaces; never used twice.
        drives: Whether this runtime holds a session, so that nobody else can commit to it.
        capacity: How many live events of a session are kept for readers that come back.
        max_age_ms: How long they are kept.
    """

    def __init__(
        self,
        store: ObservedStore,
        clock: Clock,
        incarnation: str,
        *,
        drives: Callable[[str], bool] = lambda _: False,
        capacity: int = 2048,
        max_age_ms: int = 120_000,
    ) -> None:
        self.replay: LiveReplay[_Kept] = LiveReplay(clock, incarnation, capacity, max_age_ms)
        self.closed = False
        self._store = store
        self._clock = clock
        self._drives = drives
        self._sessions: dict[str, _Session] = {}
        self._observers = 0
        self._following: asyncio.Task[None] | None = None

    # --- told by whoever drives -----------------------------------------------------------------

    def announce(self, session_id: str, turn_id: str, event: TurnEvent) -> None:
        """Something happened in a turn driven here."""
        try:
            session = self._sessions.get(session_id)
            if session is None:
                session = self._sessions[session_id] = _Session(session_id)
            session.live.apply(turn_id, event)
            self.replay.append(session_id, _Activity(turn_id, event))
            if not session.live:
                self._forget_idle(session_id)
        except Exception:  # noqa: BLE001  what is watched must not suffer from being watched
            _log.exception("an event of turn %s was lost to its observers", turn_id)
            self.replay.cut(session_id)

    def committed(
        self, record: TurnRecord, messages: Sequence[Message], frame_id: str | None = None
    ) -> None:
        """A turn was committed, with all the messages it added to the path.

        Args:
            record: The turn.
            messages: What it added, those of a frame it opened included.
            frame_id: The agent frame it opened.
        """
        session_id, session = record.session_id, self._sessions.get(record.session_id)
        if session is not None:
            shown = session.live.discard(record.turn_id)
            stands = session.revision
            if stands is not None and record.revision <= stands and not shown:
                return  # it was found in the store first, and told
            if stands is not None and record.revision > stands + 1:
                self.replay.cut(session_id)
            session.revision = max(record.revision, stands or 0)
            session.known = True
        commit = Committed(
            turn_id=record.turn_id,
            revision=record.revision,
            record=record,
            messages=tuple(messages),
        )
        self.replay.append(session_id, commit)
        if frame_id is not None:
            self.replay.append(session_id, AgentFrameSwitched(frame_id=frame_id))
        self._forget_idle(session_id)

    def interrupted(self, session_id: str, turn_ids: Iterable[str]) -> None:
        """Turns are not driven here any more, and are not committed."""
        session = self._sessions.get(session_id)
        for turn_id in turn_ids:
            if session is not None:
                session.live.discard(turn_id)
            self.replay.append(session_id, TurnInterrupted(turn_id=turn_id))
        self._forget_idle(session_id)

    def queue_changed(
        self,
        session_id: str,
        kind: Literal["enqueued", "cancelled", "taken"],
        input_ids: Iterable[str],
    ) -> None:
        """Input was queued, taken back, or taken by a turn."""
        self.replay.append(session_id, QueueChanged(kind=kind, input_ids=tuple(input_ids)))

    def process_changed(
        self,
        session_id: str,
        kind: Literal["started", "cancelled", "ended"],
        process_ids: Iterable[str],
    ) -> None:
        """Background processes of the session were started, cancelled, or ended."""
        self.replay.append(session_id, ProcessChanged(kind=kind, process_ids=tuple(process_ids)))

    def replaced(self, session_id: str) -> None:
        """The history was changed otherwise than by a turn on top: readers begin from a new view."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.revision = None  # until the store is read again
        self.replay.cut(session_id)

    def deleted(self, session_id: str) -> None:
        """The session is gone: its readers end with `session_deleted`."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.deleted = True
            session.live = LiveTurns()
        self.replay.cut(session_id)
        self._forget_idle(session_id)

    # --- readers --------------------------------------------------------------------------------

    def observe(self, session_id: str, cursor: str | None = None) -> "Observation":
        """Observe a session: `async with observations.observe(id) as items: async for item in items`.

        Args:
            session_id: The session; it need not exist yet.
            cursor: A cursor of an item seen before, to go on after it.

        Raises:
            LashError: `session_cursor_malformed`, `session_cursor_wrong_session`, before anything is
                read; `runtime_closed`.
        """
        self._refuse_closed()
        after = parse_cursor(cursor, session_id) if cursor is not None else None
        return Observation(self, session_id, after)

    async def aclose(self) -> None:
        """End every reader with `runtime_closed`."""
        self.closed = True
        for session_id in self._sessions:
            self.replay.nudge(session_id)
        await self._stop_following()

    def join(self, session_id: str) -> _Session:
        """Begin to read; for `Observation`."""
        self._refuse_closed()
        session = self._sessions.setdefault(session_id, _Session(session_id))
        session.observers += 1
        self._observers += 1
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(
                self._follow(), name="lash-observe"
            )
        return session

    async def leave(self, session: _Session) -> None:
        """Read no more; for `Observation`."""
        session.observers -= 1
        self._observers -= 1
        self._forget_idle(session.id)
        if not self._observers:
            await self._stop_following()

    def refuse(self, session: _Session) -> None:
        """Raise why a session cannot be read on, if it cannot.

        Raises:
            LashError: `runtime_closed`, `session_deleted`.
        """
        self._refuse_closed()
        if session.deleted:
            raise LashError(
                "session_deleted",
                f"Session {session.id!r} was deleted; there is nothing more to observe.",
                session_id=session.id,
            )

    async def view(
        self, session: _Session, places: Subscription[_Kept]
    ) -> tuple[SessionView, frozenset[str]]:
        """The session as it is where `places` then stands, read from the store.

        Also the turns that the view holds as committed although their last live events, and the word
        of their commit, are still to come.

        Raises:
            LashError: `session_deleted`, `runtime_closed`; the store's own.
        """
        for _ in range(_VIEW_ATTEMPTS):
            places.restart()  # what happens while the store is read is noticed
            head = await self._store.load_head(session.id)
            path = (
                await self._store.load_path(session.id, whole=True) if head and head.leaf_id else ()
            )
            if head is None and session.known:
                self.deleted(session.id)
            self.refuse(session)
            leaf = path[-1].node_id if path else None
            if leaf != (head.leaf_id if head else None):
                continue  # it moved between the two readings
            # Nothing is awaited from here on: the view, its cursor and its live text are one moment.
            view = _caught_up(_view(session.id, head, path), places)
            if view is None or view.revision < (session.revision or 0):
                continue
            session.known = head is not None
            if session.revision is None:
                session.revision = view.revision
            committed = {node.turn_id for node in path if node.session_id == session.id}
            live = session.live.view()
            early = frozenset(turn.turn_id for turn in live if turn.turn_id in committed)
            shown = tuple(turn for turn in live if turn.turn_id not in early)
            return msgspec.structs.replace(view, live=shown), early
        raise LashError(
            "store_failed",
            f"Session {session.id!r} changed again and again while its history was read; try again.",
            session_id=session.id,
        )

    async def catch_up(self, session: _Session, cursor: SessionCursor) -> bool:
        """Make sure that a reader who comes back is told what other processes committed meanwhile.

        False when the store does not know the reader's commit.
        """
        head = await self._store.load_head(session.id)
        if cursor.revision > (head.revision if head else 0):
            return False
        if session.revision is None:
            kept = self.replay.replay(session.id, cursor)
            kept = () if isinstance(kept, ReplayGap) else kept
            told = [one.event.revision for one in kept if isinstance(one.event, Committed)]
            session.revision = max([cursor.revision, *told])
        await self._look(session)
        return True

    # --- commits of other processes -------------------------------------------------------------

    async def _follow(self) -> None:
        wait = POLL_FIRST_S
        while True:
            token = await token_of(self._store)  # before looking: nothing is missed
            began = self._clock.monotonic()
            watched = [session for session in self._sessions.values() if session.observers]
            moved = False
            for session in watched:
                if not self._drives(session.id):
                    moved = await self._look_quietly(session) or moved
            rest = min(POLL_MAX_S, (self._clock.monotonic() - began) * _REST_PER_LOOK)
            if rest > HINT_S:
                await self._clock.sleep(rest)
            changed = await changed_within(self._store, self._clock, wait, token)
            wait = POLL_FIRST_S if changed or moved else min(wait * 2, POLL_MAX_S)
            self.replay.sweep()

    async def _look_quietly(self, session: _Session) -> bool:
        try:
            return await self._look(session)
        except Exception:  # noqa: BLE001  the next look may find the store again
            _log.debug("session %s cannot be followed just now", session.id, exc_info=True)
            return False

    async def _look(self, session: _Session) -> bool:
        """Tell the readers what was committed elsewhere; whether there was anything."""
        head = await self._store.load_head(session.id)
        if head is None:
            gone = session.known and not session.deleted
            if gone:
                self.deleted(session.id)
            return gone
        session.known = True
        since = session.revision
        if since is None or head.revision <= since:
            return False
        records = await self._store.list_turns(session.id, after=since)
        turn_ids = [record.turn_id for record in records]
        nodes = await self._store.load_nodes(session.id, turn_ids)
        if self._sessions.get(session.id) is session and session.revision == since:
            self._tell(session, head, records, nodes)
        return True

    def _tell(
        self,
        session: _Session,
        head: SessionHead,
        records: Sequence[TurnRecord],
        added: Sequence[SessionNode],
    ) -> None:
        revision = session.revision
        for record in records:
            if (
                revision is None
                or record.revision != revision + 1
                or record.revision > head.revision
            ):
                break
            nodes = [node for node in added if node.turn_id == record.turn_id]
            messages = [node.message for node in nodes if node.message is not None]
            frames = [node.frame.frame_id for node in nodes if node.frame is not None]
            self.committed(record, messages, frames[-1] if frames else None)
            revision = record.revision
        if revision != head.revision:
            # It moved otherwise than by turns on top of each other.
            session.revision = head.revision
            self.replay.cut(head.session_id)

    # --- small things ---------------------------------------------------------------------------

    def _refuse_closed(self) -> None:
        if self.closed:
            raise LashError("runtime_closed", "The runtime is closed; open it again to go on.")

    def _forget_idle(self, session_id: str) -> None:
        session = self._sessions.get(session_id)
        if session is not None and not session.observers and not session.live:
            del self._sessions[session_id]

    async def _stop_following(self) -> None:
        task, self._following = self._following, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


def _view(session_id: str, head: SessionHead | None, path: Sequence[SessionNode]) -> SessionView:
    if head is None:
        return SessionView(session_id=session_id)
    return SessionView(
        session_id=session_id,
        revision=head.revision,
        messages=tuple(node.message for node in path if node.message is not None),
        turn_index=head.turn_index,
        usage=head.usage,
    )


def _caught_up(view: SessionView, places: Subscription[_Kept]) -> SessionView | None:
    """The view with the commits that came while it was read; None when one of them is missing."""
    while (entry := places.take()) is not None:
        if isinstance(entry, ReplayGap):
            return None
        commit = entry.event
        if not isinstance(commit, Committed) or commit.revision <= view.revision:
            continue
        if commit.revision > view.revision + 1:
            return None
        view = grown(view, commit)
    return view


class Observation:
    """One reader's items; leave the block to let go of everything. A call can be cancelled safely.

    Without a cursor the first item is a `Snapshot`. A `Gap` comes whenever events are missing, and the
    stream goes on from there by itself.

    Raises:
        LashError: While iterating: `session_deleted`, `runtime_closed`, `stream_not_entered`; the
            store's own, after which the reader may go on.
    """

    def __init__(self, home: Observations, session_id: str, after: SessionCursor | None) -> None:
        self.session_id = session_id
        self._home = home
        self._after = after
        self._session: _Session | None = None
        self._places: Subscription[_Kept] | None = None
        self._connected = False
        self._closed = False
        self._missing: GapReason | None = None
        self._at = after  # where the reader stands
        self._previewed: set[str] = set()
        self._early: frozenset[str] = frozenset()

    async def __aenter__(self) -> Self:
        if self._session is not None:
            raise LashError("stream_not_entered", "This was entered before; call `observe` again.")
        self._session = self._home.join(self.session_id)
        self._places = self._home.replay.subscribe(self.session_id, self._after)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of everything; whoever waits for an item here is told that there are no more."""
        if self._session is not None and self._places is not None and not self._closed:
            self._closed = True
            self._places.close()
            await self._home.leave(self._session)

    def __aiter__(self) -> AsyncIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        session, places = self._session, self._places
        if session is None or places is None:
            raise LashError(
                "stream_not_entered",
                "Observe a session inside its block: `async with ….observe(id) as items:`.",
            )
        while not self._closed:
            self._home.refuse(session)
            if not self._connected:
                await self._connect(session, places)
            elif self._at is None or self._missing is not None:
                return await self._whole(session, places)
            elif (item := self._next(session, places, self._at)) is not None:
                return item
            elif self._missing is None:
                await places.ready()
        raise StopAsyncIteration

    async def _connect(self, session: _Session, places: Subscription[_Kept]) -> None:
        """See whether the store leads on from the cursor."""
        after = self._after if places.gap is None else None
        if after is not None and not await self._home.catch_up(session, after):
            self._missing = "unavailable"
        self._connected = True

    async def _whole(self, session: _Session, places: Subscription[_Kept]) -> Item:
        view, self._early = await self._home.view(session, places)
        before, missing, self._missing = self._at, self._missing, None
        self._previewed = {turn.turn_id for turn in view.live}
        cursor = self._move(places.position, view.revision)
        if missing is None or before is None:
            return Snapshot(view=view, cursor=cursor)
        return Gap(reason=missing, view=view, cursor=cursor, requested=format_cursor(before))

    def _next(
        self, session: _Session, places: Subscription[_Kept], at: SessionCursor
    ) -> Item | None:
        """The next event there is to tell; None when there is none, or one is missing."""
        while (entry := places.take()) is not None:
            if isinstance(entry, ReplayGap):
                self._missing = entry.reason
                return None
            revision = at.revision
            if isinstance(entry.event, Committed):
                if entry.event.revision > revision + 1:
                    self._missing = "unavailable"
                    return None
                revision = max(revision, entry.event.revision)
            event = self._told(entry, at)
            cursor = self._move(entry.position, revision)
            if event is not None:
                return Event(event=event, cursor=cursor)
        if at.revision < (session.revision or 0):
            self._missing = "unavailable"
        return None

    def _told(self, entry: Entry[_Kept], at: SessionCursor) -> Observed | None:
        """The event as the reader gets it; None when its view covers it already."""
        event = entry.event
        match event:
            case _Activity(turn_id=turn_id, event=happened):
                if turn_id in self._early:
                    return None
                return TurnActivity(
                    id=f"{self._home.replay.incarnation}.{entry.position}",
                    correlation_id=correlation(turn_id, happened),
                    turn_id=turn_id,
                    event=happened,
                )
            case Committed(turn_id=turn_id, revision=revision):
                previewed = turn_id in self._previewed
                self._previewed.discard(turn_id)
                self._early -= {turn_id}
                return event if revision > at.revision or previewed else None
            case _:
                return event

    def _move(self, position: int, revision: int) -> str:
        self._at = SessionCursor(
            session_id=self.session_id,
            revision=revision,
            incarnation=self._home.replay.incarnation,
            position=position,
        )
        return format_cursor(self._at)
