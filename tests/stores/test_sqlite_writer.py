"""The SQLite store's threads: one writer that groups, readers that never wait for it."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from lash.core.errors import StoreError
from lash.core.seams import Seam
from lash.effects.journal import AlreadyRecorded, Recorded
from lash.runtime.stores import Store
from lash.sessions.accepting import Accepted
from lash.sessions.committing import CommitReceipt
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.samples import BEN, record, request, turn_commit


class Gate:
    """A seam observer that holds the writer inside the n-th accept, for each n in `stops`."""

    def __init__(self, *stops: int) -> None:
        self._passed = 0
        self._inside = {stop: threading.Event() for stop in stops}
        self._open = {stop: threading.Event() for stop in stops}

    async def entered(self, stop: int = 1) -> None:
        inside = await asyncio.to_thread(self._inside[stop].wait, 30)
        assert inside, "the writer never got there"

    def open(self, stop: int = 1) -> None:
        self._open[stop].set()

    def __call__(self, seam: Seam) -> None:
        if seam != "accept.inside":
            return
        self._passed += 1
        if self._passed in self._inside:
            self._inside[self._passed].set()
            assert self._open[self._passed].wait(30), "nobody opened the gate"


def by_thread(store: SqliteStore) -> None:
    """Have the thread take everything, as on a slow disk."""
    store._writer._slow = 1_000_000


@asynccontextmanager
async def opened(
    path: Path, seams: Callable[[Seam], None] | None = None
) -> AsyncIterator[SqliteStore]:
    clock = VirtualClock()
    store = SqliteStore(path, clock, seams=seams) if seams else SqliteStore(path, clock)
    if seams:
        by_thread(store)  # a gate holds up whoever commits, and the loop has to go on
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


def count(path: Path, table: str) -> int:
    """How many rows another connection sees."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  a test's own names
        return int(found[0])


async def give_way(times: int = 20) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def accept_many(store: Store, names: list[str]) -> list[asyncio.Task[object]]:
    """Submit one input for each session, and let each get to the writer's queue."""
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(store.accept_turn(request("t1", session=name))) for name in names
    ]
    await give_way()
    return tasks


# --- grouping ---------------------------------------------------------------------------------------


async def test_operations_that_wait_are_committed_together(path: Path) -> None:
    gate = Gate(1)
    async with opened(path, gate) as store:
        first = await accept_many(store, ["blocker"])
        await gate.entered()
        waiting = await accept_many(store, [f"s{number}" for number in range(50)])
        assert store.transactions == 0
        gate.open()
        answers = await asyncio.gather(*first, *waiting)

        assert all(isinstance(answer, Accepted) for answer in answers)
        assert store.transactions == 2
        assert count(path, "inputs") == 51


async def test_an_operation_on_its_own_is_one_transaction(path: Path) -> None:
    async with opened(path) as store:
        accepted = await store.accept_turn(request("t1"))
        assert isinstance(accepted, Accepted)
        assert store.transactions == 1
        await store.record("scope", [record("r1"), record("r2")], None)
        assert store.transactions == 2
        await store.commit_turn(turn_commit("t1", accepted.lease.fence, journal=[record("r3")]))
        assert store.transactions == 3
        await store.load_path("s")
        await store.list_sessions()
        assert store.transactions == 3


async def test_what_comes_alone_is_committed_where_it_was_submitted(path: Path) -> None:
    places: list[int] = []
    async with opened(path) as store:
        for _ in range(3):
            await store._writer.submit(lambda _: places.append(threading.get_ident()))
        assert places == [threading.get_ident()] * 3
        assert store.transactions == 3


async def test_what_is_submitted_in_one_step_is_one_transaction_beside_the_loop(path: Path) -> None:
    places: list[int] = []
    async with opened(path) as store:
        work = [store._writer.submit(lambda _: places.append(threading.get_ident())) for _ in "abc"]
        await asyncio.gather(*work)
        assert threading.get_ident() not in places
        assert (len(places), store.transactions) == (3, 1)


async def test_the_loop_goes_on_while_another_program_holds_the_lock(path: Path) -> None:
    async with opened(path) as store:
        await store.accept_turn(request("t1", session="before"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.ensure_future(store.accept_turn(request("t1", session="after")))
            await give_way()
            assert not waiting.done()
            other.execute("COMMIT")
            assert isinstance(await waiting, Accepted)
        assert count(path, "inputs") == 2


async def test_a_slow_disk_is_left_to_the_thread(path: Path) -> None:
    clock, places = VirtualClock(), list[int]()
    store = SqliteStore(path, clock)
    try:

        def slow(_: sqlite3.Connection) -> None:
            places.append(threading.get_ident())
            clock.advance(1)

        await store._writer.submit(slow)
        await store._writer.submit(slow)
    finally:
        await store.aclose()
    assert places[0] == threading.get_ident() != places[1]


def appending(order: list[int], place: int) -> Callable[[sqlite3.Connection], None]:
    return lambda _: order.append(place)


async def test_operations_run_in_the_order_they_were_submitted(path: Path) -> None:
    order: list[int] = []
    async with opened(path) as store:
        work: list[asyncio.Future[None]] = []
        for step in range(40):
            for number in range(1 + step % 3):  # alone, and in groups
                place = 10 * step + number
                work.append(store._writer.submit(appending(order, place)))
            await asyncio.sleep(0)
        await asyncio.gather(*work)
    assert order == sorted(order)
    assert len(order) == 79


async def test_a_refusal_in_a_group_leaves_the_others_whole(path: Path) -> None:
    gate = Gate(1)
    async with opened(path, gate) as store:
        await store.record("op", [record("taken")], None)
        blocker = await accept_many(store, ["blocker"])
        await gate.entered()
        before = asyncio.ensure_future(store.record("op", [record("before")], None))
        refused = asyncio.ensure_future(store.record("op", [record("lost"), record("taken")], None))
        after = asyncio.ensure_future(store.record("op", [record("after")], None))
        await give_way()
        gate.open()

        assert isinstance(await before, Recorded)
        assert isinstance(await refused, AlreadyRecorded)
        assert isinstance(await after, Recorded)
        await asyncio.gather(*blocker)
        assert store.transactions == 3
        kept = [kept.replay_key for kept in await store.load_journal("op")]
        assert kept == ["taken", "before", "after"]


async def test_an_operation_that_breaks_in_a_group_is_told_alone(path: Path) -> None:
    gate = Gate(1)

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO scopes (scope_key) VALUES ('half')")
        connection.execute("INSERT INTO no_such_table VALUES (1)")

    async with opened(path, gate) as store:
        blocker = await accept_many(store, ["blocker"])
        await gate.entered()
        failing = store._writer.submit(broken)
        fine = asyncio.ensure_future(store.record("op", [record("r1")], None))
        await give_way()
        gate.open()

        with pytest.raises(StoreError, match="no such table"):
            await failing
        assert isinstance(await fine, Recorded)
        await asyncio.gather(*blocker)
    assert count(path, "scopes") == 1


async def test_a_damaged_row_that_one_of_a_group_meets_is_told_to_it_alone(path: Path) -> None:
    gate = Gate(1)
    async with opened(path, gate) as store:
        await store.record("op", [record("taken")], None)
        with closing(sqlite3.connect(path)) as other:
            other.execute("UPDATE journal SET outcome = x'ff'")
            other.commit()
        blocker = await accept_many(store, ["blocker"])
        await gate.entered()
        before = asyncio.ensure_future(store.record("op", [record("before")], None))
        damaged = asyncio.ensure_future(store.record("op", [record("taken")], None))
        after = asyncio.ensure_future(store.record("op", [record("after")], None))
        await give_way()
        gate.open()

        assert await before == Recorded()
        with pytest.raises(StoreError) as failure:
            await damaged
        assert failure.value.code == "store_corrupt"
        assert await after == Recorded()
        await asyncio.gather(*blocker)
        listed = [entry.replay_key for entry in await store.list_journal("op")]
        assert listed == ["taken", "before", "after"]


async def test_a_failed_commit_is_told_to_every_one_of_its_operations(path: Path) -> None:
    gate = Gate(1)
    async with opened(path, gate) as store:
        blocker = await accept_many(store, ["blocker"])
        await gate.entered()
        # The group's last operation ends the transaction behind the writer's back, as SQLite does
        # by itself when the disk is full: nobody's work stands.
        group = await accept_many(store, ["s1", "s2"])

        def give_up(connection: sqlite3.Connection) -> None:
            connection.execute("ROLLBACK")
            connection.execute("INSERT INTO no_such_table VALUES (1)")

        last = store._writer.submit(give_up)
        gate.open()
        answers = await asyncio.gather(*group, last, return_exceptions=True)

        await asyncio.gather(*blocker)
        assert [type(answer) for answer in answers] == [StoreError] * 3
        assert [kept.session_id for kept in await store.list_sessions()] == ["blocker"]
        assert isinstance(await store.accept_turn(request("t1", session="s1")), Accepted)


# --- results only after the commit ------------------------------------------------------------------


async def test_no_result_is_handed_back_before_the_commit(path: Path) -> None:
    gate = Gate(1, 3)
    async with opened(path, gate) as store:
        blocker = await accept_many(store, ["blocker"])
        await gate.entered()
        group = await accept_many(store, ["s1", "s2"])
        gate.open()
        await asyncio.gather(*blocker)
        # Of the group, s1 is through and s2 is held inside the same transaction.
        await gate.entered(3)
        await give_way()
        assert not any(task.done() for task in group)
        assert count(path, "inputs") == 1
        gate.open(3)
        await asyncio.gather(*group)
        assert count(path, "inputs") == 3


async def test_what_is_answered_is_seen_by_every_other_connection(path: Path) -> None:
    async with opened(path) as store:
        for number in range(5):
            await store.accept_turn(request("t1", session=f"s{number}"))
            assert count(path, "inputs") == number + 1


async def test_seams_are_inside_the_transaction(path: Path) -> None:
    seen: list[tuple[Seam, int, int, int]] = []

    def observe(seam: Seam) -> None:
        seen.append((seam, count(path, "inputs"), count(path, "journal"), count(path, "turns")))

    async with opened(path, observe) as store:
        accepted = await store.accept_turn(request("t1"))
        assert isinstance(accepted, Accepted)
        await store.record("op", [record("r1")], None)
        await store.commit_turn(turn_commit("t1", accepted.lease.fence))

    assert seen == [
        ("accept.inside", 0, 0, 0),
        ("record.inside", 1, 0, 0),
        ("commit.inside", 1, 1, 0),
    ]


async def test_a_seam_that_breaks_undoes_its_operation(path: Path) -> None:
    def broken(seam: Seam) -> None:
        raise RuntimeError(seam)

    async with opened(path, broken) as store:
        with pytest.raises(RuntimeError, match=r"accept\.inside"):
            await store.accept_turn(request("t1"))
        assert list(await store.list_sessions()) == []
    assert count(path, "leases") == 0


# --- cancelling and closing -------------------------------------------------------------------------


async def test_cancelling_a_waiter_neither_undoes_nor_loses_its_write(path: Path) -> None:
    gate = Gate(1)
    async with opened(path, gate) as store:
        (running,) = await accept_many(store, ["running"])
        await gate.entered()
        (queued,) = await accept_many(store, ["queued"])
        running.cancel()
        queued.cancel()
        await give_way()
        assert running.cancelled()
        assert queued.cancelled()
        gate.open()

        await store.accept_turn(request("t1", session="last"))
        held = [kept.session_id for kept in await store.list_sessions()]
        assert sorted(held) == ["last", "queued", "running"]


async def test_closing_finishes_what_was_submitted(path: Path) -> None:
    gate = Gate(1)
    async with opened(path, gate) as store:
        group = await accept_many(store, ["s1", "s2"])
        await gate.entered()
        closing_down = asyncio.create_task(store.aclose())
        await give_way()
        gate.open()
        answers = await asyncio.gather(*group)
        await closing_down

        assert all(isinstance(answer, Accepted) for answer in answers)
    assert count(path, "inputs") == 2


async def test_a_cancelled_close_closes_all_the_same(path: Path) -> None:
    gate = Gate(1)
    async with opened(path, gate) as store:
        store.register_owner("ana", "ana-1")
        group = await accept_many(store, ["s1"])
        await gate.entered()
        closing_down = asyncio.create_task(store.aclose())
        await give_way()
        closing_down.cancel()
        await give_way()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await closing_down
        await asyncio.gather(*group)

        assert sorted(entry.name for entry in path.parent.iterdir()) == ["agents.db"]


async def test_a_closed_store_says_so(path: Path) -> None:
    store = SqliteStore(path, VirtualClock())
    await store.load_head("s")
    await store.aclose()
    await store.aclose()

    with pytest.raises(StoreError, match="closed") as write:
        await store.accept_turn(request("t1"))
    with pytest.raises(StoreError, match="closed") as read:
        await store.load_head("s")

    assert (write.value.code, read.value.code) == ("store_closed", "store_closed")


async def test_closing_leaves_one_file(path: Path) -> None:
    async with opened(path) as store:
        store.register_owner("ana", "ana-1")
        await store.accept_turn(request("t1"))
        await asyncio.gather(*(store.list_sessions() for _ in range(8)))
        assert len(list(path.parent.iterdir())) > 1

    assert [entry.name for entry in path.parent.iterdir()] == ["agents.db"]


# --- readers and other processes --------------------------------------------------------------------


async def test_a_reader_never_waits_for_a_writer(path: Path) -> None:
    async with opened(path) as store:
        accepted = await store.accept_turn(request("t1"))
        assert isinstance(accepted, Accepted)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("DELETE FROM sessions")
            # Far below the busy timeout: a reader that waited would not be back by then.
            async with asyncio.timeout(5):
                assert await store.load_head("s") == accepted.head
                assert len(list(await store.list_sessions())) == 1
            other.execute("ROLLBACK")


async def test_a_reader_does_not_wait_for_our_own_writer_either(path: Path) -> None:
    gate = Gate(2)
    async with opened(path, gate) as store:
        await store.accept_turn(request("t1", session="before"))
        group = await accept_many(store, ["s1"])
        await gate.entered(2)
        async with asyncio.timeout(5):
            found = [kept.session_id for kept in await store.list_sessions()]
        gate.open(2)
        await asyncio.gather(*group)

        assert found == ["before"]


async def test_a_reader_cannot_write(path: Path) -> None:
    async with opened(path) as store:
        with pytest.raises(StoreError) as refused:
            await store._readers.read(lambda reader: reader.execute("DELETE FROM sessions"))
        assert refused.value.code == "store_read_only"


async def test_two_stores_on_one_file_see_each_other(path: Path) -> None:
    async with opened(path) as one, opened(path) as two:
        accepted = await one.accept_turn(request("t1"))
        assert isinstance(accepted, Accepted)
        assert await two.load_head("s") == accepted.head
        assert await two.lease_of("s") == await one.lease_of("s")
        busy = await two.accept_turn(request("t2", owner=BEN))
        assert not isinstance(busy, Accepted)
        receipt = await one.commit_turn(turn_commit("t1", accepted.lease.fence))
        assert isinstance(receipt, CommitReceipt)
        assert list(await two.list_turns("s")) == [receipt.record]
        assert isinstance(await two.accept_turn(request("t2", owner=BEN)), Accepted)


async def test_many_operations_of_two_stores_on_one_file_all_land(path: Path) -> None:
    async with opened(path) as one, opened(path) as two:
        names = [f"s{number:02}" for number in range(30)]
        await asyncio.gather(
            *(one.accept_turn(request("t1", session=f"one-{name}")) for name in names),
            *(two.accept_turn(request("t1", session=f"two-{name}")) for name in names),
        )
        assert len(list(await one.list_sessions())) == 60
        assert list(await one.list_sessions()) == list(await two.list_sessions())


async def test_one_database_is_one_whatever_path_leads_to_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = path.parent / "link.db"
    link.symlink_to(path)
    monkeypatch.chdir(path.parent)
    async with opened(Path(path.name)) as one, opened(link) as two:
        monkeypatch.chdir("/")
        owner = one.register_owner("ana", "ana-1")
        assert not two.is_dead(owner)
        await one.accept_turn(request("t1"))
        assert await two.load_head("s") == await one.load_head("s")


def test_operations_of_several_loops_are_answered_each_on_its_own(path: Path) -> None:
    store = SqliteStore(path, VirtualClock())
    answers: list[object] = []

    def drive(name: str) -> None:
        answers.append(asyncio.run(store.accept_turn(request("t1", session=name))))

    threads = [threading.Thread(target=drive, args=(f"s{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(store.aclose())

    assert [type(answer) for answer in answers] == [Accepted] * 4
