"""The values that the properties are told with: owners, input, messages, commits, records."""

from collections.abc import Sequence

from lash.core.cancel import Cancellation
from lash.core.leases import Fence, LeaseClaim, LeaseOwner
from lash.core.scopes import ExecutionScope, RuntimeOperationScope, TurnScope, journal_key
from lash.effects.journal import JournalRecord
from lash.effects.transitions import SPILL_BYTES
from lash.effects.waits.keys import mint
from lash.effects.waits.model import (
    AwaitEventWaitIdentity,
    CustomWait,
    ExternalCompletionError,
    ResolvedErr,
    ResolvedOk,
)
from lash.effects.waits.store import AwaitEventStore
from lash.effects.waits.transitions import WaitRow, row_of
from lash.llm.usage import Usage
from lash.sessions.accepting import AcceptRequest
from lash.sessions.committing import TurnCommit
from lash.sessions.ingress import (
    CancelTarget,
    EnqueueRequest,
    Ingress,
    NextTurn,
    Payload,
    ProcessWake,
    QueuedItem,
    UserInput,
)
from lash.sessions.model import AgentRef, TextItem, TurnInput
from lash.sessions.stopping import CancelRequest
from lash.sessions.usage import UsageEntry
from lash.turn.exchange import TurnCause
from lash.turn.messages import Message, Part, PluginOrigin, text_message
from lash.turn.outcome import AssistantMessage, Finished

TTL_MS = 30_000
NEXT_TURN = NextTurn()
SUPPORT = AgentRef(name="support")

#: Two owners on other hosts: no store can prove anything about them.
ANA = LeaseOwner(owner_id="ana", incarnation="ana-1", host="host-a")
BEN = LeaseOwner(owner_id="ben", incarnation="ben-1", host="host-b")

#: How a wait may end, with everything that JSON can carry.
YES = ResolvedOk(payload={"by": "ana", "lines": [1, 2.5, None, "é ☃"]})
NO = ResolvedErr(payload=ExternalCompletionError(code="refused", message="no", raw={"n": 1}))

#: An outcome too large for a journal's row, and what surrounds an effect.
BIG = '{"type":"checkpoint","text":"' + "é" * SPILL_BYTES + '"}'
CONTENT = '{"instructions":"Be brief."}'


def said(text: str) -> TurnInput:
    """Input of one text."""
    return TurnInput(items=(TextItem(text=text),))


def claim(owner: LeaseOwner, *, nonce: str = "", presumed_dead: int | None = None) -> LeaseClaim:
    """A claim of 30 seconds. Its nonce is the owner's unless one is given."""
    return LeaseClaim(
        owner=owner,
        nonce=nonce or f"nonce-of-{owner.incarnation}",
        ttl_ms=TTL_MS,
        presumed_dead=presumed_dead,
    )


def request(
    turn_id: str,
    text: str = "hello",
    *,
    session: str = "s",
    owner: LeaseOwner = ANA,
    agent: AgentRef = SUPPORT,
    source_key: str | None = None,
    presumed_dead: int | None = None,
) -> AcceptRequest:
    """Input on its way into a session."""
    return AcceptRequest(
        session_id=session,
        agent=agent,
        turn_id=turn_id,
        input=said(text),
        claim=claim(owner, presumed_dead=presumed_dead),
        source_key=source_key,
    )


def exchange(turn_id: str, answer: str = "hi") -> tuple[Message, ...]:
    """What a plain turn adds to the history."""
    return (
        text_message(f"{turn_id}.m0", "user", "hello"),
        text_message(f"{turn_id}.m1", "assistant", answer),
    )


def shown(item: QueuedItem) -> Message:
    """The message that an item of the queue is in the turn that took it."""
    if isinstance(item.payload, ProcessWake):
        return text_message(item.payload.cause.id, "event", item.payload.cause.text)
    return text_message(item.message_id or item.item_id, "user", "taken")


def tool_call(message_id: str, call_id: str) -> Message:
    """A message that calls a tool."""
    part = Part(
        id=f"{message_id}.p0",
        kind="tool_call",
        content="{}",
        tool_call_id=call_id,
        tool_name="look",
    )
    return Message(id=message_id, role="assistant", parts=(part,))


def tool_result(message_id: str, call_id: str) -> Message:
    """A message that answers a tool call."""
    part = Part(
        id=f"{message_id}.p0",
        kind="tool_result",
        content="7",
        tool_call_id=call_id,
        tool_name="look",
    )
    return Message(id=message_id, role="user", parts=(part,))


def transient(message_id: str) -> Message:
    """A message that must never be kept."""
    origin = PluginOrigin(plugin_id="reminder", transient=True)
    return text_message(message_id, "user", "remember", origin=origin)


def scope_of(turn_id: str, session: str = "s") -> str:
    """The key of a turn's journal."""
    return journal_key(TurnScope(session_id=session, turn_id=turn_id))


def operation(name: str) -> RuntimeOperationScope:
    """An operation of the host."""
    return RuntimeOperationScope(operation_id=name)


def turn_commit(
    turn_id: str,
    fence: Fence,
    *,
    session: str = "s",
    revision: int = 0,
    messages: Sequence[Message] | None = None,
    usage: Usage = Usage(input_tokens=10, output_tokens=3),  # noqa: B008  immutable
    text: str = "hi",
    journal: Sequence[JournalRecord] = (),
) -> TurnCommit:
    """A turn ready to land on `revision`."""
    return TurnCommit(
        session_id=session,
        turn_id=turn_id,
        expected_revision=revision,
        fence=fence,
        messages=tuple(exchange(turn_id, text) if messages is None else messages),
        outcome=Finished(result=AssistantMessage(text=text)),
        usage=usage,
        text=text,
        scope_key=scope_of(turn_id, session),
        journal=tuple(journal),
        ledger=(UsageEntry(source="turn", model="m", usage=usage),),
    )


def entry(
    item_id: str,
    text: str = "more",
    *,
    session: str = "s",
    payload: Payload | None = None,
    ingress: Ingress = NEXT_TURN,
    agent: AgentRef | None = SUPPORT,
    source_key: str | None = None,
    merge_key: str | None = None,
    available_at_ms: int = 0,
) -> EnqueueRequest:
    """An item on its way into a session's queue: something the user says, unless told otherwise."""
    return EnqueueRequest(
        session_id=session,
        item_id=item_id,
        payload=payload or UserInput(input=said(text)),
        ingress=ingress,
        agent=agent,
        source_key=source_key,
        merge_key=merge_key,
        available_at_ms=available_at_ms,
    )


def wake(text: str = "ring") -> ProcessWake:
    """A background process that woke the session."""
    return ProcessWake(cause=TurnCause(id=f"wake-{text}", event_type="signal", text=text))


def by_id(item_id: str) -> CancelTarget:
    """An item by its id."""
    return CancelTarget(kind="input_id", value=item_id)


def by_source(source_key: str) -> CancelTarget:
    """An item by its source key."""
    return CancelTarget(kind="source_key", value=source_key)


def stop(turn_id: str, *, session: str = "s", by: str = "ana") -> CancelRequest:
    """Somebody who wants a turn to stop."""
    evidence = Cancellation(request_id=f"stop-{by}", origin=by)
    return CancelRequest(session_id=session, turn_id=turn_id, cancellation=evidence)


def wait_row(
    store: AwaitEventStore,
    wait: AwaitEventWaitIdentity | str = "approval",
    scope: ExecutionScope | None = None,
    *,
    deadline_at_ms: int | None = None,
) -> WaitRow:
    """A promise of a scope, by default of the first turn, as it is when it is made."""
    named = CustomWait(key=wait) if isinstance(wait, str) else wait
    owner = scope or TurnScope(session_id="s", turn_id="t1")
    key = mint(store.signing_secret, owner, named)
    return row_of(key, journal_key(owner), deadline_at_ms)


def record(
    key: str,
    outcome: str = '{"type":"checkpoint"}',
    *,
    token: int = 0,
    kind: str = "checkpoint",
    surroundings: str = "",
    content: str | None = None,
) -> JournalRecord:
    """A recorded effect."""
    return JournalRecord(
        replay_key=key,
        kind=kind,
        identity="1:identity",
        surroundings=surroundings,
        surroundings_content=content,
        envelope='{"identity":{},"surroundings":{}}',
        outcome=outcome,
        recorded_at_ms=1_750_000_000_000,
        duration_ms=1.5,
        fencing_token=token,
    )
