"""Going on without being asked: picking up what nobody drives, and knowing when all of it rests (D8)."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from lash.core.errors import LashError
from lash.core.leases import Lease
from lash.core.scopes import TurnScope, journal_key
from lash.effects.waits.hints import POLL_FIRST_S, POLL_MAX_S
from lash.runtime.agents import AgentRegistry
from lash.runtime.environment import Environment
from lash.runtime.lane import Lane
from lash.runtime.observing import Observations
from lash.runtime.processes.side import ProcessSide
from lash.runtime.refusals import missing_agent, parked_for
from lash.runtime.standstill import standstill
from lash.runtime.stores import Store
from lash.runtime.triggers.router import TriggerRouter
from lash.sessions.accepting import OpenSession, waits_for_person
from lash.sessions.model import Parked

_log = logging.getLogger("lash.runtime")

#: How often it is looked whether other owners have died, in seconds.
OWNERS_S = 0.5


class SweepHost(Protocol):
    """What sweeping needs of the runtime it belongs to."""

    store: Store
    agents: AgentRegistry
    environment: Environment
    observations: Observations
    lanes: dict[str, Lane]
    quiet: asyncio.Event
    processes: ProcessSide
    triggers: TriggerRouter

    def lane(self, session_id: str) -> Lane:
        """The session's lane, made if there is none."""
        ...

    def is_quiet(self) -> bool:
        """Whether whatever is driven here waits for the outside."""
        ...

    def is_live_stranger(self, held: Lease) -> bool:
        """Whether a lease is another owner's who may be alive."""
        ...

    def rests_now(self, session_id: str) -> bool:
        """Whether a session that failed is left alone for a while."""
        ...

    def parked(self, session_id: str, turn_id: str, parked: Parked) -> None:
        """A turn does not go on by itself."""
        ...


class Sweep:
    """Looks through the store for work that this runtime can take up.

    Attributes:
        living: The owners that were alive at the last look, by incarnation.
    """

    def __init__(self, engine: SweepHost) -> None:
        self._engine = engine
        self.living: frozenset[str] = frozenset()

    async def once(self, *, parked_too: bool = False) -> Sequence[OpenSession]:
        """Pick up open turns that nobody drives; returns the sessions that have open turns.

        Parked ones are tried only when a runtime opens: its code may be what they wait for.
        """
        await self._engine.store.free_dead_leases()
        found = await self._engine.store.open_sessions()
        for session in found:
            if self.drivable(session) and (parked_too or not waits_for_person(session)):
                self._engine.lane(session.session_id).recover()
            else:
                await self._note_waiting(session)
        return found

    async def _note_waiting(self, session: OpenSession) -> None:
        """Keep with a turn that its agent is missing here, unless somebody drives it or said so."""
        error = self.waits_for_agent(session)
        if error is None or not session.turns or session.session_id in self._engine.lanes:
            return
        turn = session.turns[0]
        if turn.parked is not None:
            return
        parked = parked_for(error)
        if await self._engine.store.note_waiting(session.session_id, turn.turn_id, parked):
            standstill.warning("session %s waits: %s", session.session_id, error)
            self._engine.parked(session.session_id, turn.turn_id, parked)

    def drivable(self, session: OpenSession) -> bool:
        """Whether the session's next turn could be driven here now."""
        session_id, held = session.session_id, session.lease.held
        if session_id in self._engine.lanes or self._engine.rests_now(session_id):
            return False
        if held is not None and self._engine.is_live_stranger(held):
            return False
        return self.waits_for_agent(session) is None

    def waits_for_agent(self, session: OpenSession) -> LashError | None:
        """Why the session's next turn waits for another runtime, if it does."""
        if session.turns and session.turns[0].cancellation is not None:
            return None  # it only has to end
        ref, agents = session.agent, self._engine.agents
        return missing_agent(ref, agents) if agents.find(ref) is None else None

    async def idle(self) -> None:
        """Wait until nothing accepted can go on without the outside.

        What other live processes drive is waited for; parked turns and turns whose agent is missing
        here are not.
        """
        wait = POLL_FIRST_S
        while True:
            await self._engine.quiet.wait()
            await self._engine.triggers.recover()
            found = await self.once()
            await self._engine.processes.worker.scan()
            resting = [await self._rests_elsewhere(session) for session in found]
            others = await self._engine.processes.worker.rests()
            if not self._engine.is_quiet():
                self._engine.quiet.clear()  # set again by what ends last here, or begins to wait
                continue
            if all(resting) and others:
                return
            await self._engine.environment.clock.sleep(wait)
            wait = min(wait * 2, POLL_MAX_S)

    async def _rests_elsewhere(self, session: OpenSession) -> bool:
        """Whether a session with open turns can only be carried on by the outside."""
        if session.session_id in self._engine.lanes:
            return True  # and it waits, or it would not be quiet here
        if waits_for_person(session) or self.waits_for_agent(session) is not None:
            return True
        if session.lease.held is None or not self._engine.is_live_stranger(session.lease.held):
            return False
        if not session.turns:
            return False
        scope = TurnScope(session_id=session.session_id, turn_id=session.turns[0].turn_id)
        waits = await self._engine.store.list_waits(journal_key(scope))
        return any(row.resolution is None for row in waits)

    async def slowly(self) -> None:
        """Look once in each lease's time, for as long as the runtime is open."""
        environment = self._engine.environment
        while True:
            await environment.clock.sleep(environment.timings.ttl_ms / 1000)
            self._engine.observations.replay.sweep()
            await self._take_up()

    async def watch_owners(self) -> None:
        """Take up at once what owners leave behind that die, or shut down."""
        store, clock = self._engine.store, self._engine.environment.clock
        self.living = store.living_owners()
        while True:
            await clock.sleep(OWNERS_S)
            before, self.living = self.living, store.living_owners()
            if before - self.living:
                await self._take_up()
            else:
                await self._start_emitted()

    async def _start_emitted(self) -> None:
        """Start what was emitted by somebody who starts nothing, or who died over it."""
        try:
            await self._engine.triggers.look()
        except Exception:  # noqa: BLE001  the next look may find the store again
            _log.warning("reserved deliveries could not be looked for", exc_info=True)

    async def _take_up(self) -> None:
        """Look for whatever nobody carries on, and carry it on."""
        try:
            await self.once()
            await self._engine.processes.worker.scan()
            await self._engine.triggers.recover()
            self._engine.processes.wakes.woken()  # others may have left some undelivered
        except Exception:  # noqa: BLE001  the next look may find the store again
            _log.warning("the sweep could not read the store", exc_info=True)
