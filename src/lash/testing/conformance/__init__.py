"""What every store and every effect host must do, as tests that anybody can run on their own.

Needs pytest and pytest-asyncio. Subclass `StoreConformance` in a test module, say how a store is made
and how it is opened again over the same data, and pytest finds the tests:

    from pathlib import Path

    import pytest

    from lash.runtime.stores import Store
    from lash.testing.clock import VirtualClock
    from lash.testing.conformance import StoreConformance
    from my_package import MyStore

    class TestMyStore(StoreConformance):
        @pytest.fixture(autouse=True)
        def _place(self, tmp_path: Path) -> None:
            self.path = tmp_path / "store"

        async def make_store(self, clock: VirtualClock) -> Store:
            return MyStore(self.path, clock)

        async def reopen(self, store: Store, clock: VirtualClock) -> Store:
            await store.aclose()
            return MyStore(self.path, clock)

Every property is checked twice: on a store that stays open, and on one that is closed and opened
again wherever a test pauses (`Rig.interlude`). A store must take its time from the clock it is given,
so that leases expire without anybody waiting.

`EffectHostConformance` is the like for hosts: say how a substrate is made and how a host is opened over
it, as often as the suite asks (`lash.testing.conformance.hosts.hosting.HostProperties`). Hosts whose
substrate outlives the process are also run, and killed, in processes of their own
(`lash.testing.conformance.cold`).
"""

import pytest

# Before the properties are imported: a failing assertion should show what it compared.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "accepting",
            "attachments",
            "committing",
            "composing",
            "deleting",
            "finishing",
            "forking",
            "framing",
            "hosts",
            "journaling",
            "leasing",
            "listing",
            "processes",
            "queueing",
            "refusing",
            "restarting",
            "retiring",
            "rig",
            "stopping",
            "sweeping",
            "triggers",
            "vacuuming",
            "waiting",
        )
    )
)

from lash.testing.conformance.attachments.blobs import BlobStoreConformance  # noqa: E402
from lash.testing.conformance.hosts.roles import worker_command  # noqa: E402
from lash.testing.conformance.hosts.suite import EffectHostConformance  # noqa: E402  see above
from lash.testing.conformance.rig import take_lease  # noqa: E402
from lash.testing.conformance.suite import StoreConformance  # noqa: E402

__all__ = [
    "BlobStoreConformance",
    "EffectHostConformance",
    "StoreConformance",
    "take_lease",
    "worker_command",
]
