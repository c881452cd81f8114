"""Tools made from JSON schemas: what is checked, what the body gets, and what is refused at once."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import lash
from lash.core.cancel import CancelToken
from lash.llm.schema_projection import SchemaOverride, SchemaProjection, resolve
from lash.tools.raw import RawTool
from lash.tools.validation import CompiledSchemas, input_schema
from lash.turn.tools import FinishControl, ToolFailed, ToolOutput, ToolSuccess

ORDER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 2},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
        "a/b~c": {"type": "integer"},
        "note": {"type": ["string", "null"]},
        "limit": {"type": "integer"},
    },
    "required": ["id"],
    "additionalProperties": False,
    "$defs": {
        "Line": {
            "type": "object",
            "properties": {"count": {"type": "integer"}, "price": {"type": "number"}},
            "required": ["count"],
        }
    },
}


def context() -> lash.ToolContext:
    return lash.ToolContext(
        session_id="s",
        turn_id="t",
        call_id="c",
        tool_name="order",
        attempt=1,
        max_attempts=1,
        idempotency_key="k",
        cancel=CancelToken(),
    )


def order(run: Callable[..., object] | None = None, **options: Any) -> RawTool:
    async def echo(args: dict[str, Any]) -> Any:
        return args

    return lash.raw_tool("order", "Order.", ORDER, run or echo, **options)


async def given_to_body(args: Any) -> str:
    seen: list[object] = []
    await order(seen.append).run(args, context())
    return repr(seen[0])


def misfit(tool: RawTool, args: Any) -> str:
    with pytest.raises(lash.LashError) as refused:
        tool.check(args)
    assert refused.value.code == "invalid_tool_args"
    assert refused.value.details["problems"] == [refused.value.message]
    return refused.value.message


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"id": "x"}, "/id: 'x' is too short"),
        ({}, "'id' is a required property"),
        ({"id": "o7", "lines": [{"count": 1}, {"count": "two"}]}, "/lines/1/count: 'two' is not of type 'integer'"),
        ({"id": "o7", "a/b~c": "x"}, "/a~1b~0c: 'x' is not of type 'integer'"),
        ({"id": None}, "/id: None is not of type 'string'"),
        ({"id": "o7", "limit": 1.5}, "/limit: 1.5 is not of type 'integer'"),
        ({"id": "o7", "more": 1}, "Additional properties are not allowed ('more' was unexpected)"),
        # Only the first, in the order of the schema.
        ({"limit": "x", "id": "x"}, "/id: 'x' is too short"),
        ([], "[] is not of type 'object'"),
        ({"id": "o7", "lines": [{"count": None}]}, "/lines/0/count: None is not of type 'integer'"),
    ],
)  # fmt: skip
def test_the_first_misfit_is_told_with_its_place(args: Any, says: str) -> None:
    assert misfit(order(), args) == says


@pytest.mark.parametrize(
    ("args", "given"),
    [
        ({"id": "o7"}, "{'id': 'o7'}"),
        ({"id": "o7", "limit": None}, "{'id': 'o7'}"),
        ({"id": "o7", "note": None}, "{'id': 'o7', 'note': None}"),
        ({"id": "o7", "lines": None, "a/b~c": None}, "{'id': 'o7'}"),
        ({"id": "o7", "lines": [{"count": 2, "price": None}]}, "{'id': 'o7', 'lines': [{'count': 2}]}"),
        ({"id": "o7", "limit": 3.0}, "{'id': 'o7', 'limit': 3}"),
        ({"id": "o7", "lines": [{"count": 2.0, "price": 2.0}]},
         "{'id': 'o7', 'lines': [{'count': 2, 'price': 2.0}]}"),
    ],
)  # fmt: skip
async def test_the_body_gets_integers_and_no_nulls_for_what_was_left_out(
    args: Any, given: str
) -> None:
    order().check(args)
    assert await given_to_body(args) == given


async def test_bodies_are_plain_or_async_with_or_without_the_context() -> None:
    loop_thread = threading.get_ident()

    def plain(args: dict[str, Any]) -> Any:
        return [args["id"], threading.get_ident() == loop_thread]

    async def on_loop(args: dict[str, Any], ctx: lash.ToolContext) -> Any:
        return [args["id"], ctx.call_id, threading.get_ident() == loop_thread]

    def by_name(args: dict[str, Any], verbose: bool = False, *, ctx: "lash.ToolContext") -> Any:
        return [args["id"], verbose, ctx.call_id]

    def second(args: Any, whatever: Any) -> Any:
        return [args["id"], whatever.call_id]

    def only(args: Any, verbose: bool = False) -> Any:
        return [args["id"], verbose]

    for body, answer in (
        (plain, ["o7", False]),
        (on_loop, ["o7", "c", True]),
        (by_name, ["o7", False, "c"]),
        (second, ["o7", "c"]),
        (only, ["o7", False]),
        (str, "{'id': 'o7'}"),
    ):
        output = await order(body).run({"id": "o7"}, context())
        assert output == ToolOutput(outcome=ToolSuccess(payload=answer))  # type: ignore[arg-type]  # JSON of any kind


async def test_what_a_body_says_counts_as_it_does_for_functions() -> None:
    async def fail(args: Any) -> Any:
        raise lash.ToolError("No such order.", code="no_order")

    async def crash(args: Any) -> Any:
        raise ValueError("oops")

    async def wait(args: Any) -> Any:
        await asyncio.Event().wait()

    async def finish(args: Any) -> Any:
        return lash.Finish(value=args["id"])

    codes = []
    for body in (fail, crash, wait):
        tool = order(body, timeout=timedelta(milliseconds=10))
        output = await tool.run({"id": "o7"}, context())
        assert isinstance(output, ToolOutput)
        assert isinstance(output.outcome, ToolFailed)
        codes.append(output.outcome.payload.code)
    assert codes == ["no_order", "tool_panicked", "tool_timeout"]
    finished = await order(finish).run({"id": "o7"}, context())
    assert isinstance(finished, ToolOutput)
    assert finished.control == FinishControl(value="o7")


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"$ref": "https://example.com/order.json"}, "'https://example.com/order.json'"),
        ({"properties": {"a": {"items": {"$ref": "order.json#/x"}}}}, "'order.json#/x'"),
        ({"$defs": {"A": {"$dynamicRef": "other#a"}}}, "'other#a'"),
        ({"properties": {"a": {"$ref": "#/$defs/Nowhere"}}}, "'/$defs/Nowhere'"),
        ({"type": "array"}, "arguments come as an object"),
        ({"properties": 7}, "7 is not of type 'object'"),
        ({"properties": {"a": {"pattern": "("}}}, "not a 'regex'"),
        ({"patternProperties": {"(": {}}}, "not a 'regex'"),
        ({"$schema": "https://example.com/mine"}, "'https://example.com/mine', is not known"),
        ({"default": object()}, "object"),
        ([], "a list, not an object"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_when_the_tool_is_made(
    schema: Any, says: str
) -> None:
    with pytest.raises(lash.ConfigurationError) as refused:
        lash.raw_tool("order", "", schema, lambda args: args)
    assert refused.value.code == "tool_schema_invalid"
    assert "'order'" in refused.value.message
    assert says in refused.value.message


def test_what_only_looks_like_a_reference_is_data() -> None:
    schema: Any = {
        "properties": {"$ref": {"type": "string"}, "a": {"const": {"$ref": "https://x"}}},
        "examples": [{"$ref": "https://x"}],
    }
    tool = lash.raw_tool("odd", "", schema, lambda args: args)
    tool.check({"$ref": "x", "a": {"$ref": "https://x"}})
    assert misfit(tool, {"$ref": 1}) == "/$ref: 1 is not of type 'string'"


def test_a_schema_is_read_in_the_draft_it_names() -> None:
    tuples: Any = {"properties": {"a": {"items": [{"type": "integer"}]}}}
    old = {"$schema": "http://json-schema.org/draft-07/schema#", **tuples}
    tool = lash.raw_tool("old", "", old, lambda args: args)
    assert misfit(tool, {"a": ["x"]}) == "/a/0: 'x' is not of type 'integer'"
    with pytest.raises(lash.ConfigurationError):
        lash.raw_tool("new", "", tuples, lambda args: args)


def test_a_name_and_a_body_that_takes_arguments_are_needed() -> None:
    with pytest.raises(lash.ConfigurationError, match="needs a name"):
        lash.raw_tool(" ", "", {}, lambda args: args)
    with pytest.raises(lash.ConfigurationError, match="takes no arguments"):
        lash.raw_tool("x", "", {}, lambda: None)
    with pytest.raises(lash.ConfigurationError, match="activation"):
        lash.raw_tool("x", "", {}, lambda args: args, activation="never")  # type: ignore[arg-type]  # as untyped code does


def test_a_tool_keeps_a_schema_of_its_own_in_the_order_it_was_written() -> None:
    schema: Any = {"properties": {"z": {"type": "string"}, "a": {}}, "type": "object"}
    tool = lash.raw_tool("x", "X.", schema, lambda args: args)
    schema["properties"]["z"]["type"] = "integer"
    tool.check({"z": "text"})
    properties = tool.spec.input_schema["properties"]
    assert isinstance(properties, dict)
    assert (list(tool.spec.input_schema), list(properties)) == (["properties", "type"], ["z", "a"])
    assert (tool.id, tool.name, tool.spec.description) == ("tool:x", "x", "X.")
    assert (tool.serial, tool.retry, tool.activation) == (False, None, "always")
    assert repr(tool) == "<lash.raw_tool x>"


def test_a_tool_may_say_how_its_schema_is_told() -> None:
    word = SchemaOverride(dialect="google_schema", schema={"type": "object"})
    tool = order(projection=SchemaProjection(mode="explicit_only", overrides=(word,)))
    dialects: Any = ["openai_tool_parameters", "google_schema"]
    assert resolve(tool.input_contract, dialects).schema == {"type": "object"}


def test_compiled_schemas_are_kept_within_bounds() -> None:
    def of(name: str) -> Any:
        return input_schema({"properties": {name: {"type": "integer"}}}, "x")

    a, b, c = of("a"), of("b"), of("c")
    compiled = CompiledSchemas(most=2)
    first = compiled.validator(a)
    assert compiled.validator(of("a")) is first
    compiled.validator(b)
    assert compiled.validator(a) is first  # used last, so it stays
    compiled.validator(c)
    assert len(compiled) == 2
    assert compiled.size == len(a.text) + len(c.text)
    assert compiled.validator(a) is first
    kept = compiled.validator(b)
    assert kept is compiled.validator(b)
    small = CompiledSchemas(most_bytes=len(a.text) + len(b.text) - 1)
    small.validator(a)
    small.validator(b)
    assert (len(small), small.size) == (1, len(b.text))
    tiny = CompiledSchemas(most_bytes=1)
    assert tiny.validator(a).is_valid({"a": 1})
    assert (len(tiny), tiny.size) == (0, 0)


def test_two_schemas_that_differ_in_order_alone_report_their_own_first_misfit() -> None:
    properties: Any = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    turned = dict(reversed(properties.items()))
    for schema, first in ((properties, "/a"), (turned, "/b")):
        tool = lash.raw_tool("x", "", {"properties": schema}, lambda args: args)
        assert misfit(tool, {"a": "x", "b": "x"}).startswith(first)


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    tool = lash.raw_tool("deep", "", {"properties": {"a": {"$ref": "#"}}}, lambda args: args)
    args: Any = {}
    for _ in range(3000):
        args = {"a": args}
    assert misfit(tool, args) == "it is nested too deeply to be checked"
