"""Databases with processes in them, made by a real runtime from the text of a module, at a known time.

The same text is given to commands as a module, perhaps changed since.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from recorded_turns import until

import lash
from lash.testing import VirtualClock

SHOP = """
import asyncio
import pathlib
from datetime import timedelta

import lash
from lash.testing import ScriptedModel, reply

support = lash.Agent("support", model=ScriptedModel(lambda request: reply("Hello.")))

async def load(order_id):
    return {"order": order_id, "card": "step-secret"}

@lash.process
async def refund(ctx: lash.ProcessContext, order_id: str) -> str:
    await ctx.step(load, order_id)
    approval = await ctx.signal("approved", timeout=timedelta(days=3))
    return f"{order_id} is refunded: result-secret-that-is-longer-than-what-fits-into-one-line-of-a-screen-by-far"

@lash.process(version="2")
async def notify(ctx: lash.ProcessContext, order_id: str) -> str:
    await ctx.sleep(timedelta(hours=1))
    return "told"

@lash.process
async def both(ctx: lash.ProcessContext, order_id: str) -> str:
    child = await ctx.start(notify, order_id, id=f"notify-{order_id}")
    return await child.result()

@lash.process
async def fails(ctx: lash.ProcessContext) -> None:
    raise ValueError("There is no such order.")

@lash.process
async def adds(ctx: lash.ProcessContext, one: int, other: int) -> int:
    return one + other

@lash.process(recovery="owner_bound")
async def watches(ctx: lash.ProcessContext) -> None:
    await ctx.signal("stop")

@lash.process
async def unlucky(ctx: lash.ProcessContext) -> None:
    if not pathlib.Path("better").exists():
        raise lash.StoreError("store_busy", "The database stayed locked.")

async def look():
    pathlib.Path("looking").touch()
    while not pathlib.Path("found").exists():
        await asyncio.sleep(0.005)
    return "a coin"

@lash.process
async def digs(ctx: lash.ProcessContext) -> str:
    return await ctx.step(look)
"""

#: 2096-10-02 07:06:40 UTC. The commands ask the machine's clock, to which all of it is still to come.
START_MS = 4_000_000_000_000


class Shop:
    """What the text of a module makes."""

    def __init__(self, source: str = SHOP) -> None:
        self.names: dict[str, Any] = {"__name__": "shop_then"}
        exec(compile(source, "shop_then.py", "exec"), self.names)  # noqa: S102  our own text

    def __getitem__(self, name: str) -> lash.ProcessFunction[..., Any]:
        found = self.names[name]
        assert isinstance(found, lash.ProcessFunction)
        return found

    @property
    def processes(self) -> list[lash.ProcessFunction[..., Any]]:
        return [each for each in self.names.values() if isinstance(each, lash.ProcessFunction)]

    @property
    def agents(self) -> list[lash.Agent]:
        return [each for each in self.names.values() if isinstance(each, lash.Agent)]


@asynccontextmanager
async def opened(
    path: Path, shop: Shop, clock: VirtualClock | None = None, *, run: bool = True
) -> AsyncIterator[lash.Runtime]:
    async with lash.Runtime(
        path,
        agents=shop.agents,
        processes=shop.processes,
        clock=clock or VirtualClock(START_MS),
        run_processes=run,
    ) as runtime:
        yield runtime


async def reached(runtime: lash.Runtime, process_id: str, status: str) -> None:
    """Wait until a process has a status."""

    async def has_it() -> bool:
        return (await runtime.processes.get(process_id)).status == status

    await until(has_it)


def leave(
    path: Path,
    work: Callable[[lash.Runtime, Shop], Coroutine[Any, Any, None]],
    source: str = SHOP,
    *,
    run: bool = True,
) -> None:
    """Do something in a runtime over a database, which is closed again."""

    async def do() -> None:
        shop = Shop(source)
        async with opened(path, shop, run=run) as runtime:
            await work(runtime, shop)

    log = logging.getLogger("lash.runtime")  # a command that ran before may write it to stderr
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        asyncio.run(do())
    finally:
        log.setLevel(before)


async def started(runtime: lash.Runtime, shop: Shop) -> None:
    """A process that waits for a signal, one that waits for its child, and what has ended."""
    start = runtime.processes.start
    await start(shop["refund"], "o-7", id="refund-7", session="c-1", label="the refund of o-7")
    await start(shop["both"], "o-8", id="both-8")
    await start(shop["fails"], id="fails-1")
    await start(shop["adds"], 40, 2, id="adds-1")
    for process_id in ("refund-7", "both-8", "notify-o-8"):
        await reached(runtime, process_id, "waiting")
    await reached(runtime, "fails-1", "failed")
    await reached(runtime, "adds-1", "completed")
