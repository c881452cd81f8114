"""Shielded work is finished whatever happens to whoever waits for it; the cancel then goes through."""

import asyncio

import pytest

from lash.effects.shielding import shielded


class Work:
    """Takes a few turns of the loop and then ends as told."""

    def __init__(self, ending: object = "done") -> None:
        self.finished = False
        self._ending = ending

    async def __call__(self) -> object:
        for _ in range(5):
            await asyncio.sleep(0)
        self.finished = True
        if isinstance(self._ending, Exception):
            raise self._ending
        return self._ending


async def test_uncancelled_work_gives_its_result() -> None:
    assert await shielded(Work("result")()) == "result"


async def test_uncancelled_work_gives_its_error() -> None:
    with pytest.raises(KeyError):
        await shielded(Work(KeyError("x"))())


@pytest.mark.parametrize("ending", ["done", KeyError("x")])
@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_cancelled_work_is_finished_before_the_cancel_goes_through(
    ending: object, cancels: int
) -> None:
    work = Work(ending)
    waiting = asyncio.create_task(shielded(work()))
    for _ in range(cancels):
        await asyncio.sleep(0)
        waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.finished


async def test_a_cancel_at_any_moment_loses_nothing() -> None:
    for moment in range(1, 20):
        work = Work()
        waiting = asyncio.create_task(shielded(work()))
        for _ in range(moment):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert work.finished
