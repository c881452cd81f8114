"""The contract a store of triggers keeps. Every method is one transaction; a refusal writes nothing.

Stores read rows, ask `transitions`, and persist what they are told. The store's clock is read inside the
transaction. Two things happen in transactions of others: the deliveries of a process go where it is
pruned, and a session's subscriptions become tombstones where it is deleted.
"""

from collections.abc import Sequence
from typing import Protocol

from lash.core.tiers import DurabilityTier
from lash.triggers.commands import TriggerOperation, TriggerOutcome
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
from lash.triggers.transitions import IngestResult


class TriggerStore(Protocol):
    """Subscriptions, what occurred, and what that means."""

    @property
    def tier(self) -> DurabilityTier:
        """Whether what is kept survives the process."""
        ...

    async def execute(self, operation: TriggerOperation) -> TriggerOutcome:
        """Do something to subscriptions (`plan_command`): records and receipt at once."""
        ...

    async def ingest(self, request: OccurrenceRequest) -> IngestResult:
        """Write down an occurrence and reserve all it means (`plan_ingest`), at once."""
        ...

    async def settle(self, settled: Sequence[DeliverySettled]) -> int:
        """Keep what became of deliveries (`transitions.settle`); how many of them changed."""
        ...

    async def retain(self, request: RetentionRequest) -> RetentionReport:
        """Remove what nobody will ask for.

        Receipts written before the time; deliveries that are spent (`is_delivery_spent`); occurrences
        from before the time without deliveries; tombstones that are spent (`is_tombstone_spent`). What
        is reserved or runs is never touched.
        """
        ...

    async def find_subscription(self, owner: TriggerOwner, key: str) -> Subscription | None:
        """A subscription, or its tombstone."""
        ...

    async def list_subscriptions(self, wanted: SubscriptionFilter) -> Sequence[Subscription]:
        """Subscriptions by owner, then key."""
        ...

    async def list_occurrences(
        self, wanted: OccurrenceFilter, *, limit: int = 1000, newest: bool = False
    ) -> Sequence[Occurrence]:
        """Occurrences in the order of time, then id; with `newest`, the last ones, still in order."""
        ...

    async def list_deliveries(
        self, wanted: DeliveryFilter, *, after: str = "", limit: int = 1000
    ) -> Sequence[Delivery]:
        """Deliveries by id, behind `after`."""
        ...
