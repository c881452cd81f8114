"""What comes into sessions from outside: input for turns and for the queue, and requests to stop."""

import logging
from collections.abc import Coroutine, Sequence
from typing import Protocol

from lash.core.cancel import Cancellation
from lash.core.errors import ConflictError, LashError, StoreError
from lash.core.leases import LeaseClaim
from lash.effects.shielding import shielded
from lash.runtime.agents import AgentRegistry
from lash.runtime.environment import Environment
from lash.runtime.followers import Followers, ItemWaiters, Observer, Ticket
from lash.runtime.following import FollowHost, follow, goes_on_as, taking_turn
from lash.runtime.lane import Lane
from lash.runtime.observing import Observations
from lash.runtime.refusals import (
    behind,
    blocked,
    busy,
    closed,
    deleted,
    enqueue_refused,
    missing_agent,
    provider_differs,
)
from lash.runtime.selfwaits import check_apart, inside_of
from lash.sessions.accepting import (
    Accepted,
    AcceptRequest,
    AcceptResult,
    AgentMismatch,
    AlreadyAccepted,
    AlreadyQueued,
    AttachmentsMissing,
    InputConflict,
    KnownTurn,
    ProviderDiffers,
    SessionBlocked,
    SessionBusy,
    SessionGone,
    needs_person,
)
from lash.sessions.ingress import (
    CancelInputOutcome,
    CancelTarget,
    EnqueueRequest,
    InputCancelled,
    QueuedItem,
    attachments_missing,
)
from lash.sessions.model import (
    AcceptedTurn,
    AgentRef,
    ChildSession,
    RootSession,
    SessionRelation,
    TurnInput,
    TurnRecord,
)
from lash.sessions.queueing import Enqueued, EnqueueRefused
from lash.sessions.stopping import (
    CancelAlreadyRequested,
    CancelOutcome,
    CancelRequest,
    CancelRequested,
    CompletionWonRace,
)
from lash.turn.outcome import AgentFrameSwitch

_log = logging.getLogger("lash.runtime")


class ArrivalsHost(FollowHost, Protocol):
    """What arrivals need of the runtime they come to."""

    environment: Environment
    followers: Followers
    item_waiters: ItemWaiters
    observations: Observations
    lanes: dict[str, Lane]
    closing: bool

    def lane(self, session_id: str) -> Lane:
        """The session's lane, made if there is none."""
        ...

    def claim_request(self) -> LeaseClaim:
        """A claim for a lease, in this owner's name."""
        ...

    def leave_to_others(self, session_id: str) -> None:
        """Look after a session that another process drives."""
        ...

    def rests_now(self, session_id: str) -> bool:
        """Whether a session that failed is left alone for a while."""
        ...

    def stop_turn(self, session_id: str, turn_id: str, cancellation: Cancellation) -> bool:
        """Have a turn that is driven here end as cancelled."""
        ...

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        """Run something in the background."""
        ...


class Arrivals:
    """What reaches one runtime, and who waits for what becomes of it."""

    def __init__(self, engine: ArrivalsHost) -> None:
        self._engine = engine
        self._store = engine.store

    @property
    def agents(self) -> AgentRegistry:
        """The agents that can be asked."""
        return self._engine.agents

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
        await self._check_not_waiting_for_itself(session_id)
        chosen = turn_id if turn_id is not None else self._engine.environment.ids.new("turn")
        request = AcceptRequest(
            session_id=session_id,
            agent=agent,
            turn_id=chosen,
            input=turn_input,
            claim=self._engine.claim_request(),
            source_key=source_key,
            relation=relation,
            provider_id=self._engine.agents.provider_of(agent),
        )
        ticket = Ticket(self._engine.followers, session_id, chosen, self._store.tier, observer)
        # Before the turn can begin, so that nothing of it is missed.
        self._engine.followers.add(ticket)
        try:
            result = await self._engine.lane(session_id).accept(request)
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
            case Accepted() | AlreadyQueued():
                pass  # what is queued is seen to by whoever asked
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
            case AttachmentsMissing(attachment_ids=ids):
                message = attachments_missing(ids)
                raise LashError("attachment_not_found", message, session_id=session_id)
            case SessionBusy(holder=holder):
                raise busy(session_id, holder)
            case SessionBlocked(turn=turn):
                raise blocked(session_id, turn.turn_id, turn.parked)

    def _attach(self, ticket: Ticket, known: KnownTurn) -> None:
        """Make the ticket one for a turn that was accepted before."""
        ticket.leave()
        ticket.turn_id = known.turn_id
        if known.record is not None and goes_on_as(known) is None:
            ticket.settle(known.record)
            return
        ticket.attached = True
        self._engine.followers.add(ticket)
        following = follow(
            self._engine, self._engine.followers, ticket, self._engine.environment.clock
        )
        self._engine.spawn(following, f"lash-follow-{known.turn_id}")

    async def attach(self, session_id: str, turn_id: str, observer: Observer | None) -> Ticket:
        """A ticket for a turn that was accepted before.

        Raises:
            LashError: `turn_unknown`.
        """
        await self._check_not_waiting_for_itself(session_id)
        known = await self._store.find_turn(session_id, turn_id)
        if known is None:
            raise LashError(
                "turn_unknown", f"Session {session_id!r} has no turn {turn_id!r}.", turn_id=turn_id
            )
        ticket = Ticket(self._engine.followers, session_id, turn_id, self._store.tier, observer)
        self._attach(ticket, known)
        return ticket

    # --- the queue ------------------------------------------------------------------------------

    async def enqueue(self, request: EnqueueRequest) -> QueuedItem:
        """Put an item into a session's queue, whoever drives the session, and see to it.

        Raises:
            LashError: `session_unknown`, `turn_unknown`; ConflictError: `turn_input_conflict`,
                `session_agent_mismatch`, `session_deleted`. Nothing was accepted.
        """
        if self._engine.closing:
            raise closed()
        return await shielded(self._enqueue(request))

    async def _enqueue(self, request: EnqueueRequest) -> QueuedItem:
        result = await self._store.enqueue(request)
        if isinstance(result, EnqueueRefused):
            raise enqueue_refused(request.session_id, result)
        item = result.item
        if isinstance(result, Enqueued):
            self._engine.observations.queue_changed(item.session_id, "enqueued", [item.item_id])
        if item.state == "deferred_next_turn":
            await self.see_to(item.session_id)
        return item

    async def see_to(self, session_id: str) -> None:
        """Have a session's work taken up here, unless another process is at it or the agent is not."""
        if self._engine.closing:
            return
        if session_id in self._engine.lanes:
            self._engine.lanes[session_id].recover()
            return
        first = await self._first_turn(session_id)
        if first is not None and needs_person(first):
            return  # trying it again would come to the same
        if await self._engine.held_elsewhere(session_id):
            self._engine.leave_to_others(session_id)
        elif not self._engine.closing:
            self._engine.lane(session_id).recover()

    async def _first_turn(self, session_id: str) -> AcceptedTurn | None:
        """The open turn that comes first in a session."""
        return next(iter(await self._store.list_open_turns(session_id)), None)

    async def cancel_items(
        self, session_id: str, targets: Sequence[CancelTarget]
    ) -> Sequence[CancelInputOutcome]:
        """Take items of a queue back before a turn takes them, and tell observers."""
        outcomes = await shielded(self._store.cancel_items(session_id, targets))
        self._tell_cancelled(session_id, outcomes)
        return outcomes

    async def cancel_items_from(
        self, session_id: str, anchor: CancelTarget
    ) -> Sequence[CancelInputOutcome] | None:
        """Take back an item and all that came after it; None when there is no such item."""
        outcomes = await shielded(self._store.cancel_items_from(session_id, anchor))
        self._tell_cancelled(session_id, outcomes or ())
        return outcomes

    def _tell_cancelled(self, session_id: str, outcomes: Sequence[CancelInputOutcome]) -> None:
        gone = [each.item.item_id for each in outcomes if isinstance(each, InputCancelled)]
        if gone:
            self._engine.observations.queue_changed(session_id, "cancelled", gone)

    async def follow_item(self, session_id: str, item_id: str, observer: Observer | None) -> Ticket:
        """A ticket for the turn that takes an item of the queue, once there is one.

        Raises:
            LashError: `turn_input_cancelled`, `turn_input_unknown`.
        """
        await self._check_not_waiting_for_itself(session_id)
        clock = self._engine.environment.clock
        try:
            with self._engine.item_waiters.listening(session_id) as news:
                turn_id = await taking_turn(
                    self._store, clock, session_id, item_id, news=news, see_to=self._go_on
                )
                return await self.attach(session_id, turn_id, observer)
        except StoreError as error:
            if self._engine.closing:
                raise closed() from error
            raise

    async def _check_not_waiting_for_itself(self, session_id: str) -> None:
        """Refuse to wait from inside a tool for the session it runs in, or for one that waits for it.

        Raises:
            LashError: `session_waits_for_itself`.
        """
        for within in inside_of():
            at: str | None = within
            while at is not None:
                check_apart(at, session_id)
                head = await self._store.load_head(at)
                above = head.relation if head else None
                at = above.parent_session_id if isinstance(above, ChildSession) else None

    async def _go_on(self, session_id: str) -> None:
        """Have a session's work taken up, for somebody who waits for it.

        Raises:
            LashError: The turn that comes first cannot go on here; what was accepted waits behind it.
        """
        first = await self._first_turn(session_id)
        if first is not None and first.cancellation is None:
            if first.parked is not None and needs_person(first):
                raise behind(LashError(first.parked.code, first.parked.message), first.turn_id)
            lacking = self._engine.agents.find(first.agent) is None
            if lacking and not await self._engine.held_elsewhere(session_id):
                raise behind(missing_agent(first.agent, self._engine.agents), first.turn_id)
        if session_id not in self._engine.lanes and not self._engine.rests_now(session_id):
            await self.see_to(session_id)

    # --- stopping -------------------------------------------------------------------------------

    async def request_cancel(self, request: CancelRequest) -> CancelOutcome:
        """Ask a turn to stop, whoever drives it."""
        return await shielded(self._request_cancel(request))

    async def _request_cancel(self, request: CancelRequest) -> CancelOutcome:
        outcome = await self._store.request_cancel(request)
        if isinstance(outcome, CompletionWonRace):
            return CompletionWonRace(record=await self._end_of_chain(outcome.record))
        if isinstance(outcome, CancelRequested | CancelAlreadyRequested):
            known = await self._store.find_turn(request.session_id, outcome.turn_id)
            here = self._engine.stop_turn(request.session_id, outcome.turn_id, outcome.cancellation)
            if not here and known is not None and known.open is not None:
                await self.see_to(request.session_id)
        return outcome

    async def _end_of_chain(self, record: TurnRecord) -> TurnRecord:
        """The turn that finished what a committed turn began, if that handed its task on."""
        while isinstance(record.outcome, AgentFrameSwitch):
            known = await self._store.find_turn(record.session_id, record.turn_id)
            further = goes_on_as(known) if known is not None else None
            following = further and await self._store.find_turn(record.session_id, further)
            if not following or following.record is None:
                break
            record = following.record
        return record

    def cancel_soon(self, request: CancelRequest) -> None:
        """Ask a turn to stop, without waiting for what comes of it."""
        self._engine.spawn(self._cancel_quietly(request), f"lash-cancel-{request.turn_id}")

    async def _cancel_quietly(self, request: CancelRequest) -> None:
        try:
            await self.request_cancel(request)
        except Exception:  # noqa: BLE001  nobody waits for it; the turn comes to its end by itself
            _log.warning("turn %s could not be asked to stop", request.turn_id, exc_info=True)
