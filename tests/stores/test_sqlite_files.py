"""The SQLite store meets files that are not ours, not whole or not writable, and disks that are full.

Each case is a typed error whose message says what to do, and what is not ours is not changed.
"""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lash.core.errors import StoreError
from lash.runtime.stores import Store
from lash.sessions.accepting import Accepted
from lash.sessions.committing import CommitReceipt
from lash.sessions.model import Parked
from lash.stores.sqlite import SqliteStore, connection
from lash.testing.clock import VirtualClock
from lash.testing.conformance.samples import claim, record, request, turn_commit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agents.db"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait 50 ms for another process's lock, not ten seconds."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 50)


def refused(path: Path, *, create: bool = True) -> StoreError:
    """The error of opening a database that must not open."""
    with pytest.raises(StoreError) as failure:
        SqliteStore(path, VirtualClock(), create=create)
    assert str(path) in failure.value.message
    return failure.value


async def filled(path: Path) -> None:
    """A database with a committed turn, an open and parked one, and a journal."""
    store = SqliteStore(path, VirtualClock())
    accepted = await store.accept_turn(request("t1"))
    assert isinstance(accepted, Accepted)
    fence = accepted.lease.fence
    await store.record("scope", [record("r1")], None)
    await store.commit_turn(turn_commit("t1", fence))
    again = await store.accept_turn(request("t2"))
    assert isinstance(again, Accepted)
    reason = Parked(code="agent_missing", message="none here")
    assert await store.park_turn("s", "t2", reason, again.lease.fence)
    await store.aclose()


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as other:
        for statement in statements:
            other.execute(statement)
        other.commit()


# --- what a database of ours looks like -----------------------------------------------------------------


async def test_the_file_says_whose_it_is_and_in_which_version(path: Path) -> None:
    await filled(path)

    with closing(sqlite3.connect(path)) as other:
        (application,) = other.execute("PRAGMA application_id").fetchone()
        (version,) = other.execute("PRAGMA user_version").fetchone()
        (mode,) = other.execute("PRAGMA journal_mode").fetchone()
        names = other.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
        found = sorted(name for (name,) in names)
    assert application.to_bytes(4, "big") == b"lash"
    assert version == 5
    assert mode == "wal"
    assert found == [
        "attachment_blobs",
        "attachment_bytes",
        "attachment_fences",
        "attachment_refs",
        "attachment_refs_by_content",
        "attachment_refs_by_owner",
        "attachment_refs_uncommitted",
        "await_events",
        "await_events_by_scope",
        "await_events_by_session",
        "await_events_resolved",
        "blobs",
        "deleted_sessions",
        "deleted_shared",
        "inputs",
        "inputs_by_source",
        "inputs_open",
        "journal",
        "journal_by_blob",
        "journal_by_key",
        "journal_by_surroundings",
        "leases",
        "leases_held",
        "meta",
        "nodes",
        "nodes_by_id",
        "nodes_by_parent",
        "process_clock",
        "process_envs",
        "process_events",
        "process_events_by_key",
        "process_events_by_type",
        "process_observers",
        "process_observers_by_process",
        "process_tombstones",
        "process_tombstones_by_change",
        "process_wakes",
        "process_wakes_due",
        "process_wakes_of_session",
        "process_wakes_pending",
        "processes",
        "processes_by_change",
        "processes_by_definition",
        "processes_by_parent",
        "processes_ended",
        "processes_live",
        "processes_resting",
        "processes_runnable",
        "processes_waking",
        "queue",
        "queue_by_source",
        "queue_by_turn",
        "queue_settled",
        "queue_waiting",
        "revoked_sessions",
        "scopes",
        "scopes_by_process",
        "scopes_by_session",
        "scopes_finished",
        "sessions",
        "sessions_by_leaf",
        "sessions_by_origin",
        "surroundings",
        "trigger_deliveries",
        "trigger_deliveries_by_subscription",
        "trigger_deliveries_failed",
        "trigger_deliveries_reserved",
        "trigger_deliveries_said",
        "trigger_occurrences",
        "trigger_occurrences_by_source",
        "trigger_occurrences_by_time",
        "trigger_receipts",
        "trigger_receipts_by_time",
        "trigger_receipts_of_session",
        "trigger_subscriptions",
        "trigger_subscriptions_by_session",
        "trigger_subscriptions_matching",
        "trigger_subscriptions_of_session",
        "turn_cancels",
        "turn_cancels_settled",
        "turns",
        "turns_by_revision",
        "usage",
    ]


async def test_opening_what_is_up_to_date_changes_nothing(path: Path) -> None:
    await filled(path)
    before = path.read_bytes()

    store = SqliteStore(path, VirtualClock())
    await store.list_sessions()
    await store.aclose()

    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()

    asyncio.run(SqliteStore(path, VirtualClock()).aclose())

    assert path.read_bytes().startswith(b"SQLite format 3\0")


_OPENER = """
import asyncio, sys
from pathlib import Path
from lash.core.clock import SystemClock
from lash.stores.sqlite import SqliteStore
async def main():
    clock = SystemClock(asyncio.sleep)
    sys.stdin.readline()
    for round in range(5):
        store = SqliteStore(Path(sys.argv[1]) / f"{round}.db", clock)
        store.register_owner("owner", sys.argv[2])
        await store.aclose()
asyncio.run(main())
"""


def test_processes_that_create_one_database_at_once_all_get_it(tmp_path: Path) -> None:
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", _OPENER, str(tmp_path), f"incarnation-{number}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()

    complaints = [process.communicate(timeout=60)[1] for process in crowd]

    assert complaints == [""] * len(crowd)


# --- not ours -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"hello\n", b"not a database\n" * 1000, b"\0" * 5000])
def test_a_file_that_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    error = refused(path)

    assert (error.code, error.terminal) == ("store_foreign", True)
    assert "choose another path" in error.message
    assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["agents.db"]


@pytest.mark.parametrize(
    "preparation",
    [
        ["CREATE TABLE recipes (name TEXT)"],
        ["PRAGMA application_id = 7"],
        ["PRAGMA user_version = 1"],
        ["PRAGMA journal_mode = WAL", "CREATE TABLE recipes (name TEXT)"],
    ],
)
def test_another_programs_database_is_left_alone(path: Path, preparation: list[str]) -> None:
    execute(path, *preparation)
    before = path.read_bytes()

    error = refused(path)

    assert error.code == "store_foreign"
    assert "another program" in error.message
    assert "Choose another path" in error.message
    assert path.read_bytes() == before


_LEAVES_A_LOG = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE recipes (name TEXT)")
connection.commit()
os._exit(0)
"""


def test_the_log_that_another_program_left_behind_is_not_moved(path: Path) -> None:
    subprocess.run([sys.executable, "-c", _LEAVES_A_LOG, str(path)], check=True)
    log = path.with_name("agents.db-wal")
    before = (path.read_bytes(), log.read_bytes())

    assert refused(path).code == "store_foreign"

    assert (path.read_bytes(), log.read_bytes()) == before


_LEAVES_A_JOURNAL = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("CREATE TABLE recipes (name TEXT)")
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.executemany("INSERT INTO recipes VALUES (?)", [("x" * 1000,)] * 1000)
os._exit(0)
"""


def test_what_another_program_left_half_written_stays_its_own(path: Path) -> None:
    subprocess.run([sys.executable, "-c", _LEAVES_A_JOURNAL, str(path)], check=True)
    assert path.with_name("agents.db-journal").exists()

    assert refused(path).code == "store_foreign"

    # SQLite undoes the half write for whoever reads; the file is not made ours by that.
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert other.execute("SELECT count(*) FROM recipes").fetchone() == (0,)


async def test_a_newer_schema_is_left_alone(path: Path) -> None:
    await filled(path)
    execute(path, "PRAGMA user_version = 6")
    before = path.read_bytes()

    error = refused(path)

    assert (error.code, error.terminal) == ("store_schema_newer", True)
    assert "Upgrade lash-runtime" in error.message
    assert error.details["found"] == 6
    assert path.read_bytes() == before


# --- not there, not writable, not free --------------------------------------------------------------------


def test_a_directory_is_not_a_database(tmp_path: Path) -> None:
    error = refused(tmp_path)

    assert error.code == "store_unreachable"
    assert "it is a directory; name a file in it" in error.message


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path / "missing" / "agents.db")

    assert error.code == "store_unreachable"
    assert f"the directory {tmp_path / 'missing'} does not exist; create it first" in error.message


def test_a_missing_file_is_not_created_unless_asked_for(path: Path) -> None:
    error = refused(path, create=False)

    assert error.code == "store_unreachable"
    assert "There is no database" in error.message
    assert not path.exists()


_LOCKS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement)
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(path: Path, *statements: str) -> Iterator[None]:
    """Another process that holds a lock on the database."""
    with subprocess.Popen(
        [sys.executable, "-c", _LOCKS, str(path), *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield
        process.kill()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "statements",
    [
        ["BEGIN IMMEDIATE"],
        ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"],
    ],
)
async def test_a_database_that_another_program_locks_is_busy(
    path: Path, statements: list[str]
) -> None:
    await filled(path)

    with locked(path, *statements):
        error = refused(path)

    assert (error.code, error.retryable) == ("store_busy", True)
    assert "close it, or try again" in error.message
    await SqliteStore(path, VirtualClock()).aclose()


@pytest.mark.usefixtures("impatient")
async def test_an_open_store_reports_a_lock_and_goes_on_after_it(path: Path) -> None:
    await filled(path)
    store = SqliteStore(path, VirtualClock())

    with locked(path, "BEGIN IMMEDIATE"):
        with pytest.raises(StoreError) as failure:
            await store.accept_turn(request("t1", session="other"))
        assert len(list(await store.list_sessions())) == 1

    assert (failure.value.code, failure.value.retryable) == ("store_busy", True)
    assert isinstance(await store.accept_turn(request("t1", session="other")), Accepted)
    await store.aclose()


Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts file systems, where the machine lets tests do that; unmounts them afterwards."""
    tool = shutil.which("mount")
    mounted: set[Path] = set()

    def mount(place: Path, *options: str) -> None:
        if tool is None:
            pytest.skip("there is no mount command here")
        command = [tool, *options, str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"this machine does not let tests mount: {done.stderr.strip()}")
        mounted.add(place)

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)  # busy where a test failed


def small_disk(mount: Mount, place: Path, size: str) -> Path:
    place.mkdir()
    mount(place, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")
    return place


async def test_a_read_only_file_system_is_named(tmp_path: Path, mount: Mount) -> None:
    place = small_disk(mount, tmp_path / "mounted", "8m")
    await filled(place / "agents.db")
    before = (place / "agents.db").read_bytes()
    mount(place, "-o", "remount,ro")

    existing = refused(place / "agents.db")
    new = refused(place / "new.db")

    assert (existing.code, new.code) == ("store_read_only", "store_read_only")
    assert "check permissions and mount" in existing.message
    assert (place / "agents.db").read_bytes() == before


async def test_a_read_only_file_in_a_writable_directory_is_named(path: Path, mount: Mount) -> None:
    await filled(path)
    mount(path, "--bind", str(path))
    mount(path, "-o", "remount,bind,ro")

    error = refused(path)

    assert error.code == "store_read_only"
    assert "check permissions and mount" in error.message


@pytest.mark.skipif(os.geteuid() == 0, reason="file modes do not bind root")
async def test_a_file_without_write_permission_is_named(path: Path) -> None:
    await filled(path)
    path.chmod(0o444)

    error = refused(path)

    assert error.code == "store_read_only"
    assert "check permissions and mount" in error.message


# --- full disks ---------------------------------------------------------------------------------------------


async def fill(store: Store) -> tuple[list[str], StoreError]:
    """Accept ever more until the disk is full; the sessions that were accepted, and the error."""
    accepted: list[str] = []
    for number in range(1000):
        name = f"s{number:03}"
        try:
            answer = await store.accept_turn(request("t1", "x" * 20_000, session=name))
        except StoreError as error:
            return accepted, error
        assert isinstance(answer, Accepted)
        accepted.append(name)
    pytest.fail("the disk never became full")


async def held(store: Store) -> list[str]:
    return sorted(summary.session_id for summary in await store.list_sessions())


def limit_pages(connection: sqlite3.Connection, pages: int) -> None:
    connection.execute(f"PRAGMA max_page_count = {pages}")


async def test_a_full_database_is_reported_and_loses_nothing(path: Path) -> None:
    store = SqliteStore(path, VirtualClock())
    await store._writer.submit(lambda writer: limit_pages(writer, 130))

    accepted, error = await fill(store)

    assert (error.code, error.retryable) == ("store_full", True)
    assert "free some and try again" in error.message
    assert len(accepted) > 1
    assert await held(store) == accepted
    await store._writer.submit(lambda writer: limit_pages(writer, 10_000))
    assert isinstance(await store.accept_turn(request("t1", session="s999")), Accepted)
    await store.aclose()
    again = SqliteStore(path, VirtualClock())
    assert await held(again) == [*accepted, "s999"]
    await again.aclose()


async def test_one_that_does_not_fit_leaves_nobody_in_doubt(path: Path) -> None:
    store = SqliteStore(path, VirtualClock())
    store._writer._slow = 1_000_000  # all of it goes to the connection that is limited here
    await store._writer.submit(lambda writer: limit_pages(writer, 130))
    sizes = {"large": 1_000_000, "small-1": 1, "small-2": 1}

    answers = await asyncio.gather(
        *(
            store.accept_turn(request("t1", "x" * size, session=name))
            for name, size in sizes.items()
        ),
        return_exceptions=True,
    )

    # Those who shared its transaction went down with it, and were told.
    told = dict(zip(sizes, answers, strict=True))
    assert await held(store) == [name for name in told if isinstance(told[name], Accepted)]
    lost = [answer for answer in answers if isinstance(answer, StoreError)]
    assert {error.code for error in lost} == {"store_full"}
    assert isinstance(told["large"], StoreError)
    for name in ("small-1", "small-2"):
        await store.accept_turn(request("t1", "x", session=name))
    assert await held(store) == ["small-1", "small-2"]
    await store.aclose()


async def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path, mount: Mount) -> None:
    place = small_disk(mount, tmp_path / "mounted", "1m")
    ballast = place / "ballast"
    ballast.write_bytes(b"\0" * 300_000)
    store = SqliteStore(place / "agents.db", VirtualClock())

    accepted, error = await fill(store)

    assert error.code == "store_full"
    assert accepted
    assert await held(store) == accepted
    ballast.unlink()
    assert isinstance(await store.accept_turn(request("t1", session="s999")), Accepted)
    await store.aclose()
    again = SqliteStore(place / "agents.db", VirtualClock())
    assert await held(again) == [*accepted, "s999"]
    await again.aclose()


def test_a_disk_without_room_for_a_database_says_so(tmp_path: Path, mount: Mount) -> None:
    place = small_disk(mount, tmp_path / "mounted", "64k")

    assert refused(place / "agents.db").code == "store_full"


# --- damage -------------------------------------------------------------------------------------------------

Read = Callable[[Store], Awaitable[object]]

_READS: dict[str, Read] = {
    "load_head": lambda store: store.load_head("s"),
    "load_path": lambda store: store.load_path("s"),
    "list_sessions": lambda store: store.list_sessions(),
    "list_turns": lambda store: store.list_turns("s"),
    "list_open_turns": lambda store: store.list_open_turns("s"),
    "open_sessions": lambda store: store.open_sessions(),
    "find open": lambda store: store.find_turn("s", "t2"),
    "find committed": lambda store: store.find_turn("s", "t1"),
    "accept": lambda store: store.accept_turn(request("t2")),
    "claim": lambda store: store.claim_session("s", claim(request("t").claim.owner)),
}
_DAMAGE = [
    ("UPDATE sessions SET usage = '{'", ["load_head", "list_sessions", "accept", "claim"]),
    ("UPDATE sessions SET usage = '[]'", ["load_head", "list_sessions"]),
    ("UPDATE sessions SET usage = CAST(x'ff' AS TEXT)", ["load_head", "list_sessions", "claim"]),
    ("UPDATE nodes SET message = '{\"id\":7}'", ["load_path"]),
    ("DELETE FROM nodes WHERE node_id = 't1.m0'", ["load_path"]),
    ("DELETE FROM nodes", ["load_path"]),
    ("UPDATE turns SET record = '{}'", ["list_turns", "find committed"]),
    ("DELETE FROM turns", ["find committed"]),
    ("UPDATE inputs SET superseded_by = 't2' WHERE turn_id = 't1'", ["find committed"]),
    ("UPDATE inputs SET superseded_by = 't1'", ["find open", "find committed", "accept"]),
    ("UPDATE inputs SET superseded_by = 't9'", ["find open", "find committed", "accept"]),
    (
        "UPDATE inputs SET input = 'null'",
        ["list_open_turns", "open_sessions", "find open", "accept", "claim"],
    ),
    ("UPDATE inputs SET parked = 'x' WHERE committed = 0", ["list_sessions", "open_sessions"]),
]


@pytest.mark.parametrize(
    ("damage", "read"), [(damage, read) for damage, reads in _DAMAGE for read in reads]
)
async def test_a_damaged_row_is_reported(path: Path, damage: str, read: str) -> None:
    await filled(path)
    execute(path, damage)
    store = SqliteStore(path, VirtualClock())

    with pytest.raises(StoreError) as failure:
        await _READS[read](store)

    assert (failure.value.code, failure.value.terminal) == ("store_corrupt", True)
    await store.aclose()


async def test_what_was_not_damaged_can_still_be_read_and_written(path: Path) -> None:
    await filled(path)
    execute(path, "UPDATE nodes SET message = '{'")
    store = SqliteStore(path, VirtualClock())

    assert (await store.load_head("s")) is not None
    accepted = await store.accept_turn(request("t1", session="other"))
    assert isinstance(accepted, Accepted)
    commit = turn_commit("t1", accepted.lease.fence, session="other")
    assert isinstance(await store.commit_turn(commit), CommitReceipt)
    await store.aclose()


def overwrite(path: Path, *pages: int) -> None:
    """Damage pages of a database, counted from 1."""
    with path.open("r+b") as file:
        for page in pages:
            file.seek(4096 * (page - 1))
            file.write(b"\x5a" * 4096)


async def test_damaged_pages_are_reported(path: Path) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as other:
        roots = other.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'sessions'")
        overwrite(path, *(page for (page,) in roots.fetchall()))
    store = SqliteStore(path, VirtualClock())

    with pytest.raises(StoreError) as failure:
        await store.list_sessions()

    assert failure.value.code == "store_corrupt"
    assert "restore it from a backup" in failure.value.message
    await store.aclose()


async def test_a_database_whose_layout_is_damaged_is_not_opened(path: Path) -> None:
    await filled(path)
    overwrite(path, *range(2, path.stat().st_size // 4096 + 1))

    error = refused(path)

    assert error.code == "store_corrupt"
    assert "restore it from a backup" in error.message


@pytest.mark.timeout(20)
async def test_a_history_that_runs_in_a_circle_is_reported_and_not_followed(path: Path) -> None:
    await filled(path)
    execute(path, "UPDATE nodes SET parent_id = (SELECT leaf_id FROM sessions)")
    store = SqliteStore(path, VirtualClock())

    with pytest.raises(StoreError) as failure:
        await store.load_path("s")

    assert failure.value.code == "store_corrupt"
    await store.aclose()


def test_an_empty_file_is_left_empty_by_who_only_wants_to_read(path: Path) -> None:
    path.touch()

    with pytest.raises(StoreError) as failure:
        SqliteStore(path, VirtualClock(), create=False)

    assert failure.value.code == "store_foreign"
    assert path.read_bytes() == b""
