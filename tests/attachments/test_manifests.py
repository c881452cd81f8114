"""The manifests of the built-in stores keep the contract of all of them, on their own and quickly."""

from pathlib import Path

import pytest

from lash.runtime.stores import Store
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.attachments.suite import AttachmentStoreProperties


class TestMemoryManifest(AttachmentStoreProperties):
    async def make_store(self, clock: VirtualClock) -> Store:
        return MemoryStore(clock)

    async def reopen(self, store: Store, clock: VirtualClock) -> Store:
        await store.aclose()
        return store


class TestSqliteManifest(AttachmentStoreProperties):
    path: Path

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "agents.db"

    async def make_store(self, clock: VirtualClock) -> Store:
        return SqliteStore(self.path, clock)

    async def reopen(self, store: Store, clock: VirtualClock) -> Store:
        await store.aclose()
        return SqliteStore(self.path, clock, create=False)
