"""Recording: strict drives, what lands with the next record, drift, fences and retirement."""

# ruff: noqa: D102  the name of a property says what it promises

import pytest

from lash.core.errors import LashError, LeaseLostError
from lash.core.scopes import (
    ExecutionScope,
    ProcessScope,
    QueueDrainScope,
    RuntimeOperationScope,
    SessionDeleteScope,
    TurnScope,
)
from lash.effects import executors
from lash.effects.commands import PeekAwaitEventCommand, RuntimeValueCommand
from lash.effects.controller import Drift, EffectCounts
from lash.effects.journal import (
    Authority,
    RetireFinished,
    RetireOperation,
    RetireProcess,
    RetireSession,
)
from lash.effects.outcomes import EffectFailed, PeekAwaitEventOutcome, RuntimeValueOutcome
from lash.testing.conformance.hosts.asking import (
    OPERATION,
    TURN,
    Counted,
    done,
    envelope,
    llm_call,
    step,
)
from lash.testing.conformance.hosts.hosting import HostProperties, HostRig, S
from lash.testing.conformance.samples import BEN, TTL_MS, YES

_NOW = envelope(RuntimeValueCommand(operation="now"), "e1")


async def runs_again(
    rig: HostRig[S], scope: ExecutionScope, authority: Authority | None = None
) -> bool:
    """Whether a step of a scope is executed, so that nothing was recorded of it."""
    charge = Counted(done())
    drive = rig.drive(scope, authority=authority)
    assert await drive.execute(envelope(step()), charge.executor()) == done()
    return charge.runs == 1


class RecordingProperties(HostProperties[S]):
    """What is written, when, and by whom."""

    # --- strict -----------------------------------------------------------------------------------

    async def test_where_nothing_can_be_performed_a_missing_effect_is_refused_and_not_recorded(
        self,
    ) -> None:
        async with self.rig() as rig:
            drive = rig.drive()
            with pytest.raises(LashError) as refused:
                await drive.execute(envelope(step()), executors.unavailable())
            assert refused.value.code == "runtime_effect_local_executor_unavailable"
            await rig.interlude()
            assert await runs_again(rig, OPERATION)

    async def test_where_nothing_can_be_performed_a_recorded_effect_is_answered(self) -> None:
        async with self.rig("journals") as rig:
            assert await runs_again(rig, OPERATION)
            await rig.interlude()
            again = rig.drive()
            assert await again.execute(envelope(step()), executors.unavailable()) == done()
            assert again.counts == EffectCounts(replayed=1)

    async def test_an_executor_is_for_its_kind_and_for_one_execution(self) -> None:
        async with self.rig() as rig:
            drive, asked = rig.drive(), envelope(step())
            wrong = executors.tool_attempt(_never)
            with pytest.raises(LashError) as mismatch:
                await drive.execute(asked, wrong)
            assert mismatch.value.code == "runtime_effect_local_executor_mismatch"
            once = Counted(done()).executor()
            await drive.execute(asked, once)
            with pytest.raises(LashError) as consumed:
                await drive.execute(envelope(step(), "e2"), once)
            assert consumed.value.code == "runtime_effect_local_executor_consumed"

    # --- what lands with the next record ------------------------------------------------------------

    async def test_a_value_that_was_read_stands_once_something_followed_it(self) -> None:
        async with self.rig("journals") as rig:
            drive, clock = rig.drive(), Counted(RuntimeValueOutcome(value=7))
            assert await drive.execute(_NOW, clock.executor()) == RuntimeValueOutcome(value=7)
            assert await drive.execute(_NOW, clock.executor()) == RuntimeValueOutcome(value=7)
            assert clock.runs == 1
            await drive.execute(envelope(step(), "e2"), Counted(done()).executor())
            assert list(drive.deferred()) == []
            await rig.interlude()
            again = rig.drive()
            assert await again.execute(_NOW, executors.unavailable()) == RuntimeValueOutcome(
                value=7
            )

    async def test_a_value_nothing_followed_is_recorded_or_named_as_waiting(self) -> None:
        async with self.rig("journals") as rig:
            drive, first = rig.drive(), Counted(RuntimeValueOutcome(value=7))
            await drive.execute(_NOW, first.executor())
            waiting = [record.replay_key for record in drive.deferred()]
            await rig.interlude()
            second = Counted(RuntimeValueOutcome(value=8))
            read = await rig.drive().execute(_NOW, second.executor())
            if waiting == ["e1"]:  # the machine died first: nothing that followed exists
                assert (read, second.runs) == (RuntimeValueOutcome(value=8), 1)
            else:
                assert waiting == []
                assert (read, second.runs) == (RuntimeValueOutcome(value=7), 0)

    async def test_what_a_peek_saw_stands_once_something_followed_it(self) -> None:
        async with self.rig("journals") as rig:
            key, drive = await rig.key(), rig.drive()
            before = envelope(PeekAwaitEventCommand(key=key), "e1")
            after = envelope(PeekAwaitEventCommand(key=key), "e2")
            open_still = PeekAwaitEventOutcome(resolution=None)
            assert await drive.execute(before, executors.unavailable()) == open_still
            await rig.host.resolve_await_event(key, YES)
            resolved = PeekAwaitEventOutcome(resolution=YES)
            assert await drive.execute(after, executors.unavailable()) == resolved
            await drive.execute(envelope(step(), "e3"), Counted(done()).executor())
            await rig.interlude()
            again = rig.drive()
            assert await again.execute(before, executors.unavailable()) == open_still
            assert await again.execute(after, executors.unavailable()) == resolved
            assert again.counts == EffectCounts(replayed=2)

    # --- drift --------------------------------------------------------------------------------------

    async def test_a_record_under_other_surroundings_stands_and_the_drift_is_told(self) -> None:
        async with self.rig("journals") as rig:
            kept = EffectFailed(code="x", message="kept")
            asked = envelope(llm_call("Be brief."))
            await rig.drive().execute(asked, Counted(kept).executor())
            await rig.interlude()
            again = rig.drive()
            other = envelope(llm_call("Be long."))
            assert await again.execute(other, executors.unavailable()) == kept
            assert list(again.drift) == [
                Drift(replay_key="e1", paths=("surroundings.instructions",))
            ]

    # --- fences -------------------------------------------------------------------------------------

    async def test_a_holder_records_under_its_lease(self) -> None:
        async with self.rig("journals", "fences") as rig:
            held = await rig.lease()
            assert await runs_again(rig, TURN, held)
            await rig.interlude()
            assert not await runs_again(rig, TURN, held)

    async def test_a_writer_that_was_fenced_out_records_nothing(self) -> None:
        async with self.rig("journals", "fences") as rig:
            stale = await rig.lease()
            drive = rig.drive(authority=stale, scope=TURN)
            recorded = Counted(done("first"))
            await drive.execute(envelope(step(), "e1"), recorded.executor())
            rig.clock.advance(TTL_MS / 1000)
            held = await rig.lease(owner=BEN)
            late = Counted(done("late"))
            with pytest.raises(LeaseLostError) as lost:
                await drive.execute(envelope(step(), "e2"), late.executor())
            assert (lost.value.code, lost.value.retryable) == ("session_execution_lease_lost", True)
            assert late.runs == 1  # it did its work, and nobody will hear of it
            await rig.interlude()
            taken = rig.drive(TURN, authority=held)
            fresh = Counted(done("fresh"))
            asked = envelope(step(), "e2")
            assert await taken.execute(asked, fresh.executor()) == done("fresh")
            # What it recorded while it held the lease stands, and it may still be read.
            first = await taken.execute(envelope(step(), "e1"), executors.unavailable())
            assert first == done("first")
            seen = rig.drive(TURN, authority=stale)
            assert await seen.execute(asked, executors.unavailable()) == done("fresh")

    async def test_what_waited_for_the_next_record_is_not_written_by_a_fenced_writer(self) -> None:
        async with self.rig("journals", "fences") as rig:
            drive = rig.drive(TURN, authority=await rig.lease())
            await drive.execute(_NOW, Counted(RuntimeValueOutcome(value=7)).executor())
            waiting = [record.replay_key for record in drive.deferred()]
            if not waiting:
                pytest.skip("not for this host: it records values at once")
            rig.clock.advance(TTL_MS / 1000)
            held = await rig.lease(owner=BEN)
            with pytest.raises(LeaseLostError):
                await drive.execute(envelope(step(), "e2"), Counted(done()).executor())
            await rig.interlude()
            clock = Counted(RuntimeValueOutcome(value=8))
            read = await rig.drive(TURN, authority=held).execute(_NOW, clock.executor())
            assert read == RuntimeValueOutcome(value=8)

    # --- retirement ---------------------------------------------------------------------------------

    async def test_a_sessions_journals_are_retired_and_nobody_elses(self) -> None:
        async with self.rig("journals") as rig:
            mine: list[ExecutionScope] = [
                TurnScope(session_id="s", turn_id="t1"),
                QueueDrainScope(session_id="s", drain_id="d1"),
                SessionDeleteScope(session_id="s"),
            ]
            others: list[ExecutionScope] = [
                TurnScope(session_id="s2", turn_id="s"),
                ProcessScope(process_id="s"),
                RuntimeOperationScope(operation_id="s"),
            ]
            held = {"s": await rig.lease("s"), "s2": await rig.lease("s2")}
            for scope in (*mine, *others):
                session = getattr(scope, "session_id", None)
                assert await runs_again(rig, scope, held.get(session) if session else None)
            gone = await rig.host.retire_effect_journal(RetireSession(session_id="s"))
            assert (gone.scopes, gone.records, gone.more) == (3, 3, False)
            await rig.interlude()
            assert [await runs_again(rig, scope, held["s"]) for scope in mine] == [True] * 3
            for scope in others:
                drive = rig.drive(scope)
                assert await drive.execute(envelope(step()), executors.unavailable()) == done()

    async def test_a_process_and_an_operation_are_retired_by_their_exact_names(self) -> None:
        async with self.rig("journals") as rig:
            scopes: list[ExecutionScope] = [
                ProcessScope(process_id="p"),
                ProcessScope(process_id="p:1"),
                ProcessScope(process_id="P"),
                RuntimeOperationScope(operation_id="p"),
                RuntimeOperationScope(operation_id="p:1"),
            ]
            assert [await runs_again(rig, scope) for scope in scopes] == [True] * 5
            process = await rig.host.retire_effect_journal(RetireProcess(process_id="p"))
            assert (process.scopes, process.records) == (1, 1)
            await rig.interlude()
            left = [await runs_again(rig, scope) for scope in scopes]
            assert left == [True, False, False, False, False]
            operation = await rig.host.retire_effect_journal(RetireOperation(operation_id="p"))
            assert (operation.scopes, operation.records) == (1, 1)
            await rig.interlude()
            left = [await runs_again(rig, scope) for scope in scopes]
            assert left == [False, False, False, True, False]

    async def test_all_of_a_long_session_is_retired_in_one_call(self) -> None:
        async with self.rig("journals") as rig:
            held = await rig.lease()
            turns = [TurnScope(session_id="s", turn_id=f"t{number}") for number in range(600)]
            for turn in turns:
                drive = rig.drive(turn, authority=held)
                await drive.execute(envelope(step()), Counted(done()).executor())
            gone = await rig.host.retire_effect_journal(RetireSession(session_id="s"))
            assert (gone.scopes, gone.records, gone.more) == (600, 600, False)
            await rig.interlude()
            assert await runs_again(rig, turns[-1], held)

    async def test_work_that_is_under_way_is_never_retired(self) -> None:
        async with self.rig("journals") as rig:
            held = await rig.lease()
            for scope in (TURN, OPERATION, ProcessScope(process_id="p")):
                await runs_again(rig, scope, held if scope == TURN else None)
            later = rig.clock.now_ms() + 1_000_000
            gone = await rig.host.retire_effect_journal(RetireFinished(before_ms=later))
            assert (gone.scopes, gone.records) == (0, 0)
            await rig.interlude()
            assert not await runs_again(rig, TURN, held)
            assert not await runs_again(rig, OPERATION)

    async def test_a_host_without_a_journal_says_that_it_has_none_to_retire(self) -> None:
        if self.journals:
            pytest.skip("not for this host: it records effects (journals = True)")
        async with self.rig() as rig:
            with pytest.raises(LashError) as refused:
                await rig.host.retire_effect_journal(RetireSession(session_id="s"))
            assert refused.value.code == "effect_journal_retirement_unsupported"


async def _never() -> EffectFailed:
    return EffectFailed(code="x", message="it was run")
