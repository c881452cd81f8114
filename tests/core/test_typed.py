"""A type read two ways: the schema of what fits it, and the value that fitting JSON stands for."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import jsonschema
import msgspec
import pydantic
import pytest

from lash.core.errors import ConfigurationError, LashError
from lash.core.json import JsonValue
from lash.core.typed import typed_value


class Colour(Enum):
    RED = "red"


class Row(TypedDict):
    day: date


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class Order:
    lines: list[Line]
    first: Line | None = None


@dataclass
class Node:
    name: str
    next: "Node | None" = None


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square"):
    side: float


class Customer(pydantic.BaseModel):
    name: str
    since: date = date(2024, 2, 29)


class Tree(pydantic.BaseModel):
    children: "list[Tree]" = []


@dataclass
class Account:
    owner: Customer


LINE: dict[str, JsonValue] = {
    "title": "Line",
    "type": "object",
    "properties": {"sku": {"type": "string"}, "count": {"type": "integer", "default": 1}},
    "required": ["sku"],
}
NODE: dict[str, JsonValue] = {
    "title": "Node",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}], "default": None},
    },
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, {"type": "integer"}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (Line, LINE),
        (list[Line], {"type": "array", "items": {"$ref": "#/$defs/Line"}, "$defs": {"Line": LINE}}),
        (
            Order,
            {
                "title": "Order",
                "type": "object",
                "properties": {
                    "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
                    "first": {
                        "anyOf": [{"$ref": "#/$defs/Line"}, {"type": "null"}],
                        "default": None,
                    },
                },
                "required": ["lines"],
                "$defs": {"Line": LINE},
            },
        ),
        (Node, NODE | {"$defs": {"Node": NODE}}),
        (
            Customer,
            {
                "title": "Customer",
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "since": {"type": "string", "format": "date", "default": "2024-02-29"},
                },
                "required": ["name"],
            },
        ),
        (
            Line | None,
            {"anyOf": [{"$ref": "#/$defs/Line"}, {"type": "null"}], "$defs": {"Line": LINE}},
        ),
    ],
)
def test_the_schema_says_what_fits_and_never_begins_with_a_reference(
    annotation: object, schema: object
) -> None:
    assert typed_value(annotation, "It").json_schema == schema


MOMENT = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)

VALUES: list[tuple[Any, JsonValue, object]] = [
    (int, 7, 7),
    (float, 7, 7.0),
    (str, "x", "x"),
    (None, None, None),
    (date, "2024-02-29", date(2024, 2, 29)),
    (datetime, "2024-02-29T12:30:00Z", MOMENT),
    (timedelta, "PT90S", timedelta(seconds=90)),
    (Decimal, "9.90", Decimal("9.90")),
    (UUID, "00000000-0000-0000-0000-000000000005", UUID(int=5)),
    (bytes, "AP8=", b"\0\xff"),
    (Colour, "red", Colour.RED),
    (Literal["a", "b"], "b", "b"),
    (tuple[int, str], [7, "x"], (7, "x")),
    (set[int], [1, 2], {1, 2}),
    (dict[int, str], {"7": "x"}, {7: "x"}),
    (Row, {"day": "2024-02-29"}, {"day": date(2024, 2, 29)}),
    (Order, {"lines": [{"sku": "pen"}]}, Order([Line("pen")])),
    (Node, {"name": "a", "next": {"name": "b"}}, Node("a", Node("b"))),
    (Circle | Square, {"type": "square", "side": 2.0}, Square(2.0)),
    (Customer, {"name": "Ana"}, Customer(name="Ana")),
    (Tree, {"children": [{"children": []}]}, Tree(children=[Tree()])),
    (Account, {"owner": {"name": "Ana"}}, Account(Customer(name="Ana"))),
    (list[Customer] | None, [{"name": "Ana"}], [Customer(name="Ana")]),
    (Annotated[int, pydantic.Field(gt=0)], 7, 7),
    (Annotated[int, msgspec.Meta(gt=0)], 7, 7),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), VALUES)
def test_fitting_json_is_read_as_the_type_and_fits_the_schema(
    annotation: object, value: JsonValue, expected: object
) -> None:
    typed = typed_value(annotation, "It")
    read = typed.read(value)
    assert read == expected
    assert type(read) is type(expected)
    jsonschema.validate(value, dict(typed.json_schema))


@pytest.mark.parametrize(
    ("annotation", "value", "problems"),
    [
        (int, "7", ["`$`: expected `int`, got `str`"]),
        (Order, {"lines": [{"sku": "a"}, {}]}, ["`$.lines[1]`: "]),
        (Order, [], ["`$`: expected `object`, got `array`"]),
        (Node, {"name": "a", "next": {"name": 7}}, ["`$.next.name`: expected `str`, got `int`"]),
        (Colour, "blue", ["`$`: expected one of \"red\", got 'blue'"]),
        (Tree, {"children": [{"children": 7}]}, ["`$.children[0].children`: "]),
        (Account, {"owner": {"since": "soon"}}, ["`$.owner.name`: ", "`$.owner.since`: "]),
        (Annotated[int, pydantic.Field(gt=0)], 0, ["`$`: input should be greater than 0, got 0"]),
    ],
)
def test_what_does_not_fit_is_told_place_by_place(
    annotation: object, value: JsonValue, problems: list[str]
) -> None:
    typed = typed_value(annotation, "It")
    with pytest.raises(LashError) as raised:
        typed.read(value)
    assert raised.value.code == "value_not_of_type"
    told = raised.value.details["problems"]
    assert isinstance(told, list)
    assert len(told) == len(problems)
    for found, expected in zip(told, problems, strict=True):
        assert found.startswith(expected)
        assert found in raised.value.message
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, dict(typed.json_schema))


@pytest.mark.parametrize(
    "annotation", [threading.Lock, threading.Thread, object(), Iterator[int], type, 7, "Missing"]
)
def test_a_type_without_a_json_form_is_refused_with_what_it_is_for(annotation: object) -> None:
    with pytest.raises(ConfigurationError) as raised:
        typed_value(annotation, "The result of step 'load'")
    assert raised.value.code == "type_without_json"
    assert raised.value.message.startswith(
        "The result of step 'load' has a type without a JSON form: "
    )
    assert "pydantic models" in raised.value.message
