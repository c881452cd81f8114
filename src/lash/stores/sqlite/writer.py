"""The one writer: all that waits goes into one commit, and what comes alone is committed at once (D11).

1. Operations run in the order they were submitted, each whole or not at all.
2. Results are handed back only after the commit; a failed commit is told to every one of them.
3. Submitting is synchronous: once `submit` has returned, the operation will be tried, whatever
   becomes of the task that waits for it.
4. An operation that nothing else waits with is committed on the event loop, on a connection that never
   waits for a lock: handing it to a thread and back costs almost as much as the commit. Several are
   grouped by the thread, beside which the loop goes on; so is everything while the thread is at work,
   another process holds the lock, or the disk is slow.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lash.stores.sqlite.committing import Committer, Operation, Pending, Refusal
from lash.stores.sqlite.connection import closed_error, connect

T = TypeVar("T")

__all__ = ["Operation", "Refusal", "Writer"]

#: The most operations one commit takes. Enough to spread a sync over many; few enough that the first
#: of them does not wait long.
_MAX_GROUP = 256

#: A commit that takes longer than this must not hold up the loop; the thread takes the next ones.
_SLOW_S = 0.004
_BY_THREAD = 64


class Writer:
    """Runs write operations on connections of its own.

    Args:
        connection: Waits for other processes' transactions.
        path: The database.
        monotonic: Measures how long the disk takes.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, monotonic: Callable[[], float]
    ) -> None:
        self._path = path
        self._monotonic = monotonic
        self._by_thread = Committer(connection, path)
        self._here: Committer | None = None
        self._here_lock = threading.Lock()  # nothing is committed here behind the end
        self._queue: queue.SimpleQueue[Pending[object] | None] = queue.SimpleQueue()
        self._gate = threading.Lock()  # nothing is queued behind the end
        self._closed = False
        self._unfinished = 0  # what the thread has, or is about to have
        self._gathered: list[Pending[object]] = []  # submitted in this step of a loop
        self._slow = 0  # how many more the thread takes because the disk was slow
        self.transactions = 0  # commits so far; a commit that wrote nothing counts too
        self._thread = threading.Thread(target=self._run, name="lash-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[T], *, whole: bool = False) -> "asyncio.Future[T]":
        """Queue an operation; the future has its result once it is durable.

        `whole` says that the operation makes all of its changes or none, whatever it meets: it reads
        before it writes, and once it has written raises only what SQLite raises.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        pending: Pending[object] = Pending(operation, loop, future, whole=whole)  # type: ignore[arg-type]  # T goes round
        with self._gate:
            if self._closed:
                future.set_exception(closed_error(self._path))
            elif self._unfinished or (self._gathered and self._gathered[0].loop is not loop):
                self._to_thread([*self._gathered, pending])
            else:
                self._gathered.append(pending)
                if len(self._gathered) == 1:
                    # Whatever else is ready in this step of the loop may submit as well.
                    loop.call_soon(self._flush)
        return future

    def close(self) -> None:
        """Finish what was submitted, then stop. Blocks; call it off the loop."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._to_thread(self._gathered)
                self._queue.put(None)
        self._thread.join()
        with self._here_lock:
            if self._here is not None:
                self._here.close()
                self._here = None
        self._by_thread.close()  # last, so that it leaves one file without a log

    def _to_thread(self, group: list[Pending[object]]) -> None:
        """Have the thread commit a group, behind what it has. The gate is held."""
        for pending in group:
            self._queue.put(pending)
        self._unfinished += len(group)
        self._gathered = []

    # --- on the loop ----------------------------------------------------------------------------

    def _flush(self) -> None:
        """Commit what was submitted alone, or hand the group to the thread."""
        with self._gate:
            group = self._gathered
            if not group:
                return  # the thread has it
            if len(group) > 1 or self._slow:
                self._slow = max(0, self._slow - len(group))
                self._to_thread(group)
                return
            self._gathered = []
        if not self._commit_here(group):
            with self._gate:
                if not self._closed:
                    self._to_thread([*group, *self._gathered])
                    return
            group[0].error = closed_error(self._path)
        group[0].deliver()

    def _commit_here(self, group: list[Pending[object]]) -> bool:
        """Commit on the loop; False, and nothing was done, when that would mean to wait."""
        if not self._here_lock.acquire(blocking=False):
            return False
        try:
            if self._closed:
                return False
            began = self._monotonic()
            try:
                here = self._here or self._connect_here()
                here.begin()
            except sqlite3.Error:
                return False  # the thread may wait, and says what is wrong
            if here.commit(group, begun=True):
                self.transactions += 1
            if self._monotonic() - began > _SLOW_S:
                self._slow = _BY_THREAD
            return True
        finally:
            self._here_lock.release()

    def _connect_here(self) -> Committer:
        connection = connect(self._path, create=False)
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA synchronous = FULL")
        self._here = Committer(connection, self._path)
        return self._here

    # --- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group: list[Pending[object]] = []
            item = self._queue.get()
            while True:
                if item is None:
                    stopping = True
                    break
                group.append(item)
                if len(group) >= _MAX_GROUP or self._queue.empty():
                    break
                item = self._queue.get()
            if group:
                if self._by_thread.commit(group):
                    self.transactions += 1
                with self._gate:
                    self._unfinished -= len(group)
                _deliver(group)


def _deliver(group: list[Pending[object]]) -> None:
    for loop in {pending.loop for pending in group}:
        ours = [pending for pending in group if pending.loop is loop]
        try:
            loop.call_soon_threadsafe(_deliver_on_loop, ours)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more, and what was committed stays committed


def _deliver_on_loop(group: list[Pending[object]]) -> None:
    for pending in group:
        pending.deliver()
