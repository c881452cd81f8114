"""Reading sessions in SQLite, beside whoever writes."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence

from lash.core.clock import Clock
from lash.core.leases import Fence, LeaseOwner, LeaseState
from lash.sessions.accepting import KnownTurn, OpenSession
from lash.sessions.model import (
    AcceptedTurn,
    SessionHead,
    SessionNode,
    SessionSummary,
    TurnRecord,
)
from lash.sessions.summary import summarise
from lash.sessions.usage import UsageEntry
from lash.stores.sqlite import graph, heads, queries, rows
from lash.stores.sqlite.columns import Row, checked
from lash.stores.sqlite.queue import first_waiting
from lash.stores.sqlite.readers import Readers


class SessionReadings:
    """What is read of sessions; see `lash.sessions.store.SessionStore`."""

    def __init__(
        self, readers: Readers, clock: Clock, is_dead: Callable[[LeaseOwner], bool]
    ) -> None:
        self._readers = readers
        self._clock = clock
        self._is_dead = is_dead

    async def find_turn(self, session_id: str, turn_id: str) -> KnownTurn | None:
        """A turn, open or committed."""
        return await self._readers.read(
            lambda connection: rows.find_turn(connection, session_id, turn_id)
        )

    async def open(self) -> Sequence[OpenSession]:
        """Sessions with something accepted that is not committed, oldest first."""
        now_ms = self._clock.now_ms()

        def operation(connection: sqlite3.Connection) -> Sequence[OpenSession]:
            found = {item for (item,) in connection.execute(queries.OPEN_SESSIONS).fetchall()}
            queued = connection.execute(queries.QUEUED_SESSIONS, (now_ms,)).fetchall()
            found.update(session_id for (session_id,) in queued)
            sessions = [_open_session(connection, item, now_ms) for item in found]
            return sorted(sessions, key=lambda item: (item.since_ms, item.session_id))

        return await self._readers.read(operation)

    async def idle_leases_of_the_dead(self) -> Mapping[str, Fence]:
        """What owners hold that are proven dead, of sessions in which nothing is open."""

        def operation(connection: sqlite3.Connection) -> Mapping[str, Fence]:
            found = connection.execute(queries.LEASES_IDLE).fetchall()
            states = {checked(row[0], str): heads.lease_state(row[1:]) for row in found}
            return {
                session_id: state.held.fence
                for session_id, state in states.items()
                if state.held is not None and self._is_dead(state.held.owner)
            }

        return await self._readers.read(operation)

    async def lease_of(self, session_id: str) -> LeaseState:
        """Who holds a session."""
        return await self._readers.read(lambda connection: heads.read_lease(connection, session_id))

    async def head(self, session_id: str) -> SessionHead | None:
        """Where a session stands."""
        head, _ = await self._readers.read(
            lambda connection: heads.read_head(connection, session_id)
        )
        return head

    async def path(self, session_id: str, *, whole: bool) -> Sequence[SessionNode]:
        """The path to the leaf, root first; from the opening of the frame unless `whole`."""
        return await self._readers.read(
            lambda connection: graph.read_path(connection, session_id, whole=whole)
        )

    async def nodes(self, session_id: str, turn_ids: Sequence[str]) -> Sequence[SessionNode]:
        """The nodes that a session's newest turns have added, in order."""
        return await self._readers.read(
            lambda connection: graph.read_nodes(connection, session_id, turn_ids)
        )

    async def summaries(self) -> Sequence[SessionSummary]:
        """All sessions, most recently changed first."""
        return await self._readers.read(
            lambda connection: [
                self._summary(row) for row in connection.execute(queries.LIST_SESSIONS)
            ]
        )

    async def summary(self, session_id: str) -> SessionSummary | None:
        """One session, as it would be listed."""

        def operation(connection: sqlite3.Connection) -> SessionSummary | None:
            row: Row | None = connection.execute(queries.SESSION, (session_id,)).fetchone()
            return None if row is None else self._summary(row)

        return await self._readers.read(operation)

    def _summary(self, row: Row) -> SessionSummary:
        width = heads.HEAD_WIDTH
        head, _ = heads.session_head(row[:width])
        updated_at_ms, open_turns, parked, queued, *lease = row[width:]
        return summarise(
            head,
            running=is_live(heads.lease_state(tuple(lease)), self._clock.now_ms(), self._is_dead),
            open_turns=checked(open_turns, int),
            queued=checked(queued, int),
            parked=rows.parked_reason(parked),
            updated_at_ms=checked(updated_at_ms, int),
        )

    async def turns(self, session_id: str, after: int) -> Sequence[TurnRecord]:
        """The committed turns of a session behind a revision, in order."""
        return await self._readers.read(
            lambda connection: [
                rows.turn_record(row)
                for row in connection.execute(queries.LIST_TURNS, (session_id, after))
            ]
        )

    async def open_turns(self, session_id: str) -> Sequence[AcceptedTurn]:
        """The turns of a session that are accepted and not committed, in order."""
        return await self._readers.read(lambda connection: rows.open_turns(connection, session_id))

    async def usage(self, session_id: str) -> Sequence[UsageEntry]:
        """What a session used, by source and model."""
        return await self._readers.all(queries.USAGE, session_id, graph.usage_entry)


def is_live(state: LeaseState, now_ms: int, is_dead: Callable[[LeaseOwner], bool]) -> bool:
    """Whether somebody who may be alive holds a lease."""
    held = state.held
    if held is None or held.expires_at_ms <= now_ms:
        return False
    return not is_dead(held.owner)


def _open_session(connection: sqlite3.Connection, session_id: str, now_ms: int) -> OpenSession:
    turns = rows.open_turns(connection, session_id)
    item, agent = first_waiting(connection, session_id, now_ms), None
    if item is not None:
        head, _ = heads.read_head(connection, session_id)
        agent = item.agent or (head.agent if head else None)
    since = [turns[0].accepted_at_ms] if turns else []
    since += [item.enqueued_at_ms] if item else []
    return OpenSession(
        session_id=session_id,
        turns=turns,
        lease=heads.read_lease(connection, session_id),
        queued=agent,
        since_ms=min(since, default=now_ms),
    )
