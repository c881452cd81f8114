"""Turns that begin again, and turns that wait: under which id they go on, and whom they hold up."""

# ruff: noqa: D102  the name of a property says what it promises

import msgspec

from lash.core.leases import Fence
from lash.effects.journal import RetireFinished
from lash.sessions.accepting import AlreadyAccepted, InputConflict, SessionBlocked
from lash.sessions.committing import CommitReceipt, CommitRefused
from lash.sessions.model import AcceptedTurn, Parked
from lash.testing.conformance.rig import Properties, Rig, authority, expect
from lash.testing.conformance.samples import (
    ANA,
    BEN,
    TTL_MS,
    record,
    request,
    scope_of,
    turn_commit,
)

PERSON = Parked(code="effect_drift_refused", message="somebody has to decide")
AGENT = Parked(code="agent_missing", message="no such agent here", waits_for="agent")


async def restarted(rig: Rig, turn_id: str, fence: Fence) -> AcceptedTurn:
    """Restart a turn that must be restarted."""
    return expect(AcceptedTurn, await rig.store.restart_turn("s", turn_id, fence))


class RestartProperties(Properties):
    """`restart_turn`."""

    async def test_a_turn_begins_again_from_its_input_in_its_place(self) -> None:
        async with self.rig() as rig:
            first = await rig.accept("t1", "hello", source_key="k1")
            second = await rig.accept("t2")
            rig.clock.advance(1)
            again = await restarted(rig, "t1", first.lease.fence)
            assert again == msgspec.structs.replace(first.turn, turn_id="t1:restart:1", restarts=1)
            await rig.interlude()
            assert list(await rig.store.list_open_turns("s")) == [again, second.turn]
            (work,) = await rig.store.open_sessions()
            assert work.turns == (again, second.turn)
            assert await rig.holder() == second.lease

    async def test_a_restart_lets_go_of_what_the_turn_was_parked_for(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.store.park_turn("s", "t1", PERSON, fence)
            await rig.interlude()
            assert (await restarted(rig, "t1", fence)).parked is None
            await rig.interlude()
            assert (await rig.accept("t2")).turn.sequence == 2

    async def test_the_old_id_and_the_source_key_find_the_new_turn(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1", source_key="k1")).lease.fence
            again = await restarted(rig, "t1", fence)
            await rig.interlude()
            for turn_id in ("t1", "t1:restart:1"):
                known = await rig.store.find_turn("s", turn_id)
                assert known is not None
                assert (known.turn_id, known.open, known.record) == ("t1:restart:1", again, None)
                assert known.input == again.input
            async with rig.untouched():
                by_id = await rig.store.accept_turn(request("t1"))
                by_source = await rig.store.accept_turn(request("t9", source_key="k1"))
                other_id = await rig.store.accept_turn(request("t1", "something else"))
                other_source = await rig.store.accept_turn(
                    request("t9", "something else", source_key="k1")
                )
            assert expect(AlreadyAccepted, by_id).known.open == again
            assert expect(AlreadyAccepted, by_source).known.open == again
            assert other_id == InputConflict(turn_id="t1:restart:1", by="turn_id")
            assert other_source == InputConflict(turn_id="t1:restart:1", by="source_key")

    async def test_a_restarted_turn_restarts_under_the_next_number(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1", source_key="k1")).lease.fence
            await restarted(rig, "t1", fence)
            await rig.interlude()
            twice = await restarted(rig, "t1:restart:1", fence)
            assert (twice.turn_id, twice.restarts, twice.sequence) == ("t1:restart:2", 2, 1)
            await rig.interlude()
            assert list(await rig.store.list_open_turns("s")) == [twice]
            for turn_id in ("t1", "t1:restart:1", "t1:restart:2"):
                known = await rig.store.find_turn("s", turn_id)
                assert known is not None
                assert known.open == twice
            by_source = await rig.store.accept_turn(request("t9", source_key="k1"))
            assert expect(AlreadyAccepted, by_source).known.turn_id == "t1:restart:2"

    async def test_an_id_that_is_taken_is_not_given_again(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            taken = (await rig.accept("t1:restart:1")).turn
            again = await restarted(rig, "t1", fence)
            assert (again.turn_id, again.restarts) == ("t1:restart:2", 2)
            await rig.interlude()
            assert list(await rig.store.list_open_turns("s")) == [again, taken]

    async def test_only_the_holder_restarts_a_turn(self) -> None:
        async with self.rig() as rig:
            stale = (await rig.accept("t1", owner=ANA)).lease.fence
            rig.expire()
            await rig.claim(BEN)
            forged = Fence(fencing_token=2, nonce="forged")
            async with rig.untouched():
                assert await rig.store.restart_turn("s", "t1", stale) is None
                assert await rig.store.restart_turn("s", "t1", forged) is None
                assert await rig.store.restart_turn("unknown", "t1", stale) is None

    async def test_the_new_turn_has_a_journal_of_its_own_and_the_old_one_stays(self) -> None:
        async with self.rig() as rig:
            proof = authority((await rig.accept("t1")).lease)
            await rig.store.record(scope_of("t1"), [record("r1", '"old"')], proof)
            await restarted(rig, "t1", proof.fence)
            await rig.interlude()
            await rig.store.record(scope_of("t1:restart:1"), [record("r1", '"new"')], proof)
            await rig.interlude()
            assert await rig.store.lookup(scope_of("t1"), "r1") == record("r1", '"old"')
            assert await rig.store.lookup(scope_of("t1:restart:1"), "r1") == record("r1", '"new"')

    async def test_the_old_journal_is_that_of_a_finished_scope(self) -> None:
        async with self.rig() as rig:
            proof = authority((await rig.accept("t1")).lease)
            await rig.store.record(scope_of("t1"), [record("r1")], proof)
            await restarted(rig, "t1", proof.fence)
            await rig.store.record(scope_of("t1:restart:1"), [record("r1")], proof)
            rig.clock.advance(1)
            await rig.interlude()
            gone = await rig.store.retire(RetireFinished(before_ms=rig.clock.now_ms()))
            assert (gone.scopes, gone.records) == (1, 1)
            await rig.interlude()
            assert list(await rig.store.load_journal(scope_of("t1"))) == []
            assert list(await rig.store.load_journal(scope_of("t1:restart:1"))) == [record("r1")]
            known = await rig.store.find_turn("s", "t1")
            assert known is not None
            assert known.turn_id == "t1:restart:1"

    async def test_the_new_turn_commits_and_is_found_by_the_old_id(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1", source_key="k1")).lease.fence
            await restarted(rig, "t1", fence)
            await rig.interlude()
            answer = await rig.store.commit_turn(turn_commit("t1:restart:1", fence))
            receipt = expect(CommitReceipt, answer)
            assert not receipt.lease_kept
            await rig.interlude()
            assert [turn.turn_id for turn in await rig.store.list_turns("s")] == ["t1:restart:1"]
            assert list(await rig.store.list_open_turns("s")) == []
            known = await rig.store.find_turn("s", "t1")
            assert known is not None
            assert (known.turn_id, known.record) == ("t1:restart:1", receipt.record)
            by_source = await rig.store.accept_turn(request("t9", source_key="k1"))
            assert expect(AlreadyAccepted, by_source).known.record == receipt.record

    async def test_the_old_turn_cannot_land_any_more(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await restarted(rig, "t1", fence)
            async with rig.untouched():
                answer = await rig.store.commit_turn(turn_commit("t1", fence))
            assert expect(CommitRefused, answer).code == "turn_commit_conflict"


class WaitingTurnProperties(Properties):
    """`note_waiting`, and what a waiting turn means for those behind it."""

    async def test_a_turn_nobody_drives_is_noted_as_waiting(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            rig.expire()
            await rig.interlude()
            assert await rig.store.note_waiting("s", "t1", AGENT)
            await rig.interlude()
            (turn,) = await rig.store.list_open_turns("s")
            assert turn.parked == msgspec.structs.replace(AGENT, parked_at_ms=rig.clock.now_ms())

    async def test_a_turn_whose_lease_was_given_back_is_noted_too(self) -> None:
        async with self.rig() as rig:
            lease = (await rig.accept("t1")).lease
            await rig.store.release_lease("s", lease.fence)
            await rig.interlude()
            assert await rig.store.note_waiting("s", "t1", PERSON)
            (turn,) = await rig.store.list_open_turns("s")
            assert turn.parked is not None
            assert turn.parked.waits_for == "person"

    async def test_nothing_is_noted_while_somebody_drives(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            rig.clock.advance((TTL_MS - 1) / 1000)
            async with rig.untouched():
                assert not await rig.store.note_waiting("s", "t1", AGENT)

    async def test_what_is_parked_already_keeps_its_reason(self) -> None:
        async with self.rig() as rig:
            lease = (await rig.accept("t1")).lease
            await rig.store.park_turn("s", "t1", PERSON, lease.fence)
            await rig.store.release_lease("s", lease.fence)
            async with rig.untouched():
                assert not await rig.store.note_waiting("s", "t1", AGENT)

    async def test_only_open_turns_wait(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            async with rig.untouched():
                assert not await rig.store.note_waiting("s", "t1", AGENT)
                assert not await rig.store.note_waiting("s", "unknown", AGENT)
                assert not await rig.store.note_waiting("unknown", "t1", AGENT)

    async def test_a_turn_that_waits_for_a_person_holds_up_those_behind_it(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            rig.expire()
            await rig.store.note_waiting("s", "t1", PERSON)
            async with rig.untouched():
                answer = await rig.store.accept_turn(request("t2"))
            assert expect(SessionBlocked, answer).turn.turn_id == "t1"

    async def test_a_turn_that_waits_for_an_agent_holds_up_nobody(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            rig.expire()
            await rig.store.note_waiting("s", "t1", AGENT)
            await rig.interlude()
            accepted = await rig.accept("t2", owner=BEN)
            assert accepted.turn.sequence == 2
            (waiting,) = accepted.ahead
            assert (waiting.turn_id, waiting.parked is not None) == ("t1", True)

    async def test_input_that_was_accepted_is_known_although_its_turn_waits(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", source_key="k1")
            rig.expire()
            await rig.store.note_waiting("s", "t1", PERSON)
            async with rig.untouched():
                again = await rig.store.accept_turn(request("t1", source_key="k1"))
            assert expect(AlreadyAccepted, again).known.turn_id == "t1"
