"""Sweeps over a store's references and bytes: nothing is lost that somebody refers to."""

# ruff: noqa: D102  the name of a property says what it promises

from collections.abc import Sequence

from lash.attachments.transitions import BlobStat, CondemnAnswer, Sweeper
from lash.core.errors import StoreError
from lash.core.leases import LeaseOwner
from lash.runtime.attachment_reclaim import ReclaimReport
from lash.testing.conformance.attachments.shelf import (
    OTTO,
    WANDA,
    AttachmentProperties,
    around,
    content,
    error_of,
    id_of,
    intent,
    turn,
    unsupported,
)

X = id_of("x")


async def failing(*_: object) -> frozenset[str]:
    """What a store does whose disk fails."""
    raise StoreError("store_failed", "the disk is gone")


class ReclaimProperties(AttachmentProperties):
    """What a sweep deletes, and what it leaves."""

    async def test_shared_bytes_survive_until_all_refs_released_then_gc_collects(self) -> None:
        async with self.shelf() as shelf:
            await shelf.put("x")
            await shelf.put("x", session="z")
            for session in ("s", "z"):
                await shelf.manifest.commit_refs(session, [X])
            await shelf.manifest.forget("s", X)
            shelf.age()
            await shelf.interlude()
            assert (await shelf.sweep()).reclaimed == 0
            assert (await shelf.session("z").get(X)).data == b"x"
            await shelf.manifest.forget("z", X)
            await shelf.interlude()
            report = await shelf.sweep()
            assert (report.scanned, report.reclaimed, report.reclaimed_bytes) == (1, 1, 1)
            assert (report.status, report.fence) == ("swept", "fenced")
            assert await shelf.kept() == set()
            assert list(await shelf.manifest.condemnations()) == []

    async def test_gc_spares_fresh_in_flight_intents_as_refs(self) -> None:
        async with self.shelf() as shelf:
            # The bytes are old, the intent is new: somebody puts them again at this moment.
            await shelf.blobs.put(X, content("x"))
            shelf.age()
            await shelf.refer("x")
            await shelf.interlude()
            report = await shelf.sweep()
            assert (report.reclaimed, report.status) == (0, "nothing_to_do")
            assert await shelf.has(X)

    async def test_gc_collects_aged_uncommitted_intent_orphan(self) -> None:
        async with self.shelf() as shelf:
            await shelf.put("x")
            await shelf.refer("never written")
            shelf.age()
            await shelf.interlude()
            report = await shelf.sweep()
            assert (report.forgotten, report.reclaimed) == (2, 1)
            assert await shelf.held() == {}
            assert await shelf.kept() == set()

    async def test_a_stuck_intent_retains_the_blob(self) -> None:
        async with self.shelf() as shelf:
            await shelf.rig.accept("t1")
            await shelf.put("x", turn("t1"))
            for _ in range(3):
                shelf.age()
                await shelf.interlude()
                assert (await shelf.sweep()).reclaimed == 0
            assert await shelf.has(X)

    async def test_what_is_new_stays_although_nobody_refers_to_it(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            await shelf.interlude()
            assert (await shelf.sweep()).reclaimed == 0
            shelf.age()
            assert (await shelf.sweep()).reclaimed == 1

    async def test_bytes_without_a_time_count_as_old(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))

            async def listed() -> Sequence[BlobStat]:
                return [BlobStat(attachment_id=X)]

            async def head(_: str) -> BlobStat:
                return BlobStat(attachment_id=X)

            await shelf.sweep(blobs=around(shelf.blobs, list=listed, head=head))
            assert not await shelf.has(X)

    # --- what comes in between ------------------------------------------------------------------

    async def test_condemn_cas_spares_a_live_blob_every_read_shaped_guard_missed(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()
            inner = shelf.manifest

            async def condemn(attachment_id: str, sweeper: Sweeper) -> CondemnAnswer:
                await shelf.refer("x")  # behind the list of references, and no bytes were put yet
                return await inner.condemn(attachment_id, sweeper)

            report = await shelf.sweep(manifest=around(inner, condemn=condemn))
            await shelf.interlude()
            assert (report.reclaimed, report.deferred) == (0, ())
            assert (await shelf.session().get(X)).data == b"x"

    async def test_gc_delete_recheck_spares_blob_refreshed_after_snapshot(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()
            inner = shelf.manifest

            async def condemn(attachment_id: str, sweeper: Sweeper) -> CondemnAnswer:
                await shelf.blobs.put(X, content("x"))  # by somebody who refers to nothing
                return await inner.condemn(attachment_id, sweeper)

            report = await shelf.sweep(manifest=around(inner, condemn=condemn))
            await shelf.interlude()
            assert (report.reclaimed, report.deferred) == (0, ())
            assert await shelf.has(X)
            assert list(await shelf.manifest.condemnations()) == []

    async def test_writer_revoking_a_condemnation_defers_the_digest_without_deleting(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()
            inner = shelf.manifest

            async def arm(attachment_id: str, sweeper: Sweeper) -> str:
                await shelf.refer("x")  # the writer has not come to its bytes yet
                return await inner.arm(attachment_id, sweeper)

            async def release(attachment_id: str, sweeper: Sweeper) -> bool:
                released.append(attachment_id)
                return await inner.release(attachment_id, sweeper)

            released: list[str] = []
            report = await shelf.sweep(manifest=around(inner, arm=arm, release=release))
            await shelf.interlude()
            assert (report.reclaimed, report.deferred) == (0, (X,))
            assert released == []  # it may be a peer's by now
            assert report.status == "incomplete"
            assert (await shelf.session().get(X)).data == b"x"

    async def test_same_content_put_inside_the_delete_window_survives(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()
            answers: list[str] = []

            async def delete(attachment_id: str) -> None:
                answer = await shelf.begin(intent("x"))
                answers.append(str(answer.__struct_config__.tag))
                await shelf.blobs.delete(attachment_id)

            report = await shelf.sweep(blobs=around(shelf.blobs, delete=delete))
            assert answers == ["reclamation_in_flight"]
            assert (report.reclaimed, report.deleted_while_referenced) == (1, ())
            await shelf.interlude()
            await shelf.put("x")  # the writer's next attempt
            assert (await shelf.session().get(X)).data == b"x"

    async def test_a_writer_of_the_facade_waits_until_the_deletion_is_over(self) -> None:
        async with self.shelf() as shelf:
            await shelf.manifest.condemn(X, WANDA)
            await shelf.manifest.arm(X, WANDA)
            await shelf.blobs.put(X, content("x"))
            inner, answers = shelf.manifest, list[str]()

            async def begin_write(wanted: object) -> object:
                answer = await inner.begin_write(wanted)  # type: ignore[arg-type]  # passed on as it is
                answers.append(str(answer.__struct_config__.tag))
                if len(answers) == 3:
                    await shelf.blobs.delete(X)
                    await inner.release(X, WANDA)
                return answer

            store = shelf.session(manifest=around(inner, begin_write=begin_write))
            ref = await store.put(b"x")
            assert answers == ["reclamation_in_flight"] * 3 + ["granted"]
            await shelf.interlude()
            assert (await shelf.session().get(ref.id)).data == b"x"

    async def test_a_peer_sweepers_condemnation_defers_the_digest(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()
            await shelf.manifest.condemn(X, OTTO)
            await shelf.interlude()
            report = await shelf.sweep(sweeper=WANDA)
            assert (report.reclaimed, report.deferred) == (0, (X,))
            assert [fence.sweeper for fence in await shelf.manifest.condemnations()] == [OTTO]

    async def test_what_a_dead_sweeper_left_is_cleared_and_a_living_ones_is_not(self) -> None:
        async with self.shelf() as shelf:
            for text in ("x", "y"):
                await shelf.blobs.put(id_of(text), content(text))
            shelf.age()
            await shelf.manifest.condemn(X, OTTO)
            await shelf.manifest.arm(X, OTTO)
            zoe = Sweeper(owner=LeaseOwner(owner_id="zoe", incarnation="zoe-1"), nonce="n")
            await shelf.manifest.condemn(id_of("y"), zoe)
            await shelf.interlude()
            report = await shelf.sweep(is_dead=lambda owner: owner == OTTO.owner)
            assert (report.cleared, report.reclaimed, report.deferred) == (1, 1, (id_of("y"),))
            report = await shelf.sweep(clear_stuck=True)
            assert (report.cleared, report.reclaimed) == (1, 1)

    async def test_a_sweeper_clears_what_it_left_itself(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()
            await shelf.manifest.condemn(X, Sweeper(owner=WANDA.owner, nonce="the last one"))
            await shelf.interlude()
            report = await shelf.sweep(sweeper=WANDA)
            assert (report.cleared, report.reclaimed) == (1, 1)

    # --- what cannot be known -------------------------------------------------------------------

    async def test_gc_refuses_an_empty_root_set_with_a_deletion_eligible_blob(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()
            await shelf.interlude()
            error = await shelf.refusal()
            assert error.code == "attachment_roots_empty"
            assert error.details == {"report": {"scanned": 1}}
            assert await shelf.has(X)

    async def test_gc_explicit_authorization_permits_an_empty_root_set_sweep(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()
            await shelf.interlude()
            assert (await shelf.sweep(allow_empty=True)).reclaimed == 1

    async def test_gc_empty_root_set_does_not_refuse_when_every_blob_is_fresh(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            await shelf.interlude()
            report = await shelf.sweep(allow_empty=False)
            assert (report.scanned, report.reclaimed) == (1, 0)

    async def test_gc_refuses_when_roots_are_unenumerable_and_blobs_are_only_grace_protected(
        self,
    ) -> None:
        async with self.shelf() as shelf:
            await shelf.put("x")
            await shelf.interlude()
            error = await shelf.refusal(manifest=around(shelf.manifest, roots=failing))
            assert error.code == "attachment_roots_unreadable"
            assert await shelf.has(X)

    async def test_unsupported_root_enumeration_aborts_sweep_and_preserves_blob(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()
            await shelf.interlude()
            manifest = around(shelf.manifest, roots=failing)
            error = await shelf.refusal(manifest=manifest, allow_empty=True)
            assert error.code == "attachment_roots_unreadable"
            assert await shelf.has(X)

    async def test_an_empty_store_is_swept_whatever_becomes_of_its_roots(self) -> None:
        async with self.shelf() as shelf:
            report = await shelf.sweep(manifest=around(shelf.manifest, roots=failing))
            assert "the disk is gone" in (report.root_enumeration_failure or "")
            assert (report.scanned, report.status) == (0, "incomplete")

    async def test_one_content_that_cannot_be_deleted_does_not_stop_the_others(self) -> None:
        async with self.shelf() as shelf:
            for text in ("x", "y"):
                await shelf.blobs.put(id_of(text), content(text))
            shelf.age()

            async def delete(attachment_id: str) -> None:
                if attachment_id == X:
                    raise StoreError("attachment_store_failed", "not now")
                await shelf.blobs.delete(attachment_id)

            report = await shelf.sweep(blobs=around(shelf.blobs, delete=delete))
            await shelf.interlude()
            assert (report.reclaimed, report.failed) == (1, (X,))
            assert list(await shelf.manifest.condemnations()) == []
            assert (await shelf.sweep()).reclaimed == 1

    # --- without a fence ------------------------------------------------------------------------

    async def test_gc_pre_delete_root_recheck_spares_reappeared_ref(self) -> None:
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()

            async def condemn(attachment_id: str, sweeper: Sweeper) -> CondemnAnswer:
                await shelf.refer("x")
                return await unsupported(attachment_id, sweeper)

            report = await shelf.sweep(manifest=around(shelf.manifest, condemn=condemn))
            await shelf.interlude()
            assert (report.reclaimed, report.fence) == (0, "best_effort")
            assert await shelf.has(X)

    async def test_gc_post_delete_root_recheck_alarms_on_window_ref(self) -> None:
        await self._lose_in_the_window()

    async def test_unfenced_root_authority_reports_best_effort_and_detects_the_window_loss(
        self,
    ) -> None:
        report = await self._lose_in_the_window()
        assert report.fence == "best_effort"

    async def _lose_in_the_window(self) -> ReclaimReport:
        """A manifest without a fence, and a writer who comes between the last look and the deletion."""
        async with self.shelf() as shelf:
            await shelf.blobs.put(X, content("x"))
            shelf.age()

            async def delete(attachment_id: str) -> None:
                await shelf.put("x")
                await shelf.blobs.delete(attachment_id)

            report = await shelf.sweep(
                manifest=around(shelf.manifest, condemn=unsupported),
                blobs=around(shelf.blobs, delete=delete),
            )
            assert report.deleted_while_referenced == (X,)
            return report


class SessionAttachmentProperties(AttachmentProperties):
    """What a session sees of attachments, through its own store of them."""

    async def test_facade_get_is_gated_by_manifest_ownership(self) -> None:
        async with self.shelf() as shelf:
            ref = await shelf.session("s").put(b"secret")
            await shelf.interlude()
            others = shelf.session("z")
            there = await error_of(others.get(ref.id))
            nowhere = await error_of(others.get(id_of("unknown")))
            assert there.code == nowhere.code == "attachment_not_found"
            told = there.message.replace(ref.id, id_of("unknown"))
            assert told == nowhere.message

    async def test_attachment_ownership_isolation(self) -> None:
        async with self.shelf() as shelf:
            one = await shelf.session("s").put(b"x", label="mine")
            two = await shelf.session("z").put(b"x", label="yours")
            await shelf.session("s").delete(one.id)
            await shelf.interlude()
            assert one.id == two.id == X
            assert (await shelf.session("z").get(X)).ref.label == "yours"
            assert list(await shelf.session("s").list()) == []

    async def test_facade_delete_drops_ref_but_keeps_backend_bytes(self) -> None:
        async with self.shelf() as shelf:
            ref = await shelf.session().put(b"x")
            assert await shelf.session().delete(ref.id)
            assert not await shelf.session().delete(ref.id)
            await shelf.interlude()
            assert await shelf.has(ref.id)

    async def test_the_intent_stands_before_the_bytes_and_alone_gives_nothing(self) -> None:
        async with self.shelf() as shelf:

            async def put(*_: object) -> str:
                assert await shelf.manifest.holds_ref("s", X)
                raise StoreError("store_full", "no room")

            store = shelf.session(blobs=around(shelf.blobs, put=put))
            assert (await error_of(store.put(b"x"))).code == "store_full"
            assert (await error_of(shelf.session().get(X))).code == "attachment_not_found"
            await shelf.interlude()
            ref = await shelf.session().put(b"x")
            assert (await shelf.session().get(ref.id)).data == b"x"

    async def test_without_an_intent_no_bytes_land(self) -> None:
        async with self.shelf() as shelf:
            store = shelf.session(manifest=around(shelf.manifest, begin_write=failing))
            assert (await error_of(store.put(b"x"))).code == "store_failed"
            assert await shelf.kept() == set()

    async def test_a_deletion_that_a_dead_sweeper_left_holds_no_writer_up(self) -> None:
        async with self.shelf() as shelf:
            await shelf.manifest.condemn(X, WANDA)
            await shelf.manifest.arm(X, WANDA)
            await shelf.interlude()
            ref = await shelf.session(is_dead=lambda owner: owner == WANDA.owner).put(b"x")
            assert list(await shelf.manifest.condemnations()) == []
            await shelf.interlude()
            assert (await shelf.session().get(ref.id)).data == b"x"
