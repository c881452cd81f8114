"""The facts of `lash.sessions.checking` from SQLite. A row that cannot be read is a finding too."""

import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from lash.core.errors import StoreError
from lash.core.leases import LeaseOwner
from lash.core.scopes import TurnScope, from_journal_key
from lash.sessions.checking import (
    Finding,
    InputFact,
    ScopeFact,
    SessionFacts,
    check_session,
    dangling,
    unreadable,
)
from lash.sessions.ingress import CancelTarget, QueuedItem
from lash.sessions.model import SessionHead, SessionNode
from lash.stores.sqlite import graph, heads, queries, rows, upkeep_queries
from lash.stores.sqlite.columns import checked, column
from lash.stores.sqlite.queue import find_item


def every_session(connection: sqlite3.Connection) -> Sequence[str]:
    """Every id that anything is kept under, sorted."""
    found = connection.execute(upkeep_queries.EVERY_SESSION).fetchall()
    return sorted(_name(session_id) for (session_id,) in found)


def _name(column: bytes | None) -> str:
    """An id that may be damaged. Nothing is found under one that is, which says where it belongs."""
    return (column or b"").decode(errors="replace")


def check_session_rows(
    connection: sqlite3.Connection,
    session_id: str,
    now_ms: int,
    is_dead: Callable[[LeaseOwner], bool],
) -> Sequence[Finding]:
    """What does not fit in one session."""
    try:
        facts = _facts(connection, session_id, now_ms, is_dead)
    except (msgspec.MsgspecError, StoreError, UnicodeError) as error:
        return [unreadable(session_id, str(error))]
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) is not None:
            raise
        return [unreadable(session_id, "it holds text that is not UTF-8.")]
    return check_session(facts)


def _facts(
    connection: sqlite3.Connection,
    session_id: str,
    now_ms: int,
    is_dead: Callable[[LeaseOwner], bool],
) -> SessionFacts:
    head, _ = heads.read_head(connection, session_id)
    lease = heads.read_lease(connection, session_id)
    leaf_found, path = _path(connection, session_id, head)
    inputs = connection.execute(upkeep_queries.EVERY_INPUT, (session_id,)).fetchall()
    turns = connection.execute(queries.LIST_TURNS, (session_id, -1)).fetchall()
    usage = connection.execute(queries.USAGE, (session_id,)).fetchall()
    scopes = connection.execute(upkeep_queries.SCOPES_TOLD, (session_id,)).fetchall()
    return SessionFacts(
        session_id=session_id,
        now_ms=now_ms,
        head=head,
        deleted=heads.is_deleted(connection, session_id),
        leaf_found=leaf_found,
        path=path,
        inputs=tuple(
            InputFact(
                turn_id=checked(turn_id, str),
                settled=bool(committed),
                superseded_by=None if later is None else checked(later, str),
            )
            for turn_id, committed, later in inputs
        ),
        turns=tuple(rows.turn_record(row) for row in turns),
        items=tuple(_items(connection, session_id)),
        usage=tuple(graph.usage_entry(row) for row in usage),
        scopes=tuple(_scope(row) for row in scopes),
        lease=lease,
        holder_is_dead=lease.held is not None and is_dead(lease.held.owner),
    )


def _path(
    connection: sqlite3.Connection, session_id: str, head: SessionHead | None
) -> tuple[bool, tuple[SessionNode, ...]]:
    """Whether the leaf leads anywhere, and as much of the path as there is."""
    if head is None:
        return True, ()
    (leaf_id, leaf) = connection.execute(upkeep_queries.LEAF_IDS, (session_id,)).fetchone()
    path = tuple(node for _, node in graph.walk_rows(connection, leaf))
    if not path:
        return leaf_id is None and leaf is None, ()
    return path[-1].node_id == leaf_id, path


def _items(connection: sqlite3.Connection, session_id: str) -> Sequence[QueuedItem]:
    ids = column(connection.execute(upkeep_queries.EVERY_ITEM_IDS, (session_id,)), str)
    targets = (CancelTarget(kind="input_id", value=item_id) for item_id in ids)
    found = (find_item(connection, session_id, target) for target in targets)
    return [item for item in found if item is not None]


def _scope(row: tuple[str, int, int, int]) -> ScopeFact:
    scope_key, finished, records, pending = row
    scope = from_journal_key(scope_key)
    return ScopeFact(
        scope_key=scope_key,
        turn_id=scope.turn_id if isinstance(scope, TurnScope) else None,
        finished=bool(finished),
        records=records,
        pending_waits=pending,
    )


def check_scopes(connection: sqlite3.Connection) -> Sequence[Finding]:
    """What belongs to no session, or to nothing at all."""
    (records,) = connection.execute(upkeep_queries.DANGLING_RECORDS).fetchone()
    (waits,) = connection.execute(upkeep_queries.DANGLING_WAITS).fetchone()
    found = [*dangling(records, waits)]
    found += [
        Finding(
            code="session_missing",
            severity="error",
            session_id=_name(session_id),
            message="Nodes belong to a session that is not there, and was not deleted.",
        )
        for (session_id,) in connection.execute(upkeep_queries.STRAY_NODES)
    ]
    foreign = connection.execute(upkeep_queries.FOREIGN_SCOPES).fetchall()
    for row in foreign:
        scope = _scope(row)
        if scope.pending_waits:
            found.append(
                Finding(
                    code="wait_abandoned",
                    severity="warning",
                    session_id=None,
                    message=f"{scope.pending_waits} promises of a scope that is finished are "
                    f"pending: {scope.scope_key}.",
                )
            )
    return found
