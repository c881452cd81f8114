"""One run of a process: its lease, its journal, its permit, and how it ends (process spec 5.5).

A run writes nothing once its lease is lost. Task cancellation ends a run and not the process: whatever
was recorded stays, and the process is begun again by whoever claims it next.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from lash.attachments.model import process_session_id
from lash.core.clock import Clock
from lash.core.errors import LashError, LeaseLostError, ReplayError
from lash.core.json import JsonValue
from lash.core.leases import Lease
from lash.core.scopes import ProcessScope, journal_key
from lash.core.text import described
from lash.effects.hosts import EffectHost
from lash.effects.journal import JournalRecord, ProcessAuthority
from lash.effects.journaling import lease_lost
from lash.effects.waits.model import AwaitEventKey, ProcessSignalWait
from lash.processes.events import ProcessEvent
from lash.processes.model import (
    ProcessParked,
    ProcessRecord,
    ProcessRetry,
    ProcessSegment,
    ProcessWaitKind,
    WaitKind,
    authority_of,
    segment_scope_id,
)
from lash.processes.outcomes import (
    AbandonEvidence,
    AbandonWriter,
    ProcessAbandoned,
    ProcessAwaitOutput,
)
from lash.processes.registration import AlreadyRegistered, Registered, RegisterRequest
from lash.processes.writes import (
    AlreadyApplied,
    AppendEvent,
    CompleteRun,
    ContinueRun,
    ParkRun,
    ProcessWrite,
    ReleaseRun,
    Superseded,
    Written,
)
from lash.runtime.agents import AgentRegistry
from lash.runtime.attachments import SessionAttachmentStore, owned_by_process
from lash.runtime.processes.controlling import RunController
from lash.runtime.processes.engines import Continue, Engines, ProcessEngine
from lash.runtime.processes.inbox import SignalInbox
from lash.runtime.processes.marks import WaitMarks
from lash.runtime.processes.permits import Slot
from lash.runtime.processes.refusals import standing
from lash.runtime.processes.registry import ProcessRegistry
from lash.runtime.processes.replayed import Replayed
from lash.runtime.recorded_code import CodeServices
from lash.runtime.standstill import standstill
from lash.runtime.stores import Store
from lash.runtime.tool_attachments import OpenAttachments

_log = logging.getLogger("lash.runtime")

#: How long a process rests after an attempt that got nowhere; doubled every time.
_REST_FIRST_MS = 100
_REST_MAX_MS = 300_000

#: How a run ended: the process ended, waits or rests; or the run did, and the process goes on elsewhere.
Ending: TypeAlias = Literal["settled", "parked", "resting", "released", "lost"]

#: What a write of a run came to that was not refused.
_Stands: TypeAlias = Written | AlreadyApplied | Superseded

#: What goes on as soon as code comes.
_WAITING_FOR_CODE = frozenset(
    {
        "process_missing",
        "process_version_missing",
        "process_engine_missing",
        "process_tool_missing",
        "tool_source_unknown",
        "process_unregistered",
        "trigger_event_unknown",
        "agent_missing",
        "agent_unknown",
        "agent_version_missing",
    }
)


class RunHost(Protocol):
    """What a run needs of the worker it belongs to."""

    store: Store
    effects: EffectHost
    registry: ProcessRegistry
    agents: AgentRegistry
    engines: Engines
    services: CodeServices
    clock: Clock

    @property
    def attachments(self) -> OpenAttachments:
        """Opens the attachments of a session, or of a process."""
        ...

    async def register(
        self, request: RegisterRequest
    ) -> tuple[ProcessRecord, Registered | AlreadyRegistered]:
        """Register a process, and begin it here if there is room."""
        ...

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        """Run something in the background."""
        ...

    def resting(self) -> None:
        """A run waits for the outside now."""
        ...

    @property
    def torn_down(self) -> bool:
        """Whether all that runs here is being cancelled, by nobody that we know."""
        ...


@dataclass(slots=True)
class _Segment:
    """What belongs to the segment that is being run."""

    scope_id: str
    controller: RunController
    inbox: SignalInbox
    fresh: bool

    @property
    def scope_key(self) -> str:
        return journal_key(ProcessScope(process_id=self.scope_id))


class ProcessRun:
    """Runs one process while its lease is held here."""

    def __init__(
        self, host: RunHost, record: ProcessRecord, lease: Lease, permits: asyncio.Semaphore
    ) -> None:
        self._host = host
        self._lease = lease
        self._marks = WaitMarks(
            host.registry, host.clock, authority_of(record.process_id, lease), host.spawn
        )
        self._slot = Slot(permits, self._parked, self._marks.end)
        self._segment: _Segment | None = None
        self._why: Literal["lost", "stopping", "given_up"] | None = None
        self._writer: AbandonWriter = "reconciled_request"
        self._task: asyncio.Task[object] | None = None
        self._ending = False
        self.record = record

    def __repr__(self) -> str:
        return f"ProcessRun({self.record.process_id!r})"

    # --- what the code sees ---------------------------------------------------------------------

    @property
    def authority(self) -> ProcessAuthority:
        """The proof that the run's writes present."""
        return authority_of(self.record.process_id, self._lease)

    @property
    def parked(self) -> bool:
        """Whether all of it waits for the outside."""
        return self._slot.parked

    @property
    def scope_id(self) -> str:
        """The id that the segment's effects are recorded under."""
        return self._here.scope_id

    @property
    def controller(self) -> RunController:
        """Where effects are executed."""
        return self._here.controller

    @property
    def inbox(self) -> SignalInbox:
        """Where signals come from."""
        return self._here.inbox

    @property
    def fresh(self) -> bool:
        """Whether nothing of the segment can have been recorded before."""
        return self._here.fresh

    @property
    def registry(self) -> ProcessRegistry:
        """The processes of the runtime."""
        return self._host.registry

    @property
    def agents(self) -> AgentRegistry:
        """The agents that can be asked."""
        return self._host.agents

    @property
    def attachments(self) -> SessionAttachmentStore:
        """Where the process keeps attachments."""
        return self._host.attachments(process_session_id(self.record.process_id))

    @property
    def services(self) -> CodeServices:
        """Time, chance and models."""
        return self._host.services

    @property
    def clock(self) -> Clock:
        """Where time comes from."""
        return self._host.clock

    async def signal_key(self, wait: ProcessSignalWait) -> AwaitEventKey:
        """The name of a wait for a signal."""
        return await self._host.effects.await_event_key(self.controller.scope, wait)

    async def register(self, request: RegisterRequest) -> ProcessRecord:
        """Register a child, and have it begun here if there is room."""
        record, _ = await self._host.register(request)
        return record

    async def append(self, event_type: str, payload: JsonValue, replay_key: str) -> ProcessEvent:
        """Append an event of the process's own, once.

        Raises:
            LashError: What the event's type, or the process, does not allow.
        """
        result = await self._write(
            AppendEvent(
                event_type=event_type,
                payload=payload,
                replay_key=replay_key,
                fence=self._lease.fence,
            )
        )
        if isinstance(result, Superseded) or result.event is None:
            raise lease_lost(self.authority)
        return result.event

    @property
    def _here(self) -> _Segment:
        if self._segment is None:
            message = "the run of a process has not begun"
            raise RuntimeError(message)
        return self._segment

    # --- from outside ---------------------------------------------------------------------------

    def lose(self) -> None:
        """The lease is gone: stop at once and write nothing."""
        self._end("lost")

    def stop(self) -> None:
        """Stop running; the process goes on with whoever claims it next."""
        self._end("stopping")

    def give_up(self, writer: AbandonWriter) -> None:
        """Stop running, and say that nobody ever will."""
        self._writer = writer
        self._end("given_up")

    def _end(self, why: Literal["lost", "stopping", "given_up"]) -> None:
        if self._why is None and not self._ending:
            self._why = why
            if self._segment is not None:
                self.controller.stop_running()
            if self._task is not None:  # else it is found out where the run begins
                self._task.cancel()

    def told(self, record: ProcessRecord) -> None:
        """Something was written to the process; perhaps it is to stop."""
        if record.change < self.record.change:
            return
        self.record = record
        if record.state.abandon_request is not None:
            self.give_up("reconciled_request")
        elif record.state.cancel is not None and self._segment is not None:
            self.controller.stop(record.state.cancel.reason)

    # --- running --------------------------------------------------------------------------------

    async def drive(self) -> Ending:
        """Run the process until it ended, or cannot go on here."""
        self._task = asyncio.current_task()
        engine = self._host.engines.find(self.record)
        try:
            with owned_by_process(self.record.process_id):
                return await self._drive(engine)
        except LeaseLostError:
            return "lost"
        except asyncio.CancelledError:
            if self._why is None and not self._host.torn_down:
                return await self._failed(
                    LashError("process_recovery_failed", "It cancelled the task that it runs in.")
                )
            ending = await self._stopped()
            if self._why is None:
                raise  # not ours to stop: somebody tears everything down
            return ending
        except LashError as error:
            return await self._failed(error)
        except Exception as error:  # noqa: BLE001  the process is begun again later
            _log.exception("process %s met an unexpected error", self.record.process_id)
            return await self._failed(LashError("process_recovery_failed", described(error)))
        finally:
            self._marks.close()
            self._slot.close()
            # Nothing points back here from now on: it goes without waiting for the collector.
            self._task = self._segment = None

    async def _drive(self, engine: ProcessEngine | None) -> Ending:
        if self._why is not None:
            raise asyncio.CancelledError  # it was to stop before it began
        if engine is None:
            raise self._host.engines.refusal(self.record) or LashError(
                "process_engine_missing", "No engine of that kind is here."
            )
        attempt = self.record.state.started.attempt if self.record.state.started else 1
        fresh = attempt == 1 and not self.record.state.segment.ordinal
        while True:
            await self._open(fresh=fresh, ordered=engine.ordered)
            outcome = await engine.run(self)
            await self._slot.ensure()
            if not isinstance(outcome, Continue):
                return await self._complete(outcome)
            await self._continue(outcome.payload)
            fresh = True

    async def _open(self, *, fresh: bool, ordered: bool) -> None:
        """Begin a segment, with all that is recorded of it."""
        host, state = self._host, self.record.state
        scope_id = segment_scope_id(self.record.process_id, state.segment.ordinal)
        scope = ProcessScope(process_id=scope_id)
        recorded: Sequence[JournalRecord] = ()
        if not fresh:
            recorded = await host.store.load_journal(journal_key(scope))
        inner = host.effects.scoped(
            scope, authority=self.authority, fresh=fresh, recorded=None if fresh else recorded
        )
        inbox = SignalInbox(
            host.store,
            host.registry.news,
            host.clock,
            self.record.process_id,
            state.segment.signals,
        )
        replayed = Replayed(recorded, ordered=ordered)
        for name, sequence in replayed.signals():
            inbox.mark_taken(name, [sequence])
        controller = RunController(
            inner, replayed, self._slot, self._marks.note, host.store, tells=ordered
        )
        self._segment = _Segment(scope_id, controller, inbox, fresh)
        controller.told = controller.told or state.segment.told
        cancel = self.record.state.cancel  # it may have come while the journal was read
        if cancel is not None:
            controller.stop(cancel.reason)

    async def _continue(self, payload: JsonValue) -> None:
        here, before = self._here, self.record.state.segment
        segment = ProcessSegment(
            ordinal=before.ordinal + 1,
            payload=payload,
            signals=here.inbox.cursors(),
            told=here.controller.told,
        )
        write = ContinueRun(
            fence=self._lease.fence,
            segment=segment,
            records=tuple(here.controller.deferred()),
            scope_key=here.scope_key,
        )
        continued = (await self._write(write)).record
        if continued.change >= self.record.change:  # else it was told of something later meanwhile
            self.record = continued

    async def _complete(self, outcome: ProcessAwaitOutput) -> Ending:
        here = self._segment
        write = CompleteRun(
            fence=self._lease.fence,
            outcome=outcome,
            records=tuple(here.controller.deferred()) if here else (),
            scope_key=here.scope_key if here else "",
        )
        self._marks.close()
        self._ending = True
        self._slot.close()  # only the disk is left, and whoever hears of the end may begin another
        result = await self._write(write)
        # Another end than this one is another worker's: this one had lost the lease by then.
        return "lost" if isinstance(result, Superseded) else "settled"

    async def _stopped(self) -> Ending:
        """The run's task was cancelled: by the worker, or by whoever tears the loop down."""
        if self._why == "lost":
            return "lost"
        if self._why == "given_up":
            return await self._give_up(self._writer)
        return await self._quietly(self._release(), "released")

    async def _give_up(self, writer: AbandonWriter) -> Ending:
        started = self.record.state.started
        evidence = AbandonEvidence(
            writer=writer,
            epoch_ms=self._host.clock.now_ms(),
            owner=started.owner if started else None,
        )
        write = CompleteRun(
            fence=self._lease.fence,
            outcome=ProcessAbandoned(evidence=evidence),
            scope_key=self._segment.scope_key if self._segment else "",
        )
        return await self._quietly(self._write(write), "settled")

    async def _failed(self, error: LashError) -> Ending:
        """The surroundings failed, or the code is not the one that began: the process goes on later."""
        code, message = str(error.code), error.message
        if self.record.registration.disposition == "owner_bound":
            # It was begun, and is never begun again.
            _log.warning("process %s is given up: %s", self.record.process_id, error)
            return await self._give_up("owner_drain")
        if isinstance(error, ReplayError) or code in _WAITING_FOR_CODE:
            standstill.warning("process %s is parked: %s", self.record.process_id, error)
            parked = ProcessParked(
                code=code,
                message=message,
                waits_for="code" if code in _WAITING_FOR_CODE else "person",
            )
            write = ParkRun(fence=self._lease.fence, parked=parked)
            return await self._quietly(self._write(write), "parked")
        standstill.warning("process %s rests: %s", self.record.process_id, error)
        rest = min(_REST_FIRST_MS << min(self.record.state.failures, 20), _REST_MAX_MS)
        retry = ProcessRetry(
            code=code, message=message, next_attempt_at_ms=self._host.clock.now_ms() + rest
        )
        return await self._quietly(self._release(retry), "resting")

    async def _quietly(self, last: Awaitable[_Stands], ending: Ending) -> Ending:
        """See the last write of a run through. Where the store refuses it the lease runs out by itself."""
        self._ending = True
        try:
            self.record = (await last).record
            return ending
        except LeaseLostError:
            return "lost"
        except Exception:  # noqa: BLE001  as above
            _log.warning(
                "the lease of process %s could not be given back",
                self.record.process_id,
                exc_info=True,
            )
            return "lost"

    async def _release(self, retry: ProcessRetry | None = None) -> _Stands:
        """Give the lease back, and before it write what waits for the next record.

        Which branch came first, for one, is not to be decided again.
        """
        here = self._segment
        records = here.controller.deferred() if here else ()
        if here and records:
            await self._host.store.record(here.scope_key, records, self.authority)
        return await self._write(ReleaseRun(fence=self._lease.fence, retry=retry))

    async def _write(self, write: ProcessWrite) -> _Stands:
        process_id = self.record.process_id
        return standing(await self.registry.write(process_id, write), process_id, self.authority)

    # --- saying that it waits -------------------------------------------------------------------

    @asynccontextmanager
    async def waiting(self, kind: WaitKind) -> AsyncIterator[None]:
        """For engines: wait for something that is no effect, without the permit."""
        self._marks.note(kind)
        self._slot.begin()
        self._slot.begin_waiting()
        try:
            yield
        finally:
            self._slot.end_waiting()
            self._slot.end()
        await self._slot.ensure()

    def pause(self, process_id: str) -> None:
        """For engines: what the effect under way does is wait for a process, without the permit."""
        self._marks.note(ProcessWaitKind(process_id=process_id))
        self._slot.begin_waiting()

    def resume(self) -> None:
        """It waits no longer. Before it goes on it needs `ensure`."""
        self._slot.end_waiting()

    async def ensure(self) -> None:
        """Hold the permit, waiting for one if it was given back."""
        await self._slot.ensure()

    def _parked(self) -> None:
        self._host.resting()
        self._marks.begin_soon()
