"""The queue of a session: what enters it, what checkpoints take, and what is taken back."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.sessions.ingress import (
    MOST_TAKEN,
    ActiveTurn,
    CommandWork,
    EarliestBoundary,
    Ingress,
    InputAlreadyCancelled,
    InputAlreadyClaimed,
    InputAlreadyCompleted,
    InputCancelled,
    InputNotFound,
    NextTurn,
)
from lash.sessions.model import AgentRef, CompactContext
from lash.sessions.queueing import AlreadyEnqueued, CheckpointClaim, EnqueueRefused, TakeRefused
from lash.testing.conformance.rig import Properties, Rig, expect
from lash.testing.conformance.samples import ANA, BEN, by_id, by_source, entry, wake

FLOATING = EarliestBoundary()
ACTIVE = ActiveTurn()
COMMAND = CommandWork(command=CompactContext())


class QueueProperties(Properties):
    """`enqueue`, `list_queue`, `find_item`, `cancel_items`, `cancel_items_from`."""

    async def test_what_enters_waits_in_the_order_of_its_arrival(self) -> None:
        async with self.rig() as rig:
            first = await rig.enqueue("z", "one")
            await rig.interlude()
            second = await rig.enqueue("a", payload=wake(), ingress=FLOATING, merge_key="m")
            await rig.interlude()
            assert list(await rig.store.list_queue("s")) == [first, second]
            assert (first.sequence, second.sequence) == (1, 2)
            assert (first.state, second.state) == ("deferred_next_turn", "deferred_next_turn")
            assert second.payload == wake()
            assert (await rig.head()).revision == 0

    async def test_turns_and_items_are_numbered_together(self) -> None:
        async with self.rig() as rig:
            assert (await rig.accept("t1")).turn.sequence == 1
            assert (await rig.enqueue("i1")).sequence == 2
            assert (await rig.accept("t2")).turn.sequence == 3

    @pytest.mark.parametrize("fate", ["waiting", "taken", "completed", "cancelled"])
    async def test_a_source_key_is_answered_with_its_item_whatever_became_of_it(
        self, fate: str
    ) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.enqueue("i1", ingress=ACTIVE, source_key="k")
            await self._meet(rig, fate)
            await rig.interlude()
            kept = await rig.item("i1")
            async with rig.untouched():
                same = await rig.store.enqueue(entry("i2", source_key="k"))
                other = await rig.store.enqueue(entry("i3", "something else", source_key="k"))
                same_id = await rig.store.enqueue(entry("i1"))
                other_id = await rig.store.enqueue(entry("i1", "something else"))
            assert expect(AlreadyEnqueued, same).item == kept
            assert expect(AlreadyEnqueued, same_id).item == kept
            assert expect(EnqueueRefused, other).code == "turn_input_conflict"
            assert expect(EnqueueRefused, other_id).code == "turn_input_conflict"
            assert fence.fencing_token == 1

    async def _meet(self, rig: Rig, fate: str) -> None:
        """Let something become of the item `i1`, which waits for the turn `t1`."""
        held = await rig.holder()
        assert held is not None
        if fate in ("taken", "completed"):
            assert await rig.take("t1", held.fence) == ["i1"]
        if fate == "completed":
            await rig.commit("t1", held.fence)
        if fate == "cancelled":
            await rig.store.cancel_items("s", [by_id("i1")])

    async def test_ids_and_source_keys_of_items_belong_to_their_session(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1", "one", source_key="k")
            await rig.enqueue("i1", "two", source_key="k", session="other")
            await rig.interlude()
            assert await rig.waiting() == ["i1"]
            assert await rig.waiting("other") == ["i1"]
            await rig.store.cancel_items("other", [by_source("k")])
            assert await rig.waiting() == ["i1"]
            assert await rig.waiting("other") == []

    async def test_an_item_makes_its_session_only_if_it_says_whose_it_is(self) -> None:
        async with self.rig() as rig:
            refused = await rig.store.enqueue(entry("i1", agent=None))
            assert expect(EnqueueRefused, refused).code == "session_unknown"
            assert await rig.store.load_head("s") is None
            await rig.enqueue("i1")
            await rig.interlude()
            await rig.enqueue("i2", agent=None)
            async with rig.untouched():
                other = await rig.store.enqueue(entry("i3", agent=AgentRef(name="sales")))
            assert expect(EnqueueRefused, other).code == "session_agent_mismatch"

    async def test_the_source_key_of_a_turn_is_not_that_of_an_item(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", source_key="k")
            async with rig.untouched():
                refused = await rig.store.enqueue(entry("i1", "something else", source_key="k"))
            assert expect(EnqueueRefused, refused).code == "turn_input_conflict"

    async def test_input_to_a_turn_waits_for_that_turn(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            await rig.accept("t2")
            unnamed = await rig.enqueue("i1", ingress=ACTIVE)
            named = await rig.enqueue("i2", ingress=ActiveTurn(turn_id="t2"))
            assert (unnamed.state, unnamed.turn_id) == ("pending_active", "t1")
            assert (named.state, named.turn_id) == ("pending_active", "t2")

    async def test_input_to_a_turn_that_is_over_goes_to_the_next_one(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await rig.interlude()
            named = await rig.enqueue("i1", ingress=ActiveTurn(turn_id="t1"))
            unnamed = await rig.enqueue("i2", ingress=ACTIVE)
            assert (named.state, named.ingress) == ("deferred_next_turn", NextTurn())
            assert (unnamed.state, unnamed.ingress) == ("deferred_next_turn", NextTurn())

    async def test_input_to_a_turn_that_never_was_is_refused(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            async with rig.untouched():
                answer = await rig.store.enqueue(entry("i1", ingress=ActiveTurn(turn_id="t9")))
            assert expect(EnqueueRefused, answer).code == "turn_unknown"

    async def test_each_state_of_an_item_has_its_answer_to_being_taken_back(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.enqueue("taken", ingress=ACTIVE)
            assert await rig.take("t1", fence) == ["taken"]
            await rig.enqueue("active", ingress=ACTIVE, source_key="k")
            await rig.enqueue("deferred")
            await rig.interlude()
            targets = [by_id("taken"), by_source("k"), by_id("deferred"), by_id("none")]
            claimed, active, deferred, none = await rig.store.cancel_items("s", targets)
            assert expect(InputAlreadyClaimed, claimed).item.turn_id == "t1"
            assert expect(InputCancelled, active).item.item_id == "active"
            assert expect(InputCancelled, deferred).item.item_id == "deferred"
            assert expect(InputNotFound, none).target == by_id("none")
            await rig.interlude()
            (again,) = await rig.store.cancel_items("s", [by_id("active")])
            expect(InputAlreadyCancelled, again)
            assert await rig.waiting() == []
            await rig.commit("t1", fence)
            (completed,) = await rig.store.cancel_items("s", [by_id("taken")])
            expect(InputAlreadyCompleted, completed)
            assert await rig.open_turns() == []

    async def test_one_item_named_twice_is_cancelled_once(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1", source_key="k")
            first, second = await rig.store.cancel_items("s", [by_id("i1"), by_source("k")])
            expect(InputCancelled, first)
            expect(InputAlreadyCancelled, second)

    async def test_an_item_and_all_behind_it_are_taken_back_together(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            for name in ("i1", "i2", "i3", "i4"):
                await rig.enqueue(name, ingress=ACTIVE if name == "i3" else NextTurn())
            assert await rig.take("t1", fence) == ["i3"]
            await rig.interlude()
            outcomes = await rig.store.cancel_items_from("s", by_id("i2"))
            assert outcomes is not None
            second, third, fourth = outcomes
            assert expect(InputCancelled, second).item.item_id == "i2"
            assert expect(InputAlreadyClaimed, third).item.item_id == "i3"
            assert expect(InputCancelled, fourth).item.item_id == "i4"
            await rig.interlude()
            assert await rig.waiting() == ["i1"]

    async def test_nothing_is_taken_back_behind_an_item_that_is_not_there(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1")
            async with rig.untouched():
                assert await rig.store.cancel_items_from("s", by_id("none")) is None
                assert await rig.store.cancel_items_from("s", by_source("none")) is None
                assert await rig.store.cancel_items_from("other", by_id("i1")) is None

    async def test_an_arrival_keeps_a_lease_that_has_not_seen_it(self) -> None:
        async with self.rig() as rig:
            lease = (await rig.accept("t1")).lease
            seen = (await rig.commit("t1", lease.fence)).accepted
            claimed = await rig.claim(ANA)
            assert claimed.accepted == seen == 1
            await rig.enqueue("i1")
            await rig.interlude()
            async with rig.untouched():
                answer = await rig.store.release_lease("s", claimed.lease.fence, seen)
            assert answer == "work_arrived"
            again = await rig.claim(ANA)
            assert again.accepted == 2
            assert await rig.store.release_lease("s", again.lease.fence, 2) == "released"
            assert await rig.store.release_lease("s", again.lease.fence, 2) == "lost"
            assert await rig.holder() is None


class CheckpointProperties(Properties):
    """`has_arrived` and `take`. The rig checks that looking always foretells what is taken."""

    async def test_an_idle_checkpoint_takes_nothing(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.enqueue("i1")
            await rig.enqueue("i2", session="other", ingress=FLOATING)
            async with rig.untouched():
                assert await rig.take("t1", fence) == []

    @pytest.mark.parametrize("ingress", [ACTIVE, FLOATING])
    async def test_what_was_taken_is_taken_again_under_the_same_key_only(
        self, ingress: Ingress
    ) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.enqueue("i1", ingress=ingress)
            assert await rig.take("t1", fence, key="c1") == ["i1"]
            await rig.interlude()
            assert await rig.take("t1", fence, key="c2") == []
            assert await rig.take("t1", fence, key="c1") == ["i1"]
            item = await rig.item("i1")
            assert (item.state, item.turn_id, item.effect_key) == ("accepted", "t1", "c1")
            assert item.message_id is not None
            assert await rig.waiting() == []

    async def test_a_successor_is_given_what_the_checkpoint_took(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.enqueue("i1", ingress=ACTIVE)
            assert await rig.take("t1", fence, key="c1") == ["i1"]
            rig.expire()
            await rig.interlude()
            fence = (await rig.claim(BEN)).lease.fence
            await rig.enqueue("i2", ingress=ACTIVE)
            # The answer was lost with its owner, so what came since may be in this one.
            assert await rig.take("t1", fence, key="c1") == ["i1", "i2"]
            assert await rig.take("t1", fence, key="c2") == []

    async def test_input_waits_for_its_boundary_at_every_checkpoint(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            late = ActiveTurn(min_boundary="before_completion")
            await rig.enqueue("late", ingress=late)
            await rig.enqueue("early", ingress=ACTIVE)
            assert await rig.take("t1", fence, key="c1") == ["early"]
            await rig.interlude()
            assert await rig.take("t1", fence, key="c2") == []
            await rig.enqueue("later", ingress=ACTIVE)
            taken = await rig.take("t1", fence, key="c3", checkpoint="before_completion")
            assert taken == ["late", "later"]

    async def test_a_checkpoint_takes_in_order_whatever_the_entrance(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.enqueue("i3", ingress=FLOATING)
            await rig.enqueue("i1", ingress=ACTIVE)
            await rig.enqueue("i2", payload=wake(), ingress=FLOATING)
            assert await rig.take("t1", fence) == ["i3", "i1", "i2"]

    async def test_input_to_another_turn_or_the_next_one_is_left(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            await rig.enqueue("i1", ingress=ActiveTurn(turn_id="t2"))
            await rig.enqueue("i2", ingress=NextTurn())
            assert await rig.take("t1", fence) == []
            assert await rig.take("t2", fence) == ["i1"]

    async def test_nothing_floats_past_a_command(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.enqueue("before", ingress=FLOATING)
            await rig.enqueue("command", payload=COMMAND)
            await rig.enqueue("behind", ingress=FLOATING)
            await rig.enqueue("sent", ingress=ACTIVE)
            assert await rig.take("t1", fence) == ["before", "sent"]
            await rig.store.cancel_items("s", [by_id("command")])
            assert await rig.take("t1", fence, key="c2") == ["behind"]

    @pytest.mark.parametrize("ingress", [ACTIVE, FLOATING])
    async def test_what_is_not_available_yet_is_hidden(self, ingress: Ingress) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.enqueue("i1", ingress=ingress, later_ms=1_000)
            assert await rig.waiting() == ["i1"]
            rig.clock.advance(0.999)
            assert await rig.take("t1", fence) == []
            rig.clock.advance(0.001)
            await rig.interlude()
            assert await rig.take("t1", fence) == ["i1"]

    async def test_a_checkpoint_takes_only_so_much_and_the_next_one_the_rest(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            names = [f"i{number:02}" for number in range(MOST_TAKEN + 2)]
            for number, name in enumerate(names):
                await rig.enqueue(name, ingress=FLOATING if number % 2 else ACTIVE)
            assert await rig.take("t1", fence, key="c1") == names[:MOST_TAKEN]
            await rig.interlude()
            assert await rig.take("t1", fence, key="c2") == names[MOST_TAKEN:]
            assert await rig.take("t1", fence, key="c3") == []

    async def test_a_stale_writer_takes_nothing(self) -> None:
        async with self.rig() as rig:
            stale = (await rig.accept("t1")).lease.fence
            await rig.enqueue("i1", ingress=ACTIVE)
            rig.expire()
            fence = (await rig.claim(BEN)).lease.fence
            claim = CheckpointClaim(
                session_id="s",
                turn_id="t1",
                checkpoint="after_work",
                effect_key="c1",
                fence=stale,
            )
            async with rig.untouched():
                expect(TakeRefused, await rig.store.take(claim))
            assert await rig.take("t1", fence) == ["i1"]

    async def test_a_turn_that_is_over_takes_nothing_that_nobody_would_settle(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            await rig.commit("t1", fence)
            await rig.enqueue("i1", ingress=FLOATING)
            async with rig.untouched():
                assert await rig.take("t1", fence) == []
                assert await rig.take("t9", fence) == []
            assert await rig.take("t2", fence) == ["i1"]

    async def test_many_rows_that_were_taken_do_not_hide_what_waits(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            for batch in range(2):
                for number in range(MOST_TAKEN):
                    await rig.enqueue(f"i{batch}-{number}", ingress=FLOATING)
                assert len(await rig.take("t1", fence, key=f"c{batch}")) == MOST_TAKEN
            await rig.enqueue("last", ingress=FLOATING)
            assert await rig.take("t1", fence, key="c9") == ["last"]
