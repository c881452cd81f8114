"""The permit of one running process: given back while all of it waits, and taken again before it goes on."""

import asyncio

import pytest

from lash.runtime.processes.permits import Slot


class Watched:
    """A slot, how many permits are free, and what it told."""

    def __init__(self, permits: int = 0) -> None:
        self.free = asyncio.Semaphore(permits)
        self.told: list[str] = []
        self.slot = Slot(
            self.free, lambda: self.told.append("parked"), lambda: self.told.append("resumed")
        )

    def parked(self) -> bool:
        return self.slot.parked

    def waits(self) -> None:
        self.slot.begin()
        self.slot.begin_waiting()

    def came(self) -> None:
        self.slot.end_waiting()
        self.slot.end()


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_waits_gives_its_permit_back_and_takes_one_before_it_goes_on() -> None:
    watched = Watched()
    watched.waits()
    assert not watched.parked()
    await turns()
    assert watched.parked()
    assert not watched.free.locked()
    watched.came()
    assert watched.parked()
    await watched.slot.ensure()
    assert not watched.parked()
    assert watched.free.locked()
    assert watched.told == ["parked", "resumed"]


async def test_a_branch_that_works_keeps_the_permit() -> None:
    watched = Watched()
    watched.waits()
    watched.slot.begin()
    await turns()
    assert not watched.parked()
    watched.slot.end()
    await turns()
    assert watched.parked()


async def test_what_follows_within_a_few_turns_keeps_the_permit() -> None:
    """A branch that came to its end is noticed by the one that waits for it, and that one goes on."""
    watched = Watched()
    watched.waits()
    watched.slot.begin()
    for _ in range(5):
        watched.slot.end()
        await turns(5)
        watched.slot.begin()
    assert watched.told == []
    watched.slot.end()
    await turns()
    assert watched.told == ["parked"]


async def test_two_branches_that_go_on_take_one_permit() -> None:
    watched = Watched()
    watched.waits()
    watched.waits()
    await turns()
    watched.came()
    watched.came()
    await asyncio.gather(watched.slot.ensure(), watched.slot.ensure())
    assert watched.told == ["parked", "resumed"]
    watched.slot.close()
    assert not watched.free.locked()


async def test_a_branch_that_is_cancelled_while_it_takes_the_permit_leaves_it_to_the_other() -> (
    None
):
    watched = Watched()
    watched.waits()
    await turns()
    await watched.free.acquire()  # somebody else runs
    first = asyncio.create_task(watched.slot.ensure())
    second = asyncio.create_task(watched.slot.ensure())
    await turns()
    first.cancel()
    await turns()
    watched.free.release()
    async with asyncio.timeout(5):
        await second
    assert not watched.parked()
    with pytest.raises(asyncio.CancelledError):
        await first


@pytest.mark.parametrize("parked", [False, True])
async def test_the_end_gives_back_what_is_held_and_no_more(parked: bool) -> None:
    watched = Watched()
    watched.waits()
    if parked:
        await turns()
    watched.slot.close()
    watched.slot.close()
    await turns()
    assert watched.free._value == 1
    await watched.slot.ensure()
    assert watched.free._value == 1
    assert not watched.parked()


async def test_a_permit_that_comes_after_the_end_is_passed_on() -> None:
    watched = Watched()
    watched.waits()
    await turns()
    await watched.free.acquire()
    taking = asyncio.create_task(watched.slot.ensure())
    await turns()
    watched.slot.close()
    watched.free.release()
    async with asyncio.timeout(5):
        await taking
    assert watched.free._value == 1
