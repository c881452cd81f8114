"""Durable steps: named host code that runs once, attempt by attempt, and is then replayed.

Each attempt is an effect, so that a step interrupted between its attempts goes on with the next one.
The value, or the failure, is what every drive goes on from; what was raised is not kept as an object.
"""

import asyncio
import dataclasses
import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from lash.core.backoff import Backoff
from lash.core.causality import scope_effect
from lash.core.errors import LashError, StepError
from lash.core.json import JsonValue, to_json
from lash.core.text import is_utf8, spelled_out
from lash.core.typed import TypedValue, typed_value
from lash.effects import executors
from lash.effects.commands import DurableStepCommand, SleepCommand
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import DurableStepOutcome, EffectFailed, EffectOutcome, StepFailure
from lash.tools.threads import in_thread

T = TypeVar("T")


class StepRetry(Backoff):
    """How often a step that raises is run again; see `Backoff`."""


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
        timeout_s: How long one attempt may take. A plain function goes on in its thread all the same.
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
        before = cancels()
        try:
            return DurableStepOutcome(value=to_json(await _called(step.call, step.timeout_s)))
        except asyncio.CancelledError as error:
            if cancels() > before:
                raise
            return _failure(step, attempt, error)  # something it waited for was cancelled
        except Exception as error:
            if cancels() > before:
                # It failed because it was stopped: asked for again, it is to run again.
                raise asyncio.CancelledError from error
            failure = _failure(step, attempt, error)
            if _is_not_its_doing(error) and failure.retry_in_ms is None:
                raise  # nothing is recorded: asked for again, the step may succeed
            return failure  # what a step raises is its outcome

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


#: Errors that say something of where a step was run, and nothing of the step.
CIRCUMSTANCES = frozenset(
    {"agent_missing", "agent_unknown", "agent_version_missing", "runtime_closed", "store_closed"}
)


def _is_not_its_doing(error: Exception) -> bool:
    """Whether an attempt failed for what surrounds it. A `StepError` is always the step's own word."""
    if not isinstance(error, LashError) or isinstance(error, StepError):
        return False
    return error.retryable or error.code in CIRCUMSTANCES


def cancels() -> int:
    """How often the running task was asked to stop. It may be the caller's, and have been before."""
    task = asyncio.current_task()
    return task.cancelling() if task else 0


async def _called(call: Callable[[], Awaitable[object]], timeout_s: float | None) -> object:
    if timeout_s is None:
        return await call()
    deadline = asyncio.timeout(timeout_s)
    try:
        async with deadline:
            return await call()
    except TimeoutError as error:
        if not deadline.expired():
            raise  # the function's own
        message = f"it took more than {timeout_s} s"
        raise TimeoutError(message) from error


def _failure(step: Step[T], attempt: int, error: BaseException) -> DurableStepOutcome:
    """A failed attempt, and whether another follows: decided now, and recorded with it."""
    ours = error if isinstance(error, LashError) else None
    # What can never succeed is not tried again: the function may have done its work each time.
    final = ours is not None and (ours.terminal or isinstance(ours, StepError))
    return DurableStepOutcome(
        failure=StepFailure(
            type=type(error).__name__,
            message=spelled_out(_said(error)),
            code=spelled_out(str(ours.code)) if ours else None,
        ),
        retry_in_ms=None if final else step.retry.delay_ms(attempt),
    )


def _said(error: BaseException) -> str:
    try:
        return str(error.message if isinstance(error, LashError) else error)
    except Exception:  # noqa: BLE001  an exception of somebody else's may not even have a text
        return ""


async def _rest(controller: EffectController, step: Step[T], attempt: int, delay_ms: int) -> None:
    if delay_ms <= 0:
        return
    envelope = RuntimeEffectEnvelope(
        invocation=scope_effect(kind="sleep", key=f"{step.key}:attempt:{attempt}:sleep"),
        command=SleepCommand(duration_ms=delay_ms),
    )
    await controller.execute(envelope, executors.sleeping())


def _value(step: Step[T], value: JsonValue) -> T:
    """The value as a replay reads it, so that the first drive goes on from the same.

    One that does not fit stays recorded: what was done was done, and the annotation may be mended.
    """
    if step.result is None:
        return cast("T", value)
    try:
        return cast("T", step.result.read(value))
    except LashError as error:
        raise LashError(
            error.code,
            f"Step {step.name!r} returned something else than its annotation says: {error.message}",
            step=step.name,
            **error.details,
        ) from error


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
    code = _code_of(function)
    try:
        known = _KNOWN.get(code)
        if known is None:
            known = _KNOWN[code] = _describe(code)
    except TypeError:  # it cannot be hashed, or not be referred to weakly
        known = _describe(code)
    name = getattr(function, "__name__", "")
    return known if known.name == name else dataclasses.replace(known, name=name)


def _code_of(function: Callable[..., object]) -> Callable[..., object]:
    """What a callable runs in the end: wrappers, bound methods and arguments given before are left out."""
    while True:
        inner: Callable[..., object] = inspect.unwrap(function)
        if isinstance(inner, functools.partial):
            inner = inner.func
        elif inspect.ismethod(inner):
            inner = inner.__func__
        if inner is function:
            return function
        function = inner


#: What is known of functions that were steps before. It must not keep alive what they hold on to.
_KNOWN: WeakKeyDictionary[Callable[..., object], StepFunction] = WeakKeyDictionary()


def _describe(code: Callable[..., object]) -> StepFunction:
    """What is known of code. Of an object that can be called, its `__call__` is meant."""
    plain = inspect.isroutine(code) or isinstance(code, type)
    called: Callable[..., object] = code if plain else type(code).__call__
    name = getattr(code, "__name__", "")
    return StepFunction(
        name=name,
        is_async=inspect.iscoroutinefunction(called),
        result=_result_type(called, name or type(code).__name__),
    )


def step_name(function: StepFunction, name: str | None) -> str:
    """What a step is called: its own name, or its function's.

    Raises:
        LashError: `durable_effect_empty_step_id`.
    """
    chosen: object = function.name if name is None else name
    if not isinstance(chosen, str) or not chosen.strip() or not is_utf8(chosen):
        raise LashError(
            "durable_effect_empty_step_id",
            "A durable step needs a name, text that is not blank and that UTF-8 can carry; give it one "
            "with name=.",
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

    async def call() -> object:
        if is_async:
            result = function(*args, **keywords)
        else:
            result = await in_thread(functools.partial(function, *args), keywords)
        return await result if inspect.isawaitable(result) else result

    return call


def given_to(args: tuple[object, ...], keywords: dict[str, object]) -> JsonValue:
    """What a step is called with, as JSON; of what has no JSON form, its type."""
    parts = {**{str(place): value for place, value in enumerate(args)}, **keywords}
    return {name: _told(value) for name, value in parts.items()}


def _told(value: object) -> JsonValue:
    """A value as it is compared: by its JSON form, a collection part by part, else by its type."""
    try:
        return to_json(value)
    except Exception:  # noqa: BLE001  a model of somebody else's may fail to tell itself in any way
        return _told_in_parts(value)


def _told_in_parts(value: object) -> JsonValue:
    try:
        if isinstance(value, str | float):
            return ascii(value)  # half a character, or a number that is none
        if isinstance(value, Mapping):
            return {ascii(key): _told(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [_told(item) for item in value]
    except Exception:  # noqa: BLE001, S110  it holds itself, or fails to tell itself: its type is left
        pass
    return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}


def _result_type(called: Callable[..., object], name: str) -> TypedValue | None:
    if isinstance(called, type):
        hint: object = called  # calling a class makes one of it
    else:
        try:
            hint = typing.get_type_hints(called, include_extras=True).get("return", Any)
        except (NameError, TypeError, AttributeError):
            return None  # it cannot be told, so the value stays JSON
    hint = _awaited(hint)
    if hint is Any or hint is object or hint is type(None):
        return None
    return typed_value(hint, f"The result of step {name!r}")


def _awaited(hint: object) -> object:
    """What comes of awaiting a value of a type; the type itself where there is nothing to await."""
    kind = typing.get_origin(hint) or hint
    if not isinstance(kind, type) or not issubclass(kind, Awaitable):
        return hint
    arguments = typing.get_args(hint)
    return arguments[-1] if arguments else Any
