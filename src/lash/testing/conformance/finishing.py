"""Finishing a scope, and reading its journal: in brief, and what its records refer to."""

# ruff: noqa: D102  the name of a property says what it promises

from lash.core.scopes import journal_key
from lash.effects.journal import AlreadyRecorded, JournalEntry, Recorded, RetireFinished
from lash.effects.transitions import SPILL_BYTES
from lash.testing.conformance.rig import Properties, expect
from lash.testing.conformance.samples import BIG, CONTENT, operation, record, turn_commit


class FinishProperties(Properties):
    """`finish_scope`, `list_journal`, `load_surroundings`: what there is to retire."""

    async def test_finishing_keeps_what_waited_for_it(self) -> None:
        async with self.rig() as rig:
            key = await rig.recorded(operation("o"), "r1")
            late = [record("r2"), record("r3", '"three"')]
            assert await rig.store.finish_scope(key, late) == Recorded()
            await rig.interlude()
            assert list(await rig.store.load_journal(key)) == [record("r1", "1"), *late]

    async def test_finishing_keeps_what_is_there_and_adds_the_rest(self) -> None:
        async with self.rig() as rig:
            key = await rig.recorded(operation("o"), "r1", outcome='"first"')
            late = [record("r0"), record("r1", '"second"'), record("r2")]
            answer = expect(AlreadyRecorded, await rig.store.finish_scope(key, late))
            assert answer.winner == record("r1", '"first"')
            await rig.interlude()
            assert await rig.keys(key) == ["r1", "r0", "r2"]
            assert await rig.store.lookup(key, "r1") == record("r1", '"first"')

    async def test_what_is_finished_again_rests_from_then_on(self) -> None:
        async with self.rig() as rig:
            key = await rig.recorded(operation("o"))
            assert await rig.store.finish_scope(key, []) == Recorded()
            rig.clock.advance(1)
            then = rig.clock.now_ms()
            await rig.interlude()
            assert await rig.store.finish_scope(key, []) == Recorded()
            assert await rig.keys(key) == ["r1"]
            assert (await rig.store.retire(RetireFinished(before_ms=then))).scopes == 0
            rig.clock.advance(1)
            now = rig.clock.now_ms()
            assert (await rig.store.retire(RetireFinished(before_ms=now))).scopes == 1

    async def test_a_journal_is_listed_without_its_contents(self) -> None:
        async with self.rig() as rig:
            key = journal_key(operation("o"))
            sleep = record("z", '{"type":"sleep","due_at_ms":1234}', kind="sleep", token=0)
            text = record("a", '"é"', token=7)
            await rig.store.record(key, [sleep, text], None)
            await rig.store.record(key, [record("big", BIG)], None)
            await rig.interlude()
            assert list(await rig.store.list_journal(key)) == [
                JournalEntry(
                    replay_key="z",
                    kind="sleep",
                    recorded_at_ms=1_750_000_000_000,
                    duration_ms=1.5,
                    bytes=33,
                    due_at_ms=1234,
                ),
                JournalEntry(
                    replay_key="a",
                    kind="checkpoint",
                    recorded_at_ms=1_750_000_000_000,
                    duration_ms=1.5,
                    bytes=4,  # é is two bytes, and the quotes
                    fencing_token=7,
                ),
                JournalEntry(
                    replay_key="big",
                    kind="checkpoint",
                    recorded_at_ms=1_750_000_000_000,
                    duration_ms=1.5,
                    bytes=2 * SPILL_BYTES + 31,
                ),
            ]
            assert list(await rig.store.list_journal("unknown")) == []

    async def test_surroundings_are_given_once_and_read_by_digest(self) -> None:
        async with self.rig() as rig:
            key = journal_key(operation("o"))
            first = record("r1", surroundings="1:abc", content=CONTENT)
            await rig.store.record(key, [first], None)
            await rig.store.record(key, [record("r2", surroundings="1:abc")], None)
            await rig.interlude()
            assert await rig.store.load_surroundings("1:abc") == CONTENT
            assert await rig.store.load_surroundings("1:abd") is None
            # It is the digest's, not the record's.
            assert await rig.store.lookup(key, "r1") == record("r1", surroundings="1:abc")

    async def test_a_record_that_was_refused_gives_no_surroundings(self) -> None:
        async with self.rig() as rig:
            key = await rig.recorded(operation("o"), "r1")
            late = record("r1", surroundings="1:abc", content=CONTENT)
            expect(AlreadyRecorded, await rig.store.record(key, [late], None))
            await rig.interlude()
            assert await rig.store.load_surroundings("1:abc") is None

    async def test_surroundings_that_land_with_a_commit_or_a_finish_are_read_too(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1")
            landing = record("r1", surroundings="1:turn", content='"turn"')
            await rig.store.commit_turn(turn_commit("t1", accepted.lease.fence, journal=[landing]))
            ending = record("r1", surroundings="1:op", content='"op"')
            await rig.store.finish_scope(journal_key(operation("o")), [ending])
            await rig.interlude()
            assert await rig.store.load_surroundings("1:turn") == '"turn"'
            assert await rig.store.load_surroundings("1:op") == '"op"'
