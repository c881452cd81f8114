"""Branches: work of a process that runs side by side, each with ordinals of its own.

Effects are told apart by the order in which a branch asks for them. Which branch asks is known by the
task: `gather` and `race` make branches, and a task that plain asyncio made becomes one with its first
effect. So parallel work finds its records again in whatever order it finished.
"""

import asyncio
from contextvars import ContextVar
from weakref import WeakSet

from lash.effects.keys import Ordinals


class Branch:
    """One line of work.

    Attributes:
        owner: The run it belongs to.
        path: What its keys begin with; "" for the process itself.
        ordinals: Counts its effects.
    """

    __slots__ = ("_children", "_task", "_tasks", "ordinals", "owner", "path")

    def __init__(
        self,
        owner: object,
        path: str,
        task: "asyncio.Task[object] | None" = None,
        tasks: "WeakSet[asyncio.Task[object]] | None" = None,
    ) -> None:
        self._tasks: WeakSet[asyncio.Task[object]] = WeakSet() if tasks is None else tasks
        self.owner = owner
        self.path = path
        self.ordinals = Ordinals()
        self._task = task
        self._children = 0

    def key(self, effect: str) -> str:
        """The replay key of an effect of this branch."""
        return f"{self.path}|{effect}" if self.path else effect

    def child(self, name: str, task: "asyncio.Task[object] | None" = None) -> "Branch":
        """A branch of this one."""
        return Branch(self.owner, f"{self.path}&{name}", task, self._tasks)

    @property
    def made_elsewhere(self) -> "list[asyncio.Task[object]]":
        """The tasks of the process that plain asyncio made and that are not done."""
        return [task for task in self._tasks if not task.done()]

    def begin(self) -> None:
        """The running task is this branch's."""
        self._task = asyncio.current_task()
        _BRANCH.set(self)

    def here(self) -> "Branch":
        """The branch of the running task: this one, or one of its own if plain asyncio made the task."""
        task = asyncio.current_task()
        if task is self._task:
            return self
        self._children += 1
        mine = self.child(f"t{self._children}", task)
        if task is not None:
            self._tasks.add(task)
        _BRANCH.set(mine)
        return mine


_BRANCH: ContextVar[Branch | None] = ContextVar("lash_process_branch", default=None)


def current_branch() -> Branch | None:
    """The branch of the running task, if it is one of a process."""
    branch = _BRANCH.get()
    return None if branch is None else branch.here()
