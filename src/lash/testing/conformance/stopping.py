"""Asking a turn to stop, against its commit: the first of the two wins."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import msgspec

from lash.core.leases import Fence
from lash.sessions.committing import CommitReceipt, CommitRefused, TurnCommit
from lash.sessions.stopping import (
    CancelAlreadyRequested,
    CancelRequest,
    CancelRequested,
    CancelUnknownOrRevoked,
    CompletionWonRace,
)
from lash.testing.conformance.rig import Properties, expect
from lash.testing.conformance.samples import BEN, exchange, stop, turn_commit
from lash.turn.outcome import cancelled_by


def stopped(turn_id: str, fence: Fence, request: CancelRequest, *, revision: int = 0) -> TurnCommit:
    """The commit of a turn that heard the request."""
    commit = turn_commit(turn_id, fence, revision=revision, messages=exchange(turn_id)[:1])
    return msgspec.structs.replace(
        commit, outcome=cancelled_by(request.cancellation), cancellation=request.cancellation
    )


class StopProperties(Properties):
    """`request_cancel`, `cancelled_turns` and the gate of `commit_turn`."""

    async def test_a_request_keeps_the_turn_from_committing_as_anything_else(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            wanted = stop("t1")
            answer = await rig.store.request_cancel(wanted)
            assert answer == CancelRequested(turn_id="t1", cancellation=wanted.cancellation)
            async with rig.untouched():
                refused = await rig.store.commit_turn(turn_commit("t1", fence))
            gate = expect(CommitRefused, refused)
            assert gate.code == "turn_cancel_requested"
            assert gate.cancellation == wanted.cancellation
            landed = await rig.store.commit_turn(stopped("t1", fence, wanted))
            assert expect(CommitReceipt, landed).record.cancellation == wanted.cancellation
            await rig.interlude()
            (record,) = await rig.store.list_turns("s")
            assert record.cancellation == wanted.cancellation

    async def test_the_second_to_ask_is_told_who_was_first(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            first = stop("t1", by="ana")
            await rig.store.request_cancel(first)
            async with rig.untouched():
                answer = await rig.store.request_cancel(stop("t1", by="ben"))
            told = expect(CancelAlreadyRequested, answer)
            assert (told.turn_id, told.cancellation) == ("t1", first.cancellation)

    async def test_a_request_before_the_start_sticks(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            wanted = stop("t2")
            expect(CancelRequested, await rig.store.request_cancel(wanted))
            await rig.interlude()
            again = await rig.store.request_cancel(stop("t2", by="ben"))
            assert expect(CancelAlreadyRequested, again).cancellation == wanted.cancellation
            accepted = await rig.accept("t2")
            assert accepted.turn.cancellation == wanted.cancellation
            refused = await rig.store.commit_turn(
                turn_commit("t2", accepted.lease.fence, revision=1)
            )
            assert expect(CommitRefused, refused).code == "turn_cancel_requested"

    async def test_a_turn_that_is_committed_has_won(self) -> None:
        async with self.rig() as rig:
            receipt = await rig.settle("t1")
            async with rig.untouched():
                answer = await rig.store.request_cancel(stop("t1"))
            assert expect(CompletionWonRace, answer).record == receipt.record

    async def test_of_a_commit_and_a_request_at_once_exactly_one_wins(self) -> None:
        async with self.rig() as rig:
            for number in range(4):
                session = f"s{number}"
                fence = (await rig.accept("t1", session=session)).lease.fence
                commit = rig.store.commit_turn(turn_commit("t1", fence, session=session))
                ask = rig.store.request_cancel(stop("t1", session=session))
                landed, answer = (
                    await asyncio.gather(commit, ask)
                    if number % 2
                    else tuple(reversed(await asyncio.gather(ask, commit)))
                )
                if isinstance(landed, CommitReceipt):
                    expect(CompletionWonRace, answer)
                else:
                    expect(CommitRefused, landed)
                    expect(CancelRequested, answer)

    async def test_what_there_is_not_cannot_be_stopped(self) -> None:
        async with self.rig() as rig:
            async with rig.untouched():
                answer = await rig.store.request_cancel(stop("t1"))
            expect(CancelUnknownOrRevoked, answer)

    async def test_requests_belong_to_their_turn_and_session(self) -> None:
        async with self.rig() as rig:
            one = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            other = (await rig.accept("t1", session="other")).lease.fence
            wanted = stop("t2")
            await rig.store.request_cancel(wanted)
            await rig.interlude()
            found = dict(await rig.store.cancelled_turns(["s", "other"]))
            assert found == {("s", "t2"): wanted.cancellation}
            assert dict(await rig.store.cancelled_turns(["other"])) == {}
            await rig.commit("t1", one)
            await rig.commit("t1", other, session="other")

    async def test_open_turns_show_who_stopped_them_and_committed_ones_are_not_told(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            wanted = stop("t1")
            await rig.store.request_cancel(wanted)
            await rig.interlude()
            (turn,) = await rig.store.list_open_turns("s")
            assert turn.cancellation == wanted.cancellation
            known = await rig.store.find_turn("s", "t1")
            assert known is not None
            assert known.open == turn
            await rig.store.commit_turn(stopped("t1", fence, wanted))
            assert dict(await rig.store.cancelled_turns(["s"])) == {}

    async def test_a_successor_hears_the_request(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            wanted = stop("t1")
            await rig.store.request_cancel(wanted)
            rig.expire()
            await rig.interlude()
            (turn,) = (await rig.claim(BEN)).turns
            assert turn.cancellation == wanted.cancellation

    async def test_a_request_follows_a_turn_that_is_begun_again(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            wanted = stop("t1")
            await rig.store.request_cancel(wanted)
            again = await rig.store.restart_turn("s", "t1", fence)
            assert again is not None
            await rig.interlude()
            refused = await rig.store.commit_turn(turn_commit(again.turn_id, fence))
            assert expect(CommitRefused, refused).code == "turn_cancel_requested"
            told = await rig.store.request_cancel(stop("t1", by="ben"))
            assert expect(CancelAlreadyRequested, told).turn_id == again.turn_id
