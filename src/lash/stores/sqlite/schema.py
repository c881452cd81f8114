"""The tables of the SQLite store, and how those of older versions become them."""

import sqlite3
from collections.abc import Callable

from lash.core.scopes import (
    ExecutionScope,
    ProcessScope,
    TurnScope,
    from_journal_key,
    scope_session_id,
)
from lash.stores.sqlite import attachment_schema, process_schema, trigger_schema

#: "lash" in ASCII: marks a file as ours.
APPLICATION_ID = 0x6C617368
SCHEMA_VERSION = 5

# What came with version 2, made alike for new and for older files.

# One row: the secret that signs wait keys.
_META = """
    CREATE TABLE meta (
        singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
        signing_secret BLOB NOT NULL
    )
"""
# Promises. `scope` owns a row: it goes with its scope.
_AWAIT_EVENTS = """
    CREATE TABLE await_events (
        id INTEGER PRIMARY KEY,
        key_id TEXT NOT NULL UNIQUE,
        scope INTEGER NOT NULL REFERENCES scopes (id),
        session_id TEXT,
        wait TEXT NOT NULL,
        turn_control INTEGER NOT NULL,
        deadline_at_ms INTEGER,
        resolution TEXT,
        created_at_ms INTEGER NOT NULL,
        resolved_at_ms INTEGER
    )
"""
# Sessions whose keys are refused for ever. Rows are never removed.
_REVOKED_SESSIONS = """
    CREATE TABLE revoked_sessions (
        session_id TEXT PRIMARY KEY,
        revoked_at_ms INTEGER NOT NULL
    )
"""
# What many records share or what is too large for a row, by content.
_SURROUNDINGS = "CREATE TABLE surroundings (digest TEXT PRIMARY KEY, content TEXT NOT NULL)"
_BLOBS = "CREATE TABLE blobs (digest TEXT PRIMARY KEY, content TEXT NOT NULL)"

_SECOND = (
    _META,
    _AWAIT_EVENTS,
    "CREATE INDEX await_events_by_scope ON await_events (scope)",
    """
    CREATE INDEX await_events_by_session ON await_events (session_id) WHERE session_id IS NOT NULL
    """,
    """
    CREATE INDEX await_events_resolved ON await_events (resolved_at_ms)
        WHERE resolved_at_ms IS NOT NULL
    """,
    _REVOKED_SESSIONS,
    _SURROUNDINGS,
    _BLOBS,
    "CREATE INDEX scopes_by_session ON scopes (session_id) WHERE session_id IS NOT NULL",
    "CREATE INDEX scopes_by_process ON scopes (process_id) WHERE process_id IS NOT NULL",
    "CREATE INDEX scopes_finished ON scopes (finished_at_ms) WHERE finished_at_ms IS NOT NULL",
    "CREATE INDEX journal_by_blob ON journal (blob) WHERE blob IS NOT NULL",
    "CREATE INDEX journal_by_surroundings ON journal (surroundings) WHERE surroundings <> ''",
)

# What came with version 3.

# What waits to enter a session, and what became of it. Rows of committed turns stay, so that source
# keys stay idempotent; vacuum takes their payload away. `turn_id` is the turn an item waits for, or
# the one that took it; `settled_at_ms` says since when vacuum may have the row, and is empty again
# once it had it.
_QUEUE = """
    CREATE TABLE queue (
        session_id TEXT NOT NULL,
        item_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        source_key TEXT,
        ingress TEXT NOT NULL,
        scope TEXT NOT NULL,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        content TEXT NOT NULL,
        payload TEXT,
        merge_key TEXT,
        agent_name TEXT,
        agent_version TEXT,
        enqueued_at_ms INTEGER NOT NULL,
        available_at_ms INTEGER NOT NULL,
        turn_id TEXT,
        effect_key TEXT,
        message_id TEXT,
        settled_at_ms INTEGER,
        PRIMARY KEY (session_id, item_id)
    )
"""
# Who asked a turn to stop. A row may come before its turn; it is settled with it.
_TURN_CANCELS = """
    CREATE TABLE turn_cancels (
        session_id TEXT NOT NULL,
        turn_id TEXT NOT NULL,
        cancellation TEXT NOT NULL,
        requested_at_ms INTEGER NOT NULL,
        settled_at_ms INTEGER,
        PRIMARY KEY (session_id, turn_id)
    )
"""
# What a session used, by source and model.
_USAGE = """
    CREATE TABLE usage (
        session_id TEXT NOT NULL,
        source TEXT NOT NULL,
        model TEXT NOT NULL,
        usage TEXT NOT NULL,
        PRIMARY KEY (session_id, source, model)
    )
"""
# Sessions that were deleted: their ids are not used again. Rows are never removed. `leaf` is the last
# node that is left of the session because others share its history.
_DELETED_SESSIONS = """
    CREATE TABLE deleted_sessions (
        session_id TEXT PRIMARY KEY,
        deleted_at_ms INTEGER NOT NULL,
        leaf INTEGER
    )
"""
_THIRD = (
    _DELETED_SESSIONS,
    _QUEUE,
    """
    CREATE UNIQUE INDEX queue_by_source ON queue (session_id, source_key)
        WHERE source_key IS NOT NULL
    """,
    """
    CREATE INDEX queue_waiting ON queue (session_id, sequence)
        WHERE state IN ('pending_active', 'deferred_next_turn')
    """,
    """
    CREATE INDEX queue_by_turn ON queue (session_id, turn_id, sequence)
        WHERE state IN ('pending_active', 'accepted')
    """,
    "CREATE INDEX queue_settled ON queue (settled_at_ms) WHERE settled_at_ms IS NOT NULL",
    "CREATE INDEX leases_held ON leases (session_id) WHERE nonce IS NOT NULL",
    _TURN_CANCELS,
    """
    CREATE INDEX turn_cancels_settled ON turn_cancels (settled_at_ms)
        WHERE settled_at_ms IS NOT NULL
    """,
    _USAGE,
    "CREATE INDEX sessions_by_origin ON sessions (origin) WHERE origin IS NOT NULL",
    # Only what began as a fork or a child can stand on a node of another session for long.
    "CREATE INDEX sessions_by_leaf ON sessions (leaf) WHERE origin IS NOT NULL",
    "CREATE INDEX deleted_shared ON deleted_sessions (session_id) WHERE leaf IS NOT NULL",
    "CREATE INDEX nodes_by_parent ON nodes (parent) WHERE parent IS NOT NULL",
)

# What came with version 5.
_FIFTH = (*attachment_schema.TABLES, *trigger_schema.TABLES)

SCHEMA = (
    # Where each session stands. `accepted` numbers what it accepts; `leaf` is the node that `leaf_id`
    # names, which may be one of another session that this one was forked from; `origin` is the session
    # it comes from.
    """
    CREATE TABLE sessions (
        session_id TEXT PRIMARY KEY,
        agent_name TEXT NOT NULL,
        agent_version TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        updated_at_ms INTEGER NOT NULL,
        accepted INTEGER NOT NULL DEFAULT 0,
        revision INTEGER NOT NULL DEFAULT 0,
        leaf_id TEXT,
        leaf_digest TEXT NOT NULL DEFAULT '',
        turn_index INTEGER NOT NULL DEFAULT 0,
        usage TEXT NOT NULL DEFAULT '{}',
        leaf INTEGER,
        frame_id TEXT NOT NULL DEFAULT '',
        config TEXT NOT NULL DEFAULT '{}',
        relation TEXT NOT NULL DEFAULT '{"kind":"root"}',
        origin TEXT
    )
    """,
    # Who drives each session. The fencing token survives release; a free lease has no nonce.
    """
    CREATE TABLE leases (
        session_id TEXT PRIMARY KEY,
        fencing_token INTEGER NOT NULL,
        owner_id TEXT,
        incarnation TEXT,
        host TEXT,
        nonce TEXT,
        claimed_at_ms INTEGER,
        expires_at_ms INTEGER
    )
    """,
    # Accepted input. It stays after its turn committed, so that its keys stay idempotent. A turn that
    # was begun again leaves its row behind, closed, with the id it goes on under.
    """
    CREATE TABLE inputs (
        session_id TEXT NOT NULL,
        turn_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        source_key TEXT,
        agent_name TEXT NOT NULL,
        agent_version TEXT NOT NULL,
        input TEXT NOT NULL,
        accepted_at_ms INTEGER NOT NULL,
        committed INTEGER NOT NULL DEFAULT 0,
        parked TEXT,
        superseded_by TEXT,
        restarts INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (session_id, turn_id)
    )
    """,
    """
    CREATE UNIQUE INDEX inputs_by_source ON inputs (session_id, source_key)
        WHERE source_key IS NOT NULL
    """,
    "CREATE INDEX inputs_open ON inputs (session_id, sequence) WHERE committed = 0",
    # Committed turns: the receipt and what TurnResult tells.
    """
    CREATE TABLE turns (
        session_id TEXT NOT NULL,
        turn_id TEXT NOT NULL,
        revision INTEGER NOT NULL,
        commit_hash TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (session_id, turn_id)
    )
    """,
    "CREATE UNIQUE INDEX turns_by_revision ON turns (session_id, revision)",
    # The session graph. Nodes are never changed. `parent` is the row of the node before, which may be
    # one of another session; `kind` says what `message` holds: a message or the opening of a frame.
    """
    CREATE TABLE nodes (
        id INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        node_id TEXT NOT NULL,
        parent_id TEXT,
        digest TEXT NOT NULL,
        turn_id TEXT NOT NULL,
        message TEXT NOT NULL,
        kind TEXT NOT NULL DEFAULT 'message',
        parent INTEGER
    )
    """,
    "CREATE UNIQUE INDEX nodes_by_id ON nodes (session_id, node_id)",
    # Whose journals and promises there are: a long key is kept once, and what it says beside it.
    """
    CREATE TABLE scopes (
        id INTEGER PRIMARY KEY,
        scope_key TEXT NOT NULL UNIQUE,
        session_id TEXT,
        process_id TEXT,
        finished_at_ms INTEGER
    )
    """,
    # The journal. A large outcome lies in `blobs` and is empty here. `bytes` is its size; NULL in
    # rows from before it was kept.
    """
    CREATE TABLE journal (
        id INTEGER PRIMARY KEY,
        scope INTEGER NOT NULL REFERENCES scopes (id),
        replay_key TEXT NOT NULL,
        kind TEXT NOT NULL,
        identity TEXT NOT NULL,
        surroundings TEXT NOT NULL,
        envelope TEXT NOT NULL,
        outcome TEXT NOT NULL,
        recorded_at_ms INTEGER NOT NULL,
        duration_ms REAL NOT NULL,
        fencing_token INTEGER NOT NULL,
        blob TEXT,
        bytes INTEGER,
        due_at_ms INTEGER
    )
    """,
    "CREATE UNIQUE INDEX journal_by_key ON journal (scope, replay_key)",
    *_SECOND,
    *_THIRD,
    *process_schema.TABLES,
    *_FIFTH,
)

#: Statements that bring a database from the version before a key to that key.
MIGRATIONS: dict[int, tuple[str, ...]] = {
    2: (
        "ALTER TABLE inputs ADD COLUMN superseded_by TEXT",
        "ALTER TABLE inputs ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE scopes ADD COLUMN session_id TEXT",
        "ALTER TABLE scopes ADD COLUMN process_id TEXT",
        "ALTER TABLE scopes ADD COLUMN finished_at_ms INTEGER",
        "ALTER TABLE journal ADD COLUMN blob TEXT",
        "ALTER TABLE journal ADD COLUMN bytes INTEGER",
        "ALTER TABLE journal ADD COLUMN due_at_ms INTEGER",
        *_SECOND,
        # Whose a scope is. A key that is not ours stays nobody's.
        """
        UPDATE scopes SET
            session_id = session_of_scope(scope_key), process_id = process_of_scope(scope_key)
        """,
        # The journals of turns that were committed are those of finished scopes.
        """
        UPDATE scopes SET finished_at_ms = (
            SELECT CASE WHEN json_valid(t.record)
                THEN json_extract(t.record, '$.timing.committed_at_ms') END
            FROM turns t
            WHERE t.session_id = scopes.session_id AND t.turn_id = turn_of_scope(scopes.scope_key)
        )
        """,
        # Each commit was a turn, so the revision says which one it was.
        """
        UPDATE turns SET record = json_set(record, '$.turn_index', revision)
        WHERE json_valid(record)
        """,
        """
        UPDATE journal SET due_at_ms =
            CASE WHEN json_valid(outcome) THEN json_extract(outcome, '$.due_at_ms') END
        WHERE kind = 'sleep'
        """,
    ),
    3: (
        "ALTER TABLE sessions ADD COLUMN leaf INTEGER",
        "ALTER TABLE sessions ADD COLUMN frame_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE sessions ADD COLUMN config TEXT NOT NULL DEFAULT '{}'",
        """
        ALTER TABLE sessions ADD COLUMN relation TEXT NOT NULL DEFAULT '{"kind":"root"}'
        """,
        "ALTER TABLE sessions ADD COLUMN origin TEXT",
        "ALTER TABLE nodes ADD COLUMN kind TEXT NOT NULL DEFAULT 'message'",
        "ALTER TABLE nodes ADD COLUMN parent INTEGER",
        *_THIRD,
        """
        UPDATE nodes SET parent = (
            SELECT p.id FROM nodes p
            WHERE p.session_id = nodes.session_id AND p.node_id = nodes.parent_id
        ) WHERE parent_id IS NOT NULL
        """,
        """
        UPDATE sessions SET leaf = (
            SELECT n.id FROM nodes n
            WHERE n.session_id = sessions.session_id AND n.node_id = sessions.leaf_id
        ) WHERE leaf_id IS NOT NULL
        """,
        # Which models the tokens of older turns went to is not told apart.
        """
        INSERT INTO usage (session_id, source, model, usage)
        SELECT session_id, 'turn', '', usage FROM sessions WHERE turn_index > 0
        """,
    ),
    4: process_schema.TABLES,
    5: _FIFTH,
}


def session_of_scope(scope: ExecutionScope | None) -> str | None:
    """The session a scope belongs to, if it belongs to one."""
    return None if scope is None else scope_session_id(scope)


def process_of_scope(scope: ExecutionScope | None) -> str | None:
    """The process a scope is, if it is one. Each segment of a process is a scope of its own (`id#n`)."""
    return scope.process_id.partition("#")[0] if isinstance(scope, ProcessScope) else None


def _turn_of_scope(scope: ExecutionScope | None) -> str | None:
    return scope.turn_id if isinstance(scope, TurnScope) else None


def add_functions(connection: sqlite3.Connection) -> None:
    """Let migrations read scope keys as the code does."""
    readings = {
        "session_of_scope": session_of_scope,
        "process_of_scope": process_of_scope,
        "turn_of_scope": _turn_of_scope,
    }
    for name, reading in readings.items():

        def read(
            key: object, reading: Callable[[ExecutionScope | None], str | None] = reading
        ) -> str | None:
            return reading(from_journal_key(key) if isinstance(key, str) else None)

        connection.create_function(name, 1, read, deterministic=True)
