"""Asking a turn to stop, against its coming to an end by itself (spec 8.2).

The first of the two wins: a request that is stored before the commit makes the commit refuse itself,
so that the turn lands as cancelled; a request that comes after it is told so.
"""

from collections.abc import Sequence
from typing import TypeAlias

from lash.core.cancel import Cancellation
from lash.core.json import Data
from lash.sessions.accepting import KnownTurn
from lash.sessions.model import AcceptedTurn, ChildSession, SessionRelation, TurnRecord


class CancelRequest(Data):
    """Somebody wants a turn to stop. The turn need not have been accepted yet."""

    session_id: str
    turn_id: str
    cancellation: Cancellation


class CancelFacts(Data):
    """What the store knows when a request comes.

    Attributes:
        exists: The session is there and was not deleted.
        open: The turn, if it is open; or the open turn that a chain of agent frames has come to.
        record: The turn, if it is committed and nothing follows from it.
        requested: What was asked before of that turn.
    """

    exists: bool
    open: AcceptedTurn | None = None
    record: TurnRecord | None = None
    requested: Cancellation | None = None


class CancelRequested(Data, tag_field="outcome", tag="requested"):
    """The turn will end as cancelled. `turn_id` is the one that is asked to stop."""

    turn_id: str
    cancellation: Cancellation


class CancelAlreadyRequested(Data, tag_field="outcome", tag="already_requested"):
    """Somebody asked before; theirs is what the turn will show."""

    turn_id: str
    cancellation: Cancellation


class CompletionWonRace(Data, tag_field="outcome", tag="completion_won_race"):
    """The turn was committed before; `record` says how it ended."""

    record: TurnRecord


class CancelUnknownOrRevoked(Data, tag_field="outcome", tag="unknown_or_revoked"):
    """There is no such session, or it was deleted."""


CancelOutcome: TypeAlias = (
    CancelRequested | CancelAlreadyRequested | CompletionWonRace | CancelUnknownOrRevoked
)


def plan_cancel(facts: CancelFacts, request: CancelRequest) -> CancelOutcome:
    """What a request to stop comes to."""
    if not facts.exists:
        return CancelUnknownOrRevoked()
    if facts.open is None and facts.record is not None:
        return CompletionWonRace(record=facts.record)
    turn_id = facts.open.turn_id if facts.open is not None else request.turn_id
    if facts.requested is not None:
        return CancelAlreadyRequested(turn_id=turn_id, cancellation=facts.requested)
    return CancelRequested(turn_id=turn_id, cancellation=request.cancellation)


def going_on(
    known: KnownTurn | None, turn_id: str, open_turns: Sequence[AcceptedTurn]
) -> AcceptedTurn | None:
    """The open turn that the chain of agent frames which a turn began, or is part of, has come to."""
    root = turn_id
    if known is not None:
        task = known.input.frame_task
        root = task.root if task else known.turn_id
    return next((turn for turn in open_turns if chain_root(turn) == root), None)


def chain_root(turn: AcceptedTurn) -> str | None:
    """The turn whose chain of agent frames this one goes on with, if it does."""
    return turn.input.frame_task.root if turn.input.frame_task else None


def is_child_of(relation: SessionRelation, session_id: str, turn_id: str) -> bool:
    """Whether a session was begun by a tool call of this turn, which takes it along when it ends early."""
    return (
        isinstance(relation, ChildSession)
        and relation.parent_session_id == session_id
        and relation.turn_id == turn_id
    )


def for_child(why: Cancellation) -> Cancellation:
    """What the turns of child sessions are told when the turn that began them ends early."""
    reason = why.reason or "the turn that began it was stopped"
    return Cancellation(request_id=why.request_id, origin="parent", reason=reason)


def for_restart(turn_id: str) -> Cancellation:
    """What the turns of child sessions are told when the turn that began them begins again."""
    return Cancellation(
        request_id=f"restart:{turn_id}", origin="parent", reason="its turn began again without it"
    )
