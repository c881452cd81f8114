"""Child sessions: what a tool's body has another agent do, in a session of its own (spec 5, 3.5).

A child's session and turns are named by the tool call that began them, so a tool that is run again
after a crash finds them where they are, finished or not, and nothing is done twice.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from lash.core.cancel import Cancellation, CancelToken
from lash.core.clock import Clock
from lash.core.errors import LashError, LeaseLostError, SessionBusyError, StoreError
from lash.effects.outcomes import ChildTurn
from lash.llm.request import OutputSpec
from lash.llm.usage import Usage
from lash.runtime.agents import AgentRegistry
from lash.runtime.events import Announce, ChildUsageReported, TurnEvent, UsageReported
from lash.runtime.followers import Observer, Ticket
from lash.runtime.rests import Rests
from lash.sessions.model import (
    AgentRef,
    ChildSession,
    ChildUsage,
    SessionHead,
    SessionRelation,
    TextItem,
    TurnInput,
    TurnRecord,
)
from lash.sessions.stopping import CancelRequest
from lash.sessions.tools import inherited

_log = logging.getLogger("lash.runtime")

#: How deep children may have children: a chain this long is an agent that calls itself.
MOST_DEPTH = 8

#: Under which source a parent books what its children used.
CHILD_SOURCE = "child"


@dataclass(frozen=True, slots=True)
class ChildRequest:
    """What a tool's body wants of another agent.

    Attributes:
        name: Tells the children of one tool call apart.
        turn: Which turn of that child it is, from 1.
        agent: The agent, by name.
        prompt: What it is asked.
        output: What its answer is to be.
    """

    name: str
    turn: int
    agent: str
    prompt: str
    output: OutputSpec | None


#: Runs one turn of a child session and gives its record, with what it used in all.
RunChild: TypeAlias = Callable[[ChildRequest], Awaitable[tuple[TurnRecord, ChildTurn]]]


class ChildrenHost(Protocol):
    """What running children needs of the runtime."""

    @property
    def agents(self) -> AgentRegistry:
        """The agents that can be asked."""
        ...

    async def submit(
        self,
        session_id: str,
        agent: AgentRef,
        turn_input: TurnInput,
        *,
        turn_id: str | None = None,
        observer: Observer | None = None,
        relation: SessionRelation = ...,
    ) -> Ticket:
        """Accept input and drive it."""
        ...

    def cancel_soon(self, request: CancelRequest) -> None:
        """Ask a turn to stop, without waiting for what comes of it."""
        ...


@dataclass(frozen=True, slots=True)
class Children:
    """The child sessions of one tool call.

    Attributes:
        host: The runtime.
        parent: Where the session stands whose tool it is.
        turn_id: The turn.
        call_id: The tool call.
        call_key: The same for every attempt of the call, also after a crash.
        announce: Told what children use.
        cancel: Tripped when the call is given up; its children are then asked to stop too.
        clock: Rests between looks at a child that cannot be driven just now.
    """

    host: ChildrenHost
    parent: SessionHead
    turn_id: str
    call_id: str
    call_key: str
    announce: Announce
    cancel: CancelToken
    clock: Clock

    async def run(self, request: ChildRequest) -> tuple[TurnRecord, ChildTurn]:
        """Run a turn of a child session, or find it where it is.

        Raises:
            ConfigurationError: `agent_unknown`.
            LashError: `child_session_too_deep`; why the turn cannot be driven here now.
        """
        definition = self.host.agents.newest(request.agent)
        child_id = f"{self.parent.session_id}:child:{self.call_key[-24:]}:{request.name}"
        turn_id = f"{child_id}:{request.turn}"
        model, used = f"{definition.model.provider}:{definition.model.name}", [Usage()]

        def hear(event: TurnEvent) -> None:
            if isinstance(event, UsageReported):
                used[0] += event.usage
                child = ChildUsage(
                    session_id=child_id,
                    turn_id=turn_id,
                    source=CHILD_SOURCE,
                    model=model,
                    usage=used[0],
                )
                self.announce(ChildUsageReported(child=child))

        unsubscribe = self.cancel.on_cancel(lambda why: self._stop(child_id, turn_id, why))
        try:
            record = await record_of_turn(
                self.host,
                self.clock,
                child_id,
                definition.ref,
                TurnInput(items=(TextItem(text=request.prompt),), output=request.output),
                turn_id=turn_id,
                relation=relation_below(
                    self.parent, self.turn_id, self.call_id, agent=request.agent
                ),
                observer=hear,
            )
        finally:
            unsubscribe()
        total = sum((child.usage for child in record.children_usage), record.usage)
        return record, ChildTurn(
            session_id=child_id, turn_id=record.turn_id, model=model, usage=total
        )

    def _stop(self, child_id: str, turn_id: str, why: Cancellation) -> None:
        """The call is given up, so what it began is to stop as well."""
        cancellation = Cancellation(
            request_id=why.request_id,
            origin="parent",
            reason=why.reason or "the tool call was stopped",
        )
        self.host.cancel_soon(
            CancelRequest(session_id=child_id, turn_id=turn_id, cancellation=cancellation)
        )


async def record_of_turn(
    host: ChildrenHost,
    clock: Clock,
    session_id: str,
    agent: AgentRef,
    turn_input: TurnInput,
    *,
    turn_id: str,
    relation: SessionRelation,
    observer: Observer | None = None,
) -> TurnRecord:
    """Have a turn run, or find it where it is: its committed record, wherever it is driven."""
    rests = Rests(clock)
    while True:
        try:
            ticket = await host.submit(
                session_id,
                agent,
                turn_input,
                turn_id=turn_id,
                observer=observer,
                relation=relation,
            )
            try:
                return await ticket.record()
            finally:
                ticket.leave()
        except (SessionBusyError, LeaseLostError, StoreError) as error:
            # It goes on elsewhere, or as soon as the store does: that is no end of it.
            _log.info("turn %s of session %s is waited for: %s", turn_id, session_id, error)
            await rests.rest()


def relation_below(
    parent: SessionHead,
    turn_id: str,
    call_id: str,
    *,
    agent: str,
    max_depth: int | None = None,
) -> ChildSession:
    """Where a session comes from that a tool call of another one begins.

    Args:
        parent: Where that one stands.
        turn_id: The turn.
        call_id: The tool call.
        agent: Whose session it is.
        max_depth: How deep it may be at most, besides `MOST_DEPTH`.

    Raises:
        LashError: `child_session_too_deep`.
    """
    above = parent.relation
    depth = above.depth + 1 if isinstance(above, ChildSession) else 1
    most = MOST_DEPTH if max_depth is None else min(max_depth, MOST_DEPTH)
    if depth > most:
        raise LashError(
            "child_session_too_deep",
            f"Session {parent.session_id!r} is {depth - 1} children deep already, and {most} is the "
            "limit; an agent that hands its work to itself has to come to an end.",
            session_id=parent.session_id,
        )
    return ChildSession(
        parent_session_id=parent.session_id,
        turn_id=turn_id,
        call_id=call_id,
        depth=depth,
        tools=inherited(parent.tools, same_agent=agent == parent.agent.name),
    )
