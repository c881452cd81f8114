"""One transaction of several operations: each whole or not at all, and all of them told what became of it."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from lash.stores.sqlite.connection import translated

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]


class Refusal(Exception, Generic[T]):  # noqa: N818  control flow: it rolls one operation back
    """Raised by an operation that has written and must not have: its result is what it carries."""

    def __init__(self, result: T) -> None:
        super().__init__()
        self.result = result


class Pending(Generic[T]):
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
            self.future.set_result(self.result)  # type: ignore[arg-type]  # set by commit() unless error is


class Committer:
    """Commits groups of operations on one connection."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def begin(self) -> None:
        """Take the database's write lock.

        Raises:
            sqlite3.OperationalError: Somebody else has it, for longer than the connection waits.
        """
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self, group: list[Pending[object]], *, begun: bool = False) -> bool:
        """Perform operations and commit; whether that stands. Each operation knows its outcome then."""
        connection = self._connection
        try:
            if not begun:
                self.begin()
            for pending in group:
                self._perform(pending, alone=len(group) == 1)
            if connection.in_transaction:
                connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  reported to every one of them
            self._fail(group, error)
            return False
        return True

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def _perform(self, pending: Pending[object], *, alone: bool) -> None:
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

    def _fail(self, group: list[Pending[object]], error: Exception) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:  # the original failure says more
                pass
        for pending in group:
            if pending.error is None:
                pending.error = translated(error, self._path)
