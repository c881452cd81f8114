"""What is particular about bytes in files: paths, staging, times, and disks that are full."""

import asyncio
import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from lash.core.errors import LashError
from lash.core.seams import Seam
from lash.runtime.attachment_content import BytesContent
from lash.stores.files import FileBlobs
from lash.testing.clock import VirtualClock

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
START_MS = 1_750_000_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store" / "attachments"


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def put(blobs: FileBlobs) -> str:
    return await blobs.put(ABC, BytesContent(b"abc"))


async def test_a_content_lies_under_its_id_and_the_first_two_digits(root: Path) -> None:
    root.parent.mkdir()
    await put(FileBlobs(root, VirtualClock()))
    assert files(root) == [f"sha256/ba/{ABC}"]
    assert (root / "sha256" / "ba" / ABC).read_bytes() == b"abc"


async def test_file_store_traversal_id_cannot_escape_root(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(b"secret")
    blobs = FileBlobs(root, VirtualClock())
    root.parent.mkdir()
    await put(blobs)
    for bad in ("../../secret", str(outside), "ba/../../../../secret", f"../sha256/ba/{ABC}", "\0"):
        for call in (blobs.get(bad), blobs.delete(bad), blobs.head(bad)):
            with pytest.raises(LashError) as raised:
                await call
            assert raised.value.code == "attachment_id_invalid"
        with pytest.raises(LashError) as raised:
            await blobs.put(bad, BytesContent(b"evil"))
        assert raised.value.code == "attachment_id_invalid"
    assert outside.read_bytes() == b"secret"
    assert files(tmp_path) == ["secret", f"store/attachments/sha256/ba/{ABC}"]


async def test_file_store_writes_atomically_without_temp_litter(root: Path) -> None:
    root.parent.mkdir()
    seen: list[list[str]] = []

    def observe(seam: Seam) -> None:
        assert seam == "attachment.bytes.staged"
        seen.append(files(root))

    await put(FileBlobs(root, VirtualClock(), seams=observe))
    ((staged,),) = seen
    assert staged == f"sha256/ba/.staging.{os.getpid()}.1.tmp"
    assert files(root) == [f"sha256/ba/{ABC}"]


async def test_file_store_ignores_stale_staging_file_and_removes_it(root: Path) -> None:
    root.parent.mkdir()
    blobs = FileBlobs(root, VirtualClock())
    await put(blobs)
    stale = root / "sha256" / "ba" / f".staging.{os.getpid()}.2.tmp"
    stale.write_bytes(b"half")
    assert [found.attachment_id for found in await blobs.list()] == [ABC]
    assert files(root) == [f"sha256/ba/{ABC}"]


async def test_the_staging_file_of_a_living_writer_is_left_alone(root: Path) -> None:
    root.parent.mkdir()
    blobs = FileBlobs(root, VirtualClock())
    await put(blobs)
    living = root / "sha256" / "ba" / ".staging.9.9.tmp"
    with living.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert len(await blobs.list()) == 1
        assert living.exists()
    await blobs.list()
    assert not living.exists()


async def test_a_staging_name_that_is_taken_is_not_overwritten(root: Path) -> None:
    place = root / "sha256" / "ba"
    place.mkdir(parents=True)
    taken = place / f".staging.{os.getpid()}.1.tmp"
    taken.write_bytes(b"somebody else's")
    await put(FileBlobs(root, VirtualClock()))
    assert taken.read_bytes() == b"somebody else's"
    assert (place / ABC).read_bytes() == b"abc"


async def test_file_store_put_refreshes_mtime_on_dedup_hit(root: Path) -> None:
    root.parent.mkdir()
    clock = VirtualClock()
    blobs, file = FileBlobs(root, clock), root / "sha256" / "ba" / ABC
    await put(blobs)
    before = file.stat()
    assert before.st_mtime_ns == START_MS * 1_000_000
    clock.advance(7)
    await put(blobs)
    after = file.stat()
    assert after.st_mtime_ns == (START_MS + 7000) * 1_000_000
    assert after.st_ino == before.st_ino  # and was not written again


async def test_a_file_that_others_cut_short_is_written_again(root: Path) -> None:
    root.parent.mkdir()
    blobs, file = FileBlobs(root, VirtualClock()), root / "sha256" / "ba" / ABC
    await put(blobs)
    file.write_bytes(b"a")
    await put(blobs)
    assert file.read_bytes() == b"abc"


async def test_what_others_put_there_is_neither_listed_nor_touched(root: Path) -> None:
    root.parent.mkdir()
    blobs = FileBlobs(root, VirtualClock())
    await put(blobs)
    strange = [root / "README", root / "sha256" / "note", root / "sha256" / "ba" / "x.txt"]
    strange.append(root / "sha256" / "aa" / ABC)  # not where it belongs
    strange[-1].parent.mkdir()
    for path in strange:
        path.write_bytes(b"mine")
    assert [found.attachment_id for found in await blobs.list()] == [ABC]
    assert all(path.read_bytes() == b"mine" for path in strange)


async def test_a_root_that_is_not_there_is_empty(root: Path) -> None:
    blobs = FileBlobs(root, VirtualClock())
    assert list(await blobs.list()) == []
    assert await blobs.head(ABC) is None
    await blobs.delete(ABC)
    assert not root.exists()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "store_full"),
        (errno.EDQUOT, "store_full"),
        (errno.EFBIG, "store_full"),
        (errno.EROFS, "store_read_only"),
        (errno.EACCES, "store_read_only"),
        (errno.EIO, "attachment_store_failed"),
    ],
)
async def test_a_disk_that_fails_keeps_nothing_and_says_why(
    root: Path, number: int, code: str
) -> None:
    root.parent.mkdir()
    broken = True

    def observe(seam: Seam) -> None:
        if broken:
            raise OSError(number, os.strerror(number))

    blobs = FileBlobs(root, VirtualClock(), seams=observe)
    with pytest.raises(LashError) as raised:
        await put(blobs)
    assert raised.value.code == code
    assert files(root) == []
    broken = False
    await put(blobs)
    assert await blobs.get(ABC) == b"abc"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to this user")
async def test_a_directory_that_cannot_be_written_is_said_to_be_so(root: Path) -> None:
    root.mkdir(parents=True)
    root.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(LashError) as raised:
        await put(FileBlobs(root, VirtualClock()))
    assert raised.value.code == "store_read_only"
    root.chmod(stat.S_IRWXU)


async def test_a_cancelled_put_is_brought_to_its_end(root: Path) -> None:
    root.parent.mkdir()
    blobs = FileBlobs(root, VirtualClock())
    putting = asyncio.create_task(put(blobs))
    await asyncio.sleep(0)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert files(root) == [f"sha256/ba/{ABC}"]


async def test_many_writers_of_the_same_leave_one_whole_file(root: Path) -> None:
    root.parent.mkdir()
    stores = [FileBlobs(root, VirtualClock()) for _ in range(8)]
    await asyncio.gather(*(put(store) for store in stores * 4))
    assert files(root) == [f"sha256/ba/{ABC}"]
    assert await stores[0].get(ABC) == b"abc"
