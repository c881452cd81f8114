"""Whatever a damaged file holds in whichever column: what reads it says `store_corrupt`, nothing else.

Every column of every table is given values that do not belong there, one at a time. An operation may
not notice; one that does must say so by its code, and never with an error of Python's.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from lash.core.errors import StoreError
from lash.core.leases import Fence
from lash.core.scopes import RuntimeOperationScope, journal_key
from lash.effects.journal import (
    JournalRecord,
    RetireFinished,
    RetireOperation,
    RetireSession,
    WriteAuthority,
)
from lash.effects.transitions import SPILL_BYTES
from lash.effects.waits.model import ResolvedCancelled, ResolvedOk
from lash.sessions.model import Parked
from lash.sessions.planner import Accepted
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.samples import (
    ANA,
    claim,
    record,
    request,
    scope_of,
    turn_commit,
    wait_row,
)

#: Of the lease that is held in the database below.
FENCE = Fence(fencing_token=2, nonce="nonce-of-ana-1")

Operation = Callable[[SqliteStore], Awaitable[object]]

_OPERATION = journal_key(RuntimeOperationScope(operation_id="o"))
_PARKED = Parked(code="agent_missing", message="none here")
_LARGE = '"' + "x" * SPILL_BYTES + '"'

#: Reading, and writing what can be done again and again.
_OPERATIONS: list[Operation] = [
    lambda store: store.list_sessions(),
    lambda store: store.open_sessions(),
    lambda store: store.load_head("s"),
    lambda store: store.load_path("s"),
    lambda store: store.lease_of("s"),
    lambda store: store.list_turns("s"),
    lambda store: store.list_open_turns("s"),
    lambda store: store.find_turn("s", "t1"),
    lambda store: store.find_turn("s", "t2"),
    lambda store: store.find_turn("s", "t3"),
    lambda store: store.load_journal(scope_of("t1")),
    lambda store: store.load_journal(scope_of("t3")),
    lambda store: store.load_journal(_OPERATION),
    lambda store: store.list_journal(_OPERATION),
    lambda store: store.lookup(_OPERATION, "r1"),
    lambda store: store.load_surroundings("1:a"),
    lambda store: store.inspect_waits([wait_row(store, "w1"), wait_row(store, "w2")]),
    lambda store: store.list_waits(scope_of("t1")),
    lambda store: store.is_revoked("gone"),
    lambda store: store.accept_turn(request("t2")),
    lambda store: store.accept_turn(request("t9", source_key="k1")),
    lambda store: store.claim_session("s", claim(ANA)),
    lambda store: store.renew_leases([WriteAuthority(session_id="s", fence=FENCE)], 30_000),
    lambda store: store.note_waiting("s", "t3", _PARKED),
    lambda store: store.park_turn("s", "t3", None, FENCE),
    lambda store: store.commit_turn(turn_commit("t1", FENCE)),
    lambda store: store.restart_turn("s", "t3", FENCE),
    lambda store: store.record(_OPERATION, [record("r1")], None),
    lambda store: store.finish_scope(_OPERATION, [record("r1")]),
    lambda store: store.open_wait(wait_row(store, "w1")),
    lambda store: store.resolve_wait(wait_row(store, "w2"), ResolvedCancelled()),
    lambda store: store.cancel_session_waits("s"),
    lambda store: store.retire(RetireFinished(before_ms=2**62)),
    lambda store: store.retire(RetireOperation(operation_id="o")),
    lambda store: store.retire(RetireSession(session_id="s")),
    lambda store: store.revoke_session_waits("s"),
    lambda store: store.accept_turn(request("t9")),
    lambda store: store.release_lease("s", FENCE),
]

_JUNK = [
    "'{'",
    "7",
    "1.5",
    "-9223372036854775808",
    "9223372036854775807",
    "''",
    "'{\"items\":7}'",
    "'{\"x\":' || replace(hex(zeroblob(60000)), '00', '[')",
    "NULL",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with something in every table."""
    path = tmp_path_factory.mktemp("whole") / "agents.db"
    asyncio.run(fill(path))
    return path


async def fill(path: Path) -> None:
    store = SqliteStore(path, VirtualClock())
    first = await store.accept_turn(request("t1", source_key="k1"))
    assert isinstance(first, Accepted)
    spilled = JournalRecord(
        replay_key="r1",
        kind="llm_call",
        identity="1:identity",
        surroundings="1:a",
        envelope="{}",
        outcome=_LARGE,
        surroundings_content="{}",
    )
    await store.record(scope_of("t1"), [record("r1"), record("r2")], None)
    await store.commit_turn(turn_commit("t1", first.lease.fence))
    for turn_id in ("t2", "t3"):
        assert isinstance(await store.accept_turn(request(turn_id)), Accepted)
    assert await store.park_turn("s", "t3", _PARKED, FENCE)
    assert await store.restart_turn("s", "t2", FENCE) is not None
    await store.record(scope_of("t3"), [record("r1")], None)
    await store.record(_OPERATION, [spilled], None)
    await store.open_wait(wait_row(store, "w1", deadline_at_ms=2**60))
    await store.resolve_wait(wait_row(store, "w2"), ResolvedOk(payload=1))
    await store.revoke_session_waits("gone")
    await store.aclose()


def columns(path: Path) -> Sequence[tuple[str, str]]:
    """Every column, except the secret, without which no store opens."""
    with closing(sqlite3.connect(path)) as other:
        found = other.execute("""
            SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c
            WHERE t.type = 'table' AND t.name <> 'meta' ORDER BY t.name, c.cid
        """)
        return found.fetchall()


def damage(path: Path, table: str, column: str, junk: str) -> bool:
    """Put junk into every row, or where it must be unique into one; False where it cannot be put."""
    with closing(sqlite3.connect(path)) as other:
        for where in ("", f" WHERE rowid = (SELECT min(rowid) FROM {table})"):  # noqa: S608  our own names
            try:
                other.execute(f"UPDATE {table} SET {column} = {junk}{where}")  # noqa: S608
            except sqlite3.IntegrityError:
                continue
            other.commit()
            return True
    return False


async def noticed(whole: Path, directory: Path, junk: str) -> set[str]:
    """Put junk into each column in turn, try everything, and say which columns it was found in."""
    found: set[str] = set()
    for table, column in columns(whole):
        path = directory / f"{table}-{column}.db"
        shutil.copy(whole, path)
        if damage(path, table, column, junk):
            store = SqliteStore(path, VirtualClock())
            for number, operation in enumerate(_OPERATIONS):
                code = await complaint(store, operation)
                where = f"{table}.{column}, operation {number}"
                assert code in (None, "store_corrupt"), f"{where}: {code}"
                if code is not None:
                    found.add(f"{table}.{column}")
            await store.aclose()
        path.unlink()
    return found


async def complaint(store: SqliteStore, operation: Operation) -> str | None:
    try:
        await operation(store)
    except StoreError as error:
        return error.code
    except Exception as error:
        return repr(error)
    return None


@pytest.mark.parametrize("junk", _JUNK)
async def test_junk_in_any_column_is_reported_as_damage_or_not_at_all(
    whole: Path, tmp_path: Path, junk: str
) -> None:
    await noticed(whole, tmp_path, junk)


#: What no value is read from: numbers that only join rows, and what is only compared with.
_NEVER_READ = {
    "await_events.id",
    "journal.id",
    "journal.scope",
    "leases.session_id",
    "nodes.id",
    "revoked_sessions.revoked_at_ms",
    "revoked_sessions.session_id",
    "scopes.finished_at_ms",
    "scopes.id",
    "scopes.process_id",
    "scopes.session_id",
    "surroundings.digest",
    "turns.revision",
}


@pytest.mark.parametrize("junk", ["x'ff00'", "CAST(x'ff' AS TEXT)"])
async def test_bytes_and_broken_text_are_noticed_in_every_column_that_is_read(
    whole: Path, tmp_path: Path, junk: str
) -> None:
    every = {f"{table}.{column}" for table, column in columns(whole)}

    assert every - await noticed(whole, tmp_path, junk) == _NEVER_READ
