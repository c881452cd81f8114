"""Tools in tests: what was asked of them, providers that list them or not, and agents that have them."""

from collections.abc import Sequence
from typing import Any

from plugin_harness import Made
from session_harness import Staged

import lash
from lash.testing import reply
from lash.tools.model import Tool
from lash.tools.provider import ToolProvider


class Watched:
    """A raw tool that keeps what was asked of it."""

    def __init__(self, name: str, *, id: str | None = None, **declared: Any) -> None:  # noqa: A002
        self.ran: list[object] = []
        self.checked: list[object] = []
        self._inner = lash.raw_tool(name, f"Do {name}.", {"type": "object"}, self._body, **declared)
        self.id = id or self._inner.id

    async def _body(self, args: Any) -> str:
        self.ran.append(args)
        return f"{self.name} ran"

    def check(self, args: Any) -> None:
        self.checked.append(args)
        self._inner.check(args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Shelf:
    """A provider: what it lists, and what it has besides."""

    def __init__(self, *listed: Any, lazy: Sequence[Any] = (), name: str = "shelf") -> None:
        self.id = name
        self.listed = list(listed)
        self.lazy = list(lazy)

    def tools(self) -> Sequence[Tool]:
        return self.listed

    def find(self, tool_id: str) -> Tool | None:
        return next((each for each in (*self.listed, *self.lazy) if each.id == tool_id), None)


def having(*shelves: Shelf, **hooks: Any) -> Made:
    """A plugin that brings providers along."""
    provided: list[ToolProvider] = list(shelves)
    return Made("shelves", providers=lambda: provided, **hooks)


def clerk(*tools: Any, says: Sequence[Any] = (), **named: Any) -> tuple[Staged, lash.Agent]:
    """An agent with these tools, whose model says this in every turn, and then `Done.`"""
    model = Staged([*says, reply("Done.")])
    return model, lash.Agent("clerk", model=model, tools=list(tools), **named)


def offered(model: Staged, number: int = -1) -> list[str]:
    return [tool.name for tool in model.asked[number].tools]
