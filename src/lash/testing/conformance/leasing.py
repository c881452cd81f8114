"""Leases: one holder, a fencing token that never comes back, and answers to those who lost."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

from lash.core.leases import Busy, Fence, LeaseState
from lash.sessions.accepting import ClaimedSession
from lash.sessions.model import Parked
from lash.testing.conformance.rig import Properties, authority, expect
from lash.testing.conformance.samples import ANA, BEN, TTL_MS, claim


class LeaseProperties(Properties):
    """`claim_session`, `renew_leases`, `release_lease`, `park_turn`, `lease_of`, owners."""

    async def test_an_unknown_session_cannot_be_claimed_and_is_held_by_nobody(self) -> None:
        async with self.rig() as rig:
            assert await rig.store.claim_session("s", claim(ANA)) is None
            await rig.interlude()
            assert await rig.store.lease_of("s") == LeaseState()
            assert await rig.store.load_head("s") is None
            assert list(await rig.store.list_sessions()) == []

    async def test_a_claim_gives_the_open_turns_in_order(self) -> None:
        async with self.rig() as rig:
            first = await rig.accept("t-z")
            second = await rig.accept("t-a")
            assert await rig.store.release_lease("s", second.lease.fence) == "released"
            await rig.interlude()
            claimed = await rig.claim(BEN)
            assert claimed.turns == (first.turn, second.turn)
            assert claimed.head == first.head
            assert await rig.holder() == claimed.lease

    async def test_a_live_holder_refuses_a_claim_until_its_time_is_over(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1", owner=ANA)
            rig.clock.advance((TTL_MS - 1) / 1000)
            async with rig.untouched():
                refused = await rig.store.claim_session("s", claim(BEN))
            assert expect(Busy, refused).holder == accepted.lease
            rig.clock.advance(0.001)
            assert (await rig.claim(BEN)).lease.owner == BEN

    async def test_expiry_alone_does_not_depose_the_holder(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1", owner=ANA)
            rig.expire()
            rig.expire()
            await rig.interlude()
            assert await rig.holder() == accepted.lease
            assert list(await rig.store.renew_leases([authority(accepted.lease)], TTL_MS)) == []

    async def test_the_token_grows_with_every_takeover_and_survives_release(self) -> None:
        async with self.rig() as rig:
            tokens = [(await rig.accept("t1", owner=ANA)).lease.fencing_token]
            rig.expire()
            taken = await rig.claim(BEN)
            tokens.append(taken.lease.fencing_token)
            assert await rig.store.release_lease("s", taken.lease.fence) == "released"
            await rig.interlude()
            assert await rig.store.lease_of("s") == LeaseState(fencing_token=2)
            tokens.append((await rig.claim(ANA)).lease.fencing_token)
            assert tokens == [1, 2, 3]

    async def test_a_dead_holder_is_replaced_only_on_proof_of_its_own_token(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", owner=ANA)
            for wrong in (0, 2):
                refused = await rig.store.claim_session("s", claim(BEN, presumed_dead=wrong))
                assert isinstance(refused, Busy)
            await rig.interlude()
            taken = await rig.store.claim_session("s", claim(BEN, presumed_dead=1))
            assert expect(ClaimedSession, taken).lease.fencing_token == 2

    async def test_of_two_who_claim_at_once_one_wins(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", owner=ANA)
            rig.expire()
            await rig.interlude()
            answers = await asyncio.gather(
                rig.store.claim_session("s", claim(ANA, nonce="late")),
                *(rig.store.claim_session("s", claim(BEN, nonce=f"n{n}")) for n in range(3)),
            )
            tokens = {
                answer.lease.fencing_token
                for answer in answers
                if isinstance(answer, ClaimedSession)
            }
            held = await rig.holder()
            assert held is not None
            assert tokens == {held.fencing_token}
            assert any(isinstance(answer, Busy) for answer in answers)

    async def test_renewing_extends_the_lease_and_keeps_its_fence(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1")
            rig.clock.advance(10)
            assert list(await rig.store.renew_leases([authority(accepted.lease)], TTL_MS)) == []
            await rig.interlude()
            held = await rig.holder()
            assert held is not None
            assert held.fence == accepted.lease.fence
            assert held.expires_at_ms == rig.clock.now_ms() + TTL_MS
            assert held.claimed_at_ms == accepted.lease.claimed_at_ms

    async def test_renewing_a_lost_lease_says_so_and_extends_the_others(self) -> None:
        async with self.rig() as rig:
            kept = await rig.accept("t1", session="kept")
            lost = await rig.accept("t1", session="lost", owner=ANA)
            rig.expire()
            taken = await rig.claim(BEN, "lost")
            asked = [
                authority(kept.lease, "kept"),
                authority(lost.lease, "lost"),
                authority(kept.lease, "never-heard-of"),
            ]
            answer = await rig.store.renew_leases(asked, TTL_MS)
            assert sorted(answer) == ["lost", "never-heard-of"]
            await rig.interlude()
            assert await rig.holder("lost") == taken.lease
            held = await rig.holder("kept")
            assert held is not None
            assert held.expires_at_ms == rig.clock.now_ms() + TTL_MS

    async def test_a_stale_release_changes_nothing_and_says_so(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1", owner=ANA)
            rig.expire()
            await rig.claim(BEN)
            forged = Fence(fencing_token=2, nonce="forged")
            async with rig.untouched():
                assert await rig.store.release_lease("s", accepted.lease.fence) == "lost"
                assert await rig.store.release_lease("s", forged) == "lost"
                assert await rig.store.release_lease("unknown", accepted.lease.fence) == "lost"

    async def test_a_lease_is_released_once(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1")
            assert await rig.store.release_lease("s", accepted.lease.fence) == "released"
            async with rig.untouched():
                assert await rig.store.release_lease("s", accepted.lease.fence) == "lost"

    async def test_only_the_holder_parks_a_turn_and_only_an_open_one(self) -> None:
        async with self.rig() as rig:
            await rig.settle("done")
            stale = (await rig.accept("t1", owner=ANA)).lease
            rig.expire()
            lease = (await rig.claim(BEN)).lease
            reason = Parked(code="agent_missing", message="no such agent here")
            async with rig.untouched():
                assert not await rig.store.park_turn("s", "t1", reason, stale.fence)
                assert not await rig.store.park_turn("s", "done", reason, lease.fence)
                assert not await rig.store.park_turn("s", "unknown", reason, lease.fence)
            assert await rig.store.park_turn("s", "t1", reason, lease.fence)
            await rig.interlude()
            (turn,) = await rig.store.list_open_turns("s")
            now = rig.clock.now_ms()
            assert turn.parked == Parked(
                code="agent_missing", message="no such agent here", parked_at_ms=now
            )
            assert await rig.store.park_turn("s", "t1", None, lease.fence)
            await rig.interlude()
            (turn,) = await rig.store.list_open_turns("s")
            assert turn.parked is None

    async def test_an_owner_is_announced_under_its_names_and_is_not_dead(self) -> None:
        async with self.rig() as rig:
            owner = rig.store.register_owner("ana", "incarnation-1")
            assert (owner.owner_id, owner.incarnation) == ("ana", "incarnation-1")
            assert not rig.store.is_dead(owner)

    async def test_nothing_is_known_of_an_owner_on_another_host(self) -> None:
        async with self.rig() as rig:
            assert not rig.store.is_dead(BEN)
