"""Sleeps: the due time is fixed once, a sleep that was broken off stays so, and killing it is no end."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from effect_samples import SCOPE, World, asleep, envelope, until

from lash.core.cancel import Cancellation, CancelToken
from lash.core.errors import LeaseLostError, StoreError
from lash.core.leases import Fence
from lash.effects import executors
from lash.effects.commands import SleepCommand
from lash.effects.journal import WriteAuthority
from lash.effects.outcomes import EffectFailed, EffectOutcome, SleepOutcome
from lash.effects.sleeping import sleep_until
from lash.testing.clock import VirtualClock

STOP = Cancellation(request_id="r1")
NAP = envelope(SleepCommand(duration_ms=60_000))
DONE = SleepOutcome(due_at_ms=1_060_000)
BROKEN_OFF = EffectFailed(
    code="runtime_effect_sleep_cancelled",
    message="The sleep was broken off because its scope was asked to stop.",
)


@pytest.fixture
def world() -> World:
    return World()


def begin(work: Coroutine[Any, Any, EffectOutcome]) -> "asyncio.Task[EffectOutcome]":
    return asyncio.create_task(work)


async def rows(world: World) -> dict[str, object]:
    """What is recorded, by key."""
    kept = await world.store.load_journal(SCOPE)
    return {record.replay_key: msgspec.json.decode(record.outcome) for record in kept}


ASLEEP = {"e1": {"type": "sleep", "due_at_ms": 1_060_000}}
AWOKEN = {"type": "sleep", "due_at_ms": 1_060_000, "cancelled": True}

# --- broken off ---------------------------------------------------------------------------------------


async def test_a_sleep_that_was_broken_off_stays_so_for_every_later_drive(world: World) -> None:
    cancel = CancelToken()
    sleeping = begin(world.drive().execute(NAP, executors.sleeping(cancel)))
    await asleep(world.clock)
    world.clock.advance(10)
    assert await rows(world) == ASLEEP
    cancel.cancel(STOP)

    assert await sleeping == BROKEN_OFF
    assert await rows(world) == {**ASLEEP, "e1:cancelled": AWOKEN}
    for later in (0, 10, 10_000):  # before its due time and long after
        world.clock.advance(later)
        assert await world.drive().execute(NAP, executors.sleeping(CancelToken())) == BROKEN_OFF
    assert world.clock.sleeping == 0
    assert len(await rows(world)) == 2


async def test_a_token_of_a_turn_breaks_its_sleep_off_too(world: World) -> None:
    cancel = CancelToken()

    async def never() -> EffectOutcome:
        raise AssertionError

    sleeping = begin(world.drive().execute(NAP, executors.turn(never, cancel)))
    await asleep(world.clock)
    cancel.cancel(STOP)

    assert await sleeping == BROKEN_OFF


async def test_a_sleep_is_broken_off_from_another_thread(world: World) -> None:
    cancel = CancelToken()
    sleeping = begin(world.drive().execute(NAP, executors.sleeping(cancel)))
    await asleep(world.clock)
    tripping = threading.Thread(target=lambda: cancel.cancel(STOP))
    tripping.start()
    tripping.join()

    async with asyncio.timeout(10):
        assert await sleeping == BROKEN_OFF


async def test_a_sleep_that_is_asked_for_after_the_stop_is_broken_off_at_once(world: World) -> None:
    cancel = CancelToken()
    cancel.cancel(STOP)

    assert await world.drive().execute(NAP, executors.sleeping(cancel)) == BROKEN_OFF
    assert await rows(world) == {**ASLEEP, "e1:cancelled": AWOKEN}


async def test_a_sleep_that_is_over_cannot_be_broken_off(world: World) -> None:
    sleeping = begin(world.drive().execute(NAP, executors.sleeping(CancelToken())))
    await asleep(world.clock)
    world.clock.advance(60)
    assert await sleeping == DONE
    cancel = CancelToken()
    cancel.cancel(STOP)

    assert await world.drive().execute(NAP, executors.sleeping(cancel)) == DONE
    assert await rows(world) == ASLEEP


async def test_a_sleep_that_ends_in_the_moment_it_is_broken_off_has_ended(world: World) -> None:
    cancel = CancelToken()
    sleeping = begin(world.drive().execute(NAP, executors.sleeping(cancel)))
    await asleep(world.clock)
    world.clock.advance(60)
    cancel.cancel(STOP)

    assert await sleeping == DONE
    assert await rows(world) == ASLEEP


async def test_an_empty_sleep_is_over_before_it_can_be_broken_off(world: World) -> None:
    cancel = CancelToken()
    cancel.cancel(STOP)
    for number, duration in enumerate((0, -5)):
        nap = envelope(SleepCommand(duration_ms=duration), f"e{number}")
        expected = SleepOutcome(due_at_ms=1_000_000 + duration)
        assert await world.drive().execute(nap, executors.sleeping(cancel)) == expected


async def test_a_cancel_that_could_not_be_recorded_did_not_happen(world: World) -> None:
    cancel = CancelToken()
    sleeping = begin(world.drive().execute(NAP, executors.sleeping(cancel)))
    await asleep(world.clock)
    world.journal.broken = StoreError("store_full", "no space")
    cancel.cancel(STOP)
    with pytest.raises(StoreError):
        await sleeping
    assert await rows(world) == ASLEEP

    world.journal.broken = None
    again = begin(world.drive().execute(NAP, executors.sleeping(CancelToken())))
    await asleep(world.clock)
    world.clock.advance(60)
    assert await again == DONE


async def test_a_deposed_sleeper_cannot_record_its_cancel(world: World) -> None:
    await world.lease()
    cancel = CancelToken()
    sleeping = begin(world.drive().execute(NAP, executors.sleeping(cancel)))
    await asleep(world.clock)
    world.authority = WriteAuthority(session_id="s", fence=Fence(fencing_token=9, nonce="x"))
    cancel.cancel(STOP)

    with pytest.raises(LeaseLostError):
        await sleeping
    assert await rows(world) == ASLEEP


async def test_a_drive_that_cannot_break_a_sleep_off_still_sees_that_it_was(world: World) -> None:
    cancel = CancelToken()
    sleeping = begin(world.drive().execute(NAP, executors.sleeping(cancel)))
    await asleep(world.clock)
    cancel.cancel(STOP)
    await sleeping
    world.clock.advance(60)

    assert await world.drive().execute(NAP, executors.sleeping()) == BROKEN_OFF


# --- due times ----------------------------------------------------------------------------------------


async def test_a_clock_that_went_back_keeps_the_due_time_and_never_makes_a_sleep_longer(
    world: World,
) -> None:
    first = begin(world.drive().execute(NAP, executors.sleeping()))
    await asleep(world.clock)
    first.cancel()
    await asyncio.wait([first])
    world.clock = VirtualClock(start_ms=400_000)  # ten minutes back

    again = begin(world.drive().execute(NAP, executors.sleeping()))
    await asleep(world.clock)
    world.clock.advance(59.999)
    await asyncio.sleep(0)
    assert not again.done()
    world.clock.advance(0.001)

    assert await again == DONE
    assert await rows(world) == ASLEEP


async def test_killing_a_sleep_breaks_nothing_off(world: World) -> None:
    cancel = CancelToken()
    sleeping = begin(world.drive().execute(NAP, executors.sleeping(cancel)))
    await asleep(world.clock)
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    cancel.cancel(STOP)  # nobody listens any more
    await until(lambda: not world.clock.sleeping)
    assert await rows(world) == ASLEEP

    again = begin(world.drive().execute(NAP, executors.sleeping(CancelToken())))
    await asleep(world.clock)
    world.clock.advance(60)
    assert await again == DONE


async def test_a_kill_in_the_moment_of_a_cancel_loses_neither(world: World) -> None:
    """The cancel is being written when the task is killed: it is written, and the kill goes through."""
    cancel = CancelToken()
    sleeping = begin(world.drive().execute(NAP, executors.sleeping(cancel)))
    await asleep(world.clock)
    cancel.cancel(STOP)
    for _ in range(4):
        await asyncio.sleep(0)
    sleeping.cancel()
    await asyncio.wait([sleeping])

    written = await rows(world)
    assert written in (ASLEEP, {**ASLEEP, "e1:cancelled": AWOKEN})
    assert sleeping.cancelled()


# --- one sleep ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cancel", [None, CancelToken()])
@pytest.mark.parametrize(
    ("due_at_ms", "longest_ms", "sleeps_s"),
    [(5000, 9000, 5.0), (5000, 3000, 3.0), (1, 9000, 0.001)],
)
async def test_a_sleep_is_what_is_left_and_never_longer_than_was_asked_for(
    due_at_ms: int, longest_ms: int, sleeps_s: float, cancel: CancelToken | None
) -> None:
    clock = VirtualClock(start_ms=0)
    sleeping = asyncio.create_task(sleep_until(clock, due_at_ms, longest_ms, cancel))
    await asleep(clock)
    clock.advance(sleeps_s - 0.0005)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not sleeping.done()
    clock.advance(0.0005)

    assert await sleeping


@pytest.mark.parametrize("due_at_ms", [0, -1, -(10**12)])
async def test_what_is_due_is_not_slept(due_at_ms: int) -> None:
    clock = VirtualClock(start_ms=0)
    cancel = CancelToken()
    cancel.cancel(STOP)
    assert await sleep_until(clock, due_at_ms, 9000, cancel)
    assert clock.sleeping == 0


async def test_a_sleep_leaves_nothing_behind() -> None:
    clock, cancel = VirtualClock(start_ms=0), CancelToken()
    before = asyncio.all_tasks()
    for ending in ("over", "broken off", "killed"):
        sleeping = asyncio.create_task(sleep_until(clock, clock.now_ms() + 9000, 9000, cancel))
        await asleep(clock)
        if ending == "over":
            clock.advance(9)
        elif ending == "killed":
            sleeping.cancel()
        else:
            cancel.cancel(STOP)
        await asyncio.wait([sleeping])
        await until(lambda: asyncio.all_tasks() == before)
        assert clock.sleeping == 0
        assert not cancel._callbacks
        cancel = CancelToken()


def test_a_token_may_be_tripped_when_the_loop_is_gone() -> None:
    clock, cancel = VirtualClock(start_ms=0), CancelToken()

    async def leave() -> None:
        work = sleep_until(clock, 9000, 9000, cancel)
        work.send(None)  # begun, and then nobody drives it any more
        works.append(work)

    works: list[Coroutine[Any, Any, bool]] = []
    asyncio.run(leave())

    assert cancel.cancel(STOP)
    works[0].close()
