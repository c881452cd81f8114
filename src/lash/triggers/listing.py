"""What is asked of a trigger store's lists, and what may be removed from it."""

from typing import Literal

from lash.core.json import Data
from lash.triggers.model import (
    Delivery,
    DeliveryFailure,
    DeliveryState,
    Occurrence,
    ProcessTarget,
    SessionActor,
    SessionOwner,
    Subscription,
    SubscriptionDraft,
    TriggerOwner,
    namespace,
)


class SubscriptionFilter(Data):
    """Which subscriptions are meant; all that live by default.

    Attributes:
        owner: This owner's.
        session_id: Those that a session owns or wrote.
        key: With this key.
        name: With this name.
        event: To this event.
        source_key: To this event at this source.
        target: Which start processes of this function, or ask this agent.
        enabled: Only what matches, or only what does not.
        deleted: Tombstones too.
    """

    owner: TriggerOwner | None = None
    session_id: str | None = None
    key: str | None = None
    name: str | None = None
    event: str | None = None
    source_key: str | None = None
    target: str | None = None
    enabled: bool | None = None
    deleted: bool = False


def target_name(draft: SubscriptionDraft) -> str:
    """What a subscription has to do with, by name: a function, or an agent."""
    target = draft.target
    return target.name if isinstance(target, ProcessTarget) else target.agent_name


def is_of_session(subscription: Subscription, session_id: str) -> bool:
    """Whether a session wrote a subscription, or owns it."""
    owner, writer = subscription.owner, subscription.registrant
    owns = isinstance(owner, SessionOwner) and owner.session_id == session_id
    return owns or (isinstance(writer, SessionActor) and writer.session_id == session_id)


def is_meant(subscription: Subscription, wanted: SubscriptionFilter) -> bool:
    """Whether a filter means a subscription."""
    if subscription.deleted and not wanted.deleted:
        return False
    if wanted.owner is not None and namespace(wanted.owner) != namespace(subscription.owner):
        return False
    if wanted.session_id is not None and not is_of_session(subscription, wanted.session_id):
        return False
    draft = subscription.draft
    asked = (
        (wanted.key, draft.key),
        (wanted.name, draft.name),
        (wanted.event, draft.event),
        (wanted.source_key, subscription.source_key),
        (wanted.target, target_name(draft)),
        (wanted.enabled, subscription.enabled),
    )
    return all(want is None or want == has for want, has in asked)


class OccurrenceFilter(Data):
    """Which occurrences are meant: from a time on, and before another."""

    event: str | None = None
    source_key: str | None = None
    key: str | None = None
    from_ms: int | None = None
    before_ms: int | None = None


def has_occurred(occurrence: Occurrence, wanted: OccurrenceFilter) -> bool:
    """Whether a filter means an occurrence."""
    asked = (
        (wanted.event, occurrence.event),
        (wanted.source_key, occurrence.source_key),
        (wanted.key, occurrence.key),
    )
    at = occurrence.occurred_at_ms
    return (
        all(want is None or want == has for want, has in asked)
        and (wanted.from_ms is None or at >= wanted.from_ms)
        and (wanted.before_ms is None or at < wanted.before_ms)
    )


class DeliveryFilter(Data):
    """Which deliveries are meant; `from_ms` is when they were reserved at the earliest."""

    delivery_id: str | None = None
    occurrence_id: str | None = None
    subscription_id: str | None = None
    state: DeliveryState | None = None
    from_ms: int | None = None


def is_delivery_meant(delivery: Delivery, wanted: DeliveryFilter) -> bool:
    """Whether a filter means a delivery."""
    asked = (
        (wanted.delivery_id, delivery.delivery_id),
        (wanted.occurrence_id, delivery.occurrence.occurrence_id),
        (wanted.subscription_id, delivery.subscription.subscription_id),
        (wanted.state, delivery.state),
    )
    lately = wanted.from_ms is None or delivery.created_at_ms >= wanted.from_ms
    return lately and all(want is None or want == has for want, has in asked)


class DeliverySettled(Data):
    """What became of a delivery that was tried."""

    delivery_id: str
    state: Literal["started", "failed"]
    failure: DeliveryFailure | None = None


class RetentionRequest(Data):
    """What may be removed: what came to rest before a time, in the store's clock.

    Attributes:
        before_ms: Leave alone whatever is not older than this.
        failed: Deliveries that failed are given up too.
        limit: Of each sort, at most so many in one transaction.
    """

    before_ms: int
    failed: bool = False
    limit: int = 500


class RetentionReport(Data):
    """What was removed; `more` says that there is more of it."""

    receipts: int = 0
    deliveries: int = 0
    occurrences: int = 0
    subscriptions: int = 0
    more: bool = False

    @property
    def removed(self) -> int:
        """How many rows in all."""
        return self.receipts + self.deliveries + self.occurrences + self.subscriptions
