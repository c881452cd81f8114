"""Rows of sessions to values and back, on an open transaction. No decisions: those are the planner's.

SQLite keeps a value of any type in any column, so every row is checked against its columns' types.
"""

import sqlite3
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from lash.core.cancel import Cancellation
from lash.core.errors import StoreError
from lash.core.json import encode
from lash.core.leases import Fence, Lease, LeaseOwner, LeaseState
from lash.llm.usage import Usage
from lash.sessions.model import (
    AcceptedTurn,
    AgentRef,
    ChildSession,
    FrameOpen,
    Parked,
    SessionConfig,
    SessionHead,
    SessionNode,
    SessionRelation,
    TurnInput,
    TurnRecord,
)
from lash.sessions.planner import KnownTurn
from lash.sessions.usage import UsageEntry
from lash.stores.sqlite import queries
from lash.turn.messages import Message

T = TypeVar("T")

#: sqlite3 gives rows as tuples of anything; `checked` gives them their types.
Row: TypeAlias = tuple[Any, ...]

#: A number that counts up, far from where the database cannot count on.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]

_MESSAGE = msgspec.json.Decoder(Message)
_USAGE = msgspec.json.Decoder(Usage)
_INPUT = msgspec.json.Decoder(TurnInput)
_RECORD = msgspec.json.Decoder(TurnRecord)
_PARKED = msgspec.json.Decoder(Parked)
_FRAME = msgspec.json.Decoder(FrameOpen)
_CONFIG = msgspec.json.Decoder(SessionConfig)
_RELATION: msgspec.json.Decoder[SessionRelation] = msgspec.json.Decoder(SessionRelation)
_CANCELLATION = msgspec.json.Decoder(Cancellation)


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


class _Free(NamedTuple):
    fencing_token: Count


class _Held(NamedTuple):
    fencing_token: Count
    owner_id: str
    incarnation: str
    host: str
    nonce: str
    claimed_at_ms: int
    expires_at_ms: int


class _Input(NamedTuple):
    session_id: str
    turn_id: str
    sequence: Count
    source_key: str | None
    agent_name: str
    agent_version: str
    input: str
    accepted_at_ms: int
    parked: str | None
    restarts: Count


class _Node(NamedTuple):
    node_id: str
    parent_id: str | None
    digest: str
    turn_id: str
    kind: Literal["message", "frame_open"]
    content: str


def checked(value: object, kind: type[T]) -> T:
    """A row, or one column of it, with the types it must have.

    Raises:
        msgspec.ValidationError: It has another; the operation fails with `store_corrupt`.
    """
    return msgspec.convert(value, kind)


def decoded(decoder: msgspec.json.Decoder[T], column: str) -> T:
    """A value from the JSON text of a column."""
    try:
        return decoder.decode(column)
    except RecursionError as error:
        raise msgspec.DecodeError("it is nested too deeply") from error


def text(value: object) -> str:
    """A value as the JSON text a column holds."""
    return encode(value).decode()


# --- heads and leases -------------------------------------------------------------------------------


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
    values = (session_id, fence.fencing_token, None, None, None, None, None, None)
    connection.execute(queries.PUT_LEASE, values)


# --- turns ------------------------------------------------------------------------------------------


def accepted_turn(row: Row) -> AcceptedTurn:
    """An accepted turn from its columns."""
    columns = checked(row, _Input)
    return AcceptedTurn(
        session_id=columns.session_id,
        turn_id=columns.turn_id,
        sequence=columns.sequence,
        source_key=columns.source_key,
        agent=AgentRef(name=columns.agent_name, version=columns.agent_version),
        input=decoded(_INPUT, columns.input),
        accepted_at_ms=columns.accepted_at_ms,
        parked=parked_reason(columns.parked),
        restarts=columns.restarts,
    )


def parked_reason(column: str | None) -> Parked | None:
    """Why a turn is parked, if it is."""
    return None if column is None else decoded(_PARKED, checked(column, str))


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
        turn.restarts,
    )
    connection.execute(queries.ADD_INPUT, values)


def find_turn(
    connection: sqlite3.Connection, session_id: str, turn_id: str, source_key: str | None = None
) -> KnownTurn | None:
    """A turn accepted before under an id or a source key; one that was begun again, as it is now."""
    row: Row | None = connection.execute(queries.INPUT_BY_TURN, (session_id, turn_id)).fetchone()
    if row is None:
        return (
            None if source_key is None else find_turn_by_source(connection, session_id, source_key)
        )
    return _known_turn(connection, session_id, row, by_source=False)


def find_turn_by_source(
    connection: sqlite3.Connection, session_id: str, source_key: str
) -> KnownTurn | None:
    """A turn accepted before under a source key."""
    row: Row | None = connection.execute(
        queries.INPUT_BY_SOURCE, (session_id, source_key)
    ).fetchone()
    return None if row is None else _known_turn(connection, session_id, row, by_source=True)


def _known_turn(
    connection: sqlite3.Connection, session_id: str, row: Row, *, by_source: bool
) -> KnownTurn:
    row = _newest(connection, session_id, row)
    turn = accepted_turn(row[:10])
    is_open = not row[10]
    record: TurnRecord | None = None
    if is_open:
        turn = with_cancellations(connection, [turn])[0]
    else:
        found = read_receipt(connection, session_id, turn.turn_id)
        if found is None:
            raise StoreError(
                "store_corrupt",
                f"Turn {turn.turn_id} of session {session_id} is settled but has no record.",
            )
        record = found[0]
    return KnownTurn(
        turn_id=turn.turn_id,
        input=turn.input,
        agent=turn.agent,
        by_source=by_source,
        open=turn if is_open else None,
        record=record,
    )


def _newest(connection: sqlite3.Connection, session_id: str, row: Row) -> Row:
    """The row of the turn that this one became."""
    while row[11] is not None:
        later: Row | None = connection.execute(
            queries.INPUT_BY_TURN, (session_id, row[11])
        ).fetchone()
        # Restarts only grow, so a damaged file cannot lead round in a circle.
        if later is None or checked(later[9], int) <= checked(row[9], int):
            raise StoreError(
                "store_corrupt",
                f"Turn {row[1]} of session {session_id} was begun again, but not as what its row "
                "says. The database was damaged; restore it from a backup.",
            )
        row = later
    return row


def find_open_turn(
    connection: sqlite3.Connection, session_id: str, turn_id: str
) -> AcceptedTurn | None:
    """An open turn by its own id. An id that was begun again names no open turn."""
    row: Row | None = connection.execute(queries.INPUT_BY_TURN, (session_id, turn_id)).fetchone()
    return None if row is None or row[10] else accepted_turn(row[:10])


def with_cancellations(
    connection: sqlite3.Connection, turns: Sequence[AcceptedTurn]
) -> tuple[AcceptedTurn, ...]:
    """Open turns with who asked them to stop."""
    return tuple(
        msgspec.structs.replace(
            turn, cancellation=read_cancellation(connection, turn.session_id, turn.turn_id)
        )
        for turn in turns
    )


def has_input(connection: sqlite3.Connection, session_id: str, turn_id: str) -> bool:
    """Whether a turn id was used in a session."""
    found = connection.execute(queries.HAS_INPUT, (session_id, turn_id)).fetchone()
    return found is not None


def open_turns(connection: sqlite3.Connection, session_id: str) -> tuple[AcceptedTurn, ...]:
    """The turns of a session that are not committed, in order."""
    rows = connection.execute(queries.OPEN_INPUTS, (session_id,)).fetchall()
    return with_cancellations(connection, [accepted_turn(row) for row in rows])


def read_receipt(
    connection: sqlite3.Connection, session_id: str, turn_id: str
) -> tuple[TurnRecord, str] | None:
    """A committed turn and the hash of its commit."""
    row: Row | None = connection.execute(queries.TURN, (session_id, turn_id)).fetchone()
    return None if row is None else (turn_record(row[:1]), checked(row[1], str))


def turn_record(row: Row) -> TurnRecord:
    """A committed turn from its column."""
    return decoded(_RECORD, checked(row[0], str))


# --- nodes ------------------------------------------------------------------------------------------


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
        raise StoreError(
            "store_corrupt",
            f"The history of session {session_id} does not reach its beginning: a message is missing. "
            "The database was damaged; restore it from a backup.",
            session_id=session_id,
        )
    return path


def session_node(row: Row) -> SessionNode:
    """A node from its columns."""
    columns = checked(row, _Node)
    is_message = columns.kind == "message"
    return SessionNode(
        node_id=columns.node_id,
        parent_id=columns.parent_id,
        digest=columns.digest,
        turn_id=columns.turn_id,
        message=decoded(_MESSAGE, columns.content) if is_message else None,
        frame=None if is_message else decoded(_FRAME, columns.content),
    )


# --- stopping ---------------------------------------------------------------------------------------


def read_cancellation(
    connection: sqlite3.Connection, session_id: str, turn_id: str
) -> Cancellation | None:
    """Who asked a turn to stop."""
    row: Row | None = connection.execute(queries.CANCELLATION, (session_id, turn_id)).fetchone()
    return None if row is None else cancellation(row[0])


def cancellation(column: str) -> Cancellation:
    """Who asked a turn to stop, from its column."""
    return decoded(_CANCELLATION, checked(column, str))


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


def usage(column: str) -> Usage:
    """Counts of tokens from their column."""
    return decoded(_USAGE, checked(column, str))
