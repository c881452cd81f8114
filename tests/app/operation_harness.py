"""Operations in tests: going through one, stopping in the middle, and what of it really ran."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.core.scopes import RuntimeOperationScope, journal_key
from lash.stores.sqlite import SqliteStore

Body = Callable[[lash.Operation], Coroutine[Any, Any, Any]]
KEY = journal_key(RuntimeOperationScope(operation_id="o"))
START = datetime(2025, 6, 15, 15, 6, 40, tzinfo=UTC)  # where a VirtualClock begins


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture(params=["durable", "ephemeral"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return ":memory:" if request.param == "ephemeral" else tmp_path / "agents.db"


async def run(location: str | Path, body: Body, **options: Any) -> Any:
    """Open a runtime, go through operation `o`, close it again."""
    async with (
        asyncio.timeout(20),
        lash.Runtime(location, **options) as runtime,
        runtime.operation("o") as op,
    ):
        return await body(op)


async def stopped(path: Path, body: Body, when: Callable[[], object], **options: Any) -> None:
    """Go through operation `o` until something holds, and stop it there as a closing host would."""
    async with lash.Runtime(path, **options) as runtime:
        task = asyncio.create_task(through(runtime, body))
        await has_come_to(when)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def through(runtime: lash.Runtime, body: Body) -> Any:
    async with runtime.operation("o") as op:
        return await body(op)


async def has_come_to(condition: Callable[[], object]) -> None:
    """Let the loop turn until something without an event of its own has happened."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  see above
            await asyncio.sleep(0)


async def recorded(path: Path) -> Sequence[str]:
    """The replay keys of operation `o`, in the order in which they were recorded."""
    async with lash.Runtime(path) as runtime:
        return [entry.replay_key for entry in await runtime.engine.store.list_journal(KEY)]


def transactions(runtime: lash.Runtime) -> int:
    store = runtime.engine.store
    assert isinstance(store, SqliteStore)
    return store.transactions


class Ledger:
    """Functions for steps, and what of them really ran."""

    def __init__(self) -> None:
        self.runs: list[object] = []

    async def note(self, value: object) -> object:
        self.runs.append(value)
        return value

    def fails(self, *errors: BaseException | None) -> Callable[[], Awaitable[str]]:
        """Raises these errors in order; None and whatever comes after the last succeeds."""

        async def charge() -> str:
            self.runs.append(len(self.runs) + 1)
            place = len(self.runs) - 1
            error = errors[place] if place < len(errors) else None
            if error is not None:
                raise error
            return "charged"

        return charge


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def load() -> int:
    return 1
