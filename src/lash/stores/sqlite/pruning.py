"""Forgetting ended processes in SQLite, with their events, edges, journals and promises."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from lash.core.clock import Clock
from lash.core.seams import SeamObserver, process_seam
from lash.effects.journal import RetireProcess
from lash.processes.listing import PruneReport, PruneRequest
from lash.stores.sqlite import process_queries as queries
from lash.stores.sqlite import process_rows as rows
from lash.stores.sqlite.columns import checked, row_type
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.retiring import retire
from lash.stores.sqlite.triggers import forget_delivery
from lash.stores.sqlite.writer import Writer

#: More segments than a process ever has: all of them go at once.
_ALL = 2**31

#: More changes than there ever are.
_NO_PROJECTOR = 2**53


@row_type
class _Candidate(NamedTuple):
    process_id: str
    status: str


class Pruning:
    """What `prune_processes` does; see `lash.processes.store.ProcessStore`."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, seams: SeamObserver) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._seams = seams

    async def prune(self, request: PruneRequest) -> PruneReport:
        """Forget up to a limit, in one transaction."""
        # All that ended may have to be looked through, which must not hold up whoever writes.
        found, kept = await self._readers.read(lambda connection: _candidates(connection, request))
        if not found or request.limit <= 0:
            return PruneReport(kept_for_wakes=kept, more=bool(found))
        return await self._writer.submit(lambda connection: self._prune(connection, request))

    def _prune(self, connection: sqlite3.Connection, request: PruneRequest) -> PruneReport:
        found, kept = _candidates(connection, request)
        now_ms, change = self._clock.now_ms(), rows.read_next_change(connection)
        chosen = found[: request.limit]
        events = records = 0
        for process_id, status in chosen:
            this = (process_id,)
            events += connection.execute(queries.DELETE_EVENTS, this).rowcount
            connection.execute(queries.DELETE_OBSERVERS, this)
            connection.execute(queries.DELETE_WAKES, this)
            connection.execute(queries.DELETE_PROCESS, this)
            forget_delivery(connection, process_id)
            records += retire(connection, RetireProcess(process_id=process_id), _ALL).records
            connection.execute(queries.ADD_TOMBSTONE, (process_id, status, now_ms, change))
            change += 1
        if chosen:
            connection.execute(queries.TICK, (change - 1,))
            self._seams(process_seam("prune", "inside"))
        return PruneReport(
            processes=len(chosen),
            events=events,
            records=records,
            kept_for_wakes=kept,
            more=len(found) > len(chosen),
        )


def _candidates(
    connection: sqlite3.Connection, request: PruneRequest
) -> tuple[Sequence[_Candidate], int]:
    """What may go, by id, and how many others would if their wakes were delivered."""
    terms, values = queries.listed(request.filter)
    through = _NO_PROJECTOR if request.through is None else request.through
    given = (*values, request.before_ms, through)
    found: list[_Candidate] = []
    kept = 0
    for process_id, status, pending in connection.execute(queries.prune_statement(terms), given):
        if pending:
            kept += 1
        else:
            found.append(_Candidate(checked(process_id, str), checked(status, str)))
    return found, kept
