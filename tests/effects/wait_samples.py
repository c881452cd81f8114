"""A store of promises that is watched and can be broken, and time that passes in small steps."""

import asyncio
from collections.abc import Mapping, Sequence

from lash.core.scopes import ExecutionScope, ProcessScope, journal_key
from lash.effects.waits.board import WaitBoard
from lash.effects.waits.keys import mint
from lash.effects.waits.model import (
    AwaitEventWaitIdentity,
    CustomWait,
    Resolution,
    ResolveAccepted,
    ResolvedOk,
    ResolveOutcome,
)
from lash.effects.waits.store import AwaitEventStore
from lash.effects.waits.transitions import WaitRow, WaitState, row_of
from lash.stores.memory import MemoryStore
from lash.testing.clock import VirtualClock

PROCESS = ProcessScope(process_id="p")
APPROVED = ResolvedOk(payload="approved")
DENIED = ResolvedOk(payload="denied")
READER = "lash-await-events"


class WatchedPromises:
    """What is asked of a store of promises, and when; whether it answers is up to the test.

    Attributes:
        reads: When the rows were read, in seconds since the start.
        writes: What was proposed, in order.
        rows_read: How many rows each of those reads was for.
        tokens: Whether the store has a change token.
        broken: Raised by every read of rows, while it is set.
        token_broken: Raised by every read of the token, while it is set.
        unopenable: Raised when a wait is opened, while it is set.
        held: Once it is there, `open_wait` answers only after it was set.
    """

    def __init__(self, inner: AwaitEventStore, clock: VirtualClock, *, tokens: bool = True) -> None:
        self._inner = inner
        self._clock = clock
        self.reads: list[float] = []
        self.rows_read: list[int] = []
        self.writes: list[Resolution] = []
        self.tokens = tokens
        self.broken: Exception | None = None
        self.token_broken: Exception | None = None
        self.unopenable: Exception | None = None
        self.held: asyncio.Event | None = None

    @property
    def signing_secret(self) -> bytes:
        return self._inner.signing_secret

    async def open_wait(self, row: WaitRow) -> WaitState:
        if self.unopenable is not None:
            raise self.unopenable
        state = await self._inner.open_wait(row)
        if self.held is not None:
            await self.held.wait()
        return state

    async def resolve_wait(self, row: WaitRow, resolution: Resolution) -> ResolveOutcome:
        self.writes.append(resolution)
        await asyncio.sleep(0)
        return await self._inner.resolve_wait(row, resolution)

    async def inspect_waits(self, rows: Sequence[WaitRow]) -> Mapping[str, WaitState]:
        self.reads.append(round(self._clock.monotonic(), 6))
        self.rows_read.append(len(rows))
        await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        return await self._inner.inspect_waits(rows)

    async def cancel_session_waits(self, session_id: str) -> Sequence[str]:
        return await self._inner.cancel_session_waits(session_id)

    async def revoke_session_waits(self, session_id: str) -> Sequence[str]:
        return await self._inner.revoke_session_waits(session_id)

    async def is_revoked(self, session_id: str) -> bool:
        return await self._inner.is_revoked(session_id)

    async def list_waits(self, scope_key: str) -> Sequence[WaitRow]:
        return await self._inner.list_waits(scope_key)

    async def change_token(self) -> int | None:
        if self.token_broken is not None:
            raise self.token_broken
        return await self._inner.change_token() if self.tokens else None


class Place:
    """A store of promises over which several processes have a board each."""

    def __init__(self, *, tokens: bool = True) -> None:
        self.clock = VirtualClock(start_ms=0)
        self.store = MemoryStore(self.clock)
        self.watched = WatchedPromises(self.store, self.clock, tokens=tokens)
        self.board = WaitBoard(self.watched, self.clock)

    def row(
        self,
        wait: AwaitEventWaitIdentity = CustomWait(key="k"),  # noqa: B008  immutable
        *,
        scope: ExecutionScope = PROCESS,
        deadline_at_ms: int | None = None,
    ) -> WaitRow:
        """The row of a wait."""
        key = mint(self.store.signing_secret, scope, wait)
        return row_of(key, journal_key(scope), deadline_at_ms)

    async def resolve_elsewhere(
        self, resolution: Resolution = APPROVED, row: WaitRow | None = None
    ) -> ResolveOutcome:
        """Resolve a promise in another process: nobody here is told."""
        return await self.store.resolve_wait(row or self.row(), resolution)

    async def resolve_here(
        self, resolution: Resolution = APPROVED, row: WaitRow | None = None
    ) -> ResolveOutcome:
        """Resolve a promise in this process, which tells its board."""
        row = row or self.row()
        outcome = await self.store.resolve_wait(row, resolution)
        if isinstance(outcome, ResolveAccepted):
            self.board.settle(row.key_id, resolution)
        return outcome

    async def pass_time(self, seconds: float, *, step: float = 0.005) -> None:
        """Let time pass in small steps, with everybody awake at each of them."""
        left = round(seconds / step)
        for _ in range(left):
            self.clock.advance(step)
            await settled()


async def settled(turns: int = 30) -> None:
    """Give way until nothing goes on by itself; only time, or somebody else, moves it then."""
    for _ in range(turns):
        await asyncio.sleep(0)


def tasks_of(name: str = READER) -> list["asyncio.Task[object]"]:
    """The tasks of a name that are not done."""
    return [task for task in asyncio.all_tasks() if task.get_name() == name]
