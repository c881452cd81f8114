"""Running the body of a tool once: what it returns or raises becomes an output, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec

from lash.attachments.returned import kept_value
from lash.core.errors import LashError
from lash.core.json import to_json
from lash.core.text import described, spelled_out
from lash.effects.outcomes import PendingCompletion
from lash.tools.model import Fail, Finish, SwitchFrame, ToolContext, ToolError, give_up
from lash.turn.tools import (
    FailControl,
    FinishControl,
    SwitchAgentFrameControl,
    ToolFailed,
    ToolFailure,
    ToolOutput,
    ToolSuccess,
    failed,
)


async def run_body(
    name: str,
    body: Callable[[], Awaitable[object]],
    context: ToolContext,
    timeout: timedelta | None,  # noqa: ASYNC109  the tool's own limit, told to the body as it ends
) -> ToolOutput | PendingCompletion:
    """Run a body to its output. What it raises is a failure the model is shown; only cancelling is raised."""
    limit = timeout.total_seconds() if timeout else None
    deadline = asyncio.timeout(limit)
    try:
        async with deadline:
            value = await body()
    except TimeoutError as error:
        if deadline.expired():
            give_up(context, "tool_timeout")
            return failed("timeout", "tool_timeout", f"{name} took more than {limit} s.")
        return _panicked(error)
    except ToolError as error:
        return ToolOutput(outcome=ToolFailed(payload=_kept(error.failure)))
    except LashError as error:  # of the context, or of something of lash that the body uses
        return failed("execution", error.code, spelled_out(error.message), source="tool")
    except Exception as error:  # noqa: BLE001  whatever a tool raises is a value to the turn
        return _panicked(error)
    return value if isinstance(value, PendingCompletion) else _output(name, value)


def _output(name: str, value: object) -> ToolOutput:
    try:
        match value:
            case Finish(value=ending):
                return _success(ending, ends=True)
            case Fail():
                failure = _kept(value.failure)
                # The call itself did what it is for; what failed is the turn.
                return ToolOutput(
                    outcome=ToolSuccess(payload=failure.message),
                    control=FailControl(failure=failure),
                )
            case SwitchFrame(frame_id=frame_id, task=task):
                return ToolOutput(
                    outcome=ToolSuccess(payload=f"The task goes on in frame {frame_id}."),
                    control=SwitchAgentFrameControl(frame_id=frame_id, task=task),
                )
            case _:
                return _success(value)
    except LashError as error:
        message = f"{name} returned something that cannot be stored. {error.message}"
        return failed("execution", "tool_output_not_json", message)


def _success(value: object, *, ends: bool = False) -> ToolOutput:
    kept = kept_value(value)
    return ToolOutput(
        outcome=ToolSuccess(payload=kept.payload, has_attachments=kept.has_attachments),
        control=FinishControl(value=kept.payload) if ends else None,
    )


def _kept(failure: ToolFailure) -> ToolFailure:
    """A failure as the tool declared it, with details that can be stored."""
    try:
        raw = to_json(failure.raw)
    except LashError as refused:
        raw = refused.message
    return msgspec.structs.replace(failure, message=spelled_out(failure.message), raw=raw)


def _panicked(error: Exception) -> ToolOutput:
    return failed("execution", "tool_panicked", described(error), source="tool")
