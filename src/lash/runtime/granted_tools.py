"""Granted calls: one call of one tool that is in no catalogue, with what the grant says (tools spec 1.4).

The grant goes with the call that is registered and with each of its attempts, so that whoever runs it
later, in whatever process, has the same authority and no other.
"""

from lash.core.errors import LashError
from lash.core.json import JsonObject
from lash.effects.outcomes import PendingCompletion
from lash.llm.request import ToolSpec
from lash.runtime.agents import AgentDefinition
from lash.runtime.tool_catalog import source_ids, tool_of_source
from lash.tools.catalog import ToolCatalog, ToolSource, grant_route
from lash.tools.manifest import ArgumentProjection, ToolActivation, ToolGrant
from lash.tools.model import Tool, ToolContext, ToolRetry
from lash.tools.validation import input_schema
from lash.turn.tools import ToolOutput, failed


class GrantedTool:
    """The tool of a grant, as it is called: with the grant's contract, at the grant's source.

    Args:
        agent: Whose sources are meant.
        grant: The grant.

    Raises:
        LashError: `tool_grant_source_missing`.
        ConfigurationError: `tool_source_unknown`, `tool_schema_invalid`.
    """

    def __init__(self, agent: AgentDefinition, grant: ToolGrant) -> None:
        sources = {each: ToolSource(id=each) for each in source_ids(agent)}
        self._source = grant_route(ToolCatalog(sources=sources), grant).id
        self._agent = agent
        self._schema = input_schema(grant.contract.input_schema, grant.manifest.name)
        self.grant = grant

    def __repr__(self) -> str:
        return f"<granted {self.id} of {self._source}>"

    @property
    def id(self) -> str:
        """The tool's identity."""
        return self.grant.manifest.id

    @property
    def name(self) -> str:
        """What it is called."""
        return self.grant.manifest.name

    @property
    def spec(self) -> ToolSpec:
        """How it would be offered to a model."""
        description = self.grant.manifest.description
        return ToolSpec(name=self.name, description=description, input_schema=self._schema.document)

    @property
    def serial(self) -> bool:
        """Nothing else runs beside it."""
        return False

    @property
    def retry(self) -> ToolRetry | None:
        """How often a failure that is safe to repeat is repeated."""
        return self.grant.manifest.retry_policy

    @property
    def activation(self) -> ToolActivation:
        """Nobody is offered it."""
        return "internal"

    @property
    def argument_projection(self) -> ArgumentProjection:
        """How references in its arguments are handed in."""
        return self.grant.manifest.argument_projection

    def check(self, args: JsonObject) -> None:
        """Validate arguments against the grant's contract.

        Raises:
            LashError: `invalid_tool_args`.
        """
        misfit = self._schema.misfit(args)
        if misfit is not None:
            raise LashError("invalid_tool_args", misfit, problems=[misfit])

    async def run(self, args: JsonObject, context: ToolContext) -> ToolOutput | PendingCompletion:
        """Run the body of the source's tool. Failures are values."""
        try:
            inner = self.inner()
            inner.check(args)
        except LashError as error:
            by_args = error.code == "invalid_tool_args"
            return failed(
                "invalid_request" if by_args else "unavailable", str(error.code), error.message
            )
        return await inner.run(args, context)

    def inner(self) -> Tool:
        """The tool itself, as its source has it now.

        Raises:
            LashError: `tool_unavailable`, `granted_tool_id_mismatch`; `plugin_failed`.
        """
        found = tool_of_source(self._agent, self._source, self.id)
        if found is None:
            raise LashError(
                "tool_unavailable",
                f"The source {self._source!r} has no tool {self.id!r}, which the grant is for.",
                tool=self.id,
                source=self._source,
            )
        if found.id != self.id:
            raise mismatch(self.id, found.id)
        return found


def grant_of(tool: Tool | None) -> ToolGrant | None:
    """The grant by which a tool is called, if it is."""
    return tool.grant if isinstance(tool, GrantedTool) else None


def mismatch(granted: str, called: str | None) -> LashError:
    """The error of a grant that is used for another tool than it names."""
    return LashError(
        "granted_tool_id_mismatch",
        f"The grant is for the tool {granted!r}, and {called!r} was to be called. A grant is good for "
        "exactly one tool.",
        granted=granted,
        called=called,
    )
