"""Processes in memory: the same planner as in the durable stores."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from lash.core.clock import Clock
from lash.core.leases import LeaseState, decide_renewal, is_current
from lash.core.seams import SeamObserver, process_seam
from lash.effects.journal import ProcessAuthority, RetireProcess
from lash.processes.listing import PruneReport, PruneRequest, matches
from lash.processes.model import ProcessTombstone
from lash.processes.planning import WritePlan
from lash.processes.registration import RegisterRequest, RegisterResult
from lash.processes.transitions import plan_register, plan_write
from lash.processes.wakes import WakePass
from lash.processes.writes import (
    ChangeObservers,
    ProcessUnknown,
    ProcessWrite,
    RetargetWakes,
    WriteResult,
)
from lash.sessions.checking import Finding
from lash.stores.memory.process import HeldProcess, HeldProcesses, check_process
from lash.stores.memory.process_reads import ProcessReads
from lash.stores.memory.queues import Queues
from lash.stores.memory.scopes import Scopes
from lash.stores.memory.session import Held
from lash.stores.memory.triggers import MemoryTriggers
from lash.stores.memory.wakes import Wakes


class SessionForgotten(msgspec.Struct, frozen=True, kw_only=True):
    """What became of processes when a session was deleted; see `DeleteReport`."""

    removed_observers: int
    discarded_wakes: int
    cleared_subscriptions: int
    ended_triggers: int
    orphaned: tuple[str, ...]
    preserved: tuple[str, ...]


class Processes(ProcessReads):
    """Every process. Every method is one transaction: it plans first, then writes, and never awaits.

    Args:
        clock: The store's clock.
        seams: Told where a durable store would have written and not yet committed.
        scopes: Where journals are kept.
        sessions: The sessions, which wakes go to.
        queues: Their queues.
        triggers: What began some of the processes.
        changed: Called after every write that others may wait for.
    """

    def __init__(
        self,
        clock: Clock,
        seams: SeamObserver,
        scopes: Scopes,
        sessions: Held,
        queues: Queues,
        *,
        triggers: MemoryTriggers,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(HeldProcesses(), clock)
        self._seams = seams
        self._scopes = scopes
        self._triggers = triggers
        self._wakes = Wakes(self._processes, sessions, queues, clock, seams)
        self._changed = changed

    def _inside(self, what: str) -> None:
        self._seams(process_seam(what, "inside"))

    # --- writing --------------------------------------------------------------------------------

    async def register_process(self, request: RegisterRequest) -> RegisterResult:
        """Register a process with its observers and environment."""
        process_id, held = request.registration.process_id, self._processes
        plan = plan_register(
            held.find(process_id),
            request,
            now_ms=self._clock.now_ms(),
            next_change=held.last_change + 1,
        )
        if plan.record is None:
            return plan.result
        self._inside("register")
        held.take_change(process_id)
        new = HeldProcess(record=plan.record, observers=set(request.observers))
        new.append(plan.events)
        held.processes[process_id] = new
        env_ref = plan.record.registration.env_ref
        if env_ref is not None and request.env is not None:
            held.envs.setdefault(env_ref, request.env)
        self._changed()
        return plan.result

    async def write_process(self, process_id: str, write: ProcessWrite) -> WriteResult:
        """Do something to a process."""
        found = self._held(process_id)
        if not isinstance(found, HeldProcess):
            return found
        plan = plan_write(self._processes.facts(found, self._clock.now_ms()), write)
        if plan.record is not None:
            self._inside(str(write.__struct_config__.tag))
            self._persist(found, plan)
        return plan.result

    def _held(self, process_id: str) -> HeldProcess | ProcessTombstone | ProcessUnknown:
        known = self._processes.processes.get(process_id)
        return known or self._processes.tombstones.get(process_id) or ProcessUnknown()

    def _persist(self, held: HeldProcess, plan: WritePlan) -> None:
        self._processes.persist(held, plan)
        if plan.scope_key:
            self._scopes.append(plan.scope_key, plan.records)
            self._scopes.finish(plan.scope_key)
            self._scopes.cancel_scope_waits(plan.scope_key)  # nobody waits any more
        self._changed()

    async def renew_processes(self, held: Sequence[ProcessAuthority], ttl_ms: int) -> Sequence[str]:
        """Extend leases; returns the processes whose lease is lost."""
        lost: list[str] = []
        for authority in held:
            found = self._processes.processes.get(authority.process_id)
            state = found.record.lease if found else LeaseState()
            renewed = decide_renewal(state, authority.fence, ttl_ms, self._clock.now_ms())
            if found is None or renewed is None:
                lost.append(authority.process_id)
            else:
                lease = LeaseState(fencing_token=renewed.fencing_token, held=renewed)
                found.record = msgspec.structs.replace(found.record, lease=lease)
        return lost

    def is_running(self, authority: ProcessAuthority) -> bool:
        """Whether a writer holds the lease of a process, as it says."""
        held = self._processes.processes.get(authority.process_id)
        return held is not None and is_current(held.record.lease, authority.fence)

    # --- who sees it ----------------------------------------------------------------------------

    async def transfer_observers(
        self, from_session: str, to_session: str, process_ids: Sequence[str], by: str
    ) -> Sequence[str]:
        """Hand processes from one session to another, all or none."""
        names = tuple(dict.fromkeys(process_ids))
        seen = {name: self._processes.processes.get(name) for name in names}
        moved = [held for held in seen.values() if held and from_session in held.observers]
        if len(moved) < len(names):
            visible = {held.record.process_id for held in moved}
            return [name for name in names if name not in visible]
        if moved:
            self._inside("observers")
        write = ChangeObservers(by=by, add=(to_session,), remove=(from_session,))
        self._write_each(moved, write)
        return []

    def _write_each(self, held: Iterable[HeldProcess], write: ProcessWrite) -> None:
        """Do the same to several processes, in one transaction that passed its seam."""
        now_ms = self._clock.now_ms()
        for each in held:
            self._persist(each, plan_write(self._processes.facts(each, now_ms), write))

    # --- wakes ----------------------------------------------------------------------------------

    async def deliver_wakes(self, limit: int = 32) -> WakePass:
        """Put pending wakes into their sessions' queues, each process's in order."""
        done = self._wakes.deliver(limit)
        if done.delivered or done.discarded:
            self._changed()
        return done

    async def redrive_wake(self, process_id: str, sequence: int) -> bool:
        """Try a discarded wake again; False when there is none."""
        again = self._wakes.redrive(process_id, sequence)
        if again:
            self._changed()
        return again

    # --- forgetting -----------------------------------------------------------------------------

    async def prune_processes(self, request: PruneRequest) -> PruneReport:
        """Forget ended processes with events, edges, journals and promises; tombstones stay."""
        due = list(self._processes.by_id(lambda held: _is_due(held, request)))
        free = [held for held in due if not held.pending()]
        chosen = free[: max(request.limit, 0)]
        if chosen:
            self._inside("prune")
        records = sum(self._forget(held) for held in chosen)
        if chosen:
            self._changed()
        return PruneReport(
            processes=len(chosen),
            events=sum(len(held.events) for held in chosen),
            records=records,
            kept_for_wakes=len(due) - len(free),
            more=len(free) > len(chosen),
        )

    def _forget(self, held: HeldProcess) -> int:
        """Leave a tombstone in place of a process; how many journal records went with it."""
        record, processes = held.record, self._processes
        gone = self._scopes.retire(
            RetireProcess(process_id=record.process_id), 2**31, lambda _: False
        )
        self._triggers.forget_process(record.process_id)
        del processes.processes[record.process_id]
        processes.tombstones[record.process_id] = ProcessTombstone(
            process_id=record.process_id,
            status=record.status,
            pruned_at_ms=self._clock.now_ms(),
            change=processes.take_change(record.process_id, record.change),
        )
        return gone.records

    def forget_session(self, session_id: str) -> SessionForgotten:
        """Take a session out of every process, in the transaction that deletes it. Stops nothing."""
        seen = list(self._processes.by_id(lambda held: session_id in held.observers))
        for held in seen:
            held.observers.discard(session_id)
        live = [held for held in seen if not held.record.retired]
        everyone = self._processes.processes.values()
        discarded = sum(held.discard_wakes("target_gone", session_id) for held in everyone)
        woken = list(self._processes.by_id(lambda held: _wakes(held, session_id)))
        self._write_each(woken, RetargetWakes(session_id=None))
        return SessionForgotten(
            removed_observers=len(seen),
            discarded_wakes=discarded,
            cleared_subscriptions=len(woken),
            ended_triggers=self._triggers.forget_session(session_id),
            orphaned=tuple(held.record.process_id for held in live if not held.observers),
            preserved=tuple(held.record.process_id for held in live if held.observers),
        )

    def findings(self) -> Sequence[Finding]:
        """What does not fit together: each log is folded again."""
        everyone = self._processes.by_id(lambda _: True)
        return [finding for held in everyone for finding in check_process(held)]


def _is_due(held: HeldProcess, request: PruneRequest) -> bool:
    record, wanted = held.record, request.filter
    return (
        record.retired
        and record.state.updated_at_ms < request.before_ms
        and (request.through is None or record.change <= request.through)
        and matches(record, wanted, observed=wanted.observed_by in held.observers)
    )


def _wakes(held: HeldProcess, session_id: str) -> bool:
    return held.record.state.wake_session_id == session_id
