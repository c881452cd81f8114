"""Waiting for whichever of two things comes first, and for a cancel that may come from any thread."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from lash.core.cancel import CancelToken

T = TypeVar("T")
U = TypeVar("U")


async def raced(
    one: Coroutine[Any, Any, T], other: Coroutine[Any, Any, U]
) -> "tuple[asyncio.Task[T], asyncio.Task[U]]":
    """Run both until either is done. Which are done is told by the tasks; the rest is cancelled."""
    tasks = asyncio.ensure_future(one), asyncio.ensure_future(other)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()  # changes nothing for one that is done
    return tasks


def set_when_cancelled(event: asyncio.Event, cancel: CancelToken | None) -> Callable[[], None]:
    """Set an event of the running loop once a token is tripped; returns how to unsubscribe."""
    if cancel is None:
        return lambda: None
    loop = asyncio.get_running_loop()

    def tripped(_: object) -> None:
        try:
            loop.call_soon_threadsafe(event.set)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    return cancel.on_cancel(tripped)
