"""The attachments of a session as the body of a tool handles them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from lash.attachments.model import Attachment, AttachmentRef


class ToolAttachments(Protocol):
    """Files and pictures of the session that a tool works for. It can read what the session holds."""

    async def put(
        self,
        content: bytes | bytearray | memoryview | Path,
        *,
        media_type: str | None = None,
        label: str | None = None,
    ) -> AttachmentRef:
        """Keep bytes, or those of a file. They stay once the turn, or while the process, is kept.

        Return the reference, anywhere in the tool's value, to have the model shown it.

        Args:
            content: The bytes or the path.
            media_type: What they are; found out from the first bytes or the file's name by default.
            label: What people call them.

        Raises:
            LashError: `attachment_invalid`, `attachment_media_type_invalid`, `attachment_unreadable`,
                `attachment_too_large`, `attachment_not_admitted`, `attachment_content_changed`.
        """
        ...

    async def get(self, attachment_id: str) -> Attachment:
        """The bytes, and what is said of them.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`. StoreError: `attachment_corrupt`.
        """
        ...

    def stream(self, attachment_id: str) -> AsyncIterator[bytes]:
        """The bytes in pieces, however large it is. Raises as `get`, `attachment_corrupt` at the end."""
        ...

    async def find(self, attachment_id: str) -> AttachmentRef:
        """What is said of an attachment, without its bytes.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`.
        """
        ...
