"""Forking: a session that shares the history of another one, without copying or disturbing it."""

# ruff: noqa: D102  the name of a property says what it promises

import msgspec

from lash.core.leases import LeaseState
from lash.llm.usage import Usage
from lash.sessions.committing import CommitReceipt
from lash.sessions.deleting import Deleted
from lash.sessions.forking import Forked, ForkRefused, ForkRequest
from lash.sessions.model import ForkedSession, SessionConfig, SessionHead
from lash.testing.conformance.framing import opening
from lash.testing.conformance.rig import Properties, Rig, expect
from lash.testing.conformance.samples import (
    ANA,
    SUPPORT,
    claim,
    exchange,
    tool_call,
    tool_result,
)


async def fork(
    rig: Rig, new: str = "f", node: str | None = None, *, source: str = "s"
) -> SessionHead:
    """Fork a session that must be forked."""
    request = ForkRequest(source_id=source, new_id=new, node_id=node)
    return expect(Forked, await rig.store.fork_session(request)).head


class ForkProperties(Properties):
    """`fork_session`."""

    async def _refused(
        self, rig: Rig, new: str, node: str | None = None, *, source: str = "s"
    ) -> ForkRefused:
        request = ForkRequest(source_id=source, new_id=new, node_id=node)
        async with rig.untouched(new):
            return expect(ForkRefused, await rig.store.fork_session(request))

    async def test_a_fork_begins_with_the_history_of_its_source(self) -> None:
        async with self.rig() as rig:
            source = (await rig.settle("t1")).head
            rig.clock.advance(3)
            head = await fork(rig)
            assert head == SessionHead(
                session_id="f",
                agent=SUPPORT,
                created_at_ms=source.created_at_ms + 3_000,
                leaf_id="t1.m1",
                leaf_digest=source.leaf_digest,
                relation=ForkedSession(session_id="s", node_id="t1.m1"),
            )
            await rig.interlude()
            assert await rig.head("f") == head
            shared = list(await rig.store.load_path("s"))
            assert list(await rig.store.load_path("f")) == shared
            assert list(await rig.store.list_turns("f")) == []
            assert list(await rig.store.list_usage("f")) == []
            assert await rig.store.lease_of("f") == LeaseState()
            summaries = {item.session_id: item for item in await rig.store.list_sessions()}
            assert summaries["f"].relation == head.relation
            assert (summaries["f"].state, summaries["f"].turns) == ("idle", 0)

    async def test_both_go_on_apart(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await fork(rig)
            await rig.interlude()
            await rig.settle("t2", revision=1)
            fence = (await rig.accept("t2", "elsewhere", session="f")).lease.fence
            receipt = await rig.commit(
                "t2", fence, session="f", messages=exchange("other", "elsewhere")
            )
            assert (receipt.record.revision, receipt.record.turn_index) == (1, 1)
            assert receipt.head.usage == Usage(input_tokens=10, output_tokens=3)
            await rig.interlude()
            assert await rig.path() == ["t1.m0", "t1.m1", "t2.m0", "t2.m1"]
            assert await rig.path("f") == ["t1.m0", "t1.m1", "other.m0", "other.m1"]
            assert (await rig.head()).revision == 2

    async def test_a_node_in_the_past_may_be_the_last_that_is_shared(self) -> None:
        async with self.rig() as rig:
            first = (await rig.settle("t1")).head
            await rig.settle("t2", revision=1)
            await rig.interlude()
            head = await fork(rig, node="t1.m1")
            assert (head.leaf_id, head.leaf_digest) == ("t1.m1", first.leaf_digest)
            await rig.settle("t9", session="f")
            await rig.interlude()
            assert await rig.path("f") == ["t1.m0", "t1.m1", "t9.m0", "t9.m1"]

    async def test_a_session_without_history_can_be_forked(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1")
            head = await fork(rig)
            assert head.leaf_id is None
            await rig.interlude()
            await rig.settle("t1", session="f")
            assert await rig.path("f") == ["t1.m0", "t1.m1"]

    async def test_a_fork_is_forked_again_also_at_what_it_shares(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await rig.settle("t2", revision=1)
            await fork(rig, "f")
            await rig.settle("t3", session="f")
            await rig.interlude()
            await fork(rig, "g", source="f")
            await fork(rig, "h", "t1.m1", source="f")
            await rig.interlude()
            assert await rig.path("g") == await rig.path("f")
            assert await rig.path("h") == ["t1.m0", "t1.m1"]
            assert (await rig.head("h")).relation == ForkedSession(session_id="f", node_id="t1.m1")

    async def test_a_session_is_forked_while_it_is_driven(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            fence = (await rig.accept("t2")).lease.fence
            async with rig.untouched("s"):
                expect(
                    Forked,
                    await rig.store.fork_session(ForkRequest(source_id="s", new_id="f")),
                )
                expect(Deleted, await rig.store.delete_session("f", claim(ANA)))
            await fork(rig, "g")
            await rig.commit("t2", fence, 1)
            assert await rig.path("g") == ["t1.m0", "t1.m1"]

    async def test_a_fork_keeps_the_configuration_and_the_frame(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            commit = msgspec.structs.replace(
                opening("t1", fence, "f1", task=None), provider_id="openai"
            )
            expect(CommitReceipt, await rig.store.commit_turn(commit))
            await rig.settle("t2", revision=1)
            at_leaf = await fork(rig, "f")
            in_frame = await fork(rig, "g", "f1.m0")
            at_frame = await fork(rig, "h", "frame:t1")
            before = await fork(rig, "i", "t1.m1")
            assert at_leaf.config == SessionConfig(provider_id="openai")
            assert before.config == SessionConfig(provider_id="openai")
            found = [at_leaf.frame_id, in_frame.frame_id, at_frame.frame_id, before.frame]
            assert found == ["f1", "f1", "f1", "i:frame:initial"]
            await rig.interlude()
            path = [node.node_id for node in await rig.store.load_path("g")]
            assert path == ["frame:t1", "f1.m0"]

    async def test_the_same_fork_again_is_answered_while_nothing_was_committed(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            head = await fork(rig, "f", "t1.m1")
            fence = (await rig.accept("t1", session="f")).lease.fence
            await rig.settle("t2", revision=1)
            await rig.interlude()
            async with rig.untouched("f"):
                for node in ("t1.m1", None):
                    request = ForkRequest(source_id="s", new_id="f", node_id=node)
                    again = expect(Forked, await rig.store.fork_session(request))
                    assert (again.head, again.existed) == (head, True)
            other = await self._refused(rig, "f", "t1.m0")
            assert other.code == "fork_session_exists"
            await rig.commit("t1", fence, session="f", messages=exchange("x"))
            late = await self._refused(rig, "f", "t1.m1")
            assert late.code == "fork_session_exists"

    async def test_an_id_that_is_used_is_no_fork(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await rig.accept("t1", session="other")
            assert (await self._refused(rig, "other")).code == "fork_session_exists"
            assert (await self._refused(rig, "s")).code == "fork_session_exists"

    async def test_what_is_not_there_cannot_be_forked(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1", session="other")
            await rig.settle("t2")
            assert (await self._refused(rig, "f", source="none")).code == "session_unknown"
            nowhere = await self._refused(rig, "f", "none")
            assert nowhere.code == "fork_point_not_retained"
            foreign = await self._refused(rig, "f", "t1.m0")
            assert foreign.code == "fork_point_not_retained"

    async def test_what_the_source_added_behind_is_not_the_forks_to_share(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await fork(rig)
            await rig.settle("t2", revision=1)
            refused = await self._refused(rig, "g", "t2.m0", source="f")
            assert refused.code == "fork_point_not_retained"

    async def test_a_fork_never_begins_between_a_call_and_its_answer(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            user, last = exchange("t1")
            messages = (user, tool_call("t1.a", "c1"), tool_result("t1.b", "c1"), last)
            await rig.commit("t1", fence, messages=messages)
            refused = await self._refused(rig, "f", "t1.a")
            assert refused.code == "fork_point_invalid"
            assert "'t1.m0'" in refused.message
            assert (await fork(rig, "f", "t1.b")).leaf_id == "t1.b"
            assert (await fork(rig, "g", "t1.m0")).leaf_id == "t1.m0"

    async def test_a_fork_takes_input_and_stands_in_no_queue_of_its_source(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await rig.enqueue("i1")
            await fork(rig)
            await rig.interlude()
            assert await rig.waiting("f") == []
            first = await rig.enqueue("i1", session="f", agent=None)
            assert first.sequence == 1
            (turn,) = (await rig.claim(ANA, "f")).turns
            assert turn.input.input_ids == ("i1",)
