"""SQLite and nothing else: rows that a thread commits for an event loop, one by one or all that wait."""

import asyncio
import queue
import sqlite3
import threading
import time
from pathlib import Path

#: A row of about what a trivial step's record weighs.
ROW = ("x" * 300,)
INSERT = "INSERT INTO row (body) VALUES (?)"


def open_raw(path: Path) -> sqlite3.Connection:
    """A connection with the pragmas that lash uses, and a table of one column."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, body TEXT)")
    return connection


class RawWriter:
    """A thread that commits one row per request: the hop and the sync, and nothing else."""

    #: How many requests that wait may become one commit.
    at_once = 1

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: queue.SimpleQueue[asyncio.Future[None] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def commit(self) -> "asyncio.Future[None]":
        """Commit one row."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put(done)
        return done

    def close(self) -> None:
        """Finish, and stop the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        connection = open_raw(self._path)
        while (first := self._queue.get()) is not None:
            group = [first]
            while len(group) < self.at_once and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    self._queue.put(None)  # stop behind this commit
                    break
                group.append(more)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT, [ROW] * len(group))
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_answer, group)
        connection.close()


class GroupedWriter(RawWriter):
    """The same thread, but whatever waits for it is one commit."""

    at_once = 4_096


def _answer(group: "list[asyncio.Future[None]]") -> None:
    for done in group:
        done.set_result(None)


async def committed_rate(writer: RawWriter, lanes: int, each: int) -> float:
    """Rows per second that `lanes` commit at once, each one row after the other; closes the writer."""

    async def lane() -> None:
        for _ in range(each):
            await writer.commit()

    try:
        await writer.commit()  # the thread is up and the table is there
        started = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(lanes)))
        return lanes * each / (time.perf_counter() - started)
    finally:
        writer.close()
