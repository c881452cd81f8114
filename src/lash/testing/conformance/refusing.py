"""Commits that must not land. Each refusal leaves the session, its journal and its lease as they were."""

# ruff: noqa: D102  the name of a property says what it promises

from collections.abc import Sequence

import pytest

from lash.core.leases import Fence
from lash.effects.journal import JournalRecord
from lash.sessions.committing import CommitRefused
from lash.testing.conformance.rig import Properties, Rig, authority, expect
from lash.testing.conformance.samples import (
    ANA,
    BEN,
    exchange,
    record,
    scope_of,
    tool_call,
    tool_result,
    transient,
    turn_commit,
)
from lash.turn.messages import Message, text_message

_USER, _ANSWER = exchange("t2")
_TAKEN = text_message("t1.m0", "user", "an id of the first turn")
_MALFORMED: dict[str, Sequence[Message]] = {
    "two messages of one id": (_USER, _USER),
    "a message of the history": (_USER, _TAKEN),
    "a transient message": (_USER, transient("t2.m9"), _ANSWER),
    "a call without an answer": (_USER, tool_call("t2.m1", "c1")),
    "an answer without a call": (_USER, tool_result("t2.m1", "c1"), _ANSWER),
}
_COLLIDING: dict[str, Sequence[JournalRecord]] = {
    "a recorded key": (record("new"), record("r1", '{"type":"sleep","due_at_ms":9}')),
    "one key twice": (record("new"), record("new", '{"type":"sleep","due_at_ms":9}')),
}


class RefusalProperties(Properties):
    """`commit_turn` when it refuses."""

    async def _second_turn(self, rig: Rig) -> Fence:
        """A session with a committed turn, an open one that left a journal, and its lease."""
        await rig.settle("t1")
        lease = (await rig.accept("t2")).lease
        await rig.store.record(scope_of("t2"), [record("r1")], authority(lease))
        return lease.fence

    @pytest.mark.parametrize("why", _MALFORMED)
    async def test_malformed_messages_are_refused(self, why: str) -> None:
        async with self.rig() as rig:
            fence = await self._second_turn(rig)
            commit = turn_commit(
                "t2", fence, revision=1, messages=_MALFORMED[why], journal=[record("r2")]
            )
            async with rig.untouched():
                answer = await rig.store.commit_turn(commit)
            assert expect(CommitRefused, answer).code == "turn_commit_conflict"

    @pytest.mark.parametrize("why", _COLLIDING)
    async def test_colliding_journal_records_are_refused(self, why: str) -> None:
        async with self.rig() as rig:
            fence = await self._second_turn(rig)
            commit = turn_commit("t2", fence, revision=1, journal=_COLLIDING[why])
            async with rig.untouched():
                answer = await rig.store.commit_turn(commit)
            assert expect(CommitRefused, answer).code == "turn_commit_conflict"

    @pytest.mark.parametrize("revision", [0, 2])
    async def test_another_head_is_refused(self, revision: int) -> None:
        async with self.rig() as rig:
            fence = await self._second_turn(rig)
            commit = turn_commit("t2", fence, revision=revision, journal=[record("r2")])
            async with rig.untouched():
                answer = await rig.store.commit_turn(commit)
            assert expect(CommitRefused, answer).code == "head_revision_conflict"

    async def test_a_deposed_writer_is_refused(self) -> None:
        async with self.rig() as rig:
            fence = await self._second_turn(rig)
            rig.expire()
            await rig.claim(BEN)
            commit = turn_commit("t2", fence, revision=1, journal=[record("r2")])
            async with rig.untouched():
                answer = await rig.store.commit_turn(commit)
            assert expect(CommitRefused, answer).code == "session_execution_lease_lost"

    async def test_a_writer_that_gave_its_lease_back_is_refused(self) -> None:
        async with self.rig() as rig:
            fence = await self._second_turn(rig)
            assert await rig.store.release_lease("s", fence) == "released"
            async with rig.untouched():
                answer = await rig.store.commit_turn(turn_commit("t2", fence, revision=1))
            assert expect(CommitRefused, answer).code == "session_execution_lease_lost"

    @pytest.mark.parametrize(("token", "nonce"), [(2, "forged"), (1, None), (3, None)])
    async def test_half_a_fence_is_refused(self, token: int, nonce: str | None) -> None:
        async with self.rig() as rig:
            fence = await self._second_turn(rig)
            forged = Fence(fencing_token=token, nonce=nonce or fence.nonce)
            async with rig.untouched():
                answer = await rig.store.commit_turn(turn_commit("t2", forged, revision=1))
            assert expect(CommitRefused, answer).code == "session_execution_lease_lost"

    async def test_a_turn_that_was_never_accepted_is_refused(self) -> None:
        async with self.rig() as rig:
            fence = await self._second_turn(rig)
            async with rig.untouched():
                answer = await rig.store.commit_turn(turn_commit("t9", fence, revision=1))
            assert expect(CommitRefused, answer).code == "turn_commit_conflict"
            assert list(await rig.store.load_journal(scope_of("t9"))) == []

    async def test_a_session_that_was_never_heard_of_is_refused(self) -> None:
        async with self.rig() as rig:
            fence = Fence(fencing_token=1, nonce="n")
            answer = await rig.store.commit_turn(turn_commit("t1", fence, session="unknown"))
            assert expect(CommitRefused, answer).code == "session_execution_lease_lost"
            await rig.interlude()
            assert list(await rig.store.list_sessions()) == []

    async def test_another_sessions_lease_is_no_proof(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", session="s", owner=ANA)
            theirs = (await rig.accept("t1", session="other", owner=BEN)).lease
            async with rig.untouched():
                answer = await rig.store.commit_turn(turn_commit("t1", theirs.fence))
            assert expect(CommitRefused, answer).code == "session_execution_lease_lost"

    async def test_a_committed_turn_with_other_content_conflicts(self) -> None:
        async with self.rig() as rig:
            fence = (await rig.accept("t1")).lease.fence
            await rig.accept("t2")
            await rig.store.commit_turn(turn_commit("t1", fence))
            async with rig.untouched():
                answer = await rig.store.commit_turn(turn_commit("t1", fence, text="another end"))
            refused = expect(CommitRefused, answer)
            assert refused.code == "turn_commit_conflict"
            assert "t1" in refused.message
