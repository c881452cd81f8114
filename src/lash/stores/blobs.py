"""What stores of bytes have in common: checking what arrives, and saying what went wrong."""

import errno
import hashlib
from collections.abc import Iterable, Iterator, Sequence

from lash.attachments.store import BlobContent, BlobStore, Chunk
from lash.core.errors import LashError, StoreError
from lash.sessions.checking import Finding

#: What the system says when there is no room: the disk, a quota, or a limit on the size of files.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def not_found(attachment_id: str) -> LashError:
    """There are no such bytes, or whoever asks may not see them: one and the same answer."""
    return LashError(
        "attachment_not_found",
        f"There is no attachment {attachment_id}. It was never put, or was deleted.",
        attachment_id=attachment_id,
    )


def checked_chunks(attachment_id: str, content: BlobContent) -> Iterator[Chunk]:
    """The bytes of a content, which must come to its id. Blocks; call it in a thread.

    Raises:
        LashError: `attachment_content_changed`, behind the last piece.
    """
    hashed = hashlib.sha256()
    for chunk in content.chunks():
        hashed.update(chunk)
        yield chunk
    if hashed.hexdigest() != attachment_id:
        raise LashError(
            "attachment_content_changed",
            "The bytes changed while they were being stored, so they are not those that were announced; "
            "nothing was kept. Put them again once nobody writes to them.",
            attachment_id=attachment_id,
        )


def read_checked(attachment_id: str, content: BlobContent) -> bytes:
    """The bytes of a content in one piece, which must come to its id. Blocks; call it in a thread.

    Raises:
        LashError: `attachment_content_changed`.
    """
    return b"".join(checked_chunks(attachment_id, content))


def write_failed(error: OSError, where: str) -> StoreError:
    """What the file system said, with what to do about it."""
    if error.errno in _FULL:
        return StoreError(
            "store_full",
            f"There is no room for an attachment in {where}: {error.strerror}. Free some space, or raise "
            "the limit on sizes, and put it again; nothing was kept of it.",
            path=where,
        )
    if error.errno in _READ_ONLY:
        return StoreError(
            "store_read_only",
            f"Attachments cannot be written to {where}: {error.strerror}. Check permissions and mount.",
            path=where,
        )
    return StoreError(
        "attachment_store_failed",
        f"The attachments in {where} could not be used: {error.strerror or type(error).__name__}. "
        "What was stored before is unchanged; try again.",
        path=where,
    )


async def check_bytes(committed: Iterable[tuple[str, str]], blobs: BlobStore) -> Sequence[Finding]:
    """What is to stay and whose bytes are nowhere. `committed` holds contents, each with a session."""
    return [
        Finding(
            code="attachment_bytes_missing",
            severity="warning",
            session_id=session_id,
            message=f"The session keeps attachment {attachment_id}, and its bytes are not there.",
        )
        for attachment_id, session_id in committed
        if await blobs.head(attachment_id) is None
    ]
