"""A tool by which a model hands work to other agents, and waits for what they come to.

A sub-agent is a turn that runs as a process and is named by the call that asked for it. So a crashed
parent finds it where it is, running or done, and nothing is paid twice.
"""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from lash.core.errors import ConfigurationError
from lash.tools.function import FunctionTool
from lash.tools.model import Tool, ToolContext, ToolError

#: How many sessions deep agents hand work on unless the host says otherwise.
MAX_DEPTH = 5


class NamedAgent(Protocol):
    """An agent, as far as it is called something."""

    @property
    def name(self) -> str:
        """What it is registered as."""
        ...


def subagents(agents: Sequence[str | NamedAgent], *, max_depth: int = MAX_DEPTH) -> list[Tool]:
    """`spawn_agent`, for an agent's `tools`: it has one of `agents` do a task, and gives its answer.

        lead = lash.Agent("lead", model=…, tools=[*lash.subagents(["researcher"])])

    The sub-agent works in a session of its own, as a process. What it uses is booked with the turn that
    asked for it; stopping that turn stops the sub-agent. A sub-agent that may spawn as well does so, down
    to the limit; there the tool fails and says so.

    Args:
        agents: Who may be asked: agents of the same runtime, or their names.
        max_depth: How many sessions deep sub-agents may have sub-agents; 8 is the runtime's own limit.

    Raises:
        ConfigurationError: `agent_invalid`: nobody may be asked, or the limit is no number above 0.
    """
    names = _names(agents)
    limit: object = max_depth
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ConfigurationError(
            "agent_invalid", f"max_depth of sub-agents must be at least 1, not {max_depth!r}."
        )

    async def spawn_agent(
        task: str, agent: str, ctx: ToolContext, output: dict[str, Any] | None = None
    ) -> object:
        if not task.strip():
            raise ToolError("The task is blank; say what is to be done.", code="task_blank")
        answer = await ctx.processes.run_turn(
            agent,
            task,
            id=f"process:subagent:{ctx.idempotency_key}",
            output=output,
            max_depth=max_depth,
        )
        return answer.value

    # What may be asked is only known here, and the model is to choose from it.
    spawn_agent.__annotations__["agent"] = Literal.__getitem__(names)
    spawn_agent.__doc__ = _DESCRIPTION
    return [FunctionTool(spawn_agent)]


_DESCRIPTION = """Have another agent work on a task, and wait for its answer.

It knows nothing of this conversation: tell it all that it needs.

Args:
    task: What it is to do.
    agent: Who is to do it.
    output: A JSON schema that the answer must fit; without one the answer is text.
"""


def _names(agents: Sequence[str | NamedAgent]) -> tuple[str, ...]:
    given: object = agents
    listed = isinstance(given, Sequence) and not isinstance(given, str)
    called = [getattr(each, "name", each) for each in agents] if listed else []
    names = tuple(dict.fromkeys(name for name in called if isinstance(name, str) and name.strip()))
    if not names or len(names) != len(called):
        raise ConfigurationError(
            "agent_invalid",
            "subagents takes a list of agents or of their names, each once: subagents(['researcher']).",
        )
    return names
