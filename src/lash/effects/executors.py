"""Local executors: the code that performs an effect here and now (effects spec 4.4).

Each takes the kinds of effect it was made for, and is used up by one execution: an effect that is
performed twice has two executors, or it is a bug that would otherwise go unseen.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from lash.core.cancel import CancelToken
from lash.core.causality import EffectKind
from lash.core.errors import LashError
from lash.effects.commands import command_kind
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import EffectOutcome
from lash.effects.waits.board import Parking

Perform: TypeAlias = Callable[[], Awaitable[EffectOutcome]]
PerformEnvelope: TypeAlias = Callable[[RuntimeEffectEnvelope], Awaitable[EffectOutcome]]

_TURN: frozenset[EffectKind] = frozenset(
    {
        "llm_call",
        "tool_batch",
        "exec_code",
        "checkpoint",
        "sync_execution_environment",
        "sleep",
    }
)


class LocalExecutor:
    """Performs one effect. Made by the functions of this module.

    Attributes:
        name: What it is, for errors.
        cancel: For sleeps and waits: gives them up.
        deadline_at_ms: For waits: when they time out, in the store's clock.
        parking: Told by code that only waits for other work; given by the controller that runs it.
    """

    __slots__ = ("_accepts", "_perform", "_used", "cancel", "deadline_at_ms", "name", "parking")

    def __init__(
        self,
        name: str,
        accepts: frozenset[EffectKind] | None,
        perform: PerformEnvelope | None,
        *,
        cancel: CancelToken | None = None,
        deadline_at_ms: int | None = None,
    ) -> None:
        self.name = name
        self.cancel = cancel
        self.deadline_at_ms = deadline_at_ms
        self.parking: Parking | None = None
        self._accepts = accepts
        self._perform = perform
        self._used = False

    def __repr__(self) -> str:
        return f"<lash executor {self.name}>"

    async def run(self, envelope: RuntimeEffectEnvelope) -> EffectOutcome:
        """Perform the effect.

        Raises:
            LashError: `runtime_effect_local_executor_unavailable`,
                `runtime_effect_local_executor_mismatch`, `runtime_effect_local_executor_consumed`.
        """
        perform = self.claim(envelope)
        return await perform(envelope)

    @property
    def waits_itself(self) -> bool:
        """Whether it carries out a wait, which otherwise the host does."""
        return self._accepts is not None and "await_event" in self._accepts

    @property
    def used(self) -> bool:
        """Whether the effect was really performed, rather than answered from its record."""
        return self._used

    def spend(self) -> None:
        """Use the executor up for an effect that the host performs itself."""
        self._used = True

    def claim(self, envelope: RuntimeEffectEnvelope) -> PerformEnvelope:
        """Use the executor up for an effect it is for; see `run` for what may be raised."""
        kind = command_kind(envelope.command)
        if self.name == "unavailable":
            raise LashError(
                "runtime_effect_local_executor_unavailable",
                f"Nothing here can perform the {kind} {envelope.replay_key}: it is not recorded, and "
                "this runtime was given no code for it.",
                kind=kind,
                replay_key=envelope.replay_key,
            )
        if self._perform is None or (self._accepts is not None and kind not in self._accepts):
            raise LashError(
                "runtime_effect_local_executor_mismatch",
                f"A {self.name} executor was handed the {kind} {envelope.replay_key}, which it "
                "cannot perform.",
                kind=kind,
                executor=self.name,
            )
        if self._used:
            raise LashError(
                "runtime_effect_local_executor_consumed",
                f"The {self.name} executor was used before; the {kind} {envelope.replay_key} needs "
                "one of its own.",
                kind=kind,
                executor=self.name,
            )
        self._used = True
        return self._perform


def unavailable() -> LocalExecutor:
    """Performs nothing: for effects that must be recorded already."""
    return LocalExecutor("unavailable", frozenset(), None)


def sleeping(cancel: CancelToken | None = None) -> LocalExecutor:
    """Goes with a sleep, which the controller keeps itself; `cancel` breaks it off."""
    return LocalExecutor("sleep", frozenset({"sleep"}), None, cancel=cancel)


def awaiting(cancel: CancelToken | None = None, deadline_at_ms: int | None = None) -> LocalExecutor:
    """Goes with a wait, which the host keeps itself: when it is given up."""
    return LocalExecutor(
        "await_event", frozenset(), None, cancel=cancel, deadline_at_ms=deadline_at_ms
    )


def turn(perform: Perform, cancel: CancelToken | None = None) -> LocalExecutor:
    """Performs what a turn's machine asks for."""
    return _of("turn", _TURN, perform, cancel)


def direct(perform: Perform) -> LocalExecutor:
    """Performs a direct completion."""
    return _of("direct", frozenset({"direct"}), perform)


def tool_batch(perform: Perform) -> LocalExecutor:
    """Interprets a batch of tool calls."""
    return _of("tool_batch", frozenset({"tool_batch"}), perform)


def tool_attempt(perform: Perform) -> LocalExecutor:
    """Runs a tool's body once."""
    return _of("tool_attempt", frozenset({"tool_attempt"}), perform)


def durable_step(perform: Perform) -> LocalExecutor:
    """Runs host code once."""
    return _of("durable_step", frozenset({"durable_step"}), perform)


def runtime_value(perform: Perform) -> LocalExecutor:
    """Reads the clock or the source of chance."""
    return _of("runtime_value", frozenset({"runtime_value"}), perform)


def processes(perform: PerformEnvelope) -> LocalExecutor:
    """Carries out process commands, by a registry of processes."""
    return LocalExecutor("processes", frozenset({"process"}), perform)


def signals(perform: Perform) -> LocalExecutor:
    """Waits for a signal of a process, whose log says which one it is."""
    return LocalExecutor("signals", frozenset({"await_event"}), lambda _: perform())


def triggers(perform: PerformEnvelope) -> LocalExecutor:
    """Carries out trigger commands, by a store of triggers."""
    return LocalExecutor("triggers", frozenset({"trigger"}), perform)


def testing(perform: PerformEnvelope) -> LocalExecutor:
    """Performs anything: for tests and conformance suites."""
    return LocalExecutor("testing", None, perform)


def _of(
    name: str, accepts: frozenset[EffectKind], perform: Perform, cancel: CancelToken | None = None
) -> LocalExecutor:
    return LocalExecutor(name, accepts, lambda _: perform(), cancel=cancel)
