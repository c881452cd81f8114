"""The operations that are open in this runtime: those who enter one by one name share a controller."""

from collections.abc import Callable
from dataclasses import dataclass

from lash.core.clock import Clock, IdSource
from lash.core.scopes import RuntimeOperationScope, journal_key
from lash.effects.controller import EffectController
from lash.effects.hosts import EffectHost
from lash.effects.journal import Journal
from lash.effects.shielding import shielded
from lash.runtime.direct import ResolveModel
from lash.runtime.environment import Environment
from lash.runtime.triggers.recorded import RecordedTriggers
from lash.runtime.triggers.side import TriggerSide


@dataclass(slots=True)
class _Open:
    """An operation that somebody is in."""

    controller: EffectController
    inside: int = 0
    finished: bool = False


class OpenOperations:
    """What operations need of the runtime they run in."""

    def __init__(
        self,
        effects: EffectHost,
        journal: Journal,
        environment: Environment,
        triggers: TriggerSide,
    ) -> None:
        self._effects = effects
        self._triggers = triggers
        self._journal = journal
        self._environment = environment
        self._open: dict[str, _Open] = {}

    @property
    def effects(self) -> EffectHost:
        """Where effects are kept."""
        return self._effects

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        return self._environment.clock

    @property
    def ids(self) -> IdSource:
        """Where chance comes from."""
        return self._environment.ids

    @property
    def resolve_model(self) -> ResolveModel:
        """Finds the model a caller names."""
        return self._environment.resolve_model

    def triggers_of(
        self, place: Callable[[str], str], entered: Callable[[], EffectController]
    ) -> RecordedTriggers:
        """The triggers of code that finds the keys and the controller of its effects like this."""
        return RecordedTriggers(self._triggers, place, entered)

    async def enter_operation(self, operation_id: str) -> EffectController:
        """The operation's controller. One that was finished is at work again from here on."""
        opened = self._open.get(operation_id)
        if opened is None:
            controller = self._effects.scoped(_scope(operation_id))
            opened = self._open[operation_id] = _Open(controller)
        opened.inside += 1
        try:
            if self._effects.capabilities.owns_replay:
                await self._journal.reopen_scope(journal_key(_scope(operation_id)))
        except BaseException:
            await self.leave_operation(operation_id, finished=False)
            raise
        return opened.controller

    async def leave_operation(self, operation_id: str, *, finished: bool) -> None:
        """Leave; once nobody is in it and somebody did all of it, write what waited and say so."""
        opened = self._open[operation_id]
        opened.inside -= 1
        opened.finished |= finished
        if opened.inside:
            return
        del self._open[operation_id]
        if opened.finished and self._effects.capabilities.owns_replay:
            deferred = opened.controller.deferred()
            await shielded(self._journal.finish_scope(journal_key(_scope(operation_id)), deferred))


def _scope(operation_id: str) -> RuntimeOperationScope:
    return RuntimeOperationScope(operation_id=operation_id)
