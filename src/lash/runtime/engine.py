"""The engine: one runtime's lanes, and what they have in common (ARCHITECTURE D7, D8).

What comes from outside enters through `Arrivals`; `Sweep` picks up what nobody drives. The engine owns
every task but the lanes' own: lease keeper, sweep, the watch for requests to stop, and followers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TypeVar

from lash.core.cancel import Cancellation
from lash.core.errors import LashError, SessionBusyError
from lash.core.leases import Busy, Lease, LeaseClaim, LeaseOwner
from lash.effects.hosts import EffectHost, InlineEffectHost, StoreEffectHost
from lash.effects.trigger_commands import TriggerEmission
from lash.processes.model import ProcessParked
from lash.runtime.agents import AgentRegistry
from lash.runtime.arriving import Arrivals
from lash.runtime.attachment_side import AttachmentSide
from lash.runtime.coherence import check_coherence
from lash.runtime.environment import Environment
from lash.runtime.events import (
    ProcessFaultEvent,
    ProcessParkedEvent,
    QueuedInputAccepted,
    TurnEvent,
    TurnParked,
    TurnRestarted,
)
from lash.runtime.followers import Followers, ItemWaiters
from lash.runtime.following import watch_stops
from lash.runtime.history import Histories
from lash.runtime.lane import Lane
from lash.runtime.observing import Observations
from lash.runtime.open_operations import OpenOperations
from lash.runtime.plugins.life import AfterTurns
from lash.runtime.processes.side import ProcessSide
from lash.runtime.processes.worker import ProcessFault
from lash.runtime.refusals import (
    busy,
    closed,
)
from lash.runtime.selfwaits import outside
from lash.runtime.stores import Store
from lash.runtime.sweeping import Sweep
from lash.runtime.triggers.call_side import CallTriggers
from lash.runtime.triggers.router import TriggerRouter
from lash.runtime.triggers.side import TriggerSide
from lash.runtime.turn_drive import TurnProcesses
from lash.sessions.accepting import ClaimedSession
from lash.sessions.committing import CommitReceipt, TurnCommit
from lash.sessions.model import (
    Parked,
    TurnRecord,
)
from lash.tools.triggers import ToolTriggers

T = TypeVar("T")

_log = logging.getLogger("lash.runtime")

#: How long a session that failed is left alone before it is picked up unasked; doubled every time, so
#: that a full disk does not have a model asked again and again for what cannot be kept.
_REST_FIRST_S = 0.1
_REST_MAX_S = 30.0


class Engine:
    """One runtime's worth of driving over one store."""

    def __init__(self, store: Store, agents: AgentRegistry, environment: Environment) -> None:
        self.store = store
        self.agents = agents
        self.environment = environment
        self.effects = environment.host or _host_over(store, environment)
        self.histories = Histories(store)
        self.trigger_side = TriggerSide(self)
        self.operations = OpenOperations(self.effects, store, environment, self.trigger_side)
        self._owner: LeaseOwner | None = None
        self.lanes: dict[str, Lane] = {}
        self.followers = Followers()
        self.item_waiters = ItemWaiters()
        self.rests: dict[str, tuple[float, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._after_turns = AfterTurns(environment.clock)
        self.quiet = asyncio.Event()
        self.quiet.set()
        self._busy = asyncio.Event()
        self._left: set[str] = set()
        self.closing = False
        self.observations = Observations(
            store, environment.clock, environment.ids.new("replay"), drives=self.drives
        )
        self.attachments = AttachmentSide(store, environment, self.claim_request)
        self.arrivals = Arrivals(self)
        self.processes = ProcessSide(self, self.operations, environment.process_engines)
        self.triggers = TriggerRouter(self)
        self.sweep = Sweep(self)

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Announce this owner and pick up unfinished work in the background.

        Parked turns that are tried again are no longer parked when this returns, so that new input
        can be accepted behind them.

        Raises:
            ConfigurationError: `durable_store_required`.
        """
        check_coherence(self.effects.capabilities.tier, self.store.facets)
        ids = self.environment.ids
        self._owner = self.store.register_owner(ids.new("owner"), ids.new("run"))
        found = await self.sweep.once(parked_too=True)
        self.spawn(self._keep_leases(), "lash-lease-keeper")
        self.spawn(self.sweep.slowly(), "lash-sweep")
        self.spawn(self.sweep.watch_owners(), "lash-owner-watch")
        self.spawn(watch_stops(self, self._busy, self.environment.clock), "lash-stop-watch")
        await self.processes.start()
        self.spawn(self.triggers.open(), "lash-trigger-recovery")
        for session in found:
            if session.parked is not None and session.session_id in self.lanes:
                await self.lanes[session.session_id].claimed()

    async def stop(self) -> None:
        """Stop driving and give every lease back; accepted work stays and resumes elsewhere."""
        self.closing = True
        drained = await self.processes.worker.stop()
        for process_id in drained.abandoned:
            said = "It was bound to this worker, which shut down; nobody else may go on with it."
            self.process_fault(ProcessFault(process_id, "drain", "process_abandoned", said))
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(lane.stop() for lane in list(self.lanes.values())))
        await self._after_turns.aclose()
        self.quiet.set()
        self.followers.close(closed())
        await self.observations.aclose()
        await self.effects.aclose()

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        """Run something in the background until it is done or the engine stops."""
        task = asyncio.get_running_loop().create_task(work, name=name, context=outside())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- who is at what -------------------------------------------------------------------------

    def in_use(self, session_id: str) -> bool:
        """Whether anything here is under way in a session, or anybody waits for it."""
        lane = self.lanes.get(session_id)
        awaited = self.followers.any_of(session_id) or self.item_waiters.any_of(session_id)
        return awaited or (lane is not None and lane.at_work)

    def stop_turn(self, session_id: str, turn_id: str, cancellation: Cancellation) -> bool:
        """Have a turn that is driven here end as cancelled; False when it is not driven here."""
        lane = self.lanes.get(session_id)
        return lane is not None and lane.stop_turn(turn_id, cancellation)

    @property
    def driven(self) -> Sequence[str]:
        """The sessions that are being driven here."""
        return tuple(self.lanes)

    def drives(self, session_id: str) -> bool:
        """Whether the session is being driven here."""
        return session_id in self.lanes

    @property
    def tool_processes(self) -> TurnProcesses:
        """Through which tools start processes."""
        return self.processes.calls

    def call_triggers(self, call_key: str, emissions: list[TriggerEmission]) -> ToolTriggers:
        """Through which one tool call emits events."""
        clock = self.environment.clock
        return CallTriggers(self.trigger_side, clock, call_key, emissions)

    def recover(self, session_id: str) -> None:
        """Drive the session's open turns here."""
        self.lane(session_id).recover()

    async def held_elsewhere(self, session_id: str) -> bool:
        """Whether another live process drives the session."""
        held = (await self.store.lease_of(session_id)).held
        return held is not None and self.is_live_stranger(held)

    # --- what lanes need ------------------------------------------------------------------------

    async def claim(self, session_id: str) -> ClaimedSession | None:
        """Take a session's lease, at once when its holder is proven dead; None without a session.

        Raises:
            SessionBusyError: Another live process drives the session.
        """
        return await self.claiming(
            session_id, lambda claim: self.store.claim_session(session_id, claim)
        )

    async def claiming(
        self, session_id: str, attempt: Callable[[LeaseClaim], Awaitable[T | Busy]]
    ) -> T:
        """What an attempt comes to that takes a session's lease, at once when its holder is proven dead.

        Raises:
            SessionBusyError: Another live process drives the session.
        """
        result = await attempt(self.claim_request())
        if isinstance(result, Busy) and self.store.is_dead(result.holder.owner):
            result = await attempt(self.claim_request(result.holder.fencing_token))
        if isinstance(result, Busy):
            raise busy(session_id, result.holder)
        return result

    def announce(self, session_id: str, turn_id: str, event: TurnEvent) -> None:
        """Tell the followers of a turn what happens in it."""
        self.followers.announce(session_id, turn_id, event)
        self.observations.announce(session_id, turn_id, event)
        if isinstance(event, QueuedInputAccepted):
            self.taken(session_id, event.input_ids)

    def taken(self, session_id: str, input_ids: Sequence[str]) -> None:
        """A turn took items of the session's queue."""
        if input_ids:
            self.observations.queue_changed(session_id, "taken", input_ids)
            self.item_waiters.taken(session_id)

    def settled(self, session_id: str, receipt: CommitReceipt, commit: TurnCommit) -> None:
        """A turn was committed: tell whoever waits for it, or for the one that goes on from it."""
        self.rests.pop(session_id, None)
        frame = commit.frame.frame_id if commit.frame else None
        messages = (*commit.messages, *commit.frame_messages)
        self.observations.committed(receipt.record, messages, frame)
        if commit.queued:
            items = [item.item_id for item in commit.queued]
            self.observations.queue_changed(session_id, "enqueued", items)
        agent = self.agents.find(receipt.head.agent)
        is_command = receipt.record.command is not None  # which is no turn to plugins
        if agent is not None and agent.plugins.at("after_turn") and not is_command:
            self._after_turns.tell(agent.plugins, receipt.head, receipt.record)
        following = receipt.following
        if following is not None and following.input.frame_task is not None:
            self.followers.restarted(session_id, commit.turn_id, following.turn_id)
        else:
            self.followers.settled(session_id, commit.turn_id, receipt.record)

    def found(self, session_id: str, turn_id: str, record: TurnRecord) -> None:
        """A turn that was committed elsewhere: tell whoever waits for it here."""
        self.followers.settled(session_id, turn_id, record)

    def failed(self, session_id: str, turn_ids: Sequence[str], error: Exception) -> None:
        """Turns cannot be driven here now: tell whoever waits for them."""
        self._rest(session_id)
        self.followers.failed(session_id, turn_ids, error)
        if turn_ids and "waits_behind" not in getattr(error, "details", {}):
            self.item_waiters.failed(session_id, turn_ids[0], error)
        self.observations.interrupted(session_id, turn_ids)

    def restarted(self, session_id: str, turn_id: str, restarted_as: str, why: str) -> None:
        """A turn was begun again under another id: whoever waits for it waits for that one."""
        event = TurnRestarted(
            session_id=session_id, turn_id=turn_id, restarted_as=restarted_as, message=why
        )
        self.followers.announce(session_id, turn_id, event)
        self.followers.restarted(session_id, turn_id, restarted_as)
        self.environment.tell(event)

    def parked(self, session_id: str, turn_id: str, parked: Parked) -> None:
        """A turn does not go on by itself: tell those who watch."""
        event = TurnParked(
            session_id=session_id,
            turn_id=turn_id,
            code=parked.code,
            message=parked.message,
            waits_for=parked.waits_for,
        )
        self.followers.announce(session_id, turn_id, event)
        self.environment.tell(event)

    def unclaimed(self, session_id: str, error: Exception) -> None:
        """A session could not be claimed. Unless another process drives it, tell who waits."""
        if not isinstance(error, SessionBusyError):
            self._rest(session_id)
            self.followers.unclaimed(session_id, error)

    def leave_to_others(self, session_id: str) -> None:
        """Another process drives a session that was given work here; it is looked after all the same."""
        self._left.add(session_id)
        self._busy.set()

    async def see_to(self, session_id: str) -> None:
        """Have a session's work taken up, here or by whoever drives it."""
        await self.arrivals.see_to(session_id)

    def busy(self) -> None:
        """A process is being run, or looked at."""
        self.quiet.clear()

    def process_parked(self, process_id: str, parked: ProcessParked) -> None:
        """A process does not go on by itself: tell those who watch."""
        self.environment.tell(
            ProcessParkedEvent(
                process_id=process_id,
                code=parked.code,
                message=parked.message,
                waits_for=parked.waits_for,
            )
        )

    def process_fault(self, fault: ProcessFault) -> None:
        """Something went wrong with a process that is none of its own doing."""
        self.environment.tell(
            ProcessFaultEvent(
                process_id=fault.process_id,
                operation=fault.operation,
                code=fault.code,
                message=fault.message,
            )
        )

    async def take_over(self) -> None:
        """Drive what was left to processes that have given it up since.

        A session with nothing left open is not claimed: for that moment others would find it busy.
        """
        free = set()
        for session_id in tuple(self._left):
            if not await self.held_elsewhere(session_id):
                self._left.discard(session_id)
                free.add(session_id)
        if not free:
            return
        try:
            still_open = {session.session_id for session in await self.store.open_sessions()}
        except Exception:
            self._left |= free
            raise
        for session_id in still_open & free if not self.closing else ():
            self.lane(session_id).recover()
        if not self.lanes and not self._left:
            self._busy.clear()

    def rests_now(self, session_id: str) -> bool:
        """Whether a session that failed is left alone for a while."""
        _, until = self.rests.get(session_id, (0.0, 0.0))
        return until > self.environment.clock.monotonic()

    def lane_ended(self, session_id: str) -> None:
        """Forget a lane that has nothing more to do."""
        lane = self.lanes.get(session_id)
        if lane is not None and lane.idle:
            del self.lanes[session_id]
        if not self.lanes and not self._left:
            self._busy.clear()
        self.resting()

    def resting(self) -> None:
        """Wake those who wait for quiet, if nothing driven here can go on without the outside."""
        if not self.closing and self.is_quiet():
            self.quiet.set()

    def is_quiet(self) -> bool:
        """Whether whatever is driven here waits for the outside."""
        lanes = all(lane.waits_for_outside for lane in self.lanes.values())
        return lanes and self.processes.quiet and self.triggers.quiet

    def lane(self, session_id: str) -> Lane:
        """The session's lane, made if there is none.

        Raises:
            LashError: `runtime_closed`.
        """
        if self.closing:
            raise LashError("runtime_closed", "The runtime is closed; open it again to go on.")
        lane = self.lanes.get(session_id)
        if lane is None:
            lane = self.lanes[session_id] = Lane(self, session_id)
            self.quiet.clear()
            self._busy.set()
        return lane

    def _rest(self, session_id: str) -> None:
        """Leave a session that failed alone for a while."""
        length, _ = self.rests.get(session_id, (_REST_FIRST_S / 2, 0.0))
        length = min(length * 2, _REST_MAX_S)
        self.rests[session_id] = (length, self.environment.clock.monotonic() + length)

    # --- going on without being asked -----------------------------------------------------------

    async def _keep_leases(self) -> None:
        """Renew every lease held here, in one transaction; stop the lanes that lost theirs."""
        timings = self.environment.timings
        while True:
            await self.environment.clock.sleep(timings.renew_ms / 1000)
            held = [lane.authority for lane in self.lanes.values()]
            leases = [authority for authority in held if authority is not None]
            try:
                await self.processes.worker.keep_leases()
                lost = await self.store.renew_leases(leases, timings.ttl_ms) if leases else ()
            except Exception:  # noqa: BLE001  the next renewal may come in time
                _log.warning("leases could not be renewed; trying again", exc_info=True)
                continue
            fences = {authority.session_id: authority.fence for authority in leases}
            for session_id in lost:
                lane = self.lanes.get(session_id)
                current = lane.authority if lane else None
                if lane and current and current.fence == fences[session_id]:
                    lane.lose()

    # --- small things ---------------------------------------------------------------------------

    def claim_request(self, presumed_dead: int | None = None) -> LeaseClaim:
        """A claim for a lease, in this owner's name."""
        if self._owner is None:
            raise LashError("runtime_closed", "The runtime is not open; use `async with`.")
        return LeaseClaim(
            owner=self._owner,
            nonce=self.environment.ids.new("lease"),
            ttl_ms=self.environment.timings.ttl_ms,
            presumed_dead=presumed_dead,
        )

    def is_live_stranger(self, held: Lease) -> bool:
        """Whether a lease is another owner's who may be alive."""
        if held.owner == self._owner or held.expires_at_ms <= self.environment.clock.now_ms():
            return False
        return not self.store.is_dead(held.owner)


def _host_over(store: Store, environment: Environment) -> EffectHost:
    """The host that keeps effects in the runtime's own store, or nowhere if that forgets as well."""
    if store.tier == "ephemeral":
        return InlineEffectHost(
            store,
            environment.clock,
            external_completion_keys=environment.process_lifetime_keys,
        )
    return StoreEffectHost(
        store,
        environment.clock,
        tier=store.tier,
        on_drift=environment.on_drift,
        seams=environment.seams,
    )
