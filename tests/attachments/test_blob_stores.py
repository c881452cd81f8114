"""The places where bytes lie keep the contract of all of them: files, a database with files, memory."""

from pathlib import Path

import pytest

from lash.attachments.store import BlobStore
from lash.stores.files import FileBlobs
from lash.stores.memory.attachments import MemoryBlobs
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance import BlobStoreConformance


class TestMemoryBlobs(BlobStoreConformance):
    async def make_blobs(self, clock: VirtualClock) -> BlobStore:
        return MemoryBlobs(clock)

    async def reopen_blobs(self, blobs: BlobStore, clock: VirtualClock) -> BlobStore:
        return blobs  # forgets nothing, so that code which reopens can be tested on it


class TestFileBlobs(BlobStoreConformance):
    root: Path

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.root = tmp_path / "attachments"

    async def make_blobs(self, clock: VirtualClock) -> BlobStore:
        return FileBlobs(self.root, clock)

    async def reopen_blobs(self, blobs: BlobStore, clock: VirtualClock) -> BlobStore:
        return FileBlobs(self.root, clock)


class TestSqliteBlobs(BlobStoreConformance):
    path: Path
    store: SqliteStore

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "agents.db"

    async def make_blobs(self, clock: VirtualClock) -> BlobStore:
        self.store = SqliteStore(self.path, clock)
        return self.store.blobs

    async def reopen_blobs(self, blobs: BlobStore, clock: VirtualClock) -> BlobStore:
        await self.store.aclose()
        return await self.make_blobs(clock)

    async def close_blobs(self, blobs: BlobStore) -> None:
        await self.store.aclose()
