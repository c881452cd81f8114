"""Deleting a session for ever: nothing of it is left, and nothing can be written to it again."""

# ruff: noqa: D102  the name of a property says what it promises

import msgspec

from lash.core.leases import Busy, LeaseState
from lash.effects.journal import FenceRefused
from lash.effects.waits.model import UnknownOrRevoked
from lash.effects.waits.transitions import WaitRevoked
from lash.sessions.accepting import SessionGone
from lash.sessions.committing import CommitRefused
from lash.sessions.deleting import AlreadyDeleted, Deleted, DeleteReport, NotThere
from lash.sessions.forking import ForkRefused, ForkRequest
from lash.sessions.ingress import InputNotFound
from lash.sessions.model import ChildSession, Parked
from lash.sessions.queueing import CheckpointClaim, EnqueueRefused, TakeRefused
from lash.sessions.stopping import CancelUnknownOrRevoked
from lash.testing.conformance.forking import fork
from lash.testing.conformance.rig import Properties, Rig, authority, expect
from lash.testing.conformance.samples import (
    ANA,
    BEN,
    TTL_MS,
    YES,
    by_id,
    claim,
    entry,
    record,
    request,
    scope_of,
    stop,
    turn_commit,
    wait_row,
)


async def delete(rig: Rig, session: str = "s") -> DeleteReport:
    """Delete a session that must be there and free."""
    return expect(Deleted, await rig.store.delete_session(session, claim(ANA))).report


class DeleteProperties(Properties):
    """`delete_session`."""

    async def _full(self, rig: Rig) -> None:
        """A session with something of everything, and one beside it."""
        await rig.settle("t1")
        await rig.settle("t1", session="other")
        lease = (await rig.accept("t2")).lease
        await rig.store.record(scope_of("t2"), [record("r1"), record("r2")], authority(lease))
        await rig.store.open_wait(wait_row(rig.store))
        await rig.enqueue("i1")
        await rig.enqueue("i2", source_key="k")
        await rig.store.cancel_items("s", [by_id("i1")])
        await rig.store.request_cancel(stop("t2"))

    async def test_nothing_of_the_session_is_left_and_others_are_untouched(self) -> None:
        async with self.rig() as rig:
            await self._full(rig)
            await rig.interlude()
            store = rig.store
            kept = [list(await store.load_path("other")), await store.load_head("other")]
            report = await delete(rig)
            assert report == DeleteReport(
                session_id="s", turns=1, open_turns=1, items=2, nodes=2, records=2, waits=1
            )
            await rig.interlude()
            store = rig.store
            assert await store.load_head("s") is None
            assert list(await store.load_path("s", whole=True)) == []
            assert list(await store.list_turns("s")) == []
            assert list(await store.list_open_turns("s")) == []
            assert list(await store.list_queue("s")) == []
            assert list(await store.list_usage("s")) == []
            assert await store.find_item("s", by_id("i1")) is None
            assert await store.find_turn("s", "t1") is None
            assert list(await store.load_journal(scope_of("t2"))) == []
            assert list(await store.list_waits(scope_of("t1"))) == []
            assert dict(await store.cancelled_turns(["s"])) == {}
            assert [item.session_id for item in await store.list_sessions()] == ["other"]
            assert list(await store.open_sessions()) == []
            assert [list(await store.load_path("other")), await store.load_head("other")] == kept
            assert list(await store.check()) == []

    async def test_every_later_write_is_refused(self) -> None:
        async with self.rig() as rig:
            lease = (await rig.accept("t1")).lease
            row = wait_row(rig.store)
            await delete(rig)
            await rig.interlude()
            store, fence = rig.store, lease.fence
            at_checkpoint = CheckpointClaim(
                session_id="s",
                turn_id="t1",
                checkpoint="after_work",
                effect_key="c1",
                fence=fence,
            )
            parked = Parked(code="agent_missing", message="none here")
            async with rig.untouched():
                expect(SessionGone, await store.accept_turn(request("t1")))
                expect(SessionGone, await store.accept_turn(request("t2")))
                entering = expect(EnqueueRefused, await store.enqueue(entry("i1")))
                assert entering.code == "session_deleted"
                committing = await store.commit_turn(turn_commit("t1", fence))
                assert expect(CommitRefused, committing).code == "session_deleted"
                recorded = await store.record(scope_of("t1"), [record("r")], authority(lease))
                expect(FenceRefused, recorded)
                expect(TakeRefused, await store.take(at_checkpoint))
                assert not await store.has_arrived(at_checkpoint)
                assert await store.claim_session("s", claim(ANA)) is None
                assert list(await store.renew_leases([authority(lease)], TTL_MS)) == ["s"]
                assert await store.release_lease("s", fence) == "lost"
                assert not await store.park_turn("s", "t1", parked, fence)
                assert not await store.note_waiting("s", "t1", parked)
                assert await store.restart_turn("s", "t1", fence) is None
                expect(CancelUnknownOrRevoked, await store.request_cancel(stop("t1")))
                (outcome,) = await store.cancel_items("s", [by_id("i1")])
                expect(InputNotFound, outcome)
                assert await store.open_wait(row) == WaitRevoked()
                assert await store.resolve_wait(row, YES) == UnknownOrRevoked()
                expect(AlreadyDeleted, await store.delete_session("s", claim(BEN)))

    async def test_neither_end_of_a_fork_may_be_deleted(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await rig.settle("t1", session="other")
            await delete(rig)
            await rig.interlude()
            for source, new in (("s", "f"), ("other", "s")):
                asked = ForkRequest(source_id=source, new_id=new)
                refused = expect(ForkRefused, await rig.store.fork_session(asked))
                assert refused.code == "session_deleted"

    async def test_an_id_that_was_never_used_is_not_used_up(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1", session="other")
            async with rig.untouched():
                expect(NotThere, await rig.store.delete_session("s", claim(ANA)))
            await rig.settle("t1")

    async def test_deleting_again_changes_nothing(self) -> None:
        async with self.rig() as rig:
            await self._full(rig)
            await delete(rig)
            async with rig.untouched():
                again = await rig.store.delete_session("s", claim(ANA))
            expect(AlreadyDeleted, again)

    async def test_a_live_owner_keeps_its_session(self) -> None:
        async with self.rig() as rig:
            lease = (await rig.accept("t1", owner=BEN)).lease
            async with rig.untouched():
                busy = await rig.store.delete_session("s", claim(ANA))
            assert expect(Busy, busy).holder == lease
            rig.expire()
            await delete(rig)
            assert await rig.store.load_head("s") is None

    async def test_the_last_token_outlives_the_session(self) -> None:
        async with self.rig() as rig:
            await rig.accept("t1", owner=BEN)
            rig.expire()
            await delete(rig)
            await rig.interlude()
            assert await rig.store.lease_of("s") == LeaseState(fencing_token=2)

    async def test_its_own_driver_may_delete_a_session_and_is_fenced_out(self) -> None:
        async with self.rig() as rig:
            lease = (await rig.accept("t1")).lease
            await delete(rig)
            await rig.interlude()
            recorded = await rig.store.record(scope_of("t1"), [record("r")], authority(lease))
            expect(FenceRefused, recorded)
            assert await rig.holder() is None

    async def test_forks_and_children_live_on_and_are_named(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await fork(rig, "f")
            await fork(rig, "g", source="f")
            child = ChildSession(parent_session_id="s", turn_id="t1", call_id="c1")
            wanted = msgspec.structs.replace(request("t1", session="child"), relation=child)
            await rig.store.accept_turn(wanted)
            await rig.interlude()
            report = await delete(rig)
            assert report.orphans == ("child", "f")
            assert (report.nodes, report.shares_history) == (0, True)
            await rig.interlude()
            assert await rig.path("f") == ["t1.m0", "t1.m1"]
            assert await rig.path("g") == ["t1.m0", "t1.m1"]
            await rig.settle("t2", session="g")
            assert await rig.path("g") == ["t1.m0", "t1.m1", "t2.m0", "t2.m1"]
            assert list(await rig.store.check()) == []

    async def test_a_fork_is_deleted_without_its_source(self) -> None:
        async with self.rig() as rig:
            await rig.settle("t1")
            await fork(rig)
            await rig.settle("t2", session="f")
            report = await delete(rig, "f")
            assert (report.nodes, report.shares_history, report.orphans) == (2, False, ())
            await rig.interlude()
            assert await rig.path() == ["t1.m0", "t1.m1"]
