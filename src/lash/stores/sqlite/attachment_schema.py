"""The tables of attachments in a SQLite store, which came with version 5 of the schema; see `schema`."""

# Who refers to which content: one row for each owner in a session. `owner_kind` is '' where nobody owns
# it, `committed_at_ms` is empty until it is to stay. `meta` is what is said of the content there.
_REFS = """
    CREATE TABLE attachment_refs (
        session_id TEXT NOT NULL,
        attachment_id TEXT NOT NULL,
        owner_kind TEXT NOT NULL,
        owner_id TEXT NOT NULL,
        intent_at_ms INTEGER NOT NULL,
        committed_at_ms INTEGER,
        meta TEXT NOT NULL,
        PRIMARY KEY (session_id, attachment_id, owner_kind, owner_id)
    ) WITHOUT ROWID
"""
# Contents that a sweeper has claimed. What is free has no row.
_FENCES = """
    CREATE TABLE attachment_fences (
        attachment_id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        sweeper TEXT NOT NULL
    ) WITHOUT ROWID
"""
# Contents small enough to lie in the database; larger ones are files beside it. The bytes have a table
# of their own, because giving a row a new time writes all of it.
_BLOBS = """
    CREATE TABLE attachment_blobs (
        attachment_id TEXT PRIMARY KEY,
        stored_at_ms INTEGER NOT NULL,
        byte_len INTEGER NOT NULL
    ) WITHOUT ROWID
"""
_BYTES = """
    CREATE TABLE attachment_bytes (
        attachment_id TEXT PRIMARY KEY,
        content BLOB NOT NULL
    )
"""

TABLES: tuple[str, ...] = (
    _REFS,
    "CREATE INDEX attachment_refs_by_content ON attachment_refs (attachment_id)",
    """
    CREATE INDEX attachment_refs_uncommitted ON attachment_refs (intent_at_ms)
        WHERE committed_at_ms IS NULL
    """,
    """
    CREATE INDEX attachment_refs_by_owner ON attachment_refs (session_id, owner_kind, owner_id)
        WHERE committed_at_ms IS NULL
    """,
    _FENCES,
    _BLOBS,
    _BYTES,
)
