"""A JSON schema as each vendor takes it. Pure: schema in, schema out, or what stands against it.

The canonical schema is what a tool means and what its arguments are checked against. A vendor takes
only part of JSON Schema; what it is told instead accepts at least as much, so that whatever it lets a
model say is judged by the canonical schema and by nothing else. Strict profiles are the exception:
they close objects, and have every property said, with null for what used to be left out.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from lash.core.errors import ConfigurationError
from lash.core.json import Data, JsonObject, JsonValue, canonical
from lash.llm import schema_anthropic, schema_openai
from lash.llm.schema_diagnostics import Diagnostics, SchemaDiagnostic, plain_copy

SchemaDialect: TypeAlias = Literal[
    "openai_tool_parameters",
    "openai_strict_tool_parameters",
    "openai_structured_output",
    "anthropic_tool_input",
    "anthropic_output_config_json_schema",
    "bedrock_claude_output_config_json_schema",
    "google_schema",
    "json_prompt_schema",
]

#: `auto`: what a projector makes of the schema is told. `explicit_only`: nothing but an override is.
#: `exact`: the schema as it is, where a vendor takes it unchanged.
ProjectionMode: TypeAlias = Literal["auto", "explicit_only", "exact"]

_OPENAI: dict[SchemaDialect, schema_openai.Profile] = {
    "openai_tool_parameters": schema_openai.Profile(strict=False, root_union=True),
    "openai_strict_tool_parameters": schema_openai.Profile(strict=True, root_union=True),
    "openai_structured_output": schema_openai.Profile(strict=True, root_union=False),
}
_ANTHROPIC: dict[SchemaDialect, bool] = {
    "anthropic_tool_input": True,
    "anthropic_output_config_json_schema": False,
    "bedrock_claude_output_config_json_schema": False,
}
_AS_IT_IS: tuple[SchemaDialect, ...] = ("google_schema", "json_prompt_schema")


class SchemaOverride(Data):
    """What one dialect is told instead, word for word."""

    dialect: SchemaDialect
    schema: JsonObject


class SchemaProjection(Data):
    """How a schema may be told to vendors that take less than all of JSON Schema."""

    mode: ProjectionMode = "auto"
    overrides: tuple[SchemaOverride, ...] = ()


class SchemaContract(Data):
    """A schema and how it may be told. Arguments are checked against `canonical`, whatever was told."""

    canonical: JsonObject
    projection: SchemaProjection = SchemaProjection()


class ProjectedSchema(Data):
    """What a vendor is told, and in which of its dialects."""

    dialect: SchemaDialect
    schema: JsonObject


class Projected(Data):
    """What a projector makes of a schema: None, and the reasons, if the dialect cannot say it."""

    schema: JsonObject | None
    diagnostics: tuple[SchemaDiagnostic, ...] = ()


def project(schema: JsonObject, dialect: SchemaDialect) -> Projected:
    """A schema in one dialect.

    Args:
        schema: Left as it is; what comes back shares nothing with it.
        dialect: The dialect.

    Raises:
        ConfigurationError: `schema_projection_failed`: there is no such dialect.
    """
    found = Diagnostics(dialect)
    copied = plain_copy(schema)
    if dialect in _OPENAI:
        told = schema_openai.projected(copied, _OPENAI[dialect], found)
    elif dialect in _ANTHROPIC:
        told = schema_anthropic.projected(copied, tool_input=_ANTHROPIC[dialect], found=found)
    elif dialect in _AS_IT_IS:
        told = copied
    else:
        raise ConfigurationError(
            "schema_projection_failed",
            f"There is no schema dialect {dialect!r}; there are: "
            f"{', '.join([*_OPENAI, *_ANTHROPIC, *_AS_IT_IS])}.",
            dialect=dialect,
        )
    return Projected(schema=None if found.all else told, diagnostics=found.all)


def resolve(
    contract: SchemaContract | JsonObject, dialects: Sequence[SchemaDialect]
) -> ProjectedSchema:
    """The schema in the first of a provider's dialects that can say it.

    Args:
        contract: The schema; one without a contract is projected as mode `auto` says.
        dialects: What the provider takes, best first.

    Raises:
        ConfigurationError: `schema_projection_failed`; `details["diagnostics"]` has what stands against
            each dialect.
    """
    if not isinstance(contract, SchemaContract):
        contract = SchemaContract(canonical=contract)
    overrides = {each.dialect: each.schema for each in contract.projection.overrides}
    against: list[SchemaDiagnostic] = []
    for dialect in dialects:
        if dialect in overrides:
            return ProjectedSchema(dialect=dialect, schema=plain_copy(overrides[dialect]))
        if contract.projection.mode == "explicit_only":
            against.append(_against(dialect, "only an override may be told, and it has none"))
            continue
        projected = project(contract.canonical, dialect)
        against += projected.diagnostics
        if projected.schema is None:
            continue
        if contract.projection.mode == "exact" and not _same(projected.schema, contract.canonical):
            against.append(_against(dialect, "it takes the schema only with changes"))
            continue
        return ProjectedSchema(dialect=dialect, schema=projected.schema)
    raise _unprojected(against)


def _against(dialect: SchemaDialect, message: str) -> SchemaDiagnostic:
    return SchemaDiagnostic(dialect=dialect, pointer="", message=message)


def _same(left: JsonObject, right: JsonObject) -> bool:
    return canonical(left) == canonical(right)


def _unprojected(against: Sequence[SchemaDiagnostic]) -> ConfigurationError:
    if not against:
        return ConfigurationError(
            "schema_projection_failed", "The provider names no schema dialect that it takes."
        )
    told = "; ".join(each.text for each in against)
    diagnostics: list[JsonValue] = [msgspec.to_builtins(each) for each in against]
    return ConfigurationError(
        "schema_projection_failed",
        f"The schema cannot be told to the model: {told}. Simplify it, or give the dialect an override.",
        diagnostics=diagnostics,
    )
