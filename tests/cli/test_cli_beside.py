"""`lash tail` and `lash cancel`, beside another process that drives the session, and after its death."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_harness import Command, start
from cli_harness import lash as run_lash
from recorded_turns import until

pytestmark = pytest.mark.slow

#: A process that runs a turn whose tool waits for a file, and says when the tool has begun.
DRIVER = '''
import asyncio
import pathlib
import sys
import lash
from lash.testing import ScriptedModel, calls, reply

@lash.tool
async def dig() -> str:
    """Dig until something turns up."""
    pathlib.Path("digging").touch()
    while not pathlib.Path("found").exists():
        await asyncio.sleep(0.005)
    return "a coin"

script = [calls(("dig", {})), reply("A coin.")]
digger = lash.Agent("digger", model=ScriptedModel(script), tools=[dig])

async def main():
    async with lash.Runtime("lash.db", agents=[digger]) as runtime:
        await runtime.session("c-1", agent="digger").run("Dig.", turn_id=sys.argv[1])

if __name__ == "__main__":
    asyncio.run(main())
'''


async def driving(place: Path, turn_id: str = "t-1") -> asyncio.subprocess.Process:
    """Another process, in the middle of a turn."""
    (place / "driver.py").write_text(DRIVER)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "driver.py", turn_id, cwd=place, stderr=asyncio.subprocess.PIPE
    )
    await until((place / "digging").exists)
    return process


async def item(command: Command) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(await command.line())
    return read


# --- tail -----------------------------------------------------------------------------------------


async def test_tail_tells_what_another_process_commits(tmp_path: Path) -> None:
    driver = await driving(tmp_path)
    tail = await start("tail", "c-1", "--json", cwd=tmp_path)
    snapshot = await item(tail)
    assert snapshot["type"] == "snapshot"
    assert (snapshot["view"]["session_id"], snapshot["view"]["revision"]) == ("c-1", 0)
    (tmp_path / "found").touch()
    event = await item(tail)
    assert (event["type"], event["event"]["type"]) == ("event", "committed")
    assert event["event"]["record"]["text"] == "A coin."
    assert await driver.wait() == 0
    tail.interrupt()
    ended = await tail.ended()
    assert (ended.code, ended.err) == (130, "")


async def test_tail_survives_the_death_of_the_driver_and_sees_the_next_one(tmp_path: Path) -> None:
    driver = await driving(tmp_path)
    tail = await start("tail", "c-1", "--json", cwd=tmp_path)
    assert (await item(tail))["type"] == "snapshot"
    driver.kill()
    await driver.wait()
    (tmp_path / "found").touch()
    other = await driving(tmp_path)
    event = await item(tail)
    assert (event["event"]["turn_id"], event["event"]["revision"]) == ("t-1", 1)
    assert await other.wait() == 0
    tail.interrupt()
    assert (await tail.ended()).code == 130


async def test_tail_goes_on_behind_a_cursor(tmp_path: Path) -> None:
    (tmp_path / "found").touch()
    first = await driving(tmp_path, "t-1")
    assert await first.wait() == 0
    once = await run_lash("tail", "c-1", "--once", "--json", cwd=tmp_path)
    (snapshot,) = [json.loads(line) for line in once.out.splitlines()]
    assert snapshot["view"]["turn_index"] == 1
    again = await run_lash(
        "tail", "c-1", "--once", "--json", "--cursor", snapshot["cursor"], cwd=tmp_path
    )
    assert (again.code, again.out) == (0, "")
    second = await driving(tmp_path, "t-2")
    assert await second.wait() == 0
    further = await run_lash(
        "tail", "c-1", "--once", "--json", "--cursor", snapshot["cursor"], cwd=tmp_path
    )
    told = [json.loads(line) for line in further.out.splitlines()]
    assert [one["event"]["turn_id"] for one in told] == ["t-2"]
    ahead = told[-1]["cursor"].replace("lashsc1:2:", "lashsc1:7:")
    gap = await run_lash("tail", "c-1", "--once", "--json", "--cursor", ahead, cwd=tmp_path)
    (item,) = [json.loads(line) for line in gap.out.splitlines()]
    assert (item["type"], item["reason"], item["view"]["revision"]) == ("gap", "unavailable", 2)
    end = await run_lash(
        "tail", "c-1", "--once", "--json", "--cursor", told[-1]["cursor"], cwd=tmp_path
    )
    assert (end.code, end.out) == (0, "")


async def test_tail_ends_when_its_session_is_removed(tmp_path: Path) -> None:
    (tmp_path / "found").touch()
    await (await driving(tmp_path)).wait()
    tail = await start("tail", "c-1", "--json", cwd=tmp_path)
    assert (await item(tail))["type"] == "snapshot"
    assert (await run_lash("rm", "c-1", "--yes", cwd=tmp_path)).code == 0
    ended = await tail.ended()
    assert (ended.code, ended.out) == (1, "")
    assert json.loads(ended.err)["error"]["code"] == "session_deleted"


async def test_tail_reads_well_and_changes_nothing(tmp_path: Path) -> None:
    driver = await driving(tmp_path)
    (tmp_path / "found").touch()
    assert await driver.wait() == 0
    before = (tmp_path / "lash.db").read_bytes()
    ended = await run_lash("tail", "c-1", "--once", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "[snapshot] c-1 · 1 turn · 20 in · 10 out",
        "user: Dig.",
        "tool: dig {}",
        "→ a coin",
        "assistant: A coin.",
    ]
    assert (tmp_path / "lash.db").read_bytes() == before


@pytest.mark.parametrize(
    ("cursor", "code"),
    [
        ("nonsense", "session_cursor_malformed"),
        ("lashsc1:1:r.0:other", "session_cursor_wrong_session"),
    ],
)
async def test_a_cursor_that_is_none_is_refused(tmp_path: Path, cursor: str, code: str) -> None:
    (tmp_path / "found").touch()
    await (await driving(tmp_path)).wait()
    ended = await run_lash("tail", "c-1", "--once", "--cursor", cursor, cwd=tmp_path)
    assert ended.code == 1
    assert f"[{code}]" in ended.err


# --- cancel ---------------------------------------------------------------------------------------


async def test_a_turn_of_another_process_is_stopped_and_waited_for(tmp_path: Path) -> None:
    driver = await driving(tmp_path)
    ended = await run_lash(
        "cancel", "c-1", "--reason", "too slow", "--wait", "--json", cwd=tmp_path
    )
    assert (ended.code, ended.err) == (0, "")
    assert (ended.json["outcome"], ended.json["turn_id"]) == ("requested", "t-1")
    committed = ended.json["committed"]
    assert committed["outcome"]["reason"]["type"] == "cancelled"
    assert committed["cancellation"]["reason"] == "too slow"
    assert await driver.wait() == 0
    late = await run_lash("cancel", "c-1", "t-1", cwd=tmp_path)
    assert late.code == 1
    assert late.out.splitlines() == [
        "completion won: turn t-1 had come to its end; nothing was changed.",
        "It ended: stopped (cancelled) by lash cancel: too slow.",
    ]


async def test_a_turn_that_nobody_drives_is_ended_by_the_request(tmp_path: Path) -> None:
    driver = await driving(tmp_path)
    driver.kill()
    await driver.wait()
    ended = await run_lash("cancel", "c-1", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "requested: turn t-1 will end as cancelled.",
        "It ended: stopped (cancelled) by lash cancel.",
    ]
    shown = await run_lash("show", "c-1", "--json", cwd=tmp_path)
    assert [turn["turn_id"] for turn in shown.json["turns"]] == ["t-1"]


async def test_a_request_for_a_turn_to_come_holds_and_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "found").touch()
    await (await driving(tmp_path, "t-1")).wait()
    first = await run_lash("cancel", "c-1", "t-9", "--reason", "first", cwd=tmp_path)
    assert first.code == 0
    assert "There is no turn 't-9' yet" in first.err
    second = await run_lash("cancel", "c-1", "t-9", "--reason", "second", cwd=tmp_path)
    assert second.out == ("already requested: turn t-9 was asked to stop by lash cancel: first.\n")
    await (await driving(tmp_path, "t-9")).wait()
    shown = await run_lash("show", "c-1", "--json", cwd=tmp_path)
    reasons = [
        turn["cancellation"] and turn["cancellation"]["reason"] for turn in shown.json["turns"]
    ]
    assert reasons == [None, "first"]


async def test_what_is_unknown_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "found").touch()
    await (await driving(tmp_path)).wait()
    nothing = await run_lash("cancel", "c-1", cwd=tmp_path)
    assert (nothing.code, nothing.out.split(":")[0]) == (1, "unknown")
    nobody = await run_lash("cancel", "c-9", "t-1", "--json", cwd=tmp_path)
    assert nobody.code == 1
    assert nobody.json["outcome"] == "unknown_or_revoked"
    missing = await run_lash("cancel", "c-1", "--db", "missing.db", cwd=tmp_path)
    assert missing.code == 1
    assert not (tmp_path / "missing.db").exists()


async def test_commands_beside_mark_nothing_as_waiting_for_an_agent(tmp_path: Path) -> None:
    driver = await driving(tmp_path)
    driver.kill()
    await driver.wait()
    for command in (["fork", "c-1", "c-2"], ["cancel", "c-9", "t-1"], ["vacuum"]):
        ended = await run_lash(*command, cwd=tmp_path)
        assert ended.err == ""
    shown = await run_lash("sessions", "--json", cwd=tmp_path)
    states = {session["session_id"]: session["state"] for session in shown.json["sessions"]}
    assert states == {"c-1": "waiting", "c-2": "idle"}
    assert (await run_lash("rm", "c-1", "--yes", cwd=tmp_path)).code == 0


async def test_a_session_that_is_driven_is_not_removed(tmp_path: Path) -> None:
    driver = await driving(tmp_path)
    ended = await run_lash("rm", "c-1", "--yes", "--json", cwd=tmp_path)
    assert ended.code == 1
    assert json.loads(ended.err)["error"]["code"] == "session_execution_busy"
    (tmp_path / "found").touch()
    assert await driver.wait() == 0
