"""What plugins remember of a session: over turns, restarts in the middle of one, forks and calls side by side."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from plugin_harness import (
    Made,
    Till,
    answering,
    charging,
    codes,
    counting,
    desk,
    location,
    opened,
    path,
    state_of,
    values,
)
from session_harness import Gate, stop_word

import lash
from lash.plugins import Abort, Deny, PluginSession, ToolCallHook
from lash.testing import ScriptedModel, calls, reply
from lash.turn.prompt import PromptLayer

__all__ = ["location", "path"]


async def test_what_is_remembered_is_kept_from_turn_to_turn(location: str | Path) -> None:
    _, _, agent = desk(7, 8)
    async with opened(location, agent, counting()) as runtime:
        session = runtime.session("s")
        for expected in (2, 4, 6):
            await session.run("Go.")
            assert await state_of(runtime) == {"counter": expected}
        assert await state_of(runtime) == {"counter": 6}


async def test_what_is_remembered_is_kept_over_restarts(path: Path) -> None:
    for expected in (2, 4):
        async with opened(path, desk(7, 8)[2], counting()) as runtime:
            await runtime.session("s").run("Go.")
            assert await state_of(runtime) == {"counter": expected}


async def test_each_session_and_each_plugin_has_its_own(location: str | Path) -> None:
    _, _, agent = desk(7, 8)
    plugins = [counting("a"), counting("b", "after_tool"), counting("c", "before_turn")]
    async with opened(location, agent, *plugins) as runtime:
        await runtime.session("s").run("Go.")
        await runtime.session("s").run("Go.")
        await runtime.session("other").run("Go.")
        assert await state_of(runtime) == {"a": 4, "b": 4, "c": 2}
        assert await state_of(runtime, "other") == {"a": 2, "b": 2, "c": 1}


@pytest.mark.parametrize("hook", ["before_tool", "after_tool"])
async def test_a_hundred_calls_side_by_side_count_to_a_hundred(
    location: str | Path, hook: str
) -> None:
    till, _, agent = desk(*range(100))
    async with opened(location, agent, counting(hook=hook)) as runtime:
        await runtime.session("s").run("Go.")
        assert await state_of(runtime) == {"counter": 100}
    assert sorted(till.charged) == list(range(100))


async def test_what_one_hook_remembers_the_next_one_sees(location: str | Path) -> None:
    seen: list[tuple[str, Any]] = []

    def noting(name: str) -> Any:
        async def hook(told: Any, *_: object) -> None:
            seen.append((name, told.session.state))
            told.session.remember([*(told.session.state or []), name])
            assert told.session.state[-1] == name

        return hook

    hooks = {name: noting(name) for name in ("before_turn", "before_tool", "after_tool")}
    hooks["at_checkpoint"] = noting("at_checkpoint")
    _, _, agent = desk(7)
    async with opened(location, agent, Made("p", **hooks)) as runtime:
        await runtime.session("s").run("Go.")
        order = ["before_turn", "before_tool", "after_tool", "at_checkpoint", "at_checkpoint"]
        assert await state_of(runtime) == {"p": order}
    assert seen == [(name, order[:place] or None) for place, name in enumerate(order)]


async def test_what_is_read_is_a_copy(location: str | Path) -> None:
    async def before_tool(call: ToolCallHook) -> None:
        call.session.remember({"list": [1]})
        call.session.state["list"].append(2)
        kept: dict[str, Any] = {"list": [1]}
        call.session.remember(kept)
        kept["list"].append(3)

    async with opened(location, desk(7)[2], Made("p", before_tool=before_tool)) as runtime:
        await runtime.session("s").run("Go.")
        assert await state_of(runtime) == {"p": {"list": [1]}}


async def test_nothing_is_kept_that_is_no_json_and_the_call_says_so(location: str | Path) -> None:
    async def before_tool(call: ToolCallHook) -> None:
        call.session.remember("before")
        call.session.remember(object())

    till, _, agent = desk(7)
    async with opened(location, agent, Made("p", before_tool=before_tool)) as runtime:
        result = await runtime.session("s").run("Go.")
        assert codes(result) == ["value_not_json"]
        assert await state_of(runtime) == {"p": "before"}
    assert till.charged == []


async def test_what_a_refusing_hook_remembers_is_kept(location: str | Path) -> None:
    async def before_tool(call: ToolCallHook) -> Deny:
        call.session.remember((call.session.state or 0) + 1)
        return Deny("no")

    async with opened(location, desk(7, 8)[2], Made("p", before_tool=before_tool)) as runtime:
        await runtime.session("s").run("Go.")
        assert await state_of(runtime) == {"p": 2}


@pytest.mark.parametrize("hook", ["before_turn", "at_checkpoint"])
@pytest.mark.parametrize("end", [Abort("enough"), ValueError("oh")], ids=["aborts", "raises"])
async def test_what_a_hook_remembers_that_ends_the_turn_is_kept(
    path: Path, hook: str, end: object
) -> None:
    async def ending(told: Any) -> object:
        told.session.remember((told.session.state or 0) + 1)
        if isinstance(end, Exception):
            raise end
        return end

    async with opened(path, desk(7)[2], Made("p", **{hook: ending})) as runtime:
        await runtime.session("s").run("Go.")
        await runtime.session("s").run("Go.")
        assert await state_of(runtime) == {"p": 2}


async def test_nothing_is_written_where_nothing_is_remembered(location: str | Path) -> None:
    async with opened(location, desk(7)[2], Made("p", before_tool=answering(None))) as runtime:
        await runtime.session("s").run("Go.")
        assert await state_of(runtime) == {}


async def test_a_plugin_that_is_gone_for_a_while_finds_what_it_remembered(path: Path) -> None:
    async with opened(path, desk(7)[2], counting("a"), counting("b")) as runtime:
        await runtime.session("s").run("Go.")
    async with opened(path, desk(7)[2], counting("b")) as runtime:
        await runtime.session("s").run("Go.")
        assert await state_of(runtime) == {"a": 1, "b": 2}
    async with opened(path, desk(7)[2], counting("a")) as runtime:
        await runtime.session("s").run("Go.")
        assert await state_of(runtime) == {"a": 2, "b": 2}


# --- where it can only be read ------------------------------------------------------------------------------


async def test_it_can_be_read_and_not_changed_where_nothing_is_recorded(
    location: str | Path,
) -> None:
    codes_found: list[str] = []
    seen: list[object] = []

    def look(session: PluginSession) -> None:
        seen.append(session.state)
        for act in (partial(session.remember, 0), partial(session.emit, "told")):
            with pytest.raises(lash.LashError) as raised:
                act()
            codes_found.append(raised.value.code)

    async def before_turn(turn: Any) -> None:
        turn.session.remember("begun")

    def prompt(session: PluginSession) -> PromptLayer | None:
        look(session)
        return None

    def offers(tool: str, session: PluginSession) -> bool:
        look(session)
        return True

    async def after_turn(turn: Any) -> None:
        look(turn.session)

    plugin = Made("p", before_turn=before_turn, prompt=prompt, offers=offers, after_turn=after_turn)
    async with opened(location, desk(script=[reply("Hi.")])[2], plugin) as runtime:
        result = await runtime.session("s").run("Go.")
        assert result.is_success
    # What was remembered before the turn is seen by the prompt and the tools of its first model call.
    assert seen == ["begun"] * 3
    assert codes_found == ["plugin_state_read_only"] * 6


# --- forks ----------------------------------------------------------------------------------------------------


async def test_a_fork_begins_with_it_and_goes_its_own_way(location: str | Path) -> None:
    async with opened(location, desk(7)[2], counting()) as runtime:
        session = runtime.session("s")
        await session.run("Go.")
        fork = await session.fork("f")
        await fork.run("Go.")
        await fork.run("Go.")
        assert await state_of(runtime) == {"counter": 1}
        assert await state_of(runtime, "f") == {"counter": 3}


# --- turns that are stopped, and turns that are resumed -------------------------------------------------------


def held_at(amount: int, gate: Gate) -> Till:
    """A till that stops at a gate when it charges an amount."""
    till, held = Till(), amount

    @lash.tool
    async def charge(amount: int) -> str:
        """Charge an amount."""
        till.charged.append(amount)
        if amount == held:
            await gate.passed()
        return f"charged {amount}"

    till.tool = charge
    return till


async def until_recorded(runtime: lash.Runtime, attempts: int) -> None:
    """Until so many attempts of turn `t` are recorded."""
    async with asyncio.timeout(20):
        while True:
            kinds = [entry.kind for entry in await runtime.journal("s", "t")]
            if kinds.count("tool_attempt") >= attempts:
                return
            await asyncio.sleep(0.001)


async def test_a_stopped_turn_keeps_what_was_recorded_of_it(location: str | Path) -> None:
    gate = Gate()
    till = held_at(9, gate)
    _, _, agent = desk(7, 8, 9, till=till)
    async with opened(location, agent, counting(hook="after_tool")) as runtime:
        session = runtime.session("s")
        turn = asyncio.create_task(session.run("Go.", turn_id="t"))
        await gate.reached.wait()
        await session.cancel("t")
        result = await turn
        assert stop_word(result) == "cancelled"
        assert values(result) == ["charged 7", "charged 8", "cancelled"]
        assert await state_of(runtime) == {"counter": 2}


async def test_what_a_call_remembered_that_was_cancelled_is_not_kept(
    location: str | Path,
) -> None:
    """The commit of a turn that was interrupted is the same: there, nobody knows of it."""
    gate = Gate()
    till = held_at(9, gate)
    _, _, agent = desk(7, 9, till=till)
    async with opened(location, agent, counting()) as runtime:
        session = runtime.session("s")
        turn = asyncio.create_task(session.run("Go.", turn_id="t"))
        await gate.reached.wait()
        await session.cancel("t")
        assert values(await turn) == ["charged 7", "cancelled"]
        assert await state_of(runtime) == {"counter": 1}


@pytest.mark.parametrize("held", [7, 8, 9])
async def test_a_turn_that_is_resumed_goes_on_from_what_was_recorded(path: Path, held: int) -> None:
    """Two of three calls are recorded, whichever; the third one's hook runs again and counts once."""
    gate = Gate()
    till = held_at(held, gate)
    agent = desk(7, 8, 9, till=till)[2]
    plugins = [counting("before"), counting("after", "after_tool"), counting("turn", "before_turn")]
    async with opened(path, agent, *plugins) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
        await until_recorded(runtime, 2)
    with pytest.raises(lash.LashError):
        await turn
    gate.open()
    async with opened(path, agent, *plugins) as runtime:
        result = await runtime.session("s").run("Go.", turn_id="t")
        assert values(result) == ["charged 7", "charged 8", "charged 9"]
        state = await state_of(runtime)
    assert sorted(till.charged) == sorted([7, 8, 9, held])
    # The hook in front of the held call ran twice. Its first run was not recorded; what it remembered
    # is lost unless a call behind it had seen it and was recorded.
    before = {7: 4, 8: 4, 9: 3}[held]
    assert state == {"before": before, "after": 3, "turn": 1}


async def test_hooks_that_run_after_a_restart_see_what_was_recorded_behind_them(
    path: Path,
) -> None:
    """The first call is resumed and the second one is recorded: the first must not begin from nothing."""
    gate = Gate()
    till = held_at(7, gate)
    agent = desk(7, 8, till=till)[2]
    seen: list[object] = []

    async def after_tool(call: ToolCallHook, output: object) -> None:
        seen.append(call.session.state)
        call.session.remember([*(call.session.state or []), call.args["amount"]])

    plugin = Made("p", after_tool=after_tool)
    async with opened(path, agent, plugin) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
        await until_recorded(runtime, 1)
    with pytest.raises(lash.LashError):
        await turn
    gate.open()
    async with opened(path, agent, plugin) as runtime:
        await runtime.session("s").run("Go.", turn_id="t")
        assert await state_of(runtime) == {"p": [8, 7]}
    assert seen == [None, [8]]


async def test_state_of_several_iterations_is_found_again(path: Path) -> None:
    gate = Gate()
    till = held_at(9, gate)
    script = [charging(7), charging(8), charging(9), reply("Done.")]
    agent = desk(script=script, till=till)[2]
    plugin = counting(hook="after_tool")
    async with opened(path, agent, plugin) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
    with pytest.raises(lash.LashError):
        await turn
    gate.open()
    async with opened(path, agent, plugin) as runtime:
        await runtime.session("s").run("Go.", turn_id="t")
        assert await state_of(runtime) == {"counter": 3}
    assert till.charged == [7, 8, 9, 9]


async def test_replaying_a_turn_asks_no_hook_and_comes_to_the_same(path: Path) -> None:
    asked: list[str] = []

    def noting(name: str, answer: object = None) -> Any:
        async def hook(told: Any, *_: object) -> object:
            asked.append(name)
            told.session.remember(len(asked))
            return answer

        return hook

    def prompt(session: PluginSession) -> PromptLayer:
        asked.append("prompt")
        return PromptLayer.add("guidance", f"Asked {len(asked)} times.")

    hooks = {name: noting(name) for name in ("before_turn", "before_tool", "after_tool")}
    plugin = Made("p", **hooks, at_checkpoint=noting("at_checkpoint"), prompt=prompt)
    async with opened(path, desk(7)[2], plugin) as runtime:
        await runtime.session("s").run("Go.", turn_id="t")
        before = list(asked)
        report = await runtime.replay("s", "t")
    assert (report.verdict, asked) == ("identical", before)


async def test_a_compaction_asks_no_plugin_and_keeps_what_they_remember(
    location: str | Path,
) -> None:
    ended: list[str] = []

    async def after_turn(turn: Any) -> None:
        ended.append(turn.turn_id)

    script = [reply("Hi."), reply("Summary.")]
    counter = counting("counter", "before_turn")
    async with opened(
        location, desk(script=script)[2], counter, Made("ended", after_turn=after_turn)
    ) as runtime:
        session = runtime.session("s")
        await session.run("Go.", turn_id="t")
        await session.compact()
        await session.run("Go on.", turn_id="u")
        assert await state_of(runtime) == {"counter": 2}
    assert ended == ["t", "u"]


# --- turns without their agent, and children ----------------------------------------------------------------


async def test_a_turn_that_is_stopped_without_its_agent_keeps_what_was_remembered(
    path: Path,
) -> None:
    gate = Gate()
    agent = desk(7)[2]
    slow = Made("slow", at_checkpoint=lambda _: gate.passed())
    async with opened(path, agent, counting(), slow) as runtime:
        await runtime.session("s").enqueue("Go.")
        await gate.reached.wait()
    other = lash.Agent("other", model=agent.model)
    async with opened(path, other) as runtime:
        await runtime.session("s").cancel()
        await runtime.idle()
        assert [stop_word(turn) for turn in await runtime.session("s").turns()] == ["cancelled"]
        assert await state_of(runtime) == {"counter": 1}


async def test_a_child_session_begins_with_nothing_remembered_and_no_options(
    location: str | Path,
) -> None:
    seen: list[object] = []

    async def before_turn(turn: Any) -> None:
        seen.append((turn.session.state, turn.session.options))
        turn.session.remember("seen")

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> str:
        """Ask another agent."""
        return (await ctx.child("helper", "Help.")).text

    lead = lash.Agent(
        "lead", model=ScriptedModel([calls(("ask", {})), reply("Done.")]), tools=[ask]
    )
    helper = lash.Agent("helper", model=ScriptedModel([reply("There.")]))
    async with opened(location, [lead, helper], Made("p", before_turn=before_turn)) as runtime:
        session = runtime.session("s", agent="lead")
        await session.configure(plugins={"p": {"limit": 3}})
        await session.run("Go.")
    assert seen == [(None, {"limit": 3}), (None, {})]
