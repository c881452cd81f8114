"""The catalogue of a session's tools: sources, membership, snapshots, grants; every case by hand."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import lash
from lash.tools.catalog import (
    Bound,
    Orphaned,
    SnapshotEntry,
    ToolCatalog,
    ToolEntry,
    ToolRestoreReport,
    ToolSource,
    ToolState,
    by_id,
    by_name,
    grant_route,
    members,
    surface,
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
from lash.tools.manifest import ToolActivation, ToolGrant, ToolManifest


def tool(name: str, of: str | None = None, activation: ToolActivation = "always") -> ToolManifest:
    return ToolManifest(id=of or f"tool:{name}", name=name, activation=activation)


READ, WRITE, SEND = tool("read"), tool("write"), tool("send")


def source(name: str, *tools: ToolManifest, lazy: tuple[ToolManifest, ...] = ()) -> ToolSource:
    return ToolSource(id=name, tools=tools, lazy=lazy)


def having(*sources: ToolSource) -> ToolCatalog:
    catalog = ToolCatalog()
    for each in sources:
        catalog = upsert_source(catalog, each)
    return catalog


def names(catalog: ToolCatalog) -> list[str]:
    return [each.name for each in members(catalog)]


def kept(manifest: ToolManifest, *, orphaned: bool = False, member: bool = True) -> SnapshotEntry:
    return SnapshotEntry(manifest=manifest, orphaned=orphaned, member=member)


def state(generation: int, *entries: SnapshotEntry) -> ToolState:
    return ToolState(generation=generation, tools={each.manifest.id: each for each in entries})


def refused(change: Callable[[], object]) -> str:
    with pytest.raises(lash.ConfigurationError) as raised:
        change()
    assert raised.value.code == "tool_catalog_invalid"
    return raised.value.message


# --- sources --------------------------------------------------------------------------------------


def test_a_source_brings_its_tools_and_takes_them_along() -> None:
    catalog = having(source("plugins", READ, WRITE), source("live:1", SEND))
    assert names(catalog) == ["read", "write", "send"]
    assert catalog.generation == 2
    assert catalog.entries["tool:send"] == ToolEntry(
        manifest=SEND, binding=Bound(source_id="live:1"), member=True
    )
    left = remove_source(catalog, "plugins")
    assert (names(left), left.generation) == (["send"], 3)
    assert names(catalog) == ["read", "write", "send"]  # a change gives a new one


def test_a_source_is_replaced_whole_and_what_stays_keeps_its_place_and_membership() -> None:
    catalog = set_membership(
        having(source("a", READ, WRITE), source("b", SEND)), READ.id, member=False
    )
    again = upsert_source(catalog, source("a", tool("list"), READ))
    assert list(again.entries) == [READ.id, SEND.id, "tool:list"]
    assert names(again) == ["send", "list"]
    assert names(set_membership(again, READ.id, member=True)) == ["read", "send", "list"]


def test_the_generation_grows_when_there_is_something_else_and_only_then() -> None:
    catalog = having(source("a", READ))
    assert upsert_source(catalog, source("a", READ)).generation == 1
    assert upsert_source(catalog, source("b")).generation == 1
    assert upsert_source(catalog, source("b", lazy=(SEND,))).generation == 1
    assert remove_source(having(source("a", READ), source("b")), "b").generation == 1
    described = msgspec.structs.replace(READ, description="Reads.")
    assert upsert_source(catalog, source("a", described)).generation == 2
    assert set_membership(catalog, READ.id, member=True).generation == 1
    assert set_membership(catalog, READ.id, member=False).generation == 2
    assert hide(catalog, ["tool:other"]).generation == 1
    assert hide(catalog, [READ.id]).generation == 2


@pytest.mark.parametrize(
    "added",
    [
        source("b", READ),
        source("b", tool("read", "mcp:b/read")),
        source("b", tool("other", READ.id)),
        source("b", SEND, SEND),
        source("b", SEND, tool("send", "x")),
        source("b", SEND, lazy=(SEND,)),
        source("b", tool(" ")),
        source("b", tool("x", " ")),
        source(" ", SEND),
        source("context", SEND, SEND),
    ],
)
def test_no_id_and_no_name_is_had_twice(added: ToolSource) -> None:
    catalog = having(source("a", READ))
    assert "stays as it is" in refused(lambda: upsert_source(catalog, added))


def test_a_tool_that_was_left_out_still_has_its_name() -> None:
    catalog = apply_state(having(source("a", READ)), state(1))
    assert names(catalog) == []
    refused(lambda: upsert_source(catalog, source("b", tool("read", "mcp:b/read"))))


def test_a_source_that_is_not_there_cannot_be_removed() -> None:
    for source_id in ("b", "context"):
        with pytest.raises(lash.ConfigurationError, match="there are: 'a'") as raised:
            remove_source(having(source("a")), source_id)
        assert raised.value.code == "tool_source_unknown"


def test_what_a_run_brings_along_stands_before_the_others_and_goes_with_it() -> None:
    catalog = set_membership(having(source("a", READ, WRITE, SEND)), READ.id, member=False)
    mine, other = tool("write", "run:write"), tool("dispatch", SEND.id)
    run = upsert_source(catalog, source("context", READ, mine, other))
    assert [each.id for each in members(run)] == [READ.id, SEND.id, "run:write"]
    assert surface(run)[READ.id].binding == Bound(source_id="context")
    assert [by_name(run, each) is not None for each in ("write", "dispatch", "send")] == [
        True, True, False,
    ]  # fmt: skip
    assert by_id(run, WRITE.id) is None
    assert snapshot(run).tools == snapshot(catalog).tools
    after = remove_source(run, "context")
    assert (after.entries, names(after)) == (catalog.entries, ["write", "send"])
    assert (run.generation, after.generation) == (3, 4)


# --- membership, hiding, activation ---------------------------------------------------------------


def test_another_order_of_what_a_run_brings_along_is_another_generation() -> None:
    one = upsert_source(ToolCatalog(), source("context", tool("a"), tool("b")))
    other = upsert_source(one, source("context", tool("b"), tool("a")))
    assert (names(one), one.generation) == (["a", "b"], 1)
    assert (names(other), other.generation) == (["b", "a"], 2)


def test_a_tool_that_is_opted_out_is_not_callable() -> None:
    catalog = set_membership(having(source("a", READ, WRITE)), READ.id, member=False)
    assert names(catalog) == ["write"]
    assert by_name(catalog, "read") is None
    assert by_id(catalog, READ.id) is None
    assert names(set_membership(catalog, READ.id, member=True)) == ["read", "write"]


def test_a_lazily_resolved_tool_becomes_a_member_and_stays_while_its_source_has_it() -> None:
    lazy = source("a", READ, lazy=(SEND,))
    catalog = having(lazy)
    assert by_id(catalog, SEND.id) is None
    resolved = resolve_lazily(catalog, SEND.id)
    assert (names(resolved), resolved.generation) == (["read", "send"], 2)
    assert set_membership(catalog, SEND.id, member=True) == resolved
    assert resolve_lazily(resolved, SEND.id) == resolved
    assert names(upsert_source(resolved, lazy)) == ["read", "send"]
    assert names(upsert_source(resolved, source("a", READ))) == ["read"]
    refused(lambda: upsert_source(resolved, source("b", SEND)))
    assert set_membership(catalog, SEND.id, member=False) == catalog


def test_what_nobody_has_or_several_have_is_not_resolved() -> None:
    catalog = having(source("a", lazy=(SEND,)), source("b", READ, lazy=(SEND,)))
    assert "several sources have the tool 'tool:send': a, b" in refused(
        lambda: resolve_lazily(catalog, SEND.id)
    )
    assert "no source has" in refused(lambda: set_membership(catalog, "tool:x", member=True))
    assert "no source has" in refused(lambda: set_membership(catalog, "tool:x", member=False))


def test_a_lazily_resolved_tool_may_not_have_a_name_that_is_taken() -> None:
    catalog = having(source("a", READ), source("b", lazy=(tool("read", "b:read"),)))
    assert "'read'" in refused(lambda: resolve_lazily(catalog, "b:read"))


def test_hidden_lazy_resolved_tool_is_not_executable_by_id() -> None:
    catalog = hide(having(source("a", READ, lazy=(SEND,))), [SEND.id])
    resolved = resolve_lazily(catalog, SEND.id)
    for process in (False, True):
        assert by_id(resolved, SEND.id, process=process) is None
        assert by_name(resolved, "send", process=process) is None
    assert names(resolved) == ["read"]
    rebuilt = upsert_source(remove_source(resolved, "a"), source("c", SEND))
    assert by_id(rebuilt, SEND.id) is None
    restored, _ = restore_state(having(source("c", SEND)), snapshot(rebuilt))
    assert by_id(hide(restored, [SEND.id]), SEND.id) is None


def test_normal_dispatch_refuses_internal_activation_by_name_and_id() -> None:
    inner = tool("inner", activation="internal")
    catalog = having(source("a", READ, inner))
    assert names(catalog) == ["read"]
    assert by_name(catalog, "inner") is None
    assert by_id(catalog, inner.id) is None
    assert by_name(catalog, "inner", process=True) == catalog.entries[inner.id]
    assert by_id(catalog, inner.id, process=True) == catalog.entries[inner.id]


# --- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_reads_back_as_it_was_written() -> None:
    catalog = set_membership(having(source("a", READ, SEND)), SEND.id, member=False)
    taken, _ = restore_state(catalog, state(5, kept(WRITE, member=False)))
    stored = msgspec.json.encode(snapshot(taken))
    assert msgspec.json.decode(stored) == {
        "generation": 6,
        "tools": {
            "tool:read": {"manifest": {"id": "tool:read", "name": "read"}},
            "tool:send": {"manifest": {"id": "tool:send", "name": "send"}, "member": False},
            "tool:write": {
                "manifest": {"id": "tool:write", "name": "write"},
                "orphaned": True,
                "member": False,
            },
        },
    }
    assert msgspec.json.decode(stored, type=ToolState) == snapshot(taken)


def test_a_snapshot_is_applied_exactly() -> None:
    catalog = having(source("a", READ, WRITE, lazy=(SEND,)))
    lost = tool("lost")
    wanted = state(1, kept(READ, member=False), kept(SEND), kept(lost, orphaned=True))
    applied = apply_state(catalog, wanted)
    assert applied.generation == 2
    assert applied.entries == {
        READ.id: ToolEntry(manifest=READ, binding=Bound(source_id="a"), member=False),
        SEND.id: ToolEntry(manifest=SEND, binding=Bound(source_id="a"), member=True),
        lost.id: ToolEntry(manifest=lost, binding=Orphaned(), member=True),
    }
    assert names(applied) == ["send"]
    assert names(set_membership(applied, WRITE.id, member=True)) == ["send", "write"]
    assert names(upsert_source(applied, source("a", READ, WRITE))) == ["write"]


def test_apply_state_is_fenced_by_the_generation() -> None:
    catalog = having(source("a", READ))
    for generation in (0, 2):
        with pytest.raises(lash.ConflictError) as raised:
            apply_state(catalog, state(generation, kept(READ)))
        assert raised.value.code == "tool_catalog_generation_mismatch"
        assert raised.value.details == {"expected": generation, "actual": 1}
    assert apply_state(catalog, state(1, kept(READ))).generation == 2


def test_apply_state_rejects_ambiguous_current_source_binding() -> None:
    catalog = having(source("a", lazy=(SEND,)), source("b", SEND))
    assert names(catalog) == ["send"]
    assert "several sources" in refused(lambda: apply_state(catalog, state(1, kept(SEND))))
    assert apply_state(catalog, state(1, kept(SEND, orphaned=True))).entries[
        SEND.id
    ].binding == Orphaned()  # fmt: skip


@pytest.mark.parametrize(
    "entries",
    [
        {"tool:gone": kept(tool("gone"))},
        {"tool:other": kept(READ)},
        {"x": kept(tool("read", "x"), orphaned=True), READ.id: kept(READ)},
        {READ.id: kept(READ), "b:read": kept(tool("read", "b:read"))},
    ],
)
def test_apply_state_refuses_what_does_not_add_up(entries: Any) -> None:
    catalog = having(source("a", READ, lazy=(SEND,)), source("b", lazy=(tool("read", "b:read"),)))
    refused(lambda: apply_state(catalog, ToolState(generation=1, tools=entries)))


def test_restore_orphans_unresolved_tools_instead_of_failing() -> None:
    catalog = having(source("a", READ, WRITE))
    restored, report = restore_state(
        catalog, state(7, kept(READ, member=False), kept(SEND), kept(tool("old"), orphaned=True))
    )
    assert report == ToolRestoreReport(generation=8, orphaned=("tool:old", "tool:send"))
    assert restored.generation == 8
    assert names(restored) == ["write"]  # what is live stays, membership is the snapshot's
    assert restored.entries[SEND.id] == ToolEntry(manifest=SEND, binding=Orphaned(), member=True)
    for process in (False, True):
        assert by_id(restored, SEND.id, process=process) is None


@pytest.mark.parametrize("member", [True, False])
def test_orphan_rebinds_when_source_is_upserted_again(member: bool) -> None:
    catalog = having(source("plugins", READ), source("live:1", SEND))
    stored = snapshot(set_membership(catalog, SEND.id, member=member))
    restored, report = restore_state(having(source("plugins", READ)), stored)
    assert report.orphaned == (SEND.id,)
    assert names(restored) == ["read"]
    back = upsert_source(restored, source("live:1", SEND))
    assert back.entries[SEND.id].binding == Bound(source_id="live:1")
    assert names(back) == (["read", "send"] if member else ["read"])
    assert back.generation == restored.generation + 1


def test_an_orphan_rebinds_to_a_source_that_gives_it_when_asked() -> None:
    restored, _ = restore_state(ToolCatalog(), state(1, kept(SEND)))
    assert names(upsert_source(restored, source("live:1", lazy=(SEND,)))) == ["send"]


def test_an_orphan_does_not_come_back_under_a_name_that_is_taken_by_now() -> None:
    renamed = tool("read", SEND.id)
    restored, _ = restore_state(having(source("a", READ)), state(1, kept(SEND)))
    catalog = upsert_source(restored, source("live:1", lazy=(renamed,)))
    assert catalog.entries[SEND.id] == ToolEntry(manifest=SEND, binding=Orphaned())
    assert names(catalog) == ["read"]


def test_restore_drops_superseded_orphan_and_does_not_transfer_opt_out() -> None:
    old, new = tool("send", "mcp:old/send"), tool("send", "mcp:new/send")
    restored, report = restore_state(having(source("a", new)), state(3, kept(old, member=False)))
    assert report == ToolRestoreReport(generation=4, orphaned=())
    assert list(restored.entries) == [new.id]
    assert names(restored) == ["send"]
    later, _ = restore_state(ToolCatalog(), state(3, kept(old, member=False)))
    assert list(upsert_source(later, source("a", new)).entries) == [new.id]
    assert names(upsert_source(later, source("a", new))) == ["send"]


def test_restore_state_adopts_generation_at_or_above_the_snapshots() -> None:
    catalog = having(source("a", READ))
    for generation in (0, 1, 3, 40):
        same, report = restore_state(catalog, state(generation, kept(READ)))
        assert same.generation == report.generation == generation
        other, report = restore_state(catalog, state(generation))
        assert other.generation == report.generation == generation + 1


def test_restoring_prefers_what_is_live_over_what_was_stored() -> None:
    newer = msgspec.structs.replace(READ, description="Reads more.")
    restored, _ = restore_state(having(source("a", newer)), state(1, kept(READ)))
    assert restored.entries[READ.id].manifest == newer
    assert restored.generation == 2


# --- grants ---------------------------------------------------------------------------------------


def test_execution_grant_without_source_does_not_infer_registry_route() -> None:
    catalog = having(source("a", SEND))
    with pytest.raises(lash.LashError) as raised:
        grant_route(catalog, ToolGrant(manifest=SEND))
    assert raised.value.code == "tool_grant_source_missing"
    with pytest.raises(lash.ConfigurationError) as unknown:
        grant_route(catalog, ToolGrant(manifest=SEND, source_id="b"))
    assert unknown.value.code == "tool_source_unknown"
    assert grant_route(catalog, ToolGrant(manifest=SEND, source_id="a")).id == "a"
    run = upsert_source(catalog, source("context", READ))
    assert grant_route(run, ToolGrant(manifest=READ, source_id="context")).tools == (READ,)


def test_a_grant_can_be_stored_with_a_call() -> None:
    grant = ToolGrant(manifest=SEND, source_id="a", execution_binding={"tenant": 7})
    stored = msgspec.json.encode(grant)
    assert msgspec.json.decode(stored, type=ToolGrant) == grant
    assert msgspec.json.decode(stored)["execution_binding"] == {"tenant": 7}
