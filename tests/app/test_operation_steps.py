"""Steps: functions of any make, and what becomes of their values and failures."""

import asyncio
import functools
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from operation_harness import (
    Ledger,
    has_come_to,
    ledger,
    location,
    path,
    recorded,
    run,
    stopped,
    through,
)

import lash
from lash.testing import VirtualClock

__all__ = ["ledger", "location", "path"]


# --- functions of any make --------------------------------------------------------------------------


async def test_plain_functions_run_in_threads_and_side_by_side(location: str | Path) -> None:
    both = threading.Barrier(2, timeout=20)
    threads: set[threading.Thread] = set()

    def meet(name: str) -> str:
        threads.add(threading.current_thread())
        both.wait()
        return name

    async def body(op: lash.Operation) -> list[str]:
        return list(await asyncio.gather(op.step(meet, "a"), op.step(meet, "b")))

    assert await run(location, body) == ["a", "b"]
    assert len(threads) == 2
    assert threading.main_thread() not in threads


async def test_async_functions_run_on_the_loop(location: str | Path) -> None:
    async def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert await run(location, lambda op: op.step(where)) is True


class Colour(Enum):
    RED = "red"


class Row(TypedDict):
    day: date


class Point(msgspec.Struct):
    x: int


@dataclass
class Line:
    price: Decimal


@dataclass
class Order:
    lines: list[Line]
    at: datetime


class Customer(pydantic.BaseModel):
    since: date


MOMENT = datetime(2024, 2, 29, 12, 30, 0, 250_000, tzinfo=UTC)


def order() -> Order:
    return Order([Line(Decimal("9.90"))], MOMENT)


def customer() -> Customer:
    return Customer(since=date(2024, 2, 29))


def rows() -> list[Row]:
    return [{"day": date(2024, 2, 29)}]


def moment() -> datetime:
    return MOMENT


def span() -> timedelta:
    return timedelta(hours=1.5)


def pair() -> tuple[int, Colour]:
    return (7, Colour.RED)


def names() -> set[str]:
    return {"b", "a"}


def blob() -> bytes:
    return b"\0\xff"


def point() -> Point:
    return Point(3)


def number() -> Annotated[int, pydantic.Field(gt=0)]:
    return 7


def maybe() -> UUID | None:
    return UUID(int=5)


def nothing() -> None:
    return None


def untyped():  # type: ignore[no-untyped-def]  # that is the point
    return (1, {"day": date(2024, 2, 29)})


async def later() -> Order:
    return order()


def promised() -> Awaitable[Order]:
    return later()


@functools.wraps(later)
def wrapped(*args: Any, **keywords: Any) -> Any:
    return later(*args, **keywords)


@functools.wraps(order)
def unfolded(*args: Any, **keywords: Any) -> Any:
    return order(*args, **keywords)


@dataclass
class Maker:
    """Its annotations are its fields', and not those of the call."""

    price: Decimal

    def __call__(self) -> Line:
        return Line(self.price)

    async def make(self) -> Line:
        return Line(self.price)


MAKER = Maker(Decimal(1))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (order, Order([Line(Decimal("9.90"))], MOMENT)),
        (customer, Customer(since=date(2024, 2, 29))),
        (rows, [{"day": date(2024, 2, 29)}]),
        (moment, MOMENT),
        (span, timedelta(minutes=90)),
        (pair, (7, Colour.RED)),
        (names, {"a", "b"}),
        (blob, b"\0\xff"),
        (point, Point(3)),
        (number, 7),
        (maybe, UUID(int=5)),
        (nothing, None),
        (untyped, [1, {"day": "2024-02-29"}]),
        (later, Order([Line(Decimal("9.90"))], MOMENT)),
        (promised, Order([Line(Decimal("9.90"))], MOMENT)),
        (wrapped, Order([Line(Decimal("9.90"))], MOMENT)),
        (unfolded, Order([Line(Decimal("9.90"))], MOMENT)),
        (functools.partial(order), Order([Line(Decimal("9.90"))], MOMENT)),
        (functools.partial(Line, Decimal(1)), Line(Decimal(1))),
        (MAKER, Line(Decimal(1))),
        (MAKER.make, Line(Decimal(1))),
        (lambda: (1, 2), [1, 2]),
    ],
)
async def test_the_first_run_and_a_later_one_give_equal_values_of_one_type(
    location: str | Path, function: Callable[[], object], expected: object
) -> None:
    for _ in range(2):
        value = await run(location, lambda op: op.step(function, name="s"))
        assert value == expected
        assert type(value) is type(expected)


async def test_a_function_is_not_kept_alive_with_what_it_holds() -> None:
    async with lash.Runtime(":memory:") as runtime, runtime.operation("o") as op:
        maker = Maker(Decimal(1))
        gone = weakref.ref(maker)
        await op.step(maker.make)
        await op.step(maker, name="call")
        await op.step(functools.partial(Maker.make, maker), name="partial")
        await op.step(lambda held=maker: str(held.price))
        del maker
        gc.collect()
        assert gone() is None


async def test_a_type_without_a_json_form_is_refused_before_anything_runs(
    location: str | Path, ledger: Ledger
) -> None:
    def lock() -> threading.Thread:
        ledger.runs.append("ran")
        return threading.current_thread()

    with pytest.raises(lash.ConfigurationError, match="result of step 'lock'") as raised:
        await run(location, lambda op: op.step(lock))
    assert raised.value.code == "type_without_json"
    assert ledger.runs == []


async def test_a_value_that_is_not_json_fails_the_step_for_good(path: Path, ledger: Ledger) -> None:
    """The function has done its work: doing it again would not make its value fit."""

    def make():  # type: ignore[no-untyped-def]  # that is the point
        ledger.runs.append("made")
        return {"lock": threading.current_thread()}

    for _ in range(2):
        with pytest.raises(lash.StepError, match=r"threading.*\$\.lock") as raised:
            await run(path, lambda op: op.step(make, retry=lash.StepRetry(base_delay_ms=0)))
        assert raised.value.code == "value_not_json"
    assert ledger.runs == ["made"]


async def test_a_value_that_does_not_fit_its_annotation_is_kept_until_that_is_mended(
    path: Path, ledger: Ledger
) -> None:
    def count() -> int:
        ledger.runs.append("counted")
        return "seven"  # type: ignore[return-value]  # that is the point

    def mended() -> str:
        raise AssertionError

    for _ in range(2):
        with pytest.raises(lash.LashError, match="Step 'count' returned something else") as raised:
            await run(path, lambda op: op.step(count))
        assert raised.value.code == "value_not_of_type"
        assert raised.value.details == {
            "step": "count",
            "problems": ["`$`: expected `int`, got `str`"],
        }
    assert await run(path, lambda op: op.step(mended, name="count")) == "seven"
    assert ledger.runs == ["counted"]


# --- failures and attempts --------------------------------------------------------------------------


async def test_a_failure_is_recorded_and_raised_again_in_the_same_words(
    path: Path, ledger: Ledger
) -> None:
    charge = ledger.fails(*[ValueError("no funds")] * 9)
    for _ in range(2):
        with pytest.raises(lash.StepError) as raised:
            await run(
                path,
                lambda op: op.step(charge, retry=lash.StepRetry(max_attempts=2, base_delay_ms=0)),
            )
        assert raised.value.code == "durable_step_failed"
        assert raised.value.message == "Step 'charge' failed after 2 attempts: ValueError: no funds"
        assert raised.value.details == {"step": "charge", "type": "ValueError", "attempts": 2}
        assert not raised.value.retryable
    assert ledger.runs == [1, 2]


async def test_a_step_is_tried_once_unless_it_says_otherwise(path: Path, ledger: Ledger) -> None:
    with pytest.raises(lash.StepError, match=r"^Step 'charge' failed: OSError: down"):
        await run(path, lambda op: op.step(ledger.fails(OSError("down"))))
    assert ledger.runs == [1]


@pytest.mark.parametrize("code", ["durable_step_failed", "card_declined"])
async def test_a_step_error_ends_the_step_at_once(path: Path, ledger: Ledger, code: str) -> None:
    charge = ledger.fails(lash.StepError("declined", code=code))
    for _ in range(2):
        with pytest.raises(lash.StepError) as raised:
            await run(path, lambda op: op.step(charge, retry=lash.StepRetry(max_attempts=5)))
        assert raised.value.code == code
        assert raised.value.message == "Step 'charge' failed: StepError: declined"
    assert ledger.runs == [1]


async def test_an_operation_may_go_on_after_a_failed_step(path: Path, ledger: Ledger) -> None:
    async def body(op: lash.Operation) -> object:
        try:
            await op.step(ledger.fails(ValueError("no")))
        except lash.StepError as error:
            return await op.step(ledger.note, error.code)
        raise AssertionError

    for _ in range(2):
        assert await run(path, body) == "durable_step_failed"
    assert ledger.runs == [1, "durable_step_failed"]


BUSY = lash.StoreError("store_busy", "The other store is busy.")


@pytest.mark.parametrize(
    "error", [BUSY, lash.LashError("runtime_closed", "The other runtime is closed.")]
)
async def test_trouble_of_the_place_is_not_recorded_as_the_steps_failure(
    path: Path, ledger: Ledger, error: lash.LashError
) -> None:
    charge = ledger.fails(error)
    with pytest.raises(lash.LashError) as raised:
        await run(path, lambda op: op.step(charge))
    assert raised.value is error
    assert await recorded(path) == []
    assert await run(path, lambda op: op.step(charge)) == "charged"
    assert ledger.runs == [1, 2]


async def test_trouble_that_may_pass_is_waited_out_as_the_step_says(
    path: Path, ledger: Ledger
) -> None:
    charge, policy = ledger.fails(BUSY, BUSY, BUSY), lash.StepRetry(max_attempts=3, base_delay_ms=0)
    with pytest.raises(lash.StoreError) as raised:
        await run(path, lambda op: op.step(charge, retry=policy))
    assert raised.value is BUSY
    assert await recorded(path) == ["step:charge:1:attempt:1", "step:charge:1:attempt:2"]
    assert await run(path, lambda op: op.step(charge, retry=policy)) == "charged"
    assert ledger.runs == [1, 2, 3, 4]


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("bro\ud800ken"), "ValueError: bro\\ud800ken"),
        (MuteError(), "MuteError: "),
        (TimeoutError(), "TimeoutError: "),
        (asyncio.CancelledError("by itself"), "CancelledError: by itself"),
        (ExceptionGroup("two", [ValueError("x")]), "ExceptionGroup: two (1 sub-exception)"),
    ],
)
async def test_whatever_a_step_raises_is_told(
    path: Path, ledger: Ledger, error: BaseException, says: str
) -> None:
    for _ in range(2):
        with pytest.raises(lash.StepError) as raised:
            await run(path, lambda op: op.step(ledger.fails(error), timeout=20))
        assert raised.value.message == f"Step 'charge' failed: {says}"
        assert raised.value.code == "durable_step_failed"
    assert ledger.runs == [1]


async def test_attempts_wait_longer_and_longer_up_to_a_cap(path: Path, ledger: Ledger) -> None:
    clock, times = VirtualClock(), list[float]()
    fails = ledger.fails(*[ValueError("no")] * 4)

    async def charge() -> str:
        times.append(clock.monotonic())
        return await fails()

    policy = lash.StepRetry(max_attempts=5, base_delay_ms=1_000, max_delay_ms=3_000)
    async with lash.Runtime(path, clock=clock) as runtime:
        task = asyncio.create_task(through(runtime, lambda op: op.step(charge, retry=policy)))
        for attempt, seconds in enumerate((1, 2, 3, 3), start=1):
            await has_come_to(lambda n=attempt: len(times) == n and clock.sleeping == 5)  # type: ignore[misc]  # a default
            clock.advance(seconds - 0.001)
            await asyncio.sleep(0)
            assert len(times) == attempt
            clock.advance(0.001)
        assert await task == "charged"
    assert times == [0, 1, 3, 6, 9]


async def test_attempts_go_on_where_they_were_stopped(path: Path, ledger: Ledger) -> None:
    clock = VirtualClock()
    charge = ledger.fails(ValueError("no"), ValueError("no"))
    policy = lash.StepRetry(max_attempts=3, base_delay_ms=10_000)

    def body(op: lash.Operation) -> Coroutine[Any, Any, str]:
        return op.step(charge, retry=policy)

    await stopped(path, body, lambda: len(ledger.runs) == 1 and clock.sleeping == 5, clock=clock)
    clock.advance(9)
    await stopped(path, body, lambda: clock.sleeping == 5, clock=clock)
    assert ledger.runs == [1]
    clock.advance(1)  # the wait was fixed when it began: it is over
    await stopped(path, body, lambda: len(ledger.runs) == 2 and clock.sleeping == 5, clock=clock)
    clock.advance(20)
    assert await run(path, body, clock=clock) == "charged"
    assert ledger.runs == [1, 2, 3]
    assert await recorded(path) == [
        "step:charge:1:attempt:1",
        "step:charge:1:attempt:1:sleep",
        "step:charge:1:attempt:2",
        "step:charge:1:attempt:2:sleep",
        "step:charge:1:attempt:3",
    ]


async def test_a_timeout_ends_one_attempt_and_not_the_step(path: Path, ledger: Ledger) -> None:
    async def fetch() -> str:
        ledger.runs.append("begun")
        if len(ledger.runs) < 3:
            await asyncio.Event().wait()
        return "fetched"

    policy = lash.StepRetry(max_attempts=3, base_delay_ms=0)
    for _ in range(2):
        got = await run(path, lambda op: op.step(fetch, retry=policy, timeout=0.01))
        assert got == "fetched"
    assert ledger.runs == ["begun"] * 3


@pytest.mark.parametrize("limit", [timedelta(milliseconds=10), 0.01])
async def test_a_step_that_always_takes_too_long_says_so(
    location: str | Path, limit: timedelta | float
) -> None:
    with pytest.raises(lash.StepError) as raised:
        await run(location, lambda op: op.step(asyncio.Event().wait, name="w", timeout=limit))
    assert raised.value.message == "Step 'w' failed: TimeoutError: it took more than 0.01 s"


async def test_a_step_that_is_stopped_is_not_recorded_and_runs_again(
    path: Path, ledger: Ledger
) -> None:
    async def work() -> str:
        ledger.runs.append("begun")
        if len(ledger.runs) == 1:
            await asyncio.Event().wait()
        if len(ledger.runs) == 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                raise ValueError("it failed because it was stopped") from error
        return "done"

    for number in (1, 2):
        await stopped(path, lambda op: op.step(work), lambda n=number: len(ledger.runs) == n)  # type: ignore[misc]  # a default
    assert await recorded(path) == []
    assert await run(path, lambda op: op.step(work)) == "done"
    assert len(ledger.runs) == 3


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()])
async def test_a_step_fails_as_any_other_in_a_task_that_outlived_a_cancellation(
    path: Path, error: BaseException
) -> None:
    async def outlive() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await run(path, lambda op: op.step(Ledger().fails(error)))

    task = asyncio.create_task(outlive())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(lash.StepError):
        await task
