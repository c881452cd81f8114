"""Declaring processes and starting them: what is checked where, and what is the same process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from process_harness import begun, code_of, ledger, left, location, opened, path, result_after_go

import lash
from lash.processes.model import HostOriginator, SessionOriginator
from lash.processes.outcomes import ProcessFailure, ProcessSuccess

__all__ = ["ledger", "location", "path"]


@lash.process
async def greet(ctx: lash.ProcessContext, name: str, times: int = 1) -> str:
    """Greet somebody."""
    return ", ".join([f"hello {name}"] * times)


@lash.process
async def waits(ctx: lash.ProcessContext, what: Any = None) -> Any:
    return await ctx.signal("go")


# --- declaring ------------------------------------------------------------------------------------------


def test_a_process_is_known_by_its_functions_name_and_version() -> None:
    @lash.process(name="refund", version="2", max_attempts=3)
    async def any_name(ctx: lash.ProcessContext, order: str) -> None:
        """Pay back."""

    assert (greet.name, greet.version, greet.description) == ("greet", "1", "Greet somebody.")
    assert (any_name.name, any_name.version, any_name.max_attempts) == ("refund", "2", 3)
    assert any_name.description == "Pay back."
    assert repr(any_name) == "<lash.process refund version 2>"
    assert greet.json_schema["required"] == ["name"]


async def plain(ctx: lash.ProcessContext) -> None: ...


def sync(ctx: lash.ProcessContext) -> None: ...


async def generator(ctx: lash.ProcessContext) -> AsyncIterator[int]:
    yield 1


async def without_context() -> None: ...


async def context_by_name(*, ctx: lash.ProcessContext) -> None: ...


async def many(ctx: lash.ProcessContext, *names: str) -> None: ...


async def anything(ctx: lash.ProcessContext, **names: str) -> None: ...


async def untyped_lock(ctx: lash.ProcessContext, lock: asyncio.Lock) -> None: ...


async def returns_a_lock(ctx: lash.ProcessContext) -> asyncio.Lock:
    raise AssertionError


DECLARATIONS: dict[str, Callable[[], object]] = {
    "a plain function": lambda: lash.process(sync),  # type: ignore[arg-type]  # that is the point
    "a generator": lambda: lash.process(generator),  # type: ignore[arg-type]  # as above
    "no function": lambda: lash.process(7),  # type: ignore[call-overload]  # as above
    "no context": lambda: lash.process(without_context),  # type: ignore[arg-type]  # as above
    "a context by name": lambda: lash.process(context_by_name),  # type: ignore[arg-type]  # as above
    "any number of arguments": lambda: lash.process(many),
    "arguments of any name": lambda: lash.process(anything),  # type: ignore[arg-type]  # as above
    "an argument without JSON": lambda: lash.process(untyped_lock),
    "a result without JSON": lambda: lash.process(returns_a_lock),
    "a blank name": lambda: lash.process(name=" ")(plain),
    "a name that cannot be stored": lambda: lash.process(name="\ud800")(plain),
    "a name that is no text": lambda: lash.process(name=7)(plain),  # type: ignore[call-overload]  # as above
    "a blank version": lambda: lash.process(version="")(plain),
    "a version that is no text": lambda: lash.process(version=2)(plain),  # type: ignore[call-overload]  # as above
    "a signal with a space": lambda: lash.process(signals={"a b": str})(plain),
    "a signal without JSON": lambda: lash.process(signals={"a": asyncio.Lock})(plain),
    "an event of lash's own": lambda: lash.process(events={"process.completed": str})(plain),
    "an event that looks like a signal": lambda: lash.process(events={"signal.x": str})(plain),
    "a blank event": lambda: lash.process(events={"": str})(plain),
    "an event without JSON": lambda: lash.process(events={"a": asyncio.Lock})(plain),
}


@pytest.mark.parametrize("what", DECLARATIONS)
def test_what_cannot_be_a_process_is_refused_where_it_is_declared(what: str) -> None:
    with pytest.raises(lash.ConfigurationError) as raised:
        DECLARATIONS[what]()
    assert raised.value.code == "process_function_invalid"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"recovery": "maybe"}, "maybe"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
    ],
)
async def test_what_becomes_of_a_process_when_its_worker_dies_is_checked_where_it_is_declared(
    options: dict[str, Any], says: str
) -> None:
    with pytest.raises(lash.ConfigurationError, match=says) as raised:
        lash.process(**options)(plain)
    assert raised.value.code == "process_function_invalid"


async def test_a_function_is_called_as_what_it_is() -> None:
    """For tests of one's own: the declaration does not stand in the way."""

    @lash.process
    async def adding(ctx: Any, one: int, two: int) -> int:
        return one + two

    assert await adding(None, 1, two=2) == 3  # type: ignore[arg-type]  # that is the point


async def test_two_processes_of_one_name_need_two_versions() -> None:
    @lash.process(name="greet")
    async def other(ctx: lash.ProcessContext) -> None: ...

    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(":memory:", processes=[greet, other])
    assert raised.value.code == "process_duplicate"
    lash.Runtime(":memory:", processes=[greet, greet])
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(":memory:", processes=[plain])  # type: ignore[list-item]  # that is the point
    assert raised.value.code == "process_function_invalid"


# --- arguments ------------------------------------------------------------------------------------------


class Kind(Enum):
    FULL = "full"


@dataclass
class Line:
    price: Decimal


class Customer(pydantic.BaseModel):
    since: date


class Place(msgspec.Struct):
    x: int


class Row(TypedDict):
    day: date


@lash.process
async def typed(
    ctx: lash.ProcessContext,
    line: Line,
    customer: Customer,
    place: Place,
    row: Row,
    kind: Kind,
    how: Literal["fast", "slow"],
    span: timedelta = timedelta(hours=1),
    *,
    note: str | None = None,
    tags: list[str] | None = None,
) -> str:
    await ctx.signal("go")
    return repr((line, customer, place, row, kind, how, span, note, tags))


ARGUMENTS: tuple[Any, ...] = (
    Line(Decimal("9.90")),
    Customer(since=date(2024, 2, 29)),
    Place(3),
    {"day": date(2024, 2, 29)},
    Kind.FULL,
    "slow",
)


async def test_arguments_are_what_they_were_also_after_a_restart(path: Path) -> None:
    async with opened(path, typed) as runtime:
        await runtime.processes.start(typed, *ARGUMENTS, note="hm", tags=["a"], id="p")
        await runtime.idle(30)
    assert await result_after_go(path, typed) == repr((*ARGUMENTS, timedelta(hours=1), "hm", ["a"]))


@pytest.mark.parametrize(
    ("args", "keywords", "code"),
    [
        ((), {}, "process_arguments_invalid"),
        (("ana", 1, 2), {}, "process_arguments_invalid"),
        (("ana",), {"name": "ben"}, "process_arguments_invalid"),
        (("ana",), {"other": 1}, "process_arguments_invalid"),
        ((7,), {}, "process_arguments_invalid"),
        (("ana", "often"), {}, "process_arguments_invalid"),
        (("ana", 1.5), {}, "process_arguments_invalid"),
        ((object(),), {}, "value_not_json"),
        (("half a \ud83d",), {}, "value_not_json"),
        (("ana", float("nan")), {}, "value_not_json"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_and_nothing_is_registered(
    location: str | Path, args: tuple[Any, ...], keywords: dict[str, Any], code: str
) -> None:
    async with opened(location, greet) as runtime:
        processes = runtime.processes
        assert await code_of(processes.start(greet, *args, id="p", **keywords)) == code
        if not args:
            assert await code_of(processes.start_named("greet", {**keywords}, id="p")) == code
        assert await processes.list(status="any") == []


async def test_what_a_function_returns_is_read_as_it_says(path: Path) -> None:
    @lash.process
    async def order(ctx: lash.ProcessContext) -> Line:
        return Line(Decimal("9.90"))

    async with opened(path, order) as runtime:
        handle = await runtime.processes.start(order, id="p")
        line = await handle.result(timeout=20)
        assert line.price == Decimal("9.90")
    async with opened(path, order) as runtime:
        assert await runtime.processes.handle("p", order).result() == Line(Decimal("9.90"))
        assert await runtime.processes.handle("p").result() == {"price": "9.90"}


@pytest.mark.parametrize(
    "value", [object(), float("nan"), {"lock": {1: object()}}, "half a \ud83d", {1, object()}]
)
async def test_a_result_that_cannot_be_stored_is_a_failure(
    location: str | Path, value: object
) -> None:
    @lash.process
    async def returning(ctx: lash.ProcessContext) -> Any:
        return value

    async with opened(location, returning) as runtime:
        ended = await (await runtime.processes.start(returning)).outcome(timeout=20)
    assert isinstance(ended, ProcessFailure)
    assert ended.code == "process_result_invalid"
    assert "'returning'" in ended.message


# --- the same process -----------------------------------------------------------------------------------


async def test_the_same_id_and_arguments_is_the_same_process(path: Path) -> None:
    async with opened(path, greet) as runtime:
        handles = await asyncio.gather(
            *(runtime.processes.start(greet, "ana", id="p") for _ in range(5))
        )
        assert {await handle.result(timeout=20) for handle in handles} == {"hello ana"}
        again = await runtime.processes.start(greet, name="ana", id="p")
        assert await again.result() == "hello ana"
        assert await (
            await runtime.processes.start_named("greet", {"name": "ana"}, id="p")
        ).result()
    async with opened(path, greet) as runtime, opened(path, greet, run_processes=False) as other:
        for each in (runtime, other):
            assert await (await each.processes.start(greet, "ana", id="p")).result() == "hello ana"
        types = [each.event_type for each in await runtime.processes.events("p")]
        assert types == ["process.started", "process.completed"]


async def test_a_live_process_is_found_again_where_it_is(path: Path) -> None:
    async with opened(path, waits) as runtime, opened(path, waits) as other:
        first = await begun(runtime, waits, [1, {"b": 2, "a": 1.0}])
        second = await other.processes.start(waits, [1, {"a": 1.0, "b": 2}], id="p")
        await second.signal("go", "both")
        assert [await each.result(timeout=20) for each in (first, second)] == ["both", "both"]


@pytest.mark.parametrize(
    ("start", "differs"),
    [
        (lambda processes: processes.start(waits, 2, id="p"), "input"),
        (lambda processes: processes.start(greet, "ana", id="p"), "input"),
        (lambda processes: processes.start(waits, 1, id="p", session="s"), "provenance"),
        (lambda processes: processes.start(waits, 1, id="p", label="other"), "identity"),
        (lambda processes: processes.start_external(id="p"), "disposition"),
    ],
)
async def test_the_same_id_for_something_else_is_a_conflict_that_says_what_differs(
    location: str | Path, start: Callable[[Any], Any], differs: str
) -> None:
    async with opened(location, waits, greet) as runtime:
        handle = await begun(runtime, waits, 1)
        with pytest.raises(lash.ConflictError) as raised:
            await start(runtime.processes)
        assert raised.value.code == "process_conflict"
        assert differs in raised.value.message
        await handle.signal("go", "undisturbed")
        assert await handle.result(timeout=20) == "undisturbed"


async def test_another_version_is_another_process(path: Path) -> None:
    @lash.process(name="waits", version="2")
    async def second(ctx: lash.ProcessContext, what: Any = None) -> Any: ...

    await left(path, waits, 1)
    async with opened(path, waits, second) as runtime:
        assert await code_of(runtime.processes.start(second, 1, id="p")) == "process_conflict"
        handle = await runtime.processes.start(waits, 1, id="p")
        await handle.signal("go", 1)
        assert await handle.result(timeout=20) == 1


@pytest.mark.parametrize("process_id", ["", " \n", "a#1", "x" * 1025, "half a \ud83d", 7, b"p"])
async def test_ids_that_no_process_can_have_are_refused(
    location: str | Path, process_id: Any
) -> None:
    async with opened(location, greet) as runtime:
        processes = runtime.processes
        for call in (
            processes.start(greet, "ana", id=process_id),
            processes.start_named("greet", {"name": "ana"}, id=process_id),
            processes.start_external(id=process_id),
        ):
            assert await code_of(call) == "process_id_invalid"
        with pytest.raises(lash.LashError) as raised:
            processes.handle(process_id)
        assert raised.value.code == "process_id_invalid"
        assert await processes.list(status="any") == []


@pytest.mark.parametrize("process_id", ["x" * 1024, "ä/ö:?%25|&t1", "p\x00q", "\U0001f600"])
async def test_any_other_text_is_an_id(path: Path, process_id: str) -> None:
    @lash.process
    async def parent(ctx: lash.ProcessContext) -> Any:
        await ctx.step(lambda: 1, name="one")
        await ctx.signal("go")
        return ctx.id

    async with opened(path, parent) as runtime:
        await runtime.processes.start(parent, id=process_id)
        await runtime.idle(30)
    async with opened(path, parent) as runtime:
        await runtime.processes.signal(process_id, "go")
        assert await runtime.processes.handle(process_id).result(timeout=20) == process_id


async def test_processes_without_an_id_are_all_different(location: str | Path) -> None:
    async with opened(location, greet) as runtime:
        handles = [await runtime.processes.start(greet, "ana") for _ in range(3)]
        assert len({handle.id for handle in handles}) == 3


async def test_a_function_that_this_runtime_does_not_have_is_refused(
    location: str | Path,
) -> None:
    async with opened(location, waits) as runtime:
        processes = runtime.processes
        assert await code_of(processes.start(greet, "ana")) == "process_unregistered"
        assert await code_of(processes.start_named("greet", {})) == "process_unregistered"
        assert await processes.list(status="any") == []


async def test_the_newest_version_is_started_by_name(location: str | Path) -> None:
    @lash.process(name="greet", version="2")
    async def better(ctx: lash.ProcessContext, name: str) -> str:
        return f"good morning {name}"

    async with opened(location, greet, better) as runtime:
        handle = await runtime.processes.start_named("greet", {"name": "ana"})
        assert await handle.result(timeout=20) == "good morning ana"


async def test_whoever_is_accountable_is_kept_with_the_process(location: str | Path) -> None:
    async with opened(location, waits) as runtime:
        hosts = await runtime.processes.start(waits, id="h")
        sessions = await runtime.processes.start(waits, id="s", session="customer", label="Refund")
        record = (await hosts.status()).registration
        assert record.provenance.originator == HostOriginator()
        assert (record.identity.label, record.wake_session_id) == ("waits", None)
        record = (await sessions.status()).registration
        assert record.provenance.originator == SessionOriginator(session_id="customer")
        assert (record.identity.label, record.wake_session_id) == ("Refund", "customer")
        assert await code_of(runtime.processes.start(waits, session=" ")) == "session_id_invalid"


async def test_what_was_accepted_is_finished_although_the_runtime_closed_at_once(
    path: Path,
) -> None:
    async with opened(path, greet) as runtime:
        for number in range(20):
            await runtime.processes.start(greet, "ana", number, id=f"p{number}")
    async with opened(path, greet) as runtime:
        await runtime.idle(30)
        ended = await runtime.processes.list(status="completed")
        assert len(ended) == 20


async def test_a_runtime_that_runs_no_processes_starts_them_for_others(path: Path) -> None:
    async with opened(path, greet, run_processes=False) as starter:
        handle = await starter.processes.start(greet, "ana", id="p")
        await starter.idle(10)
        assert (await handle.status()).status == "running"
        async with opened(path, greet):
            assert await handle.outcome(timeout=20) == ProcessSuccess(value="hello ana")


async def test_nothing_is_started_in_a_runtime_that_is_closed(location: str | Path) -> None:
    async with opened(location, greet) as runtime:
        processes = runtime.processes
        handle = await processes.start(greet, "ana", id="p")
        await handle.outcome(timeout=20)
    assert await code_of(processes.start(greet, "ana")) == "runtime_closed"
    assert await code_of(handle.signal("go")) == "runtime_closed"
    assert await code_of(handle.cancel()) == "runtime_closed"
