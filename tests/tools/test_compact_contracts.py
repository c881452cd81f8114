"""Contracts in short, each line written by hand."""

from typing import Any

import pytest

import lash
from lash.tools.compact import (
    CompactField,
    CompactToolContract,
    OutputFromInput,
    StaticOutput,
    compact_contract,
)
from lash.tools.manifest import manifest_of


def signature(properties: Any, required: tuple[str, ...] = (), **more: Any) -> str:
    schema = {"type": "object", "properties": properties, "required": list(required), **more}
    return compact_contract("f", "", schema).signature


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string"}, "str"),
        ({"type": "integer"}, "int"),
        ({"type": "number"}, "float"),
        ({"type": "boolean"}, "bool"),
        ({"type": "object"}, "record"),
        ({"properties": {"b": {}}}, "record"),
        ({"type": "null"}, "null"),
        ({}, "any"),
        (True, "any"),
        ({"type": "array"}, "list[any]"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}, "list[list[int]]"),
        ({"enum": ["x", "y"]}, 'enum["x", "y"]'),
        ({"type": "string", "enum": ["x", "y"]}, 'enum["x", "y"]'),
        ({"const": "x"}, 'enum["x"]'),
        ({"enum": ["x", None]}, 'enum["x"] | null'),
        ({"type": "integer", "enum": [1, 2]}, "int in [1, 2]"),
        ({"enum": [1, 2.5]}, "int | float in [1, 2.5]"),
        ({"type": ["string", "null"]}, "str | null"),
        ({"type": ["null", "string"]}, "str | null"),
        ({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 3}]}, "int | null >= 3"),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "string"}]}, "str | int"),
        ({"anyOf": [{}, {"type": "string"}]}, "any"),
        ({"allOf": [{"type": "string"}]}, "str"),
        ({"type": "integer", "minimum": 1, "maximum": 9}, "int >= 1 <= 9"),
        ({"type": "string", "minLength": 1, "maxLength": 9}, "str min_len 1 max_len 9"),
        ({"type": "array", "items": {}, "minItems": 0, "maxItems": 2}, "list[any] min_items 0 max_items 2"),
        ({"type": "string", "pattern": "x", "format": "date"}, "str"),
        ({"$ref": "#/$defs/Line"}, "record"),
        ({"$ref": "#/$defs/Small"}, "int <= 5"),
        ({"type": "array", "items": {"$ref": "#/$defs/Small"}}, "list[int]"),
        ({"$ref": "#/$defs/Nest"}, "list[any]"),
        ({"$ref": "#/$defs/Round"}, "any"),
        ({"$ref": "#/$defs/Nowhere"}, "any"),
    ],
)  # fmt: skip
def test_a_parameter_is_told_with_its_type_and_its_limits(schema: Any, text: str) -> None:
    defs = {
        "Line": {"type": "object", "properties": {"n": {"type": "integer"}}},
        "Small": {"type": "integer", "maximum": 5},
        "Nest": {"type": "array", "items": {"$ref": "#/$defs/Nest"}},
        "Round": {"$ref": "#/$defs/Round"},
    }
    assert signature({"a": schema}, ("a",), **{"$defs": defs}) == f"f({{ a: {text} }})"


def test_required_parameters_come_first_in_their_order_and_the_others_by_name() -> None:
    properties = {
        "z": {"type": "string"},
        "b": {"type": "integer", "minimum": 1, "default": 5},
        "a": {"type": "string", "default": "x y"},
        "m": {"type": "boolean"},
        "n": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    }
    assert signature(properties, ("z", "m")) == (
        'f({ z: str, m: bool, a?: str = "x y", b?: int >= 1 = 5, n?: str | null = null })'
    )
    assert signature({}) == "f({})"


def test_a_contract_says_what_comes_out() -> None:
    line = {"type": "object", "properties": {"sku": {"type": "string", "description": "The SKU."}}}
    output: Any = {
        "type": "object",
        "properties": {"total": {"type": "number"}, "lines": {"type": "array", "items": line}},
        "required": ["total"],
    }
    told = compact_contract(
        "order",
        "Look up one order.",
        {"type": "object", "properties": {"id": {"type": "string", "description": "The id."}}},
        output_schema=output,
        output=StaticOutput(),
        examples=["order({ id: 1 })", {"id": "7"}, "never shown"],
    )
    assert told == CompactToolContract(
        name="order",
        signature="order({ id?: str })",
        returns="record",
        parameters=(CompactField(name="id", type="str", required=False, description="The id."),),
        return_fields=(
            CompactField(name="total", type="float"),
            CompactField(name="lines", type="list[record]", required=False),
        ),
        description="Look up one order.",
        examples=("order({ id: 1 })", '{"id":"7"}'),
    )
    assert told.line == "- `order({ id?: str })` — Look up one order."
    assert compact_contract("f", "", {}).line == "- `f({})`"
    assert compact_contract("f", "", {}).returns == "any"


def test_what_comes_out_may_be_of_a_schema_that_goes_in() -> None:
    schema: Any = {
        "type": "object",
        "properties": {"prompt": {"type": "string"}, "output": {"type": "object"}},
        "required": ["prompt"],
    }
    given = OutputFromInput(input_field="output", default_schema={"type": "string"})
    told = compact_contract("ask", "", schema, output=given)
    assert told.signature == "ask<T = str>({ prompt: str, output?: TypeSpec<T> })"
    assert told.returns == "T"
    told = compact_contract("ask", "", schema, output=OutputFromInput(input_field="output"))
    assert told.signature == "ask<T>({ prompt: str, output?: TypeSpec<T> })"


@pytest.mark.parametrize(("length", "shown"), [(240, "x" * 240), (241, "x" * 237 + "...")])
def test_a_long_example_is_cut(length: int, shown: str) -> None:
    assert compact_contract("f", "", {}, examples=["x" * length]).examples == (shown,)


def test_the_contract_of_a_tool_comes_from_its_signature() -> None:
    @lash.tool(retry=lash.ToolRetry(type="idempotent", max_attempts=2))
    def search(query: str, limit: int = 5, tags: list[str] | None = None) -> str:
        """Search."""
        return query

    manifest = manifest_of(search)
    assert manifest.compact_contract is not None
    assert manifest.compact_contract.line == (
        "- `search({ query: str, limit?: int = 5, tags?: list[str] | null = null })` — Search."
    )
    assert (manifest.id, manifest.name, manifest.activation) == ("tool:search", "search", "always")
    assert manifest.retry_policy == lash.ToolRetry(type="idempotent", max_attempts=2)


def test_references_that_double_come_to_an_end() -> None:
    defs: dict[str, Any] = {
        f"D{n}": {"anyOf": [{"$ref": f"#/$defs/D{n + 1}"}, {"type": "null"}]} for n in range(400)
    }
    assert signature({"a": {"$ref": "#/$defs/D0"}}, (), **{"$defs": defs}) == "f({ a?: any })"
