"""Attachments as an application handles them: `session.attachments` and `runtime.attachments`."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

from lash.attachments.model import Attachment, AttachmentRef
from lash.attachments.transitions import AttachmentEntry
from lash.core.durations import Duration, milliseconds
from lash.runtime.attachment_reclaim import ReclaimReport
from lash.runtime.attachments import AttachmentContent, SessionAttachmentStore
from lash.runtime.engine import Engine

#: How long what nobody has taken up yet is left alone by a sweep, unless the host says otherwise.
GRACE = timedelta(days=1)


class SessionAttachments:
    """Files and pictures of one session, by content: the same bytes have the same id everywhere.

    A session can read what was put into it, and nothing else, whatever ids it knows. What is put inside
    a tool belongs to the turn and stays once the turn is committed; what is put inside a process stays
    as long as the process is kept. What an application puts stays for a sweep's grace at least, and for
    good as soon as a turn takes it up or `keep` is called.

    Args:
        engine: Gives the drivers, while the runtime is open.
        session_id: The session.
    """

    def __init__(self, engine: Callable[[], Engine], session_id: str) -> None:
        self._engine = engine
        self._session_id = session_id

    def __repr__(self) -> str:
        return f"SessionAttachments({self._session_id!r})"

    async def put(
        self,
        content: AttachmentContent,
        *,
        media_type: str | None = None,
        label: str | None = None,
    ) -> AttachmentRef:
        """Keep bytes, or those of a file, durably. The same bytes again are the same attachment.

        A file is read in pieces, however large it is.

        Args:
            content: Bytes, or the `Path` of a file.
            media_type: What they are, such as `image/png`; by default what the first bytes or the
                file's name say.
            label: What people call them.

        Returns:
            The reference: id, media type, length, and the size of pictures.

        Raises:
            LashError: `attachment_invalid`, `attachment_media_type_invalid`, `attachment_unreadable`,
                `attachment_too_large`, `attachment_not_admitted`, `attachment_content_changed`,
                `attachment_ref_lost`, `attachment_reclamation_in_flight` (retryable).
            ConflictError: `session_deleted`.
            StoreError: `store_full`, `store_read_only`, `attachment_store_failed`, and what the
                database says; nothing can be read under the id.
        """
        return await self._store.put(content, media_type=media_type, label=label)

    async def get(self, attachment_id: str) -> Attachment:
        """The bytes and what is said of them.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`: this session does not refer to
                it, whether others do or not. StoreError: `attachment_corrupt`.
        """
        return await self._store.get(attachment_id)

    def stream(self, attachment_id: str) -> AsyncIterator[bytes]:
        """The bytes in pieces, however large it is: `async for piece in attachments.stream(ref.id)`.

        Raises:
            LashError: As `get`, before the first piece; `attachment_not_found` when it is deleted
                meanwhile. StoreError: `attachment_corrupt`, behind the last piece: what was read before
                is not to be trusted then.
        """
        return self._store.stream(attachment_id)

    async def list(self) -> Sequence[AttachmentEntry]:
        """What the session refers to, by id: `ref`, since when, and whether it stays."""
        return await self._store.list()

    async def keep(self, attachment_id: str) -> None:
        """Keep an attachment until it is deleted, or the session is.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`.
        """
        await self._store.keep(attachment_id)

    async def delete(self, attachment_id: str) -> bool:
        """Drop the session's reference; False when it has none.

        Others that refer to the same bytes keep them. The bytes go with a sweep, once nobody does:
        `runtime.attachments.reclaim()`.

        Raises:
            LashError: `attachment_id_invalid`.
        """
        return await self._store.delete(attachment_id)

    @property
    def _store(self) -> SessionAttachmentStore:
        return self._engine().attachments.of_session(self._session_id)


class RuntimeAttachments:
    """The attachments of all sessions together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def reclaim(
        self, grace: Duration = GRACE, *, allow_empty: bool = False, clear_stuck: bool = False
    ) -> ReclaimReport:
        """Delete the bytes that nobody refers to any more.

        Nothing does this by itself; call it now and then. It may run while others put, get and commit,
        also in other processes over the same database.

        Args:
            grace: Leave alone what was put more lately than this. Longer than any put takes, and than
                anybody waits between putting something and having a turn take it up.
            allow_empty: Delete everything when nobody refers to anything. Else that is refused: it is
                more often the wrong database than the truth.
            clear_stuck: Take what other sweeps hold for left over. What sweepers left behind that died
                on this machine is cleared without; say this for machines that are gone, and only
                while no other sweep runs.

        Raises:
            LashError: `attachment_roots_empty`, `attachment_roots_unreadable`, `duration_invalid`;
                nothing was deleted.
        """
        return await self._engine.attachments.reclaim(
            milliseconds(grace, "grace"), allow_empty=allow_empty, clear_stuck=clear_stuck
        )
