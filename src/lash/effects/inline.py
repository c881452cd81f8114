"""The inline controller: runs every effect, keeps nothing. For tests and `:memory:`."""

from collections.abc import Sequence

from lash.core.clock import Clock
from lash.effects.commands import EffectOutcome, SleepCommand, SleepOutcome, ToolBatchCommand
from lash.effects.controller import Drift, EffectCounts, LocalExecutor
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.journal import JournalRecord


class InlineController:
    """Nothing survives: the same key twice executes twice."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._executed = 0

    async def execute(
        self, envelope: RuntimeEffectEnvelope, executor: LocalExecutor
    ) -> EffectOutcome:
        """Run the effect now."""
        command = envelope.command
        if not isinstance(command, ToolBatchCommand):
            self._executed += 1
        if isinstance(command, SleepCommand):
            due = self._clock.now_ms() + command.duration_ms
            await self._clock.sleep(command.duration_ms / 1000)
            return SleepOutcome(due_at_ms=due)
        return await executor()

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
