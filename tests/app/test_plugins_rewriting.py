"""Plugins that put other text in the place of what a model says, before it is kept and shown."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from plugin_harness import Made, location, opened, path
from session_harness import Staged, told

import lash
from lash.events import TextDelta
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse, TextPart
from lash.llm.stream import Emit
from lash.testing import calls, reply
from lash.testing.scripted import Step

__all__ = ["location", "path"]


@lash.tool
async def look() -> str:
    """Look."""
    return "seen"


class Twice(Staged):
    """Says its text in the parts of its answer, and once more as a whole."""

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        response = await super().complete(request, emit)
        texts = [part.text for part in response.parts if isinstance(part, TextPart)]
        return msgspec.structs.replace(response, full_text="".join(texts))


def speaker(*said: Step) -> tuple[Staged, lash.Agent]:
    model = Twice(list(said))
    return model, lash.Agent("speaker", model=model, tools=[look])


def replacing(name: str, before: str, after: str) -> Made:
    return Made(name, rewrite=lambda text, session: text.replace(before, after))


async def test_what_is_put_in_its_place_is_all_that_is_shown_and_kept(path: Path) -> None:
    model, agent = speaker(
        calls(("look", {}), text="The zanzibar is near."), reply("The zanzibar is 7.")
    )
    async with opened(path, agent, replacing("p", "zanzibar", "******")) as runtime:
        session = runtime.session("s")
        async with session.stream("Go.", turn_id="t") as live:
            shown = [event.text async for event in live if isinstance(event, TextDelta)]
            result = await live.result()
        assert (await runtime.replay("s", "t")).verdict == "identical"
        assert [text for role, text in await told(session) if role == "assistant"] == [
            "The ****** is near. ->look",
            "The ****** is 7.",
        ]
    assert result.text == "The ****** is 7."
    assert shown == ["The ****** is near.", "The ****** is 7."]
    assert "zanzibar" not in str(model.asked[1].messages)
    assert b"zanzibar" not in path.read_bytes()


@pytest.mark.parametrize(("order", "text"), [("ab", "c"), ("ba", "b")])
async def test_each_is_asked_about_what_the_one_before_it_made(
    location: str | Path, order: str, text: str
) -> None:
    made = {"a": replacing("a", "a", "b"), "b": replacing("b", "b", "c")}
    _, agent = speaker(reply("a"))
    async with opened(location, agent, *(made[name] for name in order)) as runtime:
        assert (await runtime.session("s").run("Go.")).text == text


async def test_a_text_that_cannot_be_rewritten_is_not_kept_and_its_cost_is(path: Path) -> None:
    def fails(text: str, session: object) -> str:
        raise ValueError("no idea")

    for wrong, code in ((fails, "plugin_failed"), (lambda *_: 7, "plugin_directive_invalid")):
        _, agent = speaker(reply("The zanzibar is 7."))
        async with opened(path, agent, Made("p", rewrite=wrong)) as runtime:
            session = runtime.session(code)
            result = await session.run("Go.")
            assert await told(session) == [("user", "Go.")]
        assert [issue.code for issue in result.issues] == [code]
        assert result.text == ""
        assert result.usage.output_tokens > 0
    assert b"zanzibar" not in path.read_bytes()


async def test_a_resumed_turn_keeps_what_was_put_in_its_place(path: Path) -> None:
    asked: list[str] = []
    reached, gate = asyncio.Event(), asyncio.Event()

    def rewrite(text: str, session: object) -> str:
        asked.append(text)
        return f"{text} ({len(asked)})"

    async def before_tool(call: object) -> None:
        reached.set()
        await gate.wait()

    model, agent = speaker(calls(("look", {}), text="Let me see."), reply("Done."))
    plugin = Made("p", rewrite=rewrite, before_tool=before_tool)
    async with opened(path, agent, plugin) as runtime:
        await runtime.session("s").enqueue("Go.")
        await reached.wait()
    gate.set()
    async with opened(path, agent, plugin) as runtime:
        await runtime.idle()
        texts = [text for _, text in await told(runtime.session("s"))]
    assert texts[1] == "Let me see. (1) ->look"
    assert texts[-1] == "Done. (2)"
    assert asked == ["Let me see.", "Done."]
    assert len(model.asked) == 2
