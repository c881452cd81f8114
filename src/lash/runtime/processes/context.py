"""What the code of a process may ask for: everything that is not the same every time.

Each effect is executed once and recorded; a process that is run again is answered from its journal.
"""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeAlias, TypeVar, overload
from weakref import WeakKeyDictionary

import msgspec

from lash.core.causality import ProcessCauseRef
from lash.core.clock import Clock
from lash.core.durations import Duration, milliseconds
from lash.core.errors import ConflictError, LashError, ReplayError, StepError, WaitError
from lash.core.json import JsonObject, JsonValue, to_json
from lash.core.text import described, key_part
from lash.core.typed import TypedValue, typed_value
from lash.effects import executors
from lash.effects.commands import (
    AwaitEventCommand,
    ProcessEffectCommand,
    RuntimeValueCommand,
    SleepCommand,
)
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import (
    AwaitEventOutcome,
    EffectFailed,
    EffectOutcome,
    ProcessOutcome,
    RuntimeValueOutcome,
)
from lash.effects.process_commands import (
    AwaitProcess,
    CancelProcess,
    ProcessAwaited,
    ProcessCancelled,
    ProcessCommand,
    ProcessEffectOutcome,
    ProcessSignalled,
    ProcessStarted,
    SignalProcess,
    StartProcess,
)
from lash.effects.waits.model import AwaitEventKey, ProcessSignalWait, ResolvedOk
from lash.processes.appending import same_payload
from lash.processes.event_types import WAKE_TYPE, is_signal, is_signal_name
from lash.processes.events import ProcessEvent
from lash.processes.model import ProcessProvenance, ProcessRecord
from lash.processes.outcomes import ObservedOutput, ProcessSuccess
from lash.processes.registration import RegisterRequest, check_process_id, differences
from lash.runtime.processes.branches import Branch, current_branch
from lash.runtime.processes.controlling import GRACE_S, RunController, is_circumstance
from lash.runtime.processes.inbox import SignalInbox
from lash.runtime.processes.refusals import failure_of
from lash.runtime.processes.registry import ProcessRegistry
from lash.runtime.processes.together import Fork, run_all, run_first
from lash.runtime.recorded_code import CodeServices, RecordedCode, wrong_outcome
from lash.runtime.recorded_code import envelope as envelope_of

if TYPE_CHECKING:
    from lash.runtime.processes.function import ProcessFunction

T = TypeVar("T")
R = TypeVar("R")

#: Waits for a signal by what was given out for them: its name, the wait's key, and what it took.
_Signals: TypeAlias = WeakKeyDictionary[
    Coroutine[object, object, object], tuple[str, str, list[ProcessEvent]]
]

#: The processes whose steps are being run here. What a step asks for would be missed on replay.
_RUNNING_STEPS: ContextVar[frozenset[str]] = ContextVar("lash_process_steps", default=frozenset())

_log = logging.getLogger("lash.process")


class ContinueAsNew(BaseException):
    """Raised by `ProcessContext.continue_as_new`. `payload` is what the next segment runs."""

    def __init__(self, payload: JsonValue) -> None:
        super().__init__("the process continues as new")
        self.payload = payload


class RunView(Protocol):
    """What a context needs of the run it belongs to."""

    @property
    def record(self) -> ProcessRecord:
        """The process."""
        ...

    @property
    def scope_id(self) -> str:
        """The id that the segment's effects are recorded under."""
        ...

    @property
    def controller(self) -> RunController:
        """Where effects are executed."""
        ...

    @property
    def inbox(self) -> SignalInbox:
        """Where signals come from."""
        ...

    @property
    def registry(self) -> ProcessRegistry:
        """The processes of the runtime."""
        ...

    @property
    def services(self) -> CodeServices:
        """Time, chance and models."""
        ...

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        ...

    @property
    def fresh(self) -> bool:
        """Whether nothing of the segment can have been recorded before."""
        ...

    async def append(self, event_type: str, payload: JsonValue, replay_key: str) -> ProcessEvent:
        """Append an event of the process's own."""
        ...

    async def register(self, request: RegisterRequest) -> ProcessRecord:
        """Register a child process."""
        ...

    async def signal_key(self, wait: ProcessSignalWait) -> AwaitEventKey:
        """The name of a wait for a signal."""
        ...

    def turn_request(
        self,
        process_id: str,
        *,
        agent: str,
        prompt: str,
        session_id: str | None,
        output: object,
    ) -> RegisterRequest:
        """What registers a turn of an agent as a child process."""
        ...


@dataclass(frozen=True, slots=True)
class TurnAnswer(Generic[T]):
    """What an agent's turn came to that a process asked for.

    Attributes:
        session_id: The session it ran in.
        turn_id: The turn.
        text: Its final answer.
        value: The answer read as what was asked for with `output`; else the text.
    """

    session_id: str
    turn_id: str
    text: str
    value: T


class ChildProcess(Generic[R]):
    """A child of a process, as its parent sees it. What is asked of it is recorded."""

    def __init__(
        self, ctx: "ProcessContext", process_id: str, read: Callable[[JsonValue], R]
    ) -> None:
        self._ctx = ctx
        self._read = read
        self.id = process_id

    def __repr__(self) -> str:
        return f"ChildProcess({self.id!r})"

    def result(self) -> Coroutine[object, object, R]:
        """What the child came to; waits until it ended, and gives its permit back meanwhile.

        Raises:
            ProcessError: It failed (with its own code), or `process_cancelled`, `process_abandoned`,
                `process_no_longer_retained`.
        """
        outcome = self.outcome()

        async def result() -> R:
            ended = await outcome
            if not isinstance(ended, ProcessSuccess):
                raise failure_of(self.id, ended) or LashError(
                    "process_failed", "It did not succeed."
                )
            return self._read(ended.value)

        return result()

    def outcome(self) -> Coroutine[object, object, ObservedOutput]:
        """How the child ended, as a value: success, failure, cancelled, abandoned."""
        return self._ctx._await_child(self.id)  # noqa: SLF001  the child is a part of its parent's context

    def signal(
        self,
        name: str,
        payload: object = None,
        *,
        id: str | None = None,  # noqa: A002  as everywhere
    ) -> Coroutine[object, object, None]:
        """Send the child a signal, once."""
        return self._ctx._signal_child(self.id, name, payload, id)  # noqa: SLF001  as above

    def cancel(self, reason: str | None = None) -> Coroutine[object, object, None]:
        """Ask the child to stop; wait for its result to learn what came of it."""
        return self._ctx._cancel_child(self.id, reason)  # noqa: SLF001  as above


class ProcessContext(RecordedCode):
    """What a process function is given as its first argument.

    Steps, waits, time, chance and models are asked for here, and nowhere else. What is asked for side by
    side is told apart by the order in which it is asked for; work that asks for several things belongs
    into `gather` or `race` (or tasks of its own).

    Attributes:
        id: The process.
        attempt: Which time it is begun, from 1: after a crash it is a later one.
    """

    def __init__(self, run: RunView, function: "ProcessFunction[..., Any] | None" = None) -> None:
        super().__init__(run.services, run.record.process_id)
        self._run = run
        self._function = function
        started = run.record.state.started
        self.attempt = started.attempt if started else 1
        self._root = Branch(run, "", None)
        self._logger = _ReplayAware(_log, run)
        self._signals: _Signals = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"ProcessContext({self.id!r})"

    def begin(self) -> None:
        """The running task runs the process. For engines."""
        self._root.begin()
        self._run.controller.begin()

    async def recall(self) -> None:
        """Read the events that the process appended before: they are not in its journal. For engines."""
        before = f"process:{self._run.scope_id}:event:"
        for declared in self._run.record.registration.event_types:
            if is_signal(declared.name):
                continue
            self._run.controller.replayed.appended(
                [
                    (event.replay_key.removeprefix(before), event)
                    async for event in self._events(declared.name)
                    if event.replay_key is not None and event.replay_key.startswith(before)
                ]
            )

    async def _events(self, event_type: str) -> AsyncIterator[ProcessEvent]:
        store, after = self._run.registry.store, 0
        while True:
            page = await store.process_events(self.id, after=after, event_type=event_type)
            for event in page:
                after = event.sequence
                yield event
            if not page:
                return

    def end(self) -> None:
        """The code has returned. For engines.

        Raises:
            ReplayError: `process_journal_left_over`: it had asked for more before.
            LashError: What the surroundings failed with before. CancelledError: The run is to stop.
        """
        self._run.controller.check()
        self._run.controller.replayed.check("", "The process came to its end")

    async def close(self) -> None:
        """End what the code has left behind: tasks that nobody waits for. For engines."""
        self._run.controller.close()
        left = [task for task in self._root.made_elsewhere if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=GRACE_S)

    @property
    def stopped(self) -> bool:
        """Whether the run is to stop, and the process to go on in a later one. For engines."""
        return self._run.controller.stopped

    @property
    def cancelled(self) -> bool:
        """Whether the process was asked to stop and has been told so (`ProcessCancelledError`)."""
        return self._run.controller.heard or self._run.record.state.segment.told

    @property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger that says nothing while the process is only repeating what it did before."""
        return self._logger

    # --- waiting --------------------------------------------------------------------------------

    def sleep_until(self, when: datetime) -> Coroutine[object, object, None]:
        """Wait until a time, which must carry a time zone; one that is past does not wait.

        Raises:
            LashError: `duration_invalid`.
        """
        given: object = when
        if not isinstance(given, datetime) or given.tzinfo is None:
            raise LashError("duration_invalid", "sleep_until takes a datetime with a time zone.")
        due_ms = round(when.astimezone(UTC).timestamp() * 1000)
        key = self._placed(f"sleep:{self._take('sleep')}")

        async def sleep() -> None:
            # What is asked for is the time, so that is what a changed process is found out by.
            controller, part = self._entered_controller(), f"{key}:until"
            await controller.begin_effect(key, part)
            left = await controller.keep(
                part,
                {"until_ms": due_ms},
                lambda: max(0, due_ms - self._run.clock.now_ms()),
            )
            duration = left if isinstance(left, int) else 0
            await self._execute(key, SleepCommand(duration_ms=duration), executors.sleeping())

        return sleep()

    @overload
    def signal(
        self, name: str, *, timeout: Duration | None = None
    ) -> Coroutine[object, object, Any]: ...

    @overload
    def signal(
        self, name: str, type: type[T], *, timeout: Duration | None = None
    ) -> Coroutine[object, object, T]: ...

    def signal(
        self,
        name: str,
        type: object = None,  # noqa: A002  what it is called where a payload is typed
        *,
        timeout: Duration | None = None,
    ) -> Coroutine[object, object, Any]:
        """The payload of the next signal of a name; waits for one, for months if need be.

        Signals are kept in the order in which they came, also those that came before anybody waited:
        the n-th wait gets the n-th of them. A wait that timed out takes none.

        Args:
            name: Which signal.
            type: How its payload is read; as the process declares it by default, else as JSON.
            timeout: How long, counted from the first time this wait began.

        Raises:
            WaitError: `process_signal_timeout`.
            LashError: `process_signal_name_invalid`, `value_not_of_type`, `duration_invalid`.
        """
        given: object = name
        if not isinstance(given, str) or not is_signal_name(given):
            raise LashError(
                "process_signal_name_invalid",
                f"{name!r} is no name of a signal: use letters, digits, '_' and '-'.",
            )
        reader = self._reader(name, type)
        limit = None if timeout is None else milliseconds(timeout, "The timeout of a signal")
        ordinal = self._take(f"signal:{name}")
        key = self._placed(f"signal:{key_part(name)}:{ordinal}")

        taken: list[ProcessEvent] = []

        async def wait() -> object:
            identity = ProcessSignalWait(process_id=self.id, signal_name=name, ordinal=ordinal)
            command = AwaitEventCommand(key=await self._run.signal_key(identity))
            outcome = await self._wait_for_signal(name, key, command, limit, taken)
            if not isinstance(outcome, ResolvedOk):
                raise WaitError(
                    "process_signal_timeout",
                    f"No signal {name!r} came to process {self.id!r} before the deadline.",
                    name=name,
                )
            signal = msgspec.convert(outcome.payload, _Taken)
            return signal.payload if reader is None else reader.read(signal.payload)

        waiting = wait()
        self._signals[waiting] = (name, key, taken)
        return waiting

    async def _wait_for_signal(
        self,
        name: str,
        key: str,
        command: AwaitEventCommand,
        limit_ms: int | None,
        taken: list[ProcessEvent],
    ) -> object:
        run = self._run

        async def perform() -> EffectOutcome:
            with run.inbox.queueing(name) as place:
                due: int | None = None
                if limit_ms is not None:
                    kept = await run.controller.keep(
                        f"{key}:deadline",
                        {"timeout_ms": limit_ms},
                        lambda: run.clock.now_ms() + limit_ms,
                    )
                    due = kept if isinstance(kept, int) else None
                outcome = await run.inbox.taking(name, place, due, taken)
            await run.controller.came(key)
            return outcome

        try:
            outcome = await self._execute(key, command, executors.signals(perform))
        except BaseException:
            if taken and not await run.controller.is_recorded(key):
                run.inbox.put_back(name, taken.pop())
            raise
        if not isinstance(outcome, AwaitEventOutcome):
            raise wrong_outcome(outcome)
        return outcome.resolution

    def _forget(self, work: object) -> None:
        """What was waited for side by side was given up: if it is a signal, it is the next wait's."""
        known = self._signals.get(work) if inspect.iscoroutine(work) else None
        if known is None:
            return
        name, key, taken = known
        before = self._run.controller.replayed.signal(key)
        if taken:
            self._run.inbox.put_back(name, taken.pop())
        elif before is not None:
            self._run.inbox.release(name, before)

    def _reader(self, name: str, asked: object) -> TypedValue | None:
        if asked is not None:
            return typed_value(asked, f"Signal {name!r}")
        return self._function.signal_reader(name) if self._function else None

    # --- telling --------------------------------------------------------------------------------

    def emit(self, event_type: str, payload: object = None) -> Coroutine[object, object, int]:
        """Append an event of the process's own to its log, once; gives its sequence number.

        Raises:
            LashError: `process_event_undeclared`, `process_event_invalid`, `process_event_reserved`,
                `value_not_json`.
        """
        key = self._placed(f"emit:{self._take('emit')}")
        told = to_json(payload)

        async def emit() -> int:
            controller = self._entered_controller()
            refused = f"{key}:refused"
            known = await controller.replayed_event(key, refused)
            if known is None:
                return (await self._append(key, refused, event_type, told)).sequence
            if known.event_type != event_type or not same_payload(known.payload, told):
                error = ReplayError(
                    "effect_replay_mismatch",
                    f"Process {self.id!r} appended another event here when it ran before "
                    f"({known.event_type!r}): its code changed. Go on with the version that did, or "
                    "begin a new process.",
                    replay_key=key,
                )
                controller.break_off(error)
                raise error
            return known.sequence

        return emit()

    async def _append(
        self, key: str, refused: str, event_type: str, payload: JsonValue
    ) -> ProcessEvent:
        """Append an event, or be refused as it was before."""
        controller = self._run.controller
        why: JsonValue = None
        if not controller.replayed.has(refused):
            try:
                async with controller.at_work():
                    replay_key = f"process:{self._run.scope_id}:event:{key}"
                    return await self._run.append(event_type, payload, replay_key)
            except LashError as error:
                if is_circumstance(error):
                    raise
                why = {"code": str(error.code), "message": error.message}
        asked: JsonValue = {"event_type": event_type, "payload": payload}
        kept = await controller.keep(refused, asked, lambda: why)
        raise _refusal(msgspec.convert(kept, EffectFailed))

    def wake(self, text: str) -> Coroutine[object, object, int]:
        """Tell the session that this process belongs to; it is shown to its agent at the next chance.

        Without such a session the event is kept in the log and nobody is told.

        Raises:
            LashError: `process_event_invalid`: the text is empty.
        """
        return self.emit(WAKE_TYPE.name, {"text": text})

    # --- children -------------------------------------------------------------------------------

    def start(
        self,
        function: "ProcessFunction[..., R]",
        /,
        *args: object,
        id: str | None = None,  # noqa: A002  what the face calls it everywhere
        **keywords: object,
    ) -> Coroutine[object, object, ChildProcess[R]]:
        """Start a child process, once; it goes on although this one ends.

        An `id` of your own names the child; else it is named by this process and the place of the call.
        The child is accountable to whoever this process is, wakes the same session, and may
        be awaited, signalled and cancelled by this process also after a restart.

        Raises:
            ConflictError: `process_conflict`. LashError: `process_arguments_invalid`,
                `value_not_json`, `process_id_invalid`.
        """
        arguments = function.arguments(args, keywords)
        ordinal = self._take("start")
        key = self._placed(f"start:{ordinal}")
        child_id = check_process_id(self._child_id(function.name, key) if id is None else id)
        record = self._run.record.registration
        request = function.registration(
            child_id,
            arguments,
            provenance=self._provenance(),
            wake_session_id=record.wake_session_id,
        )

        async def start() -> ChildProcess[R]:
            await self._start(key, request)
            return ChildProcess(self, child_id, function.read_result)

        return start()

    def run_turn(
        self,
        agent: str,
        prompt: str,
        *,
        session: str | None = None,
        output: object = None,
    ) -> Coroutine[object, object, TurnAnswer[Any]]:
        """Have an agent work on a task in a session, and wait for its answer.

        The turn is a child process of this one, and a turn like any other: it is finished although this
        process dies, and found where it is when this process is run again.

        Args:
            agent: The agent, by name.
            prompt: What it is to do.
            session: The session; one of its own by default. Turns of one session are put one behind the
                other.
            output: What the answer is to be, as for `Session.run`.

        Raises:
            ProcessError: `process_session_turn_failed`: the turn was stopped, or failed.
            ConfigurationError: `agent_unknown`.
        """
        ordinal = self._take("start")
        key = self._placed(f"start:{ordinal}")
        child_id = self._child_id("turn", key)
        request = self._run.turn_request(
            child_id, agent=agent, prompt=prompt, session_id=session, output=output
        )
        outcome_key = self._placed(f"result:{self._take('result')}")
        read = (lambda text: text) if output is None else _output_reader(output)

        async def run() -> TurnAnswer[Any]:
            await self._start(key, request)
            ended = await self._outcome(child_id, outcome_key)
            if not isinstance(ended, ProcessSuccess):
                raise failure_of(child_id, ended) or LashError(
                    "process_failed", "It did not succeed."
                )
            turn = msgspec.convert(ended.value, _TurnValue)
            return TurnAnswer(
                session_id=turn.child_session_id,
                turn_id=turn.turn.turn_id,
                text=turn.turn.text,
                value=read(turn.turn.text),
            )

        return run()

    def _provenance(self) -> ProcessProvenance:
        above = self._run.record.registration.provenance
        return ProcessProvenance(
            originator=above.originator,
            caused_by=ProcessCauseRef(process_id=self.id),
            parent_id=self.id,
        )

    def _child_id(self, name: str, key: str) -> str:
        """A child's name, by its parent and the place of the call; the same every time."""
        scope = self._run.scope_id.replace("#", "~")
        place = key.replace("start:", "").replace("#", "~")
        return f"{scope}/{name.replace('#', '~')}:{place}"

    async def _start(self, key: str, request: RegisterRequest) -> None:
        registration = request.registration
        asked: JsonObject = {
            "input": msgspec.to_builtins(registration.input),
            "disposition": registration.disposition,
        }

        async def perform(_: RuntimeEffectEnvelope) -> EffectOutcome:
            record = await self._run.register(request)
            stood = differences(record.registration, registration)
            started: JsonObject = {"process_id": record.process_id, "differs": list(stood)}
            return ProcessOutcome(result=ProcessStarted(record=started))

        command = StartProcess(process_id=registration.process_id, registration=asked)
        await self._command(key, command, perform, ProcessStarted)

    def _await_child(self, process_id: str) -> Coroutine[object, object, ObservedOutput]:
        return self._outcome(process_id, self._placed(f"result:{self._take('result')}"))

    async def _outcome(self, process_id: str, key: str) -> ObservedOutput:
        async def perform(_: RuntimeEffectEnvelope) -> EffectOutcome:
            ended = await self._run.registry.outcome(process_id)
            await self._run.controller.came(key)
            return ProcessOutcome(result=ProcessAwaited(output=msgspec.to_builtins(ended)))

        command = AwaitProcess(process_id=process_id)
        result = await self._command(key, command, perform, ProcessAwaited)
        ended: ObservedOutput = msgspec.convert(result.output, ObservedOutput)
        return ended

    def _signal_child(
        self, process_id: str, name: str, payload: object, signal_id: str | None
    ) -> Coroutine[object, object, None]:
        key = self._placed(f"tell:{self._take('tell')}")
        chosen = signal_id if signal_id is not None else f"{self._run.scope_id}:{key}"
        told = to_json(payload)

        async def perform(_: RuntimeEffectEnvelope) -> EffectOutcome:
            event = await self._run.registry.signal(process_id, name, told, chosen)
            return ProcessOutcome(result=ProcessSignalled(event={"sequence": event.sequence}))

        async def signal() -> None:
            command = SignalProcess(
                process_id=process_id, signal_name=name, signal_id=chosen, request=told
            )
            await self._command(key, command, perform, ProcessSignalled)

        return signal()

    def _cancel_child(self, process_id: str, reason: str | None) -> Coroutine[object, object, None]:
        key = self._placed(f"tell:{self._take('tell')}")

        async def perform(_: RuntimeEffectEnvelope) -> EffectOutcome:
            record = await self._run.registry.cancel(process_id, reason)
            return ProcessOutcome(result=ProcessCancelled(record={"status": record.status}))

        async def cancel() -> None:
            command = CancelProcess(process_id=process_id, reason=reason)
            await self._command(key, command, perform, ProcessCancelled)

        return cancel()

    async def _command(
        self,
        key: str,
        command: ProcessCommand,
        perform: executors.PerformEnvelope,
        kind: type[T],
    ) -> T:
        async def recorded(envelope: RuntimeEffectEnvelope) -> EffectOutcome:
            try:
                return await perform(envelope)
            except LashError as error:
                if is_circumstance(error):
                    raise
                # It may be caught, so what follows depends on it: it is recorded like any outcome.
                return EffectFailed(code=str(error.code), message=error.message)

        outcome = await self._entered().execute(
            envelope_of(key, ProcessEffectCommand(command=command)), executors.processes(recorded)
        )
        if isinstance(outcome, EffectFailed):
            raise _refusal(outcome)
        result: ProcessEffectOutcome | None = (
            outcome.result if isinstance(outcome, ProcessOutcome) else None
        )
        if not isinstance(result, kind):
            raise wrong_outcome(outcome)
        return result

    # --- side by side ---------------------------------------------------------------------------

    def gather(self, *work: Awaitable[T]) -> Coroutine[object, object, list[T]]:
        """What all of several come to, in order. The first that fails ends the others.

        Each is a branch with effects of its own, so that a replay finds them in whatever order they
        came to an end before.
        """
        fork = self._fork()

        async def gather() -> list[T]:
            return await run_all(self._entered_fork(fork, len(work)), work)

        return gather()

    def race(self, *work: Awaitable[T]) -> Coroutine[object, object, tuple[int, T]]:
        """Which of several came first, and what it came to; the others are given up.

        Which it was is recorded, so that a replay follows the same one.
        """
        fork = self._fork()

        async def race() -> tuple[int, T]:
            return await run_first(self._entered_fork(fork, len(work)), work)

        return race()

    def _fork(self) -> Fork:
        branch, ordinal = self._branch(), self._take("settled")
        name, key = f"g{ordinal}", self._placed(f"settled:{ordinal}")

        async def settle(index: int) -> None:
            await self._settle(key, index)

        return Fork(
            branch=branch,
            name=name,
            decided=self._run.controller.replayed.settled(key),
            settle=settle,
            ended=self._branch_ended,
            forget=self._forget,
        )

    def _entered_fork(self, fork: Fork, count: int) -> Fork:
        """Begin to go on in several branches; only in the one that decided, if one did."""
        controller = self._entered_controller()
        controller.check()
        if fork.decided is None:
            return fork
        if fork.decided >= count:
            error = ReplayError(
                "effect_replay_mismatch",
                f"The journal says that branch {fork.decided} of {fork.name} decided, and there are "
                f"only {count}: the code of the process changed.",
            )
            controller.break_off(error)
            raise error
        self._let_go(fork.branch, fork.name, fork.decided)
        return fork

    def _branch_ended(self, branch: Branch) -> None:
        controller = self._run.controller
        try:
            controller.replayed.check(branch.path, f"Branch {branch.path!r} came to its end")
        except ReplayError as error:
            controller.break_off(error)
            raise

    def _let_go(self, branch: Branch, name: str, decided: int) -> None:
        """Nobody asks again for what the branches recorded that did not decide."""
        kept = f"{branch.path}&{name}.{decided}"
        self._run.controller.replayed.drop_branches(f"{branch.path}&{name}.", kept)

    async def _settle(self, key: str, index: int) -> None:
        async def perform() -> EffectOutcome:
            return RuntimeValueOutcome(value=index)

        command = RuntimeValueCommand(operation="settled")
        outcome = await self._execute(key, command, executors.runtime_value(perform))
        if not isinstance(outcome, RuntimeValueOutcome):
            raise wrong_outcome(outcome)

    # --- going on -------------------------------------------------------------------------------

    def continue_as_new(self, *args: object, **keywords: object) -> NoReturn:
        """End this run of the function and go on with another one, under the same id.

        What was recorded so far is needed no more, so a process may go on for ever this way. Signals
        that were not taken stay for the next run; handles and whoever waits notice nothing.

        Raises:
            LashError: `process_arguments_invalid`, `process_context_misused`.
        """
        branch = self._branch()
        if branch.path or self._function is None:
            raise _misused(
                self.id, "continue_as_new was called in a branch, not by the process itself"
            )
        payload: JsonObject = {
            "name": self._function.name,
            "version": self._function.version,
            "args": self._function.arguments(args, keywords),
        }
        raise ContinueAsNew(payload)

    # --- small things ---------------------------------------------------------------------------

    def _branch(self) -> Branch:
        if self.id in _RUNNING_STEPS.get():
            raise _misused(
                self.id,
                "a step asked for an effect of its own process. On replay the step does not run, so the "
                "effect would be missed: ask for it outside the step",
            )
        branch = current_branch()
        if branch is None or branch.owner is not self._run:
            raise _misused(self.id, "it was used outside of the run of its process")
        return branch

    def _take(self, lane: str) -> int:
        return self._branch().ordinals.take(lane)

    def _placed(self, key: str) -> str:
        placed = self._branch().key(key)
        self._run.controller.replayed.taken(placed)
        return placed

    def _entered(self) -> RunController:
        return self._entered_controller()

    def _entered_controller(self) -> RunController:
        self._branch()
        return self._run.controller

    def _outside(self, call: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        async def run() -> object:
            token = _RUNNING_STEPS.set(_RUNNING_STEPS.get() | {self.id})
            try:
                return await call()
            except BaseException as error:
                if isinstance(error, _NOT_A_STEPS):
                    raise
                # A task that lets it through takes the whole loop down, at every start anew.
                raise StepError(described(error)) from error
            finally:
                _RUNNING_STEPS.reset(token)

        return run


class _Taken(msgspec.Struct):
    """A signal as it is recorded by the wait that took it."""

    sequence: int
    payload: Any = None


class _Turn(msgspec.Struct):
    """A turn as the end of its process tells of it."""

    turn_id: str
    text: str = ""


class _TurnValue(msgspec.Struct):
    """What a process came to that stood for a turn."""

    child_session_id: str
    turn: _Turn


def _output_reader(output: object) -> Callable[[str], object]:
    from lash.llm.direct import output_contract

    return output_contract(output).read


#: What passes through a step. The rest of what is no `Exception`, such as `SystemExit`, is its failure.
_NOT_A_STEPS = (Exception, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)


def _refusal(failed: EffectFailed) -> LashError:
    """The error of what was refused, now or when it was asked for first."""
    kind = ConflictError if failed.code.endswith("_conflict") else LashError
    return kind(failed.code, failed.message)


def _misused(process_id: str, why: str) -> LashError:
    return LashError(
        "process_context_misused",
        f"The context of process {process_id!r} was misused: {why}.",
        process_id=process_id,
    )


class _ReplayAware(logging.LoggerAdapter[logging.Logger]):
    """Says nothing while a process repeats what it did before."""

    def __init__(self, logger: logging.Logger, run: RunView) -> None:
        super().__init__(logger, {"process_id": run.record.process_id})
        self._run = run

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  logging's own name
        """Whether a line of this level would be written now."""
        return not self._run.controller.replayed.replaying and super().isEnabledFor(level)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Say whose line it is."""
        return f"[{self._run.record.process_id}] {msg}", kwargs
