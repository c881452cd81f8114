"""Plugins from opening to closing: started once and in order, stopped in reverse, told of every turn once."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from plugin_harness import Made, answering, charging, desk, location, opened, path, values
from session_harness import Staged, just_before, until

import lash
from lash.plugins import Abort, Plugin, PluginHost, TurnEnded
from lash.stores.sqlite import SqliteStore
from lash.testing import VirtualClock, calls, fail, reply
from lash.turn.outcome import AssistantMessage

__all__ = ["location", "path"]


class Living(Plugin):
    """Writes down when it is started and stopped."""

    def __init__(
        self,
        name: str,
        log: list[str],
        *,
        start: BaseException | None = None,
        stop: BaseException | None = None,
    ) -> None:
        self.id = name
        self._log = log
        self.fails = {"start": start, "stop": stop}

    async def start(self, host: PluginHost) -> None:
        self._live("start")

    async def stop(self) -> None:
        self._live("stop")

    def _live(self, what: str) -> None:
        self._log.append(f"{what} {self.id}")
        error = self.fails[what]
        if error is not None:
            raise error


def greeter(*plugins: Plugin, name: str = "greeter") -> lash.Agent:
    return lash.Agent(name, model=Staged([reply("Hi.")]), plugins=plugins)


# --- starting and stopping ------------------------------------------------------------------------------------


async def test_plugins_start_in_order_and_stop_in_reverse(location: str | Path) -> None:
    log: list[str] = []
    everywhere = [Living("z", log), Living("a", log)]
    agents = [greeter(Living("own", log), name="one"), greeter(Living("own", log), name="two")]
    async with opened(location, agents, *everywhere) as runtime:
        begun = list(log)
        await runtime.session("s", agent="one").run("Go.")
    assert begun == ["start z", "start a", "start own", "start own"]
    assert log[4:] == ["stop own", "stop own", "stop a", "stop z"]


async def test_one_object_on_the_runtime_and_on_two_agents_is_started_once(
    location: str | Path,
) -> None:
    log: list[str] = []
    shared = Living("shared", log)
    async with opened(location, [greeter(shared, name="one"), greeter(shared, name="two")]):
        pass
    assert log == ["start shared", "stop shared"]


async def test_a_runtime_that_is_opened_again_starts_its_plugins_again(path: Path) -> None:
    log: list[str] = []
    runtime = lash.Runtime(path, agents=[greeter()], plugins=[Living("p", log)])
    for _ in range(2):
        async with runtime:
            await runtime.session("s").run("Go.")
    assert log == ["start p", "stop p"] * 2


async def test_plugins_are_started_before_anything_is_driven(path: Path) -> None:
    started, seen = [False], list[bool]()

    class Watching(Plugin):
        id = "watching"

        async def start(self, host: PluginHost) -> None:
            await asyncio.sleep(0)
            started[0] = True

        async def before_turn(self, turn: Any) -> None:
            seen.append(started[0])

    model = Staged([reply("Hi.")])
    gate = model.hold(0)
    agent = lash.Agent("a", model=model)
    async with opened(path, agent) as runtime:
        turn = asyncio.create_task(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
    with pytest.raises(lash.LashError):
        await turn
    async with opened(path, greeter(name="a"), Watching()) as runtime:
        await runtime.idle(timeout=20)
        assert [turn.turn_id for turn in await runtime.session("s").turns()] == ["t"]
    assert seen == [True]


async def test_a_plugin_is_given_the_clock_of_its_runtime(location: str | Path) -> None:
    clock, given = VirtualClock(), list[object]()

    class Timely(Plugin):
        id = "timely"

        async def start(self, host: PluginHost) -> None:
            given.append(host.clock)

    async with opened(location, greeter(), Timely(), clock=clock):
        pass
    assert given == [clock]


@pytest.mark.parametrize("error", [OSError("no line"), asyncio.CancelledError()])
async def test_a_start_that_fails_stops_what_was_begun_and_closes_the_store(
    path: Path, error: BaseException
) -> None:
    log: list[str] = []
    bad = Living("bad", log, start=error)
    runtime = lash.Runtime(
        path, agents=[greeter()], plugins=[Living("first", log), bad, Living("last", log)]
    )
    with pytest.raises(lash.LashError) as raised:
        async with runtime:
            pytest.fail("it was opened")
    assert raised.value.code == "plugin_start_failed"
    assert "'bad'" in str(raised.value)
    assert log == ["start first", "start bad", "stop bad", "stop first"]
    with pytest.raises(lash.LashError):
        runtime.engine  # noqa: B018  it is not open
    bad.fails["start"] = None
    log.clear()
    async with runtime:
        assert (await runtime.session("s").run("Go.")).text == "Hi."
    assert log == [
        *("start first", "start bad", "start last"),
        *("stop last", "stop bad", "stop first"),
    ]


async def test_a_start_may_end_the_process_and_everything_is_stopped(path: Path) -> None:
    log: list[str] = []
    plugins = [Living("first", log), Living("bad", log, start=SystemExit(3))]
    with pytest.raises(SystemExit):
        async with lash.Runtime(path, agents=[greeter()], plugins=plugins):
            pytest.fail("it was opened")
    assert log == ["start first", "start bad", "stop bad", "stop first"]


async def test_a_start_that_is_cancelled_is_stopped_and_stays_cancelled(path: Path) -> None:
    log, reached = list[str](), asyncio.Event()

    class Slow(Living):
        async def start(self, host: PluginHost) -> None:
            await super().start(host)
            reached.set()
            await asyncio.Event().wait()

    runtime = lash.Runtime(path, agents=[greeter()], plugins=[Living("first", log), Slow("s", log)])
    opening = asyncio.create_task(runtime.__aenter__())
    await reached.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert log == ["start first", "start s", "stop s", "stop first"]
    async with lash.Runtime(path, agents=[greeter()]) as again:
        assert (await again.session("s").run("Go.")).text == "Hi."


@pytest.mark.parametrize("error", [OSError("no line"), SystemExit(1), asyncio.CancelledError()])
async def test_a_stop_that_fails_keeps_no_other_from_being_stopped(
    path: Path, error: BaseException
) -> None:
    log: list[str] = []
    plugins = [Living("first", log), Living("bad", log, stop=error), Living("last", log)]
    async with opened(path, greeter(), *plugins) as runtime:
        await runtime.session("s").run("Go.")
    assert log[3:] == ["stop last", "stop bad", "stop first"]


async def test_plugins_are_stopped_when_the_store_is_closed(path: Path) -> None:
    seen: list[bool] = []
    stores: list[SqliteStore] = []

    class Last(Plugin):
        id = "last"

        async def stop(self) -> None:
            with pytest.raises(lash.LashError):
                await stores[0].load_head("s")
            seen.append(True)

    async with opened(path, greeter(), Last()) as runtime:
        store = runtime.engine.store
        assert isinstance(store, SqliteStore)
        stores.append(store)
    assert seen == [True]


# --- told of turns --------------------------------------------------------------------------------------------


def listening(heard: list[TurnEnded], **hooks: Any) -> Made:
    async def after_turn(turn: TurnEnded) -> None:
        heard.append(turn)

    return Made("listening", after_turn=after_turn, **hooks)


async def test_a_turn_is_told_once_and_with_what_it_came_to(location: str | Path) -> None:
    heard: list[TurnEnded] = []

    async def before_turn(turn: Any) -> None:
        turn.session.remember("seen")

    async with opened(location, desk(7)[2], listening(heard, before_turn=before_turn)) as runtime:
        session = runtime.session("s")
        result = await session.run("Go.", turn_id="t")
        again = await session.run("Go.", turn_id="t")
        assert again.text == result.text
    (turn,) = heard
    assert (turn.session.session_id, turn.turn_id, turn.text) == ("s", "t", "Done.")
    assert turn.outcome == lash.Finished(result=AssistantMessage(text="Done."))
    assert (turn.usage, turn.session.state) == (result.usage, "seen")


async def test_turns_that_end_badly_are_told_as_well(location: str | Path) -> None:
    heard: list[TurnEnded] = []
    script = [fail("no", status=400)]
    async with opened(location, desk(script=script)[2], listening(heard)) as runtime:
        await runtime.session("s").run("Go.")
    aborting = listening(heard, before_turn=answering(Abort("no")))
    async with opened(location, desk(7)[2], aborting) as runtime:
        await runtime.session("u").run("Go.")
    assert [isinstance(turn.outcome, lash.Stopped) for turn in heard] == [True, True]


async def test_closing_lets_plugins_that_were_told_come_to_their_end(location: str | Path) -> None:
    done: list[str] = []
    stopped: list[str] = []

    class Slow(Plugin):
        id = "slow"

        async def after_turn(self, turn: TurnEnded) -> None:
            for _ in range(50):
                await asyncio.sleep(0)
            done.append(turn.turn_id)

        async def stop(self) -> None:
            stopped.extend(done)

    async with opened(location, greeter(), Slow()) as runtime:
        await runtime.session("s").run("Go.", turn_id="t")
    assert stopped == ["t"]


async def test_closing_does_not_wait_for_ever_for_a_plugin_that_was_told(
    location: str | Path,
) -> None:
    clock, reached, ended = VirtualClock(), asyncio.Event(), asyncio.Event()

    class Endless(Plugin):
        id = "endless"

        async def after_turn(self, turn: TurnEnded) -> None:
            reached.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    async def closing() -> None:
        async with opened(location, greeter(), Endless(), clock=clock) as runtime:
            await runtime.session("s").run("Go.")
            await reached.wait()

    task = asyncio.create_task(closing())

    async def over() -> bool:
        clock.advance(0.5)
        return task.done()

    await until(over)
    await task
    assert ended.is_set()


@pytest.mark.parametrize("error", [OSError("oh"), SystemExit(1), asyncio.CancelledError()])
async def test_a_plugin_that_fails_after_a_turn_keeps_nobody_from_hearing_of_it(
    location: str | Path, error: BaseException
) -> None:
    heard: list[TurnEnded] = []
    bad = Made("bad", after_turn=answering(error))
    async with opened(location, greeter(), bad, listening(heard)) as runtime:
        assert (await runtime.session("s").run("Go.")).is_success
        assert (await runtime.session("s").run("Again.")).is_success
    assert len(heard) == 2


async def test_what_is_done_to_an_outcome_changes_nothing(location: str | Path) -> None:
    async def after_turn(turn: TurnEnded) -> None:
        outcome: Any = turn.outcome
        outcome.result.value["mine"] = True

    @lash.tool
    async def finish() -> lash.Finish:
        """End the turn."""
        return lash.Finish(value={"sum": 7})

    agent = lash.Agent("a", model=Staged([calls(("finish", {}))]), tools=[finish])
    async with opened(location, agent, Made("p", after_turn=after_turn)) as runtime:
        result = await runtime.session("s").run("Go.")
        (record,) = await runtime.session("s").turns()
    assert "mine" not in repr(result.outcome)
    assert "mine" not in repr(record.outcome)


async def test_a_turn_that_another_runtime_committed_is_not_told_here(path: Path) -> None:
    there: list[TurnEnded] = []
    here: list[TurnEnded] = []
    async with opened(path, greeter(), listening(there)) as runtime:
        await runtime.session("s").run("Go.", turn_id="t")
    async with opened(path, greeter(), listening(here)) as runtime:
        await runtime.session("s").run("Go.", turn_id="t")
        await runtime.replay("s", "t")
    assert [turn.turn_id for turn in there] == ["t"]
    assert here == []


async def test_a_plugin_may_send_something_to_the_session_that_it_was_told_of(
    location: str | Path,
) -> None:
    runtimes: list[lash.Runtime] = []

    async def after_turn(turn: TurnEnded) -> None:
        if turn.turn_id == "t":
            session = runtimes[0].session(turn.session.session_id)
            await session.run("And then?", turn_id="u")

    async with opened(location, greeter(), Made("p", after_turn=after_turn)) as runtime:
        runtimes.append(runtime)
        session = runtime.session("s")
        await session.run("Go.", turn_id="t")

        async def both() -> bool:
            return len(await session.turns()) == 2

        await until(both)
        assert [turn.turn_id for turn in await session.turns()] == ["t", "u"]


# --- what it costs --------------------------------------------------------------------------------------------


async def costs(path: Path, *plugins: Plugin) -> tuple[int, Sequence[str], list[int]]:
    """Transactions and journal of a turn of two tool calls and three model calls."""
    script = [charging(7), charging(8), reply("Done.")]
    till, _, agent = desk(script=script)
    async with opened(path, agent, *plugins) as runtime:
        store = runtime.engine.store
        assert isinstance(store, SqliteStore)
        reads = just_before(runtime, "load_journal", _nothing)
        before = store.transactions
        await runtime.session("s").run("Go.", turn_id="t")
        await runtime.idle()
        spent = store.transactions - before
        assert reads == []
        kinds = [entry.kind for entry in await runtime.journal("s", "t")]
    return spent, kinds, till.charged


async def _nothing() -> None:
    return None


HOOKED: dict[str, dict[str, Callable[..., object]]] = {
    "nothing": {},
    "before_tool": {"before_tool": answering(None)},
    "after_tool": {"after_tool": answering(None)},
    "show": {"show": lambda *_: None},
    "before_turn": {"before_turn": answering(None)},
    "at_checkpoint": {"at_checkpoint": answering(None)},
    "after_turn": {"after_turn": answering(None)},
    "prompt": {"prompt": lambda _: None},
    "offers": {"offers": lambda *_: True},
}


async def test_a_turn_without_plugins_costs_what_it_did(tmp_path: Path) -> None:
    spent, kinds, _ = await costs(tmp_path / "a.db")
    assert spent == 7  # to accept, three model calls, two tools, to commit
    assert kinds.count("llm_call") == 3
    assert kinds.count("tool_attempt") == 2


@pytest.mark.parametrize("hooks", HOOKED)
async def test_a_plugin_that_says_nothing_costs_no_write_and_no_effect(
    tmp_path: Path, hooks: str
) -> None:
    plain = await costs(tmp_path / "plain.db")
    plugged = await costs(tmp_path / "plugged.db", Made("p", **HOOKED[hooks]))
    assert plugged == plain


async def test_what_plugins_remember_costs_no_write_of_its_own(tmp_path: Path) -> None:
    async def remember(told: Any, *_: object) -> None:
        told.session.remember((told.session.state or 0) + 1)

    hooks = dict.fromkeys(("before_turn", "before_tool", "after_tool", "at_checkpoint"), remember)
    spent, kinds, _ = await costs(tmp_path / "a.db", Made("p", **hooks))
    plain = await costs(tmp_path / "plain.db")
    assert (spent, kinds) == plain[:2]


async def test_a_deferred_answer_costs_no_further_effect_unless_somebody_asks_about_it(
    path: Path,
) -> None:
    _, _, agent = desk(7)
    async with opened(path, agent, Made("p", before_tool=answering(None))) as runtime:
        result = await runtime.session("s").run("Go.", turn_id="t")
        kinds = [entry.kind for entry in await runtime.journal("s", "t")]
    assert (values(result), kinds.count("tool_attempt")) == (["charged 7"], 1)
