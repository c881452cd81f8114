"""Opening runtimes over processes, again and again, and counting what really ran."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import lash
from lash.processes.model import ProcessRecord

Functions = list[lash.ProcessFunction[..., Any]]


class Ledger:
    """What steps really did, outside of anything that is recorded."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()

    def do(self, name: str) -> str:
        self.ran[name] += 1
        return f"did {name}"

    async def aio(self, name: str) -> str:
        return self.do(name)


@asynccontextmanager
async def opened(path: Any, functions: Functions, **options: Any) -> AsyncIterator[lash.Runtime]:
    async with lash.Runtime(path, processes=functions, **options) as runtime:
        yield runtime


async def rested(runtime: lash.Runtime) -> None:
    """Until nothing goes on without the outside."""
    await runtime.idle(timeout=20)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.005)


async def state_of(runtime: lash.Runtime, process_id: str) -> ProcessRecord:
    return await runtime.processes.get(process_id)


async def parked_because(runtime: lash.Runtime, process_id: str) -> str | None:
    """Why a process does not go on by itself, as a code."""
    await rested(runtime)
    parked = (await state_of(runtime, process_id)).state.parked
    return None if parked is None else parked.code
