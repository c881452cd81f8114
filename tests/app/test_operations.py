"""Operations: host code that is entered again goes on behind what it recorded."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from operation_harness import (
    START,
    Ledger,
    has_come_to,
    ledger,
    load,
    location,
    path,
    recorded,
    run,
    through,
    transactions,
)

import lash
from lash.testing import VirtualClock

__all__ = ["ledger", "location", "path"]


# --- a step runs once -------------------------------------------------------------------------------


async def test_a_step_runs_once_however_often_its_operation_is_entered(
    path: Path, ledger: Ledger
) -> None:
    async def body(op: lash.Operation) -> list[object]:
        return [await op.step(ledger.note, number) for number in (7, 8)]

    assert [await run(path, body) for _ in range(3)] == [[7, 8]] * 3
    assert ledger.runs == [7, 8]


async def test_operations_do_not_share_their_steps(path: Path, ledger: Ledger) -> None:
    async with lash.Runtime(path) as runtime:
        for name in ("import-7", "import-8", "import-7"):
            async with runtime.operation(name) as op:
                await op.step(ledger.note, "row")
    assert ledger.runs == ["row", "row"]


async def test_in_memory_an_operation_is_run_again(ledger: Ledger) -> None:
    async with lash.Runtime(":memory:") as runtime:
        for _ in range(2):
            async with runtime.operation("o") as op:
                assert await op.step(ledger.note, 7) == 7
        with pytest.raises(lash.LashError) as raised:
            await runtime.retire_journals(timedelta(0))
    assert ledger.runs == [7, 7]
    assert raised.value.code == "effect_journal_retirement_unsupported"


async def test_a_step_is_one_transaction_and_a_replayed_one_none(
    path: Path, ledger: Ledger
) -> None:
    costs: list[list[int]] = []
    for _ in range(2):
        async with lash.Runtime(path) as runtime:
            seen = [transactions(runtime)]
            async with runtime.operation("o") as op:
                seen.append(transactions(runtime))
                for number in range(3):
                    await op.step(ledger.note, number)
                    seen.append(transactions(runtime))
            seen.append(transactions(runtime))
        costs.append([after - before for before, after in pairwise(seen)])
    assert costs[0] == [0, 1, 1, 1, 1]  # entered, three steps, and that this was all
    assert costs[1] == [1, 0, 0, 0, 1]  # that it is not all after all, and that it is
    assert ledger.runs == [0, 1, 2]


# --- names ------------------------------------------------------------------------------------------


class Clerk:
    def file(self) -> str:
        return "filed"

    def __call__(self) -> str:
        return "called"


@lash.tool
async def look_up(order: str) -> str:
    """Look up an order."""
    return order


async def test_steps_are_called_after_their_functions_unless_they_are_given_a_name(
    path: Path,
) -> None:
    async def body(op: lash.Operation) -> None:
        await op.step(load)
        await op.step(load)
        await op.step(load, name="again: load")
        await op.step(lambda: 1)
        await op.step(Clerk().file)
        await op.step(look_up, order="7")
        await op.step(functools.partial(load), name="partial")
        await op.step(Clerk(), name="clerk")
        await op.step(load)

    await run(path, body)
    assert await recorded(path) == [
        "step:load:1:attempt:1",
        "step:load:2:attempt:1",
        "step:again%3A load:1:attempt:1",
        "step:<lambda>:1:attempt:1",
        "step:file:1:attempt:1",
        "step:look_up:1:attempt:1",
        "step:partial:1:attempt:1",
        "step:clerk:1:attempt:1",
        "step:load:3:attempt:1",
    ]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (load, ""),
        (load, " \t"),
        (load, 7),
        (load, "broken \ud800"),
        (functools.partial(load), None),
        (Clerk(), None),
    ],
)
async def test_a_step_without_a_usable_name_is_refused(
    location: str | Path, function: Callable[[], object], name: Any
) -> None:
    with pytest.raises(lash.LashError, match="name=") as raised:
        await run(location, lambda op: op.step(function, name=name))
    assert raised.value.code == "durable_effect_empty_step_id"


async def test_equal_names_are_told_apart_by_the_order_of_asking_not_of_finishing(
    path: Path,
) -> None:
    done = {name: asyncio.Event() for name in "abcd"}
    done["d"].set()
    finished: list[str] = []

    async def after(name: str, other: str) -> str:
        await done[other].wait()
        finished.append(name)
        done[name].set()
        return name

    async def body(op: lash.Operation) -> list[str]:
        return await asyncio.gather(*(op.step(after, a, b) for a, b in ("ab", "bc", "cd")))

    for _ in range(2):
        assert await run(path, body) == ["a", "b", "c"]
    assert finished == ["c", "b", "a"]
    assert await recorded(path) == [f"step:after:{n}:attempt:1" for n in (3, 2, 1)]


async def test_what_is_asked_for_first_is_the_first_whichever_begins_first(path: Path) -> None:
    """`asyncio.as_completed`, for one, begins what it is given in any order."""
    clock = VirtualClock()

    async def body(op: lash.Operation, *, turned: bool) -> list[object]:
        asked = [op.now(), op.now(), op.random(), op.random(), op.uuid(), op.uuid()]
        answers: dict[int, object] = {}
        places = range(len(asked))
        for place in reversed(places) if turned else places:
            answers[place] = await asked[place]
            clock.advance(1)
        return [answers[place] for place in places]

    first = await run(path, lambda op: body(op, turned=False), clock=clock)
    assert len(set(first)) == 6
    assert await run(path, lambda op: body(op, turned=True), clock=clock) == first


# --- arguments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "paths"),
    [
        (((7,), {}), ((8,), {}), ("identity.input.0",)),
        (((7,), {}), (("7",), {}), ("identity.input.0",)),
        (((7,), {}), ((7, 8), {}), ("identity.input.1",)),
        (((7, 8), {}), ((7,), {}), ("identity.input.1",)),
        (((), {"amount": 7}), ((), {"amount": 8}), ("identity.input.amount",)),
        (((7,), {}), ((), {"amount": 7}), ("identity.input.0", "identity.input.amount")),
        ((({"a": [1, 2]},), {}), (({"a": [1, 3]},), {}), ("identity.input.0.a[1]",)),
        (((["x" * 9_000],), {}), ((["y" * 9_000],), {}), ("identity.input.0.digest",)),
        (((print,), {}), ((object(),), {}), ("identity.input.0.type",)),
    ],
)
async def test_other_arguments_are_refused_by_their_path(
    path: Path, before: tuple[Any, Any], now: tuple[Any, Any], paths: tuple[str, ...]
) -> None:
    runs: list[object] = []

    async def charge(*args: object, **keywords: object) -> None:
        runs.append((args, keywords))

    await run(path, lambda op: op.step(charge, *before[0], **before[1]))
    with pytest.raises(lash.ReplayError) as raised:
        await run(path, lambda op: op.step(charge, *now[0], **now[1]))
    assert raised.value.code == "effect_replay_mismatch"
    assert raised.value.details["paths"] == paths
    assert raised.value.details["replay_key"] == "step:charge:1:attempt:1"
    assert runs == [before]


class Sealed:
    """Tells of itself only that it will not."""

    def model_dump(self, mode: str) -> object:
        raise KeyError(mode)


@pytest.mark.parametrize("make", [object, threading.Lock, lambda: load, Sealed, lambda: "\ud800"])
async def test_arguments_without_a_json_form_are_known_by_their_type(
    path: Path, make: Callable[[], object]
) -> None:
    given: list[object] = []

    async def use(thing: object) -> None:
        given.append(thing)

    first, second = make(), make()
    for thing in (first, second):
        await run(path, lambda op, thing=thing: op.step(use, thing))  # type: ignore[misc]  # a default
    assert len(given) == 1
    assert given[0] is first


async def test_a_step_of_another_name_is_another_step(path: Path, ledger: Ledger) -> None:
    await run(path, lambda op: op.step(ledger.note, 7, name="a"))
    await run(path, lambda op: op.step(ledger.note, 8, name="b"))
    assert ledger.runs == [7, 8]


# --- who is in --------------------------------------------------------------------------------------


def uses(op: lash.Operation) -> list[Callable[[], Coroutine[Any, Any, object]]]:
    return [
        lambda: op.step(load),
        lambda: op.sleep(0),
        lambda: op.wait("w"),
        lambda: op.peek("w"),
        lambda: op.key("w"),
        op.now,
        op.random,
        op.uuid,
        lambda: op.direct("Hi?", model=lash.Model("m", provider=None)),
    ]


async def assert_unusable(op: lash.Operation) -> None:
    for use in uses(op):
        with pytest.raises(lash.LashError, match="inside `async with") as raised:
            await use()
        assert raised.value.code == "operation_not_entered"


async def test_an_operation_is_used_inside_its_block(location: str | Path) -> None:
    async with lash.Runtime(location) as runtime:
        op = runtime.operation("o")
        await assert_unusable(op)
        async with op:
            late = op.step(load)
        await assert_unusable(op)
        with pytest.raises(lash.LashError) as raised:
            await late
        assert raised.value.code == "operation_not_entered"


async def test_an_operation_is_entered_once(location: str | Path) -> None:
    async with lash.Runtime(location) as runtime:
        op = runtime.operation("o")
        async with op:
            with pytest.raises(lash.LashError, match="entered once") as raised:
                await op.__aenter__()
            assert raised.value.code == "operation_not_entered"
            assert await op.step(load) == 1
        with pytest.raises(lash.LashError, match="entered once"):
            await op.__aenter__()
        twice = runtime.operation("o")
        entering = (twice.__aenter__(), twice.__aenter__())
        one, other = await asyncio.gather(*entering, return_exceptions=True)
        assert one is twice
        assert isinstance(other, lash.LashError)
        await twice.__aexit__(None, None, None)


@pytest.mark.parametrize("name", ["", " ", "\ud800", None, 7])
async def test_an_operation_needs_an_id(location: str | Path, name: Any) -> None:
    async with lash.Runtime(location) as runtime:
        with pytest.raises(lash.LashError) as raised:
            runtime.operation(name)
    assert raised.value.code == "operation_id_invalid"


async def test_two_tasks_in_one_operation_share_what_is_recorded(
    path: Path, ledger: Ledger
) -> None:
    go = asyncio.Event()

    async def work(number: int) -> int:
        ledger.runs.append(number)
        await go.wait()
        return number

    async def body(op: lash.Operation) -> object:
        return await op.now(), await op.step(work, 7), await op.random()

    async with lash.Runtime(path) as runtime:
        tasks = [asyncio.create_task(through(runtime, body)) for _ in range(2)]
        await has_come_to(lambda: ledger.runs)
        go.set()
        first, second = await asyncio.gather(*tasks)
    assert first == second
    assert first[1] == 7
    assert ledger.runs == [7]


async def test_two_processes_in_one_operation_go_on_from_what_was_recorded_first(
    path: Path,
) -> None:
    both, may_end = asyncio.Barrier(2), {"a": asyncio.Event(), "b": asyncio.Event()}
    runs: list[str] = []

    async def go(name: str) -> object:
        async def work() -> str:
            runs.append(name)
            await both.wait()
            await may_end[name].wait()
            return name

        async def body(op: lash.Operation) -> object:
            return [await op.step(work), await op.step(lambda: name, name="after")]

        return await run(path, body)

    one, other = asyncio.create_task(go("a")), asyncio.create_task(go("b"))
    await has_come_to(lambda: len(runs) == 2)
    may_end["b"].set()
    assert await other == ["b", "b"]
    may_end["a"].set()
    assert await one == ["b", "b"]
    assert sorted(runs) == ["a", "b"]


async def test_two_processes_in_one_operation_see_one_time(path: Path) -> None:
    early, late = VirtualClock(), VirtualClock(1_760_000_000_000)

    async def stamped(op: lash.Operation) -> object:
        return await op.step(str, await op.now(), name="stamp")

    async with (
        lash.Runtime(path, clock=early) as one,
        lash.Runtime(path, clock=late) as other,
        one.operation("o") as first,
        other.operation("o") as second,
    ):
        assert await first.now() == await second.now() == START
        assert await second.random() == await first.random()
    async with lash.Runtime(path, clock=late) as runtime:
        assert await through(runtime, stamped) == "2025-06-15 15:06:40+00:00"


async def test_a_step_must_not_ask_for_effects_of_its_operation(
    location: str | Path, ledger: Ledger
) -> None:
    """On replay it does not run: they would be missed, and the next ones be taken for them."""

    async def body(op: lash.Operation) -> None:
        async def nested() -> None:
            for use in (*uses(op), runtime.operation("o").__aenter__):
                with pytest.raises(lash.LashError) as raised:
                    await use()
                ledger.runs.append(raised.value.code)
            async with runtime.operation("another") as another:
                await another.step(load)

        await op.step(nested)
        await op.step(load)

    async with lash.Runtime(location) as runtime:
        await through(runtime, body)
    assert ledger.runs == ["operation_nested"] * 10


# --- the end of an operation ------------------------------------------------------------------------


@asynccontextmanager
async def aged(path: Path, clock: VirtualClock) -> AsyncIterator[lash.Runtime]:
    clock.advance(3_600)
    async with lash.Runtime(path, clock=clock) as runtime:
        yield runtime


async def test_a_finished_operation_is_forgotten_when_it_is_old_enough(
    path: Path, ledger: Ledger
) -> None:
    clock = VirtualClock()

    def body(op: lash.Operation) -> Coroutine[Any, Any, Any]:
        return op.step(ledger.note, 7)

    await run(path, body, clock=clock)
    async with aged(path, clock) as runtime:
        kept = await runtime.retire_journals(timedelta(hours=1))
        assert (kept.scopes, kept.records) == (0, 0)
        gone = await runtime.retire_journals(timedelta(minutes=59))
        assert (gone.scopes, gone.records) == (1, 1)
        await through(runtime, body)
    assert ledger.runs == [7, 7]


async def test_an_operation_left_by_an_exception_is_kept(path: Path, ledger: Ledger) -> None:
    clock = VirtualClock()

    async def body(op: lash.Operation) -> object:
        await op.step(ledger.note, 7)
        raise KeyError("later")

    with pytest.raises(KeyError):
        await run(path, body, clock=clock)
    async with aged(path, clock) as runtime:
        assert (await runtime.retire_journals(timedelta(0))).scopes == 0
        with pytest.raises(KeyError):
            await through(runtime, body)
    assert ledger.runs == [7]


async def test_an_operation_that_was_begun_again_is_kept(path: Path, ledger: Ledger) -> None:
    """It may have come further than before, and what it did then must not be done again."""
    clock = VirtualClock()

    async def body(op: lash.Operation) -> object:
        await op.step(ledger.note, 7)
        if ledger.runs == [7]:
            return None
        raise KeyError("later")

    await run(path, body, clock=clock)
    ledger.runs.append("deployed")
    async with aged(path, clock) as runtime:
        with pytest.raises(KeyError):
            await through(runtime, body)
    async with aged(path, clock) as runtime:
        assert (await runtime.retire_journals(timedelta(0))).scopes == 0
        with pytest.raises(KeyError):
            await through(runtime, body)
    assert ledger.runs == [7, "deployed"]


async def test_an_operation_is_finished_when_one_of_those_in_it_has_done_it_all(
    path: Path, ledger: Ledger
) -> None:
    clock = VirtualClock()
    async with lash.Runtime(path, clock=clock) as runtime:
        slow, quick = runtime.operation("o"), runtime.operation("o")
        await slow.__aenter__()
        async with quick:
            await quick.step(ledger.note, 7)
        await slow.step(ledger.note, 7)
        await slow.__aexit__(KeyError, KeyError("its own trouble"), None)
    async with aged(path, clock) as runtime:
        assert (await runtime.retire_journals(timedelta(0))).scopes == 1
    assert ledger.runs == [7]
