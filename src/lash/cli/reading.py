"""Opening a database that is there, without running anything in it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lash.core.clock import SystemClock
from lash.core.errors import ConfigurationError
from lash.stores.sqlite import SqliteStore

_CLOCK = SystemClock(asyncio.sleep)


def now_ms() -> int:
    """The time, in the clock of the stores that are opened here."""
    return _CLOCK.now_ms()


@asynccontextmanager
async def existing_store(db: str) -> AsyncIterator[SqliteStore]:
    """The store in an existing file; a missing one is an error and stays missing.

    Raises:
        ConfigurationError: `store_url_unknown`.
        StoreError: The file is missing, of another program, or cannot be opened.
    """
    if "://" in db or not db.strip():
        raise ConfigurationError("store_url_unknown", "--db takes the path of a SQLite file.")
    store = SqliteStore(Path(db), _CLOCK, create=False)
    try:
        yield store
    finally:
        await store.aclose()


#: What those call it who only look.
reading = existing_store
