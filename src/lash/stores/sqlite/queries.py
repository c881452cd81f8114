"""Every SQL statement of the SQLite store, named and described. The logic is elsewhere."""

# --- sessions ---------------------------------------------------------------------------------------

_HEAD_COLUMNS = """
    s.session_id, s.agent_name, s.agent_version, s.created_at_ms, s.revision, s.leaf_id,
    s.leaf_digest, s.turn_index, s.usage, s.accepted, s.frame_id, s.config, s.relation
"""
_LEASE_COLUMNS = """
    l.fencing_token, l.owner_id, l.incarnation, l.host, l.nonce, l.claimed_at_ms, l.expires_at_ms
"""
HEAD = f"SELECT {_HEAD_COLUMNS} FROM sessions s WHERE s.session_id = ?"  # noqa: S608  constants of ours
#: A session's first input creates it.
ADD_SESSION = """
    INSERT INTO sessions (session_id, agent_name, agent_version, created_at_ms, updated_at_ms,
                          relation, origin, accepted)
    VALUES (?, ?, ?, ?, ?, ?, ?, 1)
"""
COUNT_ACCEPTED = """
    UPDATE sessions SET accepted = accepted + 1, updated_at_ms = ? WHERE session_id = ?
"""
#: Move the head, if it still stands where the turn began.
ADVANCE_HEAD = """
    UPDATE sessions
    SET agent_name = ?, agent_version = ?, updated_at_ms = ?, revision = ?, leaf_id = ?,
        leaf_digest = ?, turn_index = ?, usage = ?, frame_id = ?, config = ?,
        leaf = coalesce(?, leaf)
    WHERE session_id = ? AND revision = ?
"""
_SUMMARY = f"""
    SELECT {_HEAD_COLUMNS}, s.updated_at_ms,
           (SELECT count(*) FROM inputs i WHERE i.session_id = s.session_id AND i.committed = 0),
           (SELECT i.parked FROM inputs i WHERE i.session_id = s.session_id AND i.committed = 0
            ORDER BY i.sequence LIMIT 1),
           (SELECT count(*) FROM queue q WHERE q.session_id = s.session_id
            AND q.state IN ('pending_active', 'deferred_next_turn')),
           {_LEASE_COLUMNS}
    FROM sessions s LEFT JOIN leases l ON l.session_id = s.session_id
"""  # noqa: S608
LIST_SESSIONS = f"{_SUMMARY} ORDER BY s.updated_at_ms DESC, s.session_id"
SESSION = f"{_SUMMARY} WHERE s.session_id = ?"

SESSIONS_OF_ORIGIN = "SELECT session_id FROM sessions WHERE origin = ? ORDER BY session_id"
IS_DELETED = "SELECT 1 FROM deleted_sessions WHERE session_id = ?"

# --- leases -----------------------------------------------------------------------------------------

#: Who holds a session in which nothing is open.
LEASES_IDLE = f"""
    SELECT l.session_id, {_LEASE_COLUMNS} FROM leases l INDEXED BY leases_held
    WHERE l.nonce IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM inputs i WHERE i.session_id = l.session_id AND i.committed = 0)
"""  # noqa: S608
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
    session_id, turn_id, sequence, source_key, agent_name, agent_version, input, accepted_at_ms,
    parked, restarts
"""
ADD_INPUT = f"""
    INSERT INTO inputs ({_INPUT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608
INPUT_BY_TURN = f"""
    SELECT {_INPUT_COLUMNS}, committed, superseded_by FROM inputs
    WHERE session_id = ? AND turn_id = ?
"""  # noqa: S608
INPUT_BY_SOURCE = f"""
    SELECT {_INPUT_COLUMNS}, committed, superseded_by FROM inputs
    WHERE session_id = ? AND source_key = ?
"""  # noqa: S608
OPEN_INPUTS = f"""
    SELECT {_INPUT_COLUMNS} FROM inputs
    WHERE session_id = ? AND committed = 0 ORDER BY sequence
"""  # noqa: S608
HAS_INPUT = "SELECT 1 FROM inputs WHERE session_id = ? AND turn_id = ?"
HAS_OPEN_INPUT = "SELECT 1 FROM inputs WHERE session_id = ? AND turn_id = ? AND committed = 0"
HAS_SETTLED_INPUT = """
    SELECT 1 FROM inputs WHERE session_id = ? AND turn_id = ? AND committed = 1
"""
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
NOTE_INPUT = """
    UPDATE inputs SET parked = ?
    WHERE session_id = ? AND turn_id = ? AND committed = 0 AND parked IS NULL
"""
#: The turn goes on under another id; its source key moves there.
SUPERSEDE_INPUT = """
    UPDATE inputs SET committed = 1, parked = NULL, source_key = NULL, superseded_by = ?
    WHERE session_id = ? AND turn_id = ? AND committed = 0
"""

# --- committed turns --------------------------------------------------------------------------------

ADD_TURN = """
    INSERT INTO turns (session_id, turn_id, revision, commit_hash, record) VALUES (?, ?, ?, ?, ?)
"""
TURN = "SELECT record, commit_hash FROM turns WHERE session_id = ? AND turn_id = ?"
LIST_TURNS = "SELECT record FROM turns WHERE session_id = ? AND revision > ? ORDER BY revision"

# --- the graph --------------------------------------------------------------------------------------

ADD_NODE = """
    INSERT INTO nodes (session_id, node_id, parent_id, digest, turn_id, kind, message, parent)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
HAS_NODE = "SELECT 1 FROM nodes WHERE session_id = ? AND node_id = ?"
LEAF = "SELECT leaf FROM sessions WHERE session_id = ?"
#: The path from a node to the root by parent links, given root first; it ends at the opening of a
#: frame unless the whole is wanted. A parent was added before its child, so a cycle in a damaged file
#: ends the walk instead of going round.
PATH = """
    WITH RECURSIVE path (id, parent, kind, depth) AS (
        SELECT n.id, n.parent, n.kind, 0 FROM nodes n WHERE n.id = :leaf
        UNION ALL
        SELECT n.id, n.parent, n.kind, p.depth + 1
        FROM path p JOIN nodes n ON n.id = p.parent AND n.id < p.id
        WHERE :whole OR p.kind = 'message'
    )
    SELECT n.session_id, n.node_id, n.parent_id, n.digest, n.turn_id, n.kind, n.message
    FROM path p JOIN nodes n ON n.id = p.id ORDER BY p.depth DESC
"""

#: The nodes of a path that some of its newest turns have added, given in order. What came on top since
#: is passed by; the walk ends at the first node of others below.
NEWEST_NODES = """
    WITH RECURSIVE path (id, parent, depth, found) AS (
        SELECT n.id, n.parent, 0, n.turn_id IN (SELECT value FROM json_each(:turns))
        FROM nodes n WHERE n.id = :leaf AND n.session_id = :session
        UNION ALL
        SELECT n.id, n.parent, p.depth + 1,
            p.found OR n.turn_id IN (SELECT value FROM json_each(:turns))
        FROM path p JOIN nodes n ON n.id = p.parent AND n.id < p.id
        WHERE n.session_id = :session
            AND (NOT p.found OR n.turn_id IN (SELECT value FROM json_each(:turns)))
    )
    SELECT n.session_id, n.node_id, n.parent_id, n.digest, n.turn_id, n.kind, n.message
    FROM path p JOIN nodes n ON n.id = p.id WHERE p.found ORDER BY p.depth DESC
"""

# --- the queue --------------------------------------------------------------------------------------

_QUEUE_COLUMNS = """
    session_id, item_id, sequence, source_key, ingress, state, content, payload, merge_key,
    agent_name, agent_version, enqueued_at_ms, available_at_ms, turn_id, effect_key, message_id
"""
ADD_ITEM = f"""
    INSERT INTO queue ({_QUEUE_COLUMNS}, scope, kind)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""  # noqa: S608
CHANGE_ITEM = """
    UPDATE queue SET state = ?, ingress = ?, scope = ?, turn_id = ?, effect_key = ?, message_id = ?,
        settled_at_ms = ?
    WHERE session_id = ? AND item_id = ? AND state = ?
"""
ITEM = f"SELECT {_QUEUE_COLUMNS} FROM queue WHERE session_id = ? AND item_id = ?"  # noqa: S608
ITEM_BY_SOURCE = f"""
    SELECT {_QUEUE_COLUMNS} FROM queue WHERE session_id = ? AND source_key = ?
"""  # noqa: S608
#: The conditions of the partial indexes, word for word: without them SQLite cannot use these, and
#: would walk through everything that the session ever queued.
_WAITING = "state IN ('pending_active', 'deferred_next_turn')"
_OF_TURNS = "state IN ('pending_active', 'accepted')"
_DEFERRED = f"{_WAITING} AND state = 'deferred_next_turn'"
#: Whether anything in the queue concerns the commit of a turn: what waits, or is the turn's own.
QUEUE_CONCERNS = f"""
    SELECT EXISTS (
        SELECT 1 FROM queue INDEXED BY queue_waiting WHERE session_id = ? AND {_WAITING}
    ) OR EXISTS (
        SELECT 1 FROM queue INDEXED BY queue_by_turn
        WHERE session_id = ? AND turn_id = ? AND {_OF_TURNS}
    )
"""  # noqa: S608
#: What a turn may be composed of, in order.
ITEMS_DEFERRED = f"""
    SELECT {_QUEUE_COLUMNS} FROM queue INDEXED BY queue_waiting
    WHERE session_id = ? AND {_DEFERRED} AND available_at_ms <= ?
    ORDER BY sequence LIMIT ?
"""  # noqa: S608
#: What waits for a turn, or was taken by it and not settled.
ITEMS_OF_TURN = f"""
    SELECT {_QUEUE_COLUMNS} FROM queue INDEXED BY queue_by_turn
    WHERE session_id = ? AND turn_id = ? AND {_OF_TURNS}
    ORDER BY sequence
"""  # noqa: S608
#: What may enter at any boundary.
ITEMS_FLOATING = f"""
    SELECT {_QUEUE_COLUMNS} FROM queue INDEXED BY queue_waiting
    WHERE session_id = ? AND {_DEFERRED} AND scope = 'earliest_safe_boundary'
        AND available_at_ms <= ?
    ORDER BY sequence LIMIT ?
"""  # noqa: S608
FIRST_COMMAND = f"""
    SELECT min(sequence) FROM queue INDEXED BY queue_waiting
    WHERE session_id = ? AND {_DEFERRED} AND kind = 'session_command' AND available_at_ms <= ?
"""  # noqa: S608
ITEMS_WAITING = f"""
    SELECT {_QUEUE_COLUMNS} FROM queue INDEXED BY queue_waiting
    WHERE session_id = ? AND {_WAITING} ORDER BY sequence
"""  # noqa: S608
ITEMS_FROM = f"""
    SELECT {_QUEUE_COLUMNS} FROM queue
    WHERE session_id = ? AND sequence >= ? AND state <> 'completed' ORDER BY sequence
"""  # noqa: S608
QUEUED_SESSIONS = f"""
    SELECT DISTINCT session_id FROM queue INDEXED BY queue_waiting
    WHERE {_DEFERRED} AND available_at_ms <= ?
"""  # noqa: S608

# --- stopping ---------------------------------------------------------------------------------------

CANCELLATION = "SELECT cancellation FROM turn_cancels WHERE session_id = ? AND turn_id = ?"
ADD_CANCELLATION = """
    INSERT INTO turn_cancels (session_id, turn_id, cancellation, requested_at_ms) VALUES (?, ?, ?, ?)
"""
SETTLE_CANCELLATION = """
    UPDATE turn_cancels SET settled_at_ms = ? WHERE session_id = ? AND turn_id = ?
"""
MOVE_CANCELLATION = "UPDATE turn_cancels SET turn_id = ? WHERE session_id = ? AND turn_id = ?"
#: Who was asked to stop among the open turns of the sessions in a JSON array.
CANCELLED_AMONG = """
    SELECT c.session_id, c.turn_id, c.cancellation
    FROM turn_cancels c JOIN inputs i ON i.session_id = c.session_id AND i.turn_id = c.turn_id
    WHERE c.session_id IN (SELECT value FROM json_each(?)) AND i.committed = 0
"""

# --- usage ------------------------------------------------------------------------------------------

USAGE = "SELECT source, model, usage FROM usage WHERE session_id = ? ORDER BY source, model"
USAGE_OF = "SELECT usage FROM usage WHERE session_id = ? AND source = ? AND model = ?"
PUT_USAGE = """
    INSERT INTO usage (session_id, source, model, usage) VALUES (?, ?, ?, ?)
    ON CONFLICT (session_id, source, model) DO UPDATE SET usage = excluded.usage
"""

# --- scopes -----------------------------------------------------------------------------------------

SCOPE = "SELECT id FROM scopes WHERE scope_key = ?"
ADD_SCOPE = "INSERT INTO scopes (scope_key, session_id, process_id) VALUES (?, ?, ?)"
FINISH_SCOPE = "UPDATE scopes SET finished_at_ms = ? WHERE scope_key = ?"
IS_FINISHED = "SELECT 1 FROM scopes WHERE scope_key = ? AND finished_at_ms IS NOT NULL"
REOPEN_SCOPE = "UPDATE scopes SET finished_at_ms = NULL WHERE scope_key = ?"

# --- the journal ------------------------------------------------------------------------------------

#: First writer wins; the row count tells who that was.
ADD_RECORD = """
    INSERT INTO journal (scope, replay_key, kind, identity, surroundings, envelope, outcome,
                         recorded_at_ms, duration_ms, fencing_token, blob, bytes, due_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (scope, replay_key) DO NOTHING
"""
_APPEND_TO = """
    INSERT INTO journal (replay_key, kind, identity, surroundings, envelope, outcome, recorded_at_ms,
                         duration_ms, fencing_token, blob, bytes, due_at_ms, scope)
    SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, id FROM scopes WHERE scope_key = ?
"""
#: The same where the scope is there already.
APPEND = f"{_APPEND_TO} ON CONFLICT (scope, replay_key) DO NOTHING"
#: And where the writer holds the lease, of the session or of the process.
APPEND_FENCED = f"""
    {_APPEND_TO} AND EXISTS (
        SELECT 1 FROM leases WHERE session_id = ? AND fencing_token = ? AND nonce = ?
    )
    ON CONFLICT (scope, replay_key) DO NOTHING
"""  # noqa: S608
APPEND_FENCED_BY_PROCESS = f"""
    {_APPEND_TO} AND EXISTS (
        SELECT 1 FROM processes WHERE process_id = ? AND fencing_token = ? AND nonce = ?
    )
    ON CONFLICT (scope, replay_key) DO NOTHING
"""  # noqa: S608
ADD_BLOB = "INSERT OR IGNORE INTO blobs (digest, content) VALUES (?, ?)"
ADD_SURROUNDINGS = "INSERT OR IGNORE INTO surroundings (digest, content) VALUES (?, ?)"
SURROUNDINGS = "SELECT content FROM surroundings WHERE digest = ?"
_RECORD_COLUMNS = """
    j.replay_key, j.kind, j.identity, j.surroundings, j.envelope, j.outcome, j.recorded_at_ms,
    j.duration_ms, j.fencing_token, j.blob, b.content
"""
_RECORDS = """
    scopes s JOIN journal j ON j.scope = s.id LEFT JOIN blobs b ON b.digest = j.blob
"""
RECORD = f"""
    SELECT {_RECORD_COLUMNS} FROM {_RECORDS} WHERE s.scope_key = ? AND j.replay_key = ?
"""  # noqa: S608
#: The same, without a large outcome: where it lies elsewhere, that is all this says.
RECORD_HERE = """
    SELECT j.replay_key, j.kind, j.identity, j.surroundings, j.envelope, j.outcome, j.recorded_at_ms,
           j.duration_ms, j.fencing_token, j.blob, NULL
    FROM scopes s JOIN journal j ON j.scope = s.id WHERE s.scope_key = ? AND j.replay_key = ?
"""
JOURNAL = f"""
    SELECT {_RECORD_COLUMNS} FROM {_RECORDS} WHERE s.scope_key = ? ORDER BY j.id
"""  # noqa: S608
HAS_RECORD = """
    SELECT 1 FROM scopes s JOIN journal j ON j.scope = s.id
    WHERE s.scope_key = ? AND j.replay_key = ?
"""
#: A journal in brief. Rows from before sizes were kept are measured.
JOURNAL_ENTRIES = """
    SELECT j.replay_key, j.kind, j.recorded_at_ms, j.duration_ms,
           coalesce(j.bytes, length(CAST(j.outcome AS BLOB))), j.fencing_token, j.due_at_ms
    FROM scopes s JOIN journal j ON j.scope = s.id
    WHERE s.scope_key = ? ORDER BY j.id
"""

# --- promises ---------------------------------------------------------------------------------------

ADD_SECRET = "INSERT OR IGNORE INTO meta (singleton, signing_secret) VALUES (1, ?)"  # noqa: S105  a statement
SECRET = "SELECT signing_secret FROM meta WHERE singleton = 1"  # noqa: S105
#: Resolutions come as bytes: an error about text that is not UTF-8 would show it.
_WAIT_COLUMNS = """
    w.key_id, s.scope_key, w.session_id, w.wait, w.turn_control, w.deadline_at_ms,
    CAST(w.resolution AS BLOB), w.created_at_ms, w.resolved_at_ms
"""
_WAITS = "await_events w LEFT JOIN scopes s ON s.id = w.scope"
WAIT = f"SELECT {_WAIT_COLUMNS} FROM {_WAITS} WHERE w.key_id = ?"  # noqa: S608
#: Those among a JSON array of key ids that are there.
WAITS_AMONG = f"""
    SELECT {_WAIT_COLUMNS} FROM {_WAITS} WHERE w.key_id IN (SELECT value FROM json_each(?))
"""  # noqa: S608
WAITS_OF_SCOPE = f"""
    SELECT {_WAIT_COLUMNS} FROM scopes s JOIN await_events w ON w.scope = s.id
    WHERE s.scope_key = ? ORDER BY w.id
"""  # noqa: S608
WAITS_OF_SESSION = f"""
    SELECT {_WAIT_COLUMNS} FROM {_WAITS} WHERE w.session_id = ? ORDER BY w.id
"""  # noqa: S608
ADD_WAIT = """
    INSERT INTO await_events (key_id, scope, session_id, wait, turn_control, deadline_at_ms,
                              resolution, created_at_ms, resolved_at_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
#: First resolution wins. It comes after the wait, also within a millisecond: a promise that was made
#: by its resolution is told by that.
RESOLVE_WAIT = """
    UPDATE await_events SET resolution = ?, resolved_at_ms = max(?, created_at_ms + 1)
    WHERE key_id = ? AND resolution IS NULL
"""
WAIT_KEYS_OF_SESSION = "SELECT key_id FROM await_events WHERE session_id = ? ORDER BY id"
FORGET_WAITS_OF_SESSION = "DELETE FROM await_events WHERE session_id = ?"
IS_REVOKED = "SELECT 1 FROM revoked_sessions WHERE session_id = ?"
REVOKE = "INSERT OR IGNORE INTO revoked_sessions (session_id, revoked_at_ms) VALUES (?, ?)"

# --- retiring ---------------------------------------------------------------------------------------

SCOPES_OF_SESSION = "SELECT id FROM scopes WHERE session_id = ? ORDER BY id LIMIT ?"
SCOPES_OF_PROCESS = "SELECT id FROM scopes WHERE process_id = ? ORDER BY id LIMIT ?"
SCOPES_OF_KEY = "SELECT id FROM scopes WHERE scope_key = ? LIMIT ?"
SCOPES_FINISHED = """
    SELECT id FROM scopes WHERE finished_at_ms < ? ORDER BY finished_at_ms, id LIMIT ?
"""
#: Unfinished scopes that hold nothing but promises which were all resolved before a time, and before
#: anybody waited for them: those were made by their resolution.
SCOPES_UNCLAIMED = """
    SELECT w.scope, s.scope_key
    FROM await_events w JOIN scopes s ON s.id = w.scope
    WHERE w.resolved_at_ms < :before AND s.finished_at_ms IS NULL
        AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.scope = w.scope)
        AND NOT EXISTS (
            SELECT 1 FROM await_events o
            WHERE o.scope = w.scope AND (
                o.resolved_at_ms IS NULL OR o.resolved_at_ms >= :before
                OR o.resolved_at_ms <> o.created_at_ms
            )
        )
    ORDER BY w.resolved_at_ms, w.id
"""
#: Of the records that go: what they refer to. Nothing else can become unused by their going.
BLOBS_OF = """
    SELECT DISTINCT blob FROM journal
    WHERE scope IN (SELECT value FROM json_each(?)) AND blob IS NOT NULL
"""
SURROUNDINGS_OF = """
    SELECT DISTINCT surroundings FROM journal
    WHERE scope IN (SELECT value FROM json_each(?)) AND surroundings <> ''
"""
DELETE_RECORDS = "DELETE FROM journal WHERE scope IN (SELECT value FROM json_each(?))"
DELETE_WAITS = "DELETE FROM await_events WHERE scope IN (SELECT value FROM json_each(?))"
DELETE_SCOPES = "DELETE FROM scopes WHERE id IN (SELECT value FROM json_each(?))"
DELETE_UNUSED_BLOBS = """
    DELETE FROM blobs
    WHERE digest IN (SELECT value FROM json_each(?))
        AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.blob = blobs.digest)
"""
DELETE_UNUSED_SURROUNDINGS = """
    DELETE FROM surroundings
    WHERE digest IN (SELECT value FROM json_each(?))
        AND NOT EXISTS (
            SELECT 1 FROM journal j WHERE j.surroundings = surroundings.digest AND j.surroundings <> ''
        )
"""
