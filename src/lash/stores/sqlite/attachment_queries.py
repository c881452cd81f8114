"""The statements of attachments; see `attachment_schema`."""

# --- references -------------------------------------------------------------------------------------

ADD = """
    INSERT INTO attachment_refs
        (session_id, attachment_id, owner_kind, owner_id, intent_at_ms, meta)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (session_id, attachment_id, owner_kind, owner_id)
        DO UPDATE SET intent_at_ms = excluded.intent_at_ms, meta = excluded.meta
"""
COMMIT_OWNED = """
    UPDATE attachment_refs SET committed_at_ms = ?
    WHERE session_id = ? AND owner_kind = 'turn' AND owner_id = ? AND committed_at_ms IS NULL
"""
COMMIT = """
    UPDATE attachment_refs SET committed_at_ms = ?
    WHERE session_id = ? AND attachment_id = ? AND committed_at_ms IS NULL
"""
# What is to stay, with a session that it stays for.
COMMITTED = """
    SELECT DISTINCT attachment_id, session_id FROM attachment_refs
    WHERE committed_at_ms IS NOT NULL ORDER BY session_id, attachment_id
"""
HOLDS = "SELECT 1 FROM attachment_refs WHERE session_id = ? AND attachment_id = ? LIMIT 1"
HAS_ROOT = "SELECT 1 FROM attachment_refs WHERE attachment_id = ? LIMIT 1"
ROOTS = "SELECT DISTINCT attachment_id FROM attachment_refs"
FORGET = "DELETE FROM attachment_refs WHERE session_id = ? AND attachment_id = ?"
FORGET_SESSION = "DELETE FROM attachment_refs WHERE session_id = ?"

_COLUMNS = """
    session_id, attachment_id, owner_kind, owner_id, intent_at_ms, committed_at_ms, meta
"""
#: What comes first among the references of one session to one content.
_BEST = "committed_at_ms IS NULL, intent_at_ms DESC, owner_kind, owner_id"

FIND = f"""
    SELECT {_COLUMNS} FROM attachment_refs
    WHERE session_id = ? AND attachment_id = ? ORDER BY {_BEST} LIMIT 1
"""  # noqa: S608  our own columns
LIST = f"""
    SELECT {_COLUMNS} FROM (
        SELECT *, row_number() OVER (PARTITION BY attachment_id ORDER BY {_BEST}) AS place
        FROM attachment_refs WHERE session_id = ?
    ) WHERE place = 1 ORDER BY attachment_id
"""  # noqa: S608  our own columns
UNCOMMITTED = f"""
    SELECT {_COLUMNS} FROM attachment_refs
    WHERE committed_at_ms IS NULL AND intent_at_ms <= ?
    ORDER BY intent_at_ms, session_id, attachment_id, owner_kind, owner_id
"""  # noqa: S608  our own columns

# What `is_live` does not keep. A turn that nobody has ever heard of is not known to be over. Input is
# looked through for the id itself, which nothing else looks like; text that happens to hold it keeps a
# content longer than needed, and nothing else.
FORGET_AGED = """
    DELETE FROM attachment_refs
    WHERE committed_at_ms IS NULL AND intent_at_ms <= ? AND CASE owner_kind
        WHEN 'turn' THEN EXISTS (
            SELECT 1 FROM inputs i
            WHERE i.session_id = attachment_refs.session_id
                AND i.turn_id = attachment_refs.owner_id AND i.committed <> 0
        )
        WHEN 'process' THEN NOT EXISTS (
            SELECT 1 FROM processes p WHERE p.process_id = attachment_refs.owner_id
        )
        ELSE owner_kind = ''
    END AND NOT EXISTS (
        SELECT 1 FROM inputs i WHERE i.session_id = attachment_refs.session_id
            AND i.committed = 0 AND instr(i.input, attachment_refs.attachment_id) > 0
    ) AND NOT EXISTS (
        SELECT 1 FROM queue q WHERE q.session_id = attachment_refs.session_id
            AND q.state IN ('pending_active', 'deferred_next_turn', 'accepted')
            AND instr(q.payload, attachment_refs.attachment_id) > 0
    )
"""

# A fork refers to what its source had committed, as nobody's in particular.
SHARE = """
    INSERT INTO attachment_refs
        (session_id, attachment_id, owner_kind, owner_id, intent_at_ms, committed_at_ms, meta)
    SELECT ?, attachment_id, '', '', intent_at_ms, ?, meta FROM (
        SELECT *, row_number() OVER (
            PARTITION BY attachment_id ORDER BY intent_at_ms DESC, owner_kind, owner_id
        ) AS place
        FROM attachment_refs WHERE session_id = ? AND committed_at_ms IS NOT NULL
    ) WHERE place = 1
    ON CONFLICT (session_id, attachment_id, owner_kind, owner_id)
        DO UPDATE SET committed_at_ms = coalesce(committed_at_ms, excluded.committed_at_ms)
"""

# --- the fence --------------------------------------------------------------------------------------

FENCE = "SELECT attachment_id, state, sweeper FROM attachment_fences WHERE attachment_id = ?"
FENCES = "SELECT attachment_id, state, sweeper FROM attachment_fences ORDER BY attachment_id"
PUT_FENCE = """
    INSERT INTO attachment_fences (attachment_id, state, sweeper) VALUES (?, ?, ?)
    ON CONFLICT (attachment_id) DO UPDATE SET state = excluded.state, sweeper = excluded.sweeper
"""
DROP_FENCE = "DELETE FROM attachment_fences WHERE attachment_id = ?"

# --- bytes ------------------------------------------------------------------------------------------

TOUCH_BLOB = "UPDATE attachment_blobs SET stored_at_ms = ? WHERE attachment_id = ?"
ADD_BLOB = "INSERT INTO attachment_blobs (attachment_id, stored_at_ms, byte_len) VALUES (?, ?, ?)"
ADD_BYTES = "INSERT OR REPLACE INTO attachment_bytes (attachment_id, content) VALUES (?, ?)"
BYTES = "SELECT content FROM attachment_bytes WHERE attachment_id = ?"
BYTES_AT = (
    "SELECT coalesce(substr(content, ?, ?), x'') FROM attachment_bytes WHERE attachment_id = ?"
)
BLOB = "SELECT attachment_id, byte_len, stored_at_ms FROM attachment_blobs WHERE attachment_id = ?"
BLOBS = "SELECT attachment_id, byte_len, stored_at_ms FROM attachment_blobs ORDER BY attachment_id"
DROP_BLOB = "DELETE FROM attachment_blobs WHERE attachment_id = ?"
DROP_BYTES = "DELETE FROM attachment_bytes WHERE attachment_id = ?"
