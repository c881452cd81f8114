"""Calling the tools for files as a turn calls them, without a model."""

from pathlib import Path
from typing import Any

from lash.contrib.files import Files
from lash.core.cancel import CancelToken
from lash.effects.outcomes import PendingCompletion
from lash.tools.model import Tool, ToolContext
from lash.turn.tools import ToolFailed, ToolFailure, ToolSuccess


def context(name: str, key: str = "key", cancel: CancelToken | None = None) -> ToolContext:
    return ToolContext(
        session_id="s",
        turn_id="t",
        call_id="c",
        tool_name=name,
        attempt=1,
        max_attempts=1,
        idempotency_key=key,
        cancel=cancel or CancelToken(),
    )


async def outcome(tool: Tool, args: dict[str, Any], ctx: ToolContext | None = None) -> Any:
    """What a tool came to: what it returned, or its failure."""
    tool.check(args)
    output = await tool.run(args, ctx or context(tool.name))
    assert not isinstance(output, PendingCompletion)
    if isinstance(output.outcome, ToolSuccess):
        return output.outcome.payload
    assert isinstance(output.outcome, ToolFailed)
    return output.outcome.payload


class Desk:
    """The tools of one folder, by name."""

    def __init__(self, root: Path, *, write: bool = True) -> None:
        self.root = root
        self._tools = {tool.name: tool for tool in Files(root, write=write).tools()}

    async def __call__(self, name: str, **args: Any) -> Any:
        return await outcome(self._tools[name], args)

    async def code(self, name: str, **args: Any) -> str:
        """The code that a call is refused with."""
        failure = await self(name, **args)
        assert isinstance(failure, ToolFailure), failure
        return failure.code

    def put(self, path: str, content: str | bytes) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file
