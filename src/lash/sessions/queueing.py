"""What may happen to a session's queue, as pure decisions (spec 4.6, 4.7, 6.2, 6.3).

1. Everything a session accepts is numbered from one counter, so input, wakes, commands and turns have
   one order and never need their clocks compared.
2. A turn is composed of the first item that is ready and of the neighbours that go with it. The
   composition is stored as the turn, so whoever drives it after a crash drives the same one.
3. A checkpoint takes what was sent to its turn, and what may enter at any boundary unless a command
   waits ahead of it. Asked again under its own key it takes at least what it took before.
4. What was sent to a turn and is no part of it goes to the next one, in the transaction that ends the
   turn.
"""

from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import msgspec

from lash.core.json import Data
from lash.core.leases import Fence, LeaseState, is_current
from lash.sessions.ingress import (
    MOST_TAKEN,
    ActiveTurn,
    CancelInputOutcome,
    CancelTarget,
    CommandWork,
    EarliestBoundary,
    EnqueueRequest,
    Ingress,
    InputAlreadyCancelled,
    InputAlreadyClaimed,
    InputAlreadyCompleted,
    InputCancelled,
    InputNotFound,
    NextTurn,
    ProcessWake,
    QueuedItem,
    UserInput,
    attachments_missing,
    content_of,
    message_id_of,
)
from lash.sessions.model import (
    AcceptedTurn,
    AgentRef,
    CompactContext,
    SessionHead,
    TurnInput,
    other_provider,
)
from lash.turn.driver import CheckpointKind

# --- entering the queue -----------------------------------------------------------------------------


class EnqueueFacts(Data):
    """What the store knows when an item arrives.

    `known` is the item that has the request's id or source key; `key_of_turn` the turn that has the
    source key; `target` the open turn that the request names, or the first one if it names none.
    `missing_attachments` are those of the input that the session does not refer to.
    """

    now_ms: int
    next_sequence: int
    deleted: bool = False
    head: SessionHead | None = None
    known: QueuedItem | None = None
    key_of_turn: str | None = None
    target: AcceptedTurn | None = None
    target_is_over: bool = False
    missing_attachments: tuple[str, ...] = ()


class Enqueued(Data, tag_field="status", tag="enqueued"):
    """The item is durable. `head` is the session's, new if `new_session`."""

    item: QueuedItem
    head: SessionHead
    new_session: bool = False


class AlreadyEnqueued(Data, tag_field="status", tag="already_enqueued"):
    """The same item came before; nothing was written."""

    item: QueuedItem


class EnqueueRefused(Data, tag_field="status", tag="refused"):
    """Nothing was written; `code` says why."""

    code: str
    message: str


EnqueueResult: TypeAlias = Enqueued | AlreadyEnqueued | EnqueueRefused


def plan_enqueue(facts: EnqueueFacts, request: EnqueueRequest) -> EnqueueResult:
    """Whether an item may enter a session's queue, and as what."""
    session_id = request.session_id
    answered = (
        _came_before(facts, request)
        or _wrong_session(facts, request)
        or _other_provider(facts.head, request)
        or _missing(facts)
    )
    if answered is not None:
        return answered
    agent = request.agent or AgentRef(name="")
    head = facts.head or SessionHead(session_id=session_id, agent=agent, created_at_ms=facts.now_ms)
    ingress = _entrance(facts, request.ingress)
    if ingress is None:
        return EnqueueRefused(
            code="turn_unknown",
            message=f"Session {session_id!r} never accepted the turn that the input was sent to; "
            "nothing was accepted. Send it to the next turn instead.",
        )
    item = QueuedItem(
        session_id=session_id,
        item_id=request.item_id,
        sequence=facts.next_sequence,
        ingress=ingress,
        state="pending_active" if isinstance(ingress, ActiveTurn) else "deferred_next_turn",
        enqueued_at_ms=facts.now_ms,
        content=content_of(request.payload),
        payload=request.payload,
        source_key=request.source_key,
        available_at_ms=request.available_at_ms,
        merge_key=request.merge_key,
        agent=request.agent,
        turn_id=ingress.turn_id if isinstance(ingress, ActiveTurn) else None,
    )
    return Enqueued(item=item, head=head, new_session=facts.head is None)


def _conflict(session_id: str, what: str) -> EnqueueRefused:
    return EnqueueRefused(
        code="turn_input_conflict",
        message=f"That id or source key was used before in session {session_id!r} {what}; nothing was "
        "accepted. Use a new one for new input.",
    )


def _came_before(facts: EnqueueFacts, request: EnqueueRequest) -> EnqueueResult | None:
    """What became of an item whose id or source key was used before."""
    if facts.known is not None:
        if facts.known.content == content_of(request.payload):
            return AlreadyEnqueued(item=facts.known)
        return _conflict(request.session_id, f"for {facts.known.item_id!r}, with other content")
    if facts.key_of_turn is not None:
        return _conflict(request.session_id, f"for turn {facts.key_of_turn!r}")
    return None


def _wrong_session(facts: EnqueueFacts, request: EnqueueRequest) -> EnqueueRefused | None:
    head = facts.head
    if facts.deleted:
        return EnqueueRefused(
            code="session_deleted",
            message=f"Session {request.session_id!r} was deleted and its id is not used again; nothing "
            "was accepted. Use another session id.",
        )
    if head is None and request.agent is None:
        return EnqueueRefused(
            code="session_unknown",
            message=f"There is no session {request.session_id!r}; nothing was accepted.",
        )
    if head is not None and request.agent is not None and head.agent.name != request.agent.name:
        return EnqueueRefused(
            code="session_agent_mismatch",
            message=f"Session {request.session_id!r} belongs to agent {head.agent.name!r}, not "
            f"{request.agent.name!r}; nothing was accepted. Use another session id.",
        )
    return None


def _missing(facts: EnqueueFacts) -> EnqueueRefused | None:
    if not facts.missing_attachments:
        return None
    return EnqueueRefused(
        code="attachment_not_found", message=attachments_missing(facts.missing_attachments)
    )


def _other_provider(head: SessionHead | None, request: EnqueueRequest) -> EnqueueRefused | None:
    recorded = other_provider(head, request.provider_id) if head is not None else None
    asks = not isinstance(request.payload, CommandWork) or isinstance(
        request.payload.command, CompactContext
    )
    if recorded is None or not asks:
        return None
    return EnqueueRefused(
        code="provider_mismatch",
        message=f"Session {request.session_id!r} was made with provider {recorded!r}, and its agent's "
        f"model is now {request.provider_id!r}'s; nothing was accepted. Say session.configure(model=…) "
        "to go over to another provider on purpose.",
    )


def _entrance(facts: EnqueueFacts, wanted: Ingress) -> Ingress | None:
    """Where an item really enters: what is sent to a turn that is over goes to the next one."""
    if not isinstance(wanted, ActiveTurn):
        return wanted
    if facts.target is not None:
        return msgspec.structs.replace(wanted, turn_id=facts.target.turn_id)
    if not wanted.turn_id or facts.target_is_over:
        return NextTurn()
    return None


# --- composing turns --------------------------------------------------------------------------------


class Composition(Data):
    """A turn made of queued items, which it has taken."""

    turn: AcceptedTurn
    items: tuple[QueuedItem, ...]


def plan_composition(
    head: SessionHead,
    waiting: Sequence[QueuedItem],
    open_turns: Sequence[AcceptedTurn],
    is_taken: Callable[[str], bool],
) -> Composition | None:
    """The next turn, made of what waits; None while a turn comes first, or nothing is ready.

    Args:
        head: Where the session stands.
        waiting: What is deferred to a turn and ready, in order.
        open_turns: What is accepted as a turn already, in order.
        is_taken: Whether a turn id was used.
    """
    if not waiting:
        return None
    first = waiting[0]
    until = open_turns[0].sequence if open_turns else None
    if until is not None and until < first.sequence:
        return None
    items = [first]
    for item in waiting[1:MOST_TAKEN]:
        if not _go_together(items[-1], item) or (until is not None and item.sequence > until):
            break
        items.append(item)
    turn_id, count = f"{first.item_id}:turn", 1
    while is_taken(turn_id):
        count += 1
        turn_id = f"{first.item_id}:turn:{count}"
    message_id = message_id_of(first.item_id)
    turn = AcceptedTurn(
        session_id=head.session_id,
        turn_id=turn_id,
        sequence=first.sequence,
        agent=first.agent or head.agent,
        input=_composed(items),
        accepted_at_ms=first.enqueued_at_ms,
    )
    return Composition(
        turn=turn,
        items=tuple(
            msgspec.structs.replace(
                item,
                state="accepted",
                turn_id=turn_id,
                message_id=message_id if isinstance(item.payload, UserInput) else None,
            )
            for item in items
        ),
    )


def _go_together(one: QueuedItem, other: QueuedItem) -> bool:
    """Whether two neighbours of the queue are taken by the same turn."""
    match one.payload, other.payload:
        case UserInput(input=first), UserInput(input=second):
            plain = not (first.prompt or first.output or second.prompt or second.output)
            return plain and one.agent == other.agent
        case ProcessWake(), ProcessWake():
            return one.merge_key is not None and one.merge_key == other.merge_key
        case _:
            return False


def _composed(items: Sequence[QueuedItem]) -> TurnInput:
    payloads = [item.payload for item in items]
    inputs = [payload.input for payload in payloads if isinstance(payload, UserInput)]
    first = inputs[0] if inputs else TurnInput()
    commands = [payload.command for payload in payloads if isinstance(payload, CommandWork)]
    return TurnInput(
        items=tuple(piece for each in inputs for piece in each.items),
        causes=tuple(payload.cause for payload in payloads if isinstance(payload, ProcessWake)),
        command=commands[0] if commands else None,
        input_ids=tuple(item.item_id for item in items),
        prompt=first.prompt,
        output=first.output,
    )


# --- checkpoints ------------------------------------------------------------------------------------


class CheckpointClaim(Data):
    """A checkpoint of a running turn asks for what arrived. `effect_key` makes asking repeatable."""

    session_id: str
    turn_id: str
    checkpoint: CheckpointKind
    effect_key: str
    fence: Fence


class CheckpointFacts(Data):
    """What the store knows when a checkpoint asks.

    `candidates` are, in order, the items that wait for this turn or for any boundary and are ready,
    and those that this turn has taken; `command_waits` is the place of the first command that waits;
    `is_open` tells whether the turn is open under this id.
    """

    lease: LeaseState
    candidates: tuple[QueuedItem, ...] = ()
    command_waits: int | None = None
    is_open: bool = True


class Taken(Data, tag_field="status", tag="taken"):
    """What the checkpoint delivers, in order."""

    items: tuple[QueuedItem, ...]


class TakeRefused(Data, tag_field="status", tag="lease_lost"):
    """Another owner holds the session; nothing was taken."""


TakeResult: TypeAlias = Taken | TakeRefused


def plan_checkpoint(facts: CheckpointFacts, claim: CheckpointClaim) -> TakeResult:
    """What a checkpoint takes. A turn that is over takes nothing: nobody would settle it."""
    if not is_current(facts.lease, claim.fence):
        return TakeRefused()
    return Taken(items=_taken(facts, claim) if facts.is_open else ())


def would_take(facts: CheckpointFacts, claim: CheckpointClaim) -> bool:
    """Whether a checkpoint would take anything, if its fence holds."""
    return facts.is_open and bool(_taken(facts, claim))


def _taken(facts: CheckpointFacts, claim: CheckpointClaim) -> tuple[QueuedItem, ...]:
    taken: list[QueuedItem] = []
    for item in facts.candidates:
        if item.state == "accepted":
            if item.turn_id == claim.turn_id and item.effect_key == claim.effect_key:
                taken.append(item)
        elif len(taken) < MOST_TAKEN and admits(claim, item, facts.command_waits):
            taken.append(_taken_by(claim, item))
    return tuple(taken)


def is_candidate(item: QueuedItem, now_ms: int) -> bool:
    """Whether an item of a turn is one that a checkpoint looks at: taken before, or ready."""
    return item.state == "accepted" or item.available_at_ms <= now_ms


def admits(claim: CheckpointClaim, item: QueuedItem, command_waits: int | None) -> bool:
    """Whether a checkpoint may take an item that waits."""
    match item.ingress:
        case ActiveTurn(turn_id=turn_id, min_boundary=boundary):
            if item.state != "pending_active" or turn_id != claim.turn_id:
                return False
            return boundary in {"after_work", claim.checkpoint}
        case EarliestBoundary():
            return command_waits is None or item.sequence < command_waits
        case NextTurn():
            return False


def _taken_by(claim: CheckpointClaim, item: QueuedItem) -> QueuedItem:
    is_input = isinstance(item.payload, UserInput)
    return msgspec.structs.replace(
        item,
        state="accepted",
        turn_id=claim.turn_id,
        effect_key=claim.effect_key,
        message_id=message_id_of(item.item_id) if is_input else None,
    )


def given_back(item: QueuedItem, turn_id: str | None) -> QueuedItem:
    """An item whose turn did not take it, or begins again: it waits for `turn_id`, or for the next."""
    ingress, state = item.ingress, item.state
    if isinstance(ingress, ActiveTurn) and turn_id is not None:
        ingress, state = (
            ActiveTurn(turn_id=turn_id, min_boundary=ingress.min_boundary),
            "pending_active",
        )
    else:
        turn_id, state = None, "deferred_next_turn"
        ingress = NextTurn() if isinstance(ingress, ActiveTurn) else ingress
    return msgspec.structs.replace(
        item, ingress=ingress, state=state, turn_id=turn_id, effect_key=None, message_id=None
    )


def after_restart(item: QueuedItem, turn_id: str) -> QueuedItem:
    """An item of a turn that begins again as `turn_id`.

    What the turn was composed of is still in its input; what checkpoints delivered is delivered anew.
    """
    if item.state == "accepted" and item.effect_key is None:
        return msgspec.structs.replace(item, turn_id=turn_id)
    return given_back(item, turn_id)


def settled(item: QueuedItem, shown: Collection[str]) -> QueuedItem:
    """An item of a turn that was committed: part of it, or for the next one.

    A turn that was stopped may have taken an item and not have come to say so: only what its messages
    show (`shown`, by id) is part of it.
    """
    if item.state != "accepted":
        return given_back(item, None)
    if item.effect_key is not None and shown_as(item) not in shown:
        return given_back(item, None)
    return msgspec.structs.replace(item, state="completed")


def shown_as(item: QueuedItem) -> str | None:
    """The message that an item is in the turn that took it."""
    return item.payload.cause.id if isinstance(item.payload, ProcessWake) else item.message_id


# --- taking back ------------------------------------------------------------------------------------


def plan_cancel_input(target: CancelTarget, item: QueuedItem | None) -> CancelInputOutcome:
    """Whether an item can still be kept from being taken."""
    if item is None:
        return InputNotFound(target=target)
    match item.state:
        case "pending_active" | "deferred_next_turn":
            return InputCancelled(item=msgspec.structs.replace(item, state="cancelled"))
        case "accepted":
            return InputAlreadyClaimed(item=item)
        case "completed":
            return InputAlreadyCompleted(item=item)
        case "cancelled":
            return InputAlreadyCancelled(item=item)
