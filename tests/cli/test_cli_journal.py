"""`lash journal`: what was recorded and what is waited for, and never what is in it."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from recorded_turns import SHOP, START_MS, App, committed, left_open, opened, until

import lash
from lash.cli import main
from lash.core.scopes import TurnScope, journal_key
from lash.effects.waits.keys import mint
from lash.effects.waits.model import CustomWait, TurnTerminalWait
from lash.effects.waits.transitions import row_of
from lash.stores.sqlite import SqliteStore
from lash.testing import VirtualClock

RESTARTED = SHOP.replace("Be brief.", "Be kind.")


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert "\x1b" not in out
    return out if code == 0 else err


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(told(capsys, *arguments, "--json"))


def words(line: str) -> str:
    return " ".join(line.split())


def test_a_turn_is_told_effect_by_effect(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(committed(here / "lash.db"))
    heading, columns, *rows = told(capsys, "journal", "c-42", "t-1").splitlines()
    assert heading.startswith(
        "t-1 · session c-42 · committed, finished · accepted 2096-10-02 07:06:40 · 7 effects · "
    )
    assert columns.split() == ["#", "effect", "key", "recorded", "took", "size", "state"]
    begun = [words(row).partition(" 07:06:40 0 ms ")[0] for row in rows]
    assert begun == [
        "1 sync execution environment 0:sync_execution_environment:1",
        "2 llm call 0:llm_call:2",
        "3 tool attempt 0:tool_batch:3:child:0:call_t-1_0_0:attempt:1",
        "4 checkpoint 1:checkpoint:4",
        "5 sync execution environment 1:sync_execution_environment:5",
        "6 llm call 1:llm_call:6",
        "7 checkpoint 1:checkpoint:7",
    ]
    assert words(rows[0]).endswith("37 B recorded")
    assert {words(row).rpartition(" ")[2] for row in rows} == {"recorded"}


def test_a_turn_as_json_has_whole_keys_and_exact_numbers(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(committed(here / "lash.db"))
    found = document(capsys, "journal", "c-42", "t-1")
    effects = found.pop("effects")
    sizes = [effect["bytes"] for effect in effects]
    assert found["turn"].pop("bytes") == sum(sizes)
    assert found == {
        "session_id": "c-42",
        "asked_for": "t-1",
        "turn": {
            "turn_id": "t-1",
            "state": "committed",
            "outcome": {
                "status": "finished",
                "result": {"type": "assistant_message", "text": "As you wish."},
            },
            "parked": None,
            "effects": 7,
            "retired": False,
            "accepted_at_ms": START_MS,
            "committed_at_ms": START_MS,
        },
        "waits": [],
    }
    assert effects[0] == {
        "number": 1,
        "kind": "sync_execution_environment",
        "key": "c-42:t-1:1:0:sync_execution_environment:1",
        "state": "recorded",
        "recorded_at_ms": START_MS,
        "duration_ms": 0.0,
        "bytes": 37,  # {"type":"sync_execution_environment"}
        "due_at_ms": None,
    }
    assert [effect["number"] for effect in effects] == [1, 2, 3, 4, 5, 6, 7]
    assert effects[2]["key"] == "c-42:t-1:1:0:tool_batch:3:child:0:call_t-1_0_0:attempt:1"


def test_a_session_is_a_table_of_turns(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(committed(here / "lash.db"))
    left = asyncio.run(second_turn_left_open(here / "lash.db"))
    session, columns, *rows = told(capsys, "journal", "c-42").splitlines()
    assert session == "c-42"
    assert columns.split() == ["turn", "state", "effects", "size", "journal"]
    assert words(rows[0]).startswith("t-1 committed, finished 7 ")
    assert words(rows[1]).startswith("t-2 open, waiting 3 ")
    assert [row.split()[-1] for row in rows] == ["kept", "kept"]
    assert len(left.keys) == 1


async def second_turn_left_open(path: Path) -> App:
    app = App()
    async with opened(path, app) as runtime:
        running = asyncio.create_task(runtime.session("c-42").run("Money back.", turn_id="t-2"))
        await until(lambda: app.keys)
        await runtime.idle(timeout=20)
        running.cancel()
    return app


def test_retired_journals_are_told_from_turns_that_recorded_nothing_yet(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def prepare() -> None:
        clock, app = VirtualClock(START_MS), App()
        async with opened(here / "lash.db", app, clock) as runtime:
            await runtime.session("c-42").run("Where?", turn_id="t-1")
            clock.advance(10)
            assert (await runtime.retire_journals(timedelta(seconds=1))).scopes == 1

    asyncio.run(prepare())
    asyncio.run(second_turn_left_open(here / "lash.db"))
    first, second = document(capsys, "journal", "c-42")["turns"]
    assert (first["turn_id"], first["effects"], first["retired"]) == ("t-1", 0, True)
    assert (second["turn_id"], second["effects"], second["retired"]) == ("t-2", 3, False)
    rows = told(capsys, "journal", "c-42").splitlines()[2:]
    assert [words(row).split(" ")[-1] for row in rows] == ["retired", "kept"]
    lines = told(capsys, "journal", "c-42", "t-1").splitlines()
    assert "0 effects" in lines[0]
    assert lines[1:] == ["Its journal was retired: retention removed what it had recorded."]


def test_an_open_turn_tells_which_answer_it_waits_for(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    (key,) = app.keys
    lines = told(capsys, "journal", "c-42", "t-1").splitlines()
    assert " · open, waiting · " in lines[0]
    assert words(lines[-1]) == (
        "tool completion 3:child:0:call_t-1_0_0 (refund) waiting until 2096-10-02 08:06:40"
    )
    assert document(capsys, "journal", "c-42", "t-1")["waits"] == [
        {
            "key_id": key.key_id,
            "kind": "tool_completion",
            "name": "3:child:0:call_t-1_0_0",
            "tool": "refund",
            "call_id": "call_t-1_0_0",
            "state": "waiting",
            "deadline_at_ms": START_MS + 3_600_000,
            "since_ms": START_MS,
        }
    ]


def test_a_wait_past_its_deadline_is_told_as_timed_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    passed = START_MS - 4_000_000_000_000 + 1  # long before the clock of this machine
    with sqlite3.connect(here / "lash.db") as connection:
        connection.execute("UPDATE await_events SET deadline_at_ms = ?", (passed,))
        connection.execute(
            "UPDATE journal SET outcome = replace(outcome, ?, ?) WHERE kind = 'tool_attempt'",
            (f'"deadline_at_ms":{START_MS + 3_600_000}', f'"deadline_at_ms":{passed}'),
        )
    connection.close()
    assert words(told(capsys, "journal", "c-42", "t-1").splitlines()[-1]).endswith("timed out")
    (wait,) = document(capsys, "journal", "c-42", "t-1")["waits"]
    assert (wait["state"], wait["deadline_at_ms"]) == ("timed_out", passed)
    assert "refund · timed out at 1970-01-01 00:00:00; the turn goes on" in words(
        told(capsys, "show", "c-42")
    )


def test_what_the_outside_was_left_is_known_before_anybody_waits_for_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    with sqlite3.connect(here / "lash.db") as connection:
        connection.execute("DELETE FROM await_events")
    connection.close()
    (wait,) = document(capsys, "journal", "c-42", "t-1")["waits"]
    assert (wait["tool"], wait["state"]) == ("refund", "waiting")
    assert wait["deadline_at_ms"] == START_MS + 3_600_000


def test_other_promises_are_told_by_name_and_those_that_steer_the_turn_are_not(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def promise() -> None:
        await left_open(here / "lash.db", "Keep it.", "sleep")
        store = SqliteStore(here / "lash.db", VirtualClock(START_MS))
        scope = TurnScope(session_id="c-42", turn_id="t-1")
        for wait in (CustomWait(key="approval"), TurnTerminalWait()):
            key = mint(store.signing_secret, scope, wait)
            await store.open_wait(row_of(key, journal_key(scope)))
        await store.aclose()

    asyncio.run(promise())
    (wait,) = document(capsys, "journal", "c-42", "t-1")["waits"]
    assert wait.pop("key_id").startswith("await-event:v3:sha256:")
    assert wait == {
        "kind": "custom",
        "name": "approval",
        "tool": None,
        "call_id": None,
        "state": "waiting",
        "deadline_at_ms": None,
        "since_ms": START_MS,
    }
    last = told(capsys, "journal", "c-42", "t-1").splitlines()[-1]
    assert words(last) == "custom approval waiting"


def test_a_sleep_that_was_broken_off_is_over(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(left_open(here / "lash.db", "Keep it.", "sleep"))
    with sqlite3.connect(here / "lash.db") as connection:
        connection.execute(
            """INSERT INTO journal SELECT NULL, scope, replay_key || ':cancelled', kind, identity,
            surroundings, envelope, outcome, recorded_at_ms, duration_ms, fencing_token, blob, bytes,
            due_at_ms FROM journal WHERE kind = 'sleep'"""
        )
    connection.close()
    effects = document(capsys, "journal", "c-42", "t-1")["effects"]
    assert [effect["kind"] for effect in effects[-2:]] == ["sleep", "sleep"]
    assert {effect["state"] for effect in effects} == {"recorded"}


def test_a_sleep_that_is_not_over_says_until_when(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(left_open(here / "lash.db", "Keep it.", "sleep"))
    lines = told(capsys, "journal", "c-42", "t-1").splitlines()
    assert words(lines[-1]).startswith(
        "4 sleep 0:tool_batch:3:child:0:call_t-1_0_0:attempt:1:sleep"
    )
    assert words(lines[-1]).endswith("sleeping until 07:07:40")  # on the day the turn began
    sleep = document(capsys, "journal", "c-42", "t-1")["effects"][-1]
    assert (sleep["state"], sleep["due_at_ms"]) == ("sleeping", START_MS + 60_000)


def test_a_sleep_of_a_committed_turn_is_over(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def prepare() -> None:
        clock, app = VirtualClock(START_MS), App()
        async with opened(here / "lash.db", app, clock) as runtime:
            running = asyncio.create_task(runtime.session("c-42").run("Keep it.", turn_id="t-1"))

            async def asleep() -> bool:
                clock.advance(60)
                return running.done()

            await until(asleep)

    asyncio.run(prepare())
    effects = document(capsys, "journal", "c-42", "t-1")["effects"]
    kinds = [effect["kind"] for effect in effects]
    assert kinds.count("sleep") == 1
    assert {effect["state"] for effect in effects} == {"recorded"}


def test_a_turn_that_was_begun_again_is_found_under_its_old_id(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    asyncio.run(restart(here / "lash.db"))
    lines = told(capsys, "journal", "c-42", "t-1").splitlines()
    assert lines[0].startswith("t-1:restart:1 · session c-42 · open, waiting · ")
    assert lines[1] == "Turn t-1 was begun again; this is the turn it became."
    found = document(capsys, "journal", "c-42", "t-1")
    assert (found["asked_for"], found["turn"]["turn_id"]) == ("t-1", "t-1:restart:1")
    keys = [effect["key"] for effect in found["effects"]]
    assert all(key.startswith("c-42:t-1:restart:1:1:0:") for key in keys)
    assert [turn["turn_id"] for turn in document(capsys, "journal", "c-42")["turns"]] == [
        "t-1:restart:1"
    ]


async def restart(path: Path) -> None:
    app = App(RESTARTED)
    async with lash.Runtime(
        path, agents=[app.agent], on_drift="restart", clock=VirtualClock(START_MS)
    ) as runtime:
        await until(lambda: app.keys)
        await runtime.idle(timeout=20)


def test_a_parked_turn_says_why(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    asyncio.run(opened_without_the_agent(here / "lash.db"))
    lines = told(capsys, "journal", "c-42", "t-1").splitlines()
    assert " · open, parked · " in lines[0]
    assert lines[1].startswith("parked: it waits for a runtime that has its agent: ")
    assert lines[1].endswith("[agent_missing]")
    assert document(capsys, "journal", "c-42")["turns"][0]["parked"]["waits_for"] == "agent"


async def opened_without_the_agent(path: Path) -> None:
    other = App(SHOP.replace('"support"', '"billing"'))
    async with opened(path, other) as runtime:
        await runtime.idle(timeout=20)


@pytest.mark.parametrize(
    "arguments",
    [
        ["journal", "c-42", "t-1"],
        ["journal", "c-42", "t-1", "--json"],
        ["journal", "c-42", "--json"],
        ["show", "c-42"],
        ["show", "c-42", "--json"],
    ],
)
def test_signatures_are_never_shown(
    arguments: Sequence[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    (key,) = app.keys
    shown = told(capsys, *arguments)
    assert "t-1" in shown
    assert key.signature not in shown
    assert key.token not in shown


def test_an_answer_that_was_given_is_not_waited_for_and_not_shown(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = asyncio.run(left_open(here / "lash.db", "Money back.", "tool_attempt"))
    told(capsys, "resolve", app.keys[0].token, "hunter2")
    assert document(capsys, "journal", "c-42", "t-1")["waits"] == []
    assert document(capsys, "show", "c-42")["open_turns"][0]["waits"] == []
    for arguments in (["journal", "c-42", "t-1"], ["show", "c-42"], ["show", "c-42", "--json"]):
        assert "hunter2" not in told(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["journal", "c-43"], "[session_unknown]"),
        (["journal", "c-43", "t-1"], "[session_unknown]"),
        (["journal", "c-42", "t-9"], "[turn_unknown]"),
        (["journal", "c-42", "--db", "missing.db"], "There is no database"),
    ],
)
def test_what_is_not_there_is_said_so(
    arguments: Sequence[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(committed(here / "lash.db"))
    assert said in told(capsys, *arguments, code=1)
