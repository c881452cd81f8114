"""Subscriptions, occurrences and deliveries: rows to values and back, on an open transaction."""

import sqlite3
from typing import NamedTuple

import msgspec

from lash.stores.sqlite import trigger_queries as queries
from lash.stores.sqlite.columns import Row, checked, decoded, row_type, text
from lash.triggers.commands import StoredReceipt, TriggerOutcome
from lash.triggers.listing import target_name
from lash.triggers.model import (
    Delivery,
    DeliveryFailure,
    DeliveryState,
    Occurrence,
    SessionActor,
    SessionOwner,
    Subscription,
    TriggerOwner,
    namespace,
)

_SUBSCRIPTION = msgspec.json.Decoder(Subscription)
_OCCURRENCE = msgspec.json.Decoder(Occurrence)
_FAILURE = msgspec.json.Decoder(DeliveryFailure)
_OUTCOME: msgspec.json.Decoder[TriggerOutcome] = msgspec.json.Decoder(TriggerOutcome)


@row_type
class _Delivery(NamedTuple):
    delivery_id: str
    occurrence: str
    subscription: str
    created_at_ms: int
    state: DeliveryState
    settled_at_ms: int | None
    failure: str | None


@row_type
class _Receipt(NamedTuple):
    address: str
    command_hash: str
    outcome: str
    created_at_ms: int


def owner_session(owner: TriggerOwner) -> str | None:
    """The session that owns, if one does."""
    return owner.session_id if isinstance(owner, SessionOwner) else None


def subscription(row: Row) -> Subscription:
    """A subscription from its record."""
    return decoded(_SUBSCRIPTION, checked(row[0], str))


def read_subscription(connection: sqlite3.Connection, subscription_id: str) -> Subscription | None:
    """A subscription, or its tombstone."""
    row: Row | None = connection.execute(queries.SUBSCRIPTION, (subscription_id,)).fetchone()
    return None if row is None else subscription(row)


def subscription_columns(record: Subscription) -> tuple[object, ...]:
    """A subscription as columns."""
    actor = record.registrant
    return (
        record.subscription_id,
        namespace(record.owner),
        record.key,
        record.draft.event,
        record.source_key,
        record.draft.name,
        target_name(record.draft),
        owner_session(record.owner),
        actor.session_id if isinstance(actor, SessionActor) else None,
        record.enabled,
        record.deleted,
        text(record),
    )


def read_receipt(connection: sqlite3.Connection, address: str) -> StoredReceipt | None:
    """What came of an operation, if it is known."""
    row: Row | None = connection.execute(queries.RECEIPT, (address,)).fetchone()
    return None if row is None else receipt(row)


def receipt(row: Row) -> StoredReceipt:
    """What came of an operation, from its columns."""
    columns = checked(row, _Receipt)
    return StoredReceipt(
        address=columns.address,
        command_hash=columns.command_hash,
        outcome=decoded(_OUTCOME, columns.outcome),
        created_at_ms=columns.created_at_ms,
    )


def receipt_columns(owner: TriggerOwner, record: StoredReceipt) -> tuple[object, ...]:
    """What came of an operation as columns."""
    return (
        record.address,
        owner_session(owner),
        record.command_hash,
        text(record.outcome),
        record.created_at_ms,
    )


def occurrence(row: Row) -> Occurrence:
    """An occurrence from its record."""
    return decoded(_OCCURRENCE, checked(row[0], str))


def read_occurrence(connection: sqlite3.Connection, occurrence_id: str) -> Occurrence | None:
    """An occurrence."""
    row: Row | None = connection.execute(queries.OCCURRENCE, (occurrence_id,)).fetchone()
    return None if row is None else occurrence(row)


def occurrence_columns(record: Occurrence) -> tuple[object, ...]:
    """An occurrence as columns."""
    return (
        record.occurrence_id,
        record.key,
        record.event,
        record.source_key,
        record.occurred_at_ms,
        text(record),
    )


def delivery(row: Row) -> Delivery:
    """A delivery from its columns and its occurrence's."""
    columns = checked(row, _Delivery)
    return Delivery(
        delivery_id=columns.delivery_id,
        occurrence=decoded(_OCCURRENCE, columns.occurrence),
        subscription=decoded(_SUBSCRIPTION, columns.subscription),
        created_at_ms=columns.created_at_ms,
        state=columns.state,
        settled_at_ms=columns.settled_at_ms,
        failure=_failure(columns.failure),
    )


def _failure(column: str | None) -> DeliveryFailure | None:
    return None if column is None else decoded(_FAILURE, column)


def read_delivery(connection: sqlite3.Connection, delivery_id: str) -> Delivery | None:
    """A delivery."""
    row: Row | None = connection.execute(queries.DELIVERY, (delivery_id,)).fetchone()
    return None if row is None else delivery(row)


def delivery_columns(record: Delivery) -> tuple[object, ...]:
    """A delivery as columns; its occurrence is kept by itself."""
    return (
        record.delivery_id,
        record.occurrence.occurrence_id,
        record.subscription.subscription_id,
        record.process_id is not None,
        record.created_at_ms,
        record.state,
        record.settled_at_ms,
        None if record.failure is None else text(record.failure),
        text(record.subscription),
    )


def settled_columns(record: Delivery) -> tuple[object, ...]:
    """What became of a delivery, as columns."""
    failure = None if record.failure is None else text(record.failure)
    return (record.state, record.settled_at_ms, failure, record.delivery_id)
