"""Tools that come and go while a runtime is open, such as those of a server elsewhere (tools spec 1.5)."""

from collections.abc import Sequence
from typing import Protocol

from lash.tools.model import Tool


class ToolProvider(Protocol):
    """Gives tools that are not known when an agent is written.

    It is asked before each model call, so it answers from what it has in memory. A tool that is offered
    once stays under its id: a call that was recorded is found by it after a restart.
    """

    @property
    def id(self) -> str:
        """Tells providers apart; a plugin's may be the plugin's own id."""
        ...

    def tools(self) -> Sequence[Tool]:
        """The tools on offer now. A tool that cannot be reached just now stays on offer and fails."""
        ...


class LazyToolProvider(ToolProvider, Protocol):
    """Has more tools than it lists; a session that takes one in by its id, and a grant, reach them."""

    def find(self, tool_id: str) -> Tool | None:
        """The tool of an id, listed or not. Answers from memory, as `tools` does."""
        ...
