"""Reading processes in SQLite, beside whoever writes."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import msgspec

from lash.core.clock import Clock
from lash.core.errors import StoreError
from lash.processes.events import ProcessEvent
from lash.processes.listing import (
    ChangePage,
    LiveReference,
    ProcessChange,
    ProcessFilter,
    Pruned,
    Upserted,
)
from lash.processes.model import ProcessEnv, ProcessRecord, ProcessTombstone
from lash.stores.sqlite import process_queries as queries
from lash.stores.sqlite import process_rows as rows
from lash.stores.sqlite.columns import Count, Row, checked, column, decoded, row_type
from lash.stores.sqlite.readers import Readers

T = TypeVar("T")

_ENV = msgspec.json.Decoder(ProcessEnv)


@row_type
class _Changed(NamedTuple):
    """Which process changed, its place in the feed, and whether it was pruned."""

    process_id: str
    place: Count
    pruned: int


class ProcessReadings:
    """What is read of processes; see `lash.processes.store.ProcessStore`."""

    def __init__(self, readers: Readers, clock: Clock) -> None:
        self._readers = readers
        self._clock = clock

    # --- one process ----------------------------------------------------------------------------

    async def load(self, process_id: str) -> ProcessRecord | ProcessTombstone | None:
        """A process as it stands, or what is left of it."""
        return await self._readers.read_here(
            lambda connection: rows.read_any(connection, process_id)
        )

    async def env(self, env_ref: str) -> ProcessEnv | None:
        """An environment by its name."""

        def operation(connection: sqlite3.Connection) -> ProcessEnv | None:
            row: Row | None = connection.execute(queries.ENV, (env_ref,)).fetchone()
            return None if row is None else decoded(_ENV, checked(row[0], str))

        return await self._readers.read_here(operation)

    async def events(
        self, process_id: str, after: int, event_type: str | None, limit: int
    ) -> Sequence[ProcessEvent]:
        """Events behind a sequence number, in order."""
        if event_type is None:
            return await self._events(queries.EVENTS, (process_id, after, max(limit, 0)))
        given = (process_id, after, event_type, max(limit, 0))
        return await self._events(queries.EVENTS_OF_TYPE, given)

    async def recent_events(self, process_id: str, count: int) -> Sequence[ProcessEvent]:
        """The last events, in order."""
        found = await self._events(queries.RECENT_EVENTS, (process_id, max(count, 0)))
        return found[::-1]

    async def _events(self, query: str, given: tuple[object, ...]) -> Sequence[ProcessEvent]:
        return await self._readers.read(
            lambda connection: [rows.process_event(row) for row in connection.execute(query, given)]
        )

    async def count_events(self, process_id: str, event_type: str, through: int) -> int:
        """How many events of a type there are up to a sequence number."""
        given = (process_id, event_type, through)
        return await self._readers.read(
            lambda connection: int(connection.execute(queries.COUNT_EVENTS, given).fetchone()[0])
        )

    async def observers(self, process_id: str) -> Sequence[str]:
        """The sessions that may see a process, sorted."""
        return await self._readers.all(
            queries.OBSERVERS, process_id, lambda row: checked(row[0], str)
        )

    # --- many -----------------------------------------------------------------------------------

    async def list(self, wanted: ProcessFilter, after: str, limit: int) -> Sequence[ProcessRecord]:
        """Processes that are meant, by id, behind one."""
        terms, values = queries.listed(wanted)
        given = (*values, after, max(limit, 0))
        return await self._records(queries.list_statement(terms), given)

    async def runnable(
        self, after: str, through: str | None, limit: int
    ) -> Sequence[ProcessRecord]:
        """Processes that are worth claiming now, by id."""
        now_ms, limit = self._clock.now_ms(), max(limit, 0)
        if through is None:
            return await self._records(queries.RUNNABLE, (now_ms, after, limit))
        return await self._records(queries.RUNNABLE_THROUGH, (now_ms, after, through, limit))

    async def _records(self, query: str, given: tuple[object, ...]) -> Sequence[ProcessRecord]:
        return await self._readers.read(
            lambda connection: [
                rows.process_record(row) for row in connection.execute(query, given)
            ]
        )

    async def last_runnable(self) -> str | None:
        """The last id that is worth claiming now."""
        return await self._one(queries.LAST_RUNNABLE, (self._clock.now_ms(),), str)

    async def next_runnable_at(self) -> int | None:
        """When the next process has rested that got nowhere."""
        return await self._one(queries.NEXT_RUNNABLE_AT, (self._clock.now_ms(),), int)

    async def _one(self, query: str, given: tuple[object, ...], kind: type[T]) -> T | None:
        """The only column of the first row, if it says anything."""

        def operation(connection: sqlite3.Connection) -> T | None:
            row: Row | None = connection.execute(query, given).fetchone()
            return None if row is None or row[0] is None else checked(row[0], kind)

        return await self._readers.read_here(operation)

    async def live_references(self) -> Sequence[LiveReference]:
        """Which code and environments live processes need."""

        def operation(connection: sqlite3.Connection) -> Sequence[LiveReference]:
            found: Counter[tuple[str | None, str | None, str | None]] = Counter()
            for text in column(connection.execute(queries.LIVE_REGISTRATIONS), str):
                asked = rows.registration(text)
                found[asked.identity.definition, asked.identity.version, asked.env_ref] += 1
            named = sorted(found.items(), key=lambda item: [part or "" for part in item[0]])
            return [
                LiveReference(definition=definition, version=version, env_ref=env_ref, count=count)
                for (definition, version, env_ref), count in named
            ]

        return await self._readers.read(operation)

    async def count_live(self) -> int:
        """How many processes have not ended."""
        return await self._readers.read(
            lambda connection: int(connection.execute(queries.COUNT_LIVE).fetchone()[0])
        )

    # --- the change feed ------------------------------------------------------------------------

    async def changed_since(self, cursor: int, limit: int) -> ChangePage:
        """The change feed behind a cursor."""

        def operation(connection: sqlite3.Connection) -> ChangePage:
            found = _changed(connection, cursor, limit)
            changes = tuple(_change(connection, entry) for entry in found)
            return ChangePage(changes=changes, cursor=_last(found, cursor))

        return await self._readers.read(operation)

    async def changed_ids(self, cursor: int, limit: int) -> tuple[Sequence[str], int]:
        """The feed in brief."""
        found = await self._readers.read_here(
            lambda connection: _changed(connection, cursor, limit)
        )
        return [entry.process_id for entry in found], _last(found, cursor)

    async def cursor(self) -> int:
        """Where the change feed ends now."""
        return await self._readers.read_here(
            lambda connection: rows.read_next_change(connection) - 1
        )


def _changed(connection: sqlite3.Connection, cursor: int, limit: int) -> Sequence[_Changed]:
    """What changed behind a cursor, in order."""
    given = {"cursor": cursor, "limit": max(limit, 0)}
    return checked(connection.execute(queries.CHANGED, given).fetchall(), list[_Changed])


def _last(found: Sequence[_Changed], cursor: int) -> int:
    return found[-1].place if found else cursor


def _change(connection: sqlite3.Connection, entry: _Changed) -> ProcessChange:
    process_id = entry.process_id
    if entry.pruned:
        tombstone = rows.read_tombstone(connection, process_id)
        if tombstone is not None:
            return Pruned(tombstone=tombstone)
    else:
        record = rows.read_process(connection, process_id)
        if record is not None:
            return Upserted(record=record)
    raise StoreError(
        "store_corrupt",
        f"The change feed names a process at {entry.place} that is not there. The database was damaged; "
        "restore it from a backup.",
    )
