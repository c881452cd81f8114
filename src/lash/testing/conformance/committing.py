"""Committing a turn: once, whole, on the head it began from."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import msgspec

from lash.core.leases import LeaseState
from lash.llm.retry import AttemptRecord, LlmCallRecord
from lash.llm.usage import Usage
from lash.sessions.committing import CommitReceipt, CommitRefused
from lash.sessions.model import Parked, ToolCallRecord, TurnTiming
from lash.testing.conformance.rig import Properties, expect
from lash.testing.conformance.samples import (
    ANA,
    BEN,
    exchange,
    record,
    scope_of,
    tool_call,
    tool_result,
    turn_commit,
)
from lash.turn.outcome import TurnIssue
from lash.turn.tools import ToolOutput, ToolSuccess


class CommitProperties(Properties):
    """`commit_turn` and what it leaves behind."""

    async def test_a_commit_moves_the_head_by_one_and_settles_the_turn(self) -> None:
        async with self.rig() as rig:
            accepted = await rig.accept("t1")
            rig.clock.advance(2)
            answer = await rig.store.commit_turn(turn_commit("t1", accepted.lease.fence))
            receipt = expect(CommitReceipt, answer)
            assert (receipt.replayed, receipt.lease_kept) == (False, False)
            await rig.interlude()
            head = await rig.store.load_head("s")
            assert head == receipt.head
            assert head is not None
            assert (head.revision, head.turn_index, head.leaf_id) == (1, 1, "t1.m1")
            assert list(await rig.store.list_open_turns("s")) == []
            assert list(await rig.store.list_turns("s")) == [receipt.record]
            assert receipt.record.timing == TurnTiming(
                accepted_at_ms=accepted.turn.accepted_at_ms,
                committed_at_ms=accepted.turn.accepted_at_ms + 2_000,
                drive_ms=0,
            )
            known = await rig.store.find_turn("s", "t1")
            assert known is not None
            assert (known.open, known.record, known.input) == (
                None,
                receipt.record,
                accepted.turn.input,
            )

    async def test_everything_that_a_turn_tells_comes_back(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            commit = turn_commit("t1", fence)
            call = ToolCallRecord(
                call_id="c1",
                tool="look",
                args={"order": "7", "deep": {"list": [1, 2.5, None, "é", True]}},
                output=ToolOutput(outcome=ToolSuccess(payload={"found": [1, {"a": None}]})),
                duration_ms=3,
                attempts=2,
            )
            attempt = AttemptRecord(
                ordinal=1,
                started_at_ms=5,
                duration_ms=7,
                outcome="completed",
                position="terminal_observed",
                usage=Usage(output_tokens=1),
            )
            full = msgspec.structs.replace(
                commit,
                tool_calls=(call,),
                llm_calls=(LlmCallRecord(call_id="l1", model="m", attempts=(attempt,)),),
                issues=(TurnIssue(kind="drift", message="changed", paths=("a.b",)),),
                drive_ms=12,
            )
            await rig.store.commit_turn(full)
            await rig.interlude()
            (kept,) = await rig.store.list_turns("s")
            assert kept.tool_calls == (call,)
            assert kept.llm_calls == full.llm_calls
            assert kept.issues == full.issues
            assert (kept.outcome, kept.usage, kept.text) == (full.outcome, full.usage, "hi")
            assert (kept.revision, kept.timing.drive_ms) == (1, 12)

    async def test_usage_sums_over_the_turns_of_a_session(self) -> None:
        async with self.rig() as rig:
            first = Usage(
                input_tokens=1,
                output_tokens=2,
                cache_read_input_tokens=3,
                cache_write_input_tokens=4,
                reasoning_output_tokens=2,
            )
            fence = (await rig.accept("t1")).lease.fence
            await rig.store.commit_turn(turn_commit("t1", fence, usage=first))
            await rig.interlude()
            fence = (await rig.accept("t2")).lease.fence
            second = Usage(input_tokens=10, output_tokens=20)
            await rig.store.commit_turn(turn_commit("t2", fence, revision=1, usage=second))
            await rig.interlude()
            head = await rig.store.load_head("s")
            assert head is not None
            assert head.usage == Usage(
                input_tokens=11,
                output_tokens=22,
                cache_read_input_tokens=3,
                cache_write_input_tokens=4,
                reasoning_output_tokens=2,
            )

    async def test_the_path_runs_from_the_first_message_to_the_last(self) -> None:
        async with self.rig() as rig:
            for number in range(3):
                await rig.settle(f"t{number}", revision=number)
            await rig.interlude()
            path = list(await rig.store.load_path("s"))
            ids = ["t0.m0", "t0.m1", "t1.m0", "t1.m1", "t2.m0", "t2.m1"]
            assert [node.node_id for node in path] == ids
            assert [node.parent_id for node in path] == [None, *ids[:-1]]
            assert [node.turn_id for node in path] == ["t0", "t0", "t1", "t1", "t2", "t2"]
            messages = [message for number in range(3) for message in exchange(f"t{number}")]
            assert [node.message for node in path] == messages
            assert len({node.digest for node in path}) == len(path)
            head = await rig.store.load_head("s")
            assert head is not None
            assert (head.leaf_id, head.leaf_digest) == (ids[-1], path[-1].digest)

    async def test_answered_tool_calls_are_kept(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            user, last = exchange("t1")
            messages = (user, tool_call("t1.a", "c1"), tool_result("t1.b", "c1"), last)
            await rig.store.commit_turn(turn_commit("t1", fence, messages=messages))
            await rig.interlude()
            assert [node.message for node in await rig.store.load_path("s")] == list(messages)

    async def test_a_turn_without_messages_commits_and_leaves_the_leaf(self) -> None:
        async with self.rig() as rig:
            before = (await rig.settle("t1")).head
            fence = (await rig.accept("t2")).lease.fence
            await rig.store.commit_turn(turn_commit("t2", fence, revision=1, messages=()))
            await rig.interlude()
            head = await rig.store.load_head("s")
            assert head is not None
            assert (head.revision, head.leaf_id, head.leaf_digest) == (
                2,
                before.leaf_id,
                before.leaf_digest,
            )

    async def test_the_history_is_named_by_its_content(self) -> None:
        async with self.rig() as rig:
            for session, text in (("one", "hi"), ("two", "hi"), ("three", "ho")):
                fence = (await rig.accept("t1", session=session)).lease.fence
                commit = turn_commit("t1", fence, session=session, text=text)
                await rig.store.commit_turn(commit)
            await rig.interlude()
            heads = [await rig.store.load_head(session) for session in ("one", "two", "three")]
            one, two, three = (head.leaf_digest for head in heads if head is not None)
            assert one == two
            assert one != three

    async def test_the_lease_is_released_with_the_last_open_turn(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            first = await rig.store.commit_turn(turn_commit("t1", fence))
            assert expect(CommitReceipt, first).lease_kept
            await rig.interlude()
            held = await rig.holder()
            assert held is not None
            assert held.fence == fence
            second = await rig.store.commit_turn(turn_commit("t2", fence, revision=1))
            assert not expect(CommitReceipt, second).lease_kept
            await rig.interlude()
            assert await rig.store.lease_of("s") == LeaseState(fencing_token=1)

    async def test_an_expired_lease_that_nobody_took_still_commits(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            rig.expire()
            await rig.interlude()
            expect(CommitReceipt, await rig.store.commit_turn(turn_commit("t1", fence)))

    async def test_waiting_journal_records_land_with_the_turn(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            early, late = record("r1"), record("r2", '{"type":"sleep","due_at_ms":9}')
            await rig.store.commit_turn(turn_commit("t1", fence, journal=(early, late)))
            await rig.interlude()
            assert list(await rig.store.load_journal(scope_of("t1"))) == [early, late]

    async def test_a_parked_turn_that_commits_is_parked_no_more(self) -> None:
        async with self.rig() as rig:
            lease = (await rig.accept("t1")).lease
            reason = Parked(code="agent_missing", message="no such agent here")
            await rig.store.park_turn("s", "t1", reason, lease.fence)
            await rig.interlude()
            expect(CommitReceipt, await rig.store.commit_turn(turn_commit("t1", lease.fence)))
            await rig.interlude()
            (summary,) = await rig.store.list_sessions()
            assert (summary.state, summary.parked) == ("idle", None)
            await rig.accept("t2")

    async def test_the_same_commit_again_is_answered_with_its_receipt(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            commit = turn_commit("t1", fence)
            first = expect(CommitReceipt, await rig.store.commit_turn(commit))
            async with rig.untouched():
                again = expect(CommitReceipt, await rig.store.commit_turn(commit))
            assert (again.record, again.head) == (first.record, first.head)
            assert (again.replayed, again.lease_kept) == (True, True)

    async def test_a_receipt_outlives_the_lease_and_the_head(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            commit = turn_commit("t1", fence)
            first = expect(CommitReceipt, await rig.store.commit_turn(commit))
            await rig.settle("t2", revision=1)
            await rig.claim(BEN)
            async with rig.untouched():
                again = expect(CommitReceipt, await rig.store.commit_turn(commit))
            assert again.record == first.record
            assert again.head.revision == 2
            assert (again.replayed, again.lease_kept) == (True, False)

    async def test_the_writer_of_a_repeated_commit_does_not_matter(self) -> None:
        async with self.rig() as rig:
            left = await rig.accept("t1", owner=ANA)
            first = await rig.store.commit_turn(turn_commit("t1", left.lease.fence))
            taken = await rig.claim(BEN)
            again = await rig.store.commit_turn(turn_commit("t1", taken.lease.fence))
            assert expect(CommitReceipt, again).record == expect(CommitReceipt, first).record

    async def test_of_two_turns_that_race_for_a_head_one_lands(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            await rig.interlude()
            answers = await asyncio.gather(
                rig.store.commit_turn(turn_commit("t1", fence)),
                rig.store.commit_turn(turn_commit("t2", fence)),
            )
            (won,) = [answer for answer in answers if isinstance(answer, CommitReceipt)]
            (lost,) = [answer for answer in answers if isinstance(answer, CommitRefused)]
            assert lost.code == "head_revision_conflict"
            await rig.interlude()
            assert list(await rig.store.list_turns("s")) == [won.record]
            assert len(list(await rig.store.load_path("s"))) == 2

    async def test_many_sessions_go_on_at_once_and_apart(self) -> None:
        async with self.rig() as rig:
            names = [f"s{number:02}" for number in range(20)]

            async def live(session: str) -> None:
                for number in range(3):
                    await rig.settle(f"t{number}", session=session, revision=number)

            await asyncio.gather(*(live(name) for name in names))
            await rig.interlude()
            for name in names:
                turns = await rig.store.list_turns(name)
                assert [turn.turn_id for turn in turns] == ["t0", "t1", "t2"]
                assert [turn.revision for turn in turns] == [1, 2, 3]
                assert len(list(await rig.store.load_path(name))) == 6
            assert len(list(await rig.store.list_sessions())) == len(names)
