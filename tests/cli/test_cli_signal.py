"""`lash signal`, `lash cancel --process` and `lash abandon`: told from a process that runs nothing."""

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_harness import lash as run_lash
from cli_harness import start
from processes_left import SHOP, Shop, leave, reached, started
from recorded_turns import until
from terminal import ENTER, Terminal

import lash
from lash.cli import main

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def shop(here: Path) -> Path:
    (here / "shop.py").write_text(SHOP)
    leave(here / "lash.db", started)
    return here


def document(capsys: Capture, *arguments: str, code: int = 0) -> Any:
    assert main([*arguments, "--json"]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def refused(capsys: Capture, *arguments: str, code: int = 1) -> str:
    assert main([*arguments, "--json"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    told = json.loads(err)["error"]["code"]
    assert isinstance(told, str)
    return told


def signals(place: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(place / "lash.db") as connection:
        rows = connection.execute(
            "SELECT event_type, payload FROM process_events WHERE event_type LIKE 'signal.%' "
            "ORDER BY sequence"
        ).fetchall()
    connection.close()
    return [(str(name), str(payload)) for name, payload in rows]


# --- signal -------------------------------------------------------------------------------------------


def test_a_signal_is_kept_while_nobody_runs_the_process(shop: Path, capsys: Capture) -> None:
    assert main(["signal", "refund-7", "approved", '{"by": "ana"}']) == 0
    out, err = capsys.readouterr()
    assert out == "sent: signal approved is event 3 of process refund-7.\n"
    assert err == "Nobody runs the process now: the signal is kept until a worker does.\n"
    assert signals(shop) == [("signal.approved", '{"by":"ana"}')]
    with sqlite3.connect(shop / "lash.db") as connection:
        begun = connection.execute(
            "SELECT count(*) FROM process_events WHERE process_id = 'refund-7' "
            "AND event_type = 'process.started'"
        ).fetchone()
    connection.close()
    assert begun == (1,)  # by the runtime that was there before, and not by the command


def test_a_signal_is_one_document(shop: Path, capsys: Capture) -> None:
    sent = document(capsys, "signal", "refund-7", "approved", "--id", "click-1")
    assert sent.pop("process")["state"] == "waiting"
    assert sent.pop("occurred_at_ms") > 0
    assert sent == {"process_id": "refund-7", "name": "approved", "id": "click-1", "sequence": 3}
    assert signals(shop) == [("signal.approved", "null")]


def test_the_same_id_is_one_signal_and_another_payload_a_conflict(
    shop: Path, capsys: Capture
) -> None:
    again = ("signal", "refund-7", "approved", "1", "--id", "click-1")
    assert document(capsys, *again)["sequence"] == document(capsys, *again)["sequence"] == 3
    other = ("signal", "refund-7", "approved", "2", "--id", "click-1")
    assert refused(capsys, *other) == "process_event_conflict"
    assert signals(shop) == [("signal.approved", "1")]


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("true", "true"),
        ('"text"', '"text"'),
        ('{"of": [1, 2.5, null]}', '{"of":[1,2.5,null]}'),
    ],
)
def test_a_payload_is_json(shop: Path, capsys: Capture, written: str, stored: str) -> None:
    document(capsys, "signal", "refund-7", "approved", written)
    assert signals(shop) == [("signal.approved", stored)]


@pytest.mark.parametrize("payload", ["payload-secret", '{"by": payload-secret}', ""])
def test_a_payload_that_is_no_json_is_refused_and_not_repeated(
    shop: Path, capsys: Capture, payload: str
) -> None:
    assert main(["signal", "refund-7", "approved", payload]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("lash signal PROCESS NAME '\"text\"' [usage_invalid]\n")
    assert "payload-secret" not in err
    assert signals(shop) == []


async def test_a_payload_can_come_from_stdin(tmp_path: Path) -> None:
    async def fill() -> None:
        shop = Shop()
        async with lash.Runtime(tmp_path / "lash.db", processes=shop.processes) as runtime:
            await runtime.processes.start(shop["refund"], "o-7", id="refund-7")
            await reached(runtime, "refund-7", "waiting")

    await fill()
    sent = await run_lash(
        "signal", "refund-7", "approved", "-", cwd=tmp_path, told='{"by": "ana"}\n'
    )
    assert sent.code == 0
    assert signals(tmp_path) == [("signal.approved", '{"by":"ana"}')]


def test_a_signal_that_nobody_takes_says_why(shop: Path, capsys: Capture) -> None:
    assert refused(capsys, "signal", "nobody", "approved") == "process_unknown"
    assert refused(capsys, "signal", "adds-1", "approved") == "process_already_terminal"
    assert refused(capsys, "signal", "refund-7", "no name") == "process_signal_name_invalid"
    assert refused(capsys, "signal", "refund-7", "approved", "--id", " ", code=2) == "usage_invalid"
    assert refused(capsys, "signal", "refund-7", "approved", "--db", "x.db") == "store_unreachable"
    assert not (shop / "x.db").exists()


async def test_a_signal_reaches_a_process_that_a_worker_runs(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    worker = await start("worker", "shop", "--json", cwd=tmp_path)
    assert json.loads(await worker.line())["type"] == "ready"
    async with lash.Runtime(
        tmp_path / "lash.db", run_processes=False, processes=Shop().processes
    ) as runtime:
        await runtime.processes.start(Shop()["refund"], "o-7", id="refund-7")
        await reached(runtime, "refund-7", "waiting")
        sent = await run_lash("signal", "refund-7", "approved", "1", cwd=tmp_path)
        assert (sent.code, sent.err) == (0, "")
        await reached(runtime, "refund-7", "completed")
    worker.interrupt()
    assert (await worker.ended()).code == 0


# --- cancel -------------------------------------------------------------------------------------------


def test_a_process_is_asked_to_stop_once(shop: Path, capsys: Capture) -> None:
    assert main(["cancel", "--process", "refund-7", "--reason", "asked twice"]) == 0
    out, err = capsys.readouterr()
    assert out == (
        "requested: process refund-7 is told where it waits, or at the next thing it does.\n"
    )
    assert err == "Nobody runs it now: the next worker that has its code tells it.\n"
    again = document(capsys, "cancel", "--process", "refund-7", "--reason", "once more")
    assert (again["process_id"], again["outcome"], again["ended"]) == (
        "refund-7",
        "already_requested",
        None,
    )
    assert again["process"]["cancel_requested"]["reason"] == "asked twice"
    assert main(["cancel", "--process", "refund-7"]) == 0
    assert "was asked to stop before: asked twice." in capsys.readouterr().out


def test_a_process_that_has_ended_is_not_asked(shop: Path, capsys: Capture) -> None:
    assert main(["cancel", "--process", "fails-1"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "completion won: process fails-1 had come to its end; nothing was changed.",
        "It ended: failed: ValueError: There is no such order. [process_failed]",
    ]
    done = document(capsys, "cancel", "--process", "adds-1", code=1)
    assert (done["outcome"], done["ended"]["type"]) == ("completion_won_race", "success")
    assert "value" not in json.dumps(done)


def test_what_is_to_stop_must_be_said_once(shop: Path, capsys: Capture) -> None:
    assert refused(capsys, "cancel", code=2) == "usage_invalid"
    assert refused(capsys, "cancel", "c-1", "--process", "refund-7", code=2) == "usage_invalid"
    assert refused(capsys, "cancel", "--process", "nobody") == "process_unknown"


async def test_a_process_that_a_worker_runs_is_stopped_and_waited_for(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    worker = await start("worker", "shop", "--json", cwd=tmp_path)
    assert json.loads(await worker.line())["type"] == "ready"
    async with lash.Runtime(
        tmp_path / "lash.db", run_processes=False, processes=Shop().processes
    ) as runtime:
        await runtime.processes.start(Shop()["notify"], "o-7", id="notify-7")
        await reached(runtime, "notify-7", "waiting")
        stopped = await run_lash(
            "cancel", "--process", "notify-7", "--reason", "too late", "--wait", cwd=tmp_path
        )
    assert (stopped.code, stopped.err) == (0, "")
    assert stopped.out.splitlines()[1] == "It ended: cancelled: too late"
    worker.interrupt()
    assert (await worker.ended()).code == 0


# --- abandon ------------------------------------------------------------------------------------------


def test_a_process_that_nobody_runs_is_given_up_at_once(shop: Path, capsys: Capture) -> None:
    assert main(["abandon", "refund-7", "--yes", "--reason", "the shop is closed"]) == 0
    assert capsys.readouterr().out == (
        "abandoned: process refund-7 was given up. Nobody knows how far it got.\n"
    )
    assert main(["ps", "refund-7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["process"]
    assert (found["status"], found["outcome"]["evidence"]["writer"]) == (
        "abandoned",
        "reconciled_request",
    )
    assert found["abandon_requested"].pop("requested_at_ms") > 0
    assert found["abandon_requested"] == {
        "requested_by": "lash abandon",
        "reason": "the shop is closed",
    }
    assert refused(capsys, "abandon", "refund-7", "--yes") == "process_already_terminal"


def test_giving_up_is_one_document(shop: Path, capsys: Capture) -> None:
    done = document(capsys, "abandon", "both-8", "--yes")
    assert done.pop("process")["state"] == "abandoned"
    assert done == {"process_id": "both-8", "outcome": "abandoned"}


def test_who_cannot_be_asked_has_to_say_yes(shop: Path, capsys: Capture) -> None:
    assert refused(capsys, "abandon", "refund-7", code=2) == "usage_invalid"
    assert main(["ps", "refund-7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["process"]["abandon_requested"] is None


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("", 1), ("y", 0)])
def test_a_terminal_is_asked_and_told_what_it_means(shop: Path, answer: str, code: int) -> None:
    with Terminal("abandon", "refund-7", cwd=shop) as terminal:
        terminal.see("Give it up? [y/N]")
        shown = " ".join(terminal.screen.text.split())
        assert "refund v1 (the refund of o-7), waiting, signal approved" in shown
        assert "ends as abandoned, for ever" in shown
        assert "lash cancel --process" in shown
        terminal.type(answer + ENTER)
        assert terminal.ended() == code
        assert ("was given up" in terminal.screen.text) == (code == 0)


async def test_a_live_worker_drops_what_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    worker = await start("worker", "shop", "--json", cwd=tmp_path)
    assert json.loads(await worker.line())["type"] == "ready"
    async with lash.Runtime(
        tmp_path / "lash.db", run_processes=False, processes=Shop().processes
    ) as runtime:
        await runtime.processes.start(Shop()["digs"], id="digs-1")
        await until((tmp_path / "looking").exists)
        done = await run_lash("abandon", "digs-1", "--yes", "--json", cwd=tmp_path)
    assert (done.code, done.json["outcome"]) == (0, "abandoned")
    worker.interrupt()
    ended = await worker.ended()
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["type"] for line in lines] == ["began", "ended", "stopping", "stopped"]
    assert lines[-1]["given_back"] == []


async def test_a_stopped_worker_is_not_waited_for_longer_than_it_may_take(tmp_path: Path) -> None:
    """The worker runs a loop of its own that hears nothing: the request stands all the same."""
    (tmp_path / "deaf.py").write_text(DEAF)
    process = await asyncio.create_subprocess_exec(sys.executable, "deaf.py", cwd=tmp_path)
    await until((tmp_path / "deaf").exists)
    done = await run_lash("abandon", "deaf-1", "--yes", cwd=tmp_path)
    assert (done.code, done.out) == (
        0,
        "requested: process deaf-1 is given up as soon as its worker hears of it, or is gone.\n",
    )
    process.kill()
    await process.wait()
    again = await run_lash("abandon", "deaf-1", "--yes", "--json", cwd=tmp_path)
    assert (again.code, again.json["outcome"]) == (0, "abandoned")


#: A worker that holds a process and blocks its own event loop.
DEAF = """
import asyncio
import pathlib
import time

import lash

@lash.process
async def deaf(ctx: lash.ProcessContext) -> None:
    pathlib.Path("deaf").touch()
    time.sleep(60)

async def main():
    async with lash.Runtime("lash.db", processes=[deaf]) as runtime:
        await (await runtime.processes.start(deaf, id="deaf-1")).result()

asyncio.run(main())
"""
