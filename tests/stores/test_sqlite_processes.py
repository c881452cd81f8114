"""What is SQLite's own of keeping processes: many writers on one file, damage, and the doctor."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from lash.core.errors import StoreError
from lash.core.leases import Fence, Lease, LeaseOwner
from lash.core.scopes import ProcessScope, journal_key
from lash.core.seams import Seam
from lash.effects.journal import FenceRefused, ProcessAuthority, Recorded, RetireProcess
from lash.processes.listing import ProcessFilter, PruneRequest, Upserted
from lash.processes.model import ProcessRecord, ProcessSegment, authority_of
from lash.processes.registration import Registered, RegisterRequest
from lash.processes.writes import (
    AlreadyApplied,
    AppendEvent,
    ClaimRun,
    CompleteRun,
    ContinueRun,
    ReleaseRun,
    RunBusy,
    Written,
)
from lash.sessions.accepting import Accepted
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.processes.samples import (
    DONE,
    ENV,
    note,
    refund,
    rest,
    ring,
    scope,
)
from lash.testing.conformance.samples import ANA, BEN, TTL_MS, claim, entry, record, request


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def store(path: Path, clock: VirtualClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock)
    yield store
    await store.aclose()


def asked(
    process_id: str = "p", *, wakes: str | None = None, owner: LeaseOwner | None = None
) -> RegisterRequest:
    """A process on its way into the store, begun at once if there is an owner."""
    return RegisterRequest(
        registration=refund(process_id, wake_session_id=wakes),
        observers=("s",),
        env=ENV,
        claim=claim(owner) if owner else None,
    )


async def begun(store: SqliteStore, process_id: str = "p", *, wakes: str | None = None) -> Lease:
    """The lease under which a new process runs."""
    answer = await store.register_process(asked(process_id, wakes=wakes, owner=ANA))
    assert isinstance(answer, Registered)
    assert answer.lease is not None
    return answer.lease


async def code_of(doing: Callable[[], Awaitable[object]]) -> str:
    """The code of the error that something must raise."""
    with pytest.raises(StoreError) as failure:
        await doing()
    return failure.value.code


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as other:
        for statement in statements:
            assert other.execute(statement).rowcount != 0, statement
        other.commit()


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as other:
        return other.execute(query).fetchall()


# --- many writers -------------------------------------------------------------------------------------

_CLAIMER = """
import asyncio, sys
from pathlib import Path
from lash.core.clock import SystemClock
from lash.core.leases import LeaseClaim, LeaseOwner
from lash.processes.writes import ClaimRun, RunBusy, Written
from lash.stores.sqlite import SqliteStore
async def main(path, name):
    store = SqliteStore(Path(path), SystemClock(asyncio.sleep))
    owner = LeaseOwner(owner_id=name, incarnation=name, host="h")
    print("ready", flush=True)
    sys.stdin.readline()
    won = []
    for number in range(20):
        write = ClaimRun(claim=LeaseClaim(owner=owner, nonce=name, ttl_ms=60_000))
        answer = await store.write_process(f"p{number}", write)
        assert isinstance(answer, Written | RunBusy), answer
        if isinstance(answer, Written):
            won.append(f"p{number}")
    print(*won, flush=True)
    await store.aclose()
asyncio.run(main(*sys.argv[1:]))
"""


async def test_of_two_operating_system_processes_one_begins_a_process(path: Path) -> None:
    store = SqliteStore(path, VirtualClock())
    names = [f"p{number}" for number in range(20)]
    for name in names:
        await store.register_process(asked(name))
    rivals = {
        name: subprocess.Popen(
            [sys.executable, "-c", _CLAIMER, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("ana", "ben", "carl")
    }
    for rival in rivals.values():
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals.values():
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    said = {name: rival.communicate(timeout=60) for name, rival in rivals.items()}

    assert [complaints for _, complaints in said.values()] == ["", "", ""]
    won = [(each, name) for name, (answer, _) in said.items() for each in answer.split()]
    assert sorted(process_id for process_id, _ in won) == sorted(names)
    winners = dict(won)
    for process_id in names:
        found = await store.load_process(process_id)
        assert isinstance(found, ProcessRecord)
        assert found.lease.held is not None
        assert found.lease.held.owner.owner_id == winners[process_id]
        assert found.lease.fencing_token == 1
        events = await store.process_events(process_id)
        assert [event.event_type for event in events] == ["process.started"]
    await store.aclose()


async def test_who_follows_the_feed_misses_nothing_that_two_stores_write(
    path: Path, store: SqliteStore, clock: VirtualClock
) -> None:
    other = SqliteStore(path, clock)
    seen: dict[str, int] = {}
    followed: list[int] = []
    writing = True

    async def follow() -> None:
        cursor = 0
        while True:
            last = not writing
            page = await store.processes_changed_since(cursor, limit=3)
            for change in page.changes:
                assert isinstance(change, Upserted)
                seen[change.record.process_id] = change.record.state.sequence
                followed.append(change.record.change)
            moved, cursor = page.cursor != cursor, page.cursor
            if last and not moved:
                return

    async def write(through: SqliteStore, name: str) -> None:
        for number in range(5):
            process_id = f"{name}{number}"
            assert isinstance(await through.register_process(asked(process_id)), Registered)
            for n in range(6):
                await through.write_process(process_id, note(n))

    following = asyncio.ensure_future(follow())
    through = {"a": store, "b": other, "c": store, "d": other}
    await asyncio.gather(*(write(each, name) for name, each in through.items()))
    writing = False
    await following

    assert len(seen) == 20
    assert set(seen.values()) == {6}
    assert followed == sorted(set(followed))
    assert await store.change_cursor() == followed[-1] == 20 * 7
    await other.aclose()


async def test_wakes_that_two_stores_deliver_at_once_arrive_once(
    path: Path, store: SqliteStore, clock: VirtualClock
) -> None:
    other = SqliteStore(path, clock)
    await store.enqueue(entry("i0"))
    for number in range(8):
        await begun(store, f"p{number}", wakes="s")
        await store.write_process(f"p{number}", ring("one"))

    await asyncio.gather(*(each.deliver_wakes() for each in (store, other, store, other)))

    queued = [item.item_id for item in await store.list_queue("s")]
    assert sorted(queued) == ["i0", *(f"wake:p{number}:2" for number in range(8))]
    assert (await other.deliver_wakes()).next_attempt_at_ms is None
    await other.aclose()


async def test_one_group_of_writes_is_one_commit_and_each_sees_those_before(
    store: SqliteStore,
) -> None:
    await begun(store)
    before = store.transactions

    answers = await asyncio.gather(*(store.write_process("p", note(n)) for n in range(40)))

    assert all(isinstance(answer, Written) for answer in answers)
    events = await store.process_events("p", event_type="note")
    assert [event.payload for event in events] == [{"n": n} for n in range(40)]
    assert [event.sequence for event in events] == list(range(2, 42))
    assert store.transactions - before <= 3


# --- what a write costs others --------------------------------------------------------------------------


async def test_a_write_that_cannot_be_kept_leaves_those_beside_it_whole(store: SqliteStore) -> None:
    await begun(store, "p")
    await begun(store, "q")
    odd = AppendEvent(event_type="note", payload={"n": 1, "text": "\ud800"})

    first, failed, last = await asyncio.gather(
        store.write_process("p", note(1)),
        store.write_process("q", odd),
        store.write_process("p", note(2)),
        return_exceptions=True,
    )

    assert isinstance(failed, UnicodeEncodeError)
    assert isinstance(first, Written)
    assert isinstance(last, Written)
    assert [event.payload for event in await store.process_events("p", event_type="note")] == [
        {"n": 1},
        {"n": 2},
    ]
    assert [event.event_type for event in await store.process_events("q")] == ["process.started"]


async def test_an_observer_that_breaks_undoes_what_was_written(
    path: Path, clock: VirtualClock
) -> None:
    passed: list[Seam] = []

    def observe(seam: Seam) -> None:
        passed.append(seam)
        if seam == "process.append.inside":
            raise RuntimeError(seam)

    store = SqliteStore(path, clock, seams=observe)
    lease = await begun(store)
    with pytest.raises(RuntimeError):
        await store.write_process("p", note(1))
    before = await store.load_process("p")
    assert isinstance(before, ProcessRecord)
    assert (before.state.sequence, before.change) == (1, 1)
    assert await store.change_cursor() == 1

    again = await store.write_process("p", note(1, fence=Fence(fencing_token=7, nonce="x")))
    assert again.__struct_config__.tag == "fence_lost"  # nothing was written, so nobody was told
    await store.write_process("p", ReleaseRun(fence=lease.fence))
    assert passed == [
        "process.register.inside",
        "process.append.inside",
        "process.release.inside",
    ]
    await store.aclose()


async def test_an_environment_is_kept_once_and_found_by_all(
    path: Path, store: SqliteStore, clock: VirtualClock
) -> None:
    other = SqliteStore(path, clock)
    await store.register_process(asked("p"))
    await other.register_process(asked("q"))
    await other.aclose()

    assert rows(path, "SELECT count(*) FROM process_envs") == [(1,)]
    env_ref = asked().registration.env_ref
    assert env_ref is not None
    assert await store.load_env(env_ref) == ENV


# --- journals ------------------------------------------------------------------------------------------


async def test_a_journal_is_written_under_the_lease_in_the_row(
    store: SqliteStore, clock: VirtualClock
) -> None:
    lease = await begun(store)
    mine = authority_of("p", lease)
    assert await store.record(scope(), [record("r1")], mine) == Recorded()
    assert await store.record(scope(), [record("r2"), record("r3")], mine) == Recorded()
    clock.advance(TTL_MS / 1000)
    assert await store.record(scope(), [record("r4")], mine) == Recorded()  # nobody took it

    taken = await store.write_process("p", ClaimRun(claim=claim(BEN)))
    assert isinstance(taken, Written)

    assert await store.record(scope(), [record("r5")], mine) == FenceRefused()
    assert await store.record(scope(), [record("r5"), record("r6")], mine) == FenceRefused()
    nobody = ProcessAuthority(process_id="q", fence=lease.fence)
    assert await store.record(scope("q"), [record("r1")], nobody) == FenceRefused()
    assert [kept.replay_key for kept in await store.load_journal(scope())] == [
        "r1",
        "r2",
        "r3",
        "r4",
    ]


async def test_the_journals_of_all_segments_are_the_process_s(store: SqliteStore) -> None:
    lease = await begun(store)
    await store.record(scope("p"), [record("r1")], authority_of("p", lease))
    write = ContinueRun(fence=lease.fence, segment=ProcessSegment(ordinal=1), scope_key=scope("p"))
    await store.write_process("p", write)
    await store.record(scope("p", 1), [record("r1"), record("r2")], authority_of("p", lease))
    await store.record(journal_key(ProcessScope(process_id="pp")), [record("r1")], None)

    gone = await store.retire(RetireProcess(process_id="p"))

    assert (gone.scopes, gone.records) == (2, 3)
    assert len(await store.load_journal(journal_key(ProcessScope(process_id="pp")))) == 1


async def test_pruning_in_pieces_takes_each_once(
    path: Path, store: SqliteStore, clock: VirtualClock
) -> None:
    for number in range(7):
        lease = await begun(store, f"p{number}")
        await store.record(scope(f"p{number}"), [record("r1")], authority_of(f"p{number}", lease))
        write = CompleteRun(fence=lease.fence, outcome=DONE, scope_key=scope(f"p{number}"))
        await store.write_process(f"p{number}", write)
    await begun(store, "q")
    clock.advance(1)
    request = PruneRequest(before_ms=clock.now_ms(), limit=3)

    reports = [await store.prune_processes(request) for _ in range(4)]

    assert [(report.processes, report.more) for report in reports] == [
        (3, True),
        (3, True),
        (1, False),
        (0, False),
    ]
    assert (sum(report.events for report in reports), sum(r.records for r in reports)) == (14, 7)
    assert rows(path, "SELECT DISTINCT process_id FROM process_events") == [("q",)]
    assert rows(path, "SELECT count(*) FROM journal") == [(0,)]
    assert rows(path, "SELECT process_id, change_seq FROM process_tombstones ORDER BY 2") == [
        (f"p{number}", 16 + number) for number in range(7)
    ]


# --- damage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["state", "registration", "fingerprint", "change_seq", "nonce"])
async def test_a_damaged_process_is_reported_and_the_others_go_on(
    path: Path, store: SqliteStore, column: str
) -> None:
    await begun(store, "p")
    await begun(store, "q")
    execute(path, f"UPDATE processes SET {column} = x'ff' WHERE process_id = 'p'")  # noqa: S608

    assert await code_of(lambda: store.load_process("p")) == "store_corrupt"
    assert await code_of(lambda: store.list_processes(ProcessFilter())) == "store_corrupt"
    if column != "change_seq":  # then the clock is behind it, which concerns all
        broken, written = await asyncio.gather(
            store.write_process("p", note(1)),
            store.write_process("q", note(1)),
            return_exceptions=True,
        )
        assert isinstance(broken, StoreError)
        assert broken.code == "store_corrupt"
        assert isinstance(written, Written)


async def test_a_clock_that_is_behind_gives_out_no_places_and_sessions_do_not_mind(
    path: Path, store: SqliteStore
) -> None:
    await begun(store, "p")
    await begun(store, "q")
    execute(path, "UPDATE process_clock SET seq = 1")

    broken, accepted = await asyncio.gather(
        store.write_process("p", note(1)),
        store.accept_turn(request("t1")),
        return_exceptions=True,
    )

    assert isinstance(broken, StoreError)
    assert broken.code == "store_corrupt"
    assert isinstance(accepted, Accepted)
    assert await code_of(lambda: store.register_process(asked("new"))) == "store_corrupt"
    assert len(await store.process_events("p")) == 1


async def test_a_log_that_is_longer_than_its_row_takes_nothing_more(
    path: Path, store: SqliteStore
) -> None:
    await begun(store)
    execute(
        path,
        """
        INSERT INTO process_events (process_id, sequence, event_type, payload, occurred_at_ms)
        VALUES ('p', 2, 'note', '{}', 1)
        """,
    )

    assert await code_of(lambda: store.write_process("p", note(1))) == "store_corrupt"
    assert await store.change_cursor() == 1


# --- the doctor ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which everything fits: one that runs, one that rests, one that ended, a tombstone."""
    path = tmp_path_factory.mktemp("whole") / "agents.db"
    asyncio.run(_fill(path))
    return path


async def _fill(path: Path) -> None:
    clock = VirtualClock()
    store = SqliteStore(path, clock)
    await store.enqueue(entry("i0"))
    for process_id in ("gone", "ended", "runs", "rests"):
        lease = await begun(store, process_id, wakes="s")
        await store.write_process(process_id, ring("one"))
        if process_id in {"gone", "ended"}:
            await store.write_process(process_id, CompleteRun(fence=lease.fence, outcome=DONE))
        if process_id == "rests":
            await store.write_process(
                process_id, ReleaseRun(fence=lease.fence, retry=rest(clock.now_ms() + 5_000))
            )
        await store.deliver_wakes()
        if process_id == "gone":
            clock.advance(1)
            assert (await store.prune_processes(PruneRequest(before_ms=clock.now_ms()))).processes
    await store.aclose()


async def _findings(path: Path, *statements: str) -> list[tuple[str, str]]:
    execute(path, *statements)
    store = SqliteStore(path, VirtualClock())
    try:
        return [(item.code, item.message) for item in await store.check()]
    finally:
        await store.aclose()


async def test_processes_that_are_whole_are_left_in_peace(whole: Path, tmp_path: Path) -> None:
    assert await _findings(Path(shutil.copy(whole, tmp_path))) == []


_DAMAGE = {
    "a missing event": (
        "DELETE FROM process_events WHERE process_id = 'runs' AND sequence = 1",
        ("process_log_broken", "its log has no event 1"),
    ),
    "a missing last event": (
        "DELETE FROM process_events WHERE process_id = 'runs' AND sequence = 2",
        ("process_log_broken", "its log has no event 2"),
    ),
    "a changed event": (
        """
        UPDATE process_events SET payload = replace(payload, 'ana-1', 'ana-2')
        WHERE process_id = 'runs' AND sequence = 1
        """,
        ("process_state_mismatch", "its row is not what its log comes to"),
    ),
    "an event that says nothing": (
        "UPDATE process_events SET payload = '{}' WHERE process_id = 'runs' AND sequence = 1",
        ("process_log_broken", "it cannot be read"),
    ),
    "an event too many": (
        """
        INSERT INTO process_events (process_id, sequence, event_type, payload, occurred_at_ms)
        VALUES ('runs', 3, 'note', '{}', 1)
        """,
        ("process_state_mismatch", "its row is not what its log comes to"),
    ),
    "another state": (
        """
        UPDATE processes SET state = replace(state, '"sequence":2', '"sequence":1')
        WHERE process_id = 'runs'
        """,
        ("process_state_mismatch", "its row is not what its log comes to"),
    ),
    "a process that nobody would find to run it": (
        "UPDATE processes SET runnable_at_ms = NULL WHERE process_id = 'runs'",
        ("process_state_mismatch", "it is not found under what it says of itself"),
    ),
    "a process under another name": (
        "UPDATE processes SET label = 'x' WHERE process_id = 'runs'",
        ("process_state_mismatch", "it is not found under what it says of itself"),
    ),
    "a lease of what has ended": (
        """
        UPDATE processes SET owner_id = 'ana', incarnation = 'ana-1', host = '', nonce = 'n',
            claimed_at_ms = 1, expires_at_ms = 2 WHERE process_id = 'ended'
        """,
        ("process_lease_kept", "it has ended, and somebody holds its lease"),
    ),
    "a row that cannot be read": (
        "UPDATE processes SET registration = '{' WHERE process_id = 'runs'",
        ("row_unreadable", "it cannot be read"),
    ),
    "text that is none": (
        "UPDATE processes SET state = CAST(x'ff' AS TEXT) WHERE process_id = 'runs'",
        ("row_unreadable", "it holds text that is not UTF-8"),
    ),
}


@pytest.mark.parametrize("damage", _DAMAGE)
async def test_damage_of_a_process_is_found(whole: Path, tmp_path: Path, damage: str) -> None:
    statement, (code, why) = _DAMAGE[damage]

    ((found, message),) = await _findings(Path(shutil.copy(whole, tmp_path)), statement)

    assert found == code
    assert why in message


async def test_what_is_left_of_a_process_that_is_not_there_is_found(
    whole: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(whole, tmp_path))

    found = await _findings(path, "DELETE FROM processes WHERE process_id = 'runs'")

    assert {code for code, _ in found} == {"process_missing"}
    assert [message.partition("fit together: ")[2] for _, message in found] == [
        "there are events and no row.",
        "there are observers and no row.",
        "there are wakes and no row.",
    ]


async def test_a_log_of_many_pages_is_folded_through(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lash.stores.sqlite.process_checking._PAGE", 3)
    await begun(store)
    for n in range(10):
        await store.write_process("p", note(n))
    assert list(await store.check()) == []

    execute(path, "DELETE FROM process_events WHERE process_id = 'p' AND sequence = 8")

    (finding,) = await store.check()
    assert finding.code == "process_log_broken"
    assert "no event 8" in finding.message


# --- shortcuts ------------------------------------------------------------------------------------------


async def test_waking_looks_write_nothing_where_nothing_is_due(
    store: SqliteStore, clock: VirtualClock
) -> None:
    await begun(store, wakes="nobody")
    before = store.transactions
    assert (await store.deliver_wakes()).next_attempt_at_ms is None
    assert store.transactions == before

    await store.write_process("p", ring("one"))
    tried = await store.deliver_wakes()
    assert tried.next_attempt_at_ms == clock.now_ms() + 50
    before = store.transactions
    assert await store.deliver_wakes() == msgspec.structs.replace(tried, delivered=())
    assert store.transactions == before


async def test_a_replay_writes_nothing_and_stays_where_it_is_in_the_feed(
    store: SqliteStore,
) -> None:
    await begun(store)
    await store.write_process("p", note(1, key="k"))
    cursor = await store.change_cursor()

    answer = await store.write_process("p", note(1, key="k"))

    assert isinstance(answer, AlreadyApplied)
    assert await store.change_cursor() == cursor
    busy = await store.write_process("p", ClaimRun(claim=claim(BEN)))
    assert isinstance(busy, RunBusy)
    assert await store.change_cursor() == cursor
