"""Promises in SQLite: each change is one transaction with the checks it rests on."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from lash.core.clock import Clock
from lash.core.errors import StoreError
from lash.core.scopes import TurnScope, from_journal_key
from lash.effects.waits.model import (
    Resolution,
    ResolvedCancelled,
    ResolveOutcome,
    UnknownOrRevoked,
)
from lash.effects.waits.transitions import (
    WaitMissing,
    WaitPending,
    WaitRow,
    WaitState,
    plan_resolve,
    plan_sweep,
)
from lash.stores.contents import (
    read_resolution,
    resolution_text,
    unreadable_resolution,
    wait_state,
)
from lash.stores.sqlite import queries
from lash.stores.sqlite.columns import Row, checked, column, row_type
from lash.stores.sqlite.journal import scope_of
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.writer import Writer


@row_type
class _Wait(NamedTuple):
    key_id: str
    scope_key: str
    session_id: str | None
    wait: str
    turn_control: int
    deadline_at_ms: int | None
    resolution: bytes | None
    created_at_ms: int
    resolved_at_ms: int | None


class AwaitEventTable:
    """The promises of a database; see `lash.effects.waits.store.AwaitEventStore`."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock

    async def open(self, row: WaitRow) -> WaitState:
        """Make sure that a promise is there. One that is costs no write."""
        state = await self._readers.read(lambda connection: _state(connection, row))
        if not isinstance(state, WaitMissing):
            return state

        def operation(connection: sqlite3.Connection) -> WaitState:
            state = _state(connection, row)
            if not isinstance(state, WaitMissing):
                return state  # somebody else was here in between
            _add(connection, row, self._clock.now_ms())
            return WaitPending(deadline_at_ms=row.deadline_at_ms)

        return await self._writer.submit(operation)

    async def resolve(self, row: WaitRow, resolution: Resolution) -> ResolveOutcome:
        """Resolve a promise; the first resolution wins."""

        def operation(connection: sqlite3.Connection) -> ResolveOutcome:
            now_ms = self._clock.now_ms()
            state = _state(connection, row)
            if isinstance(state, WaitMissing) and _came_too_late(connection, row):
                return UnknownOrRevoked()
            plan = plan_resolve(state, resolution, now_ms)
            if plan.store is not None:
                if isinstance(state, WaitMissing):
                    _add(connection, row, now_ms, plan.store)
                else:
                    _resolve(connection, row.key_id, plan.store, now_ms)
            return plan.outcome

        return await self._writer.submit(operation)

    async def inspect(self, rows: Sequence[WaitRow]) -> Mapping[str, WaitState]:
        """How promises stand, all at one moment."""
        if not rows:
            return {}

        def operation(connection: sqlite3.Connection) -> Mapping[str, WaitState]:
            sessions = {row.session_id for row in rows if row.session_id is not None}
            revoked = {name for name in sessions if _is_revoked(connection, name)}
            keys = msgspec.json.encode([row.key_id for row in rows]).decode()
            there = {
                wait.key_id: wait
                for wait in map(_wait, connection.execute(queries.WAITS_AMONG, (keys,)))
            }
            return {
                row.key_id: wait_state(
                    there.get(row.key_id), row, revoked=row.session_id in revoked
                )
                for row in rows
            }

        return await self._readers.read(operation)

    async def cancel_session(self, session_id: str) -> Sequence[str]:
        """Cancel what is pending in a session."""
        return await self._writer.submit(
            lambda connection: cancel_waits(connection, session_id, self._clock.now_ms())
        )

    async def revoke_session(self, session_id: str) -> Sequence[str]:
        """Forget the promises of a session, and refuse its keys from now on."""
        return await self._writer.submit(
            lambda connection: revoke_waits(connection, session_id, self._clock.now_ms())
        )

    async def is_revoked(self, session_id: str) -> bool:
        """Whether a session's keys are refused."""
        return await self._readers.read(lambda connection: _is_revoked(connection, session_id))

    async def of_scope(self, scope_key: str) -> Sequence[WaitRow]:
        """The promises of a scope, in the order in which they were made."""
        return await self._readers.all(queries.WAITS_OF_SCOPE, scope_key, _wait)


def cancel_waits(connection: sqlite3.Connection, session_id: str, now_ms: int) -> Sequence[str]:
    """Cancel what is pending in a session; the key ids that were."""
    found = connection.execute(queries.WAITS_OF_SESSION, (session_id,)).fetchall()
    return _cancel(connection, found, now_ms)


def cancel_scope_waits(
    connection: sqlite3.Connection, scope_key: str, now_ms: int
) -> Sequence[str]:
    """Cancel what is pending in a scope that is over; the key ids that were."""
    found = connection.execute(queries.WAITS_OF_SCOPE, (scope_key,)).fetchall()
    return _cancel(connection, found, now_ms)


def ends_of_scope_waits(
    connection: sqlite3.Connection, scope_key: str, now_ms: int
) -> Sequence[tuple[str, Resolution]]:
    """What becomes of what is pending in a scope once it is over; nothing is written."""
    return _ends(connection.execute(queries.WAITS_OF_SCOPE, (scope_key,)).fetchall(), now_ms)


def end_waits(
    connection: sqlite3.Connection, ends: Sequence[tuple[str, Resolution]], now_ms: int
) -> Sequence[str]:
    """Write what becomes of promises; the key ids that were cancelled."""
    for key_id, resolution in ends:
        _resolve(connection, key_id, resolution, now_ms)
    return [key_id for key_id, how in ends if isinstance(how, ResolvedCancelled)]


def _cancel(connection: sqlite3.Connection, found: Sequence[Row], now_ms: int) -> Sequence[str]:
    return end_waits(connection, _ends(found, now_ms), now_ms)


def _ends(found: Sequence[Row], now_ms: int) -> Sequence[tuple[str, Resolution]]:
    ends: list[tuple[str, Resolution]] = []
    for row in map(_wait, found):
        state = wait_state(row, row, revoked=False)
        proposed = plan_sweep(state, turn_control=row.turn_control, now_ms=now_ms)
        if proposed is not None:
            ends.append((row.key_id, proposed))
    return ends


def revoke_waits(connection: sqlite3.Connection, session_id: str, now_ms: int) -> Sequence[str]:
    """Forget the promises of a session, and refuse its keys from now on; the key ids forgotten."""
    forgotten = column(connection.execute(queries.WAIT_KEYS_OF_SESSION, (session_id,)), str)
    connection.execute(queries.FORGET_WAITS_OF_SESSION, (session_id,))
    connection.execute(queries.REVOKE, (session_id, now_ms))
    return forgotten


def _state(connection: sqlite3.Connection, asked: WaitRow) -> WaitState:
    """How a promise stands in this transaction."""
    row: Row | None = connection.execute(queries.WAIT, (asked.key_id,)).fetchone()
    revoked = asked.session_id is not None and _is_revoked(connection, asked.session_id)
    return wait_state(None if row is None else _wait(row), asked, revoked=revoked)


def _came_too_late(connection: sqlite3.Connection, row: WaitRow) -> bool:
    """Whether a promise was one of a turn that is over: nobody will come for it any more."""
    scope = from_journal_key(row.scope_key)
    if row.turn_control or not isinstance(scope, TurnScope):
        return False
    turn = (scope.session_id, scope.turn_id)
    return connection.execute(queries.HAS_SETTLED_INPUT, turn).fetchone() is not None


def _is_revoked(connection: sqlite3.Connection, session_id: str) -> bool:
    return connection.execute(queries.IS_REVOKED, (session_id,)).fetchone() is not None


def _add(
    connection: sqlite3.Connection,
    row: WaitRow,
    now_ms: int,
    resolution: Resolution | None = None,
) -> None:
    """Make a promise; one that is resolved at once has no deadline."""
    early = resolution is not None
    values = (
        row.key_id,
        scope_of(connection, row.scope_key),
        row.session_id,
        row.wait,
        row.turn_control,
        None if early else row.deadline_at_ms,
        None if resolution is None else resolution_text(resolution),
        now_ms,
        now_ms if early else None,
    )
    connection.execute(queries.ADD_WAIT, values)


def _resolve(
    connection: sqlite3.Connection, key_id: str, resolution: Resolution, now_ms: int
) -> None:
    values = (resolution_text(resolution), now_ms, key_id)
    if connection.execute(queries.RESOLVE_WAIT, values).rowcount != 1:
        raise StoreError("store_corrupt", f"Promise {key_id} changed within a transaction.")


def _wait(row: Row) -> WaitRow:
    columns = checked(row, _Wait)
    return WaitRow(
        key_id=columns.key_id,
        scope_key=columns.scope_key,
        session_id=columns.session_id,
        wait=columns.wait,
        turn_control=bool(columns.turn_control),
        deadline_at_ms=columns.deadline_at_ms,
        resolution=_resolution(columns.key_id, columns.resolution),
        created_at_ms=columns.created_at_ms,
        resolved_at_ms=columns.resolved_at_ms,
    )


def _resolution(key_id: str, column: bytes | None) -> str | None:
    """A resolution's JSON, which must be one."""
    if column is None:
        return None
    read_resolution(column, key_id)
    try:
        return column.decode()
    except UnicodeDecodeError:
        raise unreadable_resolution(key_id) from None
