"""Databases with turns in them, made by a real runtime from the text of a module, at a known time.

The text can then be changed and given to a command as the module it would be after a deploy.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import lash
from lash.testing import VirtualClock

SHOP = '''
import lash
from lash.testing import ScriptedModel, calls, reply

keys = []

@lash.tool
async def lookup_order(order_id: str) -> dict:
    """Look up one order."""
    return {"id": order_id, "status": "shipped"}

@lash.tool
async def refund(ctx: lash.ToolContext, order_id: str) -> object:
    """Pay back an order, once somebody has approved it."""
    return await ctx.defer(keys.append, timeout=3600)

@lash.tool(retry=lash.ToolRetry(base_delay_ms=60_000, max_delay_ms=60_000))
async def reserve(ctx: lash.ToolContext) -> str:
    """Reserve what is asked for."""
    if ctx.attempt == 1:
        raise lash.ToolError("Not yet.", retry=True)
    return "reserved"

def answer(request):
    said = request.messages[-1].blocks[0]
    tools = {"Where?": "lookup_order", "Money back.": "refund", "Keep it.": "reserve"}
    tool = tools.get(getattr(said, "text", ""))
    if tool is None:
        return reply("As you wish.")
    return calls((tool, {} if tool == "reserve" else {"order_id": "7"}))

support = lash.Agent(
    "support",
    model=ScriptedModel(answer),
    instructions="Today is 2026-07-01. Be brief.",
    tools=[lookup_order, refund, reserve],
)
'''

#: 2096-10-02 07:06:40 UTC. The commands ask the machine's clock, to which deadlines then are far off.
START_MS = 4_000_000_000_000


class App:
    """What the text of a module makes."""

    def __init__(self, source: str = SHOP) -> None:
        names: dict[str, object] = {"__name__": "shop_then"}
        exec(compile(source, "shop_then.py", "exec"), names)  # noqa: S102  our own text
        agent, keys = names["support"], names["keys"]
        assert isinstance(agent, lash.Agent)
        assert isinstance(keys, list)
        self.agent = agent
        self.keys: list[lash.AwaitEventKey] = keys


@asynccontextmanager
async def opened(
    path: Path, app: App, clock: VirtualClock | None = None
) -> AsyncIterator[lash.Runtime]:
    async with lash.Runtime(
        path, agents=[app.agent], clock=clock or VirtualClock(START_MS)
    ) as runtime:
        yield runtime


async def committed(path: Path, source: str = SHOP) -> None:
    """Turn t-1 of session c-42: two model calls, and a tool between them."""
    async with opened(path, App(source)) as runtime:
        await runtime.session("c-42").run("Where?", turn_id="t-1")


async def left_open(path: Path, prompt: str, kind: str, source: str = SHOP) -> App:
    """Turn t-1 of session c-42, left when something of a kind was the last thing recorded."""
    app = App(source)
    async with opened(path, app) as runtime:
        running = asyncio.create_task(runtime.session("c-42").run(prompt, turn_id="t-1"))

        async def came_so_far() -> bool:
            try:
                entries = await runtime.journal("c-42", "t-1")
            except lash.LashError:
                return False  # it is not accepted yet
            return bool(entries) and entries[-1].kind == kind

        await until(came_so_far)
        running.cancel()
    return app


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Poll a condition, which may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            met = condition()
            if await met if asyncio.iscoroutine(met) else met:
                return
            await asyncio.sleep(0.005)
