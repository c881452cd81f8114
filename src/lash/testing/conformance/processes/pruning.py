"""Pruning: what ended long ago is forgotten but for its name, which is never used again."""

# ruff: noqa: D102  the name of a property says what it promises

from lash.core.scopes import ProcessScope
from lash.effects.journal import RetireProcess
from lash.effects.waits.transitions import WaitMissing
from lash.processes.listing import ProcessFilter, Pruned, PruneReport, StatusFilter
from lash.processes.model import ProcessSegment, ProcessTombstone
from lash.processes.writes import (
    AbandonRun,
    ChangeObservers,
    ClaimRun,
    CompleteByAuthority,
    CompleteRun,
    ContinueRun,
    ProcessWrite,
    RetargetWakes,
)
from lash.testing.conformance.processes.changing import page
from lash.testing.conformance.processes.registry import (
    BANK,
    ProcessProperties,
    Registry,
    of_session,
    proof,
)
from lash.testing.conformance.processes.samples import (
    DAY_MS,
    DONE,
    START_MS,
    cancel,
    note,
    refund,
    ring,
    scope,
)
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, BEN, claim, record, wait_row

_LIVE: tuple[StatusFilter, ...] = ("any", "live", "running", "waiting")


class PruneProperties(ProcessProperties):
    """`prune_processes`."""

    async def _ended_with_everything(self, registry: Registry) -> None:
        """A process with something of everything, which has ended."""
        await registry.session()
        lease = await registry.running(observers=("s", "z"), wakes="s")
        await registry.append(ring("hello"))
        await registry.deliver()
        await registry.store.record(scope(), [record("r1"), record("r2")], proof(lease))
        row = wait_row(registry.store, scope=ProcessScope(process_id="p"))
        await registry.store.open_wait(row)
        go_on = ContinueRun(fence=lease.fence, segment=ProcessSegment(ordinal=1), scope_key=scope())
        await registry.write(go_on)
        ending = CompleteRun(
            fence=lease.fence,
            outcome=DONE,
            records=(record("r1"),),
            scope_key=scope(segment=1),
        )
        await registry.write(ending)
        registry.later()

    async def test_nothing_of_the_process_is_left_but_its_tombstone(self) -> None:
        async with self.registry() as registry:
            await self._ended_with_everything(registry)
            await registry.register("other", observers=("s",))
            other = await registry.load("other")
            row = wait_row(registry.store, scope=ProcessScope(process_id="p"))
            await registry.interlude()
            assert await registry.prune() == PruneReport(processes=1, events=4, records=3)
            await registry.interlude()
            store = registry.store
            stone = ProcessTombstone(
                process_id="p", status="completed", pruned_at_ms=START_MS + 1, change=7
            )
            assert await store.load_process("p") == stone
            assert await registry.log() == []
            assert list(await store.recent_events("p", 9)) == []
            assert await store.count_events("p", "ring", 9) == 0
            assert list(await store.observers_of("p")) == []
            assert await registry.wakes() == []
            assert [await registry.journal(), await registry.journal(segment=1)] == [[], []]
            assert list(await store.list_waits(scope())) == []
            assert await registry.rig.stands(row) == WaitMissing()
            assert await registry.listed() == ["other"]
            assert await registry.listed(ProcessFilter(observed_by="z")) == []
            assert await registry.load("other") == other
            assert await registry.woken() == ["wake:p:2"]
            assert list(await store.check()) == []

    async def test_a_pruned_process_is_not_an_unknown_one(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.complete(lease)
            registry.later()
            await registry.prune()
            await registry.interlude()
            stone = expect(ProcessTombstone, await registry.store.load_process("p"))
            writes: tuple[ProcessWrite, ...] = (
                note(1),
                cancel(),
                ClaimRun(claim=claim(ANA)),
                CompleteRun(fence=lease.fence, outcome=DONE, scope_key=scope()),
                CompleteByAuthority(outcome=DONE, authority=BANK),
                AbandonRun(claim=claim(BEN), writer="sweep"),
                RetargetWakes(session_id="s"),
                ChangeObservers(by="ana", add=("s",)),
            )
            async with registry.untouched():
                for write in writes:
                    assert await registry.result(write) == stone
                assert await registry.renew(lease) == ["p"]
                assert not await registry.store.redrive_wake("p", 1)
                missing = await registry.store.transfer_observers("s", "z", ["p"], "ana")
                assert list(missing) == ["p"]

    async def test_the_id_of_a_pruned_process_is_never_used_again(self) -> None:
        async with self.registry() as registry:
            asked = refund(disposition="externally_owned")
            await registry.ended()
            registry.later()
            await registry.prune()
            await registry.interlude()
            stone = await registry.store.load_process("p")
            registry.later(400 * DAY_MS)
            async with registry.untouched():
                assert await registry.ask(asked, "s") == stone
                assert await registry.ask(refund(), owner=ANA) == stone
                assert list(await registry.store.observers_of("p")) == []

    async def test_a_right_to_end_a_process_ends_no_other_under_its_id(self) -> None:
        """What was granted for a process that is gone meets a tombstone, not a successor."""
        async with self.registry() as registry:
            await registry.ended()
            registry.later()
            await registry.prune()
            await registry.ask(refund())
            late = CompleteByAuthority(outcome=DONE, authority=BANK)
            expect(ProcessTombstone, await registry.result(late))

    # --- what stays -------------------------------------------------------------------------------

    async def test_only_what_changed_last_before_the_time_goes(self) -> None:
        async with self.registry() as registry:
            await registry.ended("a")
            registry.later()
            await registry.ended("b")
            registry.later()
            await registry.interlude()
            assert (await registry.prune(before_ms=START_MS)).processes == 0
            assert (await registry.prune(before_ms=START_MS + 1)).processes == 1
            assert await registry.listed() == ["b"]
            await registry.write(ChangeObservers(by="ana", add=("s",)), "b")
            registry.later(5)
            assert (await registry.prune(before_ms=START_MS + 2)).processes == 0
            assert (await registry.prune()).processes == 1

    async def test_live_processes_never_go(self) -> None:
        async with self.registry() as registry:
            await registry.register("new")
            await registry.running("running")
            await registry.register("external", "externally_owned")
            registry.later(400 * DAY_MS)
            async with registry.untouched("running"):
                for status in _LIVE:
                    assert await registry.prune(ProcessFilter(status=status)) == PruneReport()

    async def test_what_a_filter_does_not_mean_stays(self) -> None:
        async with self.registry() as registry:
            await registry.ended("a")
            mine = refund("b", "externally_owned", provenance=of_session("s"))
            await registry.ask(mine)
            write = CompleteByAuthority(outcome=DONE, authority=BANK)
            await registry.write(write, "b")
            registry.later()
            await registry.interlude()
            wanted = ProcessFilter(originator="session:s", status="retired")
            assert (await registry.prune(wanted)).processes == 1
            assert await registry.listed() == ["a"]
            assert (await registry.prune(ProcessFilter(status="failed"))).processes == 0
            assert (await registry.prune(ProcessFilter(status="completed"))).processes == 1

    async def test_what_no_projector_has_seen_stays(self) -> None:
        async with self.registry() as registry:
            await registry.ended("a")
            await registry.ended("b")
            registry.later()
            await registry.interlude()
            assert (await registry.prune(through=1)).processes == 0
            assert (await registry.prune(through=3)).processes == 1
            assert await registry.listed() == ["b"]
            assert (await registry.prune(through=4)).processes == 1

    async def test_what_has_wakes_on_their_way_stays_until_they_arrive(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", "externally_owned", wakes="s")
            await registry.append(ring("hello"))
            await registry.write(CompleteByAuthority(outcome=DONE, authority=BANK))
            await registry.ended("q")
            registry.later()
            await registry.interlude()
            assert await registry.prune() == PruneReport(processes=1, events=1, kept_for_wakes=1)
            await registry.session()
            await registry.deliver()
            assert await registry.prune() == PruneReport(processes=1, events=2)
            await registry.interlude()
            assert await registry.listed() == []
            assert await registry.woken() == ["wake:p:1"]

    async def test_discarded_wakes_hold_up_nothing(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", "externally_owned", wakes="s")
            await registry.append(ring("hello"))
            await registry.write(RetargetWakes(session_id=None))
            await registry.write(CompleteByAuthority(outcome=DONE, authority=BANK))
            registry.later()
            assert (await registry.prune()).processes == 1

    # --- how it goes ------------------------------------------------------------------------------

    async def test_tombstones_take_places_of_their_own_in_the_order_of_ids(self) -> None:
        async with self.registry() as registry:
            for name in ("c", "a", "d", "b"):
                await registry.ended(name)
            registry.later()
            cursor = await registry.store.change_cursor()
            await registry.prune(ProcessFilter())
            await registry.interlude()
            assert await page(registry, cursor) == (["-a", "-b", "-c", "-d"], 12)
            assert await page(registry, 0) == (["-a", "-b", "-c", "-d"], 12)
            changes = (await registry.store.processes_changed_since(cursor)).changes
            stones = [expect(Pruned, change).tombstone for change in changes]
            assert [stone.change for stone in stones] == [9, 10, 11, 12]
            assert [await registry.store.load_process(name) for name in "abcd"] == stones

    async def test_a_piece_at_a_time_goes_until_nothing_more_is_to_go(self) -> None:
        async with self.registry() as registry:
            for name in ("c", "a", "e", "b", "d"):
                await registry.ended(name)
            registry.later()
            left: list[tuple[list[str], bool]] = []
            for _ in range(3):
                more = (await registry.prune(limit=2)).more
                await registry.interlude()
                left.append((await registry.listed(), more))
            assert left == [(["c", "d", "e"], True), (["e"], True), ([], False)]

    async def test_pruning_again_finds_nothing(self) -> None:
        async with self.registry() as registry:
            await self._ended_with_everything(registry)
            await registry.prune()
            registry.later(DAY_MS)
            async with registry.untouched():
                assert await registry.prune() == PruneReport()
                assert await registry.prune(ProcessFilter()) == PruneReport()


class ProcessJournalProperties(ProcessProperties):
    """`retire(RetireProcess)`."""

    async def test_the_journals_of_all_segments_go_and_no_others(self) -> None:
        async with self.registry() as registry:
            for name in ("p", "p2"):
                held = proof(await registry.running(name), name)
                for segment in (0, 1, 12):
                    key = scope(name, segment)
                    await registry.store.record(key, [record("r1"), record("r2")], held)
            row = wait_row(registry.store, scope=ProcessScope(process_id="p#12"))
            await registry.store.open_wait(row)
            await registry.interlude()
            gone = await registry.store.retire(RetireProcess(process_id="p"))
            assert (gone.scopes, gone.records, gone.waits, gone.more) == (3, 6, 1, False)
            await registry.interlude()
            assert [await registry.journal("p", segment) for segment in (0, 1, 12)] == [[], [], []]
            kept = ["r1", "r2"]
            assert [await registry.journal("p2", n) for n in (0, 1, 12)] == [kept, kept, kept]
            assert await registry.rig.stands(row) == WaitMissing()

    async def test_segments_go_a_piece_at_a_time(self) -> None:
        async with self.registry() as registry:
            held = proof(await registry.running())
            for segment in range(3):
                await registry.store.record(scope(segment=segment), [record("r1")], held)
            target = RetireProcess(process_id="p")
            first = await registry.store.retire(target, limit=2)
            assert (first.scopes, first.more) == (2, True)
            await registry.interlude()
            second = await registry.store.retire(target, limit=2)
            assert (second.scopes, second.more) == (1, False)
