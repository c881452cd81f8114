"""Answers in a form: checked, corrected, read, and part of what a turn was asked."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest
from session_harness import (
    Holding,
    Staged,
    code_of,
    is_valid,
    left_under_way,
    location,
    opened,
    path,
    seen,
    speaking,
    stop_word,
    told,
)

import lash
from lash.core.json import JsonObject
from lash.llm.request import JsonObjectOutput, JsonSchemaOutput
from lash.testing import calls, reply
from lash.testing.scripted import Step

__all__ = ["location", "path"]


@dataclass
class Line:
    sku: str
    count: int


class Parcel(msgspec.Struct):
    sku: str
    count: int


class Crate(pydantic.BaseModel):
    sku: str
    count: int


class Box(TypedDict):
    sku: str
    count: int


SCHEMA: JsonObject = {
    "type": "object",
    "properties": {"sku": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["sku", "count"],
}
GOOD = '{"sku": "a", "count": 2}'
BAD = '{"sku": "a", "count": "two"}'


def says(*texts: str) -> tuple[Staged, lash.Agent]:
    """Answers the calls of every turn with these texts."""
    model = Staged([reply(text) for text in texts])
    return model, lash.Agent("agent", model=model)


@pytest.mark.parametrize(
    ("output", "answer", "value"),
    [
        (Line, GOOD, Line("a", 2)),
        (Parcel, GOOD, Parcel("a", 2)),
        (Crate, GOOD, Crate(sku="a", count=2)),
        (Box, GOOD, {"sku": "a", "count": 2}),
        (dict, GOOD, {"sku": "a", "count": 2}),
        (SCHEMA, GOOD, {"sku": "a", "count": 2}),
        (list[Line], f"[{GOOD}, {GOOD}]", [Line("a", 2), Line("a", 2)]),
        (int, "7", 7),
        (Line, f"```json\n{GOOD}\n```", Line("a", 2)),
        (Line, f"\n  {GOOD}\n", Line("a", 2)),
        (str, "Just text.", "Just text."),
    ],
    ids=[
        "dataclass",
        "struct",
        "pydantic",
        "typed dict",
        "dict",
        "schema",
        "list",
        "int",
        "fenced",
        "padded",
        "text",
    ],
)
async def test_an_answer_is_read_as_what_was_asked_for(
    location: str | Path, output: Any, answer: str, value: object
) -> None:
    model, agent = says(answer)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", output=output)
        async with session.stream("Go again.", output=output) as live:
            streamed = await live.result()
        history = await told(session)
    assert (turn.output, turn.text, turn.issues) == (value, answer, ())
    assert streamed.output == value
    assert history[:2] == [("user", "Go."), ("assistant", answer)]
    assert len(model.asked) == 2


async def test_the_provider_is_told_what_is_wanted_in_that_turn_only(
    location: str | Path,
) -> None:
    model, agent = says(GOOD)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        await session.run("1", output=SCHEMA)
        await session.run("2", output=dict)
        await session.run("3")
        await session.run("4", output=Line)
    wanted = [request.output for request in model.asked]
    assert isinstance(wanted[0], JsonSchemaOutput)
    assert wanted[0].json_schema == SCHEMA
    assert wanted[1:3] == [JsonObjectOutput(), None]
    assert isinstance(wanted[3], JsonSchemaOutput)
    assert wanted[3].name == "Line"


async def test_an_answer_that_does_not_fit_is_sent_back_and_the_next_one_counts(
    location: str | Path,
) -> None:
    model, agent = says(BAD, GOOD)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", output=Line)
        history = await told(session)
        assert await is_valid(runtime)
    assert (turn.output, turn.issues, turn.is_success) == (Line("a", 2), (), True)
    assert turn.usage == lash.Usage(input_tokens=20, output_tokens=10)
    assert [role for role, _ in history] == ["user", "assistant", "user", "assistant"]
    assert (history[1][1], history[3][1]) == (BAD, GOOD)
    assert history[2][1].startswith("That answer cannot be used: ")
    assert "count" in history[2][1]
    assert seen(model.asked[1]) == history[:3]


@pytest.mark.parametrize("output", [Line, dict, SCHEMA], ids=["type", "dict", "schema"])
async def test_an_answer_that_never_fits_stops_the_turn(location: str | Path, output: Any) -> None:
    model, agent = says("no", "still no", "never", GOOD)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", output=output)
        with pytest.raises(lash.LashError) as raised:
            _ = turn.output
        history = await told(session)
        assert await is_valid(runtime)
        assert (await session.run("Never mind.")).is_success
    assert raised.value.code == "invalid_structured_output"
    assert stop_word(turn) == "provider_error"
    assert [issue.code for issue in turn.issues] == ["invalid_structured_output"]
    assert turn.text == ""
    assert [text for role, text in history if role == "assistant"] == ["no", "still no", "never"]
    assert len(model.asked) == 4


async def test_tools_run_before_the_answer_in_its_form(location: str | Path) -> None:
    holding = Holding(is_open=True)
    model = Staged(
        [calls(("wait", {}), text="Let me see."), reply(BAD), calls(("wait", {})), reply(GOOD)]
    )
    agent = lash.Agent("agent", model=model, tools=[holding.tool])
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", output=Line)
        assert await is_valid(runtime)
    assert (turn.output, holding.ran, len(turn.tool_calls)) == (Line("a", 2), 2, 2)
    assert all(isinstance(request.output, JsonSchemaOutput) for request in model.asked)


async def test_corrections_are_counted_in_a_row(location: str | Path) -> None:
    holding = Holding(is_open=True)
    steps: Sequence[Step] = [
        reply("no"),
        reply("no"),
        calls(("wait", {})),
        reply("no"),
        reply("no"),
        reply(GOOD),
    ]
    agent = lash.Agent("agent", model=Staged(steps), tools=[holding.tool])
    async with opened(location, agent) as runtime:
        assert (await runtime.session("s").run("Go.", output=Line)).output == Line("a", 2)


async def test_a_limit_on_model_calls_holds_for_corrections(location: str | Path) -> None:
    model, agent = speaking([reply("no"), reply("no"), reply(GOOD)], max_turns=2)
    async with opened(location, agent) as runtime:
        turn = await runtime.session("s").run("Go.", output=Line)
    assert not turn.is_success
    assert len(model.asked) == 2


async def test_input_that_displaces_an_answer_asks_for_the_form_again(
    location: str | Path,
) -> None:
    model, agent = says(GOOD, '{"sku": "b", "count": 3}')
    gate = model.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = asyncio.create_task(session.run("Go.", output=Line))
        await gate.reached.wait()
        await session.inject("The other one.")
        gate.open()
        turn = await running
        assert turn.output == Line("b", 3)
        assert [text for _, text in await told(session)] == [
            "Go.",
            GOOD,
            "The other one.",
            '{"sku": "b", "count": 3}',
        ]


async def test_a_stopped_turn_has_no_output(location: str | Path) -> None:
    model, agent = says(GOOD)
    gate = model.hold(0)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        running = asyncio.create_task(session.run("Go.", output=Line, turn_id="t"))
        await gate.reached.wait()
        await session.cancel("t")
        turn = await running
        with pytest.raises(lash.LashError) as raised:
            _ = turn.output
    assert raised.value.code == "cancelled"


async def test_the_form_holds_over_a_restart(path: Path) -> None:
    holding = Holding()

    def agent(*steps: Step) -> tuple[Staged, lash.Agent]:
        model = Staged([calls(("wait", {})), *steps])
        return model, lash.Agent("agent", model=model, tools=[holding.tool])

    _, first = agent(reply("never"))
    await left_under_way(path, first, holding.begun, output=Line)

    holding.gate.open()
    model, second = agent(reply(BAD), reply(GOOD))
    async with opened(path, second) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t", output=Line)
        assert (turn.output, turn.issues) == (Line("a", 2), ())
        assert (await session.wait("t")).text == GOOD
        wanted = [type(request.output) for request in model.asked]
    assert wanted == [JsonSchemaOutput, JsonSchemaOutput]

    # A correction that was recorded is said again in the same words.
    _, third = agent(reply(BAD), reply(GOOD))
    async with opened(path, third) as runtime:
        report = await runtime.replay("s", "t")
        assert report.divergence is None


@pytest.mark.parametrize("other", [None, dict, Crate, int], ids=["text", "dict", "type", "int"])
async def test_the_form_is_part_of_what_was_asked(location: str | Path, other: Any) -> None:
    _, agent = says(GOOD)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t", source_key="k", output=Line)
        by_id = await session.run("Go.", turn_id="t", output=Line)
        by_key = await session.run("Go.", source_key="k", output=Line)
        assert by_id.output == by_key.output == turn.output == Line("a", 2)
        assert by_id.turn_id == by_key.turn_id == "t"
        assert await code_of(session.run("Go.", turn_id="t", output=other)) == "turn_input_conflict"
        assert await code_of(session.run("Go.", source_key="k", output=other)) == (
            "turn_input_conflict"
        )
        assert len(await session.turns()) == 1


async def test_two_results_of_one_turn_are_equal(location: str | Path) -> None:
    _, agent = says(GOOD)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        turn = await session.run("Go.", turn_id="t", output=Line)
        assert await session.run("Go.", turn_id="t", output=Line) == turn


@pytest.mark.parametrize(
    ("output", "code"),
    [
        (object(), "type_without_json"),
        ({"type": "nonsense"}, "direct_request_invalid"),
        ({"$ref": "https://elsewhere/schema"}, "direct_request_invalid"),
        (set[object], "type_without_json"),
    ],
)
async def test_a_form_that_cannot_be_asked_for_is_refused(
    location: str | Path, output: Any, code: str
) -> None:
    _, agent = says(GOOD)
    async with opened(location, agent) as runtime:
        session = runtime.session("s")
        assert await code_of(session.run("Go.", output=output)) == code
        with pytest.raises(lash.LashError) as raised:
            session.stream("Go.", output=output)
        assert raised.value.code == code
        assert await session.info() is None


async def test_pieces_of_one_answer_are_read_as_one(location: str | Path) -> None:
    words = json.dumps({"sku": "a " * 500, "count": 2})
    _, agent = says(words)
    async with opened(location, agent) as runtime:
        turn = await runtime.session("s").run("Go.", output=Line)
    assert turn.output == Line("a " * 500, 2)


@pytest.mark.parametrize("fits", [True, False])
async def test_a_value_that_a_tool_ends_the_turn_with_is_read_like_an_answer(
    location: str | Path, fits: bool
) -> None:
    @lash.tool
    async def decide() -> lash.Finish:
        """Decide."""
        return lash.Finish(value={"sku": "a", "count": 2} if fits else "neither")

    agent = lash.Agent("agent", model=Staged([calls(("decide", {}))]), tools=[decide])
    async with opened(location, agent) as runtime:
        turn = await runtime.session("s").run("Go.", output=Line)
        if fits:
            assert turn.output == Line(sku="a", count=2)
            return
        with pytest.raises(lash.LashError) as raised:
            _ = turn.output
        assert raised.value.code == "invalid_structured_output"
