"""The controller of a running process: stops what is to stop, gives permits back, and finds changed code.

It stands before the journaling controller, which executes and records. A process that was asked to stop
is told so once: where it waits, or at the next effect it asks for; at which one is recorded, so that a
replay is told at the same place. A step under way is let come to its end for a while.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lash.core.cancel import Cancellation, CancelToken
from lash.core.errors import ProcessCancelledError
from lash.core.json import JsonValue
from lash.core.scopes import ExecutionScope, journal_key
from lash.effects import executors
from lash.effects.commands import (
    AwaitEventCommand,
    DurableStepCommand,
    EffectCommand,
    ProcessEffectCommand,
    RuntimeValueCommand,
    SleepCommand,
)
from lash.effects.controller import Drift, EffectController, EffectCounts
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.journal import Journal, JournalRecord
from lash.effects.outcomes import DurableStepOutcome, EffectOutcome, RuntimeValueOutcome
from lash.effects.process_commands import AwaitProcess
from lash.effects.waits.model import AwaitEventKey, ProcessSignalWait
from lash.processes.model import (
    EventWaitKind,
    ProcessWaitKind,
    SignalWaitKind,
    TimerWaitKind,
    WaitKind,
)
from lash.runtime.processes.permits import Slot
from lash.runtime.processes.replayed import CANCELLED_KEY, Replayed, branch_of, effect_of
from lash.runtime.recorded_code import envelope as envelope_of
from lash.runtime.recorded_code import wrong_outcome

_log = logging.getLogger("lash.runtime")

#: How long a step under way may take to come to its end once its process is to stop, in seconds.
GRACE_S = 10.0


@dataclass(slots=True)
class _UnderWay:
    """An effect under way, and the task that waits for it."""

    task: "asyncio.Task[object]"
    waits: bool
    interrupted: bool = False


class RunController:
    """Executes the effects of one segment of a running process.

    Args:
        inner: Executes and records.
        replayed: What was recorded before.
        slot: The run's permit.
        waits_for: Told what the run waits for, before it may be found to wait.
        journal: Where the segment's effects are recorded.
        tells: Tell the code that it is to stop, by an error; else only `cancel` is tripped, for engines
            that see to it themselves.
    """

    def __init__(
        self,
        inner: EffectController,
        replayed: Replayed,
        slot: Slot,
        waits_for: Callable[[WaitKind], None],
        journal: Journal,
        *,
        tells: bool = True,
    ) -> None:
        self._inner = inner
        self._journal = journal
        self._scope_key = journal_key(inner.scope)
        self._slot = slot
        self._waits_for = waits_for
        self._under_way: dict[str, _UnderWay] = {}
        self._asked: ProcessCancelledError | None = None
        self.replayed = replayed
        self.cancel = CancelToken()
        self.told = replayed.cancelled_at is not None or not tells

    # --- what a controller is -------------------------------------------------------------------

    @property
    def scope(self) -> ExecutionScope:
        """Whose effects these are."""
        return self._inner.scope

    def deferred(self) -> Sequence[JournalRecord]:
        """Records that wait for the scope's next transaction."""
        return self._inner.deferred()

    @property
    def counts(self) -> EffectCounts:
        """How many atoms were executed and replayed so far."""
        return self._inner.counts

    @property
    def drift(self) -> Sequence[Drift]:
        """Replays whose surroundings changed."""
        return self._inner.drift

    @property
    def parked(self) -> bool:
        """Whether all that is under way waits for the outside."""
        return self._inner.parked

    # --- executing ------------------------------------------------------------------------------

    async def execute(
        self, envelope: RuntimeEffectEnvelope, executor: LocalExecutor
    ) -> EffectOutcome:
        """The recorded outcome, or the executor's, recorded before it is returned.

        Raises:
            ProcessCancelledError: The process was asked to stop, and is told so here.
            ReplayError: `process_journal_left_over`, and what `EffectController.execute` raises.
        """
        key = envelope.replay_key
        if self.replayed.cancelled_at == key:
            raise self._asked or ProcessCancelledError()
        if not self.replayed.has(key):
            await self.admit(key, effect_of(key))
        kind = waits_of(envelope.command)
        if kind is None:
            await self._slot.ensure()
        return await self._run(key, kind, envelope, executor)

    async def admit(self, key: str, asked: str) -> None:
        """Begin something new, unless the code changed or the process is to stop.

        Raises:
            ProcessCancelledError: As `execute`. ReplayError: `process_journal_left_over`.
        """
        if self.replayed.cancelled_at == key:
            raise self._asked or ProcessCancelledError()
        self.replayed.check(branch_of(key), f"The process asked for {asked}")
        if self._asked is not None and not self.told:
            await self._tell(key)
            raise self._asked

    async def keep(self, key: str, given: JsonValue, make: Callable[[], JsonValue]) -> JsonValue:
        """A value that is made once and recorded at once, beside the effect it belongs to."""

        async def perform() -> EffectOutcome:
            return DurableStepOutcome(value=make())

        command = DurableStepCommand(step_id="kept", input=given)
        outcome = await self._inner.execute(
            envelope_of(key, command), executors.durable_step(perform)
        )
        if not isinstance(outcome, DurableStepOutcome):
            raise wrong_outcome(outcome)
        return outcome.value

    async def is_recorded(self, key: str) -> bool:
        """Whether an effect is in the journal by now."""
        return await self._journal.lookup(self._scope_key, key) is not None

    async def _run(
        self,
        key: str,
        kind: WaitKind | None,
        envelope: RuntimeEffectEnvelope,
        executor: LocalExecutor,
    ) -> EffectOutcome:
        task = asyncio.current_task()
        if task is None:
            message = "effects are asked for inside a task"
            raise RuntimeError(message)
        mine = self._under_way[key] = _UnderWay(task, waits=kind is not None)
        self._slot.begin()
        if kind is not None:
            self._waits_for(kind)
            self._slot.begin_waiting()
        try:
            outcome = await self._inner.execute(envelope, executor)
        except asyncio.CancelledError:
            if not mine.interrupted or self._asked is None:
                raise
            task.uncancel()
            await self._tell(key)
            raise self._asked from None
        finally:
            del self._under_way[key]
            if kind is not None:
                self._slot.end_waiting()
            self._slot.end()
        if kind is not None:
            await self._slot.ensure()
        return outcome

    # --- stopping -------------------------------------------------------------------------------

    def stop(self, reason: str | None) -> None:
        """The process was asked to stop: tell it where it waits, or once a step has had its time."""
        if self._asked is not None:
            return
        self._asked = ProcessCancelledError(reason)
        self._trip(reason)
        if self.told:
            return
        waiting = [each for each in self._under_way.values() if each.waits]
        if waiting:
            self._interrupt(waiting[0])
        else:
            for each in self._under_way.values():
                asyncio.get_running_loop().call_later(GRACE_S, self._interrupt, each)

    def _trip(self, reason: str | None) -> None:
        try:
            self.cancel.cancel(
                Cancellation(request_id=CANCELLED_KEY, origin="process", reason=reason)
            )
        except ExceptionGroup:
            _log.exception("a cancel callback of a process's tool failed")

    def _interrupt(self, under_way: _UnderWay) -> None:
        if not self.told and under_way in self._under_way.values():
            under_way.interrupted = True
            under_way.task.cancel()

    async def _tell(self, key: str) -> None:
        """Record at which effect the process is told to stop; from here on it is not told again."""
        self.told = True

        async def perform() -> EffectOutcome:
            return RuntimeValueOutcome(value=key)

        command = RuntimeValueCommand(operation="cancelled")
        await self._inner.execute(
            envelope_of(CANCELLED_KEY, command), executors.runtime_value(perform)
        )


def waits_of(command: EffectCommand) -> WaitKind | None:
    """What an effect waits for, if it waits for the outside."""
    match command:
        case SleepCommand():
            return TimerWaitKind()
        case ProcessEffectCommand(command=AwaitProcess(process_id=process_id)):
            return ProcessWaitKind(process_id=process_id)
        case AwaitEventCommand(key=key):
            return _awaited(key)
        case _:
            return None


def _awaited(key: AwaitEventKey) -> WaitKind:
    match key.wait:
        case ProcessSignalWait(signal_name=name, ordinal=ordinal):
            return SignalWaitKind(name=name, ordinal=ordinal)
        case wait:
            return EventWaitKind(name=str(wait.__struct_config__.tag))
