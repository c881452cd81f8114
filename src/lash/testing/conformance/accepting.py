"""Accepting input: durable, idempotent, in order, under the session's lease."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.core.leases import LeaseOwner
from lash.sessions.accepting import (
    Accepted,
    AgentMismatch,
    AlreadyAccepted,
    InputConflict,
    SessionBlocked,
    SessionBusy,
)
from lash.sessions.model import AgentRef, Parked
from lash.testing.conformance.rig import Properties, expect
from lash.testing.conformance.samples import ANA, BEN, SUPPORT, TTL_MS, request, said, turn_commit


class AcceptProperties(Properties):
    """`accept_turn`."""

    async def test_the_first_input_creates_the_session(self) -> None:
        async with self.rig() as rig:
            now = rig.clock.now_ms()
            accepted = await rig.accept("t1", "hello", source_key="k1")
            assert accepted.new_session
            assert accepted.ahead == ()
            assert (accepted.turn.sequence, accepted.turn.accepted_at_ms) == (1, now)
            await rig.interlude()
            assert list(await rig.store.list_open_turns("s")) == [accepted.turn]
            assert accepted.turn.input == said("hello")
            assert accepted.turn.source_key == "k1"
            head = await rig.store.load_head("s")
            assert head == accepted.head
            assert head is not None
            assert (head.agent, head.revision, head.leaf_id, head.created_at_ms) == (
                SUPPORT,
                0,
                None,
                now,
            )
            assert await rig.holder() == accepted.lease
            assert (accepted.lease.owner, accepted.lease.fencing_token) == (ANA, 1)
            assert accepted.lease.expires_at_ms == now + TTL_MS

    @pytest.mark.parametrize("source_key", [None, "k1"])
    async def test_the_same_turn_id_and_input_is_accepted_once(
        self, source_key: str | None
    ) -> None:
        async with self.rig() as rig:
            first = await rig.accept("t1", source_key=source_key)
            async with rig.untouched():
                # Whoever asks again may be another process: it lost the answer, not the input.
                again = await rig.store.accept_turn(request("t1", owner=BEN, source_key=source_key))
            assert expect(AlreadyAccepted, again).known.open == first.turn

    async def test_the_same_source_key_and_input_is_accepted_once(self) -> None:
        async with self.rig() as rig:
            first = await rig.accept("t1", source_key="k1")
            async with rig.untouched():
                again = await rig.store.accept_turn(request("t2", source_key="k1"))
            known = expect(AlreadyAccepted, again).known
            assert (known.turn_id, known.open) == ("t1", first.turn)

    async def test_keys_stay_idempotent_after_the_commit(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1", source_key="k1")
            await rig.store.commit_turn(turn_commit("t1", accepted.lease.fence))
            (record,) = await rig.store.list_turns("s")
            async with rig.untouched():
                by_turn = await rig.store.accept_turn(request("t1"))
                by_source = await rig.store.accept_turn(request("t9", source_key="k1"))
            for again in (by_turn, by_source):
                known = expect(AlreadyAccepted, again).known
                assert (known.turn_id, known.open, known.record) == ("t1", None, record)

    async def test_other_input_under_the_same_turn_id_conflicts(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", "hello")
            async with rig.untouched():
                answer = await rig.store.accept_turn(request("t1", "goodbye"))
            assert expect(InputConflict, answer) == InputConflict(turn_id="t1", by="turn_id")

    async def test_other_input_under_the_same_source_key_conflicts(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", "hello", source_key="k1")
            async with rig.untouched():
                answer = await rig.store.accept_turn(request("t2", "goodbye", source_key="k1"))
            assert expect(InputConflict, answer) == InputConflict(turn_id="t1", by="source_key")

    async def test_ids_and_source_keys_belong_to_their_session(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", "hello", source_key="k1")
            await rig.interlude()
            other = await rig.accept("t1", "goodbye", source_key="k1", session="other")
            assert other.new_session
            assert other.turn.sequence == 1

    async def test_turns_are_numbered_in_the_order_of_their_arrival(self) -> None:
        async with self.rig() as rig:
            first = await rig.accept("t-z")
            await rig.interlude()
            second = await rig.accept("t-a")
            third = await rig.accept("t-m")
            assert [first.turn.sequence, second.turn.sequence, third.turn.sequence] == [1, 2, 3]
            assert third.ahead == (first.turn, second.turn)
            assert not third.new_session
            await rig.interlude()
            assert list(await rig.store.list_open_turns("s")) == [
                first.turn,
                second.turn,
                third.turn,
            ]

    async def test_numbers_are_not_used_again_after_a_commit(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await rig.interlude()
            second = await rig.accept("t2")
            assert second.turn.sequence == 2
            assert second.head.revision == 1

    async def test_a_session_keeps_its_agent(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            async with rig.untouched():
                answer = await rig.store.accept_turn(request("t2", agent=AgentRef(name="sales")))
            assert expect(AgentMismatch, answer).agent == SUPPORT

    async def test_another_version_of_the_agent_may_go_on(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            newer = AgentRef(name="support", version="2")
            answer = expect(Accepted, await rig.store.accept_turn(request("t2", agent=newer)))
            assert answer.turn.agent == newer
            await rig.interlude()
            await rig.store.commit_turn(turn_commit("t2", answer.lease.fence, revision=1))
            head = await rig.store.load_head("s")
            assert head is not None
            assert head.agent == newer

    async def test_a_parked_turn_blocks_those_behind_it(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1")
            reason = Parked(code="agent_missing", message="no such agent here")
            assert await rig.store.park_turn("s", "t1", reason, accepted.lease.fence)
            async with rig.untouched():
                answer = await rig.store.accept_turn(request("t2"))
            blocked = expect(SessionBlocked, answer).turn
            assert blocked.turn_id == "t1"
            assert blocked.parked is not None
            assert blocked.parked.code == "agent_missing"
            assert await rig.store.park_turn("s", "t1", None, accepted.lease.fence)
            await rig.interlude()
            assert (await rig.accept("t2")).turn.sequence == 2

    async def test_a_live_holder_keeps_others_out(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1", owner=ANA)
            rig.clock.advance((TTL_MS - 1) / 1000)
            async with rig.untouched():
                answer = await rig.store.accept_turn(request("t2", owner=BEN))
            assert expect(SessionBusy, answer).holder == accepted.lease

    async def test_an_expired_holder_is_taken_over_with_the_work_it_left(self) -> None:
        async with self.rig() as rig:
            left = await rig.accept("t1", owner=ANA)
            rig.expire()
            await rig.interlude()
            taken = await rig.accept("t2", owner=BEN)
            assert taken.ahead == (left.turn,)
            assert (taken.lease.owner, taken.lease.fencing_token) == (BEN, 2)

    async def test_a_dead_holder_is_taken_over_at_once(self) -> None:
        async with self.rig() as rig:
            left = await rig.accept("t1", owner=ANA)
            await rig.interlude()
            answer = await rig.store.accept_turn(request("t2", owner=BEN, presumed_dead=1))
            taken = expect(Accepted, answer)
            assert taken.ahead == (left.turn,)
            assert taken.lease.fencing_token == 2

    async def test_proof_of_a_death_says_nothing_of_the_successor(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", owner=ANA)
            rig.expire()
            await rig.claim(BEN)
            carl = LeaseOwner(owner_id="carl", incarnation="carl-1", host="host-c")
            async with rig.untouched():
                answer = await rig.store.accept_turn(request("t2", owner=carl, presumed_dead=1))
            assert expect(SessionBusy, answer).holder.owner == BEN

    async def test_the_holder_enters_again_under_the_same_fence(self) -> None:
        async with self.rig() as rig:
            first = await rig.accept("t1", owner=ANA)
            rig.clock.advance(5)
            await rig.interlude()
            again = await rig.accept("t2", owner=ANA)
            assert again.lease.fence == first.lease.fence
            assert again.lease.expires_at_ms == first.lease.expires_at_ms + 5_000

    async def test_another_incarnation_of_the_holder_is_a_stranger(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", owner=ANA)
            reborn = LeaseOwner(owner_id="ana", incarnation="ana-2", host="host-a")
            async with rig.untouched():
                answer = await rig.store.accept_turn(request("t2", owner=reborn))
            assert expect(SessionBusy, answer).holder.owner == ANA
