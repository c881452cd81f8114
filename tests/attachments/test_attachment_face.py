"""Attachments as applications use them: put, get, list, keep, delete, and the sweep."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

import lash
from lash.attachments.model import AttachmentRef, ImageMetadata
from lash.attachments.policy import AttachmentPolicy
from lash.core.errors import LashError
from lash.testing import ScriptedModel, calls, reply

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
#: A PNG of three by two pixels, as far as its header goes.
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x03\x00\x00\x00\x02\x08\x02\x00\x00\x00"


@pytest.fixture(params=(":memory:", "agents.db"))
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name: str = request.param
    return name if name == ":memory:" else str(tmp_path / name)


async def code_of(call: object) -> str:
    with pytest.raises(LashError) as raised:
        await call  # type: ignore[misc]  # any call of the face
    return str(raised.value.code)


@asynccontextmanager
async def opened(location: str, **options: object) -> AsyncIterator[lash.Runtime]:
    async with lash.Runtime(location, **options) as runtime:  # type: ignore[arg-type]  # any of them
        yield runtime


async def test_what_was_put_is_read_back_and_is_said_to_be_what_it_is(location: str) -> None:
    async with opened(location) as runtime:
        attachments = runtime.session("s").attachments
        ref = await attachments.put(b"hello", media_type="Text/Plain", label="greeting")

        assert ref == AttachmentRef(id=HELLO, media_type="text/plain", byte_len=5, label="greeting")
        assert ref.uri == f"lash-attachment://sha256/{HELLO}"
        found = await attachments.get(HELLO)
        assert (found.data, found.ref) == (b"hello", ref)
        assert [entry.ref for entry in await attachments.list()] == [ref]


async def test_it_is_still_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    large = bytes(range(256)) * 4096  # beside the database
    async with opened(str(tmp_path / "a.db")) as runtime:
        session = runtime.session("s")
        ids = [(await session.attachments.put(data)).id for data in (b"hello", large)]
    async with opened(str(tmp_path / "a.db")) as runtime:
        session = runtime.session("s")
        assert [(await session.attachments.get(each)).data for each in ids] == [b"hello", large]


async def test_small_bytes_lie_in_the_database_and_large_ones_beside_it(tmp_path: Path) -> None:
    limit, beside = 256 * 1024, tmp_path / "a.db.attachments"
    async with opened(str(tmp_path / "a.db")) as runtime:
        attachments = runtime.session("s").attachments
        await attachments.put(bytes(limit))
        assert not beside.exists()
        large = await attachments.put(bytes(limit + 1))
    files = [path for path in beside.rglob("*") if path.is_file()]
    assert files == [beside / "sha256" / large.id[:2] / large.id]
    assert files[0].read_bytes() == bytes(limit + 1)


async def test_a_file_is_put_by_its_path_and_known_by_its_name_or_its_first_bytes(
    location: str, tmp_path: Path
) -> None:
    notes, picture = tmp_path / "notes.MD", tmp_path / "photo.txt"
    notes.write_bytes(b"# hi")
    picture.write_bytes(PNG)
    async with opened(location) as runtime:
        attachments = runtime.session("s").attachments
        assert (await attachments.put(notes)).media_type == "text/markdown"
        shown = await attachments.put(picture)
        assert (shown.media_type, shown.type_metadata) == (
            "image/png",
            ImageMetadata(width=3, height=2),
        )
        # Called something else, it is no picture, and has no size.
        named = await attachments.put(picture, media_type="application/x-secret")
        assert (named.media_type, named.type_metadata) == ("application/x-secret", None)
        assert (await attachments.put(b"nobody knows")).media_type == "application/octet-stream"


async def test_other_sessions_know_nothing_of_it_although_they_know_its_id(location: str) -> None:
    async with opened(location) as runtime:
        await runtime.session("s").attachments.put(b"hello")
        others = runtime.session("z").attachments

        assert await code_of(others.get(HELLO)) == "attachment_not_found"
        assert await code_of(others.keep(HELLO)) == "attachment_not_found"
        assert not await others.delete(HELLO)
        assert list(await others.list()) == []


@pytest.mark.parametrize(
    ("content", "options", "code"),
    [
        ("text", {}, "attachment_invalid"),
        (7, {}, "attachment_invalid"),
        (b"x", {"media_type": "image/png; q=1"}, "attachment_media_type_invalid"),
        (b"x", {"media_type": "image"}, "attachment_media_type_invalid"),
        (b"x", {"media_type": "a/" + "b" * 200}, "attachment_media_type_invalid"),
        (b"x", {"media_type": b"image/png"}, "attachment_media_type_invalid"),
        (b"x", {"label": b"no text"}, "attachment_invalid"),
        (b"x", {"label": "\ud800"}, "attachment_invalid"),
        (Path("nowhere.txt"), {}, "attachment_unreadable"),
        (Path("zero\0byte"), {}, "attachment_unreadable"),
        (Path("/dev/zero"), {}, "attachment_unreadable"),
        (Path("/"), {}, "attachment_unreadable"),
    ],
)
async def test_what_cannot_be_attached_is_refused_and_leaves_nothing(
    location: str, content: object, options: dict[str, object], code: str
) -> None:
    async with opened(location) as runtime:
        attachments = runtime.session("s").attachments
        put = attachments.put(content, **options)  # type: ignore[arg-type]  # wrong on purpose
        assert await code_of(put) == code
        assert list(await attachments.list()) == []
        assert list(await runtime.engine.store.blobs.list()) == []


@pytest.mark.parametrize("bad", ["", "../../x", HELLO.upper(), f"{HELLO}/../x", HELLO[:-1], 7])
async def test_what_is_no_id_is_refused_by_everything(location: str, bad: str) -> None:
    async with opened(location) as runtime:
        attachments = runtime.session("s").attachments
        for call in (attachments.get, attachments.keep, attachments.delete):
            assert await code_of(call(bad)) == "attachment_id_invalid"


async def test_the_policy_is_kept_for_hosts_and_tools(location: str) -> None:
    asked: list[str] = []

    @lash.tool
    async def draw(ctx: lash.ToolContext) -> str:
        """Draw something."""
        try:
            await runtime.session(ctx.session_id).attachments.put(PNG)
        except LashError as error:
            asked.append(error.code)
        return "drawn"

    model = ScriptedModel([calls(("draw", {})), reply("done")])
    policy = AttachmentPolicy(max_bytes=40, media_types=["image/*"], producers=["host"])
    agent = lash.Agent("a", model=model, tools=[draw])
    async with opened(location, agents=[agent], attachment_policy=policy) as runtime:
        attachments = runtime.session("s").attachments
        assert await code_of(attachments.put(b"hello")) == "attachment_not_admitted"
        assert await code_of(attachments.put(PNG + bytes(40))) == "attachment_too_large"
        await runtime.session("s").run("draw")
        assert asked == ["attachment_not_admitted"]
        assert list(await attachments.list()) == []
        assert (await attachments.put(PNG)).media_type == "image/png"


async def test_what_a_tool_puts_is_its_turns_and_stays_once_the_turn_is_committed(
    location: str,
) -> None:
    put: list[str] = []

    @lash.tool
    async def draw(ctx: lash.ToolContext) -> str:
        """Draw something."""
        await runtime.session("another").attachments.put(b"hello")
        ref = await runtime.session(ctx.session_id).attachments.put(b"hello")
        put.append(ref.id)
        (entry,) = await runtime.session(ctx.session_id).attachments.list()
        assert entry.committed_at_ms is None
        assert entry.intent.owner is not None
        assert entry.intent.owner.turn_id == ctx.turn_id  # type: ignore[union-attr]  # a turn's
        return ref.id

    model = ScriptedModel([calls(("draw", {})), reply("done")])
    agent = lash.Agent("a", model=model, tools=[draw])
    async with opened(location, agents=[agent]) as runtime:
        session = runtime.session("s")
        await session.run("draw")
        (entry,) = await session.attachments.list()
        assert (put, entry.committed_at_ms is not None) == ([HELLO], True)
        # What it put into another session is nobody's there, so a sweep takes it.
        (entry,) = await runtime.session("another").attachments.list()
        assert (entry.intent.owner, entry.committed_at_ms) == (None, None)
        await runtime.attachments.reclaim(0)
        assert (await session.attachments.get(HELLO)).data == b"hello"
        assert list(await runtime.session("another").attachments.list()) == []


async def test_what_a_process_puts_stays_as_long_as_the_process_is_kept(location: str) -> None:
    @lash.process
    async def paint(ctx: lash.ProcessContext) -> str:
        async def put() -> str:
            return (await runtime.session("s").attachments.put(b"hello")).id

        return await ctx.step(put, name="put")

    async with opened(location, processes=[paint]) as runtime:
        handle = await runtime.processes.start(paint, id="p")
        assert await handle.result(timeout=10) == HELLO
        kept = await runtime.session("s").attachments.put(b"kept")
        await runtime.session("s").attachments.keep(kept.id)
        await runtime.attachments.reclaim(0)
        assert (await runtime.session("s").attachments.get(HELLO)).data == b"hello"
        await runtime.processes.prune(older_than=timedelta(0))
        report = await runtime.attachments.reclaim(0)
        assert (report.forgotten, report.reclaimed) == (1, 1)
        assert await code_of(runtime.session("s").attachments.get(HELLO)) == "attachment_not_found"


async def test_deleting_drops_the_reference_and_a_sweep_the_bytes(location: str) -> None:
    async with opened(location) as runtime:
        one, two = (runtime.session(name).attachments for name in ("s", "z"))
        for each in (one, two):
            await each.put(b"hello")
            await each.keep(HELLO)
        assert await one.delete(HELLO)
        assert not await one.delete(HELLO)
        assert (await runtime.attachments.reclaim(0)).reclaimed == 0
        assert (await two.get(HELLO)).data == b"hello"
        await two.delete(HELLO)
        assert await code_of(runtime.attachments.reclaim(0)) == "attachment_roots_empty"
        assert (await runtime.attachments.reclaim(0, allow_empty=True)).reclaimed == 1
        assert (await runtime.attachments.reclaim(0)).status == "nothing_to_do"


async def test_by_default_a_sweep_leaves_what_is_new_alone(location: str) -> None:
    async with opened(location) as runtime:
        await runtime.session("s").attachments.put(b"hello")
        report = await runtime.attachments.reclaim()
        assert (report.scanned, report.reclaimed, report.forgotten) == (1, 0, 0)
        assert (await runtime.session("s").attachments.get(HELLO)).data == b"hello"


async def test_a_deleted_session_keeps_nothing_and_takes_nothing(location: str) -> None:
    agent = lash.Agent("a", model=ScriptedModel([reply("hi")]))
    async with opened(location, agents=[agent]) as runtime:
        session = runtime.session("s")
        await session.run("hello")
        await session.attachments.put(b"hello")
        await session.attachments.keep(HELLO)
        await runtime.delete_session("s")
        assert await code_of(session.attachments.get(HELLO)) == "attachment_not_found"
        assert await code_of(session.attachments.put(b"more")) == "session_deleted"
        assert (await runtime.attachments.reclaim(0, allow_empty=True)).reclaimed == 1


async def test_a_fork_reads_what_its_source_had_committed(location: str) -> None:
    agent = lash.Agent("a", model=ScriptedModel([reply("hi")]))
    async with opened(location, agents=[agent]) as runtime:
        session = runtime.session("s")
        await session.run("hello")
        await session.attachments.put(b"hello")
        await session.attachments.keep(HELLO)
        fork = await session.fork("f")
        await session.attachments.delete(HELLO)
        await runtime.attachments.reclaim(0)
        assert (await fork.attachments.get(HELLO)).data == b"hello"


async def test_bytes_show_up_in_no_representation_and_no_log(
    location: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = b"very-secret-bytes"
    with caplog.at_level(logging.DEBUG):
        async with opened(location) as runtime:
            attachments = runtime.session("s").attachments
            ref = await attachments.put(secret)
            found = await attachments.get(ref.id)
            said = [repr(each) for each in (ref, found, attachments, await attachments.list())]
            await attachments.delete(ref.id)
            await runtime.attachments.reclaim(0, allow_empty=True)
    assert "secret" not in "".join(said)
    assert "secret" not in caplog.text


async def test_bytes_that_were_tampered_with_are_not_handed_out(tmp_path: Path) -> None:
    async with opened(str(tmp_path / "a.db")) as runtime:
        attachments = runtime.session("s").attachments
        ref = await attachments.put(bytes(300 * 1024))
        file = tmp_path / "a.db.attachments" / "sha256" / ref.id[:2] / ref.id
        file.write_bytes(b"\1" + bytes(300 * 1024 - 1))
        assert await code_of(attachments.get(ref.id)) == "attachment_corrupt"
        file.write_bytes(b"cut short")
        await attachments.put(bytes(300 * 1024))  # writes it again
        assert (await attachments.get(ref.id)).data == bytes(300 * 1024)


async def test_many_puts_of_the_same_and_of_others_beside_sweeps_lose_nothing(
    location: str,
) -> None:
    async with opened(location) as runtime:
        stop = asyncio.Event()

        async def sweep() -> int:
            swept = 0
            while not stop.is_set():
                swept += (await runtime.attachments.reclaim(0, allow_empty=True)).reclaimed
                await asyncio.sleep(0)  # a store in memory never waits
            return swept

        async def put(name: str) -> None:
            attachments = runtime.session(name).attachments
            for turn in range(20):
                data = f"{turn % 3}".encode()
                try:
                    ref = await attachments.put(data)
                    await attachments.keep(ref.id)
                except (
                    LashError
                ) as error:  # with no grace at all, a sweep may take it for abandoned
                    assert error.code in {"attachment_ref_lost", "attachment_not_found"}  # noqa: PT017
                    continue
                assert (await attachments.get(ref.id)).data == data
                await attachments.delete(ref.id)

        sweeping = asyncio.create_task(sweep())
        await asyncio.gather(*(put(f"s{number}") for number in range(8)))
        stop.set()
        await sweeping
        assert list(await runtime.engine.store.attachments.condemnations()) == []


async def test_putting_does_not_hold_up_the_event_loop(tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.write_bytes(bytes(64 * 1024 * 1024))
    async with opened(str(tmp_path / "a.db")) as runtime:
        putting = asyncio.create_task(runtime.session("s").attachments.put(source))
        steps = 0
        while not putting.done():
            await asyncio.sleep(0.001)
            steps += 1
        ref = await putting
        assert ref.id == hashlib.sha256(source.read_bytes()).hexdigest()
        assert steps > 10


async def test_a_large_attachment_is_read_in_pieces_and_checked_at_its_end(tmp_path: Path) -> None:
    large, piece = bytes(range(256)) * 3000, 256 * 1024
    async with opened(str(tmp_path / "a.db")) as runtime:
        attachments = runtime.session("s").attachments
        small, ref = await attachments.put(b"hello"), await attachments.put(large)
        assert [each async for each in attachments.stream(small.id)] == [b"hello"]
        pieces = [each async for each in attachments.stream(ref.id)]
        assert [len(each) for each in pieces] == [piece, piece, len(large) - 2 * piece]
        assert b"".join(pieces) == large

        foreign = runtime.session("other").attachments.stream(ref.id)
        assert await code_of(anext(foreign)) == "attachment_not_found"
        (file,) = [path for path in tmp_path.rglob(ref.id) if path.is_file()]
        file.write_bytes(large[:-1] + b"!")
        changed = attachments.stream(ref.id)
        assert [len(await anext(changed)) for _ in range(3)] == [len(each) for each in pieces]
        assert await code_of(anext(changed)) == "attachment_corrupt"


async def test_a_check_finds_what_is_to_stay_and_is_not_there(tmp_path: Path) -> None:
    async with opened(str(tmp_path / "a.db")) as runtime:
        attachments = runtime.session("s").attachments
        ref = await attachments.put(bytes(300_000))
        draft = await attachments.put(bytes(300_001))
        await attachments.keep(ref.id)
        assert await runtime.check() == []
        for each in (ref.id, draft.id):
            next(path for path in tmp_path.rglob(each) if path.is_file()).unlink()
        (finding,) = await runtime.check()
        assert (finding.code, finding.severity, finding.session_id) == (
            "attachment_bytes_missing",
            "warning",
            "s",
        )
        assert ref.id in finding.message
