"""`lash ps --watch`: a screen that follows what others do, lines for everything else, Ctrl-C at any time."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_harness import Command, clean_environment, start
from processes_left import SHOP, Shop, leave, reached, started
from recorded_turns import until
from terminal import CTRL_C, Terminal

import lash

pytestmark = pytest.mark.slow


@pytest.fixture
def place(here: Path) -> Path:
    (here / "shop.py").write_text(SHOP)
    return here


def command(place: Path, *arguments: str) -> str:
    """Run another command meanwhile."""
    ended = subprocess.run(
        [sys.executable, "-m", "lash", *arguments],
        cwd=place,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout


@contextmanager
def worker(place: Path) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "lash", "worker", "shop"],
        cwd=place,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def to_be_run(runtime: lash.Runtime, shop: Shop) -> None:
    await runtime.processes.start(shop["refund"], "o-7", id="refund-7")
    await runtime.processes.start(shop["adds"], 1, 2, id="adds-1")


# --- on a screen --------------------------------------------------------------------------------------


def rows(terminal: Terminal) -> dict[str, str]:
    """What the screen shows of each process."""
    told = (" ".join(line.split()) for line in terminal.screen.lines[1:])
    return {line.split()[0]: line for line in told if line}


def test_the_screen_follows_what_a_worker_does(place: Path) -> None:
    leave(place / "lash.db", to_be_run, run=False)
    with Terminal("ps", "--watch", cwd=place, columns=120, rows=12) as terminal:
        terminal.see("2 processes · 2 ready · lash.db · Ctrl-C ends")
        assert rows(terminal)["adds-1"].startswith("adds-1 adds v1 ready a worker just now")
        with worker(place):
            terminal.see("1 process · 1 waiting · 1 ended since")
            terminal.until(lambda: "signal approved" in rows(terminal)["refund-7"], "the signal")
            assert " adds v1 completed " in rows(terminal)["adds-1"]
            command(place, "signal", "refund-7", "approved", "1")
            terminal.see("0 processes · 2 ended since")
            assert " refund v1 completed " in rows(terminal)["refund-7"]
        assert len(terminal.screen.lines) <= 12
        terminal.type(CTRL_C)
        assert terminal.ended() == 130
        # The cursor is back, and the screen that was there before.
        assert terminal.raw.endswith("\x1b[?25h\x1b[?1049l")


def test_a_worker_that_dies_is_seen_although_it_wrote_nothing(place: Path) -> None:
    leave(place / "lash.db", to_be_run, run=False)
    with Terminal("ps", "--watch", cwd=place, columns=120, rows=12) as terminal:
        with worker(place) as dies:
            terminal.until(
                lambda: "signal approved" in rows(terminal).get("refund-7", ""), "the signal"
            )
            assert " gone" not in rows(terminal)["refund-7"]
            dies.kill()
            terminal.until(lambda: " gone" in rows(terminal)["refund-7"], "that its worker is gone")
        terminal.signal(signal.SIGTERM)
        assert terminal.ended() == 143
        assert terminal.raw.endswith("\x1b[?25h\x1b[?1049l")


def test_what_needs_a_person_is_there_in_the_smallest_terminal(place: Path) -> None:
    leave(place / "lash.db", started)
    with sqlite3.connect(place / "lash.db") as connection:
        bound = '"disposition":"owner_bound"'
        connection.execute(
            "UPDATE processes SET registration = replace(registration, ?, ?) "
            "WHERE process_id = 'refund-7'",
            ('"disposition":"rerunnable"', bound),
        )
    connection.close()
    with Terminal("ps", "--watch", cwd=place, columns=60, rows=6) as terminal:
        terminal.see("3 processes · 1 needs a person")
        assert next(iter(rows(terminal))) == "refund-7"
        terminal.see("refund-7 needs a person: its worker is gone")
        terminal.see("and 2 more")
        assert len(terminal.screen.lines) <= 6
        terminal.resize(100, 20)
        terminal.see("notify-o-8")
        terminal.type(CTRL_C)
        assert terminal.ended() == 130


def test_a_screen_on_which_nothing_changes_is_left_alone(place: Path) -> None:
    leave(place / "lash.db", started)
    with Terminal("ps", "--watch", cwd=place, columns=120, rows=12) as terminal:
        terminal.see("Ctrl-C ends")
        drawn = len(terminal.raw)
        # Other writes than to processes, each of which is looked at.
        for number in range(3):
            with sqlite3.connect(place / "lash.db") as connection:
                connection.execute(f"CREATE TABLE other_{number} (one)")
            connection.close()
        with pytest.raises(AssertionError, match="never saw more"):
            terminal.until(lambda: len(terminal.raw) > drawn, "more", seconds=2.5)
        terminal.type(CTRL_C)
        assert terminal.ended() == 130


# --- line by line -------------------------------------------------------------------------------------


@asynccontextmanager
async def watching(place: Path, *arguments: str) -> AsyncIterator[Command]:
    watch = await start("ps", "--watch", *arguments, cwd=place)
    try:
        yield watch
    finally:
        watch.interrupt()
        ended = await watch.ended()
        assert (ended.code, ended.err) == (130, "")


async def item(watch: Command) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(await watch.line())
    return read


async def filled(place: Path) -> None:
    async with lash.Runtime(
        place / "lash.db", processes=Shop().processes, run_processes=False
    ) as runtime:
        await to_be_run(runtime, Shop())


async def test_without_a_terminal_every_change_is_a_line(place: Path) -> None:
    await filled(place)
    async with watching(place) as watch:
        first = sorted([(await watch.line())[21:-1], (await watch.line())[21:-1]])
        assert first == [
            "adds-1 · adds v1 · ready · a worker",
            "refund-7 · refund v1 · ready · a worker",
        ]
        async with lash.Runtime(place / "lash.db", processes=Shop().processes) as runtime:
            seen: list[str] = []
            while not any("waiting · signal approved until " in line for line in seen):
                seen.append(await watch.line())
            await runtime.processes.signal("refund-7", "approved", {"by": "signal-secret"})
            while not any("refund-7 · refund v1 · completed" in line for line in seen):
                seen.append(await watch.line())
        assert any("adds-1 · adds v1 · completed" in line for line in seen)
        assert "signal-secret" not in "".join(seen)
        assert "\x1b" not in "".join(seen)


async def test_for_programs_every_line_is_a_process(place: Path) -> None:
    await filled(place)
    async with watching(place, "--json", "--all") as watch:
        before = {one["process_id"]: one for one in [await item(watch), await item(watch)]}
        assert {name: one["state"] for name, one in before.items()} == {
            "adds-1": "ready",
            "refund-7": "ready",
        }
        async with lash.Runtime(place / "lash.db", processes=Shop().processes) as runtime:
            await reached(runtime, "adds-1", "completed")
            states: dict[str, str] = {}
            while states.get("adds-1") != "completed":
                one = await item(watch)
                assert set(one) == set(before["adds-1"])
                states[one["process_id"]] = one["state"]
            await runtime.processes.prune(timedelta(0))
            one = await item(watch)
            while one["state"] != "pruned":
                one = await item(watch)
            assert set(one) == set(before["adds-1"])
            assert one["process_id"] == "adds-1"
            assert (one["status"], one["needs_person"]) == ("completed", False)
            assert one["pruned_at_ms"] > 0


async def test_only_what_is_asked_for_is_followed(place: Path) -> None:
    await filled(place)
    async with watching(place, "--json", "--name", "adds") as watch:
        assert (await item(watch))["process_id"] == "adds-1"
        async with lash.Runtime(place / "lash.db", processes=Shop().processes) as runtime:
            await runtime.processes.start(Shop()["fails"], id="fails-1")
            await runtime.processes.start(Shop()["adds"], 1, 1, id="adds-2")
            ended: set[str] = set()
            while ended != {"adds-1", "adds-2"}:
                one = await item(watch)
                assert one["name"] == "adds"
                if one["state"] == "completed":
                    ended.add(one["process_id"])


async def test_what_comes_and_ends_between_two_looks_is_told(place: Path) -> None:
    await filled(place)
    async with watching(place, "--json") as watch:
        assert {(await item(watch))["process_id"] for _ in range(2)} == {"adds-1", "refund-7"}
        watch.signal(signal.SIGSTOP)
        async with lash.Runtime(place / "lash.db", processes=[Shop()["fails"]]) as runtime:
            await runtime.processes.start(Shop()["fails"], id="fails-1")
            await reached(runtime, "fails-1", "failed")
            watch.signal(signal.SIGCONT)
            while (one := await item(watch))["process_id"] != "fails-1":
                pass
            assert one["state"] == "failed"


async def test_what_one_session_may_see_is_followed(place: Path) -> None:
    await filled(place)
    async with (
        watching(place, "--json", "--session", "c-1") as watch,
        lash.Runtime(place / "lash.db", processes=Shop().processes) as runtime,
    ):
        await runtime.processes.start(Shop()["fails"], id="fails-1", session="c-2")
        await runtime.processes.start(Shop()["refund"], "o-1", id="refund-1", session="c-1")
        assert (await item(watch))["process_id"] == "refund-1"
        await reached(runtime, "refund-1", "waiting")
        await runtime.processes.signal("refund-1", "approved", 1)
        states = set()
        while "completed" not in states:
            one = await item(watch)
            assert one["process_id"] == "refund-1"
            states.add(one["state"])


async def test_a_lease_that_is_renewed_does_not_look_lost(place: Path) -> None:
    """To renew is no change of a process, so the feed does not tell of it."""
    timings = lash.LeaseTimings(ttl_ms=600, renew_ms=200)
    async with lash.Runtime(
        place / "lash.db", processes=Shop().processes, lease=timings
    ) as runtime:
        await runtime.processes.start(Shop()["digs"], id="digs-1")
        await until((place / "looking").exists)
        first = (await runtime.processes.get("digs-1")).lease.held
        async with watching(place, "--json") as watch:
            assert (await item(watch))["state"] == "running"

            async def renewed() -> bool:
                now = (await runtime.processes.get("digs-1")).lease.held
                assert first is not None
                assert now is not None
                return now.expires_at_ms > first.expires_at_ms + 6 * 600

            await until(renewed)
            (place / "found").touch()
            assert (await item(watch))["state"] == "completed"


async def test_watching_nothing_that_is_there_is_an_error(place: Path) -> None:
    ended = await (await start("ps", "--watch", "--json", cwd=place)).ended()
    assert (ended.code, ended.out) == (1, "")
    assert json.loads(ended.err)["error"]["code"] == "store_unreachable"


async def test_whoever_reads_the_lines_may_leave(place: Path) -> None:
    await filled(place)
    watch = await start("ps", "--watch", "--json", cwd=place)
    await item(watch)
    watch.stop_reading()
    async with lash.Runtime(place / "lash.db", processes=Shop().processes) as runtime:
        await reached(runtime, "adds-1", "completed")
        ended = await asyncio.wait_for(watch.ended(), 20)
    assert ended.code == 1
    assert json.loads(ended.err)["error"]["code"] == "output_unwritable"
