"""The manifest of attachments in SQLite: reads facts, calls the planner, persists its plan."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from lash.attachments.model import check_attachment_id
from lash.attachments.transitions import (
    ArmAnswer,
    AttachmentEntry,
    AttachmentIntent,
    CondemnAnswer,
    Condemnation,
    Sweeper,
    WriteAnswer,
    WriteGranted,
    may_release,
    plan_arm,
    plan_condemn,
    plan_write,
)
from lash.core.clock import Clock
from lash.core.seams import SeamObserver
from lash.stores.sqlite import attachment_queries as queries
from lash.stores.sqlite import attachment_refs as refs
from lash.stores.sqlite.columns import Row, checked, column, row_type
from lash.stores.sqlite.heads import is_deleted
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.writer import Writer


@row_type
class _Committed(NamedTuple):
    attachment_id: str
    session_id: str


class AttachmentTables:
    """Who refers to what; see `lash.attachments.store.AttachmentManifest`."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, seams: SeamObserver) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._seams = seams

    # --- references -----------------------------------------------------------------------------

    async def begin_write(self, intent: AttachmentIntent) -> WriteAnswer:
        """Record that bytes are about to be written, and keep sweepers off them."""
        attachment_id = check_attachment_id(intent.attachment_id)

        def operation(connection: sqlite3.Connection) -> WriteAnswer:
            answer = plan_write(
                refs.find_fence(connection, attachment_id),
                session_deleted=is_deleted(connection, intent.session_id),
            )
            if isinstance(answer, WriteGranted):
                if answer.revoked:
                    refs.drop_fence(connection, attachment_id)
                refs.add_ref(connection, intent, self._clock.now_ms())
                self._seams("attachment.intent.inside")
            return answer

        return await self._writer.submit(operation)

    async def commit_refs(self, session_id: str, attachment_ids: Sequence[str]) -> Sequence[str]:
        """Have a session keep contents until they are forgotten; the ones it does not refer to."""
        wanted = tuple(dict.fromkeys(attachment_ids))

        def operation(connection: sqlite3.Connection) -> Sequence[str]:
            missing = refs.missing_refs(connection, session_id, wanted)
            if not missing:
                refs.commit_refs(connection, session_id, wanted, self._clock.now_ms())
            return missing

        return await self._writer.submit(operation)

    async def forget(self, session_id: str, attachment_id: str) -> bool:
        """Drop a session's references to a content, all of them; whether there were any."""

        def operation(connection: sqlite3.Connection) -> bool:
            gone = connection.execute(queries.FORGET, (session_id, attachment_id)).rowcount
            if gone:
                self._seams("attachment.forget.inside")
            return gone > 0

        return await self._writer.submit(operation)

    async def find_ref(self, session_id: str, attachment_id: str) -> AttachmentEntry | None:
        """A session's reference to a content: one that is committed, or else the newest."""

        def look(connection: sqlite3.Connection) -> AttachmentEntry | None:
            row: Row | None = connection.execute(
                queries.FIND, (session_id, attachment_id)
            ).fetchone()
            return None if row is None else refs.read_entry(row)

        return await self._readers.read_here(look)

    async def holds_ref(self, session_id: str, attachment_id: str) -> bool:
        """Whether a session may read a content."""
        missing = await self._readers.read_here(
            lambda connection: refs.missing_refs(connection, session_id, (attachment_id,))
        )
        return not missing

    async def list_refs(self, session_id: str) -> Sequence[AttachmentEntry]:
        """A session's references, one for each content, by id."""
        return await self._readers.all(queries.LIST, session_id, refs.read_entry)

    async def committed(self) -> Sequence[tuple[str, str]]:
        """What is to stay, each content with a session that it stays for."""
        return await self._readers.read(
            lambda connection: [
                checked(row, _Committed) for row in connection.execute(queries.COMMITTED)
            ]
        )

    # --- what a sweep asks ----------------------------------------------------------------------

    async def list_uncommitted(self, before_ms: int) -> Sequence[AttachmentEntry]:
        """References put at `before_ms` or earlier and never committed, oldest first."""
        return await self._readers.read(
            lambda connection: [
                refs.read_entry(row)
                for row in connection.execute(queries.UNCOMMITTED, (before_ms,))
            ]
        )

    async def forget_aged_uncommitted(self, before_ms: int) -> int:
        """Drop those of them that `is_live` does not keep, in one statement; how many."""

        def operation(connection: sqlite3.Connection) -> int:
            gone = connection.execute(queries.FORGET_AGED, (before_ms,)).rowcount
            if gone:
                self._seams("attachment.forget.inside")
            return gone

        return await self._writer.submit(operation)

    async def roots(self) -> frozenset[str]:
        """Every content that anybody refers to."""
        return await self._readers.read(
            lambda connection: frozenset(column(connection.execute(queries.ROOTS), str))
        )

    async def has_root(self, attachment_id: str) -> bool:
        """Whether anybody refers to a content."""
        return await self._readers.read_here(
            lambda connection: refs.has_root(connection, attachment_id)
        )

    # --- the fence ------------------------------------------------------------------------------

    async def condemn(self, attachment_id: str, sweeper: Sweeper) -> CondemnAnswer:
        """Claim a content that nobody refers to."""
        check_attachment_id(attachment_id)

        def operation(connection: sqlite3.Connection) -> CondemnAnswer:
            answer = plan_condemn(
                refs.find_fence(connection, attachment_id),
                has_root=refs.has_root(connection, attachment_id),
            )
            if answer == "condemned":
                fence = Condemnation(attachment_id=attachment_id, sweeper=sweeper)
                refs.put_fence(connection, fence)
                self._seams("attachment.condemn.inside")
            return answer

        return await self._writer.submit(operation)

    async def arm(self, attachment_id: str, sweeper: Sweeper) -> ArmAnswer:
        """Make a condemnation a deletion, unless a writer took it away."""

        def operation(connection: sqlite3.Connection) -> ArmAnswer:
            answer = plan_arm(
                refs.find_fence(connection, attachment_id),
                sweeper,
                has_root=refs.has_root(connection, attachment_id),
            )
            if answer == "armed":
                fence = Condemnation(attachment_id=attachment_id, sweeper=sweeper, state="deleting")
                refs.put_fence(connection, fence)
                self._seams("attachment.arm.inside")
            return answer

        return await self._writer.submit(operation)

    async def release(self, attachment_id: str, sweeper: Sweeper) -> bool:
        """Set a content free again; False when the fence is not this sweeper's."""

        def operation(connection: sqlite3.Connection) -> bool:
            ours = may_release(refs.find_fence(connection, attachment_id), sweeper)
            if ours:
                refs.drop_fence(connection, attachment_id)
                self._seams("attachment.release.inside")
            return ours

        return await self._writer.submit(operation)

    async def condemnations(self) -> Sequence[Condemnation]:
        """What is condemned or being deleted, by id."""
        return await self._readers.read(
            lambda connection: [refs.read_fence(row) for row in connection.execute(queries.FENCES)]
        )
