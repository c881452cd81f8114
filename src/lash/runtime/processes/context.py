"""What the code of a process may ask for: everything that is not the same every time.

Each effect is executed once and recorded; a process that is run again is answered from its journal.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from lash.core.durations import Duration
from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue
from lash.core.typed import TypedValue, typed_value
from lash.effects import executors
from lash.effects.commands import SleepCommand
from lash.processes.event_types import WAKE_TYPE
from lash.processes.registration import RegisterRequest, child_provenance
from lash.runtime.processes.attachments import ProcessAttachments
from lash.runtime.processes.child import ChildProcess, ProcessChildren, TurnAnswer
from lash.runtime.processes.code import ProcessCode, RunView, misused
from lash.runtime.processes.controlling import GRACE_S, RunController
from lash.runtime.processes.forking import Forks
from lash.runtime.processes.own_events import OwnEvents
from lash.runtime.processes.signal_waits import SignalWaits, check_signal_name
from lash.runtime.recorded_code import RecordedCode

if TYPE_CHECKING:
    from lash.runtime.processes.function import ProcessFunction

T = TypeVar("T")
R = TypeVar("R")

_log = logging.getLogger("lash.process")


class ContinueAsNew(BaseException):
    """Raised by `ProcessContext.continue_as_new`. `payload` is what the next segment runs."""

    def __init__(self, payload: JsonValue) -> None:
        super().__init__("the process continues as new")
        self.payload = payload


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
        self._code = code = ProcessCode(run)
        self._run = run
        self._function = function
        self._children = ProcessChildren(code)
        self._events = OwnEvents(code)
        self._signals = SignalWaits(code)
        self._attachments = ProcessAttachments(code, lambda: run.attachments)
        self._forks = Forks(code, self._signals.forget)
        self._logger = _ReplayAware(_log, run)
        started = run.record.state.started
        self.attempt = started.attempt if started else 1

    def __repr__(self) -> str:
        return f"ProcessContext({self.id!r})"

    def begin(self) -> None:
        """The running task runs the process. For engines."""
        self._code.root.begin()
        self._run.controller.begin()

    async def recall(self) -> None:
        """Read the events that the process appended before: they are not in its journal. For engines."""
        await self._events.recall()

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
        left = [
            task for task in self._code.root.made_elsewhere if task is not asyncio.current_task()
        ]
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

    @property
    def attachments(self) -> ProcessAttachments:
        """Files and pictures of the process. What it puts stays until the process is pruned.

        chart = await ctx.attachments.put(png, label="chart.png")     # recorded: a reference
        picture = (await ctx.attachments.get(chart.id)).data          # read, on every run
        """
        return self._attachments

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
        key = self._code.next_key("sleep")

        async def sleep() -> None:
            # What is asked for is the time, so that is what a changed process is found out by.
            controller, part = self._code.controller(), f"{key}:until"
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
        return self._signals.next(check_signal_name(name), self._reader(name, type), timeout)

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
        return self._events.emit(event_type, payload)

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

        def request(child_id: str) -> RegisterRequest:
            record = self._run.record
            return function.registration(
                child_id,
                arguments,
                provenance=child_provenance(record),
                wake_session_id=record.registration.wake_session_id,
            )

        return self._children.start(function.name, id, request, function.read_result)

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
        return self._children.run_turn(agent, prompt, session, output)

    # --- side by side ---------------------------------------------------------------------------

    def gather(self, *work: Awaitable[T]) -> Coroutine[object, object, list[T]]:
        """What all of several come to, in order. The first that fails ends the others.

        Each is a branch with effects of its own, so that a replay finds them in whatever order they
        came to an end before.
        """
        return self._forks.gather(work)

    def race(self, *work: Awaitable[T]) -> Coroutine[object, object, tuple[int, T]]:
        """Which of several came first, and what it came to; the others are given up.

        Which it was is recorded, so that a replay follows the same one.
        """
        return self._forks.race(work)

    # --- going on -------------------------------------------------------------------------------

    def continue_as_new(self, *args: object, **keywords: object) -> NoReturn:
        """End this run of the function and go on with another one, under the same id.

        What was recorded so far is needed no more, so a process may go on for ever this way. Signals
        that were not taken stay for the next run; handles and whoever waits notice nothing.

        Raises:
            LashError: `process_arguments_invalid`, `process_context_misused`.
        """
        branch = self._code.branch()
        if branch.path or self._function is None:
            raise misused(
                self.id, "continue_as_new was called in a branch, not by the process itself"
            )
        payload: JsonObject = {
            "name": self._function.name,
            "version": self._function.version,
            "args": self._function.arguments(args, keywords),
        }
        raise ContinueAsNew(payload)

    # --- what recorded code asks of it --------------------------------------------------------------

    def _take(self, lane: str) -> int:
        return self._code.take(lane)

    def _placed(self, key: str) -> str:
        return self._code.placed(key)

    def _entered(self) -> RunController:
        return self._code.controller()

    def _outside(self, call: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        return self._code.outside(call)


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
