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
from typing import Protocol

from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.leases import Lease, LeaseClaim, LeaseTimings
from lash.effects.hosts import EffectHost
from lash.effects.shielding import shielded
from lash.processes.model import ProcessParked, ProcessRecord, ProcessState, ProcessTombstone
from lash.processes.registration import AlreadyRegistered, Registered, RegisterRequest
from lash.processes.running import runnable_at
from lash.processes.writes import ClaimRun, Written
from lash.runtime.agents import AgentRegistry
from lash.runtime.processes.admission import AdmissionReport
from lash.runtime.processes.discovery import SCAN, Discovery
from lash.runtime.processes.engines import Engines
from lash.runtime.processes.registry import ProcessRegistry
from lash.runtime.processes.run import ProcessRun
from lash.runtime.recorded_code import CodeServices
from lash.runtime.stopping import CLOSE_PATIENCE_S
from lash.runtime.stores import Store
from lash.runtime.tool_attachments import OpenAttachments

_log = logging.getLogger("lash.runtime")

#: How many processes run at once; what waits does not count.
CONCURRENCY = 64

#: How long a process is left alone here that was found to lack code while it ran: tools may come later.
_LACKING_S = 300.0

#: Runs that would not stop. They are kept from being collected while they run; nobody waits for them.
_abandoned: set[asyncio.Task[None]] = set()


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


@dataclass(slots=True)
class ProcessWorker:
    """One runtime's worker.

    Attributes:
        host: The runtime.
        store: Where processes are kept.
        effects: Where their effects are.
        registry: What is done to them here.
        agents: The agents that can be asked.
        engines: Who runs which.
        services: Time, chance and models for their code.
        attachments: Opens the attachments of a session, or of a process.
        clock: Where time comes from.
        timings: How long a lease lasts.
        concurrency: How many run at once.
        enabled: Whether processes are run here at all.
    """

    host: WorkerHost
    store: Store
    effects: EffectHost
    registry: ProcessRegistry
    agents: AgentRegistry
    engines: Engines
    services: CodeServices
    attachments: OpenAttachments
    clock: Clock
    timings: LeaseTimings
    concurrency: int = CONCURRENCY
    enabled: bool = True
    runs: dict[str, ProcessRun] = field(default_factory=dict)
    _permits: asyncio.Semaphore = field(init=False)
    _pending: dict[str, bool] = field(default_factory=dict)
    _again: set[str] = field(default_factory=set)
    _lacking: dict[str, float] = field(default_factory=dict)
    _claiming: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _nudged: asyncio.Event = field(default_factory=asyncio.Event)
    _discovery: Discovery = field(init=False)
    _registering: set[asyncio.Task[object]] = field(default_factory=set)
    _timers: dict[str, tuple[int, asyncio.Task[None]]] = field(default_factory=dict)
    _dispatcher: asyncio.Task[object] | None = None
    _at_work: ProcessRun | None = None
    _closing: bool = False

    def __post_init__(self) -> None:
        self._permits = asyncio.Semaphore(self.concurrency)
        self._discovery = Discovery(self)
        self.registry.changed.append(self._changed)
        self.registry.news.resting = self.host.resting

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to follow what others write, and take up what nobody runs."""
        cursor = await self.store.change_cursor()
        self.spawn(self._discovery.follow(cursor), "lash-process-feed")
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
        idle = not self._pending and not self._claiming and self.registry.news.quiet
        # What rests after an attempt that got nowhere goes on by itself.
        rests = self._timers.keys() - {SCAN}
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

    @property
    def torn_down(self) -> bool:
        """Whether all that runs here is being cancelled, by nobody that we know."""
        return self._dispatcher is not None and self._dispatcher.cancelling() > 0

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
        self._claiming.add(process_id)
        try:
            record, result = await self.registry.register(request, claim)
        except BaseException:
            self._claiming.discard(process_id)
            self._permits.release()
            self.host.resting()
            raise
        self._claiming.discard(process_id)
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
        self.begin_task(self._run(run), f"lash-process-{record.process_id}")

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
            if state.parked.waits_for == "code":
                self._lacking[process_id] = self.clock.monotonic()
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
        self._look_again(process_id)

    def _look_again(self, process_id: str) -> None:
        """Take notice of what came while a process was run or claimed here."""
        if process_id in self._again:
            self._again.discard(process_id)
            self.nudge(process_id)

    def begin_task(self, work: Coroutine[object, object, None], name: str) -> None:
        """Do something that is waited for when the worker stops."""
        # Not the caller's context: what begins a process is no part of it.
        task = asyncio.get_running_loop().create_task(work, name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _later(self, process_id: str, at_ms: int) -> None:
        """Look at a process again when its time has come."""
        self.at(process_id, at_ms, lambda: self.nudge(process_id))

    def at(self, name: str, at_ms: int, then: Callable[[], None]) -> None:
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

    # --- finding ---------------------------------------------------------------------------------

    async def scan(self, *, parked_too: bool = False) -> AdmissionReport:
        """Look through the store for processes that nobody runs, and have them taken up here."""
        return await self._discovery.scan(parked_too=parked_too)

    async def rests(self) -> bool:
        """Whether processes that others run can all be carried on only by the outside."""
        return await self._discovery.rests()

    def is_claiming(self, process_id: str) -> bool:
        """Whether a process is being claimed or registered here just now."""
        return process_id in self._claiming

    def is_live_stranger(self, held: Lease) -> bool:
        """Whether a lease is another owner's who may be alive."""
        return self.host.is_live_stranger(held)

    def parked(self, record: ProcessRecord, parked: ProcessParked) -> None:
        """A process does not go on by itself, and the store says so."""
        self.host.process_parked(record.process_id, parked)

    def lacks(self, process_id: str) -> bool:
        """Whether running a process here has shown, not long ago, that its code is not all here."""
        since = self._lacking.get(process_id)
        if since is not None and self.clock.monotonic() - since > _LACKING_S:
            del self._lacking[process_id]
            return False
        return since is not None

    # --- taking up ------------------------------------------------------------------------------

    def nudge(self, process_id: str, *, parked_too: bool = False) -> None:
        """A process may be there to be run."""
        if not self.enabled or self._closing:
            return
        if process_id in self.runs or process_id in self._claiming:
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
        self._dispatcher = asyncio.current_task()
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
            self._claiming.add(process_id)
            self.begin_task(self._take_up(process_id, parked_too=parked_too), "lash-process-claim")

    async def _take_up(self, process_id: str, *, parked_too: bool) -> None:
        begun = False
        try:
            claimed = await self._claim(process_id, parked_too=parked_too)
            if claimed is not None:
                begun = True
                self._claiming.discard(process_id)
                self._begin(*claimed)
        except Exception as error:  # noqa: BLE001  told; the next look may find the store again
            _log.warning("process %s could not be claimed", process_id, exc_info=True)
            code = str(error.code) if isinstance(error, LashError) else "process_recovery_failed"
            self.host.process_fault(ProcessFault(process_id, "claim_lease", code, str(error)))
            self._later(process_id, self.clock.now_ms() + 1000)
        finally:
            self._claiming.discard(process_id)
            if not begun:
                self._permits.release()
                self._look_again(process_id)
                self.host.resting()

    async def _claim(
        self, process_id: str, *, parked_too: bool
    ) -> tuple[ProcessRecord, Lease] | None:
        record = await self.store.load_process(process_id)
        if record is None or isinstance(record, ProcessTombstone):
            return None
        why = self._discovery.why_not(record, parked_too=parked_too)
        if why == "code_missing":
            await self._discovery.note_missing(record)
        if why is not None:
            return None
        held = record.lease.held
        # Whose worker is gone for certain, its lease need not run out.
        proof = held.fencing_token if held and self.store.is_dead(held.owner) else None
        result = await self.registry.write(
            process_id, ClaimRun(claim=self.host.claim_request(proof), parked_too=parked_too)
        )
        if isinstance(result, Written) and result.lease is not None:
            return result.record, result.lease
        return None

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
