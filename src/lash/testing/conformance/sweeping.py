"""Ending the promises of a session: cancelled by a sweep, or revoked for ever."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.core.scopes import ProcessScope, QueueDrainScope, RuntimeOperationScope, TurnScope
from lash.effects.waits.model import (
    AlreadyResolved,
    AwaitEventWaitIdentity,
    ProcessSignalWait,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedTimeout,
    ToolCompletionWait,
    TurnCancelGateWait,
    TurnTerminalWait,
    UnknownOrRevoked,
)
from lash.effects.waits.transitions import WaitMissing, WaitPending, WaitResolved, WaitRevoked
from lash.testing.conformance.rig import Properties
from lash.testing.conformance.samples import YES, wait_row

_CONTROL: dict[str, AwaitEventWaitIdentity] = {
    "cancel gate": TurnCancelGateWait(),
    "terminal": TurnTerminalWait(),
}
_DRAIN = QueueDrainScope(session_id="s", drain_id="d1")
_OPERATION = RuntimeOperationScope(operation_id="o")


class SweepProperties(Properties):
    """`cancel_session_waits`, `revoke_session_waits`, `is_revoked`."""

    async def test_a_sweep_cancels_what_a_session_waits_for(self) -> None:
        async with self.rig() as rig:
            turn, drain = wait_row(rig.store), wait_row(rig.store, scope=_DRAIN)
            await rig.store.open_wait(turn)
            await rig.store.open_wait(drain)
            await rig.interlude()
            ended = await rig.store.cancel_session_waits("s")
            assert sorted(ended) == sorted([turn.key_id, drain.key_id])
            await rig.interlude()
            for row in (turn, drain):
                assert await rig.stands(row) == WaitResolved(resolution=ResolvedCancelled())
                answer = await rig.store.resolve_wait(row, YES)
                assert answer == AlreadyResolved(terminal=ResolvedCancelled())
            assert list(await rig.store.cancel_session_waits("s")) == []

    async def test_a_sweep_leaves_what_is_finished_and_what_is_not_begun(self) -> None:
        async with self.rig() as rig:
            done, missing = wait_row(rig.store, "done"), wait_row(rig.store, "missing")
            await rig.store.open_wait(done)
            await rig.store.resolve_wait(done, YES)
            assert list(await rig.store.cancel_session_waits("s")) == []
            await rig.interlude()
            assert await rig.stands(done) == WaitResolved(resolution=YES)
            assert await rig.stands(missing) == WaitMissing()
            assert await rig.store.open_wait(missing) == WaitPending()

    async def test_a_sweep_stays_in_its_session(self) -> None:
        async with self.rig() as rig:
            rows = [
                wait_row(rig.store, scope=TurnScope(session_id="s2", turn_id="t1")),
                wait_row(rig.store, scope=TurnScope(session_id="S", turn_id="t1")),
                wait_row(rig.store, scope=ProcessScope(process_id="s")),
                wait_row(rig.store, scope=RuntimeOperationScope(operation_id="s")),
            ]
            for row in rows:
                await rig.store.open_wait(row)
            assert list(await rig.store.cancel_session_waits("s")) == []
            await rig.interlude()
            assert [await rig.stands(row) for row in rows] == [WaitPending()] * 4

    @pytest.mark.parametrize("control", _CONTROL)
    async def test_what_steers_a_turn_is_in_no_sweep(self, control: str) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store, _CONTROL[control])
            await rig.store.open_wait(row)
            assert list(await rig.store.cancel_session_waits("s")) == []
            await rig.interlude()
            assert await rig.stands(row) == WaitPending()
            assert await rig.store.resolve_wait(row, YES) == ResolveAccepted()

    async def test_a_sweep_after_the_deadline_finds_the_timeout(self) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store, deadline_at_ms=rig.clock.now_ms() + 1_000)
            await rig.store.open_wait(row)
            rig.clock.advance(1)
            await rig.store.cancel_session_waits("s")
            await rig.interlude()
            assert await rig.stands(row) == WaitResolved(resolution=ResolvedTimeout())

    async def test_waits_after_a_sweep_are_like_any_other(self) -> None:
        async with self.rig() as rig:
            await rig.store.open_wait(wait_row(rig.store, "before"))
            await rig.store.cancel_session_waits("s")
            await rig.interlude()
            after = wait_row(rig.store, "after")
            assert await rig.store.open_wait(after) == WaitPending()
            assert await rig.store.resolve_wait(after, YES) == ResolveAccepted()

    async def test_revoking_forgets_the_promises_of_a_session_and_refuses_its_keys(self) -> None:
        async with self.rig() as rig:
            pending, resolved = wait_row(rig.store, "pending"), wait_row(rig.store, "resolved")
            gate = wait_row(rig.store, TurnCancelGateWait())
            never, drain = wait_row(rig.store, "never"), wait_row(rig.store, scope=_DRAIN)
            for row in (pending, resolved, gate, drain):
                await rig.store.open_wait(row)
            await rig.store.resolve_wait(resolved, YES)
            assert not await rig.store.is_revoked("s")
            forgotten = await rig.store.revoke_session_waits("s")
            known = [pending, resolved, gate, drain]
            assert sorted(forgotten) == sorted(row.key_id for row in known)
            await rig.interlude()
            assert await rig.store.is_revoked("s")
            for row in (*known, never):
                assert await rig.store.resolve_wait(row, YES) == UnknownOrRevoked()
                assert await rig.store.open_wait(row) == WaitRevoked()
                assert await rig.stands(row) == WaitRevoked()
                assert list(await rig.store.list_waits(row.scope_key)) == []

    async def test_revoking_is_for_ever_and_may_come_before_everything_else(self) -> None:
        async with self.rig() as rig:
            assert list(await rig.store.revoke_session_waits("s")) == []
            await rig.interlude()
            assert list(await rig.store.revoke_session_waits("s")) == []
            assert list(await rig.store.cancel_session_waits("s")) == []
            await rig.accept("t1")  # a session of the same name changes nothing
            await rig.interlude()
            row = wait_row(rig.store)
            assert await rig.store.is_revoked("s")
            assert await rig.store.open_wait(row) == WaitRevoked()
            assert await rig.store.resolve_wait(row, YES) == UnknownOrRevoked()

    async def test_revoking_leaves_what_belongs_to_no_session_or_another(self) -> None:
        async with self.rig() as rig:
            rows = [
                wait_row(rig.store, scope=TurnScope(session_id="s2", turn_id="t1")),
                wait_row(
                    rig.store,
                    ProcessSignalWait(process_id="s", signal_name="go", ordinal=1),
                    ProcessScope(process_id="s"),
                ),
                wait_row(rig.store, ToolCompletionWait(tool_call_id="c1"), _OPERATION),
            ]
            for row in rows:
                await rig.store.open_wait(row)
            assert list(await rig.store.revoke_session_waits("s")) == []
            await rig.interlude()
            assert not await rig.store.is_revoked("s2")
            assert [await rig.stands(row) for row in rows] == [WaitPending()] * 3
            assert await rig.store.resolve_wait(rows[1], YES) == ResolveAccepted()
