"""What the turn machine makes of a model's answer: reasons to stop, failures, overflow, usage."""

import pytest
from turn_harness import (
    HELLO,
    ScriptedDriver,
    done,
    events,
    machine_for,
    outcome,
    owed,
    reply,
    text,
)

from lash.llm.response import (
    LlmFailure,
    LlmResponse,
    ReasoningPart,
    TerminalReason,
    TextPart,
    ToolCallPart,
)
from lash.llm.usage import Usage
from lash.turn.driver import AdvanceProtocolIteration, Finish
from lash.turn.events import (
    DoneReported,
    ErrorReported,
    LlmResponded,
    OutcomeReached,
    TextEmitted,
    TokenUsage,
)
from lash.turn.exchange import LlmCompleted, MachineEffect
from lash.turn.outcome import (
    AssistantMessage,
    Cancelled,
    Finished,
    Incomplete,
    ProviderStopped,
    RuntimeStopped,
    Stopped,
    TurnIssue,
    TurnStop,
)

ENDED = Finish(outcome=Finished(result=AssistantMessage(text="bye")))
SPENT = Usage(input_tokens=10, output_tokens=2)


def answered(
    result: LlmResponse | LlmFailure,
    *,
    streamed: bool = False,
    wasted: Usage | None = None,
    window: int | None = None,
) -> list[MachineEffect]:
    """What follows the first model call of a turn."""
    machine = machine_for(ScriptedDriver(llm=[(ENDED,)]), window=window)
    call = owed(machine)
    completed = LlmCompleted(
        id=call.id, result=result, text_streamed=streamed, wasted=wasted or Usage()
    )
    return reply(machine, completed)


# --- terminal reasons -----------------------------------------------------------------------------

STOPS: list[tuple[TerminalReason, TurnStop]] = [
    ("output_limit", Incomplete()),
    ("context_overflow", ProviderStopped()),
    ("content_filter", ProviderStopped()),
    ("provider_error", ProviderStopped()),
    ("cancelled", Cancelled()),
]


@pytest.mark.parametrize(("reason", "stop"), STOPS)
def test_a_model_that_stops_short_ends_the_turn_and_leaves_nothing_in_history(
    reason: TerminalReason, stop: TurnStop
) -> None:
    parts = (TextPart(text="half a"), ToolCallPart(call_id="c", tool_name="x", input_json="{}"))
    effects = answered(LlmResponse(parts=parts, terminal_reason=reason, usage=SPENT))
    issue = TurnIssue(
        kind="llm_provider",
        code=reason,
        message=f"The model stopped without an answer: {reason}.",
        terminal_reason=reason,
        retryable=False,
    )
    assert events(effects) == [
        TokenUsage(protocol_iteration=0, usage=SPENT, cumulative=SPENT),
        TextEmitted(text="half a"),
        LlmResponded(protocol_iteration=0, content="half a"),
        ErrorReported(issue=issue),
        OutcomeReached(outcome=Stopped(reason=stop)),
        DoneReported(),
    ]
    assert done(effects).messages == (HELLO,)
    assert done(effects).event_delta == ()


@pytest.mark.parametrize("reason", ["stop", "tool_use", "unknown"])
def test_any_other_reason_is_for_the_driver(reason: TerminalReason) -> None:
    driver = ScriptedDriver(llm=[(ENDED,)])
    machine = machine_for(driver)
    response = LlmResponse(parts=(TextPart(text="hi"),), terminal_reason=reason)
    effects = reply(machine, LlmCompleted(id=owed(machine).id, result=response))
    assert driver.answers == [(response, None, False)]
    assert outcome(effects) == ENDED.outcome


@pytest.mark.parametrize(
    ("parts", "full_text", "streamed", "shown"),
    [
        ((TextPart(text="a"), TextPart(text="b")), "", False, [TextEmitted(text="a\n\nb")]),
        ((TextPart(text="a"),), "", True, []),
        ((), "whole", False, [TextEmitted(text="whole")]),
        ((), "", False, []),
        ((ReasoningPart(text="hm"),), "", False, []),
    ],
)
def test_text_of_a_model_that_stopped_short_is_shown_once(
    parts: tuple[TextPart, ...], full_text: str, streamed: bool, shown: list[TextEmitted]
) -> None:
    response = LlmResponse(parts=parts, full_text=full_text, terminal_reason="output_limit")
    effects = answered(response, streamed=streamed)
    assert [event for event in events(effects) if isinstance(event, TextEmitted)] == shown


def test_the_providers_own_diagnostic_is_what_the_issue_says() -> None:
    response = LlmResponse(terminal_reason="content_filter", diagnostic="Refused by policy 7.")
    assert issue_of(answered(response)).message == "Refused by policy 7."


def issue_of(effects: list[MachineEffect]) -> TurnIssue:
    (error,) = [event for event in events(effects) if isinstance(event, ErrorReported)]
    return error.issue


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("retryable", [True, False])
@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("provider_error", ProviderStopped()),
        ("context_overflow", ProviderStopped()),
        ("content_filter", ProviderStopped()),
        ("cancelled", Cancelled()),
    ],
)
def test_a_failed_model_call_ends_the_turn_with_its_own_facts(
    reason: TerminalReason, stop: TurnStop, retryable: bool
) -> None:
    failure = LlmFailure(
        kind="http", message="boom", retryable=retryable, code="503", terminal_reason=reason
    )
    effects = answered(failure)
    issue = TurnIssue(
        kind="llm_provider",
        code="503",
        message="LLM error: boom",
        terminal_reason=reason,
        retryable=retryable,
    )
    assert events(effects) == [
        ErrorReported(issue=issue),
        OutcomeReached(outcome=Stopped(reason=stop)),
        DoneReported(),
    ]
    assert done(effects).messages == (HELLO,)


# --- an overflow in disguise ----------------------------------------------------------------------


def prompt(uncached: int, read: int = 0, written: int = 0, output: int = 0) -> Usage:
    return Usage(
        input_tokens=uncached,
        cache_read_input_tokens=read,
        cache_write_input_tokens=written,
        output_tokens=output,
    )


@pytest.mark.parametrize(
    ("window", "usage", "overflow"),
    [
        (1_000, prompt(950), True),
        (1_000, prompt(949), False),
        (1_000, prompt(2_000), True),
        (1_000, prompt(950, output=1), False),
        (1_000, prompt(50, read=400, written=500), True),
        (1_000, prompt(50, read=400, written=499), False),
        # 95 % of 1001 is 950.95: the boundary is its integer floor.
        (1_001, prompt(950), True),
        (1_001, prompt(949), False),
        # 95 % of 19 is 18.05.
        (19, prompt(18), True),
        (19, prompt(17), False),
        (None, prompt(10**9), False),
    ],
)
def test_an_output_limit_without_output_and_with_a_full_prompt_is_an_overflow(
    window: int | None, usage: Usage, overflow: bool
) -> None:
    response = LlmResponse(terminal_reason="output_limit", usage=usage)
    effects = answered(response, window=window)
    assert issue_of(effects).code == ("context_overflow" if overflow else "output_limit")
    assert outcome(effects) == Stopped(reason=ProviderStopped() if overflow else Incomplete())


@pytest.mark.parametrize("reason", ["stop", "tool_use", "unknown"])
def test_only_an_output_limit_is_ever_reclassified(reason: TerminalReason) -> None:
    response = LlmResponse(full_text="hi", terminal_reason=reason, usage=prompt(1_000))
    assert outcome(answered(response, window=1_000)) == ENDED.outcome


def test_the_disguised_overflow_says_how_full_the_window_was() -> None:
    response = LlmResponse(terminal_reason="output_limit", usage=prompt(960))
    assert "960 of 1000 tokens" in issue_of(answered(response, window=1_000)).message


# --- usage ----------------------------------------------------------------------------------------


def test_usage_is_reported_by_call_and_in_all_wasted_attempts_included() -> None:
    machine = machine_for(
        ScriptedDriver(llm=[(AdvanceProtocolIteration(),), (AdvanceProtocolIteration(),), (ENDED,)])
    )
    owed(machine)
    first = LlmCompleted(
        id=1,
        result=LlmResponse(full_text="a", usage=Usage(input_tokens=100, output_tokens=5)),
        wasted=Usage(input_tokens=90, reasoning_output_tokens=1),
    )
    second = LlmCompleted(id=2, result=LlmResponse(full_text="b"))
    third = LlmCompleted(id=3, result=LlmResponse(full_text="c", usage=Usage(output_tokens=7)))
    told = [
        event
        for completed in (first, second, third)
        for event in events(reply(machine, completed))
        if isinstance(event, TokenUsage)
    ]
    once = Usage(input_tokens=190, output_tokens=5, reasoning_output_tokens=1)
    whole = Usage(input_tokens=190, output_tokens=12, reasoning_output_tokens=1)
    assert told == [
        TokenUsage(protocol_iteration=0, usage=once, cumulative=once),
        TokenUsage(protocol_iteration=2, usage=Usage(output_tokens=7), cumulative=whole),
    ]
    assert machine.usage == whole


def test_a_call_that_failed_is_paid_for_all_the_same() -> None:
    failure = LlmFailure(
        kind="stream", message="broke off", retryable=False, usage=Usage(output_tokens=3)
    )
    effects = answered(failure, wasted=Usage(output_tokens=40))
    spent = Usage(output_tokens=43)
    assert events(effects)[0] == TokenUsage(protocol_iteration=0, usage=spent, cumulative=spent)


@pytest.mark.parametrize(
    ("usage", "wasted"),
    [
        (Usage(input_tokens=2**63 - 1), Usage(input_tokens=1)),
        (Usage(output_tokens=-1), Usage()),
        (Usage(output_tokens=-1), Usage(output_tokens=5)),
        (Usage(), Usage(cache_read_input_tokens=-1)),
    ],
)
def test_counts_that_cannot_be_added_up_end_the_turn_before_the_driver_sees_the_answer(
    usage: Usage, wasted: Usage
) -> None:
    driver = ScriptedDriver()
    machine = machine_for(driver)
    result = LlmResponse(full_text="hi", usage=usage)
    effects = reply(machine, LlmCompleted(id=owed(machine).id, result=result, wasted=wasted))
    issue = issue_of(effects)
    assert (issue.kind, issue.code) == ("token_usage_accounting", "token_usage_accounting")
    assert outcome(effects) == Stopped(reason=RuntimeStopped())
    assert driver.answers == []
    assert machine.usage == Usage()


def test_a_sum_over_several_calls_may_not_leave_64_bits_either() -> None:
    machine = machine_for(ScriptedDriver(llm=[(AdvanceProtocolIteration(),)]))
    owed(machine)
    most = LlmResponse(full_text="a", usage=Usage(output_tokens=2**63 - 1))
    reply(machine, LlmCompleted(id=1, result=most))
    one = LlmResponse(full_text="b", usage=Usage(output_tokens=1))
    effects = reply(machine, LlmCompleted(id=2, result=one))
    assert issue_of(effects).code == "token_usage_accounting"
    assert machine.usage == Usage(output_tokens=2**63 - 1)


def test_a_prose_answer_is_not_put_into_history_by_the_machine() -> None:
    effects = answered(text("an answer"))
    assert done(effects).messages == (HELLO,)
