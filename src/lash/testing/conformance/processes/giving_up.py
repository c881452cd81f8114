"""Giving a process up for ever, which time alone never does; and going on as new."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.core.leases import LeaseOwner
from lash.core.scopes import ProcessScope
from lash.effects.journal import RetireFinished
from lash.effects.waits.model import ResolvedCancelled
from lash.effects.waits.transitions import WaitResolved
from lash.processes.model import (
    AbandonRequest,
    ProcessSegment,
    SignalCursor,
)
from lash.processes.outcomes import (
    AbandonEvidence,
    AbandonWriter,
    ProcessAbandoned,
)
from lash.processes.writes import (
    AbandonRun,
    AlreadyApplied,
    ClaimRun,
    ContinueRun,
    FenceLost,
    ParkRun,
    ReleaseRun,
    RequestAbandon,
    RunBusy,
    RunRefused,
    Superseded,
)
from lash.testing.conformance.processes.registry import ProcessProperties, Registry, proof
from lash.testing.conformance.processes.samples import (
    DONE,
    PERSON,
    START_MS,
    rest,
    scope,
    wait,
)
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, BEN, claim, record, wait_row

_REQUEST = AbandonRequest(requested_by="ana", requested_at_ms=START_MS, reason="lost")


class AbandonProperties(ProcessProperties):
    """`write_process(AbandonRun)`, `RequestAbandon`."""

    @pytest.mark.parametrize("writer", ["owner_drain", "sweep", "reconciled_request"])
    async def test_who_takes_its_lease_may_give_a_process_up_and_says_who_had_begun_it(
        self, writer: AbandonWriter
    ) -> None:
        async with self.registry() as registry:
            lease = await registry.running("p", "owner_bound")
            late = AbandonRun(claim=claim(BEN), writer=writer)
            async with registry.untouched():
                assert await registry.result(late) == RunBusy(holder=lease)
            registry.expire()
            await registry.write(late)
            await registry.interlude()
            evidence = AbandonEvidence(writer=writer, epoch_ms=registry.now_ms, owner=ANA)
            record_ = await registry.load()
            assert record_.outcome == ProcessAbandoned(evidence=evidence)
            assert (record_.status, record_.lease.held) == ("abandoned", None)
            async with registry.untouched():
                assert await registry.result(late) == Superseded(record=record_)

    async def test_its_own_owner_gives_up_what_it_runs(self) -> None:
        async with self.registry() as registry:
            await registry.running("p", "owner_bound")
            await registry.write(AbandonRun(claim=claim(ANA), writer="owner_drain"))
            assert (await registry.load()).status == "abandoned"

    async def test_what_a_dead_owner_had_begun_and_nobody_else_may_is_given_up(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running("p", "owner_bound")
            token = lease.fencing_token
            for other in (None, token + 1):
                async with registry.untouched():
                    alive = ClaimRun(claim=claim(BEN, presumed_dead=other))
                    assert await registry.result(alive) == RunBusy(holder=lease)
            written = await registry.write(ClaimRun(claim=claim(BEN, presumed_dead=token)))
            assert written.lease is None
            await registry.interlude()
            record_ = await registry.load()
            evidence = AbandonEvidence(writer="sweep", epoch_ms=START_MS, owner=ANA)
            assert record_.outcome == ProcessAbandoned(evidence=evidence)
            assert record_.lease.held is None
            assert await registry.runnable() == []

    async def test_time_alone_ends_nothing(self) -> None:
        async with self.registry() as registry:
            await registry.running("p", "owner_bound")
            await registry.register("q", "externally_owned")
            await registry.running("r")
            registry.later(400 * 24 * 3600 * 1000)
            await registry.interlude()
            assert await registry.runnable() == ["p", "r"]  # "p", if its owner is found dead
            for name in ("p", "q"):
                refused = await registry.result(ClaimRun(claim=claim(BEN)), name)
                expect(RunRefused, refused)
                assert (await registry.load(name)).status == "running"

    @pytest.mark.parametrize(
        "state", ["new", "expired", "parked", "resting", "owner bound", "external"]
    )
    async def test_what_was_given_up_ends_once_nobody_runs_it(self, state: str) -> None:
        async with self.registry() as registry:
            owner = await self._run_by_nobody(registry, state)
            await registry.write(RequestAbandon(request=_REQUEST))
            assert await registry.runnable() == ["p"]
            registry.later(1)
            await registry.interlude()
            written = await registry.write(ClaimRun(claim=claim(BEN)))
            assert written.lease is None
            await registry.interlude()
            record_ = await registry.load()
            evidence = AbandonEvidence(
                writer="reconciled_request", epoch_ms=registry.now_ms, owner=owner
            )
            assert record_.outcome == ProcessAbandoned(evidence=evidence)
            assert record_.lease.held is None
            assert await registry.runnable() == []

    async def _run_by_nobody(self, registry: Registry, state: str) -> LeaseOwner | None:
        """A process that nobody runs, and who had begun it."""
        if state in {"new", "external"}:
            await registry.register(
                "p", "externally_owned" if state == "external" else "rerunnable"
            )
            return None
        lease = await registry.running(
            "p", "owner_bound" if state == "owner bound" else "rerunnable"
        )
        match state:
            case "parked":
                await registry.write(ParkRun(parked=PERSON, fence=lease.fence))
            case "resting":
                await registry.write(
                    ReleaseRun(fence=lease.fence, retry=rest(START_MS + 9_000_000))
                )
            case _:
                registry.expire()
        return ANA

    async def test_what_was_given_up_is_not_taken_from_who_runs_it(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.write(RequestAbandon(request=_REQUEST))
            async with registry.untouched():
                busy = await registry.result(ClaimRun(claim=claim(BEN)))
            assert busy == RunBusy(holder=lease)
            await registry.complete(lease, DONE)
            assert (await registry.load()).outcome == DONE


class ContinueProperties(ProcessProperties):
    """`write_process(ContinueRun)`."""

    async def test_a_process_goes_on_as_new_under_the_same_lease(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.store.record(scope(), [record("r1")], proof(lease))
            await registry.wait(lease, wait())
            segment = ProcessSegment(
                ordinal=1,
                payload={"page": 2},
                signals={"hello": SignalCursor(through=3, beyond=(5, 8))},
            )
            go_on = ContinueRun(
                fence=lease.fence, segment=segment, records=(record("r2"),), scope_key=scope()
            )
            written = await registry.write(go_on)
            await registry.interlude()
            record_ = await registry.load()
            assert written.record == record_
            assert (record_.state.segment, record_.payload) == (segment, {"page": 2})
            assert (record_.status, record_.state.wait, record_.lease.held) == (
                "running",
                None,
                lease,
            )
            assert await registry.journal() == ["r1", "r2"]
            assert await registry.journal(segment=1) == []
            held = await registry.store.record(scope(segment=1), [record("r1")], proof(lease))
            assert held is not None
            async with registry.untouched():
                again = expect(AlreadyApplied, await registry.result(go_on))
                assert again.record == record_

    async def test_the_journal_of_an_earlier_segment_is_that_of_a_finished_scope(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.store.record(scope(), [record("r1")], proof(lease))
            row = wait_row(registry.store, scope=ProcessScope(process_id="p"))
            await registry.store.open_wait(row)
            segment = ProcessSegment(ordinal=1)
            await registry.write(ContinueRun(fence=lease.fence, segment=segment, scope_key=scope()))
            await registry.store.record(scope(segment=1), [record("r1")], proof(lease))
            registry.later()
            await registry.interlude()
            assert await registry.rig.stands(row) == WaitResolved(resolution=ResolvedCancelled())
            gone = await registry.store.retire(RetireFinished(before_ms=registry.now_ms))
            assert (gone.scopes, gone.records) == (1, 1)
            assert await registry.journal(segment=1) == ["r1"]

    async def test_who_lost_the_lease_does_not_go_on(self) -> None:
        async with self.registry() as registry:
            stale = await registry.running()
            registry.expire()
            await registry.begin(owner=BEN)
            go_on = ContinueRun(
                fence=stale.fence,
                segment=ProcessSegment(ordinal=1),
                records=(record("r1"),),
                scope_key=scope(),
            )
            async with registry.untouched():
                assert await registry.result(go_on) == FenceLost()

    async def test_going_on_as_new_is_getting_somewhere(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running(max_attempts=2)
            await registry.write(ReleaseRun(fence=lease.fence, retry=rest(START_MS)))
            again = await registry.begin()
            await registry.write(ContinueRun(fence=again.fence, segment=ProcessSegment(ordinal=1)))
            await registry.interlude()
            assert (await registry.load()).state.failures == 0
