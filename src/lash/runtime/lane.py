"""A session's lane: holds its lease and drives its accepted turns, one after the other.

A lane exists while this runtime has work to do in a session. It is the only thing that drives, so it
makes no difference whether a turn was accepted just now or left behind by a process that died.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from lash.core.errors import LashError, LeaseLostError, ReplayError, SessionBusyError
from lash.core.leases import Busy, Fence, Lease
from lash.core.scopes import TurnScope, journal_key
from lash.effects.controller import EffectController
from lash.effects.inline import InlineController
from lash.effects.journal import WriteAuthority
from lash.effects.journaling import JournalingController, lease_lost
from lash.effects.shielding import shielded
from lash.runtime.agents import AgentDefinition, AgentRegistry
from lash.runtime.environment import Environment
from lash.runtime.events import TurnEvent
from lash.runtime.history import Histories
from lash.runtime.turn_drive import DriveContext, TurnDrive
from lash.sessions.model import AcceptedTurn, AgentRef, Parked, SessionHead, TurnRecord
from lash.sessions.planner import Accepted, AcceptRequest, AcceptResult, ClaimResult
from lash.sessions.store import Store

_log = logging.getLogger("lash.runtime")

Observer = Callable[[TurnEvent], None]


class LaneHost(Protocol):
    """What a lane needs of the runtime it belongs to."""

    store: Store
    environment: Environment
    agents: AgentRegistry
    histories: Histories

    async def claim(self, session_id: str) -> ClaimResult | None:
        """Try to take a session's lease."""
        ...

    def announce(self, session_id: str, turn_id: str, event: TurnEvent) -> None:
        """Tell whoever follows the turn."""
        ...

    def settled(self, session_id: str, turn_id: str, record: TurnRecord) -> None:
        """A turn was committed."""
        ...

    def failed(self, session_id: str, turn_ids: list[str], error: Exception) -> None:
        """Turns cannot be driven here now; they stay accepted."""
        ...

    def lane_ended(self, session_id: str) -> None:
        """The lane has nothing more to do."""
        ...


class Lane:
    """Drives one session while there is work in it.

    The order of writes matters: a lease is given back only while no accept is under way, and then
    the release is submitted before any later accept, so neither can undo the other.
    """

    def __init__(self, host: LaneHost, session_id: str) -> None:
        self._host = host
        self._session_id = session_id
        self._lease: Lease | None = None
        self._head: SessionHead | None = None
        self._queue: dict[str, AcceptedTurn] = {}
        self._fresh: set[str] = set()
        self._accepting = 0
        self._accepted = asyncio.Event()
        self._drive: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost = False
        self._unsure = False
        self._stopped = False

    @property
    def authority(self) -> WriteAuthority | None:
        """The lease to renew, while one is held."""
        if self._lease is None:
            return None
        return WriteAuthority(session_id=self._session_id, fence=self._lease.fence)

    @property
    def idle(self) -> bool:
        """Whether nothing is being driven or accepted."""
        return self._task is None and not self._accepting

    async def accept(self, request: AcceptRequest) -> AcceptResult:
        """Accept input into the session and, if that takes, drive it.

        A caller that is cancelled meanwhile does not keep accepted input from being driven.
        """
        self._accepting += 1
        try:
            result = await shielded(self._host.store.accept_turn(request))
        except asyncio.CancelledError:
            # Nobody learned whether it was accepted: the lane looks for itself.
            self._unsure = True
            self.recover()
            raise
        else:
            if isinstance(result, Accepted):
                self._take_on(result)
            return result
        finally:
            self._accepting -= 1
            self._accepted.set()

    def recover(self) -> None:
        """Look for open turns in the store and drive them."""
        if self._task is None and not self._stopped:
            self._lost = False
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=f"lash-lane-{self._session_id}"
            )

    def lose(self) -> None:
        """The lease is gone: stop at once and write nothing."""
        self._lost = True
        self._lease = None
        if self._drive is not None:
            self._drive.cancel()

    async def stop(self) -> None:
        """Stop driving and give the lease back; open turns stay accepted."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # --- the loop -------------------------------------------------------------------------------

    def _take_on(self, accepted: Accepted) -> None:
        self._lease = accepted.lease
        if self._head is None or self._head.revision < accepted.head.revision:
            self._head = accepted.head
        for turn in accepted.ahead:
            self._queue.setdefault(turn.turn_id, turn)
        self._queue[accepted.turn.turn_id] = accepted.turn
        self._fresh.add(accepted.turn.turn_id)
        self.recover()

    async def _run(self) -> None:
        try:
            if self._lease is not None or await self._claim():
                await self._drive_all()
        except Exception as error:  # noqa: BLE001  told to everyone who waits, and logged
            await self._fail(error)
        finally:
            # Also when this task is cancelled: others may then go on at once.
            await shielded(self._leave())
            self._task = None
            if self._queue:
                self.recover()  # accepted while the lane was ending
            self._host.lane_ended(self._session_id)

    async def _drive_all(self) -> None:
        while self._queue or self._unsure:
            if self._unsure:
                self._unsure = False
                await self._claim()
            while self._queue:
                turn = min(self._queue.values(), key=lambda item: item.sequence)
                await self._drive_one(turn)
            await self._leave()

    async def _leave(self) -> None:
        """Give the lease back once no accept is under way that may count on it."""
        while self._accepting:
            self._accepted.clear()
            await self._accepted.wait()
        if self._stopped or not (self._queue or self._unsure):
            await self._give_back()

    async def _claim(self) -> bool:
        claimed = await self._host.claim(self._session_id)
        if claimed is None:
            return False
        if isinstance(claimed, Busy):
            raise busy(self._session_id, claimed.holder)
        self._lease, self._head = claimed.lease, claimed.head
        self._queue.update((turn.turn_id, turn) for turn in claimed.turns)
        return True

    async def _drive_one(self, turn: AcceptedTurn) -> None:
        agent = self._agent(turn.agent)
        drive = asyncio.get_running_loop().create_task(
            self._drive_turn(turn, agent), name=f"lash-turn-{turn.turn_id}"
        )
        self._drive = drive
        try:
            await drive
        except asyncio.CancelledError:
            if not self._lost:
                drive.cancel()
                await asyncio.wait([drive])
                raise
            raise lease_lost(self.authority) from None
        finally:
            self._drive = None

    async def _drive_turn(self, turn: AcceptedTurn, agent: AgentDefinition) -> None:
        host, lease, head = self._host, self._lease, self._head
        if lease is None or head is None:
            raise lease_lost(None)
        authority = WriteAuthority(session_id=self._session_id, fence=lease.fence)
        if turn.parked is not None:
            await host.store.park_turn(self._session_id, turn.turn_id, None, lease.fence)
        environment = host.environment
        scope_key = journal_key(TurnScope(session_id=self._session_id, turn_id=turn.turn_id))
        context = DriveContext(
            store=host.store,
            controller=self._controller(turn, scope_key, authority),
            clock=environment.clock,
            announce=lambda event: host.announce(self._session_id, turn.turn_id, event),
            seams=environment.seams,
            authority=authority,
            scope_key=scope_key,
        )
        history = await host.histories.at(head)
        receipt = await TurnDrive(context, agent, turn, history).run()
        self._head = receipt.head
        del self._queue[turn.turn_id]
        self._fresh.discard(turn.turn_id)
        if not receipt.lease_kept:
            self._released(lease.fence)
        host.settled(self._session_id, turn.turn_id, receipt.record)

    def _controller(
        self, turn: AcceptedTurn, scope_key: str, authority: WriteAuthority
    ) -> EffectController:
        host = self._host
        environment = host.environment
        if host.store.tier == "ephemeral":
            return InlineController(environment.clock)
        return JournalingController(
            host.store,
            scope_key,
            lambda: authority,
            environment.clock,
            on_drift=environment.on_drift,
            fresh=turn.turn_id in self._fresh,
            seams=environment.seams,
        )

    def _agent(self, ref: AgentRef) -> AgentDefinition:
        agent = self._host.agents.find(ref)
        if agent is None:
            raise missing_agent(ref, self._host.agents)
        return agent

    # --- ending ---------------------------------------------------------------------------------

    def _released(self, fence: Fence) -> None:
        """The commit gave the lease back, unless input accepted meanwhile took it again."""
        if self._lease is not None and self._lease.fence == fence:
            self._lease = None

    async def _fail(self, error: Exception) -> None:
        """Nothing goes on here now. What was accepted stays accepted."""
        self._host.histories.forget(self._session_id)
        turns = list(self._queue)
        if isinstance(error, LeaseLostError):
            self._lease = None
        elif isinstance(error, ReplayError) and turns:
            await self._park(min(self._queue.values(), key=lambda item: item.sequence), error)
        if not isinstance(error, LashError):
            _log.error("driving session %s failed", self._session_id, exc_info=error)
        self._queue.clear()
        self._host.failed(self._session_id, turns, error)

    async def _park(self, turn: AcceptedTurn, error: ReplayError) -> None:
        """Keep the turn from being tried again and again: it needs a person."""
        if self._lease is None:
            return
        parked = Parked(code=error.code, message=error.message)
        try:
            await self._host.store.park_turn(
                self._session_id, turn.turn_id, parked, self._lease.fence
            )
        except LashError:
            _log.warning("turn %s could not be parked", turn.turn_id, exc_info=True)

    async def _give_back(self) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            await self._host.store.release_lease(self._session_id, lease.fence)
        except LashError:
            # The store is in trouble; the lease runs out by itself.
            _log.warning("the lease of session %s could not be given back", self._session_id)


def busy(session_id: str, holder: Lease) -> SessionBusyError:
    """The error of a session that another live process drives."""
    owner = holder.owner
    return SessionBusyError(
        "session_execution_busy",
        f"Session {session_id!r} is being driven by {owner.owner_id} on {owner.host or 'this host'}; "
        "nothing was accepted. Try again, or send the input to that process.",
        session_id=session_id,
        holder=owner.owner_id,
        host=owner.host,
        incarnation=owner.incarnation,
        expires_at_ms=holder.expires_at_ms,
    )


def missing_agent(ref: AgentRef, agents: AgentRegistry) -> LashError:
    """Why work of an agent that is not registered here has to wait."""
    if ref.name in agents.names:
        return LashError(
            "agent_version_missing",
            f"The turn was accepted by version {ref.version!r} of agent {ref.name!r}, which is not "
            "registered here. It waits; register that version beside the new one until it is done.",
            agent=ref.name,
            version=ref.version,
        )
    return LashError(
        "agent_missing",
        f"The turn belongs to agent {ref.name!r}, which is not registered here. It waits for a "
        "runtime that has the agent.",
        agent=ref.name,
        version=ref.version,
    )
