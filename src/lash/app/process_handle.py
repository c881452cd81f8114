"""A handle on a process: what an application asks of one that it has started, or knows by id."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar, cast

from lash.core.durations import Duration, milliseconds
from lash.core.errors import ProcessError
from lash.core.json import JsonValue
from lash.processes.events import ProcessEvent
from lash.processes.model import ProcessRecord
from lash.processes.outcomes import ObservedOutput
from lash.runtime.processes.refusals import value_of
from lash.runtime.processes.side import ProcessSide

R = TypeVar("R")

#: How many events are read at once.
_PAGE = 256


class ProcessHandle(Generic[R]):
    """A process, wherever it runs. Holding one, or dropping it, changes nothing.

    Attributes:
        id: The process.
    """

    def __init__(
        self, side: ProcessSide, process_id: str, read: Callable[[JsonValue], R] | None = None
    ) -> None:
        self._side = side
        self._read = read
        self.id = process_id

    def __repr__(self) -> str:
        return f"ProcessHandle({self.id!r})"

    async def result(self, *, timeout: Duration | None = None) -> R:  # noqa: ASYNC109  part of the face
        """What the process came to; waits until it ended.

        Args:
            timeout: How long to wait at most; the process goes on.

        Raises:
            ProcessError: It failed (with its own code); `process_cancelled`, `process_abandoned`,
                `process_no_longer_retained`; `process_result_timeout` (retryable).
            LashError: `process_unknown`, `value_not_of_type`, `runtime_closed`.
        """
        value = value_of(self.id, await self.outcome(timeout=timeout))
        return cast("R", value) if self._read is None else self._read(value)

    async def outcome(self, *, timeout: Duration | None = None) -> ObservedOutput:  # noqa: ASYNC109  as above
        """How the process ended, as a value; waits until it did.

        Raises:
            ProcessError: `process_result_timeout`. LashError: `process_unknown`, `runtime_closed`.
        """
        limit = None if timeout is None else milliseconds(timeout, "timeout") / 1000
        try:
            async with asyncio.timeout(limit):
                return await self._side.registry.outcome(self.id)
        except TimeoutError as error:
            raise ProcessError(
                "process_result_timeout",
                f"Process {self.id!r} had not ended after {limit} s; it goes on.",
                process_id=self.id,
            ) from error

    async def status(self) -> ProcessRecord:
        """The process as it stands.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`.
        """
        return await self._side.registry.load(self.id)

    async def events(self, *, after: int = 0, follow: bool = True) -> AsyncIterator[ProcessEvent]:
        """The process's log behind a sequence number; with `follow`, until the process has ended.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`.
        """
        registry = self._side.registry
        with registry.news.listening(self.id, counts=False) as came:
            while True:
                came.clear()
                record = await registry.load(self.id)  # before the log: nothing is missed
                page = await registry.store.process_events(self.id, after=after, limit=_PAGE)
                for event in page:
                    after = event.sequence
                    yield event
                if len(page) == _PAGE:
                    continue
                if not follow or (record.retired and after >= record.state.sequence):
                    return
                if record.state.sequence <= after:
                    registry.check_open()
                    await came.wait()

    async def signal(
        self,
        name: str,
        payload: object = None,
        *,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
    ) -> ProcessEvent:
        """Send the process a signal, kept until it asks for one, whoever runs it, and while nobody does.

        Args:
            name: Which signal.
            payload: What it says; must have a JSON form that fits what the process declares.
            id: Your own name for it: the same id and payload is one signal, however often it is sent.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`, `process_already_terminal`,
                `process_signal_name_invalid`, `process_signal_undeclared`, `process_event_invalid`,
                `value_not_json`. ConflictError: `process_event_conflict`: the id was used before.
        """
        return await self._side.registry.signal(self.id, name, payload, id)

    async def cancel(self, reason: str | None = None) -> ProcessRecord:
        """Ask the process to stop; as a rule it still runs when this returns.

        Wait for its `outcome` to learn what came of it: it may clean up first, or come to its end all
        the same. One that has ended stays as it is.

        Raises:
            LashError: `process_unknown`, `process_no_longer_retained`.
        """
        return await self._side.registry.cancel(self.id, reason)
