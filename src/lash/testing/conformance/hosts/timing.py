"""Letting virtual time pass while work goes on that sleeps by it, and that also uses real threads.

Readers of promises, deadlines and sleeps all wait on the injected clock, and go to sleep again each
time they wake. One long step would show them a single moment, so time passes here in small steps, and
between two of them everybody gets to do what became due, the threads of a database included.

A disk that is slow lets virtual time run ahead. So a property never measures how late it is when
something ended; it says how much time there is, and what is still at work then may finish.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from lash.testing.clock import VirtualClock

T = TypeVar("T")

#: Shorter than the first poll of a waiter (25 ms), so that no poll is stepped over.
STEP_S = 0.02
#: How often the loop turns between two steps, and for how long real threads are given a chance.
_TURNS = 20
_BREATH_S = 0.0005
#: How much virtual time a test may take, and how long a busy machine may then still work.
_AT_MOST_S = 60.0
_GRACE_S = 20.0
#: How long nobody must have gone to sleep to be taken for waiting otherwise.
_MOMENT_S = 1.0


async def while_time_passes(
    clock: VirtualClock, work: Awaitable[T], *, at_most_s: float = _AT_MOST_S
) -> T:
    """The result of `work`, while time passes in small steps for as long as it takes.

    Raises:
        AssertionError: It did not come to an end within `at_most_s` seconds of virtual time.
    """
    task = asyncio.ensure_future(work)
    passed = 0.0
    while not await _settled(task) and passed < at_most_s:
        clock.advance(STEP_S)
        passed += STEP_S
    # What does not wait for the clock any more may still wait for a slow disk.
    if not task.done():
        await asyncio.wait((task,), timeout=_GRACE_S)
    if not task.done():
        task.cancel()
        raise AssertionError(f"after {at_most_s:g} seconds of virtual time it still went on")
    return task.result()


async def asleep(clock: VirtualClock) -> None:
    """Wait until somebody sleeps by the clock, while no time passes.

    A host may wait for a promise without sleeping, so nobody at all for a moment is good enough.
    """
    loop = asyncio.get_running_loop()
    enough = loop.time() + _MOMENT_S
    while not clock.sleeping and loop.time() < enough:
        await _settled()


async def time_passes(clock: VirtualClock, seconds: float) -> None:
    """Let time pass in small steps, whatever goes on meanwhile."""
    steps, rest = divmod(seconds, STEP_S)
    for step in [STEP_S] * round(steps) + [rest]:
        await _settled()
        clock.advance(step)
    await _settled()


async def until(
    clock: VirtualClock, condition: Callable[[], Awaitable[bool]], *, at_most_s: float = _AT_MOST_S
) -> None:
    """Let time pass until a condition holds, which is asked for after every step.

    Raises:
        AssertionError: It did not hold within `at_most_s` seconds of virtual time.
    """

    async def holds() -> None:
        while not await condition():
            await clock.sleep(STEP_S)

    await while_time_passes(clock, holds(), at_most_s=at_most_s)


async def _settled(task: "asyncio.Future[T] | None" = None) -> bool:
    """Give everybody a turn; whether the task is done."""
    for _ in range(_TURNS):
        if task is not None and task.done():
            return True
        await asyncio.sleep(0)
    pause = task or asyncio.get_running_loop().create_future()
    await asyncio.wait((pause,), timeout=_BREATH_S)
    return task is not None and task.done()
