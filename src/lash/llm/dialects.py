"""Requests in the schema dialects that a provider takes: what is told differs, what is meant stays. Pure.

The journal and the checks of arguments and answers know the canonical schemas alone. What a schema comes
to in a dialect is found out once per process: requests of one agent share the tuple of its tools, and
that tuple is looked at once.
"""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from lash.core.errors import ConfigurationError
from lash.core.json import Data
from lash.llm.request import JsonSchemaOutput, LlmRequest, OutputSpec, ToolSpec
from lash.llm.schema_projection import (
    ProjectedSchema,
    SchemaContract,
    SchemaDialect,
    SchemaProjection,
    resolve,
)

#: Dialects in which a provider is asked to hold the model to the schema.
_STRICT: frozenset[SchemaDialect] = frozenset(
    {"openai_strict_tool_parameters", "openai_structured_output"}
)

#: How many schemas, and how many tuples of tools, are kept as they were told.
_SCHEMAS_KEPT = 4096
_TUPLES_KEPT = 64


class SchemaDialects(Data):
    """Which schema dialects a provider takes, best first; a provider has it as `schema_dialects`.

    One that has none is told schemas as they are.

    Attributes:
        tools: For the input of tools.
        outputs: For what answers are to be.
    """

    tools: tuple[SchemaDialect, ...]
    outputs: tuple[SchemaDialect, ...]


def dialects_of(provider: object) -> SchemaDialects | None:
    """Which dialects a provider takes; None if it does not say."""
    declared: SchemaDialects | None = getattr(provider, "schema_dialects", None)
    return declared


def told(request: LlmRequest, dialects: SchemaDialects | None) -> LlmRequest:
    """A request as its provider is told it; the same object where nothing differs.

    Raises:
        ConfigurationError: `schema_projection_failed`, naming the tool, the place in its schema and all
            that stands against it.
    """
    if dialects is None:
        return request
    tools = told_tools(request.tools, dialects.tools)
    output = _told_output(request.output, dialects.outputs)
    if tools is request.tools and output is request.output:
        return request
    return msgspec.structs.replace(request, tools=tools, output=output)


def told_tools(
    tools: tuple[ToolSpec, ...], dialects: Sequence[SchemaDialect]
) -> tuple[ToolSpec, ...]:
    """Tools as a provider is told them. Raises as `told`."""
    return _told_tuple(_Same(tools), tuple(dialects)) if tools else tools


class _Same:
    """A tuple of tools as a key: by identity, since to compare a thousand schemas is to read them."""

    __slots__ = ("tools",)

    def __init__(self, tools: tuple[ToolSpec, ...]) -> None:
        self.tools = tools

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.tools is self.tools

    def __hash__(self) -> int:
        return id(self.tools)


@lru_cache(maxsize=_TUPLES_KEPT)
def _told_tuple(same: _Same, dialects: tuple[SchemaDialect, ...]) -> tuple[ToolSpec, ...]:
    return tuple(_told_tool(tool, dialects) for tool in same.tools)


def _told_tool(tool: ToolSpec, dialects: tuple[SchemaDialect, ...]) -> ToolSpec:
    contract = SchemaContract(
        canonical=tool.input_schema, projection=tool.projection or SchemaProjection()
    )
    found = _projected(contract, dialects, f"tool {tool.name!r}", tool.name)
    return msgspec.structs.replace(
        tool, input_schema=found.schema, projection=None, strict=found.dialect in _STRICT
    )


def _told_output(
    output: OutputSpec | None, dialects: tuple[SchemaDialect, ...]
) -> OutputSpec | None:
    if not isinstance(output, JsonSchemaOutput):
        return output
    contract = SchemaContract(canonical=output.json_schema)
    found = _projected(contract, dialects, f"the answer {output.name!r}", None)
    strict = output.strict or found.dialect in _STRICT
    return msgspec.structs.replace(output, json_schema=found.schema, strict=strict)


def _projected(
    contract: SchemaContract,
    dialects: tuple[SchemaDialect, ...],
    what: str,
    tool: str | None,
) -> ProjectedSchema:
    try:
        # By its bytes: the order of members is what models see, and counts.
        return _resolved(msgspec.json.encode(contract), dialects)
    except ConfigurationError as error:
        details = {**error.details, **({"tool": tool} if tool is not None else {})}
        raise ConfigurationError(
            "schema_projection_failed", f"The schema of {what}: {error.message}", **details
        ) from error


@lru_cache(maxsize=_SCHEMAS_KEPT)
def _resolved(contract: bytes, dialects: tuple[SchemaDialect, ...]) -> ProjectedSchema:
    return resolve(msgspec.json.decode(contract, type=SchemaContract), dialects)
