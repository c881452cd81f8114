"""The SQL statements of triggers, named and described. The logic is elsewhere."""

from collections.abc import Mapping

from lash.triggers.listing import DeliveryFilter, OccurrenceFilter, SubscriptionFilter
from lash.triggers.model import namespace

# --- subscriptions ------------------------------------------------------------------------------------

SUBSCRIPTION = "SELECT record FROM trigger_subscriptions WHERE subscription_id = ?"
PUT_SUBSCRIPTION = """
    INSERT OR REPLACE INTO trigger_subscriptions (
        subscription_id, owner, subscription_key, event, source_key, name, target, owner_session,
        registrant_session, enabled, deleted, record
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
#: What may match: enabled, and so not deleted.
MATCHING = """
    SELECT record FROM trigger_subscriptions INDEXED BY trigger_subscriptions_matching
    WHERE source_key = ? AND enabled = 1
"""
OF_SESSION = """
    SELECT record FROM trigger_subscriptions
    WHERE (owner_session = :session OR registrant_session = :session) AND deleted = 0
"""
RECEIPT = """
    SELECT address, command_hash, outcome, created_at_ms FROM trigger_receipts WHERE address = ?
"""
#: What is there already, although it was looked for, is a fault of the database; the row count tells.
ADD_RECEIPT = """
    INSERT INTO trigger_receipts (address, owner_session, command_hash, outcome, created_at_ms)
    VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""


def list_subscriptions(wanted: SubscriptionFilter) -> tuple[str, list[object]]:
    """The subscriptions that a filter means, by owner and key, and the values it is about."""
    terms = [] if wanted.deleted else ["deleted = 0"]
    values: list[object] = []
    if wanted.session_id is not None:
        terms.append("(owner_session = ? OR registrant_session = ?)")
        values += [wanted.session_id, wanted.session_id]
    equal = {
        "owner": None if wanted.owner is None else namespace(wanted.owner),
        "subscription_key": wanted.key,
        "name": wanted.name,
        "event": wanted.event,
        "source_key": wanted.source_key,
        "target": wanted.target,
        "enabled": wanted.enabled,
    }
    _add(terms, values, equal)
    statement = f"""
        SELECT record FROM trigger_subscriptions WHERE {_all(terms)} ORDER BY owner, subscription_key
    """  # noqa: S608
    return statement, values


# --- occurrences and deliveries -----------------------------------------------------------------------

OCCURRENCE = "SELECT record FROM trigger_occurrences WHERE occurrence_id = ?"
ADD_OCCURRENCE = """
    INSERT INTO trigger_occurrences (
        occurrence_id, occurrence_key, event, source_key, occurred_at_ms, record
    )
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
_DELIVERY = """
    d.delivery_id, o.record, d.subscription, d.created_at_ms, d.state, d.settled_at_ms, d.failure
"""
_DELIVERIES = """
    trigger_deliveries d JOIN trigger_occurrences o ON o.occurrence_id = d.occurrence_id
"""
ADD_DELIVERY = """
    INSERT INTO trigger_deliveries (
        delivery_id, occurrence_id, subscription_id, starts_process, created_at_ms, state,
        settled_at_ms, failure, subscription
    )
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
DELIVERIES_OF = f"SELECT {_DELIVERY} FROM {_DELIVERIES} WHERE d.occurrence_id = ?"  # noqa: S608
DELIVERY = f"SELECT {_DELIVERY} FROM {_DELIVERIES} WHERE d.delivery_id = ?"  # noqa: S608
SETTLE = """
    UPDATE trigger_deliveries SET state = ?, settled_at_ms = ?, failure = ? WHERE delivery_id = ?
"""
FORGET_PROCESS = "DELETE FROM trigger_deliveries WHERE delivery_id = ?"


def list_occurrences(wanted: OccurrenceFilter, *, newest: bool) -> tuple[str, list[object]]:
    """The occurrences that a filter means, by time; the last value is to be a limit."""
    terms: list[str] = []
    values: list[object] = []
    equal = {
        "event": wanted.event,
        "source_key": wanted.source_key,
        "occurrence_key": wanted.key,
    }
    _add(terms, values, equal)
    _add(terms, values, {"occurred_at_ms": wanted.from_ms}, ">=")
    _add(terms, values, {"occurred_at_ms": wanted.before_ms}, "<")
    way = "DESC" if newest else "ASC"
    statement = f"""
        SELECT record FROM trigger_occurrences WHERE {_all(terms)}
        ORDER BY occurred_at_ms {way}, occurrence_id {way} LIMIT ?
    """  # noqa: S608
    return statement, values


def list_deliveries(wanted: DeliveryFilter) -> tuple[str, list[object]]:
    """The deliveries that a filter means, by id; the last values are to be an id and a limit."""
    terms: list[str] = []
    values: list[object] = []
    if wanted.state is not None:
        terms.append(f"d.state = '{wanted.state}'")  # word for word, as the partial indexes have it
    equal = {
        "d.delivery_id": wanted.delivery_id,
        "d.occurrence_id": wanted.occurrence_id,
        "d.subscription_id": wanted.subscription_id,
    }
    _add(terms, values, equal)
    _add(terms, values, {"d.created_at_ms": wanted.from_ms}, ">=")
    statement = f"""
        SELECT {_DELIVERY} FROM {_DELIVERIES} WHERE {_all(terms)} AND d.delivery_id > ?
        ORDER BY d.delivery_id LIMIT ?
    """  # noqa: S608
    return statement, values


def _add(
    terms: list[str], values: list[object], asked: Mapping[str, object], how: str = "="
) -> None:
    for column, value in asked.items():
        if value is not None:
            terms.append(f"{column} {how} ?")
            values.append(value)


def _all(terms: list[str]) -> str:
    return " AND ".join(terms) or "true"


# --- retention: each gives up to a limit of ids, in order ---------------------------------------------

_SESSION_GONE = "owner_session IN (SELECT session_id FROM deleted_sessions)"
SPENT_RECEIPTS = f"""
    SELECT address FROM trigger_receipts WHERE created_at_ms < :before
    UNION
    SELECT address FROM trigger_receipts WHERE owner_session IS NOT NULL AND {_SESSION_GONE}
    ORDER BY address LIMIT :limit
"""  # noqa: S608
SPENT_DELIVERIES = """
    SELECT delivery_id FROM trigger_deliveries
    WHERE state = 'started' AND starts_process = 0 AND settled_at_ms < :before
    UNION
    SELECT delivery_id FROM trigger_deliveries
    WHERE :failed AND state = 'failed' AND settled_at_ms < :before
    ORDER BY delivery_id LIMIT :limit
"""
SPENT_OCCURRENCES = """
    SELECT occurrence_id FROM trigger_occurrences o
    WHERE occurred_at_ms < :before AND NOT EXISTS (
        SELECT 1 FROM trigger_deliveries d WHERE d.occurrence_id = o.occurrence_id
    )
    ORDER BY occurrence_id LIMIT :limit
"""
SPENT_TOMBSTONES = f"""
    SELECT subscription_id FROM trigger_subscriptions s
    WHERE deleted = 1 AND owner_session IS NOT NULL AND {_SESSION_GONE} AND NOT EXISTS (
        SELECT 1 FROM trigger_deliveries d WHERE d.subscription_id = s.subscription_id
    )
    ORDER BY subscription_id LIMIT :limit
"""  # noqa: S608
DELETE_RECEIPT = "DELETE FROM trigger_receipts WHERE address = ?"
DELETE_DELIVERY = "DELETE FROM trigger_deliveries WHERE delivery_id = ?"
DELETE_OCCURRENCE = "DELETE FROM trigger_occurrences WHERE occurrence_id = ?"
DELETE_SUBSCRIPTION = "DELETE FROM trigger_subscriptions WHERE subscription_id = ?"

# --- checking -----------------------------------------------------------------------------------------


def numbers(table: str) -> str:
    """The numbers of a table's rows."""
    return f"SELECT rowid FROM {table}"  # noqa: S608  a table of ours


SUBSCRIPTION_ROW = """
    SELECT subscription_id, owner, subscription_key, event, source_key, name, target, owner_session,
        registrant_session, enabled, deleted, record
    FROM trigger_subscriptions WHERE rowid = ?
"""
RECEIPT_ROW = """
    SELECT address, command_hash, outcome, created_at_ms, owner_session FROM trigger_receipts
    WHERE rowid = ?
"""
OCCURRENCE_ROW = """
    SELECT occurrence_id, occurrence_key, event, source_key, occurred_at_ms, record
    FROM trigger_occurrences WHERE rowid = ?
"""
DELIVERY_ROW = """
    SELECT delivery_id, occurrence_id, subscription_id, starts_process, created_at_ms, state,
        settled_at_ms, failure, subscription
    FROM trigger_deliveries WHERE rowid = ?
"""
