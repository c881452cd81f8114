"""Granted calls: one call of a tool that is in no catalogue, by a grant that goes with the call."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from plugin_harness import Made, location, opened, path, values
from session_harness import code_of, until
from tools_harness import Shelf, Watched, clerk, having

import lash
from lash.core.scopes import ProcessScope, journal_key
from lash.testing import calls
from lash.tools.manifest import PreserveProjectedRefsInField

__all__ = ["location", "path"]

#: Where the tools are that no agent is offered.
SHELF = "provider:shelf"


def bound_tool(told: list[object]) -> Any:
    """A tool that keeps what its grant hands along."""

    @lash.tool
    async def fetch(shelf: str, ctx: lash.ToolContext) -> str:
        """Fetch from a shelf."""
        told.append(ctx.execution_binding)
        return f"{shelf} by {ctx.tool_name}"

    return fetch


async def test_explicit_execution_grant_runs_non_catalog_tool_with_binding(
    location: str | Path,
) -> None:
    told: list[object] = []
    fetch = bound_tool(told)
    _, agent = clerk(Watched("own"))
    async with opened(location, agent, having(Shelf(lazy=[fetch]))) as runtime:
        by_name = runtime.processes.start_tool("clerk", "fetch", {"shelf": "b"})
        assert await code_of(by_name) == "process_tool_missing"
        grant = lash.grant_tool(fetch, source_id=SHELF, execution_binding={"tenant": 7})
        handle = await runtime.processes.start_tool("clerk", grant, {"shelf": "b"}, id="g")
        assert await handle.result() == "b by fetch"
        # The grant was for that call: the session has no more tools than before.
        assert (await runtime.session("s").tools()).offered == ("own",)
        same = await runtime.processes.start_tool("clerk", grant, {"shelf": "b"}, id="g")
        assert await same.result() == "b by fetch"
        other = msgspec.structs.replace(grant, execution_binding={"tenant": 8})
        again = runtime.processes.start_tool("clerk", other, {"shelf": "b"}, id="g")
        assert await code_of(again) == "process_conflict"
    assert told == [{"tenant": 7}]


async def test_a_call_without_a_grant_is_handed_nothing(location: str | Path) -> None:
    told: list[object] = []
    _, agent = clerk(bound_tool(told), says=[calls(("fetch", {"shelf": "b"}))])
    async with opened(location, agent) as runtime:
        assert values(await runtime.session("s").run("Go.")) == ["b by fetch"]
    assert told == [None]


async def test_granted_calls_are_made_by_tools_in_the_name_of_their_session(
    location: str | Path,
) -> None:
    told: list[object] = []
    fetch = bound_tool(told)
    grant = lash.grant_tool(fetch, source_id=SHELF, execution_binding="from a tool")

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> object:
        """Ask for it."""
        return await ctx.processes.result(await ctx.processes.start_tool(grant, {"shelf": "a"}))

    _, agent = clerk(ask, says=[calls(("ask", {}))])
    async with opened(location, agent, having(Shelf(lazy=[fetch]))) as runtime:
        session = runtime.session("s")
        await session.configure_tools(only=["tool:ask"])
        assert values(await session.run("Go.")) == ["a by fetch"]
        (process,) = await session.processes.list(status="all")
        assert process.registration.identity.label == "fetch"
    assert told == ["from a tool"]


async def test_a_grant_opens_internal_tools_and_those_a_session_left_out(
    location: str | Path,
) -> None:
    quiet, out = Watched("quiet", activation="internal"), Watched("out")
    _, agent = clerk(quiet, out)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.configure_tools(members={"tool:out": False})
        for tool in (quiet, out):
            grant = lash.grant_tool(tool, source_id="agent")
            handle = await session.processes.start_tool(grant, {})
            assert await handle.result() == f"{tool.name} ran"


async def test_execution_grant_without_source_does_not_infer_registry_route(
    location: str | Path,
) -> None:
    told: list[object] = []
    _, agent = clerk(bound_tool(told))
    grant = lash.grant_tool(bound_tool(told))
    async with opened(location, agent) as runtime:
        start = runtime.processes.start_tool
        assert await code_of(start("clerk", grant, {"shelf": "b"})) == "tool_grant_source_missing"
        elsewhere = msgspec.structs.replace(grant, source_id="provider:shelf")
        assert await code_of(start("clerk", elsewhere, {"shelf": "b"})) == "tool_source_unknown"
        assert list(await runtime.processes.list(status="any")) == []
    assert told == []


async def test_granted_arguments_are_checked_against_the_grants_contract(
    location: str | Path,
) -> None:
    wide = Watched("wide")
    _, agent = clerk()
    contract: Any = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}}
    grant = lash.grant_tool(wide, source_id=SHELF)
    narrow = msgspec.structs.replace(
        grant, contract=msgspec.structs.replace(grant.contract, input_schema=contract)
    )
    async with opened(location, agent, having(Shelf(lazy=[wide]))) as runtime:
        start = runtime.processes.start_tool
        assert await code_of(start("clerk", narrow, {"n": 4})) == "invalid_tool_args"
        assert await (await start("clerk", narrow, {"n": 3})).result() == "wide ran"
    assert wide.ran == [{"n": 3}]


async def test_granted_tool_of_a_source_that_has_another_one_is_refused(
    location: str | Path,
) -> None:
    """Whoever registers it is told, and so is the call if the source changes its mind later."""
    first, second = Watched("first"), Watched("second")
    _, agent = clerk()
    shelf = Shelf(lazy=[first])
    grant = lash.grant_tool(first, source_id=SHELF)
    async with opened(location, agent, having(shelf)) as runtime:
        start = runtime.processes.start_tool
        shelf.find = lambda _: second  # type: ignore[assignment, method-assign]
        with pytest.raises(lash.LashError) as refused:
            await start("clerk", grant, {})
        assert refused.value.code == "granted_tool_id_mismatch"
        assert refused.value.details == {"granted": "tool:first", "called": "tool:second"}
        shelf.find = lambda _: None  # type: ignore[assignment, method-assign]
        assert await code_of(start("clerk", grant, {})) == "tool_unavailable"
        answers = [first, second]
        shelf.find = lambda _: answers.pop(0)  # type: ignore[assignment, method-assign]
        handle = await start("clerk", grant, {})
        assert await code_of(handle.result()) == "granted_tool_id_mismatch"
    assert (first.ran, second.ran) == ([], [])


async def test_a_grant_holds_in_another_process_and_is_recorded_with_the_attempt(
    path: Path,
) -> None:
    told: list[object] = []
    fetch = bound_tool(told)
    grant = lash.grant_tool(fetch, source_id=SHELF, execution_binding={"tenant": 7})
    _, agent = clerk()
    async with opened(path, agent, having(Shelf(lazy=[fetch])), run_processes=False) as runtime:
        await runtime.processes.start_tool("clerk", grant, {"shelf": "b"}, id="g")
    _, agent = clerk()
    async with opened(path, agent) as runtime:  # a worker that lacks the source leaves it alone

        async def parked() -> bool:
            found = (await runtime.processes.get("g")).state.parked
            return found is not None and found.code == "tool_source_unknown"

        await until(parked)
    _, agent = clerk()
    async with opened(path, agent, having(Shelf(lazy=[fetch]))) as runtime:
        handle = runtime.processes.handle("g")
        assert await handle.result(timeout=10) == "b by fetch"
        records = await runtime.engine.store.load_journal(journal_key(ProcessScope(process_id="g")))
        envelopes = [record.envelope for record in records if record.kind == "tool_attempt"]
    assert told == [{"tenant": 7}]
    assert '"execution_binding":{"tenant":7}' in envelopes[0]


async def test_granted_binding_is_there_while_the_answer_is_left_to_the_outside(
    location: str | Path,
) -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()

    @lash.tool
    async def approve(ctx: lash.ToolContext) -> lash.PendingCompletion:
        """Have it approved."""
        return await ctx.defer(lambda key: told.put_nowait((key, ctx.execution_binding)))

    _, agent = clerk()
    grant = lash.grant_tool(approve, source_id=SHELF, execution_binding=["ana"])
    async with opened(location, agent, having(Shelf(lazy=[approve]))) as runtime:
        handle = await runtime.processes.start_tool("clerk", grant, {})
        key, binding = await told.get()
        assert binding == ["ana"]
        await runtime.completions.resolve(key, "yes")
        assert await handle.result() == "yes"


@pytest.mark.parametrize("by", ["turn", "grant"])
async def test_before_tool_hook_receives_resolved_argument_projection_policy(
    location: str | Path, by: str
) -> None:
    policy = PreserveProjectedRefsInField(field="rows")
    tools = [Watched("keeps", argument_projection=policy), Watched("plain")]
    seen: list[object] = []

    async def before_tool(call: Any) -> None:
        seen.append(msgspec.to_builtins(call.argument_projection))

    _, agent = clerk(*tools, says=[calls(("keeps", {})), calls(("plain", {}))])
    async with opened(location, agent, Made("watch", before_tool=before_tool)) as runtime:
        if by == "turn":
            await runtime.session("s").run("Go.")
        else:
            for tool in tools:
                grant = lash.grant_tool(tool, source_id="agent")
                await (await runtime.processes.start_tool("clerk", grant, {})).result()
    assert seen == [
        {"kind": "preserve_projected_refs_in_field", "field": "rows"},
        {"kind": "materialize_projected_values"},
    ]
