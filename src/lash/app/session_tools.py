"""A session's tools, as an application sees and changes them (tools spec 1.4)."""

from collections.abc import Mapping, Sequence

import msgspec

from lash.core.errors import ConfigurationError, ConflictError
from lash.core.json import Data
from lash.runtime.agents import AgentDefinition
from lash.runtime.plugins.offering import OfferedTools
from lash.runtime.plugins.states import PluginStates
from lash.runtime.plugins.turn_hooks import TurnHooks
from lash.runtime.tool_catalog import KnownTools, known_tools, source_of
from lash.sessions.model import SessionHead
from lash.sessions.tools import ChangeTools, SessionToolState, ToolMark
from lash.tools.catalog import ToolState
from lash.tools.catalog_changes import apply_state, resolve_lazily, snapshot
from lash.tools.manifest import ToolManifest

#: The code of a change that somebody else came before.
STALE = "tool_catalog_generation_mismatch"

_Ids = Sequence[str]


class SessionTool(Data):
    """A tool, as one session has it.

    Attributes:
        manifest: The tool: its id, its name, who may call it, its contract in short.
        source: Where it comes from: `agent`, `plugin:<id>` or `provider:<id>`; None while nobody has it.
        member: Whether the session wants it.
        hidden: Whether it is never called in this session.
        offered: Whether a model is offered it, in a turn that begins now.
    """

    manifest: ToolManifest
    source: str | None
    member: bool = True
    hidden: bool = False
    offered: bool = True

    @property
    def id(self) -> str:
        """Who it is."""
        return self.manifest.id

    @property
    def name(self) -> str:
        """What models call it."""
        return self.manifest.name

    @property
    def orphaned(self) -> bool:
        """Whether the session speaks of it and nobody has it here."""
        return self.source is None


class SessionTools(Data):
    """The tools of a session, as they are on the worker that was asked.

    Attributes:
        generation: Counts what the session has said about its tools.
        tools: All there are, those that take no part included, in the order in which models see them.
        state: The same as `Session.apply_tools` takes it.
    """

    generation: int
    tools: tuple[SessionTool, ...]
    state: ToolState

    @property
    def offered(self) -> tuple[str, ...]:
        """The names of those that a model is offered."""
        return tuple(each.name for each in self.tools if each.offered)

    @property
    def orphaned(self) -> tuple[str, ...]:
        """The ids of those that the session speaks of and nobody has here."""
        return tuple(each.id for each in self.tools if each.orphaned)

    def tool(self, name: str) -> SessionTool:
        """The tool of a name.

        Raises:
            KeyError: There is none.
        """
        return next((each for each in self.tools if each.name == name), None) or _none(name)


def session_tools(agent: AgentDefinition, head: SessionHead) -> SessionTools:
    """The tools of a session.

    Raises:
        LashError: `plugin_failed`, or the plugin's own.
    """
    known = known_tools(agent, head.tools, whole=True)
    offered = _offered(agent, head)
    tools = tuple(
        SessionTool(
            manifest=entry.manifest,
            source=source_of(known, tool_id),
            member=entry.member,
            hidden=tool_id in known.catalog.hidden,
            offered=entry.manifest.name in offered and source_of(known, tool_id) is not None,
        )
        for tool_id, entry in known.catalog.entries.items()
    )
    return SessionTools(
        generation=known.catalog.generation, tools=tools, state=snapshot(known.catalog)
    )


def change(
    agent: AgentDefinition,
    state: SessionToolState,
    *,
    members: Mapping[str, bool],
    only: _Ids | None,
    hidden: _Ids | None,
    generation: int | None,
) -> ChangeTools:
    """The change of what a session says that takes tools in and out.

    Raises:
        ConflictError: `tool_catalog_generation_mismatch`.
        ConfigurationError: `tool_catalog_invalid`: nobody has one of the tools, or several sources do.
    """
    check_generation(generation, state)
    given: object = members
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            "tool_catalog_invalid",
            f"members= says of each tool whether it takes part, as in {{'tool:search': False}}, not {given!r}.",
        )
    wanted = dict.fromkeys(_checked(only or ()), True) | dict(members)
    # Providers are asked for those that nobody lists.
    speaking = {each: ToolMark(name=each) for each in wanted}
    known = known_tools(agent, SessionToolState(marks={**speaking, **state.marks}))
    marks = {each: _mark(known, state, each, member=member) for each, member in wanted.items()}
    return ChangeTools(
        expected=generation,
        marks=marks,
        others=None if only is None else not only,
        hidden=None if hidden is None else tuple(_checked(hidden)),
    )


def replacement(agent: AgentDefinition, state: SessionToolState, wanted: ToolState) -> ChangeTools:
    """The change after which a session has exactly the tools of a snapshot.

    Raises:
        ConflictError: `tool_catalog_generation_mismatch`.
        ConfigurationError: `tool_catalog_invalid`: the snapshot does not add up here.
    """
    given: object = wanted
    if not isinstance(given, ToolState):
        raise ConfigurationError(
            "tool_catalog_invalid",
            "apply_tools takes a snapshot, as `(await session.tools()).state` is one, not "
            f"{type(given).__name__}.",
        )
    speaking = {each: ToolMark(name=each) for each in wanted.tools}
    lazily = msgspec.structs.replace(state, marks={**speaking, **state.marks})
    applied = apply_state(known_tools(agent, lazily).catalog, wanted)
    marks = {
        tool_id: ToolMark(name=entry.manifest.name, member=entry.member)
        for tool_id, entry in applied.entries.items()
    }
    return ChangeTools(expected=wanted.generation, marks=marks, others=False)


def check_generation(generation: int | None, state: SessionToolState) -> None:
    """Refuse a change for tools that were changed since they were read.

    Raises:
        ConflictError: `tool_catalog_generation_mismatch`.
    """
    if generation not in (None, state.generation):
        raise ConflictError(
            STALE,
            f"The change is for generation {generation} of the session's tools, which are at "
            f"{state.generation}. Read them again and repeat the change.",
            expected=generation,
            actual=state.generation,
        )


def _mark(known: KnownTools, state: SessionToolState, tool_id: str, *, member: bool) -> ToolMark:
    """What is said of a tool. Somebody has to have it, unless it is one the session has spoken of."""
    catalog = known.catalog
    if member or tool_id not in state.marks:
        catalog = resolve_lazily(catalog, tool_id)
    return ToolMark(name=catalog.entries[tool_id].manifest.name, member=member)


def _offered(agent: AgentDefinition, head: SessionHead) -> frozenset[str]:
    """The names that a model is offered: what plugins withhold is left out."""
    hooks = TurnHooks(agent.plugins, PluginStates(head, lambda _: None), "", "")
    offered = OfferedTools(agent, head.tools, hooks)
    offered.refresh()
    return frozenset(offered)


def _checked(tool_ids: object) -> _Ids:
    """Ids of tools, which a single text is not."""
    if isinstance(tool_ids, str) or not isinstance(tool_ids, Sequence | set | frozenset):
        raise ConfigurationError(
            "tool_catalog_invalid",
            f"Tools are named by a list of their ids, such as ['tool:search'], not {tool_ids!r}.",
        )
    if not all(isinstance(each, str) and each.strip() for each in tool_ids):
        raise ConfigurationError("tool_catalog_invalid", "The id of a tool is text, and not blank.")
    return list(tool_ids)


def _none(name: str) -> SessionTool:
    raise KeyError(name)
