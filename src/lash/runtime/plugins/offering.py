"""Which tools a turn has: those of its agent and of providers, without what plugins withhold."""

from collections.abc import Iterator, Mapping

from lash.llm.request import ToolSpec
from lash.runtime.agents import AgentDefinition
from lash.runtime.plugins.turn_hooks import TurnHooks
from lash.tools.model import Tool


class OfferedTools(Mapping[str, Tool]):
    """The tools of a turn, by name; looked at anew before each model call.

    Args:
        agent: Whose tools.
        hooks: What withholds them.
    """

    def __init__(self, agent: AgentDefinition, hooks: TurnHooks) -> None:
        self._agent = agent
        self._hooks = hooks
        self._offered: dict[str, Tool] | None = None

    def refresh(self) -> None:
        """Find out what is on offer now."""
        self._offered = {
            name: tool for name, tool in self._agent.tools_now.items() if self._hooks.offers(name)
        }

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """How they are offered to a model."""
        return tuple(tool.spec for tool in self._known().values())

    def _known(self) -> dict[str, Tool]:
        if self._offered is None:
            self.refresh()
        return self._offered or {}

    def __getitem__(self, name: str) -> Tool:
        return self._known()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())
