"""Following a turn that was accepted before: whoever asks for it again waits for its end here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from lash.core.cancel import Cancellation
from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.effects.racing import raced
from lash.effects.waits.hints import POLL_FIRST_S, POLL_MAX_S, changed_within, token_of
from lash.runtime.agents import AgentRegistry
from lash.runtime.followers import Followers, News, Ticket
from lash.runtime.refusals import behind, blocked, deleted, missing_agent
from lash.runtime.stores import Store
from lash.sessions.accepting import KnownTurn, needs_person
from lash.sessions.committing import follow_turn_id
from lash.sessions.ingress import CancelTarget
from lash.sessions.model import TurnRecord
from lash.turn.outcome import AgentFrameSwitch

_log = logging.getLogger("lash.runtime")

#: How often requests to stop are looked for that other processes made.
WATCH_S = 0.05


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

    def found(self, session_id: str, turn_id: str, record: TurnRecord) -> None:
        """A turn was committed, here or elsewhere."""
        ...


async def follow(host: FollowHost, followers: Followers, ticket: Ticket, clock: Clock) -> None:
    """Wait for a turn accepted before, driving it here whenever nobody else does."""
    wait = POLL_FIRST_S
    while not ticket.done and followers.has(ticket):
        try:
            token = await token_of(host.store)  # before looking: nothing is missed
            await _look_after(host, followers, ticket)
        except Exception as error:  # noqa: BLE001  told to whoever waits
            ticket.leave()
            ticket.fail(error)
        else:
            await changed_within(host.store, clock, wait, token)
            wait = min(wait * 2, POLL_MAX_S)


async def _look_after(host: FollowHost, followers: Followers, ticket: Ticket) -> None:
    """Tell the ticket that its turn is committed or parked, or have it driven.

    Raises:
        LashError: The turn cannot go on here.
    """
    session_id, turn_id = ticket.session_id, ticket.turn_id
    known = await host.store.find_turn(session_id, turn_id)
    if known is None:
        raise deleted(session_id)
    if known.record is not None:
        further = goes_on_as(known)
        if further is None:
            host.found(session_id, turn_id, known.record)
        else:
            followers.restarted(session_id, turn_id, further)
    elif known.open is not None and not host.drives(session_id):
        if needs_person(known.open):
            raise blocked(session_id, turn_id, known.open.parked)
        if await host.held_elsewhere(session_id):
            return
        if host.agents.find(known.open.agent) is None and known.open.cancellation is None:
            raise missing_agent(known.open.agent, host.agents)
        host.recover(session_id)


def goes_on_as(known: KnownTurn) -> str | None:
    """The turn that goes on with the task a committed turn handed to another frame, if it did."""
    if known.record is None or not isinstance(known.record.outcome, AgentFrameSwitch):
        return None
    return follow_turn_id(known.turn_id, known.input)


async def taking_turn(
    store: Store,
    clock: Clock,
    session_id: str,
    item_id: str,
    *,
    news: News,
    see_to: Callable[[str], Awaitable[None]],
) -> str:
    """The turn that takes an item of a session's queue; waits until one does.

    `news` tells what happens here; what others do is found in the store.

    Raises:
        LashError: `turn_input_cancelled`, `turn_input_unknown`; why what comes first cannot go on here.
    """
    target = CancelTarget(kind="input_id", value=item_id)
    wait = POLL_FIRST_S
    while True:
        token = await token_of(store)
        item = await store.find_item(session_id, target)
        if item is None:
            raise LashError(
                "turn_input_unknown",
                f"Session {session_id!r} has no queued input {item_id!r}.",
                item_id=item_id,
            )
        if item.state == "cancelled":
            raise LashError(
                "turn_input_cancelled",
                f"The input {item_id!r} was taken back before a turn took it.",
                item_id=item_id,
            )
        if item.state in {"accepted", "completed"} and item.turn_id is not None:
            return item.turn_id
        if news.error is not None:
            raise behind(news.error, news.turn_id)
        await see_to(session_id)
        await raced(changed_within(store, clock, wait, token), news.came.wait())
        news.came.clear()
        wait = min(wait * 2, POLL_MAX_S)


class StopHost(Protocol):
    """What watching for requests to stop needs of the runtime."""

    store: Store

    @property
    def driven(self) -> Sequence[str]:
        """The sessions that are being driven here."""
        ...

    def stop_turn(self, session_id: str, turn_id: str, cancellation: Cancellation) -> bool:
        """Have a turn end as cancelled; False when its lane does not know it yet."""
        ...

    async def take_over(self) -> None:
        """Drive what was left to processes that have given it up."""
        ...


async def watch_stops(host: StopHost, busy: asyncio.Event, clock: Clock) -> None:
    """Pass on what other processes do: requests to stop, and sessions given up with work in them.

    It looks while anything is driven here or was left to others. Rows are read only when the store says that somebody wrote.
    """
    seen: int | None = None
    while True:
        await busy.wait()
        await clock.sleep(WATCH_S)
        try:
            token = await token_of(host.store)
            if token is not None and token == seen:
                continue
            seen = token
            await host.take_over()
            asked = await host.store.cancelled_turns(host.driven)
        except Exception:  # noqa: BLE001  the next look may find the store again; the commit asks too
            _log.debug("requests to stop could not be read", exc_info=True)
            continue
        told = [
            host.stop_turn(session_id, turn_id, cancellation)
            for (session_id, turn_id), cancellation in asked.items()
        ]
        if not all(told):
            seen = None  # its lane has not got to it yet
