"""A session's lane: holds its lease and drives its accepted turns, one after the other.

A lane exists while this runtime has work to do in a session. It is the only thing that drives, so it
makes no difference whether a turn was accepted just now or left behind by a process that died.

1. A lease is given back only while no accept is under way, and the release is submitted before any
   later accept, so neither can undo the other.
2. Whatever an accept answers is taken on in one step with the answer, also when its caller is gone.
3. The lane's task ends only in the same step in which it found nothing queued, accepting or held.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Protocol

import msgspec

from lash.core.cancel import Cancellation, CancelToken
from lash.core.errors import LashError, LeaseLostError, ReplayError, SessionBusyError
from lash.core.leases import Fence, Lease
from lash.core.scopes import TurnScope, journal_key
from lash.effects.controller import EffectController
from lash.effects.hosts import EffectHost
from lash.effects.journal import WriteAuthority
from lash.effects.journaling import lease_lost
from lash.effects.shielding import shielded
from lash.effects.trigger_commands import TriggerEmission
from lash.runtime.agents import AgentDefinition, AgentRegistry, default_model
from lash.runtime.attachment_side import AttachmentSide
from lash.runtime.cancelling import being_cancelled
from lash.runtime.children import ChildrenHost
from lash.runtime.environment import Environment
from lash.runtime.events import TurnCancelRequested, TurnEvent
from lash.runtime.history import Histories
from lash.runtime.refusals import behind, interrupted, missing_agent, parked_for, parks, torn_down
from lash.runtime.selfwaits import outside
from lash.runtime.stopping import trip
from lash.runtime.stores import Store
from lash.runtime.turn_drive import DriveContext, TurnDrive, TurnProcesses, commit_undriven
from lash.sessions.accepting import (
    Accepted,
    AcceptRequest,
    AcceptResult,
    ClaimedSession,
    SessionBusy,
)
from lash.sessions.committing import CommitReceipt, TurnCommit
from lash.sessions.model import AcceptedTurn, Parked, SessionHead
from lash.tools.triggers import ToolTriggers

_log = logging.getLogger("lash.runtime")


class LaneHost(Protocol):
    """What a lane needs of the runtime it belongs to."""

    store: Store
    effects: EffectHost
    environment: Environment
    agents: AgentRegistry
    histories: Histories
    attachments: AttachmentSide

    @property
    def arrivals(self) -> ChildrenHost:
        """Through which tools begin child sessions."""
        ...

    @property
    def tool_processes(self) -> TurnProcesses:
        """Through which tools start processes."""
        ...

    def call_triggers(self, call_key: str, emissions: list[TriggerEmission]) -> ToolTriggers:
        """Through which one tool call emits events."""
        ...

    async def claim(self, session_id: str) -> ClaimedSession | None:
        """Take a session's lease; raises `SessionBusyError` when another live process has it."""
        ...

    def announce(self, session_id: str, turn_id: str, event: TurnEvent) -> None:
        """Tell whoever follows the turn."""
        ...

    def taken(self, session_id: str, input_ids: Sequence[str]) -> None:
        """A turn took items of the session's queue."""
        ...

    def settled(self, session_id: str, receipt: CommitReceipt, commit: TurnCommit) -> None:
        """A turn was committed."""
        ...

    def failed(self, session_id: str, turn_ids: Sequence[str], error: Exception) -> None:
        """Turns cannot be driven here now; they stay accepted."""
        ...

    def restarted(self, session_id: str, turn_id: str, restarted_as: str, why: str) -> None:
        """A turn was begun again from its input under another id."""
        ...

    def parked(self, session_id: str, turn_id: str, parked: Parked) -> None:
        """A turn does not go on by itself, and the store says so."""
        ...

    def unclaimed(self, session_id: str, error: Exception) -> None:
        """The session's lease could not be taken, so nothing of it is driven here."""
        ...

    def resting(self) -> None:
        """What is being driven waits for the outside now."""
        ...

    def lane_ended(self, session_id: str) -> None:
        """The lane may have nothing more to do."""
        ...


class Lane:
    """Drives one session while there is work in it."""

    def __init__(self, host: LaneHost, session_id: str) -> None:
        self._host = host
        self._session_id = session_id
        self._lease: Lease | None = None
        self._last: Lease | None = None
        self._head: SessionHead | None = None
        self._queue: dict[str, AcceptedTurn] = {}
        # Turns that were committed here lately: what was read before their commit may name them still.
        self._done: deque[str] = deque(maxlen=256)
        self._accepted_seen = 0
        self._nudged = False
        self._looking = False
        self._cancel = CancelToken()
        # Turns accepted here and never driven yet, with the fence of their acceptance: while that is
        # still the lease's, nobody can have recorded anything for them.
        self._fresh: dict[str, Fence] = {}
        self._accepting = 0
        self._accepted = asyncio.Event()
        self._claimed = asyncio.Event()
        self._failures: list[tuple[list[str], Exception]] = []
        self._driven: str | None = None
        self._controller: EffectController | None = None
        self._drive: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._lost = False
        self._stopped = False

    @property
    def authority(self) -> WriteAuthority | None:
        """The lease to renew, while one is held."""
        return None if self._lease is None else self._authority(self._lease)

    @property
    def idle(self) -> bool:
        """Whether nothing is being driven or accepted."""
        return self._task is None and not self._accepting

    @property
    def at_work(self) -> bool:
        """Whether a turn is being driven or waits to be, or input is being accepted."""
        return bool(self._queue or self._accepting or self._nudged or self._looking)

    @property
    def waits_for_outside(self) -> bool:
        """Whether the turn being driven can only be carried on by an answer from outside."""
        return self._controller is not None and self._controller.parked and not self._accepting

    async def accept(self, request: AcceptRequest) -> AcceptResult:
        """Accept input into the session and, if that takes, drive it.

        Runs to its end although the caller is cancelled meanwhile: input that the store took is
        driven.
        """
        self._accepting += 1
        return await shielded(self._accept(request))

    def recover(self) -> None:
        """Look for open turns in the store and drive them."""
        self._nudged = True
        self._drive_on()

    def _drive_on(self) -> None:
        if self._task is None and not self._stopped:
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=f"lash-lane-{self._session_id}", context=outside()
            )

    def stop_turn(self, turn_id: str, cancellation: Cancellation) -> bool:
        """Have a turn end as cancelled; False when it is not this lane's to drive."""
        turn = self._queue.get(turn_id)
        if turn is None:
            return False
        self._queue[turn_id] = msgspec.structs.replace(turn, cancellation=cancellation)
        if turn_id == self._driven and trip(self._cancel, cancellation):
            event = TurnCancelRequested(cancellation=cancellation)
            self._host.announce(self._session_id, turn_id, event)
        return True

    async def claimed(self) -> None:
        """Wait until the lane holds the session, or has found that it cannot."""
        await self._claimed.wait()

    def lose(self) -> None:
        """The lease is gone: stop at once and write nothing."""
        self._lease = None
        if self._drive is not None:
            self._lost = True
            self._drive.cancel()

    async def stop(self) -> None:
        """Stop driving and give the lease back; open turns stay accepted."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._settle_accepts()
        await self._give_back()

    # --- taking on ------------------------------------------------------------------------------

    async def _accept(self, request: AcceptRequest) -> AcceptResult:
        store, seams = self._host.store, self._host.environment.seams
        try:
            seams("accept.before")
            result = await store.accept_turn(request)
            if isinstance(result, SessionBusy) and store.is_dead(result.holder.owner):
                # Its process is gone for certain: no need to wait for the lease to run out.
                dead = result.holder.fencing_token
                claim = msgspec.structs.replace(request.claim, presumed_dead=dead)
                result = await store.accept_turn(msgspec.structs.replace(request, claim=claim))
            seams("accept.after")
            if isinstance(result, Accepted):
                self._take_on(result)
            return result
        finally:
            self._accepting -= 1
            self._accepted.set()
            self._host.lane_ended(self._session_id)

    def _take_on(self, accepted: Accepted) -> None:
        self._hold(accepted.lease, accepted.head, (*accepted.ahead, accepted.turn))
        self._fresh[accepted.turn.turn_id] = accepted.lease.fence
        self._accepted_seen = max(self._accepted_seen, accepted.turn.sequence)
        self._drive_on()

    def _hold(self, lease: Lease, head: SessionHead, turns: Sequence[AcceptedTurn]) -> None:
        """Hold a lease, and queue the turns that were open when it was given."""
        if self._lease is None or self._lease.fence != lease.fence:
            # A new lease: somebody else may have driven under another one meanwhile.
            self._forget_queue(keep={turn.turn_id for turn in turns})
        self._lease = self._last = lease
        if self._head is None or self._head.revision < head.revision:
            self._head = head
        for turn in turns:
            if turn.turn_id not in self._done:
                self._queue.setdefault(turn.turn_id, turn)

    def _forget_queue(self, keep: set[str]) -> None:
        """Drop what is not open any more; what is being driven hears of it from its drive."""
        gone = [turn_id for turn_id in self._queue if turn_id not in keep]
        told = [turn_id for turn_id in gone if turn_id != self._driven]
        for turn_id in gone:
            del self._queue[turn_id]
        if told:
            self._host.failed(self._session_id, told, self._lease_lost())

    # --- the loop -------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            if self._lease is None:
                await self._look()
            self._claimed.set()
            while True:
                if not self._queue and self._nudged:
                    await self._look()  # what arrived behind the last look
                    continue
                if not self._queue and not self._accepting and self._lease is not None:
                    await self._give_back(self._accepted_seen)
                    continue
                self._tell_failures()  # with the lease given back first, if nothing else needs it
                if self._queue:
                    await self._guarded(self._drive_next())
                elif self._accepting:
                    await self._settle_accepts()
                else:
                    return
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                # Something tears this task down that is no error of ours: let it, but not in silence.
                self._host.failed(self._session_id, list(self._queue), torn_down(error))
                self._queue.clear()
            raise
        finally:
            self._claimed.set()
            try:
                if self._lease is not None:  # cancelled: others may go on at once
                    await shielded(self._give_back())
            finally:
                self._task = None
                self._tell_failures()
                self._host.lane_ended(self._session_id)

    async def _look(self) -> None:
        self._nudged, self._looking = False, True
        try:
            await self._guarded(self._claim())
        finally:
            self._looking = False

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001  told to everyone who waits, and logged
            await self._fail(error)

    async def _settle_accepts(self) -> None:
        while self._accepting:
            self._accepted.clear()
            await self._accepted.wait()

    async def _claim(self) -> None:
        try:
            claimed = await self._host.claim(self._session_id)
        except Exception as error:
            if self._lease is not None:
                return  # input accepted meanwhile brought the lease, and the turns ahead of it
            self._host.unclaimed(self._session_id, error)
            raise
        if claimed is None:
            return
        self._hold(claimed.lease, claimed.head, claimed.turns)
        self._accepted_seen = max(self._accepted_seen, claimed.accepted)
        if claimed.turns and self._host.agents.find(claimed.turns[0].agent) is not None:
            await self._unpark(claimed.turns[0])

    async def _drive_next(self) -> None:
        """Drive the oldest turn under the lease that is held now."""
        turn = min(self._queue.values(), key=lambda item: item.sequence)
        lease = self._lease
        if lease is None:
            raise self._lease_lost()
        self._driven, self._cancel = turn.turn_id, CancelToken()
        self._host.taken(self._session_id, turn.input.input_ids)
        if turn.cancellation is not None:
            trip(self._cancel, turn.cancellation)
        try:
            await self._drive_one(turn, lease)
        except ReplayError as error:
            if not self._restarts(error):
                raise
            await self._restart(turn, lease, error)
        except LeaseLostError as error:
            if self._lease is not None and self._lease.fence != lease.fence:
                # Input accepted since then brought a new lease, and the queue as it is under that.
                if turn.turn_id not in self._queue:
                    self._host.failed(self._session_id, [turn.turn_id], error)
                return
            self._lease = None
            raise
        finally:
            self._driven = self._controller = None

    def _restarts(self, error: ReplayError) -> bool:
        drifted = error.code == "effect_drift_refused"
        return drifted and self._host.environment.on_drift == "restart"

    async def _restart(self, turn: AcceptedTurn, lease: Lease, error: ReplayError) -> None:
        """Begin a turn again whose surroundings changed; it keeps its place in the session."""
        again = await self._host.store.restart_turn(self._session_id, turn.turn_id, lease.fence)
        if again is None:
            raise self._lease_lost()
        self._queue.pop(turn.turn_id, None)
        self._queue[again.turn_id] = again
        self._fresh[again.turn_id] = lease.fence
        paths, cause = error.details.get("paths", ()), error.details.get("cause", "")
        listed = ", ".join(paths) if isinstance(paths, tuple) else ""
        why = f"Its surroundings changed while it was under way ({listed}): {cause}."
        _log.warning("turn %s begins again as %s: %s", turn.turn_id, again.turn_id, why)
        self._host.restarted(self._session_id, turn.turn_id, again.turn_id, why)

    async def _drive_one(self, turn: AcceptedTurn, lease: Lease) -> None:
        agent = self._host.agents.find(turn.agent)
        if agent is None and turn.cancellation is None:
            raise missing_agent(turn.agent, self._host.agents)
        await self._unpark(turn)
        drive = asyncio.get_running_loop().create_task(
            self._drive_turn(turn, agent, lease), name=f"lash-turn-{turn.turn_id}"
        )
        self._drive, self._lost = drive, False
        try:
            await drive
        except asyncio.CancelledError:
            if being_cancelled():
                drive.cancel()
                await asyncio.wait([drive])
                raise
            raise (self._lease_lost() if self._lost else interrupted(turn.turn_id)) from None
        finally:
            self._drive = None

    async def _drive_turn(
        self, turn: AcceptedTurn, agent: AgentDefinition | None, lease: Lease
    ) -> None:
        host, head = self._host, self._head
        if head is None:
            raise self._lease_lost()
        authority = self._authority(lease)
        environment = host.environment
        scope = TurnScope(session_id=self._session_id, turn_id=turn.turn_id)
        self._controller = controller = host.effects.scoped(
            scope,
            authority=authority,
            fresh=self._fresh.pop(turn.turn_id, None) == authority.fence,
            on_parked=host.resting,
        )
        context = DriveContext(
            store=host.store,
            host=host.effects,
            controller=controller,
            models=lambda agent: default_model(agent, environment.resolve_model),
            clock=environment.clock,
            announce=lambda event: host.announce(self._session_id, turn.turn_id, event),
            committed=lambda receipt, commit: self._committed(turn, lease, receipt, commit),
            seams=environment.seams,
            authority=authority,
            scope_key=journal_key(scope),
            cancel=self._cancel,
            resolve_model=environment.resolve_model,
            children=host.arrivals,
            processes=host.tool_processes,
            triggers=host.call_triggers,
            attachments=host.attachments.of_session,
        )
        history = await host.histories.at(head)
        if agent is not None:
            await TurnDrive(context, agent, turn, history).run()
        elif turn.cancellation is not None:
            await commit_undriven(context, turn, head, turn.cancellation)

    def _committed(
        self, turn: AcceptedTurn, lease: Lease, receipt: CommitReceipt, commit: TurnCommit
    ) -> None:
        self._head = receipt.head
        self._done.append(turn.turn_id)
        self._queue.pop(turn.turn_id, None)
        if commit.frame is not None:
            self._host.histories.forget(self._session_id)  # what the model sees begins anew
        following = receipt.following
        if following is not None and self._lease is not None and self._lease.fence == lease.fence:
            self._queue[following.turn_id] = following
            self._fresh[following.turn_id] = lease.fence
        self._accepted_seen = max(self._accepted_seen, receipt.accepted)
        if receipt.replayed:
            self._nudged = True  # the first answer was lost, and with it what follows
        if not receipt.lease_kept and self._lease is not None and self._lease.fence == lease.fence:
            self._lease = None  # the commit gave it back, and no later accept took it again
        self._host.settled(self._session_id, receipt, commit)

    # --- ending ---------------------------------------------------------------------------------

    async def _fail(self, error: Exception) -> None:
        """Nothing queued goes on here now. It stays accepted; what is accepted later is tried anew."""
        self._host.histories.forget(self._session_id)
        turns = sorted(self._queue.values(), key=lambda item: item.sequence)
        self._queue.clear()
        if isinstance(error, SessionBusyError):
            _log.debug("session %s is driven by another process", self._session_id)
        elif isinstance(error, LashError):
            _log.warning("session %s cannot go on here now: %s", self._session_id, error)
        else:
            _log.error("driving session %s failed", self._session_id, exc_info=error)
        try:
            if turns and isinstance(error, LashError) and parks(error):
                await self._park(turns[0], error)
        finally:
            if turns:
                first, rest = turns[0].turn_id, [turn.turn_id for turn in turns[1:]]
                self._failures += [([first], error), (rest, behind(error, first))]

    def _tell_failures(self) -> None:
        failures, self._failures = self._failures, []
        for turn_ids, error in failures:
            self._host.failed(self._session_id, turn_ids, error)

    async def _park(self, turn: AcceptedTurn, error: LashError) -> None:
        """Say why the turn does not go on, and keep it from being tried again and again."""
        parked = parked_for(error)
        if turn.parked is not None and turn.parked.code == parked.code:
            return  # it was said before
        try:
            await self._set_parked(turn, parked)
            self._host.parked(self._session_id, turn.turn_id, parked)
        except Exception:  # noqa: BLE001  the turn is only tried again, and those who wait are told
            _log.warning("turn %s could not be parked", turn.turn_id, exc_info=True)

    async def _unpark(self, turn: AcceptedTurn) -> None:
        """Take back why the turn did not go on: now it does."""
        if turn.parked is not None:
            await self._set_parked(turn, None)
            current = self._queue.get(turn.turn_id)  # it may have been asked to stop meanwhile
            if current is not None:
                self._queue[turn.turn_id] = msgspec.structs.replace(current, parked=None)

    async def _set_parked(self, turn: AcceptedTurn, parked: Parked | None) -> None:
        lease = self._lease
        if lease is None or not await self._host.store.park_turn(
            self._session_id, turn.turn_id, parked, lease.fence
        ):
            raise self._lease_lost()

    async def _give_back(self, seen: int | None = None) -> None:
        """Give the lease back; with `seen`, unless the session has accepted more than that."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            released = await self._host.store.release_lease(self._session_id, lease.fence, seen)
            if released == "work_arrived" and self._lease is None:
                self._lease, self._nudged = lease, True
        except Exception:  # noqa: BLE001  the lease runs out by itself
            _log.warning(
                "the lease of session %s could not be given back", self._session_id, exc_info=True
            )

    # --- small things ---------------------------------------------------------------------------

    def _authority(self, lease: Lease) -> WriteAuthority:
        return WriteAuthority(session_id=self._session_id, fence=lease.fence)

    def _lease_lost(self) -> LeaseLostError:
        return lease_lost(self._authority(self._last) if self._last is not None else None)
