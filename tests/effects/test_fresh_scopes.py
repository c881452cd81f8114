"""A scope that was accepted just now is not looked up, except for what it recorded since."""

import asyncio
import tracemalloc
from collections.abc import Sequence

import pytest
from effect_samples import TOOL, Executor, SlowJournal, World, envelope, found

from lash.effects.journal import (
    Authority,
    Journal,
    JournalRecord,
    Recorded,
    RecordResult,
)


class Asked(SlowJournal):
    """Notes which keys are looked up."""

    def __init__(self, inner: Journal) -> None:
        super().__init__(inner)
        self.lookups: list[str] = []

    async def lookup(self, scope_key: str, replay_key: str) -> JournalRecord | None:
        self.lookups.append(replay_key)
        return await super().lookup(scope_key, replay_key)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def journal(world: World) -> Asked:
    return Asked(world.store)


async def test_a_fresh_scope_is_not_asked_for_anything(world: World, journal: Asked) -> None:
    drive = world.drive(journal=journal, fresh=True)
    await asyncio.gather(
        *(drive.execute(envelope(TOOL, f"e{n}"), Executor(found())) for n in range(10))
    )

    assert journal.lookups == []


async def test_a_fresh_scope_is_looked_up_for_what_it_recorded_itself(
    world: World, journal: Asked
) -> None:
    drive = world.drive(journal=journal, fresh=True)
    executor = Executor(found())
    for _ in range(2):
        for number in range(3):
            await drive.execute(envelope(TOOL, f"e{number}"), executor)

    assert executor.runs == 3
    assert journal.lookups == ["e0", "e1", "e2"]


async def test_a_scope_that_is_not_fresh_is_looked_up_for_everything(
    world: World, journal: Asked
) -> None:
    await world.drive().execute(envelope(TOOL, "e0"), Executor(found(0)))
    drive = world.drive(journal=journal)
    answers = [await drive.execute(envelope(TOOL, f"e{n}"), Executor(found("new"))) for n in (0, 1)]

    assert answers == [found(0), found("new")]
    assert journal.lookups == ["e0", "e1"]


async def test_a_key_recorded_long_before_is_still_found(world: World, journal: Asked) -> None:
    drive = world.drive(journal=journal, fresh=True)
    for number in range(4200):
        await drive.execute(envelope(TOOL, f"e{number}"), Executor(found(number)))
    executor = Executor(found("again"))

    # Beyond 4096 keys a scope is looked up like any other.
    assert journal.lookups == [f"e{number}" for number in range(4097, 4200)]
    for number in (0, 1, 4095, 4096, 4097, 4199):
        assert await drive.execute(envelope(TOOL, f"e{number}"), executor) == found(number)
    assert executor.runs == 0


async def test_what_another_driver_recorded_meanwhile_is_not_executed_again(world: World) -> None:
    """A scope without a lease may be driven twice; whoever is slower replays."""
    slow = world.drive()
    await slow.execute(envelope(TOOL, "e1"), Executor(found(1)))
    quick = world.drive()
    await quick.execute(envelope(TOOL, "e1"), Executor(found("no")))
    await quick.execute(envelope(TOOL, "e2"), Executor(found(2)))
    executor = Executor(found("again"))

    assert await slow.execute(envelope(TOOL, "e2"), executor) == found(2)
    assert executor.runs == 0


class Bottomless(SlowJournal):
    """Takes everything and keeps nothing, so that only the controller's memory grows."""

    async def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: Authority | None,
    ) -> RecordResult:
        return Recorded()


async def test_the_memory_of_a_controller_does_not_grow_with_its_scope(world: World) -> None:
    drive = world.drive(journal=Bottomless(world.store, steps=0), fresh=True)

    async def work(numbers: range) -> None:
        for number in numbers:
            await drive.execute(envelope(TOOL, f"effect number {number}"), Executor(found()))

    await work(range(5000))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await work(range(5000, 9000))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 64 * 1024  # the keys alone would be more than 300 KiB
