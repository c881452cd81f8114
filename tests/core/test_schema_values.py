"""Nulls for what was left out and integers that came as floats, held against tables written by hand."""

import copy
from typing import Any

import pytest

from lash.core.json import JsonObject
from lash.core.schema_values import admits_null, with_whole_numbers, without_optional_nulls

INT = {"type": "integer"}
TEXT = {"type": "string"}


def of(*required: str, **properties: object) -> JsonObject:
    return {"type": "object", "properties": properties, "required": list(required)}  # type: ignore[dict-item]  # schemas as tests write them


@pytest.mark.parametrize(
    ("schema", "admits"),
    [
        (INT, False),
        ({"type": ["integer", "null"]}, True),
        ({"type": "null"}, True),
        ({}, True),
        (True, True),
        (False, False),
        ({"enum": ["a", "b"]}, False),
        ({"enum": ["a", None]}, True),
        ({"type": "string", "enum": ["a", None]}, False),
        ({"const": None}, True),
        ({"const": 0}, False),
        ({"anyOf": [INT, {"type": "null"}]}, True),
        ({"anyOf": [INT, TEXT]}, False),
        ({"oneOf": [INT, {}]}, True),
        ({"allOf": [{}, INT]}, False),
        ({"$ref": "#/$defs/Maybe"}, True),
        ({"$ref": "#/$defs/Int"}, False),
        ({"$ref": "#/$defs/Round"}, True),  # says nothing: anything fits
        ({"$ref": "#/$defs/Nowhere"}, True),
        ({"$ref": "#/$defs/Maybe", "type": "integer"}, False),
        ({"minLength": 2}, True),
    ],
)
def test_whether_null_fits(schema: Any, *, admits: bool) -> None:
    defs: JsonObject = {
        "Maybe": {"type": ["string", "null"]},
        "Int": INT,
        "Round": {"$ref": "#/$defs/Round"},
    }
    assert admits_null(schema, {"$defs": defs}) is admits


@pytest.mark.parametrize(
    ("schema", "value", "kept"),
    [
        (of("a", a=INT, b=INT), {"a": 1, "b": None}, {"a": 1}),
        (of("a", a=INT, b=INT), {"a": None, "b": 2}, {"a": None, "b": 2}),  # required
        (of(a={"type": ["integer", "null"]}), {"a": None}, {"a": None}),  # may be null
        (of(a={}), {"a": None}, {"a": None}),
        (of(), {"other": None}, {"other": None}),  # nobody declared it
        (of(a=of(b=INT)), {"a": {"b": None}}, {"a": {}}),
        (of(a={"type": "array", "items": of(b=INT)}), {"a": [{"b": None}, {}]}, {"a": [{}, {}]}),
        (of(a={"type": "array", "items": INT}), {"a": [None]}, {"a": [None]}),
        ({**of(a={"$ref": "#/$defs/X"}), "$defs": {"X": of(b=INT)}}, {"a": {"b": None}}, {"a": {}}),
        (of(a={"anyOf": [of(b=INT), {"type": "null"}]}), {"a": {"b": None}}, {"a": {}}),
        ({"type": "object", "additionalProperties": of(b=INT)}, {"x": {"b": None}}, {"x": {}}),
        ({"allOf": [of(a=INT)]}, {"a": None}, {}),
        (
            {
                "anyOf": [
                    of("kind", kind={"const": "x"}, a={"type": "null"}),
                    of("kind", kind={"const": "y"}, a=INT),
                ]
            },
            {"kind": "y", "a": None},
            {"kind": "y"},
        ),
        (
            of(a={"type": "array", "prefixItems": [of(b=INT)], "items": of(c=INT)}),
            {"a": [{"b": None, "c": None}, {"b": None, "c": None}]},
            {"a": [{"c": None}, {"b": None}]},
        ),
        (
            {
                "oneOf": [
                    of("kind", kind={"enum": [True]}, a={"type": "null"}),
                    of("kind", kind={"const": 1}, a=INT),
                ]
            },
            {"kind": 1, "a": None},
            {"kind": 1},
        ),
        (of(a=INT), 7, 7),
    ],
)
def test_a_null_where_something_may_be_left_out_is_left_out(
    schema: Any, value: Any, kept: Any
) -> None:
    before = copy.deepcopy(value)
    assert without_optional_nulls(value, schema, schema) == kept
    assert value == before
    if kept == before:
        assert without_optional_nulls(value, schema, schema) is value


@pytest.mark.parametrize(
    ("schema", "value", "read"),
    [
        (INT, 1.0, "1"),
        (INT, 1, "1"),
        (INT, 1.5, "1.5"),
        (INT, True, "True"),
        ({"type": "number"}, 1.0, "1.0"),
        ({"type": ["integer", "number"]}, 1.0, "1.0"),
        ({"type": ["integer", "null"]}, 2.0, "2"),
        ({}, 1.0, "1.0"),
        ({"anyOf": [TEXT, INT]}, 3.0, "3"),
        ({"anyOf": [{"type": "number"}, INT]}, 3.0, "3.0"),
        (of(a=INT), {"a": 4.0, "b": 4.0}, "{'a': 4, 'b': 4.0}"),
        ({"type": "array", "items": INT}, [1.0, 2], "[1, 2]"),
        ({"type": "array", "items": [INT], "additionalItems": {}}, [1.0, 1.0], "[1, 1.0]"),
        (
            of(
                a={
                    "oneOf": [
                        of("t", t={"const": "n"}, v={"type": "number"}),
                        of("t", t=TEXT, v=INT),
                    ]
                }
            ),
            {"a": {"t": "i", "v": 5.0}},
            "{'a': {'t': 'i', 'v': 5}}",
        ),
        (of(a={"$ref": "#"}, n=INT), {"a": {"a": {"n": 1.0}}}, "{'a': {'a': {'n': 1}}}"),
        (of(big=INT), {"big": 1e20}, "{'big': 100000000000000000000}"),
    ],
)
def test_an_integer_that_came_as_a_float_is_an_integer(schema: Any, value: Any, read: str) -> None:
    assert repr(with_whole_numbers(value, schema, schema)) == read
