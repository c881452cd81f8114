"""Schemas in the dialects of vendors, held against what is written here by hand."""

import copy
from typing import Any

import pytest

import lash
from lash.llm.schema_projection import (
    Projected,
    SchemaContract,
    SchemaDialect,
    SchemaOverride,
    SchemaProjection,
    project,
    resolve,
)

LOOSE: SchemaDialect = "openai_tool_parameters"
STRICT: SchemaDialect = "openai_strict_tool_parameters"
OUTPUT: SchemaDialect = "openai_structured_output"
INPUT: SchemaDialect = "anthropic_tool_input"
CONFIG: SchemaDialect = "anthropic_output_config_json_schema"
BEDROCK: SchemaDialect = "bedrock_claude_output_config_json_schema"


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def closed(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (of(a={"const": 5}), of(a={"enum": [5], "type": "integer"})),
        (of(a={"enum": ["x", "y"]}), of(a={"enum": ["x", "y"], "type": "string"})),
        (of(a={"enum": [1, 2.5]}), of(a={"enum": [1, 2.5], "type": "number"})),
        (of(a={"enum": [True]}), of(a={"enum": [True], "type": "boolean"})),
        (of(a={"enum": ["x", 1]}), of(a={"enum": ["x", 1]})),
        (of(a={"items": {"const": "x"}}), of(a={"items": {"enum": ["x"], "type": "string"}, "type": "array"})),
        (of(a={"required": ["b"]}), of(a={"required": ["b"], "type": "object"})),
        ({"properties": {}}, of()),
        ({}, {"type": "object"}),
        (of(a={"allOf": [{"type": "string"}], "title": "A"}), of(a={"type": "string", "title": "A"})),
        (of(a={"allOf": [{"allOf": [{"type": "string"}]}]}), of(a={"type": "string"})),
        (of(a={"allOf": [{"type": "string"}], "type": "string"}), of(a={"type": "string"})),
        (of(a={"anyOf": [{"const": 1}, {"type": "null"}]}),
         of(a={"anyOf": [{"enum": [1], "type": "integer"}, {"type": "null"}]})),
        ({"$ref": "#/$defs/A", "$defs": {"A": of(x={"const": 1})}},
         {"$defs": {"A": of(x={"enum": [1], "type": "integer"})}, **of(x={"enum": [1], "type": "integer"})}),
        ({**of(a={"$ref": "#/definitions/A"}), "definitions": {"A": {"const": "x"}}},
         {**of(a={"$ref": "#/definitions/A"}), "definitions": {"A": {"enum": ["x"], "type": "string"}}}),
        ({**of(a={"$ref": "#/$defs/A", "required": ["x"]}), "$defs": {"A": of()}},
         {**of(a={"$ref": "#/$defs/A", "required": ["x"]}), "$defs": {"A": of()}}),
        # A property may be called like a keyword.
        (of(**{"not": {"type": "string"}, "oneOf": {"const": 1}}),
         of(**{"not": {"type": "string"}, "oneOf": {"enum": [1], "type": "integer"}})),
        ({**of(), "anyOf": [{"required": ["a"]}]}, {**of(), "anyOf": [{"required": ["a"], "type": "object"}]}),
    ],
)  # fmt: skip
def test_openai_tools_are_told_enums_types_and_single_branches(schema: Any, told: Any) -> None:
    assert project(schema, LOOSE) == Projected(schema=told)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (of(), closed()),
        ({}, closed()),
        ({**of(a={"type": "string"}), "required": ["a"]}, closed(a={"type": "string"})),
        (of(a={"type": "string"}), closed(a={"type": ["string", "null"]})),
        (of(a={"type": ["string", "integer"]}), closed(a={"type": ["string", "integer", "null"]})),
        (of(a={"type": ["string", "null"]}), closed(a={"type": ["string", "null"]})),
        (of(a={"anyOf": [{"type": "string"}, {"type": "integer"}]}),
         closed(a={"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]})),
        (of(a={"type": "string", "enum": ["x"], "description": "An x."}),
         closed(a={"anyOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}], "description": "An x."})),
        (of(a={"const": "x"}), closed(a={"anyOf": [{"enum": ["x"], "type": "string"}, {"type": "null"}]})),
        ({**of(a={"$ref": "#/$defs/A"}), "$defs": {"A": of(b={"type": "string"})}},
         {**closed(a={"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}),
          "$defs": {"A": closed(b={"type": ["string", "null"]})}}),
        ({**of(a=of(b={"type": "integer"})), "required": ["a"]},
         closed(a=closed(b={"type": ["integer", "null"]}))),
        (of(a=of()), closed(a={**closed(), "type": ["object", "null"]})),
        ({**of(a={"type": "integer", "default": 3, "description": "How many."}), "required": ["a"]},
         closed(a={"type": "integer", "description": "How many. (Unless said otherwise: default=3)"})),
        ({**of(), "additionalProperties": True}, closed()),
        ({**of(a={"type": "array", "items": of(b={"type": "string"})}), "required": ["a"]},
         closed(a={"type": "array", "items": closed(b={"type": ["string", "null"]})})),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dialect", [STRICT, OUTPUT])
def test_strict_profiles_have_everything_said_and_nothing_else(
    schema: Any, told: Any, dialect: SchemaDialect
) -> None:
    projected = project(schema, dialect)
    assert projected.diagnostics == ()
    assert projected.schema == told


@pytest.mark.parametrize(
    ("schema", "dialect", "says"),
    [
        (of(a={"oneOf": [{}]}), LOOSE, ["/properties/a: `oneOf` is not taken"]),
        (of(a={"allOf": [{}, {}]}), LOOSE, ["/properties/a: `allOf` is not taken"]),
        ({**of(), "not": {}, "if": {}, "then": {}, "else": {}}, LOOSE,
         [": `not` is not taken", ": `if` is not taken", ": `then` is not taken", ": `else` is not taken"]),
        (of(a=of() | {"patternProperties": {}}), LOOSE, ["/properties/a: `patternProperties` is not taken"]),
        ({**of(), "$defs": {"a/b": {"dependentRequired": {}}}}, LOOSE,
         ["/$defs/a~1b: `dependentRequired` is not taken"]),
        ({**of(), "dependentSchemas": {}}, LOOSE, [": `dependentSchemas` is not taken"]),
        ({"type": "string"}, LOOSE, [": the root must be an object"]),
        ({"type": ["object", "null"]}, LOOSE, [": the root must be an object"]),
        (of(a={"allOf": [{"type": "string"}], "type": "integer"}), LOOSE,
         ["/properties/a: `allOf` cannot be merged: type is said twice", "/properties/a: `allOf` is not taken"]),
        ({**closed(), "anyOf": [closed()]}, OUTPUT, [": the root must not be an `anyOf`"]),
        (of(a={"type": "object", "additionalProperties": {"type": "string"}}), STRICT,
         ["/properties/a: an object with free keys cannot be closed"]),
        (of(a={"type": "object"}), STRICT,
         ["/properties/a: an object that says nothing of its keys cannot be closed"]),
        ({**of(), "required": ["b"]}, STRICT, [": required but not described: b"]),
        ({"type": "array"}, INPUT, [": the root must be an object"]),
        ({"anyOf": [of()]}, INPUT, [": the root must not be a union (`anyOf`)"]),
    ],
)  # fmt: skip
def test_what_a_dialect_cannot_say_is_named_with_its_place(
    schema: Any, dialect: SchemaDialect, says: list[str]
) -> None:
    projected = project(schema, dialect)
    assert projected.schema is None
    assert [f"{each.pointer}: {each.message}" for each in projected.diagnostics] == says
    assert {each.dialect for each in projected.diagnostics} == {dialect}


def test_a_root_union_is_taken_as_tool_parameters_and_not_as_structured_output() -> None:
    schema = {**closed(), "anyOf": [closed()]}
    assert project(schema, STRICT).schema == schema
    assert project(schema, OUTPUT).schema is None


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (of(a={"type": "string", "minLength": 1, "pattern": "^a$", "description": "A name."}),
         of(a={"type": "string", "description": 'A name. (Further constraints: minLength=1, pattern="^a$")'})),
        (of(a={"type": "integer", "minimum": 0, "exclusiveMaximum": 9, "multipleOf": 3}),
         of(a={"type": "integer",
               "description": "(Further constraints: minimum=0, exclusiveMaximum=9, multipleOf=3)"})),
        (of(a={"type": "array", "maxItems": 2, "uniqueItems": True, "items": {"format": "date", "type": "string"}}),
         of(a={"type": "array", "items": {"type": "string", "description": '(Further constraints: format="date")'},
               "description": "(Further constraints: maxItems=2, uniqueItems=true)"})),
        (of(a={"const": "x"}), of(a={"enum": ["x"], "type": "string"})),
        (of(a={"allOf": [{"minLength": 1}, {"maxLength": 2}]}),
         of(a={"allOf": [{"description": "(Further constraints: minLength=1)"},
                         {"description": "(Further constraints: maxLength=2)"}]})),
        (of(a={"oneOf": [{"const": 1}, {"const": 2}]}),
         of(a={"oneOf": [{"enum": [1], "type": "integer"}, {"enum": [2], "type": "integer"}]})),
        # Without its limits a value may fit both branches, which `oneOf` would refuse.
        (of(a={"oneOf": [{"type": "integer", "maximum": 5}, {"type": "integer", "minimum": 6}]}),
         of(a={"anyOf": [{"type": "integer", "description": "(Further constraints: maximum=5)"},
                         {"type": "integer", "description": "(Further constraints: minimum=6)"}]})),
        # What is under a negation stays: with fewer limits it would refuse more.
        (of(a={"not": {"minLength": 3}}), of(a={"not": {"minLength": 3}})),
        (of(minLength={"type": "integer"}), of(minLength={"type": "integer"})),
        ({}, {"type": "object"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dialect", [INPUT, CONFIG, BEDROCK])
def test_anthropic_is_told_of_limits_in_words(
    schema: Any, told: Any, dialect: SchemaDialect
) -> None:
    assert project(schema, dialect) == Projected(schema=told)


def test_a_union_beside_the_properties_of_an_anthropic_tool_is_told_in_words() -> None:
    schema = {**of(a={}, b={}), "description": "D.", "anyOf": [{"required": ["a"]}]}
    assert project(schema, INPUT).schema == {
        **of(a={}, b={}),
        "description": 'D. (Further constraints: anyOf=[{"required":["a"]}])',
    }
    assert project(schema, CONFIG).schema == {
        **of(a={}, b={}),
        "description": "D.",
        "anyOf": [{"required": ["a"], "type": "object"}],
    }


@pytest.mark.parametrize("dialect", ["google_schema", "json_prompt_schema"])
def test_two_dialects_take_a_schema_as_it_is(dialect: SchemaDialect) -> None:
    schema: Any = {"not": {"const": 1}, "minLength": 2, "oneOf": []}
    told = project(schema, dialect)
    assert told == Projected(schema=copy.deepcopy(schema))
    assert told.schema is not schema


ODD = of(a={"oneOf": [{"type": "string"}, {"type": "integer"}]})


def test_the_first_dialect_that_can_say_a_schema_is_told() -> None:
    told = resolve(ODD, [STRICT, LOOSE, INPUT, "google_schema"])
    assert (told.dialect, told.schema) == (INPUT, ODD)


def test_an_override_is_told_word_for_word_and_in_its_place() -> None:
    word = SchemaOverride(dialect=LOOSE, schema={"not": {"const": 1}})
    contract = SchemaContract(canonical=ODD, projection=SchemaProjection(overrides=(word,)))
    assert resolve(contract, [STRICT, LOOSE, INPUT]).schema == {"not": {"const": 1}}
    assert resolve(contract, [INPUT, LOOSE]).schema == ODD


def test_with_explicit_only_nothing_but_overrides_is_told() -> None:
    word = SchemaOverride(dialect=INPUT, schema={"x": 1})
    mode = SchemaProjection(mode="explicit_only", overrides=(word,))
    contract = SchemaContract(canonical=of(), projection=mode)
    assert resolve(contract, [LOOSE, "google_schema", INPUT]).dialect == INPUT
    with pytest.raises(lash.ConfigurationError) as refused:
        resolve(contract, [LOOSE, "google_schema"])
    assert refused.value.code == "schema_projection_failed"
    diagnostics: Any = refused.value.details["diagnostics"]
    assert [each["dialect"] for each in diagnostics] == [LOOSE, "google_schema"]


def test_exact_tells_a_schema_only_where_it_is_taken_unchanged() -> None:
    exact = SchemaProjection(mode="exact")
    contract = SchemaContract(canonical=of(a={"type": "string"}), projection=exact)
    assert resolve(contract, [STRICT, LOOSE]).dialect == LOOSE  # strict would close it
    with pytest.raises(lash.ConfigurationError, match="only with changes"):
        resolve(contract, [STRICT])


def test_every_reason_is_in_the_error_and_no_dialect_is_one() -> None:
    with pytest.raises(lash.ConfigurationError) as refused:
        resolve({"type": "string", "not": {}}, [LOOSE, INPUT])
    diagnostics: Any = refused.value.details["diagnostics"]
    assert [(each["dialect"], each["message"]) for each in diagnostics] == [
        (LOOSE, "`not` is not taken"),
        (LOOSE, "the root must be an object"),
        (INPUT, "the root must be an object"),
    ]
    assert "openai_tool_parameters: `not` is not taken" in refused.value.message
    with pytest.raises(lash.ConfigurationError, match="no schema dialect"):
        resolve(of(), [])
    with pytest.raises(lash.ConfigurationError, match="no schema dialect 'klingon'"):
        resolve(of(), ["klingon"])  # type: ignore[list-item]  # as untyped code does
