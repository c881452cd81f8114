"""Recorded code: the effects that plain Python may ask for, each executed once and then replayed.

Operations and processes are such code. Which effect is which is decided when it is asked for, not when
it begins: some ways to await many at once begin them in any order.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar, overload

from lash.core.causality import scope_effect
from lash.core.clock import Clock, IdSource
from lash.core.durations import Duration, milliseconds
from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue
from lash.effects import executors, keys
from lash.effects.commands import (
    DirectCommand,
    EffectCommand,
    RuntimeValueCommand,
    RuntimeValueOperation,
    SleepCommand,
    command_kind,
)
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.outcomes import (
    DirectOutcome,
    EffectFailed,
    EffectOutcome,
    RuntimeValueOutcome,
)
from lash.llm.direct import (
    DirectResult,
    check_text,
    direct_request,
    output_contract,
    request_name,
)
from lash.llm.request import LlmScope
from lash.runtime.direct import ResolveModel, complete, result_of
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

if TYPE_CHECKING:
    from lash.runtime.triggers.recorded import RecordedTriggers

T = TypeVar("T")


class CodeServices(Protocol):
    """What recorded code needs of the runtime it runs in."""

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        ...

    @property
    def ids(self) -> IdSource:
        """Where chance comes from."""
        ...

    @property
    def resolve_model(self) -> ResolveModel:
        """Finds the model a caller names."""
        ...

    def triggers_of(
        self, place: Callable[[str], str], entered: Callable[[], EffectController]
    ) -> "RecordedTriggers":
        """The triggers of code that finds the keys and the controller of its effects like this."""
        ...


class RecordedCode(ABC):
    """What operations and processes may ask for alike."""

    def __init__(self, services: CodeServices, name: str) -> None:
        self._services = services
        self.id = name

    @abstractmethod
    def _take(self, lane: str) -> int:
        """The next ordinal of a lane, for whoever may ask for effects now."""

    @abstractmethod
    def _entered(self) -> EffectController:
        """Where effects are executed, for whoever may ask for them now."""

    @abstractmethod
    def _outside(self, call: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        """A step's code, which must not ask for effects of the code it is a step of."""

    def _placed(self, key: str) -> str:
        """The replay key of an effect that is asked for here."""
        return key

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
            key=self._placed(keys.step_key(called, self._take(f"step:{called}"))),
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

    # --- time and chance ---------------------------------------------------------------------------

    def sleep(self, duration: Duration) -> Coroutine[object, object, None]:
        """Wait. The due time is fixed the first time, so a restart does not begin the wait again.

        Raises:
            ConfigurationError: `duration_invalid`.
            LashError: `operation_not_entered`.
        """
        command = SleepCommand(duration_ms=milliseconds(duration, "sleep"))
        key = self._placed(keys.sleep_key(self._take("sleep")))

        async def sleep() -> None:
            await self._execute(key, command, executors.sleeping())

        return sleep()

    def now(self) -> Coroutine[object, object, datetime]:
        """The time as it was when it was first asked for, in UTC."""
        return self._value("now", self._services.clock.now_ms, moment)

    def random(self) -> Coroutine[object, object, float]:
        """A number in [0, 1); the same on every run."""
        return self._value("random", lambda: fraction(self._services.ids), float)

    def uuid(self) -> Coroutine[object, object, uuid.UUID]:
        """A fresh UUID; the same on every run."""
        return self._value("uuid", lambda: fresh_uuid(self._services.ids), read_uuid)

    def _value(
        self,
        operation: RuntimeValueOperation,
        draw: Callable[[], Reading],
        read: Callable[[Reading], T],
    ) -> Coroutine[object, object, T]:
        key = self._placed(keys.value_key(operation, self._take(f"value:{operation}")))

        async def perform() -> EffectOutcome:
            return RuntimeValueOutcome(value=draw())

        async def value() -> T:
            command = RuntimeValueCommand(operation=operation)
            outcome = await self._execute(key, command, executors.runtime_value(perform))
            if not isinstance(outcome, RuntimeValueOutcome):
                raise wrong_outcome(outcome)
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
        replay_key = self._placed(keys.direct_key(usage_source, request=key, ordinal=ordinal))
        contract = output_contract(output)
        bound = self._services.resolve_model(model)
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
            outcome = await complete(request, bound, self._services.clock, usage_source)
            if outcome.response is None and not keep_failures:
                result_of(contract, outcome)  # raises: an error of lash is not recorded
            return outcome

        async def ask() -> DirectResult[object]:
            command = DirectCommand(request=request, usage_source=usage_source)
            outcome = await self._execute(replay_key, command, executors.direct(perform))
            if not isinstance(outcome, DirectOutcome):
                raise wrong_outcome(outcome)
            return result_of(contract, outcome)

        return ask()

    # --- triggers ---------------------------------------------------------------------------------

    @property
    def triggers(self) -> "RecordedTriggers":
        """Events and subscriptions: `await ctx.triggers.emit("order.paid", {"id": "o-7"})`."""

        def place(operation: str) -> str:
            ordinal = self._take(f"trigger:{operation}")
            return self._placed(keys.trigger_key(operation, ordinal))

        return self._services.triggers_of(place, self._entered)

    # --- small things -----------------------------------------------------------------------------

    async def _execute(
        self, key: str, command: EffectCommand, executor: LocalExecutor
    ) -> EffectOutcome:
        outcome = await self._entered().execute(envelope(key, command), executor)
        if isinstance(outcome, EffectFailed):
            raise wrong_outcome(outcome)
        return outcome


def envelope(key: str, command: EffectCommand) -> RuntimeEffectEnvelope:
    """An effect that code asks for, under its key."""
    return RuntimeEffectEnvelope(
        invocation=scope_effect(kind=command_kind(command), key=key), command=command
    )


def wrong_outcome(outcome: EffectOutcome) -> LashError:
    """The error of an effect that failed for good, or whose record is of another kind."""
    if isinstance(outcome, EffectFailed):
        return LashError(outcome.code, outcome.message)
    return LashError(
        "runtime_effect_wrong_outcome",
        "The journal holds an outcome of another kind under this key.",
    )
