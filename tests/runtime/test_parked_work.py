"""Work that does not go on by itself: who is told, how often, what it holds up, and what it does not."""

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from deploys import GOES_ON, PROMPT, TEXT, Deploy, Opened, left, refusal, summary
from hooked_store import contents
from peer_process import Peer, database

import lash
from lash.effects.transitions import DriftPolicy
from lash.events import TurnEvent, TurnParked, TurnRestarted
from lash.runtime.environment import RuntimeEvent
from lash.testing import ScriptedModel, VirtualClock, reply

__all__ = ["database"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


def other_agent() -> lash.Agent:
    return lash.Agent("other", model=ScriptedModel([reply("Hi.")]))


def reword_the_input(path: Path) -> None:
    """Have the turn begin with other words than those that were recorded."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE inputs SET input = replace(input, 'around', 'away')")
        connection.commit()


REWORDED = "Look away."


# --- who is told, and how often ---------------------------------------------------------------------------


async def test_a_turn_that_parks_is_told_once_to_the_host_and_to_whoever_follows_it(
    path: Path,
) -> None:
    await left(path)
    reword_the_input(path)
    clock = VirtualClock()
    opened, attached = Opened(path, Deploy().agent, clock=clock), asyncio.Event()
    opened.store.before["park_turn"] = attached.wait
    async with opened, asyncio.timeout(20):
        session = opened.runtime.session("s")
        async with session.stream(REWORDED, turn_id="t") as live:
            attached.set()
            heard = [event async for event in live]
            with pytest.raises(lash.ReplayError) as raised:
                await live.result()
        assert raised.value.code == "effect_replay_mismatch"
        (event,) = heard
        assert isinstance(event, TurnParked)
        assert (event.session_id, event.turn_id) == ("s", "t")
        assert (event.code, event.waits_for) == ("effect_replay_mismatch", "person")
        assert opened.events == [event]
        for _ in range(3):
            await opened.sweep()
        await refusal(session, "And now?")
        await refusal(session, REWORDED, turn_id="t")
        assert opened.events == [event]


async def test_a_turn_that_begins_again_is_told_once_to_the_host_and_to_whoever_follows_it(
    path: Path,
) -> None:
    await left(path)
    deploy = Deploy(instructions="Be thorough.")
    opened, attached = Opened(path, deploy.agent, on_drift="restart"), asyncio.Event()
    opened.store.before["restart_turn"] = attached.wait
    async with opened, asyncio.timeout(20):
        async with opened.runtime.session("s").stream(PROMPT, turn_id="t") as live:
            assert live.turn_id == "t"
            attached.set()
            heard: list[TurnEvent] = [event async for event in live]
            result = await live.result()
            assert live.turn_id == result.turn_id == "t:restart:1"
        await opened.runtime.idle()
        told = [event for event in heard if isinstance(event, TurnRestarted)]
        assert told == opened.events
        (event,) = opened.events
        assert isinstance(event, TurnRestarted)
        assert (event.turn_id, event.restarted_as) == ("t", "t:restart:1")
        assert heard.index(event) == 0  # whoever shows the turn can clear what it showed so far
        assert len(heard) > 1  # and follows the new one from its beginning
        await opened.runtime.replay("s", "t")
        assert len(opened.events) == 1
    async with Opened(path, deploy.agent, on_drift="restart") as again:
        await again.runtime.idle(timeout=20)
        assert again.events == []


async def test_a_turn_that_waits_for_its_agent_is_told_once(path: Path) -> None:
    await left(path)
    clock = VirtualClock()
    async with Opened(path, other_agent(), clock=clock) as opened:
        await opened.runtime.idle(timeout=20)
        (event,) = opened.events
        assert isinstance(event, TurnParked)
        assert (event.code, event.waits_for) == ("agent_missing", "agent")
        for _ in range(3):
            await opened.sweep()
        assert opened.events == [event]
    for agents in ([other_agent()], [Deploy(version="2").agent]):
        async with Opened(path, *agents, clock=clock) as again:
            await again.runtime.idle(timeout=20)
            assert again.events == []  # it waits still, and the store has said so
    old = Deploy()
    async with Opened(path, old.agent) as here:
        await here.runtime.idle(timeout=20)
        assert await summary(here.runtime) == ("idle", None, None, 0)
        assert here.events == []
    assert old.ran == GOES_ON


async def test_input_behind_a_turn_that_waits_for_its_agent_does_not_tell_of_it_again(
    path: Path,
) -> None:
    await left(path)
    async with Opened(path, Deploy(version="2").agent) as opened:
        for number in range(3):
            await refusal(opened.runtime.session("s"), "And now?", turn_id=f"u{number}")
        assert len(opened.events) == 1


async def test_a_turn_that_parks_anew_at_another_opening_is_told_anew(path: Path) -> None:
    await left(path)
    reword_the_input(path)
    for _ in range(2):
        async with Opened(path, Deploy().agent) as opened:
            await opened.runtime.idle(timeout=20)
            assert [getattr(event, "turn_id", None) for event in opened.events] == ["t"]


async def test_the_reason_is_seen_in_the_list_of_sessions_until_the_turn_goes_on(
    path: Path,
) -> None:
    await left(path)
    clock = VirtualClock(start_ms=2_000_000_000_000)
    async with Opened(path, Deploy(version="2").agent, clock=clock) as opened:
        await opened.runtime.idle(timeout=20)
        (found,) = await opened.runtime.sessions()
        assert found.parked is not None
        assert found.parked.code == "agent_version_missing"
        assert found.parked.parked_at_ms == 2_000_000_000_000
        assert "version '1' of agent 'scout'" in found.parked.message
        assert await opened.runtime.session("s").info() == found
    reword_the_input(path)
    async with Opened(path, Deploy().agent) as opened:
        await opened.runtime.idle(timeout=20)
        (found,) = await opened.runtime.sessions()
        assert found.parked is not None
        assert (found.parked.code, found.parked.waits_for) == ("effect_replay_mismatch", "person")
        assert "a message of the turn differs" in found.parked.message


async def test_a_turn_that_goes_on_under_input_accepted_behind_it_is_not_called_parked(
    path: Path,
) -> None:
    old, new = Deploy(goes_on=False), Deploy(version="2")
    async with Opened(path, old.agent, new.agent) as here:
        await left(path)  # by a process that comes and goes
        async with Opened(path, other_agent()) as without:
            await without.runtime.idle(timeout=20)
            assert await summary(without.runtime) == ("parked", "agent_missing", "agent", 1)
        behind = asyncio.create_task(here.runtime.session("s").run("And behind?", turn_id="u"))
        await asyncio.wait_for(old.holding.wait(), 20)
        seen = await summary(here.runtime)
        old.go.set()
        assert (await asyncio.wait_for(behind, 20)).turn_id == "u"
        assert seen == ("running", None, None, 2)


@pytest.mark.parametrize("on_drift", ["refuse", "restart"])
async def test_an_on_event_that_raises_changes_nothing(
    path: Path, caplog: pytest.LogCaptureFixture, on_drift: DriftPolicy
) -> None:
    await left(path)
    heard: list[RuntimeEvent] = []

    def fall_over(event: RuntimeEvent) -> None:
        heard.append(event)
        raise RuntimeError("the pager is down")

    agent = Deploy(instructions="Be thorough.").agent
    with caplog.at_level(logging.ERROR, "lash.runtime"):
        async with lash.Runtime(
            path, agents=[agent], on_drift=on_drift, on_event=fall_over
        ) as runtime:
            await runtime.idle(timeout=20)
            turns = [turn.turn_id for turn in await runtime.session("s").turns()]
            state = await summary(runtime)
    assert len(heard) == 1
    assert "the pager is down" in caplog.text
    if on_drift == "restart":
        assert (turns, state) == (["t:restart:1"], ("idle", None, None, 0))
    else:
        assert (turns, state) == ([], ("parked", "effect_drift_refused", "person", 1))


# --- what is behind ---------------------------------------------------------------------------------------


async def test_input_behind_a_turn_that_waits_for_its_agent_is_accepted_once_and_waits(
    path: Path,
) -> None:
    await left(path)
    async with Opened(path, Deploy(version="2").agent) as opened:
        session = opened.runtime.session("s")
        for _ in range(2):  # sent again, it is not accepted again
            error = await refusal(session, "And behind?", turn_id="u", source_key="click")
            assert error.code == "agent_version_missing"
        assert await summary(opened.runtime) == ("parked", "agent_version_missing", "agent", 2)
        await opened.runtime.idle(timeout=20)
    old, new = Deploy(), Deploy(version="2")
    async with Opened(path, old.agent, new.agent) as opened:
        await opened.runtime.idle(timeout=20)
        turns = await opened.runtime.session("s").turns()
    assert [(turn.turn_id, turn.text) for turn in turns] == [("t", TEXT), ("u", TEXT)]
    assert (len(old.ran), len(new.ran)) == (4, 8)


async def test_input_behind_a_turn_that_needs_a_person_is_refused_and_nothing_is_written(
    path: Path,
) -> None:
    await left(path)
    reword_the_input(path)
    async with Opened(path, Deploy().agent) as opened:
        await opened.runtime.idle(timeout=20)
        before = contents(path)
        for named in ({"turn_id": "u"}, {"source_key": "click"}):
            error = await refusal(opened.runtime.session("s"), "And behind?", **named)
            assert error.code == "effect_replay_mismatch"
            assert "Nothing was accepted" in error.message
        assert contents(path) == before
        assert (await opened.runtime.session("free").run("Free.")).is_success


# --- runtimes with and without the agent --------------------------------------------------------------------


async def test_a_runtime_without_the_agent_does_not_disturb_the_process_that_has_it(
    database: Path,
) -> None:
    with Peer(database) as peer:
        peer.run("s", "t", "Slow tool.")
        peer.hear("started")
        before = contents(database)
        async with Opened(database, other_agent()) as without:
            await without.runtime.idle(
                timeout=20
            )  # what waits for others' agents keeps nobody busy
            assert await summary(without.runtime) == ("running", None, None, 1)
            assert contents(database) == before
            peer.tell("go")
            assert peer.hear("turn")["text"] == "Answer to: Slow tool."
            await without.runtime.idle(timeout=20)
            assert await summary(without.runtime) == ("idle", None, None, 0)
            assert without.events == []
        peer.close()


async def test_what_a_killed_process_left_is_noted_where_its_agent_is_missing_and_finished_where_it_is(
    database: Path,
) -> None:
    async with Opened(database, other_agent()) as without:
        with Peer(database) as peer:
            peer.run("s", "t", "Slow tool.")
            peer.hear("started")
            peer.kill()
        await without.runtime.idle(timeout=20)
        assert await summary(without.runtime) == ("parked", "agent_missing", "agent", 1)
        assert [getattr(event, "turn_id", None) for event in without.events] == ["t"]
        with Peer(database) as peer:
            peer.tell("go")
            peer.tell("idle")
            peer.hear("idle")
            peer.close()
        await without.runtime.idle(timeout=20)
        (turn,) = await without.runtime.session("s").turns()
        assert turn.text == "Answer to: Slow tool."
        assert await summary(without.runtime) == ("idle", None, None, 0)
        assert len(without.events) == 1
