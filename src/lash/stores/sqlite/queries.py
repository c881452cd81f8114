"""Every SQL statement of the SQLite store, named and described. The logic is elsewhere."""

#: "lash" in ASCII: marks a file as ours.
APPLICATION_ID = 0x6C617368
SCHEMA_VERSION = 1

#: Statements that bring a database from the version before a key to that key.
MIGRATIONS: dict[int, tuple[str, ...]] = {}

SCHEMA = (
    # Where each session stands. `accepted` numbers its turns.
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
        usage TEXT NOT NULL DEFAULT '{}'
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
    # Accepted input. It stays after its turn committed, so that its keys stay idempotent.
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
    # The session graph. Nodes are never changed.
    """
    CREATE TABLE nodes (
        id INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL,
        node_id TEXT NOT NULL,
        parent_id TEXT,
        digest TEXT NOT NULL,
        turn_id TEXT NOT NULL,
        message TEXT NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX nodes_by_id ON nodes (session_id, node_id)",
    # The journal. A scope's long key is kept once.
    "CREATE TABLE scopes (id INTEGER PRIMARY KEY, scope_key TEXT NOT NULL UNIQUE)",
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
        fencing_token INTEGER NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX journal_by_key ON journal (scope, replay_key)",
)

# --- sessions ---------------------------------------------------------------------------------------

_HEAD_COLUMNS = """
    s.session_id, s.agent_name, s.agent_version, s.created_at_ms, s.revision, s.leaf_id,
    s.leaf_digest, s.turn_index, s.usage
"""
_LEASE_COLUMNS = """
    l.fencing_token, l.owner_id, l.incarnation, l.host, l.nonce, l.claimed_at_ms, l.expires_at_ms
"""
HEAD = f"SELECT {_HEAD_COLUMNS}, s.accepted FROM sessions s WHERE s.session_id = ?"  # noqa: S608  constants of ours
#: A session's first input creates it.
ADD_SESSION = """
    INSERT INTO sessions (session_id, agent_name, agent_version, created_at_ms, updated_at_ms, accepted)
    VALUES (?, ?, ?, ?, ?, 1)
"""
COUNT_ACCEPTED = """
    UPDATE sessions SET accepted = accepted + 1, updated_at_ms = ? WHERE session_id = ?
"""
#: Move the head, if it still stands where the turn began.
ADVANCE_HEAD = """
    UPDATE sessions
    SET agent_name = ?, agent_version = ?, updated_at_ms = ?, revision = ?, leaf_id = ?,
        leaf_digest = ?, turn_index = ?, usage = ?
    WHERE session_id = ? AND revision = ?
"""
LIST_SESSIONS = f"""
    SELECT {_HEAD_COLUMNS}, s.updated_at_ms,
           (SELECT count(*) FROM inputs i WHERE i.session_id = s.session_id AND i.committed = 0),
           (SELECT i.parked FROM inputs i WHERE i.session_id = s.session_id AND i.committed = 0
            ORDER BY i.sequence LIMIT 1),
           {_LEASE_COLUMNS}
    FROM sessions s LEFT JOIN leases l ON l.session_id = s.session_id
    ORDER BY s.updated_at_ms DESC, s.session_id
"""  # noqa: S608

# --- leases -----------------------------------------------------------------------------------------

LEASE = f"SELECT {_LEASE_COLUMNS} FROM leases l WHERE l.session_id = ?"  # noqa: S608
PUT_LEASE = """
    INSERT INTO leases (session_id, fencing_token, owner_id, incarnation, host, nonce,
                        claimed_at_ms, expires_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (session_id) DO UPDATE SET
        fencing_token = excluded.fencing_token, owner_id = excluded.owner_id,
        incarnation = excluded.incarnation, host = excluded.host, nonce = excluded.nonce,
        claimed_at_ms = excluded.claimed_at_ms, expires_at_ms = excluded.expires_at_ms
"""

# --- accepted input ---------------------------------------------------------------------------------

_INPUT_COLUMNS = """
    session_id, turn_id, sequence, source_key, agent_name, agent_version, input, accepted_at_ms, parked
"""
ADD_INPUT = f"""
    INSERT INTO inputs ({_INPUT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608
INPUT_BY_TURN = f"""
    SELECT {_INPUT_COLUMNS}, committed FROM inputs WHERE session_id = ? AND turn_id = ?
"""  # noqa: S608
INPUT_BY_SOURCE = f"""
    SELECT {_INPUT_COLUMNS}, committed FROM inputs WHERE session_id = ? AND source_key = ?
"""  # noqa: S608
OPEN_INPUTS = f"""
    SELECT {_INPUT_COLUMNS}, committed FROM inputs
    WHERE session_id = ? AND committed = 0 ORDER BY sequence
"""  # noqa: S608
COUNT_OTHER_OPEN = """
    SELECT count(*) FROM inputs WHERE session_id = ? AND committed = 0 AND turn_id <> ?
"""
OPEN_SESSIONS = """
    SELECT DISTINCT session_id FROM inputs INDEXED BY inputs_open WHERE committed = 0
"""
SETTLE_INPUT = """
    UPDATE inputs SET committed = 1, parked = NULL
    WHERE session_id = ? AND turn_id = ? AND committed = 0
"""
PARK_INPUT = """
    UPDATE inputs SET parked = ? WHERE session_id = ? AND turn_id = ? AND committed = 0
"""

# --- committed turns --------------------------------------------------------------------------------

ADD_TURN = """
    INSERT INTO turns (session_id, turn_id, revision, commit_hash, record) VALUES (?, ?, ?, ?, ?)
"""
TURN = "SELECT record, commit_hash FROM turns WHERE session_id = ? AND turn_id = ?"
LIST_TURNS = "SELECT record FROM turns WHERE session_id = ? ORDER BY revision"

# --- the graph --------------------------------------------------------------------------------------

ADD_NODE = """
    INSERT INTO nodes (session_id, node_id, parent_id, digest, turn_id, message)
    VALUES (?, ?, ?, ?, ?, ?)
"""
HAS_NODE = "SELECT 1 FROM nodes WHERE session_id = ? AND node_id = ?"
#: The active path: from the head's leaf to the root by parent links, given root first. A parent was
#: added before its child, so a cycle in a damaged file ends the walk instead of going round.
ACTIVE_PATH = """
    WITH RECURSIVE path (id, parent_id, depth) AS (
        SELECT n.id, n.parent_id, 0
        FROM sessions s JOIN nodes n ON n.session_id = s.session_id AND n.node_id = s.leaf_id
        WHERE s.session_id = :session
        UNION ALL
        SELECT n.id, n.parent_id, p.depth + 1
        FROM path p JOIN nodes n ON n.session_id = :session AND n.node_id = p.parent_id
            AND n.id < p.id
    )
    SELECT n.node_id, n.parent_id, n.digest, n.turn_id, n.message
    FROM path p JOIN nodes n ON n.id = p.id ORDER BY p.depth DESC
"""

# --- the journal ------------------------------------------------------------------------------------

SCOPE = "SELECT id FROM scopes WHERE scope_key = ?"
ADD_SCOPE = "INSERT INTO scopes (scope_key) VALUES (?)"
#: First writer wins; the row count tells who that was.
ADD_RECORD = """
    INSERT INTO journal (scope, replay_key, kind, identity, surroundings, envelope, outcome,
                         recorded_at_ms, duration_ms, fencing_token)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (scope, replay_key) DO NOTHING
"""
_RECORD_COLUMNS = """
    j.replay_key, j.kind, j.identity, j.surroundings, j.envelope, j.outcome, j.recorded_at_ms,
    j.duration_ms, j.fencing_token
"""
RECORD = f"""
    SELECT {_RECORD_COLUMNS} FROM scopes s JOIN journal j ON j.scope = s.id
    WHERE s.scope_key = ? AND j.replay_key = ?
"""  # noqa: S608
JOURNAL = f"""
    SELECT {_RECORD_COLUMNS} FROM scopes s JOIN journal j ON j.scope = s.id
    WHERE s.scope_key = ? ORDER BY j.id
"""  # noqa: S608
