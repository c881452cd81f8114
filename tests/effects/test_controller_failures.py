"""Failing, sleeping and being cancelled: nothing false is recorded, nothing finished is lost."""

import asyncio
import logging

import msgspec
import pytest
from effect_samples import (
    CHECKPOINT,
    SCOPE,
    STEP,
    TOOL,
    TURN,
    Executor,
    World,
    asleep,
    envelope,
    found,
    performing,
)

from lash.core.errors import LashError, StoreError
from lash.core.seams import Seam
from lash.effects.commands import SleepCommand
from lash.effects.journaling import JournalingController
from lash.effects.outcomes import CheckpointOutcome, EffectFailed, EffectOutcome, SleepOutcome
from lash.stores.memory import MemoryStore


@pytest.fixture
def world() -> World:
    return World()


# --- failures ----------------------------------------------------------------------------------------------


async def test_an_executors_bug_is_contained_and_recorded(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "lash.effects"):
        outcome = await world.drive().execute(envelope(STEP), Executor(KeyError("order")))

    assert outcome == EffectFailed(code="effect_panicked", message="KeyError: 'order'")
    assert "KeyError" in caplog.text
    fixed = Executor(found())
    assert await world.drive().execute(envelope(STEP), fixed) == outcome
    assert fixed.runs == 0


async def test_a_message_that_utf8_cannot_carry_does_not_keep_a_failure_from_the_journal(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "lash.effects")  # nor could a report of this test carry it
    outcome = await world.drive().execute(envelope(STEP), Executor(ValueError("bad \ud800 text")))

    expected = EffectFailed(code="effect_panicked", message="ValueError: bad \\ud800 text")
    assert outcome == expected
    assert await world.drive().execute(envelope(STEP), Executor(found())) == expected


@pytest.mark.parametrize("payload", ["\ud800", object(), {"deep": [1, object()]}])
async def test_an_outcome_that_is_not_json_is_a_recorded_failure(
    world: World, payload: object
) -> None:
    outcome = await world.drive().execute(envelope(STEP), Executor(found(payload)))

    assert isinstance(outcome, EffectFailed)
    assert outcome.code == "effect_panicked"
    assert await world.drive().execute(envelope(STEP), Executor(found())) == outcome


async def test_an_outcome_that_is_too_large_is_a_recorded_failure_with_its_path(
    world: World,
) -> None:
    large = found({"rows": ["x" * 17_000_000]})

    outcome = await world.drive().execute(envelope(TOOL), Executor(large))

    assert isinstance(outcome, EffectFailed)
    assert outcome.code == "effect_outcome_too_large"
    assert "$.output.outcome.payload.rows[0]" in outcome.message
    assert await world.drive().execute(envelope(TOOL), Executor(found())) == outcome


async def test_trouble_of_lash_itself_is_raised_and_not_recorded(world: World) -> None:
    trouble = LashError("session_execution_busy", "try later")

    with pytest.raises(LashError) as raised:
        await world.drive().execute(envelope(TOOL), Executor(trouble))

    assert raised.value is trouble
    assert await world.keys() == []
    assert await world.drive().execute(envelope(TOOL), Executor(found())) == found()


async def test_a_journal_that_cannot_be_written_is_told_and_the_effect_may_run_again(
    world: World,
) -> None:
    world.journal.broken = StoreError("store_full", "no space")
    with pytest.raises(StoreError):
        await world.drive().execute(envelope(TOOL), Executor(found()))

    world.journal.broken = None
    executor = Executor(found())
    await world.drive().execute(envelope(TOOL), executor)
    assert executor.runs == 1


@pytest.mark.parametrize("kept", ["{", '{"type":"unheard_of"}', "7"])
async def test_an_unreadable_record_is_reported_and_the_effect_is_not_run(
    world: World, kept: str
) -> None:
    await world.drive().execute(envelope(TOOL), Executor(found()))
    (good,) = await world.store.load_journal(SCOPE)
    damaged = MemoryStore(world.clock)
    await damaged.record(SCOPE, [msgspec.structs.replace(good, outcome=kept)], None)
    executor = Executor(found())

    with pytest.raises(StoreError) as failure:
        await world.drive(journal=damaged).execute(envelope(TOOL), executor)

    assert failure.value.code == "store_corrupt"
    assert executor.runs == 0


# --- sleeping ------------------------------------------------------------------------------------------------


async def test_a_sleep_ends_at_its_due_time(world: World) -> None:
    sleeping = asyncio.create_task(
        world.drive().execute(envelope(SleepCommand(duration_ms=60_000)), Executor(found()))
    )
    await asleep(world.clock)
    world.clock.advance(59.999)
    await asyncio.sleep(0)
    assert not sleeping.done()

    world.clock.advance(0.001)

    assert await sleeping == SleepOutcome(due_at_ms=1_060_000)


async def test_a_sleep_keeps_its_due_time_over_a_restart(world: World) -> None:
    nap = envelope(SleepCommand(duration_ms=60_000))
    first = asyncio.create_task(world.drive().execute(nap, Executor(found())))
    await asleep(world.clock)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    world.clock.advance(45)

    resumed = asyncio.create_task(world.drive().execute(nap, Executor(found())))
    await asleep(world.clock)
    world.clock.advance(14.999)
    await asyncio.sleep(0)
    assert not resumed.done()
    world.clock.advance(0.001)

    assert await resumed == SleepOutcome(due_at_ms=1_060_000)


async def test_a_sleep_that_is_over_does_not_wait_again(world: World) -> None:
    nap = envelope(SleepCommand(duration_ms=60_000))
    first = asyncio.create_task(world.drive().execute(nap, Executor(found())))
    await asleep(world.clock)
    world.clock.advance(60)
    await first
    world.clock.advance(1000)

    assert await world.drive().execute(nap, Executor(found())) == SleepOutcome(due_at_ms=1_060_000)


async def test_a_sleep_is_recorded_before_it_is_slept(world: World) -> None:
    sleeping = asyncio.create_task(
        world.drive().execute(envelope(SleepCommand(duration_ms=60_000)), Executor(found()))
    )
    await asleep(world.clock)

    (kept,) = await world.store.load_journal(SCOPE)
    assert msgspec.json.decode(kept.outcome) == {"type": "sleep", "due_at_ms": 1_060_000}
    world.clock.advance(60)
    await sleeping


# --- cancellation ----------------------------------------------------------------------------------------------


async def cancelled_after(task: asyncio.Task[EffectOutcome], *moments: int) -> bool:
    """Cancel a task at these turns of the loop; whether it was cancelled before it was done."""
    turn = 0
    while not task.done():
        if turn in moments:
            task.cancel()
        await asyncio.sleep(0)
        turn += 1
    return task.cancelled()


@pytest.mark.parametrize("again_after", [0, 1, 2, 5])
async def test_cancelled_anywhere_nothing_false_is_recorded_and_nothing_finished_is_lost(
    again_after: int,
) -> None:
    """Cancel at every await point in turn, once or twice, and drive the effect again."""
    outcomes: list[tuple[bool, bool]] = []
    for moment in range(1000):
        world = World()
        executor = Executor(found("first"), steps=4)
        drive = world.drive()
        await drive.execute(envelope(CHECKPOINT, "e0"), Executor(CheckpointOutcome()))
        task = asyncio.create_task(drive.execute(envelope(TOOL), executor))
        cancelled = await cancelled_after(task, moment, moment + again_after)

        assert await world.keys() == (["e0", "e1"] if executor.finished else [])
        waiting = [kept.replay_key for kept in drive.deferred()]
        assert waiting == ([] if executor.finished else ["e0"])
        redriven = Executor(found("second"))
        answer = await world.drive().execute(envelope(TOOL), redriven)
        assert answer == (found("first") if executor.finished else found("second"))
        assert redriven.runs == (0 if executor.finished else 1)
        outcomes.append((cancelled, bool(executor.finished)))
        if not cancelled:
            break

    # The walk met all three: cancelled before the executor was done, after it, and not at all.
    assert set(outcomes) == {(True, False), (True, True), (False, True)}


async def test_a_sleep_cancelled_anywhere_keeps_its_first_due_time() -> None:
    met: set[bool] = set()
    for moment in range(30):
        world = World()
        nap = envelope(SleepCommand(duration_ms=60_000))
        task = asyncio.create_task(world.drive().execute(nap, Executor(found())))
        assert await cancelled_after(task, moment)
        recorded = bool(await world.keys())
        met.add(recorded)
        world.clock.advance(10)
        again = asyncio.create_task(world.drive().execute(nap, Executor(found())))
        await asleep(world.clock)
        world.clock.advance(60)
        due = 1_060_000 if recorded else 1_070_000
        assert await again == SleepOutcome(due_at_ms=due)

    assert met == {True, False}


async def test_an_executor_that_refuses_to_be_cancelled_is_still_recorded(world: World) -> None:
    began = asyncio.Event()

    async def stubborn() -> EffectOutcome:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return found("done after all")
        raise AssertionError

    task = asyncio.create_task(world.drive().execute(envelope(TOOL), performing(stubborn)))
    await began.wait()
    task.cancel()

    assert await task == found("done after all")
    assert await world.keys() == ["e1"]


# --- seams -------------------------------------------------------------------------------------------------------


async def test_seams_stand_around_the_write(world: World) -> None:
    passed: list[tuple[Seam, int]] = []
    drive = JournalingController(
        world.journal,
        TURN,
        lambda: None,
        world.clock,
        world.promises(),
        seams=lambda seam: passed.append((seam, len(world.journal.writes))),
    )

    await drive.execute(envelope(CHECKPOINT, "e1"), Executor(CheckpointOutcome()))
    await drive.execute(envelope(TOOL, "e2"), Executor(found()))

    assert passed == [("record.before", 0), ("record.after", 1)]
