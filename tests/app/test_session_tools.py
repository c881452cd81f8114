"""The tools of a session: which are offered and callable, changed for good, and kept where sources differ."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from plugin_harness import Made, codes, location, opened, path, values
from session_harness import Staged, begin, code_of, until_queued
from tools_harness import Shelf, Watched, clerk, having, offered

import lash
import lash.runtime.tool_catalog as catalogue
from lash.contrib.batch import Batch
from lash.core.json import JsonValue
from lash.testing import calls, reply
from lash.turn.prompt import PromptLayer

__all__ = ["location", "path"]


# --- what is offered and callable -------------------------------------------------------------------------


async def test_tools_tells_where_tools_come_from_and_which_are_offered(
    location: str | Path,
) -> None:
    _, agent = clerk(Watched("own"), Watched("quiet", activation="internal"))
    brought = Made("kit", tools=lambda: [Watched("brought")])
    withheld = Made("strict", offers=lambda tool, _: tool != "brought")
    async with opened(location, agent, brought, withheld, having(Shelf(Watched("given")))) as run:
        told = await run.session("s").tools()
    assert [(each.id, each.source, each.offered) for each in told.tools] == [
        ("tool:own", "agent", True),
        ("tool:quiet", "agent", False),
        ("tool:brought", "plugin:kit", False),
        ("tool:given", "provider:shelf", True),
    ]
    assert told.offered == ("own", "given")
    assert told.orphaned == ()
    assert told.tool("own").manifest.description == "Do own."


async def test_dispatch_rejects_non_catalog_tool_before_provider_resolution(
    location: str | Path,
) -> None:
    out, other = Watched("search"), Watched("other")
    model, agent = clerk(out, other, says=[calls(("search", {}))])
    asked: list[str] = []

    async def before_tool(call: Any) -> None:
        asked.append(call.tool)

    async with opened(location, agent, Made("watch", before_tool=before_tool)) as runtime:
        session = runtime.session("s")
        changed = await session.configure_tools(members={"tool:search": False})
        result = await session.run("Go.")
    assert (changed.generation, changed.offered) == (1, ("other",))
    assert offered(model) == ["other"]
    assert codes(result) == ["tool_unavailable"]
    assert (out.checked, out.ran, asked) == ([], [], [])
    (call,) = result.tool_calls
    failure: Any = call.output.outcome
    assert failure.payload.message == ("There is no tool called 'search'. Available tools: other.")


async def test_dispatch_rejects_hidden_tool_before_contract_resolution(
    location: str | Path,
) -> None:
    given = Watched("given")
    model, agent = clerk(Watched("own"), says=[calls(("given", {"a": 1}), ("own", {}))])
    # What plugins say about offers only takes away.
    plugin = having(Shelf(given), offers=lambda *_: True)
    async with opened(location, agent, plugin) as runtime:
        session = runtime.session("s")
        await session.configure_tools(hidden=["tool:given"])
        result = await session.run("Go.")
        told = await session.tools()
    assert offered(model) == ["own"]
    assert values(result) == ["tool_unavailable", "own ran"]
    assert (given.checked, given.ran) == ([], [])
    assert (told.tool("given").hidden, told.tool("given").member) == (True, True)


async def test_only_replaces_the_tools_of_a_session_and_nothing_gives_them_back(
    location: str | Path,
) -> None:
    model, agent = clerk(Watched("a"), Watched("b"), Watched("c"))
    async with opened(location, agent, having(Shelf(Watched("later")))) as runtime:
        session = runtime.session("s")
        await session.configure_tools(members={"tool:a": False})
        await session.configure_tools(only=["tool:b", "tool:a"])
        await session.run("One.")
        await session.configure_tools(members={"tool:c": True})
        await session.run("Two.")
        await session.configure_tools(only=[])
        await session.run("Three.")
    assert [offered(model, turn) for turn in range(3)] == [
        ["a", "b"],
        ["a", "b", "c"],
        ["a", "b", "c", "later"],
    ]


async def test_internal_tools_are_for_processes_also_in_a_session_of_its_own_tools(
    location: str | Path,
) -> None:
    quiet = Watched("quiet", activation="internal")
    model, agent = clerk(quiet, Watched("own"), Watched("out"), says=[calls(("quiet", {}))])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.configure_tools(members={"tool:out": False, "tool:quiet": True})
        result = await session.run("Go.")
        handle = await session.processes.start_tool("quiet", {})
        assert await handle.result() == "quiet ran"
    assert offered(model) == ["own"]
    assert codes(result) == ["tool_unavailable"]


async def test_no_process_calls_what_its_session_does_not_have(location: str | Path) -> None:
    out, hidden = Watched("out"), Watched("hidden")
    inside: list[JsonValue] = [
        {"tool": name, "parameters": {}} for name in ("out", "hidden", "own")
    ]
    _, agent = clerk(
        out,
        hidden,
        Watched("own"),
        *Batch().tools(),
        says=[calls(("batch", {"tool_calls": inside}))],
    )
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.configure_tools(members={"tool:out": False}, hidden=["tool:hidden"])
        (batch,) = values(await session.run("Go."))
        assert isinstance(batch, dict)
        came_to = [each.get("result") or each["error"]["code"] for each in batch["results"]]
        assert came_to == ["process_tool_missing", "process_tool_missing", "own ran"]
        for name in ("out", "hidden"):
            assert await code_of(session.processes.start_tool(name, {})) == "process_tool_missing"
            told = runtime.processes.start_tool("clerk", name, {}, session="s")
            assert await code_of(told) == "process_tool_missing"
        grant = lash.grant_tool(hidden, source_id="agent")
        assert await code_of(session.processes.start_tool(grant, {})) == "process_tool_missing"
        assert (out.ran, hidden.ran) == ([], [])
        # In nobody's name, or in that of a session that says nothing, the agent's tools are there.
        for named in (None, "another"):
            handle = await runtime.processes.start_tool("clerk", "out", {}, session=named)
            assert await handle.result() == "out ran"


async def test_what_was_started_goes_on_although_its_session_hides_it_meanwhile(
    path: Path,
) -> None:
    _, agent = clerk(Watched("slow"))
    async with opened(path, agent, run_processes=False) as runtime:
        session = runtime.session("s")
        await session.processes.start_tool("slow", {}, id="p")
        await session.configure_tools(hidden=["tool:slow"])
    _, agent = clerk(Watched("slow"))
    async with opened(path, agent) as runtime:
        assert await runtime.processes.handle("p").result(timeout=10) == "slow ran"


async def test_hidden_lazy_resolved_tool_is_not_executable_by_id(location: str | Path) -> None:
    rare = Watched("rare")
    model, agent = clerk(Watched("own"), says=[calls(("rare", {}))])
    async with opened(location, agent, having(Shelf(lazy=[rare]))) as runtime:
        session = runtime.session("s")
        assert values(await session.run("Not yet.")) == ["tool_unavailable"]
        taken = await session.configure_tools(members={"tool:rare": True})
        assert taken.tool("rare").source == "provider:shelf"
        assert values(await session.run("Now.")) == ["rare ran"]
        handle = await session.processes.start_tool("rare", {})
        assert await handle.result() == "rare ran"
        await session.configure_tools(hidden=["tool:rare"])
        assert values(await session.run("No more.")) == ["tool_unavailable"]
        assert await code_of(session.processes.start_tool("rare", {})) == "process_tool_missing"
        grant = lash.grant_tool(rare, source_id="provider:shelf")
        assert await code_of(session.processes.start_tool(grant, {})) == "process_tool_missing"
    assert len(rare.ran) == 2
    assert [offered(model, number) for number in (0, 2, 4)] == [["own"], ["own", "rare"], ["own"]]


async def test_what_the_prompt_says_of_a_tool_goes_with_the_tool(location: str | Path) -> None:
    layer = PromptLayer.add("guidance", "Search well.", requires_tools=["search"])
    model, agent = clerk(Watched("search"), prompt=layer)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.configure_tools(members={"tool:search": False})
        await session.run("Two.")
    assert ["Search well." in each.instructions for each in model.asked] == [True, False]


# --- for good ---------------------------------------------------------------------------------------------


async def test_a_session_keeps_its_tools_over_restarts_and_its_forks_begin_with_them(
    path: Path,
) -> None:
    _, agent = clerk(Watched("a"), Watched("b"))
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        await session.configure_tools(members={"tool:a": False}, hidden=["tool:z"])
        await session.run("Go.")
    model, agent = clerk(Watched("a"), Watched("b"), Watched("z"))
    async with opened(path, agent) as runtime:
        fork = await runtime.session("s").fork("f")
        await fork.run("Go.")
        await runtime.session("s").configure_tools(only=[], hidden=[])
        await fork.run("Again.")
        assert (await fork.tools()).generation == 1
        assert (await runtime.session("s").tools()).offered == ("a", "b", "z")
    assert [offered(model, turn) for turn in range(2)] == [["b"], ["b"]]


@pytest.mark.parametrize(
    ("agent_of_child", "how"), [("clerk", "child"), ("helper", "child"), ("helper", "run_turn")]
)
async def test_a_child_session_must_not_do_what_its_parent_must_not(
    location: str | Path, agent_of_child: str, how: str
) -> None:
    danger = Watched("danger")

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> str:
        """Ask another agent."""
        ask_by = ctx.child if how == "child" else ctx.processes.run_turn
        return (await ask_by(agent_of_child, "Do it.")).text

    def script(request: Any) -> Any:
        said = str(request.messages[-1])
        if "Go." in said:
            return calls(("ask", {}))
        return calls(("danger", {})) if "Do it." in said else reply("Done.")

    parent, child = Staged(script), Staged(script)
    agents = [
        lash.Agent("clerk", model=parent, tools=[ask, danger, Watched("own")]),
        lash.Agent("helper", model=child, tools=[danger, Watched("other")]),
    ]
    async with opened(location, agents) as runtime:
        session = runtime.session("s", agent="clerk")
        await session.configure_tools(only=["tool:ask"], hidden=["tool:danger"])
        assert values(await session.run("Go.")) == ["Done."]
    assert danger.ran == []
    asked = child.asked[0] if agent_of_child == "helper" else parent.asked[1]
    # Of the tools of another agent its parent says nothing but what must not be done.
    wanted = ["other"] if agent_of_child == "helper" else ["ask"]
    assert [tool.name for tool in asked.tools] == wanted


async def test_children_of_a_tool_that_runs_as_a_process_and_their_forks_must_not_either(
    location: str | Path,
) -> None:
    danger = Watched("danger")

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> str:
        """Ask another agent."""
        return (await ctx.child("clerk", "Do it.")).session_id

    @lash.tool
    async def behind(ctx: lash.ToolContext) -> object:
        """Ask another agent, in the background."""
        return await ctx.processes.result(await ctx.processes.start_tool("ask", {}))

    def script(request: Any) -> Any:
        said = str(request.messages[-1])
        if "Go." in said:
            return calls(("behind", {}))
        return calls(("danger", {})) if "Do it." in said else reply("Done.")

    agent = lash.Agent("clerk", model=Staged(script), tools=[ask, behind, danger])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.configure_tools(hidden=["tool:danger"])
        (child,) = values(await session.run("Go."))
        assert danger.ran == []
        told = {each.session_id: each for each in await runtime.sessions()}
        relation: Any = told[str(child)].relation
        assert (relation.parent_session_id, relation.depth) == ("s", 1)
        fork = await runtime.session(str(child)).fork("f")
        assert codes(await fork.run("Do it.")) == ["tool_unavailable"]
    assert danger.ran == []


async def test_a_turn_is_replayed_with_the_tools_its_session_had_then(path: Path) -> None:
    _, agent = clerk(Watched("a"), Watched("b"), says=[calls(("a", {}), ("b", {}))])
    async with opened(path, agent) as runtime:
        session = runtime.session("s")
        await session.configure_tools(members={"tool:a": False})
        assert values(await session.run("Go.", turn_id="t")) == ["tool_unavailable", "b ran"]
        await session.configure_tools(only=[])
        report = await runtime.replay("s", "t")
    assert (report.divergence, list(report.drift)) == (None, [])


async def test_restore_orphans_unresolved_tools_instead_of_failing(path: Path) -> None:
    _, agent = clerk(Watched("own"))
    async with opened(path, agent, having(Shelf(Watched("given")))) as runtime:
        await runtime.session("s").configure_tools(members={"tool:given": False})
    model, agent = clerk(Watched("own"))
    async with opened(path, agent) as runtime:  # a worker without the provider
        session = runtime.session("s")
        told = await session.tools()
        assert told.orphaned == ("tool:given",)
        orphan = told.tool("given")
        assert (orphan.orphaned, orphan.member, orphan.offered) == (True, False, False)
        assert (await session.run("Go.")).text == "Done."
        # It may be spoken of all the same; nobody has it, so it cannot be taken in.
        wanted = session.configure_tools(members={"tool:given": True})
        assert await code_of(wanted) == "tool_catalog_invalid"
    assert offered(model) == ["own"]


async def test_orphan_rebinds_when_source_is_upserted_again(location: str | Path) -> None:
    shelf = Shelf(Watched("given"), Watched("more"))
    model, agent = clerk()
    async with opened(location, agent, having(shelf)) as runtime:
        session = runtime.session("s")
        await session.configure_tools(members={"tool:given": False})
        gone, shelf.listed = shelf.listed, []
        assert (await session.tools()).orphaned == ("tool:given",)
        await session.run("Nothing here.")
        shelf.listed = gone
        told = await session.tools()
        assert (told.orphaned, told.tool("given").member) == ((), False)
        await session.run("Back.")
    assert [offered(model, turn) for turn in range(2)] == [[], ["more"]]


async def test_restore_drops_superseded_orphan_and_does_not_transfer_opt_out(
    location: str | Path,
) -> None:
    shelf = Shelf(Watched("search", id="shelf:1"))
    model, agent = clerk()
    async with opened(location, agent, having(shelf)) as runtime:
        session = runtime.session("s")
        await session.configure_tools(members={"shelf:1": False})
        await session.run("Out.")
        shelf.listed = [Watched("search", id="shelf:2")]
        told = await session.tools()
        assert [(each.id, each.member) for each in told.tools] == [("shelf:2", True)]
        await session.run("Another one.")
    assert [offered(model, turn) for turn in range(2)] == [[], ["search"]]


# --- strictly ---------------------------------------------------------------------------------------------


async def test_a_snapshot_is_applied_as_it_is_and_only_to_what_it_was_read_from(
    location: str | Path,
) -> None:
    model, agent = clerk(Watched("a"), Watched("b"), Watched("c"))
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        read = (await session.tools()).state
        out = msgspec.structs.replace(read.tools["tool:a"], member=False)
        wanted = msgspec.structs.replace(
            read, tools={"tool:a": out, "tool:b": read.tools["tool:b"]}
        )
        applied = await session.apply_tools(wanted)
        assert (applied.generation, applied.offered) == (1, ("b",))
        await session.run("Go.")
        with pytest.raises(lash.ConflictError) as late:
            await session.apply_tools(wanted)
        assert late.value.code == "tool_catalog_generation_mismatch"
        assert late.value.details == {"expected": 0, "actual": 1}
        assert await code_of(session.configure_tools(only=[], generation=0)) == late.value.code
        assert (await session.tools()).offered == ("b",)
        back = await session.configure_tools(only=[], generation=1)
        assert (back.generation, back.offered) == (2, ("a", "b", "c"))
    assert offered(model) == ["b"]


async def test_of_two_changes_of_one_generation_the_second_is_refused(
    location: str | Path,
) -> None:
    model, agent = clerk(Watched("a"), Watched("b"))
    gate = model.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = begin(session, "Go.")
        await gate.reached.wait()
        # Both are read before either is carried out: they wait behind the turn.
        first = asyncio.ensure_future(
            session.configure_tools(members={"tool:a": False}, generation=0)
        )
        await until_queued(session, 1)
        second = asyncio.ensure_future(
            session.configure_tools(members={"tool:b": False}, generation=0)
        )
        await until_queued(session, 2)
        gate.open()
        await running
        assert (await first).offered == ("b",)
        assert await code_of(second) == "tool_catalog_generation_mismatch"
        told = await session.tools()
        assert (told.generation, told.offered) == (1, ("b",))


async def test_apply_state_rejects_ambiguous_current_source_binding(
    location: str | Path,
) -> None:
    one, two = Shelf(lazy=[Watched("rare")], name="one"), Shelf(name="two")
    _, agent = clerk(Watched("own"))
    async with opened(location, agent, having(one, two)) as runtime:
        session = runtime.session("s")
        read = (await session.configure_tools(members={"tool:rare": True})).state
        two.lazy = one.lazy
        with pytest.raises(lash.ConfigurationError) as refused:
            await session.apply_tools(read)
        assert refused.value.code == "tool_catalog_invalid"
        assert "several sources have the tool 'tool:rare': provider:one, provider:two" in str(
            refused.value
        )
        told = await session.tools()
        assert (told.generation, told.orphaned) == (1, ("tool:rare",))


@pytest.mark.parametrize(
    "wrong",
    [
        {"members": {"tool:nobody": False}},
        {"members": {"own": True}},  # a name is no id
        {"members": ["tool:own"]},
        {"only": ["tool:own", "tool:nobody"]},
        {"only": "tool:own"},
        {"hidden": "tool:own"},
        {"hidden": [" "]},
    ],
)
async def test_what_makes_no_sense_changes_nothing(wrong: Any) -> None:
    _, agent = clerk(Watched("own"))
    async with opened(":memory:", agent) as runtime:
        session = runtime.session("s")
        assert await code_of(session.configure_tools(**wrong)) == "tool_catalog_invalid"
        state: Any
        for state in ({}, await session.tools()):  # what has a state is none itself
            assert await code_of(session.apply_tools(state)) == "tool_catalog_invalid"
        assert (await session.tools()).generation == 0
        assert await session.info() is None  # not even a turn was made of it


async def test_a_session_that_says_nothing_pays_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, agent = clerk(*(Watched(f"t{number}") for number in range(50)))

    def built(*_: Any, **__: Any) -> Any:
        raise AssertionError("a catalogue was made")

    monkeypatch.setattr(catalogue, "known_tools", built)
    async with opened(":memory:", agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.run("Two.")
    # One tuple, which is hashed once, and told in its dialect once.
    assert model.asked[0].tools is model.asked[1].tools


@pytest.mark.parametrize("broken", ["tools", "find"])
async def test_a_provider_that_raises_ends_the_turn_of_a_session_with_tools_of_its_own(
    location: str | Path, broken: str
) -> None:
    shelf = Shelf(lazy=[Watched("rare")])
    model, agent = clerk()
    async with opened(location, agent, having(shelf)) as runtime:
        session = runtime.session("s")
        await session.configure_tools(members={"tool:rare": True})
        setattr(shelf, broken, lambda *_: 1 / 0)
        result = await session.run("Go.")
        assert [issue.code for issue in result.issues] == ["plugin_failed"]
        assert "'shelf'" in result.issues[0].message
        assert await code_of(session.tools()) == "plugin_failed"
    assert model.asked == []
