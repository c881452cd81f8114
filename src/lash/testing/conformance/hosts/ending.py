"""Ending the waits of a session on a host: a sweep cancels them, a deletion revokes them for ever."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.core.errors import LashError
from lash.core.scopes import ProcessScope, RuntimeOperationScope, TurnScope
from lash.effects.waits.model import (
    AwaitEventKey,
    ResolveAccepted,
    ResolvedCancelled,
    TurnCancelGateWait,
    UnknownOrRevoked,
)
from lash.testing.conformance.hosts.hosting import HostProperties, HostRig, S
from lash.testing.conformance.hosts.promising import TURN
from lash.testing.conformance.hosts.timing import time_passes, until
from lash.testing.conformance.samples import NO, YES


async def refusals(rig: HostRig[S], key: AwaitEventKey) -> set[str]:
    """The words in which looking at a key and waiting for it are refused."""
    words: set[str] = set()
    for refused in (rig.host.peek_await_event(key), rig.host.await_await_event(key)):
        with pytest.raises(LashError) as error:
            await rig.passing(refused)
        assert error.value.code == "await_event_unknown_or_revoked"
        words.add(str(error.value))
    return words


class EndingProperties(HostProperties[S]):
    """`cancel_await_events_for_session`, `revoke_await_events_for_session`."""

    async def test_a_sweep_cancels_what_a_session_waits_for(self) -> None:
        async with self.rig() as rig:
            keys = [await rig.key(name, TURN) for name in ("one", "two")]
            waiting = [rig.spawn(rig.host.await_await_event(key)) for key in keys]
            ended = 0

            async def swept() -> bool:
                nonlocal ended
                ended += await rig.host.cancel_await_events_for_session("s")
                return ended >= 2

            await until(rig.clock, swept)
            assert ended == 2
            for key, task in zip(keys, waiting, strict=True):
                assert await rig.passing(task) == ResolvedCancelled()
                assert await rig.host.peek_await_event(key) == ResolvedCancelled()
            assert await rig.host.cancel_await_events_for_session("s") == 0

    async def test_a_sweep_leaves_what_is_finished_and_what_comes_later(self) -> None:
        async with self.rig() as rig:
            done, later = await rig.key("done", TURN), await rig.key("later", TURN)
            await rig.host.resolve_await_event(done, NO)
            assert await rig.host.cancel_await_events_for_session("s") == 0
            await rig.interlude()
            assert await rig.host.peek_await_event(done) == NO
            waiting = rig.spawn(rig.host.await_await_event(later))
            await time_passes(rig.clock, 1)
            assert not waiting.done()
            await rig.host.resolve_await_event(later, YES)
            assert await rig.passing(waiting) == YES

    async def test_a_sweep_stays_in_its_session(self) -> None:
        async with self.rig() as rig:
            mine = await rig.key(scope=TURN)
            others = [
                await rig.key(scope=TurnScope(session_id="s2", turn_id="t1")),
                await rig.key(scope=ProcessScope(process_id="s")),
                await rig.key(scope=RuntimeOperationScope(operation_id="s")),
            ]
            waiting = [rig.spawn(rig.host.await_await_event(key)) for key in others]
            swept = rig.spawn(rig.host.await_await_event(mine))

            async def is_swept() -> bool:
                return await rig.host.cancel_await_events_for_session("s") > 0

            await until(rig.clock, is_swept)
            assert await rig.passing(swept) == ResolvedCancelled()
            await time_passes(rig.clock, 1)
            assert not any(task.done() for task in waiting)
            for key, task in zip(others, waiting, strict=True):
                assert await rig.host.resolve_await_event(key, YES) == ResolveAccepted()
                assert await rig.passing(task) == YES

    async def test_a_deletion_refuses_every_key_of_a_session(self) -> None:
        async with self.rig() as rig:
            resolved, pending = await rig.key("resolved", TURN), await rig.key("pending", TURN)
            never, gate = await rig.key("never", TURN), await rig.key(TurnCancelGateWait(), TURN)
            await rig.host.resolve_await_event(resolved, YES)
            waiting = [rig.spawn(rig.host.await_await_event(key)) for key in (pending, gate)]
            await time_passes(rig.clock, 1)
            await rig.host.revoke_await_events_for_session("s")
            for task in waiting:
                with pytest.raises(LashError) as woken:
                    await rig.passing(task)
                assert woken.value.code == "await_event_unknown_or_revoked"
            await rig.interlude()
            for key in (resolved, pending, never, gate):
                assert await rig.host.resolve_await_event(key, YES) == UnknownOrRevoked()
                await refusals(rig, key)
            with pytest.raises(LashError) as minted:
                await rig.key("another", TURN)
            assert minted.value.code == "await_event_unknown_or_revoked"

    async def test_a_deletion_leaves_what_belongs_to_no_session_or_another(self) -> None:
        async with self.rig() as rig:
            keys = [
                await rig.key(scope=TurnScope(session_id="s2", turn_id="t1")),
                await rig.key(scope=ProcessScope(process_id="s")),
                await rig.key(scope=RuntimeOperationScope(operation_id="s")),
            ]
            waiting = [rig.spawn(rig.host.await_await_event(key)) for key in keys]
            await time_passes(rig.clock, 1)
            await rig.host.revoke_await_events_for_session("s")
            await time_passes(rig.clock, 1)
            assert not any(task.done() for task in waiting)
            for key, task in zip(keys, waiting, strict=True):
                assert await rig.host.resolve_await_event(key, YES) == ResolveAccepted()
                assert await rig.passing(task) == YES

    async def test_a_deletion_is_for_ever(self) -> None:
        async with self.rig() as rig:
            key = await rig.key(scope=TURN)
            await rig.host.revoke_await_events_for_session("s")
            await rig.interlude()
            await time_passes(rig.clock, 5)
            assert await rig.host.revoke_await_events_for_session("s") == 0
            assert await rig.host.cancel_await_events_for_session("s") == 0
            await refusals(rig, key)

    @pytest.mark.parametrize("session", ["", "  "])
    async def test_a_session_must_be_named(self, session: str) -> None:
        async with self.rig() as rig:
            for ending in (
                rig.host.cancel_await_events_for_session(session),
                rig.host.revoke_await_events_for_session(session),
            ):
                with pytest.raises(LashError) as refused:
                    await ending
                assert refused.value.code == "invalid_await_event_session_id"
