"""Tools that end their own process, or outlive it in a child: the turn goes on where it is opened again."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from hostile_worker import CHILD, KEYS, STAY, run

import lash
from lash.turn.outcome import Cancelled, Stopped

WORKER = Path(__file__).with_name("hostile_worker.py")


def worked(folder: Path) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, WORKER, folder, "exits"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.returncode, ended.stdout


def keys(folder: Path) -> list[str]:
    return (folder / KEYS).read_text().split()


def test_one_that_ends_the_interpreter_is_run_again_under_the_same_key(tmp_path: Path) -> None:
    assert worked(tmp_path) == (7, "")
    (tmp_path / STAY).touch()
    assert worked(tmp_path) == (0, "Over.\n")
    assert len(keys(tmp_path)) == 2
    assert len(set(keys(tmp_path))) == 1


async def test_one_that_always_ends_the_interpreter_is_ended_by_a_cancel_without_being_run(
    tmp_path: Path,
) -> None:
    assert worked(tmp_path) == (7, "")
    async with lash.Runtime(tmp_path / "agents.db") as runtime, asyncio.timeout(20):
        session = runtime.session("s")
        await session.cancel("t")
        result = await session.wait("t")
    assert isinstance(result.outcome, Stopped)
    assert isinstance(result.outcome.reason, Cancelled)
    assert len(keys(tmp_path)) == 1


async def test_a_child_that_lives_on_does_not_hide_that_its_parent_is_dead(tmp_path: Path) -> None:
    """The lease lasts for 30 s, and the proof of death is there at once."""
    parent = subprocess.Popen([sys.executable, WORKER, tmp_path, "forks"])
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / CHILD).exists():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        parent.kill()
        parent.wait()
        (tmp_path / STAY).touch()
        async with asyncio.timeout(15):
            assert await run(tmp_path, "forks") == "Over."
        os.kill(_child(tmp_path), 0)  # it was there all the time
    finally:
        parent.kill()
        os.kill(_child(tmp_path), signal.SIGKILL)
    assert len(keys(tmp_path)) == 2


def _child(folder: Path) -> int:
    return int((folder / CHILD).read_text())
