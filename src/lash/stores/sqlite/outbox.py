"""Wakes on their way to sessions in SQLite: handing one over is one transaction with the queue."""

import sqlite3
from collections.abc import Sequence

import msgspec

from lash.core.clock import Clock
from lash.core.seams import SeamObserver
from lash.processes.wakes import (
    MERGE_KEY,
    WakeDelivery,
    WakePass,
    WakeState,
    delivered,
    undelivered,
)
from lash.sessions.ingress import EarliestBoundary, EnqueueRequest, ProcessWake
from lash.sessions.queueing import Enqueued, EnqueueRefused
from lash.stores.sqlite import process_queries as queries
from lash.stores.sqlite import process_rows as rows
from lash.stores.sqlite.columns import Row, checked
from lash.stores.sqlite.queue import enqueue
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.writer import Writer
from lash.turn.exchange import TurnCause


class Outbox:
    """The wakes of a database; see `lash.processes.store.ProcessStore`."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, seams: SeamObserver) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._seams = seams

    async def deliver(self, limit: int) -> WakePass:
        """Hand over what is due; a look that writes nothing where nothing is."""
        if not await self._readers.read_here(
            _has_pending
        ):  # as a rule, and too little for a thread
            return WakePass()
        next_at = await self._readers.read(_next_at)
        if next_at is None or next_at > self._clock.now_ms() or limit <= 0:
            return WakePass(next_attempt_at_ms=next_at)
        return await self._writer.submit(lambda connection: self._deliver(connection, limit))

    def _deliver(self, connection: sqlite3.Connection, limit: int) -> WakePass:
        now_ms = self._clock.now_ms()
        due = connection.execute(queries.WAKES_DUE, (now_ms, limit)).fetchall()
        told: list[str] = []
        dropped, arrived = 0, False
        for wake in map(rows.wake_delivery, due):
            after, is_new = _hand_over(connection, wake, now_ms)
            rows.change_wake(connection, after)
            dropped += after.state == "discarded"
            arrived = arrived or is_new
            if after.state == "delivered":
                told.append(wake.session_id)
        if arrived:
            self._seams("enqueue.inside")
        return WakePass(
            delivered=tuple(dict.fromkeys(told)),
            discarded=dropped,
            next_attempt_at_ms=_next_at(connection),
        )

    async def redrive(self, process_id: str, sequence: int) -> bool:
        """Try a discarded wake again."""

        def operation(connection: sqlite3.Connection) -> bool:
            row: Row | None = connection.execute(queries.WAKE, (process_id, sequence)).fetchone()
            wake = None if row is None else rows.wake_delivery(row)
            if wake is None or wake.state != "discarded":
                return False
            again = msgspec.structs.replace(
                wake, state="pending", next_attempt_at_ms=0, discard_reason=None
            )
            rows.change_wake(connection, again)
            return True

        return await self._writer.submit(operation, whole=True)

    async def list(self, process_id: str, state: WakeState | None) -> Sequence[WakeDelivery]:
        """A process's wakes, in order."""
        if state is None:
            return await self._readers.all(queries.WAKES, process_id, rows.wake_delivery)
        given = (process_id, state)
        return await self._readers.read(
            lambda connection: [
                rows.wake_delivery(row) for row in connection.execute(queries.WAKES_IN_STATE, given)
            ]
        )


def _has_pending(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute(queries.HAS_PENDING_WAKES).fetchone()[0])


def _next_at(connection: sqlite3.Connection) -> int | None:
    """When the next wake is worth trying that no earlier one stands before."""
    row: Row | None = connection.execute(queries.NEXT_WAKE_AT).fetchone()
    return None if row is None else checked(row[0], int)


def _hand_over(
    connection: sqlite3.Connection, wake: WakeDelivery, now_ms: int
) -> tuple[WakeDelivery, bool]:
    """What becomes of a wake, and whether its session's queue is another now."""
    request = EnqueueRequest(
        session_id=wake.session_id,
        item_id=wake.item_id,
        payload=ProcessWake(
            cause=TurnCause(
                id=wake.item_id,
                event_type=f"{wake.event_type}#{wake.sequence}",
                text=wake.text,
                origin=wake.process_id,
            )
        ),
        ingress=EarliestBoundary(),
        source_key=wake.source_key,
        merge_key=MERGE_KEY,
    )
    result = enqueue(connection, request, now_ms)
    if isinstance(result, EnqueueRefused):
        deleted = result.code == "session_deleted"
        return undelivered(wake, now_ms, deleted=deleted), False
    return delivered(wake), isinstance(result, Enqueued)
