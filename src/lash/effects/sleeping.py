"""Sleeping until a time that was fixed before, unless the sleep is broken off."""

import asyncio
from typing import TypedDict

from lash.core.cancel import CancelToken
from lash.core.clock import Clock
from lash.effects.racing import raced, set_when_cancelled


class _Failure(TypedDict):
    code: str
    message: str


def sleep_cancelled() -> _Failure:
    """What a sleep that was broken off comes to."""
    return {
        "code": "runtime_effect_sleep_cancelled",
        "message": "The sleep was broken off because its scope was asked to stop.",
    }


async def sleep_until(
    clock: Clock, due_at_ms: int, longest_ms: int, cancel: CancelToken | None
) -> bool:
    """Wait for what is left, never longer than was asked for, should the clock have gone back.

    Returns False when it was broken off.
    """
    left_ms = min(due_at_ms - clock.now_ms(), longest_ms)
    if left_ms <= 0:
        return True  # a sleep that is over cannot be broken off
    if cancel is None:
        await clock.sleep(left_ms / 1000)
        return True
    tripped = asyncio.Event()
    unsubscribe = set_when_cancelled(tripped, cancel)
    try:
        slept, _ = await raced(clock.sleep(left_ms / 1000), tripped.wait())
        return slept.done()
    finally:
        unsubscribe()
