"""Finding processes that nobody runs, and hearing of what others write (process spec 5.3, 5.4).

The store's change feed tells of what is written, here or elsewhere; a look through the store finds what
was left behind. What is found is handed to the worker, which claims it row by row.
"""

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

from lash.core.clock import Clock
from lash.core.leases import Lease
from lash.effects.waits.hints import POLL_FIRST_S, POLL_MAX_S, changed_within, token_of
from lash.processes.model import ProcessParked, ProcessRecord
from lash.processes.running import runnable_at
from lash.processes.writes import ParkRun, Written
from lash.runtime.processes.admission import AdmissionReport, Disposition, disposition
from lash.runtime.processes.engines import Engines
from lash.runtime.processes.registry import ProcessRegistry
from lash.runtime.processes.run import ProcessRun
from lash.runtime.standstill import standstill
from lash.runtime.stores import Store

_log = logging.getLogger("lash.runtime")

#: Under which name a look through the store is due.
SCAN = ""

#: How often the feed is read while nothing runs here and nobody waits, in seconds.
IDLE_S = 0.25


class Worker(Protocol):
    """What finding processes needs of the worker that runs them."""

    store: Store
    registry: ProcessRegistry
    engines: Engines
    clock: Clock
    enabled: bool

    @property
    def runs(self) -> Mapping[str, ProcessRun]:
        """What is run here."""
        ...

    def is_claiming(self, process_id: str) -> bool:
        """Whether a process is being claimed or registered here just now."""
        ...

    def is_live_stranger(self, held: Lease) -> bool:
        """Whether a lease is another owner's who may be alive."""
        ...

    def lacks(self, process_id: str) -> bool:
        """Whether running a process here has shown, not long ago, that its code is not all here."""
        ...

    def nudge(self, process_id: str, *, parked_too: bool = False) -> None:
        """A process may be there to be run."""
        ...

    def at(self, name: str, at_ms: int, then: Callable[[], None]) -> None:
        """Do something at a time; of several under one name, the first."""
        ...

    def begin_task(self, work: Coroutine[object, object, None], name: str) -> None:
        """Do something that is waited for when the worker stops."""
        ...

    def parked(self, record: ProcessRecord, parked: ProcessParked) -> None:
        """A process does not go on by itself, and the store says so."""
        ...


class Discovery:
    """Finds work for one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._store = worker.store
        self._clock = worker.clock

    # --- judging --------------------------------------------------------------------------------

    def why_not(self, record: ProcessRecord, *, parked_too: bool = False) -> Disposition | None:
        """Why a process is not to be begun here as far as its row tells, if it is not.

        One that rests is looked at again when its time has come.
        """
        worker, held = self._worker, record.lease.held
        busy = held is not None and worker.is_live_stranger(held)
        why = disposition(
            record,
            now_ms=self._clock.now_ms(),
            running=record.process_id in worker.runs,
            busy=busy,
            dead=held is not None and not busy and self._store.is_dead(held.owner),
            parked_too=parked_too,
            has_code=lambda: (
                worker.engines.refusal(record) is None and not worker.lacks(record.process_id)
            ),
        )
        due = runnable_at(record)
        if why == "resting" and due is not None:
            process_id = record.process_id
            worker.at(process_id, due, lambda: worker.nudge(process_id))
        return why

    async def note_missing(self, record: ProcessRecord) -> None:
        """Keep with a process that its code is not here, unless somebody runs it or said so before."""
        error = self._worker.engines.refusal(record)
        if error is None or record.state.parked is not None:
            return
        parked = ProcessParked(code=str(error.code), message=error.message, waits_for="code")
        result = await self._worker.registry.write(record.process_id, ParkRun(parked=parked))
        if isinstance(result, Written):
            standstill.warning("process %s waits: %s", record.process_id, error)
            self._worker.parked(record, parked)

    # --- looking through the store --------------------------------------------------------------

    async def scan(self, *, parked_too: bool = False) -> AdmissionReport:
        """Look through the store for processes that nobody runs, and have them taken up here."""
        admitted: list[str] = []
        deferred: list[tuple[str, Disposition]] = []
        if not self._worker.enabled:
            return AdmissionReport()
        # First: what comes due meanwhile is seen below, or its time is known.
        due = await self._store.next_runnable_at()
        if due is not None:
            self._worker.at(SCAN, due, self._scan_soon)
        after, through = "", await self._store.last_runnable()
        while through is not None:
            page = await self._store.runnable_processes(after=after, through=through)
            for record in page:
                why = self.why_not(record, parked_too=parked_too)
                if _needs_a_look(record, why):
                    self._worker.nudge(record.process_id, parked_too=parked_too)
                if why is None:
                    admitted.append(record.process_id)
                else:
                    deferred.append((record.process_id, why))
            if not page:
                break
            after = page[-1].process_id
        return AdmissionReport(admitted=tuple(admitted), deferred=tuple(deferred))

    def _scan_soon(self) -> None:
        self._worker.begin_task(self._scan(), "lash-process-scan")

    async def _scan(self) -> None:
        try:
            await self.scan()
        except Exception:  # noqa: BLE001  the slow look through the store comes all the same
            _log.warning("processes that rested could not be looked for", exc_info=True)

    async def rests(self) -> bool:
        """Whether processes that others run can all be carried on only by the outside."""
        after = ""
        while page := await self._store.runnable_processes(after=after):
            for record in page:
                held = record.lease.held
                waits = record.process_id in self._worker.runs or record.status == "waiting"
                if held is not None and self._worker.is_live_stranger(held) and not waits:
                    return False
            after = page[-1].process_id
        return True

    # --- following the feed ---------------------------------------------------------------------

    async def follow(self, cursor: int) -> None:
        """Tell those who wait here what was written, here or elsewhere; take up what others left."""
        news, wait = self._worker.registry.news, POLL_FIRST_S
        while True:
            try:
                token = await token_of(self._store)  # before the feed: nothing is missed
                changed, through = await self._store.changed_ids(cursor)
                for process_id in changed:
                    news.bump(process_id)
                    await self._look_at(process_id)
                cursor = through  # not before all of it was looked at
            except Exception:  # noqa: BLE001  the next look may find the store again
                _log.warning("the processes' feed could not be read; trying again", exc_info=True)
                token, changed = None, ()
                news.bump_all()
            if changed:
                wait = POLL_FIRST_S
            elif not self._worker.runs and not news.awaited:
                await self._clock.sleep(IDLE_S)
            else:
                moved = await changed_within(self._store, self._clock, wait, token)
                wait = POLL_FIRST_S if moved else min(wait * 2, POLL_MAX_S)

    async def _look_at(self, process_id: str) -> None:
        """See what was written to a process that runs here, or that perhaps nobody runs."""
        worker = self._worker
        run = worker.runs.get(process_id)
        if run is None and (not worker.enabled or worker.is_claiming(process_id)):
            return
        record = await self._store.load_process(process_id)
        if not isinstance(record, ProcessRecord):
            return
        if run is not None:
            if worker.runs.get(process_id) is run:
                run.told(record)
            return
        if record.state.wake_session_id is not None:
            worker.registry.woken()  # who put a wake into the outbox may die before it is out
        if _needs_a_look(record, self.why_not(record)):
            worker.nudge(process_id)


def _needs_a_look(record: ProcessRecord, why: Disposition | None) -> bool:
    """Whether a worker is to look at a process: to run it, or to say that its code is not here."""
    return why is None or (why == "code_missing" and record.state.parked is None)
