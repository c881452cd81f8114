"""Tools by which a model looks after the background processes of its session."""

from typing import Literal

from lash.core.json import JsonObject, JsonValue, to_json
from lash.tools.function import FunctionTool
from lash.tools.model import Tool, ToolContext


def process_tools() -> list[Tool]:
    """`list_processes` and `cancel_process`, for an agent's `tools`.

    A model sees and stops what its session sees, and nothing else.
    """
    return [FunctionTool(list_processes), FunctionTool(cancel_process)]


async def list_processes(
    ctx: ToolContext, status: Literal["live", "all"] = "live"
) -> list[JsonValue]:
    """List the background processes of this session.

    Args:
        ctx: The call.
        status: `live` for those that have not ended, `all` for every one.
    """
    return [to_json(each) for each in await ctx.processes.list(status)]


async def cancel_process(
    process_id: str, ctx: ToolContext, reason: str | None = None
) -> JsonObject:
    """Ask a background process of this session to stop. It ends some time later, or finishes first.

    Args:
        process_id: The process, as `list_processes` calls it.
        ctx: The call.
        reason: Why it is to stop.
    """
    asked = await ctx.processes.cancel(process_id, reason)
    note = (
        "It was asked to stop. It has not stopped yet, and may still finish; list it to see what came of it."
        if asked.stopping
        else "It had ended before, so there was nothing to stop."
    )
    return {
        "process_id": asked.id,
        "cancel_requested": asked.stopping,
        "status": asked.status,
        "note": note,
    }
