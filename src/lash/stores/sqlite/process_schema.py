"""The tables of processes, which came with version 4 of the schema; see `schema`."""

#: Statuses of processes that have not ended, and of those that have, word for word as the partial
#: indexes have them: without these conditions SQLite cannot use them.
LIVE = "status IN ('running', 'waiting')"
ENDED = "status IN ('completed', 'failed', 'cancelled', 'abandoned')"

# One row each: what was asked for, and what its events come to. The columns before `state` say parts of
# both, so that they can be asked for. `runnable_at_ms` is from when on it is worth claiming, 0 for
# always; the lease lies in the row, and its fencing token survives release.
_PROCESSES = """
    CREATE TABLE processes (
        process_id TEXT PRIMARY KEY,
        fingerprint TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        updated_at_ms INTEGER NOT NULL,
        change_seq INTEGER NOT NULL,
        status TEXT NOT NULL,
        runnable_at_ms INTEGER,
        parked INTEGER NOT NULL,
        wake_session_id TEXT,
        fencing_token INTEGER NOT NULL DEFAULT 0,
        owner_id TEXT,
        incarnation TEXT,
        host TEXT,
        nonce TEXT,
        claimed_at_ms INTEGER,
        expires_at_ms INTEGER,
        originator TEXT NOT NULL,
        parent_id TEXT,
        kind TEXT NOT NULL,
        label TEXT,
        definition TEXT,
        state TEXT NOT NULL,
        registration TEXT NOT NULL
    )
"""
# Their logs. Rows are never changed. `semantics` is empty where an event means nothing more.
_EVENTS = """
    CREATE TABLE process_events (
        process_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        event_type TEXT NOT NULL,
        occurred_at_ms INTEGER NOT NULL,
        replay_key TEXT,
        semantics TEXT,
        payload TEXT NOT NULL,
        PRIMARY KEY (process_id, sequence)
    ) WITHOUT ROWID
"""
# Which sessions may see which processes.
_OBSERVERS = """
    CREATE TABLE process_observers (
        session_id TEXT NOT NULL,
        process_id TEXT NOT NULL,
        PRIMARY KEY (session_id, process_id)
    ) WITHOUT ROWID
"""
# The outbox: what sessions are to be told, and what became of it.
_WAKES = """
    CREATE TABLE process_wakes (
        process_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        session_id TEXT NOT NULL,
        event_type TEXT NOT NULL,
        text TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_at_ms INTEGER NOT NULL,
        discard_reason TEXT,
        PRIMARY KEY (process_id, sequence)
    ) WITHOUT ROWID
"""
# What processes run under, by content.
_ENVS = "CREATE TABLE process_envs (env_ref TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID"
# What is left of processes that were pruned: their ids are not used again. Rows are never removed.
_TOMBSTONES = """
    CREATE TABLE process_tombstones (
        process_id TEXT PRIMARY KEY,
        status TEXT NOT NULL,
        pruned_at_ms INTEGER NOT NULL,
        change_seq INTEGER NOT NULL
    ) WITHOUT ROWID
"""
# One row: the last number that a change was given. Whoever writes takes the next one inside the
# transaction, so that no number becomes visible before a smaller one.
_CLOCK = """
    CREATE TABLE process_clock (
        singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
        seq INTEGER NOT NULL
    )
"""

TABLES = (
    _PROCESSES,
    "CREATE UNIQUE INDEX processes_by_change ON processes (change_seq)",
    "CREATE INDEX processes_runnable ON processes (process_id) WHERE runnable_at_ms IS NOT NULL",
    "CREATE INDEX processes_resting ON processes (runnable_at_ms) WHERE runnable_at_ms > 0",
    f"CREATE INDEX processes_live ON processes (process_id) WHERE {LIVE}",
    f"CREATE INDEX processes_ended ON processes (process_id, updated_at_ms) WHERE {ENDED}",
    """
    CREATE INDEX processes_by_parent ON processes (parent_id, process_id)
        WHERE parent_id IS NOT NULL
    """,
    """
    CREATE INDEX processes_by_definition ON processes (definition, process_id)
        WHERE definition IS NOT NULL
    """,
    """
    CREATE INDEX processes_waking ON processes (wake_session_id, process_id)
        WHERE wake_session_id IS NOT NULL
    """,
    _EVENTS,
    """
    CREATE UNIQUE INDEX process_events_by_key ON process_events (process_id, replay_key)
        WHERE replay_key IS NOT NULL
    """,
    "CREATE INDEX process_events_by_type ON process_events (process_id, event_type, sequence)",
    _OBSERVERS,
    "CREATE INDEX process_observers_by_process ON process_observers (process_id, session_id)",
    _WAKES,
    """
    CREATE INDEX process_wakes_due ON process_wakes (next_attempt_at_ms)
        WHERE state = 'pending'
    """,
    """
    CREATE INDEX process_wakes_pending ON process_wakes (process_id, session_id, sequence)
        WHERE state = 'pending'
    """,
    """
    CREATE INDEX process_wakes_of_session ON process_wakes (session_id)
        WHERE state = 'pending'
    """,
    _ENVS,
    _TOMBSTONES,
    "CREATE UNIQUE INDEX process_tombstones_by_change ON process_tombstones (change_seq)",
    _CLOCK,
    "INSERT INTO process_clock (singleton, seq) VALUES (1, 0)",
)
