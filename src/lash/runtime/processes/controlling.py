"""The controller of a running process: stops what is to stop, gives permits back, and finds changed code.

It stands before the journaling controller, which executes and records. A process that was asked to stop
is told so once: where it waits, or at the next effect it asks for; at which one is recorded, so that a
replay is told at the same place. A step under way is let come to its end for a while.

Code that is being torn down may still run: its `finally` blocks do, and it may catch what it was told.
Whatever it asks for then is refused, because a replay would not come to it in the same way.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from lash.core.cancel import Cancellation, CancelToken
from lash.core.errors import (
    LashError,
    LeaseLostError,
    ProcessCancelledError,
    ProcessError,
    ReplayError,
    StepError,
    StoreError,
    WaitError,
)
from lash.core.json import JsonValue
from lash.core.scopes import ExecutionScope, journal_key
from lash.effects import executors
from lash.effects.commands import (
    AwaitEventCommand,
    DirectCommand,
    DurableStepCommand,
    EffectCommand,
    ProcessEffectCommand,
    RuntimeValueCommand,
    SleepCommand,
    TriggerEffectCommand,
)
from lash.effects.controller import Drift, EffectController, EffectCounts
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.journal import Journal, JournalRecord
from lash.effects.outcomes import DurableStepOutcome, EffectOutcome, RuntimeValueOutcome
from lash.effects.process_commands import AwaitProcess
from lash.effects.waits.model import AwaitEventKey, ProcessSignalWait
from lash.processes.events import ProcessEvent
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
from lash.runtime.steps import CIRCUMSTANCES

_log = logging.getLogger("lash.runtime")

#: How long a step under way may take to come to its end once its process is to stop, in seconds.
GRACE_S = 10.0

#: Errors that say something of where a process was run, and nothing of the process.
_CIRCUMSTANCES = CIRCUMSTANCES | {
    "await_event_unknown_or_revoked",
    "process_unregistered",
    "trigger_event_unknown",
}


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
        self._strict = False
        self._broken: LashError | None = None
        self._over = False
        self._read = 0  # readings that are kept for the next record
        self._written = 0  # those of them that were written with one
        self.heard = False
        self.stopped = False
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

    # --- the code that is run -------------------------------------------------------------------

    def begin(self) -> None:
        """Code asks for effects here, and is held to what it is told.

        What it was not told by a recorded outcome it must not go on from, so whatever it asks for once
        its surroundings failed, or the run was stopped, is refused.
        """
        self._strict = True

    def stop_running(self) -> None:
        """The run ends here, and the process goes on in a later one: nothing more is done in this one."""
        self.stopped = True

    def close(self) -> None:
        """The code has come to its end: tasks that it left behind ask for nothing more."""
        self._over = True

    def check(self) -> None:
        """Refuse to go on if the surroundings failed, or the run is to stop.

        Raises:
            LashError: What the surroundings failed with. CancelledError: The run is to stop.
        """
        if self._broken is not None:
            raise self._broken
        if self._over or self.stopped:
            raise asyncio.CancelledError

    def break_off(self, error: LashError) -> None:
        """The surroundings failed, or the code is not the one that began: nothing more is done."""
        if self._strict and self._broken is None:
            self._broken = error

    # --- executing ------------------------------------------------------------------------------

    async def execute(
        self, envelope: RuntimeEffectEnvelope, executor: LocalExecutor
    ) -> EffectOutcome:
        """The recorded outcome, or the executor's, recorded before it is returned.

        Raises:
            ProcessCancelledError: The process was asked to stop, and is told so here.
            ReplayError: `process_journal_left_over`, and what `EffectController.execute` raises.
        """
        key, new = envelope.replay_key, not self.replayed.has(envelope.replay_key)
        if new:
            await self.admit(key, effect_of(key))
            if isinstance(envelope.command, _OUTSIDE):
                await self.write_readings(key)
        else:
            self._enter(key)
        kind = waits_of(envelope.command)
        if kind is None:
            await self._slot.ensure()
        if not new:
            return await self._run(key, kind, envelope, executor)
        before = self._read
        outcome = await self._run(key, kind, envelope, executor)
        if isinstance(outcome, RuntimeValueOutcome):
            self._read += 1
        else:
            self._written = max(self._written, before)
        return outcome

    def _enter(self, key: str) -> None:
        self.check()
        if self.replayed.cancelled_at == key:
            self.heard = True
            raise self._asked or ProcessCancelledError()

    async def admit(self, key: str, asked: str) -> None:
        """Begin something new, unless the code changed or the process is to stop.

        Raises:
            ProcessCancelledError: As `execute`. ReplayError: `process_journal_left_over`.
        """
        self._enter(key)
        try:
            self.replayed.check(branch_of(key), f"The process asked for {asked}")
        except ReplayError as error:
            self.break_off(error)
            raise
        if self._asked is not None and not self.told:
            await self._tell(key)
            raise self._asked

    async def write_readings(self, key: str) -> None:
        """Write what was read of clocks and chance before anything outside is begun with it.

        It may be a key that the outside knows the effect by: if this died before the effect is recorded,
        it is to be the same the next time.
        """
        if self._read == self._written:
            return
        before, number = self._read, 1
        while self.replayed.has(f"{key}:readings:{number}"):
            number += 1
        await self.keep(f"{key}:readings:{number}", None, lambda: None)
        self._written = max(self._written, before)

    async def begin_effect(self, key: str, part: str) -> None:
        """Begin an effect by a part of it that is kept on its own; see `admit`."""
        if self.replayed.has(part):
            self._enter(key)
        else:
            await self.admit(key, effect_of(key))

    async def replayed_event(self, key: str, refused: str) -> ProcessEvent | None:
        """The event that was appended here before; None once it may be appended; see `admit`.

        None as well if it was `refused` before, which is recorded under that key.
        """
        known = self.replayed.event(key)
        if known is None and not self.replayed.has(refused):
            await self.admit(key, effect_of(key))
            await self.write_readings(key)
        else:
            self._enter(key)
        return known

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Do something that is recorded elsewhere."""
        await self._slot.ensure()
        self._slot.begin()
        try:
            yield
        except LashError as error:
            if is_circumstance(error):
                self.break_off(error)
            raise
        finally:
            self._slot.end()

    async def keep(self, key: str, given: JsonValue, make: Callable[[], JsonValue]) -> JsonValue:
        """A value that is made once and recorded at once, beside the effect it belongs to."""

        async def perform() -> EffectOutcome:
            return DurableStepOutcome(value=make())

        command = DurableStepCommand(step_id="kept", input=given)
        outcome = await self._perform(envelope_of(key, command), executors.durable_step(perform))
        if not isinstance(outcome, DurableStepOutcome):
            raise wrong_outcome(outcome)
        return outcome.value

    async def is_recorded(self, key: str) -> bool:
        """Whether an effect is in the journal by now."""
        return await self._journal.lookup(self._scope_key, key) is not None

    async def came(self, key: str) -> None:
        """A wait has what it waited for, and is about to be recorded: the process rests no longer."""
        under_way = self._under_way.get(key)
        if under_way is not None and under_way.waits:
            under_way.waits = False
            self._slot.end_waiting()
            await self._slot.ensure()

    async def _perform(
        self, envelope: RuntimeEffectEnvelope, executor: LocalExecutor
    ) -> EffectOutcome:
        try:
            return await self._inner.execute(envelope, executor)
        except LashError as error:
            if is_circumstance(error):
                self.break_off(error)
            raise

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
        cancels = task.cancelling()
        self._slot.begin()
        if kind is not None:
            self._waits_for(kind)
            self._slot.begin_waiting()
            if self._asked is not None and not self.told:
                # A sleep that was recorded when it began: if it is over, it is so at once.
                asyncio.get_running_loop().call_soon(self._interrupt, mine)
        try:
            outcome = await self._perform(envelope, executor)
        except asyncio.CancelledError:
            if not mine.interrupted or self._asked is None or task.cancelling() > cancels + 1:
                raise  # not, or not only, to tell the process
            mine.interrupted = False
            task.uncancel()
            await self._tell(key)
            outcome = None
        finally:
            del self._under_way[key]
            if mine.interrupted:
                task.uncancel()
            if mine.waits:
                self._slot.end_waiting()
            self._slot.end()
        await self._slot.ensure()
        if outcome is None:
            raise self._asked or ProcessCancelledError()
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
        self.told = self.heard = True
        self._read += 1

        async def perform() -> EffectOutcome:
            return RuntimeValueOutcome(value=key)

        command = RuntimeValueCommand(operation="cancelled")
        await self._perform(envelope_of(CANCELLED_KEY, command), executors.runtime_value(perform))


#: Commands that touch the outside before anything of them is recorded.
_OUTSIDE = (DirectCommand, DurableStepCommand, ProcessEffectCommand, TriggerEffectCommand)


def is_circumstance(error: LashError) -> bool:
    """Whether an error says something of the surroundings, so that the process is begun again."""
    if isinstance(error, LeaseLostError | ReplayError | StoreError):
        return True
    if isinstance(error, StepError | WaitError | ProcessError | ProcessCancelledError):
        return False
    return error.retryable or error.code in _CIRCUMSTANCES


def waits_of(command: EffectCommand) -> WaitKind | None:
    """What an effect waits for, if it waits for the outside."""
    match command:
        case SleepCommand(duration_ms=duration_ms):
            return TimerWaitKind() if duration_ms else None
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
