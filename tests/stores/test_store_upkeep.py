"""Forking, deleting and vacuuming: what a crash in the middle leaves, and what they cost."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from lash.core.clock import Clock
from lash.core.seams import Seam, SeamObserver
from lash.runtime.stores import Store
from lash.sessions.accepting import Accepted
from lash.sessions.committing import CommitReceipt
from lash.sessions.deleting import Deleted
from lash.sessions.forking import Forked, ForkRequest
from lash.sessions.ingress import ActiveTurn
from lash.sessions.maintenance import VacuumRequest
from lash.stores.memory import MemoryStore
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.samples import (
    ANA,
    BIG,
    by_id,
    claim,
    entry,
    record,
    request,
    scope_of,
    stop,
    turn_commit,
    wait_row,
)

Opener = Callable[[Clock, SeamObserver], Store]
FORK = ForkRequest(source_id="s", new_id="f")


class Killed(Exception):  # noqa: N818  stands for a process that is gone
    """The process died here."""


@pytest.fixture(params=["memory", "sqlite"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    if request.param == "memory":
        return lambda clock, seams: MemoryStore(clock, seams=seams)
    return lambda clock, seams: SqliteStore(tmp_path / "agents.db", clock, seams=seams)


async def settle(store: Store, turn_id: str, revision: int, session: str = "s") -> None:
    accepted = await store.accept_turn(request(turn_id, session=session))
    assert isinstance(accepted, Accepted)
    commit = turn_commit(turn_id, accepted.lease.fence, session=session, revision=revision)
    assert isinstance(await store.commit_turn(commit), CommitReceipt)


@pytest.mark.parametrize(
    ("seam", "operation"),
    [
        ("fork.inside", lambda store: store.fork_session(FORK)),
        ("delete.inside", lambda store: store.delete_session("s", claim(ANA))),
    ],
)
async def test_a_crash_inside_leaves_everything_as_it_was(
    opener: Opener, seam: Seam, operation: Callable[[Store], Awaitable[object]]
) -> None:
    armed: list[Seam] = []

    def observe(passed: Seam) -> None:
        if passed in armed:
            raise Killed

    store = opener(VirtualClock(), observe)
    await settle(store, "t1", 0)
    before = [await store.load_head("s"), await store.lease_of("s"), await store.list_sessions()]
    armed.append(seam)

    with pytest.raises(Killed):
        await operation(store)

    armed.clear()
    after = [await store.load_head("s"), await store.lease_of("s"), await store.list_sessions()]
    assert after == before
    assert len(list(await store.load_path("s"))) == 2
    assert isinstance(await store.fork_session(FORK), Forked)
    assert isinstance(await store.delete_session("s", claim(ANA)), Deleted)
    await store.aclose()


# --- what is on the disk ------------------------------------------------------------------------------


def count(path: Path, table: str, where: str = "1") -> int:
    with closing(sqlite3.connect(path)) as other:
        (found,) = other.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()  # noqa: S608  our own names
    return int(found)


async def test_a_fork_copies_no_node(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    store = SqliteStore(path, VirtualClock())
    for number in range(10):
        await settle(store, f"t{number}", number)
    before = count(path, "nodes")

    assert isinstance(await store.fork_session(FORK), Forked)

    assert count(path, "nodes") == before == 20
    await store.aclose()


async def test_a_deleted_session_leaves_a_tombstone_and_a_token_and_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "agents.db"
    store = SqliteStore(path, VirtualClock())
    await settle(store, "t1", 0)
    await store.enqueue(entry("i1"))
    await store.request_cancel(stop("t9"))
    await store.open_wait(wait_row(store))
    await store.record(scope_of("t1"), [record("r1", BIG)], None)
    await store.fork_session(FORK)
    assert isinstance(await store.delete_session("f", claim(ANA)), Deleted)
    assert isinstance(await store.delete_session("s", claim(ANA)), Deleted)
    await store.aclose()

    with closing(sqlite3.connect(path)) as other:
        tables = [
            name for (name,) in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
    left = {name: count(path, name) for name in tables}
    assert {name: rows for name, rows in left.items() if rows} == {
        "meta": 1,
        "process_clock": 1,
        "leases": 2,
        "deleted_sessions": 2,
        "revoked_sessions": 2,
    }


async def test_contents_that_nothing_refers_to_go_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "agents.db"
    store = SqliteStore(path, VirtualClock())
    with closing(sqlite3.connect(path)) as other:
        for number in range(5):
            other.execute("INSERT INTO blobs VALUES (?, 'x')", (f"b{number}",))
            other.execute("INSERT INTO surroundings VALUES (?, 'x')", (f"a{number}",))
        other.execute("INSERT INTO scopes (id, scope_key) VALUES (1, 'k')")
        other.execute(
            "INSERT INTO journal VALUES (1, 1, 'r', 'k', 'i', 'a3', '', '', 1, 1.0, 0, 'b3', 1, NULL)"
        )
        other.commit()

    reports = [await store.vacuum(VacuumRequest(before_ms=0, limit=2)) for _ in range(4)]

    told = [(r.removed_blobs, r.removed_surroundings, r.more) for r in reports]
    assert told == [(2, 2, True), (1, 1, True), (1, 1, False), (0, 0, False)]
    assert count(path, "blobs") == count(path, "surroundings") == 1
    await store.aclose()


# --- what a turn costs --------------------------------------------------------------------------------


async def statements(store: SqliteStore, operation: Awaitable[object]) -> list[str]:
    seen: list[str] = []
    await store._writer.submit(lambda writer: writer.set_trace_callback(seen.append))
    await operation
    await store._writer.submit(lambda writer: writer.set_trace_callback(None))
    return [statement for statement in seen if " queue" in statement or "turn_cancels" in statement]


async def test_a_plain_turn_looks_at_the_queue_once_each_time(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "agents.db", VirtualClock())
    await settle(store, "t0", 0)
    accepted: list[Accepted] = []

    async def accept() -> None:
        answer = await store.accept_turn(request("t1"))
        assert isinstance(answer, Accepted)
        accepted.append(answer)

    looks = await statements(store, accept())
    assert len([look for look in looks if " queue" in look]) == 1
    looks = await statements(
        store, store.commit_turn(turn_commit("t1", accepted[0].lease.fence, revision=1))
    )
    assert len([look for look in looks if " queue" in look]) == 1
    assert not any(look.lstrip().startswith(("INSERT", "UPDATE")) for look in looks)
    await store.aclose()


async def test_what_was_queued_once_does_not_slow_down_what_comes_after(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "agents.db", VirtualClock())
    first = await store.accept_turn(request("t1"))
    assert isinstance(first, Accepted)
    for number in range(200):
        await store.enqueue(entry(f"i{number}", ingress=ActiveTurn()))
    await store.cancel_items_from("s", by_id("i0"))
    await store.commit_turn(turn_commit("t1", first.lease.fence))

    steps = [0]

    def tick() -> None:
        steps[0] += 1

    async def cost(turn_id: str, revision: int) -> int:
        steps[0] = 0
        await store._writer.submit(lambda writer: writer.set_progress_handler(tick, 50))
        await settle(store, turn_id, revision)
        return steps[0]

    crowded = await cost("t2", 1)
    fresh = SqliteStore(tmp_path / "fresh.db", VirtualClock())
    await settle(fresh, "t1", 0)
    steps[0] = 0
    await fresh._writer.submit(lambda writer: writer.set_progress_handler(tick, 50))
    await settle(fresh, "t2", 1)
    alone = steps[0]

    assert crowded <= alone + 4
    await store.aclose()
    await fresh.aclose()


async def test_a_message_of_a_fork_may_be_named_as_one_that_it_shares(opener: Opener) -> None:
    store = opener(VirtualClock(), lambda _: None)
    await settle(store, "t1", 0)
    assert isinstance(await store.fork_session(FORK), Forked)
    await settle(store, "t1", 0, session="f")

    path = await store.load_path("f")
    assert [node.node_id for node in path] == ["t1.m0", "t1.m1", "t1.m0", "t1.m1"]
    assert list(await store.check()) == []
    again = await store.fork_session(msgspec.structs.replace(FORK, source_id="f", new_id="g"))
    assert isinstance(again, Forked)
    assert again.head.leaf_digest == path[-1].digest
    await store.aclose()
