"""Following a turn while it runs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from lash.app.results import TurnResult, TypedTurnResult, turn_result, typed_result
from lash.core.errors import LashError
from lash.runtime.events import TurnEvent
from lash.runtime.followers import Ticket

T = TypeVar("T")


class LiveTurn:
    """A turn that is being followed.

    Leaving its `async with` block before the turn's end asks the turn to stop, and waits until it is
    committed as cancelled. To leave it running, call `detach` first; a task that is cancelled inside
    the block leaves it running too, because dropping a wait is no decision about the turn.
    """

    def __init__(
        self,
        submit: Callable[[Callable[[TurnEvent], None]], Awaitable[Ticket]],
        stop: Callable[[str], Awaitable[object]],
    ) -> None:
        self._submit = submit
        self._stop = stop
        self._detached = False
        self._events: asyncio.Queue[TurnEvent | None] = asyncio.Queue()
        self._ticket: Ticket | None = None

    @property
    def turn_id(self) -> str:
        """The turn's id."""
        return self._entered().turn_id

    async def __aenter__(self) -> Self:
        if self._ticket is not None:
            raise LashError(
                "stream_not_entered", "A stream is entered once; ask the session for another one."
            )
        self._ticket = await self._submit(self.hear)
        self._ticket.when_done(self._end)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ticket = self._ticket
        if ticket is None:
            return
        try:
            dropped = isinstance(error, asyncio.CancelledError | GeneratorExit)
            if not (ticket.done or self._detached or dropped):
                await self._stop(ticket.turn_id)
                await _committed(ticket)
        finally:
            ticket.observer = None
            self._end()

    def detach(self) -> None:
        """Leave the turn running when the block is left."""
        self._detached = True

    async def __aiter__(self) -> AsyncIterator[TurnEvent]:
        self._entered()
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)  # a second loop ends at once

    async def result(self) -> TurnResult:
        """The committed turn; see `Session.run` for what may be raised."""
        ticket = self._entered()
        return turn_result(await ticket.record(), ticket.durability)

    def hear(self, event: TurnEvent) -> None:
        """Take in an event. Never blocks, so that a slow reader does not hold up the turn."""
        self._events.put_nowait(event)

    def _end(self) -> None:
        self._events.put_nowait(None)

    def _entered(self) -> Ticket:
        if self._ticket is None:
            raise LashError(
                "stream_not_entered",
                "Use the stream inside `async with session.stream(…) as live`.",
            )
        return self._ticket


class TypedLiveTurn(LiveTurn, Generic[T]):
    """A turn that is being followed and whose answer was asked for in a form."""

    def __init__(
        self,
        submit: Callable[[Callable[[TurnEvent], None]], Awaitable[Ticket]],
        stop: Callable[[str], Awaitable[object]],
        read: Callable[[str], object],
    ) -> None:
        super().__init__(submit, stop)
        self._read = read

    async def result(self) -> TypedTurnResult[T]:
        """The committed turn, with its answer as `output`; see `Session.run`."""
        return typed_result(await super().result(), self._read)


async def _committed(ticket: Ticket) -> None:
    """Wait for the end of a turn. Why it cannot be reached here is for whoever asks for its result."""
    try:
        await ticket.record()
    except LashError:
        return
