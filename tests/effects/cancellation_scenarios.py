"""Effects that are interrupted, and for each a table of what may be found afterwards."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from effect_samples import (
    CHECKPOINT,
    SCOPE,
    TOOL,
    TURN,
    Executor,
    World,
    envelope,
    found,
    until,
)

from lash.core.cancel import Cancellation, CancelToken
from lash.core.errors import StoreError
from lash.effects import executors
from lash.effects.commands import AwaitEventCommand, SleepCommand
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.outcomes import (
    AwaitEventOutcome,
    CheckpointOutcome,
    EffectFailed,
    EffectOutcome,
    SleepOutcome,
    ToolAttemptOutcome,
)
from lash.effects.waits.model import (
    AwaitEventKey,
    CustomWait,
    Resolution,
    ResolvedCancelled,
    ResolvedOk,
)
from lash.stores.memory import MemoryStore
from lash.turn.tools import failed

STOP = Cancellation(request_id="r1")
NAP = envelope(SleepCommand(duration_ms=60_000))
FIRST, SECOND = found("first"), found("second")
APPROVED = AwaitEventOutcome(resolution=ResolvedOk(payload="approved"))
GIVEN_UP = AwaitEventOutcome(resolution=ResolvedCancelled())


def slow(world: World) -> bool:
    return isinstance(world.store, MemoryStore)


class Scenario:
    """One effect that is interrupted, and what may be found afterwards.

    Attributes:
        expected: What may be recorded right after the cancel; a walk meets all of it.
        sure: What a walk meets at least, where that is less.
        step: How far time goes at once while somebody sleeps.
    """

    expected: frozenset[tuple[str, ...]] = frozenset({(), ("e1",)})
    sure: frozenset[tuple[str, ...]] | None = None
    step = 0.05

    def __init__(self, world: World) -> None:
        self.world = world
        # A store on a disk gives way by itself; the one in memory is slowed down.
        self.drive = world.drive(journal=world.journal if slow(world) else world.store)
        self.promises = world.promises()

    async def before(self) -> None:
        """What is there before."""

    def work(self) -> Coroutine[Any, Any, object]:
        """What is interrupted."""
        raise NotImplementedError

    async def meanwhile(self) -> None:
        """What happens beside it, every time the loop goes round."""

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        """The table: whether what was recorded may be so, and what the effect comes to now."""
        raise NotImplementedError

    async def finish(self, work: Coroutine[Any, Any, EffectOutcome]) -> EffectOutcome:
        """Let something go on to its end, with time passing as it must."""
        task = asyncio.create_task(work)
        await self.ended(task)
        return task.result()

    async def ended(self, task: "asyncio.Task[Any]") -> None:
        while not task.done():
            await asyncio.sleep(0)
            await self.meanwhile()
            if self.world.clock.sleeping:
                self.world.clock.advance(self.step)

    async def comes_to(
        self,
        expected: EffectOutcome,
        executor: Callable[[], LocalExecutor],
        asked: RuntimeEffectEnvelope | None = None,
    ) -> None:
        """The same controller is as good as new, and every later one agrees with it."""
        asked = asked or envelope(TOOL)
        assert await self.finish(self.drive.execute(asked, executor())) == expected
        later = self.world.drive(journal=self.world.store)
        assert await self.finish(later.execute(asked, executor())) == expected


class FirstExecution(Scenario):
    async def before(self) -> None:
        self.executor = Executor(FIRST, steps=3)

    def work(self) -> Coroutine[Any, Any, object]:
        return self.drive.execute(envelope(TOOL), self.executor)

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        # finished  recorded  then comes to   runs again
        table = {
            (0, ()): (SECOND, 1),
            (1, ("e1",)): (FIRST, 0),
        }
        outcome, runs = table[self.executor.finished, recorded]
        assert cancelled or recorded
        again = Executor(SECOND)
        await self.comes_to(outcome, lambda: again)
        assert again.runs == runs


class Replay(FirstExecution):
    expected = frozenset({("e1",)})

    async def before(self) -> None:
        await self.world.drive(journal=self.world.store).execute(envelope(TOOL), Executor(FIRST))
        self.executor = Executor(SECOND)

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        assert (recorded, self.executor.runs) == (("e1",), 0)
        never = Executor(SECOND)
        await self.comes_to(FIRST, lambda: never)
        assert never.runs == 0


class JoinedSecondArrival(Scenario):
    """The second is interrupted, which is no matter to the first."""

    sure = frozenset({("e1",)})  # how far the first has come by then is its own affair

    async def before(self) -> None:
        self.executor, self.joining = Executor(FIRST, steps=9), Executor(SECOND)
        self.first = asyncio.create_task(self.drive.execute(envelope(TOOL), self.executor))
        await asyncio.sleep(0)

    def work(self) -> Coroutine[Any, Any, object]:
        return self.drive.execute(envelope(TOOL), self.joining)

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        await self.ended(self.first)
        assert self.first.result() == FIRST
        assert (self.executor.runs, self.joining.runs) == (1, 0)
        await self.comes_to(FIRST, lambda: Executor(SECOND))


class JoinedFirstArrival(Scenario):
    """The first is interrupted; the second finds its record or does the work itself."""

    async def before(self) -> None:
        self.executor, self.joining = Executor(FIRST, steps=3), Executor(SECOND)

    async def meanwhile(self) -> None:
        if not hasattr(self, "second"):
            joined = self.drive.execute(envelope(TOOL), self.joining)
            self.second = asyncio.create_task(joined)

    def work(self) -> Coroutine[Any, Any, object]:
        return self.drive.execute(envelope(TOOL), self.executor)

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        await self.meanwhile()
        await self.ended(self.second)
        # first finished  the second gets  and runs
        table = {0: (SECOND, 1), 1: (FIRST, 0)}
        outcome, runs = table[self.executor.finished]
        assert (self.second.result(), self.joining.runs) == (outcome, runs)
        await self.comes_to(outcome, lambda: Executor(found("third")))


class Sleep(Scenario):
    step = 10.0
    token = False

    def executor(self) -> LocalExecutor:
        return executors.sleeping(CancelToken() if self.token else None)

    def work(self) -> Coroutine[Any, Any, object]:
        return self.drive.execute(NAP, self.executor())

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        assert recorded in ((), ("e1",))
        await until(lambda: not self.world.clock.sleeping)
        self.world.clock.advance(5)
        due = 1_060_000 if recorded else self.world.clock.now_ms() + 60_000
        await self.comes_to(SleepOutcome(due_at_ms=due), self.executor, NAP)


class SleepWithToken(Sleep):
    token = True


class SleepBrokenOff(Scenario):
    step = 0.0
    expected = frozenset({(), ("e1",), ("e1", "e1:cancelled")})

    async def before(self) -> None:
        self.cancel = CancelToken()

    def work(self) -> Coroutine[Any, Any, object]:
        return self.drive.execute(NAP, executors.sleeping(self.cancel))

    async def meanwhile(self) -> None:
        if self.world.clock.sleeping and not self.cancel.cancelled:
            self.cancel.cancel(STOP)

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        await until(lambda: not self.world.clock.sleeping)
        self.step = 10.0
        broken = EffectFailed(
            code="runtime_effect_sleep_cancelled",
            message="The sleep was broken off because its scope was asked to stop.",
        )
        if recorded == ("e1", "e1:cancelled"):
            await self.comes_to(broken, lambda: executors.sleeping(CancelToken()), NAP)
        else:
            assert cancelled
            due = 1_060_000 if recorded else self.world.clock.now_ms() + 60_000
            await self.comes_to(
                SleepOutcome(due_at_ms=due), lambda: executors.sleeping(CancelToken()), NAP
            )


class Await(Scenario):
    """A wait that is pending at first and resolved while it waits."""

    key: AwaitEventKey
    ends_as: EffectOutcome = APPROVED

    async def before(self) -> None:
        self.cancel: CancelToken | None = None
        self.rounds = 0
        self.key = await self.promises.await_event_key(TURN, CustomWait(key="k"))

    @property
    def asked(self) -> RuntimeEffectEnvelope:
        return envelope(AwaitEventCommand(key=self.key))

    def work(self) -> Coroutine[Any, Any, object]:
        return self.drive.execute(self.asked, executors.awaiting(self.cancel))

    async def meanwhile(self) -> None:
        self.rounds += self.drive.parked
        if self.rounds == 8:
            await self.promises.resolve_await_event(self.key, ResolvedOk(payload="approved"))

    async def stands(self) -> Resolution | None:
        return await self.promises.peek_await_event(self.key)

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        assert recorded in ((), ("e1",))
        # A waiter that went away has written nothing: it is open, or it is what was resolved.
        assert await self.stands() in (None, ResolvedOk(payload="approved"))
        if recorded:
            await self.promises.revoke_await_events_for_session("s")
        else:
            await self.promises.resolve_await_event(self.key, ResolvedOk(payload="approved"))
        await self.comes_to(APPROVED, executors.awaiting, self.asked)


class AwaitResolvedBefore(Await):
    async def before(self) -> None:
        await super().before()
        await self.promises.resolve_await_event(self.key, ResolvedOk(payload="approved"))

    async def meanwhile(self) -> None:
        """Nothing more."""


class AwaitGivenUp(Await):
    """A wait that is given up by its token while it waits."""

    async def before(self) -> None:
        await super().before()
        self.cancel = CancelToken()

    async def meanwhile(self) -> None:
        self.rounds += self.drive.parked
        if self.rounds == 8 and self.cancel is not None:
            self.cancel.cancel(STOP)

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        assert recorded in ((), ("e1",))
        tripped = self.cancel is not None and self.cancel.cancelled
        assert await self.stands() in ((None, ResolvedCancelled()) if tripped else (None,))
        stopped = CancelToken()
        stopped.cancel(STOP)
        await self.comes_to(GIVEN_UP, lambda: executors.awaiting(stopped), self.asked)


class DeferredThenAtom(Scenario):
    expected = frozenset({(), ("e0", "e1")})

    async def before(self) -> None:
        self.look, self.executor = Executor(CheckpointOutcome(), steps=2), Executor(FIRST, steps=2)

    def work(self) -> Coroutine[Any, Any, object]:
        return self._both()

    async def _both(self) -> EffectOutcome:
        await self.drive.execute(envelope(CHECKPOINT, "e0"), self.look)
        return await self.drive.execute(envelope(TOOL), self.executor)

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        waiting = tuple(record.replay_key for record in self.drive.deferred())
        # looked  finished  recorded        still waits  then comes to
        table = {
            (0, 0, ()): ((), SECOND),
            (1, 0, ()): (("e0",), SECOND),
            (1, 1, ("e0", "e1")): ((), FIRST),
        }
        expected, outcome = table[self.look.finished, self.executor.finished, recorded]
        assert waiting == expected
        await self.drive.execute(envelope(CHECKPOINT, "e0"), self.look)
        await self.comes_to(outcome, lambda: Executor(SECOND))
        kept = await self.world.store.load_journal(SCOPE)
        assert [record.replay_key for record in kept] == ["e0", "e1"]


class FailingExecutor(FirstExecution):
    async def before(self) -> None:
        self.executor = Executor(KeyError("order"), steps=3)

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        panicked = ToolAttemptOutcome(
            output=failed("execution", "tool_panicked", "KeyError: 'order'", source="tool")
        )
        table = {
            (0, ()): SECOND,
            (1, ("e1",)): panicked,
        }
        await self.comes_to(table[self.executor.finished, recorded], lambda: Executor(SECOND))


class BrokenWrite(Scenario):
    """The store cannot be written: nothing is recorded, and the effect may run again."""

    expected = frozenset({()})

    async def before(self) -> None:
        self.executor = Executor(FIRST, steps=3)
        self.world.journal.broken = StoreError("store_busy", "locked")
        self.drive = self.world.drive()  # over the journal that can be broken

    def work(self) -> Coroutine[Any, Any, object]:
        return self._raising()

    async def _raising(self) -> None:
        with pytest.raises(StoreError):
            await self.drive.execute(envelope(TOOL), self.executor)

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        assert recorded == ()
        self.world.journal.broken = None
        await self.comes_to(SECOND, lambda: Executor(SECOND))


class DeferredThenBrokenWrite(DeferredThenAtom):
    """What waited for a write that failed goes on waiting, and is written with the next."""

    expected = frozenset({()})

    async def before(self) -> None:
        await super().before()
        self.world.journal.broken = StoreError("store_busy", "locked")
        self.drive = self.world.drive()

    async def _both(self) -> EffectOutcome:
        with pytest.raises(StoreError):
            await super()._both()
        return FIRST

    async def after(self, recorded: tuple[str, ...], *, cancelled: bool) -> None:
        self.world.journal.broken = None
        waiting = tuple(record.replay_key for record in self.drive.deferred())
        assert (waiting, recorded) == (("e0",) if self.look.finished else (), ())
        await self.drive.execute(envelope(CHECKPOINT, "e0"), self.look)
        await self.comes_to(SECOND, lambda: Executor(SECOND))
        kept = await self.world.store.load_journal(SCOPE)
        assert [record.replay_key for record in kept] == ["e0", "e1"]


SCENARIOS = [
    FirstExecution,
    Replay,
    JoinedSecondArrival,
    JoinedFirstArrival,
    Sleep,
    SleepWithToken,
    SleepBrokenOff,
    Await,
    AwaitResolvedBefore,
    AwaitGivenUp,
    DeferredThenAtom,
    FailingExecutor,
    BrokenWrite,
    DeferredThenBrokenWrite,
]
