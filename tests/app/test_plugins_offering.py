"""What plugins add to an agent: words in its prompt, tools of their own, tools that come and go, tools withheld."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from plugin_harness import (
    Made,
    answering,
    charging,
    codes,
    desk,
    location,
    opened,
    path,
    ran,
    state_of,
    values,
)
from session_harness import Gate, Staged

import lash
from lash.core.scopes import TurnScope, journal_key
from lash.llm.request import LlmRequest
from lash.plugins import Plugin, PluginSession, Say
from lash.testing import calls, reply
from lash.tools.model import Tool
from lash.tools.provider import ToolProvider
from lash.turn.prompt import PromptLayer

__all__ = ["location", "path"]


def offered(request: LlmRequest) -> list[str]:
    return sorted(tool.name for tool in request.tools)


def tool_named(name: str, ran: list[str] | None = None) -> Any:
    async def body() -> str:
        if ran is not None:
            ran.append(name)
        return f"{name} ran"

    body.__doc__ = f"Do {name}."
    return lash.tool(name=name)(body)


class Shelf:
    """A provider whose tools a test changes."""

    def __init__(self, *names: str, id: str = "shelf") -> None:  # noqa: A002  as the protocol has it
        self.id = id
        self.names = list(names)
        self.ran: list[str] = []
        self.asked = 0
        self.fails: BaseException | None = None
        self._made: dict[str, Any] = {}

    def tools(self) -> Sequence[Tool]:
        self.asked += 1
        if self.fails is not None:
            raise self.fails
        return [self._made.setdefault(name, tool_named(name, self.ran)) for name in self.names]

    def plugin(self, **hooks: Callable[..., object]) -> Made:
        provided: list[ToolProvider] = [self]
        return Made("shelf", providers=lambda: provided, **hooks)


def wordy(script: Sequence[Any], **named: Any) -> tuple[Staged, lash.Agent]:
    model = Staged(script)
    return model, lash.Agent("clerk", model=model, **named)


# --- the prompt -----------------------------------------------------------------------------------------------


async def test_what_plugins_say_stands_in_the_system_prompt_in_their_order(
    location: str | Path,
) -> None:
    def saying(name: str) -> Made:
        return Made(name, prompt=lambda _: PromptLayer.add("guidance", f"{name} speaks."))

    model, agent = wordy(
        [reply("Hi.")], instructions="Be brief.", prompt=PromptLayer.add("guidance", "Agent.")
    )
    silent = Made("silent", prompt=lambda _: None)
    await ran(location, agent, saying("z"), silent, saying("a"))
    assert model.asked[0].instructions == (
        "Be brief.\n\n## Guidance\n\nAgent.\n\nz speaks.\n\na speaks."
    )


async def test_what_a_session_says_comes_after_what_plugins_say(location: str | Path) -> None:
    model, agent = wordy([reply("Hi.")], instructions="Be brief.")
    plugin = Made("p", prompt=lambda _: PromptLayer.add("guidance", "Plugin."))
    async with opened(location, agent, plugin) as runtime:
        session = runtime.session("s")
        await session.run("Go.", prompt_layer=PromptLayer.add("guidance", "Turn."))
    assert model.asked[0].instructions.endswith("Plugin.\n\nTurn.")


async def test_the_prompt_follows_what_is_remembered(location: str | Path) -> None:
    async def before_turn(turn: Any) -> None:
        turn.session.remember("plan" if "plan" in turn.input else "act")

    async def before_tool(call: Any) -> None:
        call.session.remember("ran a tool")

    def prompt(session: PluginSession) -> PromptLayer:
        return PromptLayer.add("guidance", f"Mode: {session.state}.")

    plugin = Made("p", before_turn=before_turn, before_tool=before_tool, prompt=prompt)
    _, model, agent = desk(7)
    async with opened(location, agent, plugin) as runtime:
        await runtime.session("s").run("Let us plan.")
    modes = [request.instructions.rpartition("Mode: ")[2] for request in model.asked]
    assert modes == ["plan.", "ran a tool."]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda _: "text", "plugin_directive_invalid"),
        (lambda _: 1 / 0, "plugin_failed"),
        (lambda _: exit(1), "plugin_failed"),
    ],
    ids=["nonsense", "raises", "exits"],
)
async def test_a_prompt_that_goes_wrong_ends_the_turn(
    location: str | Path, wrong: Any, code: str
) -> None:
    model, agent = wordy([reply("Hi.")])
    result = await ran(location, agent, Made("clumsy", prompt=wrong))
    assert [issue.code for issue in result.issues] == [code]
    assert "'clumsy'" in result.issues[0].message
    assert model.asked == []


# --- tools of plugins -----------------------------------------------------------------------------------------


async def test_tools_of_plugins_are_offered_and_run(location: str | Path) -> None:
    log: list[str] = []
    model, agent = wordy([calls(("mine", {}), ("theirs", {})), reply("Done.")])
    plugins = [
        Made("p", tools=lambda: [tool_named("mine", log)]),
        Made("q", tools=lambda: [tool_named("theirs", log)]),
    ]
    assert values(await ran(location, agent, *plugins)) == ["mine ran", "theirs ran"]
    assert offered(model.asked[0]) == ["mine", "theirs"]
    assert sorted(log) == ["mine", "theirs"]


@pytest.mark.parametrize("where", ["runtime", "agent"])
def test_a_tool_that_a_plugin_and_the_agent_both_have_is_a_conflict_that_names_both(
    where: str,
) -> None:
    plugin = Made("bringer", tools=lambda: [tool_named("charge")])
    own, everywhere = ([plugin], []) if where == "agent" else ([], [plugin])
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(":memory:", agents=[desk(7, plugins=own)[2]], plugins=everywhere)
    assert raised.value.code == "plugin_conflict"
    assert "'bringer'" in str(raised.value)
    assert "agent 'clerk'" in str(raised.value)
    assert "'charge'" in str(raised.value)


def test_a_tool_that_two_plugins_have_is_a_conflict_that_names_both() -> None:
    plugins = [Made(name, tools=lambda: [tool_named("same")]) for name in ("first", "second")]
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(":memory:", agents=[desk(7)[2]], plugins=plugins)
    assert raised.value.code == "plugin_conflict"
    assert "'second'" in str(raised.value)
    assert "plugin 'first'" in str(raised.value)


# --- tools that are withheld ----------------------------------------------------------------------------------


async def test_a_withheld_tool_is_neither_offered_nor_callable(location: str | Path) -> None:
    till, model, agent = desk(7)
    plugin = Made("p", offers=lambda tool, session: tool != "charge")
    result = await ran(location, agent, plugin)
    assert codes(result) == ["tool_unavailable"]
    assert till.charged == []
    assert offered(model.asked[0]) == []


async def test_what_one_plugin_withholds_no_other_brings_back(location: str | Path) -> None:
    _, _, agent = desk(7)
    plugins = [
        Made("yes", offers=lambda *_: True),
        Made("no", offers=lambda *_: False),
        Made("sure", offers=lambda *_: True),
    ]
    assert codes(await ran(location, agent, *plugins)) == ["tool_unavailable"]


async def test_a_tool_is_withheld_once_it_was_used(location: str | Path) -> None:
    till, model, agent = desk(script=[charging(7), charging(8), reply("Done.")])
    once = _once()
    result = await ran(location, agent, once)
    assert values(result) == ["charged 7", "tool_unavailable"]
    assert [offered(request) for request in model.asked] == [["charge"], [], []]
    assert till.charged == [7]


def _once() -> Made:
    """Lets a session use a tool in one message only."""

    async def after_tool(call: Any, output: object) -> None:
        call.session.remember("used")

    return Made("once", after_tool=after_tool, offers=lambda tool, session: session.state != "used")


async def test_a_turn_that_is_resumed_has_the_tools_that_its_model_was_told_of(
    path: Path,
) -> None:
    """The first of two calls is recorded, and by now their tool is withheld: both were made before."""
    gate = Gate()
    _, _, agent = desk(7, 8)
    once = _once()
    plain = once.after_tool

    async def after_tool(call: Any, output: Any) -> None:
        await plain(call, output)
        if call.args["amount"] == 8:
            await gate.passed()

    setattr(once, "after_tool", after_tool)  # noqa: B010  to a type checker it is a method
    async with opened(path, agent, once) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
        async with asyncio.timeout(10):
            while len(await runtime.journal("s", "t")) < 3:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.001)
    with pytest.raises(lash.LashError):
        await turn
    gate.open()
    async with opened(path, agent, once) as runtime:
        result = await runtime.session("s").run("Go.", turn_id="t")
        report = await runtime.replay("s", "t")
    assert values(result) == ["charged 7", "charged 8"]
    assert report.verdict == "identical"


@pytest.mark.parametrize("wrong", [lambda *_: 1 / 0, lambda *_: exit(1)], ids=["raises", "exits"])
async def test_offering_that_goes_wrong_ends_the_turn(location: str | Path, wrong: Any) -> None:
    _, model, agent = desk(7)
    result = await ran(location, agent, Made("clumsy", offers=wrong))
    assert [issue.code for issue in result.issues] == ["plugin_failed"]
    assert "'clumsy'" in result.issues[0].message
    assert model.asked == []


# --- tools that come and go -----------------------------------------------------------------------------------


async def test_tools_of_a_provider_come_and_go_between_two_model_calls(
    location: str | Path,
) -> None:
    shelf = Shelf("first")

    async def after_tool(call: Any, output: object) -> None:
        shelf.names = {"first": ["second", "third"], "second": ["third"]}.get(call.tool, [])

    script = [calls(("first", {})), calls(("second", {})), calls(("second", {})), reply("Done.")]
    model, agent = wordy(script)
    result = await ran(location, agent, shelf.plugin(after_tool=after_tool))
    assert [offered(request) for request in model.asked] == [
        ["first"],
        ["second", "third"],
        ["third"],
        ["third"],
    ]
    assert values(result) == ["first ran", "second ran", "tool_unavailable"]


async def test_a_provider_is_asked_before_each_model_call_and_not_more_often(
    location: str | Path,
) -> None:
    shelf = Shelf("first")
    _, agent = wordy([calls(("first", {})), reply("Done.")])
    async with opened(location, agent, shelf.plugin()) as runtime:
        before = shelf.asked
        await runtime.session("s").run("Go.")
        assert shelf.asked - before == 2


async def test_the_agents_own_tool_comes_before_one_of_a_provider_of_that_name(
    location: str | Path,
) -> None:
    shelf = Shelf("charge", "other")
    till, model, agent = desk(7)
    assert values(await ran(location, agent, shelf.plugin())) == ["charged 7"]
    assert offered(model.asked[0]) == ["charge", "other"]
    assert (till.charged, shelf.ran) == ([7], [])


@pytest.mark.parametrize("error", [ConnectionError("no route"), SystemExit(1)])
async def test_a_provider_that_raises_ends_the_turn_and_is_named(
    location: str | Path, error: BaseException
) -> None:
    shelf = Shelf("first", id="far away")
    shelf.fails = error
    _, agent = wordy([reply("Hi.")])
    async with opened(location, agent, shelf.plugin()) as runtime:
        session = runtime.session("s")
        result = await session.run("Go.")
        assert [issue.code for issue in result.issues] == ["plugin_failed"]
        assert "'far away'" in result.issues[0].message
        shelf.fails = None
        assert (await session.run("Again.")).text == "Hi."


async def test_a_provider_that_raises_when_a_turn_is_resumed_leaves_no_call_unanswered(
    path: Path,
) -> None:
    gate, shelf = Gate(), Shelf("first")

    async def after_tool(call: Any, output: object) -> None:
        await gate.passed()

    _, agent = wordy([calls(("first", {})), reply("Done.")])
    async with opened(path, agent, shelf.plugin(after_tool=after_tool)) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
    with pytest.raises(lash.LashError):
        await turn
    gate.open()
    shelf.fails = ConnectionError("no route")
    async with opened(path, agent, shelf.plugin()) as runtime:
        result = await runtime.session("s").run("Go.", turn_id="t")
        assert await runtime.check() == []
    assert codes(result) == ["tool_unavailable"]
    assert [issue.code for issue in result.issues] == ["plugin_failed"]


async def test_a_call_that_was_recorded_stands_although_its_tool_is_gone(path: Path) -> None:
    gate, shelf = Gate(), Shelf("first")

    async def at_checkpoint(*_: object) -> None:
        await gate.passed()

    _, agent = wordy([calls(("first", {})), reply("Done.")])
    async with opened(path, agent, shelf.plugin(at_checkpoint=at_checkpoint)) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
    with pytest.raises(lash.LashError):
        await turn
    gate.open()
    shelf.names = []
    async with opened(path, agent, shelf.plugin()) as runtime:
        result = await runtime.session("s").run("Go.", turn_id="t")
    assert (values(result), result.text, shelf.ran) == (["first ran"], "Done.", ["first"])


async def test_a_turn_is_told_anew_only_what_has_changed(path: Path) -> None:
    """Only then is a prompt recorded, and only then does a provider's cache lose it."""
    model, agent = wordy([*[calls(("first", {}))] * 3, reply("Done.")], instructions="Be brief.")
    shelf = Shelf("first")
    plugin = shelf.plugin(prompt=lambda _: PromptLayer.add("guidance", "Plugin."))
    async with opened(path, agent, plugin) as runtime:
        await runtime.session("s").run("Go.", turn_id="t")
        scope_key = journal_key(TurnScope(session_id="s", turn_id="t"))
        records = await runtime.engine.store.load_journal(scope_key)
    syncs = [each.outcome for each in records if each.kind == "sync_execution_environment"]
    assert ["Plugin." in outcome for outcome in syncs] == [True, False, False, False]
    assert len({request.instructions for request in model.asked}) == 1


async def test_a_plugin_of_one_agent_is_asked_about_that_agent_only(location: str | Path) -> None:
    own = Made("own", before_turn=answering(Say("Own.")))
    everywhere = Made("everywhere", before_turn=answering(Say("Everywhere.")))
    agents = [
        lash.Agent("one", model=Staged([reply("Hi.")]), plugins=[own]),
        lash.Agent("two", model=Staged([reply("Hi.")])),
    ]
    said: dict[str, list[str]] = {}
    async with opened(location, agents, everywhere) as runtime:
        for name in ("one", "two"):
            session = runtime.session(name, agent=name)
            await session.run("Go.")
            said[name] = [item.text for item in await session.history() if item.role == "system"]
    assert said == {"one": ["Everywhere.", "Own."], "two": ["Everywhere."]}


async def test_a_plugin_of_the_runtime_and_one_of_the_agent_must_not_share_an_id() -> None:
    agent = lash.Agent("a", model=Staged([reply("Hi.")]), plugins=[Made("same")])
    with pytest.raises(lash.ConfigurationError) as raised:
        lash.Runtime(":memory:", agents=[agent], plugins=[Made("same")])
    assert raised.value.code == "plugin_conflict"


async def test_state_is_by_plugin_wherever_it_is_registered(path: Path) -> None:
    class Counter(Plugin):
        id = "counter"

        async def before_turn(self, turn: Any) -> None:
            turn.session.remember((turn.session.state or 0) + 1)

    def agent(*plugins: Plugin) -> lash.Agent:
        return lash.Agent("a", model=Staged([reply("Hi.")]), plugins=plugins)

    async with opened(path, agent(Counter())) as runtime:
        await runtime.session("s").run("Go.")
    async with opened(path, agent(), Counter()) as runtime:
        await runtime.session("s").run("Go.")
        assert await state_of(runtime) == {"counter": 2}
