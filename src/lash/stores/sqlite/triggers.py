"""Triggers in SQLite: reads facts, calls the planner, persists its plan."""

import sqlite3
from collections.abc import Sequence

from lash.core.clock import Clock
from lash.core.errors import StoreError
from lash.core.seams import SeamObserver
from lash.core.tiers import DurabilityTier
from lash.stores.sqlite import trigger_queries as queries
from lash.stores.sqlite import trigger_rows as rows
from lash.stores.sqlite.columns import column
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.writer import Writer
from lash.triggers.commands import TriggerOperation, TriggerOutcome
from lash.triggers.identities import occurrence_id_of, source_key_of, subscription_id_of
from lash.triggers.listing import (
    DeliveryFilter,
    DeliverySettled,
    OccurrenceFilter,
    RetentionReport,
    RetentionRequest,
    SubscriptionFilter,
)
from lash.triggers.model import (
    Delivery,
    Occurrence,
    OccurrenceRequest,
    Subscription,
    TriggerOwner,
)
from lash.triggers.transitions import (
    CommandFacts,
    Ingested,
    IngestFacts,
    IngestResult,
    address_of,
    forget_session,
    keys_of,
    plan_command,
    plan_ingest,
    settle,
)

#: What is looked for, and how it is removed, in the order of a report. Deliveries before occurrences and
#: tombstones: those go when their last delivery has gone.
_SPENT = (
    (queries.SPENT_RECEIPTS, queries.DELETE_RECEIPT),
    (queries.SPENT_DELIVERIES, queries.DELETE_DELIVERY),
    (queries.SPENT_OCCURRENCES, queries.DELETE_OCCURRENCE),
    (queries.SPENT_TOMBSTONES, queries.DELETE_SUBSCRIPTION),
)


class SqliteTriggers:
    """The triggers of a database; see `lash.triggers.store.TriggerStore`."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, seams: SeamObserver) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._seams = seams

    @property
    def tier(self) -> DurabilityTier:
        """Survives the process."""
        return "durable"

    # --- writing --------------------------------------------------------------------------------

    async def execute(self, operation: TriggerOperation) -> TriggerOutcome:
        """Do something to subscriptions, in one transaction."""
        return await self._writer.submit(lambda connection: self._execute(connection, operation))

    def _execute(
        self, connection: sqlite3.Connection, operation: TriggerOperation
    ) -> TriggerOutcome:
        owner = operation.command.owner
        found = {
            key: rows.read_subscription(connection, subscription_id_of(owner, key))
            for key in dict.fromkeys(keys_of(operation.command))
        }
        facts = CommandFacts(
            now_ms=self._clock.now_ms(),
            receipt=rows.read_receipt(connection, address_of(operation)),
            records={key: record for key, record in found.items() if record is not None},
        )
        plan = plan_command(facts, operation)
        if plan.receipt is not None:
            records = [rows.subscription_columns(record) for record in plan.records]
            receipt = rows.receipt_columns(owner, plan.receipt)
            connection.executemany(queries.PUT_SUBSCRIPTION, records)
            _add(connection, queries.ADD_RECEIPT, [receipt])
            self._seams("trigger.execute.inside")
        return plan.outcome

    async def ingest(self, request: OccurrenceRequest) -> IngestResult:
        """Write down an occurrence and reserve all it means, in one transaction."""
        return await self._writer.submit(lambda connection: self._ingest(connection, request))

    def _ingest(self, connection: sqlite3.Connection, request: OccurrenceRequest) -> IngestResult:
        known = rows.read_occurrence(connection, occurrence_id_of(request.key))
        live: list[Subscription] = []
        deliveries: list[Delivery] = []
        if known is None:
            at = (source_key_of(request.event, request.source),)
            live = [rows.subscription(row) for row in connection.execute(queries.MATCHING, at)]
        else:
            this = (known.occurrence_id,)
            found = connection.execute(queries.DELIVERIES_OF, this)
            deliveries = [rows.delivery(row) for row in found]
        facts = IngestFacts(
            now_ms=self._clock.now_ms(),
            known=known,
            deliveries=tuple(deliveries),
            live=tuple(live),
        )
        result = plan_ingest(facts, request)
        if isinstance(result, Ingested):
            occurred = rows.occurrence_columns(result.occurrence)
            reserved = [rows.delivery_columns(each) for each in result.deliveries]
            _add(connection, queries.ADD_OCCURRENCE, [occurred])
            _add(connection, queries.ADD_DELIVERY, reserved)
            self._seams("trigger.ingest.inside")
        return result

    async def settle(self, settled: Sequence[DeliverySettled]) -> int:
        """Keep what became of deliveries, in one transaction."""

        def operation(connection: sqlite3.Connection) -> int:
            now_ms, changed = self._clock.now_ms(), dict[str, Delivery]()
            for each in settled:
                before = changed.get(each.delivery_id) or rows.read_delivery(
                    connection, each.delivery_id
                )
                after = None if before is None else settle(before, each, now_ms)
                if after is not None:
                    changed[each.delivery_id] = after
            values = [rows.settled_columns(each) for each in changed.values()]
            if values:
                connection.executemany(queries.SETTLE, values)
                self._seams("trigger.settle.inside")
            return len(values)

        return await self._writer.submit(operation, whole=True)

    async def retain(self, request: RetentionRequest) -> RetentionReport:
        """Remove what nobody will ask for, up to a limit of each sort, in one transaction."""
        limit = max(request.limit, 0)
        given = {"before": request.before_ms, "failed": request.failed, "limit": limit + 1}

        def operation(connection: sqlite3.Connection) -> RetentionReport:
            counts: list[int] = []
            more = False
            for query, removal in _SPENT:
                found = column(connection.execute(query, given), str)
                more = more or len(found) > limit
                chosen = [(name,) for name in found[:limit]]
                connection.executemany(removal, chosen)
                counts.append(len(chosen))
            if any(counts):
                self._seams("trigger.retain.inside")
            return RetentionReport(
                receipts=counts[0],
                deliveries=counts[1],
                occurrences=counts[2],
                subscriptions=counts[3],
                more=more,
            )

        return await self._writer.submit(operation)

    # --- reading --------------------------------------------------------------------------------

    async def find_subscription(self, owner: TriggerOwner, key: str) -> Subscription | None:
        """A subscription, or its tombstone."""
        subscription_id = subscription_id_of(owner, key)
        return await self._readers.read(
            lambda connection: rows.read_subscription(connection, subscription_id)
        )

    async def list_subscriptions(self, wanted: SubscriptionFilter) -> Sequence[Subscription]:
        """Subscriptions by owner, then key."""
        query, values = queries.list_subscriptions(wanted)
        return await self._readers.read(
            lambda connection: [rows.subscription(row) for row in connection.execute(query, values)]
        )

    async def list_occurrences(
        self, wanted: OccurrenceFilter, *, limit: int = 1000, newest: bool = False
    ) -> Sequence[Occurrence]:
        """Occurrences in the order of time, then id."""
        query, values = queries.list_occurrences(wanted, newest=newest)
        given = (*values, max(limit, 0))
        found = await self._readers.read(
            lambda connection: [rows.occurrence(row) for row in connection.execute(query, given)]
        )
        return found[::-1] if newest else found

    async def list_deliveries(
        self, wanted: DeliveryFilter, *, after: str = "", limit: int = 1000
    ) -> Sequence[Delivery]:
        """Deliveries by id, behind `after`."""
        query, values = queries.list_deliveries(wanted)
        given = (*values, after, max(limit, 0))
        return await self._readers.read(
            lambda connection: [rows.delivery(row) for row in connection.execute(query, given)]
        )


def end_subscriptions(connection: sqlite3.Connection, session_id: str, clock: Clock) -> int:
    """Leave tombstones of a session's subscriptions, in the transaction that deletes it; how many."""
    found = connection.execute(queries.OF_SESSION, {"session": session_id}).fetchall()
    live = [rows.subscription(row) for row in found]
    ended = forget_session(live, session_id, clock.now_ms())
    connection.executemany(
        queries.PUT_SUBSCRIPTION, [rows.subscription_columns(record) for record in ended]
    )
    return len(ended)


def forget_delivery(connection: sqlite3.Connection, process_id: str) -> None:
    """Let go of the delivery that started a process, in the transaction that prunes it."""
    connection.execute(queries.FORGET_PROCESS, (process_id,))


def _add(
    connection: sqlite3.Connection, statement: str, added: Sequence[tuple[object, ...]]
) -> None:
    """Add rows that must be new.

    Raises:
        StoreError: `store_corrupt`: one is there, and was not found.
    """
    for row in added:
        if connection.execute(statement, row).rowcount != 1:
            raise StoreError(
                "store_corrupt",
                f"A row of triggers, {row[0]!r}, is there and was not found. The database was damaged; "
                "restore it from a backup.",
            )
