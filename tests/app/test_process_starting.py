"""Starting processes: what is checked, what is kept of it, and what is the same process."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from process_harness import (
    begun,
    code_of,
    greet,
    ledger,
    left,
    location,
    opened,
    path,
    result_after_go,
    waits,
)

import lash
from lash.processes.model import HostOriginator, SessionOriginator
from lash.processes.outcomes import ProcessFailure, ProcessSuccess
from lash.testing import ScriptedModel, reply

__all__ = ["ledger", "location", "path"]


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


@dataclass
class Order:
    id: str
    lines: list[int]
    price: Decimal = Decimal(0)


@lash.process
async def ordering(
    ctx: lash.ProcessContext,
    order: Order,
    how: Literal["fast", "slow"] = "slow",
    *,
    loud: bool = False,
) -> Order:
    assert isinstance(order, Order)
    return Order(f"{order.id} {how} {loud}", order.lines, order.price)


async def test_arguments_are_what_they_were_also_after_a_restart(path: Path) -> None:
    async with opened(path, typed) as runtime:
        await runtime.processes.start(typed, *ARGUMENTS, note="hm", tags=["a"], id="p")
        await runtime.idle(30)
    assert await result_after_go(path, typed) == repr((*ARGUMENTS, timedelta(hours=1), "hm", ["a"]))


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("seven",), "process_arguments_invalid"),
        ((Order("7", []), "quick"), "process_arguments_invalid"),
        ((Order("7", [float("nan")]),), "value_not_json"),  # type: ignore[list-item]  # that is the point
        ((Order("half a \ud83d", []),), "value_not_json"),
    ],
)
async def test_what_an_argument_is_made_of_is_checked_too(
    location: str | Path, args: tuple[Any, ...], code: str
) -> None:
    async with opened(location, ordering) as runtime:
        assert await code_of(runtime.processes.start(ordering, *args)) == code
        assert await runtime.processes.list(status="any") == []


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


async def test_arguments_are_read_and_results_are_too_as_the_function_says(path: Path) -> None:
    nine = Decimal("9.90")
    async with opened(path, ordering) as runtime:
        handle = await runtime.processes.start(ordering, Order("7", [1], nine), loud=True, id="p")
        assert await handle.result(timeout=20) == Order("7 slow True", [1], nine)
        named = await runtime.processes.start_named("ordering", {"order": {"id": "8", "lines": []}})
        assert await named.result(timeout=20) == Order("8 slow False", [], Decimal(0))
    async with opened(path, ordering) as runtime:
        typed = await runtime.processes.handle("p", ordering).result()
        assert typed == Order("7 slow True", [1], nine)
        assert await runtime.processes.handle("p").result() == {
            "id": "7 slow True",
            "lines": [1],
            "price": "9.90",
        }


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
        before = await runtime.processes.events("p")
        with pytest.raises(lash.ConflictError) as raised:
            await start(runtime.processes)
        assert raised.value.code == "process_conflict"
        assert differs in raised.value.message
        assert differs in str(raised.value.details["differs"])
        assert await runtime.processes.events("p") == before
        await handle.signal("go", "undisturbed")
        assert await handle.result(timeout=20) == "undisturbed"


async def test_another_version_is_another_process(path: Path) -> None:
    @lash.process(name="waits", version="2")
    async def second(ctx: lash.ProcessContext, what: Any = None) -> Any: ...

    await left(path, waits, 1)
    async with opened(path, waits, second) as runtime:
        with pytest.raises(lash.ConflictError) as raised:
            await runtime.processes.start(second, 1, id="p")
        assert raised.value.code == "process_conflict"
        assert "input" in str(raised.value.details["differs"])
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
        for start in (processes.start(greet, "ana"), processes.start_named("greet", {})):
            with pytest.raises(lash.ConfigurationError) as raised:
                await start
            assert raised.value.code == "process_unregistered"
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


# --- turns and tools ------------------------------------------------------------------------------------


async def test_turns_and_tools_are_started_as_processes(path: Path) -> None:
    @lash.tool
    async def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    @lash.tool
    async def refuses() -> str:
        """Refuse."""
        raise lash.ToolError("not today", code="closed")

    agent = lash.Agent("worker", model=ScriptedModel([reply("Done.")]), tools=[add, refuses])
    async with opened(path, agents=[agent]) as runtime:
        processes = runtime.processes
        turn = await processes.start_turn("worker", "Work.", id="t")
        assert (await turn.result(timeout=20))["turn"]["text"] == "Done."
        tool = await processes.start_tool("worker", "add", {"a": 1, "b": 2}, id="tool")
        assert await tool.result(timeout=20) == 3
        failing = await processes.start_tool("worker", "refuses", {})
        with pytest.raises(lash.ProcessError, match="not today") as failed:
            await failing.result(timeout=20)
        assert failed.value.code == "closed"
        missing = processes.start_tool("worker", "missing", {})
        assert await code_of(missing) == "process_tool_missing"
        unfitting = processes.start_tool("worker", "add", {"a": 1})
        assert await code_of(unfitting) == "invalid_tool_args"
