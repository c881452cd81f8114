"""A store's processes with short ways to use them, and the class that their properties are made from."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from lash.core.json import JsonValue
from lash.core.leases import Lease, LeaseOwner
from lash.effects.journal import JournalRecord, ProcessAuthority
from lash.processes.events import ProcessEvent
from lash.processes.listing import ProcessFilter, PruneReport, PruneRequest
from lash.processes.model import (
    ProcessProvenance,
    ProcessRecord,
    ProcessRegistration,
    RecoveryDisposition,
    SessionOriginator,
    WaitState,
    authority_of,
)
from lash.processes.outcomes import ExternalOwner, ProcessAwaitOutput, ProcessSuccess
from lash.processes.registration import Registered, RegisterRequest, RegisterResult
from lash.processes.wakes import WakePass
from lash.processes.writes import (
    AppendEvent,
    ClaimRun,
    CompleteByAuthority,
    CompleteRun,
    MarkWait,
    ProcessWrite,
    WriteRefused,
    WriteResult,
    Written,
)
from lash.runtime.stores import Store
from lash.testing.clock import VirtualClock
from lash.testing.conformance.processes.samples import DONE, ENV, refund, scope
from lash.testing.conformance.rig import Properties, Rig, expect
from lash.testing.conformance.samples import ANA, TTL_MS, claim

#: Whoever does the work elsewhere.
BANK = ExternalOwner(granted_to="bank")


class Registry:
    """The processes of a store under test.

    Args:
        rig: The store, and its sessions.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    @property
    def store(self) -> Store:
        """The store as it is open now."""
        return self.rig.store

    @property
    def clock(self) -> VirtualClock:
        """Its clock."""
        return self.rig.clock

    @property
    def now_ms(self) -> int:
        """What its clock says."""
        return self.rig.clock.now_ms()

    async def interlude(self) -> None:
        """Close the store and open it again, in the run that does."""
        await self.rig.interlude()

    # --- writing --------------------------------------------------------------------------------

    async def ask(
        self,
        registration: ProcessRegistration,
        *observers: str,
        owner: LeaseOwner | None = None,
    ) -> RegisterResult:
        """Register a process, and begin it if there is an owner."""
        env = ENV if registration.env_ref is not None else None
        return await self.store.register_process(
            RegisterRequest(
                registration=registration,
                observers=observers,
                env=env,
                claim=claim(owner) if owner else None,
            )
        )

    async def register(
        self,
        process_id: str = "p",
        disposition: RecoveryDisposition = "rerunnable",
        *,
        observers: Sequence[str] = (),
        wakes: str | None = None,
        max_attempts: int | None = None,
    ) -> ProcessRecord:
        """Register a process that must be new."""
        asked = refund(process_id, disposition, wake_session_id=wakes, max_attempts=max_attempts)
        return expect(Registered, await self.ask(asked, *observers)).record

    async def begin(self, process_id: str = "p", owner: LeaseOwner = ANA) -> Lease:
        """Take the lease of a process that must be free to begin."""
        written = await self.write(ClaimRun(claim=claim(owner)), process_id)
        return expect(Lease, written.lease)

    async def running(
        self,
        process_id: str = "p",
        disposition: RecoveryDisposition = "rerunnable",
        *,
        wakes: str | None = None,
        observers: Sequence[str] = (),
        owner: LeaseOwner = ANA,
        max_attempts: int | None = None,
    ) -> Lease:
        """Register a process and begin it."""
        await self.register(
            process_id, disposition, wakes=wakes, observers=observers, max_attempts=max_attempts
        )
        return await self.begin(process_id, owner)

    async def result(self, write: ProcessWrite, process_id: str = "p") -> WriteResult:
        """What comes of a write."""
        return await self.store.write_process(process_id, write)

    async def write(self, write: ProcessWrite, process_id: str = "p") -> Written:
        """Do what must be done."""
        return expect(Written, await self.result(write, process_id))

    async def refusal(self, write: ProcessWrite, process_id: str = "p") -> str:
        """Do what must be refused; the code says why."""
        return expect(WriteRefused, await self.result(write, process_id)).code

    async def append(self, write: AppendEvent, process_id: str = "p") -> ProcessEvent:
        """Append an event that must be new."""
        return expect(ProcessEvent, (await self.write(write, process_id)).event)

    async def wait(self, lease: Lease, state: WaitState, process_id: str = "p") -> WaitState:
        """Begin to wait; what the process waits for then."""
        written = await self.write(MarkWait(fence=lease.fence, wait=state), process_id)
        return expect(WaitState, written.record.state.wait)

    async def complete(
        self,
        lease: Lease,
        outcome: ProcessAwaitOutput = DONE,
        process_id: str = "p",
        *,
        records: Sequence[JournalRecord] = (),
    ) -> ProcessRecord:
        """End a process that must run under a lease."""
        ending = CompleteRun(
            fence=lease.fence, outcome=outcome, records=tuple(records), scope_key=scope(process_id)
        )
        return (await self.write(ending, process_id)).record

    async def ended(
        self,
        process_id: str = "p",
        outcome: ProcessAwaitOutput | None = None,
        *,
        wakes: str | None = None,
    ) -> ProcessRecord:
        """A process that somebody else did, and that has ended."""
        await self.register(process_id, "externally_owned", wakes=wakes)
        ending = CompleteByAuthority(outcome=outcome or ProcessSuccess(value=1), authority=BANK)
        return (await self.write(ending, process_id)).record

    async def prune(
        self,
        wanted: ProcessFilter | None = None,
        *,
        before_ms: int | None = None,
        through: int | None = None,
        limit: int = 500,
    ) -> PruneReport:
        """Forget what ended before now, or before another time."""
        request = PruneRequest(
            before_ms=self.now_ms if before_ms is None else before_ms,
            filter=wanted or ProcessFilter(status="retired"),
            through=through,
            limit=limit,
        )
        return await self.store.prune_processes(request)

    def later(self, milliseconds: int = 1) -> None:
        """Let time pass."""
        self.clock.advance(milliseconds / 1000)

    def expire(self) -> None:
        """Let every lease's ttl pass."""
        self.rig.expire()

    async def renew(self, lease: Lease, process_id: str = "p") -> list[str]:
        """Extend a lease; what is lost."""
        held = [authority_of(process_id, lease)]
        return list(await self.store.renew_processes(held, TTL_MS))

    # --- wakes ----------------------------------------------------------------------------------

    async def session(self, session: str = "s") -> None:
        """A session that is there and in which nothing happens."""
        await self.rig.settle("t1", session=session)

    async def deliver(self) -> list[WakePass]:
        """Pass over the outbox until nothing more is due."""
        passes: list[WakePass] = []
        while True:
            done = await self.store.deliver_wakes()
            passes.append(done)
            due = done.next_attempt_at_ms
            if due is None or due > self.now_ms:
                return passes
            assert done.delivered or done.discarded, "something is due, and nothing came of it"

    async def woken(self, session: str = "s") -> list[str]:
        """The wakes in a session's queue, in order."""
        return await self.rig.waiting(session)

    async def wakes(self, process_id: str = "p") -> list[tuple[int, str, str, str | None]]:
        """A process's wakes: which event, whom, what became of it, and why not."""
        return [
            (wake.sequence, wake.session_id, wake.state, wake.discard_reason)
            for wake in await self.store.list_wakes(process_id)
        ]

    # --- reading --------------------------------------------------------------------------------

    async def load(self, process_id: str = "p") -> ProcessRecord:
        """A process that must be there."""
        return expect(ProcessRecord, await self.store.load_process(process_id))

    async def log(self, process_id: str = "p") -> list[ProcessEvent]:
        """All events of a process."""
        return list(await self.store.process_events(process_id))

    async def types(self, process_id: str = "p") -> list[str]:
        """What sort of events a process's are, in order."""
        return [event.event_type for event in await self.log(process_id)]

    async def listed(self, wanted: ProcessFilter | None = None) -> list[str]:
        """The ids of the processes that a filter means."""
        found = await self.store.list_processes(wanted or ProcessFilter())
        return [record.process_id for record in found]

    async def runnable(self) -> list[str]:
        """The ids of the processes that somebody could claim."""
        return [record.process_id for record in await self.store.runnable_processes()]

    async def journal(self, process_id: str = "p", segment: int = 0) -> list[str]:
        """The replay keys of a process's journal."""
        return await self.rig.keys(scope(process_id, segment))

    async def everything(self, process_id: str = "p") -> dict[str, object]:
        """All that can be read about a process, and the lists that it is in."""
        store = self.store
        return {
            "record": await store.load_process(process_id),
            "log": await self.log(process_id),
            "observers": list(await store.observers_of(process_id)),
            "wakes": list(await store.list_wakes(process_id)),
            "journals": [await self.journal(process_id, segment) for segment in (0, 1)],
            "waits": [list(await store.list_waits(scope(process_id, n))) for n in (0, 1)],
            "all": list(await store.list_processes(ProcessFilter())),
            "runnable": list(await store.runnable_processes()),
            "feed": list((await store.processes_changed_since(0)).changes),
            "cursor": await store.change_cursor(),
            "needed": list(await store.live_references()),
            "sessions": list(await store.list_sessions()),
        }

    @asynccontextmanager
    async def untouched(self, process_id: str = "p") -> AsyncIterator[None]:
        """Whatever happens inside must leave no trace in a process, nor in the lists."""
        before = await self.everything(process_id)
        yield
        await self.interlude()
        assert await self.everything(process_id) == before


def proof(lease: Lease, process_id: str = "p") -> ProcessAuthority:
    """The proof that whoever runs a process presents to its journal."""
    return authority_of(process_id, lease)


def of_session(session: str, parent: str | None = None) -> ProcessProvenance:
    """Asked for by a session."""
    return ProcessProvenance(originator=SessionOriginator(session_id=session), parent_id=parent)


def payloads(events: Sequence[ProcessEvent]) -> list[JsonValue]:
    """What events say."""
    return [event.payload for event in events]


class ProcessProperties(Properties):
    """What every group of properties of processes is made from."""

    @asynccontextmanager
    async def registry(self) -> AsyncIterator[Registry]:
        """A new store to try a property on."""
        async with self.rig() as rig:
            yield Registry(rig)
