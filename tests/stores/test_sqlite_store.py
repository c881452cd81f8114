"""The SQLite store keeps the contract of every store."""

from pathlib import Path

import pytest

from lash.runtime.stores import Store
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance import StoreConformance


class TestSqliteStore(StoreConformance):
    path: Path

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "agents.db"

    async def make_store(self, clock: VirtualClock) -> Store:
        return SqliteStore(self.path, clock)

    async def reopen(self, store: Store, clock: VirtualClock) -> Store:
        await store.aclose()
        return SqliteStore(self.path, clock, create=False)


async def test_it_says_that_all_of_it_survives_the_process(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "agents.db", VirtualClock())

    assert store.tier == "durable"
    assert dict(store.facets) == {
        "sessions": "durable",
        "processes": "durable",
        "journal": "durable",
        "await_events": "durable",
        "attachments": "durable",
        "triggers": "durable",
    }
    await store.aclose()
