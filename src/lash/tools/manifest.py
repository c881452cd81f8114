"""A tool as data: who it is, who may call it, how its arguments are handed in (tools spec 1.1, 1.5)."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from lash.core.errors import ConfigurationError
from lash.core.json import Data, JsonObject, JsonValue
from lash.tools.compact import CompactToolContract, OutputContract, StaticOutput, compact_contract
from lash.tools.model import Tool, ToolRetry

#: `always`: models are offered it. `internal`: no model is, and a model that names it all the same is
#: refused; processes may call it.
ToolActivation: TypeAlias = Literal["always", "internal"]


class MaterializeProjectedValues(Data, tag_field="kind", tag="materialize_projected_values"):
    """References that code hands in are looked up before the tool sees its arguments."""


class PreserveProjectedRefsInField(Data, tag_field="kind", tag="preserve_projected_refs_in_field"):
    """References within one argument are handed to the tool as they are; all others are looked up."""

    field: str


ArgumentProjection: TypeAlias = MaterializeProjectedValues | PreserveProjectedRefsInField

#: How arguments are handed in unless a tool says otherwise.
MATERIALIZE = MaterializeProjectedValues()


class ToolManifest(Data):
    """What is always known of a tool. Its contract is looked up when it is needed.

    Attributes:
        id: Who it is. Authority, membership and routing go by it.
        name: What models call it; an alias.
        description: What models are told of it.
        compact_contract: Its contract in short, for prompts.
        activation: Who may call it.
        bindings: What extensions keep with it, by extension.
        argument_projection: How references in its arguments are handed in.
        retry_policy: How often a failure that is safe to repeat is repeated; None for never.
    """

    id: str
    name: str
    description: str = ""
    compact_contract: CompactToolContract | None = None
    activation: ToolActivation = "always"
    bindings: Mapping[str, JsonValue] = {}
    argument_projection: ArgumentProjection = MATERIALIZE
    retry_policy: ToolRetry | None = None


class ToolContract(Data):
    """What goes into a tool and what comes out. What comes out is told, and never enforced."""

    input_schema: JsonObject = msgspec.field(
        default_factory=lambda: {"type": "object", "properties": {}, "additionalProperties": True}
    )
    output_schema: JsonValue = None
    output_contract: OutputContract = StaticOutput()
    examples: tuple[str, ...] = ()


class ToolGrant(Data):
    """Permission to call one tool that is in no catalogue, for one call.

    It goes with the recorded call, so that a replay has the same authority.

    Attributes:
        manifest: The tool.
        contract: Its contract.
        source_id: Where it is called. It is never guessed: a grant without one leads nowhere.
        execution_binding: What the tool is handed along, as data.
    """

    manifest: ToolManifest
    contract: ToolContract = ToolContract()
    source_id: str | None = None
    execution_binding: JsonValue = None


def manifest_of(tool: Tool) -> ToolManifest:
    """A tool as data."""
    spec = tool.spec
    return ToolManifest(
        id=tool.id,
        name=tool.name,
        description=spec.description,
        compact_contract=compact_contract(tool.name, spec.description, spec.input_schema),
        activation=activation_of(tool),
        argument_projection=argument_projection_of(tool),
        retry_policy=tool.retry,
    )


def grant_tool(
    tool: Tool, *, source_id: str | None = None, execution_binding: JsonValue = None
) -> ToolGrant:
    """Permission to call one tool once, whether or not it is in any catalogue.

    `runtime.processes.start_tool(agent, grant, args)` and `ctx.processes.start_tool(grant, args)` take it
    in the place of a name. Whatever a session hides stays hidden from grants as well.

    Args:
        tool: The tool, as its source has it.
        source_id: Where it is called: `agent`, `plugin:<id>` or `provider:<id>`. Nothing is guessed: a
            grant without one is refused.
        execution_binding: What its body finds in `ToolContext.execution_binding`; JSON, and no secret, for
            it is kept with the call.

    Raises:
        ConfigurationError: `tool_signature_invalid`: it is no tool.
    """
    given: object = tool
    if not hasattr(given, "spec"):
        raise ConfigurationError(
            "tool_signature_invalid",
            f"A grant is for a tool, not {given!r}; decorate the function with @lash.tool.",
        )
    return ToolGrant(
        manifest=manifest_of(tool),
        contract=ToolContract(input_schema=tool.spec.input_schema),
        source_id=source_id,
        execution_binding=execution_binding,
    )


def activation_of(tool: Tool) -> ToolActivation:
    """Who may call a tool; one that does not say is for models."""
    return "internal" if getattr(tool, "activation", "always") == "internal" else "always"


def for_models(tools: Mapping[str, Tool]) -> dict[str, Tool]:
    """The tools that models may call; internal ones are for processes alone."""
    return {name: tool for name, tool in tools.items() if activation_of(tool) == "always"}


def argument_projection_of(tool: Tool) -> ArgumentProjection:
    """How references in a tool's arguments are handed in; looked up, if it does not say."""
    declared: ArgumentProjection = getattr(tool, "argument_projection", MATERIALIZE)
    return declared
