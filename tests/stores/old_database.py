"""Writes a database of an older version from what that version left, kept as text."""

import sqlite3
from contextlib import closing
from pathlib import Path


def write_database(path: Path, schema: str, rows: str) -> None:
    """Write it to a file that is not there yet."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(schema)
        database.executescript(rows)
        database.commit()
