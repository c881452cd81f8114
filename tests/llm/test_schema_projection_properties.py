"""For generated schemas: a dialect refuses nothing that the canonical schema accepts, changes nothing, settles."""

import copy
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lash.llm.schema_projection import SchemaDialect, project

pytestmark = pytest.mark.slow

DIALECTS: tuple[SchemaDialect, ...] = (
    "openai_tool_parameters",
    "openai_strict_tool_parameters",
    "openai_structured_output",
    "anthropic_tool_input",
    "anthropic_output_config_json_schema",
    "bedrock_claude_output_config_json_schema",
    "google_schema",
    "json_prompt_schema",
)
STRICT = DIALECTS[1:3]


@dataclass(frozen=True)
class Case:
    """A schema, a value that fits it, and the same value with null for everything left out."""

    schema: Any
    value: Any
    said: Any


def leaves() -> st.SearchStrategy[Case]:
    def case(schema: Any, value: Any) -> Case:
        return Case(schema, value, value)

    texts = st.text(max_size=4)
    return st.one_of(
        texts.map(lambda text: case({"type": "string", "minLength": len(text)}, text)),
        texts.map(lambda text: case({"type": "string", "maxLength": len(text), "format": "date"}, text)),
        texts.map(lambda text: case({"type": ["string", "null"], "default": "x"}, text)),
        texts.map(lambda text: case({"const": text}, text)),
        st.integers(-9, 9).map(lambda n: case({"type": "integer", "minimum": n, "multipleOf": 1}, n)),
        st.integers(-9, 9).map(lambda n: case({"enum": [n, n + 1], "description": "One."}, n)),
        st.integers(-9, 9).map(lambda n: case({"enum": [None, n, "x"]}, None)),
        st.booleans().map(lambda flag: case({"type": "boolean"}, flag)),
        st.just(case({"type": "null"}, None)),
        st.just(case({}, {"any": [1]})),
        st.sampled_from(["x", 1]).map(
            lambda each: case({"anyOf": [{"type": "string", "maxLength": 3}, {"const": 1}]}, each)
        ),
        st.integers(0, 9).map(
            lambda n: case({"oneOf": [{"type": "integer", "maximum": 4}, {"type": "integer", "minimum": 5}]}, n)
        ),
        st.just(case({"allOf": [{"type": "string"}], "title": "T"}, "x")),
        st.just(case({"$ref": "#/$defs/Small"}, 2)),
        st.integers(0, 1).map(lambda n: case({"oneOf": [{"$ref": "#/$defs/Small"}, {"$ref": "#/$defs/Large"}]}, n)),
        st.just(case({"type": "string", "not": {"minLength": 3}}, "ab")),
    )  # fmt: skip


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    members = draw(st.dictionaries(st.sampled_from("abcd"), inner, max_size=3))
    required = [name for name in members if draw(st.booleans())]
    present = [name for name in members if name in required or draw(st.booleans())]
    schema: dict[str, Any] = {
        "properties": {name: each.schema for name, each in members.items()},
        "required": required,
    }
    if draw(st.booleans()):
        schema["type"] = "object"
    if draw(st.booleans()):
        schema["additionalProperties"] = False
    said = {name: members[name].said if name in present else None for name in members}
    return Case(schema, {name: members[name].value for name in present}, said)


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[Case]) -> Case:
    each = draw(inner)
    count = draw(st.integers(0, 2))
    schema = {"type": "array", "items": each.schema, "minItems": count, "maxItems": count}
    return Case(schema, [each.value] * count, [each.said] * count)


CASES = st.recursive(leaves(), lambda inner: objects(inner) | arrays(inner), max_leaves=6)


@st.composite
def roots(draw: st.DrawFn) -> Case:
    case = draw(objects(CASES))
    definitions = {
        "Small": {"type": "integer", "maximum": 2, "exclusiveMinimum": 0},
        "Large": {"type": "integer", "not": {"type": "integer", "maximum": 2, "exclusiveMinimum": 0}},
    }  # fmt: skip
    return Case({**case.schema, "$defs": definitions}, case.value, case.said)


def accepts(schema: Any, value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize("dialect", DIALECTS)
@given(case=roots())
def test_a_dialect_accepts_what_the_schema_accepts(dialect: SchemaDialect, case: Case) -> None:
    assert accepts(case.schema, case.value)
    projected = project(case.schema, dialect)
    if projected.schema is None:
        return
    jsonschema.Draft202012Validator.check_schema(projected.schema)
    # What strict profiles document: nothing is left out; null says so.
    said = case.said if dialect in STRICT else case.value
    assert accepts(projected.schema, said)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(case=roots())
def test_projecting_twice_is_projecting_once(dialect: SchemaDialect, case: Case) -> None:
    once = project(case.schema, dialect).schema
    if once is not None:
        again = project(once, dialect)
        assert again.schema == once
        assert repr(again.schema) == repr(once)  # members keep their order as well


@pytest.mark.parametrize("dialect", DIALECTS)
@given(case=roots())
def test_projecting_leaves_the_schema_alone(dialect: SchemaDialect, case: Case) -> None:
    before = copy.deepcopy(case.schema)
    projected = project(case.schema, dialect).schema
    assert case.schema == before
    if projected is not None:
        spoil(projected)
        assert case.schema == before


def spoil(part: Any) -> None:
    """Change every part of a schema: nothing of it may be shared."""
    for inner in part.values() if isinstance(part, dict) else part:
        if isinstance(inner, dict | list):
            spoil(inner)
    part.clear()


def test_the_generated_schemas_reach_every_dialect() -> None:
    """The properties above would hold for a projector that refuses everything."""
    for dialect in DIALECTS:
        schema: Any = {"properties": {"a": {"const": 1}}, "required": ["a"]}
        assert project(schema, dialect).schema is not None
