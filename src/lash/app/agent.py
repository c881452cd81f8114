"""An agent: a name, a model, instructions and tools."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, cast

from lash.app.model import ModelLike, resolve_model
from lash.core.errors import ConfigurationError
from lash.core.text import is_utf8
from lash.llm.dialects import dialects_of, told_tools
from lash.llm.retry import RetryPolicy
from lash.plugins.plugin import Plugin
from lash.plugins.registration import PluginSet
from lash.runtime.agents import AgentDefinition
from lash.sessions.model import AgentRef
from lash.tools.function import FunctionTool
from lash.tools.manifest import for_models
from lash.tools.model import Tool
from lash.turn.prompt import PromptLayer, instructions_layer, render_prompt

ToolLike: TypeAlias = Tool | Callable[..., object]


class Agent:
    """What a session is run by. Known to the store by its declared name and version.

    Args:
        name: Identifies the agent in stored sessions; never changes for the same agent.
        model: A `"provider:model"` string, a `Model`, or a provider such as `ScriptedModel`.
        instructions: The system prompt.
        tools: Functions decorated with `@lash.tool`, or plain functions.
        version: Change it when running turns must finish with the old code; register both then.
        max_turns: How many model calls one turn may make; None for no limit.
        retry: How failed model calls are retried.
        prompt: Further prompt layers, on top of the instructions.
        plugins: Plugins of this agent, besides those of the runtime.

    Raises:
        ConfigurationError: `agent_invalid`, `tool_duplicate`, `tool_signature_invalid`,
            `plugin_invalid`, `plugin_conflict`.
    """

    def __init__(
        self,
        name: str,
        *,
        model: ModelLike,
        instructions: str = "",
        tools: Sequence[ToolLike] = (),
        version: str = "1",
        max_turns: int | None = None,
        retry: RetryPolicy | None = None,
        prompt: PromptLayer | None = None,
        plugins: Sequence[Plugin] = (),
    ) -> None:
        _check_text("name", name)
        _check_text("version", version)
        _check_text("instructions", instructions)
        if not name.strip() or not version.strip():
            raise ConfigurationError("agent_invalid", "An agent needs a name and a version.")
        _check_list(name, tools)
        if max_turns is not None and max_turns < 1:
            raise ConfigurationError(
                "agent_invalid", f"max_turns of agent {name!r} must be at least 1, not {max_turns}."
            )
        self.name = name
        self.version = version
        self.model = model
        self.instructions = instructions
        self.tools = tuple(_as_tool(item) for item in tools)
        self.max_turns = max_turns
        self.retry = retry or RetryPolicy()
        self.prompt = prompt or PromptLayer()
        own = PluginSet(plugins)
        self.plugins = own.plugins
        _check_names(name, self.tools)
        self._tools_with(own)

    def __repr__(self) -> str:
        return f"Agent({self.name!r}, version={self.version!r})"

    def define(self, plugins: Sequence[Plugin] = ()) -> AgentDefinition:
        """The agent as a runtime drives it: model resolved, prompt rendered.

        Args:
            plugins: Those of the runtime; they come before the agent's own.

        Raises:
            ConfigurationError: The model or its provider cannot be used; see `resolve_model`.
                `plugin_conflict`; `schema_projection_failed`: a tool's schema cannot be told to the model.
        """
        spec, provider = resolve_model(self.model)
        together = PluginSet((*plugins, *self.plugins))
        tools, sources = self._tools_with(together)
        offered = for_models(tools)
        names = list(offered)
        specs = tuple(tool.spec for tool in offered.values())
        if (dialects := dialects_of(provider)) is not None:
            told_tools(specs, dialects.tools)  # better refused now than by every turn
        layers = [instructions_layer(self.instructions), self.prompt]
        return AgentDefinition(
            ref=AgentRef(name=self.name, version=self.version),
            model=spec,
            provider=provider,
            instructions=render_prompt(layers, tools=names),
            layers=tuple(layers),
            tools=tools,
            tool_specs=specs,
            sources=sources,
            offered=offered,
            retry=self.retry,
            max_turns=self.max_turns,
            plugins=together,
            providers=tuple(
                provider for plugin in together.plugins for provider in plugin.providers()
            ),
        )

    def _tools_with(self, plugins: PluginSet) -> tuple[dict[str, Tool], dict[str, str]]:
        """The agent's tools and those of plugins, by name, and the sources of the latter."""
        sources: dict[str, str] = {}
        owners = {tool.name: f"agent {self.name!r}" for tool in self.tools}
        tools = {tool.name: tool for tool in self.tools}
        for plugin in plugins.plugins:
            for tool in map(_as_tool, plugin.tools()):
                if tool.name in tools:
                    raise ConfigurationError(
                        "plugin_conflict",
                        f"Plugin {plugin.id!r} brings a tool {tool.name!r}, which {owners[tool.name]} "
                        "has as well. Leave one of them out, or rename it.",
                        plugin=plugin.id,
                        tool=tool.name,
                    )
                tools[tool.name], owners[tool.name] = tool, f"plugin {plugin.id!r}"
                sources[tool.name] = f"plugin:{plugin.id}"
        return tools, sources


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str) or not is_utf8(value):
        raise ConfigurationError(
            "agent_invalid",
            f"The {what} of an agent must be text that UTF-8 can carry, not {type(value).__name__}.",
        )


def _check_list(agent: str, tools: object) -> None:
    if callable(tools) or not isinstance(tools, Iterable):
        raise ConfigurationError(
            "agent_invalid", f"The tools of agent {agent!r} must be a list: tools=[…]."
        )


def _as_tool(item: ToolLike) -> Tool:
    if hasattr(item, "spec"):
        return cast("Tool", item)  # what has a spec is a tool, by structure
    if not callable(item):
        raise ConfigurationError(
            "tool_signature_invalid",
            f"{item!r} is not a tool; pass functions, or what @lash.tool makes of them.",
        )
    return FunctionTool(item)


def _check_names(agent: str, tools: Sequence[Tool]) -> None:
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise ConfigurationError(
                "tool_duplicate",
                f"Agent {agent!r} has two tools called {tool.name!r}; rename one with name=.",
                agent=agent,
                tool=tool.name,
            )
        seen.add(tool.name)
