"""Finishing what must be finished, although the task that asked for it is being cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even when the caller is cancelled meanwhile, then let the cancel through.

    asyncio cancellation must not tear a commit in two: a write that was begun is finished and its
    result known before the cancelled task goes on unwinding.
    """
    task = asyncio.ensure_future(work)
    cancelled = await finished(task)
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # retrieved: the cancel outranks it
        raise cancelled
    return task.result()


async def finished(work: "asyncio.Future[T]") -> asyncio.CancelledError | None:
    """Wait until `work` is done, whatever happens to the caller meanwhile.

    Returns the cancellation that came by; the caller raises it once it has seen to the result.
    """
    cancelled: asyncio.CancelledError | None = None
    loop = asyncio.get_running_loop()
    while not work.done():
        # A future of our own is what gets cancelled, never the work.
        waiter: asyncio.Future[None] = loop.create_future()

        def wake(_: object, waiter: "asyncio.Future[None]" = waiter) -> None:
            if not waiter.done():
                waiter.set_result(None)

        work.add_done_callback(wake)
        try:
            await waiter
        except asyncio.CancelledError as error:
            cancelled = error
        finally:
            work.remove_done_callback(wake)
    return cancelled
