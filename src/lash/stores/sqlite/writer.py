"""The one writer: a thread that groups all waiting operations into one commit (ARCHITECTURE D11).

1. Operations run in the order they were submitted, each in a savepoint of its own, so that one that
   raises leaves the others whole. One that says it writes all or nothing by itself needs none.
2. Results are handed back only after the commit; a failed commit is told to every one of them.
3. Submitting is synchronous: once `submit` has returned, the operation will be tried, whatever
   becomes of the task that waits for it.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from lash.stores.sqlite.connection import closed_error, translated

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

#: The most operations one commit takes. Enough to spread a sync over many; few enough that the first
#: of them does not wait long.
_MAX_GROUP = 256


class Refusal(Exception, Generic[T]):  # noqa: N818  control flow: it rolls one operation back
    """Raised by an operation that has written and must not have: its result is what it carries."""

    def __init__(self, result: T) -> None:
        super().__init__()
        self.result = result


class _Pending(Generic[T]):
    """One submitted operation and where its result goes."""

    __slots__ = ("error", "future", "loop", "operation", "result", "whole")

    def __init__(
        self,
        operation: Operation[T],
        loop: asyncio.AbstractEventLoop,
        future: "asyncio.Future[T]",
        *,
        whole: bool,
    ) -> None:
        self.operation = operation
        self.whole = whole
        self.loop = loop
        self.future = future
        self.result: T | None = None
        self.error: Exception | None = None

    def deliver(self) -> None:
        """Hand the outcome to the waiting task, if it still waits. Runs on its loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # set by run() unless error is


class Writer:
    """Runs write operations on a connection of its own, in a thread of its own."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._queue: queue.SimpleQueue[_Pending[object] | None] = queue.SimpleQueue()
        self._closed = False
        self._gate = threading.Lock()  # nothing is queued behind the end
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
        with self._gate:
            if self._closed:
                future.set_exception(closed_error(self._path))
                return future
            self._queue.put(_Pending(operation, loop, future, whole=whole))  # type: ignore[arg-type]  # T goes round
        return future

    def close(self) -> None:
        """Finish what was submitted, then stop. Blocks; call it off the loop."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group: list[_Pending[object]] = []
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
                self._commit(group)
                _deliver(group)
        self._connection.close()

    def _commit(self, group: list[_Pending[object]]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for pending in group:
                self._perform(pending, alone=len(group) == 1)
            if connection.in_transaction:
                connection.execute("COMMIT")
            self.transactions += 1
        except Exception as error:  # noqa: BLE001  the thread outlives any failure and reports it
            self._fail(group, error)

    def _perform(self, pending: _Pending[object], *, alone: bool) -> None:
        connection = self._connection
        if pending.whole:
            written = connection.total_changes
            try:
                pending.result = pending.operation(connection)
            except Exception as error:
                if isinstance(error, sqlite3.Error) or connection.total_changes != written:
                    raise  # some of it may stand: nobody's work does
                pending.error = translated(error, self._path)
            return
        # Also for one that is alone: it may refuse after it has written.
        connection.execute("SAVEPOINT operation")
        try:
            pending.result = pending.operation(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise  # SQLite gave up the whole transaction: nobody's work stands
            if alone and not isinstance(error, Refusal):
                raise
            connection.execute("ROLLBACK TO operation")
            if isinstance(error, Refusal):
                pending.result = error.result
            else:
                pending.error = translated(error, self._path)
        connection.execute("RELEASE operation")

    def _fail(self, group: list[_Pending[object]], error: Exception) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:  # the original failure says more
                pass
        for pending in group:
            if pending.error is None:
                pending.error = translated(error, self._path)


def _deliver(group: list[_Pending[object]]) -> None:
    for loop in {pending.loop for pending in group}:
        ours = [pending for pending in group if pending.loop is loop]
        try:
            loop.call_soon_threadsafe(_deliver_on_loop, ours)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more, and what was committed stays committed


def _deliver_on_loop(group: list[_Pending[object]]) -> None:
    for pending in group:
        pending.deliver()
