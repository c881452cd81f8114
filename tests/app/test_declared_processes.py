"""What can be a process, what it can be started with, and what is refused before anything is kept."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from processes_harness import opened, rested

import lash


@dataclass
class Order:
    id: str
    lines: list[int]


@lash.process
async def typed(
    ctx: lash.ProcessContext,
    order: Order,
    how: Literal["fast", "slow"] = "slow",
    *,
    loud: bool = False,
) -> Order:
    """Handle an order."""
    assert isinstance(order, Order)
    return Order(f"{order.id} {how} {loud}", order.lines)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p.db"


async def test_arguments_and_results_are_of_their_types(path: Path) -> None:
    async with opened(path, [typed]) as runtime:
        handle = await runtime.processes.start(typed, Order("7", [1]), loud=True, id="o")
        assert await handle.result(timeout=5) == Order("7 slow True", [1])
        plain = await runtime.processes.handle("o").result()
        assert plain == {"id": "7 slow True", "lines": [1]}
        named = await runtime.processes.start_named("typed", {"order": {"id": "8", "lines": []}})
        assert await named.result(timeout=5) == Order("8 slow False", [])


@pytest.mark.parametrize(
    ("args", "keywords", "code"),
    [
        ((), {}, "process_arguments_invalid"),
        ((Order("7", [1]), "quick"), {}, "process_arguments_invalid"),
        ((Order("7", [1]),), {"other": 1}, "process_arguments_invalid"),
        (("seven",), {}, "process_arguments_invalid"),
        ((Order("7", [float("nan")]),), {}, "value_not_json"),  # type: ignore[list-item]  # that is the point
        ((object(),), {}, "value_not_json"),
        ((Order("\ud800", []),), {}, "value_not_json"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_with_nothing_registered(
    path: Path, args: tuple[object, ...], keywords: dict[str, object], code: str
) -> None:
    async with opened(path, [typed]) as runtime:
        with pytest.raises(lash.LashError) as refused:
            await runtime.processes.start(typed, *args, **keywords)  # type: ignore[arg-type]  # as above
        assert refused.value.code == code
        assert await runtime.processes.list(status="any") == []


@pytest.mark.parametrize("process_id", ["", "  ", "a#1", "x" * 2000, 7, "\ud800"])
async def test_ids_that_cannot_be_are_refused(path: Path, process_id: Any) -> None:
    async with opened(path, [typed]) as runtime:
        with pytest.raises(lash.LashError) as refused:
            await runtime.processes.start(typed, Order("7", []), id=process_id)
        assert refused.value.code == "process_id_invalid"
        assert await runtime.processes.list(status="any") == []


async def test_the_same_id_is_the_same_process_or_a_conflict_that_names_the_difference(
    path: Path,
) -> None:
    @lash.process(name="typed", version="2")
    async def newer(ctx: lash.ProcessContext, order: Order) -> str:
        return "newer"

    async with opened(path, [typed, newer]) as runtime:
        first = await runtime.processes.start(typed, Order("7", [1]), id="o")
        await first.result(timeout=5)
        again = await runtime.processes.start(typed, Order("7", [1]), id="o")  # it has ended
        assert await again.result() == Order("7 slow False", [1])
        for started in (
            runtime.processes.start(typed, Order("8", [1]), id="o"),
            runtime.processes.start(newer, Order("7", [1]), id="o"),
        ):
            with pytest.raises(lash.ConflictError) as conflict:
                await started
            assert conflict.value.code == "process_conflict"
            assert "input" in str(conflict.value.details["differs"])
        with pytest.raises(lash.ConflictError) as session:
            await runtime.processes.start(typed, Order("7", [1]), id="o", session="s")
        assert "provenance" in str(session.value.details["differs"])
        log = await runtime.processes.events("o")
    assert [event.event_type for event in log] == ["process.started", "process.completed"]


async def test_what_cannot_be_a_process_says_why() -> None:
    def plain(ctx: lash.ProcessContext) -> None: ...

    async def without() -> None: ...

    async def untyped(ctx: lash.ProcessContext, thing: asyncio.Task[int]) -> None: ...

    async def fine(ctx: lash.ProcessContext) -> None: ...

    cases: list[tuple[Any, dict[str, Any], str]] = [
        (plain, {}, "async def"),
        (without, {}, "first parameter"),
        (untyped, {}, "thing"),
        (fine, {"name": " "}, "name"),
        (fine, {"version": ""}, "version"),
        (fine, {"signals": {"not a name": str}}, "not a name"),
        (fine, {"events": {"process.completed": str}}, "process.completed"),
        (fine, {"signals": {"s": asyncio.Task}}, "Task"),
    ]
    for function, options, said in cases:
        with pytest.raises(lash.ConfigurationError, match=said) as refused:
            lash.process(**options)(function)
        assert refused.value.code == "process_function_invalid"
    with pytest.raises(lash.ConfigurationError) as twice:
        lash.Runtime(":memory:", processes=[lash.process(fine), lash.process(fine)])
    assert twice.value.code == "process_duplicate"
    with pytest.raises(lash.ConfigurationError) as undecorated:
        lash.Runtime(":memory:", processes=[fine])  # type: ignore[list-item]  # that is the point
    assert undecorated.value.code == "process_function_invalid"


async def test_a_function_that_is_not_registered_is_refused(path: Path) -> None:
    @lash.process
    async def other(ctx: lash.ProcessContext) -> None: ...

    async with opened(path, [typed]) as runtime:
        with pytest.raises(lash.ConfigurationError) as refused:
            await runtime.processes.start(other)
        assert refused.value.code == "process_unregistered"


async def test_results_and_events_that_cannot_be_kept_are_failures_that_say_so(path: Path) -> None:
    @lash.process(events={"progress": int})
    async def odd(ctx: lash.ProcessContext, how: str) -> object:
        match how:
            case "result":
                return object()
            case "undeclared":
                await ctx.emit("other", 1)
            case "ill-typed":
                await ctx.emit("progress", "half")
            case "reserved":
                await ctx.emit("process.completed", {"await_output": {"type": "success"}})
            case "empty wake":
                await ctx.wake("")
            case "large":
                return "x" * 20_000_000
        return "?"

    codes = {
        "result": "process_result_invalid",
        "undeclared": "process_event_undeclared",
        "ill-typed": "process_event_invalid",
        "reserved": "process_event_reserved",
        "empty wake": "process_event_invalid",
        "large": "effect_outcome_too_large",
    }
    async with opened(path, [odd]) as runtime:
        for how, code in codes.items():
            with pytest.raises(lash.ProcessError) as failed:
                await (await runtime.processes.start(odd, how)).result(timeout=5)
            assert (how, failed.value.code) == (how, code)


async def test_the_context_is_for_the_code_of_its_process_alone(path: Path) -> None:
    kept: list[lash.ProcessContext] = []

    @lash.process
    async def nests(ctx: lash.ProcessContext) -> str:
        kept.append(ctx)

        async def inner() -> None:
            await ctx.step(abs, -1)

        try:
            await ctx.step(inner)
        except lash.StepError as error:
            return error.code
        return "?"

    async with opened(path, [nests]) as runtime:
        handle = await runtime.processes.start(nests)
        assert await handle.result(timeout=5) == "process_context_misused"
        with pytest.raises(lash.LashError) as outside:
            await kept[0].step(abs, -1)
        assert outside.value.code == "process_context_misused"


async def test_looking_at_processes(path: Path) -> None:
    @lash.process
    async def waits(ctx: lash.ProcessContext) -> None:
        await ctx.signal("end")

    async with opened(path, [typed, waits]) as runtime:
        processes = runtime.processes
        await (await processes.start(typed, Order("7", []), id="a")).result(timeout=5)
        await processes.start(waits, id="b", session="s", label="shown")
        await processes.start(waits, id="c")
        await rested(runtime)

        async def ids(**wanted: Any) -> list[str]:
            return [record.process_id for record in await processes.list(**wanted)]

        assert await ids() == ["b", "c"]
        assert await ids(status="any") == ["a", "b", "c"]
        assert await ids(status="completed") == ["a"]
        assert await ids(status="any", name="waits", after="b") == ["c"]
        assert await ids(session="s") == ["b"]
        (live,) = await processes.live_references()
        assert (live.definition, live.version, live.count) == ("waits", "1", 2)
        page = await processes.changes()
        assert [
            change.record.process_id for change in page.changes if hasattr(change, "record")
        ] == [
            "a",
            "b",
            "c",
        ]
        await processes.signal("b", "end")
        await processes.handle("b").result(timeout=5)
        after = await processes.changes(page.cursor)
        assert {getattr(change, "record").process_id for change in after.changes} == {"b"}  # noqa: B009  a union

        report = await processes.prune()
        assert (report.processes, report.more) == (2, False)
        assert await ids(status="any") == ["c"]
        with pytest.raises(lash.ProcessError) as gone:
            await processes.handle("a").result(timeout=5)
        assert gone.value.code == "process_no_longer_retained"
        with pytest.raises(lash.LashError) as reused:
            await processes.start(waits, id="a")
        assert reused.value.code == "process_no_longer_retained"
        with pytest.raises(lash.ProcessError) as late:
            await processes.handle("c").result(timeout=timedelta(milliseconds=20))
        assert late.value.code == "process_result_timeout"
        with pytest.raises(lash.LashError) as unknown:
            await processes.handle("d").result(timeout=5)
        assert unknown.value.code == "process_unknown"
