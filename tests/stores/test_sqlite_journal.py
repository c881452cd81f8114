"""The SQLite journal: where large outcomes lie, what a write costs, and what is removed with a scope."""

import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from lash.core.errors import StoreError
from lash.core.scopes import ProcessScope, RuntimeOperationScope, TurnScope, journal_key
from lash.effects.journal import (
    AlreadyRecorded,
    JournalRecord,
    Recorded,
    RetireFinished,
    Retirement,
    RetireOperation,
    RetireProcess,
    RetireSession,
    RetireTarget,
    WriteAuthority,
)
from lash.effects.transitions import SPILL_BYTES
from lash.effects.waits.model import ResolvedOk
from lash.effects.waits.transitions import WaitPending, WaitResolved
from lash.sessions.accepting import Accepted
from lash.stores.sqlite import SqliteStore, queries, upkeep_queries
from lash.testing.clock import VirtualClock
from lash.testing.conformance.samples import record, request, scope_of, turn_commit, wait_row

#: JSON of exactly as many bytes as still fit in a row; a third of it in two-byte letters.
FITS = '"' + "é" * (SPILL_BYTES // 3) + "x" * (SPILL_BYTES - 2 - 2 * (SPILL_BYTES // 3)) + '"'
LARGE = FITS[:-1] + 'x"'
OTHER = '"' + "y" * SPILL_BYTES + '"'
YES = ResolvedOk(payload=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@asynccontextmanager
async def opened(path: Path, clock: VirtualClock | None = None) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock or VirtualClock())
    try:
        yield store
    finally:
        await store.aclose()


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as other:
        found = other.execute(query).fetchall()
        other.commit()
        return found


def counts(path: Path) -> dict[str, object]:
    """How many rows each table of the journal and of the waits has."""
    tables = ("scopes", "journal", "blobs", "surroundings", "await_events")
    return {table: ask(path, f"SELECT count(*) FROM {table}")[0][0] for table in tables}  # noqa: S608  our own names


def operation(name: str) -> str:
    return journal_key(RuntimeOperationScope(operation_id=name))


def around(key: str, digest: str, content: str | None = None, outcome: str = "1") -> JournalRecord:
    return JournalRecord(
        replay_key=key,
        kind="llm_call",
        identity="1:identity",
        surroundings=digest,
        envelope="{}",
        outcome=outcome,
        surroundings_content=content,
    )


# --- large outcomes ---------------------------------------------------------------------------------


async def test_an_outcome_lies_in_its_row_up_to_the_limit_and_beside_it_beyond(path: Path) -> None:
    assert (len(FITS.encode()), len(LARGE.encode())) == (65_536, 65_537)
    async with opened(path) as store:
        await store.record("op", [record("fits", FITS), record("large", LARGE)], None)

        rows = ask(path, "SELECT replay_key, length(outcome), blob IS NULL, bytes FROM journal")
        assert rows == [("fits", len(FITS), 1, 65_536), ("large", 0, 0, 65_537)]
        assert ask(path, "SELECT content FROM blobs") == [(LARGE,)]
        assert await store.lookup("op", "fits") == record("fits", FITS)
        assert await store.lookup("op", "large") == record("large", LARGE)
        listed = [(entry.replay_key, entry.bytes) for entry in await store.list_journal("op")]
        assert listed == [("fits", 65_536), ("large", 65_537)]


async def test_equal_large_outcomes_are_kept_once(path: Path) -> None:
    async with opened(path) as store:
        await store.record("one", [record("r1", LARGE), record("r2", LARGE)], None)
        await store.record("two", [record("r1", LARGE), record("r2", OTHER)], None)
        assert await store.finish_scope("three", [record("r1", LARGE)]) == Recorded()
        assert counts(path)["blobs"] == 2
        for scope in ("one", "two", "three"):
            found = await store.lookup(scope, "r1")
            assert found is not None
            assert found.outcome == LARGE


async def test_a_large_outcome_that_came_too_late_leaves_nothing(path: Path) -> None:
    async with opened(path) as store:
        await store.record("op", [record("r1", OTHER)], None)
        late = await store.record("op", [record("r0", LARGE), record("r1", LARGE)], None)
        assert late == AlreadyRecorded(winner=record("r1", OTHER))
        again = await store.finish_scope("op", [record("r1", LARGE)])
        assert again == AlreadyRecorded(winner=record("r1", OTHER))
        assert ask(path, "SELECT content FROM blobs") == [(OTHER,)]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM blobs", "is missing"),
        ("UPDATE blobs SET content = '\"another\"'", "is not what was recorded"),
        ("UPDATE blobs SET content = substr(content, 2)", "is not what was recorded"),
        ("UPDATE blobs SET content = x'00'", "cannot be read back"),
        ("UPDATE journal SET blob = 'elsewhere'", "is missing"),
    ],
)
async def test_a_damaged_large_outcome_is_reported(path: Path, damage: str, says: str) -> None:
    async with opened(path) as store:
        await store.record("op", [record("r1", LARGE)], None)
    ask(path, damage)

    async with opened(path) as store:
        reads: dict[str, Callable[[], Awaitable[object]]] = {
            "lookup": lambda: store.lookup("op", "r1"),
            "load": lambda: store.load_journal("op"),
            "taken": lambda: store.record("op", [record("r1")], None),
            "finish": lambda: store.finish_scope("op", [record("r1")]),
        }
        for read in reads.values():
            with pytest.raises(StoreError, match=says) as failure:
                await read()
            assert (failure.value.code, failure.value.terminal) == ("store_corrupt", True)
        assert [entry.bytes for entry in await store.list_journal("op")] == [65_537]


# --- what a write costs -----------------------------------------------------------------------------


async def test_a_small_record_costs_its_row(path: Path) -> None:
    async with opened(path) as store:
        accepted = await store.accept_turn(request("t1"))
        assert isinstance(accepted, Accepted)
        proof = WriteAuthority(session_id="s", fence=accepted.lease.fence)
        await store.record(scope_of("t1"), [record("r1")], proof)
        seen: list[str] = []
        await store._writer.submit(lambda writer: writer.set_trace_callback(seen.append))

        seen.clear()
        await store.record(scope_of("t1"), [record("r2")], proof)
        assert [statement.split()[0] for statement in seen] == ["BEGIN", "INSERT", "COMMIT"]

        seen.clear()
        await store.record(scope_of("t1"), [around("r3", "1:a", "{}")], proof)
        words = [statement.split()[0] for statement in seen]
        assert [word for word in words if word in ("INSERT", "COMMIT")] == [
            "INSERT",
            "INSERT",  # the content of its surroundings
            "COMMIT",
        ]


#: What may go through a whole table: the lists of everything, and the arrays that queries are given.
_WALKS = {
    "LIST_SESSIONS": "SCAN s",
    "OPEN_SESSIONS": "SCAN inputs",
    "QUEUED_SESSIONS": "SCAN queue USING INDEX queue_waiting",
    "LEASES_IDLE": "SCAN l USING INDEX leases_held",
    "NEWEST_NODES": "SCAN p",
    "PATH": "SCAN p",
    "PATH_ROWS": "SCAN p",
    "DELETED_SHARED": "SCAN deleted_sessions USING INDEX deleted_shared",
    "COUNT_WAITING": "SCAN queue USING INDEX queue_waiting",
    "FOREIGN_SCOPES": "SCAN s USING INDEX scopes_finished",
    "EVERY_SESSION": "SCAN",
    "DANGLING_RECORDS": "SCAN j",
    "DANGLING_WAITS": "SCAN w",
    "STRAY_NODES": "SCAN n",
}


def every_query() -> Sequence[tuple[str, str]]:
    return [
        (name, query)
        for module in (queries, upkeep_queries)
        for name, query in sorted(vars(module).items())
        if name.isupper() and name[0] != "_"
    ]


def plan_of(path: Path, query: str) -> Sequence[str]:
    """How SQLite would go about a query."""
    named = dict.fromkeys(re.findall(r":(\w+)", query), 1)
    parameters = named or [None] * query.count("?")
    with closing(sqlite3.connect(path)) as other:
        return [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {query}", parameters)]


@pytest.mark.parametrize(
    ("name", "query"), [pytest.param(name, query, id=name) for name, query in every_query()]
)
async def test_every_query_finds_its_rows_by_an_index(path: Path, name: str, query: str) -> None:
    async with opened(path):
        pass
    plan = plan_of(path, query)

    given = ("json_each", "CONSTANT ROW", "(subquery")
    walks = [
        step for step in plan if step.startswith("SCAN") and not any(name in step for name in given)
    ]
    assert all(step.startswith(_WALKS.get(name, "nothing")) for step in walks), plan


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("QUEUE_CONCERNS", "queue_waiting"),
        ("QUEUE_CONCERNS", "queue_by_turn"),
        ("ITEMS_DEFERRED", "queue_waiting"),
        ("ITEMS_FLOATING", "queue_waiting"),
        ("ITEMS_WAITING", "queue_waiting"),
        ("ITEMS_OF_TURN", "queue_by_turn"),
        ("FIRST_COMMAND", "queue_waiting"),
        ("OPEN_INPUTS", "inputs_open"),
        ("COUNT_OTHER_OPEN", "inputs_open"),
    ],
)
async def test_what_is_settled_is_not_walked_through_to_find_what_is_open(
    path: Path, name: str, index: str
) -> None:
    async with opened(path):
        pass
    plan = plan_of(path, vars(queries)[name])

    assert any(re.search(rf"INDEX {index}\b", step) for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


# --- surroundings -----------------------------------------------------------------------------------


async def test_the_content_of_surroundings_is_kept_once_and_not_with_the_record(path: Path) -> None:
    async with opened(path) as store:
        await store.record("one", [around("r1", "1:a", '{"a":1}')], None)
        await store.record("two", [around("r1", "1:a", '{"a":1}'), around("r2", "1:a")], None)
        assert ask(path, "SELECT digest, content FROM surroundings") == [("1:a", '{"a":1}')]
        assert await store.lookup("one", "r1") == around("r1", "1:a")
        assert await store.load_surroundings("1:a") == '{"a":1}'


# --- retiring ---------------------------------------------------------------------------------------


async def finish(store: SqliteStore, clock: VirtualClock, *names: str) -> None:
    """Finish operations, each a second after the one before."""
    for name in names:
        await store.record(operation(name), [record("r1"), record("r2", LARGE)], None)
        await store.finish_scope(operation(name), [])
        clock.advance(1)


async def test_the_oldest_go_first_and_the_answer_says_whether_there_are_more(path: Path) -> None:
    clock = VirtualClock()
    async with opened(path, clock) as store:
        await finish(store, clock, "c", "a", "e", "b", "d")
        before = RetireFinished(before_ms=clock.now_ms())
        assert await store.retire(before, limit=2) == Retirement(
            scopes=2, records=4, waits=0, blobs=0, more=True
        )
        left = [name for name in "abcde" if await store.load_journal(operation(name))]
        assert left == ["b", "d", "e"]
        assert await store.retire(before, limit=0) == Retirement(more=True)
        assert await store.retire(before, limit=3) == Retirement(
            scopes=3, records=6, waits=0, blobs=1, more=False
        )
        assert await store.retire(before, limit=3) == Retirement()
    assert counts(path) == {
        "scopes": 0,
        "journal": 0,
        "blobs": 0,
        "surroundings": 0,
        "await_events": 0,
    }


async def test_content_goes_with_the_last_record_that_refers_to_it(path: Path) -> None:
    async with opened(path) as store:
        shared, lonely = (
            around("r1", "1:shared", "{}", LARGE),
            around("r2", "1:lonely", "{}", OTHER),
        )
        await store.record(operation("one"), [shared, lonely], None)
        await store.record(operation("two"), [shared], None)

        gone = await store.retire(RetireOperation(operation_id="one"))
        assert gone == Retirement(scopes=1, records=2, waits=0, blobs=1, more=False)
        assert ask(path, "SELECT digest FROM surroundings") == [("1:shared",)]
        assert ask(path, "SELECT content FROM blobs") == [(LARGE,)]
        found = await store.lookup(operation("two"), "r1")
        assert found is not None
        assert found.outcome == LARGE

        gone = await store.retire(RetireOperation(operation_id="two"))
        assert gone == Retirement(scopes=1, records=1, waits=0, blobs=1, more=False)
        assert (counts(path)["blobs"], counts(path)["surroundings"]) == (0, 0)


async def test_retiring_what_is_not_there_reads_an_index_and_writes_nothing(path: Path) -> None:
    async with opened(path) as store:
        await store.record(operation("busy"), [record("r1")], None)
        seen: list[str] = []
        await store._writer.submit(lambda writer: writer.set_trace_callback(seen.append))
        targets: list[RetireTarget] = [
            RetireSession(session_id="s"),
            RetireProcess(process_id="p"),
            RetireOperation(operation_id="o"),
        ]
        for target in targets:
            assert await store.retire(target) == Retirement()
        assert await store.retire(RetireFinished(before_ms=2**62)) == Retirement()
    words = [statement.split()[0] for statement in seen if statement.split()[0] != "BEGIN"]
    # Two queries for what is finished: the finished scopes, and the resolutions nobody came for.
    assert words.count("SELECT") == 5
    assert not {"DELETE", "UPDATE", "INSERT"} & set(words)


@pytest.mark.timeout(60)
async def test_a_scope_of_twenty_thousand_records_goes_in_one_transaction(path: Path) -> None:
    async with opened(path) as store:
        many = [around(f"r{number:05}", f"1:{number % 7}", "{}") for number in range(20_000)]
        await store.record(scope_of("t1"), many, None)
        row = wait_row(store)
        await store.open_wait(row)
        before = store.transactions

        gone = await store.retire(RetireSession(session_id="s"), limit=1)

        assert gone == Retirement(scopes=1, records=20_000, waits=1, blobs=0, more=False)
        assert store.transactions == before + 1
    assert set(counts(path).values()) == {0}


async def test_a_promise_of_an_unfinished_scope_is_kept_while_somebody_may_come_for_it(
    path: Path,
) -> None:
    clock = VirtualClock()
    async with opened(path, clock) as store:
        accepted = await store.accept_turn(request("t1"))
        assert isinstance(accepted, Accepted)
        at_work = RuntimeOperationScope(operation_id="at work")
        half = RuntimeOperationScope(operation_id="half resolved")
        kept = [
            wait_row(store),  # its turn is open
            wait_row(store, scope=ProcessScope(process_id="p")),  # goes with its process
            wait_row(store, scope=at_work),  # its scope has a journal
            wait_row(store, "first", half),  # its scope waits for another
        ]
        nobodys = [
            wait_row(store, scope=TurnScope(session_id="s", turn_id="never")),
            wait_row(store, scope=RuntimeOperationScope(operation_id="never")),
        ]
        for row in (*kept, *nobodys):
            await store.resolve_wait(row, YES)
        await store.record(journal_key(at_work), [record("r1")], None)
        await store.open_wait(wait_row(store, "second", half))
        clock.advance(1)

        gone = await store.retire(RetireFinished(before_ms=clock.now_ms()))

        assert gone == Retirement(scopes=2, records=0, waits=2, blobs=0, more=False)
        states = await store.inspect_waits(kept)
        assert list(states.values()) == [WaitResolved(resolution=YES)] * 4
        answer = await store.commit_turn(turn_commit("t1", accepted.lease.fence))
        assert type(answer).__name__ == "CommitReceipt"
        clock.advance(1)
        after = await store.retire(RetireFinished(before_ms=clock.now_ms()))
        assert after == Retirement(scopes=1, records=0, waits=1, blobs=0, more=False)


async def test_what_a_session_forgets_with_its_keys_leaves_its_journal(path: Path) -> None:
    async with opened(path) as store:
        row = wait_row(store)
        assert await store.open_wait(row) == WaitPending()
        await store.record(row.scope_key, [record("r1")], None)
        assert list(await store.revoke_session_waits("s")) == [row.key_id]
        assert counts(path)["await_events"] == 0
        assert len(list(await store.load_journal(row.scope_key))) == 1
        gone = await store.retire(RetireSession(session_id="s"))
        assert gone == Retirement(scopes=1, records=1, waits=0, blobs=0, more=False)
        assert await store.is_revoked("s")
