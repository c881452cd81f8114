"""The engine: accepts input, keeps lanes going, and picks up what nobody drives (ARCHITECTURE D7, D8).

It owns three kinds of task and a reference to each: lanes, the lease keeper and the sweep.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence

from lash.core.cancel import Cancellation
from lash.core.errors import ConflictError, LashError, SessionBusyError
from lash.core.leases import Busy, Lease, LeaseClaim, LeaseOwner
from lash.core.scopes import TurnScope, journal_key
from lash.effects.hosts import EffectHost, InlineEffectHost, StoreEffectHost
from lash.effects.shielding import shielded
from lash.runtime.agents import AgentRegistry
from lash.runtime.coherence import check_coherence
from lash.runtime.environment import Environment
from lash.runtime.events import TurnEvent, TurnParked, TurnRestarted
from lash.runtime.followers import Followers, Observer, Ticket
from lash.runtime.following import (
    FOLLOW_FIRST_S,
    FOLLOW_MAX_S,
    follow,
    goes_on_as,
    taking_turn,
    watch_stops,
)
from lash.runtime.history import Histories
from lash.runtime.lane import Lane
from lash.runtime.observing import Observations
from lash.runtime.open_operations import OpenOperations
from lash.runtime.refusals import (
    blocked,
    busy,
    closed,
    deleted,
    enqueue_refused,
    missing_agent,
    parked_for,
    provider_differs,
)
from lash.sessions.deleting import Deleted, DeleteReport
from lash.sessions.forking import Forked, ForkRequest
from lash.sessions.ingress import (
    CancelInputOutcome,
    CancelTarget,
    EnqueueRequest,
    InputCancelled,
    QueuedItem,
)
from lash.sessions.model import (
    AgentRef,
    Parked,
    RootSession,
    SessionHead,
    SessionRelation,
    TurnInput,
    TurnRecord,
)
from lash.sessions.planner import (
    Accepted,
    AcceptRequest,
    AcceptResult,
    AgentMismatch,
    AlreadyAccepted,
    AlreadyQueued,
    ClaimedSession,
    CommitReceipt,
    InputConflict,
    KnownTurn,
    OpenSession,
    ProviderDiffers,
    SessionBlocked,
    SessionBusy,
    SessionGone,
    TurnCommit,
    waits_for_person,
)
from lash.sessions.queueing import Enqueued, EnqueueRefused
from lash.sessions.stopping import (
    CancelAlreadyRequested,
    CancelOutcome,
    CancelRequest,
    CancelRequested,
)
from lash.sessions.store import Store

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
        self.operations = OpenOperations(self.effects, store, environment)
        self._owner: LeaseOwner | None = None
        self._lanes: dict[str, Lane] = {}
        self._followers = Followers()
        self._rests: dict[str, tuple[float, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._busy = asyncio.Event()
        self._closing = False
        self.observations = Observations(
            store, environment.clock, environment.ids.new("replay"), drives=self.drives
        )

    def in_use(self, session_id: str) -> bool:
        """Whether anything here is under way in a session, or anybody waits for it."""
        return session_id in self._lanes or self._followers.any_of(session_id)

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
        found = await self.sweep(parked_too=True)
        self._spawn(self._keep_leases(), "lash-lease-keeper")
        self._spawn(self._sweep_slowly(), "lash-sweep")
        self._spawn(watch_stops(self, self._busy, self.environment.clock), "lash-stop-watch")
        for session in found:
            if session.parked is not None and session.session_id in self._lanes:
                await self._lanes[session.session_id].claimed()

    async def stop(self) -> None:
        """Stop driving and give every lease back; accepted work stays and resumes elsewhere."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(lane.stop() for lane in list(self._lanes.values())))
        self._followers.close(closed())
        await self.observations.aclose()
        await self.effects.aclose()

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- accepting ------------------------------------------------------------------------------

    async def submit(
        self,
        session_id: str,
        agent: AgentRef,
        turn_input: TurnInput,
        *,
        turn_id: str | None = None,
        source_key: str | None = None,
        observer: Observer | None = None,
        relation: SessionRelation = RootSession(),  # noqa: B008  a value
    ) -> Ticket:
        """Accept input durably and drive it; with an id used before, attach to that turn.

        Raises:
            SessionBusyError: Another live process drives the session; nothing was accepted.
            ConflictError: `turn_input_conflict`, `session_agent_mismatch`, `session_deleted`,
                `provider_mismatch`.
            LashError: The session's parked turn, by its code.
            StoreError: The store did not take it; nothing was accepted.
        """
        chosen = turn_id if turn_id is not None else self.environment.ids.new("turn")
        request = AcceptRequest(
            session_id=session_id,
            agent=agent,
            turn_id=chosen,
            input=turn_input,
            claim=self._claim_request(),
            source_key=source_key,
            relation=relation,
            provider_id=self.agents.provider_of(agent),
        )
        ticket = Ticket(self._followers, session_id, chosen, self.store.tier, observer)
        self._followers.add(ticket)  # before the turn can begin, so that nothing of it is missed
        try:
            result = await self._lane(session_id).accept(request)
            if isinstance(result, AlreadyQueued):
                ticket.leave()
                return await self.follow_item(session_id, result.item.item_id, observer)
            self._admit(request, result, ticket)
        except BaseException:
            ticket.leave()
            raise
        return ticket

    def _admit(self, request: AcceptRequest, result: AcceptResult, ticket: Ticket) -> None:
        session_id = request.session_id
        match result:
            case Accepted():
                pass
            case AlreadyAccepted(known=known):
                self._attach(ticket, known)
            case InputConflict(turn_id=turn_id, by=by):
                name = "turn id" if by == "turn_id" else "source key"
                raise ConflictError(
                    "turn_input_conflict",
                    f"That {name} was used before for turn {turn_id!r} of session {session_id!r} "
                    "with other content; nothing was accepted. Use a new one for new input.",
                    session_id=session_id,
                    turn_id=turn_id,
                )
            case AgentMismatch(agent=agent):
                raise ConflictError(
                    "session_agent_mismatch",
                    f"Session {session_id!r} belongs to agent {agent.name!r}, not "
                    f"{request.agent.name!r}; nothing was accepted. Use another session id.",
                    session_id=session_id,
                    agent=agent.name,
                )
            case ProviderDiffers(recorded=recorded):
                raise provider_differs(session_id, recorded, request.provider_id or "")
            case SessionGone():
                raise deleted(session_id)
            case SessionBusy(holder=holder):
                raise busy(session_id, holder)
            case SessionBlocked(turn=turn):
                raise blocked(session_id, turn.turn_id, turn.parked)
            case AlreadyQueued():
                pass  # seen to by whoever asked

    def _attach(self, ticket: Ticket, known: KnownTurn) -> None:
        """Make the ticket one for a turn that was accepted before."""
        ticket.leave()
        ticket.turn_id = known.turn_id
        if known.record is not None and goes_on_as(known) is None:
            ticket.settle(known.record)
            return
        ticket.attached = True
        self._followers.add(ticket)
        following = follow(self, self._followers, ticket, self.environment.clock)
        self._spawn(following, f"lash-follow-{known.turn_id}")

    async def attach(self, session_id: str, turn_id: str, observer: Observer | None) -> Ticket:
        """A ticket for a turn that was accepted before.

        Raises:
            LashError: `turn_unknown`.
        """
        known = await self.store.find_turn(session_id, turn_id)
        if known is None:
            raise LashError(
                "turn_unknown", f"Session {session_id!r} has no turn {turn_id!r}.", turn_id=turn_id
            )
        ticket = Ticket(self._followers, session_id, turn_id, self.store.tier, observer)
        self._attach(ticket, known)
        return ticket

    # --- the queue ------------------------------------------------------------------------------

    async def enqueue(self, request: EnqueueRequest) -> QueuedItem:
        """Put an item into a session's queue, whoever drives the session, and see to it.

        Raises:
            LashError: `session_unknown`, `turn_unknown`; ConflictError: `turn_input_conflict`,
                `session_agent_mismatch`, `session_deleted`. Nothing was accepted.
        """
        if self._closing:
            raise closed()
        return await shielded(self._enqueue(request))

    async def _enqueue(self, request: EnqueueRequest) -> QueuedItem:
        result = await self.store.enqueue(request)
        if isinstance(result, EnqueueRefused):
            raise enqueue_refused(request.session_id, result)
        item = result.item
        if isinstance(result, Enqueued):
            self.observations.queue_changed(item.session_id, "enqueued", [item.item_id])
        if item.state == "deferred_next_turn":
            await self._see_to(item.session_id)
        return item

    async def _see_to(self, session_id: str) -> None:
        """Have a session's work taken up here, unless another process is at it or the agent is not."""
        if self._closing:
            return
        if session_id in self._lanes:
            self._lanes[session_id].recover()
        elif not await self.held_elsewhere(session_id) and not self._closing:
            self._lane(session_id).recover()

    async def cancel_items(
        self, session_id: str, targets: Sequence[CancelTarget]
    ) -> Sequence[CancelInputOutcome]:
        """Take items of a queue back before a turn takes them, and tell observers."""
        outcomes = await shielded(self.store.cancel_items(session_id, targets))
        self._tell_cancelled(session_id, outcomes)
        return outcomes

    async def cancel_items_from(
        self, session_id: str, anchor: CancelTarget
    ) -> Sequence[CancelInputOutcome] | None:
        """Take back an item and all that came after it; None when there is no such item."""
        outcomes = await shielded(self.store.cancel_items_from(session_id, anchor))
        self._tell_cancelled(session_id, outcomes or ())
        return outcomes

    def _tell_cancelled(self, session_id: str, outcomes: Sequence[CancelInputOutcome]) -> None:
        gone = [each.item.item_id for each in outcomes if isinstance(each, InputCancelled)]
        if gone:
            self.observations.queue_changed(session_id, "cancelled", gone)

    async def follow_item(self, session_id: str, item_id: str, observer: Observer | None) -> Ticket:
        """A ticket for the turn that takes an item of the queue, once there is one.

        Raises:
            LashError: `turn_input_cancelled`, `turn_input_unknown`.
        """
        clock = self.environment.clock
        turn_id = await taking_turn(self.store, clock, session_id, item_id, self._see_to)
        return await self.attach(session_id, turn_id, observer)

    # --- beginning and ending sessions ----------------------------------------------------------

    async def fork(self, request: ForkRequest) -> SessionHead:
        """A new session that shares the history of another one.

        Raises:
            ConflictError: `fork_session_exists`, `session_deleted`.
            LashError: `session_unknown`, `fork_point_not_retained`, `fork_point_invalid`.
        """
        result = await shielded(self.store.fork_session(request))
        if isinstance(result, Forked):
            return result.head
        conflict = result.code in {"fork_session_exists", "session_deleted"}
        kind = ConflictError if conflict else LashError
        raise kind(result.code, result.message, session_id=request.new_id)

    async def delete(self, session_id: str) -> DeleteReport | None:
        """Remove a session for ever; None when there is nothing to remove.

        Raises:
            SessionBusyError: Another live process drives the session.
            LashError: `session_still_in_use`: it is driven here.
        """
        if self.in_use(session_id):
            raise LashError(
                "session_still_in_use",
                f"Session {session_id!r} cannot be deleted: a turn of it is under way. Stop the turn, "
                "or wait for its end. Nothing was changed.",
                session_id=session_id,
            )
        return await shielded(self._delete(session_id))

    async def _delete(self, session_id: str) -> DeleteReport | None:
        result = await self.store.delete_session(session_id, self._claim_request())
        if isinstance(result, Busy) and self.store.is_dead(result.holder.owner):
            again = self._claim_request(presumed_dead=result.holder.fencing_token)
            result = await self.store.delete_session(session_id, again)
        if isinstance(result, Busy):
            raise busy(session_id, result.holder)
        if not isinstance(result, Deleted):
            return None
        self.histories.forget(session_id)
        self.observations.deleted(session_id)
        # The rows are gone already; who waits for them here is told.
        await self.effects.revoke_await_events_for_session(session_id)
        return result.report

    # --- stopping -------------------------------------------------------------------------------

    async def request_cancel(self, request: CancelRequest) -> CancelOutcome:
        """Ask a turn to stop, whoever drives it."""
        return await shielded(self._request_cancel(request))

    async def _request_cancel(self, request: CancelRequest) -> CancelOutcome:
        outcome = await self.store.request_cancel(request)
        if isinstance(outcome, CancelRequested | CancelAlreadyRequested):
            known = await self.store.find_turn(request.session_id, outcome.turn_id)
            here = self.stop_turn(request.session_id, outcome.turn_id, outcome.cancellation)
            if not here and known is not None and known.open is not None:
                await self._see_to(request.session_id)
        return outcome

    def cancel_soon(self, request: CancelRequest) -> None:
        """Ask a turn to stop, without waiting for what comes of it."""
        self._spawn(self._cancel_quietly(request), f"lash-cancel-{request.turn_id}")

    async def _cancel_quietly(self, request: CancelRequest) -> None:
        try:
            await self.request_cancel(request)
        except Exception:  # noqa: BLE001  nobody waits for it; the turn comes to its end by itself
            _log.warning("turn %s could not be asked to stop", request.turn_id, exc_info=True)

    def stop_turn(self, session_id: str, turn_id: str, cancellation: Cancellation) -> bool:
        """Have a turn that is driven here end as cancelled; False when it is not driven here."""
        lane = self._lanes.get(session_id)
        return lane is not None and lane.stop_turn(turn_id, cancellation)

    @property
    def driven(self) -> Sequence[str]:
        """The sessions that are being driven here."""
        return tuple(self._lanes)

    def drives(self, session_id: str) -> bool:
        """Whether the session is being driven here."""
        return session_id in self._lanes

    def recover(self, session_id: str) -> None:
        """Drive the session's open turns here."""
        self._lane(session_id).recover()

    async def held_elsewhere(self, session_id: str) -> bool:
        """Whether another live process drives the session."""
        held = (await self.store.lease_of(session_id)).held
        return held is not None and self._is_live_stranger(held)

    # --- what lanes need ------------------------------------------------------------------------

    async def claim(self, session_id: str) -> ClaimedSession | None:
        """Take a session's lease, at once when its holder is proven dead; None without a session.

        Raises:
            SessionBusyError: Another live process drives the session.
        """
        claimed = await self.store.claim_session(session_id, self._claim_request())
        if isinstance(claimed, Busy) and self.store.is_dead(claimed.holder.owner):
            again = self._claim_request(presumed_dead=claimed.holder.fencing_token)
            claimed = await self.store.claim_session(session_id, again)
        if isinstance(claimed, Busy):
            raise busy(session_id, claimed.holder)
        return claimed

    def announce(self, session_id: str, turn_id: str, event: TurnEvent) -> None:
        """Tell the followers of a turn what happens in it."""
        self._followers.announce(session_id, turn_id, event)
        self.observations.announce(session_id, turn_id, event)

    def settled(self, session_id: str, receipt: CommitReceipt, commit: TurnCommit) -> None:
        """A turn was committed: tell whoever waits for it, or for the one that goes on from it."""
        self._rests.pop(session_id, None)
        frame = commit.frame.frame_id if commit.frame else None
        messages = (*commit.messages, *commit.frame_messages)
        self.observations.committed(receipt.record, messages, frame)
        following = receipt.following
        if following is not None and following.input.frame_task is not None:
            self._followers.restarted(session_id, commit.turn_id, following.turn_id)
        else:
            self._followers.settled(session_id, commit.turn_id, receipt.record)

    def found(self, session_id: str, turn_id: str, record: TurnRecord) -> None:
        """A turn that was committed elsewhere: tell whoever waits for it here."""
        self._followers.settled(session_id, turn_id, record)

    def failed(self, session_id: str, turn_ids: Sequence[str], error: Exception) -> None:
        """Turns cannot be driven here now: tell whoever waits for them."""
        self._rest(session_id)
        self._followers.failed(session_id, turn_ids, error)
        self.observations.interrupted(session_id, turn_ids)

    def restarted(self, session_id: str, turn_id: str, restarted_as: str, why: str) -> None:
        """A turn was begun again under another id: whoever waits for it waits for that one."""
        event = TurnRestarted(
            session_id=session_id, turn_id=turn_id, restarted_as=restarted_as, message=why
        )
        self._followers.announce(session_id, turn_id, event)
        self._followers.restarted(session_id, turn_id, restarted_as)
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
        self._followers.announce(session_id, turn_id, event)
        self.environment.tell(event)

    def unclaimed(self, session_id: str, error: Exception) -> None:
        """A session could not be claimed. Unless another process drives it, tell who waits."""
        if not isinstance(error, SessionBusyError):
            self._rest(session_id)
            self._followers.unclaimed(session_id, error)

    def lane_ended(self, session_id: str) -> None:
        """Forget a lane that has nothing more to do."""
        lane = self._lanes.get(session_id)
        if lane is not None and lane.idle:
            del self._lanes[session_id]
        if not self._lanes:
            self._busy.clear()
        self.resting()

    def resting(self) -> None:
        """Wake those who wait for quiet, if nothing driven here can go on without the outside."""
        if self._is_quiet():
            self._quiet.set()

    def _is_quiet(self) -> bool:
        return all(lane.waits_for_outside for lane in self._lanes.values())

    def _lane(self, session_id: str) -> Lane:
        if self._closing:
            raise LashError("runtime_closed", "The runtime is closed; open it again to go on.")
        lane = self._lanes.get(session_id)
        if lane is None:
            lane = self._lanes[session_id] = Lane(self, session_id)
            self._quiet.clear()
            self._busy.set()
        return lane

    def _rest(self, session_id: str) -> None:
        """Leave a session that failed alone for a while."""
        length, _ = self._rests.get(session_id, (_REST_FIRST_S / 2, 0.0))
        length = min(length * 2, _REST_MAX_S)
        self._rests[session_id] = (length, self.environment.clock.monotonic() + length)

    # --- going on without being asked -----------------------------------------------------------

    async def sweep(self, *, parked_too: bool = False) -> Sequence[OpenSession]:
        """Pick up open turns that nobody drives; returns the sessions that have open turns.

        Parked ones are tried only when a runtime opens: its code may be what they wait for.
        """
        found = await self.store.open_sessions()
        for session in found:
            if self.drivable(session) and (parked_too or not waits_for_person(session)):
                self._lane(session.session_id).recover()
            else:
                await self._note_waiting(session)
        return found

    async def _note_waiting(self, session: OpenSession) -> None:
        """Keep with a turn that its agent is missing here, unless somebody drives it or said so."""
        error = self.waits_for_agent(session)
        if error is None or not session.turns or session.session_id in self._lanes:
            return
        turn = session.turns[0]
        if turn.parked is not None:
            return
        parked = parked_for(error)
        if await self.store.note_waiting(session.session_id, turn.turn_id, parked):
            _log.warning("session %s waits: %s", session.session_id, error)
            self.parked(session.session_id, turn.turn_id, parked)

    def drivable(self, session: OpenSession) -> bool:
        """Whether the session's next turn could be driven here now."""
        held = session.lease.held
        if session.session_id in self._lanes or (held and self._is_live_stranger(held)):
            return False
        _, rests_until = self._rests.get(session.session_id, (0.0, 0.0))
        if rests_until > self.environment.clock.monotonic():
            return False
        return self.waits_for_agent(session) is None

    def waits_for_agent(self, session: OpenSession) -> LashError | None:
        """Why the session's next turn waits for another runtime, if it does."""
        if session.turns and session.turns[0].cancellation is not None:
            return None  # it only has to end
        ref = session.agent
        return missing_agent(ref, self.agents) if self.agents.find(ref) is None else None

    async def idle(self) -> None:
        """Wait until nothing accepted can go on without the outside.

        What other live processes drive is waited for; parked turns and turns whose agent is missing
        here are not.
        """
        wait = FOLLOW_FIRST_S
        while True:
            await self._quiet.wait()
            found = await self.sweep()
            if not self._is_quiet():
                self._quiet.clear()  # set again by the last lane that ends, or begins to wait
                continue
            resting = [await self._rests_elsewhere(session) for session in found]
            if all(resting) and self._is_quiet():
                return
            await self.environment.clock.sleep(wait)
            wait = min(wait * 2, FOLLOW_MAX_S)

    async def _rests_elsewhere(self, session: OpenSession) -> bool:
        """Whether a session with open turns can only be carried on by the outside."""
        if session.session_id in self._lanes:
            return True  # and it waits, or it would not be quiet here
        if waits_for_person(session) or self.waits_for_agent(session) is not None:
            return True
        if session.lease.held is None or not self._is_live_stranger(session.lease.held):
            return False
        if not session.turns:
            return False
        scope = TurnScope(session_id=session.session_id, turn_id=session.turns[0].turn_id)
        waits = await self.store.list_waits(journal_key(scope))
        return any(row.resolution is None for row in waits)

    async def _sweep_slowly(self) -> None:
        while True:
            await self.environment.clock.sleep(self.environment.timings.ttl_ms / 1000)
            self.observations.replay.sweep()
            try:
                await self.sweep()
            except Exception:  # noqa: BLE001  the next one may find the store again
                _log.warning("the sweep could not read the store", exc_info=True)

    async def _keep_leases(self) -> None:
        """Renew every lease held here, in one transaction; stop the lanes that lost theirs."""
        timings = self.environment.timings
        while True:
            await self.environment.clock.sleep(timings.renew_ms / 1000)
            held = [lane.authority for lane in self._lanes.values()]
            leases = [authority for authority in held if authority is not None]
            if not leases:
                continue
            try:
                lost = await self.store.renew_leases(leases, timings.ttl_ms)
            except Exception:  # noqa: BLE001  the next renewal may come in time
                _log.warning("leases could not be renewed; trying again", exc_info=True)
                continue
            fences = {authority.session_id: authority.fence for authority in leases}
            for session_id in lost:
                lane = self._lanes.get(session_id)
                current = lane.authority if lane else None
                if lane and current and current.fence == fences[session_id]:
                    lane.lose()

    # --- small things ---------------------------------------------------------------------------

    def _claim_request(self, presumed_dead: int | None = None) -> LeaseClaim:
        if self._owner is None:
            raise LashError("runtime_closed", "The runtime is not open; use `async with`.")
        return LeaseClaim(
            owner=self._owner,
            nonce=self.environment.ids.new("lease"),
            ttl_ms=self.environment.timings.ttl_ms,
            presumed_dead=presumed_dead,
        )

    def _is_live_stranger(self, held: Lease) -> bool:
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
