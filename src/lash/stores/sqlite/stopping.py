"""Requests to stop a turn in SQLite: reads facts, calls the planner, persists its plan."""

import sqlite3
from collections.abc import Mapping, Sequence

from lash.core.cancel import Cancellation
from lash.core.clock import Clock
from lash.core.json import encode
from lash.core.seams import SeamObserver
from lash.sessions.stopping import (
    CancelFacts,
    CancelOutcome,
    CancelRequest,
    CancelRequested,
    for_child,
    going_on,
    is_child_of,
    plan_cancel,
)
from lash.stores.sqlite import heads, queries, rows
from lash.stores.sqlite.columns import checked, text
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.writer import Writer


class TurnCancelTable:
    """Who asked which turn to stop; see `lash.sessions.store.SessionStore`."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, seams: SeamObserver) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._seams = seams

    async def request(self, request: CancelRequest) -> CancelOutcome:
        """Ask a turn to stop."""
        return await self._writer.submit(lambda connection: self._request(connection, request))

    def _request(self, connection: sqlite3.Connection, request: CancelRequest) -> CancelOutcome:
        session_id = request.session_id
        outcome = plan_cancel(_facts(connection, request), request)
        if isinstance(outcome, CancelRequested):
            evidence = text(outcome.cancellation)
            values = (session_id, outcome.turn_id, evidence, self._clock.now_ms())
            connection.execute(queries.ADD_CANCELLATION, values)
            why = for_child(outcome.cancellation)
            stop_children(connection, session_id, outcome.turn_id, why, self._clock.now_ms())
            self._seams("cancel.inside")
        return outcome

    async def among(self, session_ids: Sequence[str]) -> Mapping[tuple[str, str], Cancellation]:
        """Who was asked to stop among the open turns of some sessions."""
        wanted = (encode(list(session_ids)).decode(),)

        def operation(connection: sqlite3.Connection) -> Mapping[tuple[str, str], Cancellation]:
            found = connection.execute(queries.CANCELLED_AMONG, wanted).fetchall()
            return {
                (checked(session, str), checked(turn, str)): rows.cancellation(evidence)
                for session, turn, evidence in found
            }

        return await self._readers.read(operation)


def stop_children(
    connection: sqlite3.Connection, session_id: str, turn_id: str, why: Cancellation, now_ms: int
) -> None:
    """Ask the child sessions that a turn has begun to stop, and theirs."""
    for (child,) in connection.execute(queries.SESSIONS_OF_ORIGIN, (session_id,)).fetchall():
        head, _ = heads.read_head(connection, child)
        if head is None or not is_child_of(head.relation, session_id, turn_id):
            continue
        for turn in rows.open_turns(connection, child):
            if turn.cancellation is None:
                values = (child, turn.turn_id, text(why), now_ms)
                connection.execute(queries.ADD_CANCELLATION, values)
                stop_children(connection, child, turn.turn_id, why, now_ms)


def _facts(connection: sqlite3.Connection, request: CancelRequest) -> CancelFacts:
    session_id = request.session_id
    head, _ = heads.read_head(connection, session_id)
    known = rows.find_turn(connection, session_id, request.turn_id)
    following = going_on(known, request.turn_id, rows.open_turns(connection, session_id))
    open_turn = following or (known.open if known else None)
    turn_id = open_turn.turn_id if open_turn else request.turn_id
    return CancelFacts(
        exists=head is not None,
        open=open_turn,
        record=known.record if known else None,
        requested=rows.read_cancellation(connection, session_id, turn_id),
    )
