"""Who runs a process: one at a time, by a fence that every write of a runner is checked against."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import msgspec
import pytest

from lash.core.leases import Fence, Lease, LeaseOwner, LeaseState
from lash.effects.journal import AlreadyRecorded, FenceRefused, ProcessAuthority, Recorded
from lash.processes.model import AbandonRequest, ProcessSegment
from lash.processes.writes import (
    AlreadyApplied,
    ClaimRun,
    ClearWait,
    CompleteRun,
    ContinueRun,
    FenceLost,
    MarkWait,
    ParkRun,
    ProcessUnknown,
    ProcessWrite,
    ReleaseRun,
    RequestAbandon,
    RunBusy,
    RunRefused,
    Written,
)
from lash.testing.conformance.processes.registry import ProcessProperties, proof
from lash.testing.conformance.processes.samples import (
    DONE,
    PERSON,
    START_MS,
    TIMER,
    note,
    rest,
    scope,
    wait,
)
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, BEN, TTL_MS, claim, record

#: The same owner, come back to life: somebody else.
_ANA_AGAIN = LeaseOwner(owner_id="ana", incarnation="ana-2", host="host-a")


def written_by(fence: Fence, process_id: str = "p") -> tuple[ProcessWrite, ...]:
    """All that only its runner may write."""
    return (
        note(1, fence=fence),
        ReleaseRun(fence=fence),
        ReleaseRun(fence=fence, retry=rest(START_MS)),
        ParkRun(parked=PERSON, fence=fence),
        MarkWait(fence=fence, wait=msgspec.structs.replace(wait(), kind=TIMER)),
        ClearWait(fence=fence),
        ContinueRun(fence=fence, segment=ProcessSegment(ordinal=1)),
        CompleteRun(fence=fence, outcome=DONE, records=(record("r"),), scope_key=scope(process_id)),
    )


class ProcessLeaseProperties(ProcessProperties):
    """`write_process(ClaimRun)`, `renew_processes`, and the fence of every write."""

    async def test_one_owner_runs_a_process_and_others_are_told_who(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            assert lease == Lease(
                owner=ANA,
                nonce="nonce-of-ana-1",
                fencing_token=1,
                claimed_at_ms=START_MS,
                expires_at_ms=START_MS + TTL_MS,
            )
            for other in (BEN, _ANA_AGAIN):
                async with registry.untouched():
                    busy = await registry.result(ClaimRun(claim=claim(other)))
                assert busy == RunBusy(holder=lease)
            assert (await registry.load()).lease == LeaseState(fencing_token=1, held=lease)

    async def test_an_expired_lease_is_taken_and_the_token_grows(self) -> None:
        async with self.registry() as registry:
            await registry.running()
            registry.later(TTL_MS - 1)
            expect(RunBusy, await registry.result(ClaimRun(claim=claim(BEN))))
            registry.later()
            await registry.interlude()
            lease = await registry.begin(owner=BEN)
            assert (lease.fencing_token, lease.owner) == (2, BEN)
            started = (await registry.load()).state.started
            assert started is not None
            assert (started.owner, started.attempt, started.fencing_token) == (BEN, 2, 2)

    async def test_a_lease_whose_owner_is_proven_dead_is_taken_before_it_expires(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            wrong = ClaimRun(claim=claim(BEN, presumed_dead=lease.fencing_token + 1))
            expect(RunBusy, await registry.result(wrong))
            right = ClaimRun(claim=claim(BEN, presumed_dead=lease.fencing_token))
            taken = (await registry.write(right)).lease
            assert taken is not None
            assert taken.fencing_token == 2
            assert (await registry.load()).state.failures == 1

    async def test_the_token_outlives_the_lease_that_was_given_back(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.write(ReleaseRun(fence=lease.fence))
            await registry.interlude()
            assert (await registry.load()).lease == LeaseState(fencing_token=1)
            again = await registry.begin()
            assert again.fencing_token == 2

    async def test_the_same_owner_keeps_its_token_and_gets_more_time(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            registry.later(10_000)
            again = await registry.begin()
            assert again.fence == lease.fence
            assert again.expires_at_ms == START_MS + 10_000 + TTL_MS

    async def test_a_lease_that_is_renewed_outlives_its_first_term(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            registry.later(TTL_MS - 1)
            cursor = await registry.store.change_cursor()
            assert await registry.renew(lease) == []
            registry.later()
            await registry.interlude()
            expect(RunBusy, await registry.result(ClaimRun(claim=claim(BEN))))
            held = (await registry.load()).lease.held
            assert held is not None
            assert held.fence == lease.fence
            assert held.expires_at_ms == START_MS + TTL_MS - 1 + TTL_MS
            assert await registry.store.change_cursor() == cursor
            assert await registry.types() == ["process.started"]

    async def test_who_lost_the_lease_is_told_when_renewing_and_the_others_are_renewed(
        self,
    ) -> None:
        async with self.registry() as registry:
            lost = await registry.running("p")
            kept = await registry.running("q")
            registry.expire()
            await registry.begin("p", BEN)
            await registry.interlude()
            held = [
                proof(lost, "p"),
                proof(kept, "q"),
                ProcessAuthority(process_id="unknown", fence=kept.fence),
            ]
            before = await registry.load("p")
            answer = await registry.store.renew_processes(held, TTL_MS)
            assert list(answer) == ["p", "unknown"]
            renewed = (await registry.load("q")).lease.held
            assert renewed is not None
            assert renewed.expires_at_ms == registry.now_ms + TTL_MS
            assert await registry.load("p") == before

    async def test_a_lease_that_expired_is_its_holders_until_somebody_takes_it(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            registry.expire()
            registry.expire()
            await registry.interlude()
            await registry.append(note(1, fence=lease.fence))
            recorded = await registry.store.record(scope(), [record("r1")], proof(lease))
            expect(Recorded, recorded)
            assert await registry.renew(lease) == []
            await registry.complete(lease)
            assert (await registry.load()).status == "completed"

    async def test_of_many_who_claim_a_process_at_once_one_runs_it(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            owners = [LeaseOwner(owner_id=f"o{n}", incarnation="1") for n in range(8)]
            answers = await asyncio.gather(
                *(
                    registry.result(ClaimRun(claim=claim(owner, nonce=owner.owner_id)))
                    for owner in owners
                )
            )
            (won,) = [answer for answer in answers if isinstance(answer, Written)]
            others = [answer for answer in answers if answer is not won]
            assert all(expect(RunBusy, other).holder == won.lease for other in others)
            await registry.interlude()
            assert await registry.types() == ["process.started"]

    # --- fences ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("wrong", ["token", "nonce", "nobody", "taken over"])
    async def test_no_write_of_a_runner_passes_without_its_fence(self, wrong: str) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.wait(lease, wait())
            fence = lease.fence
            match wrong:
                case "token":
                    fence = Fence(fencing_token=2, nonce=fence.nonce)
                case "nonce":
                    fence = Fence(fencing_token=1, nonce="forged")
                case "nobody":
                    await registry.write(ReleaseRun(fence=fence))
                case _:
                    registry.expire()
                    await registry.wait(await registry.begin(owner=BEN), wait())
            await registry.interlude()
            for write in written_by(fence):
                async with registry.untouched():
                    assert await registry.result(write) == FenceLost(), write
            async with registry.untouched():
                held = ProcessAuthority(process_id="p", fence=fence)
                assert list(await registry.store.renew_processes([held], TTL_MS)) == ["p"]
                answer = await registry.store.record(scope(), [record("r1")], held)
                expect(FenceRefused, answer)

    async def test_every_write_of_a_runner_passes_with_its_fence(self) -> None:
        """The other side of the property before: it is the fence that they were refused for."""
        async with self.registry() as registry:
            for number in range(len(written_by(Fence(fencing_token=1, nonce="any")))):
                name = f"p{number}"
                lease = await registry.running(name)
                await registry.wait(lease, wait(), name)
                await registry.write(written_by(lease.fence, name)[number], name)

    async def test_a_released_lease_is_not_released_again_by_who_had_it(self) -> None:
        async with self.registry() as registry:
            stale = await registry.running()
            registry.expire()
            lease = await registry.begin(owner=BEN)
            async with registry.untouched():
                assert await registry.result(ReleaseRun(fence=stale.fence)) == FenceLost()
            assert (await registry.load()).lease.held == lease

    async def test_one_process_lends_its_fence_to_no_other(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running("p")
            await registry.running("q", owner=BEN)
            async with registry.untouched("q"):
                answer = await registry.result(note(1, fence=lease.fence), "q")
                assert answer == FenceLost()
                forged = proof(lease, "q")
                refused = await registry.store.record(scope("q"), [record("r1")], forged)
                expect(FenceRefused, refused)

    # --- the journal ----------------------------------------------------------------------------

    async def test_its_runner_records_effects_in_order(self) -> None:
        async with self.registry() as registry:
            held = proof(await registry.running())
            given = [record(key, token=1) for key in ("z", "a", "m")]
            expect(Recorded, await registry.store.record(scope(), given[:1], held))
            await registry.interlude()
            expect(Recorded, await registry.store.record(scope(), given[1:], held))
            await registry.interlude()
            assert list(await registry.store.load_journal(scope())) == given

    async def test_a_stale_runner_records_nothing_not_even_what_is_there(self) -> None:
        async with self.registry() as registry:
            stale = proof(await registry.running())
            await registry.store.record(scope(), [record("r1", '"first"')], stale)
            registry.expire()
            current = proof(await registry.begin(owner=BEN))
            for key in ("r1", "r2"):
                async with registry.untouched():
                    answer = await registry.store.record(scope(), [record(key)], stale)
                expect(FenceRefused, answer)
            known = await registry.store.record(scope(), [record("r1", '"other"')], current)
            assert expect(AlreadyRecorded, known).winner == record("r1", '"first"')
            expect(Recorded, await registry.store.record(scope(), [record("r2")], current))

    async def test_nothing_is_recorded_once_the_process_has_ended(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.complete(lease)
            async with registry.untouched():
                answer = await registry.store.record(scope(), [record("r1")], proof(lease))
            expect(FenceRefused, answer)

    # --- who may not run it ---------------------------------------------------------------------

    async def test_an_owner_bound_process_is_begun_once(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running("p", "owner_bound")
            for again in ("expired", "released"):
                if again == "released":
                    await registry.write(ReleaseRun(fence=lease.fence))
                registry.expire()
                async with registry.untouched():
                    refused = await registry.result(ClaimRun(claim=claim(BEN)))
                assert expect(RunRefused, refused).why == "owner_bound"
            assert await registry.runnable() == []
            assert (await registry.load()).status == "running"

    async def test_an_owner_bound_process_that_was_never_begun_is_begun_by_anybody(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", "owner_bound")
            registry.expire()
            assert await registry.runnable() == ["p"]
            assert (await registry.begin(owner=BEN)).fencing_token == 1

    async def test_nobody_runs_work_that_is_done_elsewhere(self) -> None:
        async with self.registry() as registry:
            await registry.register("p", "externally_owned")
            async with registry.untouched():
                refused = await registry.result(ClaimRun(claim=claim(ANA)))
            assert expect(RunRefused, refused).why == "externally_owned"

    async def test_nobody_runs_what_has_ended(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            ended = await registry.complete(lease)
            for owner in (ANA, BEN):
                async with registry.untouched():
                    refused = await registry.result(ClaimRun(claim=claim(owner), parked_too=True))
                assert refused == RunRefused(record=ended, why="retired")
            assert await registry.renew(lease) == ["p"]

    async def test_what_was_never_registered_is_run_by_nobody(self) -> None:
        async with self.registry() as registry:
            assert await registry.result(ClaimRun(claim=claim(ANA))) == ProcessUnknown()
            await registry.interlude()
            assert await registry.store.load_process("p") is None

    async def test_what_is_said_of_a_process_leaves_its_runner_alone(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            request = AbandonRequest(requested_by="ana", requested_at_ms=START_MS)
            await registry.write(RequestAbandon(request=request))
            await registry.append(note(1))
            async with registry.untouched():
                expect(RunBusy, await registry.result(ClaimRun(claim=claim(BEN))))
            assert (await registry.load()).lease.held == lease
            repeated = await registry.result(RequestAbandon(request=request))
            expect(AlreadyApplied, repeated)
            await registry.complete(lease)
