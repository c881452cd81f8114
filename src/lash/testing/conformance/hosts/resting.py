"""Sleeps and waits as effects: they end when they were to end, however often they are driven again."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import pytest

from lash.core.cancel import Cancellation, CancelToken
from lash.core.errors import LashError
from lash.effects import executors
from lash.effects.commands import AwaitEventCommand, DurableStepCommand
from lash.effects.controller import EffectCounts
from lash.effects.outcomes import (
    AwaitEventOutcome,
    DurableStepOutcome,
    EffectFailed,
    EffectOutcome,
    SleepOutcome,
)
from lash.effects.waits.model import (
    AlreadyResolved,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedTimeout,
    UnknownOrRevoked,
)
from lash.testing.conformance.hosts.asking import TURN, Counted, done, envelope, sleep, step
from lash.testing.conformance.hosts.hosting import HostProperties, S
from lash.testing.conformance.hosts.promising import cancelled
from lash.testing.conformance.hosts.timing import asleep, time_passes, until
from lash.testing.conformance.samples import NO, YES

_SLEEP = envelope(sleep(4_000))


class SleepProperties(HostProperties[S]):
    """Sleeps."""

    async def test_a_sleep_lasts_as_long_as_it_was_asked_for(self) -> None:
        async with self.rig() as rig:
            due = rig.clock.now_ms() + 4_000
            sleeping = rig.spawn(rig.drive().execute(_SLEEP, executors.sleeping()))
            await asleep(rig.clock)
            await time_passes(rig.clock, 3.999)
            assert not sleeping.done()
            assert await rig.passing(sleeping, at_most_s=0.1) == SleepOutcome(due_at_ms=due)

    async def test_a_sleep_that_is_driven_again_ends_when_it_was_to_end(self) -> None:
        async with self.rig("journals") as rig:
            began = rig.clock.now_ms()
            first = rig.spawn(rig.drive().execute(_SLEEP, executors.sleeping()))
            await asleep(rig.clock)
            await time_passes(rig.clock, 2)
            await rig.drop(first)
            await rig.interlude()
            await time_passes(rig.clock, 1)
            again = rig.spawn(rig.drive().execute(_SLEEP, executors.sleeping()))
            await time_passes(rig.clock, 0.9)
            assert not again.done()
            ended = SleepOutcome(due_at_ms=began + 4_000)
            assert await rig.passing(again, at_most_s=0.2) == ended

    async def test_a_sleep_that_is_over_is_not_slept_again(self) -> None:
        async with self.rig("journals") as rig:
            first = await rig.passing(rig.drive().execute(_SLEEP, executors.sleeping()))
            await rig.interlude()
            woke, again = rig.clock.now_ms(), rig.drive()
            assert await again.execute(_SLEEP, executors.sleeping()) == first
            assert rig.clock.now_ms() == woke
            assert again.counts == EffectCounts(replayed=1)

    async def test_a_sleep_may_be_broken_off(self) -> None:
        async with self.rig() as rig:
            token = CancelToken()
            sleeping = rig.spawn(rig.drive().execute(_SLEEP, executors.sleeping(token)))
            await asleep(rig.clock)
            token.cancel(Cancellation(request_id="r1"))
            outcome = await rig.passing(sleeping, at_most_s=0.1)
            assert isinstance(outcome, EffectFailed)
            assert outcome.code == "runtime_effect_sleep_cancelled"

    async def test_a_sleep_that_was_broken_off_stays_broken_off(self) -> None:
        async with self.rig("journals") as rig:
            sleeping = rig.drive().execute(_SLEEP, executors.sleeping(cancelled()))
            broken = await rig.passing(sleeping)
            await rig.interlude()
            # Nobody asks it to stop this time, and its time comes: what was told stays told.
            for later_s in (0, 30):
                rig.clock.advance(later_s)
                again = rig.drive().execute(_SLEEP, executors.sleeping(CancelToken()))
                assert await rig.passing(again) == broken

    async def test_a_sleep_that_is_over_cannot_be_broken_off(self) -> None:
        async with self.rig("journals") as rig:
            first = await rig.passing(rig.drive().execute(_SLEEP, executors.sleeping()))
            await rig.interlude()
            again = await rig.drive().execute(_SLEEP, executors.sleeping(cancelled()))
            assert again == first


class WaitEffectProperties(HostProperties[S]):
    """Waits for promises as effects of a scope."""

    async def test_a_wait_ends_with_the_resolution(self) -> None:
        async with self.rig() as rig:
            key = await rig.key()
            asked = envelope(AwaitEventCommand(key=key))
            waiting = rig.spawn(rig.drive().execute(asked, executors.awaiting()))
            await time_passes(rig.clock, 1)
            assert await rig.host.resolve_await_event(key, NO) == ResolveAccepted()
            assert await rig.passing(waiting) == AwaitEventOutcome(resolution=NO)

    async def test_a_scope_that_only_waits_is_parked(self) -> None:
        async with self.rig() as rig:
            key, parked = await rig.key(), 0

            def note() -> None:
                nonlocal parked
                parked += 1

            drive = rig.drive(on_parked=note)
            asked = envelope(AwaitEventCommand(key=key))
            waiting = rig.spawn(drive.execute(asked, executors.awaiting()))

            async def is_parked() -> bool:
                return drive.parked

            await until(rig.clock, is_parked)
            assert parked == 1
            # Work keeps it busy, and a timer does not.
            go = asyncio.Event()

            async def work() -> EffectOutcome:
                await go.wait()
                return DurableStepOutcome(value=1)

            asking = envelope(DurableStepCommand(step_id="work"), "e2")
            working = rig.spawn(drive.execute(asking, executors.durable_step(work)))
            sleeping = rig.spawn(drive.execute(envelope(sleep(2_000), "e3"), executors.sleeping()))
            await time_passes(rig.clock, 1)
            assert not await is_parked()
            go.set()
            await rig.passing(working)
            assert await is_parked()
            await rig.passing(sleeping)
            assert await is_parked()
            await rig.host.resolve_await_event(key, YES)
            await rig.passing(waiting)
            assert not await is_parked()

    async def test_how_a_wait_ended_is_replayed(self) -> None:
        async with self.rig("journals") as rig:
            key = await rig.key()
            asked = envelope(AwaitEventCommand(key=key))
            await rig.host.resolve_await_event(key, YES)
            await rig.passing(rig.drive().execute(asked, executors.awaiting()))
            await rig.interlude()
            again = rig.drive()
            replayed = await again.execute(asked, executors.unavailable())
            assert replayed == AwaitEventOutcome(resolution=YES)
            assert again.counts == EffectCounts(replayed=1)

    async def test_a_wait_that_was_left_is_taken_up_again(self) -> None:
        async with self.rig() as rig:
            key = await rig.key()
            asked = envelope(AwaitEventCommand(key=key))
            left = rig.spawn(rig.drive().execute(asked, executors.awaiting()))
            await time_passes(rig.clock, 1)
            await rig.drop(left)
            await rig.interlude()
            assert await rig.host.resolve_await_event(key, YES) == ResolveAccepted()
            taken = rig.drive().execute(asked, executors.awaiting())
            assert await rig.passing(taken) == AwaitEventOutcome(resolution=YES)

    async def test_a_recorded_wait_outlives_the_deletion_of_its_session(self) -> None:
        async with self.rig("journals") as rig:
            held, key = await rig.lease(), await rig.key(scope=TURN)
            await rig.host.resolve_await_event(key, YES)
            asked = envelope(AwaitEventCommand(key=key))
            ended = AwaitEventOutcome(resolution=YES)
            drive = rig.drive(TURN, authority=held)
            assert await rig.passing(drive.execute(asked, executors.awaiting())) == ended
            await rig.host.revoke_await_events_for_session("s")
            await rig.interlude()
            assert await rig.host.resolve_await_event(key, NO) == UnknownOrRevoked()
            again = rig.drive(TURN, authority=held)
            assert await again.execute(asked, executors.awaiting()) == ended

    async def test_a_wait_of_a_deleted_session_that_is_not_recorded_is_refused(self) -> None:
        async with self.rig() as rig:
            held, key = await rig.lease(), await rig.key(scope=TURN)
            await rig.host.revoke_await_events_for_session("s")
            await rig.interlude()
            drive, asked = rig.drive(TURN, authority=held), envelope(AwaitEventCommand(key=key))
            with pytest.raises(LashError) as refused:
                await rig.passing(drive.execute(asked, executors.awaiting()))
            assert refused.value.code == "await_event_unknown_or_revoked"
            assert list(drive.deferred()) == []

    async def test_a_wait_that_is_driven_again_ends_at_its_first_deadline(self) -> None:
        async with self.rig() as rig:
            began, key = rig.clock.now_ms(), await rig.key()
            asked = envelope(AwaitEventCommand(key=key))
            patience = executors.awaiting(deadline_at_ms=began + 4_000)
            left = rig.spawn(rig.drive().execute(asked, patience))
            await asleep(rig.clock)
            await time_passes(rig.clock, 2)
            await rig.drop(left)
            await rig.interlude()
            patience = executors.awaiting(deadline_at_ms=began + 6_000)
            again = rig.spawn(rig.drive().execute(asked, patience))
            await time_passes(rig.clock, 1.9)
            assert not again.done()
            timeout = AwaitEventOutcome(resolution=ResolvedTimeout())
            assert await rig.passing(again, at_most_s=0.2) == timeout
            late = await rig.host.resolve_await_event(key, YES)
            assert late == AlreadyResolved(terminal=ResolvedTimeout())

    async def test_a_wait_that_is_given_up_says_so_from_then_on(self) -> None:
        async with self.rig("journals") as rig:
            key, given_up = await rig.key(), AwaitEventOutcome(resolution=ResolvedCancelled())
            asked = envelope(AwaitEventCommand(key=key))
            first = rig.drive().execute(asked, executors.awaiting(cancelled()))
            assert await rig.passing(first) == given_up
            await rig.interlude()
            assert await rig.drive().execute(asked, executors.awaiting()) == given_up

    async def test_effects_beside_a_wait_are_recorded_while_it_goes_on(self) -> None:
        async with self.rig("journals") as rig:
            if not rig.host.capabilities.concurrent_effects:
                pytest.skip("not for this host: effects of one scope run one after another")
            drive, key = rig.drive(), await rig.key()
            asked = envelope(AwaitEventCommand(key=key), "wait")
            waiting = rig.spawn(drive.execute(asked, executors.awaiting()))
            await time_passes(rig.clock, 1)
            await rig.passing(drive.execute(envelope(step()), Counted(done()).executor()))
            assert not waiting.done()
            await rig.drop(waiting)
            await rig.interlude()
            again = await rig.drive().execute(envelope(step()), executors.unavailable())
            assert again == done()
