"""What a runtime knows of triggers: subscriptions, what occurred and what came of it, and forgetting it."""

from collections.abc import Sequence
from datetime import timedelta

from lash.core.clock import Clock
from lash.core.durations import milliseconds
from lash.core.json import to_json
from lash.runtime.engine import Engine
from lash.runtime.triggers.declaring import owner_of
from lash.triggers.identities import source_key_of
from lash.triggers.listing import (
    DeliveryFilter,
    OccurrenceFilter,
    RetentionReport,
    RetentionRequest,
    SubscriptionFilter,
)
from lash.triggers.model import Delivery, DeliveryState, HostOwner, Occurrence, Subscription

#: Whichever source.
ANY_SOURCE: object = object()


class TriggerRecords:
    """The half of `runtime.triggers` that looks and forgets."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._side = engine.trigger_side

    @property
    def clock(self) -> Clock:
        """What tells the time here, for sources that emit when it has come."""
        return self._engine.environment.clock

    # --- looking --------------------------------------------------------------------------------

    async def get(
        self, key: str, *, session: str | None = None, host: str | None = None
    ) -> Subscription | None:
        """A subscription, or what is left of a deleted one."""
        owner, _ = owner_of(session, host)
        return await self._side.store.find_subscription(owner, key)

    async def list(
        self,
        *,
        event: str | None = None,
        key: str | None = None,
        name: str | None = None,
        target: str | None = None,
        enabled: bool | None = None,
        session: str | None = None,
        host: str | None = None,
        deleted: bool = False,
    ) -> Sequence[Subscription]:
        """Subscriptions by owner and key; without `deleted`, those that live.

        Args:
            event: To this event.
            key: With this key.
            name: With this name.
            target: Of this process function, or agent.
            enabled: Only those that match, or only those that do not.
            session: A session's.
            host: Those of a part of the application.
            deleted: Tombstones too.
        """
        wanted = SubscriptionFilter(
            owner=None if host is None else HostOwner(binding_id=host),
            session_id=session,
            key=key,
            name=name,
            event=event,
            target=target,
            enabled=enabled,
            deleted=deleted,
        )
        return await self._side.store.list_subscriptions(wanted)

    async def occurrences(
        self,
        event: str | None = None,
        *,
        source: object = ANY_SOURCE,
        key: str | None = None,
        from_ms: int | None = None,
        before_ms: int | None = None,
        limit: int = 1000,
        newest: bool = False,
    ) -> Sequence[Occurrence]:
        """What occurred, in order; with `newest`, the last ones.

        A source goes with its event; None is what was emitted without one.
        """
        wanted = OccurrenceFilter(
            event=event,
            source_key=(
                None
                if event is None or source is ANY_SOURCE
                else source_key_of(event, to_json(source))
            ),
            key=key,
            from_ms=from_ms,
            before_ms=before_ms,
        )
        return await self._side.store.list_occurrences(wanted, limit=limit, newest=newest)

    async def deliveries(
        self,
        *,
        occurrence: str | None = None,
        subscription: str | None = None,
        delivery: str | None = None,
        state: DeliveryState | None = None,
        after: str = "",
        limit: int = 1000,
    ) -> Sequence[Delivery]:
        """Deliveries by id, behind `after`. One that started a process goes with that process.

        Args:
            occurrence: Of this occurrence, by its id.
            subscription: Of this subscription, by its id.
            delivery: This one; the id is also its process's.
            state: Those that stand like this.
            after: Ids behind this one.
            limit: At most so many.
        """
        wanted = DeliveryFilter(
            delivery_id=delivery,
            occurrence_id=occurrence,
            subscription_id=subscription,
            state=state,
        )
        return await self._side.store.list_deliveries(wanted, after=after, limit=limit)

    # --- keeping --------------------------------------------------------------------------------

    async def retain(self, older_than: timedelta, *, failed: bool = False) -> RetentionReport:
        """Forget what is older than `older_than` and concerns nobody any more.

        Occurrences that have no deliveries left, the deliveries of input that is in its session, and
        receipts of operations. Deliveries of processes go when their processes are pruned; what is
        reserved is never touched. A key whose occurrence is forgotten is new when it comes again.

        Args:
            older_than: Leave alone what is younger.
            failed: Give up deliveries that failed, too.

        Raises:
            LashError: `duration_invalid`.
        """
        age_ms = milliseconds(older_than, "older_than")
        now_ms = self.clock.now_ms()
        request = RetentionRequest(before_ms=now_ms - age_ms + (not age_ms), failed=failed)
        total = RetentionReport()
        while True:  # a bounded piece at a time, so that no writer waits long
            step = await self._side.store.retain(request)
            total = RetentionReport(
                receipts=total.receipts + step.receipts,
                deliveries=total.deliveries + step.deliveries,
                occurrences=total.occurrences + step.occurrences,
                subscriptions=total.subscriptions + step.subscriptions,
            )
            if not step.more or not step.removed:
                return total
