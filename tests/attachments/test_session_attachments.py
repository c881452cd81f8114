"""A session's store of attachments on its own: owners, waiting for deletions, files that change."""

import asyncio
from pathlib import Path

import pytest

from lash.attachments.model import AttachmentOwner, ProcessOwner, TurnOwner
from lash.attachments.policy import AttachmentPolicy, AttachmentRefused
from lash.attachments.transitions import AttachmentIntent, ReclamationInFlight, WriteAnswer
from lash.core.errors import LashError, StoreError
from lash.core.seams import Seam, unobserved
from lash.runtime.attachment_content import BytesContent, FileContent, examine
from lash.runtime.attachments import (
    SessionAttachmentStore,
    current_owner,
    owned_by_process,
    owned_by_turn,
)
from lash.stores.memory import MemoryStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance.attachments.shelf import WANDA, around, error_of, id_of


class Pacing(VirtualClock):
    """A clock that tells what it was asked to wait, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def store_of(memory: MemoryStore, **instead: object) -> SessionAttachmentStore:
    options: dict[str, object] = {
        "manifest": memory.attachments,
        "blobs": memory.blobs,
        "policy": AttachmentPolicy(),
        "clock": VirtualClock(),
        "is_dead": memory.is_dead,
        "seams": unobserved,
        **instead,
    }
    return SessionAttachmentStore("s", **options)  # type: ignore[arg-type]  # as it takes them


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore(VirtualClock())


# --- owners -----------------------------------------------------------------------------------------


def test_nested_owner_binding_restores_the_previous_owner() -> None:
    seen: list[AttachmentOwner] = [current_owner("s")]
    with owned_by_turn("s", "t1"):
        seen.append(current_owner("s"))
        with owned_by_process("p"):
            seen.append(current_owner("s"))
            with owned_by_turn("s", "t2"):
                seen.append(current_owner("s"))
            seen.append(current_owner("s"))
        seen.append(current_owner("s"))
    seen.append(current_owner("s"))
    t1, t2, p = TurnOwner(turn_id="t1"), TurnOwner(turn_id="t2"), ProcessOwner(process_id="p")
    assert seen == [None, t1, p, t2, p, t1, None]


def test_a_turn_owns_nothing_in_other_sessions_and_a_process_does() -> None:
    with owned_by_turn("s", "t1"):
        assert current_owner("z") is None
    with owned_by_process("p"):
        assert current_owner("z") == ProcessOwner(process_id="p")


def test_a_binding_is_undone_also_when_something_fails() -> None:
    with pytest.raises(RuntimeError), owned_by_turn("s", "t1"):
        raise RuntimeError
    assert current_owner("s") is None


async def test_session_facade_records_bound_owner_on_put(memory: MemoryStore) -> None:
    store = store_of(memory)
    with owned_by_process("p"):
        await store.put(b"x")
    (entry,) = await store.list()
    assert entry.intent.owner == ProcessOwner(process_id="p")


async def test_tasks_beside_each_other_have_owners_of_their_own(memory: MemoryStore) -> None:
    store, both = store_of(memory), asyncio.Barrier(2)

    async def drive(turn_id: str) -> str:
        with owned_by_turn("s", turn_id):
            await both.wait()  # both are inside now
            return (await store.put(turn_id.encode())).id

    ids = await asyncio.gather(drive("t1"), drive("t2"))
    owners = {entry.ref.id: entry.intent.owner for entry in await store.list()}
    assert owners == {ids[0]: TurnOwner(turn_id="t1"), ids[1]: TurnOwner(turn_id="t2")}
    assert current_owner("s") is None


# --- handing on -------------------------------------------------------------------------------------


async def test_what_is_shared_is_the_other_sessions_own_and_outlives_the_first(
    memory: MemoryStore,
) -> None:
    store = store_of(memory)
    ref = await store.put(b"x", label="a plan")
    with owned_by_turn("z", "t1"):
        assert await store.share(ref.id, "z") == ref
    await store.delete(ref.id)
    entry = await memory.attachments.find_ref("z", ref.id)
    assert entry is not None
    assert (entry.ref, entry.intent.owner) == (ref, TurnOwner(turn_id="t1"))


async def test_only_what_a_session_refers_to_and_what_is_there_can_be_shared(
    memory: MemoryStore,
) -> None:
    store = store_of(memory)
    await memory.blobs.put(id_of("y"), BytesContent(b"y"))
    ref = await store.put(b"x")
    await memory.blobs.delete(ref.id)  # a sweep got ahead
    for attachment_id in (id_of("y"), ref.id):
        error = await error_of(store.share(attachment_id, "z"))
        assert error.code == "attachment_not_found"
    assert not await memory.attachments.holds_ref("z", id_of("y"))


# --- waiting for a deletion -------------------------------------------------------------------------


async def test_a_writer_gives_way_first_then_waits_longer_and_longer_and_gives_up(
    memory: MemoryStore,
) -> None:
    clock, asked = Pacing(), 0

    async def begin_write(_: AttachmentIntent) -> WriteAnswer:
        nonlocal asked
        asked += 1
        return ReclamationInFlight(sweeper=WANDA)

    manifest = around(memory.attachments, begin_write=begin_write)
    error = await error_of(store_of(memory, manifest=manifest, clock=clock).put(b"x"))
    assert (error.code, error.retryable) == ("attachment_reclamation_in_flight", True)
    assert error.details["attempts"] == asked == 64
    assert len(clock.waits) == 56
    assert clock.waits[:4] == [0.001, 0.002, 0.004, 0.008]
    assert set(clock.waits[8:]) == {0.25}
    assert list(await memory.blobs.list()) == []


async def test_a_reference_that_is_dropped_before_its_bytes_are_stored_is_said_to_be_lost(
    memory: MemoryStore,
) -> None:
    async def put(attachment_id: str, _: object) -> str:
        await memory.attachments.forget("s", attachment_id)
        return attachment_id

    error = await error_of(store_of(memory, blobs=around(memory.blobs, put=put)).put(b"x"))
    assert (error.code, error.retryable) == ("attachment_ref_lost", True)


async def test_a_store_that_puts_bytes_under_another_id_is_not_believed(
    memory: MemoryStore,
) -> None:
    async def put(*_: object) -> str:
        return id_of("something else")

    error = await error_of(store_of(memory, blobs=around(memory.blobs, put=put)).put(b"x"))
    assert isinstance(error, StoreError)
    assert error.code == "attachment_store_failed"


# --- files that change ------------------------------------------------------------------------------


async def test_a_file_that_changes_between_its_hash_and_its_bytes_is_refused(
    memory: MemoryStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"before")

    def observe(seam: Seam) -> None:
        if seam == "attachment.intent.after":
            source.write_bytes(b"behind")

    error = await error_of(store_of(memory, seams=observe).put(source))
    assert (error.code, error.retryable) == ("attachment_content_changed", True)
    assert list(await memory.blobs.list()) == []


def test_a_file_that_grows_is_read_no_further_than_is_allowed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"short")
    content = FileContent(source)
    source.write_bytes(bytes(100))
    found = examine(content, None, AttachmentPolicy(max_bytes=50))
    assert isinstance(found, AttachmentRefused)
    assert found.code == "attachment_too_large"


def test_a_file_that_goes_away_is_unreadable(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"short")
    content = FileContent(source)
    source.unlink()
    with pytest.raises(LashError) as raised:
        examine(content, None, AttachmentPolicy())
    assert raised.value.code == "attachment_unreadable"


async def test_bytes_that_are_written_to_meanwhile_are_stored_as_they_were(
    memory: MemoryStore,
) -> None:
    data = bytearray(b"before")

    def observe(seam: Seam) -> None:
        if seam == "attachment.intent.after":
            data[:] = b"behind"

    store = store_of(memory, seams=observe)
    ref = await store.put(data)
    assert (await store.get(ref.id)).data == b"before"
