"""The memory store keeps the contract of every store."""

import pytest

from lash.core.seams import Seam
from lash.runtime.stores import Store
from lash.stores.memory import MemoryStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance import StoreConformance
from lash.testing.conformance.samples import request


class TestMemoryStore(StoreConformance):
    async def make_store(self, clock: VirtualClock) -> Store:
        return MemoryStore(clock)

    async def reopen(self, store: Store, clock: VirtualClock) -> Store:
        await store.aclose()  # forgets nothing, so that code which reopens can be tested on it
        return store


def test_it_says_that_it_dies_with_the_process() -> None:
    store = MemoryStore(VirtualClock())

    assert store.tier == "ephemeral"
    assert dict(store.facets) == {
        "sessions": "ephemeral",
        "processes": "ephemeral",
        "journal": "ephemeral",
        "await_events": "ephemeral",
        "attachments": "ephemeral",
        "triggers": "ephemeral",
    }


def test_each_store_has_a_secret_of_its_own() -> None:
    assert MemoryStore(VirtualClock()).signing_secret != MemoryStore(VirtualClock()).signing_secret


async def test_a_seam_that_breaks_leaves_nothing_half_done() -> None:
    def broken(seam: Seam) -> None:
        raise RuntimeError(seam)

    store = MemoryStore(VirtualClock(), seams=broken)

    with pytest.raises(RuntimeError, match=r"accept\.inside"):
        await store.accept_turn(request("t1"))

    assert list(await store.list_sessions()) == []
