"""What waits to enter a session: user input, wakes of processes, and session commands (spec 4.6, 4.7).

Everything that wants into a session stands in one queue with one order. An item is *taken* by exactly
one turn: at a checkpoint of the turn that is running, or when a turn is composed of what waits while
none is. What was taken stays with that turn whatever happens to processes, because a turn is always
finished; so it needs no claims that expire.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from lash.core.json import Data, digest
from lash.sessions.model import AgentRef, SessionCommand, TurnInput
from lash.turn.driver import CheckpointKind
from lash.turn.exchange import TurnCause

#: How many items one turn, or one checkpoint, takes at most.
MOST_TAKEN = 64


class ActiveTurn(Data, tag_field="scope", tag="active_turn"):
    """Into the turn that runs, at its next checkpoint from `min_boundary` on.

    `turn_id` names the turn; "" is whichever runs when the item arrives. What the turn does not take
    goes to the next one.
    """

    turn_id: str = ""
    min_boundary: CheckpointKind = "after_work"


class EarliestBoundary(Data, tag_field="scope", tag="earliest_safe_boundary"):
    """Into whatever turn has a checkpoint first, or a turn of its own."""


class NextTurn(Data, tag_field="scope", tag="next_turn"):
    """Into a turn of its own, once what was accepted before is done."""


Ingress: TypeAlias = ActiveTurn | EarliestBoundary | NextTurn


class UserInput(Data, tag_field="type", tag="turn_input"):
    """Something the user says."""

    input: TurnInput


class ProcessWake(Data, tag_field="type", tag="process_wake"):
    """A background process woke the session."""

    cause: TurnCause


class CommandWork(Data, tag_field="type", tag="session_command"):
    """Something to do with the session itself, between turns."""

    command: SessionCommand


Payload: TypeAlias = UserInput | ProcessWake | CommandWork

PendingState: TypeAlias = Literal[
    "pending_active", "deferred_next_turn", "accepted", "cancelled", "completed"
]


#: States of an item that no committed turn has settled, and nobody took back.
WAITING_STATES: frozenset[PendingState] = frozenset(
    {"pending_active", "deferred_next_turn", "accepted"}
)


class QueuedItem(Data):
    """One item of a session's queue.

    Attributes:
        session_id: The session.
        item_id: The item; unique in its session.
        sequence: Its place among everything the session accepted.
        ingress: Where it may enter.
        state: `pending_active` waits for a turn's checkpoint, `deferred_next_turn` for a turn;
            `accepted` was taken by a turn that is not committed, `completed` by one that is.
        enqueued_at_ms: When it came.
        content: Its payload as a hash, which outlives the payload.
        payload: What it is; None once it was vacuumed.
        source_key: The caller's idempotency key.
        available_at_ms: When it may be taken at the earliest.
        merge_key: Neighbouring wakes with the same key are taken together; without one, a wake goes
            alone. User input always goes with its neighbours, and a command alone.
        agent: Whose work it is; None for whoever the session belongs to.
        turn_id: The turn it waits for, or the one that took it.
        effect_key: The checkpoint that took it, if one did.
        message_id: The message it became.
    """

    session_id: str
    item_id: str
    sequence: int
    ingress: Ingress
    state: PendingState
    enqueued_at_ms: int
    content: str
    payload: Payload | None = None
    source_key: str | None = None
    available_at_ms: int = 0
    merge_key: str | None = None
    agent: AgentRef | None = None
    turn_id: str | None = None
    effect_key: str | None = None
    message_id: str | None = None


def content_of(payload: Payload) -> str:
    """What makes two payloads the same."""
    return digest("queued-item", payload)


def message_id_of(item_id: str) -> str:
    """The message that an item of user input becomes."""
    return f"m_ingress_{item_id}"


def attachments_missing(attachment_ids: Sequence[str]) -> str:
    """Why input is refused that shows attachments which its session does not refer to."""
    return (
        f"The session has no attachment {', '.join(attachment_ids)}: it was never put here, or was "
        "deleted or swept meanwhile. Nothing was accepted; put it into this session again."
    )


class EnqueueRequest(Data):
    """An item on its way into a session's queue. No lease is needed.

    `agent` creates the session if it is new, and has to be its agent otherwise; None leaves that to
    the session, which must exist. `provider_id` is the provider a turn would be made with.
    """

    session_id: str
    item_id: str
    payload: Payload
    ingress: Ingress = NextTurn()
    agent: AgentRef | None = None
    source_key: str | None = None
    merge_key: str | None = None
    available_at_ms: int = 0
    provider_id: str | None = None

    @property
    def attachment_ids(self) -> tuple[str, ...]:
        """The stored attachments that the item shows."""
        payload = self.payload
        return payload.input.attachment_ids if isinstance(payload, UserInput) else ()


class CancelTarget(Data):
    """Which item is meant: `kind` says what `value` is."""

    kind: Literal["input_id", "source_key"]
    value: str


class InputCancelled(Data, tag_field="outcome", tag="cancelled"):
    """The item was waiting and will not be taken any more."""

    item: QueuedItem


class InputAlreadyClaimed(Data, tag_field="outcome", tag="already_claimed"):
    """A turn has taken the item; ask that turn to stop instead."""

    item: QueuedItem


class InputAlreadyCompleted(Data, tag_field="outcome", tag="already_completed"):
    """The item is part of a committed turn."""

    item: QueuedItem


class InputAlreadyCancelled(Data, tag_field="outcome", tag="already_cancelled"):
    """The item was cancelled before."""

    item: QueuedItem


class InputNotFound(Data, tag_field="outcome", tag="not_found"):
    """There is no such item."""

    target: CancelTarget


CancelInputOutcome: TypeAlias = (
    InputCancelled
    | InputAlreadyClaimed
    | InputAlreadyCompleted
    | InputAlreadyCancelled
    | InputNotFound
)
