"""Sleeping until a time that was fixed before, unless the sleep is broken off."""

import asyncio
from typing import TypedDict

from lash.core.cancel import CancelToken
from lash.core.clock import Clock


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
    loop = asyncio.get_running_loop()
    tripped = asyncio.Event()

    def trip() -> None:
        try:
            loop.call_soon_threadsafe(tripped.set)
        except RuntimeError:
            pass  # the loop is closed: nobody sleeps any more

    unsubscribe = cancel.on_cancel(lambda _: trip())
    timer = asyncio.ensure_future(clock.sleep(left_ms / 1000))
    stop = asyncio.ensure_future(tripped.wait())
    try:
        await asyncio.wait((timer, stop), return_when=asyncio.FIRST_COMPLETED)
        return timer.done()
    finally:
        unsubscribe()
        timer.cancel()
        stop.cancel()
