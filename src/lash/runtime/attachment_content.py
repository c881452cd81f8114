"""Bytes on their way into a store: from memory or from a file, hashed and looked at in one pass."""

import hashlib
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from lash.attachments.images import HEAD_BYTES, read_image_header
from lash.attachments.model import OCTETS, ImageMetadata
from lash.attachments.policy import AttachmentPolicy, AttachmentRefused
from lash.core.errors import LashError

#: How much is read at once.
CHUNK_BYTES = 256 * 1024


class BytesContent:
    """Bytes in memory. They show up in no representation of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __repr__(self) -> str:
        return f"BytesContent({self.byte_len} bytes)"

    @property
    def byte_len(self) -> int:
        """How many bytes there are."""
        return len(self._data)

    def chunks(self) -> Iterator[memoryview]:
        """The bytes, in pieces that copy nothing."""
        view = memoryview(self._data)
        return (view[at : at + CHUNK_BYTES] for at in range(0, len(view), CHUNK_BYTES))


class FileContent:
    """A regular file. It is opened each time its bytes are asked for; use it in a thread.

    Raises:
        LashError: `attachment_unreadable`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            raise _unreadable(path, str(error)) from error
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(path, "it is no regular file")
        self._byte_len = status.st_size

    def __repr__(self) -> str:
        return f"FileContent({str(self.path)!r}, {self.byte_len} bytes)"

    @property
    def byte_len(self) -> int:
        """How many bytes there were when it was looked at."""
        return self._byte_len

    def chunks(self) -> Iterator[bytes]:
        """The bytes, one piece after the other in memory. Raises as the class does."""
        try:
            with self.path.open("rb", buffering=0) as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise _unreadable(self.path, str(error)) from error


def _unreadable(path: Path, why: str) -> LashError:
    return LashError(
        "attachment_unreadable",
        f"The file {path} cannot be attached: {why}. Nothing was stored.",
        path=str(path),
    )


class Examined(NamedTuple):
    """What one pass over some bytes has shown."""

    attachment_id: str
    byte_len: int
    media_type: str
    image: ImageMetadata | None


def examine(
    content: BytesContent | FileContent, media_type: str | None, policy: AttachmentPolicy
) -> Examined | AttachmentRefused:
    """Hash bytes and find out what they are. Blocks; call it in a thread.

    Reads no further than the policy allows, so that a file that grows is no trap.

    Raises:
        LashError: `attachment_unreadable`.
    """
    hashed, head, byte_len = hashlib.sha256(), bytearray(), 0
    refused = policy.too_large(content.byte_len)
    if refused is not None:
        return refused
    for chunk in content.chunks():
        hashed.update(chunk)
        byte_len += len(chunk)
        if len(head) < HEAD_BYTES:
            head += chunk[: HEAD_BYTES - len(head)]
        refused = policy.too_large(byte_len)
        if refused is not None:
            return refused
    found = read_image_header(bytes(head))
    guessed = found.media_type if found else _by_name(content)
    chosen = media_type or guessed
    # A size is said of what the bytes are called, not of what they may be besides.
    image = found.size if found is not None and found.media_type == chosen else None
    return Examined(hashed.hexdigest(), byte_len, chosen, image)


#: What files are by their names. The machine's own table is not asked: it differs between machines.
_BY_SUFFIX: Mapping[str, str] = MappingProxyType(
    {
        ".csv": "text/csv",
        ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ".gz": "application/gzip",
        ".htm": "text/html",
        ".html": "text/html",
        ".json": "application/json",
        ".md": "text/markdown",
        ".mp3": "audio/mpeg",
        ".mp4": "video/mp4",
        ".pdf": "application/pdf",
        ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        ".svg": "image/svg+xml",
        ".txt": "text/plain",
        ".wav": "audio/wav",
        ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ".xml": "application/xml",
        ".zip": "application/zip",
    }
)


def _by_name(content: BytesContent | FileContent) -> str:
    name = content.path.name if isinstance(content, FileContent) else ""
    return _BY_SUFFIX.get(Path(name).suffix.lower(), OCTETS)
