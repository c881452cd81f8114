"""What a turn came to: which fact wins, what the text is worth, and which issues are added."""

from typing import Any

import pytest

from lash.core.cancel import Cancellation
from lash.turn.assembly import AssembledOutcome, OutputState, assemble
from lash.turn.messages import Message, Part, PluginOrigin, text_message
from lash.turn.outcome import (
    AgentFrameSwitch,
    AssistantMessage,
    Cancelled,
    FinalValue,
    Finished,
    Incomplete,
    MaxTurns,
    PluginAbort,
    ProviderStopped,
    RuntimeStopped,
    Stopped,
    SubmittedError,
    ToolFailureStop,
    ToolValue,
    TurnIssue,
    TurnOutcome,
)

STOP = Cancellation(request_id="stop-1", origin="ana", reason="enough")
STOPPED = Stopped(reason=Cancelled(request_id="stop-1", origin="ana", reason="enough"))
FAILED = Stopped(reason=RuntimeStopped())
BROKE = TurnIssue(kind="llm_provider", message="It broke.", code="boom")
DRIFT = TurnIssue(kind="drift", message="It moved.", code="surroundings_drift")
PASSING = PluginOrigin(plugin_id="memo", transient=True)

ASKED = text_message("u1", "user", "How many?")
SAID = text_message("a1", "assistant", "Seven.", kind="prose")
RESULT = Message(
    id="u2",
    role="user",
    parts=(Part(id="u2.p0", kind="tool_result", content="7", tool_call_id="c"),),
)
LIMIT = text_message("s1", "system", "Turn limit reached (3) before a final assistant response.")
NOTE = text_message("s2", "system", "Mind the gap.")
TRACE = 'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\nValueError: no'


def says(text: str) -> Finished:
    return Finished(result=AssistantMessage(text=text))


def codes(assembled: AssembledOutcome) -> list[str | None]:
    return [issue.code for issue in assembled.issues]


# --- which fact wins ------------------------------------------------------------------------------

#: Facts, from those that win to those that lose, each with the outcome it comes to when it wins.
PRECEDENCE: list[tuple[dict[str, Any], TurnOutcome]] = [
    ({"cancellation": STOP}, STOPPED),
    ({"outcome": says("Six.")}, says("Six.")),
    ({"done": False}, FAILED),
    ({"issues": (BROKE,), "tool_failed": True}, Stopped(reason=ToolFailureStop())),
    ({"issues": (BROKE,), "tool_failed": False}, FAILED),
    ({"messages": (ASKED, LIMIT, SAID)}, Stopped(reason=MaxTurns())),
    ({"messages": (ASKED, SAID)}, says("Seven.")),
]
NOTHING: dict[str, Any] = {"outcome": None, "done": True, "messages": ()}


@pytest.mark.parametrize("rank", range(len(PRECEDENCE)))
def test_each_fact_wins_alone_and_over_all_that_follow_it(rank: int) -> None:
    facts, outcome = PRECEDENCE[rank]
    assert assemble(**{**NOTHING, **facts}).outcome == outcome
    together = dict(NOTHING)
    for lower, _ in reversed(PRECEDENCE[rank:]):
        together.update(lower)
    assert assemble(**together).outcome == outcome


def test_a_turn_that_holds_nothing_at_all_answers_nothing() -> None:
    assert assemble(outcome=None, done=True, messages=()) == AssembledOutcome(
        outcome=says(""), text="", raw_text="", output_state="empty_output", issues=()
    )


# --- cancelled ------------------------------------------------------------------------------------


def test_a_cancellation_that_won_leaves_no_answer_but_every_issue() -> None:
    assembled = assemble(
        outcome=says("Seven."),
        done=True,
        messages=(ASKED, SAID),
        issues=(DRIFT, BROKE),
        cancellation=STOP,
    )
    assert assembled == AssembledOutcome(outcome=STOPPED, issues=(DRIFT, BROKE))
    assert (assembled.text, assembled.raw_text, assembled.output_state) == ("", "", "empty_output")


def test_the_machines_own_cancellation_stands_when_no_other_is_known() -> None:
    assembled = assemble(outcome=STOPPED, done=True, messages=(ASKED,))
    assert assembled == AssembledOutcome(outcome=STOPPED)


def test_the_cancellation_that_won_the_race_is_the_evidence() -> None:
    other = Stopped(reason=Cancelled(request_id="stop-2"))
    assert assemble(outcome=other, done=True, messages=(), cancellation=STOP).outcome == STOPPED


def test_a_cancelled_turn_that_nobody_asked_to_stop_says_so() -> None:
    unexplained = Stopped(reason=Cancelled())
    assembled = assemble(outcome=unexplained, done=True, messages=())
    assert assembled.outcome == unexplained
    assert codes(assembled) == ["turn_cancellation_evidence_missing"]
    explained = assemble(outcome=unexplained, done=True, messages=(), cancellation=STOP)
    assert explained == AssembledOutcome(outcome=STOPPED)


# --- an outcome the machine reported --------------------------------------------------------------


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize(
    "outcome",
    [
        Finished(result=ToolValue(tool_name="sum", value=7)),
        Finished(result=FinalValue(value={"n": 7})),
        AgentFrameSwitch(frame_id="f", task="Go on."),
        Stopped(reason=Incomplete()),
        Stopped(reason=ProviderStopped()),
        Stopped(reason=MaxTurns()),
        Stopped(reason=PluginAbort(code="no", message="Not today.")),
        Stopped(reason=SubmittedError(value=7)),
    ],
)
def test_an_outcome_without_prose_stands_and_has_no_text(outcome: TurnOutcome, done: bool) -> None:
    assembled = assemble(outcome=outcome, done=done, messages=(ASKED, SAID, LIMIT), issues=(BROKE,))
    assert assembled == AssembledOutcome(outcome=outcome, issues=(BROKE,))


SECOND = (
    'Traceback (most recent call last):\n  File "y.py", line 2, in f\n    g()\n    ~^^\nKeyError'
)
FENCED = f"It failed:\n```\n{TRACE}\n```"


@pytest.mark.parametrize(
    ("raw", "text", "state"),
    [
        ("Seven.", "Seven.", "usable"),
        ("  Seven.\n", "  Seven.\n", "usable"),
        ("", "", "empty_output"),
        (" \n", " \n", "empty_output"),
        (TRACE, "", "traceback_only"),
        (f"\n{TRACE}\n", "", "traceback_only"),
        (SECOND, "", "traceback_only"),
        (
            f"{TRACE}\n\nDuring handling of the above exception, another exception occurred:\n\n{SECOND}",
            "",
            "traceback_only",
        ),
        (
            f"{TRACE}\n\nThe above exception was the direct cause of the following exception:\n\n{SECOND}",
            "",
            "traceback_only",
        ),
        (FENCED, FENCED, "usable"),
        (f"{TRACE}\n\nThat is why.", f"{TRACE}\n\nThat is why.", "usable"),
        (f"Look:\n{TRACE}", f"Look:\n{TRACE}", "usable"),
        (
            "Traceback (most recent call last):\nwhat is that?",
            "Traceback (most recent call last):\nwhat is that?",
            "usable",
        ),
    ],
)
def test_an_answer_is_shown_unless_it_is_nothing_but_a_traceback(
    raw: str, text: str, state: OutputState
) -> None:
    assembled = assemble(outcome=says(raw), done=True, messages=(ASKED, SAID))
    assert assembled == AssembledOutcome(
        outcome=says(text), text=text, raw_text=raw, output_state=state
    )


# --- no outcome was reported ----------------------------------------------------------------------


def test_a_turn_that_broke_off_has_failed_and_says_so_last() -> None:
    assembled = assemble(
        outcome=None, done=False, messages=(ASKED, SAID), issues=(DRIFT,), tool_failed=True
    )
    assert assembled.outcome == FAILED
    assert assembled.text == ""
    assert codes(assembled) == ["surroundings_drift", "missing_done"]


def test_breaking_off_may_be_let_pass() -> None:
    assembled = assemble(
        outcome=None, done=False, messages=(ASKED, SAID), treat_missing_done_as_failure=False
    )
    assert assembled.outcome == says("Seven.")
    assert codes(assembled) == ["assistant_output_recovered_from_state"]


def test_a_remark_does_not_keep_a_turn_from_its_outcome() -> None:
    assembled = assemble(outcome=None, done=True, messages=(ASKED, SAID), issues=(DRIFT,))
    assert assembled.outcome == says("Seven.")
    assert codes(assembled) == ["surroundings_drift", "assistant_output_recovered_from_state"]


def test_a_tool_that_failed_is_no_failure_of_the_turn_by_itself() -> None:
    assembled = assemble(outcome=None, done=True, messages=(ASKED, SAID), tool_failed=True)
    assert assembled.outcome == says("Seven.")


def system(text: str) -> Message:
    return text_message("n", "system", text)


@pytest.mark.parametrize(
    ("messages", "limited"),
    [
        ((ASKED, LIMIT), True),
        ((LIMIT, *[NOTE] * 7), True),
        ((LIMIT, *[NOTE] * 8), False),
        ((LIMIT, *[text_message("x", "user", "psst", origin=PASSING)] * 9), True),
        ((text_message("x", "system", LIMIT.parts[0].content, origin=PASSING),), False),
        ((text_message("u", "user", "Turn limit reached (3)"),), False),
        ((text_message("a", "assistant", "Turn limit reached (3)"),), False),
        ((system("So: Turn limit reached (3)."),), True),
        ((system("Turn limit reached."),), False),
    ],
)
def test_the_limit_is_known_by_what_the_protocol_said_lately(
    messages: tuple[Message, ...], limited: bool
) -> None:
    assembled = assemble(outcome=None, done=True, messages=messages)
    assert (assembled.outcome == Stopped(reason=MaxTurns())) is limited


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ((ASKED, SAID), "Seven."),
        ((ASKED, SAID, NOTE), "Seven."),
        ((ASKED, SAID, text_message("a2", "assistant", "Eight.", kind="prose")), "Eight."),
        ((ASKED, SAID, text_message("x", "user", "psst", origin=PASSING)), "Seven."),
        ((SAID, ASKED), ""),
        ((ASKED, SAID, RESULT), ""),
        ((ASKED,), ""),
        ((ASKED, text_message("x", "assistant", "psst", origin=PASSING)), ""),
    ],
)
def test_the_text_is_recovered_from_the_last_answer_and_never_from_before_what_was_said_to_it(
    messages: tuple[Message, ...], text: str
) -> None:
    assembled = assemble(outcome=None, done=True, messages=messages)
    assert (assembled.outcome, assembled.text, assembled.raw_text) == (says(text), text, text)
    assert assembled.output_state == ("recovered_from_error" if text else "empty_output")
    assert codes(assembled) == (["assistant_output_recovered_from_state"] if text else [])


def test_a_traceback_that_was_recovered_is_not_shown_either() -> None:
    traced = text_message("a1", "assistant", TRACE, kind="prose")
    assembled = assemble(outcome=None, done=True, messages=(ASKED, traced))
    assert assembled.outcome == says("")
    assert (assembled.text, assembled.raw_text) == ("", TRACE)
    assert assembled.output_state == "traceback_only"
    assert codes(assembled) == ["assistant_output_recovered_from_state"]
