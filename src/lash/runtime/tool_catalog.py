"""An agent's tools as a catalogue, and what a session makes of it (tools spec 1.4).

A session that says nothing about its tools has those of its agent, and no catalogue is made for it.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from lash.core.errors import LashError
from lash.core.text import described
from lash.llm.request import ToolSpec
from lash.runtime.agents import AgentDefinition
from lash.runtime.plugins.asking import let_through
from lash.sessions.tools import SessionToolState
from lash.tools.catalog import (
    Bound,
    SnapshotEntry,
    ToolCatalog,
    ToolSource,
    ToolState,
    members,
)
from lash.tools.catalog_changes import hide, restore_state, upsert_source
from lash.tools.manifest import ToolManifest, activation_of, manifest_of
from lash.tools.model import Tool
from lash.tools.provider import LazyToolProvider, ToolProvider

_log = logging.getLogger("lash.plugins")

#: The source of the tools that an agent is declared with.
AGENT_SOURCE = "agent"


def provider_source(provider: ToolProvider) -> str:
    """What the source of a provider's tools is called."""
    return f"provider:{provider.id}"


@dataclass(frozen=True, slots=True)
class KnownTools:
    """The tools that there are here for a session.

    Attributes:
        catalog: Which there are, where they come from, and which take part.
        by_id: The tools themselves, those included that do not take part.
    """

    catalog: ToolCatalog
    by_id: Mapping[str, Tool]

    def named(self, *, process: bool = False) -> dict[str, Tool]:
        """Those that may be called, by name; internal ones by processes alone."""
        found = members(self.catalog, process=process)
        return {each.name: self.by_id[each.id] for each in found}


def tools_now(agent: AgentDefinition, state: SessionToolState) -> dict[str, Tool]:
    """What may be called in a session, by name, internal tools included.

    Raises:
        LashError: `plugin_failed`, or the provider's own.
    """
    if not state.says_nothing:
        return known_tools(agent, state).named(process=True)
    return {tool.name: tool for tools in _by_source(agent).values() for tool in tools}


def own_tools(
    agent: AgentDefinition, state: SessionToolState
) -> tuple[Mapping[str, Tool], tuple[ToolSpec, ...]]:
    """What models are offered in a session of what its agent is declared with, without providers."""
    if state.says_nothing:
        return agent.offered, agent.tool_specs  # one object, which is hashed once
    own = known_tools(agent, state, provided=False).named()
    return own, tuple(tool.spec for tool in own.values())


def known_tools(
    agent: AgentDefinition,
    state: SessionToolState,
    *,
    provided: bool = True,
    whole: bool = False,
) -> KnownTools:
    """The catalogue of a session here, in which what it says about its tools is taken up.

    Args:
        agent: Whose session it is.
        state: What it says.
        provided: Whether providers are asked.
        whole: Whether manifests say all there is to say; else they say who the tools are.

    Raises:
        LashError: `plugin_failed`, or the provider's own.
        ConfigurationError: `tool_catalog_invalid`: a tool without an id or a name.
    """
    listed = _by_source(agent, provided=provided)
    by_id = {tool.id: tool for tools in listed.values() for tool in tools}
    wanted = [tool_id for tool_id in state.marks if tool_id not in by_id]
    lazy = _asked_for(agent, wanted) if provided else {}
    by_id |= {tool.id: tool for tools in lazy.values() for tool in tools}
    manifest = manifest_of if whole else _brief
    catalog = ToolCatalog()
    for source_id in {**listed, **lazy}:
        source = ToolSource(
            id=source_id,
            tools=tuple(map(manifest, listed.get(source_id, ()))),
            lazy=tuple(map(manifest, lazy.get(source_id, ()))),
        )
        catalog = upsert_source(catalog, source)
    catalog, _ = restore_state(hide(catalog, state.hidden), _snapshot(catalog, state))
    # Sources come and go with workers; what is counted is what the session says.
    return KnownTools(msgspec.structs.replace(catalog, generation=state.generation), by_id)


def _snapshot(catalog: ToolCatalog, state: SessionToolState) -> ToolState:
    """What a session says, as a snapshot: of single tools, and of all others if they take no part."""
    said = {
        tool_id: SnapshotEntry(
            manifest=ToolManifest(id=tool_id, name=mark.name), member=mark.member
        )
        for tool_id, mark in state.marks.items()
    }
    others = {
        tool_id: SnapshotEntry(manifest=entry.manifest, member=False)
        for tool_id, entry in catalog.entries.items()
        if not state.others and tool_id not in said
    }
    return ToolState(generation=state.generation, tools={**said, **others})


def source_of(known: KnownTools, tool_id: str) -> str | None:
    """Where a tool comes from; None where nobody has it."""
    entry = known.catalog.entries.get(tool_id)
    binding = entry.binding if entry is not None else None
    return binding.source_id if isinstance(binding, Bound) else None


def tool_of_source(agent: AgentDefinition, source_id: str, tool_id: str) -> Tool | None:
    """The tool of an id that a source has, listed or not. Raises as `known_tools`."""
    for tool in _by_source(agent).get(source_id, ()):
        if tool.id == tool_id:
            return tool
    for provider in agent.providers:
        if provider_source(provider) == source_id:
            found = _found(provider, tool_id)
            if found is not None:
                return found
    return None


def unlisted(agent: AgentDefinition, tool_id: str) -> Tool | None:
    """A tool that a provider has and does not list. Raises as `known_tools`."""
    found = (_found(provider, tool_id) for provider in agent.providers)
    return next((tool for tool in found if tool is not None), None)


def source_ids(agent: AgentDefinition) -> tuple[str, ...]:
    """The sources that an agent has here."""
    own = dict.fromkeys((AGENT_SOURCE, *agent.sources.values()))
    return (*own, *dict.fromkeys(map(provider_source, agent.providers)))


def _by_source(agent: AgentDefinition, *, provided: bool = True) -> dict[str, list[Tool]]:
    """The tools that sources list; of two of a name the first."""
    found: dict[str, list[Tool]] = {}
    names: set[str] = set()
    for name, tool in agent.tools.items():
        names.add(name)
        found.setdefault(agent.sources.get(name, AGENT_SOURCE), []).append(tool)
    for provider in agent.providers if provided else ():
        for tool in _listed(provider):
            if tool.name not in names:
                names.add(tool.name)
                found.setdefault(provider_source(provider), []).append(tool)
    return found


def _asked_for(agent: AgentDefinition, tool_ids: Sequence[str]) -> dict[str, list[Tool]]:
    """The tools of these ids that providers have besides what they list."""
    found: dict[str, list[Tool]] = {}
    for provider in agent.providers:
        tools = [tool for each in tool_ids if (tool := _found(provider, each)) is not None]
        if tools:
            found.setdefault(provider_source(provider), []).extend(tools)
    return found


def _listed(provider: ToolProvider) -> Iterator[Tool]:
    try:
        yield from tuple(provider.tools())
    except BaseException as error:
        raise _failed(provider, "could not name its tools", error) from error


def _found(provider: ToolProvider, tool_id: str) -> Tool | None:
    if not hasattr(provider, "find"):
        return None
    try:
        return cast("LazyToolProvider", provider).find(tool_id)
    except BaseException as error:
        raise _failed(provider, f"could not look for {tool_id!r}", error) from error


def _failed(provider: ToolProvider, what: str, error: BaseException) -> LashError:
    if isinstance(error, LashError):
        return error
    let_through(error)
    _log.error("provider %s failed", provider.id, exc_info=error)
    return LashError(
        "plugin_failed",
        f"Provider {provider.id!r} {what}: {described(error)}",
        plugin_id=provider.id,
    )


def _brief(tool: Tool) -> ToolManifest:
    """Who a tool is, and who may call it."""
    return ToolManifest(id=tool.id, name=tool.name, activation=activation_of(tool))
