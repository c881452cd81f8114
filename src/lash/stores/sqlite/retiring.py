"""Removing what was recorded: scopes with their records and promises, and content nobody refers to."""

import sqlite3
from collections.abc import Sequence

from lash.core.scopes import (
    RuntimeOperationScope,
    TurnScope,
    from_journal_key,
    journal_key,
)
from lash.effects.journal import (
    RetireFinished,
    Retirement,
    RetireOperation,
    RetireProcess,
    RetireSession,
    RetireTarget,
)
from lash.stores.sqlite import process_queries, queries
from lash.stores.sqlite.columns import array, checked, column
from lash.stores.sqlite.schema import process_of_scope


def retire(connection: sqlite3.Connection, target: RetireTarget, limit: int) -> Retirement:
    """Remove up to `limit` scopes of a target."""
    limit = max(limit, 0)
    # One more than is removed tells whether there is more.
    found = _scopes_of(connection, target, limit + 1)
    scopes = found[:limit]
    more = len(found) > limit
    if not scopes:
        return Retirement(more=more)
    chosen = (array(scopes),)
    blobs = column(connection.execute(queries.BLOBS_OF, chosen), str)
    surroundings = column(connection.execute(queries.SURROUNDINGS_OF, chosen), str)
    records = connection.execute(queries.DELETE_RECORDS, chosen).rowcount
    waits = connection.execute(queries.DELETE_WAITS, chosen).rowcount
    connection.execute(queries.DELETE_SCOPES, chosen)
    unused = 0
    if blobs:
        unused = connection.execute(queries.DELETE_UNUSED_BLOBS, (array(blobs),)).rowcount
    if surroundings:
        connection.execute(queries.DELETE_UNUSED_SURROUNDINGS, (array(surroundings),))
    return Retirement(scopes=len(scopes), records=records, waits=waits, blobs=unused, more=more)


def _scopes_of(connection: sqlite3.Connection, target: RetireTarget, limit: int) -> Sequence[int]:
    match target:
        case RetireSession(session_id=session_id):
            return _ids(connection.execute(queries.SCOPES_OF_SESSION, (session_id, limit)))
        case RetireProcess(process_id=process_id):
            return _ids(connection.execute(queries.SCOPES_OF_PROCESS, (process_id, limit)))
        case RetireOperation(operation_id=operation_id):
            key = journal_key(RuntimeOperationScope(operation_id=operation_id))
            return _ids(connection.execute(queries.SCOPES_OF_KEY, (key, limit)))
        case RetireFinished(before_ms=before_ms):
            finished = _ids(connection.execute(queries.SCOPES_FINISHED, (before_ms, limit)))
            return finished + _unclaimed(connection, before_ms, limit - len(finished))


def _ids(rows: sqlite3.Cursor) -> list[int]:
    return [checked(scope, int) for (scope,) in rows]


def _unclaimed(connection: sqlite3.Connection, before_ms: int, limit: int) -> list[int]:
    """Scopes of early resolutions that nobody came for."""
    scopes: dict[int, None] = {}
    if limit <= 0:
        return []
    for scope, scope_key in connection.execute(queries.SCOPES_UNCLAIMED, {"before": before_ms}):
        if not _may_be_claimed(connection, checked(scope_key, str)):
            scopes[checked(scope, int)] = None
            if len(scopes) == limit:
                break
    return list(scopes)


def _may_be_claimed(connection: sqlite3.Connection, scope_key: str) -> bool:
    """Whether somebody may still come: a turn that is open, or a process, which is pruned as such."""
    scope = from_journal_key(scope_key)
    if isinstance(scope, TurnScope):
        turn = (scope.session_id, scope.turn_id)
        return connection.execute(queries.HAS_OPEN_INPUT, turn).fetchone() is not None
    process_id = process_of_scope(scope)
    if process_id is None:
        return False
    pruned = connection.execute(process_queries.IS_TOMBSTONE, (process_id,)).fetchone()
    return pruned is None
