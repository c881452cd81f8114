"""Commands on whole sessions and databases: fork, rm, vacuum, doctor, usage, queue, and what show tells of it."""

import asyncio
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from cli_harness import lash as run_lash
from terminal import ENTER, Terminal

import lash
from lash.cli import main
from lash.testing import ScriptedModel, reply

Capture = pytest.CaptureFixture[str]


def agent() -> lash.Agent:
    return lash.Agent("support", model=ScriptedModel([reply("As you wish.")], name="plain"))


async def fill(path: Path) -> None:
    """Session c-1 with two turns, one of them stopped before it began, and the session after it."""
    async with lash.Runtime(path, agents=[agent()]) as runtime:
        session = runtime.session("c-1")
        await session.run("One.", turn_id="t-1")
        await session.cancel("t-2", origin="ana", reason="too late")
        await session.run("Two.", turn_id="t-2")


@pytest.fixture
def filled(here: Path) -> Path:
    asyncio.run(fill(here / "lash.db"))
    return here


def document(capsys: Capture) -> dict[str, object]:
    read: dict[str, object] = json.loads(capsys.readouterr().out)
    return read


# --- usage and queue ------------------------------------------------------------------------------


def test_usage_is_told_by_source_and_model(filled: Path, capsys: Capture) -> None:
    assert main(["usage", "c-1"]) == 0
    head, entry, total = capsys.readouterr().out.splitlines()
    assert head.split() == ["source", "model", "in", "out", "cached", "reasoning", "total"]
    assert entry.split() == ["turn", "scripted:plain", "10", "5", "0", "0", "15"]
    assert total.split() == ["total", "10", "5", "0", "0", "15"]
    assert main(["usage", "c-1", "--json"]) == 0
    usage = document(capsys)["usage"]
    assert isinstance(usage, dict)
    assert usage["total_tokens"] == 15
    assert usage["by_source_model"][0]["model"] == "scripted:plain"


def test_what_waits_is_listed_in_order(filled: Path, capsys: Capture) -> None:
    queued(filled / "lash.db")
    assert main(["queue", "c-1"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["item", "kind", "enters", "text", "queued"]
    assert first.split()[:6] == ["i-1", "input", "the", "next", "turn", "Later."]
    assert second.split()[:6] == ["i-2", "compact", "context", "the", "next", "turn"]
    assert main(["queue", "c-1", "--json"]) == 0
    items = document(capsys)["items"]
    assert isinstance(items, list)
    assert [(item["item_id"], item["kind"], item["text"]) for item in items] == [
        ("i-1", "input", "Later."),
        ("i-2", "compact_context", ""),
    ]
    assert items[0]["state"] == "deferred_next_turn"
    assert main(["sessions", "--json"]) == 0
    (session,) = json.loads(capsys.readouterr().out)["sessions"]
    assert (session["queued"], session["state"]) == (2, "waiting")
    assert main(["show", "c-1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "2 queued" in shown
    assert shown.endswith(
        "queue · 2 waiting queued Later. · for the next turn "
        "queued compact context · for the next turn"
    )


def queued(path: Path) -> None:
    """Put two items into the queue, as a process does that ends before it drives anything."""
    from lash.core.clock import SystemClock
    from lash.sessions.ingress import CommandWork, EnqueueRequest, UserInput
    from lash.sessions.model import CompactContext, TextItem, TurnInput
    from lash.stores.sqlite import SqliteStore

    async def put() -> None:
        store = SqliteStore(path, SystemClock(asyncio.sleep))
        said = UserInput(input=TurnInput(items=(TextItem(text="Later."),)))
        await store.enqueue(EnqueueRequest(session_id="c-1", item_id="i-1", payload=said))
        command = CommandWork(command=CompactContext())
        await store.enqueue(EnqueueRequest(session_id="c-1", item_id="i-2", payload=command))
        await store.aclose()

    asyncio.run(put())


def test_an_empty_queue_is_said_so(filled: Path, capsys: Capture) -> None:
    assert main(["queue", "c-1"]) == 0
    assert capsys.readouterr().out == "Nothing waits to enter session c-1.\n"


# --- show -----------------------------------------------------------------------------------------


def test_show_tells_who_stopped_a_turn_and_why(filled: Path, capsys: Capture) -> None:
    assert main(["show", "c-1"]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "cancelled by ana: too late" in shown
    assert main(["show", "c-1", "--json"]) == 0
    turns = document(capsys)["turns"]
    assert isinstance(turns, list)
    first, second = turns
    assert first["cancellation"] is None
    assert (second["cancellation"]["origin"], second["cancellation"]["reason"]) == (
        "ana",
        "too late",
    )


def test_show_tells_of_commands_and_frames(filled: Path, capsys: Capture) -> None:
    async def compact() -> None:
        async with lash.Runtime("lash.db", agents=[agent()]) as runtime:
            await runtime.session("c-1").compact()

    asyncio.run(compact())
    assert main(["show", "c-1"]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "command compact context" in shown
    (at,) = [at for at, line in enumerate(shown) if line.startswith("frame ")]
    assert "(compaction)" in " ".join(shown[at : at + 3])
    assert main(["show", "c-1", "--json"]) == 0
    turns = document(capsys)["turns"]
    assert isinstance(turns, list)
    assert turns[-1]["command"] == "compact_context"
    assert [frame["reason"] for frame in turns[-1]["frames"]] == ["compaction"]


# --- fork -----------------------------------------------------------------------------------------


def test_a_fork_begins_with_the_history_and_says_where_it_comes_from(
    filled: Path, capsys: Capture
) -> None:
    assert main(["fork", "c-1", "c-2"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("c-2 begins with ")
    assert told.endswith(" of c-1, under support v1.\n")
    assert main(["show", "c-2"]) == 0
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("a fork of c-1 at ") for line in shown)
    assert any(line.startswith("before the fork · ") for line in shown)
    assert "assistant As you wish." in shown
    assert main(["sessions"]) == 0
    assert "c-2 is a fork of c-1 at " in " ".join(capsys.readouterr().out.split())


def test_a_fork_at_a_message_shares_what_was_said_until_then(filled: Path, capsys: Capture) -> None:
    assert main(["show", "c-1", "--json"]) == 0
    turns = document(capsys)["turns"]
    assert isinstance(turns, list)
    answer = turns[0]["messages"][-1]
    assert main(["fork", "c-1", "c-2", "--at", answer["id"], "--json"]) == 0
    forked = document(capsys)
    assert forked["messages"] == 2
    assert main(["show", "c-2", "--json"]) == 0
    inherited = document(capsys)["inherited"]
    assert isinstance(inherited, list)
    assert [message["text"] for message in inherited] == ["One.", "As you wish."]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["c-9", "c-2"], "session_unknown"),
        (["c-1", "c-1"], "fork_session_exists"),
        (["c-1", "c-2", "--at", "nowhere"], "fork_point_not_retained"),
    ],
)
def test_a_fork_that_cannot_be_says_why(
    filled: Path, arguments: list[str], code: str, capsys: Capture
) -> None:
    assert main(["fork", *arguments]) == 1
    assert f"[{code}]" in capsys.readouterr().err


# --- rm -------------------------------------------------------------------------------------------


def test_a_removed_session_is_gone_and_its_forks_live_on(filled: Path, capsys: Capture) -> None:
    assert main(["fork", "c-1", "c-2"]) == 0
    capsys.readouterr()
    assert main(["rm", "c-1", "--yes"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Removed c-1: 2 turns, ")
    assert told[1] == "These live on: c-2."
    assert main(["show", "c-1"]) == 1
    assert main(["show", "c-2"]) == 0
    capsys.readouterr()
    assert main(["rm", "c-1", "--yes"]) == 1
    assert "[session_unknown]" in capsys.readouterr().err
    assert main(["rm", "c-2", "--yes", "--json"]) == 0
    removed = document(capsys)
    assert (removed["session_id"], removed["turns"], removed["orphans"]) == ("c-2", 0, [])


async def test_a_script_is_not_asked_and_nothing_is_removed(filled: Path) -> None:
    ended = await run_lash("rm", "c-1", cwd=filled, told="y\n")
    assert (ended.code, ended.out) == (2, "")
    assert "--yes" in ended.err
    assert (await run_lash("show", "c-1", cwd=filled)).code == 0


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 1), ("no", 1)])
def test_a_person_is_asked(filled: Path, answer: str, code: int) -> None:
    with Terminal("rm", "c-1", cwd=filled) as terminal:
        terminal.see("Remove session c-1 (2 turns) for ever? [y/N]")
        terminal.type(answer + ENTER)
        assert terminal.ended() == code
    assert main(["show", "c-1"]) == (1 if code == 0 else 0)


# --- vacuum ---------------------------------------------------------------------------------------


def test_vacuum_tells_what_it_removed_and_when_nothing_is_left(
    filled: Path, capsys: Capture
) -> None:
    assert main(["vacuum", "--older-than", "0s", "--json"]) == 0
    done = document(capsys)
    assert done["status"] == "removed"
    journals = done["journals"]
    assert isinstance(journals, dict)
    assert journals["scopes"] == 2
    assert main(["vacuum", "--older-than", "0s", "--json"]) == 0
    assert document(capsys)["status"] == "empty"
    assert main(["vacuum", "--older-than", "0s"]) == 0
    assert capsys.readouterr().out == "empty: There was nothing to remove.\n"
    assert main(["journal", "c-1"]) == 0
    assert "retired" in capsys.readouterr().out


def test_vacuum_tells_what_stays_because_it_waits_or_is_young(
    filled: Path, capsys: Capture
) -> None:
    queued(filled / "lash.db")
    assert main(["vacuum", "--json"]) == 0
    done = document(capsys)
    assert (done["status"], done["older_than_s"]) == ("blocked", 30 * 86_400)
    assert main(["vacuum"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("blocked: ")
    assert "2 items that wait to be taken" in told


def test_an_age_that_is_none_is_refused(filled: Path, capsys: Capture) -> None:
    for age in ("soon", "30", "d"):  # 30 of what?
        assert main(["vacuum", "--older-than", age]) == 2
        assert "write it like 30d, 12h or 90m" in capsys.readouterr().err


# --- doctor ---------------------------------------------------------------------------------------


def test_a_whole_database_has_nothing_to_be_found(filled: Path, capsys: Capture) -> None:
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out == "lash.db: everything fits together.\n"
    assert main(["doctor", "--json"]) == 0
    assert document(capsys) == {"database": "lash.db", "findings": []}


def test_damage_is_found_and_what_to_do_is_said(filled: Path, capsys: Capture) -> None:
    with sqlite3.connect(filled / "lash.db") as database:
        changed = database.execute("DELETE FROM turns WHERE turn_id = 't-1'").rowcount
    database.close()
    assert changed == 1
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "error · revision_mismatch · session c-1" in told
    assert "lash rm c-1" in told
    assert main(["doctor", "--json"]) == 1
    findings = document(capsys)["findings"]
    assert isinstance(findings, list)
    assert {"code", "severity", "session_id", "message", "what_to_do"} == set(findings[0])
    assert "revision_mismatch" in {finding["code"] for finding in findings}


# --- files that cannot be written -----------------------------------------------------------------


@pytest.fixture
def sealed() -> Iterator[Callable[[Path], Callable[[], None]]]:
    """Makes a directory read-only, where the machine lets tests do that; gives what undoes it."""
    tool = shutil.which("mount")
    done: list[Path] = []

    def unseal(place: Path) -> None:
        done.remove(place)
        subprocess.run(["umount", "-l", str(place)], check=True)

    def seal(place: Path) -> Callable[[], None]:
        for options in (["--bind", str(place)], ["-o", "remount,bind,ro"]):
            command = [tool or "mount", *options, str(place)]
            if tool is None or subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("this machine does not let tests mount")
            if place not in done:
                done.append(place)
        return partial(unseal, place)

    yield seal
    while done:
        unseal(done[-1])


READERS = [
    ["sessions"],
    ["show", "c-1"],
    ["journal", "c-1"],
    ["usage", "c-1"],
    ["queue", "c-1"],
    ["ps", "--all"],
]


@pytest.mark.parametrize("how", ["alone", "with a log"])
def test_what_cannot_be_written_can_be_read(
    here: Path, how: str, sealed: Callable[[Path], Callable[[], None]], capsys: Capture
) -> None:
    place = here / "sealed"
    place.mkdir()
    asyncio.run(fill(place / "whole.db"))
    (place / "lash.db").write_bytes((place / "whole.db").read_bytes())
    if how == "with a log":  # the newest turn stands in the log only
        with_log(place)
    before = {item.name: item.read_bytes() for item in place.iterdir()}
    sealed(place)
    for command in [*READERS, ["doctor"], ["tail", "c-1", "--once"]]:
        assert main([*command, "--db", str(place / "lash.db")]) == 0, capsys.readouterr().err
    assert main(["show", "c-1", "--json", "--db", str(place / "lash.db")]) == 0
    shown = capsys.readouterr().out
    document = json.loads(shown[shown.rindex('\n{\n  "session"') :])
    turns = ["t-1", "t-2", "t-3"] if how == "with a log" else ["t-1", "t-2"]
    assert [turn["turn_id"] for turn in document["turns"]] == turns
    assert main(["rm", "c-1", "--yes", "--db", str(place / "lash.db")]) == 1
    assert "[store_read_only]" in capsys.readouterr().err
    assert {item.name: item.read_bytes() for item in place.iterdir()} == before


def with_log(place: Path) -> None:
    async def copy_while_open() -> None:
        async with lash.Runtime(place / "whole.db", agents=[agent()]) as runtime:
            await runtime.session("c-1").run("Three.", turn_id="t-3")
            for end in ("", "-wal"):
                (place / f"lash.db{end}").write_bytes((place / f"whole.db{end}").read_bytes())

    asyncio.run(copy_while_open())


def test_a_process_that_runs_is_told_as_running_where_nothing_can_be_written(
    here: Path, sealed: Callable[[Path], Callable[[], None]], capsys: Capture
) -> None:
    """Who lives is told by locks beside the file; beside the copy that is read there are none."""
    place = here / "sealed"
    place.mkdir()

    async def look() -> None:
        begun, over = asyncio.Event(), asyncio.Event()

        @lash.process
        async def digs(ctx: lash.ProcessContext) -> None:
            begun.set()
            await over.wait()

        async with lash.Runtime(place / "lash.db", processes=[digs]) as runtime:
            process = await runtime.processes.start(digs, id="digs-1")
            await begun.wait()
            unseal = sealed(place)
            try:
                command = ["ps", "--db", str(place / "lash.db"), "--json"]
                assert await asyncio.to_thread(main, command) == 0
            finally:
                unseal()
            over.set()
            await process.result(timeout=20)

    asyncio.run(look())
    assert [process["state"] for process in json.loads(capsys.readouterr().out)] == ["running"]
