"""The tools that a server names, looked at: which can be offered, and which cannot and why. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from lash.contrib.mcp.names import ToolNames, tool_id
from lash.contrib.mcp.schemas import checker, or_nothing
from lash.core.errors import LashError
from lash.core.json import JsonObject, to_json
from lash.core.text import well_formed
from lash.tools.validation import InputSchema, UnusableSchemaError

#: A server may not fill a model's context with its tools.
MOST_TOOLS = 512
LONGEST_DESCRIPTION = 8 * 1024


@dataclass(frozen=True, slots=True)
class Listed:
    """A tool of a server.

    Attributes:
        original: What the server calls it.
        id: Its identity here.
        name: What a model calls it.
        description: What a model is told.
        schema: What its arguments must fit.
        arguments: Checks them.
        promised: Checks what it answers; None when the server promises nothing, or nothing usable.
    """

    original: str
    id: str
    name: str
    description: str
    schema: JsonObject
    arguments: InputSchema
    promised: InputSchema | None


@dataclass(frozen=True, slots=True)
class Listing:
    """What became of a server's list.

    Attributes:
        tools: Those on offer, in the server's order.
        refused: Why others are not, by what the server calls them.
    """

    tools: tuple[Listed, ...] = ()
    refused: Mapping[str, str] | None = None


def listing(server: str, described: Sequence[JsonObject], names: ToolNames) -> Listing:
    """The tools that can be offered, from a server's list in MCP's own form."""
    refused: dict[str, str] = {}
    usable: dict[str, tuple[JsonObject, InputSchema, InputSchema | None]] = {}
    for tool in described:
        original = str(tool.get("name"))
        if len(usable) >= MOST_TOOLS:
            refused[original] = f"a server may have {MOST_TOOLS} tools"
            continue
        if original in usable:
            refused[original] = "the server names it twice"
            continue
        try:
            usable[original] = _usable(tool)
        except UnusableSchemaError as error:
            refused[original] = f"its schema cannot be used: {error}"
    assigned = names.assign(usable)
    tools = tuple(
        Listed(
            original=original,
            id=tool_id(server, original),
            name=assigned[original],
            description=_description(server, tool),
            schema=cast("JsonObject", tool["inputSchema"]),
            arguments=arguments,
            promised=promised,
        )
        for original, (tool, arguments, promised) in usable.items()
    )
    return Listing(tools, refused)


def _usable(tool: JsonObject) -> tuple[JsonObject, InputSchema, InputSchema | None]:
    try:
        plain = cast("JsonObject", to_json(tool))
    except LashError as error:
        raise UnusableSchemaError(error.message) from error
    schema = plain.get("inputSchema")
    if not isinstance(schema, Mapping):
        raise UnusableSchemaError("it is no object")
    promised = plain.get("outputSchema")
    # A promise that nobody can check is no reason to do without the tool.
    return plain, checker(schema, kind="object"), or_nothing(promised)


def _description(server: str, tool: JsonObject) -> str:
    told = well_formed(str(tool.get("description") or tool.get("title") or ""))
    if len(told) > LONGEST_DESCRIPTION:
        told = told[:LONGEST_DESCRIPTION] + "…"
    return f"[MCP {server}] {told}".rstrip()
