"""Plugins before a turn and at its checkpoints: messages kept and passing, aborts, and what waits behind."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from plugin_harness import Made, answering, charging, desk, location, opened, path, ran
from session_harness import Gate, seen, stop_word, told

import lash
from lash.events import PluginEmitted
from lash.plugins import Abort, CheckpointHook, Deny, Say, ToolCallHook, TurnHook
from lash.testing import reply

__all__ = ["location", "path"]


# --- messages -------------------------------------------------------------------------------------------------


async def test_a_message_before_the_turn_reaches_the_model_and_is_kept(
    location: str | Path,
) -> None:
    _, model, agent = desk(script=[reply("Hi.")])
    plugin = Made("p", before_turn=answering(Say("Be careful.")))
    async with opened(location, agent, plugin) as runtime:
        session = runtime.session("s")
        await session.run("Go.")
        kept = [("user", "Go."), ("system", "Be careful."), ("assistant", "Hi.")]
        assert await told(session) == kept
        await session.run("Again.")
    note = ("system", "Runtime note:\nBe careful.")
    assert seen(model.asked[0]) == [kept[0], note]
    assert seen(model.asked[1]) == [kept[0], note, kept[2], ("user", "Again."), note]


async def test_a_transient_message_reaches_the_model_and_is_not_kept(
    location: str | Path,
) -> None:
    _, model, agent = desk(7)
    begin = answering([Say("Now.", role="user", transient=True), Say("Kept.")])
    again = answering(Say("Soon.", transient=True), None)
    async with opened(location, agent, Made("p", before_turn=begin, at_checkpoint=again)) as rt:
        session = rt.session("s")
        await session.run("Go.")
        assert await told(session) == [
            ("user", "Go."),
            ("system", "Kept."),
            ("assistant", "->charge"),
            ("user", "<-charged 7"),
            ("assistant", "Done."),
        ]
    assert seen(model.asked[1]) == [
        ("user", "Go."),
        ("system", "Runtime note:\nKept."),
        ("user", "Now."),
        ("assistant", "->charge"),
        ("user", "<-charged 7"),
        ("system", "Runtime note:\nSoon."),
    ]


async def test_a_message_at_a_checkpoint_follows_the_tools_and_has_the_model_go_on(
    location: str | Path,
) -> None:
    places: list[tuple[str, int]] = []

    async def at_checkpoint(checkpoint: CheckpointHook) -> Say | None:
        places.append((checkpoint.checkpoint, checkpoint.iteration))
        if checkpoint.checkpoint == "after_work":
            return Say("Mind the till.")
        return Say("Are you sure?") if len(places) == 2 else None

    script = [charging(7), reply("Done."), reply("Yes.")]
    _, _, agent = desk(script=script)
    async with opened(location, agent, Made("p", at_checkpoint=at_checkpoint)) as runtime:
        session = runtime.session("s")
        result = await session.run("Go.")
        assert await told(session) == [
            ("user", "Go."),
            ("assistant", "->charge"),
            ("user", "<-charged 7"),
            ("system", "Mind the till."),
            ("assistant", "Done."),
            ("system", "Are you sure?"),
            ("assistant", "Yes."),
        ]
    assert result.text == "Yes."
    assert places == [("after_work", 1), ("before_completion", 1), ("before_completion", 2)]


async def test_every_message_has_an_id_of_its_own(location: str | Path) -> None:
    left = [3]

    async def at_checkpoint(checkpoint: CheckpointHook) -> list[Say] | None:
        left[0] -= 1
        return [Say("a"), Say("b")] if left[0] >= 0 else None

    plugins = [
        Made("p", before_turn=answering([Say("x"), Say("y")]), at_checkpoint=at_checkpoint),
        Made("q", before_turn=answering(Say("z"))),
    ]
    script = [charging(7), reply("1"), reply("2"), reply("3")]
    async with opened(location, desk(script=script)[2], *plugins) as runtime:
        session = runtime.session("s")
        await session.run("Go.", turn_id="t")
        said = [message for message in await session.history() if message.role == "system"]
        ids = [message.id for message in said]
    assert [message.text for message in said] == ["x", "y", "z", *["a", "b"] * 3]
    assert len(set(ids)) == 9


async def test_ids_are_the_same_when_the_turn_is_resumed(path: Path) -> None:
    gate = Gate()
    ids: list[list[str]] = []

    async def after_tool(call: ToolCallHook, output: object) -> None:
        await gate.passed()

    plugin = Made(
        "p",
        before_turn=answering(Say("x")),
        at_checkpoint=answering(Say("y"), None),
        after_tool=after_tool,
    )
    agent = desk(7)[2]
    async with opened(path, agent, plugin) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
    with pytest.raises(lash.LashError):
        await turn
    gate.open()
    for turn_id in ("t", "t"):
        async with opened(path, agent, plugin) as runtime:
            session = runtime.session("s")
            await session.run("Go.", turn_id=turn_id)
            ids.append([message.id for message in await session.history()])
            texts = [text for role, text in await told(session) if role == "system"]
            assert texts == ["x", "y"]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == len(ids[0])


async def test_a_fork_that_repeats_a_turn_id_has_messages_of_its_own(
    location: str | Path,
) -> None:
    plugin = Made("p", before_turn=answering(Say("x")))
    async with opened(location, desk(script=[reply("Hi.")])[2], plugin) as runtime:
        session = runtime.session("s")
        await session.run("Go.", turn_id="t")
        fork = await session.fork("f")
        await fork.run("Go.", turn_id="t")
        ids = [message.id for message in await fork.history()]
    assert len(ids) == len(set(ids)) == 6


async def test_a_hook_before_the_turn_is_told_what_was_said(location: str | Path) -> None:
    heard: list[tuple[str, str, int, str]] = []

    async def before_turn(turn: TurnHook) -> None:
        heard.append((turn.session.session_id, turn.turn_id, turn.iteration, turn.input))

    await ran(location, desk(7)[2], Made("p", before_turn=before_turn), prompt="Hello.")
    assert heard == [("s", "t", 0, "Hello.")]


# --- aborts -----------------------------------------------------------------------------------------------------


async def test_an_abort_before_the_turn_asks_no_model(location: str | Path) -> None:
    _, model, agent = desk(7)
    plugin = Made("p", before_turn=answering(Abort("Not today.", code="closed")))
    async with opened(location, agent, plugin) as runtime:
        session = runtime.session("s")
        result = await session.run("Go.")
        assert await told(session) == [("user", "Go.")]
    assert model.asked == []
    assert not result.is_success
    assert [(issue.code, issue.message) for issue in result.issues] == [("closed", "Not today.")]


async def test_an_abort_at_a_checkpoint_keeps_what_was_done(location: str | Path) -> None:
    till, model, agent = desk(7)
    plugin = Made("p", at_checkpoint=answering([Say("Not said."), Abort("Enough.")]))
    async with opened(location, agent, plugin) as runtime:
        session = runtime.session("s")
        result = await session.run("Go.")
        assert await told(session) == [
            ("user", "Go."),
            ("assistant", "->charge"),
            ("user", "<-charged 7"),
        ]
    assert (till.charged, len(model.asked)) == ([7], 1)
    assert [issue.code for issue in result.issues] == ["plugin_aborted"]
    assert not result.is_success


@pytest.mark.parametrize("order", [0, 1])
async def test_an_abort_holds_whatever_the_others_say_and_of_several_the_last(
    location: str | Path, order: int
) -> None:
    plugins = [
        Made("say", before_turn=answering(Say("hello"))),
        Made("a", before_turn=answering(Abort("a", "a"))),
        Made("b", before_turn=answering(Abort("b", "b"))),
    ][:: -1 if order else 1]
    async with opened(location, desk(7)[2], *plugins) as runtime:
        session = runtime.session("s")
        result = await session.run("Go.")
        assert await told(session) == [("user", "Go.")]
    assert [issue.code for issue in result.issues] == ["a" if order else "b"]


async def test_what_waits_in_the_queue_when_a_plugin_aborts_is_the_next_turns(
    location: str | Path,
) -> None:
    gate = Gate()

    async def at_checkpoint(checkpoint: CheckpointHook) -> Abort | None:
        return Abort("Enough.") if checkpoint.turn_id == "t" else None

    async def after_tool(call: ToolCallHook, output: object) -> None:
        await gate.passed()

    _, model, agent = desk(7)
    plugin = Made("p", at_checkpoint=at_checkpoint, after_tool=after_tool)
    async with opened(location, agent, plugin) as runtime:
        session = runtime.session("s")
        turn = asyncio.create_task(session.run("Go.", turn_id="t"))
        await gate.reached.wait()
        await session.inject("And this.")
        gate.open()
        result = await turn
        await runtime.idle()
        assert [message for message in await told(session) if message[0] == "user"][:3] == [
            ("user", "Go."),
            ("user", "<-charged 7"),
            ("user", "And this."),
        ]
    assert not result.is_success
    assert ("user", "And this.") in seen(model.asked[1])


# --- hooks that go wrong ------------------------------------------------------------------------------------

#: What no type checker would let pass.
ODD: Any = 7
ROLE: Any = "assistant"

NONSENSE: list[tuple[object, str]] = [
    ("hello", "plugin_directive_invalid"),
    (Deny("no"), "plugin_directive_invalid"),
    ([Say("a"), None], "plugin_directive_invalid"),
    (Say(ODD), "plugin_directive_invalid"),
    (Say("a", role=ROLE), "plugin_message_role"),
    (Abort(ODD), "plugin_directive_invalid"),
    (ValueError("oh"), "plugin_failed"),
    (SystemExit(1), "plugin_failed"),
    (asyncio.CancelledError(), "plugin_failed"),
    (lash.LashError("session_unknown", "no"), "session_unknown"),
]


@pytest.mark.parametrize("hook", ["before_turn", "at_checkpoint"])
@pytest.mark.parametrize(
    ("answer", "code"), NONSENSE, ids=[f"{type(each).__name__}-{code}" for each, code in NONSENSE]
)
async def test_a_hook_that_goes_wrong_ends_its_turn_and_nothing_else(
    path: Path, hook: str, answer: object, code: str
) -> None:
    asked: list[str] = []

    async def once(hooked: Any) -> object:
        asked.append(hooked.turn_id)
        return await answering(answer)() if hooked.turn_id == "t" else None

    async with opened(path, desk(7)[2], Made("clumsy", **{hook: once})) as runtime:
        session = runtime.session("s")
        result = await session.run("Go.", turn_id="t")
        assert [issue.code for issue in result.issues] == [code]
        if code != "session_unknown":
            assert "'clumsy'" in result.issues[0].message
        assert (await session.run("Again.", turn_id="u")).text == "Done."
    assert asked.count("t") == 1


@pytest.mark.parametrize("hook", ["before_turn", "at_checkpoint"])
async def test_a_hook_that_hangs_is_given_up_when_the_turn_is_stopped(
    location: str | Path, hook: str
) -> None:
    reached, ended = asyncio.Event(), asyncio.Event()

    async def hang(*_: object) -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with opened(location, desk(7)[2], Made("p", **{hook: hang})) as runtime:
        session = runtime.session("s")
        turn = asyncio.create_task(session.run("Go.", turn_id="t"))
        await reached.wait()
        await session.cancel("t")
        assert stop_word(await turn) == "cancelled"
    assert ended.is_set()


async def test_a_hook_that_hangs_does_not_keep_the_runtime_from_closing(path: Path) -> None:
    reached = asyncio.Event()
    hanging = [True]

    async def hang(*_: object) -> None:
        reached.set()
        if hanging:
            await asyncio.Event().wait()

    agent = desk(7)[2]
    async with opened(path, agent, Made("p", before_turn=hang)) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await reached.wait()
    with pytest.raises(lash.LashError):
        await turn
    hanging.clear()
    async with opened(path, agent, Made("p", before_turn=hang)) as runtime:
        assert (await runtime.session("s").run("Go.", turn_id="t")).text == "Done."


# --- events -----------------------------------------------------------------------------------------------------


async def test_watchers_hear_what_plugins_say_once_and_not_on_replay(path: Path) -> None:
    async def say(told: Any, *_: object) -> None:
        told.session.emit("noticed", {"state": told.session.state})
        told.session.remember((told.session.state or 0) + 1)

    plugin = Made("p", before_turn=say, before_tool=say, after_tool=say, at_checkpoint=say)
    async with opened(path, desk(7)[2], plugin) as runtime:
        async with runtime.session("s").stream("Go.", turn_id="t") as live:
            heard = [
                (event.plugin_id, event.name, event.payload)
                async for event in live
                if isinstance(event, PluginEmitted)
            ]
        await runtime.replay("s", "t")
    assert heard == [("p", "noticed", {"state": state}) for state in (None, 1, 2, 3, 4)]


async def test_what_was_said_before_a_restart_is_not_said_again(path: Path) -> None:
    gate = Gate()

    async def say(told: Any, *_: object) -> None:
        told.session.emit("noticed")

    async def at_checkpoint(checkpoint: CheckpointHook) -> None:
        checkpoint.session.emit("checkpoint", checkpoint.iteration)
        await gate.passed()

    plugin = Made("p", before_turn=say, before_tool=say, at_checkpoint=at_checkpoint)
    agent = desk(7)[2]
    async with opened(path, agent, plugin) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
    with pytest.raises(lash.LashError):
        await turn
    gate.open()
    async with (
        opened(path, agent, plugin) as runtime,
        runtime.session("s").stream("Go.", turn_id="t") as live,
    ):
        heard = [event.name async for event in live if isinstance(event, PluginEmitted)]
    # Only what was not recorded: the checkpoint that the first runtime closed in, and the next one.
    assert heard == ["checkpoint", "checkpoint"]


async def test_an_event_that_is_no_json_fails_its_hook(location: str | Path) -> None:
    async def before_turn(turn: TurnHook) -> None:
        turn.session.emit("bad", object())

    result = await ran(location, desk(7)[2], Made("p", before_turn=before_turn))
    assert [issue.code for issue in result.issues] == ["value_not_json"]
