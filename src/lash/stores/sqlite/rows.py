"""Turns, open and committed, and who asked them to stop: rows to values and back.

All on an open transaction. No decisions: those are the planner's.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from lash.core.cancel import Cancellation
from lash.core.errors import StoreError
from lash.sessions.accepting import KnownTurn
from lash.sessions.model import AcceptedTurn, AgentRef, Parked, TurnInput, TurnRecord
from lash.stores.sqlite import queries
from lash.stores.sqlite.columns import Count, Row, checked, decoded, row_type, text

_INPUT = msgspec.json.Decoder(TurnInput)
_RECORD = msgspec.json.Decoder(TurnRecord)
_PARKED = msgspec.json.Decoder(Parked)
_CANCELLATION = msgspec.json.Decoder(Cancellation)


@row_type
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
