"""Performing one effect that is not recorded yet: waits go to the host, the rest to its executor.

What an executor raises is contained: a bug in one place must not wedge a scope for ever. Errors of
our own pass: they are wiring, lease and store trouble, of which nothing is recorded.
"""

import logging
from typing import Protocol

from lash.core.cancel import CancelToken
from lash.core.errors import LashError
from lash.core.text import described
from lash.effects.commands import (
    AwaitEventCommand,
    PeekAwaitEventCommand,
    ProcessEffectCommand,
    ToolAttemptCommand,
)
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.outcomes import (
    AwaitEventOutcome,
    EffectFailed,
    EffectOutcome,
    PeekAwaitEventOutcome,
    ToolAttemptOutcome,
)
from lash.effects.waits.board import Parking
from lash.effects.waits.model import AwaitEventKey, Resolution
from lash.turn.tools import failed

_log = logging.getLogger("lash.effects")


class Waits(Protocol):
    """What a controller needs of its host to carry out waits."""

    async def peek_await_event(self, key: AwaitEventKey) -> Resolution | None:
        """How a promise stands."""
        ...

    async def await_await_event(
        self,
        key: AwaitEventKey,
        *,
        cancel: CancelToken | None = None,
        deadline_at_ms: int | None = None,
        parking: Parking | None = None,
    ) -> Resolution:
        """Wait for a promise; `parking` is told while there is no answer."""
        ...


async def perform(
    envelope: RuntimeEffectEnvelope,
    executor: LocalExecutor,
    waits: Waits,
    parking: Parking | None = None,
) -> EffectOutcome:
    """The outcome of an effect, freshly made. `parking` is told while it waits for the outside.

    Raises:
        LashError: Nothing is to be recorded; see `EffectController.execute`.
    """
    match envelope.command:
        case AwaitEventCommand(key=key) if not executor.waits_itself:
            executor.spend()
            resolution = await waits.await_await_event(
                key,
                cancel=executor.cancel,
                deadline_at_ms=executor.deadline_at_ms,
                parking=parking,
            )
            return AwaitEventOutcome(resolution=resolution)
        case PeekAwaitEventCommand(key=key):
            return PeekAwaitEventOutcome(resolution=await waits.peek_await_event(key))
        case _:
            executor.parking = parking
            return await _contained(envelope, executor)


async def _contained(envelope: RuntimeEffectEnvelope, executor: LocalExecutor) -> EffectOutcome:
    try:
        return await executor.claim(envelope)(envelope)
    except LashError:
        raise
    except Exception as error:  # noqa: BLE001  contained: a bug must not wedge the scope
        _log.exception("the executor of %s raised an unexpected error", envelope.replay_key)
        return panicked(envelope, error)


def panicked(envelope: RuntimeEffectEnvelope, error: Exception) -> EffectOutcome:
    """What is recorded for an executor that raised."""
    match envelope.command:
        case ToolAttemptCommand():
            output = failed("execution", "tool_panicked", described(error), source="tool")
            return ToolAttemptOutcome(output=output)
        case ProcessEffectCommand():
            return EffectFailed(code="process_panicked", message=described(error))
        case _:
            return EffectFailed(code="effect_panicked", message=described(error))
