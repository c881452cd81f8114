"""The bytes of attachments of a SQLite store: small ones in the database, large ones in files beside it."""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from lash.attachments.model import check_attachment_id
from lash.attachments.store import BlobContent
from lash.attachments.transitions import BlobStat
from lash.core.clock import Clock
from lash.core.tiers import DurabilityTier
from lash.stores.blobs import read_checked
from lash.stores.files import FileBlobs
from lash.stores.sqlite import attachment_queries as queries
from lash.stores.sqlite.columns import Count, Row, checked, row_type
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.writer import Writer

#: What is larger lies in a file: 256 KiB. Up to about this size a row is as quick as a file, and needs
#: one sync and not three; what is larger would hold up others' commits and bloat the log.
IN_DATABASE_MAX = 256 * 1024


@row_type
class _Blob(NamedTuple):
    attachment_id: str
    byte_len: Count
    stored_at_ms: Count


class SqliteBlobs:
    """Bytes by content; see `lash.attachments.store.BlobStore`.

    How large a content is says where it lies. Looking for one looks in both places, so that another
    limit may hold one day.
    """

    def __init__(self, writer: Writer, readers: Readers, files: FileBlobs, clock: Clock) -> None:
        self._writer = writer
        self._readers = readers
        self._files = files
        self._clock = clock

    def __repr__(self) -> str:
        return f"SqliteBlobs({self._files!r})"

    @property
    def persistence(self) -> DurabilityTier:
        """Survives the process."""
        return "durable"

    async def put(self, attachment_id: str, content: BlobContent) -> str:
        """Keep bytes under the hash they must have.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_content_changed`, and what reading them
                raises. StoreError: What the database and the file system say.
        """
        check_attachment_id(attachment_id)
        if content.byte_len > IN_DATABASE_MAX:
            return await self._files.put(attachment_id, content)
        if not await self._writer.submit(lambda connection: self._touch(connection, attachment_id)):
            data = await asyncio.to_thread(read_checked, attachment_id, content)
            await self._writer.submit(lambda connection: self._add(connection, attachment_id, data))
        return attachment_id

    def _touch(self, connection: sqlite3.Connection, attachment_id: str) -> bool:
        values = (self._clock.now_ms(), attachment_id)
        return connection.execute(queries.TOUCH_BLOB, values).rowcount == 1

    def _add(self, connection: sqlite3.Connection, attachment_id: str, data: bytes) -> None:
        if not self._touch(connection, attachment_id):  # else somebody else was quicker
            connection.execute(queries.ADD_BYTES, (attachment_id, data))
            values = (attachment_id, self._clock.now_ms(), len(data))
            connection.execute(queries.ADD_BLOB, values)

    async def get(self, attachment_id: str) -> bytes:
        """The bytes.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`.
        """
        check_attachment_id(attachment_id)

        def look(connection: sqlite3.Connection) -> bytes | None:
            row: Row | None = connection.execute(queries.BYTES, (attachment_id,)).fetchone()
            return None if row is None else checked(row[0], bytes)

        data = await self._readers.read(look)
        if data is not None:
            return data
        return await self._files.get(attachment_id)

    async def read_at(self, attachment_id: str, offset: int, size: int) -> bytes:
        """Some of the bytes, without the rest of them in memory where they are a file.

        Raises:
            LashError: `attachment_id_invalid`, `attachment_not_found`.
        """
        check_attachment_id(attachment_id)

        def look(connection: sqlite3.Connection) -> bytes | None:
            values = (offset + 1, size, attachment_id)
            row: Row | None = connection.execute(queries.BYTES_AT, values).fetchone()
            return None if row is None else checked(row[0], bytes)

        data = await self._readers.read(look)
        if data is not None:
            return data
        return await self._files.read_at(attachment_id, offset, size)

    async def delete(self, attachment_id: str) -> None:
        """Remove the bytes, wherever they lie."""
        check_attachment_id(attachment_id)

        def operation(connection: sqlite3.Connection) -> None:
            connection.execute(queries.DROP_BLOB, (attachment_id,))
            connection.execute(queries.DROP_BYTES, (attachment_id,))

        await self._writer.submit(operation)
        await self._files.delete(attachment_id)

    async def list(self) -> Sequence[BlobStat]:
        """Everything that is kept, by id."""
        rows = await self._readers.read(
            lambda connection: [_stat(row) for row in connection.execute(queries.BLOBS)]
        )
        # What lies in both places, because the limit was another one once, is told of as the newer.
        found = {stat.attachment_id: stat for stat in await self._files.list()}
        for stat in rows:
            other = found.get(stat.attachment_id)
            found[stat.attachment_id] = stat if other is None else _newer(stat, other)
        return [stat for _, stat in sorted(found.items())]

    async def head(self, attachment_id: str) -> BlobStat | None:
        """What is kept under an id, without its bytes."""
        check_attachment_id(attachment_id)

        def look(connection: sqlite3.Connection) -> BlobStat | None:
            row: Row | None = connection.execute(queries.BLOB, (attachment_id,)).fetchone()
            return None if row is None else _stat(row)

        kept, file = await self._readers.read(look), await self._files.head(attachment_id)
        return _newer(kept, file) if kept and file else kept or file


def _stat(row: Row) -> BlobStat:
    columns = checked(row, _Blob)
    return BlobStat(
        attachment_id=columns.attachment_id,
        byte_len=columns.byte_len,
        last_modified_ms=columns.stored_at_ms,
    )


def _newer(one: BlobStat, other: BlobStat) -> BlobStat:
    return max(one, other, key=lambda stat: stat.last_modified_ms or 0)
