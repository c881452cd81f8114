"""The tables of triggers in a SQLite store."""

TABLES: tuple[str, ...] = ()
