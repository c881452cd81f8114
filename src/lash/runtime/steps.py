"""Durable steps: named host code that runs once, attempt by attempt, and is then replayed.

Each attempt is an effect, so that a step interrupted between its attempts goes on with the next one.
The value, or the failure, is what every drive goes on from; what was raised is not kept as an object.
"""

import asyncio
import functools
import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from lash.core.causality import scope_effect
from lash.core.errors import LashError, StepError
from lash.core.json import Data, JsonValue, to_json
from lash.core.text import spelled_out
from lash.core.typed import TypedValue, typed_value
from lash.effects import executors
from lash.effects.commands import DurableStepCommand, SleepCommand
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import DurableStepOutcome, EffectFailed, EffectOutcome, StepFailure
from lash.llm.retry import check_retry
from lash.runtime.cancelling import being_cancelled
from lash.tools.threads import in_thread

T = TypeVar("T")


class StepRetry(Data):
    """How often a step that raises is run again. Milliseconds.

    Attributes:
        max_attempts: Attempts in all, the first included.
        base_delay_ms: The first wait; each further one doubles.
        max_delay_ms: No wait is longer; 0 means no cap.
    """

    max_attempts: int = 3
    base_delay_ms: int = 200
    max_delay_ms: int = 10_000

    def __post_init__(self) -> None:
        """Refuse what cannot be counted or waited.

        Raises:
            ConfigurationError: `retry_invalid`.
        """
        check_retry(self)

    def delay_ms(self, attempt: int) -> int | None:
        """How long to wait after a failed attempt; None when it was the last."""
        if attempt >= self.max_attempts:
            return None
        delay = self.base_delay_ms << (attempt - 1)
        return min(delay, self.max_delay_ms) if self.max_delay_ms else delay


ONCE = StepRetry(max_attempts=1)


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """A step that was asked for.

    Attributes:
        key: Its replay key; attempts and waits stand below it.
        name: What it is called.
        call: Runs its code once.
        given: What it is called with, as JSON, to tell a changed call.
        result: How its value is read; None to take the JSON as it is.
        retry: How often it is run again.
        timeout_s: How long one attempt may take.
    """

    key: str
    name: str
    call: Callable[[], Awaitable[T]]
    given: JsonValue
    result: TypedValue | None
    retry: StepRetry
    timeout_s: float | None


async def run_step(controller: EffectController, step: Step[T]) -> T:
    """The step's value: recorded, or made now.

    Raises:
        StepError: `durable_step_failed`, or the code the step gave, once no attempt is left.
        LashError: What `EffectController.execute` raises; retryable errors of lash that the step let
            through, which are not recorded.
    """
    attempt = 1
    while True:
        outcome = await _attempt(controller, step, attempt)
        if outcome.failure is None:
            return _value(step, outcome.value)
        if outcome.retry_in_ms is None:
            raise _failed(step, outcome.failure, attempt)
        await _rest(controller, step, attempt, outcome.retry_in_ms)
        attempt += 1


async def _attempt(controller: EffectController, step: Step[T], attempt: int) -> DurableStepOutcome:
    envelope = RuntimeEffectEnvelope(
        invocation=scope_effect(kind="durable_step", key=f"{step.key}:attempt:{attempt}"),
        command=DurableStepCommand(
            step_id=step.name,
            input=step.given,
            attempt=attempt,
            max_attempts=max(attempt, step.retry.max_attempts),
        ),
    )

    async def perform() -> EffectOutcome:
        try:
            return DurableStepOutcome(value=to_json(await _called(step.call, step.timeout_s)))
        except asyncio.CancelledError as error:
            if being_cancelled():
                raise
            return _failure(step, attempt, error)  # something it waited for was cancelled
        except LashError as error:
            if error.retryable:
                raise  # not the step's doing: nothing is recorded, and it may be asked for again
            return _failure(step, attempt, error)
        except Exception as error:  # noqa: BLE001  what a step raises is its outcome
            return _failure(step, attempt, error)

    outcome = await controller.execute(envelope, executors.durable_step(perform))
    if isinstance(outcome, DurableStepOutcome):
        return outcome
    failed = outcome if isinstance(outcome, EffectFailed) else None
    raise StepError(
        f"Step {step.name!r} could not be recorded: "
        f"{failed.message if failed else 'its record is of another kind'}",
        failed.code if failed else "runtime_effect_wrong_outcome",
        step=step.name,
    )


async def _called(call: Callable[[], Awaitable[object]], timeout_s: float | None) -> object:
    if timeout_s is None:
        return await call()
    async with asyncio.timeout(timeout_s):
        return await call()


def _failure(step: Step[T], attempt: int, error: BaseException) -> DurableStepOutcome:
    """A failed attempt, and whether another follows: decided now, and recorded with it."""
    final = isinstance(error, StepError)
    message = error.message if isinstance(error, LashError) else str(error)
    if isinstance(error, TimeoutError) and not message:
        message = f"it took more than {step.timeout_s} s"
    return DurableStepOutcome(
        failure=StepFailure(
            type=type(error).__name__,
            message=spelled_out(message),
            code=error.code if isinstance(error, LashError) else None,
        ),
        retry_in_ms=None if final else step.retry.delay_ms(attempt),
    )


async def _rest(controller: EffectController, step: Step[T], attempt: int, delay_ms: int) -> None:
    if delay_ms <= 0:
        return
    envelope = RuntimeEffectEnvelope(
        invocation=scope_effect(kind="sleep", key=f"{step.key}:attempt:{attempt}:sleep"),
        command=SleepCommand(duration_ms=delay_ms),
    )
    await controller.execute(envelope, executors.sleeping())


def _value(step: Step[T], value: JsonValue) -> T:
    """The value as a replay reads it, so that the first drive goes on from the same."""
    return cast("T", value if step.result is None else step.result.read(value))


def _failed(step: Step[T], failure: StepFailure, attempts: int) -> StepError:
    times = f" after {attempts} attempts" if attempts > 1 else ""
    return StepError(
        f"Step {step.name!r} failed{times}: {failure.type}: {failure.message}",
        failure.code or "durable_step_failed",
        step=step.name,
        type=failure.type,
        attempts=attempts,
    )


# --- making steps -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StepFunction:
    """What is known of a function that is run as a step.

    Attributes:
        name: Its own name.
        is_async: Whether it runs on the loop; else it gets a thread.
        result: How its value is read, by its return annotation; None to take JSON as it is.
    """

    name: str
    is_async: bool
    result: TypedValue | None


def step_function(function: Callable[..., object]) -> StepFunction:
    """What is known of `function`.

    Raises:
        ConfigurationError: `type_without_json`.
    """
    try:
        return _known(function)
    except TypeError:  # it cannot be hashed
        return _describe(function)


def _describe(function: Callable[..., object]) -> StepFunction:
    plain = inspect.unwrap(function)
    return StepFunction(
        name=getattr(function, "__name__", ""),
        is_async=inspect.iscoroutinefunction(plain),
        result=_result_type(plain),
    )


_known = functools.lru_cache(maxsize=1024)(_describe)


def step_name(function: StepFunction, name: str | None) -> str:
    """What a step is called: its own name, or its function's.

    Raises:
        LashError: `durable_effect_empty_step_id`.
    """
    chosen = function.name if name is None else name
    if not chosen.strip():
        raise LashError(
            "durable_effect_empty_step_id", "A durable step needs a name; give it one with name=."
        )
    return chosen


def call_of(
    function: Callable[..., Any],
    args: tuple[object, ...],
    keywords: dict[str, object],
    *,
    is_async: bool,
) -> Callable[[], Awaitable[object]]:
    """Runs a function once: on the loop if it is `async`, else in a thread."""
    if is_async:
        return functools.partial(function, *args, **keywords)

    async def call() -> object:
        result = await in_thread(functools.partial(function, *args), keywords)
        return await result if inspect.isawaitable(result) else result

    return call


def given_to(args: tuple[object, ...], keywords: dict[str, object]) -> JsonValue:
    """What a step is called with, as JSON; of what has no JSON form, its type."""
    parts = {**{str(place): value for place, value in enumerate(args)}, **keywords}
    return {name: _told(value) for name, value in parts.items()}


def _told(value: object) -> JsonValue:
    try:
        return to_json(value)
    except LashError:
        return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}


def _result_type(function: Callable[..., object]) -> TypedValue | None:
    target = function if hasattr(function, "__annotations__") else type(function).__call__
    try:
        hint = typing.get_type_hints(target, include_extras=True).get("return", Any)
    except (NameError, TypeError, AttributeError):
        return None  # it cannot be told, so the value stays JSON
    if hint in {Any, object, type(None)}:
        return None
    return typed_value(hint, f"The result of step {getattr(function, '__name__', function)!r}")
