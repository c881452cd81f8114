"""What a model answered, and what kept it from answering (facade spec 14.2, 15.1)."""

from typing import Literal, TypeAlias

from lash.core.json import Data, JsonValue
from lash.llm.usage import Usage

TerminalReason: TypeAlias = Literal[
    "stop",
    "tool_use",
    "output_limit",
    "context_overflow",
    "content_filter",
    "provider_error",
    "cancelled",
    "unknown",
]
FailureKind: TypeAlias = Literal[
    "transport",
    "timeout",
    "http",
    "stream",
    "auth",
    "validation",
    "quota",
    "unsupported",
    "unknown",
]
TextPhase: TypeAlias = Literal["commentary", "final_answer"]


class TextPart(Data, tag_field="type", tag="text"):
    """Visible text. Some providers tell commentary from the final answer."""

    text: str
    phase: TextPhase | None = None


class ToolCallPart(Data, tag_field="type", tag="tool_call"):
    """A tool call; `input_json` is the raw argument text, which may be malformed."""

    call_id: str
    tool_name: str
    input_json: str
    replay: JsonValue = None


class ReasoningPart(Data, tag_field="type", tag="reasoning"):
    """Reasoning; `replay` is the provider's opaque proof that lets it be sent back."""

    text: str
    replay: JsonValue = None


ResponsePart: TypeAlias = TextPart | ToolCallPart | ReasoningPart


class Evidence(Data):
    """What the provider says about the call. Missing means not reported, never assumed."""

    served_model: str | None = None
    response_id: str | None = None
    request_id: str | None = None
    finish_reason: str | None = None


class LlmResponse(Data):
    """A completed answer. `full_text` is used when `parts` is empty."""

    parts: tuple[ResponsePart, ...] = ()
    full_text: str = ""
    usage: Usage = Usage()
    terminal_reason: TerminalReason = "stop"
    diagnostic: str | None = None
    evidence: Evidence | None = None


class LlmFailure(Data):
    """Why a model call did not complete.

    Attributes:
        kind: The class of failure.
        message: What happened, free of secrets.
        retryable: Whether the same request may succeed later.
        code: The provider's or lash's code.
        status: The HTTP status, if there was one.
        terminal_reason: What the turn ends with when no attempt is left.
        retry_after_ms: How long the provider asked to wait.
        usage: What the provider reported before it failed.
        evidence: What the provider said about the call.
    """

    kind: FailureKind
    message: str
    retryable: bool
    code: str | None = None
    status: int | None = None
    terminal_reason: TerminalReason = "provider_error"
    retry_after_ms: int | None = None
    usage: Usage = Usage()
    evidence: Evidence | None = None


class ProviderFailure(Exception):  # noqa: N818  a provider reports it; the ladder turns it into data
    """What a provider raises when a single attempt fails. It never leaves the retry ladder."""

    def __init__(self, failure: LlmFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure
