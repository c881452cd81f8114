"""A database of an older version is brought up to date with all that is in it, or left as it was."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from version_four import write_version_four
from version_one import write_version_one
from version_three import write_version_three
from version_two import write_version_two

import lash
from lash.core.errors import StoreError
from lash.core.leases import Fence
from lash.core.scopes import ProcessScope, RuntimeOperationScope, journal_key
from lash.effects.journal import (
    JournalEntry,
    JournalRecord,
    Recorded,
    RetireFinished,
    RetireOperation,
    RetireProcess,
    RetireSession,
)
from lash.effects.transitions import SPILL_BYTES
from lash.effects.waits.transitions import WaitPending
from lash.llm.usage import Usage
from lash.processes.registration import Registered, RegisterRequest
from lash.sessions.accepting import AlreadyAccepted
from lash.sessions.committing import CommitReceipt
from lash.sessions.forking import Forked, ForkRequest
from lash.sessions.model import AcceptedTurn, AgentRef, Parked, SessionHead, TurnRecord, TurnTiming
from lash.stores.sqlite import SqliteStore, schema
from lash.testing.clock import VirtualClock
from lash.testing.conformance.processes.samples import ENV, refund
from lash.testing.conformance.samples import (
    SUPPORT,
    record,
    request,
    said,
    scope_of,
    turn_commit,
    wait_row,
)
from lash.turn.outcome import AssistantMessage, Finished

FENCE = Fence(fencing_token=2, nonce="nonce-of-ana-1")
OPERATION = journal_key(RuntimeOperationScope(operation_id="o"))
PROCESS = journal_key(ProcessScope(process_id="p"))

#: The turns of the old database, as they must be read.
COMMITTED = TurnRecord(
    session_id="s",
    turn_id="t1",
    revision=1,
    outcome=Finished(result=AssistantMessage(text="hi")),
    usage=Usage(input_tokens=10, output_tokens=3),
    text="hi",
    tool_calls=(),
    llm_calls=(),
    issues=(),
    timing=TurnTiming(
        accepted_at_ms=1_750_000_000_000, committed_at_ms=1_750_000_001_000, drive_ms=7
    ),
    turn_index=1,
)
PARKED = AcceptedTurn(
    session_id="s",
    turn_id="t2",
    sequence=2,
    agent=SUPPORT,
    input=said("hello"),
    accepted_at_ms=1_750_000_002_000,
    source_key="k2",
    parked=Parked(
        code="effect_replay_mismatch", message="it differs", parked_at_ms=1_750_000_002_500
    ),
)
BEHIND = AcceptedTurn(
    session_id="s",
    turn_id="t3",
    sequence=3,
    agent=SUPPORT,
    input=said("and then?"),
    accepted_at_ms=1_750_000_003_000,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "agents.db"
    write_version_one(path)
    return path


@asynccontextmanager
async def upgraded(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, VirtualClock(1_750_000_010_000))
    try:
        yield store
    finally:
        await store.aclose()


def layout(path: Path) -> dict[str, object]:
    """Each table's columns and each index's terms, whatever order they were added in."""
    with closing(sqlite3.connect(path)) as other:
        names = other.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        found: dict[str, object] = {}
        for kind, name, sql in names.fetchall():
            columns = other.execute(f"SELECT * FROM pragma_table_info('{name}')").fetchall()  # noqa: S608  our own names
            described = sorted(column[1:] for column in columns)
            found[name] = described if kind == "table" else " ".join(sql.split())
        return found


# --- what was there -------------------------------------------------------------------------------


async def test_sessions_and_their_turns_are_read_as_they_were_left(path: Path) -> None:
    async with upgraded(path) as store:
        (summary,) = await store.list_sessions()
        assert (summary.session_id, summary.turns, summary.open_turns) == ("s", 1, 2)
        assert list(await store.list_turns("s")) == [COMMITTED]
        assert list(await store.list_open_turns("s")) == [PARKED, BEHIND]
        path_of = [
            (node.node_id, node.message.parts[0].content)
            for node in await store.load_path("s")
            if node.message is not None
        ]
        assert path_of == [("t1.m0", "hello"), ("t1.m1", "hi")]
        held = (await store.lease_of("s")).held
        assert held is not None
        assert held.fence == FENCE
        known = await store.accept_turn(request("t9", source_key="k1"))
        assert isinstance(known, AlreadyAccepted)
        assert known.known.record == COMMITTED


async def test_the_journal_is_read_as_it_was_left(path: Path) -> None:
    async with upgraded(path) as store:
        (llm_call,) = await store.load_journal(scope_of("t1"))
        assert llm_call == JournalRecord(
            replay_key="r1",
            kind="llm_call",
            identity="1:identity",
            surroundings="1:around",
            envelope="{}",
            outcome='{"type":"llm_call"}',
            recorded_at_ms=1_750_000_000_500,
            duration_ms=1.5,
            fencing_token=1,
        )
        assert await store.load_surroundings("1:around") is None
        assert [kept.replay_key for kept in await store.load_journal(scope_of("t2"))] == [
            "r1",
            "r2",
        ]
        assert await store.lookup(OPERATION, "r1") is not None


async def test_the_journal_is_listed_with_sizes_and_due_times(path: Path) -> None:
    async with upgraded(path) as store:
        sleep, attempt = await store.list_journal(scope_of("t2"))
        assert sleep == JournalEntry(
            replay_key="r1",
            kind="sleep",
            recorded_at_ms=1_750_000_002_100,
            duration_ms=0.0,
            bytes=42,
            fencing_token=2,
            due_at_ms=1_750_000_009_000,
        )
        assert (attempt.bytes, attempt.due_at_ms) == (35, None)  # "é" is two bytes
        for odd in (PROCESS, "a key of nobody"):
            (entry,) = await store.list_journal(odd)
            assert (entry.kind, entry.due_at_ms) == ("sleep", None)


# --- what is new ----------------------------------------------------------------------------------


async def test_a_turn_of_the_old_database_can_begin_again_and_land(path: Path) -> None:
    async with upgraded(path) as store:
        again = await store.restart_turn("s", "t2", FENCE)
        assert again is not None
        assert (again.turn_id, again.sequence, again.parked) == ("t2:restart:1", 2, None)
        answer = await store.commit_turn(turn_commit("t2:restart:1", FENCE, revision=1))
        assert isinstance(answer, CommitReceipt)
        assert answer.record.turn_index == 2
        known = await store.find_turn("s", "t2")
        assert known is not None
        assert known.record == answer.record


async def test_waits_and_large_outcomes_work_in_it(path: Path) -> None:
    async with upgraded(path) as store:
        row = wait_row(store)
        assert await store.open_wait(row) == WaitPending()
        large = record("r2", '"' + "x" * SPILL_BYTES + '"')
        assert await store.record(OPERATION, [large], None) == Recorded()
        secret = store.signing_secret
    async with upgraded(path) as store:
        assert store.signing_secret == secret
        assert await store.lookup(OPERATION, "r2") == large
        assert [kept.key_id for kept in await store.list_waits(row.scope_key)] == [row.key_id]


async def test_only_turns_that_were_committed_count_as_finished(path: Path) -> None:
    async with upgraded(path) as store:
        too_early = await store.retire(RetireFinished(before_ms=1_750_000_001_000))
        assert too_early.scopes == 0
        gone = await store.retire(RetireFinished(before_ms=1_750_000_001_001))
        assert (gone.scopes, gone.records, gone.more) == (1, 1, False)
        assert list(await store.load_journal(scope_of("t1"))) == []
        assert len(list(await store.load_journal(scope_of("t2")))) == 2
        assert len(list(await store.load_journal(OPERATION))) == 1


async def test_each_scope_knows_whose_it_is(path: Path) -> None:
    async with upgraded(path) as store:
        of_session = await store.retire(RetireSession(session_id="s"))
        assert (of_session.scopes, of_session.records) == (2, 3)
        assert (await store.retire(RetireProcess(process_id="p"))).records == 1
        assert (await store.retire(RetireOperation(operation_id="o"))).records == 1
        assert len(list(await store.load_journal("a key of nobody"))) == 1


async def test_an_upgraded_database_is_laid_out_like_a_new_one(path: Path, tmp_path: Path) -> None:
    async with upgraded(path):
        pass
    new = tmp_path / "new.db"
    await SqliteStore(new, VirtualClock()).aclose()

    assert layout(path) == layout(new)


# --- from the second version ------------------------------------------------------------------------


@pytest.fixture
def second(tmp_path: Path) -> Path:
    path = tmp_path / "second.db"
    write_version_two(path)
    return path


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as other:
        return other.execute(query).fetchall()


async def test_each_node_knows_the_row_before_it_and_each_head_its_own(second: Path) -> None:
    async with upgraded(second):
        pass

    assert rows(second, "SELECT id, parent, kind FROM nodes ORDER BY id") == [
        (3, None, "message"),
        (4, 3, "message"),
        (7, 4, "message"),
        (8, 7, "message"),
    ]
    assert rows(second, "SELECT session_id, leaf, origin FROM sessions ORDER BY session_id") == [
        ("fresh", None, None),
        ("s", 8, None),
    ]


async def test_what_the_turns_used_is_booked_once(second: Path) -> None:
    async with upgraded(second) as store:
        (entry,) = await store.list_usage("s")
        assert (entry.source, entry.model) == ("turn", "")
        assert entry.usage == Usage(input_tokens=17, output_tokens=8)
        assert list(await store.list_usage("fresh")) == []


async def test_the_second_version_keeps_its_sessions_and_its_secret(second: Path) -> None:
    async with upgraded(second) as store:
        head = await store.load_head("s")
        assert head == SessionHead(
            session_id="s",
            agent=AgentRef(name="support", version="2"),
            created_at_ms=1_750_000_000_000,
            revision=2,
            leaf_id="t2.m1",
            leaf_digest="session-node:v1:sha256:"
            "89349582a1fa90623f824a92780a34ad73bd125323b9a4cded934cebe1681215",
            turn_index=2,
            usage=Usage(input_tokens=17, output_tokens=8),
        )
        path = await store.load_path("s")
        assert [node.node_id for node in path] == ["t1.m0", "t1.m1", "t2.m0", "t2.m1"]
        assert [record.text for record in await store.list_turns("s")] == ["hi", "ho"]
        (again,) = await store.list_open_turns("s")
        assert (again.turn_id, again.source_key, again.restarts) == ("t3:restart:1", "k3", 1)
        (entry,) = await store.list_journal(scope_of("t3:restart:1"))
        assert entry.due_at_ms == 1_750_000_009_000
        assert await store.load_surroundings("1:around") == '{"instructions":"Be brief."}'
        assert await store.is_revoked("gone")
        assert store.signing_secret == bytes(range(32))


@pytest.mark.parametrize("version", ["path", "second", "third"])
async def test_nothing_in_it_is_found_wanting(version: str, request: pytest.FixtureRequest) -> None:
    async with upgraded(request.getfixturevalue(version)) as store:
        found = await store.check()
        assert [(finding.code, finding.session_id) for finding in found] == []


async def test_a_turn_of_the_second_version_goes_on_and_can_be_forked_from(second: Path) -> None:
    async with upgraded(second) as store:
        commit = turn_commit("t3:restart:1", FENCE, revision=2)
        assert isinstance(await store.commit_turn(commit), CommitReceipt)
        forked = await store.fork_session(ForkRequest(source_id="s", new_id="f", node_id="t1.m1"))
        assert isinstance(forked, Forked)
        assert [node.node_id for node in await store.load_path("f")] == ["t1.m0", "t1.m1"]


async def test_an_upgraded_second_version_is_laid_out_like_a_new_one(
    second: Path, tmp_path: Path
) -> None:
    async with upgraded(second):
        pass
    new = tmp_path / "new.db"
    await SqliteStore(new, VirtualClock()).aclose()

    assert layout(second) == layout(new)


async def test_an_upgrade_of_the_second_version_that_breaks_leaves_it_as_it_was(
    second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*schema.MIGRATIONS[3], "INSERT INTO no_such_table VALUES (1)")
    with monkeypatch.context() as patched:
        patched.setitem(schema.MIGRATIONS, 3, broken)
        with pytest.raises(StoreError, match="no_such_table"):
            SqliteStore(second, VirtualClock())

    assert rows(second, "PRAGMA user_version") == [(2,)]
    assert rows(second, "SELECT name FROM sqlite_master WHERE name = 'queue'") == []


# --- from the third version -------------------------------------------------------------------------


@pytest.fixture
def third(tmp_path: Path) -> Path:
    path = tmp_path / "third.db"
    write_version_three(path)
    return path


async def test_the_third_version_keeps_its_sessions_its_queue_and_its_journals(third: Path) -> None:
    async with upgraded(third) as store:
        (summary,) = await store.list_sessions()
        assert (summary.session_id, summary.turns, summary.queued) == ("s", 1, 1)
        assert [node.node_id for node in await store.load_path("s")] == ["t1.m0", "t1.m1"]
        assert [item.item_id for item in await store.list_queue("s")] == ["i1"]
        assert [kept.replay_key for kept in await store.load_journal(PROCESS)] == ["r1"]
        assert store.signing_secret == bytes(range(32))


async def test_processes_begin_in_a_database_of_the_third_version(third: Path) -> None:
    async with upgraded(third) as store:
        assert await store.change_cursor() == 0
        answer = await store.register_process(RegisterRequest(registration=refund("p"), env=ENV))
        assert isinstance(answer, Registered)
        assert answer.record.change == 1
    async with upgraded(third) as store:
        assert await store.load_process("p") == answer.record
        assert await store.changed_ids(0) == (["p"], 1)
        assert list(await store.check()) == []


async def test_an_upgraded_third_version_is_laid_out_like_a_new_one(
    third: Path, tmp_path: Path
) -> None:
    async with upgraded(third):
        pass
    new = tmp_path / "new.db"
    await SqliteStore(new, VirtualClock()).aclose()

    assert layout(third) == layout(new)


async def test_an_upgrade_of_the_third_version_that_breaks_leaves_it_as_it_was(
    third: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*schema.MIGRATIONS[4], "INSERT INTO no_such_table VALUES (1)")
    with monkeypatch.context() as patched:
        patched.setitem(schema.MIGRATIONS, 4, broken)
        with pytest.raises(StoreError, match="no_such_table"):
            SqliteStore(third, VirtualClock())

    assert rows(third, "PRAGMA user_version") == [(3,)]
    assert rows(third, "SELECT name FROM sqlite_master WHERE name LIKE 'process%'") == []


# --- from the fourth version ------------------------------------------------------------------------


@pytest.fixture
def fourth(tmp_path: Path) -> Path:
    path = tmp_path / "fourth.db"
    write_version_four(path)
    return path


async def test_a_process_of_the_fourth_version_goes_on(fourth: Path) -> None:
    charged: list[int] = []

    @lash.process
    async def refund(ctx: lash.ProcessContext, order_id: str) -> str:
        await ctx.step(charged.append, -1, name="charge")
        return f"{order_id} {await ctx.signal('approved')}"

    async with lash.Runtime(fourth, processes=[refund]) as runtime:
        handle = runtime.processes.handle("refund-o-7", refund)
        await handle.signal("approved", "by ana")
        assert await handle.result(timeout=10) == "o-7 by ana"
        assert [turn.turn_id for turn in await runtime.session("s").turns()] == ["t1"]
        assert await runtime.check() == []
    assert charged == []  # it was, before


async def test_an_upgraded_fourth_version_is_laid_out_like_a_new_one(
    fourth: Path, tmp_path: Path
) -> None:
    async with upgraded(fourth):
        pass
    new = tmp_path / "new.db"
    await SqliteStore(new, VirtualClock()).aclose()

    assert layout(fourth) == layout(new)


async def test_an_upgrade_of_the_fourth_version_that_breaks_leaves_it_as_it_was(
    fourth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*schema.MIGRATIONS[5], "INSERT INTO no_such_table VALUES (1)")
    with monkeypatch.context() as patched:
        patched.setitem(schema.MIGRATIONS, 5, broken)
        with pytest.raises(StoreError, match="no_such_table"):
            SqliteStore(fourth, VirtualClock())

    assert rows(fourth, "PRAGMA user_version") == [(4,)]
    assert rows(fourth, "SELECT name FROM sqlite_master WHERE name LIKE 'trigger%'") == []


# --- while it happens -----------------------------------------------------------------------------


async def test_an_upgrade_that_breaks_leaves_the_old_database(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*schema.MIGRATIONS[2], "INSERT INTO no_such_table VALUES (1)")
    with monkeypatch.context() as patched:
        patched.setitem(schema.MIGRATIONS, 2, broken)
        with pytest.raises(StoreError, match="no_such_table"):
            SqliteStore(path, VirtualClock())

    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (1,)
        tables = {name for (name,) in other.execute("SELECT name FROM sqlite_master")}
        assert "await_events" not in tables
        assert other.execute("SELECT count(*) FROM journal").fetchone() == (6,)
    async with upgraded(path) as store:
        assert list(await store.list_turns("s")) == [COMMITTED]


async def test_a_damaged_row_does_not_keep_the_rest_from_being_upgraded(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE turns SET record = '{'")
        other.execute("UPDATE scopes SET scope_key = x'ff00' WHERE id = 5")
        other.commit()

    async with upgraded(path) as store:
        assert list(await store.list_open_turns("s")) == [PARKED, BEHIND]
        assert len(list(await store.load_journal(scope_of("t1")))) == 1
        with pytest.raises(StoreError) as failure:
            await store.list_turns("s")
        assert failure.value.code == "store_corrupt"


_OPENER = """
import asyncio, sys
from pathlib import Path
from lash.core.clock import SystemClock
from lash.stores.sqlite import SqliteStore
async def main():
    clock = SystemClock(asyncio.sleep)
    print("ready", flush=True)
    sys.stdin.readline()
    for path in sys.argv[1:]:
        store = SqliteStore(Path(path), clock)
        print(store.signing_secret.hex(), len(await store.list_open_turns("s")), flush=True)
        await store.aclose()
asyncio.run(main())
"""


def test_processes_that_open_it_at_once_agree_on_what_it_became(tmp_path: Path) -> None:
    old = [tmp_path / f"old-{number}.db" for number in range(3)]
    new = [tmp_path / f"new-{number}.db" for number in range(3)]
    for path in old:
        write_version_one(path)
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", _OPENER, *map(str, [*old, *new])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    for process in crowd:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    said_by = [process.communicate(timeout=60) for process in crowd]

    assert [complaints for _, complaints in said_by] == [""] * len(crowd)
    (answers,) = {answer for answer, _ in said_by}  # each says the same of every database
    told = [line.split() for line in answers.splitlines()]
    assert [turns for _, turns in told] == ["2"] * 3 + ["0"] * 3
    secrets = {secret for secret, _ in told}
    assert len(secrets) == 6, "every database has a secret of its own"
    assert {len(secret) for secret in secrets} == {64}
