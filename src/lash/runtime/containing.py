"""Running a tool's body so that nothing of it but its answer reaches the turn, whatever the body does.

A body runs in a task of its own: one that cancels its own task ends itself, and not the turn.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from lash.core.clock import Clock
from lash.core.json import JsonObject
from lash.core.text import described
from lash.effects.outcomes import PendingCompletion
from lash.runtime.cancelling import being_cancelled
from lash.tools.model import Tool, ToolContext, give_up
from lash.tools.threads import end_if_forked
from lash.turn.tools import ToolOutput, ToolSuccess, failed

T = TypeVar("T")

_log = logging.getLogger("lash.runtime")

#: For how long a body may keep the event loop to itself before it is told.
STANDSTILL_S = 0.25


async def contained(
    tool: Tool, args: JsonObject, context: ToolContext, clock: Clock
) -> ToolOutput | PendingCompletion:
    """Run the body once; whatever goes wrong in it is its answer, unless the turn is being stopped."""
    held = _Held(_answered(tool, args, context), clock.monotonic)
    body = asyncio.get_running_loop().create_task(_awaited(held), name=f"lash-tool-{tool.name}")
    while not body.done():
        try:
            await asyncio.wait({body})
        except asyncio.CancelledError:
            body.cancel()  # it may clean up, and even answer
    _tell_standstill(tool, held.longest_s)
    if body.cancelled():
        if being_cancelled():
            give_up(context, "stopped")
            raise asyncio.CancelledError
        message = f"{tool.name} waited for something that was cancelled, or cancelled itself."
        return failed("execution", "tool_panicked", message, source="tool")
    error = body.exception()
    if error is not None and being_cancelled():
        raise asyncio.CancelledError  # an interrupt was raised already, where the loop runs
    # A task that is collected never gets here: the body raised it by itself.
    output = _panicked(error) if isinstance(error, GeneratorExit) else body.result()
    if isinstance(output, PendingCompletion):
        return output
    if being_cancelled() and not isinstance(output.outcome, ToolSuccess):
        # It failed because it was stopped: when the turn is resumed, it is to run again.
        raise asyncio.CancelledError
    return output


async def _answered(
    tool: Tool, args: JsonObject, context: ToolContext
) -> ToolOutput | PendingCompletion:
    try:
        return await tool.run(args, context)
    except (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):
        raise  # somebody ends the process, collects the task, or ends the body
    except BaseException as error:  # noqa: BLE001  an exit, a test framework's outcome, a foreign panic
        # Letting it through would end the process, and every one that resumes the turn.
        return _panicked(error)


def _panicked(error: BaseException) -> ToolOutput:
    return failed("execution", "tool_panicked", described(error), source="tool")


async def _awaited(held: "_Held[T]") -> T:
    return await held


class _Held(Generic[T]):
    """Awaits work, and measures for how long it holds up the event loop at most.

    A process that the work forks does not come back to the loop: it would drive the same turns on the
    same files.
    """

    def __init__(self, work: Coroutine[Any, Any, T], monotonic: Callable[[], float]) -> None:
        self._work = work
        self._monotonic = monotonic
        self._pid = os.getpid()
        self.longest_s = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        thrown: BaseException | None = None
        while True:
            try:
                awaited = self._step(thrown)
            except StopIteration as over:
                result: T = over.value
                return result
            try:
                thrown = None
                yield awaited
            except GeneratorExit:
                self._work.close()
                raise
            except BaseException as error:  # noqa: BLE001  handed on to the work
                thrown = error

    def _step(self, thrown: BaseException | None) -> object:
        begun = self._monotonic()
        try:
            return self._work.send(None) if thrown is None else self._work.throw(thrown)
        finally:
            end_if_forked(self._pid)
            self.longest_s = max(self.longest_s, self._monotonic() - begun)


def _tell_standstill(tool: Tool, seconds: float) -> None:
    if seconds > STANDSTILL_S:
        _log.warning(
            "tool %s held up the event loop for %.1f s, and with it every other turn; a plain function "
            "instead of an async one runs in a thread and holds up nobody",
            tool.name,
            seconds,
        )
