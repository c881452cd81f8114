"""Lists of processes: by filter, as work to be done, and by what they still need."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.processes.listing import LiveReference, ProcessFilter
from lash.processes.model import (
    HostOriginator,
    ProcessIdentity,
    ProcessProvenance,
)
from lash.processes.registration import Registered, env_ref_of
from lash.processes.writes import ClearWait, ParkRun, ReleaseRun
from lash.testing.conformance.processes.registry import ProcessProperties, Registry, of_session
from lash.testing.conformance.processes.samples import (
    CANCELLED,
    CODE,
    ENV,
    FAILED,
    PERSON,
    START_MS,
    refund,
    rest,
    wait,
)
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import BEN

_LISTS: tuple[tuple[ProcessFilter, list[str]], ...] = (
    (ProcessFilter(), ["done", "gone", "idle", "parked", "stopped", "waits"]),
    (ProcessFilter(status="any"), ["done", "gone", "idle", "parked", "stopped", "waits"]),
    (ProcessFilter(status="running"), ["idle"]),
    (ProcessFilter(status="waiting"), ["parked", "waits"]),
    (ProcessFilter(status="live"), ["idle", "parked", "waits"]),
    (ProcessFilter(status="retired"), ["done", "gone", "stopped"]),
    (ProcessFilter(status="completed"), ["done"]),
    (ProcessFilter(status="failed"), ["gone"]),
    (ProcessFilter(status="cancelled"), ["stopped"]),
    (ProcessFilter(status="abandoned"), []),
    (ProcessFilter(parked=True), ["parked"]),
    (ProcessFilter(parked=False, status="live"), ["idle", "waits"]),
    (ProcessFilter(definition="refund"), ["done", "gone", "idle", "parked"]),
    (ProcessFilter(kind="engine"), ["stopped", "waits"]),
    (ProcessFilter(label="é %_"), ["waits"]),
    (ProcessFilter(label="e %_"), []),
    (ProcessFilter(originator="host"), ["done", "gone", "parked"]),
    (ProcessFilter(originator="host:cron"), ["idle"]),
    (ProcessFilter(originator="session:s"), ["stopped", "waits"]),
    (ProcessFilter(originator="session:unknown"), []),
    (ProcessFilter(parent_id="idle"), ["waits"]),
    (ProcessFilter(observed_by="s"), ["done", "idle"]),
    (ProcessFilter(observed_by="z"), ["done"]),
    (ProcessFilter(created_from_ms=START_MS + 20), ["idle", "parked", "stopped", "waits"]),
    (ProcessFilter(created_to_ms=START_MS + 20), ["done", "gone"]),
    (ProcessFilter(created_from_ms=START_MS + 10, created_to_ms=START_MS + 30), ["gone", "idle"]),
    (ProcessFilter(created_from_ms=START_MS + 30, created_to_ms=START_MS + 30), []),
    (ProcessFilter(status="live", definition="refund", originator="host"), ["parked"]),
    (ProcessFilter(status="live", observed_by="s", created_from_ms=START_MS + 21), []),
)


class ProcessListProperties(ProcessProperties):
    """`list_processes`, `live_references`, `count_live`."""

    async def _of_every_sort(self, registry: Registry) -> None:
        """Processes of many sorts, ten milliseconds apart, not in the order of their ids."""
        done = await registry.running("done", observers=("s", "z"))
        await registry.complete(done, process_id="done")
        registry.later(10)
        gone = await registry.running("gone")
        await registry.complete(gone, FAILED, "gone")
        registry.later(10)
        cron = ProcessProvenance(originator=HostOriginator(scope="cron"))
        await registry.ask(refund("idle", provenance=cron), "s")
        registry.later(10)
        await registry.register("parked")
        await registry.write(ParkRun(parked=CODE), "parked")
        registry.later(10)
        asked, engine = of_session("s", "idle"), ProcessIdentity(kind="engine", label="é %_")
        await registry.ask(refund("waits", identity=engine, provenance=asked))
        await registry.wait(await registry.begin("waits"), wait(), "waits")
        plain = ProcessIdentity(kind="engine")
        await registry.ask(refund("stopped", identity=plain, provenance=of_session("s")))
        await registry.complete(await registry.begin("stopped"), CANCELLED, "stopped")

    async def test_a_list_is_what_its_filter_means_by_id(self) -> None:
        async with self.registry() as registry:
            await self._of_every_sort(registry)
            await registry.interlude()
            for wanted, expected in _LISTS:
                assert await registry.listed(wanted) == expected, wanted

    async def test_a_list_is_read_page_by_page(self) -> None:
        async with self.registry() as registry:
            await self._of_every_sort(registry)
            await registry.interlude()
            store, live = registry.store, ProcessFilter(status="live")

            async def ids(after: str, limit: int) -> list[str]:
                found = await store.list_processes(live, after=after, limit=limit)
                return [record.process_id for record in found]

            assert await ids("", 2) == ["idle", "parked"]
            assert await ids("parked", 2) == ["waits"]
            assert await ids("hello", 1) == ["idle"]
            assert await ids("waits", 2) == []
            assert await ids("", 0) == []
            records = await store.list_processes(ProcessFilter(), limit=1)
            assert list(records) == [await registry.load("done")]

    async def test_what_live_processes_need_is_counted_and_gone_with_the_last(self) -> None:
        async with self.registry() as registry:
            env, other = env_ref_of(ENV), ProcessIdentity(kind="python", definition="bill")
            await registry.register("a")
            lease = await registry.running("b")
            await registry.register("c", "externally_owned")
            await registry.ask(refund("d", identity=other))
            await registry.interlude()
            assert sorted(await registry.store.live_references(), key=_sort) == [
                LiveReference(definition="bill", version=None, env_ref=env, count=1),
                LiveReference(definition="refund", version="1", env_ref=None, count=1),
                LiveReference(definition="refund", version="1", env_ref=env, count=2),
            ]
            assert await registry.store.count_live() == 4
            await registry.complete(lease, process_id="b")
            await registry.complete(await registry.begin("d"), process_id="d")
            await registry.interlude()
            assert sorted(await registry.store.live_references(), key=_sort) == [
                LiveReference(definition="refund", version="1", env_ref=None, count=1),
                LiveReference(definition="refund", version="1", env_ref=env, count=1),
            ]
            assert await registry.store.count_live() == 2

    async def test_nothing_lives_in_an_empty_store(self) -> None:
        async with self.registry() as registry:
            assert await registry.listed() == []
            assert list(await registry.store.live_references()) == []
            assert await registry.store.count_live() == 0


def _sort(reference: LiveReference) -> tuple[str, str]:
    return (reference.definition or "", reference.env_ref or "")


class WorklistProperties(ProcessProperties):
    """`runnable_processes`, `last_runnable`, `next_runnable_at`."""

    async def test_the_work_is_what_somebody_could_claim_whoever_runs_it_now(self) -> None:
        async with self.registry() as registry:
            await registry.register("new")
            await registry.running("running")
            await registry.wait(await registry.running("waiting"), wait(), "waiting")
            await registry.register("code")
            await registry.write(ParkRun(parked=CODE), "code")
            await registry.register("bound", "owner_bound")
            await registry.running("begun", "owner_bound")
            left = await registry.running("left", "owner_bound")
            await registry.write(ReleaseRun(fence=left.fence), "left")
            await registry.register("external", "externally_owned")
            await registry.complete(await registry.running("ended"), process_id="ended")
            resting = await registry.running("resting")
            later = ReleaseRun(fence=resting.fence, retry=rest(START_MS + 500))
            await registry.write(later, "resting")
            await registry.interlude()
            work = await registry.store.runnable_processes()
            assert [each.process_id for each in work] == [
                "begun",
                "bound",
                "code",
                "new",
                "running",
                "waiting",
            ]
            assert work[3] == await registry.load("new")
            assert await registry.store.last_runnable() == "waiting"
            assert await registry.store.next_runnable_at() == START_MS + 500
            registry.later(500)
            assert "resting" in await registry.runnable()

    async def test_the_next_is_the_first_of_those_that_rest(self) -> None:
        async with self.registry() as registry:
            for name, due in (("p", 700), ("q", 300), ("r", 500)):
                lease = await registry.running(name)
                retry = rest(START_MS + due)
                await registry.write(ReleaseRun(fence=lease.fence, retry=retry), name)
            await registry.interlude()
            assert await registry.store.next_runnable_at() == START_MS + 300
            registry.later(300)
            assert await registry.runnable() == ["q"]
            assert await registry.store.next_runnable_at() == START_MS + 500
            await registry.begin("q", BEN)
            registry.later(400)
            assert await registry.runnable() == ["p", "q", "r"]
            assert await registry.store.next_runnable_at() is None

    async def test_an_empty_store_has_no_work(self) -> None:
        async with self.registry() as registry:
            assert await registry.runnable() == []
            assert await registry.store.last_runnable() is None
            assert await registry.store.next_runnable_at() is None

    async def test_the_work_is_read_page_by_page(self) -> None:
        async with self.registry() as registry:
            for name in ("e", "b", "d", "a", "c"):
                await registry.register(name)
            await registry.interlude()

            assert await self._work(registry, "", 2) == ["a", "b"]
            assert await self._work(registry, "b", 2) == ["c", "d"]
            assert await self._work(registry, "d", 2) == ["e"]
            assert await self._work(registry, "e", 2) == []
            assert await self._work(registry, "", 0) == []

    async def _work(
        self, registry: Registry, after: str, limit: int, through: str | None = None
    ) -> list[str]:
        found = await registry.store.runnable_processes(after=after, through=through, limit=limit)
        return [record.process_id for record in found]

    async def test_what_ended_between_two_pages_is_on_neither(self) -> None:
        async with self.registry() as registry:
            for name in ("a", "b", "c"):
                await registry.register(name)
            lease = await registry.begin("b")
            assert await self._work(registry, "", 1) == ["a"]
            await registry.complete(lease, process_id="b")
            await registry.interlude()
            assert await self._work(registry, "a", 1) == ["c"]

    async def test_what_comes_in_front_of_a_page_is_found_by_the_next_scan(self) -> None:
        async with self.registry() as registry:
            for name in ("b", "d"):
                await registry.register(name)
            assert await self._work(registry, "", 1) == ["b"]
            await registry.register("a")
            await registry.interlude()
            assert await self._work(registry, "b", 9) == ["d"]
            assert await self._work(registry, "", 9) == ["a", "b", "d"]

    async def test_a_scan_goes_as_far_as_it_saw_when_it_began(self) -> None:
        async with self.registry() as registry:
            for name in ("b", "d"):
                await registry.register(name)
            through = await registry.store.last_runnable()
            assert through == "d"
            assert await self._work(registry, "", 1, through) == ["b"]
            await registry.register("c")
            await registry.register("e")
            await registry.interlude()
            assert await self._work(registry, "b", 9, through) == ["c", "d"]

    @pytest.mark.parametrize("why", ["waits", "person", "code"])
    async def test_processes_that_wait_stay_in_the_list(self, why: str) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            if why == "waits":
                await registry.wait(lease, wait())
            else:
                parked = PERSON if why == "person" else CODE
                await registry.write(ParkRun(parked=parked, fence=lease.fence))
            await registry.interlude()
            assert await registry.runnable() == ["p"]
            if why == "waits":
                await registry.write(ClearWait(fence=lease.fence))
                assert await registry.runnable() == ["p"]

    async def test_a_process_that_a_claim_registered_is_work_as_well(self) -> None:
        async with self.registry() as registry:
            expect(Registered, await registry.ask(refund(), owner=BEN))
            await registry.interlude()
            assert await registry.runnable() == ["p"]
