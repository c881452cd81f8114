"""The SQL statements of forking, deleting, vacuuming and checking, named and described."""

# --- forking ----------------------------------------------------------------------------------------

#: The whole path to a node, root first, with the row of each node.
PATH_ROWS = """
    WITH RECURSIVE path (id, parent, depth) AS (
        SELECT n.id, n.parent, 0 FROM nodes n WHERE n.id = :leaf
        UNION ALL
        SELECT n.id, n.parent, p.depth + 1
        FROM path p JOIN nodes n ON n.id = p.parent AND n.id < p.id
    )
    SELECT n.id, n.session_id, n.node_id, n.parent_id, n.digest, n.turn_id, n.kind, n.message
    FROM path p JOIN nodes n ON n.id = p.id ORDER BY p.depth DESC
"""
#: A session that begins on a node of another one, before it accepts anything.
ADD_FORK = """
    INSERT INTO sessions (session_id, agent_name, agent_version, created_at_ms, updated_at_ms,
                          leaf_id, leaf_digest, leaf, frame_id, config, relation, origin)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# --- deleting ---------------------------------------------------------------------------------------

ADD_DELETED = "INSERT INTO deleted_sessions (session_id, deleted_at_ms, leaf) VALUES (?, ?, ?)"
DELETE_SESSION = "DELETE FROM sessions WHERE session_id = ?"
DELETE_INPUTS = "DELETE FROM inputs WHERE session_id = ?"
DELETE_QUEUE = "DELETE FROM queue WHERE session_id = ?"
DELETE_TURNS = "DELETE FROM turns WHERE session_id = ?"
DELETE_CANCELS = "DELETE FROM turn_cancels WHERE session_id = ?"
DELETE_USAGE = "DELETE FROM usage WHERE session_id = ?"
DELETE_NODES = "DELETE FROM nodes WHERE session_id = ?"
COUNT_OPEN = "SELECT count(*) FROM inputs WHERE session_id = ? AND committed = 0"
#: The sessions that one has begun: forks and children.
ORPHANS = "SELECT session_id FROM sessions WHERE origin = ? ORDER BY session_id"
#: Whether another session stands on a node of this one, or has one behind such a node.
IS_SHARED = """
    SELECT EXISTS (
        SELECT 1 FROM nodes n JOIN nodes c ON c.parent = n.id
        WHERE n.session_id = ? AND c.session_id <> n.session_id
    ) OR EXISTS (
        SELECT 1 FROM nodes n JOIN sessions s INDEXED BY sessions_by_leaf ON s.leaf = n.id
        WHERE n.session_id = ? AND s.session_id <> n.session_id AND s.origin IS NOT NULL
    )
"""
IS_NODE_OF = "SELECT 1 FROM nodes WHERE id = ? AND session_id = ?"

# --- vacuuming --------------------------------------------------------------------------------------

#: Deleted sessions of which nodes are left, with the last of them.
DELETED_SHARED = """
    SELECT session_id, leaf FROM deleted_sessions INDEXED BY deleted_shared
    WHERE leaf IS NOT NULL ORDER BY session_id
"""
MOVE_DELETED_LEAF = "UPDATE deleted_sessions SET leaf = ? WHERE session_id = ?"
#: The node before one of a session, unless anything stands on that one.
BEFORE_UNUSED = """
    SELECT n.parent FROM nodes n
    WHERE n.id = ? AND n.session_id = ?
        AND NOT EXISTS (SELECT 1 FROM nodes c WHERE c.parent = n.id)
        AND NOT EXISTS (
            SELECT 1 FROM sessions s INDEXED BY sessions_by_leaf
            WHERE s.leaf = n.id AND s.origin IS NOT NULL
        )
"""
DELETE_NODE = "DELETE FROM nodes WHERE id = ?"
#: Items that are settled, oldest first.
ITEMS_SETTLED = """
    SELECT session_id, item_id, state FROM queue INDEXED BY queue_settled
    WHERE settled_at_ms IS NOT NULL AND settled_at_ms < ?
    ORDER BY settled_at_ms, session_id, sequence LIMIT ?
"""
#: What is left of an item that became part of a turn answers for it.
FORGET_PAYLOAD = """
    UPDATE queue SET payload = NULL, settled_at_ms = NULL
    WHERE session_id = ? AND item_id = ? AND state = 'completed'
"""
FORGET_ITEM = "DELETE FROM queue WHERE session_id = ? AND item_id = ? AND state = 'cancelled'"
CANCELS_SETTLED = """
    SELECT session_id, turn_id FROM turn_cancels INDEXED BY turn_cancels_settled
    WHERE settled_at_ms IS NOT NULL AND settled_at_ms < ?
    ORDER BY settled_at_ms, session_id, turn_id LIMIT ?
"""
FORGET_CANCEL = "DELETE FROM turn_cancels WHERE session_id = ? AND turn_id = ?"
#: The contents behind a digest, as many as are looked at in one go.
NEXT_BLOBS = "SELECT digest FROM blobs WHERE digest > ? ORDER BY digest LIMIT ?"
NEXT_SURROUNDINGS = "SELECT digest FROM surroundings WHERE digest > ? ORDER BY digest LIMIT ?"
#: What stays, counted up to a limit.
COUNT_WAITING = """
    SELECT count(*) FROM (
        SELECT 1 FROM queue INDEXED BY queue_waiting
        WHERE state IN ('pending_active', 'deferred_next_turn') LIMIT ?
    )
"""
COUNT_RECENT = """
    SELECT count(*) FROM (
        SELECT 1 FROM queue INDEXED BY queue_settled
        WHERE settled_at_ms IS NOT NULL AND settled_at_ms >= :before
        UNION ALL
        SELECT 1 FROM turn_cancels INDEXED BY turn_cancels_settled
        WHERE settled_at_ms IS NOT NULL AND settled_at_ms >= :before
        LIMIT :limit
    )
"""

# --- checking ---------------------------------------------------------------------------------------

#: Every id that anything is kept under. As bytes: one that is damaged must not hide the others.
EVERY_SESSION = """
    SELECT CAST(session_id AS BLOB) FROM sessions
    UNION SELECT CAST(session_id AS BLOB) FROM inputs
    UNION SELECT CAST(session_id AS BLOB) FROM turns
    UNION SELECT CAST(session_id AS BLOB) FROM queue
    UNION SELECT CAST(session_id AS BLOB) FROM usage
    UNION SELECT CAST(session_id AS BLOB) FROM scopes WHERE session_id IS NOT NULL
"""
LEAF_IDS = "SELECT leaf_id, leaf FROM sessions WHERE session_id = ?"
EVERY_INPUT = """
    SELECT turn_id, committed, superseded_by FROM inputs WHERE session_id = ? ORDER BY sequence
"""
#: The journals of a session, with what is in them.
SCOPES_TOLD = """
    SELECT s.scope_key, s.finished_at_ms IS NOT NULL,
        (SELECT count(*) FROM journal j WHERE j.scope = s.id),
        (SELECT count(*) FROM await_events w
         WHERE w.scope = s.id AND w.resolution IS NULL AND w.turn_control = 0)
    FROM scopes s WHERE s.session_id = ? ORDER BY s.id
"""
#: What belongs to no session may be finished and have promises too.
FOREIGN_SCOPES = """
    SELECT s.scope_key, 1, 0,
        (SELECT count(*) FROM await_events w
         WHERE w.scope = s.id AND w.resolution IS NULL AND w.turn_control = 0)
    FROM scopes s INDEXED BY scopes_finished
    WHERE s.finished_at_ms IS NOT NULL AND s.session_id IS NULL ORDER BY s.finished_at_ms, s.id
"""
DANGLING_RECORDS = """
    SELECT count(*) FROM journal j WHERE NOT EXISTS (SELECT 1 FROM scopes s WHERE s.id = j.scope)
"""
DANGLING_WAITS = """
    SELECT count(*) FROM await_events w WHERE NOT EXISTS (SELECT 1 FROM scopes s WHERE s.id = w.scope)
"""
EVERY_ITEM_IDS = "SELECT item_id FROM queue WHERE session_id = ? ORDER BY sequence"
#: Nodes that belong to no session that is there, and to none that was deleted.
STRAY_NODES = """
    SELECT DISTINCT CAST(n.session_id AS BLOB) FROM nodes n
    WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.session_id = n.session_id)
        AND NOT EXISTS (SELECT 1 FROM deleted_sessions d WHERE d.session_id = n.session_id)
"""
