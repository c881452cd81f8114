"""The journal in SQLite: records by scope and replay key, their large outcomes by content."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lash.core.clock import Clock
from lash.core.errors import StoreError
from lash.core.json import digest_bytes
from lash.core.scopes import from_journal_key
from lash.core.seams import SeamObserver
from lash.effects.journal import (
    AlreadyRecorded,
    Authority,
    FenceRefused,
    JournalEntry,
    JournalRecord,
    Recorded,
    RecordResult,
    Retirement,
    RetireTarget,
)
from lash.effects.transitions import SPILL_BYTES
from lash.stores.contents import due_at_ms
from lash.stores.sqlite import queries, retiring
from lash.stores.sqlite.authorities import fenced_append, is_authorised
from lash.stores.sqlite.columns import Row, checked, row_type
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.schema import process_of_scope, session_of_scope
from lash.stores.sqlite.writer import Refusal, Writer


@row_type
class _Record(NamedTuple):
    replay_key: str
    kind: str
    identity: str
    surroundings: str
    envelope: str
    outcome: str
    recorded_at_ms: int
    duration_ms: float
    fencing_token: int
    blob: str | None
    content: str | None


@row_type
class _Entry(NamedTuple):
    replay_key: str
    kind: str
    recorded_at_ms: int
    duration_ms: float
    bytes: int
    fencing_token: int
    due_at_ms: int | None


@row_type
class _Values(NamedTuple):
    """The columns of a record behind its scope."""

    replay_key: str
    kind: str
    identity: str
    surroundings: str
    envelope: str
    outcome: str
    recorded_at_ms: int
    duration_ms: float
    fencing_token: int
    blob: str | None
    bytes: int
    due_at_ms: int | None


class JournalTable:
    """The journal of a database; see `lash.effects.journal.Journal`."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, seams: SeamObserver) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._seams = seams

    def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: Authority | None,
    ) -> "asyncio.Future[RecordResult]":
        """Append under a fence; without one, the first writer wins."""
        if len(records) == 1 and records[0].surroundings_content is None:
            return self._writer.submit(
                self._append_one(scope_key, records[0], authority), whole=True
            )

        def operation(connection: sqlite3.Connection) -> RecordResult:
            if authority is not None and not is_authorised(connection, authority):
                return FenceRefused()
            winner = add_records(connection, scope_key, records)
            if winner is not None:
                raise Refusal(AlreadyRecorded(winner=winner))
            self._seams("record.inside")
            return Recorded()

        return self._writer.submit(operation)

    def _append_one(
        self, scope_key: str, record: JournalRecord, authority: Authority | None
    ) -> Callable[[sqlite3.Connection], RecordResult]:
        """The usual write in one statement, fence check included.

        Every statement costs two changes of thread. Where this one finds no place to write, the
        reason is looked for.
        """
        values = _values(record)

        def operation(connection: sqlite3.Connection) -> RecordResult:
            if authority is None:
                added = connection.execute(queries.APPEND, (*values, scope_key))
            else:
                statement, proof = fenced_append(authority)
                added = connection.execute(statement, (*values, scope_key, *proof))
            if added.rowcount != 1:
                if authority is not None and not is_authorised(connection, authority):
                    return FenceRefused()
                scope = scope_of(connection, scope_key)
                if connection.execute(queries.ADD_RECORD, (scope, *values)).rowcount != 1:
                    return AlreadyRecorded(winner=_winner(connection, scope_key, record.replay_key))
            _add_blob(connection, record, values)
            self._seams("record.inside")
            return Recorded()

        return operation

    async def finish(
        self, scope_key: str, records: Sequence[JournalRecord]
    ) -> Recorded | AlreadyRecorded:
        """Keep what waited, except for keys that are taken, and mark the scope finished."""

        def operation(connection: sqlite3.Connection) -> Recorded | AlreadyRecorded:
            scope = scope_of(connection, scope_key)
            taken: JournalRecord | None = None
            for record in records:
                if not _add(connection, scope, record) and taken is None:
                    taken = _winner(connection, scope_key, record.replay_key)
            finish_scope(connection, scope_key, self._clock.now_ms())
            if records:
                self._seams("record.inside")
            return Recorded() if taken is None else AlreadyRecorded(winner=taken)

        return await self._writer.submit(operation)

    async def reopen(self, scope_key: str) -> None:
        """Take back that a scope is finished."""
        found = await self._readers.read_here(
            lambda connection: connection.execute(queries.IS_FINISHED, (scope_key,)).fetchone()
        )
        if found is not None:
            await self._writer.submit(
                lambda connection: connection.execute(queries.REOPEN_SCOPE, (scope_key,))
            )

    async def lookup(self, scope_key: str, replay_key: str) -> JournalRecord | None:
        """The record under a key. A large outcome is read in a thread; the rest is a short read."""
        row: Row | None = await self._readers.read_here(
            lambda connection: connection.execute(
                queries.RECORD_HERE, (scope_key, replay_key)
            ).fetchone()
        )
        if row is None:
            return None
        if row[9] is None:
            return _record(row)
        return await self._readers.read(
            lambda connection: find_record(connection, scope_key, replay_key)
        )

    async def load(self, scope_key: str) -> Sequence[JournalRecord]:
        """All records of a scope, in order."""
        return await self._readers.all(queries.JOURNAL, scope_key, _record)

    async def entries(self, scope_key: str) -> Sequence[JournalEntry]:
        """All records of a scope in brief, in order; outcomes are not read."""
        return await self._readers.all(queries.JOURNAL_ENTRIES, scope_key, _entry)

    async def surroundings(self, digest: str) -> str | None:
        """The content of surroundings."""
        found = await self._readers.all(
            queries.SURROUNDINGS, digest, lambda row: checked(row[0], str)
        )
        return found[0] if found else None

    async def retire(self, target: RetireTarget, limit: int) -> Retirement:
        """Remove scopes."""
        return await self._writer.submit(
            lambda connection: retiring.retire(connection, target, limit)
        )


# --- scopes -----------------------------------------------------------------------------------------


def scope_of(connection: sqlite3.Connection, scope_key: str) -> int:
    """The number of a scope; it is made if it is new."""
    row: Row | None = connection.execute(queries.SCOPE, (scope_key,)).fetchone()
    if row is not None:
        return checked(row[0], int)
    scope = from_journal_key(scope_key)
    owners = (session_of_scope(scope), process_of_scope(scope))
    added = connection.execute(queries.ADD_SCOPE, (scope_key, *owners))
    return checked(added.lastrowid or 0, int)


def finish_scope(connection: sqlite3.Connection, scope_key: str, now_ms: int) -> None:
    """Mark a scope finished, if it is there."""
    connection.execute(queries.FINISH_SCOPE, (now_ms, scope_key))


# --- records ----------------------------------------------------------------------------------------


def add_records(
    connection: sqlite3.Connection, scope_key: str, records: Sequence[JournalRecord]
) -> JournalRecord | None:
    """Append to a scope's journal, up to the first key that is taken; its record, or None."""
    if not records:
        return None
    scope = scope_of(connection, scope_key)
    for record in records:
        if not _add(connection, scope, record):
            return _winner(connection, scope_key, record.replay_key)
    return None


def prepared(records: Sequence[JournalRecord]) -> Sequence[tuple[JournalRecord, _Values]]:
    """Records with their columns, so that nothing but SQLite itself can refuse to append them."""
    return [(record, _values(record)) for record in records]


def add_prepared(
    connection: sqlite3.Connection,
    scope_key: str,
    records: Sequence[tuple[JournalRecord, _Values]],
) -> None:
    """Append to a scope's journal what is not in it."""
    if records:
        scope = scope_of(connection, scope_key)
        for record, values in records:
            _add_values(connection, scope, record, values)


def find_record(
    connection: sqlite3.Connection, scope_key: str, replay_key: str
) -> JournalRecord | None:
    """The record under a key."""
    row: Row | None = connection.execute(queries.RECORD, (scope_key, replay_key)).fetchone()
    return None if row is None else _record(row)


def has_record(connection: sqlite3.Connection, scope_key: str, replay_key: str) -> bool:
    """Whether a key is taken."""
    return connection.execute(queries.HAS_RECORD, (scope_key, replay_key)).fetchone() is not None


def _add(connection: sqlite3.Connection, scope: int, record: JournalRecord) -> bool:
    """Append a record unless its key is taken; with it what it refers to."""
    return _add_values(connection, scope, record, _values(record))


def _add_values(
    connection: sqlite3.Connection, scope: int, record: JournalRecord, values: _Values
) -> bool:
    if connection.execute(queries.ADD_RECORD, (scope, *values)).rowcount != 1:
        return False
    _add_blob(connection, record, values)
    if record.surroundings_content is not None and record.surroundings:
        given = (record.surroundings, record.surroundings_content)
        connection.execute(queries.ADD_SURROUNDINGS, given)
    return True


def _values(record: JournalRecord) -> _Values:
    content = record.outcome.encode()
    blob = digest_bytes("effect-outcome", content) if len(content) > SPILL_BYTES else None
    return _Values(
        record.replay_key,
        record.kind,
        record.identity,
        record.surroundings,
        record.envelope,
        record.outcome if blob is None else "",
        record.recorded_at_ms,
        record.duration_ms,
        record.fencing_token,
        blob,
        len(content),
        due_at_ms(record),
    )


def _add_blob(connection: sqlite3.Connection, record: JournalRecord, values: _Values) -> None:
    if values.blob is not None:
        connection.execute(queries.ADD_BLOB, (values.blob, record.outcome))


def _winner(connection: sqlite3.Connection, scope_key: str, replay_key: str) -> JournalRecord:
    winner = find_record(connection, scope_key, replay_key)
    if winner is None:
        raise StoreError(
            "store_corrupt", f"The journal's index holds {replay_key}, but not its record."
        )
    return winner


def _record(row: Row) -> JournalRecord:
    columns = checked(row, _Record)
    return JournalRecord(
        replay_key=columns.replay_key,
        kind=columns.kind,
        identity=columns.identity,
        surroundings=columns.surroundings,
        envelope=columns.envelope,
        outcome=columns.outcome if columns.blob is None else _unspilled(columns, columns.blob),
        recorded_at_ms=columns.recorded_at_ms,
        duration_ms=columns.duration_ms,
        fencing_token=columns.fencing_token,
    )


def _unspilled(columns: _Record, blob: str) -> str:
    """A large outcome, which must be what its digest says: it stands for what was done."""
    content = columns.content
    if content is not None and digest_bytes("effect-outcome", content.encode()) == blob:
        return content
    fault = "is missing" if content is None else "is not what was recorded"
    raise StoreError(
        "store_corrupt",
        f"The outcome of {columns.replay_key} {fault}: the database was damaged; restore it from a "
        "backup.",
        replay_key=columns.replay_key,
    )


def _entry(row: Row) -> JournalEntry:
    return JournalEntry(**checked(row, _Entry)._asdict())
