"""Proof of death: a killed owner is known at once, a stopped or living one is never called dead."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lash.core.leases import LeaseOwner
from lash.sessions.accepting import Accepted
from lash.sessions.model import Parked
from lash.stores.sqlite import SqliteStore
from lash.stores.sqlite.owners import OwnerLocks
from lash.testing.clock import VirtualClock
from lash.testing.conformance.samples import request

_HOLDER = """
import sys
from pathlib import Path
from lash.stores.sqlite.owners import OwnerLocks
locks = OwnerLocks(Path(sys.argv[1]))
owner = locks.hold("theirs", sys.argv[2])
print(owner.host, flush=True)
sys.stdin.read()
locks.release()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@contextmanager
def other_process(
    database: Path, incarnation: str
) -> Iterator[tuple[subprocess.Popen[str], LeaseOwner]]:
    """A process that holds an owner's lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(database), incarnation],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            host = process.stdout.readline().strip()
            yield process, LeaseOwner(owner_id="theirs", incarnation=incarnation, host=host)
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> None:
    """Let it end by itself."""
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 0


def test_a_killed_process_is_dead_at_once(database: Path) -> None:
    locks = OwnerLocks(database)
    with other_process(database, "killed") as (process, owner):
        assert not locks.is_dead(owner)
        process.kill()
        process.wait(30)
        assert locks.is_dead(owner)
        assert locks.is_dead(owner), "the proof stands when asked for again"


def test_a_stopped_process_is_not_dead(database: Path) -> None:
    locks = OwnerLocks(database)
    with other_process(database, "stopped") as (process, owner):
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert not locks.is_dead(owner)
        process.send_signal(signal.SIGCONT)
        assert not locks.is_dead(owner)


def test_a_process_that_ended_well_is_dead_and_leaves_nothing(database: Path) -> None:
    locks = OwnerLocks(database)
    with other_process(database, "done") as (process, owner):
        finish(process)
        assert locks.is_dead(owner)
    assert list(database.parent.iterdir()) == []


def test_an_owner_is_not_dead_to_itself_nor_to_its_neighbour(database: Path) -> None:
    ours, neighbour = OwnerLocks(database), OwnerLocks(database)
    owner = ours.hold("ana", "ana-1")

    assert not ours.is_dead(owner)
    assert not neighbour.is_dead(owner)

    ours.release()
    assert ours.is_dead(owner)
    assert neighbour.is_dead(owner)


def test_nothing_is_proven_of_another_host(database: Path) -> None:
    locks = OwnerLocks(database)
    assert not locks.is_dead(LeaseOwner(owner_id="x", incarnation="x-1", host="another-host"))


def test_one_death_can_be_proven_by_several_at_once(database: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    locks = OwnerLocks(database)
    with other_process(database, "killed") as (process, owner):
        process.kill()
        process.wait(30)
    (left_behind,) = (database.parent / "agents.db.owners").iterdir()
    with left_behind.open("rb") as another_who_looks:
        fcntl.flock(another_who_looks, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert locks.is_dead(owner)


def test_the_owners_of_one_process_are_apart(database: Path) -> None:
    locks = OwnerLocks(database)
    with other_process(database, "theirs") as (process, theirs):
        ours = locks.hold("ana", "ana-1")
        locks.release()
        assert locks.is_dead(ours)
        assert not locks.is_dead(theirs), "a clean exit takes nobody else's lock with it"
        finish(process)
    assert list(database.parent.iterdir()) == []


def test_an_incarnation_is_announced_once(database: Path) -> None:
    ours, neighbour = OwnerLocks(database), OwnerLocks(database)
    ours.hold("ana", "ana-1")

    with pytest.raises(BlockingIOError):
        neighbour.hold("ana", "ana-1")

    ours.release()


async def test_the_store_hands_out_owners_and_lets_go_of_them(database: Path) -> None:
    one = SqliteStore(database, VirtualClock())
    two = SqliteStore(database, VirtualClock())
    owner = one.register_owner("ana", "ana-1")
    assert not two.is_dead(owner)

    await one.aclose()

    assert two.is_dead(owner)
    await two.aclose()
    assert [entry.name for entry in database.parent.iterdir()] == ["agents.db"]


async def test_what_a_turn_waits_for_is_noted_as_soon_as_its_driver_is_dead(database: Path) -> None:
    store = SqliteStore(database, VirtualClock())
    reason = Parked(code="agent_missing", message="none here", waits_for="agent")
    with other_process(database, "killed") as (process, owner):
        assert isinstance(await store.accept_turn(request("t1", owner=owner)), Accepted)
        assert not await store.note_waiting("s", "t1", reason)
        (driven,) = await store.list_sessions()
        process.kill()
        process.wait(30)

        assert await store.note_waiting("s", "t1", reason)

    (turn,) = await store.list_open_turns("s")
    assert turn.parked is not None
    assert (turn.parked.code, turn.parked.waits_for) == ("agent_missing", "agent")
    assert driven.state == "running"
    await store.aclose()
