"""What a model is shown of a long conversation: plugins that leave out its beginning, or have it summarised."""

from collections.abc import Sequence
from itertools import pairwise, permutations
from pathlib import Path

import pytest
from plugin_harness import Made, location, opened, path
from session_harness import Holding, Staged, is_valid, seen, speaking, told, user_texts

import lash
from lash.contrib.history import AutoCompaction, RollingHistory
from lash.llm.request import LlmRequest, TextBlock
from lash.plugins import HistoryEntry, HistoryHook, PluginSession, ShowFrom
from lash.testing import calls, reply
from lash.testing.scripted import Step, calls_made

__all__ = ["location", "path"]


@lash.tool
async def look(place: str) -> str:
    """Look."""
    return "l" * 400


def looking(request: LlmRequest) -> Step:
    """Looks once in each turn, and says so; a summary is `Summary.`"""
    last = request.messages[-1].blocks[-1]
    if isinstance(last, TextBlock) and last.text.startswith("Summarise"):
        return reply("Summary.")
    return reply("Seen.") if calls_made(request) else calls(("look", {"place": "p" * 400}))


def looker() -> tuple[Staged, lash.Agent]:
    return speaking(looking, tools=[look])


def first_of_turns(model: Staged) -> Sequence[LlmRequest]:
    """The first request of each turn."""
    return [request for request in model.asked if not calls_made(request)]


async def test_a_long_conversation_is_shown_from_a_later_turn_on_and_kept_whole(
    location: str | Path,
) -> None:
    model, agent = looker()
    async with opened(location, agent, RollingHistory(max_tokens=1_000)) as runtime:
        session = runtime.session("s")
        for number in range(12):
            await session.run(f"Turn {number}.")
        assert len(await session.history()) == 48
        assert await is_valid(runtime)
    shown = [len(request.messages) for request in first_of_turns(model)]
    # A turn is about 1,1 kB: up to three of them are shown, and one is left where four would be.
    assert shown == [1, 5, 9, 13, 6, 10, 14, 6, 10, 14, 6, 10]
    assert seen(first_of_turns(model)[4]) == [
        ("system", "Runtime note:\nEarlier messages are left out here."),
        ("user", "Turn 3."),
        ("assistant", "->look"),
        ("user", f"<-{'l' * 400}"),
        ("assistant", "Seen."),
        ("user", "Turn 4."),
    ]


async def test_attachments_count_as_what_a_model_is_shown_of_them(location: str | Path) -> None:
    @lash.tool
    async def draw() -> object:
        """Draw."""
        return {"said": "x" * 1_000, "picture": lash.InlineSource(data=b"%PDF-1.7")}

    text = lash.InlineSource(data=b"t" * 20_000, media_type="text/plain")
    picture = lash.InlineSource(data=b"\x89PNG\r\n\x1a\n", media_type="image/png")
    sizes: list[list[int]] = []

    def history(hook: HistoryHook) -> None:
        sizes.append([each.size for each in hook.messages])

    model, agent = speaking(
        lambda request: reply("Done.") if calls_made(request) else calls(("draw", {})), tools=[draw]
    )
    async with opened(location, agent, Made("sizes", history=history)) as runtime:
        session = runtime.session("s")
        await session.run(["Look.", text, picture])
        await session.run("And?")
    said, _, answered, _ = sizes[-1]
    # A picture or a document is taken for 1,600 tokens, of four bytes, and text for what it says.
    assert 26_400 < said < 27_400
    assert 7_400 < answered < 8_400
    assert len(model.asked) == 4


async def test_requests_extend_one_prefix_until_the_window_moves(location: str | Path) -> None:
    model, agent = looker()
    async with opened(location, agent, RollingHistory(max_tokens=1_000)) as runtime:
        for number in range(12):
            await runtime.session("s").run(f"Turn {number}.")
    moved = [
        at
        for at, (before, after) in enumerate(pairwise(model.asked), 1)
        if after.messages[: len(before.messages)] != before.messages
    ]
    assert moved == [8, 14, 20]  # the first requests of the turns 4, 7 and 10, and no others


async def test_a_resumed_turn_is_shown_what_it_was_shown_before(path: Path) -> None:
    holding = Holding()

    def script(request: LlmRequest) -> Step:
        wait = not calls_made(request) and "Wait." in seen(request)[-1][1]
        return calls(("wait", {})) if wait else reply("Hm.")

    model, agent = speaking(script, tools=[holding.tool])
    latest = Made("w", history=lambda told: ShowFrom(told.messages[-2].id))
    async with opened(path, agent) as runtime:
        for number in range(3):
            await runtime.session("s").run(f"Turn {number}.")
    async with opened(path, agent, latest) as runtime:
        await runtime.session("s").enqueue("Wait.")
        await holding.begun.wait()
    holding.gate.open()
    other = Made("w", history=lambda told: None)
    async with opened(path, agent, other) as runtime:
        await runtime.idle()
        assert (await told(runtime.session("s")))[-1] == ("assistant", "Hm.")
    assert [text for _, text in seen(model.asked[-1])] == [
        "Runtime note:\nEarlier messages are left out here.",
        "Turn 2.",
        "Hm.",
        "Wait.",
        "->wait",
        "<-done",
    ]


async def test_a_message_that_nothing_may_begin_with_ends_the_turn(location: str | Path) -> None:
    _, agent = speaking([reply("Hm.")])
    for place in (1, None):  # the answer, which is not the user's; none at all

        def history(told: HistoryHook, place: int | None = place) -> ShowFrom | None:
            if not told.messages:
                return None
            return ShowFrom("nowhere" if place is None else told.messages[place].id)

        plugin = Made("w", history=history)
        async with opened(location, agent, plugin) as runtime:
            session = runtime.session("s")
            await session.run("Hello.")
            result = await session.run("Hello again.")
        assert [issue.code for issue in result.issues] == ["plugin_directive_invalid"]


def test_only_one_plugin_says_what_is_shown() -> None:
    for pair in permutations([RollingHistory(), AutoCompaction()]):
        with pytest.raises(lash.ConfigurationError) as caught:
            lash.Agent("a", model=Staged([]), plugins=pair)
        assert caught.value.code == "plugin_conflict"
        assert all(repr(plugin.id) in caught.value.message for plugin in pair)


async def test_a_conversation_that_grew_too_long_goes_on_with_a_summary(
    location: str | Path,
) -> None:
    model, agent = looker()
    async with opened(location, agent, AutoCompaction(max_tokens=500)) as runtime:
        session = runtime.session("s")
        for number in range(4):
            await session.run(f"Turn {number}.")
            await runtime.idle()
        # The third turn finds two of them too long; the summary follows it.
        assert [turn.command for turn in await session.turns()] == [
            *[None] * 3,
            "compact_context",
            None,
        ]
        assert len(await session.history(whole=True)) == 4 * 4 + 1
        assert (await told(session))[0][1].endswith("Summary.")
    asked = [text for _, text in seen(first_of_turns(model)[-1])]
    assert asked == [
        "Runtime note:\nWhat was said before, summarised:\n\nSummary.",
        "Turn 3.",
    ]


async def test_a_summary_that_failed_is_not_asked_for_with_every_turn(path: Path) -> None:
    def script(request: LlmRequest) -> Step:
        step = looking(request)
        return reply("") if step == reply("Summary.") else step

    _, agent = speaking(script, tools=[look])
    async with opened(path, agent, AutoCompaction(max_tokens=1_900)) as runtime:
        session = runtime.session("s")
        for number in range(12):
            await session.run(f"Turn {number}.")
            await runtime.idle()
        asked = [at for at, turn in enumerate(await session.turns()) if turn.command]
    # About 290 tokens a turn: the eighth finds seven of them too long; 475 more are two turns more.
    assert asked == [8, 11, 14]


def entry(number: int, size: int, *, begins: bool = False) -> HistoryEntry:
    return HistoryEntry(id=f"m{number}", role="user", size=size, begins=begins)


def shown_from(sizes: Sequence[int], limit: int, window: int | None = None) -> str | None:
    """From where a conversation is shown in which every other message begins a turn."""
    kept: dict[str, object] = {}

    class Keeper:
        def get(self, plugin_id: str) -> object:
            return kept.get(plugin_id)

        def put(self, plugin_id: str, state: object) -> None:
            kept[plugin_id] = state

        def emit(self, plugin_id: str, name: str, payload: object) -> None: ...

    session = PluginSession("s", "a", "rolling_history", {}, Keeper())  # type: ignore[arg-type]  # as little as is asked
    entries = [entry(at, size, begins=at % 2 == 0) for at, size in enumerate(sizes)]
    answer = RollingHistory(max_tokens=limit).history(HistoryHook(session, "t", entries, window))
    return None if answer is None else answer.message_id


def test_the_last_turns_are_shown_that_fit_into_half_of_the_limit() -> None:
    assert shown_from([40] * 6, limit=60) is None  # 60 tokens, which is not too much
    assert shown_from([40] * 6, limit=59) == "m4"
    assert shown_from([40] * 6, limit=100, window=60) == "m4"  # three quarters of the window are 45
    assert shown_from([40, 40, 4, 4, 4, 4], limit=16) == "m2"
    assert shown_from([40, 40, 400, 400], limit=100) == "m2"  # the last turn, whatever its size
    assert shown_from([400, 400], limit=10) is None


def test_a_limit_is_a_number() -> None:
    for wrong in (0, -1, "many", True):
        for made in (RollingHistory, AutoCompaction):
            with pytest.raises(lash.ConfigurationError):
                made(max_tokens=wrong)  # type: ignore[arg-type]  # what it refuses


async def test_a_frame_that_its_turn_leaves_is_not_summarised(location: str | Path) -> None:
    @lash.tool
    async def leave() -> lash.SwitchFrame:
        """Go on elsewhere."""
        return lash.SwitchFrame(frame_id="next", task="The next task.")

    def script(request: LlmRequest) -> Step:
        said = str(request.messages[-1])
        return calls(("leave", {})) if "Leave." in said else reply("s" * 4_000)

    _, agent = speaking(script, tools=[leave])
    async with opened(location, agent, AutoCompaction(max_tokens=1_000)) as runtime:
        session = runtime.session("s")
        await session.run("Long.")
        await session.run("Leave.")
        await runtime.idle()
        assert [turn.command for turn in await session.turns()] == [None, None, None]
        assert await user_texts(session) == ["The next task."]
        await session.run("More.")
        await runtime.idle()
        # In the next frame it is measured anew.
        assert [turn.command for turn in await session.turns()][3:] == [None, "compact_context"]
