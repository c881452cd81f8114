"""The inline controller runs every effect and keeps nothing."""

import asyncio

from effect_samples import (
    TOOL,
    Executor,
    asleep,
    envelope,
    found,
)

from lash.effects.commands import (
    SleepCommand,
    SleepOutcome,
    ToolBatchCommand,
    ToolBatchOutcome,
)
from lash.effects.controller import EffectController, EffectCounts
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.inline import InlineController
from lash.testing.clock import VirtualClock
from lash.turn.tools import PendingToolCall


async def test_inline_effects_are_run_every_time_and_kept_nowhere() -> None:
    inline: EffectController = InlineController(VirtualClock())
    executor = Executor(found())

    for _ in range(2):
        assert await inline.execute(envelope(TOOL), executor) == found()

    assert executor.runs == 2
    assert inline.counts == EffectCounts(executed=2)
    assert (list(inline.deferred()), list(inline.drift)) == ([], [])


async def test_an_inline_sleep_waits() -> None:
    clock = VirtualClock(start_ms=0)
    inline = InlineController(clock)
    sleeping = asyncio.create_task(
        inline.execute(envelope(SleepCommand(duration_ms=500)), Executor(found()))
    )
    await asleep(clock)
    clock.advance(0.5)

    assert await sleeping == SleepOutcome(due_at_ms=500)


async def test_inline_composites_are_not_counted() -> None:
    inline = InlineController(VirtualClock())
    call = PendingToolCall(call_id="c1", tool_name="look", args={})
    batch: RuntimeEffectEnvelope = envelope(ToolBatchCommand(batch_id="b1", calls=(call,)))

    await inline.execute(batch, Executor(ToolBatchOutcome(results=())))

    assert inline.counts == EffectCounts(executed=0)
