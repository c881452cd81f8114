"""What a session does with its summary: in place of what was said, as one command among the turns."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from session_harness import (
    Holding,
    Staged,
    answering,
    echo_session,
    held_at_the_model,
    is_valid,
    location,
    opened,
    path,
    seen,
    speaking,
    stop_word,
    told,
    until,
    until_queued,
)

import lash
from lash.testing import calls, fail, reply

__all__ = ["location", "path"]

SUMMARY = "What was said before, summarised:\n\n"


def noted(summary: str) -> tuple[str, str]:
    """A summary as the model is shown it."""
    return ("system", f"Runtime note:\n{SUMMARY}{summary}")


def summing(words: str = "SUM") -> Any:
    """Echoes, and answers `SUM<n>` to the n-th request for a summary."""
    count = 0

    def answer(_: int, said: str) -> Any:
        nonlocal count
        if said.startswith("Summarise the conversation"):
            count += 1
            return reply(f"{words}{count}")
        return reply(f"{said}!")

    return answering(answer)


async def test_after_a_summary_the_model_sees_it_in_place_of_what_was_said(
    location: str | Path,
) -> None:
    model, agent = speaking(summing(), instructions="Be brief.")
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.run("Two.")
        turn = await session.compact("Keep the numbers.")
        after = await told(session)
        await session.run("Three.")
        short, whole = await told(session), await told(session, whole=True)
        usage = await session.usage()
        turns = await session.turns()
        assert await is_valid(runtime)

    said = [("user", "One."), ("assistant", "One.!"), ("user", "Two."), ("assistant", "Two.!")]
    summary = ("system", f"{SUMMARY}SUM1")
    last = [("user", "Three."), ("assistant", "Three.!")]
    asked = seen(model.asked[2])
    assert asked[:4] == said
    assert len(asked) == 5
    assert asked[4][1].endswith("Keep the numbers.")
    assert model.asked[2].instructions == "Be brief."
    assert after == [summary]
    assert seen(model.asked[3]) == [noted("SUM1"), last[0]]
    assert short == [summary, *last]
    assert whole == [*said, summary, *last]
    assert (turn.command, turn.text, stop_word(turn)) == ("compact_context", "SUM1", "finished")
    assert [each.command for each in turns] == [None, None, "compact_context", None]
    assert usage.by_source == {
        "turn": lash.Usage(input_tokens=30, output_tokens=15),
        "compaction": lash.Usage(input_tokens=10, output_tokens=5),
    }


async def test_a_second_summary_is_of_the_first_and_what_came_since(
    location: str | Path,
) -> None:
    model = Staged(summing())
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.compact()
        await session.run("Two.")
        await session.compact()
        await session.run("Three.")
        whole = await told(session, whole=True)
        assert await is_valid(runtime)

    assert seen(model.asked[3])[:-1] == [
        noted("SUM1"),
        ("user", "Two."),
        ("assistant", "Two.!"),
    ]
    assert seen(model.asked[4]) == [noted("SUM2"), ("user", "Three.")]
    assert [text for _, text in whole] == [
        "One.",
        "One.!",
        f"{SUMMARY}SUM1",
        "Two.",
        "Two.!",
        f"{SUMMARY}SUM2",
        "Three.",
        "Three.!",
    ]


async def test_a_summary_holds_after_a_restart(path: Path) -> None:
    model = Staged(summing())
    async with opened(path, lash.Agent("agent", model=model)) as runtime:
        await runtime.session("s").run("One.")
        await runtime.session("s").compact()
    model = Staged(summing())
    async with opened(path, lash.Agent("agent", model=model)) as runtime:
        await runtime.session("s").run("Two.")
    assert seen(model.asked[0]) == [noted("SUM1"), ("user", "Two.")]


@pytest.mark.parametrize(
    ("step", "word"),
    [
        (fail("no", status=401), "provider_error"),
        (reply("  "), "provider_error"),
        (calls(("look", {})), "provider_error"),
    ],
    ids=["refused", "blank", "calls"],
)
async def test_without_a_summary_the_conversation_stays_as_it_is(
    location: str | Path, step: Any, word: str
) -> None:
    def answer(made: int, said: str) -> Any:
        return step if said.startswith("Summarise the conversation") else reply(f"{said}!")

    model = Staged(answering(answer))
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        turn = await session.compact()
        assert (stop_word(turn), turn.command, turn.text) == (word, "compact_context", "")
        assert await told(session) == [("user", "One."), ("assistant", "One.!")]
        await session.run("Two.")
        assert await is_valid(runtime)
    assert seen(model.asked[-1]) == [("user", "One."), ("assistant", "One.!"), ("user", "Two.")]


async def test_a_summary_that_is_stopped_changes_nothing(location: str | Path) -> None:
    model = Staged(summing())
    model.hold(1, "SU")
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        compacting = asyncio.create_task(session.compact())

        async def asked() -> bool:
            return len(model.asked) == 2

        await until(asked)
        receipt = await session.cancel(request_id="r")
        assert receipt.outcome == "requested"
        turn = await compacting
        assert (stop_word(turn), turn.text) == ("cancelled", "")
        assert await told(session, whole=True) == [("user", "One."), ("assistant", "One.!")]
        await session.run("Two.")
    assert seen(model.asked[2])[0] == ("user", "One.")


async def test_of_nothing_there_is_no_summary_and_nobody_is_asked(location: str | Path) -> None:
    model = Staged(summing())
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("new")
        turn = await session.compact()
        assert (turn.command, turn.text, stop_word(turn)) == ("compact_context", "", "finished")
        assert await told(session, whole=True) == []
        assert (await session.run("One.")).text == "One.!"
    assert [seen(request) for request in model.asked] == [[("user", "One.")]]


async def test_a_summary_waits_for_what_was_accepted_before_and_holds_for_what_came_after(
    location: str | Path,
) -> None:
    summarising = speaking(summing())
    async with held_at_the_model(location, summarising, prompt="One.") as (session, held):
        before = await session.enqueue("Before.")
        compacting = asyncio.create_task(session.compact())
        await until_queued(session, 2)
        after = await session.enqueue("After.")
        await held.let_go()
        await compacting
        assert (await before.result()).turn_id != (await after.result()).turn_id
    assert seen(held.model.asked[-1]) == [noted("SUM1"), ("user", "After.")]
    assert [text for _, text in seen(held.model.asked[2])[:-1]] == [
        "One.",
        "One.!",
        "Before.",
        "Before.!",
    ]


async def test_a_summary_of_a_turn_with_tools_is_one_every_provider_can_give(
    location: str | Path,
) -> None:
    holding = Holding(is_open=True)

    def answer(made: int, said: str) -> Any:
        if said.startswith("Summarise the conversation"):
            return reply("SUM")
        return calls(("wait", {})) if made == 0 else reply("Over.")

    model, agent = speaking(answering(answer), tools=[holding.tool])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.compact()
        await session.run("Two.")
        assert await is_valid(runtime)
    assert [text for _, text in seen(model.asked[2])[:-1]] == ["One.", "->wait", "<-done", "Over."]
    assert seen(model.asked[3]) == [noted("SUM"), ("user", "Two.")]
    assert [tool.name for tool in model.asked[3].tools] == ["wait"]


async def test_a_summary_under_way_is_carried_on_after_a_restart(path: Path) -> None:
    model = Staged(summing())
    gate = model.hold(1)
    async with opened(path, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        compacting = asyncio.create_task(session.compact())
        await gate.reached.wait()
    with pytest.raises(lash.LashError):
        await compacting
    model = Staged(summing())
    async with opened(path, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await runtime.idle()
        assert await told(session) == [("system", f"{SUMMARY}SUM1")]
        assert [turn.command for turn in await session.turns()] == [None, "compact_context"]


async def test_instructions_for_a_summary_that_are_no_text_are_refused(
    location: str | Path,
) -> None:
    wrong: Any = 7
    async with echo_session(location) as (_, session):
        await session.run("One.")
        with pytest.raises(lash.LashError) as raised:
            async with asyncio.timeout(1):
                await session.compact(wrong)
        assert not isinstance(raised.value, lash.StoreError)


async def test_a_fork_begins_with_the_summary_or_before_it(location: str | Path) -> None:
    model = Staged(summing())
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        await session.run("One.")
        await session.compact()
        before = (await session.history(whole=True))[1]
        assert before.text == "One.!"
        newest = await session.fork("newest")
        earlier = await session.fork("earlier", at=before.id)
        assert await told(newest) == [("system", f"{SUMMARY}SUM1")]
        assert await told(earlier) == [("user", "One."), ("assistant", "One.!")]
        await newest.run("Two.")
        await earlier.run("Two.")
        assert await told(session) == [("system", f"{SUMMARY}SUM1")]
        assert await is_valid(runtime, "newest")
        assert await is_valid(runtime, "earlier")
        compacted = await earlier.compact()
        assert compacted.text == "SUM2"
        await earlier.run("Three.")
    assert seen(model.asked[2]) == [noted("SUM1"), ("user", "Two.")]
    assert seen(model.asked[3]) == [("user", "One."), ("assistant", "One.!"), ("user", "Two.")]
    assert seen(model.asked[5]) == [noted("SUM2"), ("user", "Three.")]
