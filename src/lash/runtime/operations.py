"""Operations: host code whose effects are recorded under a name of the host's own.

An operation is entered again with the same id after a crash, and goes on behind what it recorded. It
holds no lease: of two processes that run it at once, the first to record an effect wins.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from lash.core.durations import Duration, milliseconds
from lash.core.errors import LashError, WaitError
from lash.core.json import JsonValue
from lash.core.text import is_utf8
from lash.effects import executors, keys
from lash.effects.commands import AwaitEventCommand, PeekAwaitEventCommand
from lash.effects.controller import EffectController
from lash.effects.keys import Ordinals
from lash.effects.outcomes import AwaitEventOutcome, PeekAwaitEventOutcome
from lash.effects.waits.model import (
    AwaitEventKey,
    CustomWait,
    Resolution,
    ResolvedCancelled,
    ResolvedErr,
    ResolvedOk,
    ResolvedTimeout,
)
from lash.runtime.open_operations import OpenOperations
from lash.runtime.recorded_code import RecordedCode, wrong_outcome

#: The operations whose steps are being run here. An effect asked for in there would be skipped with
#: the step when it is replayed, and what comes after it would be taken for it.
_RUNNING_STEPS: ContextVar[frozenset[str]] = ContextVar("lash_running_steps", default=frozenset())


class Operation(RecordedCode):
    """One named piece of host code. Use it as `async with runtime.operation(id) as op`.

    Leaving the block without an exception says that the work is done: its records may then be removed
    by retention. Until they are, running it again gives the recorded outcomes.
    """

    def __init__(self, host: OpenOperations, operation_id: str) -> None:
        super().__init__(host, operation_id)
        self._host = host
        self._ordinals = Ordinals()
        self._controller: EffectController | None = None
        self._used = False

    def __repr__(self) -> str:
        return f"Operation({self.id!r})"

    async def __aenter__(self) -> Self:
        if self._used:
            # Its steps would be counted on, and not be found again.
            raise LashError(
                "operation_not_entered",
                f"Operation {self.id!r} is entered once; ask for another: "
                "`async with runtime.operation(…) as op`.",
            )
        self._refuse_inside_steps()
        self._used = True  # before anything is awaited: it may be entered twice at once
        self._controller = await self._host.enter_operation(self.id)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._controller = None
        await self._host.leave_operation(self.id, finished=error is None)

    # --- waits ------------------------------------------------------------------------------------

    async def key(self, name: str) -> AwaitEventKey:
        """The key by which the outside resolves what `wait(name)` waits for.

        Raises:
            LashError: `durable_effect_empty_event_key`, `operation_not_entered`.
        """
        _check_event(name)
        scope = self._entered().scope
        return await self._host.effects.await_event_key(scope, CustomWait(key=name))

    def wait(
        self, name: str, *, timeout: Duration | None = None
    ) -> Coroutine[object, object, JsonValue]:
        """Wait until the outside resolves `name`, and give what it was resolved with.

        A name is resolved once: waiting for it again gives the same answer.

        Args:
            name: What is waited for.
            timeout: How long, counted from the first time this wait began.

        Raises:
            WaitError: `durable_effect_event_timeout`, `durable_effect_event_cancelled`, or the code
                the outside gave.
            LashError: `durable_effect_empty_event_key`, `operation_not_entered`, `duration_invalid`.
        """
        _check_event(name)
        limit = None if timeout is None else milliseconds(timeout, "The timeout of a wait")
        key = keys.wait_key(name, self._take(f"wait:{name}"))

        async def wait() -> JsonValue:
            command = AwaitEventCommand(key=await self.key(name))
            due = None if limit is None else self._host.clock.now_ms() + limit
            waiting = executors.awaiting(deadline_at_ms=due)
            outcome = await self._execute(key, command, waiting)
            if not isinstance(outcome, AwaitEventOutcome):
                raise wrong_outcome(outcome)
            return _payload(name, outcome.resolution)

        return wait()

    def peek(self, name: str) -> Coroutine[object, object, Resolution | None]:
        """How `name` stands now, without waiting; recorded, because it steers what follows.

        Raises:
            LashError: `durable_effect_empty_event_key`, `operation_not_entered`.
        """
        _check_event(name)
        key = keys.peek_key(name, self._take(f"peek:{name}"))

        async def peek() -> Resolution | None:
            command = PeekAwaitEventCommand(key=await self.key(name))
            outcome = await self._execute(key, command, executors.awaiting())
            if not isinstance(outcome, PeekAwaitEventOutcome):
                raise wrong_outcome(outcome)
            return outcome.resolution

        return peek()

    # --- small things -----------------------------------------------------------------------------

    def _take(self, lane: str) -> int:
        """The next ordinal of a lane, for whoever is in the operation."""
        self._entered()
        return self._ordinals.take(lane)

    def _refuse_inside_steps(self) -> None:
        if self.id in _RUNNING_STEPS.get():
            raise LashError(
                "operation_nested",
                f"A step of operation {self.id!r} asked for an effect of that operation. On replay the "
                "step does not run, so the effect would be missed: ask for it outside the step.",
                operation_id=self.id,
            )

    def _outside(self, call: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        """The step's code, which must not ask for effects of the operation it is a step of."""

        async def run() -> object:
            token = _RUNNING_STEPS.set(_RUNNING_STEPS.get() | {self.id})
            try:
                return await call()
            finally:
                _RUNNING_STEPS.reset(token)

        return run

    def _entered(self) -> EffectController:
        if self._controller is None:
            raise LashError(
                "operation_not_entered",
                f"Use operation {self.id!r} inside `async with runtime.operation(…) as op`.",
            )
        self._refuse_inside_steps()
        return self._controller


def _check_event(name: object) -> None:
    if not isinstance(name, str) or not name.strip() or not is_utf8(name):
        raise LashError(
            "durable_effect_empty_event_key",
            "What is waited for needs a name: text that is not blank and that UTF-8 can carry.",
        )


def _payload(name: str, resolution: Resolution) -> JsonValue:
    match resolution:
        case ResolvedOk(payload=payload):
            return payload
        case ResolvedErr(payload=error):
            raise WaitError(error.code, error.message, name=name)
        case ResolvedTimeout():
            raise WaitError(
                "durable_effect_event_timeout",
                f"Nobody resolved {name!r} before its deadline.",
                name=name,
            )
        case ResolvedCancelled():
            raise WaitError(
                "durable_effect_event_cancelled", f"The wait for {name!r} was cancelled.", name=name
            )
