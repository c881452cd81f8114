"""One tool call on its way through attempts: what it is called, what it used, what its body waits for."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import msgspec

from lash.core.cancel import CancelToken
from lash.core.causality import EffectSubject, RuntimeInvocation
from lash.core.json import JsonObject, JsonValue, digest
from lash.effects.outcomes import ChildTurn, DirectCall
from lash.effects.trigger_commands import TriggerEmission
from lash.effects.waits.board import Parking
from lash.effects.waits.model import AwaitEventKey, Resolution
from lash.runtime.children import Children
from lash.tools.manifest import ToolGrant
from lash.tools.model import Tool, ToolRetry
from lash.tools.triggers import ToolTriggers
from lash.turn.tools import PendingToolCall


class Resting(Protocol):
    """Told when the bodies of calls wait for processes, which need what these hold to go on."""

    def pause(self, process_id: str) -> None:
        """A call waits for a process."""
        ...

    def resume(self) -> None:
        """It waits no longer. Before it goes on it needs `ensure`."""
        ...

    async def ensure(self) -> None:
        """Hold what is needed to go on, waiting for it if it was given back."""
        ...


#: Mints the key by which the outside answers the call of this name.
MintKey: TypeAlias = Callable[[str], Awaitable[AwaitEventKey]]

#: The child sessions of a call: by its id, its key and what gives it up.
BeginChildren: TypeAlias = Callable[[str, str, CancelToken], Children]

#: The triggers of a call: by its key, and where what it emits is noted.
BeginTriggers: TypeAlias = Callable[[str, list[TriggerEmission]], ToolTriggers]


@dataclass(frozen=True, slots=True)
class Word:
    """What the outside has said to a plugin that held a call, and about which arguments."""

    resolution: Resolution
    args: JsonObject


@dataclass(slots=True)
class Call:
    """One call on its way through attempts.

    Attributes:
        executed: Whether anything of it really ran here.
        waits: How many processes its body waits for.
        passed: Whether plugins have let it through; they are asked before its first attempt.
        args: The arguments that its tool is run with.
        holds: How often it was held by plugins.
        answers: What the outside has said to plugins that held it.
        grant: The permission by which it is made, if its tool is in no catalogue.
        emitted: The occurrences that its attempts have emitted.
    """

    parent: RuntimeInvocation
    suffix: str
    pending: PendingToolCall
    tool: Tool | None
    executed: bool = False
    waits: int = 0
    passed: bool = False
    holds: int = 0
    args: JsonObject = field(default_factory=dict)
    answers: dict[str, Word] = field(default_factory=dict)
    direct_calls: list[DirectCall] = field(default_factory=list)
    children: list[ChildTurn] = field(default_factory=list)
    grant: ToolGrant | None = None
    emitted: list[str] = field(default_factory=list)

    @property
    def granted(self) -> JsonValue:
        """The grant as it is recorded with each attempt."""
        recorded: JsonValue = None if self.grant is None else msgspec.to_builtins(self.grant)
        return recorded

    @property
    def key(self) -> str:
        """The same for every attempt of the call, also after a crash; no other call's.

        Call ids are the model's and may repeat within a turn; the effect's place in it does not.
        """
        scope, replay = self.parent.scope, self.parent.replay
        place = replay.key if replay else ""
        return digest("tool-call", [scope.session_id, scope.turn_id, place, self.suffix])

    @property
    def place(self) -> str:
        """The call's place in its turn. Call ids are the model's and may repeat; this does not."""
        subject = self.parent.subject
        effect_id = subject.effect_id if isinstance(subject, EffectSubject) else ""
        return f"{effect_id}:{self.suffix}"

    def attempt_suffix(self, attempt: int) -> str:
        """The place of an attempt. One that was held is made again at a place of its own."""
        held = f":held:{self.holds}" if self.holds else ""
        return f"{self.suffix}:attempt:{attempt}{held}"

    @property
    def policy(self) -> ToolRetry | None:
        """How often a failure that is safe to repeat is repeated."""
        return self.tool.retry if self.tool else None

    @property
    def max_attempts(self) -> int:
        """How many attempts there may be."""
        return self.policy.max_attempts if self.policy else 1

    @asynccontextmanager
    async def pausing(
        self, process_id: str, parking: Parking | None, slot: Resting | None
    ) -> AsyncIterator[None]:
        """The body waits for a process. It may wait for several side by side; that is one wait.

        Args:
            process_id: The process.
            parking: Told, so that a scope that only waits keeps nobody busy.
            slot: Given back meanwhile.
        """
        self.waits += 1
        if self.waits == 1:
            if slot is not None:
                slot.pause(process_id)
            if parking is not None:
                parking.begin_waiting()
        try:
            yield
        finally:
            self.waits -= 1
            if not self.waits:
                if parking is not None:
                    parking.end_waiting()
                if slot is not None:
                    slot.resume()
        if slot is not None:
            await slot.ensure()
