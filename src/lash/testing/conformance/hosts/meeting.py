"""Several hosts over one substrate, as several processes would open them: they agree on everything."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import msgspec
import pytest

from lash.core.errors import LashError
from lash.effects import executors
from lash.effects.commands import AwaitEventCommand
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import AwaitEventOutcome, EffectOutcome
from lash.effects.waits.model import (
    AlreadyResolved,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedOk,
    ToolCompletionWait,
    TurnCancelGateWait,
    TurnTerminalWait,
    UnknownOrRevoked,
)
from lash.testing.conformance.hosts.asking import TURN, Counted, done, envelope, step
from lash.testing.conformance.hosts.hosting import HostProperties, S, unpaused
from lash.testing.conformance.hosts.promising import WAITS
from lash.testing.conformance.hosts.timing import time_passes, until
from lash.testing.conformance.samples import NO, YES

SEALED = ResolvedOk(payload={"state": "completion_sealed"})
STOPPED = ResolvedOk(
    payload={"state": "cancel_requested", "cancellation": {"request_id": "r1", "origin": "ana"}}
)


class MeetingProperties(HostProperties[S]):
    """Hosts that are open at the same time."""

    @unpaused
    @pytest.mark.parametrize("kind", WAITS)
    async def test_one_mints_another_resolves_and_a_third_sees_it(self, kind: str) -> None:
        scope, wait = WAITS[kind]
        async with self.rig("cold_instances") as rig:
            key = await rig.host.await_event_key(scope, wait)
            resolver, observer = await rig.open(), await rig.open()
            assert await resolver.resolve_await_event(key, YES) == ResolveAccepted()
            assert await observer.peek_await_event(key) == YES
            assert await rig.passing(observer.await_await_event(key)) == YES
            late = await observer.resolve_await_event(key, NO)
            assert late == AlreadyResolved(terminal=YES)
            assert await rig.passing(rig.host.await_await_event(key)) == YES

    @unpaused
    async def test_all_of_them_mint_the_same_key_to_the_byte(self) -> None:
        async with self.rig("cold_instances") as rig:
            others = await asyncio.gather(*(rig.open() for _ in range(3)))
            hosts = [rig.host, *others]
            for scope, wait in WAITS.values():
                keys = await asyncio.gather(*(host.await_event_key(scope, wait) for host in hosts))
                assert len({msgspec.json.encode(key, order="sorted") for key in keys}) == 1

    @unpaused
    @pytest.mark.parametrize("kind", WAITS)
    async def test_whoever_waits_is_woken_by_another_hosts_resolution(self, kind: str) -> None:
        scope, wait = WAITS[kind]
        async with self.rig("cold_instances") as rig:
            resolver = await rig.open()
            key = await resolver.await_event_key(scope, wait)
            waiting = rig.spawn(rig.host.await_await_event(key))
            await time_passes(rig.clock, 4)  # it has slowed down by now
            await resolver.resolve_await_event(key, YES)
            assert await rig.passing(waiting, at_most_s=2) == YES

    @unpaused
    async def test_a_turns_end_and_its_cancel_never_disagree(self) -> None:
        async with self.rig("cold_instances") as rig:
            remote = await rig.open()
            for number in range(6):
                scope = msgspec.structs.replace(TURN, turn_id=f"t{number}")
                gate = await rig.host.await_event_key(scope, TurnCancelGateWait())
                owner = rig.host.resolve_await_event(gate, SEALED)
                other = remote.resolve_await_event(gate, STOPPED)
                both = (owner, other) if number % 2 else (other, owner)
                answers = await asyncio.gather(*both)
                sealed, stopped = answers if number % 2 else answers[::-1]
                won = SEALED if sealed == ResolveAccepted() else STOPPED
                assert ResolveAccepted() in (sealed, stopped)
                assert AlreadyResolved(terminal=won) in (sealed, stopped)
                for host in (rig.host, remote, await rig.open()):
                    assert await host.peek_await_event(gate) == won

    @unpaused
    async def test_a_wait_whose_owner_went_away_is_answered_wherever_it_is_driven(self) -> None:
        async with self.rig("cold_instances") as rig:
            held, owner = await rig.lease(), await rig.open()
            wait = ToolCompletionWait(tool_call_id="c1")
            key = await owner.await_event_key(TURN, wait)
            asked = envelope(AwaitEventCommand(key=key))
            drive = rig.drive(TURN, authority=held, host=owner)
            left = rig.spawn(drive.execute(asked, executors.awaiting()))
            await time_passes(rig.clock, 1)
            await rig.drop(left)
            await rig.close(owner)
            resolver = await rig.open()
            assert await resolver.resolve_await_event(key, YES) == ResolveAccepted()
            ended = AwaitEventOutcome(resolution=YES)
            first = rig.drive(TURN, authority=held, host=await rig.open())
            assert await rig.passing(first.execute(asked, executors.awaiting())) == ended
            await resolver.revoke_await_events_for_session("s")
            if self.journals:
                second = rig.drive(TURN, authority=held, host=await rig.open())
                assert await second.execute(asked, executors.awaiting()) == ended
                assert second.counts.replayed == 1

    @unpaused
    async def test_a_deletion_is_known_to_all_of_them(self) -> None:
        async with self.rig("cold_instances") as rig:
            other = await rig.open()
            key = await rig.host.await_event_key(TURN, ToolCompletionWait(tool_call_id="c1"))
            waiting = rig.spawn(rig.host.await_await_event(key))
            await time_passes(rig.clock, 1)
            await other.revoke_await_events_for_session("s")
            with pytest.raises(LashError) as woken:
                await rig.passing(waiting)
            assert woken.value.code == "await_event_unknown_or_revoked"
            for host in (rig.host, other, await rig.open()):
                assert await host.resolve_await_event(key, YES) == UnknownOrRevoked()
                with pytest.raises(LashError):
                    await host.peek_await_event(key)
                with pytest.raises(LashError):
                    await host.await_event_key(TURN, TurnTerminalWait())

    @unpaused
    async def test_a_sweep_ends_what_waits_on_any_of_them_and_not_what_steers(self) -> None:
        async with self.rig("cold_instances") as rig:
            other = await rig.open()
            call = await rig.key(ToolCompletionWait(tool_call_id="c1"), TURN)
            gate = await rig.key(TurnCancelGateWait(), TURN)
            waiting = rig.spawn(rig.host.await_await_event(call))
            steering = rig.spawn(rig.host.await_await_event(gate))

            async def swept() -> bool:
                return await other.cancel_await_events_for_session("s") > 0

            await until(rig.clock, swept)
            assert await rig.passing(waiting) == ResolvedCancelled()
            await time_passes(rig.clock, 1)
            assert not steering.done()
            assert await other.resolve_await_event(gate, STOPPED) == ResolveAccepted()
            assert await rig.passing(steering) == STOPPED

    @unpaused
    async def test_a_turns_end_reaches_those_who_came_before_and_those_who_come_after(self) -> None:
        async with self.rig("cold_instances") as rig:
            other = await rig.open()
            end = await rig.key(TurnTerminalWait(), TURN)
            before = rig.spawn(other.await_await_event(end))
            await time_passes(rig.clock, 1)
            outcome = ResolvedOk(payload={"outcome": {"type": "finished"}})
            assert await rig.host.resolve_await_event(end, outcome) == ResolveAccepted()
            # Publishing it again, as a resumed owner does, changes nothing.
            again = await other.resolve_await_event(end, ResolvedOk(payload="another end"))
            assert again == AlreadyResolved(terminal=outcome)
            assert await rig.passing(before) == outcome
            after = await rig.open()
            assert await rig.passing(after.await_await_event(end)) == outcome

    @unpaused
    async def test_a_cancel_that_comes_before_the_turn_is_seen_when_it_begins(self) -> None:
        async with self.rig("cold_instances") as rig:
            remote = await rig.open()
            gate = await remote.await_event_key(TURN, TurnCancelGateWait())
            assert await remote.resolve_await_event(gate, STOPPED) == ResolveAccepted()
            await rig.close(remote)
            owner = await rig.open()
            assert await owner.peek_await_event(gate) == STOPPED
            sealed = await owner.resolve_await_event(gate, SEALED)
            assert sealed == AlreadyResolved(terminal=STOPPED)

    @unpaused
    async def test_what_one_of_them_recorded_another_replays(self) -> None:
        async with self.rig("cold_instances", "journals") as rig:
            other = await rig.open()
            charge, late = Counted(done("first")), Counted(done("late"))
            first = rig.drive()
            await first.execute(envelope(step()), charge.executor())
            second = rig.drive(host=other)
            assert await second.execute(envelope(step()), late.executor()) == done("first")
            assert (charge.runs, late.runs) == (1, 0)

    @unpaused
    async def test_what_one_of_them_recorded_is_replayed_by_one_that_was_there_before(self) -> None:
        async with self.rig("cold_instances", "journals") as rig:
            first, second = rig.drive(), rig.drive(host=await rig.open())
            for drive, key in ((first, "e1"), (second, "e2")):
                await drive.execute(envelope(step(), key), Counted(done()).executor())
            charge, late = Counted(done("first")), Counted(done("late"))
            await first.execute(envelope(step(), "e3"), charge.executor())
            assert await second.execute(envelope(step(), "e3"), late.executor()) == done("first")
            assert (charge.runs, late.runs) == (1, 0)

    @unpaused
    async def test_of_two_that_run_one_effect_without_a_lease_the_first_record_stands(self) -> None:
        async with self.rig("cold_instances", "journals") as rig:
            other, gate = await rig.open(), asyncio.Event()

            async def slow(_: RuntimeEffectEnvelope) -> EffectOutcome:
                await gate.wait()
                return done("slow")

            hanging = rig.drive()
            waiting = rig.spawn(hanging.execute(envelope(step()), executors.testing(slow)))
            await time_passes(rig.clock, 0.1)
            quick = rig.drive(host=other)
            told = await quick.execute(envelope(step()), Counted(done("quick")).executor())
            assert told == done("quick")
            gate.set()
            assert await rig.passing(waiting) == done("quick")
            again = rig.drive(host=await rig.open())
            assert await again.execute(envelope(step()), executors.unavailable()) == done("quick")
