"""The virtual clock: time passes only when told to, and wakes sleepers in a fixed order."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.core.clock import Clock
from lash.testing.clock import VirtualClock


async def turns_of_the_loop(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_it_is_a_clock_that_stands_still() -> None:
    clock: Clock = VirtualClock(start_ms=1_000)

    assert (clock.now_ms(), clock.monotonic()) == (1_000, 0.0)
    assert (clock.now_ms(), clock.monotonic()) == (1_000, 0.0)


def test_advancing_moves_the_wall_clock_and_the_monotonic_clock_alike() -> None:
    clock = VirtualClock(start_ms=1_000)

    clock.advance(2.5)

    assert (clock.now_ms(), clock.monotonic()) == (3_500, 2.5)


def test_many_small_steps_come_to_the_same_time_as_one_large_step() -> None:
    clock = VirtualClock(start_ms=0)

    for _ in range(10_000):
        clock.advance(0.1)

    assert (clock.now_ms(), clock.monotonic()) == (1_000_000, 1_000.0)


def test_time_never_goes_back() -> None:
    clock = VirtualClock()

    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


async def test_a_sleeper_wakes_when_its_time_has_come_and_not_before() -> None:
    clock = VirtualClock()
    sleeper = asyncio.create_task(clock.sleep(30))
    await turns_of_the_loop()

    clock.advance(29.999)
    await turns_of_the_loop()
    assert not sleeper.done()
    assert clock.sleeping == 1

    clock.advance(0.001)
    await sleeper
    assert clock.sleeping == 0


async def test_sleepers_wake_by_due_time_and_then_by_arrival() -> None:
    clock = VirtualClock()
    woken: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        for name, seconds in [("late", 9), ("first", 5), ("soon", 1), ("second", 5)]:
            group.create_task(sleeper(name, seconds))
        await turns_of_the_loop()
        clock.advance(10)

    assert woken == ["soon", "first", "second", "late"]


async def test_a_cancelled_sleeper_is_gone_and_disturbs_nobody() -> None:
    clock = VirtualClock()
    cancelled = asyncio.create_task(clock.sleep(1))
    other = asyncio.create_task(clock.sleep(1))
    await turns_of_the_loop()

    cancelled.cancel()
    clock.advance(1)

    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await other
    assert clock.sleeping == 0


@pytest.mark.parametrize("seconds", [0, -3])
async def test_sleeping_for_no_time_gives_way_once(seconds: float) -> None:
    clock = VirtualClock()
    seen: list[str] = []

    async def other() -> None:
        seen.append("other")

    task = asyncio.create_task(other())
    await clock.sleep(seconds)
    seen.append("sleeper")
    await task

    assert seen == ["other", "sleeper"]


async def test_a_woken_sleeper_may_sleep_again() -> None:
    clock = VirtualClock(start_ms=0)
    ticks: list[int] = []

    async def every_ten_seconds() -> None:
        while len(ticks) < 3:
            await clock.sleep(10)
            ticks.append(clock.now_ms())

    ticking = asyncio.create_task(every_ten_seconds())
    for _ in range(3):
        await turns_of_the_loop()
        clock.advance(10)
    await ticking

    assert ticks == [10_000, 20_000, 30_000]


@given(
    delays=st.lists(st.integers(1, 50), max_size=12), steps=st.lists(st.integers(0, 20), max_size=8)
)
def test_exactly_those_who_are_due_are_awake(delays: list[int], steps: list[int]) -> None:
    async def scenario() -> None:
        clock = VirtualClock()
        tasks = [asyncio.create_task(clock.sleep(delay)) for delay in delays]
        await turns_of_the_loop()
        passed = 0
        for step in steps:
            clock.advance(step)
            passed += step
            await turns_of_the_loop()
            assert [task.done() for task in tasks] == [delay <= passed for delay in delays]
        clock.advance(50)
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
