"""Where a running process goes on in several branches: `gather` and `race`, replayed as they went."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from lash.core.errors import ReplayError
from lash.effects import executors
from lash.effects.commands import RuntimeValueCommand
from lash.effects.outcomes import EffectOutcome, RuntimeValueOutcome
from lash.runtime.processes.branches import Branch
from lash.runtime.processes.code import ProcessCode
from lash.runtime.processes.together import Fork, run_all, run_first
from lash.runtime.recorded_code import envelope, wrong_outcome

T = TypeVar("T")


class Forks:
    """The forks of one process.

    Args:
        code: The process.
        forget: Told what was given up, or came to something that nobody is given.
    """

    __slots__ = ("_code", "_forget", "_run")

    def __init__(self, code: ProcessCode, forget: Callable[[object], None]) -> None:
        self._code = code
        self._run = code.run
        self._forget = forget

    def gather(self, work: tuple[Awaitable[T], ...]) -> Coroutine[object, object, list[T]]:
        """What all come to, in order."""
        fork = self._fork()

        async def gather() -> list[T]:
            return await run_all(self._entered(fork, len(work)), work)

        return gather()

    def race(self, work: tuple[Awaitable[T], ...]) -> Coroutine[object, object, tuple[int, T]]:
        """Which came first, and what it came to."""
        fork = self._fork()

        async def race() -> tuple[int, T]:
            return await run_first(self._entered(fork, len(work)), work)

        return race()

    def _fork(self) -> Fork:
        branch = self._code.branch()
        key, ordinal = self._code.next_effect("settled")

        async def settle(index: int) -> None:
            await self._settle(key, index)

        return Fork(
            branch=branch,
            name=f"g{ordinal}",
            decided=self._run.controller.replayed.settled(key),
            settle=settle,
            ended=self._ended,
            forget=self._forget,
        )

    def _entered(self, fork: Fork, count: int) -> Fork:
        """Begin to go on in several branches; only in the one that decided, if one did."""
        controller = self._code.controller()
        controller.check()
        if fork.decided is None:
            return fork
        if fork.decided >= count:
            error = ReplayError(
                "effect_replay_mismatch",
                f"The journal says that branch {fork.decided} of {fork.name} decided, and there are "
                f"only {count}: the code of the process changed.",
            )
            controller.break_off(error)
            raise error
        # Nobody asks again for what the branches recorded that did not decide.
        beginning = f"{fork.branch.path}&{fork.name}."
        controller.replayed.drop_branches(beginning, f"{beginning}{fork.decided}")
        return fork

    def _ended(self, branch: Branch) -> None:
        controller = self._run.controller
        try:
            controller.replayed.check(branch.path, f"Branch {branch.path!r} came to its end")
        except ReplayError as error:
            controller.break_off(error)
            raise

    async def _settle(self, key: str, index: int) -> None:
        async def perform() -> EffectOutcome:
            return RuntimeValueOutcome(value=index)

        command = RuntimeValueCommand(operation="settled")
        outcome = await self._code.controller().execute(
            envelope(key, command), executors.runtime_value(perform)
        )
        if not isinstance(outcome, RuntimeValueOutcome):
            raise wrong_outcome(outcome)
