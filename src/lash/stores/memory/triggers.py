"""Triggers in memory: the same planner as in the durable stores."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lash.core.clock import Clock
from lash.core.seams import SeamObserver
from lash.core.tiers import DurabilityTier
from lash.stores.memory.session import Held
from lash.triggers.commands import StoredReceipt, TriggerOperation, TriggerOutcome
from lash.triggers.identities import occurrence_id_of, subscription_id_of
from lash.triggers.listing import (
    DeliveryFilter,
    DeliverySettled,
    OccurrenceFilter,
    RetentionReport,
    RetentionRequest,
    SubscriptionFilter,
    has_occurred,
    is_delivery_meant,
    is_meant,
)
from lash.triggers.model import (
    Delivery,
    Occurrence,
    OccurrenceRequest,
    SessionOwner,
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
    is_delivery_spent,
    is_tombstone_spent,
    keys_of,
    plan_command,
    plan_ingest,
    settle,
)


@dataclass(slots=True)
class HeldTriggers:
    """All that is kept of triggers, by id; receipts by address, with whose they are."""

    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    receipts: dict[str, tuple[TriggerOwner, StoredReceipt]] = field(default_factory=dict)
    occurrences: dict[str, Occurrence] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)


class MemoryTriggers:
    """Subscriptions, what occurred, and what that means. Every method is one transaction.

    Args:
        clock: The store's clock.
        seams: Told where a durable store would have written and not yet committed.
        sessions: The sessions, of which some were deleted.
        changed: Called after every write that others may wait for.
    """

    def __init__(
        self, clock: Clock, seams: SeamObserver, sessions: Held, changed: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._seams = seams
        self._sessions = sessions
        self._changed = changed
        self._held = HeldTriggers()

    @property
    def tier(self) -> DurabilityTier:
        """Dies with the process."""
        return "ephemeral"

    # --- writing --------------------------------------------------------------------------------

    async def execute(self, operation: TriggerOperation) -> TriggerOutcome:
        """Do something to subscriptions."""
        held, owner = self._held, operation.command.owner
        named = {key: subscription_id_of(owner, key) for key in keys_of(operation.command)}
        kept = held.receipts.get(address_of(operation))
        facts = CommandFacts(
            now_ms=self._clock.now_ms(),
            receipt=None if kept is None else kept[1],
            records={
                key: held.subscriptions[found]
                for key, found in named.items()
                if found in held.subscriptions
            },
        )
        plan = plan_command(facts, operation)
        if plan.receipt is not None:
            self._seams("trigger.execute.inside")
            self._put(plan.records)
            held.receipts[plan.receipt.address] = (owner, plan.receipt)
            self._changed()
        return plan.outcome

    def _put(self, records: Sequence[Subscription]) -> None:
        self._held.subscriptions.update((each.subscription_id, each) for each in records)

    async def ingest(self, request: OccurrenceRequest) -> IngestResult:
        """Write down an occurrence and reserve all it means."""
        held = self._held
        known = held.occurrences.get(occurrence_id_of(request.key))
        facts = IngestFacts(
            now_ms=self._clock.now_ms(),
            known=known,
            deliveries=tuple(self._deliveries_of(known)) if known else (),
            live=tuple(held.subscriptions.values()),
        )
        result = plan_ingest(facts, request)
        if isinstance(result, Ingested):
            self._seams("trigger.ingest.inside")
            held.occurrences[result.occurrence.occurrence_id] = result.occurrence
            held.deliveries.update((each.delivery_id, each) for each in result.deliveries)
            self._changed()
        return result

    def _deliveries_of(self, occurrence: Occurrence) -> Iterator[Delivery]:
        wanted = DeliveryFilter(occurrence_id=occurrence.occurrence_id)
        return (each for each in self._held.deliveries.values() if is_delivery_meant(each, wanted))

    async def settle(self, settled: Sequence[DeliverySettled]) -> int:
        """Keep what became of deliveries."""
        held, now_ms = self._held.deliveries, self._clock.now_ms()
        changed: dict[str, Delivery] = {}
        for each in settled:
            before = changed.get(each.delivery_id) or held.get(each.delivery_id)
            after = settle(before, each, now_ms) if before else None
            if after is not None:
                changed[each.delivery_id] = after
        if changed:
            self._seams("trigger.settle.inside")
            held.update(changed)
            self._changed()
        return len(changed)

    # --- forgetting -----------------------------------------------------------------------------

    async def retain(self, request: RetentionRequest) -> RetentionReport:
        """Remove what nobody will ask for."""
        held, before_ms, limit = self._held, request.before_ms, max(request.limit, 0)
        deleted = self._sessions.deleted
        spent = [
            each.delivery_id
            for _, each in sorted(held.deliveries.items())
            if is_delivery_spent(each, before_ms, failed=request.failed)
        ]
        receipts = [
            address
            for address, (owner, receipt) in sorted(held.receipts.items())
            if receipt.created_at_ms < before_ms
            or (isinstance(owner, SessionOwner) and owner.session_id in deleted)
        ]
        gone = set(spent[:limit])
        left = [each for name, each in held.deliveries.items() if name not in gone]
        needed = {each.occurrence.occurrence_id for each in left}
        occurrences = [
            name
            for name, each in sorted(held.occurrences.items())
            if each.occurred_at_ms < before_ms and name not in needed
        ]
        reserved = Counter(each.subscription.subscription_id for each in left)
        tombstones = [
            name
            for name, each in sorted(held.subscriptions.items())
            if is_tombstone_spent(
                each,
                session_deleted=getattr(each.owner, "session_id", "") in deleted,
                deliveries=reserved[name],
            )
        ]
        found = (receipts, spent, occurrences, tombstones)
        if limit and any(found):
            self._seams("trigger.retain.inside")
            kinds = (held.receipts, held.deliveries, held.occurrences, held.subscriptions)
            for names, kept in zip(found, kinds, strict=True):
                for name in names[:limit]:
                    del kept[name]  # type: ignore[attr-defined]  # each a dict by those names
            self._changed()
        counts = [len(names[:limit]) for names in found]
        return RetentionReport(
            receipts=counts[0],
            deliveries=counts[1],
            occurrences=counts[2],
            subscriptions=counts[3],
            more=any(len(names) > limit for names in found),
        )

    def forget_process(self, process_id: str) -> None:
        """Let go of the delivery that started a process, in the transaction that prunes it."""
        self._held.deliveries.pop(process_id, None)

    def forget_session(self, session_id: str) -> int:
        """Leave tombstones of a session's subscriptions, in the transaction that deletes it; how many."""
        everything = tuple(self._held.subscriptions.values())
        ended = forget_session(everything, session_id, self._clock.now_ms())
        self._put(ended)
        return len(ended)

    # --- reading --------------------------------------------------------------------------------

    async def find_subscription(self, owner: TriggerOwner, key: str) -> Subscription | None:
        """A subscription, or its tombstone."""
        return self._held.subscriptions.get(subscription_id_of(owner, key))

    async def list_subscriptions(self, wanted: SubscriptionFilter) -> Sequence[Subscription]:
        """Subscriptions by owner, then key."""
        found = (each for each in self._held.subscriptions.values() if is_meant(each, wanted))
        return sorted(found, key=lambda each: each.place)

    async def list_occurrences(
        self, wanted: OccurrenceFilter, *, limit: int = 1000, newest: bool = False
    ) -> Sequence[Occurrence]:
        """Occurrences in the order of time, then id."""
        found = sorted(
            (each for each in self._held.occurrences.values() if has_occurred(each, wanted)),
            key=lambda each: (each.occurred_at_ms, each.occurrence_id),
        )
        limit = max(limit, 0)
        return found[max(len(found) - limit, 0) :] if newest else found[:limit]

    async def list_deliveries(
        self, wanted: DeliveryFilter, *, after: str = "", limit: int = 1000
    ) -> Sequence[Delivery]:
        """Deliveries by id, behind `after`."""
        found = sorted(
            name
            for name, each in self._held.deliveries.items()
            if name > after and is_delivery_meant(each, wanted)
        )
        return [self._held.deliveries[name] for name in found[: max(limit, 0)]]
