"""Processes that wait, rest or are parked, and how often they are tried."""

# ruff: noqa: D102  the name of a property says what it promises

import msgspec

from lash.core.leases import Lease
from lash.processes.outcomes import AbandonEvidence, ProcessAbandoned
from lash.processes.writes import (
    AlreadyApplied,
    ClaimRun,
    ClearWait,
    MarkWait,
    ParkRun,
    ReleaseRun,
    RunRefused,
)
from lash.testing.conformance.processes.registry import ProcessProperties, Registry, payloads
from lash.testing.conformance.processes.samples import (
    CODE,
    PERSON,
    START_MS,
    TIMER,
    rest,
    wait,
)
from lash.testing.conformance.rig import expect
from lash.testing.conformance.samples import ANA, BEN, claim


class WaitStateProperties(ProcessProperties):
    """`write_process(MarkWait)`, `ClearWait`."""

    async def test_a_process_waits_and_goes_on(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            waiting = wait(START_MS, due_at_ms=START_MS + 9)
            assert await registry.wait(lease, waiting) == waiting
            await registry.interlude()
            record = await registry.load()
            assert (record.status, record.state.wait) == ("waiting", waiting)
            assert record.lease.held == lease
            assert await registry.runnable() == ["p"]
            registry.later()
            await registry.write(ClearWait(fence=lease.fence))
            await registry.interlude()
            state = (await registry.load()).state
            assert (state.status, state.wait, state.last_wait) == ("running", None, None)
            assert await registry.types() == [
                "process.started",
                "process.waiting",
                "process.resumed",
            ]
            assert payloads(await registry.log())[1] == payloads(await registry.log())[2]

    async def test_the_same_wait_again_writes_nothing(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.wait(lease, wait(START_MS))
            registry.later()
            same = MarkWait(fence=lease.fence, wait=wait(registry.now_ms))
            async with registry.untouched():
                expect(AlreadyApplied, await registry.result(same))

    async def test_another_wait_takes_the_place_of_the_one_before(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.wait(lease, wait(START_MS))
            registry.later(3)
            timer = msgspec.structs.replace(wait(registry.now_ms), kind=TIMER)
            assert await registry.wait(lease, timer) == timer
            await registry.interlude()
            assert (await registry.load()).state.wait == timer

    async def test_a_process_waits_since_the_first_time_whoever_runs_it(self) -> None:
        async with self.registry() as registry:
            await registry.wait(await registry.running(), wait(START_MS, due_at_ms=START_MS + 90))
            registry.expire()
            await registry.interlude()
            again = await registry.begin(owner=BEN)
            begun = (await registry.load()).state
            assert (begun.status, begun.wait) == ("running", None)
            await registry.interlude()
            waiting = wait(registry.now_ms, due_at_ms=START_MS + 90)
            assert await registry.wait(again, waiting) == wait(START_MS, due_at_ms=START_MS + 90)

    async def test_a_wait_that_was_over_begins_anew(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.wait(lease, wait(START_MS))
            await registry.write(ClearWait(fence=lease.fence))
            registry.later(3)
            assert await registry.wait(lease, wait(START_MS + 3)) == wait(START_MS + 3)

    async def test_an_end_is_an_end_of_waiting(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.wait(lease, wait())
            await registry.complete(lease)
            await registry.interlude()
            state = (await registry.load()).state
            assert (state.status, state.wait, state.last_wait) == ("completed", None, None)


class RestProperties(ProcessProperties):
    """`write_process(ParkRun)`, `ReleaseRun`."""

    async def test_a_parked_process_says_why_and_nobody_holds_it(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.wait(lease, wait())
            await registry.write(ParkRun(parked=PERSON, fence=lease.fence))
            await registry.interlude()
            record = await registry.load()
            assert (record.status, record.state.parked, record.state.wait) == (
                "waiting",
                PERSON,
                None,
            )
            assert (record.lease.held, record.lease.fencing_token) == (None, 1)

    async def test_who_waits_for_a_person_is_begun_only_on_purpose(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            await registry.write(ParkRun(parked=PERSON, fence=lease.fence))
            async with registry.untouched():
                refused = await registry.result(ClaimRun(claim=claim(BEN)))
            assert expect(RunRefused, refused).why == "parked"
            begun = await registry.write(ClaimRun(claim=claim(BEN), parked_too=True))
            assert (begun.record.state.parked, begun.record.status) == (None, "running")
            assert begun.lease is not None
            assert begun.lease.fencing_token == 2

    async def test_of_those_who_lack_its_code_the_first_says_so(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            await registry.write(ParkRun(parked=CODE))
            other = msgspec.structs.replace(CODE, code="process_engine_missing")
            async with registry.untouched():
                expect(AlreadyApplied, await registry.result(ParkRun(parked=other)))
            assert (await registry.load()).state.parked == CODE

    async def test_who_lacks_its_code_says_so_once_its_runner_is_gone(self) -> None:
        async with self.registry() as registry:
            await registry.running()
            async with registry.untouched():
                expect(AlreadyApplied, await registry.result(ParkRun(parked=CODE)))
            registry.expire()
            parked = await registry.write(ParkRun(parked=CODE))
            assert (parked.record.state.parked, parked.record.lease.held) == (CODE, None)

    async def test_after_an_attempt_that_got_nowhere_a_process_rests(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running()
            due = START_MS + 500
            await registry.write(ReleaseRun(fence=lease.fence, retry=rest(due)))
            await registry.interlude()
            record = await registry.load()
            assert (record.status, record.state.retry, record.state.failures) == (
                "running",
                rest(due),
                1,
            )
            assert (await registry.runnable(), await registry.store.next_runnable_at()) == (
                [],
                due,
            )
            registry.later(499)
            refused = expect(RunRefused, await registry.result(ClaimRun(claim=claim(BEN))))
            assert refused.why == "resting"
            registry.later(1)
            assert await registry.runnable() == ["p"]
            assert await registry.store.next_runnable_at() is None
            await registry.begin(owner=BEN)
            state = (await registry.load()).state
            assert (state.retry, state.failures) == (None, 1)

    async def test_a_lease_given_back_without_a_reason_counts_for_nothing(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running(max_attempts=1)
            cursor = await registry.store.change_cursor()
            await registry.write(ReleaseRun(fence=lease.fence))
            await registry.interlude()
            record = await registry.load()
            assert (record.lease.held, record.state.failures) == (None, 0)
            assert await registry.types() == ["process.started"]
            assert await registry.store.change_cursor() == cursor
            await registry.begin(owner=BEN)


class AttemptProperties(ProcessProperties):
    """The budget of attempts."""

    async def _fail(self, registry: Registry, lease: Lease) -> None:
        await registry.write(ReleaseRun(fence=lease.fence, retry=rest(registry.now_ms)))

    async def _given_up(self, registry: Registry) -> bool:
        """Whether beginning it again ends it."""
        written = await registry.write(ClaimRun(claim=claim(BEN)))
        return written.lease is None

    async def test_attempts_that_get_nowhere_are_counted_and_then_it_is_given_up(self) -> None:
        async with self.registry() as registry:
            await registry.register(max_attempts=2)
            await self._fail(registry, await registry.begin())
            await self._fail(registry, await registry.begin())
            registry.later(4)
            assert await self._given_up(registry)
            await registry.interlude()
            record = await registry.load()
            evidence = AbandonEvidence(writer="engine_gave_up", epoch_ms=START_MS + 4, owner=ANA)
            assert record.status == "abandoned"
            assert record.outcome == ProcessAbandoned(evidence=evidence)
            assert record.lease.held is None
            started = [name for name in await registry.types() if name == "process.started"]
            assert len(started) == 2

    async def test_an_attempt_whose_runner_was_lost_counts(self) -> None:
        async with self.registry() as registry:
            await registry.running(max_attempts=1)
            registry.expire()
            assert await self._given_up(registry)
            assert (await registry.load()).status == "abandoned"

    async def test_an_attempt_that_got_as_far_as_waiting_counts_for_nothing(self) -> None:
        async with self.registry() as registry:
            lease = await registry.running(max_attempts=2)
            await self._fail(registry, lease)
            again = await registry.begin()
            await registry.wait(again, wait())
            assert (await registry.load()).state.failures == 0
            registry.expire()
            await registry.interlude()
            assert not await self._given_up(registry)
            assert (await registry.load()).state.failures == 1

    async def test_without_a_budget_it_is_begun_for_ever(self) -> None:
        async with self.registry() as registry:
            await registry.register()
            for number in range(1, 21):
                lease = await registry.begin()
                started = (await registry.load()).state.started
                assert started is not None
                assert (started.attempt, started.fencing_token) == (number, number)
                await self._fail(registry, lease)
            assert (await registry.load()).state.failures == 20
