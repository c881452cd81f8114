"""Any sequence of changes to a catalogue of tools, held against a model that looks at everything."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lash.core.errors import LashError
from lash.tools.catalog import (
    Bound,
    SnapshotEntry,
    ToolCatalog,
    ToolSource,
    ToolState,
    by_id,
    by_name,
    members,
)
from lash.tools.catalog_changes import (
    apply_state,
    hide,
    remove_source,
    resolve_lazily,
    restore_state,
    set_membership,
    snapshot,
    upsert_source,
)
from lash.tools.manifest import ToolManifest

#: Few of each, so that they meet: (id, name).
PAIRS = [("1", "a"), ("2", "b"), ("3", "c"), ("4", "a"), ("1", "c"), ("5", "b")]
SOURCES = ["s", "t", "u"]


def manifest(pair: tuple[str, str]) -> ToolManifest:
    return ToolManifest(id=pair[0], name=pair[1])


@dataclass
class Live:
    """A tool as the model knows it: whose it is (None for an orphan), its name, whether it is wanted."""

    owner: str | None
    name: str
    wanted: bool


@dataclass
class Model:
    """Everything there is, looked through anew for each question."""

    listed: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    lazy: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    live: dict[str, Live] = field(default_factory=dict)
    run: list[tuple[str, str]] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)

    def owners(self, tool_id: str) -> list[tuple[str, str]]:
        """(source, name) of every source that has a tool."""
        return [
            (source, name)
            for source in self.listed
            for each, name in [*self.listed[source], *self.lazy[source]]
            if each == tool_id
        ]

    def sweep(self) -> None:
        """Drop the orphans whose name a live tool of another id has."""
        for tool_id, each in list(self.live.items()):
            rivals = [
                other
                for other, it in self.live.items()
                if it.owner is not None and it.name == each.name and other != tool_id
            ]
            if each.owner is None and rivals:
                del self.live[tool_id]

    def name_taken(self, name: str, tool_id: str) -> bool:
        return any(
            it.owner is not None and it.name == name and other != tool_id
            for other, it in self.live.items()
        )

    def wanted_names(self) -> set[tuple[str, str]]:
        """(id, name) of every tool that models are offered."""
        offered = set()
        for tool_id, each in self.live.items():
            in_front = any(tool_id == i or each.name == n for i, n in self.run)
            if each.owner is not None and each.wanted and not in_front:
                offered.add((tool_id, each.name))
        return {pair for pair in offered | set(self.run) if pair[0] not in self.hidden}


some = st.lists(st.sampled_from(PAIRS), max_size=3, unique=True)


class Catalogues(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.catalog = ToolCatalog()
        self.model = Model()

    def change(self, does: Any, *, ok: bool) -> None:
        """Do it; it is refused exactly when the model says so, and then changes nothing."""
        before, shown = self.catalog, self.told()
        try:
            self.catalog = does(before)
        except LashError:
            assert not ok
            return
        assert ok
        if self.told() != shown:
            assert self.catalog.generation == before.generation + 1

    def told(self) -> object:
        """What there is, in whatever order: a turn may bring its tools along in another one."""
        return {each.id: each for each in members(self.catalog)}, snapshot(self.catalog).tools

    @rule(source=st.sampled_from(SOURCES), tools=some, lazy=some)
    def upsert(  # noqa: C901  every case in one place, as the specification lists them
        self, source: str, tools: list[tuple[str, str]], lazy: list[tuple[str, str]]
    ) -> None:
        both, model = [*tools, *lazy], self.model
        ok = len({i for i, _ in both}) == len({n for _, n in both}) == len(both)
        for tool_id, name in tools:
            for other in model.listed:
                if other != source:
                    ok = ok and all(i != tool_id and n != name for i, n in model.listed[other])
            for other, it in model.live.items():
                if it.owner not in (None, source) and (other == tool_id or it.name == name):
                    ok = False
        given = ToolSource(
            id=source, tools=tuple(map(manifest, tools)), lazy=tuple(map(manifest, lazy))
        )
        self.change(lambda catalog: upsert_source(catalog, given), ok=ok)
        if not ok:
            return
        model.listed[source], model.lazy[source] = tools, lazy
        old = {i: it for i, it in model.live.items() if it.owner in (None, source)}
        model.live = {i: it for i, it in model.live.items() if it.owner != source}
        for tool_id, name in tools:
            wanted = old[tool_id].wanted if tool_id in old else True
            model.live[tool_id] = Live(source, name, wanted)
        for tool_id, name in lazy:
            kept = old.get(tool_id)
            if kept is None:
                continue
            alone = len(model.owners(tool_id)) == 1 and not model.name_taken(name, tool_id)
            if kept.owner == source or alone:
                model.live[tool_id] = Live(source, name, kept.wanted)
        model.sweep()

    @rule(tools=some)
    def bring_along(self, tools: list[tuple[str, str]]) -> None:
        ok = len({i for i, _ in tools}) == len({n for _, n in tools}) == len(tools)
        given = ToolSource(id="context", tools=tuple(map(manifest, tools)))
        self.change(lambda catalog: upsert_source(catalog, given), ok=ok)
        if ok:
            self.model.run = tools

    @rule(source=st.sampled_from([*SOURCES, "context"]))
    def remove(self, source: str) -> None:
        model = self.model
        there = self.catalog.overlay is not None if source == "context" else source in model.listed
        self.change(lambda catalog: remove_source(catalog, source), ok=there)
        if source == "context":
            model.run = []
        model.listed.pop(source, None)
        model.lazy.pop(source, None)
        model.live = {i: it for i, it in model.live.items() if it.owner != source}

    @rule(tool_id=st.sampled_from("12345"), wanted=st.booleans())
    def member(self, tool_id: str, *, wanted: bool) -> None:
        model, it = self.model, self.model.live.get(tool_id)
        owners = model.owners(tool_id)
        if it is not None:
            ok = True
        elif wanted:
            ok = len(owners) == 1 and not model.name_taken(owners[0][1], tool_id)
        else:
            ok = bool(owners)
        self.change(lambda catalog: set_membership(catalog, tool_id, member=wanted), ok=ok)
        if it is not None:
            it.wanted = wanted
        elif ok and wanted:
            model.live[tool_id] = Live(*owners[0], wanted=True)
            model.sweep()

    @rule(tool_id=st.sampled_from("12345"))
    def ask(self, tool_id: str) -> None:
        model, it = self.model, self.model.live.get(tool_id)
        owners = model.owners(tool_id)
        there = it is not None and it.owner is not None
        free = len(owners) == 1 and not model.name_taken(owners[0][1], tool_id)
        self.change(lambda catalog: resolve_lazily(catalog, tool_id), ok=there or free)
        if not there and free:
            model.live[tool_id] = Live(*owners[0], wanted=True)
            model.sweep()

    @rule(tool_id=st.sampled_from("12345"))
    def put_away(self, tool_id: str) -> None:
        self.change(lambda catalog: hide(catalog, [tool_id]), ok=True)
        self.model.hidden.add(tool_id)

    @rule(
        entries=st.lists(
            st.tuples(st.sampled_from(PAIRS), st.booleans(), st.booleans()), max_size=4
        ),
        behind=st.integers(0, 1),
    )
    def apply(self, entries: list[tuple[tuple[str, str], bool, bool]], behind: int) -> None:
        model = self.model
        stored = {
            pair[0]: SnapshotEntry(manifest=manifest(pair), orphaned=orphaned, member=wanted)
            for pair, orphaned, wanted in entries
        }
        live: dict[str, Live] = {}
        ok = behind == 0
        for tool_id, each in stored.items():
            owners = model.owners(tool_id)
            if len(owners) == 1:
                live[tool_id] = Live(*owners[0], wanted=each.member)
            else:
                ok = ok and each.orphaned
                live[tool_id] = Live(None, each.manifest.name, each.member)
        there = [it.name for it in live.values() if it.owner is not None]
        ok = ok and len(set(there)) == len(there)
        ok = ok and all(it.owner is not None or it.name not in there for it in live.values())
        state = ToolState(generation=self.catalog.generation - behind, tools=stored)
        before = self.catalog.generation
        self.change(lambda catalog: apply_state(catalog, state), ok=ok)
        if ok:
            model.live = live
            assert self.catalog.generation == before + 1

    @rule(
        entries=st.lists(
            st.tuples(st.sampled_from(PAIRS), st.booleans(), st.booleans()), max_size=4
        ),
        generation=st.integers(0, 9),
    )
    def restore(self, entries: list[tuple[tuple[str, str], bool, bool]], generation: int) -> None:
        model = self.model
        stored = {
            pair[0]: SnapshotEntry(manifest=manifest(pair), orphaned=orphaned, member=wanted)
            for pair, orphaned, wanted in entries
        }
        for tool_id, each in stored.items():
            it, owners = model.live.get(tool_id), model.owners(tool_id)
            if it is not None and it.owner is not None:
                it.wanted = each.member
            elif len(owners) == 1 and not model.name_taken(owners[0][1], tool_id):
                model.live[tool_id] = Live(*owners[0], wanted=each.member)
            else:
                model.live[tool_id] = Live(None, each.manifest.name, each.member)
        model.sweep()
        state = ToolState(generation=generation, tools=stored)
        self.catalog, report = restore_state(self.catalog, state)
        same = snapshot(self.catalog).tools == stored
        assert self.catalog.generation == report.generation == generation + (not same)
        assert set(report.orphaned) == {i for i, it in model.live.items() if it.owner is None}

    @precondition(lambda self: bool(self.catalog.entries))
    @rule()
    def store_and_take_up(self) -> None:
        """What is stored and taken up at once changes nothing."""
        again, _ = restore_state(self.catalog, snapshot(self.catalog))
        assert again == self.catalog

    @invariant()
    def they_agree(self) -> None:
        held = {
            tool_id: (
                each.binding.source_id if isinstance(each.binding, Bound) else None,
                each.manifest.name,
                each.member,
            )
            for tool_id, each in self.catalog.entries.items()
        }
        assert held == {i: (it.owner, it.name, it.wanted) for i, it in self.model.live.items()}
        offered = [(each.id, each.name) for each in members(self.catalog)]
        assert len({name for _, name in offered}) == len({i for i, _ in offered}) == len(offered)
        assert set(offered) == self.model.wanted_names()
        for tool_id, name in PAIRS:
            assert (by_id(self.catalog, tool_id) is not None) == any(
                i == tool_id for i, _ in offered
            )
            assert (by_name(self.catalog, name) is not None) == any(n == name for _, n in offered)


TestCatalogues = Catalogues.TestCase
TestCatalogues.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
