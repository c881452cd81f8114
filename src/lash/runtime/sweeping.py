"""Going on without being asked: picking up what nobody drives, and knowing when all of it rests (D8)."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lash.core.errors import LashError
from lash.core.scopes import TurnScope, journal_key
from lash.runtime.following import FOLLOW_FIRST_S, FOLLOW_MAX_S
from lash.runtime.refusals import missing_agent, parked_for
from lash.sessions.accepting import OpenSession, waits_for_person

if TYPE_CHECKING:
    from lash.runtime.engine import Engine
_log = logging.getLogger("lash.runtime")


class Sweep:
    """Looks through the store for work that this runtime can take up."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

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
            _log.warning("session %s waits: %s", session.session_id, error)
            self._engine.parked(session.session_id, turn.turn_id, parked)

    def drivable(self, session: OpenSession) -> bool:
        """Whether the session's next turn could be driven here now."""
        held = session.lease.held
        if session.session_id in self._engine.lanes or (
            held and self._engine.is_live_stranger(held)
        ):
            return False
        if self._engine.rests_now(session.session_id):
            return False
        return self.waits_for_agent(session) is None

    def waits_for_agent(self, session: OpenSession) -> LashError | None:
        """Why the session's next turn waits for another runtime, if it does."""
        if session.turns and session.turns[0].cancellation is not None:
            return None  # it only has to end
        ref = session.agent
        return (
            missing_agent(ref, self._engine.agents)
            if self._engine.agents.find(ref) is None
            else None
        )

    async def idle(self) -> None:
        """Wait until nothing accepted can go on without the outside.

        What other live processes drive is waited for; parked turns and turns whose agent is missing
        here are not.
        """
        wait = FOLLOW_FIRST_S
        while True:
            await self._engine.quiet.wait()
            found = await self.once()
            if not self._engine.is_quiet():
                self._engine.quiet.clear()  # set again by the last lane that ends, or begins to wait
                continue
            resting = [await self._rests_elsewhere(session) for session in found]
            if all(resting) and self._engine.is_quiet():
                return
            await self._engine.environment.clock.sleep(wait)
            wait = min(wait * 2, FOLLOW_MAX_S)

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
        while True:
            await self._engine.environment.clock.sleep(
                self._engine.environment.timings.ttl_ms / 1000
            )
            self._engine.observations.replay.sweep()
            try:
                await self.once()
            except Exception:  # noqa: BLE001  the next one may find the store again
                _log.warning("the sweep could not read the store", exc_info=True)
