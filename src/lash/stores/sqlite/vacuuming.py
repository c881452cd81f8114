"""Giving back space in SQLite: a bounded piece of work on an open transaction."""

import sqlite3
from collections.abc import Sequence

from lash.sessions.maintenance import VacuumReport, VacuumRequest
from lash.stores.sqlite import queries, upkeep_queries
from lash.stores.sqlite.columns import array, checked, column


class Vacuum:
    """Remembers how far it has looked through the contents, which are kept in no order of time."""

    def __init__(self) -> None:
        self._looked: dict[str, str] = {}

    def run(self, connection: sqlite3.Connection, request: VacuumRequest) -> VacuumReport:
        """One call's work."""
        limit, before_ms = max(request.limit, 0), request.before_ms
        nodes, more_nodes, shared = _remove_nodes(connection, limit)
        payloads, items, more_items = _remove_items(connection, before_ms, limit)
        cancels, more_cancels = _remove_cancels(connection, before_ms, limit)
        blobs, more_blobs = self._remove_contents(
            connection, upkeep_queries.NEXT_BLOBS, queries.DELETE_UNUSED_BLOBS, limit
        )
        around, more_around = self._remove_contents(
            connection,
            upkeep_queries.NEXT_SURROUNDINGS,
            queries.DELETE_UNUSED_SURROUNDINGS,
            limit,
        )
        (waiting,) = connection.execute(upkeep_queries.COUNT_WAITING, (limit,)).fetchone()
        counted = {"before": before_ms, "limit": limit}
        (recent,) = connection.execute(upkeep_queries.COUNT_RECENT, counted).fetchone()
        return VacuumReport(
            removed_nodes=nodes,
            removed_queue_payloads=payloads,
            removed_cancelled_items=items,
            removed_cancellations=cancels,
            removed_blobs=blobs,
            removed_surroundings=around,
            more=more_nodes or more_items or more_cancels or more_blobs or more_around,
            shared_histories=shared,
            unfinished_items=waiting,
            recent=recent,
        )

    def _remove_contents(
        self, connection: sqlite3.Connection, following: str, unused: str, limit: int
    ) -> tuple[int, bool]:
        """Look at the next contents and remove those that no record refers to."""
        after = self._looked.get(following, "")
        found = column(connection.execute(following, (after, limit + 1)), str)
        seen, more = found[:limit], len(found) > limit
        self._looked[following] = seen[-1] if more and seen else ""
        removed = connection.execute(unused, (array(seen),)).rowcount if seen else 0
        return removed, more


def _remove_nodes(connection: sqlite3.Connection, limit: int) -> tuple[int, bool, int]:
    """Remove nodes that nothing stands on, newest first: how many, whether more could go, what stays.

    A deleted session may be all that stands on another deleted one, so this goes round until nothing
    gives way any more.
    """
    left = dict(_shared(connection))
    removed, moving = 0, True
    while moving:
        moving = False
        for session_id, leaf in sorted(left.items()):
            at: int | None = leaf
            while at is not None:
                parent = _unused(connection, at, session_id)
                if parent is None:
                    break
                if removed == limit:
                    _keep(connection, session_id, leaf, at)
                    return removed, True, len(left)
                connection.execute(upkeep_queries.DELETE_NODE, (at,))
                removed, moving = removed + 1, True
                at = _own(connection, parent[0], session_id)
            _keep(connection, session_id, leaf, at)
            if at is None:
                del left[session_id]
            else:
                left[session_id] = at
    return removed, False, len(left)


def _shared(connection: sqlite3.Connection) -> Sequence[tuple[str, int]]:
    found = connection.execute(upkeep_queries.DELETED_SHARED).fetchall()
    return [(checked(session_id, str), checked(leaf, int)) for session_id, leaf in found]


def _unused(connection: sqlite3.Connection, node: int, session_id: str) -> tuple[int | None] | None:
    """The node before one that nothing stands on; None where something does, or where it is not ours."""
    row = connection.execute(upkeep_queries.BEFORE_UNUSED, (node, session_id)).fetchone()
    if row is None:
        return None
    return (checked(row[0], int) if row[0] is not None else None,)


def _own(connection: sqlite3.Connection, node: int | None, session_id: str) -> int | None:
    row = connection.execute(upkeep_queries.IS_NODE_OF, (node, session_id)).fetchone()
    return node if row is not None else None


def _keep(connection: sqlite3.Connection, session_id: str, before: int, after: int | None) -> None:
    if before != after:
        connection.execute(upkeep_queries.MOVE_DELETED_LEAF, (after, session_id))


def _remove_items(
    connection: sqlite3.Connection, before_ms: int, limit: int
) -> tuple[int, int, bool]:
    """Payloads of what became part of turns, and what was taken back."""
    found = connection.execute(upkeep_queries.ITEMS_SETTLED, (before_ms, limit + 1)).fetchall()
    payloads = items = 0
    for session_id, item_id, state in found[:limit]:
        which = (session_id, item_id)
        if state == "cancelled":
            items += connection.execute(upkeep_queries.FORGET_ITEM, which).rowcount
        else:
            payloads += connection.execute(upkeep_queries.FORGET_PAYLOAD, which).rowcount
    return payloads, items, len(found) > limit


def _remove_cancels(connection: sqlite3.Connection, before_ms: int, limit: int) -> tuple[int, bool]:
    found = connection.execute(upkeep_queries.CANCELS_SETTLED, (before_ms, limit + 1)).fetchall()
    for session_id, turn_id in found[:limit]:
        connection.execute(upkeep_queries.FORGET_CANCEL, (session_id, turn_id))
    return len(found[:limit]), len(found) > limit
