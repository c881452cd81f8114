"""How a running turn is printed: text on stdout, the rest on stderr, nothing shown as true that is not."""

import io
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from lash.app.results import TurnResult
from lash.cli.live import LivePrinter
from lash.cli.wording import ago, elapsed, local_time, one_line, printable, size_text
from lash.llm.usage import Usage
from lash.runtime.events import (
    ModelAttemptReset,
    RetryScheduled,
    TextDelta,
    ToolCallDeferred,
    TurnEvent,
    TurnParked,
    TurnRestarted,
)
from lash.sessions.model import TurnTiming
from lash.turn.outcome import (
    AssistantMessage,
    Finished,
    Incomplete,
    Stopped,
    ToolValue,
    TurnIssue,
    TurnOutcome,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def delta(text: str, call: str = "m1") -> TextDelta:
    return TextDelta(text=text, correlation_id=call)


def result(outcome: TurnOutcome, text: str = "", issues: Sequence[TurnIssue] = ()) -> TurnResult:
    return TurnResult(
        session_id="s",
        turn_id="t",
        text=text,
        outcome=outcome,
        usage=Usage(input_tokens=1, output_tokens=2),
        tool_calls=(),
        llm_calls=(),
        issues=issues,
        timing=TurnTiming(accepted_at_ms=0, committed_at_ms=5, drive_ms=5),
        revision=1,
        durability="durable",
    )


def printed(events: Sequence[TurnEvent], end: TurnResult, out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    printer = LivePrinter(out)
    for event in events:
        printer.show(event)
    printer.finish(end)
    return out.getvalue()


def finished(text: str) -> TurnResult:
    return result(Finished(result=AssistantMessage(text=text)), text)


def test_streamed_text_is_printed_once() -> None:
    assert printed([delta("Good "), delta("day.")], finished("Good day.")) == "Good day.\n"


def test_texts_of_two_model_calls_stand_on_lines_of_their_own() -> None:
    events = [delta("Looking."), delta("Found.", "m2")]
    assert printed(events, finished("Found.")) == "Looking.\nFound.\n"


def test_a_retracted_answer_begins_again_and_a_note_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    events: list[TurnEvent] = [
        delta("Half an ans"),
        ModelAttemptReset(correlation_ids=("m1",)),
        RetryScheduled(wait_ms=2_000, attempt=2, max_attempts=4, reason="retryable_failure"),
        delta("Whole.", "m2"),
    ]
    assert printed(events, finished("Whole.")) == "Half an ans\nWhole.\n"
    notes = capsys.readouterr().err.splitlines()
    assert notes[0] == "[retry] the answer broke off; it begins again below"
    assert notes[1] == "[retry] attempt 2 of 4 in 2.0 s · retryable failure"


def test_what_holds_a_turn_up_is_told_on_stderr(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parked = TurnParked(session_id="s", turn_id="t", code="effect_replay_mismatch", message="No.")
    events: list[TurnEvent] = [
        ToolCallDeferred(call_id="c", tool="refund"),
        ToolCallDeferred(call_id="c", tool="refund", deadline_at_ms=4_000_000_000_000),
        TurnRestarted(
            session_id="s", turn_id="t", restarted_as="t:restart:1", message="A\nreason."
        ),
        parked,
        msgspec.structs.replace(parked, waits_for="agent"),
    ]
    assert printed(events, finished("Done.")) == "Done.\n"
    assert capsys.readouterr().err.splitlines()[:5] == [
        "[tool] refund · waits for an answer",
        "[tool] refund · waits for an answer until 2096-10-02 07:06:40",
        "[restart] begun again as t:restart:1: A reason.",
        "[parked] the turn waits for a person",
        "[parked] the turn waits for a runtime that has its agent",
    ]


def test_an_answer_that_was_not_streamed_is_printed_at_the_end() -> None:
    assert printed([], finished("From the journal.")) == "From the journal.\n"


def test_an_answer_equal_to_a_retracted_one_is_printed() -> None:
    events: list[TurnEvent] = [delta("Same."), ModelAttemptReset(correlation_ids=("m1",))]
    assert printed(events, finished("Same.")) == "Same.\nSame.\n"


def test_a_tool_that_ended_the_turn_is_answered_with_its_value() -> None:
    end = result(Finished(result=ToolValue(tool_name="done", value={"ok": True})))
    assert printed([], end) == '{"ok":true}\n'


def test_a_stopped_turn_says_why_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    issue = TurnIssue(kind="llm_provider", message="Cut short.", code="max_output")
    end = result(Stopped(reason=Incomplete()), issues=[issue])
    assert printed([delta("A long st")], end) == "A long st\n"
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "[stopped (incomplete)]",
        "[llm_provider] Cut short. [max_output]",
        "[usage] 1 in · 2 out · 5 ms · t",
    ]


def test_a_model_cannot_steer_a_terminal_but_a_file_gets_its_very_words() -> None:
    said = "\x1b[2JGone\x07.\n"
    assert printed([delta(said)], finished(said), Terminal()) == "[2JGone.\n"
    assert printed([delta(said)], finished(said)) == said


@pytest.mark.parametrize(
    ("ms", "told"),
    [
        (0, "0 ms"),
        (999.4, "999 ms"),
        (999.6, "1.0 s"),
        (1_449, "1.4 s"),
        (125_000, "2 min 5 s"),
        (3_599_999, "59 min 59 s"),
        (3 * 3_600_000 + 20 * 60_000, "3 h 20 min"),
        (86_400_000, "1 day 0 h"),
        (2 * 86_400_000 + 3 * 3_600_000, "2 days 3 h"),
    ],
)
def test_durations_read_well(ms: float, told: str) -> None:
    assert elapsed(ms) == told


@pytest.mark.parametrize(
    ("age_ms", "told"),
    [
        (-60_000, "just now"),
        (4_999, "just now"),
        (5_000, "5 s ago"),
        (60_000, "1 min ago"),
        (3_600_000, "1 h ago"),
        (86_400_000, "1 day ago"),
        (3 * 86_400_000, "3 days ago"),
    ],
)
def test_ages_read_well(age_ms: int, told: str) -> None:
    assert ago(1_000_000_000, 1_000_000_000 + age_ms) == told


@pytest.mark.parametrize(
    ("size", "told"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB")],
)
def test_sizes_read_well(size: int, told: str) -> None:
    assert size_text(size) == told


@pytest.mark.parametrize(
    ("at_ms", "told"),
    [
        (0, "1970-01-01 00:00:00"),
        (4_000_000_000_999, "2096-10-02 07:06:40"),
        (2**62, "the distant future"),
        (-(2**62), "the distant past"),
    ],
)
def test_moments_read_well(at_ms: int, told: str, here: Path) -> None:
    assert local_time(at_ms) == told


def test_text_is_cut_to_a_line_and_freed_of_control_characters() -> None:
    assert one_line("a\n  b\tc\x1b[0m", 6) == "a b c…"
    assert printable("keep\n\tthis\r\x00\x9b") == "keep\n\tthis"
