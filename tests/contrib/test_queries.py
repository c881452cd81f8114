"""`llm_query`: one question to a model, apart from the conversation, answered in the form asked for."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import lash
from lash.contrib.queries import Queries
from lash.llm.request import LlmRequest
from lash.testing import ScriptedModel, calls, fail, reply
from lash.testing.scripted import Step, calls_made


def value(told: Any) -> str:
    return json.dumps({"kind": "value", "value": told, "error": None})


async def asked(answer: Step, path: str | Path = ":memory:", **args: Any) -> tuple[Any, LlmRequest]:
    """What `llm_query` came to, and what the model was asked by it."""
    inner = ScriptedModel([answer])
    script = [calls(("llm_query", {"task": "Count the owls.", **args})), reply("Done.")]
    tools = Queries(model=inner).tools()
    agent = lash.Agent("asker", model=ScriptedModel(script), tools=tools)
    async with asyncio.timeout(30), lash.Runtime(path, agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
    assert turn.text == "Done."
    (request,) = inner.requests
    return turn.tool_calls[0].output.outcome.payload, request


async def test_the_answer_is_text_unless_a_form_is_asked_for(tmp_path: Path) -> None:
    told, request = await asked(reply(value("Seven.")), tmp_path / "a.db", inputs={"owls": ["a"]})
    assert told == "Seven."
    prompt = str(request.messages[0].blocks[0])
    assert "Count the owls." in prompt
    assert '{"owls":["a"]}' in prompt
    assert request.tools == ()


async def test_the_answer_has_the_form_that_is_asked_for() -> None:
    form = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    told, request = await asked(reply(value({"count": 7})), output=form)
    assert told == {"count": 7}
    assert request.output is not None
    schema: Any = request.output.json_schema  # type: ignore[union-attr]  # one with a schema
    assert schema["properties"]["value"]["anyOf"][0] == form
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("answer", [{"count": "seven"}, None, "seven"])
async def test_an_answer_of_another_form_is_a_failure(answer: Any) -> None:
    form = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    told, _ = await asked(reply(value(answer)), output=form)
    assert told.code == "invalid_structured_output"


async def test_null_is_an_answer_where_the_form_has_it() -> None:
    told, _ = await asked(reply(value(None)), output={"type": ["integer", "null"]})
    assert told is None


async def test_definitions_of_a_form_are_found() -> None:
    form = {"$defs": {"n": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/$defs/n"}}
    assert (await asked(reply(value([1, 2])), output=form))[0] == [1, 2]
    assert (await asked(reply(value(["x"])), output=form))[0].code == "invalid_structured_output"


async def test_a_question_that_cannot_be_answered_fails_with_the_reason() -> None:
    refusal = json.dumps({"kind": "error", "value": None, "error": "no owls were given"})
    told, _ = await asked(reply(refusal))
    assert told.code == "query_refused"
    assert "no owls were given" in told.message


async def test_an_answer_in_a_fence_is_read() -> None:
    told, _ = await asked(reply(f"```json\n{value('Seven.')}\n```"))
    assert told == "Seven."


async def test_what_the_provider_fails_with_is_the_call_s_failure() -> None:
    told, _ = await asked(fail(status=400))
    assert told.code == "direct_failed"


async def test_a_form_that_is_none_is_refused_before_anybody_pays() -> None:
    inner = ScriptedModel([])
    script = [
        calls(
            ("llm_query", {"task": "t", "output": {"type": "nonsense"}}),
            ("llm_query", {"task": " "}),
            ("llm_query", {"task": "t", "inputs": "x" * 400_001}),
        ),
        reply("Done."),
    ]
    agent = lash.Agent("a", model=ScriptedModel(script), tools=Queries(model=inner).tools())
    async with asyncio.timeout(30), lash.Runtime(":memory:", agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
    codes = [call.output.outcome.payload.code for call in turn.tool_calls]  # type: ignore[union-attr]  # failures
    assert codes == ["output_schema_invalid", "task_blank", "query_too_large"]
    assert inner.requests == []


async def test_what_it_costs_is_booked_with_the_turn_and_the_agent_s_own_model_is_asked() -> None:
    def script(request: LlmRequest) -> Step:
        if not request.tools:
            return reply(value("Seven."))
        return calls(("llm_query", {"task": "t"})) if not calls_made(request) else reply("Done.")

    agent = lash.Agent("asker", model=ScriptedModel(script), tools=Queries().tools())
    async with asyncio.timeout(30), lash.Runtime(":memory:", agents=[agent]) as runtime:
        turn = await runtime.session("s").run("Go.")
    assert turn.total_usage.total_tokens == 45
