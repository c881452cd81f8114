"""Each kind of damage is found by the check, by its code, and a database that is whole is left in peace."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from lash.core.scopes import RuntimeOperationScope, journal_key
from lash.sessions.accepting import Accepted
from lash.sessions.committing import CommitReceipt
from lash.sessions.deleting import Deleted
from lash.sessions.forking import ForkRequest
from lash.sessions.ingress import ActiveTurn
from lash.sessions.model import FrameOpen
from lash.sessions.queueing import CheckpointClaim, Taken
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.samples import (
    ANA,
    claim,
    entry,
    exchange,
    record,
    request,
    scope_of,
    tool_call,
    tool_result,
    turn_commit,
    wait_row,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which everything fits: turns, a frame, tool calls, a queue, a fork, a tombstone."""
    path = tmp_path_factory.mktemp("whole") / "agents.db"
    asyncio.run(fill(path))
    return path


async def fill(path: Path) -> None:
    store = SqliteStore(path, VirtualClock())
    first = await store.accept_turn(request("t1"))
    assert isinstance(first, Accepted)
    fence = first.lease.fence
    await store.record(scope_of("t1"), [record("r1")], None)
    user, last = exchange("t1")
    messages = (user, tool_call("t1.a", "c1"), tool_result("t1.b", "c1"), last)
    opened = msgspec.structs.replace(
        turn_commit("t1", fence, messages=messages),
        frame=FrameOpen(frame_id="f1", reason="open", previous_frame_id="s:frame:initial"),
    )
    assert isinstance(await store.commit_turn(opened), CommitReceipt)
    second = await store.accept_turn(request("t2"))
    assert isinstance(second, Accepted)
    fence = second.lease.fence
    await store.enqueue(entry("i1", ingress=ActiveTurn()))
    checkpoint = CheckpointClaim(
        session_id="s", turn_id="t2", checkpoint="after_work", effect_key="c1", fence=fence
    )
    assert isinstance(await store.take(checkpoint), Taken)
    await store.enqueue(entry("i2", ingress=ActiveTurn()))
    await store.open_wait(wait_row(store, scope=RuntimeOperationScope(operation_id="o")))
    await store.fork_session(ForkRequest(source_id="s", new_id="f"))
    await store.fork_session(ForkRequest(source_id="f", new_id="g", node_id="t1.m0"))
    assert isinstance(await store.delete_session("f", claim(ANA)), Deleted)
    await store.aclose()


async def findings(path: Path, *statements: str) -> list[tuple[str, str, str | None]]:
    """What is found after some statements: code, severity, session."""
    with closing(sqlite3.connect(path)) as other:
        for statement in statements:
            assert other.execute(statement).rowcount != 0, statement
        other.commit()
    store = SqliteStore(path, VirtualClock())
    try:
        return [(item.code, item.severity, item.session_id) for item in await store.check()]
    finally:
        await store.aclose()


async def test_a_whole_database_is_left_in_peace(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(whole, tmp_path))

    assert await findings(path) == []


_DAMAGE = {
    "no leaf": (
        "UPDATE sessions SET leaf = 999 WHERE session_id = 's'",
        [("head_leaf_missing", "error", "s")],
    ),
    "another leaf": (
        "UPDATE sessions SET leaf = 1 WHERE session_id = 's'",
        [("head_leaf_missing", "error", "s")],
    ),
    "a missing node": (
        "DELETE FROM nodes WHERE node_id = 't1.a'",
        [("path_broken", "error", "s")],
    ),
    "a changed message": (
        "UPDATE nodes SET message = replace(message, 'hi', 'ho') WHERE node_id = 't1.m1'",
        [("digest_mismatch", "error", "s")],
    ),
    "a changed digest of the head": (
        "UPDATE sessions SET leaf_digest = 'x' WHERE session_id = 's'",
        [("digest_mismatch", "error", "s")],
    ),
    "another frame": (
        "UPDATE sessions SET frame_id = '' WHERE session_id = 's'",
        [("frame_mismatch", "error", "s")],
    ),
    "a call that is answered no more": (
        "UPDATE nodes SET message = replace(message, '\"c1\"', '\"c2\"') WHERE node_id = 't1.b'",
        [("digest_mismatch", "error", "s"), ("transcript_invalid", "error", "s")],
    ),
    "a revision too many": (
        "UPDATE sessions SET revision = 2 WHERE session_id = 's'",
        [("revision_mismatch", "error", "s")],
    ),
    "a turn index too many": (
        "UPDATE sessions SET turn_index = 2 WHERE session_id = 's'",
        [("revision_mismatch", "error", "s")],
    ),
    "tokens that nobody used": (
        'UPDATE usage SET usage = \'{"input_tokens":11,"output_tokens":3}\'',
        [("usage_mismatch", "error", "s")],
    ),
    "tokens that cannot be summed up": (
        "UPDATE usage SET usage = '{\"input_tokens\":-1}'",
        [("usage_mismatch", "error", "s")],
    ),
    "an open turn with a receipt": (
        "UPDATE inputs SET committed = 0 WHERE turn_id = 't1'",
        [("turn_unsettled", "error", "s")],
    ),
    "a settled turn without one": (
        "UPDATE inputs SET committed = 1 WHERE turn_id = 't2'",
        [
            ("turn_unrecorded", "error", "s"),
            ("item_stuck", "error", "s"),
            ("item_unreachable", "error", "s"),
        ],
    ),
    "a receipt without input": (
        "DELETE FROM inputs WHERE turn_id = 't1'",
        [("journal_orphaned", "warning", "s"), ("turn_lost", "error", "s")],
    ),
    "a turn that became nothing": (
        "UPDATE inputs SET superseded_by = 'nothing' WHERE turn_id = 't1'",
        [("turn_lost", "error", "s")],
    ),
    "an item of another turn": (
        "UPDATE queue SET turn_id = 't1' WHERE item_id = 'i1'",
        [("item_stuck", "error", "s")],
    ),
    "an item for another turn": (
        "UPDATE queue SET turn_id = 't9' WHERE item_id = 'i2'",
        [("item_unreachable", "error", "s")],
    ),
    "records without a scope": (
        "UPDATE journal SET scope = 99",
        [("journal_orphaned", "error", None)],
    ),
    "promises without a scope": (
        "UPDATE await_events SET scope = 99",
        [("journal_orphaned", "error", None)],
    ),
    "a finished scope with a promise": (
        "UPDATE scopes SET finished_at_ms = 1 WHERE session_id IS NULL",
        [("wait_abandoned", "warning", None)],
    ),
    "a session without a head": (
        "DELETE FROM sessions WHERE session_id = 's'",
        [("session_missing", "error", "s"), ("session_missing", "error", "s")],
    ),
    "a session that was deleted": (
        "INSERT INTO deleted_sessions (session_id, deleted_at_ms) VALUES ('s', 1)",
        [("session_not_deleted", "error", "s")],
    ),
    "a row that is not what it was": (
        "UPDATE inputs SET turn_id = x'ff' WHERE turn_id = 't2'",
        [("row_unreadable", "error", "s")],
    ),
    "text that is none": (
        "UPDATE turns SET record = CAST(x'ff' AS TEXT)",
        [("row_unreadable", "error", "s")],
    ),
}


@pytest.mark.parametrize("damage", _DAMAGE)
async def test_damage_is_found(whole: Path, tmp_path: Path, damage: str) -> None:
    path = Path(shutil.copy(whole, tmp_path))
    statement, expected = _DAMAGE[damage]

    found = [item for item in await findings(path, statement) if item[2] != "g"]

    assert found == expected


async def test_a_damaged_history_is_found_in_all_that_share_it(whole: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(whole, tmp_path))

    found = await findings(
        path, "UPDATE nodes SET digest = 'session-node:v1:x' WHERE node_id = 't1.m0'"
    )

    assert found == [("digest_mismatch", "error", "g"), ("digest_mismatch", "error", "s")]


async def test_a_lease_that_a_dead_owner_left_behind_is_found(tmp_path: Path) -> None:
    path, clock = tmp_path / "agents.db", VirtualClock()
    dying, living = SqliteStore(path, clock), SqliteStore(path, clock)
    owner = dying.register_owner("w1", "w1-1")
    accepted = await dying.accept_turn(request("t1", owner=owner))
    assert isinstance(accepted, Accepted)
    await dying.commit_turn(turn_commit("t1", accepted.lease.fence))
    await dying.claim_session("s", claim(owner))
    clock.advance(60)
    assert list(await living.check()) == []
    await dying.aclose()

    (finding,) = await living.check()

    assert (finding.code, finding.severity, finding.session_id) == (
        "lease_abandoned",
        "warning",
        "s",
    )
    await living.enqueue(entry("i1"))
    assert list(await living.check()) == []  # whoever does the work takes the lease
    await living.aclose()


async def test_checking_does_not_keep_anybody_from_writing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "agents.db", VirtualClock())
    for number in range(20):
        await store.accept_turn(request("t1", session=f"s{number}"))

    checking = asyncio.ensure_future(store.check())
    answers = await asyncio.gather(
        *(store.accept_turn(request("t2", session=f"s{number}")) for number in range(20))
    )
    found = await checking

    assert list(found) == []
    assert all(isinstance(answer, Accepted) for answer in answers)
    await store.aclose()


async def test_the_operations_journal_is_nobodys_orphan(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "agents.db", VirtualClock())
    key = journal_key(RuntimeOperationScope(operation_id="o"))
    await store.finish_scope(key, [record("r1")])

    assert list(await store.check()) == []
    await store.aclose()
