"""A running turn in a terminal: the answer on stdout, everything beside it on stderr."""

from typing import TextIO

from lash.app.results import TurnResult
from lash.cli.output import note
from lash.cli.wording import (
    elapsed,
    issue_text,
    one_line,
    outcome_text,
    printable,
    tool_line,
    until,
    usage_text,
)
from lash.core.json import canonical
from lash.runtime.events import (
    ModelAttemptReset,
    RetryScheduled,
    TextDelta,
    ToolCallCompleted,
    ToolCallDeferred,
    TurnEvent,
    TurnParked,
    TurnRestarted,
)
from lash.turn.outcome import Stopped


class LivePrinter:
    """Prints a turn's events as they come, then what the stream did not tell.

    What is written to stdout cannot be taken back. When an attempt is retracted, a note says so and
    the answer begins again on a new line.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._speaking = ""  # the correlation id of the text being printed
        self._said = ""  # that text
        self._at_line_start = True

    def show(self, event: TurnEvent) -> None:
        """Print one event."""
        match event:
            case TextDelta(text=text, correlation_id=correlation_id):
                if correlation_id != self._speaking:
                    self._end_line()
                    self._speaking, self._said = correlation_id, ""
                self._said += text
                self._write(text)
            case ModelAttemptReset(correlation_ids=ids):
                if self._speaking in ids:
                    self._end_line()
                    self._speaking = self._said = ""
                    note("[retry] the answer broke off; it begins again below", "yellow")
            case RetryScheduled(wait_ms=wait, attempt=attempt, max_attempts=most, reason=reason):
                why = reason.replace("_", " ")
                self._note(f"[retry] attempt {attempt} of {most} in {elapsed(wait)} · {why}")
            case ToolCallCompleted(call=call):
                self._note(f"[tool] {tool_line(call)}")
            case ToolCallDeferred(tool=tool, deadline_at_ms=deadline):
                self._note(f"[tool] {one_line(tool)} · waits for an answer{until(deadline)}")
            case TurnParked():
                # Why is told by the error that follows.
                whom = "a runtime that has its agent" if event.waits_for == "agent" else "a person"
                self._note(f"[parked] the turn waits for {whom}", "red")
            case TurnRestarted(restarted_as=turn_id, message=why):
                self._note(f"[restart] begun again as {turn_id}: {one_line(why, 600)}", "yellow")
            case _:
                pass  # the result tells the rest

    def finish(self, result: TurnResult) -> None:
        """Print what the stream did not show, and what the turn came to."""
        answer = result.text
        if not answer and result.value is not None:
            answer = canonical(result.value).decode()
        if answer and answer != self._said:
            self._end_line()
            self._write(answer)
        self._end_line()
        if isinstance(result.outcome, Stopped):
            note(f"[{outcome_text(result.outcome)}]", "red")
        for issue in result.issues:
            note(f"[{issue.kind}] {issue_text(issue)}", "yellow")
        taken = elapsed(result.timing.committed_at_ms - result.timing.accepted_at_ms)
        note(f"[usage] {usage_text(result.usage)} · {taken} · {result.turn_id}")
        if result.durability == "ephemeral":
            note("[note] a :memory: database is gone when the command ends")

    def _write(self, text: str) -> None:
        self._out.write(printable(text) if self._terminal else text)
        self._out.flush()
        self._at_line_start = text.endswith("\n")

    def _note(self, text: str, style: str = "dim") -> None:
        if self._terminal:  # where both streams meet, a note must not stick to half a line
            self._end_line()
        note(text, style)

    def _end_line(self) -> None:
        if not self._at_line_start:
            self._write("\n")
