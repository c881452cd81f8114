"""What waits for the next write is never behind what came after it, however writes end."""

import asyncio
from collections.abc import Sequence

import pytest
from effect_samples import (
    CHECKPOINT,
    TOOL,
    Executor,
    SlowJournal,
    World,
    envelope,
    found,
    performing,
    until,
)

from lash.core.errors import StoreError
from lash.effects.commands import RuntimeValueCommand
from lash.effects.journal import Authority, JournalRecord, Recorded, RecordResult
from lash.effects.outcomes import CheckpointOutcome, EffectOutcome, RuntimeValueOutcome

NOW = RuntimeValueCommand(operation="now")


class Gated(SlowJournal):
    """A journal whose writes wait to be let through, each by its own last key; or fail instead."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store, steps=0)
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()

    async def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: Authority | None,
    ) -> RecordResult:
        key = records[-1].replay_key
        self.begun.append(key)
        await self.gates.setdefault(key, asyncio.Event()).wait()
        if key in self.failing:
            raise StoreError("store_busy", "locked")
        return await super().record(scope_key, records, authority)

    def let(self, key: str) -> None:
        self.gates.setdefault(key, asyncio.Event()).set()


@pytest.fixture
async def world() -> World:
    """A turn with a lease: without one, what is read is written at once."""
    world = World()
    await world.lease()
    return world


@pytest.fixture
def journal(world: World) -> Gated:
    return Gated(world)


async def test_what_was_deferred_while_a_write_was_under_way_waits_for_the_next(
    world: World, journal: Gated
) -> None:
    drive = world.drive(journal=journal)
    await drive.execute(envelope(CHECKPOINT, "e1"), Executor(CheckpointOutcome()))
    writing = asyncio.create_task(drive.execute(envelope(TOOL, "e2"), Executor(found())))
    await until(lambda: journal.begun)
    await drive.execute(envelope(NOW, "e3"), Executor(RuntimeValueOutcome(value=7)))
    journal.let("e2")
    await writing

    assert await world.keys() == ["e1", "e2"]
    assert [record.replay_key for record in drive.deferred()] == ["e3"]


async def test_a_failed_write_leaves_what_waited_before_what_came_to_wait_meanwhile(
    world: World, journal: Gated
) -> None:
    drive = world.drive(journal=journal)
    await drive.execute(envelope(CHECKPOINT, "e1"), Executor(CheckpointOutcome()))
    journal.failing = {"e2"}
    writing = asyncio.create_task(drive.execute(envelope(TOOL, "e2"), Executor(found())))
    await until(lambda: journal.begun)
    await drive.execute(envelope(NOW, "e3"), Executor(RuntimeValueOutcome(value=7)))
    journal.let("e2")
    with pytest.raises(StoreError):
        await writing

    assert [record.replay_key for record in drive.deferred()] == ["e1", "e3"]


@pytest.mark.parametrize("first", ["fails", "is the last"])
async def test_no_record_is_kept_without_what_was_deferred_before_it(
    world: World, journal: Gated, first: str
) -> None:
    """A value read first may be an argument of both tools: neither record may stand without it."""
    drive = world.drive(journal=journal)
    await drive.execute(envelope(NOW, "now"), Executor(RuntimeValueOutcome(value=7)))
    if first == "fails":
        journal.failing = {"a"}
    writes = [
        asyncio.create_task(drive.execute(envelope(TOOL, key), Executor(found()))) for key in "ab"
    ]
    await until(lambda: journal.begun)
    kept: list[list[str]] = []
    for key in "ba" if first == "is the last" else "ab":
        journal.let(key)
        for _ in range(20):
            await asyncio.sleep(0)
        kept.append(await world.keys())
    ended = await asyncio.gather(*writes, return_exceptions=True)

    assert all("now" in keys for keys in kept if keys)
    assert [isinstance(end, StoreError) for end in ended] == [first == "fails", False]


async def test_what_is_being_written_is_not_executed_again(world: World, journal: Gated) -> None:
    drive = world.drive(journal=journal)
    await drive.execute(envelope(NOW, "now"), Executor(RuntimeValueOutcome(value=7)))
    writing = asyncio.create_task(drive.execute(envelope(TOOL, "e2"), Executor(found())))
    await until(lambda: journal.begun)
    executor = Executor(RuntimeValueOutcome(value=8))
    again = asyncio.create_task(drive.execute(envelope(NOW, "now"), executor))
    for _ in range(20):
        await asyncio.sleep(0)
    journal.let("e2")
    await asyncio.wait([writing, again])

    assert again.result() == RuntimeValueOutcome(value=7)
    assert executor.runs == 0


@pytest.mark.timeout(5)
async def test_a_write_that_finds_the_one_before_it_just_done_goes_on(world: World) -> None:
    """The store has answered, and the task that asked has not been woken yet."""

    class ByHand(SlowJournal):
        answer: "asyncio.Future[RecordResult] | None" = None

        def record(  # type: ignore[override]  # a store may hand out futures
            self,
            scope_key: str,
            records: Sequence[JournalRecord],
            authority: Authority | None,
        ) -> "asyncio.Future[RecordResult]":
            self.writes.append(tuple(record.replay_key for record in records))
            self.answer = asyncio.get_running_loop().create_future()
            if len(self.writes) > 1:
                self.answer.set_result(Recorded())
            return self.answer

    journal = ByHand(world.store, steps=0)
    drive = world.drive(journal=journal, fresh=True)
    await drive.execute(envelope(NOW, "now"), Executor(RuntimeValueOutcome(value=7)))
    first = asyncio.create_task(drive.execute(envelope(TOOL, "a"), Executor(found("a"))))
    await until(lambda: journal.answer)

    async def answers_it() -> EffectOutcome:
        assert journal.answer is not None
        journal.answer.set_result(Recorded())
        return found("b")

    assert await drive.execute(envelope(TOOL, "b"), performing(answers_it)) == found("b")
    assert await first == found("a")
    assert journal.writes == [("now", "a"), ("b",)]
    assert list(drive.deferred()) == []


async def test_what_is_read_without_a_lease_is_written_at_once_and_the_first_reading_counts() -> (
    None
):
    """Somebody else may read something else at the same time: who won is known before anybody goes on."""
    world = World()
    slow, quick = world.drive(), world.drive()

    assert await quick.execute(envelope(NOW, "now"), value(7)) == RuntimeValueOutcome(value=7)
    assert await world.keys() == ["now"]
    assert await slow.execute(envelope(NOW, "now"), value(8)) == RuntimeValueOutcome(value=7)


def value(read: int) -> Executor:
    return Executor(RuntimeValueOutcome(value=read))
