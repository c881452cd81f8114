"""Carrying out a request to stop a turn: what is under way is given up, tools after a grace (spec 8.2).

Apart from asyncio's cancellation: that ends a drive, which another one takes up; this ends the turn.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from lash.core.cancel import Cancellation, CancelToken
from lash.core.clock import Clock
from lash.core.errors import LashError

T = TypeVar("T")

_log = logging.getLogger("lash.runtime")

#: How long a tool may take to come to its end by itself, and as long again to clean up.
GRACE_S = 0.05

#: How long a model call that was given up may take to clean up before nobody waits for it any more.
PATIENCE_S = 1.0

#: How long closing waits for a tool or a model call that keeps its cancellation to itself.
CLOSE_PATIENCE_S = 5.0

#: What would not stop. They are kept from being collected while they run; nobody waits for them.
_abandoned: set[asyncio.Task[Any]] = set()


class StopRequested(LashError):  # noqa: N818  no error of anybody's
    """An effect was not begun, or was given up, because its turn is to stop. Nothing is recorded."""

    def __init__(self, cancellation: Cancellation) -> None:
        super().__init__("turn_cancel_requested", "The turn was asked to stop.")
        self.cancellation = cancellation


def trip(cancel: CancelToken, cancellation: Cancellation) -> bool:
    """Have a turn stop; False when it was asked before. What listeners of its tools raise is theirs."""
    try:
        return cancel.cancel(cancellation)
    except ExceptionGroup:
        _log.exception("a cancel callback of a tool failed")
        return True


def check_stop(cancel: CancelToken) -> None:
    """Begin nothing new in a turn that is to stop.

    Raises:
        StopRequested: Somebody asked the turn to stop.
    """
    if cancel.cancellation is not None:
        raise StopRequested(cancel.cancellation)


async def unless_stopped(cancel: CancelToken, clock: Clock, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is given up as soon as the turn is asked to stop.

    A result that is there in the same moment counts.

    Raises:
        StopRequested: The work was given up, or never begun.
    """
    if cancel.cancellation is not None:
        work.close()
        raise StopRequested(cancel.cancellation)
    result = await _stoppable(cancel, clock, work, (0.0, PATIENCE_S), "a model call")
    if result is None and cancel.cancellation is not None:
        raise StopRequested(cancel.cancellation)
    return cast("T", result)


async def with_grace(
    cancel: CancelToken, clock: Clock, work: Coroutine[Any, Any, T], name: str
) -> T | None:
    """The result of `work`; None when the turn is to stop and the work did not end within the grace.

    `name` is what the log calls work that does not end at all.
    """
    return await _stoppable(cancel, clock, work, (GRACE_S, GRACE_S), name)


async def _stoppable(
    cancel: CancelToken,
    clock: Clock,
    work: Coroutine[Any, Any, T],
    patience: tuple[float, float],
    name: str,
) -> T | None:
    """The result of `work`; once the turn is to stop, None unless it ends in time.

    `patience` is how many seconds it is given to end by itself, and then to clean up.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(work, name=name)
    over: asyncio.Future[None] = loop.create_future()
    task.add_done_callback(lambda _: _settle(over))
    ending: list[asyncio.Task[None]] = []

    def begin() -> None:
        if not over.done():
            ending.append(loop.create_task(_bring_to_end(task, over, clock, patience)))

    def tripped(_: Cancellation) -> None:
        loop.call_soon_threadsafe(begin)

    unsubscribe = cancel.on_cancel(tripped)
    try:
        await over
    except asyncio.CancelledError:
        task.cancel()
        await _for_a_while(clock, task)  # then the drive goes on unwinding, and leaves it behind
        raise
    finally:
        unsubscribe()
        for each in ending:
            each.cancel()
    return _result(task, cancel)


async def _bring_to_end(
    task: "asyncio.Task[Any]",
    over: "asyncio.Future[None]",
    clock: Clock,
    patience: tuple[float, float],
) -> None:
    """Let work end by itself, then cancel it, then wait for it no longer."""
    by_itself, cleaning_up = patience
    if by_itself:
        await clock.sleep(by_itself)
    task.cancel()
    await clock.sleep(cleaning_up)
    _settle(over)


async def _for_a_while(clock: Clock, task: "asyncio.Task[Any]") -> None:
    patience = asyncio.ensure_future(clock.sleep(CLOSE_PATIENCE_S))
    try:
        await asyncio.wait({task, patience}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        patience.cancel()
    if not task.done():
        _abandon(task)


def _abandon(task: "asyncio.Task[Any]") -> None:
    _log.warning("%s keeps running although it was cancelled", task.get_name())
    _abandoned.add(task)
    task.add_done_callback(_forget)


def _settle(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


def _result(task: "asyncio.Task[T]", cancel: CancelToken) -> T | None:
    if not task.done():
        _abandon(task)
        return None
    if task.cancelled() and cancel.cancelled:
        return None
    try:
        return task.result()
    except StopRequested:
        return None


def _forget(task: "asyncio.Task[Any]") -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved: its turn is over
