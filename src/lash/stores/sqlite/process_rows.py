"""Processes, their events and wakes: rows to values and back, on an open transaction."""

import sqlite3
from typing import NamedTuple

import msgspec

from lash.core.errors import StoreError
from lash.core.json import JsonValue
from lash.core.leases import LeaseState
from lash.processes.events import EventSemantics, ProcessEvent
from lash.processes.model import (
    ProcessRecord,
    ProcessRegistration,
    ProcessState,
    ProcessStatus,
    ProcessTombstone,
    originator_id,
)
from lash.processes.running import runnable_at
from lash.processes.wakes import DiscardReason, WakeDelivery, WakeState
from lash.stores.sqlite import process_queries as queries
from lash.stores.sqlite.columns import Count, Row, checked, decoded, row_type, text
from lash.stores.sqlite.heads import lease_state

_REGISTRATION = msgspec.json.Decoder(ProcessRegistration)
_STATE = msgspec.json.Decoder(ProcessState)
_PAYLOAD: msgspec.json.Decoder[JsonValue] = msgspec.json.Decoder()
_SEMANTICS = msgspec.json.Decoder(EventSemantics)
_PLAIN = EventSemantics()


@row_type
class _Process(NamedTuple):
    registration: str
    fingerprint: str
    created_at_ms: int
    state: str
    change_seq: Count


#: How many columns of a row are a process's before its lease.
_WIDTH = len(_Process._fields)


@row_type
class _Event(NamedTuple):
    process_id: str
    sequence: Count
    event_type: str
    payload: str
    occurred_at_ms: int
    semantics: str | None
    replay_key: str | None


@row_type
class _Wake(NamedTuple):
    process_id: str
    sequence: Count
    session_id: str
    event_type: str
    text: str
    created_at_ms: int
    state: WakeState
    attempts: Count
    next_attempt_at_ms: int
    discard_reason: DiscardReason | None


@row_type
class _Tombstone(NamedTuple):
    process_id: str
    status: ProcessStatus
    pruned_at_ms: int
    change_seq: Count


# --- processes ----------------------------------------------------------------------------------------


def process_record(row: Row) -> ProcessRecord:
    """A process from its columns."""
    columns = checked(row[:_WIDTH], _Process)
    return ProcessRecord(
        registration=registration(columns.registration),
        fingerprint=columns.fingerprint,
        created_at_ms=columns.created_at_ms,
        state=decoded(_STATE, columns.state),
        change=columns.change_seq,
        lease=lease_state(row[_WIDTH:]),
    )


def registration(column: str) -> ProcessRegistration:
    """What was asked for, from its column."""
    return decoded(_REGISTRATION, column)


def read_process(connection: sqlite3.Connection, process_id: str) -> ProcessRecord | None:
    """A process that is there."""
    row: Row | None = connection.execute(queries.PROCESS, (process_id,)).fetchone()
    return None if row is None else process_record(row)


def read_tombstone(connection: sqlite3.Connection, process_id: str) -> ProcessTombstone | None:
    """What is left of a process that was pruned."""
    row: Row | None = connection.execute(queries.TOMBSTONE, (process_id,)).fetchone()
    if row is None:
        return None
    columns = checked(row, _Tombstone)
    return ProcessTombstone(
        process_id=columns.process_id,
        status=columns.status,
        pruned_at_ms=columns.pruned_at_ms,
        change=columns.change_seq,
    )


def read_any(
    connection: sqlite3.Connection, process_id: str
) -> ProcessRecord | ProcessTombstone | None:
    """A process, or what is left of it.

    Two looks say the same as one: an id that was free at the first one and has a tombstone at the
    second was pruned before, and ids are not used again.
    """
    return read_process(connection, process_id) or read_tombstone(connection, process_id)


def next_change(row: Row) -> int:
    """The next place in the change feed, given the clock and the last place a process has.

    Raises:
        StoreError: `store_corrupt`: the clock is behind, so no place can be given out.
    """
    seq, last = row
    now = checked(seq, Count)
    if last is not None and checked(last, Count) > now:
        raise StoreError(
            "store_corrupt",
            f"The change feed has come to {last}, and its clock says {now}. The database was damaged; "
            "restore it from a backup.",
        )
    return now + 1


def read_next_change(connection: sqlite3.Connection) -> int:
    """The next place in the change feed."""
    row: Row = connection.execute(queries.CLOCK).fetchone()
    return next_change(row)


def standing(record: ProcessRecord) -> tuple[object, ...]:
    """How a process can be found now: status, from when on it is worth claiming, parked, whom it wakes."""
    state = record.state
    return (state.status, runnable_at(record), state.parked is not None, state.wake_session_id)


def descent(record: ProcessRecord) -> tuple[object, ...]:
    """How a process can be found as long as it is there: originator, parent, kind, label, code."""
    asked = record.registration
    return (
        originator_id(asked.provenance.originator),
        asked.provenance.parent_id,
        asked.identity.kind,
        asked.identity.label,
        asked.identity.definition,
    )


def progress(record: ProcessRecord) -> tuple[object, ...]:
    """The columns that each change of a process writes."""
    state = record.state
    return (state.updated_at_ms, record.change, text(state), *lease_columns(record.lease))


def lease_columns(lease: LeaseState) -> tuple[object, ...]:
    """Who runs a process, as columns."""
    held = lease.held
    if held is None:
        return (lease.fencing_token, None, None, None, None, None, None)
    owner = held.owner
    return (
        lease.fencing_token,
        owner.owner_id,
        owner.incarnation,
        owner.host,
        held.nonce,
        held.claimed_at_ms,
        held.expires_at_ms,
    )


def new_process(record: ProcessRecord) -> tuple[object, ...]:
    """All columns of a process."""
    return (
        *progress(record),
        *standing(record),
        record.process_id,
        record.fingerprint,
        record.created_at_ms,
        *descent(record),
        text(record.registration),
    )


# --- events -------------------------------------------------------------------------------------------


def event_columns(event: ProcessEvent) -> tuple[object, ...]:
    """An event as columns."""
    return (
        event.process_id,
        event.sequence,
        event.event_type,
        text(event.payload),
        event.occurred_at_ms,
        None if event.semantics == _PLAIN else text(event.semantics),
        event.replay_key,
    )


def process_event(row: Row) -> ProcessEvent:
    """An event from its columns."""
    columns = checked(row, _Event)
    semantics = columns.semantics
    return ProcessEvent(
        process_id=columns.process_id,
        sequence=columns.sequence,
        event_type=columns.event_type,
        payload=decoded(_PAYLOAD, columns.payload),
        occurred_at_ms=columns.occurred_at_ms,
        semantics=_PLAIN if semantics is None else decoded(_SEMANTICS, semantics),
        replay_key=columns.replay_key,
    )


def find_event(
    connection: sqlite3.Connection, process_id: str, replay_key: str
) -> ProcessEvent | None:
    """The event under a replay key."""
    given = (process_id, replay_key)
    row: Row | None = connection.execute(queries.EVENT_BY_KEY, given).fetchone()
    return None if row is None else process_event(row)


# --- wakes --------------------------------------------------------------------------------------------


def wake_columns(wake: WakeDelivery) -> tuple[object, ...]:
    """A wake as columns."""
    return (
        wake.process_id,
        wake.sequence,
        wake.session_id,
        wake.event_type,
        wake.text,
        wake.created_at_ms,
        wake.state,
        wake.attempts,
        wake.next_attempt_at_ms,
        wake.discard_reason,
    )


def wake_delivery(row: Row) -> WakeDelivery:
    """A wake from its columns."""
    return WakeDelivery(**checked(row, _Wake)._asdict())


def change_wake(connection: sqlite3.Connection, wake: WakeDelivery) -> None:
    """Store what became of a wake."""
    values = (
        wake.state,
        wake.attempts,
        wake.next_attempt_at_ms,
        wake.discard_reason,
        wake.process_id,
        wake.sequence,
    )
    connection.execute(queries.CHANGE_WAKE, values)
