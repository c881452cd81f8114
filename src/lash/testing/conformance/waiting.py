"""Promises: every cell of the table in `lash.effects.waits.transitions`, as a store keeps it."""

# ruff: noqa: D102  the name of a property says what it promises

import asyncio

import msgspec
import pytest

from lash.core.scopes import ProcessScope, TurnScope
from lash.effects.waits.model import (
    AlreadyResolved,
    Resolution,
    ResolveAccepted,
    ResolvedCancelled,
    ResolvedOk,
    ResolvedTimeout,
    TurnCancelGateWait,
    UnknownOrRevoked,
)
from lash.effects.waits.transitions import (
    WaitMissing,
    WaitPending,
    WaitResolved,
    WaitRevoked,
)
from lash.testing.conformance.rig import Properties
from lash.testing.conformance.samples import NO, YES, record, wait_row

_ENDS: dict[str, Resolution] = {
    "ok": YES,
    "ok without a payload": ResolvedOk(),
    "error": NO,
    "timeout": ResolvedTimeout(),
    "cancelled": ResolvedCancelled(),
}
_PROCESS = ProcessScope(process_id="p")
#: A field of a promise's identity as that of another one.
_OTHER = {
    "scope_key": '{"version":2,"kind":"op","execution_id":"other"}',
    "session_id": "other",
    "wait": '{"key":"other","type":"custom"}',
}


class WaitProperties(Properties):
    """`AwaitEventStore`: open, resolve, inspect, list."""

    # --- nobody was there yet --------------------------------------------------------------------

    async def test_a_promise_nobody_touched_is_missing_and_looking_does_not_make_it(self) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store)
            assert await rig.stands(row) == WaitMissing()
            await rig.interlude()
            assert await rig.stands(row) == WaitMissing()
            assert list(await rig.store.list_waits(row.scope_key)) == []

    @pytest.mark.parametrize("end", _ENDS)
    async def test_a_resolution_that_comes_before_the_wait_is_kept(self, end: str) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store)
            assert await rig.store.resolve_wait(row, _ENDS[end]) == ResolveAccepted()
            await rig.interlude()
            assert await rig.stands(row) == WaitResolved(resolution=_ENDS[end])
            assert await rig.store.open_wait(row) == WaitResolved(resolution=_ENDS[end])

    async def test_a_promise_that_was_resolved_before_the_wait_has_no_deadline(self) -> None:
        async with self.rig() as rig:
            early = wait_row(rig.store, deadline_at_ms=rig.clock.now_ms() + 10)
            await rig.store.resolve_wait(early, YES)
            rig.clock.advance(1)
            await rig.interlude()
            assert await rig.store.open_wait(early) == WaitResolved(resolution=YES)
            (kept,) = await rig.store.list_waits(early.scope_key)
            assert kept.deadline_at_ms is None

    # --- somebody waits ----------------------------------------------------------------------------

    @pytest.mark.parametrize("end", _ENDS)
    async def test_a_promise_that_is_waited_for_is_resolved_once(self, end: str) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store)
            assert await rig.store.open_wait(row) == WaitPending()
            await rig.interlude()
            assert await rig.stands(row) == WaitPending()
            assert await rig.store.resolve_wait(row, _ENDS[end]) == ResolveAccepted()
            await rig.interlude()
            assert await rig.stands(row) == WaitResolved(resolution=_ENDS[end])
            assert await rig.store.open_wait(row) == WaitResolved(resolution=_ENDS[end])

    @pytest.mark.parametrize("waited", [False, True], ids=["early", "waited for"])
    async def test_the_first_resolution_stands_and_the_others_are_told_of_it(
        self, waited: bool
    ) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store)
            if waited:
                await rig.store.open_wait(row)
            await rig.store.resolve_wait(row, NO)
            await rig.interlude()
            for late in (YES, NO, ResolvedTimeout(), ResolvedCancelled()):
                answer = await rig.store.resolve_wait(row, late)
                assert answer == AlreadyResolved(terminal=NO)
            await rig.interlude()
            assert await rig.stands(row) == WaitResolved(resolution=NO)

    async def test_of_many_who_resolve_at_once_one_wins_and_the_rest_get_its_resolution(
        self,
    ) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store)
            offers = [ResolvedOk(payload=number) for number in range(8)]
            answers = await asyncio.gather(
                *(rig.store.resolve_wait(row, offer) for offer in offers)
            )
            (won,) = [n for n, answer in enumerate(answers) if answer == ResolveAccepted()]
            lost = [answer for n, answer in enumerate(answers) if n != won]
            assert lost == [AlreadyResolved(terminal=offers[won])] * 7
            await rig.interlude()
            assert await rig.stands(row) == WaitResolved(resolution=offers[won])

    # --- deadlines -----------------------------------------------------------------------------------

    async def test_waiting_again_does_not_start_the_clock_again(self) -> None:
        async with self.rig() as rig:
            now = rig.clock.now_ms()
            bare = wait_row(rig.store)
            first = msgspec.structs.replace(bare, deadline_at_ms=now + 1_000)
            assert await rig.store.open_wait(first) == WaitPending(deadline_at_ms=now + 1_000)
            rig.clock.advance(0.5)
            await rig.interlude()
            for deadline in (now + 1_500, now + 1, None):
                again = msgspec.structs.replace(bare, deadline_at_ms=deadline)
                assert await rig.store.open_wait(again) == WaitPending(deadline_at_ms=now + 1_000)
            assert await rig.stands(bare) == WaitPending(deadline_at_ms=now + 1_000)

    async def test_a_wait_that_began_without_a_deadline_gets_none(self) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store)
            await rig.store.open_wait(row)
            await rig.interlude()
            later = msgspec.structs.replace(row, deadline_at_ms=rig.clock.now_ms() + 10)
            assert await rig.store.open_wait(later) == WaitPending()
            rig.clock.advance(1)
            assert await rig.store.resolve_wait(row, YES) == ResolveAccepted()

    async def test_a_resolution_before_the_deadline_is_in_time(self) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store, deadline_at_ms=rig.clock.now_ms() + 1_000)
            await rig.store.open_wait(row)
            rig.clock.advance(0.999)
            await rig.interlude()
            assert await rig.store.resolve_wait(row, YES) == ResolveAccepted()
            rig.clock.advance(1)
            assert await rig.stands(row) == WaitResolved(resolution=YES)

    @pytest.mark.parametrize("late", [YES, NO, ResolvedCancelled()], ids=["ok", "error", "cancel"])
    async def test_a_resolution_after_the_deadline_finds_the_timeout(
        self, late: Resolution
    ) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store, deadline_at_ms=rig.clock.now_ms() + 1_000)
            await rig.store.open_wait(row)
            rig.clock.advance(1)
            await rig.interlude()
            # A resolver knows no deadline: the row has it.
            bare = msgspec.structs.replace(row, deadline_at_ms=None)
            answer = await rig.store.resolve_wait(bare, late)
            assert answer == AlreadyResolved(terminal=ResolvedTimeout())
            await rig.interlude()
            assert await rig.stands(row) == WaitResolved(resolution=ResolvedTimeout())

    async def test_whoever_reports_the_timeout_first_is_accepted(self) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store, deadline_at_ms=rig.clock.now_ms() + 1_000)
            await rig.store.open_wait(row)
            rig.clock.advance(2)
            await rig.interlude()
            assert await rig.store.resolve_wait(row, ResolvedTimeout()) == ResolveAccepted()
            again = await rig.store.resolve_wait(row, ResolvedTimeout())
            assert again == AlreadyResolved(terminal=ResolvedTimeout())

    # --- one name, another promise -------------------------------------------------------------------

    @pytest.mark.parametrize("field", ["scope_key", "session_id", "wait"])
    async def test_another_promise_under_the_same_name_is_answered_as_revoked(
        self, field: str
    ) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store)
            await rig.store.open_wait(row)
            other = msgspec.structs.replace(row, **{field: _OTHER[field]})
            await rig.interlude()
            assert await rig.store.resolve_wait(other, YES) == UnknownOrRevoked()
            assert await rig.store.open_wait(other) == WaitRevoked()
            assert await rig.stands(other) == WaitRevoked()
            await rig.interlude()
            assert await rig.stands(row) == WaitPending()
            (kept,) = await rig.store.list_waits(row.scope_key)
            assert kept.same_promise(row)

    # --- reading -------------------------------------------------------------------------------------

    async def test_many_promises_are_looked_at_in_one_go(self) -> None:
        async with self.rig() as rig:
            names = [f"w{number:04}" for number in range(1_200)]
            rows = [wait_row(rig.store, name) for name in names]
            pending, resolved, foreign, gone, *_ = rows
            due = rig.clock.now_ms() + 5_000
            await rig.store.open_wait(msgspec.structs.replace(pending, deadline_at_ms=due))
            await rig.store.resolve_wait(resolved, YES)
            await rig.store.open_wait(foreign)
            asked = [
                pending,
                resolved,
                msgspec.structs.replace(foreign, wait=_OTHER["wait"]),
                wait_row(rig.store, scope=TurnScope(session_id="deleted", turn_id="t1")),
                *rows[4:],
            ]
            await rig.store.revoke_session_waits("deleted")
            await rig.interlude()
            states = await rig.store.inspect_waits(asked)
            assert set(states) == {row.key_id for row in asked}
            assert gone.key_id not in states
            assert [states[row.key_id] for row in asked[:5]] == [
                WaitPending(deadline_at_ms=due),
                WaitResolved(resolution=YES),
                WaitRevoked(),
                WaitRevoked(),
                WaitMissing(),
            ]

    async def test_looking_at_none_is_answered_with_none(self) -> None:
        async with self.rig() as rig:
            assert dict(await rig.store.inspect_waits([])) == {}

    async def test_the_promises_of_a_scope_are_listed_as_they_were_made(self) -> None:
        async with self.rig() as rig:
            now = rig.clock.now_ms()
            z = wait_row(rig.store, "z", deadline_at_ms=now + 9_000)
            a, gate = wait_row(rig.store, "a"), wait_row(rig.store, TurnCancelGateWait())
            await rig.store.open_wait(z)
            rig.clock.advance(1)
            await rig.store.resolve_wait(a, YES)
            await rig.interlude()
            rig.clock.advance(1)
            await rig.store.open_wait(gate)
            await rig.store.open_wait(wait_row(rig.store, "elsewhere", _PROCESS))
            rig.clock.advance(1)
            await rig.store.resolve_wait(z, ResolvedCancelled())
            await rig.interlude()
            listed = list(await rig.store.list_waits(z.scope_key))
            assert [msgspec.json.decode(row.wait) for row in listed] == [
                {"type": "custom", "key": "z"},
                {"type": "custom", "key": "a"},
                {"type": "turn_cancel_gate"},
            ]
            assert [(row.created_at_ms, row.resolved_at_ms) for row in listed] == [
                (now, now + 3_000),
                (now + 1_000, now + 1_000),
                (now + 2_000, None),
            ]
            assert [row.deadline_at_ms for row in listed] == [now + 9_000, None, None]
            assert [row.turn_control for row in listed] == [False, False, True]
            kept = [msgspec.json.decode(row.resolution) for row in listed if row.resolution]
            assert kept == [
                {"status": "cancelled"},
                {"status": "ok", "payload": {"by": "ana", "lines": [1, 2.5, None, "é ☃"]}},
            ]
            assert all(row.session_id == "s" for row in listed)

    async def test_the_secret_is_random_and_the_same_for_whoever_opens_the_store(self) -> None:
        async with self.rig() as rig:
            secret = rig.store.signing_secret
            assert len(secret) == 32
            assert len(set(secret)) > 8  # not a filler
            await rig.interlude()
            assert rig.store.signing_secret == secret

    async def test_a_write_moves_the_change_token_and_reading_does_not(self) -> None:
        async with self.rig() as rig:
            row = wait_row(rig.store)
            tokens = [await rig.store.change_token()]
            await rig.store.open_wait(row)
            tokens.append(await rig.store.change_token())
            await rig.store.resolve_wait(row, YES)
            tokens.append(await rig.store.change_token())
            await rig.store.record("op", [record("r1")], None)
            tokens.append(await rig.store.change_token())
            assert tokens == [None] * 4 or len(set(tokens)) == 4
            await rig.stands(row)
            assert await rig.store.change_token() == tokens[-1]
