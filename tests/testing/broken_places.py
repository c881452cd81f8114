"""Stores and hosts with one fault each, for the conformance suites to find. Run by a test, never collected."""

from collections.abc import Callable, Sequence

import msgspec

from lash.core.cancel import CancelToken
from lash.core.clock import Clock
from lash.core.leases import Fence, LeaseOwner
from lash.core.scopes import ExecutionScope, journal_key
from lash.effects.controller import EffectController
from lash.effects.hosts import EffectHost, HostCapabilities, InlineEffectHost, StoreEffectHost
from lash.effects.journal import Authority, JournalRecord, RecordResult, WriteAuthority
from lash.effects.waits.board import Parking
from lash.effects.waits.model import (
    AwaitEventKey,
    Resolution,
    ResolveAccepted,
    ResolvedCancelled,
    ResolveOutcome,
)
from lash.effects.waits.transitions import WaitPending, WaitRow, WaitState, row_of
from lash.processes.listing import ChangePage, ProcessFilter, PruneReport, PruneRequest
from lash.processes.model import ProcessRecord
from lash.processes.registration import (
    AlreadyRegistered,
    RegisterRequest,
    RegisterResult,
    RegistrationConflict,
)
from lash.processes.writes import AppendEvent, CompleteRun, ProcessWrite, RetargetWakes, WriteResult
from lash.runtime.stores import Store
from lash.sessions.model import AcceptedTurn, Parked
from lash.stores.memory import MemoryStore
from lash.testing.clock import VirtualClock
from lash.testing.conformance import EffectHostConformance, StoreConformance, take_lease

# --- stores -----------------------------------------------------------------------------------------


class Restless(MemoryStore):
    """Starts the clock of a wait again with every wait."""

    async def open_wait(self, row: WaitRow) -> WaitState:
        state = await super().open_wait(row)
        if isinstance(state, WaitPending):
            return WaitPending(deadline_at_ms=row.deadline_at_ms)
        return state


class Eager(MemoryStore):
    """Takes a scope for finished as soon as something is recorded in it."""

    async def record(
        self,
        scope_key: str,
        records: Sequence[JournalRecord],
        authority: Authority | None,
    ) -> RecordResult:
        result = await super().record(scope_key, records, authority)
        await self.finish_scope(scope_key, [])
        return result


class Unmoved(MemoryStore):
    """Never says that anything changed."""

    async def change_token(self) -> int | None:
        return 7


class Unasked(MemoryStore):
    """Notes what a turn waits for although somebody drives it."""

    async def note_waiting(self, session_id: str, turn_id: str, parked: Parked) -> bool:
        held = (await self.lease_of(session_id)).held
        if held is None:
            return await super().note_waiting(session_id, turn_id, parked)
        return await self.park_turn(session_id, turn_id, parked, held.fence)


class Lenient(MemoryStore):
    """Lets anybody restart a turn."""

    async def restart_turn(
        self, session_id: str, turn_id: str, fence: Fence
    ) -> AcceptedTurn | None:
        held = (await self.lease_of(session_id)).held
        return await super().restart_turn(session_id, turn_id, held.fence if held else fence)


class Trusting(MemoryStore):
    """Takes whoever ends a process for who runs it."""

    async def write_process(self, process_id: str, write: ProcessWrite) -> WriteResult:
        record = await self.load_process(process_id)
        held = record.lease.held if isinstance(record, ProcessRecord) else None
        if isinstance(write, CompleteRun) and held is not None:
            write = msgspec.structs.replace(write, fence=held.fence)
        return await super().write_process(process_id, write)


class Repeating(MemoryStore):
    """Appends an event again and again, whatever key it comes under."""

    async def write_process(self, process_id: str, write: ProcessWrite) -> WriteResult:
        if isinstance(write, AppendEvent) and write.event_type == "note":
            write = msgspec.structs.replace(write, replay_key=None)
        return await super().write_process(process_id, write)


class Obliging(MemoryStore):
    """Takes any registration under a known id for the same."""

    async def register_process(self, request: RegisterRequest) -> RegisterResult:
        result = await super().register_process(request)
        if isinstance(result, RegistrationConflict):
            return AlreadyRegistered(record=result.record)
        return result


class Hasty(MemoryStore):
    """Hands over what the session sees, and leaves out the rest."""

    async def transfer_observers(
        self, from_session: str, to_session: str, process_ids: Sequence[str], by: str
    ) -> Sequence[str]:
        missing = await super().transfer_observers(from_session, to_session, process_ids, by)
        seen = [each for each in process_ids if each not in missing]
        await super().transfer_observers(from_session, to_session, seen, by)
        return missing


class Greedy(MemoryStore):
    """Forgets processes whose wakes are still on their way."""

    async def prune_processes(self, request: PruneRequest) -> PruneReport:
        for record in await self.list_processes(ProcessFilter(status="retired")):
            if await self.list_wakes(record.process_id, "pending"):
                await self.write_process(record.process_id, RetargetWakes(session_id=None))
        return await super().prune_processes(request)


class Skipping(MemoryStore):
    """Goes on behind the end of the feed, and not behind the page that it gave."""

    async def processes_changed_since(self, cursor: int, limit: int = 256) -> ChangePage:
        page = await super().processes_changed_since(cursor, limit)
        return msgspec.structs.replace(page, cursor=await self.change_cursor())


class _Stores(StoreConformance):
    kind: type[MemoryStore]

    async def make_store(self, clock: VirtualClock) -> Store:
        return self.kind(clock)

    async def reopen(self, store: Store, clock: VirtualClock) -> Store:
        return store


class TestRestless(_Stores):
    kind = Restless


class TestEager(_Stores):
    kind = Eager


class TestUnmoved(_Stores):
    kind = Unmoved


class TestUnasked(_Stores):
    kind = Unasked


class TestLenient(_Stores):
    kind = Lenient


class TestTrusting(_Stores):
    kind = Trusting


class TestRepeating(_Stores):
    kind = Repeating


class TestObliging(_Stores):
    kind = Obliging


class TestHasty(_Stores):
    kind = Hasty


class TestGreedy(_Stores):
    kind = Greedy


class TestSkipping(_Stores):
    kind = Skipping


# --- hosts ------------------------------------------------------------------------------------------


class Forgetful(InlineEffectHost):
    """Says that it records effects, and does not."""

    @property
    def capabilities(self) -> HostCapabilities:
        return HostCapabilities(tier="ephemeral", owns_replay=True)


class Gullible(StoreEffectHost):
    """Takes keys as they come."""

    def _genuine(self, key: AwaitEventKey) -> AwaitEventKey:
        return key

    async def resolve_await_event(
        self, key: AwaitEventKey, resolution: Resolution
    ) -> ResolveOutcome:
        return await self._promises.resolve_wait(row_of(key, journal_key(key.scope)), resolution)


class Unfenced(StoreEffectHost):
    """Writes without a proof."""

    def scoped(
        self,
        scope: ExecutionScope,
        *,
        authority: Authority | None = None,
        fresh: bool = False,
        recorded: Sequence[JournalRecord] | None = None,
        on_parked: Callable[[], None] | None = None,
    ) -> EffectController:
        return super().scoped(scope, fresh=fresh, recorded=recorded, on_parked=on_parked)


class Impatient(StoreEffectHost):
    """Gives up before it looks whether there is a resolution."""

    async def await_await_event(
        self,
        key: AwaitEventKey,
        *,
        cancel: CancelToken | None = None,
        deadline_at_ms: int | None = None,
        parking: Parking | None = None,
    ) -> Resolution:
        if cancel is not None and cancel.cancelled:
            return ResolvedCancelled()
        return await super().await_await_event(key, deadline_at_ms=deadline_at_ms, parking=parking)


class Agreeable(StoreEffectHost):
    """Accepts every resolution, and keeps the first."""

    async def resolve_await_event(
        self, key: AwaitEventKey, resolution: Resolution
    ) -> ResolveOutcome:
        await super().resolve_await_event(key, resolution)
        return ResolveAccepted()


class _Hosts(EffectHostConformance[MemoryStore]):
    durable = False
    kind: type[StoreEffectHost] = StoreEffectHost

    async def make_substrate(self, clock: VirtualClock) -> MemoryStore:
        return MemoryStore(clock)

    async def open_host(self, substrate: MemoryStore, clock: VirtualClock) -> EffectHost:
        return self.kind(substrate, clock, tier="ephemeral")

    async def lease(
        self, substrate: MemoryStore, clock: VirtualClock, session_id: str, owner: LeaseOwner
    ) -> WriteAuthority:
        return await take_lease(substrate, session_id, owner)


class TestForgetful(_Hosts):
    async def open_host(self, substrate: MemoryStore, clock: VirtualClock) -> EffectHost:
        return Forgetful(substrate, clock)


class TestGullible(_Hosts):
    kind = Gullible


class TestUnfenced(_Hosts):
    kind = Unfenced


class TestImpatient(_Hosts):
    kind = Impatient


class TestAgreeable(_Hosts):
    kind = Agreeable


class TestStrangers(_Hosts):
    """Each host has a store of its own, so hosts over one substrate know nothing of each other."""

    async def open_host(self, substrate: MemoryStore, clock: Clock) -> EffectHost:
        del substrate
        return StoreEffectHost(MemoryStore(clock), clock, tier="ephemeral")
