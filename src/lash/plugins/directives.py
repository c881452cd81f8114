"""What a hook may answer, and which of several answers holds (tools spec 2.7, 4.3).

The strongest answer holds, whatever order the plugins were registered in: an abort beats a denial, a
denial beats an answer given in the tool's place, and that beats going on.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lash.core.durations import Duration
from lash.core.json import JsonObject
from lash.effects.waits.model import AwaitEventKey


@dataclass(frozen=True, slots=True)
class Abort:
    """End the turn as failed. For a tool call: fail it with the greatest strength.

    Attributes:
        message: What is said.
        code: A code of the plugin's own.
    """

    message: str
    code: str = "plugin_aborted"


@dataclass(frozen=True, slots=True)
class Deny:
    """Refuse a tool call: the model is told why.

    Attributes:
        message: What the model is shown.
        code: A code of the plugin's own.
    """

    message: str
    code: str = "tool_denied"


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer a tool call in the tool's place; the tool is not run."""

    value: object = None


@dataclass(frozen=True, slots=True)
class ReplaceArgs:
    """Run the tool with other arguments."""

    args: JsonObject


@dataclass(frozen=True, slots=True)
class Say:
    """Put a message into the turn.

    Attributes:
        text: What it says.
        role: Who says it.
        transient: It reaches the model in this turn and is not kept.
    """

    text: str
    role: Literal["user", "system"] = "system"
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold a tool call until the outside has spoken, over restarts, for months if need be.

    The hook is asked again with what the outside said (`ToolCallHook.answer`), and says then what is to
    become of the call.

    Attributes:
        announce: Called with the key that the outside answers by.
        timeout: How long to wait; None for ever.
    """

    announce: Callable[[AwaitEventKey], Awaitable[object] | object] | None = None
    timeout: Duration | None = None

    async def tell(self, key: AwaitEventKey) -> None:
        """Tell the outside by which key it answers."""
        if self.announce is None:
            return
        told = self.announce(key)
        if inspect.isawaitable(told):
            await told


@dataclass(frozen=True, slots=True)
class ShowFrom:
    """Show the model the conversation from this message on; what is stored stays as it is.

    Attributes:
        message_id: Where what is shown begins: a message that `begins`.
    """

    message_id: str


@dataclass(frozen=True, slots=True)
class Compact:
    """Have the conversation summarised once this turn is committed, as `Session.compact` does.

    Attributes:
        instructions: What the summary must keep, beside what it keeps anyway.
    """

    instructions: str = ""


BeforeTool: TypeAlias = Abort | Deny | Answer | ReplaceArgs | Hold
AfterTool: TypeAlias = Abort | Deny | Answer
InTurn: TypeAlias = Abort | Say
OfHistory: TypeAlias = ShowFrom | Compact

#: Directives that settle a tool call, the strongest first.
Settling: TypeAlias = Abort | Deny | Answer

_STRENGTH: tuple[tuple[type[Settling], int], ...] = ((Abort, 3), (Deny, 2), (Answer, 1))


@dataclass(frozen=True, slots=True)
class Settled:
    """What settles a tool call, and whose word it is.

    Attributes:
        plugin_id: Whose.
        directive: What it said.
        denial: The denial that an abort has displaced.
    """

    plugin_id: str
    directive: Settling
    denial: "Settled | None" = None

    @property
    def shown(self) -> Settling:
        """What the model is told. An abort that displaces a denial tells the denial's words."""
        return self.directive if self.denial is None else self.denial.directive


def stronger(
    held: Settled | None, plugin_id: str, directive: Settling, *, first_of_equals: bool
) -> Settled:
    """Which of two answers holds.

    Args:
        held: The one that held so far.
        plugin_id: Whose the other one is.
        directive: The other one.
        first_of_equals: Of two that are as strong the first holds; else the one of the plugin whose id
            comes first, so that the order of registration does not count.
    """
    offered = Settled(plugin_id, directive)
    if held is None:
        return offered
    winner = _winner(held, offered, first_of_equals=first_of_equals)
    if not isinstance(winner.directive, Abort):
        return winner
    denials = [each for each in (_denial(held), _denial(offered)) if each is not None]
    if len(denials) == 2:
        denials = [_winner(*denials, first_of_equals=first_of_equals)]
    return Settled(winner.plugin_id, winner.directive, denials[0] if denials else None)


def _winner(held: Settled, offered: Settled, *, first_of_equals: bool) -> Settled:
    ours, theirs = _strength(held.directive), _strength(offered.directive)
    if ours == theirs:
        return held if first_of_equals or held.plugin_id <= offered.plugin_id else offered
    return held if ours > theirs else offered


def _denial(settled: Settled) -> Settled | None:
    return settled if isinstance(settled.directive, Deny) else settled.denial


def _strength(directive: Settling) -> int:
    return next(strength for kind, strength in _STRENGTH if isinstance(directive, kind))
