"""The contracts of attachments: where bytes lie, and who refers to them.

Bytes are kept by content and belong to nobody. References belong to sessions, one for each owner, and
are what a session may read. The order is always: the reference, the bytes, the commit.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

from lash.attachments.transitions import (
    ArmAnswer,
    AttachmentEntry,
    AttachmentIntent,
    BlobStat,
    CondemnAnswer,
    Condemnation,
    Sweeper,
    WriteAnswer,
)
from lash.core.tiers import DurabilityTier

#: A piece of some bytes.
Chunk: TypeAlias = bytes | memoryview


class BlobContent(Protocol):
    """Bytes on their way into a store. They may be read more than once, and off the event loop."""

    @property
    def byte_len(self) -> int:
        """How many bytes there are."""
        ...

    def chunks(self) -> Iterable[Chunk]:
        """The bytes, in pieces of a bounded size. Blocks; call it in a thread."""
        ...


class BlobStore(Protocol):
    """Bytes by content. Knows nothing of sessions.

    Ids are checked before they are used for anything: `attachment_id_invalid`.
    """

    @property
    def persistence(self) -> DurabilityTier:
        """How much of it survives the process."""
        ...

    async def put(self, attachment_id: str, content: BlobContent) -> str:
        """Keep bytes under the hash they must have; returns the hash they had.

        Idempotent. What is there already gets a new time, as if it had been written now; what is not
        is written, whatever was known of it before. Bytes appear whole or not at all.

        Raises:
            LashError: `attachment_content_changed`: they have another hash; nothing is kept.
            StoreError: `store_full`, `attachment_store_failed`; nothing is kept.
        """
        ...

    async def get(self, attachment_id: str) -> bytes:
        """The bytes.

        Raises:
            LashError: `attachment_not_found`.
        """
        ...

    async def read_at(self, attachment_id: str, offset: int, size: int) -> bytes:
        """Some of the bytes: `size` from `offset` on, fewer at their end, none behind it.

        Raises:
            LashError: `attachment_not_found`.
        """
        ...

    async def delete(self, attachment_id: str) -> None:
        """Remove the bytes, if they are there."""
        ...

    async def list(self) -> Sequence[BlobStat]:
        """Everything that is kept, by id."""
        ...

    async def head(self, attachment_id: str) -> BlobStat | None:
        """What is kept under an id, without its bytes."""
        ...


class AttachmentManifest(Protocol):
    """Who refers to which content, and which content is being deleted. Every method is one transaction.

    Lies in the same transaction domain as sessions and processes: committing a turn stamps its
    references, deleting a session forgets them, and a fork begins with those that its source had
    committed.
    """

    # --- references -----------------------------------------------------------------------------

    async def begin_write(self, intent: AttachmentIntent) -> WriteAnswer:
        """Record that bytes are about to be written, and keep sweepers off them (`plan_write`).

        The same reference again gets a new time and what is said of it now; what was committed stays
        so. Call it before the bytes are written, also when they are there already.
        """
        ...

    async def commit_refs(self, session_id: str, attachment_ids: Sequence[str]) -> Sequence[str]:
        """Have a session keep contents until they are forgotten. Changes rows and never adds any.

        Returns the ones that the session does not refer to; if there are any, nothing was changed.
        """
        ...

    async def forget(self, session_id: str, attachment_id: str) -> bool:
        """Drop a session's references to a content, all of them; whether there were any."""
        ...

    async def find_ref(self, session_id: str, attachment_id: str) -> AttachmentEntry | None:
        """A session's reference to a content: one that is committed, or else the newest."""
        ...

    async def holds_ref(self, session_id: str, attachment_id: str) -> bool:
        """Whether a session may read a content."""
        ...

    async def list_refs(self, session_id: str) -> Sequence[AttachmentEntry]:
        """A session's references, one for each content as `find_ref` has it, by id."""
        ...

    # --- what a sweep asks ----------------------------------------------------------------------

    async def list_uncommitted(self, before_ms: int) -> Sequence[AttachmentEntry]:
        """References put at `before_ms` or earlier and never committed, oldest first."""
        ...

    async def forget_aged_uncommitted(self, before_ms: int) -> int:
        """Drop those of them that `is_live` does not keep, in one conditional write; how many."""
        ...

    async def roots(self) -> frozenset[str]:
        """Every content that anybody refers to."""
        ...

    async def has_root(self, attachment_id: str) -> bool:
        """Whether anybody refers to a content."""
        ...

    # --- the fence ------------------------------------------------------------------------------

    async def condemn(self, attachment_id: str, sweeper: Sweeper) -> CondemnAnswer:
        """Claim a content that nobody refers to (`plan_condemn`)."""
        ...

    async def arm(self, attachment_id: str, sweeper: Sweeper) -> ArmAnswer:
        """Make a condemnation a deletion, unless a writer took it away (`plan_arm`)."""
        ...

    async def release(self, attachment_id: str, sweeper: Sweeper) -> bool:
        """Set a content free again; False when the fence is not this sweeper's."""
        ...

    async def condemnations(self) -> Sequence[Condemnation]:
        """What is condemned or being deleted, by id."""
        ...
