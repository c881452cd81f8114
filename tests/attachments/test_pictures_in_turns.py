"""Pictures and documents in what users say and tools answer, as applications and models see them."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import lash
from lash.core.errors import LashError
from lash.llm.request import (
    AttachmentBlock,
    LlmBlock,
    LlmRequest,
    TextBlock,
    ToolResultBlock,
)
from lash.sessions.model import ToolCallRecord
from lash.testing import ScriptedModel, calls, reply
from lash.turn.tools import ToolFailed

#: A PNG of three by two pixels, as far as its header goes.
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x03\x00\x00\x00\x02\x08\x02\x00\x00\x00"


@pytest.fixture(params=(":memory:", "agents.db"))
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name: str = request.param
    return name if name == ":memory:" else str(tmp_path / name)


def agent(model: ScriptedModel, *tools: object) -> lash.Agent:
    return lash.Agent("a", model=model, tools=list(tools))  # type: ignore[arg-type]  # tools of tests


def last(model: ScriptedModel) -> tuple[LlmBlock, ...]:
    """The blocks of the newest message that the model was shown."""
    return model.requests[-1].messages[-1].blocks


def shown(picture: bytes, media_type: str, label: str | None = None) -> AttachmentBlock:
    """A block as a provider is given it: with its bytes."""
    return AttachmentBlock(
        source=lash.InlineSource(data=picture, media_type=media_type, label=label)
    )


def why(call: ToolCallRecord) -> tuple[str, str]:
    """Why a call failed, and who says so."""
    assert isinstance(call.output.outcome, ToolFailed)
    return call.output.outcome.payload.code, call.output.outcome.payload.source


async def code_of(call: object) -> str:
    with pytest.raises(LashError) as raised:
        await call  # type: ignore[misc]  # any call of the face
    return str(raised.value.code)


# --- what users say ---------------------------------------------------------------------------------


async def test_a_model_is_shown_text_and_pictures_in_the_order_in_which_the_user_gave_them(
    location: str, tmp_path: Path
) -> None:
    model = ScriptedModel([reply("A cat.")])
    (tmp_path / "notes.md").write_text("# Order 7")
    async with lash.Runtime(location, agents=[agent(model)]) as runtime:
        session = runtime.session("s")
        ref = await session.attachments.put(PNG, label="cat.png")
        outside = lash.ExternalUrlSource(media_type="image/png", url="https://example.com/a.png")
        await session.run(
            [
                "What is",
                ref,
                "and this?",
                lash.InlineSource(data=b"%PDF-1.7", media_type="application/pdf"),
                tmp_path / "notes.md",
                outside,
            ]
        )
    assert last(model) == (
        TextBlock(text="What is"),
        shown(PNG, "image/png", "cat.png"),
        TextBlock(text="and this?"),
        shown(b"%PDF-1.7", "application/pdf"),
        shown(b"# Order 7", "text/markdown", "notes.md"),
        AttachmentBlock(source=outside),
    )


async def test_history_shows_attachments_by_reference_and_the_turn_keeps_them(
    location: str,
) -> None:
    model = ScriptedModel([reply("A cat.")])
    async with lash.Runtime(location, agents=[agent(model)]) as runtime:
        session = runtime.session("s")
        await session.run([lash.InlineSource(data=PNG, label="cat.png"), "What is it?"])
        said, answer = await session.history()
        assert (said.role, said.text, answer.text) == ("user", "What is it?", "A cat.")
        (source,) = said.attachments
        assert isinstance(source, lash.StoredSource)
        ref = source.attachment_ref
        assert (ref.media_type, ref.byte_len, ref.label) == ("image/png", len(PNG), "cat.png")
        assert answer.attachments == ()

        report = await runtime.attachments.reclaim(0)
        assert report.reclaimed == 0  # the turn has taken it up for good
        assert (await session.attachments.get(ref.id)).data == PNG
        (entry,) = await session.attachments.list()
        assert entry.committed_at_ms is not None


async def test_what_the_session_does_not_hold_is_refused_and_nothing_is_accepted(
    location: str,
) -> None:
    model = ScriptedModel([reply("?")])
    async with lash.Runtime(location, agents=[agent(model)]) as runtime:
        foreign = await runtime.session("other").attachments.put(PNG)
        session = runtime.session("s")
        assert await code_of(session.run(["What is it?", foreign])) == "attachment_not_found"
        assert await code_of(session.enqueue(["What is it?", foreign])) == "attachment_not_found"
        assert await session.info() is None
    assert model.requests == []


@pytest.mark.parametrize("prompt", [[], [" "], ["a", 7], 7, b"picture", [b"picture"]])
async def test_prompts_that_are_none_are_refused(prompt: object) -> None:
    async with lash.Runtime(":memory:", agents=[agent(ScriptedModel([]))]) as runtime:
        code = await code_of(runtime.session("s").run(prompt))  # type: ignore[call-overload]  # on purpose
        assert code in {"turn_input_empty", "turn_input_invalid"}


async def test_a_url_that_no_provider_could_fetch_is_refused_and_never_kept() -> None:
    @lash.tool
    async def look() -> lash.ExternalUrlSource:
        """Look."""
        return lash.ExternalUrlSource(url="data:image/png;base64,iVBO", media_type="image/png")

    model = ScriptedModel([calls(("look", {})), reply("Hm.")])
    async with lash.Runtime(":memory:", agents=[agent(model, look)]) as runtime:
        session = runtime.session("s")
        for url, media_type, code in (
            ("data:image/png;base64,iVBO", "image/png", "attachment_invalid"),
            ("photo.png", "image/png", "attachment_invalid"),
            (7, "image/png", "attachment_invalid"),
            ("https://example.com/a.png", "png", "attachment_media_type_invalid"),
        ):
            source = lash.ExternalUrlSource(url=url, media_type=media_type)  # type: ignore[arg-type]  # wrong on purpose
            assert await code_of(session.run(["Look:", source])) == code
        assert await session.pending() == []
        (call,) = (await session.run("Look.")).tool_calls
        assert why(call) == ("attachment_invalid", "runtime")


async def test_the_policy_decides_what_users_may_attach() -> None:
    policy = lash.AttachmentPolicy(media_types=["image/*"], sources=["inline"])
    async with lash.Runtime(
        ":memory:", agents=[agent(ScriptedModel([]))], attachment_policy=policy
    ) as runtime:
        session = runtime.session("s")
        text = lash.InlineSource(data=b"text", media_type="text/plain")
        assert await code_of(session.run([text])) == "attachment_not_admitted"
        url = lash.ExternalUrlSource(media_type="image/png", url="https://example.com/a.png")
        assert await code_of(session.run([url])) == "attachment_not_admitted"
        assert await session.attachments.list() == []


async def test_input_that_was_accepted_is_known_again_when_its_picture_is_gone(
    location: str,
) -> None:
    model = ScriptedModel([reply("A cat.")])
    async with lash.Runtime(location, agents=[agent(model)]) as runtime:
        session = runtime.session("s")
        ref = await session.attachments.put(PNG)
        await session.run([ref], turn_id="t")
        await session.attachments.delete(ref.id)
        assert (await session.run([ref], turn_id="t")).text == "A cat."
        assert await code_of(session.run([ref])) == "attachment_not_found"
        forged = lash.AttachmentRef(id="../x", media_type="image/png", byte_len=1)
        assert await code_of(session.run([forged])) == "attachment_id_invalid"


async def test_the_same_picture_under_the_same_turn_id_is_the_same_input_and_another_is_not(
    location: str,
) -> None:
    model = ScriptedModel([reply("A cat.")])
    async with lash.Runtime(location, agents=[agent(model)]) as runtime:
        session = runtime.session("s")
        first = await session.run(["What?", lash.InlineSource(data=PNG)], turn_id="t")
        again = await session.run(["What?", lash.InlineSource(data=PNG)], turn_id="t")
        assert (first.text, again.text, len(model.requests)) == ("A cat.", "A cat.", 1)
        other = session.run(["What?", lash.InlineSource(data=PNG + b"!")], turn_id="t")
        assert await code_of(other) == "turn_input_conflict"


async def test_a_sweep_leaves_what_accepted_input_shows_and_takes_what_was_taken_back(
    location: str,
) -> None:
    @lash.tool
    async def wait(ctx: lash.ToolContext) -> object:
        """Wait for somebody."""
        return await ctx.defer(keys.append)

    keys: list[lash.AwaitEventKey] = []
    model = ScriptedModel(lambda _: reply("done") if keys else calls(("wait", {})))
    async with lash.Runtime(
        location, agents=[agent(model, wait)], process_lifetime_keys=True
    ) as runtime:
        session = runtime.session("s")
        async with asyncio.TaskGroup() as group:
            running = group.create_task(session.run([lash.InlineSource(data=PNG)]))
            await until(lambda: bool(keys))
            queued = await session.enqueue([lash.InlineSource(data=PNG + b"queued")])
            dropped = await session.enqueue([lash.InlineSource(data=PNG + b"dropped")])
            named = await session.attachments.put(PNG + b"named")
            injected = await session.inject(["See", named])
            await session.attachments.put(PNG + b"nobody's")
            assert (await runtime.attachments.reclaim(0)).reclaimed == 1

            await dropped.cancel()
            assert (await runtime.attachments.reclaim(0)).reclaimed == 1
            await runtime.completions.resolve(keys[0], "go on")
            await running
        await queued.result()
        await injected.result()
        assert (await runtime.attachments.reclaim(0)).reclaimed == 0
        entries = await session.attachments.list()
        assert [each.committed_at_ms is not None for each in entries] == [True, True, True]
        texts = [(each.text, len(each.attachments)) for each in await session.history()]
        assert texts == [("", 1), ("", 0), ("", 0), ("See", 1), ("done", 0), ("", 1), ("done", 0)]


async def until(true: Callable[[], bool]) -> None:
    """Give others their turns until something holds."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  the condition is the test's own
            await asyncio.sleep(0.005)


# --- what tools answer ------------------------------------------------------------------------------


async def test_a_model_is_shown_a_tools_picture_where_it_stands_in_the_tools_value(
    location: str,
) -> None:
    @lash.tool
    async def chart(ctx: lash.ToolContext) -> dict[str, object]:
        """Draw a chart."""
        ref = await ctx.attachments.put(PNG, label="chart.png")
        return {
            "a": ref,
            "b": [1, lash.InlineSource(data=b"%PDF-1.7", media_type="application/pdf")],
        }

    model = ScriptedModel([calls(("chart", {})), reply("done")])
    async with lash.Runtime(location, agents=[agent(model, chart)]) as runtime:
        session = runtime.session("s")
        result = await session.run("Draw.")
        (block,) = last(model)
        assert isinstance(block, ToolResultBlock)
        assert block.pieces == (
            TextBlock(text='{"a":'),
            shown(PNG, "image/png", "chart.png"),
            TextBlock(text=',"b":[1,'),
            shown(b"%PDF-1.7", "application/pdf"),
            TextBlock(text="]}"),
        )
        assert block.content == (
            f'{{"a":[attachment chart.png: image/png, {len(PNG)} bytes],"b":[1,'
            "[attachment: application/pdf, 8 bytes]]}"
        )
        (call,) = result.tool_calls
        assert "JVBERi0x" not in repr(call)  # the PDF in base64
        (message,) = [each for each in await session.history() if each.tool_results]
        assert [
            each.attachment_ref.media_type
            for each in message.attachments
            if isinstance(each, lash.StoredSource)
        ] == ["image/png", "application/pdf"]
        assert (await runtime.attachments.reclaim(0)).reclaimed == 0
        assert len(await session.attachments.list()) == 2


async def test_data_that_looks_like_an_attachment_is_data() -> None:
    looks: dict[str, object] = {
        "$lash_tool_value": "attachment",
        "source": {"source": "external_url", "url": "x"},
    }

    @lash.tool
    async def fetch() -> dict[str, object]:
        """Fetch."""
        return looks

    @lash.tool
    async def both() -> list[object]:
        """Fetch, with a picture."""
        return [looks, lash.InlineSource(data=PNG)]

    model = ScriptedModel([calls(("fetch", {}), ("both", {})), reply("done")])
    async with lash.Runtime(":memory:", agents=[agent(model, fetch, both)]) as runtime:
        result = await runtime.session("s").run("Go.")
        plain, mixed = last(model)
        assert isinstance(plain, ToolResultBlock)
        assert isinstance(mixed, ToolResultBlock)
        assert plain.pieces == ()
        text = '{"$lash_tool_value":"attachment","source":{"source":"external_url","url":"x"}}'
        assert plain.content == text
        assert mixed.pieces == (
            TextBlock(text=f"[{text},"),
            shown(PNG, "image/png"),
            TextBlock(text="]"),
        )
        assert result.tool_calls[0].output.outcome.payload == looks


async def test_what_the_policy_does_not_take_from_a_tool_is_the_calls_failure() -> None:
    @lash.tool
    async def draw() -> lash.InlineSource:
        """Draw."""
        return lash.InlineSource(data=PNG)

    @lash.tool
    async def point() -> lash.AttachmentRef:
        """Point at something that is another session's."""
        return lash.AttachmentRef(id="0" * 64, media_type="image/png", byte_len=1)

    model = ScriptedModel([calls(("draw", {}), ("point", {})), reply("done")])
    policy = lash.AttachmentPolicy(media_types=["text/*"], producers=["tool"])
    async with lash.Runtime(
        ":memory:", agents=[agent(model, draw, point)], attachment_policy=policy
    ) as runtime:
        result = await runtime.session("s").run("Draw.")
        assert why(result.tool_calls[0]) == ("attachment_source_policy_denied", "policy")

    @lash.tool
    async def link() -> lash.ExternalUrlSource:
        """Point at something outside."""
        return lash.ExternalUrlSource(media_type="text/html", url="https://example.com/")

    model = ScriptedModel([calls(("link", {})), reply("done")])
    policy = lash.AttachmentPolicy(sources=["inline", "stored"])
    async with lash.Runtime(
        ":memory:", agents=[agent(model, link)], attachment_policy=policy
    ) as runtime:
        result = await runtime.session("s").run("Link.")
        assert why(result.tool_calls[0]) == ("attachment_source_policy_denied", "policy")
    model = ScriptedModel([calls(("point", {})), reply("done")])
    async with lash.Runtime(":memory:", agents=[agent(model, point)]) as runtime:
        result = await runtime.session("s").run("Point.")
        assert why(result.tool_calls[0]) == ("attachment_not_found", "runtime")


async def test_a_turn_whose_picture_is_gone_fails_and_goes_on_once_it_is_put_again(
    location: str,
) -> None:
    model = ScriptedModel([reply("A cat.")])
    async with lash.Runtime(location, agents=[agent(model)]) as runtime:
        session = runtime.session("s")
        ref = await session.attachments.put(PNG)
        await session.run([ref])
        await session.attachments.delete(ref.id)
        failed = await session.run("And now?")
        assert not failed.is_success
        assert [issue.code for issue in failed.issues] == ["attachment_resolution_failed"]
        assert len(model.requests) == 1  # nobody was asked
        await session.attachments.put(PNG)
        assert (await session.run("And now?")).text == "A cat."


async def test_a_turn_whose_picture_is_deleted_while_it_runs_is_committed_all_the_same(
    location: str,
) -> None:
    @lash.tool
    async def drop(ctx: lash.ToolContext) -> str:
        """Delete everything."""
        for entry in await runtime.session(ctx.session_id).attachments.list():
            await runtime.session(ctx.session_id).attachments.delete(entry.ref.id)
        return "gone"

    model = ScriptedModel([calls(("drop", {})), reply("?")])
    async with lash.Runtime(location, agents=[agent(model, drop)]) as runtime:
        session = runtime.session("s")
        result = await session.run([lash.InlineSource(data=PNG)])
        assert [issue.code for issue in result.issues] == ["attachment_resolution_failed"]
        assert len(await session.turns()) == 1
        assert (await session.history())[0].attachments != ()
        assert await session.attachments.list() == []


async def test_a_fork_reads_the_pictures_of_the_history_it_begins_with(location: str) -> None:
    model = ScriptedModel([reply("A cat.")])
    async with lash.Runtime(location, agents=[agent(model)]) as runtime:
        session = runtime.session("s")
        await session.run(["What is it?", lash.InlineSource(data=PNG)])
        fork = await session.fork("f")
        await runtime.delete_session("s")
        assert (await runtime.attachments.reclaim(0)).reclaimed == 0
        assert (await fork.run("And now?")).text == "A cat."
        first = model.requests[-1].messages[0]
        assert shown(PNG, "image/png") in first.blocks


async def test_requests_of_a_session_with_pictures_extend_the_same_prefix() -> None:
    @lash.tool
    async def draw() -> list[object]:
        """Draw."""
        return ["here", lash.InlineSource(data=PNG)]

    model = ScriptedModel([calls(("draw", {})), reply("done")])
    async with lash.Runtime(":memory:", agents=[agent(model, draw)]) as runtime:
        session = runtime.session("s")
        await session.run(["Look", lash.InlineSource(data=PNG)])
        await session.run("Again.")
    sent: list[LlmRequest] = model.requests
    assert [len(each.messages) for each in sent] == [1, 3, 5, 7]
    for shorter, longer in pairwise(sent):
        assert longer.messages[: len(shorter.messages)] == shorter.messages


async def test_an_answer_from_outside_may_show_pictures_like_any_other(location: str) -> None:
    @lash.tool
    async def photograph(ctx: lash.ToolContext) -> object:
        """Have somebody take a picture."""
        return await ctx.defer(keys.append)

    keys: list[lash.AwaitEventKey] = []
    model = ScriptedModel([calls(("photograph", {})), reply("done")])
    async with lash.Runtime(
        location, agents=[agent(model, photograph)], process_lifetime_keys=True
    ) as runtime:
        session = runtime.session("s")
        running = asyncio.ensure_future(session.run("Show me."))
        await until(lambda: bool(keys))
        answer = {"picture": lash.InlineSource(data=PNG, label="me.png")}
        await runtime.completions.resolve(keys[0], answer)
        result = await running
        (block,) = last(model)
        assert isinstance(block, ToolResultBlock)
        assert block.pieces == (
            TextBlock(text='{"picture":'),
            shown(PNG, "image/png", "me.png"),
            TextBlock(text="}"),
        )
        assert (await runtime.attachments.reclaim(0)).reclaimed == 0
        (entry,) = await session.attachments.list()
        assert entry.committed_at_ms is not None
        assert result.tool_calls[0].output.outcome.payload == {
            "picture": {
                "$lash_tool_value": "attachment",
                "source": {
                    "source": "stored",
                    "attachment_ref": {
                        "id": entry.ref.id,
                        "media_type": "image/png",
                        "byte_len": len(PNG),
                        "type_metadata": {"type": "image", "width": 3, "height": 2},
                        "label": "me.png",
                    },
                },
            }
        }
        late = await runtime.completions.resolve(keys[0].token + "x", answer)
        assert type(late).__name__ == "UnknownOrRevoked"


async def test_a_tool_that_runs_as_a_process_keeps_its_pictures_as_long_as_the_process(
    location: str,
) -> None:
    @lash.tool
    async def draw(ctx: lash.ToolContext) -> list[object]:
        """Draw."""
        return [await ctx.attachments.put(PNG + b"put"), lash.InlineSource(data=PNG)]

    painter = lash.Agent("painter", model=ScriptedModel([]), tools=[draw])
    async with lash.Runtime(location, agents=[painter]) as runtime:
        handle = await runtime.processes.start_tool("painter", "draw", {}, id="p")
        first, second = await handle.result()
        assert first["$lash_tool_value"] == second["$lash_tool_value"] == "attachment"
        assert (await runtime.attachments.reclaim(0)).reclaimed == 0
        attachments = runtime.session("process-env:p").attachments
        found = await attachments.get(second["source"]["attachment_ref"]["id"])
        assert found.data == PNG


async def test_a_process_puts_once_and_reads_on_every_run(tmp_path: Path) -> None:
    runs = 0
    source = tmp_path / "picture.png"
    source.write_bytes(PNG)

    @lash.process
    async def paint(ctx: lash.ProcessContext) -> list[str | int | None]:
        """Paint."""
        nonlocal runs
        ref = await ctx.attachments.put(source)
        other = await ctx.attachments.put(b"text", label="notes")
        runs += 1
        source.unlink(missing_ok=True)
        await ctx.signal("go")
        return [ref.media_type, other.label, len((await ctx.attachments.get(ref.id)).data)]

    db = str(tmp_path / "a.db")
    async with lash.Runtime(db, processes=[paint]) as runtime:
        handle = await runtime.processes.start(paint, id="p")
        await until(lambda: runs == 1)
        await runtime.idle(timeout=20)
    async with lash.Runtime(db, processes=[paint]) as runtime:
        assert (await runtime.attachments.reclaim(0)).reclaimed == 0
        handle = runtime.processes.handle("p", paint)
        await handle.signal("go", None, id="1")
        assert await handle.result(timeout=20) == ["image/png", "notes", len(PNG)]
        assert runs == 2


async def test_bytes_are_kept_as_attachments_and_nowhere_else(tmp_path: Path) -> None:
    @lash.tool
    async def draw() -> list[object]:
        """Draw."""
        return ["here", lash.InlineSource(data=PNG + b"drawn")]

    model = ScriptedModel([calls(("draw", {})), reply("done")])
    db = tmp_path / "a.db"
    async with lash.Runtime(str(db), agents=[agent(model, draw)]) as runtime:
        session = runtime.session("s")
        await session.run(["Look", lash.InlineSource(data=PNG)], turn_id="t")
        assert "iVBOR" not in repr(await runtime.journal("s", "t"))
        assert "PNG" not in repr(model.requests)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    # What a PNG begins with, in base64.
    assert not [path for path in files if b"iVBORw0KGgo" in path.read_bytes()]
