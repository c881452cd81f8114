"""The code of a process while it runs: which branch of it asks, and whether it may."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Protocol

from lash.core.clock import Clock
from lash.core.errors import ConflictError, LashError, StepError
from lash.core.json import JsonValue
from lash.core.text import described
from lash.effects.outcomes import EffectFailed
from lash.effects.waits.model import AwaitEventKey, ProcessSignalWait
from lash.processes.events import ProcessEvent
from lash.processes.model import ProcessRecord
from lash.processes.registration import RegisterRequest
from lash.runtime.agents import AgentRegistry
from lash.runtime.attachments import SessionAttachmentStore
from lash.runtime.processes.branches import Branch, current_branch
from lash.runtime.processes.controlling import RunController
from lash.runtime.processes.inbox import SignalInbox
from lash.runtime.processes.registry import ProcessRegistry
from lash.runtime.recorded_code import CodeServices

#: The processes whose steps are being run here. What a step asks for would be missed on replay.
_RUNNING_STEPS: ContextVar[frozenset[str]] = ContextVar("lash_process_steps", default=frozenset())


#: What passes through a step. The rest of what is no `Exception`, such as `SystemExit`, is its failure.
_NOT_A_STEPS = (Exception, asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)


class RunView(Protocol):
    """What a context needs of the run it belongs to."""

    @property
    def record(self) -> ProcessRecord:
        """The process."""
        ...

    @property
    def scope_id(self) -> str:
        """The id that the segment's effects are recorded under."""
        ...

    @property
    def controller(self) -> RunController:
        """Where effects are executed."""
        ...

    @property
    def inbox(self) -> SignalInbox:
        """Where signals come from."""
        ...

    @property
    def registry(self) -> ProcessRegistry:
        """The processes of the runtime."""
        ...

    @property
    def agents(self) -> AgentRegistry:
        """The agents that can be asked."""
        ...

    @property
    def services(self) -> CodeServices:
        """Time, chance and models."""
        ...

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        ...

    @property
    def attachments(self) -> SessionAttachmentStore:
        """Where the process keeps attachments."""
        ...

    async def append(self, event_type: str, payload: JsonValue, replay_key: str) -> ProcessEvent:
        """Append an event of the process's own."""
        ...

    async def register(self, request: RegisterRequest) -> ProcessRecord:
        """Register a child process."""
        ...

    async def signal_key(self, wait: ProcessSignalWait) -> AwaitEventKey:
        """The name of a wait for a signal."""
        ...


class ProcessCode:
    """The code of one process while it runs: what asks, and by which keys it is recorded.

    Attributes:
        id: The process.
        run: The run it belongs to.
        root: The branch that is the process itself.
    """

    def __init__(self, run: RunView) -> None:
        self.id = run.record.process_id
        self.run = run
        self.root = Branch(run, "", None)

    def branch(self) -> Branch:
        """The branch that asks.

        Raises:
            LashError: `process_context_misused`.
        """
        if self.id in _RUNNING_STEPS.get():
            raise misused(
                self.id,
                "a step asked for an effect of its own process. On replay the step does not run, so the "
                "effect would be missed: ask for it outside the step",
            )
        branch = current_branch()
        if branch is None or branch.owner is not self.run:
            raise misused(self.id, "it was used outside of the run of its process")
        return branch

    def next_effect(self, lane: str) -> tuple[str, int]:
        """The replay key and the ordinal of the next effect of a lane, for the branch that asks."""
        ordinal = self.take(lane)
        return self.placed(f"{lane}:{ordinal}"), ordinal

    def next_key(self, lane: str) -> str:
        """The replay key of the next effect of a lane, for the branch that asks."""
        return self.next_effect(lane)[0]

    def controller(self) -> RunController:
        """Where effects are executed, for a branch that may ask for them.

        Raises:
            LashError: `process_context_misused`.
        """
        self.branch()
        return self.run.controller

    def take(self, lane: str) -> int:
        """The next ordinal of a lane, for the branch that asks."""
        return self.branch().ordinals.take(lane)

    def placed(self, key: str) -> str:
        """The replay key of an effect of the branch that asks."""
        placed = self.branch().key(key)
        self.run.controller.replayed.taken(placed)
        return placed

    def outside(self, call: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        """A step's code, which must not ask for effects of the process."""

        async def run() -> object:
            token = _RUNNING_STEPS.set(_RUNNING_STEPS.get() | {self.id})
            try:
                return await call()
            except BaseException as error:
                if isinstance(error, _NOT_A_STEPS):
                    raise
                # A task that lets it through takes the whole loop down, at every start anew.
                raise StepError(described(error)) from error
            finally:
                _RUNNING_STEPS.reset(token)

        return run


def misused(process_id: str, why: str) -> LashError:
    """The error of a context that is used where it must not be."""
    return LashError(
        "process_context_misused",
        f"The context of process {process_id!r} was misused: {why}.",
        process_id=process_id,
    )


def refusal_of(failed: EffectFailed) -> LashError:
    """The error of what was refused, now or when it was asked for first."""
    kind = ConflictError if failed.code.endswith("_conflict") else LashError
    return kind(failed.code, failed.message)
