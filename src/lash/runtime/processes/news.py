"""Who waits for something to happen to a process, here. Hints only: the store holds what is true."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class ProcessNews:
    """Wakes those who wait for a process whenever anything was written to it."""

    def __init__(self) -> None:
        self._listening: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def listening(self, process_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever there may be news. Listen before you read."""
        came = asyncio.Event()
        listeners = self._listening.setdefault(process_id, set())
        listeners.add(came)
        try:
            yield came
        finally:
            listeners.discard(came)
            if not listeners and self._listening.get(process_id) is listeners:
                del self._listening[process_id]

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for anything."""
        return bool(self._listening)

    def bump(self, process_id: str) -> None:
        """Something was written to a process."""
        for came in self._listening.get(process_id, ()):
            came.set()

    def bump_all(self) -> None:
        """Everybody is to look again."""
        for process_id in tuple(self._listening):
            self.bump(process_id)
