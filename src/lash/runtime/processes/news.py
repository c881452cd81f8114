"""Who waits for something to happen to a process, here. Hints only: the store holds what is true."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal


class Listening(asyncio.Event):
    """Set whenever there may be news of a process.

    Whoever listens either waits, and nothing has come, or is about to look: then it is not at rest.
    """

    def __init__(self, news: "ProcessNews", *, counts: bool) -> None:
        super().__init__()
        self._news = news
        self._counts = counts
        self._waits = False
        self._at_rest = True
        self._tell()

    def set(self) -> None:
        """There may be news."""
        super().set()
        self._tell()

    def clear(self) -> None:
        """Look from here on."""
        super().clear()
        self._tell()

    async def wait(self) -> Literal[True]:
        """Until there may be news."""
        self._waits = True
        self._tell()
        try:
            await super().wait()
        finally:
            self._waits = False
            self._tell()
        return True

    def leave(self) -> None:
        """Nobody listens any more."""
        self._counts = False
        self._tell()

    def _tell(self) -> None:
        at_rest = not self._counts or (self._waits and not self.is_set())
        if at_rest is not self._at_rest:
            self._at_rest = at_rest
            self._news.stirred(-1 if at_rest else 1)


class ProcessNews:
    """Wakes those who wait for a process whenever anything was written to it."""

    def __init__(self) -> None:
        self._listening: dict[str, set[Listening]] = {}
        self._stirring = 0
        self.resting: Callable[[], None] = lambda: None

    @property
    def quiet(self) -> bool:
        """Whether everybody who listens waits, and has heard nothing."""
        return not self._stirring

    def stirred(self, change: int) -> None:
        """So many more are about to look, or less."""
        self._stirring += change
        if not self._stirring:
            self.resting()

    @contextmanager
    def listening(self, process_id: str, *, counts: bool = True) -> Iterator[Listening]:
        """An event that is set whenever there may be news. Listen before you read.

        Without `counts` whoever listens is no part of what goes on here, and may take its time.
        """
        came = Listening(self, counts=counts)
        listeners = self._listening.setdefault(process_id, set())
        listeners.add(came)
        try:
            yield came
        finally:
            came.leave()
            listeners.discard(came)
            if not listeners and self._listening.get(process_id) is listeners:
                del self._listening[process_id]

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for anything."""
        return bool(self._listening)

    def bump(self, process_id: str) -> None:
        """Something was written to a process."""
        for came in tuple(self._listening.get(process_id, ())):
            came.set()

    def bump_all(self) -> None:
        """Everybody is to look again."""
        for process_id in tuple(self._listening):
            self.bump(process_id)
