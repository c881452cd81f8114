"""The worker: claims processes that nobody runs, runs them side by side, and keeps their leases (spec 5).

It is nudged by whatever is written here, follows the store's change feed for what others write, and looks
through the store when it opens and now and then. Admitting a process is not running it: rows are claimed
one by one, each in a task of its own that nobody's waiting depends on.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.leases import Lease, LeaseClaim, LeaseTimings
from lash.effects.hosts import EffectHost
from lash.effects.shielding import shielded
from lash.effects.waits.hints import POLL_FIRST_S, POLL_MAX_S, changed_within, token_of
from lash.processes.model import ProcessParked, ProcessRecord, ProcessState, ProcessTombstone
from lash.processes.registration import AlreadyRegistered, Registered, RegisterRequest
from lash.processes.running import runnable_at
from lash.processes.writes import ClaimRun, ParkRun, RunBusy, Written
from lash.runtime.processes.admission import AdmissionReport, Disposition, disposition
from lash.runtime.processes.engines import Engines
from lash.runtime.processes.registry import ProcessRegistry
from lash.runtime.processes.run import ProcessRun
from lash.runtime.recorded_code import CodeServices
from lash.runtime.stopping import CLOSE_PATIENCE_S
from lash.runtime.stores import Store

_log = logging.getLogger("lash.runtime")

#: How many processes run at once; what waits does not count.
CONCURRENCY = 64

#: Runs that would not stop. They are kept from being collected while they run; nobody waits for them.
_abandoned: set[asyncio.Task[None]] = set()

#: Under which name a look through the store is due.
_SCAN = ""

#: How often the feed is read while nothing runs here and nobody waits, in seconds.
IDLE_S = 0.25

#: How often it is looked whether other owners have died, in seconds.
_OWNERS_S = 0.5


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What became of work that cannot go on elsewhere when its worker shut down."""

    abandoned: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessFault:
    """Something went wrong with a process that is none of its own doing."""

    process_id: str
    operation: str
    code: str
    message: str


class WorkerHost(Protocol):
    """What a worker needs of the runtime it belongs to."""

    def claim_request(self, presumed_dead: int | None = None) -> LeaseClaim:
        """A claim for a lease, in this owner's name."""
        ...

    def is_live_stranger(self, held: Lease) -> bool:
        """Whether a lease is another owner's who may be alive."""
        ...

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        """Run something in the background."""
        ...

    def busy(self) -> None:
        """Something is being run."""
        ...

    def resting(self) -> None:
        """What is being run may all wait for the outside now."""
        ...

    def process_parked(self, process_id: str, parked: ProcessParked) -> None:
        """A process does not go on by itself, and the store says so."""
        ...

    def process_fault(self, fault: ProcessFault) -> None:
        """Something went wrong with a process that is none of its own doing."""
        ...


#: What registers a turn of an agent as a child process; see `RunHost.turn_request`.
TurnRequest: TypeAlias = Callable[..., RegisterRequest]


@dataclass(slots=True)
class ProcessWorker:
    """One runtime's worker.

    Attributes:
        host: The runtime.
        store: Where processes are kept.
        effects: Where their effects are.
        registry: What is done to them here.
        engines: Who runs which.
        services: Time, chance and models for their code.
        clock: Where time comes from.
        timings: How long a lease lasts.
        concurrency: How many run at once.
        turn_request: What registers a turn as a child.
        enabled: Whether processes are run here at all.
    """

    host: WorkerHost
    store: Store
    effects: EffectHost
    registry: ProcessRegistry
    engines: Engines
    services: CodeServices
    clock: Clock
    timings: LeaseTimings
    turn_request: TurnRequest
    concurrency: int = CONCURRENCY
    enabled: bool = True
    runs: dict[str, ProcessRun] = field(default_factory=dict)
    _permits: asyncio.Semaphore = field(init=False)
    _pending: dict[str, bool] = field(default_factory=dict)
    _again: set[str] = field(default_factory=set)
    _looking: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _nudged: asyncio.Event = field(default_factory=asyncio.Event)
    _strangers: dict[str, Lease] = field(default_factory=dict)
    _registering: set[asyncio.Task[object]] = field(default_factory=set)
    _timers: dict[str, tuple[int, asyncio.Task[None]]] = field(default_factory=dict)
    _at_work: ProcessRun | None = None
    _closing: bool = False

    def __post_init__(self) -> None:
        self._permits = asyncio.Semaphore(self.concurrency)
        self.registry.changed.append(self._changed)
        self.registry.news.resting = self.host.resting

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to follow what others write, and take up what nobody runs."""
        cursor = await self.store.change_cursor()
        self.spawn(self._follow(cursor), "lash-process-feed")
        if self.enabled:
            self.spawn(self._dispatch(), "lash-process-worker")
            await self.scan(parked_too=True)

    async def stop(self) -> DrainReport:
        """Stop running. What can go on elsewhere is given back, what cannot is given up, and told."""
        self._closing = True
        self._pending.clear()
        for _, timer in self._timers.values():
            timer.cancel()
        bound = [run for run in self.runs.values() if _is_bound(run.record)]
        for run in tuple(self.runs.values()):
            if run in bound:
                run.give_up("owner_drain")
            else:
                run.stop()
        self.registry.news.bump_all()
        loop = asyncio.get_running_loop()
        until = loop.time() + CLOSE_PATIENCE_S
        # What is being claimed or registered just now is begun after this, to give its lease back.
        while (under_way := self._tasks | self._registering) and loop.time() < until:
            # Code that keeps its cancellation to itself is not waited for: its lease runs out.
            await asyncio.wait(under_way, timeout=until - loop.time())
        _abandoned.update(self._tasks)
        return DrainReport(
            abandoned=tuple(run.record.process_id for run in bound if run.record.retired),
            deferred=tuple(run.record.process_id for run in bound if not run.record.retired),
        )

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        """Run something in the background until the runtime stops."""
        self.host.spawn(work, name)

    @property
    def quiet(self) -> bool:
        """Whether whatever is run here waits for the outside."""
        idle = not self._pending and not self._looking and self.registry.news.quiet
        # What rests after an attempt that got nowhere goes on by itself.
        rests = self._timers.keys() - {_SCAN}
        return idle and not rests and self._all_parked()

    def _all_parked(self) -> bool:
        # Who was at work when this was asked last mostly still is: of ten thousand only one is looked at.
        if self._at_work is not None and not self._at_work.parked:
            return False
        self._at_work = next((run for run in self.runs.values() if not run.parked), None)
        return self._at_work is None

    def resting(self) -> None:
        """A run waits for the outside now."""
        self.host.resting()

    # --- beginning ------------------------------------------------------------------------------

    async def register(
        self, request: RegisterRequest
    ) -> tuple[ProcessRecord, Registered | AlreadyRegistered]:
        """Register a process; if it is new and can be run here at once, it is begun with its row."""
        claim = await self._claim_for(request)
        if claim is None:
            return await self.registry.register(request)
        return await shielded(self._register_and_begin(request, claim))

    async def _register_and_begin(
        self, request: RegisterRequest, claim: LeaseClaim
    ) -> tuple[ProcessRecord, Registered | AlreadyRegistered]:
        """Register and begin in one go: whoever asked for it may be cancelled in between."""
        task = asyncio.current_task()
        if task is not None:
            self._registering.add(task)
            task.add_done_callback(self._registering.discard)
        process_id = request.registration.process_id
        # The feed may tell of it before the answer is here: it is not to be claimed a second time.
        self._looking.add(process_id)
        try:
            record, result = await self.registry.register(request, claim)
        except BaseException:
            self._looking.discard(process_id)
            self._permits.release()
            self.host.resting()
            raise
        self._looking.discard(process_id)
        if isinstance(result, Registered) and result.lease is not None:
            self._begin(record, result.lease)
        else:
            self._permits.release()
            self.nudge(record.process_id)
        return record, result

    async def _claim_for(self, request: RegisterRequest) -> LeaseClaim | None:
        """A claim to begin a new process with, and a permit taken for it, if there is one to be had."""
        if not self.enabled or self._closing or self._permits.locked():
            return None
        registration = request.registration
        probe = ProcessRecord(
            registration=registration,
            fingerprint="",
            created_at_ms=0,
            state=ProcessState(),
            change=0,
        )
        if registration.disposition == "externally_owned" or self.engines.refusal(probe):
            return None
        await self._permits.acquire()  # it is free, so nothing is waited for
        return self.host.claim_request()

    def _begin(self, record: ProcessRecord, lease: Lease) -> None:
        """Run a process whose lease is held and for which a permit was taken."""
        if record.process_id in self.runs:
            self._permits.release()
            return
        run = ProcessRun(self, record, lease, self._permits)
        self.runs[record.process_id] = run
        if self._closing:
            run.stop()  # all it does is give the lease back
        self.host.busy()
        self._task(self._run(run), f"lash-process-{record.process_id}")

    async def _run(self, run: ProcessRun) -> None:
        process_id = run.record.process_id
        ending = "released"  # also where somebody tears everything down
        try:
            ending = await run.drive()
        finally:
            del self.runs[process_id]
            if self._at_work is run:
                self._at_work = None
            self._ended(run, ending)
            self.host.resting()

    def _ended(self, run: ProcessRun, ending: str) -> None:
        process_id, state = run.record.process_id, run.record.state
        if ending == "parked" and state.parked is not None:
            self.host.process_parked(process_id, state.parked)
        elif ending == "resting" and state.retry is not None:
            self.host.process_fault(
                ProcessFault(process_id, "run", state.retry.code, state.retry.message)
            )
            self._later(process_id, state.retry.next_attempt_at_ms)
        elif ending == "lost" and not self._closing:
            self.host.process_fault(
                ProcessFault(process_id, "renew_lease", "process_lease_lost", "Its lease is lost.")
            )
            self._later(process_id, self.clock.now_ms() + self.timings.ttl_ms)
        if process_id in self._again:
            self._again.discard(process_id)
            self.nudge(process_id)

    def _task(self, work: Coroutine[object, object, None], name: str) -> None:
        # Not the caller's context: what begins a process is no part of it.
        task = asyncio.get_running_loop().create_task(work, name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _later(self, process_id: str, at_ms: int) -> None:
        """Look at a process again when its time has come."""
        self._at(process_id, at_ms, lambda: self.nudge(process_id))

    def _at(self, name: str, at_ms: int, then: Callable[[], None]) -> None:
        """Do something at a time; of several under one name, the first."""
        known = self._timers.get(name)
        if self._closing or (known is not None and known[0] <= at_ms):
            return
        if known is not None:
            known[1].cancel()

        async def wait() -> None:
            await self.clock.sleep(max(0.0, (at_ms - self.clock.now_ms()) / 1000))
            self._timers.pop(name, None)
            then()
            self.host.resting()

        task = asyncio.get_running_loop().create_task(wait(), context=Context())
        self._timers[name] = (at_ms, task)

    # --- taking up ------------------------------------------------------------------------------

    def nudge(self, process_id: str, *, parked_too: bool = False) -> None:
        """A process may be there to be run."""
        if not self.enabled or self._closing:
            return
        if process_id in self.runs or process_id in self._looking:
            self._again.add(process_id)
            return
        self._pending[process_id] = self._pending.get(process_id, False) or parked_too
        self.host.busy()
        self._nudged.set()

    def _changed(self, record: ProcessRecord) -> None:
        """Something was written to a process here."""
        run = self.runs.get(record.process_id)
        if run is not None:
            run.told(record)
        elif record.lease.held is None and runnable_at(record) is not None:
            self.nudge(record.process_id)

    async def _dispatch(self) -> None:
        """Take a permit, then a process; whatever happens to one, the next one is taken."""
        while True:
            while not self._pending:
                self._nudged.clear()
                self.host.resting()
                await self._nudged.wait()
            await self._permits.acquire()
            if not self._pending:
                self._permits.release()
                continue
            process_id = next(iter(self._pending))
            parked_too = self._pending.pop(process_id)
            self._looking.add(process_id)
            self._task(self._take_up(process_id, parked_too=parked_too), "lash-process-claim")

    async def _take_up(self, process_id: str, *, parked_too: bool) -> None:
        begun = False
        try:
            claimed = await self._claim(process_id, parked_too=parked_too)
            if claimed is not None:
                begun = True
                self._looking.discard(process_id)
                self._begin(*claimed)
        except Exception as error:  # noqa: BLE001  told; the next look may find the store again
            _log.warning("process %s could not be claimed", process_id, exc_info=True)
            code = str(error.code) if isinstance(error, LashError) else "process_recovery_failed"
            self.host.process_fault(ProcessFault(process_id, "claim_lease", code, str(error)))
            self._later(process_id, self.clock.now_ms() + 1000)
        finally:
            self._looking.discard(process_id)
            if not begun:
                self._permits.release()
                if process_id in self._again:
                    self._again.discard(process_id)
                    self.nudge(process_id)
                self.host.resting()

    async def _claim(
        self, process_id: str, *, parked_too: bool
    ) -> tuple[ProcessRecord, Lease] | None:
        record = await self.store.load_process(process_id)
        if record is None or isinstance(record, ProcessTombstone):
            return None
        why = self._why_not(record, parked_too=parked_too)
        if why == "code_missing":
            await self._note_missing(record)
        if why is not None:
            return None
        held = record.lease.held
        # Whose worker is gone for certain, its lease need not run out.
        proof = held.fencing_token if held and self.store.is_dead(held.owner) else None
        result = await self.registry.write(
            process_id, ClaimRun(claim=self.host.claim_request(proof), parked_too=parked_too)
        )
        if isinstance(result, RunBusy):
            self._strangers[result.holder.owner.incarnation] = result.holder
        if isinstance(result, Written) and result.lease is not None:
            return result.record, result.lease
        return None

    def _why_not(self, record: ProcessRecord, *, parked_too: bool) -> Disposition | None:
        """Why a process is not to be begun here as far as its row tells, if it is not."""
        held, now_ms = record.lease.held, self.clock.now_ms()
        busy = held is not None and self._is_live_stranger(held)
        if held is not None and busy:
            self._strangers[held.owner.incarnation] = held
        why = disposition(
            record,
            now_ms=now_ms,
            running=record.process_id in self.runs,
            busy=busy,
            dead=held is not None and self.store.is_dead(held.owner),
            parked_too=parked_too,
            has_code=lambda: self.engines.refusal(record) is None,
        )
        due = runnable_at(record)
        if why == "resting" and due is not None:
            self._later(record.process_id, due)
        return why

    def _is_live_stranger(self, held: Lease) -> bool:
        return self.host.is_live_stranger(held) and not self.store.is_dead(held.owner)

    async def _note_missing(self, record: ProcessRecord) -> None:
        """Keep with a process that its code is not here, unless somebody runs it or said so before."""
        error = self.engines.refusal(record)
        if error is None or record.state.parked is not None:
            return
        parked = ProcessParked(code=str(error.code), message=error.message, waits_for="code")
        result = await self.registry.write(record.process_id, ParkRun(parked=parked))
        if isinstance(result, Written):
            _log.warning("process %s waits: %s", record.process_id, error)
            self.host.process_parked(record.process_id, parked)

    # --- looking --------------------------------------------------------------------------------

    async def scan(self, *, parked_too: bool = False) -> AdmissionReport:
        """Look through the store for processes that nobody runs, and have them taken up here."""
        admitted: list[str] = []
        deferred: list[tuple[str, Disposition]] = []
        if not self.enabled:
            return AdmissionReport()
        # First: what comes due meanwhile is seen below, or its time is known.
        due = await self.store.next_runnable_at()
        if due is not None:
            self._at(_SCAN, due, self._scan_soon)
        after, through = "", await self.store.last_runnable()
        while through is not None:
            page = await self.store.runnable_processes(after=after, through=through)
            for record in page:
                why = self._why_not(record, parked_too=parked_too)
                if why is None or (why == "code_missing" and record.state.parked is None):
                    self.nudge(record.process_id, parked_too=parked_too)
                if why is None:
                    admitted.append(record.process_id)
                else:
                    deferred.append((record.process_id, why))
            if not page:
                break
            after = page[-1].process_id
        return AdmissionReport(admitted=tuple(admitted), deferred=tuple(deferred))

    def _scan_soon(self) -> None:
        self._task(self._scan(), "lash-process-scan")

    async def _scan(self) -> None:
        try:
            await self.scan()
        except Exception:  # noqa: BLE001  the slow look through the store comes all the same
            _log.warning("processes that rested could not be looked for", exc_info=True)

    async def rests(self) -> bool:
        """Whether processes that others run can all be carried on only by the outside."""
        after = ""
        while True:
            page = await self.store.runnable_processes(after=after)
            for record in page:
                held = record.lease.held
                waits = record.process_id in self.runs or record.status == "waiting"
                if held is not None and self._is_live_stranger(held) and not waits:
                    return False
            if not page:
                return True
            after = page[-1].process_id

    async def _follow(self, cursor: int) -> None:
        """Tell those who wait here what was written, here or elsewhere; take up what others left."""
        wait, looked_ms = POLL_FIRST_S, 0
        while True:
            try:
                token = await token_of(self.store)  # before the feed: nothing is missed
                changed, through = await self.store.changed_ids(cursor)
                for process_id in changed:
                    self.registry.news.bump(process_id)
                    await self._look_after(process_id)
                cursor = through  # not before all of it was looked at
                if self.clock.now_ms() - looked_ms >= _OWNERS_S * 1000:
                    looked_ms = self.clock.now_ms()
                    await self._look_for_dead()
            except Exception:  # noqa: BLE001  the next look may find the store again
                _log.warning("the processes' feed could not be read; trying again", exc_info=True)
                token, changed = None, ()
                self.registry.news.bump_all()
            if changed:
                wait = POLL_FIRST_S
            elif not self.runs and not self.registry.news.awaited:
                await self.clock.sleep(IDLE_S)
            else:
                moved = await changed_within(self.store, self.clock, wait, token)
                wait = POLL_FIRST_S if moved else min(wait * 2, POLL_MAX_S)

    async def _look_after(self, process_id: str) -> None:
        """See what others wrote to a process that runs here, or that nobody runs."""
        run = self.runs.get(process_id)
        if run is None:
            if self.enabled and process_id not in self._looking:
                record = await self.store.load_process(process_id)
                if not isinstance(record, ProcessRecord):
                    return
                if record.state.wake_session_id is not None:
                    self.registry.woken()  # who put a wake into the outbox may die before it is out
                if self._is_for_us(record):
                    self.nudge(process_id)
            return
        record = await self.store.load_process(process_id)
        if isinstance(record, ProcessRecord) and self.runs.get(process_id) is run:
            run.told(record)

    def _is_for_us(self, record: ProcessRecord) -> bool:
        why = self._why_not(record, parked_too=False)
        return why is None or (why == "code_missing" and record.state.parked is None)

    async def _look_for_dead(self) -> None:
        """Take up at once what owners leave behind that die or shut down."""
        gone = [name for name, lease in self._strangers.items() if self.store.is_dead(lease.owner)]
        for name in gone:
            del self._strangers[name]
        if gone:
            await self.scan()

    # --- leases ---------------------------------------------------------------------------------

    async def keep_leases(self) -> None:
        """Renew every lease held here; stop the runs that lost theirs."""
        held = {process_id: run.authority for process_id, run in self.runs.items()}
        if not held:
            return
        lost = await self.store.renew_processes(list(held.values()), self.timings.ttl_ms)
        for process_id in lost:
            run = self.runs.get(process_id)
            if run is not None and run.authority == held[process_id]:
                run.lose()


def _is_bound(record: ProcessRecord) -> bool:
    return record.registration.disposition == "owner_bound"
