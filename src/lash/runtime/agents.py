"""Agents as a runtime knows them: by declared name and version, ready to drive a turn."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lash.core.errors import ConfigurationError
from lash.llm.provider import Provider
from lash.llm.request import ModelSpec, ToolSpec
from lash.llm.retry import RetryPolicy
from lash.plugins.registration import NO_PLUGINS, PluginSet
from lash.runtime.direct import BoundModel, ResolveModel
from lash.sessions.model import AgentRef
from lash.tools.model import Tool
from lash.tools.provider import ToolProvider
from lash.turn.prompt import PromptLayer


@dataclass(frozen=True, slots=True)
class AgentDefinition:
    """An agent, resolved: its prompt rendered, its model bound to a provider.

    `layers` are what the prompt was rendered from, for sessions that put something on top.

    The tuple of tool specs is built once: requests share it, and hash it once. So are the `offered`
    tools, those of `tools` that models may call: no turn walks a catalogue of thousands. `sources` says of
    its tools, by name, which plugin brings them along; the others are the agent's own.
    """

    ref: AgentRef
    model: ModelSpec
    provider: Provider
    instructions: str
    layers: tuple[PromptLayer, ...]
    tools: Mapping[str, Tool]
    tool_specs: tuple[ToolSpec, ...]
    offered: Mapping[str, Tool]
    retry: RetryPolicy
    max_turns: int | None = None
    plugins: PluginSet = NO_PLUGINS
    providers: tuple[ToolProvider, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


class AgentRegistry:
    """The agents of one runtime. Several versions of a name may stand side by side (D15)."""

    def __init__(self, agents: Iterable[AgentDefinition]) -> None:
        self._agents: dict[AgentRef, AgentDefinition] = {}
        self._newest: dict[str, AgentRef] = {}
        for agent in agents:
            if agent.ref in self._agents:
                raise ConfigurationError(
                    "agent_duplicate",
                    f"Two agents are called {agent.ref.name!r} in version {agent.ref.version!r}; "
                    "give one of them another name or version.",
                    agent=agent.ref.name,
                    version=agent.ref.version,
                )
            self._agents[agent.ref] = agent
            self._newest[agent.ref.name] = agent.ref

    def __iter__(self) -> Iterator[AgentDefinition]:
        return iter(self._agents.values())

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names."""
        return tuple(self._newest)

    def find(self, ref: AgentRef) -> AgentDefinition | None:
        """Exactly this agent, for work that was accepted under it."""
        return self._agents.get(ref)

    def provider_of(self, ref: AgentRef) -> str | None:
        """The kind of provider that serves an agent."""
        agent = self.find(ref)
        return None if agent is None else agent.provider.kind

    def newest(self, name: str) -> AgentDefinition:
        """The version registered last, for new work.

        Raises:
            ConfigurationError: `agent_unknown`, naming the agents there are.
        """
        ref = self._newest.get(name)
        if ref is None:
            known = ", ".join(repr(item) for item in self.names) or "none"
            raise ConfigurationError(
                "agent_unknown",
                f"No agent is called {name!r}; registered are: {known}. Pass it to Runtime(agents=…).",
                agent=name,
                known=self.names,
            )
        return self._agents[ref]


def default_model(agent: AgentDefinition, resolve: ResolveModel) -> ResolveModel:
    """Finds the model somebody names; nobody in particular is the agent's own."""
    own = BoundModel(spec=agent.model, provider=agent.provider, retry=agent.retry)
    return lambda model: own if model is None else resolve(model)
