"""References: who may read what, whose they are, and what commits, forks and deletions do to them."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import msgspec

from lash.attachments.model import AttachmentMeta, ImageMetadata
from lash.attachments.transitions import AttachmentIntent, OwnerDeleted, WriteGranted
from lash.sessions.committing import CommitReceipt, CommitRefused
from lash.testing.conformance.attachments.shelf import (
    AttachmentProperties,
    Shelf,
    id_of,
    intent,
    process,
    turn,
)
from lash.testing.conformance.deleting import delete
from lash.testing.conformance.forking import fork
from lash.testing.conformance.processes.registry import Registry
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, BEN, turn_commit


class ReferenceProperties(AttachmentProperties):
    """`begin_write`, `commit_refs`, `forget` and what can be read."""

    async def test_a_reference_is_told_as_it_was_given(self) -> None:
        async with self.shelf() as shelf:
            meta = AttachmentMeta(
                media_type="image/png",
                byte_len=7,
                type_metadata=ImageMetadata(width=3, height=2),
                label="a plan",
            )
            wanted = AttachmentIntent(
                session_id="s", attachment_id=id_of("x"), meta=meta, owner=turn("t1")
            )
            assert await shelf.begin(wanted) == WriteGranted(revoked=False)
            now_ms = shelf.rig.clock.now_ms()
            await shelf.interlude()
            entry = await shelf.manifest.find_ref("s", id_of("x"))
            assert entry is not None
            assert entry.intent == wanted
            assert (entry.intent_at_ms, entry.committed_at_ms) == (now_ms, None)
            assert (entry.ref.id, entry.ref.media_type, entry.ref.label) == (
                id_of("x"),
                "image/png",
                "a plan",
            )

    async def test_a_reference_is_its_sessions_alone(self) -> None:
        async with self.shelf() as shelf:
            await shelf.put("x")
            await shelf.interlude()
            assert await shelf.manifest.holds_ref("s", id_of("x"))
            assert not await shelf.manifest.holds_ref("z", id_of("x"))
            assert await shelf.manifest.find_ref("z", id_of("x")) is None
            assert list(await shelf.manifest.list_refs("z")) == []

    async def test_the_same_again_gets_a_new_time_and_what_is_said_of_it_now(self) -> None:
        async with self.shelf() as shelf:
            await shelf.refer("x")
            shelf.rig.clock.advance(5)
            await shelf.begin(intent("x", label="new"))
            await shelf.interlude()
            (entry,) = await shelf.manifest.list_refs("s")
            assert entry.intent_at_ms == shelf.rig.clock.now_ms()
            assert entry.ref.label == "new"

    async def test_a_content_of_two_owners_is_listed_once_and_the_committed_one_first(self) -> None:
        async with self.shelf() as shelf:
            await shelf.begin(intent("x", label="kept"))
            await shelf.manifest.commit_refs("s", [id_of("x")])
            shelf.rig.clock.advance(1)
            await shelf.begin(intent("x", turn("t1"), label="newer"))
            await shelf.refer("a")
            await shelf.interlude()
            listed = await shelf.manifest.list_refs("s")
            assert [entry.ref.id for entry in listed] == sorted([id_of("a"), id_of("x")])
            found = await shelf.manifest.find_ref("s", id_of("x"))
            assert found is not None
            assert found.ref.label == "kept"

    async def test_putting_what_is_committed_again_leaves_it_committed(self) -> None:
        async with self.shelf() as shelf:
            await shelf.refer("x")
            assert list(await shelf.manifest.commit_refs("s", [id_of("x")])) == []
            await shelf.interlude()
            await shelf.refer("x")
            shelf.age()
            assert await shelf.manifest.forget_aged_uncommitted(shelf.rig.clock.now_ms()) == 0
            assert await shelf.held() == {id_of("x"): True}

    async def test_committing_never_adds_a_reference_and_then_changes_nothing(self) -> None:
        async with self.shelf() as shelf:
            await shelf.refer("x")
            wanted = [id_of("x"), id_of("y")]
            assert list(await shelf.manifest.commit_refs("s", wanted)) == [id_of("y")]
            await shelf.interlude()
            assert await shelf.held() == {id_of("x"): False}
            assert not await shelf.manifest.has_root(id_of("y"))

    async def test_forgetting_drops_a_session_s_references_and_no_others(self) -> None:
        async with self.shelf() as shelf:
            await shelf.put("x")
            await shelf.refer("x", turn("t1"))
            await shelf.put("x", session="z")
            assert await shelf.manifest.forget("s", id_of("x"))
            assert not await shelf.manifest.forget("s", id_of("x"))
            await shelf.interlude()
            assert (await shelf.held(), await shelf.held("z")) == ({}, {id_of("x"): False})
            assert await shelf.has(id_of("x"))

    async def test_the_roots_are_all_that_anybody_refers_to(self) -> None:
        async with self.shelf() as shelf:
            assert await shelf.manifest.roots() == frozenset()
            await shelf.refer("x")
            await shelf.refer("x", session="z")
            await shelf.refer("y", process("p"), session="process-env:p")
            await shelf.interlude()
            assert await shelf.manifest.roots() == {id_of("x"), id_of("y")}
            assert await shelf.manifest.has_root(id_of("y"))
            assert not await shelf.manifest.has_root(id_of("z"))


class OwnerProperties(AttachmentProperties):
    """What keeps a reference that nobody has committed."""

    async def _aged(self, shelf: Shelf) -> dict[str, bool]:
        """What is left once all that is there was forgotten that may be."""
        shelf.age()
        await shelf.interlude()
        await shelf.manifest.forget_aged_uncommitted(shelf.rig.clock.now_ms())
        return await shelf.held()

    async def test_nobody_s_reference_lives_by_its_age_alone(self) -> None:
        async with self.shelf() as shelf:
            await shelf.refer("x")
            put_at = shelf.rig.clock.now_ms()
            shelf.rig.clock.advance(1)
            await shelf.refer("y")
            assert await shelf.manifest.forget_aged_uncommitted(put_at - 1) == 0
            assert await shelf.manifest.forget_aged_uncommitted(put_at) == 1
            await shelf.interlude()
            assert await shelf.held() == {id_of("y"): False}

    async def test_of_dropping_and_committing_at_once_nothing_is_lost(self) -> None:
        async with self.shelf() as shelf:
            put = [await shelf.refer(str(number)) for number in range(8)]
            shelf.age()
            now_ms = shelf.rig.clock.now_ms()
            dropping = asyncio.create_task(shelf.manifest.forget_aged_uncommitted(now_ms))
            answers = await asyncio.gather(
                *(shelf.manifest.commit_refs("s", [each]) for each in put)
            )
            await dropping
            await shelf.interlude()
            # Whoever heard that a reference is committed may count on it.
            missing = {each for answer in answers for each in answer}
            assert await shelf.held() == {each: True for each in put if each not in missing}

    async def test_what_is_uncommitted_is_listed_oldest_first(self) -> None:
        async with self.shelf() as shelf:
            await shelf.refer("kept")
            await shelf.manifest.commit_refs("s", [id_of("kept")])
            await shelf.refer("y", turn("t1"))
            shelf.rig.clock.advance(1)
            await shelf.refer("x")
            now_ms = shelf.rig.clock.now_ms()
            await shelf.interlude()
            found = await shelf.manifest.list_uncommitted(now_ms)
            assert [entry.intent for entry in found] == [intent("y", turn("t1")), intent("x")]
            assert len(await shelf.manifest.list_uncommitted(now_ms - 1)) == 1

    async def test_a_turn_that_is_open_keeps_what_it_put_however_long_it_takes(self) -> None:
        async with self.shelf() as shelf:
            await shelf.rig.accept("t1")
            await shelf.put("x", turn("t1"))
            assert await self._aged(shelf) == {id_of("x"): False}

    async def test_attachment_owner_cold_replay(self) -> None:
        async with self.shelf() as shelf:
            await shelf.rig.accept("t1")
            await shelf.put("x", turn("t1"))
            for _ in range(3):  # the machine dies, and weeks pass until somebody takes the turn up
                shelf.rig.clock.advance(30 * 24 * 3600)
                await shelf.interlude()
                await shelf.sweep()
            fence = (await shelf.rig.claim(BEN)).lease.fence
            assert (await shelf.session().get(id_of("x"))).data == b"x"
            await shelf.rig.commit("t1", fence)
            await shelf.sweep(grace_ms=0)
            assert (await shelf.session().get(id_of("x"))).data == b"x"
            assert await shelf.held() == {id_of("x"): True}

    async def test_superseded_turn_leg(self) -> None:
        async with self.shelf() as shelf:
            lease = (await shelf.rig.accept("t1")).lease
            await shelf.refer("x", turn("t1"))
            again = await shelf.rig.store.restart_turn("s", "t1", lease.fence)
            assert again is not None
            await shelf.refer("y", turn(again.turn_id))
            assert await self._aged(shelf) == {id_of("y"): False}

    async def test_what_is_put_for_a_turn_behind_its_commit_is_nobody_s(self) -> None:
        async with self.shelf() as shelf:
            await shelf.rig.settle("t1")
            await shelf.refer("late", turn("t1"))
            assert await shelf.held() == {id_of("late"): False}
            assert await self._aged(shelf) == {}

    async def test_of_a_turn_that_nobody_has_heard_of_nothing_is_dropped(self) -> None:
        async with self.shelf() as shelf:
            await shelf.rig.settle("t1")
            await shelf.refer("x", turn("t2"))
            await shelf.refer("x", turn("t1"), session="never begun")
            assert await self._aged(shelf) == {id_of("x"): False}
            assert await shelf.held("never begun") == {id_of("x"): False}

    async def test_process_owner_leg(self) -> None:
        async with self.shelf() as shelf:
            registry = Registry(shelf.rig)
            await registry.ended("p")
            await registry.register("q")
            await shelf.refer("x", process("p"))
            await shelf.refer("y", process("q"), session="process-env:q")
            assert await self._aged(shelf) == {id_of("x"): False}
            await registry.prune()
            shelf.age()
            await shelf.interlude()
            now_ms = shelf.rig.clock.now_ms()
            assert await shelf.manifest.forget_aged_uncommitted(now_ms) == 1
            assert await shelf.manifest.roots() == {id_of("y")}

    async def test_what_one_owner_leaves_another_keeps(self) -> None:
        async with self.shelf() as shelf:
            await shelf.rig.accept("t1")
            await Registry(shelf.rig).register("p")
            for owner in (turn("t1"), process("p"), None):
                await shelf.refer("x", owner)
            shelf.age()
            now_ms = shelf.rig.clock.now_ms()
            assert await shelf.manifest.forget_aged_uncommitted(now_ms) == 1
            fence = (await shelf.rig.claim(ANA)).lease.fence
            await shelf.rig.commit("t1", fence)
            await shelf.interlude()
            assert await shelf.held() == {id_of("x"): True}


class CommitRefProperties(AttachmentProperties):
    """What turns, forks and deletions do to references, in their own transactions."""

    async def test_committing_a_turn_commits_what_it_owns_and_nothing_else(self) -> None:
        async with self.shelf() as shelf:
            fence = (await shelf.rig.accept("t1")).lease.fence
            await shelf.refer("mine", turn("t1"))
            await shelf.refer("other's", turn("t2"))
            await shelf.refer("nobody's")
            await shelf.refer("mine", turn("t1"), session="z")
            await shelf.rig.commit("t1", fence)
            await shelf.interlude()
            assert await shelf.held() == {
                id_of("mine"): True,
                id_of("other's"): False,
                id_of("nobody's"): False,
            }
            assert await shelf.held("z") == {id_of("mine"): False}

    async def test_a_turn_adopts_what_it_names(self) -> None:
        async with self.shelf() as shelf:
            fence = (await shelf.rig.accept("t1")).lease.fence
            await shelf.refer("x")
            await shelf.refer("y", process("p"))
            await shelf.refer("z")
            commit = msgspec.structs.replace(
                turn_commit("t1", fence), attachments=(id_of("x"), id_of("y"))
            )
            expect(CommitReceipt, await shelf.rig.store.commit_turn(commit))
            await shelf.interlude()
            assert await shelf.held() == {
                id_of("x"): True,
                id_of("y"): True,
                id_of("z"): False,
            }

    async def test_a_turn_that_names_what_is_not_there_leaves_no_trace(self) -> None:
        async with self.shelf() as shelf:
            fence = (await shelf.rig.accept("t1")).lease.fence
            await shelf.refer("mine", turn("t1"))
            await shelf.refer("x", session="z")  # another session's does not count
            commit = msgspec.structs.replace(turn_commit("t1", fence), attachments=(id_of("x"),))
            async with shelf.rig.untouched():
                refused = expect(CommitRefused, await shelf.rig.store.commit_turn(commit))
                assert refused.code == "attachment_ref_missing"
                assert id_of("x") in refused.message
            assert await shelf.held() == {id_of("mine"): False}
            await shelf.refer("x")
            expect(CommitReceipt, await shelf.rig.store.commit_turn(commit))
            assert await shelf.held() == {id_of("mine"): True, id_of("x"): True}

    async def test_a_commit_that_is_refused_commits_no_reference(self) -> None:
        async with self.shelf() as shelf:
            fence = (await shelf.rig.accept("t1")).lease.fence
            await shelf.refer("mine", turn("t1"))
            refused = await shelf.rig.store.commit_turn(turn_commit("t1", fence, revision=7))
            expect(CommitRefused, refused)
            await shelf.interlude()
            assert await shelf.held() == {id_of("mine"): False}

    async def test_a_fork_refers_to_what_its_source_had_committed(self) -> None:
        async with self.shelf() as shelf:
            fence = (await shelf.rig.accept("t1")).lease.fence
            await shelf.put("shared", turn("t1"))
            await shelf.rig.commit("t1", fence)
            await shelf.put("draft")
            await fork(shelf.rig)
            await shelf.put("later")
            await shelf.interlude()
            assert await shelf.held("f") == {id_of("shared"): True}
            await shelf.manifest.forget("s", id_of("shared"))
            await delete(shelf.rig)
            shelf.age()
            await shelf.sweep()
            assert (await shelf.session("f").get(id_of("shared"))).data == b"shared"
            assert await shelf.kept() == {id_of("shared")}

    async def test_of_a_deleted_session_nothing_is_referred_to_and_nothing_can_be_put(self) -> None:
        async with self.shelf() as shelf:
            await shelf.rig.settle("t1")
            await shelf.put("x")
            await shelf.manifest.commit_refs("s", [id_of("x")])
            await shelf.put("x", session="z")
            await delete(shelf.rig)
            await shelf.interlude()
            assert (await shelf.held(), await shelf.held("z")) == ({}, {id_of("x"): False})
            assert await shelf.begin(intent("y")) == OwnerDeleted()
            assert not await shelf.manifest.has_root(id_of("y"))
