"""What the machine says while it runs (turns spec 1.12). Internal; not the application's vocabulary.

The machine says it on every drive, replayed or not. What applications see is announced where work is
really executed, so that it is said once (D18).
"""

from typing import TypeAlias

from lash.core.json import Data, JsonValue
from lash.llm.usage import Usage
from lash.turn.messages import Message
from lash.turn.outcome import TurnIssue, TurnOutcome
from lash.turn.tools import CompletedToolCall


class LlmRequested(Data, tag_field="type", tag="llm_request"):
    """A model call is about to be made."""

    protocol_iteration: int
    message_count: int
    tools: tuple[str, ...]


class TextEmitted(Data, tag_field="type", tag="text_delta"):
    """Text that was not streamed."""

    text: str


class LlmResponded(Data, tag_field="type", tag="llm_response"):
    """The model answered with this text."""

    protocol_iteration: int
    content: str


class TokenUsage(Data, tag_field="type", tag="token_usage"):
    """Tokens of one model call, and of the turn so far."""

    protocol_iteration: int
    usage: Usage
    cumulative: Usage


class ToolCallReported(Data, tag_field="type", tag="tool_call"):
    """A tool call has its answer. Reported in call order."""

    call: CompletedToolCall


class MessagesInjected(Data, tag_field="type", tag="injected_messages_committed"):
    """A checkpoint delivered messages into the running turn."""

    checkpoint: str
    messages: tuple[Message, ...]


class ErrorReported(Data, tag_field="type", tag="error"):
    """Something went wrong."""

    issue: TurnIssue


class OutcomeReached(Data, tag_field="type", tag="turn_outcome"):
    """The turn's outcome is known."""

    outcome: TurnOutcome


class DoneReported(Data, tag_field="type", tag="done"):
    """Nothing follows."""


SessionStreamEvent: TypeAlias = (
    LlmRequested
    | TextEmitted
    | LlmResponded
    | TokenUsage
    | ToolCallReported
    | MessagesInjected
    | ErrorReported
    | OutcomeReached
    | DoneReported
)


class ConversationRecord(Data, tag_field="type", tag="conversation"):
    """A message that belongs to the session's history."""

    message: Message


class ProtocolRecord(Data, tag_field="type", tag="protocol"):
    """A protocol's own durable event."""

    plugin_id: str
    payload: JsonValue = None


HistoryRecord: TypeAlias = ConversationRecord | ProtocolRecord
