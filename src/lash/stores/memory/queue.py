"""A session's queue in memory: the facts the planner asks for, and what becomes of its plans."""

from collections.abc import Callable, Mapping, Sequence

from lash.core.cancel import Cancellation
from lash.sessions.committing import TurnCommit
from lash.sessions.ingress import (
    MOST_TAKEN,
    ActiveTurn,
    CancelInputOutcome,
    CancelTarget,
    CommandWork,
    EarliestBoundary,
    EnqueueRequest,
    InputCancelled,
    QueuedItem,
)
from lash.sessions.model import AcceptedTurn
from lash.sessions.queueing import (
    CheckpointClaim,
    CheckpointFacts,
    Enqueued,
    EnqueueFacts,
    after_restart,
    is_candidate,
    plan_cancel_input,
    plan_composition,
    plan_enqueue,
    settled,
    would_take,
)
from lash.sessions.stopping import CancelFacts, CancelRequest, going_on, is_child_of
from lash.stores.memory.session import HeldSession


def in_order(session: HeldSession) -> Sequence[QueuedItem]:
    """Every item, in order."""
    return sorted(session.queue.values(), key=lambda item: item.sequence)


def waiting(session: HeldSession) -> Sequence[QueuedItem]:
    """What waits and was not taken, in order."""
    return [
        item for item in in_order(session) if item.state in {"pending_active", "deferred_next_turn"}
    ]


def _deferred(session: HeldSession, now_ms: int) -> Sequence[QueuedItem]:
    """What a turn may be composed of, in order."""
    return [
        item
        for item in in_order(session)
        if item.state == "deferred_next_turn" and item.available_at_ms <= now_ms
    ]


def first_waiting(session: HeldSession, now_ms: int) -> QueuedItem | None:
    """The first item that a turn could be composed of now."""
    return next(iter(_deferred(session, now_ms)), None)


def _of_turn(session: HeldSession, turn_id: str) -> Sequence[QueuedItem]:
    """What waits for a turn, or was taken by it and is not settled."""
    return [
        item
        for item in in_order(session)
        if item.turn_id == turn_id and item.state in {"pending_active", "accepted"}
    ]


def find_item(session: HeldSession | None, target: CancelTarget) -> QueuedItem | None:
    """An item by its id or source key."""
    if session is None:
        return None
    if target.kind == "input_id":
        return session.queue.get(target.value)
    return find_by_source(session, target.value)


def find_by_source(session: HeldSession | None, source_key: str | None) -> QueuedItem | None:
    """An item by its source key."""
    if session is None or source_key is None:
        return None
    items = session.queue.values()
    return next((item for item in items if item.source_key == source_key), None)


# --- facts ------------------------------------------------------------------------------------------


def enqueue_facts(
    session: HeldSession | None, request: EnqueueRequest, now_ms: int, *, deleted: bool
) -> EnqueueFacts:
    """What is known when an item arrives."""
    if session is None:
        return EnqueueFacts(now_ms=now_ms, next_sequence=1, deleted=deleted)
    known = session.queue.get(request.item_id)
    of_turn: str | None = None
    if known is None and request.source_key is not None:
        known = find_by_source(session, request.source_key)
        turn = session.by_source.get(request.source_key)
        found = session.known(turn) if turn is not None else None
        of_turn = found.turn_id if found else None
    target, is_over = _target(session, request)
    return EnqueueFacts(
        now_ms=now_ms,
        next_sequence=session.accepted + 1,
        deleted=deleted,
        head=session.head,
        known=known,
        key_of_turn=of_turn,
        target=target,
        target_is_over=is_over,
    )


def _target(session: HeldSession, request: EnqueueRequest) -> tuple[AcceptedTurn | None, bool]:
    """The open turn that an item is sent to, and whether the one it names is over."""
    ingress = request.ingress
    if not isinstance(ingress, ActiveTurn):
        return None, False
    if not ingress.turn_id:
        return next(iter(session.open_turns()), None), False
    known = session.known(ingress.turn_id)
    if known is None:
        return None, False
    if known.open is not None:
        return known.open, False
    # What is sent to a turn that handed its task over belongs to who goes on with it.
    return going_on(known, known.turn_id, session.open_turns()), True


def checkpoint_facts(session: HeldSession, claim: CheckpointClaim, now_ms: int) -> CheckpointFacts:
    """What is known when a checkpoint asks."""
    deferred = _deferred(session, now_ms)
    floating = [item for item in deferred if isinstance(item.ingress, EarliestBoundary)]
    commands = [item.sequence for item in deferred if isinstance(item.payload, CommandWork)]
    ours = [item for item in _of_turn(session, claim.turn_id) if is_candidate(item, now_ms)]
    candidates = [*ours, *floating[:MOST_TAKEN]]
    return CheckpointFacts(
        lease=session.lease,
        candidates=tuple(sorted(candidates, key=lambda item: item.sequence)),
        command_waits=min(commands, default=None),
        is_open=claim.turn_id in session.open,
    )


def has_arrived(session: HeldSession, claim: CheckpointClaim, now_ms: int) -> bool:
    """Whether a checkpoint would take anything."""
    return would_take(checkpoint_facts(session, claim, now_ms), claim)


def cancel_facts(
    session: HeldSession | None, request: CancelRequest, *, deleted: bool
) -> CancelFacts:
    """What is known when somebody asks a turn to stop."""
    if session is None or deleted:
        return CancelFacts(exists=False)
    known = session.known(request.turn_id)
    chained = going_on(known, request.turn_id, session.open_turns())
    open_turn = chained or (known.open if known else None)
    turn_id = open_turn.turn_id if open_turn else request.turn_id
    return CancelFacts(
        exists=True,
        open=open_turn,
        record=known.record if known else None,
        requested=session.cancels.get(turn_id),
    )


# --- what belongs into the transactions of turns ------------------------------------------------------


def put(session: HeldSession, request: EnqueueRequest, now_ms: int) -> bool:
    """Put an item into the queue of a session that exists; whether it was new."""
    result = plan_enqueue(enqueue_facts(session, request, now_ms, deleted=False), request)
    if not isinstance(result, Enqueued):
        return False
    session.accepted = result.item.sequence
    session.queue[result.item.item_id] = result.item
    return True


def compose(session: HeldSession, now_ms: int) -> AcceptedTurn | None:
    """Make the next turn of what waits, if nothing comes first."""
    plan = plan_composition(
        session.head,
        _deferred(session, now_ms),
        session.open_turns(),
        session.inputs.__contains__,
    )
    if plan is None:
        return None
    session.add(plan.turn)
    session.queue.update((item.item_id, item) for item in plan.items)
    return session.with_cancellation(plan.turn)


def settle(session: HeldSession, commit: TurnCommit, now_ms: int) -> None:
    """What a turn shows is part of it now; what it did not take waits for the next one."""
    shown = {message.id for message in commit.messages}
    for item in _of_turn(session, commit.turn_id):
        after = session.queue[item.item_id] = settled(item, shown)
        if after.state == "completed":
            session.settled[item.item_id] = now_ms
    if commit.turn_id in session.cancels:
        session.stopped[commit.turn_id] = now_ms


def move(session: HeldSession, turn_id: str, again: str) -> None:
    """What waits for a turn, or was taken by it, follows it to the id it begins again under."""
    _change(session, turn_id, lambda item: after_restart(item, again))


def _change(session: HeldSession, turn_id: str, become: Callable[[QueuedItem], QueuedItem]) -> None:
    for item in _of_turn(session, turn_id):
        session.queue[item.item_id] = become(item)


def cancel_item(
    session: HeldSession | None, target: CancelTarget, now_ms: int
) -> CancelInputOutcome:
    """Take an item back, if it was not taken."""
    outcome = plan_cancel_input(target, find_item(session, target))
    if isinstance(outcome, InputCancelled) and session is not None:
        session.queue[outcome.item.item_id] = outcome.item
        session.settled[outcome.item.item_id] = now_ms
    return outcome


def stop_children(
    sessions: Mapping[str, HeldSession], session_id: str, turn_id: str, why: Cancellation
) -> None:
    """Ask the child sessions that a turn has begun to stop, and theirs."""
    for child_id, child in sessions.items():
        if is_child_of(child.head.relation, session_id, turn_id):
            for turn in child.open_turns():
                if turn.cancellation is None:
                    child.cancels[turn.turn_id] = why
                    stop_children(sessions, child_id, turn.turn_id, why)
