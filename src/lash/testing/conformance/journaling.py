"""The journal: what was recorded stays, all of a write or none of it, and only its owner writes."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

from lash.core.leases import Fence
from lash.effects.journal import AlreadyRecorded, FenceRefused, Recorded, WriteAuthority
from lash.testing.conformance.rig import Properties, authority, expect
from lash.testing.conformance.samples import BEN, record, scope_of

_SCOPE = scope_of("t1")


class JournalProperties(Properties):
    """`record`, `lookup`, `load_journal`."""

    async def test_nothing_is_found_where_nothing_was_recorded(self) -> None:
        async with self.rig() as rig:
            assert await rig.store.lookup(_SCOPE, "r1") is None
            assert list(await rig.store.load_journal(_SCOPE)) == []

    async def test_a_record_comes_back_as_it_was_given(self) -> None:
        async with self.rig() as rig:
            lease = (await rig.accept("t1")).lease
            given = record("r1", '{"type":"failed","code":"x","message":"é ☃ \\u0000"}', token=1)
            expect(Recorded, await rig.store.record(_SCOPE, [given], authority(lease)))
            await rig.interlude()
            assert await rig.store.lookup(_SCOPE, "r1") == given

    async def test_the_journal_is_read_in_the_order_of_writing(self) -> None:
        async with self.rig() as rig:
            proof = authority((await rig.accept("t1")).lease)
            z, a, m, b = (record(key) for key in ("z", "a", "m", "b"))
            await rig.store.record(_SCOPE, [z], proof)
            await rig.store.record(_SCOPE, [a, m], proof)
            await rig.interlude()
            await rig.store.record(_SCOPE, [b], proof)
            assert list(await rig.store.load_journal(_SCOPE)) == [z, a, m, b]

    async def test_scopes_are_apart(self) -> None:
        async with self.rig() as rig:
            proof = authority((await rig.accept("t1")).lease)
            here, there = record("r1", '"here"'), record("r1", '"there"')
            await rig.store.record(_SCOPE, [here], proof)
            expect(Recorded, await rig.store.record(scope_of("t2"), [there], proof))
            await rig.interlude()
            assert await rig.store.lookup(_SCOPE, "r1") == here
            assert await rig.store.lookup(scope_of("t2"), "r1") == there
            assert await rig.store.lookup(scope_of("t3"), "r1") is None

    async def test_a_key_is_recorded_once_and_the_rest_of_the_write_is_not(self) -> None:
        async with self.rig() as rig:
            proof = authority((await rig.accept("t1")).lease)
            first = record("r1", '"first"')
            await rig.store.record(_SCOPE, [first], proof)
            async with rig.untouched():
                late = [record("r0"), record("r1", '"second"'), record("r2")]
                answer = await rig.store.record(_SCOPE, late, proof)
            assert expect(AlreadyRecorded, answer).winner == first
            assert list(await rig.store.load_journal(_SCOPE)) == [first]

    async def test_one_key_twice_in_a_write_is_refused_whole(self) -> None:
        async with self.rig() as rig:
            proof = authority((await rig.accept("t1")).lease)
            twice = [record("r1", '"first"'), record("r2"), record("r1", '"second"')]
            answer = await rig.store.record(_SCOPE, twice, proof)
            assert expect(AlreadyRecorded, answer).winner == twice[0]
            await rig.interlude()
            assert list(await rig.store.load_journal(_SCOPE)) == []

    async def test_a_deposed_writer_records_nothing(self) -> None:
        async with self.rig() as rig:
            stale = authority((await rig.accept("t1")).lease)
            await rig.store.record(_SCOPE, [record("r1")], stale)
            rig.expire()
            await rig.claim(BEN)
            async with rig.untouched():
                answer = await rig.store.record(_SCOPE, [record("r2")], stale)
            expect(FenceRefused, answer)

    async def test_whoever_gave_the_lease_back_records_nothing(self) -> None:
        async with self.rig() as rig:
            lease = (await rig.accept("t1")).lease
            await rig.store.release_lease("s", lease.fence)
            async with rig.untouched():
                answer = await rig.store.record(_SCOPE, [record("r1")], authority(lease))
            expect(FenceRefused, answer)

    async def test_the_fence_is_asked_before_the_key(self) -> None:
        async with self.rig() as rig:
            proof = authority((await rig.accept("t1")).lease)
            await rig.store.record(_SCOPE, [record("r1")], proof)
            forged = WriteAuthority(session_id="s", fence=Fence(fencing_token=1, nonce="forged"))
            unknown = WriteAuthority(session_id="unknown", fence=proof.fence)
            for claimed in (forged, unknown):
                answer = await rig.store.record(_SCOPE, [record("r1", '"other"')], claimed)
                expect(FenceRefused, answer)

    async def test_without_a_lease_the_first_writer_wins_and_the_others_are_told(self) -> None:
        async with self.rig() as rig:
            first, second = record("r1", '"first"'), record("r1", '"second"')
            expect(Recorded, await rig.store.record("op", [first], None))
            await rig.interlude()
            answer = await rig.store.record("op", [second], None)
            assert expect(AlreadyRecorded, answer).winner == first

    async def test_of_many_who_record_one_key_at_once_one_wins(self) -> None:
        async with self.rig() as rig:
            offers = [record("r1", f'"{number}"') for number in range(8)]
            answers = await asyncio.gather(
                *(rig.store.record("op", [offer, record(offer.outcome)], None) for offer in offers)
            )
            (place,) = [n for n, answer in enumerate(answers) if isinstance(answer, Recorded)]
            losers = [answer for n, answer in enumerate(answers) if n != place]
            assert all(expect(AlreadyRecorded, lost).winner == offers[place] for lost in losers)
            await rig.interlude()
            kept = [offers[place], record(offers[place].outcome)]
            assert list(await rig.store.load_journal("op")) == kept

    async def test_the_journal_of_a_finished_turn_stays_readable(self) -> None:
        async with self.rig() as rig:
            proof = authority((await rig.accept("t1")).lease)
            kept = record("r1")
            await rig.store.record(_SCOPE, [kept], proof)
            await rig.store.release_lease("s", proof.fence)
            await rig.interlude()
            await rig.claim(BEN)
            assert list(await rig.store.load_journal(_SCOPE)) == [kept]
