"""What a session is made of: its graph, its head, its accepted input and its committed turns."""

from typing import Literal, TypeAlias

from lash.core.json import Data, JsonObject
from lash.llm.retry import LlmCallRecord
from lash.llm.usage import Usage
from lash.turn.messages import Message
from lash.turn.outcome import TurnIssue, TurnOutcome
from lash.turn.tools import ToolOutput


class AgentRef(Data):
    """An agent as it is recorded: by declared name and version, never by its code."""

    name: str
    version: str = "1"


class TextItem(Data, tag_field="type", tag="text"):
    """A piece of text in a turn's input."""

    text: str


class TurnInput(Data):
    """What a turn begins with."""

    items: tuple[TextItem, ...]

    @property
    def text(self) -> str:
        """The input as text."""
        return "\n".join(item.text for item in self.items)


class SessionNode(Data):
    """One node of a session's graph: a message, chained to its parent by content.

    `digest` covers the parent's digest and the message, so a leaf's digest names a whole history.
    """

    node_id: str
    digest: str
    turn_id: str
    message: Message
    parent_id: str | None = None


class SessionHead(Data):
    """Where a session stands. `revision` grows by one with every commit and starts at 0.

    Attributes:
        session_id: The session.
        agent: Whose session it is.
        created_at_ms: When its first input was accepted.
        revision: How many commits it has seen.
        leaf_id: The newest node of the active path.
        leaf_digest: That node's digest; names the whole history by content.
        turn_index: How many turns were committed.
        usage: Tokens of all committed turns.
    """

    session_id: str
    agent: AgentRef
    created_at_ms: int
    revision: int = 0
    leaf_id: str | None = None
    leaf_digest: str = ""
    turn_index: int = 0
    usage: Usage = Usage()


class Parked(Data):
    """Why an accepted turn does not go on by itself.

    `waits_for` is `person` when somebody has to decide, and `agent` when it goes on as soon as a
    runtime opens the store that has its agent in its version.
    """

    code: str
    message: str
    parked_at_ms: int = 0
    waits_for: Literal["person", "agent"] = "person"


class AcceptedTurn(Data):
    """Input that was accepted durably and has not been committed yet.

    `sequence` orders the turns of a session. `restarts` counts how often the turn was begun again
    from its input under a new id.
    """

    session_id: str
    turn_id: str
    sequence: int
    agent: AgentRef
    input: TurnInput
    accepted_at_ms: int
    source_key: str | None = None
    parked: Parked | None = None
    restarts: int = 0


class ToolCallRecord(Data):
    """One tool call of a turn, as it is reported and kept.

    Attributes:
        call_id: The call.
        tool: The tool's name.
        args: The arguments.
        output: What it came to; failures are values.
        duration_ms: How long its last attempt took.
        attempts: How many attempts were made.
    """

    call_id: str
    tool: str
    args: JsonObject
    output: ToolOutput
    duration_ms: int = 0
    attempts: int = 1


class TurnTiming(Data):
    """When a turn was accepted and committed (wall clock) and how long its last drive took."""

    accepted_at_ms: int
    committed_at_ms: int
    drive_ms: int


class TurnRecord(Data):
    """A committed turn, as it is kept: everything `TurnResult` tells.

    `turn_index` counts the turns of the session, from 1.
    """

    session_id: str
    turn_id: str
    revision: int
    outcome: TurnOutcome
    usage: Usage
    text: str
    tool_calls: tuple[ToolCallRecord, ...]
    llm_calls: tuple[LlmCallRecord, ...]
    issues: tuple[TurnIssue, ...]
    timing: TurnTiming
    turn_index: int = 0


SessionState: TypeAlias = Literal["idle", "running", "waiting", "parked"]


class SessionSummary(Data):
    """A session in a list.

    `state` is `running` while a live lease is held, `waiting` when accepted input has no driver,
    `parked` when its first turn does not go on by itself (`parked` says why), else `idle`.
    """

    session_id: str
    agent: AgentRef
    state: SessionState
    turns: int
    open_turns: int
    usage: Usage
    created_at_ms: int
    updated_at_ms: int
    parked: Parked | None = None
