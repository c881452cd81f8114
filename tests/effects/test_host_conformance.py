"""The hosts that come with lash keep the contract of every host."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lash.core.clock import SystemClock
from lash.core.leases import LeaseOwner
from lash.effects.hosts import EffectHost, InlineEffectHost, StoreEffectHost
from lash.effects.journal import WriteAuthority
from lash.runtime.stores import Store
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance import EffectHostConformance, take_lease, worker_command
from lash.testing.conformance.hosts.meeting import MeetingProperties


@asynccontextmanager
async def cold_host(substrate: str) -> AsyncIterator[EffectHost]:
    """What a process of its own opens."""
    clock = SystemClock(asyncio.sleep)
    store = SqliteStore(Path(substrate), clock)
    host = StoreEffectHost(store, clock)
    try:
        yield host
    finally:
        await host.aclose()
        await store.aclose()


class TestStoreHostOverSqlite(EffectHostConformance[Path]):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.directory = tmp_path
        self.stores: dict[EffectHost, Store] = {}
        self.made = 0

    async def make_substrate(self, clock: VirtualClock) -> Path:
        self.made += 1
        return self.directory / f"agents-{self.made}.db"

    async def open_host(self, substrate: Path, clock: VirtualClock) -> EffectHost:
        store = SqliteStore(substrate, clock)
        host = StoreEffectHost(store, clock)
        self.stores[host] = store
        return host

    async def close_host(self, host: EffectHost) -> None:
        await host.aclose()
        await self.stores.pop(host).aclose()

    async def lease(
        self, substrate: Path, clock: VirtualClock, session_id: str, owner: LeaseOwner
    ) -> WriteAuthority:
        store = SqliteStore(substrate, clock)
        try:
            return await take_lease(store, session_id, owner)
        finally:
            await store.aclose()

    def cold_command(self, substrate: Path, role: str, argument: str) -> Sequence[str]:
        return worker_command(f"{__file__}:cold_host", str(substrate), role, argument)


class TestStoreHostOverMemory(EffectHostConformance[MemoryStore]):
    durable = False

    async def make_substrate(self, clock: VirtualClock) -> MemoryStore:
        return MemoryStore(clock)

    async def open_host(self, substrate: MemoryStore, clock: VirtualClock) -> EffectHost:
        return StoreEffectHost(substrate, clock, tier="ephemeral")

    async def lease(
        self, substrate: MemoryStore, clock: VirtualClock, session_id: str, owner: LeaseOwner
    ) -> WriteAuthority:
        return await take_lease(substrate, session_id, owner)


class TestInlineHost(EffectHostConformance[MemoryStore]):
    journals = False
    durable = False
    fences = False

    async def make_substrate(self, clock: VirtualClock) -> MemoryStore:
        return MemoryStore(clock)

    async def open_host(self, substrate: MemoryStore, clock: VirtualClock) -> EffectHost:
        return InlineEffectHost(substrate, clock)


class Unhinted(MemoryStore):
    """A store that cannot tell cheaply whether anything was written."""

    async def change_token(self) -> int | None:
        return None


class TestStoreHostsWithoutHints(MeetingProperties[Unhinted]):
    durable = False
    fences = False

    async def make_substrate(self, clock: VirtualClock) -> Unhinted:
        return Unhinted(clock)

    async def open_host(self, substrate: Unhinted, clock: VirtualClock) -> EffectHost:
        return StoreEffectHost(substrate, clock, tier="ephemeral")
