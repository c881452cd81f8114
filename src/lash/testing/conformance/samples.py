"""The values that the properties are told with: owners, input, messages, commits, records."""

from collections.abc import Sequence

from lash.core.leases import Fence, LeaseClaim, LeaseOwner
from lash.core.scopes import TurnScope, journal_key
from lash.effects.journal import JournalRecord
from lash.llm.usage import Usage
from lash.sessions.model import AgentRef, TextItem, TurnInput
from lash.sessions.planner import AcceptRequest, TurnCommit
from lash.turn.messages import Message, Part, PluginOrigin, text_message
from lash.turn.outcome import AssistantMessage, Finished

TTL_MS = 30_000
SUPPORT = AgentRef(name="support")

#: Two owners on other hosts: no store can prove anything about them.
ANA = LeaseOwner(owner_id="ana", incarnation="ana-1", host="host-a")
BEN = LeaseOwner(owner_id="ben", incarnation="ben-1", host="host-b")


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
    )


def record(key: str, outcome: str = '{"type":"checkpoint"}', *, token: int = 0) -> JournalRecord:
    """A recorded effect."""
    return JournalRecord(
        replay_key=key,
        kind="checkpoint",
        identity="1:identity",
        surroundings="",
        envelope='{"identity":{},"surroundings":{}}',
        outcome=outcome,
        recorded_at_ms=1_750_000_000_000,
        duration_ms=1.5,
        fencing_token=token,
    )
