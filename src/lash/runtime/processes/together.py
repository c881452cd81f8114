"""Working side by side inside a process: all of several branches, or whichever comes first.

Which branch decided is recorded, so a replay follows that one alone: what the others had recorded is let
go of, and what they had not is not begun.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from lash.core.errors import LashError, LeaseLostError, ReplayError, StoreError
from lash.runtime.processes.branches import Branch

T = TypeVar("T")

#: Records that a branch decided.
Settle = Callable[[int], Awaitable[None]]


async def run_all(
    branch: Branch, name: str, work: Sequence[Awaitable[T]], decided: int | None, settle: Settle
) -> list[T]:
    """What all come to, in order; or what the first that failed raises, the others given up."""
    if decided is not None:
        return [await _follow(branch, name, work, decided, settle)]
    tasks = _begin(branch, name, work)
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = _first(tasks, lambda task: task.cancelled() or task.exception() is not None)
        if failed is None:
            return [task.result() for task in tasks]
        if not _is_circumstance(tasks[failed]):
            await settle(failed)
        return [tasks[failed].result()]
    finally:
        await _give_up(tasks)


async def run_first(
    branch: Branch, name: str, work: Sequence[Awaitable[T]], decided: int | None, settle: Settle
) -> tuple[int, T]:
    """Which came first and what it came to; the others are given up."""
    if not work:
        message = "race needs at least one to run"
        raise ValueError(message)
    if decided is not None:
        return decided, await _follow(branch, name, work, decided, settle)
    tasks = _begin(branch, name, work)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        won = _first(tasks, lambda task: task.done()) or 0
        if not _is_circumstance(tasks[won]):
            await settle(won)
        return won, tasks[won].result()
    finally:
        await _give_up(tasks)


def _begin(branch: Branch, name: str, work: Sequence[Awaitable[T]]) -> "list[asyncio.Task[T]]":
    loop = asyncio.get_running_loop()
    return [
        loop.create_task(_inside(branch.child(f"{name}.{index}"), each))
        for index, each in enumerate(work)
    ]


async def _inside(branch: Branch, work: Awaitable[T]) -> T:
    branch.begin()
    return await work


async def _follow(
    branch: Branch, name: str, work: Sequence[Awaitable[T]], decided: int, settle: Settle
) -> T:
    """Run only the branch that decided when this ran before."""
    for index, each in enumerate(work):
        if index != decided and inspect.iscoroutine(each):
            each.close()
    if decided >= len(work):
        raise ReplayError(
            "effect_replay_mismatch",
            f"The journal says that branch {decided} of {name} came first, and there are only "
            f"{len(work)}: the code of the process changed.",
        )
    tasks = [
        asyncio.get_running_loop().create_task(
            _inside(branch.child(f"{name}.{decided}"), work[decided])
        )
    ]
    try:
        await asyncio.wait(tasks)
        await settle(decided)
        return tasks[0].result()
    finally:
        await _give_up(tasks)


def _first(
    tasks: "Sequence[asyncio.Task[T]]", holds: "Callable[[asyncio.Task[T]], bool]"
) -> int | None:
    return next((index for index, task in enumerate(tasks) if task.done() and holds(task)), None)


def _is_circumstance(task: "asyncio.Task[T]") -> bool:
    """Whether a branch ended for what surrounds it: then nothing was decided."""
    if task.cancelled():
        return True
    error = task.exception()
    if isinstance(error, LeaseLostError | ReplayError | StoreError):
        return True
    return isinstance(error, LashError) and error.retryable


async def _give_up(tasks: "Sequence[asyncio.Task[T]]") -> None:
    """Stop the branches that are not needed, and see them out."""
    left = [task for task in tasks if not task.done()]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    for task in tasks:
        if task.done() and not task.cancelled():
            task.exception()  # retrieved: what decided is told, the rest need not be
