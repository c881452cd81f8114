"""What every place must do where the bytes of attachments lie."""

# ruff: noqa: D102  the name of a property says what it promises

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from lash.attachments.store import BlobStore
from lash.attachments.transitions import BlobStat
from lash.core.errors import LashError
from lash.runtime.attachment_content import BytesContent
from lash.testing.clock import VirtualClock

#: Known answers: nobody's code is asked what the id of these is.
EMPTY = (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
ABC = (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
ZEROS = (bytes(1_000_000), "d29751f2649b32ff572b5e0a9f541ea660a50f94ff0beedfb0b692b924cc8025")
SAMPLES = (EMPTY, ABC, ZEROS)

BAD_IDS = (
    "",
    "../../../etc/passwd",
    ABC[1].upper(),
    ABC[1][:-1],
    f"{ABC[1]}0",
    f"{ABC[1][:-1]}\n",
    f"{ABC[1][:-1]}/",
)


class Changing:
    """Bytes that are others by the time they are stored."""

    byte_len = 3

    def chunks(self) -> Iterator[bytes]:
        """Other bytes than were announced."""
        yield b"abd"


class Breaking:
    """Bytes that cannot be read to their end."""

    byte_len = 3

    def chunks(self) -> Iterator[bytes]:
        """The first of them."""
        yield b"ab"
        raise LashError("attachment_unreadable", "gone")


class BlobRig:
    """A store of bytes under test and its clock.

    Args:
        blobs: The store.
        clock: Its clock.
        reopen: How to open it again, or None when it stays open.
    """

    def __init__(
        self,
        blobs: BlobStore,
        clock: VirtualClock,
        reopen: Callable[[BlobStore], Awaitable[BlobStore]] | None,
    ) -> None:
        self.blobs = blobs
        self.clock = clock
        self._reopen = reopen

    async def interlude(self) -> None:
        """Open the store again, in the run that does."""
        if self._reopen is not None:
            self.blobs = await self._reopen(self.blobs)

    async def put(self, sample: tuple[bytes, str]) -> str:
        """Put bytes under their id."""
        data, attachment_id = sample
        return await self.blobs.put(attachment_id, BytesContent(data))

    async def code(self, call: Awaitable[object]) -> str:
        """The code that a call must raise."""
        with pytest.raises(LashError) as raised:
            await call
        return raised.value.code


@pytest.mark.asyncio
class BlobStoreConformance:
    """Every property of a store of bytes. Say how one is made, and how it is opened again."""

    _reopens = False

    async def make_blobs(self, clock: VirtualClock) -> BlobStore:
        """An empty store whose times are told by `clock`."""
        raise NotImplementedError

    async def reopen_blobs(self, blobs: BlobStore, clock: VirtualClock) -> BlobStore:
        """The same store, opened again over the same data."""
        raise NotImplementedError

    async def close_blobs(self, blobs: BlobStore) -> None:
        """Let go of a store."""
        del blobs

    @pytest.fixture(params=("fresh", "reopened"), autouse=True)
    def _life(self, request: pytest.FixtureRequest) -> None:
        self._reopens = request.param == "reopened"

    @asynccontextmanager
    async def rig(self) -> AsyncIterator[BlobRig]:
        """A new store to try a property on."""
        clock = VirtualClock()

        async def reopen(blobs: BlobStore) -> BlobStore:
            return await self.reopen_blobs(blobs, clock)

        rig = BlobRig(await self.make_blobs(clock), clock, reopen if self._reopens else None)
        try:
            yield rig
        finally:
            await self.close_blobs(rig.blobs)

    async def test_attachment_put_get_round_trips_bytes(self) -> None:
        async with self.rig() as rig:
            for sample in SAMPLES:
                assert await rig.put(sample) == sample[1]
            await rig.interlude()
            for data, attachment_id in SAMPLES:
                assert await rig.blobs.get(attachment_id) == data

    async def test_attachment_read_at_gives_some_bytes_and_none_behind_the_end(self) -> None:
        async with self.rig() as rig:
            for sample in SAMPLES:
                await rig.put(sample)
            await rig.interlude()
            read = rig.blobs.read_at
            assert [await read(ABC[1], at, 2) for at in range(5)] == [b"ab", b"bc", b"c", b"", b""]
            assert await read(EMPTY[1], 0, 9) == b""
            assert await read(ZEROS[1], 999_999, 9) == b"\0"
            await rig.blobs.delete(ABC[1])
            assert await rig.code(read(ABC[1], 0, 1)) == "attachment_not_found"

    async def test_attachment_store_survives_reopen(self) -> None:
        async with self.rig() as rig:
            await rig.put(ABC)
            for _ in range(3):
                await rig.interlude()
            assert await rig.blobs.get(ABC[1]) == b"abc"

    async def test_attachment_is_content_addressed(self) -> None:
        async with self.rig() as rig:
            for _ in range(3):
                assert await rig.put(ABC) == ABC[1]
                await rig.interlude()
            assert len(await rig.blobs.list()) == 1

    async def test_attachment_get_unknown_is_not_found(self) -> None:
        async with self.rig() as rig:
            await rig.put(ABC)
            await rig.interlude()
            assert await rig.code(rig.blobs.get(EMPTY[1])) == "attachment_not_found"

    async def test_attachment_delete_removes_content_and_is_idempotent(self) -> None:
        async with self.rig() as rig:
            for sample in SAMPLES:
                await rig.put(sample)
            for attachment_id in (ABC[1], ABC[1], ZEROS[1], ZEROS[1]):
                await rig.blobs.delete(attachment_id)
                await rig.interlude()
            for attachment_id in (ABC[1], ZEROS[1]):
                assert await rig.code(rig.blobs.get(attachment_id)) == "attachment_not_found"
            assert [stat.attachment_id for stat in await rig.blobs.list()] == [EMPTY[1]]

    async def test_what_was_deleted_can_be_put_again(self) -> None:
        async with self.rig() as rig:
            for sample in SAMPLES:
                await rig.put(sample)
                await rig.blobs.delete(sample[1])
                await rig.interlude()
                await rig.put(sample)
                assert await rig.blobs.get(sample[1]) == sample[0]

    async def test_attachment_list_enumerates_stored_blobs(self) -> None:
        async with self.rig() as rig:
            assert list(await rig.blobs.list()) == []
            for sample in SAMPLES:
                await rig.put(sample)
            await rig.interlude()
            found = await rig.blobs.list()
            assert [(stat.attachment_id, stat.byte_len) for stat in found] == [
                (ABC[1], 3),
                (ZEROS[1], 1_000_000),
                (EMPTY[1], 0),
            ]

    async def test_attachment_reports_declared_persistence(self) -> None:
        async with self.rig() as rig:
            declared = rig.blobs.persistence
            assert declared in {"ephemeral", "durable"}
            await rig.interlude()
            assert rig.blobs.persistence == declared

    async def test_attachment_head_reports_absence(self) -> None:
        async with self.rig() as rig:
            assert await rig.blobs.head(ABC[1]) is None
            await rig.put(ABC)
            await rig.blobs.delete(ABC[1])
            await rig.interlude()
            assert await rig.blobs.head(ABC[1]) is None

    async def test_attachment_head_reflects_put_and_refreshes_timestamp(self) -> None:
        async with self.rig() as rig:
            for data, attachment_id in SAMPLES:
                for _ in range(2):  # the second is a dedupe hit
                    rig.clock.advance(5)
                    await rig.put((data, attachment_id))
                    await rig.interlude()
                    assert await rig.blobs.head(attachment_id) == BlobStat(
                        attachment_id=attachment_id,
                        byte_len=len(data),
                        last_modified_ms=rig.clock.now_ms(),
                    )

    async def test_attachment_head_agrees_with_list(self) -> None:
        async with self.rig() as rig:
            for sample in SAMPLES:
                rig.clock.advance(1)
                await rig.put(sample)
            await rig.interlude()
            listed: Sequence[BlobStat] = await rig.blobs.list()
            assert len(listed) == 3
            assert [await rig.blobs.head(stat.attachment_id) for stat in listed] == list(listed)

    async def test_bytes_that_changed_on_their_way_are_not_kept(self) -> None:
        async with self.rig() as rig:
            code = await rig.code(rig.blobs.put(ABC[1], Changing()))
            assert code == "attachment_content_changed"
            await rig.interlude()
            assert list(await rig.blobs.list()) == []

    async def test_of_bytes_that_break_off_nothing_is_kept(self) -> None:
        async with self.rig() as rig:
            assert await rig.code(rig.blobs.put(ABC[1], Breaking())) == "attachment_unreadable"
            await rig.interlude()
            assert list(await rig.blobs.list()) == []
            await rig.put(ABC)
            assert await rig.blobs.get(ABC[1]) == b"abc"

    async def test_what_is_no_id_is_never_looked_for(self) -> None:
        async with self.rig() as rig:
            for bad in BAD_IDS:
                calls: list[Awaitable[object]] = [
                    rig.blobs.put(bad, BytesContent(b"abc")),
                    rig.blobs.get(bad),
                    rig.blobs.head(bad),
                    rig.blobs.delete(bad),
                ]
                assert [await rig.code(call) for call in calls] == ["attachment_id_invalid"] * 4
            assert list(await rig.blobs.list()) == []
