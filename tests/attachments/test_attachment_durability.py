"""Attachments where processes die, disks fill up and others come in between. Outcomes are written by hand."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

import lash
from lash.core.errors import LashError

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("attachment_worker.py")


class Said(NamedTuple):
    """What a worker told, and whether it was killed."""

    facts: Mapping[str, object]
    killed: bool


def work(*arguments: object) -> Said:
    """Run the worker to its end, or to its death."""
    run = subprocess.run(
        [sys.executable, str(WORKER), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    killed = run.returncode == -signal.SIGKILL
    assert killed or run.returncode == 0, run.stderr
    return Said(json.loads(run.stdout.splitlines()[-1]) if run.stdout else {}, killed)


def beside(db: Path) -> list[Path]:
    """The files beside a database, whatever they are."""
    return [path for path in db.with_name(db.name + ".attachments").rglob("*") if path.is_file()]


async def refs_of(runtime: lash.Runtime) -> dict[str, bool]:
    return {
        entry.ref.id: entry.committed_at_ms is not None
        for entry in await runtime.session("s").attachments.list()
    }


async def readable(runtime: lash.Runtime, attachment_id: str) -> bool:
    try:
        await runtime.session("s").attachments.get(attachment_id)
    except LashError as error:
        assert error.code == "attachment_not_found"  # noqa: PT017  nothing else may be wrong
        return False
    return True


# --- an application puts something ------------------------------------------------------------------

#: Where it dies: is there a reference, and can the bytes be read?
PUT = [
    ("small", "attachment.intent.before", False, False),
    ("small", "attachment.intent.inside", False, False),
    ("small", "attachment.intent.after", True, False),
    ("small", "attachment.bytes.after", True, True),
    ("large", "attachment.intent.after", True, False),
    ("large", "attachment.bytes.staged", True, False),
    ("large", "attachment.bytes.after", True, True),
]


@pytest.mark.parametrize(("name", "seam", "referred", "there"), PUT)
async def test_a_put_that_is_killed_leaves_all_nothing_or_a_reference_that_a_sweep_takes(
    tmp_path: Path, name: str, seam: str, referred: bool, there: bool
) -> None:
    db = tmp_path / "a.db"
    done = work("put", tmp_path / "other.db", "never", name)
    attachment_id = str(done.facts["id"])
    assert work("put", db, seam, name).killed
    async with lash.Runtime(db) as runtime:
        assert await refs_of(runtime) == ({attachment_id: False} if referred else {})
        assert await readable(runtime, attachment_id) is there
        report = await runtime.attachments.reclaim(0, allow_empty=True)
        assert (report.forgotten, report.reclaimed) == (int(referred), int(there))
        assert await refs_of(runtime) == {}
        assert list(await runtime.engine.store.blobs.list()) == []
    assert beside(db) == []  # also what was staged
    assert work("put", db, "never", name).facts == {"id": attachment_id}
    async with lash.Runtime(db) as runtime:
        assert await refs_of(runtime) == {attachment_id: True}
        assert await readable(runtime, attachment_id)


# --- a tool puts something --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize(
    ("seam", "referred", "there"),
    [
        ("attachment.intent.before", False, False),
        ("attachment.intent.after", True, False),
        ("attachment.bytes.after", True, True),
        ("record.before", False, False),  # that of the model's call
        ("tool.after", True, True),
        ("commit.before", True, True),
        ("commit.inside", True, True),
        ("commit.after", True, True),
    ],
)
async def test_what_the_tool_of_a_killed_turn_put_is_there_when_the_turn_is_taken_up(
    tmp_path: Path, name: str, seam: str, referred: bool, there: bool
) -> None:
    db = tmp_path / "a.db"
    assert work("turn", db, seam, name).killed
    committed = seam == "commit.after"
    async with lash.Runtime(db) as bystander:  # has no agents, and sweeps without any mercy
        report = await bystander.attachments.reclaim(0, allow_empty=True)
        assert (report.forgotten, report.reclaimed) == (0, 0)
        held = await refs_of(bystander)
        assert list(held.values()) == ([committed] if referred else [])
        for attachment_id in held:
            assert await readable(bystander, attachment_id) is there
    assert work("turn", db, "never", name).facts == {"text": "done"}
    async with lash.Runtime(db) as bystander:
        assert (await bystander.attachments.reclaim(0)).reclaimed == 0
        ((attachment_id, stays),) = (await refs_of(bystander)).items()
        assert stays
        assert await readable(bystander, attachment_id)
        if held:
            assert list(held) == [attachment_id]


# --- a sweep ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize(
    ("seam", "fence", "there"),
    [
        ("attachment.condemn.inside", None, True),
        ("attachment.condemn.after", "condemned", True),
        ("attachment.arm.inside", "condemned", True),
        ("attachment.arm.after", "deleting", True),
        ("attachment.delete.after", "deleting", False),
        ("attachment.release.inside", "deleting", False),
    ],
)
@pytest.mark.parametrize("first", ["writer", "sweeper"])
async def test_behind_a_sweep_that_is_killed_writers_and_sweepers_go_on_at_once(
    tmp_path: Path, name: str, seam: str, fence: str | None, there: bool, first: str
) -> None:
    db = tmp_path / "a.db"
    async with lash.Runtime(db) as runtime:
        attachments = runtime.session("s").attachments
        kept = (await attachments.put(b"kept")).id
        await attachments.keep(kept)
    gone = str(work("put", db, "never", name).facts["id"])
    async with lash.Runtime(db) as runtime:
        await runtime.session("s").attachments.delete(gone)
    assert work("sweep", db, seam).killed
    async with lash.Runtime(db) as runtime:
        store = runtime.engine.store
        assert [each.state for each in await store.attachments.condemnations()] == (
            [fence] if fence else []
        )
        assert (await store.blobs.head(gone) is not None) is there
        if first == "sweeper":
            report = await runtime.attachments.reclaim(0)
            assert (report.reclaimed, report.deferred) == (int(there), ())
            assert await store.blobs.head(gone) is None
    assert work("put", db, "never", name).facts == {"id": gone}
    async with lash.Runtime(db) as runtime:
        assert await readable(runtime, gone)
        assert (await runtime.attachments.reclaim(0)).reclaimed == 0
        assert await readable(runtime, gone)
        assert await readable(runtime, kept)
        assert list(await runtime.engine.store.attachments.condemnations()) == []


def test_two_processes_put_the_same_while_a_third_sweeps_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    db = str(tmp_path / "a.db")
    work("put", db, "never", "kept")

    def begin(*arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, str(WORKER), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    sweeper = begin("reclaim", db)
    writers = [begin("hammer", db, who, 150) for who in ("one", "two")]
    told = [writer.communicate(timeout=100) for writer in writers]
    swept, errors = sweeper.communicate("stop\n", timeout=60)
    assert [json.loads(said) for said, _ in told] == [{"done": 150}] * 2, told
    report = json.loads(swept)
    assert set(report) == {"reclaimed", "deferred"}, errors
    assert report["reclaimed"] > 10  # they really met


# --- no room ----------------------------------------------------------------------------------------


async def test_a_file_that_is_larger_than_files_may_be_is_refused_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    db, source = tmp_path / "a.db", tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(8 * 1024 * 1024)
    said = work("limited", db, source)
    assert said.facts == {"code": "store_full", "same": True}
    assert len(beside(db)) == 1  # the one that fitted
    async with lash.Runtime(db) as runtime:
        assert len(await runtime.engine.store.blobs.list()) == 1


@pytest.mark.slow
def test_a_file_of_200_megabytes_is_put_in_bounded_memory(tmp_path: Path) -> None:
    db, source = tmp_path / "a.db", tmp_path / "source"
    size = 200 * 1024 * 1024
    with source.open("wb") as file:
        file.truncate(size)
    said = work("large", db, source)
    assert said.facts["byte_len"] == size
    # What `head -c 209715200 /dev/zero | sha256sum` says.
    assert said.facts["id"] == "72abf2ca8f36943ebe2e49ca3a51d409ca5f0bfcffab6c9d25643c17c32889da"
    grown = said.facts["grown_kib"]
    assert isinstance(grown, int)
    assert grown < 32 * 1024
