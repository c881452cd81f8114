"""Which tools a turn has: those of its agent and of providers, without internal ones and withheld ones."""

import logging
from collections.abc import Collection, Iterator, Mapping

from lash.core.errors import LashError
from lash.llm.request import ToolSpec
from lash.runtime.agents import AgentDefinition
from lash.runtime.plugins.turn_hooks import TurnHooks
from lash.runtime.tool_catalog import own_tools, tools_now
from lash.sessions.tools import SessionToolState
from lash.tools.manifest import for_models
from lash.tools.model import Tool

_log = logging.getLogger("lash.plugins")


class OfferedTools(Mapping[str, Tool]):
    """The tools of a turn, by name: those on offer for the model call made last.

    They are found out anew before each model call. A turn that is resumed has those that its model was
    told of then, whatever providers give and plugins withhold by now.

    Args:
        agent: Whose tools.
        state: What their session says about them.
        hooks: What withholds them.
    """

    def __init__(self, agent: AgentDefinition, state: SessionToolState, hooks: TurnHooks) -> None:
        self._agent = agent
        self._state = state
        self._hooks = hooks
        self._own, self._own_specs = own_tools(agent, state)
        self._offered = dict(self._own)

    def refresh(self) -> None:
        """Find out what is on offer now.

        Raises:
            LashError: `plugin_failed`, or the plugin's own.
        """
        known = for_models(tools_now(self._agent, self._state)).items()
        self._offered = {name: tool for name, tool in known if self._hooks.offers(name)}

    def restore(self, names: Collection[str]) -> None:
        """What a model was told is on offer. What is not there any more is missing."""
        if names == list(self._offered):
            return
        try:
            known = for_models(tools_now(self._agent, self._state))
        except LashError as error:
            # Calls that were begun are to be answered all the same: as calls of a tool that is gone.
            _log.warning("%s", error.message)
            known = dict(self._own)
        self._offered = {name: known[name] for name in names if name in known}

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """How they are offered to a model."""
        if self._offered == self._own:
            return self._own_specs  # one object, which is hashed once
        return tuple(tool.spec for tool in self._offered.values())

    def __getitem__(self, name: str) -> Tool:
        return self._offered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._offered)

    def __len__(self) -> int:
        return len(self._offered)
