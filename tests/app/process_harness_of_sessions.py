"""Processes in tests of sessions: some that wait, and agents whose tools do what the test says."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import lash
from lash.testing import ScriptedModel, calls, reply


@lash.process
async def double(ctx: lash.ProcessContext, number: int) -> int:
    return number * 2


@lash.process
async def approval(ctx: lash.ProcessContext, order: str) -> str:
    said = await ctx.signal("said")
    return f"{order}: {said}"


Body = Callable[[lash.ToolContext], Awaitable[object]]


def acting(body: Body, *more: Any, name: str = "agent", **named: Any) -> lash.Agent:
    """An agent whose every turn calls a tool with this body, and then says `Over.`"""

    @lash.tool(**named)
    async def act(ctx: lash.ToolContext) -> object:
        """Do it."""
        return await body(ctx)

    model = ScriptedModel([calls(("act", {})), reply("Over.")])
    return lash.Agent(name, model=model, tools=[act, *more])


def answer(turn: lash.TurnResult, index: int = 0) -> Any:
    """What a tool call of a turn came to: its value, or its failure's code."""
    payload: Any = turn.tool_calls[index].output.outcome.payload
    return getattr(payload, "code", payload)


def runtime(
    location: str | Path,
    *agents: lash.Agent,
    processes: Sequence[Any] = (double, approval),
    **named: Any,
) -> lash.Runtime:
    """A runtime that has the processes of this file."""
    return lash.Runtime(location, agents=agents, processes=processes, **named)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what nothing tells of. A disk that others keep busy takes its time over a commit."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.002)
