"""Carrying out a request to stop a turn: what is under way is given up, tools after a grace (spec 8.2).

Apart from asyncio's cancellation: that ends a drive, which another one takes up; this ends the turn.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from lash.core.cancel import Cancellation, CancelToken
from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.effects.racing import set_when_cancelled
from lash.runtime.cancelling import being_cancelled

T = TypeVar("T")

_log = logging.getLogger("lash.runtime")

#: How long a tool may take to come to its end by itself, and as long again to clean up.
GRACE_S = 0.05

#: Tools that would not stop. They are kept from being collected while they run; nobody waits for them.
_abandoned: set[asyncio.Task[Any]] = set()


class StopRequested(LashError):  # noqa: N818  no error of anybody's
    """An effect was not begun, or was given up, because its turn is to stop. Nothing is recorded."""

    def __init__(self, cancellation: Cancellation) -> None:
        super().__init__("turn_cancel_requested", "The turn was asked to stop.")
        self.cancellation = cancellation


def check_stop(cancel: CancelToken) -> None:
    """Begin nothing new in a turn that is to stop.

    Raises:
        StopRequested: Somebody asked the turn to stop.
    """
    if cancel.cancellation is not None:
        raise StopRequested(cancel.cancellation)


async def unless_stopped(cancel: CancelToken, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is given up as soon as the turn is asked to stop.

    A result that is there in the same moment counts.

    Raises:
        StopRequested: The work was given up, or never begun.
    """
    if cancel.cancellation is not None:
        work.close()
        raise StopRequested(cancel.cancellation)
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)

    def give_up(_: Cancellation) -> None:
        loop.call_soon_threadsafe(task.cancel)

    unsubscribe = cancel.on_cancel(give_up)
    try:
        return await task
    except asyncio.CancelledError:
        if being_cancelled() or cancel.cancellation is None:
            raise
        raise StopRequested(cancel.cancellation) from None
    finally:
        unsubscribe()


async def with_grace(cancel: CancelToken, clock: Clock, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None when the turn is to stop and the work did not end within the grace."""
    task = asyncio.get_running_loop().create_task(work)
    stop = asyncio.Event()
    unsubscribe = set_when_cancelled(stop, cancel)
    waiter = asyncio.ensure_future(stop.wait())
    try:
        if cancel.cancelled:
            stop.set()
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await _for_a_while(clock, task)
        if not task.done():
            task.cancel()
            await _for_a_while(clock, task)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    finally:
        waiter.cancel()
        unsubscribe()
    if not task.done():
        _log.warning("%s keeps running although its turn was stopped", task.get_name())
        _abandoned.add(task)
        task.add_done_callback(_forget)
        return None
    if task.cancelled() and cancel.cancelled:
        return None
    try:
        return task.result()
    except StopRequested:
        return None


async def _for_a_while(clock: Clock, task: "asyncio.Task[Any]") -> None:
    grace = asyncio.ensure_future(clock.sleep(GRACE_S))
    try:
        await asyncio.wait({task, grace}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        grace.cancel()


def _forget(task: "asyncio.Task[Any]") -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved: its turn is over
