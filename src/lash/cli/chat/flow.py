"""What a chat shows of a session: the fold of observed items into lines, and into what is under way.

Text of a running turn is only a preview until its model call has come to its end: it is shown as under
way, so that it can be taken back.
"""

import time
from collections.abc import Callable, Sequence

from lash.app.results import history_message
from lash.cli.chat.screen import Kind, Screen
from lash.cli.wording import (
    arguments_text,
    cancelled_text,
    elapsed,
    issue_text,
    one_line,
    outcome_text,
    tool_line,
    until,
    usage_text,
)
from lash.core.json import canonical
from lash.llm.usage import Usage
from lash.runtime.events import (
    ModelAttemptReset,
    ModelRequestStarted,
    QueuedInputAccepted,
    ReasoningDelta,
    RetryScheduled,
    TextDelta,
    ToolCallCompleted,
    ToolCallDeferred,
    ToolCallStarted,
    TurnCancelRequested,
    TurnEvent,
    TurnParked,
    TurnRestarted,
)
from lash.runtime.observed import (
    AgentFrameSwitched,
    Committed,
    Event,
    Gap,
    Item,
    LiveTurn,
    Observed,
    SessionView,
    Snapshot,
    TurnActivity,
    TurnInterrupted,
)
from lash.sessions.model import TurnRecord
from lash.turn.outcome import FinalValue, Finished, Stopped, ToolValue


class _RunningTool:
    """A tool call that has no answer yet."""

    __slots__ = ("since", "state", "tool")

    def __init__(self, tool: str) -> None:
        self.tool = tool
        self.state = "running"
        self.since = time.monotonic()


class _RunningTurn:
    """What is under way in a turn. `said` is the text that was shown for good last."""

    __slots__ = ("iteration", "said", "status", "texts", "tools")

    def __init__(self) -> None:
        self.iteration = 0
        self.texts: dict[str, str] = {}
        self.tools: dict[str, _RunningTool] = {}
        self.status = ""
        self.said = ""


class Flow:
    """Shows what happens in one session.

    Args:
        screen: Where it is shown.
        taken: Told the ids of queued input that a running turn took.
    """

    def __init__(self, screen: Screen, taken: Callable[[Sequence[str]], None]) -> None:
        self._screen = screen
        self._taken = taken
        self._turns: dict[str, _RunningTurn] = {}
        self._mine: set[str] = set()

    @property
    def running(self) -> bool:
        """Whether a turn is under way here."""
        return bool(self._turns)

    def knows(self, turn_id: str) -> bool:
        """Whether anything of a turn was shown that is still under way."""
        return turn_id in self._turns

    def began(self, turn_id: str) -> None:
        """What the user says in this turn is shown already."""
        self._mine.add(turn_id)

    def show(self, item: Item) -> None:
        """Take in the next item."""
        match item:
            case Snapshot(view=view):
                self._view(view)
            case Gap(view=view):
                self._line("[gap] some of what happened was missed; /history has it all", "warning")
                self._view(view)
            case Event(event=event):
                self._happened(event)
        self._screen.refresh()

    def under_way(self) -> Sequence[tuple[str, Kind]]:
        """What is under way now, as lines."""
        lines: list[tuple[str, Kind]] = []
        for turn in self._turns.values():
            lines += [(text, "answer") for text in turn.texts.values() if text]
            for tool in turn.tools.values():
                took = elapsed((time.monotonic() - tool.since) * 1_000)
                lines.append((f"[tool] {one_line(tool.tool)} · {tool.state} · {took}", "tool"))
            if turn.status:
                lines.append((turn.status, "note"))
        return lines

    # --- items --------------------------------------------------------------------------------------

    def _view(self, view: SessionView) -> None:
        self._turns = {}
        for live in view.live:
            self._join(live)

    def _join(self, live: LiveTurn) -> None:
        """Go on with a turn of which others saw the beginning."""
        turn = self._turns[live.turn_id] = _RunningTurn()
        turn.iteration = live.iteration
        turn.texts = {
            text.correlation_id: text.text
            for text in live.texts
            if text.kind == "text" and text.iteration == live.iteration
        }
        for call in live.tool_calls:
            if call.call is None:
                turn.tools[call.call_id] = _RunningTool(call.tool)
            else:
                self._line(f"[tool] {tool_line(call.call)}", "tool")

    def _happened(self, event: Observed) -> None:
        match event:
            case TurnActivity(turn_id=turn_id, event=happened):
                self._activity(turn_id, happened)
            case Committed(turn_id=turn_id, record=record):
                turn = self._turns.pop(turn_id, None)
                if turn is None:
                    self._others(event, users=turn_id not in self._mine)
                    turn = _RunningTurn()
                    turn.said = record.text
                self._mine.discard(turn_id)
                self._committed(record, turn)
            case TurnInterrupted(turn_id=turn_id):
                if self._turns.pop(turn_id, None) is not None:
                    self._line(
                        "[interrupted] the turn stays accepted and is gone on with", "warning"
                    )
            case AgentFrameSwitched(frame_id=frame_id):
                self._line(f"[frame] the session goes on in {frame_id}")
            case _:
                pass  # the queue is looked at by whoever fills it

    def _activity(self, turn_id: str, event: TurnEvent) -> None:
        turn = self._turns.setdefault(turn_id, _RunningTurn())
        match event:
            case TextDelta(text=text, correlation_id=key):
                turn.status = ""
                turn.texts[key] = turn.texts.get(key, "") + text
            case ReasoningDelta():
                turn.status = "thinking …"
            case ModelRequestStarted(protocol_iteration=iteration):
                if iteration > turn.iteration:
                    self._settle(turn)
                turn.iteration, turn.texts = iteration, {}
                turn.status = "…"
            case ModelAttemptReset(correlation_ids=ids):
                if any(turn.texts.pop(key, "") for key in ids):
                    self._line("[retry] the answer broke off and was taken back", "warning")
            case RetryScheduled(wait_ms=wait, attempt=attempt, max_attempts=most, reason=reason):
                why = reason.replace("_", " ")
                told = f"[retry] attempt {attempt} of {most} in {elapsed(wait)} · {why}"
                self._line(told, "warning")
            case ToolCallStarted() | ToolCallDeferred() | ToolCallCompleted():
                self._tool(turn, event)
            case _:
                self._steered(turn_id, turn, event)

    def _tool(
        self, turn: _RunningTurn, event: ToolCallStarted | ToolCallDeferred | ToolCallCompleted
    ) -> None:
        self._settle(turn)
        turn.status = ""
        match event:
            case ToolCallStarted(call_id=call_id, tool=tool):
                turn.tools[call_id] = _RunningTool(tool)
            case ToolCallDeferred(call_id=call_id, tool=tool, deadline_at_ms=deadline):
                waiting = turn.tools.setdefault(call_id, _RunningTool(tool))
                waiting.state = f"waits for an answer{until(deadline)}"
            case ToolCallCompleted(call=call):
                turn.tools.pop(call.call_id, None)
                self._line(f"[tool] {tool_line(call)} · {arguments_text(call.args)}", "tool")

    def _steered(self, turn_id: str, turn: _RunningTurn, event: TurnEvent) -> None:
        match event:
            case QueuedInputAccepted(input_ids=ids):
                self._settle(turn)
                self._taken(ids)
            case TurnCancelRequested():
                turn.status = "stopping …"
            case TurnParked(code=code, message=why):
                whom = "a runtime that has its agent" if event.waits_for == "agent" else "a person"
                self._line(f"[parked] the turn waits for {whom}: {why} [{code}]", "error")
                self._turns.pop(turn_id, None)
            case TurnRestarted(restarted_as=restarted_as, message=why):
                told = f"[restart] begun again as {restarted_as}: {one_line(why, 600)}"
                self._line(told, "warning")
                self._turns.pop(turn_id, None)
            case _:
                pass  # the commit tells the tokens

    # --- commits ------------------------------------------------------------------------------------

    def _others(self, event: Committed, *, users: bool) -> None:
        """A turn that was not seen running: everything that was said in it; the user's part if `users`."""
        calls = {call.call_id: call for call in event.record.tool_calls}
        for kept in event.messages:
            message = history_message(kept)
            if message.text and message.role != "user":
                self._line(message.text, "answer")
            elif message.text and users:
                self._line(f"> {message.text}", "user")
            for called in message.tool_calls:
                call = calls.get(called.call_id)
                told = called.tool if call is None else tool_line(call)
                self._line(f"[tool] {told} · {one_line(called.arguments)}", "tool")

    def _committed(self, record: TurnRecord, turn: _RunningTurn) -> None:
        self._settle(turn)
        answer = record.text or _value_text(record)
        if answer and answer != turn.said:
            self._line(answer, "answer")
        if record.cancellation is not None:
            self._line(f"[cancelled] {cancelled_text(record.cancellation)}", "warning")
        elif isinstance(record.outcome, Stopped):
            self._line(f"[{outcome_text(record.outcome)}]", "error")
        for issue in record.issues:
            self._line(f"[{issue.kind}] {issue_text(issue)}", "warning")
        timing = record.timing
        facts = [
            usage_text(record.usage),
            elapsed(timing.committed_at_ms - timing.accepted_at_ms),
            record.turn_id,
        ]
        if record.command is not None:
            facts.insert(0, record.command.replace("_", " "))
        if record.children_usage:
            children = sum((child.usage for child in record.children_usage), Usage())
            facts.insert(-1, f"children {usage_text(children)}")
        self._line(f"[usage] {' · '.join(facts)}")

    def _settle(self, turn: _RunningTurn) -> None:
        """What was under way has come to its end: it stays."""
        for text in turn.texts.values():
            if text:
                self._line(text.rstrip("\n"), "answer")
                turn.said = text
        turn.texts = {}

    def _line(self, text: str, kind: Kind = "note") -> None:
        self._screen.line(text, kind)


def _value_text(record: TurnRecord) -> str:
    """The value that a tool or code ended the turn with."""
    match record.outcome:
        case Finished(result=ToolValue(value=value) | FinalValue(value=value)):
            return canonical(value).decode()
        case _:
            return ""
