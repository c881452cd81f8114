"""Promises in SQLite: what they cost, who shares the secret, and what other processes and damage do."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from lash.core.errors import StoreError
from lash.effects.waits.model import (
    AlreadyResolved,
    ResolveAccepted,
    ResolvedOk,
    ResolvedTimeout,
)
from lash.effects.waits.transitions import WaitPending, WaitResolved, WaitRow
from lash.stores.sqlite import SqliteStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.samples import record, request, wait_row

YES = ResolvedOk(payload={"by": "ana"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, VirtualClock())
    try:
        yield store
    finally:
        await store.aclose()


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
        other.commit()


# --- cost -------------------------------------------------------------------------------------------


async def test_a_wait_is_written_when_it_begins_and_when_it_ends(path: Path) -> None:
    async with opened(path) as store:
        row = wait_row(store)
        assert await store.open_wait(row) == WaitPending()
        assert store.transactions == 1
        assert await store.open_wait(row) == WaitPending()
        await store.inspect_waits([row])
        await store.list_waits(row.scope_key)
        assert not await store.is_revoked("s")
        assert store.transactions == 1, "waiting on, again or elsewhere, reads"
        assert await store.resolve_wait(row, YES) == ResolveAccepted()
        assert await store.open_wait(row) == WaitResolved(resolution=YES)
        assert store.transactions == 2


async def test_a_resolver_and_a_waiter_in_one_commit_agree(path: Path) -> None:
    async with opened(path) as store:
        rows = [wait_row(store, f"w{number}") for number in range(40)]
        answers = await asyncio.gather(
            *(store.open_wait(row) for row in rows),
            *(store.resolve_wait(row, YES) for row in rows),
            *(store.resolve_wait(row, ResolvedTimeout()) for row in rows),
        )
        ends = await store.inspect_waits(rows)
    for number, row in enumerate(rows):
        opened_as, yes, timeout = answers[number::40]
        end = ends[row.key_id]
        assert opened_as in (WaitPending(), end)
        assert (yes, timeout, end) in (
            (ResolveAccepted(), AlreadyResolved(terminal=YES), WaitResolved(resolution=YES)),
            (
                AlreadyResolved(terminal=ResolvedTimeout()),
                ResolveAccepted(),
                WaitResolved(resolution=ResolvedTimeout()),
            ),
        )


# --- the secret -------------------------------------------------------------------------------------


async def test_each_database_has_a_secret_of_its_own_for_ever(tmp_path: Path) -> None:
    secrets: dict[str, list[bytes]] = {"one": [], "two": []}
    for _ in range(2):
        for name, seen in secrets.items():
            async with opened(tmp_path / f"{name}.db") as store:
                seen.append(store.signing_secret)
    (one, one_again), (two, two_again) = secrets.values()
    assert (one, two) == (one_again, two_again)
    assert one != two


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM meta",
        "UPDATE meta SET signing_secret = x'00'",
        "UPDATE meta SET signing_secret = 'abcdefghijklmnopqrstuvwxyzabcdef'",
    ],
)
async def test_a_database_that_lost_its_secret_is_not_opened(path: Path, damage: str) -> None:
    async with opened(path):
        pass
    execute(path, damage)

    with pytest.raises(StoreError) as failure:
        SqliteStore(path, VirtualClock())

    assert failure.value.code == "store_corrupt"
    assert "secret that signs wait keys" in failure.value.message
    assert "abcdef" not in repr(failure.value)


# --- other processes --------------------------------------------------------------------------------

_COMMITS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.stdin:
    connection.execute(line.strip())
    print("done", flush=True)
"""


@asynccontextmanager
async def another_process(path: Path) -> AsyncIterator[Callable[[str], None]]:
    """Runs statements on the database from outside."""
    with subprocess.Popen(
        [sys.executable, "-c", _COMMITS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def run(statement: str) -> None:
            stdin.write(statement + "\n")
            stdin.flush()
            assert stdout.readline() == "done\n"

        yield run
        stdin.close()


async def test_the_change_token_moves_with_the_commits_of_another_process(path: Path) -> None:
    async with opened(path) as store, another_process(path) as run:
        tokens = [await store.change_token()]
        assert await store.change_token() == tokens[0]
        run("BEGIN IMMEDIATE")
        run("INSERT INTO revoked_sessions VALUES ('other', 1)")
        assert await store.change_token() == tokens[0], "not committed yet"
        run("COMMIT")
        tokens.append(await store.change_token())
        run("DELETE FROM revoked_sessions")
        tokens.append(await store.change_token())
        run("SELECT 1")
        assert await store.change_token() == tokens[-1]
        assert len(set(tokens)) == 3


async def test_the_change_token_moves_with_every_commit_of_its_own_store(path: Path) -> None:
    async with opened(path) as store, opened(path) as neighbour:
        row = wait_row(store)
        writes: list[Callable[[], Awaitable[object]]] = [
            lambda: store.accept_turn(request("t1")),
            lambda: store.record("op", [record("r1")], None),
            lambda: store.open_wait(row),
            lambda: store.resolve_wait(row, YES),
            lambda: store.revoke_session_waits("s"),
        ]
        seen = [(await store.change_token(), await neighbour.change_token())]
        for write in writes:
            await write()
            seen.append((await store.change_token(), await neighbour.change_token()))
        assert len({own for own, _ in seen}) == len(seen)
        assert len({others for _, others in seen}) == len(seen)
        # Refusals write nothing, and reading is no write.
        await store.resolve_wait(row, YES)
        await store.list_sessions()
        assert (await store.change_token(), await neighbour.change_token()) == seen[-1]


async def test_the_change_token_does_not_wait_for_long_reads(path: Path) -> None:
    async with opened(path) as store:
        inside, go_on = threading.Barrier(3), threading.Event()

        def long_read(_: sqlite3.Connection) -> bool:
            inside.wait(30)
            return go_on.wait(30)

        reads = [asyncio.create_task(store._readers.read(long_read)) for _ in range(2)]
        await asyncio.to_thread(inside.wait, 30)  # every reader is busy now
        try:
            async with asyncio.timeout(10):
                assert await store.change_token() is not None
        finally:
            go_on.set()
        assert await asyncio.gather(*reads) == [True] * 2


async def test_a_closed_store_has_no_change_token(path: Path) -> None:
    store = SqliteStore(path, VirtualClock())
    await store.change_token()
    await store.aclose()

    with pytest.raises(StoreError) as failure:
        await store.change_token()

    assert failure.value.code == "store_closed"
    assert [entry.name for entry in path.parent.iterdir()] == ["agents.db"]


# --- damage -----------------------------------------------------------------------------------------

_SECRET = "the code is 4711"
_READS: dict[str, Callable[[SqliteStore, WaitRow], Awaitable[object]]] = {
    "open": lambda store, row: store.open_wait(row),
    "resolve": lambda store, row: store.resolve_wait(row, YES),
    "inspect": lambda store, row: store.inspect_waits([row]),
    "list": lambda store, row: store.list_waits(row.scope_key),
    "cancel": lambda store, _: store.cancel_session_waits("s"),
}
_DAMAGE = [
    f'\'{{"status":"ok","payload":"{_SECRET}\'',
    f'\'{{"status":"{_SECRET}"}}\'',
    f'\'{{"status":"err","payload":"{_SECRET}"}}\'',
    f"'{_SECRET}'",
    f'CAST(\'{{"status":"ok","payload":"{_SECRET}\' || x\'ff\' || \'"}}\' AS TEXT)',
    f"x'ff' || CAST('{_SECRET}' AS BLOB)",
    f'CAST(\'{{"status":"timeout","{_SECRET}":"\' || x\'ff\' || \'"}}\' AS TEXT)',
    "''",
    "7",
    "'null'",
    "x''",
    "replace(hex(zeroblob(60000)), '00', '[')",
    "'{\"status\":\"ok\",\"payload\":' || replace(hex(zeroblob(60000)), '00', '[')",
]


@pytest.mark.parametrize("damage", _DAMAGE)
@pytest.mark.parametrize("read", _READS)
async def test_a_damaged_resolution_is_reported_and_not_shown(
    path: Path, damage: str, read: str
) -> None:
    async with opened(path) as store:
        row = wait_row(store)
        await store.resolve_wait(row, ResolvedOk(payload=_SECRET))
    execute(path, f"UPDATE await_events SET resolution = {damage}")  # noqa: S608  a test's own words

    async with opened(path) as store:
        with pytest.raises(StoreError) as failure:
            await _READS[read](store, row)
        assert (failure.value.code, failure.value.terminal) == ("store_corrupt", True)
        shown = "".join(traceback.format_exception(failure.value))
        assert _SECRET not in shown + repr(failure.value.details)
        assert "4711" not in shown.replace(str(path), "")
        # Its session can be deleted all the same.
        assert list(await store.revoke_session_waits("s")) == [row.key_id]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE await_events SET wait = x'00'",
        "UPDATE await_events SET deadline_at_ms = 'soon'",
        "UPDATE await_events SET turn_control = 'perhaps'",
        "UPDATE await_events SET created_at_ms = 1.5",
        "UPDATE await_events SET scope = 99",
        "UPDATE await_events SET session_id = CAST(x'ff' AS TEXT)",
    ],
)
@pytest.mark.parametrize("read", ["open", "resolve", "inspect"])
async def test_a_damaged_promise_is_reported(path: Path, damage: str, read: str) -> None:
    async with opened(path) as store:
        row = wait_row(store)
        await store.open_wait(row)
    execute(path, damage)

    async with opened(path) as store:
        with pytest.raises(StoreError) as failure:
            await _READS[read](store, row)
        assert (failure.value.code, failure.value.terminal) == ("store_corrupt", True)
