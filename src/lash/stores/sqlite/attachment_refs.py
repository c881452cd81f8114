"""References to attachments as rows: also what commits, forks and deletions do to them."""

import sqlite3
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from lash.attachments.model import AttachmentMeta, AttachmentOwner, ProcessOwner, TurnOwner
from lash.attachments.transitions import AttachmentEntry, AttachmentIntent, Condemnation, Sweeper
from lash.stores.sqlite import attachment_queries as queries
from lash.stores.sqlite.columns import Count, Row, checked, decoded, row_type, text

_META = msgspec.json.Decoder(AttachmentMeta)
_SWEEPER = msgspec.json.Decoder(Sweeper)


@row_type
class _Ref(NamedTuple):
    session_id: str
    attachment_id: str
    owner_kind: Literal["", "turn", "process"]
    owner_id: str
    intent_at_ms: Count
    committed_at_ms: Count | None
    meta: str


@row_type
class _Fence(NamedTuple):
    attachment_id: str
    state: Literal["condemned", "deleting"]
    sweeper: str


# --- references -------------------------------------------------------------------------------------


def read_entry(row: Row) -> AttachmentEntry:
    """A reference from its columns."""
    columns = checked(row, _Ref)
    intent = AttachmentIntent(
        session_id=columns.session_id,
        attachment_id=columns.attachment_id,
        meta=decoded(_META, columns.meta),
        owner=_owner(columns),
    )
    return AttachmentEntry(
        intent=intent,
        intent_at_ms=columns.intent_at_ms,
        committed_at_ms=columns.committed_at_ms,
    )


def _owner(columns: _Ref) -> AttachmentOwner:
    match columns.owner_kind:
        case "turn":
            return TurnOwner(turn_id=columns.owner_id)
        case "process":
            return ProcessOwner(process_id=columns.owner_id)
        case "":
            return None


def add_ref(connection: sqlite3.Connection, intent: AttachmentIntent, now_ms: int) -> None:
    """Keep a reference; one that is there gets a new time."""
    owner = _owner_columns(intent.owner)
    values = (intent.session_id, intent.attachment_id, *owner, now_ms, text(intent.meta))
    connection.execute(queries.ADD, values)


def _owner_columns(owner: AttachmentOwner) -> tuple[str, str]:
    match owner:
        case TurnOwner(turn_id=turn_id):
            return ("turn", turn_id)
        case ProcessOwner(process_id=process_id):
            return ("process", process_id)
        case None:
            return ("", "")


def has_root(connection: sqlite3.Connection, attachment_id: str) -> bool:
    """Whether anybody refers to a content."""
    return connection.execute(queries.HAS_ROOT, (attachment_id,)).fetchone() is not None


def missing_refs(
    connection: sqlite3.Connection, session_id: str, attachment_ids: Sequence[str]
) -> tuple[str, ...]:
    """Which contents a session does not refer to."""
    return tuple(
        each
        for each in attachment_ids
        if connection.execute(queries.HOLDS, (session_id, each)).fetchone() is None
    )


def commit_refs(
    connection: sqlite3.Connection, session_id: str, attachment_ids: Sequence[str], now_ms: int
) -> None:
    """Stamp a session's references to some contents."""
    for each in attachment_ids:
        connection.execute(queries.COMMIT, (now_ms, session_id, each))


def commit_turn_refs(
    connection: sqlite3.Connection,
    session_id: str,
    turn_id: str,
    adopted: Sequence[str],
    now_ms: int,
) -> None:
    """Stamp what a turn owns, and what it has adopted, in the transaction that commits it."""
    connection.execute(queries.COMMIT_OWNED, (now_ms, session_id, turn_id))
    commit_refs(connection, session_id, adopted, now_ms)


def share_refs(connection: sqlite3.Connection, source_id: str, new_id: str, now_ms: int) -> None:
    """Give a fork what its source had committed, in the transaction that makes it."""
    connection.execute(queries.SHARE, (new_id, now_ms, source_id))


def forget_refs(connection: sqlite3.Connection, session_id: str) -> None:
    """Drop all of a session's references, in the transaction that deletes it."""
    connection.execute(queries.FORGET_SESSION, (session_id,))


# --- the fence --------------------------------------------------------------------------------------


def read_fence(row: Row) -> Condemnation:
    """A fence from its columns."""
    columns = checked(row, _Fence)
    return Condemnation(
        attachment_id=columns.attachment_id,
        sweeper=decoded(_SWEEPER, columns.sweeper),
        state=columns.state,
    )


def find_fence(connection: sqlite3.Connection, attachment_id: str) -> Condemnation | None:
    """The fence of a content; None while it is free."""
    row: Row | None = connection.execute(queries.FENCE, (attachment_id,)).fetchone()
    return None if row is None else read_fence(row)


def put_fence(connection: sqlite3.Connection, fence: Condemnation) -> None:
    """Keep a fence, in place of the one before."""
    connection.execute(queries.PUT_FENCE, (fence.attachment_id, fence.state, text(fence.sweeper)))


def drop_fence(connection: sqlite3.Connection, attachment_id: str) -> None:
    """Set a content free."""
    connection.execute(queries.DROP_FENCE, (attachment_id,))
