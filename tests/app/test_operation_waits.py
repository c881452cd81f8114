"""Operations in time: the clock, chance, sleeps, and waiting for the outside."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from operation_harness import (
    KEY,
    START,
    Ledger,
    has_come_to,
    ledger,
    load,
    location,
    path,
    recorded,
    run,
    stopped,
    through,
    transactions,
)

import lash
from lash.core.clock import SequentialIds
from lash.effects.waits.model import ResolvedErr, ResolvedOk
from lash.testing import VirtualClock

__all__ = ["ledger", "location", "path"]

#: What the SHA-256 of the first three ids comes to: 53 bits of it, a UUID of version 4, 53 bits.
CHANCE = [
    0.2942109406066862,
    UUID("282dd14d-0350-4b1c-9b88-abc461d0a70e"),
    0.6044578169883477,
]


# --- time and chance --------------------------------------------------------------------------------


async def test_the_clock_and_chance_are_read_once(path: Path) -> None:
    async def body(op: lash.Operation) -> object:
        return [await op.now(), await op.now(), await op.random(), await op.uuid()]

    clock, ids = VirtualClock(), SequentialIds()
    first = await run(path, body, clock=clock, ids=ids)
    assert first[:2] == [START, START]
    clock.advance(3_600)
    assert await run(path, body, clock=clock, ids=ids) == first


async def test_chance_comes_from_the_source_that_was_injected(location: str | Path) -> None:
    async def body(op: lash.Operation) -> object:
        return [await op.random(), await op.uuid(), await op.random()]

    class Numbered(SequentialIds):
        def new(self, prefix: str) -> str:
            return super().new(prefix) if prefix == "value" else f"{prefix}_0"

    assert await run(location, body, ids=Numbered()) == CHANCE


async def test_a_value_is_written_when_it_is_read(path: Path, ledger: Ledger) -> None:
    """An operation has no lease: another process may be in it, and both must go on from one value."""

    async def body(op: lash.Operation) -> object:
        values = [await op.now(), await op.peek("w"), await op.random(), await op.uuid()]
        ledger.runs.append(values)
        raise KeyError("later")

    async with lash.Runtime(path) as runtime:
        before = transactions(runtime)
        with pytest.raises(KeyError):
            await through(runtime, body)
        assert transactions(runtime) - before == 4
        await runtime.completions.resolve(await key_of(runtime), 7)
        with pytest.raises(KeyError):
            await through(runtime, body)
    assert ledger.runs[0] == ledger.runs[1]
    assert await recorded(path) == ["value:now:1", "peek:w:1", "value:random:1", "value:uuid:1"]


async def key_of(runtime: lash.Runtime) -> lash.AwaitEventKey:
    async with runtime.operation("o") as op:
        return await op.key("w")


async def test_a_sleep_ends_when_it_was_to_end_whatever_happens_meanwhile(path: Path) -> None:
    clock, ended = VirtualClock(), list[datetime]()

    async def body(op: lash.Operation) -> None:
        await op.sleep(timedelta(minutes=1))
        ended.append(START + timedelta(seconds=clock.monotonic()))

    for seconds in (20, 30):
        await stopped(path, body, lambda: clock.sleeping == 5, clock=clock)
        clock.advance(seconds)
    async with lash.Runtime(path, clock=clock) as runtime:
        task = asyncio.create_task(through(runtime, body))
        await has_come_to(lambda: clock.sleeping == 5)
        clock.advance(9.999)
        await asyncio.sleep(0)
        assert not ended
        clock.advance(0.001)
        await task
    await run(path, body, clock=clock)
    assert ended == [START + timedelta(minutes=1)] * 2


async def test_each_sleep_is_one_of_its_own(path: Path) -> None:
    async def body(op: lash.Operation) -> None:
        await asyncio.gather(op.sleep(0.002), op.sleep(timedelta()))
        await op.sleep(0.001)

    for _ in range(2):
        await run(path, body)
    assert await recorded(path) == ["sleep:1", "sleep:2", "sleep:3"]


async def test_a_sleep_of_another_length_is_another_sleep(path: Path) -> None:
    await run(path, lambda op: op.sleep(0.001))
    with pytest.raises(lash.ReplayError) as raised:
        await run(path, lambda op: op.sleep(0.002))
    assert raised.value.details["paths"] == ("identity.duration_ms",)


@pytest.mark.parametrize("use", ["sleep", "wait", "step"])
async def test_a_length_of_time_that_cannot_be_is_refused(location: str | Path, use: str) -> None:
    async def body(op: lash.Operation) -> None:
        match use:
            case "sleep":
                await op.sleep(-1)
            case "wait":
                await op.wait("w", timeout=float("nan"))
            case _:
                await op.step(load, timeout=-1)

    with pytest.raises(lash.ConfigurationError) as raised:
        await run(location, body)
    assert raised.value.code == "duration_invalid"


# --- waits ------------------------------------------------------------------------------------------


async def test_a_wait_gives_what_the_outside_resolved_and_gives_it_again(
    location: str | Path,
) -> None:
    async with lash.Runtime(location) as runtime:
        for _ in range(2):
            async with runtime.operation("o") as op:
                task = asyncio.create_task(op.wait("approved"))
                await asyncio.sleep(0)
                await runtime.completions.resolve(await op.key("approved"), {"by": ["ana"]})
                assert await task == {"by": ["ana"]}
                assert await op.wait("approved", timeout=1) == {"by": ["ana"]}


async def test_an_early_answer_is_kept(path: Path) -> None:
    async with lash.Runtime(path) as runtime:
        async with runtime.operation("o") as op:
            key = await op.key("approved")
        await runtime.completions.resolve(key, "yes")
    assert await run(path, lambda op: op.wait("approved")) == "yes"


async def test_looking_is_recorded_although_nothing_was_there(path: Path) -> None:
    async def body(op: lash.Operation) -> object:
        seen = await op.peek("a"), await op.peek("b")
        await op.step(load)
        return seen

    async with lash.Runtime(path) as runtime:
        async with runtime.operation("o") as op:
            a, b = await op.key("a"), await op.key("b")
        await runtime.completions.resolve(a, 7)
        assert await through(runtime, body) == (ResolvedOk(payload=7), None)
        await runtime.completions.fail(b, "no")
        assert await through(runtime, body) == (ResolvedOk(payload=7), None)
        async with runtime.operation("o") as op:
            await op.peek("b")
            assert isinstance(await op.peek("b"), ResolvedErr)


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        ("fail", "declined", "the bank said no"),
        ("cancel", "durable_effect_event_cancelled", "The wait for 'w' was cancelled."),
    ],
)
async def test_a_wait_that_came_to_nothing_says_why(
    location: str | Path, answer: str, code: str, says: str
) -> None:
    async with lash.Runtime(location) as runtime:
        for _ in range(2):
            async with runtime.operation("o") as op:
                key = await op.key("w")
                if answer == "fail":
                    await runtime.completions.fail(key, "the bank said no", code="declined")
                else:
                    await runtime.completions.cancel(key)
                with pytest.raises(lash.WaitError) as raised:
                    await op.wait("w")
                assert (raised.value.code, raised.value.message) == (code, says)
                assert raised.value.details == {"name": "w"}


async def test_a_wait_times_out_counted_from_when_it_first_began(path: Path) -> None:
    clock = VirtualClock()

    def body(op: lash.Operation) -> Coroutine[Any, Any, Any]:
        return op.wait("w", timeout=timedelta(days=3))

    await stopped(path, body, lambda: clock.sleeping > 4, clock=clock)
    clock.advance(2 * 86_400)
    async with lash.Runtime(path, clock=clock) as runtime:
        task = asyncio.create_task(through(runtime, body))
        await has_come_to(lambda: clock.sleeping > 4)
        clock.advance(86_400 - 0.001)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        clock.advance(0.001)
        with pytest.raises(lash.WaitError) as raised:
            await task
        assert raised.value.code == "durable_effect_event_timeout"
        async with runtime.operation("o") as op:
            answer = await runtime.completions.resolve(await op.key("w"), "late")
    assert type(answer).__name__ == "AlreadyResolved"
    with pytest.raises(lash.WaitError, match="Nobody resolved 'w' before its deadline"):
        await run(path, body, clock=clock)


async def test_a_wait_ends_with_its_runtime_and_goes_on_in_the_next(path: Path) -> None:
    async with lash.Runtime(path) as runtime:
        waiting = asyncio.create_task(through(runtime, lambda op: op.wait("w")))
        key = await key_of(runtime)
        async with asyncio.timeout(20):
            while not await runtime.engine.store.list_waits(KEY):
                pass
    async with asyncio.timeout(20):
        with pytest.raises(lash.LashError) as raised:
            await waiting
    assert raised.value.code == "runtime_closed"
    async with lash.Runtime(path) as runtime:
        await runtime.completions.resolve(key, 7)
        assert await through(runtime, lambda op: op.wait("w")) == 7


@pytest.mark.parametrize("name", ["", " ", "\ud800", None])
async def test_what_is_waited_for_needs_a_name(location: str | Path, name: Any) -> None:
    async with lash.Runtime(location) as runtime, runtime.operation("o") as op:
        for use in (op.key, op.wait, op.peek):
            with pytest.raises(lash.LashError) as raised:
                await use(name)
            assert raised.value.code == "durable_effect_empty_event_key"
