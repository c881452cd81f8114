"""The tables of attachments in a SQLite store."""

TABLES: tuple[str, ...] = ()
