"""Opening runtimes that hear of events, again and again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import lash


@asynccontextmanager
async def opened(
    location: str | Path, functions: Sequence[lash.ProcessFunction[..., Any]], **options: Any
) -> AsyncIterator[lash.Runtime]:
    """A runtime that runs these processes; a test that hangs fails."""
    async with (
        asyncio.timeout(60),
        lash.Runtime(location, processes=functions, **options) as runtime,
    ):
        yield runtime


async def rested(runtime: lash.Runtime) -> None:
    """Until nothing goes on without the outside."""
    await runtime.idle(timeout=30)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.005)


async def comes_to(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Until a look finds what it is to find, of which nothing here is told."""
    async with asyncio.timeout(20):
        while await look() != wanted:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.01)
