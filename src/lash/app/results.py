"""What a turn came to, as an application sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Self, TypeVar, cast

from lash.core.attachments import AttachmentSource
from lash.core.cancel import Cancellation
from lash.core.errors import LashError
from lash.core.json import JsonValue, encode
from lash.core.tiers import DurabilityTier
from lash.llm.retry import LlmCallRecord
from lash.llm.usage import Usage
from lash.sessions.model import ChildUsage, ToolCallRecord, TurnRecord, TurnTiming
from lash.turn.assembly import OutputState
from lash.turn.messages import Message, attachments_in, visible_text
from lash.turn.outcome import FinalValue, Finished, Stopped, ToolValue, TurnIssue, TurnOutcome

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class TurnResult:
    """A committed turn.

    Attributes:
        session_id: The session.
        turn_id: The turn.
        text: The model's final answer, or "".
        outcome: How the turn ended: `Finished`, or `Stopped` with a reason. Provider and tool
            trouble is told here, never raised.
        usage: Tokens of all its model calls, failed attempts included.
        tool_calls: Its tool calls with their outcomes, in call order.
        llm_calls: The ledger of its model calls, every attempt.
        issues: What went wrong, or changed around it.
        timing: When it was accepted and committed, and how long its last drive took.
        revision: The session's revision after it.
        durability: `durable`, or `ephemeral` for a `:memory:` runtime, whose turns die with it.
        children_usage: Tokens that child sessions used for it, beside `usage`.
        cancellation: Who stopped it, if somebody did.
        command: The session command that it carried out in place of a question to the agent.
        output_state: What `text` is worth: `usable`; `empty_output` when there is none;
            `traceback_only` when the answer is nothing but a Python traceback, which is not shown;
            `recovered_from_error` when it was read from the transcript for want of an outcome.
    """

    session_id: str
    turn_id: str
    text: str
    outcome: TurnOutcome
    usage: Usage
    tool_calls: Sequence[ToolCallRecord]
    llm_calls: Sequence[LlmCallRecord]
    issues: Sequence[TurnIssue]
    timing: TurnTiming
    revision: int
    durability: DurabilityTier
    children_usage: Sequence[ChildUsage] = ()
    cancellation: Cancellation | None = None
    command: str | None = None
    output_state: OutputState = "usable"

    @property
    def total_usage(self) -> Usage:
        """Tokens of the turn and of its child sessions, each counted once."""
        return sum((child.usage for child in self.children_usage), self.usage)

    @property
    def is_success(self) -> bool:
        """Whether the turn came to its end rather than being stopped."""
        return not isinstance(self.outcome, Stopped)

    @property
    def value(self) -> JsonValue:
        """The value a tool ended the turn with, or None."""
        match self.outcome:
            case Finished(result=ToolValue(value=value) | FinalValue(value=value)):
                return value
            case _:
                return None

    def raise_for_outcome(self) -> Self:
        """Return this result, or raise when the turn was stopped; for scripts.

        Raises:
            LashError: With the code of the first issue, or the stop's reason.
        """
        if not isinstance(self.outcome, Stopped):
            return self
        reason = str(self.outcome.reason.__struct_config__.tag)
        issue = self.issues[0] if self.issues else None
        code = issue.code if issue and issue.code else reason
        said = issue.message if issue else "no further reason was given"
        raise LashError(code, f"Turn {self.turn_id} was stopped ({reason}): {said}")


@dataclass(frozen=True, slots=True)
class TypedTurnResult(TurnResult, Generic[T_co]):
    """A committed turn whose answer was asked for in a form: `output` is the answer, read.

    `run(…, output=SomeType)` gives one. The answer was checked before the turn came to its end, and
    the model was asked again where it did not fit.
    """

    read: Callable[[str], object] = field(default=str, repr=False, compare=False)

    @property
    def output(self) -> T_co:
        """The answer as what was asked for.

        Raises:
            LashError: The turn was stopped and has no such answer; see `raise_for_outcome`.
            DirectError: `invalid_structured_output`: the type no longer fits what was committed.
        """
        self.raise_for_outcome()
        # A tool that ends the turn with a value answers in the model's place.
        said = self.text if self.value is None else encode(self.value).decode()
        return cast("T_co", self.read(said))


def typed_result(result: TurnResult, read: Callable[[str], object]) -> TypedTurnResult[T_co]:
    """A result whose text is read as what was asked for."""
    fields = {name: getattr(result, name) for name in TurnResult.__dataclass_fields__}
    return TypedTurnResult(**fields, read=read)


def turn_result(record: TurnRecord, durability: DurabilityTier) -> TurnResult:
    """The result that a committed turn's record tells."""
    return TurnResult(
        session_id=record.session_id,
        turn_id=record.turn_id,
        text=record.text,
        outcome=record.outcome,
        usage=record.usage,
        tool_calls=record.tool_calls,
        llm_calls=record.llm_calls,
        issues=record.issues,
        timing=record.timing,
        revision=record.revision,
        durability=durability,
        children_usage=record.children_usage,
        cancellation=record.cancellation,
        command=record.command,
        output_state=record.output_state,
    )


@dataclass(frozen=True, slots=True)
class ToolCallView:
    """A tool call in a history: `arguments` is the model's own JSON text."""

    call_id: str
    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResultView:
    """A tool's answer in a history, as the model was shown it."""

    call_id: str
    tool: str
    text: str


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """A committed message.

    Attributes:
        id: The message's id, unique in its session.
        role: `user`, `assistant`, `system` or `event`.
        text: Its visible text.
        tool_calls: The calls it makes.
        tool_results: The answers it gives.
        attachments: The pictures and documents it shows, those of its tool results included: each a
            `StoredSource` with its `attachment_ref`, an `ExternalUrlSource` or a `ProviderFileSource`.
    """

    id: str
    role: Literal["user", "assistant", "system", "event"]
    text: str
    tool_calls: Sequence[ToolCallView] = ()
    tool_results: Sequence[ToolResultView] = ()
    attachments: Sequence[AttachmentSource] = ()


def history_message(message: Message) -> HistoryMessage:
    """A message as an application sees it."""
    calls = tuple(
        ToolCallView(part.tool_call_id or "", part.tool_name or "", part.content)
        for part in message.parts
        if part.kind == "tool_call"
    )
    results = tuple(
        ToolResultView(part.tool_call_id or "", part.tool_name or "", part.content)
        for part in message.parts
        if part.kind == "tool_result"
    )
    return HistoryMessage(
        message.id, message.role, visible_text(message), calls, results, attachments_in(message)
    )
