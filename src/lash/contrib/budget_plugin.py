"""Showing a model no more of a tool's answer than a budget allows. All of it stays with the call.

Runtime("agents.db", agents=[…], plugins=[ToolOutputBudget()])
"""

from collections.abc import Mapping

from lash.contrib.output_budget import OutputBudget, shown
from lash.core.json import JsonObject
from lash.plugins.contexts import ToolCallHook
from lash.plugins.plugin import Plugin
from lash.runtime.tool_attachments import pieces_of, shown_text
from lash.turn.tools import ToolOutput, ToolSuccess

#: Of what commands print the end tells most.
TAIL = OutputBudget(keep="tail")


class ToolOutputBudget(Plugin):
    """Cuts what the model is shown of tools' answers; failures are shown whole.

    Args:
        budget: How much of an answer is shown.
        by_tool: Budgets of single tools, by name; `exec_command` keeps its end by default.

    A session may be given other sizes: `session.configure(plugins={"tool_output_budget": {"max_bytes":
    4096}})`.
    """

    id = "tool_output_budget"

    def __init__(
        self,
        budget: OutputBudget | None = None,
        by_tool: Mapping[str, OutputBudget] | None = None,
    ) -> None:
        self._budget = budget or OutputBudget()
        self._by_tool = {"exec_command": TAIL, "read_output": TAIL, **(by_tool or {})}
        for each in (self._budget, *self._by_tool.values()):
            shown("", each)  # refuses what nothing fits into

    def show(self, call: ToolCallHook, output: ToolOutput) -> str | None:
        """What the model is shown of an answer."""
        if not isinstance(output.outcome, ToolSuccess):
            return None
        budget = _of(self._by_tool.get(call.tool, self._budget), call.session.options)
        pieces = pieces_of(output)  # of what is cut only the text is left, which names attachments
        cut = shown(shown_text(output, pieces) if pieces else output.outcome.payload, budget)
        return cut.text if cut.omitted_bytes else None


def _of(budget: OutputBudget, options: JsonObject) -> OutputBudget:
    """A budget with what the session says of it."""
    size, lines = options.get("max_bytes"), options.get("max_lines")
    return OutputBudget(
        max_bytes=size if isinstance(size, int) else budget.max_bytes,
        max_lines=lines if isinstance(lines, int) else budget.max_lines,
        keep=budget.keep,
    )
