"""Letting virtual time pass beside work that sleeps by it and work that does not."""

import asyncio
import threading

import pytest

from lash.testing.clock import VirtualClock
from lash.testing.conformance.hosts import timing
from lash.testing.conformance.hosts.timing import asleep, time_passes, until, while_time_passes


async def test_work_that_sleeps_again_and_again_is_waited_for() -> None:
    clock, woken = VirtualClock(start_ms=0), list[int]()

    async def work() -> str:
        for _ in range(3):
            await clock.sleep(0.5)
            woken.append(clock.now_ms())
        return "done"

    assert await while_time_passes(clock, work()) == "done"
    assert woken == [500, 1_000, 1_500]


async def test_work_in_a_thread_is_waited_for() -> None:
    clock, gate = VirtualClock(), threading.Event()

    async def work() -> str:
        reading = asyncio.create_task(asyncio.to_thread(gate.wait))
        await clock.sleep(0.1)
        gate.set()
        return "read" if await reading else "not read"

    assert await while_time_passes(clock, work()) == "read"


async def test_work_that_takes_too_much_time_is_a_failure_and_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing, "_GRACE_S", 0.01)
    clock = VirtualClock(start_ms=0)
    work = asyncio.create_task(clock.sleep(3_600))

    with pytest.raises(AssertionError, match="after 2 seconds of virtual time"):
        await while_time_passes(clock, work, at_most_s=2)

    assert clock.now_ms() == 2_000
    await asyncio.wait([work])
    assert work.cancelled()


async def test_what_work_raises_is_raised() -> None:
    clock = VirtualClock()

    async def work() -> None:
        await clock.sleep(1)
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await while_time_passes(clock, work())


@pytest.mark.parametrize("seconds", [0, 0.001, 0.02, 1.999, 3])
async def test_exactly_so_much_time_passes(seconds: float) -> None:
    clock = VirtualClock(start_ms=0)

    await time_passes(clock, seconds)

    assert clock.now_ms() == round(seconds * 1000)


async def test_sleepers_wake_on_the_way() -> None:
    clock, ticks = VirtualClock(start_ms=0), list[int]()

    async def tick() -> None:
        while True:
            await clock.sleep(0.03)
            ticks.append(clock.now_ms())

    ticking = asyncio.create_task(tick())
    await time_passes(clock, 0.2)
    ticking.cancel()

    # Each is late by less than a step, which is why there are steps.
    assert ticks == [40, 80, 120, 160, 200]


async def test_a_condition_is_asked_for_until_it_holds() -> None:
    clock = VirtualClock(start_ms=0)

    async def late() -> bool:
        return clock.now_ms() >= 700

    await until(clock, late)

    assert 700 <= clock.now_ms() < 800


async def test_somebody_asleep_is_noticed_without_time_passing() -> None:
    clock = VirtualClock(start_ms=0)

    async def work() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        await clock.sleep(9)

    working = asyncio.create_task(work())
    await asleep(clock)

    assert (clock.sleeping, clock.now_ms()) == (1, 0)
    working.cancel()


async def test_that_nobody_sleeps_is_believed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_MOMENT_S", 0.01)
    clock = VirtualClock(start_ms=0)

    await asleep(clock)

    assert clock.now_ms() == 0
