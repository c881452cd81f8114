"""Operations: host code whose effects are recorded under a name of the host's own.

An operation is entered again with the same id after a crash, and goes on behind what it recorded. It
holds no lease: of two processes that run it at once, the first to record an effect wins.
"""

import uuid
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar, overload

from lash.core.causality import scope_effect
from lash.core.durations import Duration, milliseconds
from lash.core.errors import LashError, WaitError
from lash.core.json import JsonObject, JsonValue
from lash.core.text import is_utf8
from lash.effects import executors, keys
from lash.effects.commands import (
    AwaitEventCommand,
    DirectCommand,
    EffectCommand,
    PeekAwaitEventCommand,
    RuntimeValueCommand,
    RuntimeValueOperation,
    SleepCommand,
    command_kind,
)
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.keys import Ordinals
from lash.effects.outcomes import (
    AwaitEventOutcome,
    DirectOutcome,
    EffectFailed,
    EffectOutcome,
    PeekAwaitEventOutcome,
    RuntimeValueOutcome,
)
from lash.effects.waits.model import (
    AwaitEventKey,
    CustomWait,
    Resolution,
    ResolvedCancelled,
    ResolvedErr,
    ResolvedOk,
    ResolvedTimeout,
)
from lash.llm.direct import (
    DirectResult,
    check_text,
    direct_request,
    output_contract,
    request_name,
)
from lash.llm.request import LlmScope
from lash.runtime.direct import complete, result_of
from lash.runtime.open_operations import OpenOperations
from lash.runtime.readings import Reading, fraction, fresh_uuid, moment, read_uuid
from lash.runtime.steps import (
    ONCE,
    Step,
    StepRetry,
    call_of,
    given_to,
    run_step,
    step_function,
    step_name,
)

T = TypeVar("T")

#: The operations whose steps are being run here. An effect asked for in there would be skipped with
#: the step when it is replayed, and what comes after it would be taken for it.
_RUNNING_STEPS: ContextVar[frozenset[str]] = ContextVar("lash_running_steps", default=frozenset())


class Operation:
    """One named piece of host code. Use it as `async with runtime.operation(id) as op`.

    Leaving the block without an exception says that the work is done: its records may then be removed
    by retention. Until they are, running it again gives the recorded outcomes.
    """

    def __init__(self, host: OpenOperations, operation_id: str) -> None:
        self._host = host
        self._ordinals = Ordinals()
        self._controller: EffectController | None = None
        self._used = False
        self.id = operation_id

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

    # --- steps ----------------------------------------------------------------------------------

    @overload
    def step(
        self,
        function: Callable[..., Awaitable[T]],
        /,
        *args: object,
        name: str | None = None,
        retry: StepRetry | None = None,
        timeout: Duration | None = None,
        **keywords: object,
    ) -> Coroutine[object, object, T]: ...

    @overload
    def step(
        self,
        function: Callable[..., T],
        /,
        *args: object,
        name: str | None = None,
        retry: StepRetry | None = None,
        timeout: Duration | None = None,
        **keywords: object,
    ) -> Coroutine[object, object, T]: ...

    def step(
        self,
        function: Callable[..., object],
        /,
        *args: object,
        name: str | None = None,
        retry: StepRetry | None = None,
        timeout: Duration | None = None,
        **keywords: object,
    ) -> Coroutine[object, object, object]:
        """Run a function once and record its value, or give the recorded one.

        Steps of one name are told apart by the order in which they are asked for, so they may run side
        by side. Plain functions run in a thread. The value must have a JSON form; it is read as the
        function's return annotation says, on the first run as on every later one.

        Args:
            function: What to run.
            *args: What it is called with.
            name: What the step is called; the function's own name by default.
            retry: How often it is run again when it raises; once by default.
            timeout: How long one attempt may take.
            **keywords: What it is called with, by name.

        Raises:
            StepError: `durable_step_failed` once no attempt is left, and on every later run.
            ReplayError: `effect_replay_mismatch` when it was recorded with other arguments.
            LashError: `durable_effect_empty_step_id`, `operation_not_entered`.
        """
        known = step_function(function)
        called = step_name(known, name)
        step: Step[object] = Step(
            key=keys.step_key(called, self._take(f"step:{called}")),
            name=called,
            call=self._outside(call_of(function, args, keywords, is_async=known.is_async)),
            given=given_to(args, keywords),
            result=known.result,
            retry=retry or ONCE,
            timeout_s=None
            if timeout is None
            else milliseconds(timeout, "The timeout of a step") / 1000,
        )

        async def run() -> object:
            return await run_step(self._entered(), step)

        return run()

    # --- time, waits, chance ----------------------------------------------------------------------
    # Which is which is decided when they are asked for, not when they begin: some ways to await many
    # at once begin them in any order.

    def sleep(self, duration: Duration) -> Coroutine[object, object, None]:
        """Wait. The due time is fixed the first time, so a restart does not begin the wait again.

        Raises:
            ConfigurationError: `duration_invalid`.
            LashError: `operation_not_entered`.
        """
        command = SleepCommand(duration_ms=milliseconds(duration, "sleep"))
        key = keys.sleep_key(self._take("sleep"))

        async def sleep() -> None:
            await self._execute(key, command, executors.sleeping())

        return sleep()

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
                raise _wrong(outcome)
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
                raise _wrong(outcome)
            return outcome.resolution

        return peek()

    def now(self) -> Coroutine[object, object, datetime]:
        """The time as it was when it was first asked for, in UTC."""
        return self._value("now", self._host.clock.now_ms, moment)

    def random(self) -> Coroutine[object, object, float]:
        """A number in [0, 1); the same on every run."""
        return self._value("random", lambda: fraction(self._host.ids), float)

    def uuid(self) -> Coroutine[object, object, uuid.UUID]:
        """A fresh UUID; the same on every run."""
        return self._value("uuid", lambda: fresh_uuid(self._host.ids), read_uuid)

    def _value(
        self,
        operation: RuntimeValueOperation,
        draw: Callable[[], Reading],
        read: Callable[[Reading], T],
    ) -> Coroutine[object, object, T]:
        key = keys.value_key(operation, self._take(f"value:{operation}"))

        async def perform() -> EffectOutcome:
            return RuntimeValueOutcome(value=draw())

        async def value() -> T:
            command = RuntimeValueCommand(operation=operation)
            outcome = await self._execute(key, command, executors.runtime_value(perform))
            if not isinstance(outcome, RuntimeValueOutcome):
                raise _wrong(outcome)
            return read(outcome.value)

        return value()

    # --- models -----------------------------------------------------------------------------------

    @overload
    def direct(
        self,
        prompt: str,
        *,
        model: object = None,
        instructions: str = "",
        key: str | None = None,
        usage_source: str = "direct",
    ) -> Coroutine[object, object, DirectResult[str]]: ...

    @overload
    def direct(
        self,
        prompt: str,
        *,
        output: type[T],
        model: object = None,
        instructions: str = "",
        key: str | None = None,
        usage_source: str = "direct",
    ) -> Coroutine[object, object, DirectResult[T]]: ...

    @overload
    def direct(
        self,
        prompt: str,
        *,
        output: JsonObject,
        model: object = None,
        instructions: str = "",
        key: str | None = None,
        usage_source: str = "direct",
    ) -> Coroutine[object, object, DirectResult[JsonValue]]: ...

    def direct(
        self,
        prompt: str,
        *,
        output: object = None,
        model: object = None,
        instructions: str = "",
        key: str | None = None,
        usage_source: str = "direct",
    ) -> Coroutine[object, object, DirectResult[object]]:
        """Ask a model once and record its answer, or give the recorded one.

        Args:
            prompt: What to ask.
            output: None for text, `dict` for any JSON object, a type, or a JSON schema.
            model: Which model; the runtime's only agent's by default.
            instructions: The system prompt.
            key: Your own name for the request: asked again under it, the same answer is given.
                Without one, requests are told apart by the order in which they are asked for.
            usage_source: In whose name the tokens are booked.

        Raises:
            DirectError: `direct_failed`, `invalid_structured_output`.
            ConfigurationError: `direct_request_invalid`, and what resolving the model raises.
        """
        return self.ask(
            prompt,
            output=output,
            model=model,
            instructions=instructions,
            key=key,
            usage_source=usage_source,
        )

    def ask(
        self,
        prompt: str,
        *,
        output: object,
        model: object,
        instructions: str,
        key: str | None,
        usage_source: str,
        keep_failures: bool = True,
    ) -> Coroutine[object, object, DirectResult[object]]:
        """`direct` for callers who pass on an output they do not know the type of.

        Without `keep_failures` a model that did not answer may be asked again under the same key.
        """
        check_text(usage_source, "The usage source")
        if key is not None:
            check_text(key, "The key")
        ordinal = 0 if key is not None else self._take(f"direct:{usage_source}")
        replay_key = keys.direct_key(usage_source, request=key, ordinal=ordinal)
        contract = output_contract(output)
        bound = self._host.resolve_model(model)
        request = direct_request(
            prompt,
            model=bound.spec,
            instructions=instructions,
            output=contract.spec,
            scope=LlmScope(
                session_id=self.id, request_id=request_name(self.id, usage_source, replay_key)
            ),
        )

        async def perform() -> EffectOutcome:
            outcome = await complete(request, bound, self._host.clock, usage_source)
            if outcome.response is None and not keep_failures:
                result_of(contract, outcome)  # raises: an error of lash is not recorded
            return outcome

        async def ask() -> DirectResult[object]:
            command = DirectCommand(request=request, usage_source=usage_source)
            outcome = await self._execute(replay_key, command, executors.direct(perform))
            if not isinstance(outcome, DirectOutcome):
                raise _wrong(outcome)
            return result_of(contract, outcome)

        return ask()

    # --- small things -----------------------------------------------------------------------------

    async def _execute(
        self, key: str, command: EffectCommand, executor: LocalExecutor
    ) -> EffectOutcome:
        outcome = await self._entered().execute(_envelope(key, command), executor)
        if isinstance(outcome, EffectFailed):
            raise _wrong(outcome)
        return outcome

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


def _envelope(key: str, command: EffectCommand) -> RuntimeEffectEnvelope:
    return RuntimeEffectEnvelope(
        invocation=scope_effect(kind=command_kind(command), key=key), command=command
    )


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


def _wrong(outcome: EffectOutcome) -> LashError:
    if isinstance(outcome, EffectFailed):
        return LashError(outcome.code, outcome.message)
    return LashError(
        "runtime_effect_wrong_outcome",
        "The journal holds an outcome of another kind under this key.",
    )
