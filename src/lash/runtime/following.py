"""Following a turn that was accepted before: whoever asks for it again waits for its end here."""

from typing import Protocol

from lash.core.clock import Clock
from lash.effects.waits.hints import changed_within, token_of
from lash.runtime.agents import AgentRegistry
from lash.runtime.followers import Followers, Ticket
from lash.runtime.refusals import blocked, missing_agent
from lash.sessions.model import TurnRecord
from lash.sessions.planner import needs_person
from lash.sessions.store import Store

#: How a turn that another process drives is followed: rows are the truth, read ever more seldom
#: unless the store tells that it was written to.
FOLLOW_FIRST_S = 0.025
FOLLOW_MAX_S = 1.0


class FollowHost(Protocol):
    """What following needs of the runtime."""

    store: Store
    agents: AgentRegistry

    def drives(self, session_id: str) -> bool:
        """Whether the session is being driven here."""
        ...

    def recover(self, session_id: str) -> None:
        """Drive the session's open turns here."""
        ...

    async def held_elsewhere(self, session_id: str) -> bool:
        """Whether another live process drives the session."""
        ...

    def settled(self, session_id: str, turn_id: str, record: TurnRecord) -> None:
        """A turn was committed."""
        ...


async def follow(host: FollowHost, followers: Followers, ticket: Ticket, clock: Clock) -> None:
    """Wait for a turn accepted before, driving it here whenever nobody else does."""
    wait = FOLLOW_FIRST_S
    while not ticket.done and followers.has(ticket):
        try:
            token = await token_of(host.store)  # before looking: nothing is missed
            await _look_after(host, ticket)
        except Exception as error:  # noqa: BLE001  told to whoever waits
            ticket.leave()
            ticket.fail(error)
        else:
            await changed_within(host.store, clock, wait, token)
            wait = min(wait * 2, FOLLOW_MAX_S)


async def _look_after(host: FollowHost, ticket: Ticket) -> None:
    """Tell the ticket that its turn is committed or parked, or have it driven.

    Raises:
        LashError: The turn cannot go on here.
    """
    session_id, turn_id = ticket.session_id, ticket.turn_id
    known = await host.store.find_turn(session_id, turn_id)
    if known is not None and known.record is not None:
        host.settled(session_id, turn_id, known.record)
    elif known is not None and known.open is not None and not host.drives(session_id):
        if needs_person(known.open):
            raise blocked(session_id, turn_id, known.open.parked)
        if await host.held_elsewhere(session_id):
            return
        if host.agents.find(known.open.agent) is None:
            raise missing_agent(known.open.agent, host.agents)
        host.recover(session_id)
