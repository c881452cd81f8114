"""Which types a parameter may have, the schema each gives and the JSON each takes."""

import dataclasses
import enum
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import pydantic
import pytest

from lash.core.errors import LashError
from lash.core.schema import CallSchema, call_schema


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclasses.dataclass
class Address:
    """Where something goes."""

    street: str
    number: int = 1


class Row(TypedDict):
    key: str
    note: NotRequired[str]


class Options(TypedDict, total=False):
    depth: int


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Item(msgspec.Struct):
    sku: str
    amount: int = 1


class Tagged(msgspec.Struct, tag="a"):
    pass


class OtherTagged(msgspec.Struct, tag="b"):
    pass


class Line(pydantic.BaseModel):
    text: str
    amount: int = pydantic.Field(default=1, ge=1)


class Order(pydantic.BaseModel):
    lines: list[Line]
    when: date | None = None


class Tree(pydantic.BaseModel):
    children: list["Tree"] = []


class Documentation:
    def __init__(self, documentation: str) -> None:
        self.documentation = documentation


def of(annotation: Any, default: Any = ...) -> CallSchema:
    """Give the schema of a function with one parameter `x`."""

    def tool(x: Any = default) -> None: ...

    if default is ...:
        tool.__defaults__ = None
    tool.__annotations__ = {"x": annotation}
    return call_schema(tool)


def property_of(annotation: Any, default: Any = ...) -> Any:
    properties: Any = of(annotation, default).json_schema["properties"]
    return properties["x"]


def problems_of(schema: CallSchema, args: Any) -> list[str]:
    with pytest.raises(LashError) as caught:
        schema.convert(args)
    assert caught.value.code == "invalid_tool_args"
    problems: Any = caught.value.details["problems"]
    for problem in problems:
        assert problem in caught.value.message
    return list(problems)


ADDRESS = {
    "title": "Address",
    "description": "Where something goes.",
    "type": "object",
    "properties": {"street": {"type": "string"}, "number": {"type": "integer", "default": 1}},
    "required": ["street"],
}
LINE = {
    "title": "Line",
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "amount": {"type": "integer", "default": 1, "minimum": 1},
    },
    "required": ["text"],
}


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Any, {}),
        (bool, {"type": "boolean"}),
        (float, {"type": "number"}),
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (Literal["b", "a"], {"enum": ["a", "b"]}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        (datetime, {"type": "string"}),
        (date, {"type": "string", "format": "date"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (Decimal, {"type": "string", "format": "decimal"}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (Annotated[str, "The name."], {"type": "string", "description": "The name."}),
        (
            Annotated[str, Documentation("The name.")],
            {"type": "string", "description": "The name."},
        ),
        (
            Annotated[str, "The name."] | None,
            {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "The name."},
        ),
        (
            Annotated[int, msgspec.Meta(ge=0, description="How many.")],
            {"type": "integer", "minimum": 0, "description": "How many."},
        ),
        (
            Annotated[int, pydantic.Field(ge=0, description="How many.")],
            {"type": "integer", "minimum": 0, "description": "How many."},
        ),
        (
            Annotated[list[int], pydantic.Field(max_length=2)],
            {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
        ),
        (pydantic.PositiveInt, {"type": "integer", "exclusiveMinimum": 0}),
        (Line, LINE),
    ],
)
def test_an_annotation_gives_this_schema(annotation: Any, expected: Any) -> None:
    assert property_of(annotation) == expected


@pytest.mark.parametrize(
    ("annotation", "schema", "definitions"),
    [
        (Size, {"$ref": "#/$defs/Size"}, {"Size": {"title": "Size", "enum": ["large", "small"]}}),
        (
            list[Address],
            {"type": "array", "items": {"$ref": "#/$defs/Address"}},
            {"Address": ADDRESS},
        ),
        (
            Row | None,
            {"anyOf": [{"$ref": "#/$defs/Row"}, {"type": "null"}]},
            {
                "Row": {
                    "title": "Row",
                    "type": "object",
                    "properties": {"key": {"type": "string"}, "note": {"type": "string"}},
                    "required": ["key"],
                }
            },
        ),
        (list[Line], {"type": "array", "items": {"$ref": "#/$defs/Line"}}, {"Line": LINE}),
        (
            Line | None,
            {"anyOf": [{"$ref": "#/$defs/Line"}, {"type": "null"}]},
            {"Line": LINE},
        ),
    ],
)
def test_named_types_are_hoisted_to_the_root(
    annotation: Any, schema: Any, definitions: Any
) -> None:
    root = of(annotation).json_schema
    assert root["properties"] == {"x": schema}
    assert root["$defs"] == definitions
    assert "title" not in root


def test_pydantic_and_other_types_of_one_name_do_not_mix() -> None:
    plain = dataclasses.make_dataclass("Line", [("length", float)])

    def draw(lines: list[Line], others: list[plain], order: Order) -> None: ...  # type: ignore[valid-type]  # made at run time

    schema = call_schema(draw)
    root: Any = schema.json_schema
    lines = root["properties"]["lines"]["items"]["$ref"].removeprefix("#/$defs/")
    others = root["properties"]["others"]["items"]["$ref"].removeprefix("#/$defs/")
    assert root["$defs"][lines] == LINE
    assert root["$defs"][others]["properties"] == {"length": {"type": "number"}}
    inner = root["properties"]["order"]["properties"]["lines"]["items"]["$ref"]
    assert root["$defs"][inner.removeprefix("#/$defs/")] == LINE


@pytest.mark.parametrize(
    ("annotation", "given", "value"),
    [
        (float, 1, 1.0),
        (Size, "large", Size.LARGE),
        (Address, {"street": "Elm"}, Address("Elm", 1)),
        (list[Row], [{"key": "k"}], [{"key": "k"}]),
        (Options, {}, {}),
        (Point, [1, 2], Point(1.0, 2.0)),
        (Item, {"sku": "s", "amount": 2}, Item("s", 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[str], ["a", "b"], {"a", "b"}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (datetime, "2024-05-01T10:00:00Z", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        (date, "2024-05-01", date(2024, 5, 1)),
        (
            uuid.UUID,
            "12345678-1234-5678-1234-567812345678",
            uuid.UUID("12345678-1234-5678-1234-567812345678"),
        ),
        (Decimal, "1.10", Decimal("1.10")),
        (bytes, "aGk=", b"hi"),
        (Line, {"text": "a"}, Line(text="a")),
        (list[Line], [{"text": "a", "amount": 3}], [Line(text="a", amount=3)]),
        (Order | None, None, None),
        (
            Order,
            {"lines": [{"text": "a"}], "when": "2024-05-01"},
            Order(lines=[Line(text="a")], when=date(2024, 5, 1)),
        ),
        (Line | Order, {"lines": []}, Order(lines=[])),
        (Tree, {"children": [{"children": []}]}, Tree(children=[Tree()])),
        (dict[str, Any], {"a": [1, None]}, {"a": [1, None]}),
    ],
)
def test_fitting_json_becomes_the_annotated_value(annotation: Any, given: Any, value: Any) -> None:
    converted = of(annotation).convert({"x": given})
    assert converted == {"x": value}
    assert type(converted["x"]) is type(value)


@pytest.mark.parametrize(
    ("annotation", "given", "problem"),
    [
        (int, "1", "`$.x`: expected `int`, got `str`"),
        (int, True, "`$.x`: expected `int`, got `bool`"),
        (int, None, "`$.x`: expected `int`, got `null`"),
        (str, 1, "`$.x`: expected `str`, got `int`"),
        (list[int], [1, "a"], "`$.x[1]`: expected `int`, got `str`"),
        (dict[str, int], {"a": "b"}, "`$.x[...]`: expected `int`, got `str`"),
        (dict[int, str], {"a": "b"}, "`$.x`: a key is wrong: expected `int`, got `str`"),
        (list[Address], [{"number": 1}], "`$.x[0]`: object missing required field `street`"),
        (Size, "huge", '`$.x`: expected one of "large", "small", got \'huge\''),
        (
            list[Size | None],
            [None, "huge"],
            '`$.x[1]`: expected one of "large", "small", got \'huge\'',
        ),
        (Literal["a", "b"], "c", '`$.x`: expected one of "a", "b", got \'c\''),
        (Literal["a"], "c" * 99, '`$.x`: expected one of "a", got a longer text'),
        (Annotated[int, msgspec.Meta(ge=0)], -1, "`$.x`: expected `int` >= 0, got -1"),
        (
            Annotated[str, msgspec.Meta(max_length=2)],
            "secret",
            "`$.x`: expected `str` of length <= 2, got a string of length 6",
        ),
        (
            dict[str, Annotated[int, msgspec.Meta(ge=0)]],
            {"a": -1},
            "`$.x[...]`: expected `int` >= 0",
        ),
        (date, "May", "`$.x`: invalid RFC3339 encoded date, got a string of length 3"),
        (set[Any], [[1]], "`$.x`: unhashable type: 'list'"),
        (
            Annotated[int, pydantic.Field(ge=0)],
            -1,
            "`$.x`: input should be greater than or equal to 0, got -1",
        ),
        (
            Line,
            {"text": "a", "amount": "2"},
            "`$.x.amount`: input should be a valid integer, got a string of length 1",
        ),
        (list[Line], [{}], "`$.x[0].text`: field required"),
        (
            Order | int,
            {"lines": [{}]},
            [
                "`$.x.lines[0].text`: field required (read as Order)",
                "`$.x`: input should be a valid integer, got an object (read as int)",
            ],
        ),
        (Tagged | OtherTagged, {"type": "c"}, '`$.x.type`: expected one of "a", "b", got \'c\''),
        (
            dict[str, Line],
            {"a": 1},
            "`$.x.a`: input should be an object, got 1",
        ),
    ],
)
def test_a_misfit_names_path_expectation_and_what_came(
    annotation: Any, given: Any, problem: str | list[str]
) -> None:
    expected = [problem] if isinstance(problem, str) else problem
    assert problems_of(of(annotation), {"x": given}) == expected


@pytest.mark.parametrize(
    ("annotation", "default", "shown"),
    [
        (int, 3, 3),
        (str | None, None, None),
        (Size, Size.SMALL, "small"),
        (Address, Address("Elm"), {"street": "Elm", "number": 1}),
        (Line, Line(text="a"), {"text": "a", "amount": 1}),
        (set[str], {"b", "a", "c"}, ["a", "b", "c"]),
        (bytes, b"hi", "aGk="),
        (tuple[int, ...], (1, 2), [1, 2]),
        (Annotated[int, pydantic.Field(ge=0)], 2, 2),
    ],
)
def test_a_default_is_shown_as_the_json_that_means_it(
    annotation: Any, default: Any, shown: Any
) -> None:
    schema = of(annotation, default)
    assert property_of(annotation, default)["default"] == shown
    assert schema.json_schema["required"] == []
    assert schema.convert({"x": shown}) == {"x": default}


@pytest.mark.parametrize(
    ("annotation", "default"), [(str, object()), (float, float("nan")), (int, None)]
)
def test_a_default_a_model_could_not_send_is_optional_and_not_shown(
    annotation: Any, default: Any
) -> None:
    assert "default" not in property_of(annotation, default)
    assert of(annotation, default).convert({}) == {}


@dataclasses.dataclass
class Parcel:
    lines: list[Line]
    weight: Annotated[float, msgspec.Meta(gt=0)]


class Crate(msgspec.Struct):
    parcels: list[Parcel]
    label: Line | None = None


def test_models_inside_plain_classes_are_read_by_pydantic() -> None:
    schema = of(list[Crate])
    crate: Any = {"parcels": [{"lines": [{"text": "a"}], "weight": 1.5}], "label": {"text": "b"}}
    assert schema.convert({"x": [crate]}) == {
        "x": [Crate([Parcel([Line(text="a")], 1.5)], Line(text="b"))]
    }
    wrong: Any = {"parcels": [], "label": {"text": "b", "amount": 0}}
    assert problems_of(schema, {"x": [wrong]}) == [
        "`$.x[0].label.amount`: input should be greater than or equal to 1, got 0"
    ]
    wrong = {"parcels": [{"lines": [], "weight": 0.0}]}
    assert problems_of(schema, {"x": [wrong]}) == [
        "`$.x[0].parcels[0].weight`: expected `float` > 0.0, got 0.0"
    ]


@pydantic.dataclasses.dataclass
class Checked:
    amount: int = pydantic.Field(ge=1)


def test_pydantic_dataclasses_keep_their_validation() -> None:
    assert of(list[Checked]).convert({"x": [{"amount": 1}]}) == {"x": [Checked(amount=1)]}
    assert len(problems_of(of(list[Checked]), {"x": [{"amount": 0}]})) == 1


@dataclasses.dataclass
class Loose:
    amount: Annotated[int, pydantic.Field(ge=1)]


def test_a_pydantic_constraint_inside_a_plain_dataclass_holds() -> None:
    assert of(Loose).convert({"x": {"amount": 1}}) == {"x": Loose(1)}
    assert len(problems_of(of(Loose), {"x": {"amount": 0}})) == 1


def test_a_pydantic_description_on_a_struct_is_taken() -> None:
    schema = property_of(Annotated[Item, pydantic.Field(description="What.")])
    assert schema == {"$ref": "#/$defs/Item", "description": "What."}


SEEDED = """
import dataclasses, enum, sys
from typing import Literal
import msgspec, pydantic
from lash.core.json import encode
from lash.core.schema import call_schema

class Colour(enum.Enum):
    RED = "red"; GREEN = "green"; BLUE = "blue"

@dataclasses.dataclass
class Query:
    words: frozenset[str] = frozenset({"alpha", "beta", "gamma", "delta"})
    others: frozenset[str] | None = frozenset({"alpha", "beta", "gamma", "delta"})

class Model(pydantic.BaseModel):
    words: set[str] = {"alpha", "beta", "gamma", "delta"}

def tool(
    q: Query, m: Model, c: Colour, l: Literal["z", "a", "m"],
    s: set[str] = {"alpha", "beta", "gamma", "delta"},
    n: Query = Query(),
    d: list[Model] = [Model()],
): ...

sys.stdout.buffer.write(msgspec.json.encode(call_schema(tool).json_schema))
"""


def test_the_schema_has_the_same_bytes_in_every_run(tmp_path: Path) -> None:
    script = tmp_path / "seeded.py"
    script.write_text(SEEDED)
    runs = {
        subprocess.run(
            [sys.executable, str(script)],
            env={"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    [schema] = runs
    words = b'["alpha","beta","delta","gamma"]'
    assert schema.count(words) == 8
