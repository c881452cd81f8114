"""Giving back space: only what nobody will ask for, a bounded amount at a time."""

# ruff: noqa: D102  the name of a property says what it promises

from lash.core.leases import Fence
from lash.sessions.committing import CommitReceipt
from lash.sessions.ingress import ActiveTurn, InputAlreadyCompleted
from lash.sessions.maintenance import VacuumReport, VacuumRequest
from lash.sessions.queueing import AlreadyEnqueued, Enqueued, EnqueueRefused
from lash.sessions.stopping import CompletionWonRace
from lash.testing.conformance.deleting import delete
from lash.testing.conformance.forking import fork
from lash.testing.conformance.rig import Properties, Rig, expect
from lash.testing.conformance.samples import ANA, by_id, entry, stop
from lash.testing.conformance.stopping import stopped

ACTIVE = ActiveTurn()


async def vacuum(rig: Rig, *, ago_ms: int = 0, limit: int = 500) -> VacuumReport:
    """Vacuum what was settled so long ago. Contents are looked through until there are no more."""
    request = VacuumRequest(before_ms=rig.clock.now_ms() - ago_ms, limit=limit)
    return await rig.store.vacuum(request)


class VacuumProperties(Properties):
    """`vacuum`."""

    async def _applied(self, rig: Rig) -> Fence:
        """A committed turn that took an item with a source key."""
        fence = (await rig.accept("t1")).lease.fence
        await rig.enqueue("i1", ingress=ACTIVE, source_key="k")
        assert await rig.take("t1", fence) == ["i1"]
        await rig.commit("t1", fence)
        return fence

    async def test_there_is_nothing_to_do_in_an_empty_store(self) -> None:
        async with self.rig() as rig:
            report = await vacuum(rig)
            assert report == VacuumReport()
            assert (report.removed, report.blocked) == (0, False)

    async def test_live_history_and_unfinished_work_are_not_touched(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            fence = (await rig.accept("t2")).lease.fence
            await rig.enqueue("taken", ingress=ACTIVE)
            assert await rig.take("t2", fence) == ["taken"]
            await rig.enqueue("active", ingress=ACTIVE)
            await rig.enqueue("deferred")
            await rig.store.request_cancel(stop("t2"))
            await rig.store.request_cancel(stop("t9"))
            rig.clock.advance(1_000)
            async with rig.untouched():
                report = await vacuum(rig)
            assert report.removed == 0
            assert (report.unfinished_items, report.blocked) == (2, True)
            assert (await rig.item("taken")).payload is not None

    async def test_the_application_of_an_item_outlives_its_payload(self) -> None:
        async with self.rig() as rig:
            await self._applied(rig)
            before = await rig.item("i1")
            rig.clock.advance(1)
            report = await vacuum(rig)
            assert (report.removed_queue_payloads, report.removed, report.more) == (1, 1, False)
            await rig.interlude()
            item = await rig.item("i1")
            assert item.payload is None
            assert (item.content, item.source_key, item.turn_id, item.message_id) == (
                before.content,
                "k",
                "t1",
                before.message_id,
            )
            same = await rig.store.enqueue(entry("i9", source_key="k"))
            assert expect(AlreadyEnqueued, same).item == item
            other = await rig.store.enqueue(entry("i9", "something else", source_key="k"))
            assert expect(EnqueueRefused, other).code == "turn_input_conflict"
            (outcome,) = await rig.store.cancel_items("s", [by_id("i1")])
            expect(InputAlreadyCompleted, outcome)
            assert (await vacuum(rig)).removed == 0

    async def test_an_item_that_was_taken_back_goes_with_its_keys(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1", source_key="k")
            await rig.store.cancel_items("s", [by_id("i1")])
            rig.clock.advance(1)
            await rig.interlude()
            report = await vacuum(rig)
            assert (report.removed_cancelled_items, report.removed) == (1, 1)
            await rig.interlude()
            assert await rig.store.find_item("s", by_id("i1")) is None
            expect(Enqueued, await rig.store.enqueue(entry("i2", "new", source_key="k")))

    async def test_what_was_settled_lately_stays(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("old")
            rig.clock.advance(100)
            await rig.store.cancel_items("s", [by_id("old")])
            await self._applied(rig)
            rig.clock.advance(1)
            report = await vacuum(rig, ago_ms=1_000)
            assert (report.removed, report.recent, report.blocked) == (0, 2, True)
            await rig.interlude()
            rig.clock.advance(0.001)
            assert (await vacuum(rig, ago_ms=1_000)).removed == 2

    async def test_requests_to_stop_go_with_their_turns(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            wanted = stop("t1")
            await rig.store.request_cancel(wanted)
            expect(CommitReceipt, await rig.store.commit_turn(stopped("t1", fence, wanted)))
            rig.clock.advance(1)
            await rig.interlude()
            assert (await vacuum(rig)).removed_cancellations == 1
            again = await rig.store.request_cancel(stop("t1", by="ben"))
            assert expect(CompletionWonRace, again).record.cancellation == wanted.cancellation

    async def test_nodes_of_deleted_sessions_go_when_nothing_stands_on_them(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await fork(rig, "f")
            await rig.settle("t2", revision=1)
            await delete(rig)
            await rig.interlude()
            report = await vacuum(rig)
            assert (report.removed_nodes, report.shared_histories) == (2, 1)
            assert await rig.path("f") == ["t1.m0", "t1.m1"]
            assert (await vacuum(rig)).removed_nodes == 0
            await delete(rig, "f")
            await rig.interlude()
            report = await vacuum(rig)
            assert (report.removed_nodes, report.shared_histories, report.more) == (2, 0, False)
            assert list(await rig.store.check()) == []

    async def test_a_chain_of_deleted_forks_goes_at_once(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await fork(rig, "a")
            await rig.settle("t2", session="a")
            await fork(rig, "z", source="a")
            for name in ("s", "a"):
                assert (await delete(rig, name)).shares_history
            assert (await vacuum(rig)).removed_nodes == 0
            assert await rig.path("z") == ["t1.m0", "t1.m1", "t2.m0", "t2.m1"]
            await delete(rig, "z")
            await rig.interlude()
            assert (await vacuum(rig)).removed_nodes == 4

    async def test_one_call_does_only_so_much_and_says_that_there_is_more(self) -> None:
        async with self.rig() as rig:
            for number in range(5):
                await rig.enqueue(f"i{number}")
            await rig.store.cancel_items_from("s", by_id("i0"))
            await rig.settle("t1", session="x")
            await rig.settle("t2", session="x", revision=1)
            await fork(rig, "f", "t1.m0", source="x")
            await delete(rig, "x")
            rig.clock.advance(1)
            found: list[tuple[int, int, bool]] = []
            for _ in range(4):
                report = await vacuum(rig, limit=2)
                found.append((report.removed_cancelled_items, report.removed_nodes, report.more))
                await rig.interlude()
            assert found == [(2, 2, True), (2, 1, True), (1, 0, False), (0, 0, False)]
            assert (await vacuum(rig, limit=0)).removed == 0
            assert await rig.path("f") == ["t1.m0"]

    async def test_a_session_goes_on_after_a_vacuum(self) -> None:
        async with self.rig() as rig:
            await self._applied(rig)
            rig.clock.advance(1)
            await vacuum(rig)
            await rig.interlude()
            await rig.settle("t2", revision=1)
            shown = ["t1.m0", "t1.m1", "m_ingress_i1", "t2.m0", "t2.m1"]
            assert await rig.path() == shown
            assert (await rig.claim(ANA)).turns == ()
