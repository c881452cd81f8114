"""What a session used: by source and by model, and the same as its turns say."""

from pathlib import Path
from typing import Any

import pytest
from session_harness import (
    Holding,
    Staged,
    answering,
    left_under_way,
    location,
    opened,
    path,
    speaking,
    stop_word,
    under_way,
)

import lash
import lash.app.model as naming
from lash.testing import calls, fail, reply

__all__ = ["location", "path"]


def tokens(input_tokens: int, output_tokens: int) -> lash.Usage:
    return lash.Usage(input_tokens=input_tokens, output_tokens=output_tokens)


def total(turns: Any) -> lash.Usage:
    spent = lash.Usage()
    for turn in turns:
        spent += turn.usage
    return spent


async def test_usage_is_booked_by_source_and_model_and_sums_up_to_the_turns(
    location: str | Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = Staged([reply("Yes.", usage=tokens(7, 3))], name="small")
    other = Staged([reply("Hi.", usage=tokens(1000, 500))], kind="other")
    monkeypatch.setattr(naming, "provider_from_environment", lambda _: other)

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> str:
        """Ask a model."""
        return (await ctx.direct("Is it?", model=helper)).text

    def answer(made: int, said: str) -> Any:
        if said.startswith("Summarise the conversation"):
            return reply("SUM", usage=tokens(50, 20))
        if said == "Fail.":
            return fail("no", status=401)
        if made == 0:
            return calls(("ask", {}), ("ask", {}), usage=tokens(100, 10))
        return reply("Over.", usage=tokens(200, 20))

    _, agent = speaking(answering(answer), tools=[ask])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        assert (await session.usage()).entry_count == 0
        first = await session.run("Go.")
        compacted = await session.compact()
        assert stop_word(await session.run("Fail.")) == "provider_error"
        await session.configure(model="other:large")
        last = await session.run("Go.")
        report = await session.usage()
        turns = await session.turns()
        info = await session.info()

    assert (first.usage, compacted.usage, last.usage) == (
        tokens(314, 36),
        tokens(50, 20),
        tokens(1000, 500),
    )
    assert [(entry.source, entry.model, entry.usage) for entry in report.by_source_model] == [
        ("compaction", "scripted:script", tokens(50, 20)),
        ("tool", "scripted:small", tokens(14, 6)),
        ("turn", "other:large", tokens(1000, 500)),
        ("turn", "scripted:script", tokens(300, 30)),
    ]
    assert report.by_source == {
        "compaction": tokens(50, 20),
        "tool": tokens(14, 6),
        "turn": tokens(1300, 530),
    }
    assert report.by_model == {
        "other:large": tokens(1000, 500),
        "scripted:script": tokens(350, 50),
        "scripted:small": tokens(14, 6),
    }
    assert (report.entry_count, report.total_tokens) == (4, 1364 + 556)
    assert report.usage == total(turns) == tokens(1364, 556)
    assert info is not None
    assert info.usage == report.usage


async def test_an_attempt_that_failed_and_reported_nothing_is_booked_as_nothing(
    location: str | Path,
) -> None:
    _, agent = speaking(
        [fail(after_text="It is", retry_after=0.0), reply("Over.", usage=tokens(20, 4))],
        retry=lash.RetryPolicy(base_delay_ms=0),
    )
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.")
        report = await session.usage()
    assert report.usage == turn.usage
    assert report.by_source == {"turn": turn.usage}
    assert turn.usage == tokens(20, 4)


async def test_a_stopped_turn_is_booked_for_what_it_used(location: str | Path) -> None:
    holding = Holding()
    _, agent = speaking(
        [calls(("wait", {}), usage=tokens(30, 3)), reply("Never.")], tools=[holding.tool]
    )
    async with under_way(location, agent, holding.begun, turn_id="t") as (_, session, running):
        await session.cancel("t")
        assert (await running).usage == tokens(30, 3)
        assert (await session.usage()).by_source == {"turn": tokens(30, 3)}


async def test_what_is_used_is_booked_once_over_a_restart(path: Path) -> None:
    holding = Holding()
    helper = Staged([reply("Yes.", usage=tokens(7, 3))], name="small")

    @lash.tool
    async def ask(ctx: lash.ToolContext) -> str:
        """Ask a model."""
        return (await ctx.direct("Is it?", model=helper)).text

    def agent() -> lash.Agent:
        model = Staged([calls(("ask", {})), calls(("wait", {})), reply("Over.")])
        return lash.Agent("agent", model=model, tools=[ask, holding.tool])

    await left_under_way(path, agent(), holding.begun)
    holding.gate.open()
    async with opened(path, agent()) as runtime:
        turn = await runtime.session("s").wait("t")
        report = await runtime.session("s").usage()
    assert turn.usage == tokens(37, 18)
    assert report.by_source == {"turn": tokens(30, 15), "tool": tokens(7, 3)}
    assert len(helper.asked) == 1


async def test_a_summary_is_no_part_of_a_later_turns_usage(location: str | Path) -> None:
    model = Staged(answering(lambda _, said: reply("SUM" if said.startswith("Summ") else "Hi.")))
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        session = runtime.session("s")
        turns = [await session.run("One."), await session.compact(), await session.run("Two.")]
        assert [turn.usage for turn in turns] == [tokens(10, 5)] * 3
        assert (await session.usage()).usage == tokens(30, 15)


async def test_sessions_are_booked_apart(location: str | Path) -> None:
    model = Staged([reply("Hi.")])
    async with opened(location, lash.Agent("agent", model=model)) as runtime:
        await runtime.session("a").run("One.")
        await runtime.session("a").run("Two.")
        await runtime.session("b").run("Three.")
        assert (await runtime.session("a").usage()).usage == tokens(20, 10)
        assert (await runtime.session("b").usage()).usage == tokens(10, 5)
        assert (await runtime.session("nobody").usage()).usage == lash.Usage()
