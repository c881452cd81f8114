"""The inline controller: runs every effect, keeps nothing. For tests and `:memory:`."""

from collections.abc import Callable, Sequence

from lash.core.clock import Clock
from lash.core.scopes import ExecutionScope, validate_scope
from lash.effects.commands import SleepCommand, is_composite
from lash.effects.controller import Drift, EffectCounts
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.journal import JournalRecord
from lash.effects.occupancy import Occupancy
from lash.effects.outcomes import EffectFailed, EffectOutcome, SleepOutcome
from lash.effects.performing import Waits, perform
from lash.effects.sleeping import sleep_cancelled, sleep_until


class InlineController:
    """Nothing survives: the same key twice executes twice."""

    def __init__(
        self,
        scope: ExecutionScope,
        clock: Clock,
        waits: Waits,
        *,
        on_parked: Callable[[], None] | None = None,
    ) -> None:
        validate_scope(scope)
        self._scope = scope
        self._clock = clock
        self._waits = waits
        self._occupancy = Occupancy(on_parked)
        self._executed = 0

    @property
    def scope(self) -> ExecutionScope:
        """Whose effects these are."""
        return self._scope

    async def execute(
        self, envelope: RuntimeEffectEnvelope, executor: LocalExecutor
    ) -> EffectOutcome:
        """Run the effect now."""
        command = envelope.command
        if is_composite(command):
            return await perform(envelope, executor, self._waits)
        self._executed += 1
        self._occupancy.begin()
        try:
            if isinstance(command, SleepCommand):
                return await self._sleep(command, executor)
            return await perform(envelope, executor, self._waits, self._occupancy)
        finally:
            self._occupancy.end()

    async def _sleep(self, command: SleepCommand, executor: LocalExecutor) -> EffectOutcome:
        due = self._clock.now_ms() + command.duration_ms
        self._occupancy.begin_waiting()
        try:
            done = await sleep_until(self._clock, due, command.duration_ms, executor.cancel)
        finally:
            self._occupancy.end_waiting()
        return SleepOutcome(due_at_ms=due) if done else EffectFailed(**sleep_cancelled())

    def deferred(self) -> Sequence[JournalRecord]:
        """Nothing is ever written."""
        return ()

    @property
    def counts(self) -> EffectCounts:
        """Every effect was executed."""
        return EffectCounts(executed=self._executed)

    @property
    def drift(self) -> Sequence[Drift]:
        """Nothing is replayed, so nothing drifts."""
        return ()

    @property
    def parked(self) -> bool:
        """Whether all that is under way waits for the outside."""
        return self._occupancy.parked
