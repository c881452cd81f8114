"""What a chat shows of what happens: lines that stay, and what is under way until it has come to its end."""

from collections.abc import Sequence

import pytest

from lash.cli.chat.flow import Flow
from lash.cli.chat.screen import Kind
from lash.cli.chat.terminal import wrapped
from lash.core.cancel import Cancellation
from lash.llm.usage import Usage
from lash.runtime.events import (
    ModelAttemptReset,
    ModelRequestStarted,
    QueuedInputAccepted,
    ReasoningDelta,
    TextDelta,
    ToolCallDeferred,
    ToolCallStarted,
    TurnCancelRequested,
    TurnEvent,
    TurnParked,
    TurnRestarted,
)
from lash.runtime.observed import (
    Committed,
    Event,
    Gap,
    LiveText,
    LiveToolCall,
    LiveTurn,
    Observed,
    SessionView,
    Snapshot,
    TurnActivity,
    TurnInterrupted,
)
from lash.sessions.model import ChildUsage, TurnRecord, TurnTiming
from lash.turn.messages import Message, Part
from lash.turn.outcome import AssistantMessage, Cancelled, Finished, Stopped, ToolValue, TurnOutcome


class Shown:
    """A screen that only remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str, kind: Kind = "note") -> None:
        self.lines.append(text)

    def refresh(self) -> None:
        pass


class Seen:
    def __init__(self) -> None:
        self.screen = Shown()
        self.taken: list[str] = []
        self.flow = Flow(self.screen, self.taken.extend)

    def happens(self, *events: TurnEvent, turn: str = "t-1") -> None:
        for event in events:
            self.observe(TurnActivity(id="i", correlation_id="c", turn_id=turn, event=event))

    def observe(self, event: Observed) -> None:
        self.flow.show(Event(event=event, cursor="c"))

    @property
    def under_way(self) -> Sequence[str]:
        return [text for text, _ in self.flow.under_way()]


def committed(outcome: TurnOutcome, text: str = "", **more: object) -> Committed:
    record = TurnRecord(
        session_id="s",
        turn_id="t-1",
        revision=1,
        outcome=outcome,
        usage=Usage(input_tokens=1, output_tokens=2),
        text=text,
        tool_calls=(),
        llm_calls=(),
        issues=(),
        timing=TurnTiming(accepted_at_ms=0, committed_at_ms=5, drive_ms=5),
        **more,  # type: ignore[arg-type]  # fields of the record, by name
    )
    said = [Message(id="u", role="user", parts=(Part(id="u", kind="prose", content="Hello?"),))]
    said += [Message(id="a", role="assistant", parts=(Part(id="a", kind="prose", content=text),))]
    return Committed(turn_id="t-1", revision=1, record=record, messages=tuple(said))


def finished(text: str) -> Committed:
    return committed(Finished(result=AssistantMessage(text=text)), text)


def test_text_is_under_way_until_its_model_call_has_ended() -> None:
    seen = Seen()
    asked = ModelRequestStarted(protocol_iteration=0)
    seen.happens(asked, TextDelta(text="Loo", correlation_id="m"))
    seen.happens(TextDelta(text="king.", correlation_id="m"))
    assert (seen.screen.lines, list(seen.under_way)) == ([], ["Looking."])
    seen.happens(ToolCallStarted(call_id="c", tool="dig", args={}))
    assert seen.screen.lines == ["Looking."]
    (tool,) = seen.under_way
    assert tool.startswith("[tool] dig · running · ")


def test_text_that_was_taken_back_is_never_shown_for_good() -> None:
    seen = Seen()
    seen.happens(TextDelta(text="Half", correlation_id="m1"))
    seen.happens(ModelAttemptReset(correlation_ids=("m1",)))
    assert list(seen.under_way) == []
    seen.happens(ModelAttemptReset(correlation_ids=("m1",)))
    seen.happens(TextDelta(text="Whole.", correlation_id="m2"))
    seen.observe(finished("Whole."))
    assert seen.screen.lines[:2] == ["[retry] the answer broke off and was taken back", "Whole."]
    assert len(seen.screen.lines) == 3  # with the usage


def test_an_answer_of_a_drive_that_failed_is_not_shown_twice() -> None:
    seen = Seen()
    for _ in range(2):
        seen.happens(
            ModelRequestStarted(protocol_iteration=1), TextDelta(text="Once.", correlation_id="m")
        )
    seen.observe(finished("Once."))
    assert seen.screen.lines.count("Once.") == 1


def test_a_turn_that_was_not_seen_is_told_whole_and_the_users_own_words_once() -> None:
    others, mine = Seen(), Seen()
    others.observe(finished("Hi."))
    assert others.screen.lines == ["> Hello?", "Hi.", "[usage] 1 in · 2 out · 5 ms · t-1"]
    mine.flow.began("t-1")
    mine.observe(finished("Hi."))
    assert mine.screen.lines == ["Hi.", "[usage] 1 in · 2 out · 5 ms · t-1"]


def test_a_stopped_turn_says_who_stopped_it_and_children_are_counted() -> None:
    seen = Seen()
    seen.happens(TurnCancelRequested(cancellation=Cancellation(request_id="r")))
    assert list(seen.under_way) == ["stopping …"]
    child = ChildUsage(
        session_id="k", turn_id="k-1", source="child", model="x:y", usage=Usage(input_tokens=7)
    )
    seen.observe(
        committed(
            Stopped(reason=Cancelled(request_id="r")),
            cancellation=Cancellation(request_id="r", origin="ana", reason="enough"),
            children_usage=(child,),
        )
    )
    assert seen.screen.lines == [
        "[cancelled] by ana: enough",
        "[usage] 1 in · 2 out · 5 ms · children 7 in · 0 out · t-1",
    ]


def test_a_value_that_ended_the_turn_is_shown() -> None:
    seen = Seen()
    seen.happens(ModelRequestStarted(protocol_iteration=0))
    seen.observe(committed(Finished(result=ToolValue(tool_name="done", value={"ok": True}))))
    assert seen.screen.lines[0] == '{"ok":true}'


def test_what_holds_a_turn_up_is_told() -> None:
    seen = Seen()
    parked = TurnParked(session_id="s", turn_id="t-1", code="agent_missing", message="No agent.")
    restarted = TurnRestarted(session_id="s", turn_id="t-2", restarted_as="t-3", message="Drift.")
    seen.happens(ReasoningDelta(text="Hm.", correlation_id="m"))
    assert list(seen.under_way) == ["thinking …"]
    seen.happens(ToolCallDeferred(call_id="c", tool="ask"))
    assert seen.under_way[0].startswith("[tool] ask · waits for an answer · ")
    seen.happens(parked)
    assert not seen.flow.running
    seen.happens(restarted, turn="t-2")
    seen.happens(ModelRequestStarted(protocol_iteration=0), turn="t-3")
    seen.observe(TurnInterrupted(turn_id="t-3"))
    assert seen.screen.lines == [
        "[parked] the turn waits for a person: No agent. [agent_missing]",
        "[restart] begun again as t-3: Drift.",
        "[interrupted] the turn stays accepted and is gone on with",
    ]


def test_queued_input_is_told_where_the_turn_took_it() -> None:
    seen = Seen()
    seen.happens(TextDelta(text="So far.", correlation_id="m"))
    seen.happens(QueuedInputAccepted(checkpoint="after_work", input_ids=("i-1",)))
    assert (seen.screen.lines, seen.taken) == (["So far."], ["i-1"])


@pytest.mark.parametrize("kind", ["snapshot", "gap"])
def test_a_turn_is_joined_in_the_middle(kind: str) -> None:
    live = LiveTurn(
        turn_id="t-1",
        texts=(
            LiveText(correlation_id="m0", kind="text", text="Before.", iteration=0),
            LiveText(correlation_id="m1", kind="text", text="Now", iteration=1),
        ),
        tool_calls=(LiveToolCall(call_id="c", tool="dig", args={}),),
        iteration=1,
    )
    view = SessionView(session_id="s", live=(live,))
    seen = Seen()
    seen.flow.show(
        Snapshot(view=view, cursor="c")
        if kind == "snapshot"
        else Gap(view=view, cursor="c", reason="trimmed", requested="b")
    )
    assert seen.under_way[0] == "Now"
    assert seen.under_way[1].startswith("[tool] dig · running · ")
    assert len(seen.screen.lines) == (1 if kind == "gap" else 0)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", [""]),
        ("one two three", ["one two", "three"]),
        ("abcdefghij", ["abcdefgh", "ij"]),
        ("12345678 next", ["12345678", "next"]),
        ("a\n\nb", ["a", "", "b"]),
        ("日本語日本語", ["日本語日", "本語"]),
    ],
)
def test_text_is_broken_into_rows(text: str, rows: list[str]) -> None:
    assert list(wrapped(text, 8)) == rows
