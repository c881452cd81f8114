"""What a session is made of: its graph, its head, its accepted input and its committed turns."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from lash.attachments.values import attachments_of, decode_tool_value
from lash.core.attachments import AttachmentSource, StoredSource
from lash.core.cancel import Cancellation
from lash.core.json import Data, JsonObject, JsonValue
from lash.llm.request import OutputSpec
from lash.llm.retry import LlmCallRecord
from lash.llm.usage import Usage
from lash.sessions.tools import UNTOLD, ChangeTools, SessionToolState
from lash.turn.assembly import OutputState
from lash.turn.exchange import TurnCause
from lash.turn.messages import Message, Pieces
from lash.turn.outcome import TurnIssue, TurnOutcome
from lash.turn.prompt import PromptLayer
from lash.turn.tools import ToolOutput, ToolSuccess


class AgentRef(Data):
    """An agent as it is recorded: by declared name and version, never by its code."""

    name: str
    version: str = "1"


class TextItem(Data, tag_field="type", tag="text"):
    """A piece of text in a turn's input."""

    text: str


class AttachmentItem(Data, tag_field="type", tag="attachment"):
    """A picture or a document in a turn's input, at its place. Never its bytes: those are stored."""

    source: AttachmentSource


class CompactContext(Data, tag_field="type", tag="compact_context"):
    """Summarise the current frame into a new one. Nothing is deleted.

    `instructions` says what the summary must keep, beside what it keeps anyway.
    """

    instructions: str = ""


class ConfigureSession(Data, tag_field="type", tag="configure_session"):
    """Change what the session says about its model, prompt and plugins, from here on.

    Attributes:
        model: A `provider:model` string; "" to go back to the agent's own; None to leave it.
        provider_id: The provider of that model.
        prompt: The session's own prompt layer; None to leave it.
        plugin_options: What plugins are told about the session, by their ids; None for one takes away
            what it was told. Those that are not named are left.
        tools: What changes about its tools; None for nothing.
    """

    model: str | None = None
    provider_id: str | None = None
    prompt: PromptLayer | None = None
    plugin_options: Mapping[str, JsonValue] = {}
    tools: ChangeTools | None = None


class RunOperation(Data, tag_field="type", tag="plugin_operation"):
    """Ask a plugin for one of its commands or tasks, with these arguments."""

    plugin_id: str
    name: str
    args: Mapping[str, JsonValue] = {}


SessionCommand: TypeAlias = CompactContext | ConfigureSession | RunOperation


class AgentFrameTask(Data):
    """A task handed over to another agent frame, by the turn that opened it.

    `root` is the turn that began the chain, and `switches` counts its frames so far.
    """

    frame_id: str
    task: str
    root: str
    switches: int


class TurnInput(Data):
    """What a turn begins with.

    Attributes:
        items: What the user says.
        causes: Reasons for the turn that are not the user's.
        command: What the turn does instead of asking the agent.
        frame_task: The task that another frame handed over.
        input_ids: The queued items the turn was composed of, in order.
        prompt: The turn's own prompt layer.
        output: What the answer must look like.
    """

    items: tuple[TextItem | AttachmentItem, ...] = ()
    causes: tuple[TurnCause, ...] = ()
    command: SessionCommand | None = None
    frame_task: AgentFrameTask | None = None
    input_ids: tuple[str, ...] = ()
    prompt: PromptLayer | None = None
    output: OutputSpec | None = None

    @property
    def text(self) -> str:
        """The input as text; attachments are left out."""
        return "\n".join(item.text for item in self.items if isinstance(item, TextItem))

    @property
    def pieces(self) -> Pieces:
        """What the user says, in order."""
        return tuple(
            item.text if isinstance(item, TextItem) else item.source for item in self.items
        )

    @property
    def attachment_ids(self) -> tuple[str, ...]:
        """The stored attachments of the input, each once: what its session must refer to."""
        found = (
            item.source.attachment_ref.id
            for item in self.items
            if isinstance(item, AttachmentItem) and isinstance(item.source, StoredSource)
        )
        return tuple(dict.fromkeys(found))


FrameReason: TypeAlias = Literal["initial", "continue_as", "compaction", "open"]


class FrameOpen(Data):
    """A node that opens an agent frame: what the model sees begins after it.

    `previous_frame_id` is the frame it takes over from.
    """

    frame_id: str
    reason: FrameReason
    previous_frame_id: str


class SessionNode(Data):
    """One node of a session's graph: a message or the opening of a frame, chained by content.

    `digest` covers the parent's digest and the content, so a leaf's digest names a whole history.
    Exactly one of `message` and `frame` is set. `session_id` is the session whose turn added it, which
    may be one that this history was forked from.
    """

    session_id: str
    node_id: str
    digest: str
    turn_id: str
    message: Message | None = None
    frame: FrameOpen | None = None
    parent_id: str | None = None


def messages_of(path: Sequence[SessionNode]) -> Sequence[Message]:
    """The messages among nodes."""
    return [node.message for node in path if node.message is not None]


class RootSession(Data, tag_field="kind", tag="root"):
    """The session began by itself."""


class ForkedSession(Data, tag_field="kind", tag="fork"):
    """The session shares the history of another one up to a node."""

    session_id: str
    node_id: str | None


class ChildSession(Data, tag_field="kind", tag="child"):
    """A tool call of another session began the session.

    `tools` is what it begins with of what its parent says about tools.
    """

    parent_session_id: str
    turn_id: str
    call_id: str
    depth: int = 1
    tools: SessionToolState | None = None


SessionRelation: TypeAlias = RootSession | ForkedSession | ChildSession


class SessionConfig(Data):
    """What a session says about its model and prompt, on top of its agent.

    Attributes:
        model: A `provider:model` string, or None for the agent's own model.
        prompt: The session's prompt layer.
        provider_id: The provider its turns were made with; another one is refused, because what a
            provider keeps with its messages means nothing to others.
        plugin_options: What each plugin is told about the session, by the plugin's id.
        plugin_state: What each plugin remembers of the session, by the plugin's id.
        tools: What it says about its tools; None as long as it said nothing.
        plugin_state_since: Since which revision of the session it remembers just that. A committed turn
            keeps what a plugin remembered when it began only where the turn before had changed it, which
            is the turn whose record has the revision after this one; see `lash.sessions.remembering`.
    """

    model: str | None = None
    prompt: PromptLayer | None = None
    provider_id: str | None = None
    plugin_options: Mapping[str, JsonValue] = {}
    plugin_state: Mapping[str, JsonValue] = {}
    tools: SessionToolState | None = None
    plugin_state_since: Mapping[str, int] = {}


def initial_frame(session_id: str) -> str:
    """The frame a session begins in, which no node opens."""
    return f"{session_id}:frame:initial"


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
        frame_id: The agent frame it is in; "" for the one it began in.
        config: What it says about model and prompt.
        relation: Where it comes from.
    """

    session_id: str
    agent: AgentRef
    created_at_ms: int
    revision: int = 0
    leaf_id: str | None = None
    leaf_digest: str = ""
    turn_index: int = 0
    usage: Usage = Usage()
    frame_id: str = ""
    config: SessionConfig = SessionConfig()
    relation: SessionRelation = RootSession()

    @property
    def frame(self) -> str:
        """The agent frame it is in, by name."""
        return self.frame_id or initial_frame(self.session_id)

    @property
    def tools(self) -> SessionToolState:
        """What it says about its tools: itself, or else by where it comes from."""
        if self.config.tools is not None:
            return self.config.tools
        begun = self.relation.tools if isinstance(self.relation, ChildSession) else None
        return begun or UNTOLD


def other_provider(head: SessionHead, provider_id: str | None) -> str | None:
    """The provider a session was made with, if it is another one than its agent's model has now.

    A session that names a model itself brings its provider along.
    """
    recorded = head.config.provider_id
    if head.config.model is not None or recorded is None or provider_id in {None, recorded}:
        return None
    return recorded


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
    from its input under a new id. `cancellation` is set once somebody asked the turn to stop.
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
    cancellation: Cancellation | None = None


class ToolCallRecord(Data):
    """One tool call of a turn, as it is reported and kept.

    Attributes:
        call_id: The call.
        tool: The tool's name.
        args: The arguments.
        output: What it came to; failures are values.
        duration_ms: How long its last attempt took.
        attempts: How many attempts were made.
        emitted: The occurrences that it has emitted, by id.
    """

    call_id: str
    tool: str
    args: JsonObject
    output: ToolOutput
    duration_ms: int = 0
    attempts: int = 1
    emitted: tuple[str, ...] = ()

    @property
    def attachments(self) -> tuple[AttachmentSource, ...]:
        """The attachments in what the tool answered, in the order in which a model is shown them."""
        match self.output.outcome:
            case ToolSuccess(payload=payload, has_attachments=True):
                return tuple(attachments_of(decode_tool_value(payload)))
            case _:
                return ()


class TurnTiming(Data):
    """When a turn was accepted and committed (wall clock) and how long its last drive took."""

    accepted_at_ms: int
    committed_at_ms: int
    drive_ms: int


class ChildUsage(Data):
    """What one turn of a child session used: booked once, with the turn whose tool began it."""

    session_id: str
    turn_id: str
    source: str
    model: str
    usage: Usage


class TurnRecord(Data):
    """A committed turn, as it is kept: everything `TurnResult` tells.

    `turn_index` counts the turns of the session, from 1. `usage` is the session's own;
    `children_usage` what its child sessions used beside that. `cancellation` says who stopped it.
    `output_state` says what `text` is worth, `config` what its session said when it began.
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
    children_usage: tuple[ChildUsage, ...] = ()
    cancellation: Cancellation | None = None
    command: str | None = None
    output_state: OutputState = "usable"
    config: SessionConfig = SessionConfig()


SessionState: TypeAlias = Literal["idle", "running", "waiting", "parked"]


class SessionSummary(Data):
    """A session in a list.

    `state` is `running` while a live lease is held, `waiting` when accepted input has no driver,
    `parked` when its first turn does not go on by itself (`parked` says why), else `idle`.
    `open_turns` counts accepted turns, `queued` what waits to become one.
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
    queued: int = 0
    relation: SessionRelation = RootSession()
