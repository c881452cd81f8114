"""Writing processes in SQLite: reads facts, calls the planner, persists its plan."""

import sqlite3
from collections.abc import Sequence

from lash.core.clock import Clock
from lash.core.errors import StoreError
from lash.core.seams import SeamObserver, process_seam
from lash.effects.journal import ProcessAuthority
from lash.processes.events import ProcessEvent
from lash.processes.model import ProcessRecord
from lash.processes.planning import WriteFacts, WritePlan
from lash.processes.registration import RegisterRequest, RegisterResult
from lash.processes.running import runnable_at
from lash.processes.transitions import plan_register, plan_write
from lash.processes.writes import (
    ChangeObservers,
    ProcessUnknown,
    ProcessWrite,
    WriteResult,
)
from lash.stores.sqlite import process_queries as queries
from lash.stores.sqlite import process_rows as rows
from lash.stores.sqlite.columns import Row, array, column, text
from lash.stores.sqlite.journal import add_prepared, finish_scope, prepared
from lash.stores.sqlite.queue import tag_of
from lash.stores.sqlite.waits import end_waits, ends_of_scope_waits
from lash.stores.sqlite.writer import Writer


class ProcessTables:
    """The processes of a database; see `lash.processes.store.ProcessStore`."""

    def __init__(self, writer: Writer, clock: Clock, seams: SeamObserver) -> None:
        self._writer = writer
        self._clock = clock
        self._seams = seams

    async def register(self, request: RegisterRequest) -> RegisterResult:
        """Register a process with its observers and environment."""
        return await self._writer.submit(
            lambda connection: self._register(connection, request), whole=True
        )

    def _register(self, connection: sqlite3.Connection, request: RegisterRequest) -> RegisterResult:
        asked = request.registration
        process_id, env_ref = asked.process_id, asked.env_ref
        row: Row = connection.execute(queries.REGISTER_FACTS, (env_ref, process_id)).fetchone()
        known = (
            rows.process_record(row[3:])
            if row[3] is not None
            else rows.read_tombstone(connection, process_id)
        )
        plan = plan_register(
            known, request, now_ms=self._clock.now_ms(), next_change=rows.next_change(row[1:3])
        )
        record = plan.record
        if record is None:
            return plan.result
        columns = rows.new_process(record)
        events = [rows.event_columns(event) for event in plan.events]
        edges = [(session_id, process_id) for session_id in sorted(set(request.observers))]
        new_env = None
        if env_ref is not None and request.env is not None and not row[0]:
            new_env = (env_ref, text(request.env))
        # All of it is text by now, so nothing but SQLite itself can refuse what follows.
        _add_events(connection, events)
        connection.execute(queries.ADD_PROCESS, columns)
        connection.execute(queries.TICK, (record.change,))
        if edges:
            connection.executemany(queries.ADD_OBSERVER, edges)
        if new_env is not None:
            connection.execute(queries.ADD_ENV, new_env)
        self._seams(process_seam("register", "inside"))
        return plan.result

    async def write(self, process_id: str, write: ProcessWrite) -> WriteResult:
        """Do something to a process."""

        def operation(connection: sqlite3.Connection) -> WriteResult:
            plan = perform(connection, process_id, write, self._clock)
            if not isinstance(plan, WritePlan):
                return plan
            if plan.record is not None:
                self._seams(process_seam(tag_of(write), "inside"))
            return plan.result

        return await self._writer.submit(operation, whole=True)

    async def renew(self, held: Sequence[ProcessAuthority], ttl_ms: int) -> Sequence[str]:
        """Extend leases, all in one transaction; returns the processes whose lease is lost."""
        if not held:
            return []
        proofs = array(
            [[each.process_id, each.fence.fencing_token, each.fence.nonce] for each in held]
        )

        def operation(connection: sqlite3.Connection) -> Sequence[str]:
            ours = column(connection.execute(queries.HELD_AMONG, (proofs,)), str)
            until = self._clock.now_ms() + ttl_ms
            if ours:
                connection.execute(queries.RENEW, (until, array(ours)))
            kept = set(ours)
            return [each.process_id for each in held if each.process_id not in kept]

        return await self._writer.submit(operation, whole=True)

    async def transfer(
        self, from_session: str, to_session: str, process_ids: Sequence[str], by: str
    ) -> Sequence[str]:
        """Hand processes from one session to another, all or none."""
        wanted = list(dict.fromkeys(process_ids))
        write = ChangeObservers(by=by, add=(to_session,), remove=(from_session,))

        def operation(connection: sqlite3.Connection) -> Sequence[str]:
            given = (from_session, array(wanted))
            seen = set(column(connection.execute(queries.OBSERVED_AMONG, given), str))
            hidden = [process_id for process_id in wanted if process_id not in seen]
            if not hidden:
                for process_id in wanted:
                    perform(connection, process_id, write, self._clock)
                self._seams(process_seam(tag_of(write), "inside"))
            return hidden

        return await self._writer.submit(operation) if wanted else []


def perform(
    connection: sqlite3.Connection, process_id: str, write: ProcessWrite, clock: Clock
) -> WritePlan | WriteResult:
    """Do something to a process on an open transaction; without a plan where there is no process."""
    row: Row = connection.execute(queries.FACTS, (process_id,)).fetchone()
    if row[2] is None:
        return rows.read_tombstone(connection, process_id) or ProcessUnknown()
    record = rows.process_record(row[2:])

    def find(replay_key: str) -> ProcessEvent | None:
        return rows.find_event(connection, process_id, replay_key)

    now_ms = clock.now_ms()
    facts = WriteFacts(now_ms, record, rows.next_change(row[:2]), find)
    plan = plan_write(facts, write)
    if plan.record is not None:
        _persist(connection, record, plan.record, plan, now_ms)
    return plan


def _persist(
    connection: sqlite3.Connection,
    before: ProcessRecord,
    after: ProcessRecord,
    plan: WritePlan,
    now_ms: int,
) -> None:
    process_id = after.process_id
    if not plan.events:
        lease = rows.lease_columns(after.lease)
        connection.execute(queries.PUT_LEASE, (*lease, runnable_at(after), process_id))
        return
    events = [rows.event_columns(event) for event in plan.events]
    changed = rows.progress(after)
    was, stands = rows.standing(before), rows.standing(after)
    records = prepared(plan.records)
    waits = ends_of_scope_waits(connection, plan.scope_key, now_ms) if plan.scope_key else []
    # All of it is text by now, so nothing but SQLite itself can refuse what follows.
    _add_events(connection, events)
    if was == stands:
        connection.execute(queries.CHANGE_PROCESS, (*changed, process_id))
    else:
        connection.execute(queries.MOVE_PROCESS, (*changed, *stands, process_id))
    connection.execute(queries.TICK, (after.change,))
    if plan.discard_wakes:
        connection.execute(queries.RETARGET_WAKES, (process_id,))
    for wake in plan.wakes:
        connection.execute(queries.ADD_WAKE, rows.wake_columns(wake))
    for session_id in plan.remove_observers:
        connection.execute(queries.REMOVE_OBSERVER, (session_id, process_id))
    for session_id in plan.add_observers:
        connection.execute(queries.ADD_OBSERVER, (session_id, process_id))
    if plan.scope_key:
        add_prepared(connection, plan.scope_key, records)
        finish_scope(connection, plan.scope_key, now_ms)
        end_waits(connection, waits, now_ms)  # nobody waits any more


def _add_events(connection: sqlite3.Connection, events: Sequence[tuple[object, ...]]) -> None:
    """Append to a log; first of all, so that where the first of them does not fit nothing was written.

    Raises:
        StoreError: `store_corrupt`: the log is longer than its process says.
    """
    for event in events:
        if connection.execute(queries.ADD_EVENT, event).rowcount != 1:
            raise StoreError(
                "store_corrupt",
                f"The log of process {event[0]!r} is longer than its row says. The database was "
                "damaged; restore it from a backup.",
            )
