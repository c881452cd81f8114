"""Tools that run as processes ask the same plugins."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from plugin_harness import Made, Till, answering, desk, location, opened, path, state_of

import lash
from lash.contrib.approvals import ApprovalRequest, Approvals
from lash.effects.waits.model import AwaitEventKey
from lash.plugins import Answer, Deny, Plugin, ReplaceArgs, ToolCallHook
from lash.processes.outcomes import ProcessFailure, ProcessSuccess
from lash.testing import reply

__all__ = ["location", "path"]


async def outcome_of(location: str | Path, agent: lash.Agent, *plugins: Plugin) -> Any:
    """What charging 7 as a process comes to."""
    async with opened(location, agent, *plugins) as runtime:
        handle = await runtime.processes.start_tool("clerk", "charge", {"amount": 7}, id="p")
        return await handle.outcome(timeout=20)


async def test_a_denied_call_is_a_failed_process_and_the_tool_is_not_run(
    location: str | Path,
) -> None:
    till, _, agent = desk()
    ended = await outcome_of(location, agent, Made("p", before_tool=answering(Deny("no", "shut"))))
    assert isinstance(ended, ProcessFailure)
    assert (ended.code, ended.message) == ("shut", "no")
    assert till.charged == []


async def test_arguments_and_answers_are_replaced(location: str | Path) -> None:
    till, _, agent = desk()
    heard: list[object] = []

    async def after_tool(call: ToolCallHook, output: Any) -> Answer:
        heard.append((call.args, output.outcome.payload))
        return Answer({"sum": 8})

    plugin = Made("p", before_tool=answering(ReplaceArgs({"amount": 8})), after_tool=after_tool)
    ended = await outcome_of(location, agent, plugin)
    assert isinstance(ended, ProcessSuccess)
    assert ended.value == {"sum": 8}
    assert (till.charged, heard) == ([8], [({"amount": 8}, "charged 8")])


async def test_what_is_remembered_lasts_from_attempt_to_attempt_of_the_call(
    location: str | Path,
) -> None:
    till = Till(retry=lash.ToolRetry(max_attempts=3, base_delay_ms=0))
    till.failures = [lash.ToolError("busy", retry=True), lash.ToolError("busy", retry=True)]
    _, _, agent = desk(till=till)
    seen: list[object] = []

    async def after_tool(call: ToolCallHook, output: Any) -> None:
        seen.append(call.session.state)
        call.session.remember(call.attempt)

    await outcome_of(location, agent, Made("p", after_tool=after_tool))
    assert seen == [None, 1, 2]


@asynccontextmanager
async def asked(
    location: str | Path, agent: lash.Agent
) -> AsyncIterator[tuple[lash.Runtime, "asyncio.Queue[AwaitEventKey]"]]:
    keys: asyncio.Queue[AwaitEventKey] = asyncio.Queue()

    async def ask(request: ApprovalRequest) -> None:
        await keys.put(request.key)

    async with opened(location, agent, Approvals("charge", ask=ask)) as runtime:
        yield runtime, keys


@pytest.mark.parametrize(("word", "charged"), [(True, [7]), (False, [])])
async def test_a_process_waits_for_a_word(
    location: str | Path, word: bool, charged: list[int]
) -> None:
    till, _, agent = desk()
    async with asked(location, agent) as (runtime, keys):
        handle = await runtime.processes.start_tool("clerk", "charge", {"amount": 7}, id="p")
        key = await keys.get()
        await runtime.idle()
        assert till.charged == []
        await runtime.completions.resolve(key, word)
        ended = await handle.outcome(timeout=20)
    assert isinstance(ended, ProcessSuccess if word else ProcessFailure)
    assert till.charged == charged


async def test_a_process_waits_for_a_word_over_a_restart(path: Path) -> None:
    till = Till()
    async with asked(path, desk(till=till)[2]) as (runtime, keys):
        await runtime.processes.start_tool("clerk", "charge", {"amount": 7}, id="p")
        key = await keys.get()
        await runtime.idle()
    async with asked(path, desk(till=till)[2]) as (runtime, keys):
        await runtime.completions.resolve(key.token, True)
        await runtime.idle()
        ended = await runtime.processes.handle("p").outcome(timeout=20)
        assert keys.empty()
    assert isinstance(ended, ProcessSuccess)
    assert till.charged == [7]


# --- the session that it works for --------------------------------------------------------------------------


async def test_hooks_see_what_the_session_says_and_remembers_and_change_nothing_of_it(
    location: str | Path,
) -> None:
    seen: list[object] = []

    async def before_tool(call: ToolCallHook) -> None:
        seen.append((call.session.options, call.session.state))
        call.session.remember("of the process")

    async def after_tool(call: ToolCallHook, output: Any) -> None:
        seen.append(call.session.state)

    async def before_turn(turn: Any) -> None:
        turn.session.remember("of the session")

    plugin = Made("p", before_tool=before_tool, after_tool=after_tool, before_turn=before_turn)
    _, _, agent = desk(script=[reply("Hm.")])
    async with opened(location, agent, plugin) as runtime:
        session = runtime.session("s")
        await session.configure(plugins={"p": {"limit": 3}})
        await session.run("Hello.")
        handle = await session.processes.start_tool("charge", {"amount": 7})
        assert isinstance(await handle.outcome(timeout=20), ProcessSuccess)
        assert seen == [({"limit": 3}, "of the session"), "of the process"]
        assert await state_of(runtime) == {"p": "of the session"}


async def test_a_tool_that_is_withheld_in_the_session_is_not_run_as_a_process(
    location: str | Path,
) -> None:
    till, _, agent = desk()
    plugin = Made("p", offers=lambda tool, session: session.options.get("may") == tool)
    async with opened(location, agent, plugin) as runtime:
        ended = []
        for session_id, may in (("s", "charge"), ("other", "else")):
            session = runtime.session(session_id)
            await session.configure(plugins={"p": {"may": may}})
            handle = await session.processes.start_tool("charge", {"amount": 7})
            ended.append(await handle.outcome(timeout=20))
    assert isinstance(ended[0], ProcessSuccess)
    assert isinstance(ended[1], ProcessFailure)
    assert ended[1].code == "tool_unavailable"
    assert till.charged == [7]
