"""Which sessions see a process: who is told, who may touch and who is accountable are apart."""

# ruff: noqa: D102  the name of a property says what it promises

from lash.core.leases import Lease
from lash.processes.listing import ProcessFilter
from lash.processes.model import ProcessRecord
from lash.processes.writes import AlreadyApplied, ChangeObservers, ProcessUnknown
from lash.sessions.deleting import AlreadyDeleted, DeleteReport
from lash.testing.conformance.deleting import delete
from lash.testing.conformance.processes.registry import (
    ProcessProperties,
    Registry,
    of_session,
    payloads,
)
from lash.testing.conformance.processes.samples import note, refund, ring
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, claim


class ObserverProperties(ProcessProperties):
    """`observers_of`, `write_process(ChangeObservers)`, `transfer_observers`."""

    async def _seen_by(self, registry: Registry, session: str) -> list[str]:
        return await registry.listed(ProcessFilter(observed_by=session))

    async def test_a_session_sees_many_processes_and_a_process_is_seen_by_many(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", observers=("s", "z"))
            await registry.register("q", observers=("s",))
            await registry.register("r")
            await registry.interlude()
            assert await self._seen_by(registry, "s") == ["p", "q"]
            assert await self._seen_by(registry, "z") == ["p"]
            assert await self._seen_by(registry, "unknown") == []
            assert list(await registry.store.observers_of("p")) == ["s", "z"]

    async def test_who_sees_a_process_is_told_in_its_log(self) -> None:
        async with self.registry() as registry:
            await registry.register(observers=("s",))
            change = ChangeObservers(by="host:op-1", add=("b", "a"), remove=("s",))
            written = await registry.write(change)
            await registry.interlude()
            assert list(await registry.store.observers_of("p")) == ["a", "b"]
            assert await registry.types() == [
                "process.observer_removed",
                "process.observer_added",
                "process.observer_added",
            ]
            assert payloads(await registry.log()) == [
                {"session_id": "s", "by": "host:op-1"},
                {"session_id": "b", "by": "host:op-1"},
                {"session_id": "a", "by": "host:op-1"},
            ]
            record = await registry.load()
            assert (record, record.state.sequence) == (written.record, 3)
            assert record.change == await registry.store.change_cursor() == 2

    async def test_changing_nothing_writes_nothing(self) -> None:
        async with self.registry() as registry:
            await registry.register(observers=("s",))
            async with registry.untouched():
                expect(AlreadyApplied, await registry.result(ChangeObservers(by="ana")))

    async def test_adding_twice_and_removing_what_is_not_there_leave_one_edge_or_none(
        self,
    ) -> None:
        async with self.registry() as registry:
            await registry.register(observers=("s",))
            await registry.write(ChangeObservers(by="ana", add=("s",), remove=("unknown",)))
            await registry.interlude()
            assert list(await registry.store.observers_of("p")) == ["s"]
            await registry.write(ChangeObservers(by="ana", remove=("s",)))
            await registry.interlude()
            assert list(await registry.store.observers_of("p")) == []

    async def test_who_sees_a_process_may_change_after_its_end(self) -> None:
        async with self.registry() as registry:
            await registry.ended()
            written = await registry.write(ChangeObservers(by="ana", add=("s",)))
            assert written.record.status == "completed"
            await registry.interlude()
            assert await self._seen_by(registry, "s") == ["p"]

    async def test_an_unknown_process_is_seen_by_nobody(self) -> None:
        async with self.registry() as registry:
            change = ChangeObservers(by="ana", add=("s",))
            assert await registry.result(change) == ProcessUnknown()
            await registry.interlude()
            assert list(await registry.store.observers_of("p")) == []
            assert await self._seen_by(registry, "s") == []

    async def test_processes_are_handed_over_together_and_the_log_says_so(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", observers=("s", "other"))
            await registry.register("q", observers=("s",))
            await registry.register("r", observers=("s",))
            missing = await registry.store.transfer_observers("s", "z", ["q", "p", "q"], "ana")
            assert list(missing) == []
            await registry.interlude()
            assert await self._seen_by(registry, "s") == ["r"]
            assert await self._seen_by(registry, "z") == ["p", "q"]
            assert await self._seen_by(registry, "other") == ["p"]
            for name in ("p", "q"):
                assert payloads(await registry.log(name)) == [
                    {"session_id": "s", "by": "ana"},
                    {"session_id": "z", "by": "ana"},
                ]
                assert await registry.types(name) == [
                    "process.observer_removed",
                    "process.observer_added",
                ]

    async def test_a_handover_of_what_the_session_does_not_see_moves_nothing(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", observers=("s",))
            await registry.register("q", observers=("other",))
            async with registry.untouched():
                missing = await registry.store.transfer_observers(
                    "s", "z", ["unknown", "p", "q"], "ana"
                )
            assert sorted(missing) == ["q", "unknown"]

    async def test_handing_over_nothing_writes_nothing(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", observers=("s",))
            async with registry.untouched():
                assert list(await registry.store.transfer_observers("s", "z", [], "ana")) == []


class ProcessesOfDeletedProperties(ProcessProperties):
    """What deleting a session does to processes: it is forgotten by them, and they go on."""

    async def _known_to_session(self, registry: Registry) -> Lease:
        """Processes of every sort that know a session; the lease of one that runs."""
        await registry.session("s")
        await registry.session("other")
        lease = await registry.running("live", wakes="s", observers=("s",))
        await registry.register("shared", observers=("s", "other"))
        await registry.register("woken", wakes="s")
        await registry.register("apart", wakes="other", observers=("other",))
        await registry.ask(refund("asked", provenance=of_session("s")))
        await registry.ask(refund("elsewhere", disposition="externally_owned"), "s")
        await registry.append(ring("bye"), "live")
        await registry.append(ring("bye"), "woken")
        await registry.append(ring("hello"), "apart")
        return lease

    async def test_the_session_is_forgotten_and_the_report_says_by_whom(self) -> None:
        async with self.registry() as registry:
            await self._known_to_session(registry)
            await registry.interlude()
            report = await delete(registry.rig)
            assert report == DeleteReport(
                session_id="s",
                turns=1,
                nodes=2,
                removed_observers=3,
                discarded_wakes=2,
                cleared_subscriptions=2,
                orphaned_processes=("elsewhere", "live"),
                preserved_processes=("shared",),
            )
            await registry.interlude()
            assert await registry.listed(ProcessFilter(observed_by="s")) == []
            assert list(await registry.store.observers_of("shared")) == ["other"]
            assert await registry.wakes("live") == [(2, "s", "discarded", "target_gone")]
            assert await registry.wakes("woken") == [(1, "s", "discarded", "target_gone")]
            assert await registry.wakes("apart") == [(1, "other", "pending", None)]
            assert (await registry.load("live")).state.wake_session_id is None
            assert (await registry.load("apart")).state.wake_session_id == "other"

    async def test_whom_a_process_wakes_no_more_is_told_in_its_log(self) -> None:
        async with self.registry() as registry:
            await self._known_to_session(registry)
            cursor = await registry.store.change_cursor()
            await delete(registry.rig)
            await registry.interlude()
            assert (await registry.types("live"))[2:] == ["process.subscription_retargeted"]
            assert (await registry.types("woken"))[1:] == ["process.subscription_retargeted"]
            changed, _ = await registry.store.changed_ids(cursor)
            assert sorted(changed) == ["live", "woken"]
            assert list(await registry.store.check()) == []

    async def test_processes_go_on_and_keep_every_byte(self) -> None:
        async with self.registry() as registry:
            lease = await self._known_to_session(registry)
            before = await registry.everything("shared")
            asked = await registry.load("asked")
            await delete(registry.rig)
            await registry.interlude()
            after = await registry.everything("shared")
            assert [after[name] for name in ("record", "log", "wakes")] == [
                before[name] for name in ("record", "log", "wakes")
            ]
            assert await registry.load("asked") == asked
            live = expect(ProcessRecord, await registry.load("live"))
            assert (live.status, live.lease.held) == ("running", lease)
            await registry.append(note(1, fence=lease.fence), "live")
            assert (await registry.complete(lease, process_id="live")).status == "completed"
            assert await registry.renew(lease, "live") == ["live"]

    async def test_what_ended_before_is_in_neither_list(self) -> None:
        async with self.registry() as registry:
            await registry.session("s")
            lease = await registry.running(observers=("s",))
            await registry.complete(lease)
            report = await delete(registry.rig)
            assert (report.removed_observers, report.orphaned_processes) == (1, ())
            assert report.preserved_processes == ()

    async def test_a_session_that_no_process_knows_is_deleted_alone(self) -> None:
        async with self.registry() as registry:
            await registry.session("s")
            await registry.register("p", observers=("other",), wakes="other")
            before = await registry.load()
            report = await delete(registry.rig)
            assert report == DeleteReport(session_id="s", turns=1, nodes=2)
            await registry.interlude()
            assert await registry.load() == before
            async with registry.untouched():
                again = await registry.store.delete_session("s", claim(ANA))
                expect(AlreadyDeleted, again)
