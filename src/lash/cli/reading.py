"""Opening a database that is there, to look at it or to do one thing in it; no agents run here."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from lash.app.runtime import Runtime
from lash.core.clock import SystemClock
from lash.core.errors import ConfigurationError, StoreError
from lash.core.leases import LeaseOwner
from lash.sessions.model import Parked
from lash.stores.sqlite import SqliteStore

_CLOCK = SystemClock(asyncio.sleep)

S = TypeVar("S", bound=SqliteStore)


def now_ms() -> int:
    """The time, in the clock of the stores that are opened here."""
    return _CLOCK.now_ms()


class _BystandersStore(SqliteStore):
    """The store of a process that has no agents and was never meant to have any."""

    async def note_waiting(self, session_id: str, turn_id: str, parked: Parked) -> bool:
        """Leave work as it is: that its agent is missing here means nothing."""
        del session_id, turn_id, parked
        return False


class _CopiedStore(SqliteStore):
    """A store whose database lies elsewhere, and the locks of its owners with it."""

    def is_dead(self, owner: LeaseOwner) -> bool:
        """Nobody is known to be dead here: only time tells."""
        del owner
        return False


def check_path(db: str) -> Path:
    """The path that `--db` gives.

    Raises:
        ConfigurationError: `store_url_unknown`.
    """
    if "://" in db or not db.strip():
        raise ConfigurationError("store_url_unknown", "--db takes the path of a SQLite file.")
    return Path(db)


def _open(kind: type[S], db: str) -> S:
    return kind(check_path(db), _CLOCK, create=False)


@asynccontextmanager
async def existing_store(
    db: str, kind: type[SqliteStore] = SqliteStore
) -> AsyncIterator[SqliteStore]:
    """The store in an existing file; a missing one is an error and stays missing.

    Raises:
        ConfigurationError: `store_url_unknown`.
        StoreError: The file is missing, of another program, or cannot be opened.
    """
    store = _open(kind, db)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def reading(db: str) -> AsyncIterator[SqliteStore]:
    """The store for those who only look; of a file that cannot be written, a copy is looked at.

    Raises:
        ConfigurationError: `store_url_unknown`.
        StoreError: As `existing_store`.
    """
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(existing_store(db))
        except StoreError as error:
            if error.code != "store_read_only":
                raise
            # A store writes when it is opened, so it cannot be opened where nothing can be written.
            folder = stack.enter_context(TemporaryDirectory(prefix="lash-read-"))
            copy = Path(folder) / "copy.db"
            _copy(Path(db), copy, error)
            store = await stack.enter_async_context(existing_store(str(copy), _CopiedStore))
        yield store


@asynccontextmanager
async def bystander(db: str) -> AsyncIterator[Runtime]:
    """A runtime without agents over an existing file, for what is done from outside.

    It runs no turns and no processes. A turn that only has to end, because it was asked to stop, is
    ended by it.

    Raises:
        ConfigurationError: `store_url_unknown`.
        StoreError: As `existing_store`.
    """
    async with Runtime(_open(_BystandersStore, db), run_processes=False) as runtime:
        yield runtime


def _copy(source: Path, target: Path, refused: StoreError) -> None:
    """Copy a database that cannot be written, with what stands in its log.

    Raises:
        StoreError: `refused`, when it cannot be read either.
    """
    source = source.resolve()
    log = Path(f"{source}-wal")
    try:
        try:
            _back_up(source, target, "mode=ro")
        except sqlite3.Error:
            # To read beside writers takes a file beside the database, which cannot be made here.
            if log.exists() and log.stat().st_size:
                shutil.copyfile(source, target)
                shutil.copyfile(log, f"{target}-wal")
            else:
                _back_up(source, target, "mode=ro&immutable=1")
    except (OSError, sqlite3.Error) as error:
        raise refused from error


def _back_up(source: Path, target: Path, how: str) -> None:
    target.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(f"{source.as_uri()}?{how}", uri=True)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)
