"""Promises of a host: minted without a trace, resolved once, and waited for with a cancel and a deadline."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import pytest

from lash.core.cancel import Cancellation, CancelToken
from lash.core.errors import LashError
from lash.core.scopes import ExecutionScope, ProcessScope, TurnScope
from lash.effects.waits.model import (
    AlreadyResolved,
    AwaitEventWaitIdentity,
    CustomWait,
    ProcessSignalWait,
    Resolution,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedOk,
    ResolvedTimeout,
    ToolCompletionWait,
    TurnCancelGateWait,
    TurnTerminalWait,
)
from lash.testing.conformance.hosts.hosting import HostProperties, S
from lash.testing.conformance.hosts.timing import asleep, time_passes, until
from lash.testing.conformance.samples import NO, YES

TURN = TurnScope(session_id="s", turn_id="t1")
PROCESS = ProcessScope(process_id="p")
#: Every kind of wait, in a scope where it may stand.
WAITS: dict[str, tuple[ExecutionScope, AwaitEventWaitIdentity]] = {
    "tool completion": (TURN, ToolCompletionWait(tool_call_id="c1")),
    "process signal": (
        PROCESS,
        ProcessSignalWait(process_id="p", signal_name="go", ordinal=2),
    ),
    "custom": (PROCESS, CustomWait(key="approval")),
    "cancel gate": (TURN, TurnCancelGateWait()),
    "terminal": (TURN, TurnTerminalWait()),
}
ENDS: dict[str, Resolution] = {
    "ok": YES,
    "ok without a payload": ResolvedOk(),
    "error": NO,
    "timeout": ResolvedTimeout(),
    "cancelled": ResolvedCancelled(),
}


def cancelled() -> CancelToken:
    """A token that was tripped before."""
    token = CancelToken()
    token.cancel(Cancellation(request_id="r1", reason="enough"))
    return token


class PromiseProperties(HostProperties[S]):
    """`await_event_key`, `resolve_await_event`, `peek_await_event`, `await_await_event`."""

    # --- keys -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", WAITS)
    async def test_a_key_is_the_same_however_often_it_is_minted(self, kind: str) -> None:
        scope, wait = WAITS[kind]
        async with self.rig() as rig:
            first = await rig.key(wait, scope)
            await rig.interlude()
            assert await rig.key(wait, scope) == first
            assert (first.scope, first.wait) == (scope, wait)

    async def test_other_waits_and_other_scopes_have_other_keys(self) -> None:
        async with self.rig() as rig:
            asked: list[tuple[ExecutionScope, AwaitEventWaitIdentity]] = [
                *WAITS.values(),
                (TURN, CustomWait(key="approval")),
                (TURN, CustomWait(key="approval2")),
                (TurnScope(session_id="s", turn_id="t2"), CustomWait(key="approval")),
                (TurnScope(session_id="s2", turn_id="t1"), CustomWait(key="approval")),
                (ProcessScope(process_id="s"), CustomWait(key="approval")),
                (PROCESS, ProcessSignalWait(process_id="p", signal_name="go", ordinal=1)),
                (PROCESS, ProcessSignalWait(process_id="p", signal_name="g", ordinal=2)),
            ]
            keys = [await rig.key(wait, scope) for scope, wait in asked]
            assert len({key.key_id for key in keys}) == len(asked)
            assert len({key.signature for key in keys}) == len(asked)

    async def test_minting_registers_nothing(self) -> None:
        async with self.rig() as rig:
            key = await rig.key(scope=TURN)
            await rig.interlude()
            assert await rig.host.cancel_await_events_for_session("s") == 0
            assert await rig.host.peek_await_event(key) is None
            assert await rig.host.revoke_await_events_for_session("s") == 0

    # --- resolving ------------------------------------------------------------------------------

    @pytest.mark.parametrize("end", ENDS)
    async def test_a_resolution_that_comes_before_the_wait_is_kept(self, end: str) -> None:
        async with self.rig() as rig:
            key = await rig.key()
            assert await rig.host.peek_await_event(key) is None
            assert await rig.host.resolve_await_event(key, ENDS[end]) == ResolveAccepted()
            await rig.interlude()
            assert await rig.wait(key) == ENDS[end]
            assert await rig.wait(key) == ENDS[end]
            assert await rig.host.peek_await_event(key) == ENDS[end]

    async def test_the_first_resolution_stands_and_the_others_are_told_of_it(self) -> None:
        async with self.rig() as rig:
            key = await rig.key()
            await rig.host.resolve_await_event(key, NO)
            await rig.interlude()
            for late in (YES, NO, ResolvedTimeout(), ResolvedCancelled()):
                answer = await rig.host.resolve_await_event(key, late)
                assert answer == AlreadyResolved(terminal=NO)
            assert await rig.host.peek_await_event(key) == NO

    @pytest.mark.parametrize("kind", WAITS)
    async def test_a_resolution_wakes_everybody_who_waits(self, kind: str) -> None:
        scope, wait = WAITS[kind]
        async with self.rig() as rig:
            key, other = await rig.key(wait, scope), await rig.key("other", scope)
            waiting = [rig.spawn(rig.host.await_await_event(key)) for _ in range(3)]
            apart = rig.spawn(rig.host.await_await_event(other))
            await time_passes(rig.clock, 2)
            assert not any(task.done() for task in (*waiting, apart))
            assert await rig.host.resolve_await_event(key, YES) == ResolveAccepted()
            assert await rig.passing(asyncio.gather(*waiting)) == [YES, YES, YES]
            assert not apart.done()

    async def test_a_resolution_reads_alike_here_and_elsewhere(self) -> None:
        async with self.rig() as rig:
            key, lines = await rig.key(), [1]
            waiting = rig.spawn(rig.host.await_await_event(key))
            await asleep(rig.clock)
            given = ResolvedOk(payload={"lines": lines, "pair": ("a", 2)})
            assert await rig.host.resolve_await_event(key, given) == ResolveAccepted()
            lines.append(2)  # what was given is the giver's to change; what was kept is not
            kept = ResolvedOk(payload={"lines": [1], "pair": ["a", 2]})
            assert await rig.passing(waiting) == kept
            await rig.interlude()
            assert await rig.host.peek_await_event(key) == kept
            assert await rig.wait(key) == kept

    # --- giving up ------------------------------------------------------------------------------

    async def test_a_wait_that_is_cancelled_resolves_the_promise(self) -> None:
        async with self.rig() as rig:
            key = await rig.key()
            assert await rig.wait(key, cancel=cancelled()) == ResolvedCancelled()
            await rig.interlude()
            late = await rig.host.resolve_await_event(key, YES)
            assert late == AlreadyResolved(terminal=ResolvedCancelled())
            assert await rig.wait(key) == ResolvedCancelled()

    async def test_a_wait_that_is_cancelled_while_it_goes_on_resolves_the_promise(self) -> None:
        async with self.rig() as rig:
            key, token = await rig.key(), CancelToken()
            waiting = rig.spawn(rig.host.await_await_event(key, cancel=token))
            await time_passes(rig.clock, 2)
            assert not waiting.done()
            token.cancel(Cancellation(request_id="r1"))
            assert await rig.passing(waiting) == ResolvedCancelled()
            assert await rig.host.peek_await_event(key) == ResolvedCancelled()

    async def test_a_deadline_that_has_come_resolves_the_promise(self) -> None:
        async with self.rig() as rig:
            key, now = await rig.key(), rig.clock.now_ms()
            assert await rig.wait(key, deadline_at_ms=now) == ResolvedTimeout()
            await rig.interlude()
            late = await rig.host.resolve_await_event(key, YES)
            assert late == AlreadyResolved(terminal=ResolvedTimeout())
            assert await rig.wait(key) == ResolvedTimeout()

    async def test_a_wait_ends_at_its_deadline_and_not_before(self) -> None:
        async with self.rig() as rig:
            key, deadline = await rig.key(), rig.clock.now_ms() + 3_000
            waiting = rig.spawn(rig.host.await_await_event(key, deadline_at_ms=deadline))
            await time_passes(rig.clock, 2.9)
            assert not waiting.done()
            assert await rig.passing(waiting, at_most_s=0.2) == ResolvedTimeout()

    async def test_waiting_again_does_not_start_the_clock_again(self) -> None:
        async with self.rig() as rig:
            key, now = await rig.key(), rig.clock.now_ms()
            first = rig.spawn(rig.host.await_await_event(key, deadline_at_ms=now + 3_000))
            await asleep(rig.clock)
            await time_passes(rig.clock, 2)
            await rig.drop(first)
            await rig.interlude()
            again = rig.host.await_await_event(key, deadline_at_ms=now + 60_000)
            assert await rig.passing(again, at_most_s=1.2) == ResolvedTimeout()

    async def test_a_deadline_holds_although_nobody_waits_any_more(self) -> None:
        async with self.rig() as rig:
            key, deadline = await rig.key(), rig.clock.now_ms() + 3_000
            left = rig.spawn(rig.host.await_await_event(key, deadline_at_ms=deadline))
            await asleep(rig.clock)
            await rig.drop(left)
            await rig.interlude()
            rig.clock.advance(3)
            late = await rig.host.resolve_await_event(key, YES)
            assert late == AlreadyResolved(terminal=ResolvedTimeout())
            assert await rig.wait(key) == ResolvedTimeout()

    async def test_a_resolution_that_is_there_beats_a_cancel_and_a_deadline(self) -> None:
        async with self.rig() as rig:
            key = await rig.key()
            await rig.host.resolve_await_event(key, YES)
            await rig.interlude()
            past = rig.clock.now_ms() - 1
            assert await rig.wait(key, cancel=cancelled(), deadline_at_ms=past) == YES

    async def test_a_cancel_and_a_resolution_that_race_agree_on_who_won(self) -> None:
        async with self.rig() as rig:
            for number in range(8):
                key, token = await rig.key(f"w{number}"), CancelToken()
                waiting = rig.spawn(rig.host.await_await_event(key, cancel=token))
                await time_passes(rig.clock, 0.1)
                resolving = rig.spawn(rig.host.resolve_await_event(key, YES))
                for _ in range(number):
                    await asyncio.sleep(0)
                token.cancel(Cancellation(request_id="r1"))
                answer, seen = await rig.passing(asyncio.gather(resolving, waiting))
                won = YES if answer == ResolveAccepted() else ResolvedCancelled()
                if won != YES:
                    assert answer == AlreadyResolved(terminal=ResolvedCancelled())
                assert seen == won
                assert await rig.host.peek_await_event(key) == won

    async def test_a_wait_that_is_dropped_writes_nothing(self) -> None:
        async with self.rig() as rig:
            key = await rig.key()
            waiting = rig.spawn(rig.host.await_await_event(key))
            await time_passes(rig.clock, 1)
            await rig.drop(waiting)
            assert waiting.cancelled()
            await rig.interlude()
            assert await rig.host.peek_await_event(key) is None
            assert await rig.host.resolve_await_event(key, YES) == ResolveAccepted()
            assert await rig.wait(key) == YES


class SteeringProperties(HostProperties[S]):
    """The promises that steer a turn: nobody who waits for them writes them."""

    @pytest.mark.parametrize("kind", ["cancel gate", "terminal"])
    async def test_whoever_gives_up_waiting_for_a_turn_leaves_it_open(self, kind: str) -> None:
        scope, wait = WAITS[kind]
        async with self.rig() as rig:
            key = await rig.key(wait, scope)
            with pytest.raises(LashError) as given_up:
                await rig.wait(key, cancel=cancelled())
            with pytest.raises(LashError) as too_late:
                await rig.wait(key, deadline_at_ms=rig.clock.now_ms() + 1_000)
            assert given_up.value.code == "turn_control_wait_cancelled"
            assert too_late.value.code == "turn_control_wait_timeout"
            await rig.interlude()
            assert await rig.host.peek_await_event(key) is None
            assert await rig.host.resolve_await_event(key, YES) == ResolveAccepted()
            assert await rig.wait(key, cancel=cancelled()) == YES

    @pytest.mark.parametrize("kind", ["cancel gate", "terminal"])
    async def test_one_waiters_deadline_is_not_anothers(self, kind: str) -> None:
        scope, wait = WAITS[kind]
        async with self.rig() as rig:
            key, now = await rig.key(wait, scope), rig.clock.now_ms()
            patient = rig.spawn(rig.host.await_await_event(key))
            with pytest.raises(LashError):
                await rig.wait(key, deadline_at_ms=now + 500)
            await time_passes(rig.clock, 1)
            assert not patient.done()
            await rig.host.resolve_await_event(key, YES)
            assert await rig.passing(patient) == YES

    async def test_a_sweep_ends_a_turns_waits_and_not_what_steers_it(self) -> None:
        async with self.rig() as rig:
            call = await rig.key(ToolCompletionWait(tool_call_id="c1"), TURN)
            control = [await rig.key(WAITS[kind][1], TURN) for kind in ("cancel gate", "terminal")]
            steering = [rig.spawn(rig.host.await_await_event(key)) for key in control]
            waiting = rig.spawn(rig.host.await_await_event(call))

            async def swept() -> bool:
                return await rig.host.cancel_await_events_for_session("s") > 0

            await until(rig.clock, swept)
            assert await rig.passing(waiting) == ResolvedCancelled()
            await time_passes(rig.clock, 1)
            assert not any(task.done() for task in steering)
            for task in steering:
                await rig.drop(task)
            await rig.interlude()
            for key in control:
                assert await rig.host.peek_await_event(key) is None
                assert await rig.host.resolve_await_event(key, YES) == ResolveAccepted()
