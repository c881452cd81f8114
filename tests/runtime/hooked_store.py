"""A store whose calls a test can hold up, count, or let fail; and what is in a database file."""

import inspect
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

import lash.app.runtime as facade
from lash.runtime.environment import Environment
from lash.runtime.stores import Store

Hook = Callable[[], Awaitable[object]]

#: What the runtime asks by the clock and not by what it does: it counts for nothing here.
_LOOKS = frozenset({"change_token", "cancelled_turns", "changed_ids", "deliver_wakes"})


class HookedStore:
    """Passes every call on to a real store, through the hooks of the test.

    Attributes:
        before: By method name, awaited before the call is passed on.
        after: By method name, awaited once the store has answered; the caller waits meanwhile.
        instead: By method name, asked for the answer in the store's place.
        counts: How often each method was called.
        fail_at: The number of the call, over all methods, that raises `error`; 0 for none.
        answered: Whether the failing call is carried out first, so that only its answer is lost.
    """

    def __init__(self, store: Store) -> None:
        self.inner = store
        self.before: dict[str, Hook] = {}
        self.after: dict[str, Hook] = {}
        self.instead: dict[str, Callable[..., Awaitable[object]]] = {}
        self.counts: Counter[str] = Counter()
        self.fail_at = 0
        self.answered = False
        self.error: Exception = AssertionError("no error was given")

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        # A store may answer `record` with a future; the rest are coroutines, or not asked of the disk.
        asked = inspect.iscoroutinefunction(method) or name == "record"
        if not asked or name == "aclose":
            return method

        async def call(*arguments: Any, **named: Any) -> Any:
            if name not in _LOOKS or name in self.before or name in self.instead:
                self.counts[name] += 1
            failing = name not in _LOOKS and self.counts.total() == self.fail_at
            if failing and not self.answered:
                raise self.error
            if name in self.before:
                await self.before[name]()
            if name in self.instead:
                return await self.instead[name](*arguments, **named)
            answer = await method(*arguments, **named)
            if name in self.after:
                await self.after[name]()
            if failing:
                raise self.error
            return answer

        return call


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch) -> list[HookedStore]:
    """Every store that a runtime opens from here on, hooked, in order."""
    opened: list[HookedStore] = []
    real = facade._open_store

    def open_store(location: str | Path, environment: Environment) -> Store:
        opened.append(HookedStore(real(location, environment)))
        return cast("Store", opened[-1])

    monkeypatch.setattr(facade, "_open_store", open_store)
    return opened


def contents(path: Path) -> Sequence[str]:
    """Everything a database file holds, as SQL."""
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()
