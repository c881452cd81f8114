"""Rows to values and back, on an open transaction. No decisions: those are the planner's."""

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from lash.core.errors import StoreError
from lash.core.json import encode
from lash.core.leases import Fence, Lease, LeaseOwner, LeaseState
from lash.effects.journal import JournalRecord
from lash.llm.usage import Usage
from lash.sessions.model import (
    AcceptedTurn,
    AgentRef,
    Parked,
    SessionHead,
    SessionNode,
    TurnInput,
    TurnRecord,
)
from lash.sessions.planner import KnownTurn
from lash.stores.sqlite import queries
from lash.turn.messages import Message

#: sqlite3 gives rows as tuples of anything; each function below knows its columns.
Row: TypeAlias = tuple[Any, ...]

_MESSAGE = msgspec.json.Decoder(Message)
_USAGE = msgspec.json.Decoder(Usage)
_INPUT = msgspec.json.Decoder(TurnInput)
_RECORD = msgspec.json.Decoder(TurnRecord)
_PARKED = msgspec.json.Decoder(Parked)


def text(value: object) -> str:
    """A value as the JSON text a column holds."""
    return encode(value).decode()


# --- heads and leases -------------------------------------------------------------------------------


def read_head(connection: sqlite3.Connection, session_id: str) -> tuple[SessionHead | None, int]:
    """A session's head, and how many turns it has accepted."""
    row: Row | None = connection.execute(queries.HEAD, (session_id,)).fetchone()
    return (None, 0) if row is None else (session_head(row), row[9])


def session_head(row: Row) -> SessionHead:
    """A head from the first columns of its row."""
    return SessionHead(
        session_id=row[0],
        agent=AgentRef(name=row[1], version=row[2]),
        created_at_ms=row[3],
        revision=row[4],
        leaf_id=row[5],
        leaf_digest=row[6],
        turn_index=row[7],
        usage=_USAGE.decode(row[8]),
    )


def read_lease(connection: sqlite3.Connection, session_id: str) -> LeaseState:
    """Who holds a session."""
    row: Row | None = connection.execute(queries.LEASE, (session_id,)).fetchone()
    return LeaseState() if row is None else lease_state(row)


def lease_state(row: Row) -> LeaseState:
    """A lease from its columns; the token outlives the holder."""
    token, owner_id, incarnation, host, nonce, claimed, expires = row
    if nonce is None:
        return LeaseState(fencing_token=token or 0)
    held = Lease(
        owner=LeaseOwner(owner_id=owner_id, incarnation=incarnation, host=host),
        nonce=nonce,
        fencing_token=token,
        claimed_at_ms=claimed,
        expires_at_ms=expires,
    )
    return LeaseState(fencing_token=token, held=held)


def parked_reason(column: str | None) -> Parked | None:
    """Why a turn is parked, if it is."""
    return None if column is None else _PARKED.decode(column)


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
    values = (session_id, fence.fencing_token, None, None, None, None, None, None)
    connection.execute(queries.PUT_LEASE, values)


# --- turns ------------------------------------------------------------------------------------------


def accepted_turn(row: Row) -> AcceptedTurn:
    """An accepted turn from its row."""
    return AcceptedTurn(
        session_id=row[0],
        turn_id=row[1],
        sequence=row[2],
        source_key=row[3],
        agent=AgentRef(name=row[4], version=row[5]),
        input=_INPUT.decode(row[6]),
        accepted_at_ms=row[7],
        parked=parked_reason(row[8]),
    )


def add_input(connection: sqlite3.Connection, turn: AcceptedTurn) -> None:
    """Store accepted input."""
    values = (
        turn.session_id,
        turn.turn_id,
        turn.sequence,
        turn.source_key,
        turn.agent.name,
        turn.agent.version,
        text(turn.input),
        turn.accepted_at_ms,
        None,
    )
    connection.execute(queries.ADD_INPUT, values)


def find_turn(
    connection: sqlite3.Connection, session_id: str, turn_id: str, source_key: str | None = None
) -> KnownTurn | None:
    """A turn accepted before under an id or a source key."""
    row: Row | None = connection.execute(queries.INPUT_BY_TURN, (session_id, turn_id)).fetchone()
    if row is None and source_key is not None:
        row = connection.execute(queries.INPUT_BY_SOURCE, (session_id, source_key)).fetchone()
    if row is None:
        return None
    turn = accepted_turn(row)
    if not row[9]:
        return KnownTurn(turn_id=turn.turn_id, input=turn.input, open=turn)
    found = read_receipt(connection, session_id, turn.turn_id)
    if found is None:
        raise StoreError(
            "store_corrupt",
            f"Turn {turn.turn_id} of session {session_id} is settled but has no record.",
        )
    return KnownTurn(turn_id=turn.turn_id, input=turn.input, record=found[0])


def open_turns(connection: sqlite3.Connection, session_id: str) -> tuple[AcceptedTurn, ...]:
    """The turns of a session that are not committed, in order."""
    rows = connection.execute(queries.OPEN_INPUTS, (session_id,))
    return tuple(accepted_turn(row) for row in rows)


def read_receipt(
    connection: sqlite3.Connection, session_id: str, turn_id: str
) -> tuple[TurnRecord, str] | None:
    """A committed turn and the hash of its commit."""
    row: Row | None = connection.execute(queries.TURN, (session_id, turn_id)).fetchone()
    return None if row is None else (_RECORD.decode(row[0]), row[1])


def turn_record(row: Row) -> TurnRecord:
    """A committed turn from its row."""
    return _RECORD.decode(row[0])


# --- nodes and journal --------------------------------------------------------------------------------


def add_nodes(
    connection: sqlite3.Connection, session_id: str, nodes: Sequence[SessionNode]
) -> None:
    """Append nodes to the graph."""
    rows = [
        (session_id, node.node_id, node.parent_id, node.digest, node.turn_id, text(node.message))
        for node in nodes
    ]
    connection.executemany(queries.ADD_NODE, rows)


def session_node(row: Row) -> SessionNode:
    """A node from its row."""
    return SessionNode(
        node_id=row[0],
        parent_id=row[1],
        digest=row[2],
        turn_id=row[3],
        message=_MESSAGE.decode(row[4]),
    )


def journal_record(row: Row) -> JournalRecord:
    """A journal record from its row."""
    return JournalRecord(
        replay_key=row[0],
        kind=row[1],
        identity=row[2],
        surroundings=row[3],
        envelope=row[4],
        outcome=row[5],
        recorded_at_ms=row[6],
        duration_ms=row[7],
        fencing_token=row[8],
    )


def find_record(
    connection: sqlite3.Connection, scope_key: str, replay_key: str
) -> JournalRecord | None:
    """The record under a key."""
    row: Row | None = connection.execute(queries.RECORD, (scope_key, replay_key)).fetchone()
    return None if row is None else journal_record(row)


def add_records(
    connection: sqlite3.Connection, scope_key: str, records: Sequence[JournalRecord]
) -> JournalRecord | None:
    """Append to a scope's journal, up to the first key that is taken; its record, or None."""
    if not records:
        return None
    row = connection.execute(queries.SCOPE, (scope_key,)).fetchone()
    scope = row[0] if row else connection.execute(queries.ADD_SCOPE, (scope_key,)).lastrowid
    for record in records:
        added = connection.execute(
            queries.ADD_RECORD,
            (
                scope,
                record.replay_key,
                record.kind,
                record.identity,
                record.surroundings,
                record.envelope,
                record.outcome,
                record.recorded_at_ms,
                record.duration_ms,
                record.fencing_token,
            ),
        )
        if added.rowcount != 1:
            return find_record(connection, scope_key, record.replay_key)
    return None
