"""The inline controller runs every effect and keeps nothing."""

import asyncio

import pytest
from effect_samples import (
    TOOL,
    TURN,
    Executor,
    World,
    asleep,
    envelope,
    found,
)

from lash.core.cancel import Cancellation, CancelToken
from lash.core.errors import LashError
from lash.core.scopes import ProcessScope
from lash.effects import executors
from lash.effects.commands import SleepCommand, ToolBatchCommand
from lash.effects.controller import EffectController, EffectCounts
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.inline import InlineController
from lash.effects.outcomes import EffectFailed, SleepOutcome, ToolBatchOutcome
from lash.turn.tools import PendingToolCall


@pytest.fixture
def world() -> World:
    return World()


def inline_in(world: World) -> InlineController:
    return InlineController(TURN, world.clock, world.promises())


async def test_inline_effects_are_run_every_time_and_kept_nowhere(world: World) -> None:
    inline: EffectController = inline_in(world)
    executor = Executor(found())

    for _ in range(2):
        assert await inline.execute(envelope(TOOL), executor) == found()

    assert executor.runs == 2
    assert inline.counts == EffectCounts(executed=2)
    assert (list(inline.deferred()), list(inline.drift)) == ([], [])


def test_an_inline_controller_knows_whose_effects_these_are(world: World) -> None:
    assert inline_in(world).scope is TURN
    with pytest.raises(LashError) as refused:
        InlineController(ProcessScope(process_id=" "), world.clock, world.promises())
    assert refused.value.code == "missing_execution_scope_id"


async def test_an_inline_sleep_waits(world: World) -> None:
    sleeping = asyncio.create_task(
        inline_in(world).execute(envelope(SleepCommand(duration_ms=500)), executors.sleeping())
    )
    await asleep(world.clock)
    world.clock.advance(0.499)
    await asyncio.sleep(0)
    assert not sleeping.done()
    world.clock.advance(0.001)

    assert await sleeping == SleepOutcome(due_at_ms=1_000_500)


async def test_an_inline_sleep_can_be_broken_off(world: World) -> None:
    cancel = CancelToken()
    sleeping = asyncio.create_task(
        inline_in(world).execute(
            envelope(SleepCommand(duration_ms=500)), executors.sleeping(cancel)
        )
    )
    await asleep(world.clock)
    cancel.cancel(Cancellation(request_id="r"))

    broken = await sleeping
    assert isinstance(broken, EffectFailed)
    assert broken.code == "runtime_effect_sleep_cancelled"


async def test_inline_composites_are_not_counted(world: World) -> None:
    inline = inline_in(world)
    call = PendingToolCall(call_id="c1", tool_name="look", args={})
    batch: RuntimeEffectEnvelope = envelope(ToolBatchCommand(batch_id="b1", calls=(call,)))

    await inline.execute(batch, Executor(ToolBatchOutcome(results=())))

    assert inline.counts == EffectCounts(executed=0)
