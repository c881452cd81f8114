"""How a catalogue of tools changes: sources come and go, tools are taken in and out, snapshots. Pure.

A change that does not add up is refused whole. The generation grows when what there is changes.
"""

from collections.abc import Iterable, Mapping
from typing import NoReturn

import msgspec

from lash.core.errors import ConfigurationError, ConflictError
from lash.tools.catalog import (
    OVERLAY,
    Bound,
    Orphaned,
    SnapshotEntry,
    ToolCatalog,
    ToolEntry,
    ToolRestoreReport,
    ToolSource,
    ToolState,
    surface,
    unknown_source,
)
from lash.tools.manifest import ToolManifest


def upsert_source(catalog: ToolCatalog, source: ToolSource) -> ToolCatalog:
    """Add a source, or replace what it had. Orphans that it has come back as they were left.

    Raises:
        ConfigurationError: `tool_catalog_invalid`: an id or a name twice.
    """
    if not source.id.strip():
        raise _invalid("a source needs an id")
    _check_unique([*source.tools, *source.lazy], f"source {source.id!r}")
    if source.id == OVERLAY:
        return _counted(catalog, msgspec.structs.replace(catalog, overlay=source))
    others = {key: each for key, each in catalog.entries.items() if not _is_of(each, source.id)}
    _check_apart(catalog, source, others)
    changed = msgspec.structs.replace(catalog, sources={**catalog.sources, source.id: source})
    known = {each.id for each in (*source.tools, *source.lazy)}
    # What stays keeps its place: the order in which tools are told is part of what is cached.
    entries = {key: each for key, each in catalog.entries.items() if key in others or key in known}
    for tool in source.tools:
        member = catalog.entries[tool.id].member if tool.id in catalog.entries else True
        entries[tool.id] = _bound(source, tool, member=member)
    for tool in source.lazy:
        kept = catalog.entries.get(tool.id)
        back = kept is not None and isinstance(kept.binding, Orphaned)
        if back and (len(_owners(changed, tool.id)) != 1 or _name_is_taken(entries, tool)):
            continue
        if kept is not None and (back or _is_of(kept, source.id)):
            entries[tool.id] = _bound(source, tool, member=kept.member)
    return _counted(catalog, msgspec.structs.replace(changed, entries=_without_superseded(entries)))


def remove_source(catalog: ToolCatalog, source_id: str) -> ToolCatalog:
    """Drop a source and its tools.

    Raises:
        ConfigurationError: `tool_source_unknown`.
    """
    if source_id == OVERLAY and catalog.overlay is not None:
        return _counted(catalog, msgspec.structs.replace(catalog, overlay=None))
    if source_id not in catalog.sources:
        raise unknown_source(catalog, source_id)
    changed = msgspec.structs.replace(
        catalog,
        sources={key: each for key, each in catalog.sources.items() if key != source_id},
        entries={key: each for key, each in catalog.entries.items() if not _is_of(each, source_id)},
    )
    return _counted(catalog, changed)


def set_membership(catalog: ToolCatalog, tool_id: str, *, member: bool) -> ToolCatalog:
    """Take a tool in, or out. One that a source gives when asked is asked for.

    Raises:
        ConfigurationError: `tool_catalog_invalid`: nobody has the tool, or several sources do.
    """
    entry = catalog.entries.get(tool_id)
    if entry is None:
        if member:
            return resolve_lazily(catalog, tool_id)
        if not _owners(catalog, tool_id):
            _refuse_owners(catalog, tool_id)
        return catalog
    changed = {**catalog.entries, tool_id: msgspec.structs.replace(entry, member=member)}
    return _counted(catalog, msgspec.structs.replace(catalog, entries=changed))


def resolve_lazily(catalog: ToolCatalog, tool_id: str) -> ToolCatalog:
    """Ask for a tool that a source gives when asked. It becomes a member.

    Raises:
        ConfigurationError: `tool_catalog_invalid`: nobody has the tool, several sources do, or its name
            is taken.
    """
    entry = catalog.entries.get(tool_id)
    if entry is not None and isinstance(entry.binding, Bound):
        return catalog
    source, tool = _only_owner(catalog, tool_id)
    if _name_is_taken(catalog.entries, tool):
        raise _invalid(f"the name of {tool_id!r}, {tool.name!r}, is that of another tool")
    entries = {**catalog.entries, tool_id: _bound(source, tool, member=True)}
    return _counted(catalog, msgspec.structs.replace(catalog, entries=_without_superseded(entries)))


def hide(catalog: ToolCatalog, tool_ids: Iterable[str]) -> ToolCatalog:
    """Never let these tools be called, whoever has them now or later."""
    hidden = tuple(sorted({*catalog.hidden, *tool_ids}))
    return _counted(catalog, msgspec.structs.replace(catalog, hidden=hidden))


def snapshot(catalog: ToolCatalog) -> ToolState:
    """What lasts of a catalogue, as it is stored."""
    return ToolState(
        generation=catalog.generation,
        tools={
            tool_id: SnapshotEntry(
                manifest=entry.manifest,
                orphaned=isinstance(entry.binding, Orphaned),
                member=entry.member,
            )
            for tool_id, entry in sorted(catalog.entries.items())
        },
    )


def apply_state(catalog: ToolCatalog, state: ToolState) -> ToolCatalog:
    """Have exactly the tools of a snapshot; for whoever administers them.

    Raises:
        ConflictError: `tool_catalog_generation_mismatch`: the catalogue changed since it was read.
        ConfigurationError: `tool_catalog_invalid`: a tool that is no orphan is had by no source, or by
            several; an id or a name twice.
    """
    if state.generation != catalog.generation:
        raise ConflictError(
            "tool_catalog_generation_mismatch",
            f"The change is for generation {state.generation} of the catalogue, which is at "
            f"{catalog.generation}. Read it again and repeat the change.",
            expected=state.generation,
            actual=catalog.generation,
        )
    entries: dict[str, ToolEntry] = {}
    for tool_id, kept in state.tools.items():
        if tool_id != kept.manifest.id:
            raise _invalid(f"the snapshot keeps {kept.manifest.id!r} as {tool_id!r}")
        if kept.orphaned and len(_owners(catalog, tool_id)) != 1:
            entries[tool_id] = _orphan(kept)
        else:
            source, tool = _only_owner(catalog, tool_id)
            entries[tool_id] = _bound(source, tool, member=kept.member)
    bound = [each.manifest for each in entries.values() if isinstance(each.binding, Bound)]
    _check_unique(bound, "the snapshot")
    if _without_superseded(entries) != entries:
        raise _invalid("an orphan of the snapshot has the name of a tool that is there")
    return msgspec.structs.replace(catalog, entries=entries, generation=catalog.generation + 1)


def restore_state(catalog: ToolCatalog, state: ToolState) -> tuple[ToolCatalog, ToolRestoreReport]:
    """Take up a snapshot where a session is opened: what is there now stays, what is not is reported.

    Membership is that of the snapshot, tool by tool. A tool that no source has, or that several have,
    becomes an orphan; one whose name another tool has by now is dropped, and its opt-out with it.
    """
    entries = dict(catalog.entries)
    for tool_id, kept in state.tools.items():
        live = entries.get(tool_id)
        owners = _owners(catalog, tool_id)
        tool = owners[0].finds(tool_id) if len(owners) == 1 else None
        if live is not None and isinstance(live.binding, Bound):
            entries[tool_id] = msgspec.structs.replace(live, member=kept.member)
        elif tool is not None and not _name_is_taken(entries, tool):
            entries[tool_id] = _bound(owners[0], tool, member=kept.member)
        else:
            entries[tool_id] = _orphan(kept)
    restored = msgspec.structs.replace(
        catalog, generation=state.generation, entries=_without_superseded(entries)
    )
    if snapshot(restored) != state:
        restored = msgspec.structs.replace(restored, generation=state.generation + 1)
    left = (key for key, each in restored.entries.items() if isinstance(each.binding, Orphaned))
    return restored, ToolRestoreReport(generation=restored.generation, orphaned=tuple(sorted(left)))


def _counted(before: ToolCatalog, after: ToolCatalog) -> ToolCatalog:
    """The catalogue after a change, of the next generation if there is anything else than before."""
    if _seen(before) == _seen(after):
        return after
    return msgspec.structs.replace(after, generation=before.generation + 1)


def _seen(catalog: ToolCatalog) -> object:
    seen = surface(catalog)
    # The order counts: it is the order in which models are told of them.
    return tuple(seen.items()), catalog.entries, {each for each in catalog.hidden if each in seen}


def _is_of(entry: ToolEntry, source_id: str) -> bool:
    return entry.binding == Bound(source_id=source_id)


def _bound(source: ToolSource, tool: ToolManifest, *, member: bool) -> ToolEntry:
    return ToolEntry(manifest=tool, binding=Bound(source_id=source.id), member=member)


def _orphan(kept: SnapshotEntry) -> ToolEntry:
    return ToolEntry(manifest=kept.manifest, binding=Orphaned(), member=kept.member)


def _owners(catalog: ToolCatalog, tool_id: str) -> list[ToolSource]:
    """The sources that have a tool, listed or not."""
    return [each for each in catalog.sources.values() if each.finds(tool_id) is not None]


def _only_owner(catalog: ToolCatalog, tool_id: str) -> tuple[ToolSource, ToolManifest]:
    owners = _owners(catalog, tool_id)
    tool = owners[0].finds(tool_id) if len(owners) == 1 else None
    if tool is None:
        _refuse_owners(catalog, tool_id)
    return owners[0], tool


def _refuse_owners(catalog: ToolCatalog, tool_id: str) -> NoReturn:
    owners = ", ".join(each.id for each in _owners(catalog, tool_id))
    if not owners:
        raise _invalid(f"no source has a tool of the id {tool_id!r} (ids look like 'tool:search')")
    raise _invalid(f"several sources have the tool {tool_id!r}: {owners}")


def _name_is_taken(entries: Mapping[str, ToolEntry], tool: ToolManifest) -> bool:
    """Whether another tool that is there has the name."""
    return any(
        isinstance(each.binding, Bound)
        and each.manifest.name == tool.name
        and each.manifest.id != tool.id
        for each in entries.values()
    )


def _without_superseded(entries: Mapping[str, ToolEntry]) -> dict[str, ToolEntry]:
    """The entries without orphans whose name another tool has by now."""
    return {
        tool_id: entry
        for tool_id, entry in entries.items()
        if isinstance(entry.binding, Bound) or not _name_is_taken(entries, entry.manifest)
    }


def _check_apart(catalog: ToolCatalog, source: ToolSource, others: Mapping[str, ToolEntry]) -> None:
    """Refuse a source that lists what another one lists, or what was asked for from another one."""
    bound = [each.manifest for each in others.values() if isinstance(each.binding, Bound)]
    listed = [
        tool for each in catalog.sources.values() if each.id != source.id for tool in each.tools
    ]
    for tool in source.tools:
        for other in (*listed, *bound):
            if tool.id == other.id or tool.name == other.name:
                raise _invalid(
                    f"source {source.id!r} has the tool {tool.name!r} ({tool.id!r}), and another one "
                    f"has {other.name!r} ({other.id!r})"
                )


def _check_unique(tools: Iterable[ToolManifest], whose: str) -> None:
    ids: set[str] = set()
    names: set[str] = set()
    for each in tools:
        if not each.id.strip() or not each.name.strip():
            raise _invalid(f"{whose} has a tool without an id or a name")
        if each.id in ids or each.name in names:
            raise _invalid(f"{whose} has the tool {each.name!r} ({each.id!r}) twice")
        ids.add(each.id)
        names.add(each.name)


def _invalid(why: str) -> ConfigurationError:
    return ConfigurationError("tool_catalog_invalid", f"The tool catalogue stays as it is: {why}.")
