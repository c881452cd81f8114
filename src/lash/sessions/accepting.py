"""What may enter a session as a turn, who may drive it, and how a turn begins again: pure decisions.

Stores read facts, call these, and persist what they say. A refusal leaves no trace.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from lash.core.cancel import Cancellation
from lash.core.json import Data
from lash.core.leases import (
    Busy,
    Lease,
    LeaseClaim,
    LeaseState,
    decide_claim,
)
from lash.sessions.ingress import QueuedItem, UserInput, content_of
from lash.sessions.model import (
    AcceptedTurn,
    AgentRef,
    Parked,
    RootSession,
    SessionHead,
    SessionRelation,
    TurnInput,
    TurnRecord,
)

# --- accepting input ------------------------------------------------------------------------------


class AcceptRequest(Data):
    """Input on its way into a session, with the claim for the session's lease.

    Attributes:
        session_id: The session; created when it is new.
        agent: Whose session it is, or becomes.
        turn_id: The id the turn gets.
        input: The input.
        claim: The lease to take in the same transaction.
        source_key: The caller's idempotency key within the session.
        relation: Where the session comes from, if this creates it.
        provider_id: The provider the turn would be made with.
    """

    session_id: str
    agent: AgentRef
    turn_id: str
    input: TurnInput
    claim: LeaseClaim
    source_key: str | None = None
    relation: SessionRelation = RootSession()
    provider_id: str | None = None


class AcceptFacts(Data):
    """What the store knows when input arrives.

    `known` is the turn (open or committed) accepted before under the turn id or source key;
    `queued` the item of the queue that has the source key; `open_turns` are the session's turns that
    are not committed, in order; `cancellation` what was asked of the turn before it came.
    `missing_attachments` are those of the input that the session does not refer to.
    """

    now_ms: int
    lease: LeaseState
    next_sequence: int
    head: SessionHead | None = None
    known: "KnownTurn | None" = None
    queued: QueuedItem | None = None
    open_turns: tuple[AcceptedTurn, ...] = ()
    deleted: bool = False
    cancellation: Cancellation | None = None
    missing_attachments: tuple[str, ...] = ()


class KnownTurn(Data):
    """A turn accepted before: still open, or committed (`record`).

    `agent` is whose turn it is; `by_source` says that it was found by its source key, and not by its
    id or one that it had before it was begun again.
    """

    turn_id: str
    input: TurnInput
    agent: AgentRef | None = None
    by_source: bool = False
    open: AcceptedTurn | None = None
    record: TurnRecord | None = None


class Accepted(Data, tag_field="status", tag="accepted"):
    """The input is durable, and this owner holds the session's lease.

    `ahead` are the session's open turns that come first, such as one a dead process left behind.
    """

    turn: AcceptedTurn
    head: SessionHead
    lease: Lease
    ahead: tuple[AcceptedTurn, ...] = ()
    new_session: bool = False


class AlreadyQueued(Data, tag_field="status", tag="already_queued"):
    """The same input stands in the session's queue; nothing was written."""

    item: QueuedItem


class SessionGone(Data, tag_field="status", tag="deleted"):
    """The session was deleted and takes nothing any more; nothing was written."""


class ProviderDiffers(Data, tag_field="status", tag="provider_differs"):
    """The session's history was made with another provider; nothing was written."""

    recorded: str


class AlreadyAccepted(Data, tag_field="status", tag="already_accepted"):
    """The same input was accepted before; nothing was written."""

    known: KnownTurn


class InputConflict(Data, tag_field="status", tag="input_conflict"):
    """The turn id or source key was used before with other content; nothing was written."""

    turn_id: str
    by: str


class AgentMismatch(Data, tag_field="status", tag="agent_mismatch"):
    """The session belongs to another agent; nothing was written."""

    agent: AgentRef


class SessionBusy(Data, tag_field="status", tag="busy"):
    """Another owner holds the session; nothing was written."""

    holder: Lease


class SessionBlocked(Data, tag_field="status", tag="blocked"):
    """An earlier turn of the session is parked; nothing was written."""

    turn: AcceptedTurn


class AttachmentsMissing(Data, tag_field="status", tag="attachments_missing"):
    """The input shows attachments that the session does not refer to; nothing was written."""

    attachment_ids: tuple[str, ...]


AcceptResult: TypeAlias = (
    Accepted
    | AlreadyAccepted
    | AlreadyQueued
    | InputConflict
    | AgentMismatch
    | ProviderDiffers
    | SessionBusy
    | SessionBlocked
    | SessionGone
    | AttachmentsMissing
)


def plan_accept(facts: AcceptFacts, request: AcceptRequest) -> AcceptResult:
    """Whether input may enter a session, and as what."""
    refused = SessionGone() if facts.deleted else _known_input(facts, request)
    if refused is None and facts.head is not None:
        refused = _of_another(facts.head, request)
    if refused is not None:
        return refused
    if facts.missing_attachments:
        return AttachmentsMissing(attachment_ids=facts.missing_attachments)
    head = facts.head
    if facts.open_turns and needs_person(facts.open_turns[0]):
        return SessionBlocked(turn=facts.open_turns[0])
    claimed = decide_claim(facts.lease, request.claim, facts.now_ms)
    if isinstance(claimed, Busy):
        return SessionBusy(holder=claimed.holder)
    turn = AcceptedTurn(
        session_id=request.session_id,
        turn_id=request.turn_id,
        sequence=facts.next_sequence,
        agent=request.agent,
        input=request.input,
        accepted_at_ms=facts.now_ms,
        source_key=request.source_key,
        cancellation=facts.cancellation,
    )
    standing = head or SessionHead(
        session_id=request.session_id,
        agent=request.agent,
        created_at_ms=facts.now_ms,
        relation=request.relation,
    )
    return Accepted(
        turn=turn,
        head=standing,
        lease=claimed.lease,
        ahead=facts.open_turns,
        new_session=head is None,
    )


def _known_input(facts: AcceptFacts, request: AcceptRequest) -> AcceptResult | None:
    """What became of input whose id or source key was used before."""
    known, queued = facts.known, facts.queued
    if known is not None:
        if known.input != request.input:
            by = "source_key" if known.by_source else "turn_id"
            return InputConflict(turn_id=known.turn_id, by=by)
        return AlreadyAccepted(known=known)
    if queued is None:
        return None
    if queued.content != content_of(UserInput(input=request.input)):
        return InputConflict(turn_id=queued.turn_id or queued.item_id, by="source_key")
    return AlreadyQueued(item=queued)


def _of_another(head: SessionHead, request: AcceptRequest) -> AcceptResult | None:
    """Whether the session belongs to another agent, or to a provider that the turn is not made with."""
    if head.agent.name != request.agent.name:
        return AgentMismatch(agent=head.agent)
    recorded = head.config.provider_id
    own = (
        head.config.model is not None
    )  # the session names a model itself, and with it the provider
    if not own and recorded is not None and request.provider_id not in {None, recorded}:
        return ProviderDiffers(recorded=recorded)
    return None


def needs_person(turn: AcceptedTurn) -> bool:
    """Whether a turn blocks its session until somebody decides."""
    waits = turn.parked is not None and turn.parked.waits_for == "person"
    return waits and turn.cancellation is None  # one that is to stop only has to end


def waits_for_person(session: "OpenSession") -> bool:
    """Whether a session does not go on until somebody decides. One whose turn is to stop goes on."""
    first = session.turns[0] if session.turns else None
    return first is not None and needs_person(first)


def plan_restart(turn: AcceptedTurn, is_taken: Callable[[str], bool]) -> AcceptedTurn:
    """An open turn as it begins again: its input and place, under an id of its own.

    Its effects get another journal, and its tools other idempotency keys.
    """
    suffix = f":restart:{turn.restarts}" if turn.restarts else ""
    first = turn.turn_id.removesuffix(suffix)
    restarts = turn.restarts + 1
    while is_taken(f"{first}:restart:{restarts}"):
        restarts += 1
    return msgspec.structs.replace(
        turn, turn_id=f"{first}:restart:{restarts}", restarts=restarts, parked=None
    )


# --- reading ----------------------------------------------------------------------------------------


class OpenSession(Data):
    """A session with accepted input that is not committed yet.

    `turns` are its open turns in order; `queued` is the agent of the first item that waits to become
    one and is ready, if there is one.
    """

    session_id: str
    turns: tuple[AcceptedTurn, ...]
    lease: LeaseState
    queued: AgentRef | None = None
    since_ms: int = 0

    @property
    def parked(self) -> Parked | None:
        """Why its first turn does not go on by itself, if it does not."""
        return self.turns[0].parked if self.turns else None

    @property
    def agent(self) -> AgentRef:
        """Whose work comes next."""
        return self.turns[0].agent if self.turns else self.queued or AgentRef(name="")


class ClaimedSession(Data, tag_field="status", tag="claimed"):
    """The session's lease is held; `turns` are its open turns in order.

    `accepted` counts what the session has accepted so far.
    """

    lease: Lease
    head: SessionHead
    turns: tuple[AcceptedTurn, ...]
    accepted: int = 0


ReleaseResult: TypeAlias = Literal["released", "lost", "work_arrived"]


ClaimResult: TypeAlias = ClaimedSession | Busy
