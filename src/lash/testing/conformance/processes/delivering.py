"""Handing wakes over to the queues of sessions: once each, in order, whatever happens between."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio
from collections.abc import Sequence

from lash.processes.wakes import WakePass
from lash.processes.writes import CompleteByAuthority, RetargetWakes
from lash.sessions.ingress import EarliestBoundary, EnqueueRequest, ProcessWake, QueuedItem
from lash.sessions.queueing import Enqueued
from lash.testing.conformance.deleting import delete
from lash.testing.conformance.processes.registry import BANK, ProcessProperties, Registry
from lash.testing.conformance.processes.samples import (
    DAY_MS,
    DONE,
    START_MS,
    note,
    ring,
)
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, BEN
from lash.turn.exchange import TurnCause


class DeliveryProperties(ProcessProperties):
    """`deliver_wakes`, `redrive_wake`."""

    async def _item(self, registry: Registry, item_id: str, session: str = "s") -> QueuedItem:
        return await registry.rig.item(item_id, session)

    async def test_a_wake_enters_the_queue_as_the_fact_that_it_is(self) -> None:
        async with self.registry() as registry:
            await registry.session()
            await registry.register(wakes="s")
            await registry.append(ring("hello"))
            registry.later(8)
            await registry.interlude()
            assert await registry.store.deliver_wakes() == WakePass(delivered=("s",))
            await registry.interlude()
            item = await self._item(registry, "wake:p:1")
            assert item.payload == ProcessWake(
                cause=TurnCause(id="wake:p:1", event_type="ring#1", text="hello", origin="p")
            )
            assert (item.ingress, item.agent, item.state) == (
                EarliestBoundary(),
                None,
                "deferred_next_turn",
            )
            assert (item.source_key, item.merge_key) == (
                "process:p:event:1:wake",
                "lash.process_wake",
            )
            assert (item.sequence, item.enqueued_at_ms) == (2, START_MS + 8)
            assert await registry.wakes() == [(1, "s", "delivered", None)]

    async def test_nothing_pending_nothing_done(self) -> None:
        async with self.registry() as registry:
            await registry.session()
            await registry.register(wakes="s")
            await registry.append(ring("hello"))
            await registry.deliver()
            async with registry.untouched():
                assert await registry.store.deliver_wakes() == WakePass()

    async def test_the_wakes_of_a_process_arrive_in_their_order(self) -> None:
        async with self.registry() as registry:
            await registry.session()
            await registry.register("p", wakes="s")
            await registry.register("q", wakes="s")
            for number in range(1, 5):
                await registry.append(ring(f"p{number}"), "p")
                await registry.append(ring(f"q{number}"), "q")
                await registry.interlude()
            await registry.deliver()
            await registry.interlude()
            woken = await registry.woken()
            assert [each for each in woken if each[5] == "p"] == [
                f"wake:p:{number}" for number in range(1, 5)
            ]
            assert [each for each in woken if each[5] == "q"] == [
                f"wake:q:{number}" for number in range(1, 5)
            ]

    async def test_a_pass_goes_no_further_than_it_is_told_and_says_that_there_is_more(
        self,
    ) -> None:
        async with self.registry() as registry:
            await registry.session()
            for name in ("p", "q", "r"):
                await registry.register(name, wakes="s")
                await registry.append(ring("hello"), name)
            first = await registry.store.deliver_wakes(2)
            assert first.delivered == ("s",)
            assert first.next_attempt_at_ms is not None
            assert first.next_attempt_at_ms <= registry.now_ms
            assert len(await registry.woken()) == 2
            await registry.interlude()
            assert (await registry.store.deliver_wakes(2)).next_attempt_at_ms is None
            assert sorted(await registry.woken()) == ["wake:p:1", "wake:q:1", "wake:r:1"]

    async def test_each_wake_is_handed_over_once_however_many_hand_over(self) -> None:
        async with self.registry() as registry:
            await registry.session()
            for name in ("p", "q", "r"):
                await registry.register(name, wakes="s")
                await registry.append(ring("one"), name)
                await registry.append(ring("two"), name)
            await asyncio.gather(*(registry.store.deliver_wakes() for _ in range(8)))
            await registry.interlude()
            woken = await registry.woken()
            assert sorted(woken) == [
                "wake:p:1",
                "wake:p:2",
                "wake:q:1",
                "wake:q:2",
                "wake:r:1",
                "wake:r:2",
            ]

    async def test_a_wake_that_the_queue_has_is_not_put_in_again(self) -> None:
        async with self.registry() as registry:
            await registry.session()
            await registry.register(wakes="s")
            await registry.append(ring("hello"))
            cause = TurnCause(id="wake:p:1", event_type="ring#1", text="hello", origin="p")
            before = EnqueueRequest(
                session_id="s",
                item_id="wake:p:1",
                payload=ProcessWake(cause=cause),
                ingress=EarliestBoundary(),
                source_key="process:p:event:1:wake",
                merge_key="lash.process_wake",
            )
            expect(Enqueued, await registry.store.enqueue(before))
            await registry.interlude()
            await registry.deliver()
            await registry.interlude()
            assert await registry.woken() == ["wake:p:1"]
            assert await registry.wakes() == [(1, "s", "delivered", None)]

    async def test_a_wake_that_a_turn_has_shown_is_not_delivered_again(self) -> None:
        async with self.registry() as registry:
            await registry.session()
            await registry.register(wakes="s")
            await registry.append(ring("hello"))
            await registry.deliver()
            claimed = await registry.rig.claim(ANA)
            (turn,) = claimed.turns
            await registry.rig.commit(turn.turn_id, claimed.lease.fence, 1)
            await registry.interlude()
            await registry.deliver()
            assert await registry.woken() == []
            assert await registry.wakes() == [(1, "s", "delivered", None)]

    # --- sessions that are not there --------------------------------------------------------------

    async def test_a_wake_waits_for_a_session_that_has_not_begun(self) -> None:
        async with self.registry() as registry:
            await registry.register(wakes="s")
            await registry.append(ring("first"))
            await registry.append(ring("second"))
            waited: list[int] = []
            for _ in range(4):
                done = await registry.store.deliver_wakes()
                assert (done.delivered, done.discarded) == ((), 0)
                due = done.next_attempt_at_ms
                assert due is not None
                waited.append(due - registry.now_ms)
                registry.later(due - registry.now_ms - 1)
                async with registry.untouched():
                    early = await registry.store.deliver_wakes()
                    assert early == WakePass(next_attempt_at_ms=due)
                registry.later(1)
                await registry.interlude()
            assert waited == [50, 100, 200, 400]
            assert [wake.attempts for wake in await registry.store.list_wakes("p")] == [4, 0]
            assert list(await registry.store.list_queue("s")) == []
            assert await registry.store.load_head("s") is None
            await registry.session()
            await registry.deliver()
            await registry.interlude()
            assert await registry.woken() == ["wake:p:1", "wake:p:2"]
            assert [wake.attempts for wake in await registry.store.list_wakes("p")] == [5, 1]

    async def test_between_looks_at_a_missing_session_pass_five_minutes_at_most(self) -> None:
        async with self.registry() as registry:
            await registry.register(wakes="s")
            await registry.append(ring("hello"))
            longest = 0
            for _ in range(20):
                due = (await registry.store.deliver_wakes()).next_attempt_at_ms
                assert due is not None
                longest = max(longest, due - registry.now_ms)
                registry.later(due - registry.now_ms)
            assert longest == 300_000

    async def test_one_session_that_is_missing_holds_up_no_other(self) -> None:
        async with self.registry() as registry:
            await registry.session("there")
            await registry.register("a", wakes="missing")
            await registry.register("b", wakes="there")
            for name in ("a", "b"):
                await registry.append(ring("hello"), name)
            passes = await registry.deliver()
            assert passes[0].delivered == ("there",)
            assert await registry.wakes("a") == [(1, "missing", "pending", None)]

    async def test_a_wake_that_nobody_came_for_in_a_week_is_discarded(self) -> None:
        async with self.registry() as registry:
            await registry.register(wakes="s")
            await registry.append(ring("hello"))
            await registry.store.deliver_wakes()
            registry.later(7 * DAY_MS - 1)
            await registry.store.deliver_wakes()
            assert await registry.wakes() == [(1, "s", "pending", None)]
            registry.later(300_000)
            await registry.interlude()
            assert await registry.store.deliver_wakes() == WakePass(discarded=1)
            await registry.interlude()
            assert await registry.wakes() == [(1, "s", "discarded", "expired")]

    async def test_wakes_of_a_deleted_session_are_discarded_and_later_ones_too(self) -> None:
        async with self.registry() as registry:
            await registry.session()
            await registry.register(wakes="other")
            await delete(registry.rig)
            await registry.write(RetargetWakes(session_id="s"))
            await registry.append(ring("first"))
            await registry.append(ring("second"))
            await registry.interlude()
            passes = await registry.deliver()
            assert sum(done.discarded for done in passes) == 2
            assert passes[-1].next_attempt_at_ms is None
            await registry.interlude()
            assert await registry.wakes() == [
                (2, "s", "discarded", "target_gone"),
                (3, "s", "discarded", "target_gone"),
            ]
            assert await registry.store.load_head("s") is None
            assert list(await registry.store.list_queue("s")) == []

    # --- trying again -----------------------------------------------------------------------------

    async def test_a_discarded_wake_may_be_tried_again(self) -> None:
        async with self.registry() as registry:
            await registry.register(wakes="s")
            await registry.append(ring("hello"))
            await registry.write(RetargetWakes(session_id=None))
            await registry.session()
            await registry.interlude()
            assert await registry.store.redrive_wake("p", 1)
            await registry.interlude()
            assert await registry.wakes() == [(1, "s", "pending", None)]
            await registry.deliver()
            assert await registry.woken() == ["wake:p:1"]

    async def test_only_what_was_discarded_is_tried_again(self) -> None:
        async with self.registry() as registry:
            await registry.session()
            await registry.register(wakes="s")
            await registry.append(ring("one"))
            await registry.deliver()
            await registry.append(ring("two"))
            await registry.append(note(1))
            async with registry.untouched():
                for sequence in (1, 2, 3, 99):
                    assert not await registry.store.redrive_wake("p", sequence)

    async def test_a_discarded_wake_holds_up_nobody_behind_it(self) -> None:
        async with self.registry() as registry:
            await registry.register(wakes="s")
            await registry.append(ring("late"))
            registry.later(7 * DAY_MS)
            await registry.append(ring("fresh"))
            first = await registry.store.deliver_wakes()
            assert first.discarded == 1
            assert first.next_attempt_at_ms is not None
            await registry.session()
            await registry.interlude()
            await registry.deliver()
            assert await registry.woken() == ["wake:p:2"]

    # --- what becomes of it in the session --------------------------------------------------------

    async def test_a_wake_of_a_process_that_has_ended_arrives_all_the_same(self) -> None:
        async with self.registry() as registry:
            await registry.session()
            await registry.register("p", "externally_owned", wakes="s")
            await registry.append(ring("done"))
            await registry.write(CompleteByAuthority(outcome=DONE, authority=BANK))
            await registry.interlude()
            await registry.deliver()
            assert await registry.woken() == ["wake:p:1"]

    async def test_neighbouring_wakes_become_one_turn_in_their_order(self) -> None:
        async with self.registry() as registry:
            await registry.session()
            await registry.register("p", wakes="s")
            await registry.append(ring("one"))
            await registry.append(ring("two"))
            await registry.deliver()
            await registry.interlude()
            (turn,) = (await registry.rig.claim(BEN)).turns
            assert self._told(turn.input.causes) == ["one", "two"]

    def _told(self, causes: Sequence[TurnCause]) -> list[str]:
        return [cause.text for cause in causes]
