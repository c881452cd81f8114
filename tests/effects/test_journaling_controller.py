"""The journaling controller: a recorded effect is never run again, and each one is recorded once."""

import asyncio

import msgspec
import pytest
from effect_samples import (
    CHECKPOINT,
    SCOPE,
    SYNC,
    TOOL,
    Executor,
    SlowJournal,
    World,
    attempt,
    envelope,
    found,
    llm_call,
    performing,
    until,
)

from lash.core.errors import LeaseLostError, ReplayError, StoreError
from lash.core.leases import Fence
from lash.effects.commands import ToolBatchCommand
from lash.effects.controller import Drift, EffectCounts
from lash.effects.journal import JournalRecord, WriteAuthority
from lash.effects.outcomes import (
    CheckpointOutcome,
    EffectFailed,
    EffectOutcome,
    SyncExecutionEnvironmentOutcome,
    ToolBatchOutcome,
)
from lash.testing.conformance.samples import BEN, claim
from lash.turn.tools import PendingToolCall


@pytest.fixture
def world() -> World:
    return World()


# --- recording and replaying ---------------------------------------------------------------------------


async def test_a_recorded_effect_is_never_run_again(world: World) -> None:
    first, second = Executor(found("the answer")), Executor(found("another answer"))

    made = await world.drive().execute(envelope(TOOL), first)
    again = world.drive()
    replayed = await again.execute(envelope(TOOL), second)

    assert made == replayed == found("the answer")
    assert (first.runs, second.runs) == (1, 0)
    assert again.counts == EffectCounts(executed=0, replayed=1)


async def test_an_outcome_is_durable_before_it_is_returned(world: World) -> None:
    outcome = await world.drive().execute(envelope(TOOL), Executor(found()))

    (kept,) = await world.store.load_journal(SCOPE)
    assert msgspec.json.decode(kept.outcome) == msgspec.to_builtins(outcome)


async def test_a_record_says_what_was_asked_when_and_under_which_lease(world: World) -> None:
    await world.lease()

    async def slow() -> EffectOutcome:
        world.clock.advance(1.25)
        return found()

    await world.drive().execute(envelope(TOOL, "e7"), performing(slow))

    (kept,) = await world.store.load_journal(SCOPE)
    assert (kept.replay_key, kept.kind, kept.fencing_token) == ("e7", "tool_attempt", 1)
    assert (kept.recorded_at_ms, kept.duration_ms) == (1_001_250, 1250.0)
    assert msgspec.json.decode(kept.envelope) == {
        "identity": {"args": {"order": "7"}, "call_id": "c1", "tool_id": "look"},
    }


async def test_parallel_effects_replay_in_whatever_order_they_are_asked_for(world: World) -> None:
    drive = world.drive()
    await asyncio.gather(
        drive.execute(envelope(TOOL, "e1"), Executor(found("slow"), steps=9)),
        drive.execute(envelope(TOOL, "e2"), Executor(found("quick"))),
    )
    never = Executor(RuntimeError("executed again"))

    replay = world.drive()
    assert await replay.execute(envelope(TOOL, "e2"), never) == found("quick")
    assert await replay.execute(envelope(TOOL, "e1"), never) == found("slow")
    assert never.runs == 0


async def test_a_composite_is_interpreted_again_and_not_recorded(world: World) -> None:
    call = PendingToolCall(call_id="c1", tool_name="look", args={})
    batch = envelope(ToolBatchCommand(batch_id="b1", calls=(call,)))
    interpreter = Executor(ToolBatchOutcome(results=()))
    drive = world.drive()

    await drive.execute(batch, interpreter)
    await drive.execute(batch, interpreter)

    assert interpreter.runs == 2
    assert await world.keys() == []
    assert drive.counts == EffectCounts()


async def test_a_fresh_scope_is_not_looked_up(world: World) -> None:
    class Unreadable(SlowJournal):
        async def lookup(self, scope_key: str, replay_key: str) -> JournalRecord | None:
            raise AssertionError(replay_key)

    drive = world.drive(journal=Unreadable(world.store), fresh=True)

    assert await drive.execute(envelope(TOOL), Executor(found())) == found()


async def test_a_fresh_scope_knows_what_it_recorded_itself(world: World) -> None:
    drive = world.drive(fresh=True)
    executor = Executor(found())
    for _ in range(2):
        await drive.execute(envelope(TOOL), executor)
        await drive.execute(envelope(CHECKPOINT, "e2"), Executor(CheckpointOutcome()))

    assert executor.runs == 1
    assert drive.counts == EffectCounts(executed=2, replayed=2)


# --- the same key twice --------------------------------------------------------------------------------


async def test_the_second_arrival_of_a_key_joins_the_first(world: World) -> None:
    first, second = Executor(found("first"), steps=5), Executor(found("second"))
    drive = world.drive()

    answers = await asyncio.gather(
        drive.execute(envelope(TOOL), first), drive.execute(envelope(TOOL), second)
    )

    assert list(answers) == [found("first"), found("first")]
    assert (first.runs, second.runs) == (1, 0)


async def test_the_second_arrival_takes_over_when_the_first_is_cancelled(world: World) -> None:
    first, second = Executor(found("first"), steps=1000), Executor(found("second"))
    drive = world.drive()
    leading = asyncio.create_task(drive.execute(envelope(TOOL), first))
    await asyncio.sleep(0)
    joining = asyncio.create_task(drive.execute(envelope(TOOL), second))
    await until(lambda: first.runs)

    leading.cancel()

    assert await joining == found("second")
    assert leading.cancelled()
    assert (first.finished, second.runs) == (0, 1)


async def test_the_first_does_not_care_whether_the_second_goes_away(world: World) -> None:
    executor = Executor(found(), steps=9)
    drive = world.drive()
    leading = asyncio.create_task(drive.execute(envelope(TOOL), executor))
    await until(lambda: executor.runs)
    joining = asyncio.create_task(drive.execute(envelope(TOOL), executor))
    await asyncio.sleep(0)

    joining.cancel()

    assert await leading == found()
    assert joining.cancelled()
    assert executor.runs == 1


async def test_the_second_arrival_takes_over_when_the_first_raises(world: World) -> None:
    unreachable = Executor(StoreError("store_busy", "locked"), steps=5)
    drive = world.drive()

    broken, fine = await asyncio.gather(
        drive.execute(envelope(TOOL), unreachable),
        drive.execute(envelope(TOOL), Executor(found())),
        return_exceptions=True,
    )

    assert isinstance(broken, StoreError)
    assert fine == found()


async def test_the_second_arrival_must_ask_for_the_same(world: World) -> None:
    drive = world.drive()

    fine, other = await asyncio.gather(
        drive.execute(envelope(TOOL), Executor(found(), steps=5)),
        drive.execute(envelope(attempt({"order": "8"})), Executor(found())),
        return_exceptions=True,
    )

    assert fine == found()
    assert isinstance(other, ReplayError)


async def test_other_keys_do_not_wait(world: World) -> None:
    drive = world.drive()
    slow = asyncio.create_task(drive.execute(envelope(TOOL, "e1"), Executor(found(), steps=1000)))

    await drive.execute(envelope(TOOL, "e2"), Executor(found()))

    assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


# --- changed code ----------------------------------------------------------------------------------------


async def test_asking_for_something_else_is_refused_and_not_run(world: World) -> None:
    await world.drive().execute(envelope(TOOL), Executor(found()))
    executor = Executor(found())

    with pytest.raises(ReplayError) as refused:
        await world.drive().execute(envelope(attempt({"order": "8"})), executor)

    assert refused.value.code == "effect_replay_mismatch"
    assert refused.value.details["paths"] == ("identity.args.order",)
    assert executor.runs == 0


async def test_drift_is_used_and_reported(world: World) -> None:
    await world.drive().execute(envelope(llm_call()), Executor(EffectFailed(code="c", message="m")))
    drive = world.drive()

    outcome = await drive.execute(envelope(llm_call(model="model-2")), Executor(found()))

    assert outcome == EffectFailed(code="c", message="m")
    assert list(drive.drift) == [Drift(replay_key="e1", paths=("surroundings.model",))]


async def test_drift_is_refused_where_the_host_says_so(world: World) -> None:
    await world.drive().execute(envelope(llm_call()), Executor(found()))
    executor = Executor(found())

    drive = world.drive(on_drift="refuse")
    with pytest.raises(ReplayError) as refused:
        await drive.execute(envelope(llm_call(model="model-2")), executor)

    assert refused.value.code == "effect_drift_refused"
    assert executor.runs == 0


# --- what waits for the next write -------------------------------------------------------------------------


async def test_what_touched_nothing_travels_with_the_next_record(world: World) -> None:
    drive = world.drive()
    await drive.execute(envelope(SYNC, "e1"), Executor(SyncExecutionEnvironmentOutcome()))
    await drive.execute(envelope(CHECKPOINT, "e2"), Executor(CheckpointOutcome()))
    assert await world.keys() == []
    assert [waiting.replay_key for waiting in drive.deferred()] == ["e1", "e2"]

    await drive.execute(envelope(TOOL, "e3"), Executor(found()))

    assert world.journal.writes == [("e1", "e2", "e3")]
    assert await world.keys() == ["e1", "e2", "e3"]
    assert list(drive.deferred()) == []


async def test_what_waits_is_not_run_again_in_the_same_drive(world: World) -> None:
    drive = world.drive()
    executor = Executor(CheckpointOutcome())

    await drive.execute(envelope(CHECKPOINT), executor)
    await drive.execute(envelope(CHECKPOINT), executor)

    assert executor.runs == 1
    assert drive.counts == EffectCounts(executed=1, replayed=1)


async def test_what_waited_is_replayed_by_the_next_drive_once_it_was_written(world: World) -> None:
    drive = world.drive()
    await drive.execute(envelope(CHECKPOINT, "e1"), Executor(CheckpointOutcome()))
    await drive.execute(envelope(TOOL, "e2"), Executor(found()))
    never = Executor(RuntimeError("executed again"))

    assert await world.drive().execute(envelope(CHECKPOINT, "e1"), never) == CheckpointOutcome()


async def test_what_waits_goes_on_waiting_when_the_write_fails(world: World) -> None:
    drive = world.drive()
    await drive.execute(envelope(CHECKPOINT, "e1"), Executor(CheckpointOutcome()))
    world.journal.broken = StoreError("store_full", "no space")
    with pytest.raises(StoreError):
        await drive.execute(envelope(TOOL, "e2"), Executor(found()))
    assert [waiting.replay_key for waiting in drive.deferred()] == ["e1"]

    world.journal.broken = None
    await drive.execute(envelope(TOOL, "e2"), Executor(found()))

    assert world.journal.writes == [("e1", "e2")]


async def test_what_waits_goes_on_waiting_when_a_cancelled_write_fails(world: World) -> None:
    drive = world.drive()
    await drive.execute(envelope(CHECKPOINT, "e1"), Executor(CheckpointOutcome()))
    world.journal.broken = StoreError("store_full", "no space")
    executor = Executor(found())
    writing = asyncio.create_task(drive.execute(envelope(TOOL, "e2"), executor))
    await until(lambda: executor.finished)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    assert [waiting.replay_key for waiting in drive.deferred()] == ["e1"]


# --- a journal that others write too -----------------------------------------------------------------------


async def test_whoever_recorded_first_is_right(world: World) -> None:
    """Scopes without a lease may be driven twice at a time."""
    late = world.drive(fresh=True)
    await world.drive().execute(envelope(TOOL), Executor(found("first")))

    assert await late.execute(envelope(TOOL), Executor(found("second"))) == found("first")
    assert await world.keys() == ["e1"]


async def test_whoever_recorded_something_else_first_is_a_mismatch(world: World) -> None:
    late = world.drive(fresh=True)
    await world.drive().execute(envelope(attempt({"order": "8"})), Executor(found("first")))

    with pytest.raises(ReplayError) as refused:
        await late.execute(envelope(TOOL), Executor(found("second")))

    assert refused.value.code == "effect_replay_mismatch"


async def test_what_only_waited_here_may_have_been_recorded_elsewhere(world: World) -> None:
    late = world.drive(fresh=True)
    for key in ("e1", "e2"):
        await late.execute(envelope(CHECKPOINT, key), Executor(CheckpointOutcome()))
    other = world.drive()
    await other.execute(envelope(CHECKPOINT, "e1"), Executor(CheckpointOutcome()))
    await other.execute(envelope(TOOL, "other"), Executor(found()))

    answer = await late.execute(envelope(TOOL, "e3"), Executor(found("mine")))

    assert answer == found("mine")
    assert await world.keys() == ["e1", "other", "e2", "e3"]
    assert list(late.deferred()) == []


async def test_what_waited_still_waits_when_another_was_first(world: World) -> None:
    late = world.drive(fresh=True)
    await late.execute(envelope(CHECKPOINT, "e1"), Executor(CheckpointOutcome()))
    await world.drive().execute(envelope(TOOL, "e2"), Executor(found("first")))

    assert await late.execute(envelope(TOOL, "e2"), Executor(found("mine"))) == found("first")
    assert [waiting.replay_key for waiting in late.deferred()] == ["e1"]


async def test_a_deposed_writer_is_told_and_records_nothing(world: World) -> None:
    await world.lease()
    drive = world.drive()
    world.clock.advance(30)
    await world.store.claim_session("s", claim(BEN))

    with pytest.raises(LeaseLostError) as lost:
        await drive.execute(envelope(TOOL), Executor(found()))

    assert (lost.value.code, lost.value.retryable) == ("session_execution_lease_lost", True)
    assert lost.value.details["session_id"] == "s"
    assert await world.keys() == []


async def test_a_deposed_writer_may_still_read(world: World) -> None:
    await world.lease()
    await world.drive().execute(envelope(TOOL), Executor(found()))
    world.authority = WriteAuthority(session_id="s", fence=Fence(fencing_token=9, nonce="x"))

    assert await world.drive().execute(envelope(TOOL), Executor(found("no"))) == found()
