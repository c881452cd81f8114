"""A plugin: a class whose methods are the places where it is asked (tools spec 4).

    class Guard(Plugin):
        id = "guard"

        async def before_tool(self, call):
            if call.tool == "delete_all":
                return Deny("Not in this house.")

One object serves every session of its runtime or agent; what is a session's own is remembered through
the session that a hook is given.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from lash.core.clock import Clock
from lash.plugins.contexts import (
    CheckpointHook,
    HistoryHook,
    PluginSession,
    ToolCallHook,
    TurnEnded,
    TurnHook,
)
from lash.plugins.directives import AfterTool, BeforeTool, InTurn, OfHistory
from lash.tools.model import Tool
from lash.tools.provider import ToolProvider
from lash.turn.prompt import PromptLayer
from lash.turn.tools import ToolOutput

ToolLike: TypeAlias = Tool | Callable[..., object]

#: A hook may answer with nothing, with one directive or with several.
TurnAnswers: TypeAlias = InTurn | Sequence[InTurn] | None


class PluginHost(Protocol):
    """The runtime, as a plugin sees it when it starts."""

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        ...


class Plugin:
    """Override what you need; what is not overridden costs nothing.

    Attributes:
        id: Tells plugins apart, for ever: what is remembered is kept under it.
        version: Which version of what it remembers.
    """

    id: str = ""
    version: str = "1"

    def __repr__(self) -> str:
        return f"<plugin {self.id}>"

    # --- as long as the runtime is open -----------------------------------------------------------

    async def start(self, host: PluginHost) -> None:
        """Called when the runtime opens, before anything is driven: connect to what is needed."""

    async def stop(self) -> None:
        """Called when the runtime has closed, also when `start` failed: let go of it."""

    # --- what it contributes; no I/O ------------------------------------------------------------------

    def tools(self) -> Sequence[ToolLike]:
        """Tools it brings along. They are the same as long as the runtime is open."""
        return ()

    def providers(self) -> Sequence[ToolProvider]:
        """Where tools come from that come and go."""
        return ()

    def prompt(self, session: PluginSession) -> PromptLayer | None:
        """What it says in the system prompt."""
        del session
        return None

    def offers(self, tool: str, session: PluginSession) -> bool:
        """Whether a tool is on offer in a session. What one plugin withholds no other brings back."""
        del tool, session
        return True

    # --- turns -----------------------------------------------------------------------------------------

    async def before_turn(self, turn: TurnHook) -> TurnAnswers:
        """Asked once, before the first model call."""
        del turn
        return None

    def history(self, history: HistoryHook) -> OfHistory | None:
        """Asked once, before the first model call: what a model is shown of the conversation.

        None for all of it. One plugin may do this.
        """
        del history
        return None

    async def at_checkpoint(self, checkpoint: CheckpointHook) -> TurnAnswers:
        """Asked after each round of tool calls and before the turn ends."""
        del checkpoint
        return None

    async def after_turn(self, turn: TurnEnded) -> None:
        """Told once a turn is committed, by the runtime that did; lost if it dies just then."""
        del turn

    def rewrite(self, text: str, session: PluginSession) -> str | None:
        """What is kept and shown in the place of a text that a model said; None for the text as it is.

        Asked once of each text, before it is recorded. While a plugin is asked, text is shown live only as a
        whole. Reasoning and the arguments of tool calls are not asked about.
        """
        del text, session
        return None

    # --- tool calls --------------------------------------------------------------------------------------

    async def before_tool(self, call: ToolCallHook) -> BeforeTool | None:
        """Asked before a tool is run. What comes of it is recorded with the call's first attempt.

        Asked again where a plugin behind this one replaces the arguments, and once a call was held.
        """
        del call
        return None

    async def after_tool(self, call: ToolCallHook, output: ToolOutput) -> AfterTool | None:
        """Asked after each attempt, before it is decided whether there is another one.

        Asked once about an answer from outside, and not about calls whose tool was not run.
        """
        del call, output
        return None

    def show(self, call: ToolCallHook, output: ToolOutput) -> str | None:
        """What the model is shown of a tool's answer; None for the usual. One plugin may do this."""
        del call, output
        return None


#: Methods that answer at once, without awaiting anything.
AT_ONCE = ("tools", "providers", "prompt", "offers", "history", "rewrite", "show")

#: Methods that count only where they are overridden.
HOOKS = (
    "prompt",
    "offers",
    "before_turn",
    "history",
    "rewrite",
    "at_checkpoint",
    "after_turn",
    "before_tool",
    "after_tool",
    "show",
)


def overrides(plugin: Plugin, hook: str) -> bool:
    """Whether a plugin does something of its own at a hook, by its class or by itself."""
    own: object = getattr(plugin, hook)
    return getattr(own, "__func__", own) is not getattr(Plugin, hook)
