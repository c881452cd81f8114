"""The session graph and what sessions used: rows to values and back, on an open transaction."""

import sqlite3
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from lash.core.errors import StoreError
from lash.core.json import encode
from lash.llm.usage import Usage
from lash.sessions.model import FrameOpen, SessionNode
from lash.sessions.usage import UsageEntry
from lash.stores.sqlite import queries, upkeep_queries
from lash.stores.sqlite.columns import Row, checked, decoded, row_type, text
from lash.turn.messages import Message

_MESSAGE = msgspec.json.Decoder(Message)
_FRAME = msgspec.json.Decoder(FrameOpen)
_USAGE = msgspec.json.Decoder(Usage)


@row_type
class _Node(NamedTuple):
    session_id: str
    node_id: str
    parent_id: str | None
    digest: str
    turn_id: str
    kind: Literal["message", "frame_open"]
    content: str


def add_nodes(
    connection: sqlite3.Connection, session_id: str, nodes: Sequence[SessionNode]
) -> int | None:
    """Append nodes to the graph, on top of the session's leaf; the row of the last of them."""
    if not nodes:
        return None
    row: Row | None = connection.execute(queries.LEAF, (session_id,)).fetchone()
    parent = None if row is None else row[0]
    for node in nodes:
        kind, content = ("frame_open", node.frame) if node.frame else ("message", node.message)
        values = (
            session_id,
            node.node_id,
            node.parent_id,
            node.digest,
            node.turn_id,
            kind,
            text(content),
            parent,
        )
        parent = connection.execute(queries.ADD_NODE, values).lastrowid
    return checked(parent, int)


def read_path(
    connection: sqlite3.Connection, session_id: str, *, whole: bool
) -> Sequence[SessionNode]:
    """The path to a session's leaf, root first; from the opening of its frame unless `whole`.

    Raises:
        StoreError: `store_corrupt`: a node of the path is missing.
    """
    row: Row | None = connection.execute(queries.LEAF, (session_id,)).fetchone()
    if row is None or row[0] is None:
        return []
    found = connection.execute(queries.PATH, {"leaf": row[0], "whole": whole})
    path = [session_node(item) for item in found]
    if not path or not (path[0].parent_id is None or (path[0].frame and not whole)):
        raise _broken(session_id)
    return path


def read_nodes(
    connection: sqlite3.Connection, session_id: str, turn_ids: Sequence[str]
) -> Sequence[SessionNode]:
    """The nodes that a session's newest turns have added, in order."""
    leaf = read_leaf(connection, session_id)
    turns = encode(list(turn_ids)).decode()
    asked = {"leaf": leaf, "session": session_id, "turns": turns}
    return [session_node(row) for row in connection.execute(queries.NEWEST_NODES, asked)]


def read_leaf(connection: sqlite3.Connection, session_id: str) -> int | None:
    """The row of the node that a session stands on."""
    row: Row | None = connection.execute(queries.LEAF, (session_id,)).fetchone()
    return None if row is None or row[0] is None else checked(row[0], int)


def walk_rows(
    connection: sqlite3.Connection, leaf: int | None
) -> Sequence[tuple[int, SessionNode]]:
    """The nodes that lead to a row, root first, each with its own: as far as there are any."""
    found = connection.execute(upkeep_queries.PATH_ROWS, {"leaf": leaf}).fetchall()
    return [(checked(row[0], int), session_node(row[1:])) for row in found]


def read_path_rows(
    connection: sqlite3.Connection, session_id: str
) -> Sequence[tuple[int, SessionNode]]:
    """The whole path to a session's leaf, root first, with the row of each node.

    Raises:
        StoreError: `store_corrupt`: a node of the path is missing.
    """
    path = walk_rows(connection, read_leaf(connection, session_id))
    if path and path[0][1].parent_id is not None:
        raise _broken(session_id)
    return path


def _broken(session_id: str) -> StoreError:
    return StoreError(
        "store_corrupt",
        f"The history of session {session_id} does not reach its beginning: a message is missing. "
        "The database was damaged; restore it from a backup.",
        session_id=session_id,
    )


def session_node(row: Row) -> SessionNode:
    """A node from its columns."""
    columns = checked(row, _Node)
    is_message = columns.kind == "message"
    return SessionNode(
        session_id=columns.session_id,
        node_id=columns.node_id,
        parent_id=columns.parent_id,
        digest=columns.digest,
        turn_id=columns.turn_id,
        message=decoded(_MESSAGE, columns.content) if is_message else None,
        frame=None if is_message else decoded(_FRAME, columns.content),
    )


# --- usage ------------------------------------------------------------------------------------------


def add_usage(
    connection: sqlite3.Connection, session_id: str, entries: Sequence[UsageEntry]
) -> None:
    """Book what was used."""
    for entry in entries:
        key = (session_id, entry.source, entry.model)
        row: Row | None = connection.execute(queries.USAGE_OF, key).fetchone()
        before = Usage() if row is None else usage(row[0])
        values = (*key, text(before + entry.usage))
        connection.execute(queries.PUT_USAGE, values)


def usage_entry(row: Row) -> UsageEntry:
    """What one source used with one model, from its columns."""
    source, model, counts = row
    return UsageEntry(source=checked(source, str), model=checked(model, str), usage=usage(counts))


def usage(column: str) -> Usage:
    """Counts of tokens from their column."""
    return decoded(_USAGE, checked(column, str))
