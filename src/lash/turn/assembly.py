"""What a turn came to, once its machine is done: outcome, text and issues (turns spec 8.1). Pure.

The precedence: a cancellation that won, the outcome the machine reported, a turn that never said it
was done, issues that block, the turn limit, and at last what the transcript holds.
"""

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from lash.core.cancel import Cancellation
from lash.core.json import Data
from lash.turn.messages import Message, visible_text
from lash.turn.outcome import (
    AssistantMessage,
    Cancelled,
    Finished,
    MaxTurns,
    RuntimeStopped,
    Stopped,
    ToolFailureStop,
    TurnIssue,
    TurnOutcome,
    cancelled_by,
)

OutputState: TypeAlias = Literal["usable", "empty_output", "traceback_only", "recovered_from_error"]

#: How the message begins by which a protocol says that the limit ended a turn.
LIMIT_NOTICE = "Turn limit reached ("

#: How far back that message is looked for.
_NOTICE_WITHIN = 8

#: Kinds of issue that tell of something without keeping the turn from its outcome.
_REMARKS = frozenset({"drift"})

_TRACE = r"Traceback \(most recent call last\):\n(?:[ \t].*\n)+[^\s:(]+(?::.*)?"
_LED_TO = r"(?:During handling of the above exception|The above exception was the direct cause).*"

#: A Python traceback from its first line to its last, with those that led to it.
_TRACEBACK = re.compile(rf"{_TRACE}(?:\n+{_LED_TO}\n+{_TRACE})*")


class AssembledOutcome(Data):
    """What a turn came to.

    Attributes:
        outcome: How it ended.
        text: What it answers, fit to be shown; "" without an answer in prose.
        raw_text: The same as it was said.
        output_state: What the text is worth: `usable`; `empty_output` when there is none;
            `traceback_only` when the answer is nothing but a Python traceback, which is not shown;
            `recovered_from_error` when it was read from the transcript for want of an outcome.
        issues: Everything that went wrong, in the order it was noticed.
    """

    outcome: TurnOutcome
    text: str = ""
    raw_text: str = ""
    output_state: OutputState = "empty_output"
    issues: tuple[TurnIssue, ...] = ()


def assemble(
    *,
    outcome: TurnOutcome | None,
    done: bool,
    messages: Sequence[Message],
    issues: Sequence[TurnIssue] = (),
    tool_failed: bool = False,
    cancellation: Cancellation | None = None,
    treat_missing_done_as_failure: bool = True,
) -> AssembledOutcome:
    """What a turn came to.

    Args:
        outcome: The outcome the machine reported, if it did.
        done: Whether it reported that nothing follows.
        messages: What the turn added to the transcript, its input first.
        issues: What was reported on the way.
        tool_failed: Whether any tool call did not succeed.
        cancellation: The cancellation that stopped the turn, also one that came in while it was
            finishing but won the race with its completion. Not one that came too late.
        treat_missing_done_as_failure: Whether a turn that never said it was done has failed.
    """
    reported = tuple(issues)
    if cancellation is not None:
        # A cancelled turn answers nothing, also where an answer was ready.
        return AssembledOutcome(outcome=cancelled_by(cancellation), issues=reported)
    if outcome is not None:
        return _explicit(outcome, reported)
    if not done and treat_missing_done_as_failure:
        missing = TurnIssue(
            kind="runtime",
            code="missing_done",
            message="The turn broke off: it reported neither an outcome nor its end.",
        )
        return AssembledOutcome(
            outcome=Stopped(reason=RuntimeStopped()), issues=(*reported, missing)
        )
    if any(issue.kind not in _REMARKS for issue in reported):
        blocked = ToolFailureStop() if tool_failed else RuntimeStopped()
        return AssembledOutcome(outcome=Stopped(reason=blocked), issues=reported)
    kept = [message for message in messages if not message.transient]
    if any(_announces_limit(message) for message in kept[-_NOTICE_WITHIN:]):
        return AssembledOutcome(outcome=Stopped(reason=MaxTurns()), issues=reported)
    return _recovered(_last_answer(kept), reported)


def _explicit(outcome: TurnOutcome, issues: tuple[TurnIssue, ...]) -> AssembledOutcome:
    match outcome:
        case Finished(result=AssistantMessage(text=raw)):
            text, state = _safe(raw)
            finished = Finished(result=AssistantMessage(text=text))
            return AssembledOutcome(
                outcome=finished, text=text, raw_text=raw, output_state=state, issues=issues
            )
        case Stopped(reason=Cancelled(request_id=None)):
            unexplained = TurnIssue(
                kind="runtime",
                code="turn_cancellation_evidence_missing",
                message="The turn ended as cancelled, but no request to cancel it is known.",
            )
            return AssembledOutcome(outcome=outcome, issues=(*issues, unexplained))
        case _:
            return AssembledOutcome(outcome=outcome, issues=issues)


def _recovered(raw: str, issues: tuple[TurnIssue, ...]) -> AssembledOutcome:
    text, state = _safe(raw)
    outcome = Finished(result=AssistantMessage(text=text))
    if state == "empty_output":
        return AssembledOutcome(outcome=outcome, raw_text=raw, issues=issues)
    recovered = TurnIssue(
        kind="runtime",
        code="assistant_output_recovered_from_state",
        message="The turn reported no outcome; its text is the last answer in the transcript.",
    )
    return AssembledOutcome(
        outcome=outcome,
        text=text,
        raw_text=raw,
        output_state="recovered_from_error" if state == "usable" else state,
        issues=(*issues, recovered),
    )


def _safe(raw: str) -> tuple[str, OutputState]:
    """A text as it may be shown, and what it is worth."""
    if not raw.strip():
        return raw, "empty_output"
    if _TRACEBACK.fullmatch(raw.strip()):
        return "", "traceback_only"
    return raw, "usable"


def _announces_limit(message: Message) -> bool:
    return message.role == "system" and any(LIMIT_NOTICE in part.content for part in message.parts)


def _last_answer(kept: Sequence[Message]) -> str:
    """The last message of the model, unless something was said to it after that."""
    for message in reversed(kept):
        if message.role == "user":
            return ""
        if message.role == "assistant":
            return visible_text(message)
    return ""
