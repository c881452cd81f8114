"""What a drive has gathered, as the commit of its turn. Pure: everything in it derives from outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from lash.attachments.model import StoredSource
from lash.core.cancel import Cancellation
from lash.core.json import JsonObject
from lash.core.leases import Fence
from lash.effects.controller import Drift
from lash.effects.journal import JournalRecord
from lash.effects.outcomes import DirectCall, LlmCallOutcome
from lash.llm.retry import LlmCallRecord
from lash.llm.usage import Usage
from lash.runtime.turn_setup import TurnSetup
from lash.sessions.committing import TurnCommit
from lash.sessions.ingress import EnqueueRequest
from lash.sessions.model import (
    AcceptedTurn,
    ChildUsage,
    CompactContext,
    FrameOpen,
    FrameReason,
    SessionHead,
    ToolCallRecord,
)
from lash.sessions.usage import UsageEntry, merge
from lash.turn.assembly import AssembledOutcome, assemble
from lash.turn.messages import Message, attachments_in, text_message, visible_text
from lash.turn.outcome import (
    AgentFrameSwitch,
    AssistantMessage,
    Finished,
    RuntimeStopped,
    Stopped,
    TurnIssue,
    TurnOutcome,
)
from lash.turn.tools import ToolSuccess

#: How often a task may be handed on from frame to frame before somebody has to look at it.
MOST_FRAME_SWITCHES = 16


@dataclass(slots=True)
class TurnLedger:
    """What a drive gathers for the turn's record. All of it derives from recorded outcomes."""

    outcome: TurnOutcome | None = None
    done: bool = False
    transcript: Sequence[Message] = ()
    usage: Usage = Usage()  # noqa: RUF009  a value
    tool_calls: list[ToolCallRecord] = field(default_factory=list)
    llm_calls: list[LlmCallRecord] = field(default_factory=list)
    direct_calls: Sequence[DirectCall] = ()
    children: Sequence[ChildUsage] = ()
    issues: list[TurnIssue] = field(default_factory=list)
    drift: Sequence[Drift] = ()
    plugin_state: JsonObject | None = None
    queued: Sequence[EnqueueRequest] = ()


def commit_of(
    turn: AcceptedTurn,
    setup: TurnSetup,
    ledger: TurnLedger,
    *,
    head: SessionHead,
    skip: int,
    fence: Fence,
    scope_key: str,
    journal: Sequence[JournalRecord],
    drive_ms: int,
    cancellation: Cancellation | None,
) -> TurnCommit:
    """The commit of a turn whose drive has come to its end. `skip` messages were there before it."""
    assembled = _limited(turn, _assembled(ledger, skip, cancellation))
    added = [message for message in ledger.transcript[skip:] if not message.transient]
    frame = _frame(turn, assembled.outcome, head)
    shown: Sequence[Message] = ()
    if turn.input.command is not None:
        # What a command said to the model is no part of the conversation; what came of it may be.
        shown = _frame_messages(setup, assembled) if frame is not None else ()
        added = []
    else:
        added.extend(_final_message(setup, added, assembled))
    direct = ledger.direct_calls
    # A summary of the frame that the turn leaves is for nobody, and the next frame needs none yet.
    left = frame is not None and turn.input.command is None
    return TurnCommit(
        session_id=turn.session_id,
        turn_id=turn.turn_id,
        expected_revision=head.revision,
        fence=fence,
        messages=tuple(added),
        outcome=assembled.outcome,
        usage=sum((call.usage for call in direct), ledger.usage),
        text=assembled.text,
        output_state=assembled.output_state,
        scope_key=scope_key,
        tool_calls=tuple(ledger.tool_calls),
        llm_calls=(*ledger.llm_calls, *(call.record for call in direct)),
        issues=(*assembled.issues, *_drift_issues(ledger.drift), *_restart_issues(turn)),
        drive_ms=drive_ms,
        journal=tuple(journal),
        cancellation=cancellation,
        frame=frame,
        frame_messages=tuple(shown),
        ledger=tuple(_usage_entries(turn, setup, ledger)),
        children_usage=tuple(ledger.children),
        provider_id=setup.model.provider.kind if ledger.llm_calls else None,
        plugin_state=ledger.plugin_state,
        queued=() if left else tuple(ledger.queued),
    )


def shown_attachments(commit: TurnCommit) -> Sequence[str]:
    """The stored attachments that a turn's messages and tool calls show, each once."""
    sources = [source for message in commit.messages for source in attachments_in(message)]
    sources += [source for call in commit.tool_calls for source in call.attachments]
    found = [each.attachment_ref.id for each in sources if isinstance(each, StoredSource)]
    return tuple(dict.fromkeys(found))


def cancelled(commit: TurnCommit, setup: TurnSetup, cancellation: Cancellation) -> TurnCommit:
    """The same turn, as one that was asked to stop before it was committed. Its answer is not kept."""
    final = _final_id(setup)
    assembled = assemble(
        outcome=None, done=True, messages=(), issues=commit.issues, cancellation=cancellation
    )
    return msgspec.structs.replace(
        commit,
        messages=tuple(message for message in commit.messages if message.id != final),
        outcome=assembled.outcome,
        text="",
        output_state=assembled.output_state,
        cancellation=cancellation,
        frame=None,
        frame_messages=(),
        queued=(),
    )


def bare_cancelled(
    turn: AcceptedTurn,
    head: SessionHead,
    messages: Sequence[Message],
    *,
    calls: Sequence[LlmCallOutcome],
    fence: Fence,
    scope_key: str,
    cancellation: Cancellation,
    plugin_state: JsonObject | None = None,
) -> TurnCommit:
    """A turn that is to stop and cannot be driven here, because nobody here has its agent.

    What its recorded model calls have cost is booked; what they said cannot be made a history of. What
    plugins remember of it is kept.
    """
    assembled = assemble(outcome=None, done=True, messages=(), cancellation=cancellation)
    spent = [UsageEntry(source="turn", model=call.record.model, usage=call.spent) for call in calls]
    return TurnCommit(
        session_id=turn.session_id,
        turn_id=turn.turn_id,
        expected_revision=head.revision,
        fence=fence,
        messages=tuple(messages),
        outcome=assembled.outcome,
        usage=sum((entry.usage for entry in spent), Usage()),
        text="",
        output_state=assembled.output_state,
        scope_key=scope_key,
        llm_calls=tuple(call.record for call in calls),
        ledger=merge(spent),
        issues=tuple(_restart_issues(turn)),
        cancellation=cancellation,
        plugin_state=plugin_state,
    )


def _assembled(
    ledger: TurnLedger, skip: int, cancellation: Cancellation | None
) -> AssembledOutcome:
    return assemble(
        outcome=ledger.outcome,
        done=ledger.done,
        messages=ledger.transcript[skip:],
        issues=ledger.issues,
        tool_failed=any(
            not isinstance(call.output.outcome, ToolSuccess) for call in ledger.tool_calls
        ),
        cancellation=cancellation,
    )


def _limited(turn: AcceptedTurn, assembled: AssembledOutcome) -> AssembledOutcome:
    """A task that is handed on and on is stopped before it goes round for ever."""
    before = turn.input.frame_task
    switches = before.switches if before else 0
    if not isinstance(assembled.outcome, AgentFrameSwitch) or switches < MOST_FRAME_SWITCHES:
        return assembled
    issue = TurnIssue(
        kind="runtime",
        code="agent_frame_switch_limit",
        message=f"The task was handed on {MOST_FRAME_SWITCHES} times without being finished.",
    )
    return AssembledOutcome(
        outcome=Stopped(reason=RuntimeStopped()), issues=(*assembled.issues, issue)
    )


def _frame(turn: AcceptedTurn, outcome: TurnOutcome, head: SessionHead) -> FrameOpen | None:
    """The agent frame that a turn opens, if it does."""
    match outcome, turn.input.command:
        case AgentFrameSwitch(frame_id=frame_id), None:
            if not frame_id.strip() or frame_id == head.frame:
                return None  # it goes on where it is
            reason: FrameReason = "continue_as"
        case Finished(result=AssistantMessage(text=text)), CompactContext() if text:
            frame_id, reason = f"{head.session_id}:frame:compaction:{turn.turn_id}", "compaction"
        case _:
            return None
    return FrameOpen(frame_id=frame_id, reason=reason, previous_frame_id=head.frame)


def _frame_messages(setup: TurnSetup, assembled: AssembledOutcome) -> Sequence[Message]:
    text = f"What was said before, summarised:\n\n{assembled.text}"
    return [text_message(f"m_turn_{setup.message_scope}_summary", "system", text)]


def _final_id(setup: TurnSetup) -> str:
    return f"m_turn_{setup.message_scope}_final"


def _final_message(
    setup: TurnSetup, added: Sequence[Message], assembled: AssembledOutcome
) -> Sequence[Message]:
    """The final answer as a message, unless the history ends with it already (spec 3.6)."""
    match assembled.outcome:
        case Finished(result=AssistantMessage(text=text)) if text:
            pass
        case _:
            return []
    last = added[-1] if added else None
    if last is not None and last.role == "assistant" and visible_text(last) == text:
        return []
    return [text_message(_final_id(setup), "assistant", text, kind="prose")]


def _usage_entries(
    turn: AcceptedTurn, setup: TurnSetup, ledger: TurnLedger
) -> Sequence[UsageEntry]:
    """What the turn used, by source and model. Child sessions are booked under their own sources."""
    own = "compaction" if isinstance(turn.input.command, CompactContext) else "turn"
    entries = [UsageEntry(source=own, model=setup.model_name, usage=ledger.usage)]
    entries += [
        UsageEntry(source=call.record.source, model=call.record.model, usage=call.usage)
        for call in ledger.direct_calls
    ]
    entries += [
        UsageEntry(source=child.source, model=child.model, usage=child.usage)
        for child in ledger.children
    ]
    return merge(entries)


def _drift_issues(drift: Sequence[Drift]) -> Sequence[TurnIssue]:
    return [
        TurnIssue(
            kind="drift",
            code="surroundings_drift",
            message=(
                f"{', '.join(each.paths)} changed since {each.replay_key} was recorded; the recorded "
                "outcome was used."
            ),
            paths=each.paths,
        )
        for each in drift
    ]


def _restart_issues(turn: AcceptedTurn) -> Sequence[TurnIssue]:
    if not turn.restarts:
        return []
    message = (
        "Its surroundings changed while it was under way, so the turn was begun again from its input. "
        "What its tools did before may have been done twice."
    )
    return [TurnIssue(kind="drift", code="turn_restarted", message=message)]
