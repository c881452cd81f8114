"""Which tools there are, where they come from, and which of them may be called (tools spec 1.4). Pure.

A catalogue is a value: every change (`catalog_changes`) gives a new one. Nothing of it goes by names but
what models say: membership, hiding and routing go by id.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from lash.core.errors import ConfigurationError, LashError
from lash.core.json import Data
from lash.tools.manifest import ToolGrant, ToolManifest

#: The source of one run alone: its tools stand in front of others, and are in no snapshot.
OVERLAY = "context"


class Bound(Data, tag_field="type", tag="bound"):
    """The tool comes from a source."""

    source_id: str


class Orphaned(Data, tag_field="type", tag="orphaned"):
    """No source has the tool just now; it is known from a snapshot."""


Binding: TypeAlias = Bound | Orphaned


class ToolSource(Data):
    """Where tools come from.

    Attributes:
        id: Tells sources apart.
        tools: What it lists.
        lazy: What it has besides, and gives when it is asked for by id.
    """

    id: str
    tools: tuple[ToolManifest, ...] = ()
    lazy: tuple[ToolManifest, ...] = ()

    def finds(self, tool_id: str) -> ToolManifest | None:
        """The tool of an id, listed or not."""
        return next((each for each in (*self.tools, *self.lazy) if each.id == tool_id), None)


class ToolEntry(Data):
    """A tool of the catalogue.

    Attributes:
        manifest: The tool.
        binding: Where it comes from.
        member: Whether it is wanted. One that is wanted takes part if it is bound.
    """

    manifest: ToolManifest
    binding: Binding
    member: bool = True


class ToolCatalog(Data):
    """The tools of a session.

    Attributes:
        generation: Grows with every change of what there is.
        sources: Where tools come from, by id, in the order in which they came.
        entries: The tools that last, by id.
        overlay: What one run brings along.
        hidden: The ids of tools that are never callable, whoever has them; kept through every change.
    """

    generation: int = 0
    sources: Mapping[str, ToolSource] = {}
    entries: Mapping[str, ToolEntry] = {}
    overlay: ToolSource | None = None
    hidden: tuple[str, ...] = ()


class SnapshotEntry(Data):
    """A tool as a snapshot keeps it."""

    manifest: ToolManifest
    orphaned: bool = False
    member: bool = True


class ToolState(Data):
    """The lasting tools of a catalogue as they are stored, by id."""

    generation: int
    tools: Mapping[str, SnapshotEntry] = {}


class ToolRestoreReport(Data):
    """What became of a snapshot. `orphaned` are the ids that no source has just now."""

    generation: int
    orphaned: tuple[str, ...] = ()


def surface(catalog: ToolCatalog) -> dict[str, ToolEntry]:
    """The tools there are in this run, by id: those of the overlay instead of what they stand before."""
    overlay = catalog.overlay.tools if catalog.overlay is not None else ()
    ids, names = {each.id for each in overlay}, {each.name for each in overlay}
    seen = {
        tool_id: entry
        for tool_id, entry in catalog.entries.items()
        if isinstance(entry.binding, Orphaned)
        or entry.manifest.name not in names
        or tool_id in ids  # replaced where it stands
    }
    bound = Bound(source_id=OVERLAY)
    return {**seen, **{each.id: ToolEntry(manifest=each, binding=bound) for each in overlay}}


def members(catalog: ToolCatalog, *, process: bool = False) -> tuple[ToolManifest, ...]:
    """The tools that models are offered, in the order in which they came; or that processes may call."""
    return tuple(each.manifest for each in _callable(catalog, process=process))


def by_name(catalog: ToolCatalog, name: str, *, process: bool = False) -> ToolEntry | None:
    """The tool that a caller means by a name; None where it may not call it, or there is none.

    Args:
        catalog: The catalogue.
        name: What the caller says.
        process: Whether a process calls, which may call internal tools as well.
    """
    found = _callable(catalog, process=process)
    return next((each for each in found if each.manifest.name == name), None)


def by_id(catalog: ToolCatalog, tool_id: str, *, process: bool = False) -> ToolEntry | None:
    """The tool of an id; None where the caller may not call it, or there is none; see `by_name`."""
    found = _callable(catalog, process=process)
    return next((each for each in found if each.manifest.id == tool_id), None)


def grant_route(catalog: ToolCatalog, grant: ToolGrant) -> ToolSource:
    """Where a granted call goes. It is said by the grant, and never inferred from who has the tool.

    Raises:
        LashError: `tool_grant_source_missing`.
        ConfigurationError: `tool_source_unknown`.
    """
    if grant.source_id is None:
        raise LashError(
            "tool_grant_source_missing",
            f"The grant for tool {grant.manifest.id!r} names no source, and none is guessed. Make the "
            "grant with source_id=.",
            tool=grant.manifest.id,
        )
    overlay = catalog.overlay
    if overlay is not None and grant.source_id == overlay.id:
        return overlay
    if grant.source_id not in catalog.sources:
        raise unknown_source(catalog, grant.source_id)
    return catalog.sources[grant.source_id]


def unknown_source(catalog: ToolCatalog, source_id: str) -> ConfigurationError:
    """That there is no such source, naming those there are."""
    known = ", ".join(map(repr, catalog.sources)) or "none"
    return ConfigurationError(
        "tool_source_unknown",
        f"There is no tool source {source_id!r}; there are: {known}.",
        source=source_id,
    )


def _callable(catalog: ToolCatalog, *, process: bool) -> Iterator[ToolEntry]:
    for entry in surface(catalog).values():
        allowed = process or entry.manifest.activation == "always"
        there = isinstance(entry.binding, Bound) and entry.member
        if there and allowed and entry.manifest.id not in catalog.hidden:
            yield entry
