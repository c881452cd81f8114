"""Turns that begin again after a deploy: twice, with others behind them, and with a death in between."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import cast

import deploys
import pytest
from deploys import (
    BEGINS_AGAIN,
    GOES_ON,
    PROMPT,
    RECORDED,
    SOURCE_KEY,
    TEXT,
    Deploy,
    leave,
    left,
    refusal,
    summary,
)
from hooked_store import HookedStore

import lash
from lash.core.clock import SystemClock
from lash.core.errors import StoreError
from lash.events import TurnRestarted
from lash.runtime.environment import RuntimeEvent
from lash.runtime.stores import Store
from lash.stores.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


async def test_a_turn_can_begin_again_twice(path: Path) -> None:
    await left(path)
    second = Deploy(goes_on=False, instructions="Be thorough.")
    await leave(path, second, on_drift="restart")
    third, events = Deploy(instructions="Be bold."), list[RuntimeEvent]()
    async with lash.Runtime(
        path, agents=[third.agent], on_drift="restart", on_event=events.append
    ) as runtime:
        session = runtime.session("s")
        turn = await asyncio.wait_for(session.run(PROMPT, turn_id="t"), 20)
        assert await session.run(PROMPT, turn_id="t:restart:1") == turn
        assert await session.run(PROMPT, turn_id="t:restart:2") == turn
        assert await session.run(PROMPT, source_key=SOURCE_KEY) == turn
        assert list(await session.turns()) == [turn]
    assert (turn.turn_id, turn.text) == ("t:restart:2", TEXT)
    assert [issue.code for issue in turn.issues] == ["turn_restarted"]
    assert (second.ran, third.ran) == (RECORDED, BEGINS_AGAIN)
    restarts = [item for item in events if isinstance(item, TurnRestarted)]
    assert [(item.turn_id, item.restarted_as) for item in restarts] == [
        ("t:restart:1", "t:restart:2")
    ]


async def test_a_turn_begun_again_that_is_left_goes_on_and_does_not_begin_a_third_time(
    path: Path,
) -> None:
    await left(path)
    await leave(path, Deploy(goes_on=False, instructions="Be thorough."), on_drift="restart")
    same, events = Deploy(instructions="Be thorough."), list[RuntimeEvent]()
    async with lash.Runtime(
        path, agents=[same.agent], on_drift="restart", on_event=events.append
    ) as runtime:
        turn = await asyncio.wait_for(runtime.session("s").run(PROMPT, turn_id="t"), 20)
    assert (turn.turn_id, turn.text, same.ran) == ("t:restart:1", TEXT, GOES_ON)
    assert [issue.code for issue in turn.issues] == ["turn_restarted"]
    assert events == []


async def test_a_turn_parked_where_drift_is_refused_begins_again_where_that_is_wanted(
    path: Path,
) -> None:
    await left(path)
    async with lash.Runtime(
        path, agents=[Deploy(instructions="Be thorough.").agent], on_drift="refuse"
    ) as runtime:
        await runtime.idle(timeout=20)
        assert await summary(runtime) == ("parked", "effect_drift_refused", "person", 1)
    deploy = Deploy(instructions="Be thorough.")
    async with lash.Runtime(path, agents=[deploy.agent], on_drift="restart") as runtime:
        turn = await asyncio.wait_for(runtime.session("s").run(PROMPT, turn_id="t"), 20)
        assert await summary(runtime) == ("idle", None, None, 0)
    assert (turn.turn_id, turn.text, deploy.ran) == ("t:restart:1", TEXT, BEGINS_AGAIN)


async def test_a_turn_that_begins_again_keeps_its_place_before_those_behind_it(path: Path) -> None:
    deploy = Deploy(goes_on=False)
    async with lash.Runtime(path, agents=[deploy.agent]) as runtime:
        session = runtime.session("s")
        running = [asyncio.create_task(session.run(PROMPT, turn_id="t"))]
        await asyncio.wait_for(deploy.holding.wait(), 20)
        running.append(asyncio.create_task(session.run("And behind me?", turn_id="u")))
        while (await runtime.sessions())[0].open_turns < 2:  # noqa: ASYNC110  the store says so
            await asyncio.sleep(0)
    for task in running:
        with pytest.raises(lash.LashError, match="The input is kept"):
            await task

    changed = Deploy(instructions="Be thorough.")
    async with lash.Runtime(path, agents=[changed.agent], on_drift="restart") as runtime:
        session = runtime.session("s")
        behind = await asyncio.wait_for(session.run("And behind me?", turn_id="u"), 20)
        turns = list(await session.turns())
        asked = [item.text for item in await session.history() if item.role == "user" and item.text]
    assert [(turn.turn_id, turn.revision) for turn in turns] == [("t:restart:1", 1), ("u", 2)]
    assert turns[1] == behind
    assert behind.issues == ()  # nothing of it was recorded when the code changed
    assert asked == [PROMPT, "And behind me?"]
    assert changed.ran == BEGINS_AGAIN * 2


async def test_other_input_under_the_id_of_a_turn_begun_again_is_refused_by_that_id(
    path: Path,
) -> None:
    await left(path)
    changed = Deploy(instructions="Be thorough.")
    async with lash.Runtime(path, agents=[changed.agent], on_drift="restart") as runtime:
        await runtime.idle(timeout=20)
        error = await refusal(runtime.session("s"), "Something else.", turn_id="t")
    assert error.code == "turn_input_conflict"
    assert "That turn id was used before" in error.message


# --- dying while a turn begins again ----------------------------------------------------------------------


@pytest.mark.parametrize("answered", [False, True], ids=["not done", "done, answer lost"])
async def test_a_store_that_fails_while_a_turn_begins_again_loses_and_doubles_nothing(
    path: Path, answered: bool
) -> None:
    await left(path)
    failures = iter([StoreError("store_io_failed", "the disk did not answer")])

    async def fail_once() -> None:
        for error in failures:
            raise error

    store = HookedStore(SqliteStore(path, SystemClock(asyncio.sleep)))
    (store.after if answered else store.before)["restart_turn"] = fail_once
    changed, events = Deploy(instructions="Be thorough."), list[RuntimeEvent]()
    async with lash.Runtime(
        cast("Store", store), agents=[changed.agent], on_drift="restart", on_event=events.append
    ) as runtime:
        await runtime.idle(timeout=20)
        (turn,) = await runtime.session("s").turns()
    assert (turn.turn_id, turn.text) == ("t:restart:1", TEXT)
    assert [issue.code for issue in turn.issues] == ["turn_restarted"]
    assert changed.ran == BEGINS_AGAIN
    assert len(events) <= 1  # who never heard that the turn was begun again can tell nobody


KILLS = [
    # Where it dies, which turn is open then, and what the one that comes after it starts.
    ("before", "t", BEGINS_AGAIN),
    ("inside", "t", BEGINS_AGAIN),
    ("after", "t:restart:1", BEGINS_AGAIN),
    ("first record", "t:restart:1", BEGINS_AGAIN[1:]),
]


@pytest.mark.parametrize(("point", "open_turn", "ran"), KILLS, ids=[kill[0] for kill in KILLS])
async def test_a_process_killed_while_a_turn_begins_again_loses_and_doubles_nothing(
    path: Path, point: str, open_turn: str, ran: list[str]
) -> None:
    await left(path)
    ledger = path.with_name("ledger")
    command = [sys.executable, deploys.__file__, str(path), str(ledger), point]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert ledger.read_text().split() == (["m1"] if point == "first record" else [])
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT turn_id FROM inputs WHERE committed = 0").fetchall()
    assert rows == [(open_turn,)]

    changed = Deploy(instructions="Be thorough.")
    async with lash.Runtime(path, agents=[changed.agent], on_drift="restart") as runtime:
        session = runtime.session("s")
        turn = await asyncio.wait_for(session.run(PROMPT, turn_id="t"), 20)
        assert list(await session.turns()) == [turn]
        assert await session.run(PROMPT, source_key=SOURCE_KEY) == turn
        history = [message.text for message in await session.history() if message.text]
    assert (turn.turn_id, turn.text, changed.ran) == ("t:restart:1", TEXT, ran)
    assert [issue.code for issue in turn.issues] == ["turn_restarted"]
    assert history == [PROMPT, TEXT]
