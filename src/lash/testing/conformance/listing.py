"""Reading: sessions and their states, open work, turns, and nothing where nothing is."""

# ruff: noqa: D102  the name of a property says what it promises

from lash.llm.usage import Usage
from lash.sessions.model import Parked
from lash.testing.conformance.rig import Properties
from lash.testing.conformance.samples import BEN, SUPPORT, TTL_MS, turn_commit


class ListingProperties(Properties):
    """`list_sessions`, `open_sessions`, `list_turns`, `list_open_turns`, `find_turn`, `load_*`."""

    async def test_an_empty_store_holds_nothing(self) -> None:
        async with self.rig() as rig:
            await rig.interlude()
            assert list(await rig.store.list_sessions()) == []
            assert list(await rig.store.open_sessions()) == []

    async def test_an_unknown_session_is_empty_everywhere(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1", session="other")
            await rig.interlude()
            assert await rig.store.load_head("s") is None
            assert list(await rig.store.load_path("s")) == []
            assert list(await rig.store.list_turns("s")) == []
            assert list(await rig.store.list_open_turns("s")) == []
            assert await rig.store.find_turn("s", "t1") is None
            assert await rig.store.find_turn("other", "t9") is None

    async def test_the_tier_is_told(self) -> None:
        async with self.rig() as rig:
            assert rig.store.tier in ("ephemeral", "durable")

    async def test_what_is_kept_survives_as_well_as_the_store_says(self) -> None:
        async with self.rig() as rig:
            facets = dict(rig.store.facets)
            assert facets
            assert set(facets.values()) <= {"ephemeral", "durable"}
            # A store that is durable as a whole has no part that dies with the process.
            if rig.store.tier == "durable":
                assert set(facets.values()) == {"durable"}
            await rig.interlude()
            assert dict(rig.store.facets) == facets

    async def test_sessions_are_listed_with_the_last_changed_first(self) -> None:
        async with self.rig() as rig:
            for session in ("b", "c", "a"):
                await rig.settle("t1", session=session)
                rig.clock.advance(1)
            await rig.settle("t2", session="c", revision=1)
            await rig.interlude()
            listed = [summary.session_id for summary in await rig.store.list_sessions()]
            assert listed == ["c", "a", "b"]

    async def test_sessions_changed_at_one_moment_are_listed_by_name(self) -> None:
        async with self.rig() as rig:
            for session in ("b", "c", "a"):
                await rig.accept("t1", session=session)
            await rig.interlude()
            listed = [summary.session_id for summary in await rig.store.list_sessions()]
            assert listed == ["a", "b", "c"]

    async def test_a_summary_says_what_a_session_came_to(self) -> None:
        async with self.rig() as rig:
            began = rig.clock.now_ms()
            fence = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            rig.clock.advance(3)
            usage = Usage(input_tokens=4, output_tokens=2)
            await rig.store.commit_turn(turn_commit("t1", fence, usage=usage))
            await rig.interlude()
            (summary,) = await rig.store.list_sessions()
            assert await rig.store.load_summary(summary.session_id) == summary
            assert await rig.store.load_summary("never used") is None
            assert (summary.session_id, summary.agent, summary.usage) == ("s", SUPPORT, usage)
            assert (summary.turns, summary.open_turns) == (1, 1)
            assert (summary.created_at_ms, summary.updated_at_ms) == (began, began + 3_000)

    async def test_a_session_runs_while_a_live_lease_is_held(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1")
            assert await rig.state() == "running"
            rig.clock.advance((TTL_MS - 1) / 1000)
            await rig.interlude()
            assert await rig.state() == "running"
            await rig.store.commit_turn(turn_commit("t1", accepted.lease.fence))
            assert await rig.state() == "idle"

    async def test_accepted_input_without_a_live_driver_waits(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            rig.expire()
            await rig.interlude()
            assert await rig.state() == "waiting"
            lease = (await rig.claim(BEN)).lease
            assert await rig.state() == "running"
            await rig.store.release_lease("s", lease.fence)
            assert await rig.state() == "waiting"

    async def test_a_session_whose_first_turn_is_parked_is_parked(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            reason = Parked(code="agent_missing", message="no such agent here")
            await rig.store.park_turn("s", "t1", reason, fence)
            await rig.store.release_lease("s", fence)
            await rig.interlude()
            (summary,) = await rig.store.list_sessions()
            assert (summary.state, summary.open_turns) == ("parked", 2)
            assert summary.parked is not None
            assert summary.parked.code == "agent_missing"
            (work,) = await rig.store.open_sessions()
            assert work.parked == summary.parked

    async def test_open_work_is_found_oldest_first_with_its_turns_and_lease(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1", session="done")
            first = await rig.accept("t1", session="z")
            rig.clock.advance(1)
            second = await rig.accept("t1", session="a")
            rig.clock.advance(1)
            third = await rig.accept("t2", session="z")
            await rig.interlude()
            older, newer = await rig.store.open_sessions()
            assert (older.session_id, older.turns) == ("z", (first.turn, third.turn))
            assert (newer.session_id, newer.turns) == ("a", (second.turn,))
            assert older.lease.held == third.lease
            assert older.parked is None

    async def test_work_accepted_at_one_moment_is_found_by_name(self) -> None:
        async with self.rig() as rig:
            for session in ("b", "c", "a"):
                await rig.accept("t1", session=session)
            await rig.interlude()
            assert [work.session_id for work in await rig.store.open_sessions()] == ["a", "b", "c"]

    async def test_turns_are_listed_in_the_order_of_their_commits(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            await rig.store.commit_turn(turn_commit("t2", fence))
            await rig.store.commit_turn(turn_commit("t1", fence, revision=1))
            await rig.interlude()
            turns = await rig.store.list_turns("s")
            assert [(turn.turn_id, turn.revision) for turn in turns] == [("t2", 1), ("t1", 2)]

    async def test_a_turn_is_found_open_and_committed(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1")
            await rig.interlude()
            known = await rig.store.find_turn("s", "t1")
            assert known is not None
            assert (known.turn_id, known.open, known.record) == ("t1", accepted.turn, None)
            await rig.store.commit_turn(turn_commit("t1", accepted.lease.fence))
            await rig.interlude()
            known = await rig.store.find_turn("s", "t1")
            assert known is not None
            assert known.open is None
            assert known.record is not None
            assert known.record.turn_id == "t1"
