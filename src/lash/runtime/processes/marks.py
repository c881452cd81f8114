"""Saying in its row what a running process waits for: for people, nothing depends on it (spec 5.3)."""

import asyncio
import logging
from collections.abc import Callable, Coroutine

from lash.core.clock import Clock
from lash.effects.journal import ProcessAuthority
from lash.processes.model import WaitKind, WaitState
from lash.processes.writes import ClearWait, MarkWait, ProcessWrite
from lash.runtime.processes.registry import ProcessRegistry

_log = logging.getLogger("lash.runtime")

#: A wait is written down once it has lasted this long: most are over before.
MARK_AFTER_S = 0.05


class WaitMarks:
    """The marks of one run.

    Args:
        registry: Writes them.
        clock: Says since when.
        authority: The run's lease.
        spawn: Writes in the background: nobody waits for a mark.
    """

    __slots__ = (
        "_authority",
        "_clock",
        "_kind",
        "_registry",
        "_spawn",
        "_stored",
        "_timer",
        "_wanted",
        "_writing",
    )

    def __init__(
        self,
        registry: ProcessRegistry,
        clock: Clock,
        authority: ProcessAuthority,
        spawn: Callable[[Coroutine[object, object, None], str], None],
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._authority = authority
        self._spawn = spawn
        self._kind: WaitKind | None = None
        self._wanted: WaitState | None = None
        self._stored: WaitState | None = None
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None

    def note(self, kind: WaitKind) -> None:
        """What the run waits for, should it be found to wait."""
        self._kind = kind

    def begin_soon(self) -> None:
        """The run waits: say so unless it is over at once."""
        self._timer = asyncio.get_running_loop().call_later(MARK_AFTER_S, self._begin)

    def end(self) -> None:
        """The run waits no longer."""
        self._drop_timer()
        self._want(None)

    def close(self) -> None:
        """What is written next says where the process stands."""
        self._drop_timer()
        self._wanted = self._stored

    def _begin(self) -> None:
        self._timer = None
        if self._kind is not None:
            self._want(WaitState(kind=self._kind, since_ms=self._clock.now_ms()))

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _want(self, wait: WaitState | None) -> None:
        self._wanted = wait
        if not self._writing and self._wanted != self._stored:
            self._writing = True
            self._spawn(self._write(), "lash-process-mark")

    async def _write(self) -> None:
        process_id, fence = self._authority.process_id, self._authority.fence
        try:
            while self._wanted != self._stored:
                wait = self._wanted
                write: ProcessWrite = (
                    ClearWait(fence=fence) if wait is None else MarkWait(fence=fence, wait=wait)
                )
                await self._registry.write(process_id, write)
                self._stored = wait
        except Exception:  # noqa: BLE001  it only tells what is going on
            _log.debug("what a process waits for could not be written down", exc_info=True)
            self._stored = self._wanted
        finally:
            self._writing = False
