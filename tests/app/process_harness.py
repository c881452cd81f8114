"""Processes in tests: leaving one in the middle, coming back to it, and what of it really ran."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from operation_harness import START, Ledger, ledger, location, path

import lash
from lash.core.scopes import ProcessScope, journal_key
from lash.processes.model import ProcessParked, ProcessRecord

__all__ = [
    "START",
    "Ledger",
    "ProcessFunction",
    "begun",
    "charging",
    "code_of",
    "come_back",
    "greet",
    "has_come_to",
    "ledger",
    "left",
    "location",
    "opened",
    "outcome",
    "parked",
    "path",
    "quick",
    "recorded",
    "refused",
    "result_after_go",
    "settles",
    "signalled",
    "waits",
]

ProcessFunction = lash.ProcessFunction[..., Any]


@asynccontextmanager
async def opened(
    location: str | Path, *functions: ProcessFunction, within: float = 40, **options: Any
) -> AsyncIterator[lash.Runtime]:
    """A runtime that runs these processes; a test that hangs fails."""
    async with (
        asyncio.timeout(within),
        lash.Runtime(location, processes=functions, **options) as runtime,
    ):
        yield runtime


async def begun(
    runtime: lash.Runtime, function: ProcessFunction, *args: object
) -> lash.ProcessHandle[Any]:
    """Process `p`, which was started and waits for the outside now."""
    handle = await runtime.processes.start(function, *args, id="p")
    await runtime.idle(30)
    return handle


async def left(
    path: Path,
    function: ProcessFunction,
    *args: object,
    also: Sequence[ProcessFunction] = (),
    **options: Any,
) -> None:
    """Start process `p`, and close the runtime once it waits; `also`: what it may start itself."""
    async with opened(path, function, *also, **options) as runtime:
        await begun(runtime, function, *args)


async def signalled(
    path: Path,
    *functions: ProcessFunction,
    name: str = "go",
    payload: object = None,
    **options: Any,
) -> None:
    """Open a runtime, send process `p` a signal, and close once it waits again or has ended."""
    async with opened(path, *functions, **options) as runtime:
        await runtime.processes.signal("p", name, payload)
        await runtime.idle(30)


async def result_after_go(
    path: Path, *functions: ProcessFunction, payload: object = None, **options: Any
) -> Any:
    """Open a runtime, send process `p` the signal `go`, and wait for what it returns."""
    async with opened(path, *functions, **options) as runtime:
        await runtime.processes.signal("p", "go", payload)
        return await runtime.processes.handle("p").result(timeout=20)


async def come_back(path: Path, *functions: ProcessFunction, **options: Any) -> ProcessRecord:
    """Open a runtime, let process `p` go on until it waits again or has ended, and close."""
    async with opened(path, *functions, **options) as runtime:
        await runtime.idle(30)
        return await runtime.processes.get("p")


async def outcome(path: Path, *functions: ProcessFunction, **options: Any) -> Any:
    """Open a runtime and wait for what process `p` comes to."""
    async with opened(path, *functions, **options) as runtime:
        return await runtime.processes.handle("p").outcome(timeout=30)


async def parked(path: Path, *functions: ProcessFunction) -> ProcessParked:
    """Open a runtime with code that process `p` does not go on with; why it does not."""
    record = await come_back(path, *functions)
    assert record.status == "waiting"
    assert record.outcome is None
    assert record.state.parked is not None
    return record.state.parked


@lash.process
async def greet(ctx: lash.ProcessContext, name: str, times: int = 1) -> str:
    """Greet somebody."""
    return ", ".join([f"hello {name}"] * times)


@lash.process
async def waits(ctx: lash.ProcessContext, what: Any = None) -> Any:
    """Waits for the signal `go`, and returns what came with it."""
    return await ctx.signal("go")


@lash.process
async def quick(ctx: lash.ProcessContext, value: Any = None) -> Any:
    """Is over at once, with what it was given."""
    return value


def refused(call: Callable[[lash.ProcessContext], Awaitable[object]]) -> ProcessFunction:
    """A process that asks for something, and returns the code that it is refused with."""

    @lash.process(name="refused")
    async def refused(ctx: lash.ProcessContext) -> str:
        try:
            await call(ctx)
        except lash.LashError as error:
            return error.code
        return "it was not refused"

    return refused


def charging(ledger: Ledger) -> Callable[[], Awaitable[str]]:
    """A step that fails."""

    async def charge() -> str:
        ledger.runs.append("charge")
        raise ValueError("no")

    return charge


async def has_come_to(condition: Callable[[], object]) -> None:
    """Wait until something without an event of its own has happened in this process."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  see above
            await asyncio.sleep(0.001)


async def recorded(runtime: lash.Runtime, scope_id: str = "p") -> Sequence[str]:
    """The keys of the effects of a process, in the order in which they were recorded."""
    records = await runtime.engine.store.load_journal(
        journal_key(ProcessScope(process_id=scope_id))
    )
    return [record.replay_key for record in records]


async def settles(look: Callable[[], Awaitable[object]]) -> None:
    """Wait until what the store says is so."""
    async with asyncio.timeout(30):
        while not await look():  # noqa: ASYNC110  see above
            await asyncio.sleep(0.005)


async def code_of(call: Awaitable[object]) -> str:
    """The code that something is refused with."""
    with pytest.raises(lash.LashError) as raised:
        await call
    return raised.value.code
