"""Opening the database, making sure it is ours, and naming what SQLite complains about."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from lash.core.errors import StoreError
from lash.effects.waits.keys import SECRET_BYTES
from lash.stores.sqlite import queries, schema

#: How long a writer waits for another process's transaction. Ours last milliseconds; a backup or an
#: inspection tool may hold the lock for seconds.
BUSY_TIMEOUT_MS = 10_000

#: Each attempt that fails means that another process got ahead; so many do not start at one moment.
_SWITCH_ATTEMPTS = 100

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
    "store_failed": "see the reason given by SQLite; where it names the disk, look at free space, "
    "quotas and limits on file sizes; nothing accepted is lost",
}


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """What a SQLite error means, with what to do about it."""
    code = _code(error)
    if code == "store_unreachable" and _sealed(path):
        code = "store_read_only"
    if code == "store_failed" and _disk_is_full(path):
        code = "store_full"
    remedy = _REMEDIES[code]
    if code == "store_unreachable":
        remedy = _unreachable(path)
    return StoreError(
        code,
        f"The database {path} did not take the operation: {remedy} (SQLite: {error}).",
        path=str(path),
        sqlite=getattr(error, "sqlite_errorname", type(error).__name__),
    )


def _disk_is_full(path: Path) -> bool:
    """Whether there is no room for a page: SQLite calls a failed helper file an I/O error."""
    try:
        return shutil.disk_usage(path.parent).free < 64 * 1024
    except OSError:
        return False


def translated(error: Exception, path: Path) -> Exception:
    """What a failed operation raises: a `StoreError` for SQLite's errors and for unreadable rows."""
    if isinstance(error, sqlite3.Error):
        return store_error(error, path)
    if isinstance(error, msgspec.MsgspecError):
        return StoreError(
            "store_corrupt",
            f"A row of {path} cannot be read back: {error}. The database was damaged or written by "
            "another version; restore it from a backup.",
            path=str(path),
        )
    return error


def closed_error(path: Path) -> StoreError:
    """What a closed store answers to everything."""
    return StoreError(
        "store_closed", f"The store {path} is closed; open it again to use it.", path=str(path)
    )


def _code(error: sqlite3.Error) -> str:
    number: int | None = getattr(error, "sqlite_errorcode", None)
    if number is None and isinstance(error, sqlite3.OperationalError):
        return "store_corrupt"  # not from SQLite: text of a row that is not UTF-8
    return _CODES.get((number or 0) & 0xFF, "store_failed")


def _sealed(path: Path) -> bool:
    """Whether a file may be there but cannot be written, as on a read-only mount."""
    return path.parent.is_dir() and not path.is_dir() and not os.access(path.parent, os.W_OK)


def _unreachable(path: Path) -> str:
    if path.is_dir():
        return "it is a directory; name a file in it"
    if not path.parent.is_dir():
        return f"the directory {path.parent} does not exist; create it first"
    return _REMEDIES["store_unreachable"]


def connect(path: Path, *, create: bool = True) -> sqlite3.Connection:
    """A connection that commits nothing by itself.

    Raises:
        StoreError: `store_unreachable`, `store_read_only`.
    """
    if not create and not path.exists():
        raise StoreError(
            "store_unreachable",
            f"There is no database {path}. Check the path; nothing was created.",
            path=str(path),
        )
    return _open(path, "rwc" if create else "rw")


def _open(path: Path, mode: str) -> sqlite3.Connection:
    try:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1000,
            cached_statements=256,
        )
    except sqlite3.Error as error:
        raise store_error(error, path) from error


def prepare(connection: sqlite3.Connection, path: Path, *, create: bool = True) -> None:
    """Make the database ours, or refuse it before a byte of it is changed.

    Commits are synced to the disk from here on. An empty file becomes ours only if `create`.

    Raises:
        StoreError: `store_foreign`, `store_schema_newer`, and what SQLite reports.
    """
    try:
        _look(path)
        with _transaction(connection, "BEGIN"):
            if _check(connection, path) == 0 and not create:
                raise StoreError(
                    "store_foreign",
                    f"{path} is empty: there is nothing of lash in it, and it was left so.",
                    path=str(path),
                )
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = FULL")
        with _transaction(connection, "BEGIN IMMEDIATE"):
            # Another process may have created or upgraded it in between.
            _upgrade(connection, _check(connection, path))
        _prove_writable(connection)
    except sqlite3.Error as error:
        raise store_error(error, path) from error


def read_secret(connection: sqlite3.Connection, path: Path) -> bytes:
    """The secret that signs wait keys.

    Raises:
        StoreError: `store_corrupt`, and what SQLite reports.
    """
    try:
        row = connection.execute(queries.SECRET).fetchone()
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    secret = row[0] if row else None
    if not isinstance(secret, bytes) or len(secret) != SECRET_BYTES:
        raise StoreError(
            "store_corrupt",
            f"The secret that signs wait keys is missing from {path}, or damaged. Restore the "
            "database from a backup: keys that were handed out cannot be checked without it.",
            path=str(path),
        )
    return secret


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends it by itself when the disk is full
            connection.execute("ROLLBACK")
        raise


def _look(path: Path) -> None:
    """Check the database on a connection that cannot write.

    When the last connection that can write is closed, SQLite moves the log into the file. A log that
    another program left behind is not ours to move.
    """
    if path.stat().st_size == 0:
        return
    connection = _open(path, "ro")
    try:
        with _transaction(connection, "BEGIN"):
            _check(connection, path)
    except sqlite3.Error as error:
        # A file that needs recovery, or lies where nothing can be written, is not for such a
        # connection to read; the one that can write will see.
        if _code(error) not in ("store_read_only", "store_unreachable"):
            raise
    finally:
        connection.close()


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log, which lets readers go on while a writer writes.

    SQLite does not wait for another process that is creating or switching the same database at this
    moment: it answers "busy" at once. So each refusal is followed by a wait for that process.
    """
    for _ in range(_SWITCH_ATTEMPTS):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != "store_busy":
                raise
        with _transaction(connection, "BEGIN IMMEDIATE"):
            pass
    connection.execute("PRAGMA journal_mode = WAL")


def _prove_writable(connection: sqlite3.Connection) -> None:
    """Write and take it back: SQLite opens a read-only file without a word until the first write."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a database that is ours or empty (0)."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == 0 and version == 0 and tables == 0:
        return 0
    if application != schema.APPLICATION_ID:
        raise StoreError(
            "store_foreign",
            f"{path} is a database of another program; lash left it untouched. Choose another path.",
            path=str(path),
        )
    if version > schema.SCHEMA_VERSION:
        raise StoreError(
            "store_schema_newer",
            f"{path} was written by a newer lash (schema {version}; this one knows "
            f"{schema.SCHEMA_VERSION}). Upgrade lash-runtime to open it; nothing was changed.",
            path=str(path),
            found=version,
            known=schema.SCHEMA_VERSION,
        )
    return int(version)


def _upgrade(connection: sqlite3.Connection, version: int) -> None:
    if version == schema.SCHEMA_VERSION:
        return
    if version == 0:
        statements: tuple[str, ...] = schema.SCHEMA
    else:
        schema.add_functions(connection)
        steps = range(version + 1, schema.SCHEMA_VERSION + 1)
        statements = tuple(statement for step in steps for statement in schema.MIGRATIONS[step])
    for statement in statements:
        connection.execute(statement)
    # A secret, not an id: nobody may foretell it, so no injected source makes it. It is made once, in
    # the transaction that makes its table, so that all who open the file together agree.
    connection.execute(queries.ADD_SECRET, (os.urandom(SECRET_BYTES),))
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
