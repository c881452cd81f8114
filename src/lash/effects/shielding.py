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
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:  # noqa: BLE001  the task's own error is read from it below
            break
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # retrieved: the cancel outranks it
        raise cancelled
    return task.result()
