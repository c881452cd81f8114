"""Composing turns of what waits, and settling the queue with the turns that took from it."""

# ruff: noqa: D102  the name of a property says what it promises

import msgspec

from lash.core.leases import Fence
from lash.sessions.accepting import AlreadyQueued, InputConflict
from lash.sessions.committing import CommitReceipt, CommitRefused
from lash.sessions.ingress import MOST_TAKEN, ActiveTurn, CommandWork, EarliestBoundary
from lash.sessions.model import AcceptedTurn, AgentRef, CompactContext
from lash.testing.conformance.rig import Properties, Rig, expect
from lash.testing.conformance.samples import (
    ANA,
    BEN,
    exchange,
    request,
    stop,
    turn_commit,
    wake,
)
from lash.turn.outcome import RuntimeStopped, Stopped, cancelled_by

ACTIVE = ActiveTurn()
COMMAND = CommandWork(command=CompactContext())


def inputs(turn: AcceptedTurn) -> list[str]:
    """The items that a turn was composed of."""
    return list(turn.input.input_ids)


class ComposeProperties(Properties):
    """What `claim_session`, `accept_turn` and `commit_turn` make of what waits."""

    async def _next(self, rig: Rig) -> list[str]:
        """The items of the turn that is composed when somebody looks; it is committed then."""
        claimed = await rig.claim(ANA)
        (turn,) = claimed.turns
        await rig.store.commit_turn(
            turn_commit(turn.turn_id, claimed.lease.fence, revision=claimed.head.revision)
        )
        return inputs(turn)

    async def test_who_claims_a_session_finds_what_waits_as_a_turn(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1", "one")
            await rig.interlude()
            claimed = await rig.claim(ANA)
            (turn,) = claimed.turns
            assert (turn.sequence, turn.input.text, inputs(turn)) == (1, "one", ["i1"])
            await rig.interlude()
            assert list(await rig.store.list_open_turns("s")) == [turn]
            item = await rig.item("i1")
            assert (item.state, item.turn_id, item.effect_key) == ("accepted", turn.turn_id, None)
            assert await rig.waiting() == []

    async def test_nothing_is_composed_of_nothing(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            assert (await rig.claim(ANA)).turns == ()

    async def test_what_waited_first_comes_ahead_of_new_input(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1")
            await rig.interlude()
            accepted = await rig.accept("t1")
            (ahead,) = accepted.ahead
            assert inputs(ahead) == ["i1"]
            assert await rig.open_turns() == [ahead.turn_id, "t1"]

    async def test_what_came_later_waits_for_the_turn_before_it(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            await rig.enqueue("i1")
            rig.expire()
            claimed = await rig.claim(BEN)
            assert [turn.turn_id for turn in claimed.turns] == ["t1"]
            assert await rig.waiting() == ["i1"]

    async def test_a_commit_goes_on_with_what_waits_and_keeps_the_lease(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.enqueue("i1")
            receipt = await rig.commit("t1", fence)
            assert receipt.following is not None
            assert inputs(receipt.following) == ["i1"]
            assert receipt.lease_kept
            await rig.interlude()
            last = await rig.commit(receipt.following.turn_id, fence, 1)
            assert (last.following, last.lease_kept) == (None, False)
            assert (await rig.item("i1")).state == "completed"
            assert await rig.holder() is None

    async def test_neighbours_of_the_user_are_one_turn(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1", "one")
            await rig.enqueue("i2", "two")
            claimed = await rig.claim(ANA)
            (turn,) = claimed.turns
            assert (inputs(turn), turn.input.text) == (["i1", "i2"], "one\ntwo")

    async def test_another_agents_input_is_another_turn(self) -> None:
        async with self.rig() as rig:
            newer = AgentRef(name="support", version="2")
            await rig.enqueue("i1")
            await rig.enqueue("i2", agent=newer)
            await rig.enqueue("i3", agent=newer)
            assert await self._next(rig) == ["i1"]
            claimed = await rig.claim(ANA)
            (turn,) = claimed.turns
            assert (turn.agent, inputs(turn)) == (newer, ["i2", "i3"])

    async def test_a_command_is_a_turn_of_its_own_and_nothing_passes_it(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1")
            await rig.enqueue("command", payload=COMMAND)
            await rig.enqueue("i2")
            assert await self._next(rig) == ["i1"]
            claimed = await rig.claim(ANA)
            (turn,) = claimed.turns
            assert (turn.input.command, inputs(turn)) == (CompactContext(), ["command"])
            receipt = await rig.commit(turn.turn_id, claimed.lease.fence, 1)
            assert receipt.record.command == "compact_context"
            assert receipt.following is not None
            assert inputs(receipt.following) == ["i2"]

    async def test_wakes_are_batched_by_their_key_and_alone_without(self) -> None:
        async with self.rig() as rig:
            keys = {"w1": "a", "w2": "a", "w3": "b", "w4": None, "w5": None, "w6": "a"}
            for name, key in keys.items():
                await rig.enqueue(name, payload=wake(name), merge_key=key)
            fence = (await rig.claim(ANA)).lease.fence
            found: list[list[str]] = []
            for revision in range(5):
                (turn,) = await rig.store.list_open_turns("s")
                found.append(inputs(turn))
                await rig.commit(turn.turn_id, fence, revision)
            assert found == [["w1", "w2"], ["w3"], ["w4"], ["w5"], ["w6"]]

    async def test_the_user_and_a_wake_do_not_share_a_turn(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1", merge_key="m")
            await rig.enqueue("w1", payload=wake(), merge_key="m")
            assert await self._next(rig) == ["i1"]
            claimed = await rig.claim(ANA)
            assert [cause.text for cause in claimed.turns[0].input.causes] == ["ring"]

    async def test_a_turn_takes_only_so_much(self) -> None:
        async with self.rig() as rig:
            names = [f"i{number:02}" for number in range(MOST_TAKEN + 1)]
            for name in names:
                await rig.enqueue(name)
            assert await self._next(rig) == names[:MOST_TAKEN]
            await rig.interlude()
            assert [inputs(turn) for turn in (await rig.claim(ANA)).turns] == [["i64"]]

    async def test_what_is_not_available_yet_makes_no_turn(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("later", later_ms=1_000)
            assert (await rig.claim(ANA)).turns == ()
            assert list(await rig.store.open_sessions()) == []
            await rig.enqueue("now")
            assert await self._next(rig) == ["now"]
            rig.clock.advance(1)
            await rig.interlude()
            (work,) = await rig.store.open_sessions()
            assert work.session_id == "s"
            assert await self._next(rig) == ["later"]

    async def test_what_becomes_available_takes_its_place_before_later_turns(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1", later_ms=1_000)
            assert (await rig.accept("t1")).ahead == ()
            await rig.enqueue("i2")
            rig.clock.advance(1)
            await rig.interlude()
            first, second = (await rig.claim(ANA)).turns
            assert (inputs(first), second.turn_id) == (["i1"], "t1")
            assert await rig.waiting() == ["i2"]

    async def test_queued_work_is_found_with_its_agent(self) -> None:
        async with self.rig() as rig:
            newer = AgentRef(name="support", version="2")
            began = rig.clock.now_ms()
            await rig.enqueue("i1", agent=newer)
            rig.clock.advance(5)
            await rig.interlude()
            (work,) = await rig.store.open_sessions()
            assert (work.turns, work.queued, work.since_ms) == ((), newer, began)
            (summary,) = await rig.store.list_sessions()
            assert (summary.state, summary.open_turns, summary.queued) == ("waiting", 0, 1)

    async def test_a_successor_drives_the_same_composition(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1")
            await rig.enqueue("i2")
            (before,) = (await rig.claim(ANA)).turns
            await rig.enqueue("i3")
            rig.expire()
            await rig.interlude()
            taken = await rig.claim(BEN)
            assert taken.turns == (before,)
            receipt = await rig.commit(before.turn_id, taken.lease.fence)
            assert receipt.following is not None
            assert inputs(receipt.following) == ["i3"]

    async def test_queued_input_is_not_accepted_a_second_time(self) -> None:
        async with self.rig() as rig:
            item = await rig.enqueue("i1", "hello", source_key="k")
            async with rig.untouched():
                same = await rig.store.accept_turn(request("t1", "hello", source_key="k"))
                other = await rig.store.accept_turn(request("t1", "goodbye", source_key="k"))
            assert expect(AlreadyQueued, same).item == item
            assert expect(InputConflict, other).by == "source_key"


class SettleProperties(Properties):
    """What becomes of items when the turn they belong to ends, in whichever way."""

    async def _turn(self, rig: Rig) -> Fence:
        """A turn that has taken `taken` and was sent `left`, with `floating` waiting."""
        fence = (await rig.accept("t1")).lease.fence
        await rig.enqueue("taken", ingress=ACTIVE)
        assert await rig.take("t1", fence) == ["taken"]
        await rig.enqueue("left", ingress=ActiveTurn(min_boundary="before_completion"))
        return fence

    async def _states(self, rig: Rig) -> dict[str, str]:
        return {name: (await rig.item(name)).state for name in ("taken", "left")}

    async def test_what_was_taken_is_part_of_the_turn_and_the_rest_is_for_the_next(self) -> None:
        async with self.rig() as rig:
            fence = await self._turn(rig)
            await rig.interlude()
            receipt = await rig.commit("t1", fence)
            assert receipt.following is not None
            assert inputs(receipt.following) == ["left"]
            await rig.interlude()
            assert await self._states(rig) == {"taken": "completed", "left": "accepted"}
            assert (await rig.item("taken")).turn_id == "t1"
            again = await rig.commit(receipt.following.turn_id, fence, 1)
            assert again.following is None
            assert await self._states(rig) == {"taken": "completed", "left": "completed"}

    async def test_a_turn_that_failed_settles_too(self) -> None:
        async with self.rig() as rig:
            fence = await self._turn(rig)
            commit = turn_commit("t1", fence, messages=(*exchange("t1")[:1], *rig.taken("t1")))
            failed = msgspec.structs.replace(commit, outcome=Stopped(reason=RuntimeStopped()))
            receipt = expect(CommitReceipt, await rig.store.commit_turn(failed))
            assert receipt.following is not None
            assert inputs(receipt.following) == ["left"]
            assert (await rig.item("taken")).state == "completed"

    async def test_a_turn_that_was_stopped_settles_too(self) -> None:
        async with self.rig() as rig:
            fence = await self._turn(rig)
            wanted = stop("t1")
            await rig.store.request_cancel(wanted)
            commit = turn_commit("t1", fence, messages=(*exchange("t1")[:1], *rig.taken("t1")))
            stopped = msgspec.structs.replace(
                commit,
                outcome=cancelled_by(wanted.cancellation),
                cancellation=wanted.cancellation,
            )
            receipt = expect(CommitReceipt, await rig.store.commit_turn(stopped))
            assert receipt.following is not None
            assert inputs(receipt.following) == ["left"]
            assert receipt.following.cancellation is None
            assert (await rig.item("taken")).state == "completed"

    async def test_what_was_taken_and_is_no_part_of_the_turn_is_for_the_next(self) -> None:
        async with self.rig() as rig:
            fence = await self._turn(rig)
            wanted = stop("t1")
            await rig.store.request_cancel(wanted)
            commit = turn_commit("t1", fence, messages=exchange("t1")[:1])
            stopped = msgspec.structs.replace(
                commit,
                outcome=cancelled_by(wanted.cancellation),
                cancellation=wanted.cancellation,
            )
            receipt = expect(CommitReceipt, await rig.store.commit_turn(stopped))
            assert receipt.following is not None
            assert inputs(receipt.following) == ["taken", "left"]
            assert await self._states(rig) == {"taken": "accepted", "left": "accepted"}

    async def test_a_refused_commit_settles_nothing(self) -> None:
        async with self.rig() as rig:
            fence = await self._turn(rig)
            forged = Fence(fencing_token=fence.fencing_token, nonce="forged")
            async with rig.untouched():
                by_fence = await rig.store.commit_turn(turn_commit("t1", forged))
                by_head = await rig.store.commit_turn(turn_commit("t1", fence, revision=7))
            assert expect(CommitRefused, by_fence).code == "session_execution_lease_lost"
            assert expect(CommitRefused, by_head).code == "head_revision_conflict"
            assert await self._states(rig) == {"taken": "accepted", "left": "pending_active"}

    async def test_a_repeated_commit_settles_nothing_again(self) -> None:
        async with self.rig() as rig:
            fence = await self._turn(rig)
            await rig.commit("t1", fence)
            await rig.enqueue("i9", ingress=EarliestBoundary())
            async with rig.untouched():
                again = await rig.commit("t1", fence)
            assert again.replayed

    async def test_a_turn_begun_again_is_given_what_its_checkpoints_took(self) -> None:
        async with self.rig() as rig:
            fence = await self._turn(rig)
            turn = await rig.store.restart_turn("s", "t1", fence)
            assert turn is not None
            await rig.interlude()
            assert await rig.take(turn.turn_id, fence) == ["taken"]
            late = await rig.take(turn.turn_id, fence, key="c2", checkpoint="before_completion")
            assert late == ["left"]

    async def test_a_turn_begun_again_keeps_what_it_was_composed_of(self) -> None:
        async with self.rig() as rig:
            await rig.enqueue("i1", "one")
            claimed = await rig.claim(ANA)
            (turn,) = claimed.turns
            again = await rig.store.restart_turn("s", turn.turn_id, claimed.lease.fence)
            assert again is not None
            assert (again.input.text, inputs(again)) == ("one", ["i1"])
            await rig.interlude()
            assert await rig.take(again.turn_id, claimed.lease.fence) == []
            await rig.commit(again.turn_id, claimed.lease.fence)
            item = await rig.item("i1")
            assert (item.state, item.turn_id) == ("completed", again.turn_id)
            assert await rig.open_turns() == []
