"""Telling a cancellation that somebody asked for from one that merely came by."""

import asyncio


def being_cancelled() -> bool:
    """Whether the running task was asked to stop.

    A `CancelledError` also comes out of awaiting something else that was cancelled; that is a failure
    like any other and stops nobody.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
