"""Attachments as sessions use them: a guarded way to bytes, and whose work they are put for.

Whatever the runtime, tools and applications do with attachments goes through `SessionAttachmentStore`;
nothing else hands out the bytes behind an id.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final, TypeAlias

from lash.attachments.model import (
    Attachment,
    AttachmentMeta,
    AttachmentOwner,
    AttachmentRef,
    AttachmentSource,
    ExternalUrlSource,
    ProcessOwner,
    TurnOwner,
    check_attachment_id,
    check_media_type,
    ref_of,
)
from lash.attachments.policy import (
    HOST,
    AttachmentPolicy,
    AttachmentProducer,
    AttachmentRefused,
    ToolProducer,
)
from lash.attachments.store import AttachmentManifest, BlobStore
from lash.attachments.transitions import (
    AttachmentEntry,
    AttachmentIntent,
    OwnerDeleted,
    ReclamationInFlight,
    WriteGranted,
)
from lash.core.clock import Clock
from lash.core.errors import ConflictError, LashError, StoreError
from lash.core.leases import LeaseOwner
from lash.core.seams import SeamObserver
from lash.core.text import is_utf8
from lash.runtime.attachment_content import CHUNK_BYTES, BytesContent, FileContent, examine

# --- whose work it is -------------------------------------------------------------------------------

_Binding = tuple[AttachmentOwner, str | None]

#: The work that the running task belongs to, and the session it is of. For each task its own.
_work: Final[ContextVar[_Binding]] = ContextVar("lash_attachment_owner", default=(None, None))
_producer: Final[ContextVar[AttachmentProducer]] = ContextVar(
    "lash_attachment_producer", default=HOST
)


@contextmanager
def owned_by_turn(session_id: str, turn_id: str) -> Iterator[None]:
    """What is put inside, into that session, belongs to the turn. Nests."""
    with _bound((TurnOwner(turn_id=turn_id), session_id)):
        yield


@contextmanager
def owned_by_process(process_id: str) -> Iterator[None]:
    """What is put inside, into any session, belongs to the process. Nests."""
    with _bound((ProcessOwner(process_id=process_id), None)):
        yield


@contextmanager
def _bound(binding: _Binding) -> Iterator[None]:
    token = _work.set(binding)
    try:
        yield
    finally:
        _work.reset(token)


@contextmanager
def produced_by_tool(tool_name: str) -> Iterator[None]:
    """What is put inside comes from a tool, as far as the policy is concerned."""
    token = _producer.set(ToolProducer(tool_name=tool_name))
    try:
        yield
    finally:
        _producer.reset(token)


def current_owner(session_id: str) -> AttachmentOwner:
    """Whose an attachment would be that is put into a session now.

    A turn owns what is put into its own session. What it puts into another one is nobody's there: that
    session's turns are what decides about it.
    """
    owner, of_session = _work.get()
    return owner if of_session in {None, session_id} else None


# --- a session's attachments ------------------------------------------------------------------------

#: What can be put: bytes, or the path of a file.
AttachmentContent: TypeAlias = bytes | bytearray | memoryview | Path

#: How often a writer tries that meets a deletion: first it only gives way, then it waits longer and
#: longer. In all about a quarter of a minute.
_ATTEMPTS = 64
_YIELDS = 8
_PAUSE_FIRST_S = 0.001
_PAUSE_MAX_S = 0.25


class SessionAttachmentStore:
    """The attachments of one session.

    Args:
        session_id: The session, or what stands for one (`process_session_id`).
        manifest: Who refers to what.
        blobs: The bytes.
        policy: What is let in.
        clock: Paces the wait for a deletion.
        is_dead: Whether a sweeper is proven dead.
        seams: Told where a crash would be interesting.
    """

    def __init__(
        self,
        session_id: str,
        manifest: AttachmentManifest,
        blobs: BlobStore,
        policy: AttachmentPolicy,
        *,
        clock: Clock,
        is_dead: Callable[[LeaseOwner], bool],
        seams: SeamObserver,
    ) -> None:
        self._session_id = session_id
        self._manifest = manifest
        self._blobs = blobs
        self._policy = policy
        self._clock = clock
        self._is_dead = is_dead
        self._seams = seams

    def __repr__(self) -> str:
        return f"SessionAttachmentStore({self._session_id!r})"

    async def put(
        self,
        content: AttachmentContent,
        *,
        media_type: str | None = None,
        label: str | None = None,
        producer: AttachmentProducer | None = None,
    ) -> AttachmentRef:
        """Keep bytes, or those of a file, and refer to them from this session.

        First the reference, then the bytes. A file is read twice and never held in memory.

        Args:
            content: The bytes or the path.
            media_type: What they are; found out from the first bytes or the file's name by default.
            label: What people call them.
            producer: Where they come from; whatever the running task says by default.

        Raises:
            LashError: `attachment_invalid`, `attachment_media_type_invalid`, `attachment_unreadable`,
                `attachment_too_large`, `attachment_not_admitted`, `attachment_content_changed`,
                `attachment_ref_lost`, `attachment_reclamation_in_flight` (retryable).
            ConflictError: `session_deleted`. StoreError: The bytes or the reference were not taken.
        """
        given = _content(content)
        chosen = None if media_type is None else check_media_type(media_type)
        said = _label(label)
        by = producer or _producer.get()
        source = await _opened(given)
        found = await asyncio.to_thread(examine, source, chosen, self._policy)
        refused = (
            found
            if isinstance(found, AttachmentRefused)
            else self._policy.admit(by, found.media_type, found.byte_len)
        )
        if isinstance(found, AttachmentRefused) or refused is not None:
            raise _refused(refused)
        meta = AttachmentMeta(
            media_type=found.media_type,
            byte_len=found.byte_len,
            type_metadata=found.image,
            label=said,
        )
        intent = AttachmentIntent(
            session_id=self._session_id,
            attachment_id=found.attachment_id,
            meta=meta,
            owner=current_owner(self._session_id),
        )
        await self._announce(intent)
        await self._write(intent, source)
        return ref_of(found.attachment_id, meta)

    async def _announce(self, intent: AttachmentIntent) -> None:
        """Record the reference, waiting while the same bytes are being deleted."""
        self._seams("attachment.intent.before")
        pause = _PAUSE_FIRST_S
        for attempt in range(_ATTEMPTS):
            answer = await self._manifest.begin_write(intent)
            match answer:
                case WriteGranted():
                    self._seams("attachment.intent.after")
                    return
                case OwnerDeleted():
                    raise ConflictError(
                        "session_deleted",
                        f"Session {intent.session_id!r} was deleted; nothing was stored.",
                        session_id=intent.session_id,
                    )
                case ReclamationInFlight(sweeper=sweeper):
                    if self._is_dead(sweeper.owner):
                        await self._manifest.release(intent.attachment_id, sweeper)
                    elif attempt < _YIELDS:
                        await asyncio.sleep(0)
                    else:
                        await self._clock.sleep(pause)
                        pause = min(pause * 2, _PAUSE_MAX_S)
        raise LashError(
            "attachment_reclamation_in_flight",
            f"Attachment {intent.attachment_id} was being deleted all through {_ATTEMPTS} attempts; "
            "nothing was stored. Put it again; if that goes on, its sweeper may be gone: see "
            "`runtime.attachments.reclaim(clear_stuck=True)`.",
            attachment_id=intent.attachment_id,
            attempts=_ATTEMPTS,
        )

    async def _write(self, intent: AttachmentIntent, content: BytesContent | FileContent) -> None:
        attachment_id = intent.attachment_id
        stored = await self._blobs.put(attachment_id, content)
        if stored != attachment_id:
            raise StoreError(
                "attachment_store_failed",
                f"The store put the bytes of {attachment_id} under {stored!r}; it is not to be trusted.",
                attachment_id=attachment_id,
            )
        self._seams("attachment.bytes.after")
        if not await self._manifest.holds_ref(self._session_id, attachment_id):
            # Somebody deleted it, or storing it took longer than a sweep waits.
            raise LashError(
                "attachment_ref_lost",
                f"While attachment {attachment_id} was being stored its reference was dropped: it was "
                "deleted, or a sweep took it for abandoned. Put it again; sweep with a longer grace.",
                attachment_id=attachment_id,
            )

    async def find(self, attachment_id: str) -> AttachmentRef:
        """What is said of an attachment here.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`.
        """
        check_attachment_id(attachment_id)
        entry = await self._manifest.find_ref(self._session_id, attachment_id)
        if entry is None:
            raise _not_found(attachment_id)
        return entry.ref

    async def get(self, attachment_id: str) -> Attachment:
        """The bytes of an attachment that this session refers to.

        Raises:
            LashError: `attachment_id_invalid`; `attachment_not_found`, also when only others refer to
                it. StoreError: `attachment_corrupt`.
        """
        ref = await self.find(attachment_id)
        try:
            data = await self._blobs.get(attachment_id)
        except LashError as error:
            if error.code != "attachment_not_found":
                raise
            raise _not_found(attachment_id) from error
        if len(data) > CHUNK_BYTES:
            digest = await asyncio.to_thread(_sha256, data)
        else:
            digest = _sha256(data)
        if digest != attachment_id:
            raise _corrupt(attachment_id)
        return Attachment(ref=ref, data=data)

    async def stream(self, attachment_id: str) -> AsyncIterator[bytes]:
        """The bytes of an attachment that this session refers to, in pieces of 256 KiB.

        However large it is, no more than a piece is held at once. Whether the bytes are still those that
        were stored is known behind the last of them.

        Raises:
            LashError: As `get`, before the first piece; `attachment_not_found` when it is deleted
                meanwhile. StoreError: `attachment_corrupt`, behind the last piece.
        """
        await self.find(attachment_id)
        digest, at = hashlib.sha256(), 0
        while True:
            try:
                piece = await self._blobs.read_at(attachment_id, at, CHUNK_BYTES)
            except LashError as error:
                if error.code != "attachment_not_found":
                    raise
                raise _not_found(attachment_id) from error
            if not piece:
                break
            digest.update(piece)
            at += len(piece)
            yield piece
        if digest.hexdigest() != attachment_id:
            raise _corrupt(attachment_id)

    async def list(self) -> Sequence[AttachmentEntry]:
        """What this session refers to, by id."""
        return await self._manifest.list_refs(self._session_id)

    async def keep(self, attachment_id: str) -> None:
        """Keep an attachment until it is deleted, whatever becomes of the work it was put for.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`.
        """
        check_attachment_id(attachment_id)
        if await self._manifest.commit_refs(self._session_id, (attachment_id,)):
            raise _not_found(attachment_id)

    def check(self, source: AttachmentSource, producer: AttachmentProducer) -> None:
        """Refuse a source that is none, or that the policy does not let in.

        Raises:
            LashError: `attachment_not_admitted`, `attachment_too_large`, `attachment_invalid`,
                `attachment_media_type_invalid`.
        """
        if isinstance(source, ExternalUrlSource):
            check_media_type(source.media_type)
            _check_url(source.url)
        refused = self._policy.authorize(producer, source)
        if refused is not None:
            raise _refused(refused)

    async def hold(self, attachment_id: str) -> AttachmentRef:
        """Have the work that runs now refer to an attachment of this session, as if it put it again.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`,
                `attachment_reclamation_in_flight`. ConflictError: `session_deleted`.
        """
        return await self.share(attachment_id, self._session_id)

    async def share(self, attachment_id: str, session_id: str) -> AttachmentRef:
        """Have another session refer to an attachment of this one, as something that is put there now.

        For what one session's work hands to another's, such as a child's answer; nothing is copied.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`,
                `attachment_reclamation_in_flight`. ConflictError: `session_deleted`.
        """
        ref = await self.find(attachment_id)
        meta = AttachmentMeta(
            media_type=ref.media_type,
            byte_len=ref.byte_len,
            type_metadata=ref.type_metadata,
            label=ref.label,
        )
        intent = AttachmentIntent(
            session_id=session_id,
            attachment_id=attachment_id,
            meta=meta,
            owner=current_owner(session_id),
        )
        await self._announce(intent)
        # From here on nobody deletes the bytes; before, this session's reference may have been dropped.
        if await self._blobs.head(attachment_id) is None:
            raise _not_found(attachment_id)
        return ref

    async def delete(self, attachment_id: str) -> bool:
        """Drop this session's references to an attachment; whether there were any.

        The bytes stay while anybody else refers to them, and go with a sweep.

        Raises:
            LashError: `attachment_id_invalid`.
        """
        check_attachment_id(attachment_id)
        return await self._manifest.forget(self._session_id, attachment_id)


def _content(content: object) -> BytesContent | Path:
    match content:
        case bytes():
            return BytesContent(content)
        case bytearray() | memoryview():
            return BytesContent(bytes(content))  # as it is now: its owner may go on writing to it
        case Path():
            return content
        case _:
            raise LashError(
                "attachment_invalid",
                f"An attachment is bytes or the path of a file, not {type(content).__name__}. Text has "
                "to be encoded; a path given as text has to be pathlib.Path(…).",
            )


async def _opened(content: BytesContent | Path) -> BytesContent | FileContent:
    if isinstance(content, Path):
        return await asyncio.to_thread(FileContent, content)
    return content


def _label(label: object) -> str | None:
    if label is None or (isinstance(label, str) and is_utf8(label)):
        return label
    raise LashError(
        "attachment_invalid", "The label of an attachment must be text; nothing was stored."
    )


def _check_url(url: object) -> None:
    """What is said by a URL stays in the history as it is, so it must not be the bytes themselves."""
    text = url if isinstance(url, str) and is_utf8(url) else ""
    scheme, colon, rest = text.partition(":")
    if not (scheme.strip() and colon and rest) or scheme.strip().lower() == "data":
        raise LashError(
            "attachment_invalid",
            "The URL of a lash.ExternalUrlSource says where a provider fetches something, such as "
            "https://example.com/photo.png. Bytes are attached with lash.InlineSource(data=…), and "
            "files as pathlib.Path(…). Nothing was stored.",
        )


def _refused(refused: AttachmentRefused | None) -> LashError:
    code = refused.code if refused else "attachment_not_admitted"
    message = refused.message if refused else "The attachment is not admitted."
    return LashError(code, f"{message} Nothing was stored.")


def _corrupt(attachment_id: str) -> StoreError:
    return StoreError(
        "attachment_corrupt",
        f"The bytes of attachment {attachment_id} are not those that were stored. Restore them from a "
        "backup.",
        attachment_id=attachment_id,
    )


def _not_found(attachment_id: str) -> LashError:
    """One and the same answer, whether nobody has it or only others have."""
    return LashError(
        "attachment_not_found",
        f"This session has no attachment {attachment_id}. It was never put here, or was deleted.",
        attachment_id=attachment_id,
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
