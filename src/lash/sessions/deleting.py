"""Deleting a session, for ever: its id is not used again (spec 5, facade 2.1)."""

from typing import TypeAlias

from lash.core.json import Data
from lash.core.leases import Busy, LeaseClaim, LeaseState, decide_claim


class DeleteReport(Data):
    """What went with a session, and what lives on without it.

    Attributes:
        session_id: The session.
        turns: How many committed turns were removed.
        open_turns: How many accepted turns will not be finished.
        items: How many items of the queue were removed, in whatever state.
        nodes: How many nodes of the history were removed.
        shares_history: Whether nodes stay because forks stand on them; vacuum removes the rest.
        records: How many journal records were removed.
        waits: How many promises were revoked.
        orphans: The child sessions and the forks of the session, which live on, sorted.
        removed_observers: How many processes the session could see. None was stopped.
        discarded_wakes: How many wakes for it will not be delivered.
        cleared_subscriptions: How many processes woke it.
        ended_triggers: How many subscriptions to events were the session's, and ended with it.
        orphaned_processes: Live processes that no session can see any more, sorted.
        preserved_processes: Live processes that another session can still see, sorted.
    """

    session_id: str
    turns: int = 0
    open_turns: int = 0
    items: int = 0
    nodes: int = 0
    shares_history: bool = False
    records: int = 0
    waits: int = 0
    orphans: tuple[str, ...] = ()
    removed_observers: int = 0
    discarded_wakes: int = 0
    cleared_subscriptions: int = 0
    ended_triggers: int = 0
    orphaned_processes: tuple[str, ...] = ()
    preserved_processes: tuple[str, ...] = ()


class DeleteFacts(Data):
    """What the store knows when a session is to be deleted."""

    now_ms: int
    lease: LeaseState
    exists: bool
    deleted: bool


class Deleted(Data, tag_field="status", tag="deleted"):
    """The session is gone, and its id will not be used again."""

    report: DeleteReport


class AlreadyDeleted(Data, tag_field="status", tag="already_deleted"):
    """The session was deleted before; nothing was written."""


class NotThere(Data, tag_field="status", tag="not_there"):
    """The id was never used; nothing was written, and it may still be used."""


DeleteResult: TypeAlias = Deleted | Busy | AlreadyDeleted | NotThere


class DeletePlan(Data):
    """The session may go; `lease` is what stays of its lease, so that stale writers are refused."""

    lease: LeaseState


def plan_delete(
    facts: DeleteFacts, claim: LeaseClaim
) -> DeletePlan | Busy | AlreadyDeleted | NotThere:
    """Whether a session may be deleted. Its own driver may; another live owner keeps it."""
    if facts.deleted:
        return AlreadyDeleted()
    if not facts.exists:
        return NotThere()
    claimed = decide_claim(facts.lease, claim, facts.now_ms)
    if isinstance(claimed, Busy):
        return claimed
    return DeletePlan(lease=LeaseState(fencing_token=claimed.lease.fencing_token))
