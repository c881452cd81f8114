"""Schemas as providers are told them: in the dialects they take, checked as they are meant."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from plugin_harness import location, opened, path, values
from session_harness import Gate, code_of
from tools_harness import Shelf, having

import lash
from lash.core.json import JsonObject
from lash.llm.request import JsonSchemaOutput, ToolSpec
from lash.llm.schema_projection import project
from lash.providers.openai import OpenAICompatible
from lash.testing import ScriptedModel, calls, reply
from lash.testing.openai_server import Answer, OpenAIServer

__all__ = ["location", "path"]

CLAUDE = lash.SchemaDialects(
    tools=("anthropic_tool_input",), outputs=("anthropic_output_config_json_schema",)
)
LOOSE = lash.SchemaDialects(tools=("openai_tool_parameters",), outputs=("json_prompt_schema",))

#: What no OpenAI dialect takes, and a limit that Anthropic is told in words.
ONE_OF: JsonObject = {
    "type": "object",
    "properties": {"a": {"oneOf": [{"type": "string"}, {"type": "integer"}]}},
}
LIMITED: JsonObject = {
    "type": "object",
    "properties": {"n": {"type": "integer", "maximum": 3, "description": "How many."}},
}
LIMITED_TOLD: JsonObject = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "description": "How many. (Further constraints: maximum=3)"}
    },
}


def tool(schema: JsonObject, **projection: Any) -> Any:
    async def run(args: dict[str, object]) -> object:
        return args

    told = lash.SchemaProjection(**projection) if projection else None
    return lash.raw_tool("take", "Take it.", schema, run, projection=told)


def taking(
    schema: JsonObject, takes: lash.SchemaDialects | None, *args: object, **projection: Any
) -> tuple[ScriptedModel, lash.Agent]:
    """A model of some dialects that calls the tool `take`, and its agent."""
    script = [calls(("take", each)) for each in args]  # type: ignore[arg-type]
    model = ScriptedModel([*script, reply("Done.")], dialects=takes)
    return model, lash.Agent("taker", model=model, tools=[tool(schema, **projection)])


async def test_a_provider_is_told_its_dialect_and_arguments_fit_the_schema_itself(
    location: str | Path,
) -> None:
    model, agent = taking(LIMITED, CLAUDE, {"n": 4}, {"n": 3})
    async with opened(location, agent) as runtime:
        result = await runtime.session("s").run("Go.")
    assert values(result) == ["invalid_tool_args", {"n": 3}]
    assert [request.tools[0].input_schema for request in model.requests] == [LIMITED_TOLD] * 3
    assert agent.tools[0].spec.input_schema == LIMITED


async def test_a_provider_that_says_nothing_is_told_schemas_as_they_are() -> None:
    model, agent = taking(ONE_OF, None)
    async with opened(":memory:", agent) as runtime:
        await runtime.session("s").run("Go.")
    assert model.requests[0].tools[0].input_schema == ONE_OF


async def test_the_first_dialect_that_can_say_a_schema_is_told() -> None:
    both = lash.SchemaDialects(tools=("openai_tool_parameters", "anthropic_tool_input"), outputs=())
    model, agent = taking(ONE_OF, both)
    async with opened(":memory:", agent) as runtime:
        await runtime.session("s").run("Go.")
    assert model.requests[0].tools[0].input_schema == ONE_OF  # Anthropic takes it unchanged


@pytest.mark.parametrize("mode", ["auto", "explicit_only", "exact"])
async def test_an_override_is_told_word_for_word(mode: Any) -> None:
    told: JsonObject = {"type": "object", "properties": {"a": {}}}
    override = lash.SchemaOverride(dialect="openai_tool_parameters", schema=told)
    model, agent = taking(ONE_OF, LOOSE, {"a": []}, {"a": 7}, mode=mode, overrides=(override,))
    async with opened(":memory:", agent) as runtime:
        result = await runtime.session("s").run("Go.")
    assert model.requests[0].tools[0].input_schema == told
    assert values(result) == ["invalid_tool_args", {"a": 7}]


@pytest.mark.parametrize(
    ("schema", "projection", "against"),
    [
        (ONE_OF, {}, ["/properties/a: `oneOf` is not taken"]),
        (LIMITED, {"mode": "explicit_only"}, [": only an override may be told, and it has none"]),
        (
            {"type": "object", "properties": {"a": {"const": 1}}},
            {"mode": "exact"},
            [": it takes the schema only with changes"],
        ),
    ],
    ids=["untakeable", "explicit_only", "exact"],
)
def test_a_schema_that_no_dialect_takes_is_refused_where_its_agent_is_registered(
    schema: JsonObject, projection: Any, against: list[str]
) -> None:
    _, agent = taking(schema, LOOSE, **projection)
    with pytest.raises(lash.ConfigurationError) as refused:
        lash.Runtime(":memory:", agents=[agent])
    error = refused.value
    assert error.code == "schema_projection_failed"
    assert error.details["tool"] == "take"
    found: Any = error.details["diagnostics"]
    assert [f"{each['pointer']}: {each['message']}" for each in found] == against
    assert "tool 'take'" in error.message
    assert all(each.partition(": ")[2] in error.message for each in against)


def test_every_dialect_says_what_stands_against_it() -> None:
    strict = lash.SchemaDialects(
        tools=("openai_strict_tool_parameters", "openai_tool_parameters"), outputs=()
    )
    _, agent = taking({**ONE_OF, "required": ["a"]}, strict)
    with pytest.raises(lash.ConfigurationError) as refused:
        lash.Runtime(":memory:", agents=[agent])
    found: Any = refused.value.details["diagnostics"]
    assert [(each["dialect"], each["pointer"]) for each in found] == [
        ("openai_strict_tool_parameters", "/properties/a"),
        ("openai_tool_parameters", "/properties/a"),
    ]


async def test_a_tool_that_came_later_and_cannot_be_told_ends_the_turn(
    location: str | Path,
) -> None:
    model = ScriptedModel([reply("Done.")], dialects=LOOSE)
    agent = lash.Agent("taker", model=model)
    async with opened(location, agent, having(Shelf(tool(ONE_OF)))) as runtime:
        session = runtime.session("s")
        result = await session.run("Go.")
        assert [issue.code for issue in result.issues] == ["schema_projection_failed"]
        assert "tool 'take'" in result.issues[0].message
        assert "/properties/a: `oneOf` is not taken" in result.issues[0].message
        assert (model.requests, result.usage.input_tokens) == ([], 0)
        # The session itself can do something about it.
        await session.configure_tools(hidden=["tool:take"])
        assert (await session.run("Go.")).text == "Done."


async def test_a_schema_is_projected_once_and_not_per_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only: JsonObject = {"type": "object", "properties": {"once_alone": {"type": "string"}}}
    projected: list[JsonObject] = []

    def counted(schema: JsonObject, dialect: Any) -> Any:
        projected.append(schema)
        return project(schema, dialect)

    monkeypatch.setattr("lash.llm.schema_projection.project", counted)
    for _ in range(2):  # another runtime, whose tools are other objects
        model, agent = taking(only, CLAUDE, {}, {}, {})
        async with opened(":memory:", agent) as runtime:
            for turn in range(3):
                await runtime.session(f"s{turn}").run("Go.")
        assert len(model.requests) == 12
        assert len({id(request.tools) for request in model.requests}) == 1
    assert projected == [only]


async def test_a_recorded_turn_does_not_care_in_which_dialect_its_model_is_told(
    path: Path,
) -> None:
    gate = Gate()

    def made(takes: lash.SchemaDialects | None, *, held: bool) -> lash.Agent:
        @lash.tool
        async def wait(n: int) -> str:
            """Wait."""
            if held:
                await gate.passed()
            return "waited"

        model = ScriptedModel([calls(("wait", {"n": 1})), reply("Done.")], dialects=takes)
        return lash.Agent("taker", model=model, tools=[wait, tool(LIMITED)])

    async with opened(path, made(None, held=True)) as runtime:
        running = asyncio.ensure_future(runtime.session("s").run("Go.", turn_id="t"))
        await gate.reached.wait()
    await asyncio.gather(running, return_exceptions=True)
    async with opened(path, made(CLAUDE, held=False), on_drift="refuse") as runtime:
        result = await runtime.session("s").run("Go.", turn_id="t")
    assert (result.text, list(result.issues)) == ("Done.", [])


def test_what_is_stored_of_a_tool_is_what_it_always_was() -> None:
    # Digests of recorded requests are made of this.
    spec = ToolSpec(name="lookup", description="Look up.", input_schema={"type": "object"})
    assert msgspec.json.encode(spec) == (
        b'{"name":"lookup","description":"Look up.","input_schema":{"type":"object"}}'
    )
    assert msgspec.json.encode(tool({"type": "object"}).spec) == (
        b'{"name":"take","description":"Take it.","input_schema":{"type":"object"}}'
    )


# --- OpenAI -----------------------------------------------------------------------------------------------


async def sent_to_openai(agent_tools: list[Any], **options: Any) -> Any:
    """The body of one request with these tools."""
    async with OpenAIServer([Answer("Done.")]) as server:
        provider = OpenAICompatible(api_key="k", base_url=server.base_url, **options)
        agent = lash.Agent("a", model=lash.Model("m", provider=provider), tools=agent_tools)
        async with opened(":memory:", agent) as runtime:
            result = await runtime.session("s").run("Go.")
        assert result.text == "Done."
        return server.requests[0].body


@lash.tool
async def find(query: str, limit: int = 5) -> str:
    """Find something."""
    return f"{query} {limit}"


async def test_openai_is_told_what_it_takes_and_holds_nobody_to_it_by_default() -> None:
    constant = tool({"type": "object", "properties": {"a": {"const": "x"}}})
    body = await sent_to_openai([find, constant])
    functions = [each["function"] for each in body["tools"]]
    assert [sorted(each) for each in functions] == [["description", "name", "parameters"]] * 2
    assert functions[0]["parameters"] == find.spec.input_schema
    assert functions[1]["parameters"]["properties"] == {"a": {"enum": ["x"], "type": "string"}}


async def test_openai_holds_models_to_schemas_if_that_is_asked_for() -> None:
    free = tool({"type": "object", "properties": {"a": {"type": "object"}}})
    body = await sent_to_openai([find, free], strict_schemas=True)
    strict, loose = (each["function"] for each in body["tools"])
    assert strict["strict"] is True
    assert strict["parameters"]["required"] == ["query", "limit"]
    assert strict["parameters"]["properties"]["limit"]["type"] == ["integer", "null"]
    # What strictly cannot be said is told as it is without.
    assert "strict" not in loose
    assert loose["parameters"] == free.spec.input_schema


async def test_a_null_for_what_is_left_out_means_its_default_in_strict_calls() -> None:
    model = ScriptedModel([calls(("find", {"query": "tea", "limit": None})), reply("Done.")])
    async with opened(":memory:", lash.Agent("a", model=model, tools=[find])) as runtime:
        assert values(await runtime.session("s").run("Go.")) == ["tea 5"]


class Found(msgspec.Struct):
    """An answer."""

    what: str
    limit: int = 5
    note: str | None = "none"


@pytest.mark.parametrize("face", ["turn", "direct"])
async def test_answers_are_told_strictly_and_their_nulls_count_as_left_out(face: str) -> None:
    strict = lash.SchemaDialects(
        tools=(), outputs=("openai_structured_output", "json_prompt_schema")
    )
    model = ScriptedModel([reply('{"what": "tea", "limit": null, "note": null}')], dialects=strict)
    async with opened(":memory:", lash.Agent("a", model=model)) as runtime:
        if face == "turn":
            found = (await runtime.session("s").run("Go.", output=Found)).output
        else:
            found = (await runtime.direct("Go.", output=Found)).value
        listed = await runtime.direct("Go.", output={"type": "object", "properties": {}})
    assert found == Found(what="tea", limit=5, note=None)
    told = model.requests[0].output
    assert isinstance(told, JsonSchemaOutput)
    assert told.strict
    assert told.json_schema["required"] == ["what", "limit", "note"]
    assert listed.value == {
        "what": "tea",
        "limit": None,
        "note": None,
    }  # not declared, so not left out


async def test_a_null_that_fits_is_kept_and_one_that_is_required_is_refused() -> None:
    class Strict(msgspec.Struct):
        what: str

    model = ScriptedModel([reply('{"what": null}')])
    async with opened(":memory:", lash.Agent("a", model=model)) as runtime:
        assert await code_of(runtime.direct("Go.", output=Strict)) == "invalid_structured_output"
        schema: JsonObject = {
            "type": "object",
            "properties": {"what": {"type": ["string", "null"]}},
        }
        assert (await runtime.direct("Go.", output=schema)).value == {"what": None}


async def test_a_schema_that_openais_dialect_cannot_say_is_told_as_it_is_and_not_held_to() -> None:
    for strict in (False, True):
        body = await sent_to_openai([tool(ONE_OF)], strict_schemas=strict)
        assert body["tools"][0]["function"]["parameters"] == ONE_OF
        assert "strict" not in body["tools"][0]["function"]


async def test_a_server_that_takes_only_a_dialect_is_told_nothing_else() -> None:
    narrow = lash.SchemaDialects(tools=("openai_tool_parameters",), outputs=("json_prompt_schema",))
    with pytest.raises(lash.ConfigurationError):
        await sent_to_openai([tool(ONE_OF)], dialects=narrow)
