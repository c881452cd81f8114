"""Agent frames: what the model sees begins after the last one opened, and nothing is lost before it."""

# ruff: noqa: D102  the name of a property says what it promises

from collections.abc import Sequence

import msgspec

from lash.core.leases import Fence
from lash.sessions.committing import CommitReceipt, CommitRefused, TurnCommit
from lash.sessions.ingress import ActiveTurn, NextTurn
from lash.sessions.model import FrameOpen, SessionNode
from lash.sessions.stopping import CancelAlreadyRequested
from lash.testing.conformance.rig import Properties, expect
from lash.testing.conformance.samples import (
    BEN,
    stop,
    tool_call,
    turn_commit,
)
from lash.turn.messages import Message, text_message
from lash.turn.outcome import AgentFrameSwitch, AssistantMessage, Finished


def opening(
    turn_id: str,
    fence: Fence,
    frame_id: str,
    *,
    revision: int = 0,
    before: str = "s:frame:initial",
    task: str | None = "go on",
    messages: Sequence[Message] | None = None,
) -> TurnCommit:
    """The commit of a turn that opens a frame; it hands over a task, if there is one."""
    begins = [text_message(f"{frame_id}.m0", "user", "in short")] if messages is None else messages
    ended = Finished(result=AssistantMessage(text="done"))
    return msgspec.structs.replace(
        turn_commit(turn_id, fence, revision=revision),
        frame=FrameOpen(frame_id=frame_id, reason="continue_as", previous_frame_id=before),
        frame_messages=tuple(begins),
        outcome=AgentFrameSwitch(frame_id=frame_id, task=task) if task else ended,
    )


def ids(path: Sequence[SessionNode]) -> list[str]:
    """The ids of nodes."""
    return [node.node_id for node in path]


class FrameProperties(Properties):
    """`commit_turn` with a frame, `load_path` and the chain of turns that goes on in frames."""

    async def test_the_path_begins_at_the_frame_and_the_whole_path_at_the_root(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            commit = opening("t1", fence, "f1", task=None)
            await rig.store.commit_turn(commit)
            await rig.interlude()
            head = await rig.head()
            assert (head.frame_id, head.frame, head.leaf_id) == ("f1", "f1", "f1.m0")
            path = await rig.store.load_path("s")
            assert ids(path) == ["frame:t1", "f1.m0"]
            assert path[0].frame == commit.frame
            assert path[0].message is None
            assert await rig.path() == ["t1.m0", "t1.m1", "frame:t1", "f1.m0"]

    async def test_a_session_begins_in_a_frame_that_nothing_opens(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await rig.interlude()
            head = await rig.head()
            assert (head.frame_id, head.frame) == ("", "s:frame:initial")
            assert ids(await rig.store.load_path("s")) == await rig.path()

    async def test_turns_go_on_in_the_frame_and_the_last_one_opened_counts(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.store.commit_turn(opening("t1", fence, "f1", task=None))
            fence = (await rig.accept("t2")).lease.fence
            await rig.commit("t2", fence, 1)
            await rig.interlude()
            path = ids(await rig.store.load_path("s"))
            assert path == ["frame:t1", "f1.m0", "t2.m0", "t2.m1"]
            fence = (await rig.accept("t3")).lease.fence
            third = opening("t3", fence, "f2", revision=2, before="f1", task=None, messages=[])
            expect(CommitReceipt, await rig.store.commit_turn(third))
            await rig.interlude()
            assert ids(await rig.store.load_path("s")) == ["frame:t3"]
            assert len(await rig.path()) == 9

    async def test_the_history_is_named_by_its_frames_too(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.store.commit_turn(opening("t1", fence, "f1", task=None))
            whole = await rig.store.load_path("s", whole=True)
            assert len({node.digest for node in whole}) == 4
            assert [node.parent_id for node in whole] == [None, "t1.m0", "t1.m1", "frame:t1"]

    async def test_a_task_handed_over_is_the_next_turn_before_anything_else(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            await rig.enqueue("i1", ingress=NextTurn())
            first = expect(CommitReceipt, await rig.store.commit_turn(opening("t1", fence, "f1")))
            following = first.following
            assert following is not None
            task = following.input.frame_task
            assert task is not None
            assert (task.frame_id, task.task, task.root, task.switches) == ("f1", "go on", "t1", 1)
            assert first.lease_kept
            await rig.interlude()
            assert await rig.open_turns() == [following.turn_id, "t2"]
            second = expect(
                CommitReceipt,
                await rig.store.commit_turn(
                    opening(following.turn_id, fence, "f2", revision=1, before="f1", task="more")
                ),
            )
            last = second.following
            assert last is not None
            assert last.input.frame_task is not None
            assert (last.input.frame_task.root, last.input.frame_task.switches) == ("t1", 2)
            assert (await rig.commit(last.turn_id, fence, 2)).following is None
            assert await rig.open_turns() == ["t2"]

    async def test_a_chain_goes_on_with_its_successor(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            first = await rig.store.commit_turn(opening("t1", fence, "f1"))
            following = expect(CommitReceipt, first).following
            rig.expire()
            await rig.interlude()
            taken = await rig.claim(BEN)
            assert taken.turns == (following,)
            assert taken.head.frame_id == "f1"

    async def test_stopping_the_first_turn_of_a_chain_stops_where_it_has_come_to(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            first = await rig.store.commit_turn(opening("t1", fence, "f1"))
            following = expect(CommitReceipt, first).following
            assert following is not None
            await rig.store.request_cancel(stop("t1"))
            await rig.interlude()
            again = await rig.store.request_cancel(stop("t1", by="ben"))
            assert expect(CancelAlreadyRequested, again).turn_id == following.turn_id
            refused = await rig.store.commit_turn(turn_commit(following.turn_id, fence, revision=1))
            assert expect(CommitRefused, refused).code == "turn_cancel_requested"

    async def test_every_id_of_a_chain_leads_to_where_it_has_come_to(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            again = await rig.store.restart_turn("s", "t1", fence)
            assert again is not None
            turn_id, names = again.turn_id, ["t1"]
            for revision, frame in enumerate(("f1", "f2")):
                names.append(turn_id)
                answer = await rig.store.commit_turn(
                    opening(turn_id, fence, frame, revision=revision)
                )
                following = expect(CommitReceipt, answer).following
                assert following is not None
                turn_id = following.turn_id
            await rig.interlude()
            for name in names:
                item = await rig.enqueue(f"to-{name}", ingress=ActiveTurn(turn_id=name))
                assert (item.state, item.turn_id) == ("pending_active", turn_id)
            await rig.store.request_cancel(stop(names[0]))
            for name in names[1:]:
                told = await rig.store.request_cancel(stop(name, by="ben"))
                assert expect(CancelAlreadyRequested, told).turn_id == turn_id

    async def test_a_malformed_frame_is_refused(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            half = opening("t1", fence, "f1", messages=[tool_call("f1.m0", "c1")])
            again = text_message("t1.m0", "user", "an id of the turn")
            twice = opening("t1", fence, "f1", messages=[again])
            async with rig.untouched():
                for commit in (half, twice):
                    answer = expect(CommitRefused, await rig.store.commit_turn(commit))
                    assert answer.code == "turn_commit_conflict"

    async def test_the_same_frame_again_is_answered_with_its_receipt(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            commit = opening("t1", fence, "f1")
            first = expect(CommitReceipt, await rig.store.commit_turn(commit))
            async with rig.untouched():
                again = expect(CommitReceipt, await rig.store.commit_turn(commit))
                other = await rig.store.commit_turn(opening("t1", fence, "f9"))
            assert (again.replayed, again.record) == (True, first.record)
            assert expect(CommitRefused, other).code == "turn_commit_conflict"
