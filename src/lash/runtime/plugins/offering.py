"""Which tools a turn has: those of its agent and of providers, without internal ones and withheld ones."""

import logging
from collections.abc import Collection, Iterator, Mapping

from lash.core.errors import LashError
from lash.core.text import described
from lash.llm.request import ToolSpec
from lash.runtime.agents import AgentDefinition
from lash.runtime.plugins.asking import let_through
from lash.runtime.plugins.turn_hooks import TurnHooks
from lash.tools.manifest import for_models
from lash.tools.model import Tool

_log = logging.getLogger("lash.plugins")


class OfferedTools(Mapping[str, Tool]):
    """The tools of a turn, by name: those on offer for the model call made last.

    They are found out anew before each model call. A turn that is resumed has those that its model was
    told of then, whatever providers give and plugins withhold by now.

    Args:
        agent: Whose tools.
        hooks: What withholds them.
    """

    def __init__(self, agent: AgentDefinition, hooks: TurnHooks) -> None:
        self._agent = agent
        self._hooks = hooks
        self._own = for_models(agent.tools)
        self._offered = dict(self._own)

    def refresh(self) -> None:
        """Find out what is on offer now.

        Raises:
            LashError: `plugin_failed`, or the plugin's own.
        """
        known = for_models(self._known()).items()
        self._offered = {name: tool for name, tool in known if self._hooks.offers(name)}

    def restore(self, names: Collection[str]) -> None:
        """What a model was told is on offer. What is not there any more is missing."""
        if names == list(self._offered):
            return
        try:
            known = for_models(self._known())
        except LashError as error:
            # Calls that were begun are to be answered all the same: as calls of a tool that is gone.
            _log.warning("%s", error.message)
            known = self._own
        self._offered = {name: known[name] for name in names if name in known}

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """How they are offered to a model."""
        if self._offered == self._own:
            return self._agent.tool_specs  # one object, which is hashed once
        return tuple(tool.spec for tool in self._offered.values())

    def _known(self) -> Mapping[str, Tool]:
        """The agent's tools and those that providers give just now; of two of a name the first."""
        known = dict(self._agent.tools)
        for provider in self._agent.providers:
            try:
                for tool in provider.tools():
                    known.setdefault(tool.name, tool)
            except LashError:
                raise
            except BaseException as error:
                let_through(error)
                _log.exception("provider %s failed", provider.id)
                raise LashError(
                    "plugin_failed",
                    f"Provider {provider.id!r} could not name its tools: {described(error)}",
                    plugin_id=provider.id,
                ) from error
        return known

    def __getitem__(self, name: str) -> Tool:
        return self._offered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._offered)

    def __len__(self) -> int:
        return len(self._offered)
