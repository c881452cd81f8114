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

import msgspec
import pytest

from lash.core.cancel import Cancellation
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
from lash.llm.usage import Usage
from lash.sessions.accepting import Accepted
from lash.sessions.deleting import Deleted
from lash.sessions.forking import ForkRequest
from lash.sessions.ingress import (
    ActiveTurn,
    CancelTarget,
    EnqueueRequest,
    Ingress,
    NextTurn,
    UserInput,
)
from lash.sessions.maintenance import VacuumRequest
from lash.sessions.model import Parked
from lash.sessions.queueing import CheckpointClaim, Taken
from lash.sessions.stopping import CancelRequest
from lash.sessions.usage import UsageEntry
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.samples import (
    ANA,
    SUPPORT,
    claim,
    record,
    request,
    said,
    scope_of,
    turn_commit,
    wait_row,
)

#: Of the lease that is held in the database below.
FENCE = Fence(fencing_token=2, nonce="nonce-of-ana-1")

Operation = Callable[[SqliteStore], Awaitable[object]]

_OPERATION = journal_key(RuntimeOperationScope(operation_id="o"))
_PARKED = Parked(code="agent_missing", message="none here")
_NEXT = NextTurn()
_AT_CHECKPOINT = CheckpointClaim(
    session_id="s", turn_id="t3", checkpoint="after_work", effect_key="c1", fence=FENCE
)


def _item(item_id: str, ingress: Ingress = _NEXT, source_key: str | None = None) -> EnqueueRequest:
    return EnqueueRequest(
        session_id="s",
        item_id=item_id,
        payload=UserInput(input=said("more")),
        ingress=ingress,
        agent=SUPPORT,
        source_key=source_key,
        merge_key="m",
    )


def _by_id(item_id: str) -> CancelTarget:
    return CancelTarget(kind="input_id", value=item_id)


def _stop(turn_id: str) -> CancelRequest:
    return CancelRequest(
        session_id="s", turn_id=turn_id, cancellation=Cancellation(request_id="stop")
    )


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
    lambda store: store.load_path("s", whole=True),
    lambda store: store.list_usage("s"),
    lambda store: store.list_queue("s"),
    lambda store: store.find_item("s", _by_id("i1")),
    lambda store: store.find_item("s", _by_id("i3")),
    lambda store: store.enqueue(_item("i1", source_key="q1")),
    lambda store: store.enqueue(_item("i9", ingress=ActiveTurn(turn_id="t3"))),
    lambda store: store.has_arrived(_AT_CHECKPOINT),
    lambda store: store.take(_AT_CHECKPOINT),
    lambda store: store.cancel_items_from("s", _by_id("i1")),
    lambda store: store.request_cancel(_stop("t3")),
    lambda store: store.cancelled_turns(["s"]),
    lambda store: store.fork_session(ForkRequest(source_id="s", new_id="f")),
    lambda store: store.fork_session(ForkRequest(source_id="s", new_id="g", node_id="t1.m0")),
    lambda store: store.check(),
    lambda store: store.retire(RetireFinished(before_ms=2**62)),
    lambda store: store.retire(RetireOperation(operation_id="o")),
    lambda store: store.retire(RetireSession(session_id="s")),
    lambda store: store.revoke_session_waits("s"),
    lambda store: store.accept_turn(request("t9")),
    lambda store: store.release_lease("s", FENCE),
    lambda store: store.delete_session("f", claim(ANA)),
    lambda store: store.delete_session("s", claim(ANA)),
    lambda store: store.vacuum(VacuumRequest(before_ms=2**62)),
    lambda store: store.check(),
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
    used = UsageEntry(source="turn", model="m", usage=Usage(input_tokens=10, output_tokens=3))
    commit = turn_commit("t1", first.lease.fence)
    await store.commit_turn(msgspec.structs.replace(commit, ledger=(used,)))
    await store.fork_session(ForkRequest(source_id="s", new_id="old"))
    later = await store.accept_turn(request("t1", session="old"))
    assert isinstance(later, Accepted)
    await store.commit_turn(turn_commit("t1", later.lease.fence, session="old"))
    await store.fork_session(ForkRequest(source_id="old", new_id="newer"))
    assert isinstance(await store.delete_session("old", claim(ANA)), Deleted)
    for turn_id in ("t2", "t3"):
        assert isinstance(await store.accept_turn(request(turn_id)), Accepted)
    assert await store.park_turn("s", "t3", _PARKED, FENCE)
    assert await store.restart_turn("s", "t2", FENCE) is not None
    await store.record(scope_of("t3"), [record("r1")], None)
    await store.enqueue(_item("i1", source_key="q1"))
    await store.enqueue(_item("i2", ActiveTurn(turn_id="t3", min_boundary="before_completion")))
    await store.enqueue(_item("i3", ActiveTurn(turn_id="t3")))
    taken = await store.take(_AT_CHECKPOINT)
    assert isinstance(taken, Taken)
    assert [item.item_id for item in taken.items] == ["i3"]
    await store.request_cancel(_stop("t3"))
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
    "deleted_sessions.deleted_at_ms",
    "journal.id",
    "journal.scope",
    "leases.session_id",
    "nodes.id",
    "queue.kind",
    "queue.scope",
    "queue.settled_at_ms",
    "revoked_sessions.revoked_at_ms",
    "revoked_sessions.session_id",
    "scopes.finished_at_ms",
    "scopes.id",
    "scopes.process_id",
    "scopes.session_id",
    "sessions.origin",
    "turn_cancels.requested_at_ms",
    "turn_cancels.session_id",
    "turn_cancels.settled_at_ms",
    "turn_cancels.turn_id",
    "turns.revision",
    "usage.session_id",
}


@pytest.mark.parametrize("junk", ["x'ff00'", "CAST(x'ff' AS TEXT)"])
async def test_bytes_and_broken_text_are_noticed_in_every_column_that_is_read(
    whole: Path, tmp_path: Path, junk: str
) -> None:
    every = {f"{table}.{column}" for table, column in columns(whole)}

    assert every - await noticed(whole, tmp_path, junk) == _NEVER_READ
