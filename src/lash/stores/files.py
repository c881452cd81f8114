"""Bytes by content in files: `<root>/sha256/<first two digits>/<id>`.

1. Bytes are written to a staging file, synced, renamed to their place, and the directory is synced:
   whoever finds a file under its name finds all of it, also after a power cut.
2. A writer holds a lock on its staging file. Whoever can take that lock has proof that its writer died,
   and removes what it left.
3. The time of a file is that of the store's clock, and is set anew whenever the same bytes are put.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, TypeVar

from lash.attachments.model import check_attachment_id
from lash.attachments.store import BlobContent
from lash.attachments.transitions import BlobStat
from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.seams import SeamObserver, unobserved
from lash.core.tiers import DurabilityTier
from lash.effects.shielding import shielded
from lash.stores.blobs import checked_chunks, not_found, write_failed

T = TypeVar("T")

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # no advisory locks on this platform: what dead writers leave stays
    fcntl = None

_NANOS_PER_MS = 1_000_000
_STAGING = ".staging."


class FileBlobs:
    """Bytes by content in files below a directory; see `lash.attachments.store.BlobStore`.

    Args:
        root: The directory, made with the first content.
        clock: Where the times of files come from.
        seams: Told when bytes are staged and not yet in their place.
    """

    def __init__(self, root: Path, clock: Clock, *, seams: SeamObserver = unobserved) -> None:
        self._root = root
        self._clock = clock
        self._seams = seams
        self._staged = 0

    def __repr__(self) -> str:
        return f"FileBlobs({str(self._root)!r})"

    @property
    def persistence(self) -> DurabilityTier:
        """Survives the process."""
        return "durable"

    async def put(self, attachment_id: str, content: BlobContent) -> str:
        """Keep bytes under the hash they must have.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_content_changed`, and what reading them
                raises. StoreError: `store_full`, `store_read_only`, `attachment_store_failed`.
        """
        return await self._run(lambda: self._put(attachment_id, content))

    async def get(self, attachment_id: str) -> bytes:
        """The bytes.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`.
        """
        return await self._run(lambda: self._get(attachment_id))

    async def read_at(self, attachment_id: str, offset: int, size: int) -> bytes:
        """Some of the bytes.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`.
        """
        return await self._run(lambda: self._read_at(attachment_id, offset, size))

    async def delete(self, attachment_id: str) -> None:
        """Remove the bytes, if they are there."""
        await self._run(lambda: self._delete(attachment_id))

    async def list(self) -> Sequence[BlobStat]:
        """Everything that is kept, by id. What dead writers left behind is removed on the way."""
        return await self._run(self._list)

    async def head(self, attachment_id: str) -> BlobStat | None:
        """What is kept under an id, without its bytes."""
        return await self._run(lambda: self._head(attachment_id))

    # --- in a thread ----------------------------------------------------------------------------

    async def _run(self, call: Callable[[], T]) -> T:
        """Call something in a thread; it comes to its end also when the task is cancelled."""
        try:
            return await shielded(asyncio.to_thread(call))
        except OSError as error:
            raise write_failed(error, str(self._root)) from error

    def _place(self, attachment_id: str) -> Path:
        check_attachment_id(attachment_id)
        return self._root / "sha256" / attachment_id[:2] / attachment_id

    def _put(self, attachment_id: str, content: BlobContent) -> str:
        place = self._place(attachment_id)
        if not self._refreshed(place, content.byte_len):
            self._write(place, attachment_id, content)
        return attachment_id

    def _refreshed(self, place: Path, byte_len: int) -> bool:
        """Give a file that is there a new time; False when it is not, or was cut short by others."""
        try:
            if place.stat().st_size != byte_len:
                return False
            self._touch(place)
            # Whoever wrote it may not have come to this yet, and this caller is promised the same.
            _sync_directory(place.parent)
        except FileNotFoundError:
            return False
        return True

    def _touch(self, path: Path) -> None:
        at = self._clock.now_ms() * _NANOS_PER_MS
        os.utime(path, ns=(at, at))

    def _write(self, place: Path, attachment_id: str, content: BlobContent) -> None:
        _make_directory(place.parent)
        with self._staging(place.parent) as (staging, file):
            for chunk in checked_chunks(attachment_id, content):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            self._touch(staging)
            self._seams("attachment.bytes.staged")
            staging.rename(place)
        _sync_directory(place.parent)
        _sync_directory(place.parent.parent)  # another writer may have made the directory just now

    @contextmanager
    def _staging(self, directory: Path) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file that is locked as long as it is being written, and gone if it does not get far."""
        staging, file = self._create(directory)
        with file:
            try:
                yield staging, file
            except BaseException:
                staging.unlink(missing_ok=True)
                raise

    def _create(self, directory: Path) -> tuple[Path, BinaryIO]:
        while True:
            self._staged += 1
            staging = directory / f"{_STAGING}{os.getpid()}.{self._staged}.tmp"
            try:
                file = staging.open("xb")
            except FileExistsError:
                continue  # a writer of the same number, perhaps of another machine
            if _lock(file) and os.fstat(file.fileno()).st_nlink:
                return staging, file
            file.close()  # taken for a dead writer's in between, and removed

    def _get(self, attachment_id: str) -> bytes:
        try:
            return self._place(attachment_id).read_bytes()
        except FileNotFoundError as error:
            raise not_found(attachment_id) from error

    def _read_at(self, attachment_id: str, offset: int, size: int) -> bytes:
        try:
            with self._place(attachment_id).open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError as error:
            raise not_found(attachment_id) from error

    def _delete(self, attachment_id: str) -> None:
        place = self._place(attachment_id)
        try:
            place.unlink()
        except FileNotFoundError:
            return
        _sync_directory(place.parent)

    def _head(self, attachment_id: str) -> BlobStat | None:
        return _stat(self._place(attachment_id))

    def _list(self) -> Sequence[BlobStat]:
        found: list[BlobStat] = []
        for directory in _entries(self._root / "sha256"):
            for path in _entries(directory):
                if path.name.startswith(_STAGING):
                    _remove_if_left(path)
                elif _is_ours(path):
                    stat = _stat(path)
                    found += [stat] if stat else []
        return sorted(found, key=lambda stat: stat.attachment_id)


def _stat(path: Path) -> BlobStat | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return BlobStat(
        attachment_id=path.name,
        byte_len=status.st_size,
        last_modified_ms=status.st_mtime_ns // _NANOS_PER_MS,
    )


def _entries(directory: Path) -> Sequence[Path]:
    try:
        return sorted(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _is_ours(path: Path) -> bool:
    """Whether a file lies where its name says; what others put there is left alone."""
    try:
        check_attachment_id(path.name)
    except LashError:
        return False
    return path.parent.name == path.name[:2]


def _lock(file: BinaryIO) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_if_left(staging: Path) -> None:
    """Remove a staging file whose writer is dead: nobody holds its lock."""
    if fcntl is None:
        return
    try:
        with staging.open("rb") as file:
            if _lock(file):
                staging.unlink(missing_ok=True)
    except FileNotFoundError:
        pass  # its writer has come to its end


def _make_directory(directory: Path) -> None:
    """Make a directory and those above it, so that they are there after a power cut."""
    missing: list[Path] = []
    at = directory
    while not at.is_dir():
        missing.append(at)
        at = at.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        _sync_directory(each.parent)


def _sync_directory(directory: Path) -> None:
    try:
        handle = os.open(directory, os.O_RDONLY)
    except PermissionError:
        return  # a platform that opens no directories
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
