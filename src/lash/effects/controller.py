"""The controller contract: the only door to the outside world (effects spec 4.1)."""

from collections.abc import Sequence
from typing import Protocol

from lash.core.json import Data
from lash.core.scopes import ExecutionScope
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.journal import JournalRecord
from lash.effects.outcomes import EffectOutcome


class EffectCounts(Data):
    """How a scope's effects were answered: by running them, or from the journal."""

    executed: int = 0
    replayed: int = 0


class Drift(Data):
    """An effect was replayed although its surroundings changed."""

    replay_key: str
    paths: tuple[str, ...]


class EffectController(Protocol):
    """Executes or replays the effects of one execution scope."""

    @property
    def scope(self) -> ExecutionScope:
        """Whose effects these are."""
        ...

    async def execute(
        self, envelope: RuntimeEffectEnvelope, executor: LocalExecutor
    ) -> EffectOutcome:
        """The effect's outcome: recorded, or made by `executor` and recorded before it is returned.

        Cancelling the caller records nothing false: either the executor did not finish, or its
        outcome is kept.

        Raises:
            ReplayError: `effect_replay_mismatch`, `effect_drift_refused`, `effect_replay_missing`.
            LeaseLostError: The scope's lease went to somebody else; nothing was recorded.
            StoreError: The journal could not be read or written; nothing was recorded.
            LashError: `runtime_effect_local_executor_*`, `await_event_*`; nothing was recorded.
        """
        ...

    def deferred(self) -> Sequence[JournalRecord]:
        """Records that were not written yet and belong into the scope's next transaction."""
        ...

    @property
    def counts(self) -> EffectCounts:
        """How many atoms were executed and replayed so far."""
        ...

    @property
    def drift(self) -> Sequence[Drift]:
        """Replays whose surroundings changed."""
        ...

    @property
    def parked(self) -> bool:
        """Whether all that is under way waits for the outside."""
        ...
