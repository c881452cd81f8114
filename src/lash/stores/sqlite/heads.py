"""Heads of sessions and their leases: rows to values and back, on an open transaction."""

import sqlite3
from typing import NamedTuple

import msgspec

from lash.core.leases import Fence, Lease, LeaseOwner, LeaseState
from lash.llm.usage import Usage
from lash.sessions.model import (
    AgentRef,
    ChildSession,
    SessionConfig,
    SessionHead,
    SessionRelation,
)
from lash.stores.sqlite import queries
from lash.stores.sqlite.columns import Count, Row, checked, decoded, row_type, text

_USAGE = msgspec.json.Decoder(Usage)
_CONFIG = msgspec.json.Decoder(SessionConfig)
_RELATION: msgspec.json.Decoder[SessionRelation] = msgspec.json.Decoder(SessionRelation)


@row_type
class _Head(NamedTuple):
    session_id: str
    agent_name: str
    agent_version: str
    created_at_ms: int
    revision: Count
    leaf_id: str | None
    leaf_digest: str
    turn_index: Count
    usage: str
    accepted: Count
    frame_id: str
    config: str
    relation: str


#: How many columns a head has.
HEAD_WIDTH = len(_Head._fields)


@row_type
class _Free(NamedTuple):
    fencing_token: Count


@row_type
class _Held(NamedTuple):
    fencing_token: Count
    owner_id: str
    incarnation: str
    host: str
    nonce: str
    claimed_at_ms: int
    expires_at_ms: int


def read_head(connection: sqlite3.Connection, session_id: str) -> tuple[SessionHead | None, int]:
    """A session's head, and how many turns it has accepted."""
    row: Row | None = connection.execute(queries.HEAD, (session_id,)).fetchone()
    return (None, 0) if row is None else session_head(row)


def session_head(row: Row) -> tuple[SessionHead, int]:
    """A head from its columns, and how many turns its session has accepted."""
    columns = checked(row, _Head)
    head = SessionHead(
        session_id=columns.session_id,
        agent=AgentRef(name=columns.agent_name, version=columns.agent_version),
        created_at_ms=columns.created_at_ms,
        revision=columns.revision,
        leaf_id=columns.leaf_id,
        leaf_digest=columns.leaf_digest,
        turn_index=columns.turn_index,
        usage=decoded(_USAGE, columns.usage),
        frame_id=columns.frame_id,
        config=decoded(_CONFIG, columns.config),
        relation=decoded(_RELATION, columns.relation),
    )
    return head, columns.accepted


def add_session(connection: sqlite3.Connection, head: SessionHead, now_ms: int) -> None:
    """Store a session that begins with its first input."""
    relation = head.relation
    origin = relation.parent_session_id if isinstance(relation, ChildSession) else None
    values = (
        head.session_id,
        head.agent.name,
        head.agent.version,
        now_ms,
        now_ms,
        text(relation),
        origin,
    )
    connection.execute(queries.ADD_SESSION, values)


def is_deleted(connection: sqlite3.Connection, session_id: str) -> bool:
    """Whether a session was deleted; its id is not used again."""
    return connection.execute(queries.IS_DELETED, (session_id,)).fetchone() is not None


def read_lease(connection: sqlite3.Connection, session_id: str) -> LeaseState:
    """Who holds a session."""
    row: Row | None = connection.execute(queries.LEASE, (session_id,)).fetchone()
    return LeaseState() if row is None else lease_state(row)


def lease_state(row: Row) -> LeaseState:
    """A lease from its columns, which are empty where there was never one. The token outlives it."""
    if row[0] is None:
        return LeaseState()
    if row[4] is None:
        return LeaseState(fencing_token=checked(row[:1], _Free).fencing_token)
    columns = checked(row, _Held)
    held = Lease(
        owner=LeaseOwner(
            owner_id=columns.owner_id, incarnation=columns.incarnation, host=columns.host
        ),
        nonce=columns.nonce,
        fencing_token=columns.fencing_token,
        claimed_at_ms=columns.claimed_at_ms,
        expires_at_ms=columns.expires_at_ms,
    )
    return LeaseState(fencing_token=columns.fencing_token, held=held)


def write_lease(connection: sqlite3.Connection, session_id: str, lease: Lease) -> None:
    """Store who holds a session."""
    owner = lease.owner
    values = (
        session_id,
        lease.fencing_token,
        owner.owner_id,
        owner.incarnation,
        owner.host,
        lease.nonce,
        lease.claimed_at_ms,
        lease.expires_at_ms,
    )
    connection.execute(queries.PUT_LEASE, values)


def free_lease(connection: sqlite3.Connection, session_id: str, fence: Fence) -> None:
    """Store that nobody holds a session; the token stays."""
    put_free_lease(connection, session_id, fence.fencing_token)


def put_free_lease(connection: sqlite3.Connection, session_id: str, fencing_token: int) -> None:
    """Store that nobody holds a session, and the last token that anybody had."""
    values = (session_id, fencing_token, None, None, None, None, None, None)
    connection.execute(queries.PUT_LEASE, values)
