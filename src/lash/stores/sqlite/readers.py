"""The readers: a few threads, each with a connection that cannot write and never waits for the writer.

One more looks whether anything was written; its answers must not wait for a long read. And one
connection answers short reads where they are asked: handing such a read to a thread and back costs
several times the read itself.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from lash.stores.sqlite.columns import Row
from lash.stores.sqlite.connection import closed_error, connect, translated

T = TypeVar("T")

#: Two keep a long read from holding up short ones.
_THREADS = 2


class Readers:
    """Runs read operations, each in a transaction of its own: all of it sees one state."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closed = False
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lash-reader")
        # SQLite counts the commits of others for each connection, so one connection has to do it.
        self._watcher = ThreadPoolExecutor(1, thread_name_prefix="lash-watcher")
        self._here: sqlite3.Connection | None = None
        self._here_lock = threading.Lock()

    async def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """What `operation` finds.

        Raises:
            StoreError: `store_closed`, `store_corrupt`, and what SQLite reports.
        """
        return await self._run(self._threads, lambda: self._perform(operation))

    async def read_here(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """What one statement finds, in the calling thread if nothing keeps it waiting there.

        Raises:
            StoreError: As `read`.
        """
        if self._closed:
            raise closed_error(self._path)
        if not self._here_lock.acquire(blocking=False):  # another loop is reading
            return await self.read(operation)
        try:
            return operation(self._connection_here())
        except sqlite3.OperationalError:
            pass  # busy, or broken: a thread may wait, and says what is wrong
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise translated(error, self._path) from error
        finally:
            self._here_lock.release()
        return await self.read(operation)

    async def all(self, query: str, key: str, build: Callable[[Row], T]) -> Sequence[T]:
        """What a query with one parameter gives, each row built.

        Raises:
            StoreError: As `read`.
        """
        return await self.read(
            lambda connection: [build(row) for row in connection.execute(query, (key,))]
        )

    async def data_version(self) -> int:
        """A number that changes whenever another connection has committed, the writer's included.

        Raises:
            StoreError: `store_closed`, and what SQLite reports.
        """
        return await self._run(self._watcher, self._data_version)

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        if self._closed:
            raise closed_error(self._path)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(threads, call)
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise translated(error, self._path) from error

    def refuse(self) -> None:
        """Take no further reads."""
        self._closed = True

    def close(self) -> None:
        """Finish the reads that were begun, then close. Blocks; call it off the loop."""
        self._threads.shutdown()
        self._watcher.shutdown()
        while self._connections:
            self._connections.pop().close()

    def _perform(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            return operation(connection)
        finally:
            if connection.in_transaction:  # SQLite ends it by itself when a page cannot be read
                connection.execute("ROLLBACK")

    def _data_version(self) -> int:
        (version,) = self._connection().execute("PRAGMA data_version").fetchone()
        return int(version)

    def _connection_here(self) -> sqlite3.Connection:
        if self._here is None:
            connection = connect(self._path, create=False)
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA query_only = ON")
            self._here = connection
            self._connections.append(connection)
        return self._here

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = connect(self._path, create=False)
            self._connections.append(connection)
            connection.execute("PRAGMA query_only = ON")
            self._local.connection = connection
        return connection
