"""A tool by which a model makes several calls of its other tools in one, and is told what each came to.

Every call is a durable process that is named by the batch and its place in it: after a crash those that
ended are not run again, and those under way are found where they are.
"""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from lash.core.errors import LashError
from lash.core.json import Data, JsonObject, JsonValue, to_json
from lash.tools.function import FunctionTool
from lash.tools.model import Tool, ToolContext
from lash.tools.processes import ProcessRef

#: How many calls of one batch are made; what is behind is answered with an error.
MAX_CALLS = 25

BATCH = "batch"


class BatchCall(Data):
    """One call of a batch."""

    tool: str
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


class Batch:
    """`batch`, for an agent's `tools`: several calls of the agent's other tools, side by side.

    Models that make several calls in one message have no need of it: those run side by side as well, and
    each is recorded on its own. Here each call is a process of the session, which is listed among its
    processes until the host prunes them. A tool that ends the turn does not end it from here.
    """

    def tools(self) -> list[Tool]:
        """The tool."""
        return [FunctionTool(batch, name=BATCH)]


async def batch(
    tool_calls: Annotated[list[BatchCall], msgspec.Meta(min_length=1, max_length=200)],
    ctx: ToolContext,
) -> JsonObject:
    """Call several tools at once. Each succeeds or fails on its own; at most 25 are called.

    Args:
        tool_calls: The calls: which tool, and its parameters.
        ctx: The call.
    """
    # They are named in the order in which they are asked for, so that is done one by one.
    started = [await _start(ctx, index, call) for index, call in enumerate(tool_calls)]
    loop = asyncio.get_running_loop()

    async def ended(index: int, begun: "ProcessRef | LashError") -> JsonValue:
        at = loop.time()
        told: Mapping[str, object]
        try:
            if isinstance(begun, LashError):
                raise begun
            told = {"success": True, "result": await ctx.processes.result(begun)}
        except LashError as error:
            told = {"success": False, "error": {"code": str(error.code), "message": error.message}}
        tool = tool_calls[index].tool
        waited = 0 if isinstance(begun, LashError) else round((loop.time() - at) * 1000)
        return to_json({"index": index, "tool": tool, "duration_ms": waited, **told})

    return {"results": await asyncio.gather(*(ended(*each) for each in enumerate(started)))}


async def _start(ctx: ToolContext, index: int, call: BatchCall) -> "ProcessRef | LashError":
    """Begin a call, or say why it is not begun."""
    if index >= MAX_CALLS:
        return LashError(
            "invalid_tool_args", f"A batch makes {MAX_CALLS} calls; this one was not made."
        )
    if call.tool == BATCH:
        return LashError("invalid_tool_args", "A batch cannot hold another one.")
    try:
        return await ctx.processes.start_tool(call.tool, call.parameters, by_model=True)
    except LashError as error:
        return error
