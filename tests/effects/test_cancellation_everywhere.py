"""A task is cancelled at each of its await points in turn: nothing false is kept, nothing is lost.

For every scenario a table, written by hand, says what may be recorded afterwards and what the effect
then comes to. The controller that was interrupted is used again for the same key, and so is a new one.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from cancellation_scenarios import SCENARIOS, Scenario, slow
from effect_samples import (
    SCOPE,
    World,
)
from interruptions import Interrupted, Strike

from lash.stores.sqlite import SqliteStore


async def run_once(scenario: Scenario, at: int, strike: Strike) -> tuple[bool, tuple[str, ...]]:
    """One run, cancelled at one suspension: whether it came so far, and what was recorded then."""
    world = scenario.world
    others = asyncio.all_tasks()
    async with asyncio.timeout(30):
        await scenario.before()
        interrupted = Interrupted(scenario.work(), at, strike)
        task = asyncio.create_task(interrupted.run())
        await scenario.ended(task)
        struck = interrupted.suspensions >= at
        assert task.cancelled() == struck  # a cancel is never swallowed
        if not struck:
            task.result()
        kept = await world.store.load_journal(SCOPE)
        recorded = tuple(record.replay_key for record in kept)
        await scenario.after(recorded, cancelled=struck)
        while asyncio.all_tasks() != others:  # nothing that was begun goes on by itself
            world.clock.advance(60)
            await asyncio.sleep(0)
    return struck, recorded


@pytest.fixture(params=["slow memory", "sqlite"])
def make_world(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], World]:
    made: list[World] = []

    def make() -> World:
        if request.param == "slow memory":
            return World()
        path = tmp_path / f"agents-{len(made)}.db"
        made.append(World(lambda clock: SqliteStore(path, clock)))
        return made[-1]

    return make


@pytest.mark.parametrize("strike", ["at once", "when done", "twice"])
@pytest.mark.parametrize("kind", SCENARIOS)
async def test_a_cancel_at_any_await_keeps_nothing_false_and_loses_nothing(
    kind: type[Scenario],
    strike: Strike,
    make_world: Callable[[], World],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, "lash.effects")
    world, met = make_world(), set[tuple[str, ...]]()
    for at in range(1, 200):
        scenario = kind(world)
        struck, recorded = await run_once(scenario, at, strike)
        await world.store.aclose()
        met.add(recorded)
        if not struck:
            break
        world = make_world()
    else:
        raise AssertionError("it never ran to its end")

    assert met <= kind.expected
    if slow(world):  # a disk gives way where it likes; this journal does it everywhere
        assert at > 5
        assert (kind.sure or kind.expected) <= met
