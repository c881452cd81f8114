"""Working side by side inside a process: all of several branches, or whichever comes first.

Which branch decided is recorded, so a replay follows that one alone: what the others had recorded is let
go of, and what they had not is not begun.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lash.core.errors import LashError
from lash.core.text import described
from lash.runtime.processes.branches import Branch
from lash.runtime.processes.controlling import is_circumstance

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a process goes on in several branches.

    Attributes:
        branch: The one that does.
        name: What theirs begin with.
        decided: Which of them decided when this ran before.
        settle: Records that one decided.
        ended: Told which one came to its end by itself.
        forget: Told what was given up, or came to something that nobody is given.
    """

    branch: Branch
    name: str
    decided: int | None
    settle: Callable[[int], Awaitable[None]]
    ended: Callable[[Branch], None]
    forget: Callable[[object], None]


async def run_all(fork: Fork, work: Sequence[Awaitable[T]]) -> list[T]:
    """What all come to, in order; or what the first that failed raises, the others given up."""
    if fork.decided is not None:
        return [await _follow(fork, work, fork.decided)]
    tasks = _begin(fork, work)
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = _first(tasks, lambda task: task.cancelled() or task.exception() is not None)
        if failed is None:
            return [task.result() for task in tasks]
        if not _is_circumstance(tasks[failed]):
            await fork.settle(failed)
    finally:
        await _give_up(tasks)
    _forget(fork, work, failed)
    return [tasks[failed].result()]


async def run_first(fork: Fork, work: Sequence[Awaitable[T]]) -> tuple[int, T]:
    """Which came first and what it came to; the others are given up."""
    if not work:
        message = "race needs at least one to run"
        raise ValueError(message)
    if fork.decided is not None:
        return fork.decided, await _follow(fork, work, fork.decided)
    tasks = _begin(fork, work)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        won = _first(tasks, lambda task: task.done()) or 0
        if not _is_circumstance(tasks[won]):
            await fork.settle(won)
    finally:
        await _give_up(tasks)
    _forget(fork, work, won)
    return won, tasks[won].result()


def _begin(fork: Fork, work: Sequence[Awaitable[T]]) -> "list[asyncio.Task[T]]":
    loop = asyncio.get_running_loop()
    return [loop.create_task(_inside(fork, index, each)) for index, each in enumerate(work)]


async def _inside(fork: Fork, index: int, work: Awaitable[T]) -> T:
    branch = fork.branch.child(f"{fork.name}.{index}")
    branch.begin()
    try:
        result = await work
    except SystemExit as error:
        # A task that lets it through takes the whole loop down.
        raise RuntimeError(described(error)) from error
    fork.ended(branch)
    return result


async def _follow(fork: Fork, work: Sequence[Awaitable[T]], decided: int) -> T:
    """Run only the branch that decided when this ran before."""
    for index, each in enumerate(work):
        if index != decided and inspect.iscoroutine(each):
            each.close()
    _forget(fork, work, decided)
    task = asyncio.get_running_loop().create_task(_inside(fork, decided, work[decided]))
    try:
        await asyncio.wait([task])
        if not _is_circumstance(task):
            await fork.settle(decided)
        return task.result()
    finally:
        await _give_up([task])


def _forget(fork: Fork, work: Sequence[Awaitable[T]], decided: int) -> None:
    for index, each in enumerate(work):
        if index != decided:
            fork.forget(each)


def _first(
    tasks: "Sequence[asyncio.Task[T]]", holds: "Callable[[asyncio.Task[T]], bool]"
) -> int | None:
    return next((index for index, task in enumerate(tasks) if task.done() and holds(task)), None)


def _is_circumstance(task: "asyncio.Task[T]") -> bool:
    """Whether a branch ended for what surrounds it: then nothing was decided."""
    if task.cancelled():
        return True
    error = task.exception()
    return isinstance(error, LashError) and is_circumstance(error)


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
