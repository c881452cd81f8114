"""Opening the database, making sure it is ours, and naming what SQLite complains about."""

import sqlite3
from pathlib import Path

from lash.core.errors import StoreError
from lash.stores.sqlite import queries

#: How long a writer waits for another process's transaction. Ours last milliseconds; a backup or an
#: inspection tool may hold the lock for seconds.
BUSY_TIMEOUT_MS = 10_000

#: What SQLite's primary result codes mean to us.
_CODES = {
    sqlite3.SQLITE_BUSY: "store_busy",
    sqlite3.SQLITE_LOCKED: "store_busy",
    sqlite3.SQLITE_FULL: "store_full",
    sqlite3.SQLITE_READONLY: "store_read_only",
    sqlite3.SQLITE_PERM: "store_read_only",
    sqlite3.SQLITE_CANTOPEN: "store_unreachable",
    sqlite3.SQLITE_NOTADB: "store_foreign",
    sqlite3.SQLITE_CORRUPT: "store_corrupt",
}
_REMEDIES = {
    "store_busy": "another program holds the database locked; close it, or try again",
    "store_full": "no space is left on the device; free some and try again, nothing accepted is lost",
    "store_read_only": "the file or its directory cannot be written; check permissions and mount",
    "store_unreachable": "the file cannot be opened; check that its directory exists and is writable",
    "store_foreign": "the file is not a SQLite database; choose another path",
    "store_corrupt": "the database is damaged; restore it from a backup",
    "store_failed": "see the reason given by SQLite",
}


def store_error(error: sqlite3.Error, path: Path | str) -> StoreError:
    """What a SQLite error means, with what to do about it."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    code = _CODES.get(primary, "store_failed")
    return StoreError(
        code,
        f"The database {path} did not take the operation: {_REMEDIES[code]} (SQLite: {error}).",
        path=str(path),
        sqlite=getattr(error, "sqlite_errorname", type(error).__name__),
    )


def connect(path: Path, *, create: bool = True) -> sqlite3.Connection:
    """A connection that commits nothing by itself and syncs every commit to the disk.

    Raises:
        StoreError: `store_unreachable`, `store_busy`, `store_read_only`.
    """
    mode = "rwc" if create else "rw"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1000,
            cached_statements=256,
        )
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the database ours, or refuse it before a byte of it is changed.

    Raises:
        StoreError: `store_foreign`, `store_schema_newer`, and what SQLite reports.
    """
    try:
        _check(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have created or upgraded it in between.
            version = _check(connection, path)
            _upgrade(connection, version)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise store_error(error, path) from error


def tune_reader(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Make sure that a reader never writes."""
    connection.execute("PRAGMA query_only = ON")
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a database that is ours or empty (0)."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == 0 and version == 0 and tables == 0:
        return 0
    if application != queries.APPLICATION_ID:
        raise StoreError(
            "store_foreign",
            f"{path} is a database of another program; lash left it untouched. Choose another path.",
            path=str(path),
        )
    if version > queries.SCHEMA_VERSION:
        raise StoreError(
            "store_schema_newer",
            f"{path} was written by a newer lash (schema {version}; this one knows "
            f"{queries.SCHEMA_VERSION}). Upgrade lash-runtime to open it; nothing was changed.",
            path=str(path),
            found=version,
            known=queries.SCHEMA_VERSION,
        )
    return int(version)


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    if version == queries.SCHEMA_VERSION:
        return
    if version == 0:
        statements: tuple[str, ...] = queries.SCHEMA
    else:
        steps = range(version + 1, queries.SCHEMA_VERSION + 1)
        statements = tuple(statement for step in steps for statement in queries.MIGRATIONS[step])
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {queries.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {queries.SCHEMA_VERSION}")
