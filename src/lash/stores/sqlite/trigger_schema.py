"""The tables of triggers in a SQLite store."""

# Subscriptions and the tombstones of deleted ones. The columns before `record` say parts of it, so that
# they can be asked for; sessions stand there bare, for when one is deleted.
_SUBSCRIPTIONS = """
    CREATE TABLE trigger_subscriptions (
        subscription_id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        subscription_key TEXT NOT NULL,
        event TEXT NOT NULL,
        source_key TEXT NOT NULL,
        name TEXT,
        target TEXT NOT NULL,
        owner_session TEXT,
        registrant_session TEXT,
        enabled INTEGER NOT NULL,
        deleted INTEGER NOT NULL,
        record TEXT NOT NULL,
        UNIQUE (owner, subscription_key)
    )
"""
# What came of operations on them, by operation, for as long as somebody may ask again.
_RECEIPTS = """
    CREATE TABLE trigger_receipts (
        address TEXT PRIMARY KEY,
        owner_session TEXT,
        command_hash TEXT NOT NULL,
        outcome TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL
    )
"""
# What occurred. Rows are never changed. The key is unique whatever occurred.
_OCCURRENCES = """
    CREATE TABLE trigger_occurrences (
        occurrence_id TEXT PRIMARY KEY,
        occurrence_key TEXT NOT NULL UNIQUE,
        event TEXT NOT NULL,
        source_key TEXT NOT NULL,
        occurred_at_ms INTEGER NOT NULL,
        record TEXT NOT NULL
    )
"""
# What each occurrence means, with the subscription as it was then. One that starts a process goes with
# that process.
_DELIVERIES = """
    CREATE TABLE trigger_deliveries (
        delivery_id TEXT PRIMARY KEY,
        occurrence_id TEXT NOT NULL REFERENCES trigger_occurrences (occurrence_id),
        subscription_id TEXT NOT NULL,
        starts_process INTEGER NOT NULL,
        created_at_ms INTEGER NOT NULL,
        state TEXT NOT NULL,
        settled_at_ms INTEGER,
        failure TEXT,
        subscription TEXT NOT NULL,
        UNIQUE (occurrence_id, subscription_id)
    )
"""

TABLES: tuple[str, ...] = (
    _SUBSCRIPTIONS,
    """
    CREATE INDEX trigger_subscriptions_matching ON trigger_subscriptions (source_key)
        WHERE enabled = 1
    """,
    """
    CREATE INDEX trigger_subscriptions_of_session ON trigger_subscriptions (owner_session)
        WHERE owner_session IS NOT NULL
    """,
    """
    CREATE INDEX trigger_subscriptions_by_session ON trigger_subscriptions (registrant_session)
        WHERE registrant_session IS NOT NULL
    """,
    _RECEIPTS,
    "CREATE INDEX trigger_receipts_by_time ON trigger_receipts (created_at_ms)",
    """
    CREATE INDEX trigger_receipts_of_session ON trigger_receipts (owner_session)
        WHERE owner_session IS NOT NULL
    """,
    _OCCURRENCES,
    "CREATE INDEX trigger_occurrences_by_time ON trigger_occurrences (occurred_at_ms, occurrence_id)",
    """
    CREATE INDEX trigger_occurrences_by_source ON trigger_occurrences
        (source_key, occurred_at_ms, occurrence_id)
    """,
    _DELIVERIES,
    "CREATE INDEX trigger_deliveries_by_subscription ON trigger_deliveries (subscription_id)",
    """
    CREATE INDEX trigger_deliveries_reserved ON trigger_deliveries (delivery_id)
        WHERE state = 'reserved'
    """,
    """
    CREATE INDEX trigger_deliveries_failed ON trigger_deliveries (delivery_id)
        WHERE state = 'failed'
    """,
    """
    CREATE INDEX trigger_deliveries_said ON trigger_deliveries (settled_at_ms)
        WHERE state = 'started' AND starts_process = 0
    """,
)
