"""The standard protocol's turns: what is asked in which order, and how a turn ends."""

import pytest
from protocol_play import HELLO, LOOKUP, Play, answer, call, ok, prose, said

from lash.llm.request import (
    HistoryRef,
    LlmMessage,
    ModelSpec,
    TextBlock,
    ToolCallBlock,
    ToolResultBlock,
)
from lash.llm.response import (
    LlmFailure,
    LlmResponse,
    ReasoningPart,
)
from lash.protocols.standard import StandardProtocol
from lash.turn.driver import ExecResult
from lash.turn.events import (
    LlmResponded,
    TextEmitted,
    ToolCallReported,
)
from lash.turn.machine import MachineConfig, TurnMachine
from lash.turn.messages import Message, Part, PluginOrigin, text_message
from lash.turn.outcome import (
    AgentFrameSwitch,
    Finished,
    MaxTurns,
    ProviderStopped,
    RuntimeStopped,
    Stopped,
    ToolStopped,
    ToolValue,
    TurnOutcome,
)
from lash.turn.projection import Projection
from lash.turn.tools import (
    FailControl,
    FinishControl,
    PendingToolCall,
    SwitchAgentFrameControl,
    ToolCancellation,
    ToolCancelled,
    ToolControl,
    ToolFailure,
    ToolOutput,
    failed,
)

# --- the scenarios of a turn ----------------------------------------------------------------------


def test_prompt_input_and_tools_reach_the_model() -> None:
    play = Play([said(prose("Hi."))]).run()
    (request,) = play.requests
    assert request.instructions == "Be brief."
    assert request.messages == (LlmMessage(role="user", blocks=(TextBlock(text="Hello"),)),)
    assert request.tools == (LOOKUP,)
    assert request.tool_choice == "auto"


def test_prose_alone_finishes_the_turn_after_one_last_checkpoint() -> None:
    play = Play([said(prose("Hi."))]).run()
    assert play.asked == ["model", "before_completion"]
    assert play.outcome == answer("Hi.")
    # The commit turns the outcome into the assistant's message; the protocol must not do it too.
    assert play.final == (HELLO,)


def test_a_tools_result_is_shown_to_the_model_after_a_checkpoint() -> None:
    play = Play(
        [said(prose("Looking."), call("a", arguments='{"q": 1}')), said(prose("It is 7."))],
        outputs={"a": ok({"found": 7})},
    ).run()
    assert play.asked == ["model", "tools", "after_work", "model", "before_completion"]
    assert play.calls == [(PendingToolCall(call_id="a", tool_name="lookup", args={"q": 1}),)]
    assert play.requests[1].messages[1:] == (
        LlmMessage(
            role="assistant",
            blocks=(
                TextBlock(text="Looking."),
                ToolCallBlock(call_id="a", tool_name="lookup", input_json='{"q": 1}'),
            ),
        ),
        LlmMessage(
            role="user",
            blocks=(ToolResultBlock(call_id="a", content='{"found":7}', tool_name="lookup"),),
        ),
    )
    assert play.outcome == answer("It is 7.")


def test_a_batch_of_calls_is_one_effect_one_message_and_one_checkpoint() -> None:
    play = Play(
        [said(call("b"), call("a"), call("c")), said(prose("Done."))],
        outputs={"a": ok("A"), "b": ok("B"), "c": ok("C")},
    ).run()
    assert play.asked == ["model", "tools", "after_work", "model", "before_completion"]
    results = play.final[-1]
    assert [(part.tool_call_id, part.content) for part in results.parts] == [
        ("b", "B"),
        ("a", "A"),
        ("c", "C"),
    ]
    reported = [event.call.call_id for event in play.events if isinstance(event, ToolCallReported)]
    assert reported == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (failed("execution", "boom", "It broke."), "[Tool execution failed]\nIt broke."),
        (
            ToolOutput(outcome=ToolCancelled(payload=ToolCancellation(message="stopped"))),
            "[Tool execution cancelled]\nstopped",
        ),
    ],
)
def test_a_tool_that_failed_is_feedback_and_ends_no_turn(output: ToolOutput, shown: str) -> None:
    play = Play([said(call("a")), said(prose("Sorry."))], outputs={"a": output}).run()
    assert play.final[-1].parts[0].content == shown
    assert play.outcome == answer("Sorry.")


def test_a_provider_that_failed_ends_the_turn_without_a_checkpoint() -> None:
    failure = LlmFailure(kind="http", message="down", retryable=True)
    play = Play([failure]).run()
    assert play.asked == ["model"]
    assert play.outcome == Stopped(reason=ProviderStopped())


@pytest.mark.parametrize("streamed", [True, False])
def test_text_that_was_streamed_is_not_said_again(streamed: bool) -> None:
    play = Play([said(prose("Hi."))], streamed=streamed).run()
    deltas = [event for event in play.events if isinstance(event, TextEmitted)]
    assert deltas == ([] if streamed else [TextEmitted(text="Hi.")])
    assert LlmResponded(protocol_iteration=0, content="Hi.") in play.events
    assert play.outcome == answer("Hi.")


def test_input_that_arrives_before_completion_is_answered_in_the_same_turn() -> None:
    aside = text_message("u9", "user", "And also?")
    play = Play([said(prose("First.")), said(prose("Second."))], deliveries={1: (aside,)}).run()
    assert play.asked == ["model", "before_completion", "model", "before_completion"]
    assert [
        (message.role, block.text)
        for message in play.requests[1].messages
        for block in message.blocks
        if isinstance(block, TextBlock)
    ] == [("user", "Hello"), ("assistant", "First."), ("user", "And also?")]
    assert play.outcome == answer("Second.")


# --- an empty answer ------------------------------------------------------------------------------

EMPTY: list[LlmResponse] = [
    said(),
    said(prose("")),
    said(prose(""), ReasoningPart(text="")),
    said(prose("", "commentary")),
]


@pytest.mark.parametrize("empty", EMPTY)
def test_an_empty_answer_to_a_person_is_the_providers_error(empty: LlmResponse) -> None:
    play = Play([empty]).run()
    assert play.asked == ["model"]
    assert [(issue.kind, issue.code) for issue in play.issues] == [
        ("llm_provider", "empty_response")
    ]
    assert play.outcome == Stopped(reason=ProviderStopped())


@pytest.mark.parametrize("empty", EMPTY)
def test_an_empty_answer_to_a_tools_result_is_a_legitimate_end(empty: LlmResponse) -> None:
    play = Play([said(call("a")), empty]).run()
    assert play.asked[-1] == "before_completion"
    assert play.issues == []
    assert play.outcome == answer("")


def test_input_after_a_tools_result_makes_silence_an_error_again() -> None:
    aside = text_message("u9", "user", "Well?")
    play = Play([said(call("a")), said()], deliveries={1: (aside,)}).run()
    assert play.outcome == Stopped(reason=ProviderStopped())


@pytest.mark.parametrize("count", [1, 9])
def test_transient_messages_do_not_hide_the_tools_result_before_them(count: int) -> None:
    passing = PluginOrigin(plugin_id="memo", transient=True)
    notes = [text_message(f"x{n}", "user", "psst", origin=passing) for n in range(count)]
    history = [
        HELLO,
        Message(
            id="m2",
            role="assistant",
            parts=(
                Part(id="m2.p0", kind="tool_call", content="{}", tool_call_id="a", tool_name="x"),
            ),
        ),
        Message(
            id="m3",
            role="user",
            parts=(Part(id="m3.p0", kind="tool_result", content="", tool_call_id="a"),),
        ),
        *notes,
    ]
    assert Play([said()], messages=history).run().outcome == answer("")


def test_reasoning_without_text_is_not_an_empty_answer() -> None:
    play = Play([said(ReasoningPart(text="hm"))]).run()
    assert play.outcome == answer("")
    assert play.issues == []


# --- tools that end the turn ----------------------------------------------------------------------

FINISH = FinishControl(value={"total": 3})
FAILURE = ToolFailure(failure_class="external", code="refused", message="No.")


@pytest.mark.parametrize(
    ("control", "outcome"),
    [
        (FINISH, Finished(result=ToolValue(tool_name="lookup", value={"total": 3}))),
        (
            FailControl(failure=FAILURE),
            Stopped(
                reason=ToolStopped(
                    tool_name="lookup",
                    value={"failure_class": "external", "code": "refused", "message": "No."},
                )
            ),
        ),
        (
            SwitchAgentFrameControl(frame_id="f", task="Go on."),
            AgentFrameSwitch(frame_id="f", task="Go on."),
        ),
    ],
)
def test_a_successful_call_may_end_the_turn_and_is_answered_all_the_same(
    control: ToolControl, outcome: TurnOutcome
) -> None:
    play = Play([said(call("a"), call("b"))], outputs={"b": ok("B", control)}).run()
    assert play.asked == ["model", "tools"]
    assert play.outcome == outcome
    assert [part.content for part in play.final[-1].parts] == ["ok", "B"]


def test_the_first_successful_control_in_call_order_wins() -> None:
    refused = failed("execution", "boom", "It broke.")
    play = Play(
        [said(call("a"), call("b"), call("c"), call("d"))],
        outputs={
            "a": ToolOutput(outcome=refused.outcome, control=FinishControl(value="a")),
            "b": ok(),
            "c": ok(control=FinishControl(value="c")),
            "d": ok(control=FinishControl(value="d")),
        },
    ).run()
    assert play.outcome == Finished(result=ToolValue(tool_name="lookup", value="c"))


@pytest.mark.parametrize(
    "output",
    [
        ToolOutput(
            outcome=failed("execution", "boom", "It broke.").outcome,
            control=FinishControl(value=1),
        ),
        ToolOutput(
            outcome=ToolCancelled(payload=ToolCancellation(message="stopped")),
            control=FailControl(failure=FAILURE),
        ),
        ok(control=SwitchAgentFrameControl(frame_id="f", task=" ")),
    ],
    ids=["failed", "cancelled", "blank task"],
)
def test_a_control_that_does_not_count_lets_the_turn_go_on(output: ToolOutput) -> None:
    play = Play([said(call("a")), said(prose("Done."))], outputs={"a": output}).run()
    assert play.outcome == answer("Done.")


# --- the limit ------------------------------------------------------------------------------------


def test_the_limit_ends_the_turn_after_the_tools_and_before_their_checkpoint() -> None:
    play = Play([said(call("a")), said(call("b"))], max_turns=2).run()
    assert play.asked == ["model", "tools", "after_work", "model", "tools"]
    assert play.outcome == Stopped(reason=MaxTurns())
    assert play.final[-1] == Message(
        id="m_standard_t_1_turn_limit",
        role="system",
        parts=(
            Part(
                id="m_standard_t_1_turn_limit.p0",
                kind="error",
                content="Turn limit reached (2) before a final assistant response.",
            ),
        ),
    )


def test_an_answer_within_the_limit_is_an_answer() -> None:
    play = Play([said(call("a")), said(prose("Done."))], max_turns=2).run()
    assert play.outcome == answer("Done.")


def test_a_tool_may_end_the_turn_at_the_limit_too() -> None:
    play = Play([said(call("a"))], outputs={"a": ok(control=FINISH)}, max_turns=1).run()
    assert play.outcome == Finished(result=ToolValue(tool_name="lookup", value={"total": 3}))


def test_the_soft_landing_after_a_late_injection_runs_no_more_rounds_of_tools() -> None:
    aside = text_message("u9", "user", "And also?")
    play = Play(
        [said(prose("First.")), said(call("a"))], deliveries={1: (aside,)}, max_turns=1
    ).run()
    assert play.asked == ["model", "before_completion", "model", "tools"]
    assert play.outcome == Stopped(reason=MaxTurns())


# --- what the protocol does not do ----------------------------------------------------------------


def test_being_given_a_cells_result_ends_the_turn() -> None:
    config = MachineConfig(
        driver=StandardProtocol(),
        session_id="s",
        turn_id="t",
        model=ModelSpec(provider="fake", name="model"),
        history=HistoryRef(count=0, digest="d"),
        projection=Projection(),
    )
    machine = TurnMachine(config, (HELLO,))
    actions = StandardProtocol().handle_exec_result(machine, ExecResult(output=1), None)
    assert [getattr(action, "outcome", None) for action in actions] == [
        None,
        Stopped(reason=RuntimeStopped()),
    ]
