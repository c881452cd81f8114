"""The waits of a running process for signals: the n-th wait gets the n-th of them (process spec 7)."""

import inspect
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from lash.core.durations import Duration, milliseconds
from lash.core.errors import LashError, WaitError
from lash.core.typed import TypedValue
from lash.effects import executors
from lash.effects.commands import AwaitEventCommand
from lash.effects.outcomes import AwaitEventOutcome, EffectOutcome
from lash.effects.waits.model import ProcessSignalWait, ResolvedOk
from lash.processes.event_types import is_signal_name
from lash.processes.events import ProcessEvent
from lash.runtime.processes.code import ProcessCode
from lash.runtime.recorded_code import envelope, wrong_outcome


@dataclass(frozen=True, slots=True)
class _Wait:
    """One wait: its signal's name, its key, and what it took in this run."""

    name: str
    key: str
    ordinal: int
    limit_ms: int | None
    taken: list[ProcessEvent] = field(default_factory=list)


class _Taken(msgspec.Struct):
    """A signal as it is recorded by the wait that took it."""

    sequence: int
    payload: Any = None


class SignalWaits:
    """The waits of one process."""

    __slots__ = ("_code", "_run", "_waits")

    def __init__(self, code: ProcessCode) -> None:
        self._code = code
        self._run = code.run
        self._waits: WeakKeyDictionary[Coroutine[object, object, object], _Wait] = (
            WeakKeyDictionary()
        )

    def next(
        self, name: str, reader: TypedValue | None, timeout: Duration | None
    ) -> Coroutine[object, object, object]:
        """The payload of the next signal of a name, which `is_signal_name`."""
        limit = None if timeout is None else milliseconds(timeout, "The timeout of a signal")
        key, ordinal = self._code.next_effect(f"signal:{name}")
        wait = _Wait(name, key, ordinal, limit)
        waiting = self._payload(wait, reader)
        self._waits[waiting] = wait
        return waiting

    def forget(self, work: object) -> None:
        """What was waited for side by side was given up: if it is a signal, it is the next wait's."""
        wait = self._waits.get(work) if inspect.iscoroutine(work) else None
        if wait is None:
            return
        before = self._run.controller.replayed.signal(wait.key)
        if wait.taken:
            self._run.inbox.put_back(wait.name, wait.taken.pop())
        elif before is not None:
            self._run.inbox.release(wait.name, before)

    async def _payload(self, wait: _Wait, reader: TypedValue | None) -> object:
        outcome = await self._outcome(wait)
        if not isinstance(outcome.resolution, ResolvedOk):
            raise WaitError(
                "process_signal_timeout",
                f"No signal {wait.name!r} came to process {self._code.id!r} before the deadline.",
                name=wait.name,
            )
        signal = msgspec.convert(outcome.resolution.payload, _Taken)
        return signal.payload if reader is None else reader.read(signal.payload)

    async def _outcome(self, wait: _Wait) -> AwaitEventOutcome:
        run = self._run
        identity = ProcessSignalWait(
            process_id=self._code.id, signal_name=wait.name, ordinal=wait.ordinal
        )
        command = AwaitEventCommand(key=await run.signal_key(identity))

        async def perform() -> EffectOutcome:
            with run.inbox.queueing(wait.name) as place:
                due = await self._due(wait)
                outcome = await run.inbox.taking(wait.name, place, due, wait.taken)
            await run.controller.came(wait.key)
            return outcome

        try:
            outcome = await self._code.controller().execute(
                envelope(wait.key, command), executors.signals(perform)
            )
        except BaseException:
            if wait.taken and not await run.controller.is_recorded(wait.key):
                run.inbox.put_back(wait.name, wait.taken.pop())
            raise
        if not isinstance(outcome, AwaitEventOutcome):
            raise wrong_outcome(outcome)
        return outcome

    async def _due(self, wait: _Wait) -> int | None:
        """When the wait is over, which is fixed when it begins first."""
        limit_ms = wait.limit_ms
        if limit_ms is None:
            return None
        kept = await self._run.controller.keep(
            f"{wait.key}:deadline",
            {"timeout_ms": limit_ms},
            lambda: self._run.clock.now_ms() + limit_ms,
        )
        return kept if isinstance(kept, int) else None


def check_signal_name(name: object) -> str:
    """A name that signals may have.

    Raises:
        LashError: `process_signal_name_invalid`.
    """
    if not isinstance(name, str) or not is_signal_name(name):
        raise LashError(
            "process_signal_name_invalid",
            f"{name!r} is no name of a signal: use letters, digits, '_' and '-'.",
        )
    return name
