"""The engine: accepts input, keeps lanes going, and picks up what nobody drives (ARCHITECTURE D7, D8).

It owns three kinds of task and a reference to each: lanes, the lease keeper and the sweep.
"""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from lash.core.errors import ConflictError, LashError
from lash.core.leases import Busy, Lease, LeaseClaim, LeaseOwner
from lash.runtime.agents import AgentRegistry
from lash.runtime.environment import Environment
from lash.runtime.events import TurnEvent
from lash.runtime.history import Histories
from lash.runtime.lane import Lane, Observer, busy, missing_agent
from lash.sessions.model import AgentRef, Parked, TurnInput, TurnRecord
from lash.sessions.planner import (
    Accepted,
    AcceptRequest,
    AcceptResult,
    AgentMismatch,
    AlreadyAccepted,
    ClaimResult,
    InputConflict,
    OpenSession,
    SessionBlocked,
    SessionBusy,
)
from lash.sessions.store import Store

_log = logging.getLogger("lash.runtime")

#: How a turn that another process drives is followed: rows are the truth, polled ever more slowly.
_FOLLOW_FIRST_S = 0.025
_FOLLOW_MAX_S = 1.0


class Ticket:
    """A claim on the result of one turn. Dropping it does not stop the turn."""

    def __init__(self, session_id: str, turn_id: str, result: "asyncio.Future[TurnRecord]") -> None:
        self.session_id = session_id
        self.turn_id = turn_id
        self._result = result

    async def record(self) -> TurnRecord:
        """The committed turn.

        Raises:
            LashError: The turn cannot be driven here now; it stays accepted.
        """
        return await asyncio.shield(self._result)


class Engine:
    """One runtime's worth of driving over one store."""

    def __init__(self, store: Store, agents: AgentRegistry, environment: Environment) -> None:
        self.store = store
        self.agents = agents
        self.environment = environment
        self.histories = Histories(store)
        self._owner: LeaseOwner | None = None
        self._lanes: dict[str, Lane] = {}
        self._waiting: dict[tuple[str, str], asyncio.Future[TurnRecord]] = {}
        self._observers: dict[tuple[str, str], list[Observer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._closing = False

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Announce this owner and pick up unfinished work in the background."""
        ids = self.environment.ids
        self._owner = self.store.register_owner(ids.new("owner"), ids.new("run"))
        await self.sweep(parked_too=True)
        self._spawn(self._keep_leases(), "lash-lease-keeper")
        self._spawn(self._sweep_slowly(), "lash-sweep")

    async def stop(self) -> None:
        """Stop driving and give every lease back; accepted work stays and resumes elsewhere."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(lane.stop() for lane in list(self._lanes.values())))
        closed = LashError(
            "runtime_closed",
            "The runtime was closed before the turn was committed. The input is kept; the turn "
            "resumes when a runtime opens the store.",
        )
        for future in self._waiting.values():
            if not future.done():
                _fail(future, closed)
        self._waiting.clear()

    def _spawn(self, work: "asyncio._CoroutineLike[None]", name: str) -> None:
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
    ) -> Ticket:
        """Accept input durably and drive it; with an id used before, attach to that turn.

        Raises:
            SessionBusyError: Another live process drives the session; nothing was accepted.
            ConflictError: `turn_input_conflict`, `session_agent_mismatch`.
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
        )
        self.environment.seams("accept.before")
        result = await self._accept(request)
        self.environment.seams("accept.after")
        return self._admit(request, result, observer)

    async def _accept(self, request: AcceptRequest) -> AcceptResult:
        lane = self._lane(request.session_id)
        try:
            result = await lane.accept(request)
            if isinstance(result, SessionBusy) and self.store.is_dead(result.holder.owner):
                # Its process is gone for certain: no need to wait for the lease to run out.
                dead = result.holder.fencing_token
                claim = msgspec.structs.replace(request.claim, presumed_dead=dead)
                result = await lane.accept(msgspec.structs.replace(request, claim=claim))
            return result
        finally:
            self.lane_ended(request.session_id)

    def _admit(
        self,
        request: AcceptRequest,
        result: AcceptResult,
        observer: Observer | None,
    ) -> Ticket:
        """What the caller gets. No await since the accept, so nothing of the turn was missed."""
        session_id = request.session_id
        match result:
            case Accepted():
                return self._ticket(session_id, request.turn_id, observer)
            case AlreadyAccepted(known=known):
                return self._attach(session_id, known.turn_id, known.record, observer)
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
            case SessionBusy(holder=holder):
                raise busy(session_id, holder)
            case SessionBlocked(turn=turn):
                raise _blocked(session_id, turn.turn_id, turn.parked)

    def _attach(
        self, session_id: str, turn_id: str, record: TurnRecord | None, observer: Observer | None
    ) -> Ticket:
        ticket = self._ticket(session_id, turn_id, observer)
        if record is not None:
            self.settled(session_id, turn_id, record)
        else:
            future = self._wait_for(session_id, turn_id)
            self._spawn(self._follow(session_id, turn_id, future), f"lash-follow-{turn_id}")
        return ticket

    def _ticket(self, session_id: str, turn_id: str, observer: Observer | None) -> Ticket:
        if observer is not None:
            self._observers.setdefault((session_id, turn_id), []).append(observer)
        return Ticket(session_id, turn_id, self._wait_for(session_id, turn_id))

    async def _follow(
        self, session_id: str, turn_id: str, future: "asyncio.Future[TurnRecord]"
    ) -> None:
        """Wait for a turn accepted before, driving it here whenever nobody else does."""
        wait = _FOLLOW_FIRST_S
        while not future.done():
            try:
                known = await self.store.find_turn(session_id, turn_id)
                if known is not None and known.record is not None:
                    self.settled(session_id, turn_id, known.record)
                    return
                if known is not None and known.open is not None and known.open.parked is not None:
                    raise _blocked(session_id, turn_id, known.open.parked)
                if not await self._held_elsewhere(session_id):
                    self._lane(session_id).recover()
            except LashError as error:
                self.failed(session_id, [turn_id], error)
                return
            await self.environment.clock.sleep(wait)
            wait = min(wait * 2, _FOLLOW_MAX_S)

    async def _held_elsewhere(self, session_id: str) -> bool:
        held = (await self.store.lease_of(session_id)).held
        return held is not None and self._is_live_stranger(held)

    # --- what lanes need ------------------------------------------------------------------------

    async def claim(self, session_id: str) -> ClaimResult | None:
        """Try to take a session's lease, at once when its holder is proven dead."""
        claimed = await self.store.claim_session(session_id, self._claim_request())
        if isinstance(claimed, Busy) and self.store.is_dead(claimed.holder.owner):
            again = self._claim_request(presumed_dead=claimed.holder.fencing_token)
            claimed = await self.store.claim_session(session_id, again)
        return claimed

    def announce(self, session_id: str, turn_id: str, event: TurnEvent) -> None:
        """Tell the followers of a turn; one that fails is logged and does not disturb the turn."""
        for observer in self._observers.get((session_id, turn_id), ()):
            try:
                observer(event)
            except Exception:  # noqa: BLE001  an observer must not change what it observes
                _log.exception("an observer of turn %s failed", turn_id)

    def settled(self, session_id: str, turn_id: str, record: TurnRecord) -> None:
        """A turn was committed: tell whoever waits for it."""
        self._observers.pop((session_id, turn_id), None)
        future = self._waiting.pop((session_id, turn_id), None)
        if future is not None and not future.done():
            future.set_result(record)

    def failed(self, session_id: str, turn_ids: Sequence[str], error: Exception) -> None:
        """Turns cannot be driven here now: tell whoever waits for them."""
        for turn_id in turn_ids:
            self._observers.pop((session_id, turn_id), None)
            future = self._waiting.pop((session_id, turn_id), None)
            if future is not None and not future.done():
                _fail(future, error)

    def lane_ended(self, session_id: str) -> None:
        """Forget a lane that has nothing more to do."""
        lane = self._lanes.get(session_id)
        if lane is not None and lane.idle:
            del self._lanes[session_id]
        if not self._lanes:
            self._quiet.set()

    def _lane(self, session_id: str) -> Lane:
        if self._closing:
            raise LashError("runtime_closed", "The runtime is closed; open it again to go on.")
        lane = self._lanes.get(session_id)
        if lane is None:
            lane = self._lanes[session_id] = Lane(self, session_id)
            self._quiet.clear()
        return lane

    # --- going on without being asked -----------------------------------------------------------

    async def sweep(self, *, parked_too: bool = False) -> Sequence[OpenSession]:
        """Pick up open turns that nobody drives; returns the sessions that have open turns.

        Parked ones are tried only when a runtime opens: its code may be what they wait for.
        """
        found = await self.store.open_sessions()
        for session in found:
            if self.drivable(session) and (session.parked is None or parked_too):
                self._lane(session.session_id).recover()
        return found

    def drivable(self, session: OpenSession) -> bool:
        """Whether the session's next turn could be driven here now."""
        held = session.lease.held
        if session.session_id in self._lanes or (held and self._is_live_stranger(held)):
            return False
        return self.waits_for_agent(session) is None

    def waits_for_agent(self, session: OpenSession) -> LashError | None:
        """Why the session's next turn waits for another runtime, if it does."""
        ref = session.turns[0].agent
        return missing_agent(ref, self.agents) if self.agents.find(ref) is None else None

    async def idle(self) -> None:
        """Wait until nothing accepted can go on without the outside.

        What other live processes drive is waited for; parked turns and turns whose agent is missing
        here are not.
        """
        wait = _FOLLOW_FIRST_S
        while True:
            await self._quiet.wait()
            found = await self.sweep()
            if not self._lanes:
                if all(session.parked or self.waits_for_agent(session) for session in found):
                    return
                await self.environment.clock.sleep(wait)
                wait = min(wait * 2, _FOLLOW_MAX_S)

    async def _sweep_slowly(self) -> None:
        while True:
            await self.environment.clock.sleep(self.environment.timings.ttl_ms / 1000)
            try:
                await self.sweep()
            except LashError:
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
            except LashError:
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

    def _wait_for(self, session_id: str, turn_id: str) -> "asyncio.Future[TurnRecord]":
        key = (session_id, turn_id)
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
        return future


def _fail(future: "asyncio.Future[TurnRecord]", error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # retrieved: whoever dropped its ticket need not hear of it


def _blocked(session_id: str, turn_id: str, parked: Parked | None) -> LashError:
    code = parked.code if parked else "effect_replay_mismatch"
    reason = parked.message if parked else ""
    return LashError(
        code,
        f"Session {session_id!r} is blocked by turn {turn_id!r}, which needs a person: {reason} "
        "Nothing was accepted.",
        session_id=session_id,
        turn_id=turn_id,
    )
