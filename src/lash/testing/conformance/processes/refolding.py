"""A process's state is the fold of its log, whatever was done to it and wherever it is read."""

# ruff: noqa: D102  the name of a property says what it promises

from lash.processes.events import fold
from lash.processes.model import (
    AbandonRequest,
    ExternalRef,
    ProcessSegment,
    SignalCursor,
)
from lash.processes.writes import (
    ChangeObservers,
    ClaimRun,
    ClearWait,
    CompleteByAuthority,
    ContinueRun,
    MarkWait,
    ParkRun,
    ReleaseRun,
    RequestAbandon,
    RetargetWakes,
    SetExternalRef,
)
from lash.testing.conformance.processes.registry import BANK, ProcessProperties, Registry
from lash.testing.conformance.processes.samples import (
    CANCELLED,
    PERSON,
    START_MS,
    cancel,
    note,
    rest,
    ring,
    scope,
    signal,
    wait,
)
from lash.testing.conformance.samples import ANA, BEN, claim

_REF = ExternalRef(backend="bank", id="tx", metadata=[{"é": 1.5}])
_GIVE_UP = AbandonRequest(requested_by="ana", requested_at_ms=START_MS)


class RefoldProperties(ProcessProperties):
    """The rows beside the logs, and `check`."""

    async def _refolds(self, registry: Registry, name: str) -> None:
        await registry.interlude()
        record = await registry.load(name)
        log = await registry.log(name)
        assert fold(record.registration, record.created_at_ms, log) == record.state

    async def test_after_everything_that_is_done_to_it_a_process_is_what_its_log_says(
        self,
    ) -> None:
        async with self.registry() as registry:
            await registry.session()
            lease = await registry.running("p", wakes="s", max_attempts=9)
            name, fence = "p", lease.fence
            segment = ProcessSegment(
                ordinal=1, payload={"n": [1]}, signals={"hello": SignalCursor(through=1)}
            )
            for write in (
                note(1),
                ring("hello"),
                signal("hello", {"é": None}, "1"),
                MarkWait(fence=fence, wait=wait()),
                ClearWait(fence=fence),
                SetExternalRef(external_ref=_REF),
                ChangeObservers(by="ana", add=("s", "z"), remove=("s",)),
                RetargetWakes(session_id="z"),
                ring("there"),
                ContinueRun(fence=fence, segment=segment, scope_key=scope()),
                ParkRun(parked=PERSON, fence=fence),
                ClaimRun(claim=claim(ANA), parked_too=True),
                cancel("enough"),
                RequestAbandon(request=_GIVE_UP),
            ):
                registry.later()
                await registry.write(write, name)
                await self._refolds(registry, name)
            registry.expire()
            await registry.write(ClaimRun(claim=claim(BEN)), name)
            await self._refolds(registry, name)
            assert (await registry.load(name)).status == "abandoned"
            assert list(await registry.store.check()) == []

    async def test_every_way_to_end_is_what_the_log_says(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running("a")
            await registry.write(ReleaseRun(fence=lease.fence, retry=rest(START_MS)), "a")
            await registry.complete(await registry.begin("a"), process_id="a")
            await registry.complete(await registry.running("b"), CANCELLED, "b")
            await registry.register("c", "externally_owned")
            await registry.write(CompleteByAuthority(outcome=CANCELLED, authority=BANK), "c")
            await registry.running("d", max_attempts=1)
            registry.expire()
            await registry.write(ClaimRun(claim=claim(BEN)), "d")
            for name in ("a", "b", "c", "d"):
                await self._refolds(registry, name)
            statuses = [(await registry.load(name)).status for name in ("a", "b", "c", "d")]
            assert statuses == ["completed", "cancelled", "cancelled", "abandoned"]
            assert list(await registry.store.check()) == []

    async def test_what_a_store_says_it_wrote_is_what_it_reads(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running(wakes="s")
            written = await registry.write(MarkWait(fence=lease.fence, wait=wait()))
            await registry.interlude()
            assert written.record == await registry.load()
            assert [written.event] == list(await registry.store.recent_events("p", 1))

    async def test_nothing_is_found_in_a_store_that_is_whole(self) -> None:
        async with self.registry() as registry:
            assert list(await registry.store.check()) == []
            await registry.session()
            await registry.running(wakes="s", observers=("s",))
            await registry.append(ring("hello"))
            await registry.ended("q")
            registry.later()
            await registry.deliver()
            await registry.prune()
            await registry.interlude()
            assert list(await registry.store.check()) == []
