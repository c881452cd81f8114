"""Cancelling a task at exactly its n-th suspension, in every way in which that can happen."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, Literal, TypeAlias, TypeVar

T = TypeVar("T")

#: `at once`: while it waits. `when done`: what it waits for is there, and it has not gone on yet.
#: `twice`: while it waits, and again at the suspension after that.
Strike: TypeAlias = Literal["at once", "when done", "twice"]


class Interrupted:
    """Work whose task is cancelled at one of its suspensions.

    Attributes:
        suspensions: How often the work was suspended so far.
    """

    def __init__(self, work: Coroutine[Any, Any, T], at: int, strike: Strike) -> None:
        self.suspensions = 0
        self._work = work
        self._at = at
        self._strike = strike

    async def run(self) -> Any:
        """The work's own result; run it as a task."""
        return await self._stepped()

    @types.coroutine
    def _stepped(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                yielded = self._work.send(value) if error is None else self._work.throw(error)
            except StopIteration as stop:
                return stop.value
            self.suspensions += 1
            self._maybe_strike(yielded)
            value, error = None, None
            try:
                value = yield yielded
            except BaseException as thrown:  # handed on to the work, where it belongs
                error = thrown

    def _maybe_strike(self, awaited: object) -> None:
        second = self._strike == "twice" and self.suspensions == self._at + 1
        if self.suspensions != self._at and not second:
            return
        task = asyncio.current_task()
        assert task is not None
        if self._strike != "when done":
            task.cancel()
        elif isinstance(awaited, asyncio.Future):
            # Called before the task is woken, which asks to be told only after this.
            awaited.add_done_callback(lambda _: task.cancel())
        else:
            asyncio.get_running_loop().call_soon(task.cancel)
