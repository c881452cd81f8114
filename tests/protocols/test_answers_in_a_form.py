"""An answer that must be JSON: it is checked, the model is told what is wrong, and not for ever."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_play import HELLO, LOOKUP, Play, answer, call, prose, said

from lash.core.errors import ConfigurationError
from lash.llm.request import JsonObjectOutput, JsonSchemaOutput, LlmMessage, OutputSpec, TextBlock
from lash.llm.response import LlmResponse, ReasoningPart, TextPart
from lash.turn.events import TextEmitted
from lash.turn.messages import Message, PluginOrigin, text_message
from lash.turn.outcome import ProviderStopped, Stopped, TurnIssue
from lash.turn.output import OutputContract, output_contract

TOTAL = JsonSchemaOutput(
    name="total",
    json_schema={
        "type": "object",
        "properties": {"total": {"type": "integer"}},
        "required": ["total"],
    },
    strict=True,
)
ANY_OBJECT = output_contract(JsonObjectOutput())
TOTALS = output_contract(TOTAL)
GIVEN_UP = Stopped(reason=ProviderStopped())


class Yes:
    """Takes nothing but `yes`."""

    spec: OutputSpec | None = None

    def problem(self, text: str) -> str | None:
        return None if text == "yes" else f"{text!r} is not yes"


def correction(number: int, text: str) -> Message:
    return text_message(
        f"m_standard_t_{number}_correction",
        "user",
        text,
        origin=PluginOrigin(plugin_id="standard_protocol"),
    )


def refused(number: int, text: str) -> Message:
    return text_message(f"m_standard_t_{number}_assistant", "assistant", text, kind="prose")


def told(number: int, text: str) -> Message:
    return correction(number, f"That answer cannot be used: {text!r} is not yes. Answer again.")


# --- what is asked and what is accepted -----------------------------------------------------------


@pytest.mark.parametrize("spec", [JsonObjectOutput(), TOTAL])
def test_every_request_of_the_turn_says_what_the_answer_is_to_be(
    spec: JsonObjectOutput | JsonSchemaOutput,
) -> None:
    play = Play([said(call("a")), said(prose('{"total": 3}'))], output=output_contract(spec)).run()
    assert [request.output for request in play.requests] == [spec, spec]
    assert [request.tools for request in play.requests] == [(LOOKUP,), (LOOKUP,)]


def test_a_turn_without_a_contract_says_nothing_of_output_and_takes_any_answer() -> None:
    play = Play([said(prose("not JSON"))]).run()
    assert play.requests[0].output is None
    assert play.outcome == answer("not JSON")


@pytest.mark.parametrize("text", ['{"total": 3}', '```json\n{"total": 3}\n```', ' {"total":3}\n'])
def test_an_answer_that_fits_ends_the_turn_as_ever(text: str) -> None:
    play = Play([said(prose(text))], output=TOTALS).run()
    assert play.asked == ["model", "before_completion"]
    assert play.outcome == answer(text)
    assert play.final == (HELLO,)
    assert play.issues == []


def test_an_answer_in_pieces_is_read_as_it_came() -> None:
    pieces = said(prose('{"total": 3, "note": "one'), prose(' two"}'))
    play = Play([pieces], output=TOTALS).run()
    assert play.outcome == answer('{"total": 3, "note": "one two"}')
    assert TextEmitted(text='{"total": 3, "note": "one two"}') in play.events


@pytest.mark.parametrize(
    ("contract", "text", "problem"),
    [
        (ANY_OBJECT, "[1]", "a JSON object was asked for, not list"),
        (TOTALS, '{"total": "x"}', "`$.total`: 'x' is not of type 'integer'"),
        (TOTALS, "{}", "`$`: 'total' is a required property"),
    ],
)
def test_a_contract_says_what_is_wrong(contract: OutputContract, text: str, problem: str) -> None:
    assert contract.problem(text) == problem


def test_a_text_that_is_not_json_is_a_problem() -> None:
    problem = TOTALS.problem("Three.")
    assert problem is not None
    assert problem.startswith("it is not JSON (")


def test_a_schema_that_cannot_be_used_is_refused_before_anybody_pays() -> None:
    with pytest.raises(ConfigurationError) as caught:
        output_contract(JsonSchemaOutput(name="x", json_schema={"type": "nonsense"}))
    assert caught.value.code == "direct_request_invalid"


# --- what is corrected ----------------------------------------------------------------------------


def test_a_model_is_told_what_is_wrong_and_what_to_answer_with() -> None:
    play = Play([said(prose('{"total": "x"}')), said(prose('{"total": 3}'))], output=TOTALS).run()
    assert play.asked == ["model", "model", "before_completion"]
    assert play.outcome == answer('{"total": 3}')
    asked_again = (
        "That answer cannot be used: `$.total`: 'x' is not of type 'integer'. Answer again with JSON "
        "that fits the schema `total` and nothing else: no prose, no code fence."
    )
    assert play.final == (HELLO, refused(0, '{"total": "x"}'), correction(0, asked_again))
    assert play.requests[1].messages[1:] == (
        LlmMessage(role="assistant", blocks=(TextBlock(text='{"total": "x"}'),)),
        LlmMessage(role="user", blocks=(TextBlock(text=asked_again),)),
    )
    assert play.requests[1].scope.request_id == "s:turn:t:llm:1"
    assert play.issues == []


def test_a_model_that_owes_an_object_is_told_so() -> None:
    play = Play([said(prose("[1]")), said(prose("{}"))], output=ANY_OBJECT).run()
    assert play.final[-1].parts[0].content == (
        "That answer cannot be used: a JSON object was asked for, not list. Answer again with one "
        "JSON object and nothing else: no prose, no code fence."
    )


def test_the_second_correction_is_the_last() -> None:
    play = Play([said(prose(text)) for text in ("a", "b", "c")], output=Yes()).run()
    assert play.asked == ["model", "model", "model"]
    assert play.outcome == GIVEN_UP
    assert play.final == (
        HELLO,
        refused(0, "a"),
        told(0, "a"),
        refused(1, "b"),
        told(1, "b"),
        refused(2, "c"),
    )
    assert play.issues == [
        TurnIssue(
            kind="structured_output",
            code="invalid_structured_output",
            message="The model's answer is not what was asked for: 'c' is not yes",
            retryable=True,
        )
    ]


@pytest.mark.parametrize(("limit", "calls"), [(1, 1), (2, 2), (3, 3), (4, 3)])
def test_corrections_keep_to_the_turns_limit(limit: int, calls: int) -> None:
    texts = ("a", "b", "c")
    play = Play([said(prose(text)) for text in texts], output=Yes(), max_turns=limit).run()
    assert play.asked == ["model"] * calls
    assert play.outcome == GIVEN_UP
    assert [issue.code for issue in play.issues] == ["invalid_structured_output"]
    assert play.final[-1] == refused(calls - 1, texts[calls - 1])


def test_an_answer_corrected_within_the_limit_is_an_answer() -> None:
    play = Play([said(prose("a")), said(prose("yes"))], output=Yes(), max_turns=2).run()
    assert play.outcome == answer("yes")


# --- together with tools and injections -----------------------------------------------------------


def test_what_is_said_beside_a_tool_call_is_not_checked() -> None:
    play = Play([said(prose("Looking."), call("a")), said(prose("yes"))], output=Yes()).run()
    assert play.asked == ["model", "tools", "after_work", "model", "before_completion"]
    assert play.outcome == answer("yes")


def test_tool_calls_between_begin_a_new_row_of_corrections() -> None:
    answers = [
        said(prose("a")),
        said(prose("b")),
        said(call("x")),
        said(prose("c")),
        said(prose("d")),
        said(prose("yes")),
    ]
    play = Play(answers, output=Yes()).run()
    assert len(play.requests) == 6
    assert play.outcome == answer("yes")


def test_an_answer_that_an_injection_displaced_begins_a_new_row_and_the_next_is_checked() -> None:
    aside = text_message("u9", "user", "And also?")
    answers = [said(prose(text)) for text in ("a", "b", "yes", "c", "d", "yes")]
    play = Play(answers, output=Yes(), deliveries={1: (aside,)}).run()
    assert play.asked == [*["model"] * 3, "before_completion", *["model"] * 3, "before_completion"]
    assert play.outcome == answer("yes")
    displaced = text_message("m_sansio_t_displaced_1", "assistant", "yes", kind="prose")
    assert play.final == (
        HELLO,
        refused(0, "a"),
        told(0, "a"),
        refused(1, "b"),
        told(1, "b"),
        displaced,
        aside,
        refused(3, "c"),
        told(3, "c"),
        refused(4, "d"),
        told(4, "d"),
    )


def test_silence_after_a_tools_result_is_corrected_without_an_empty_message() -> None:
    play = Play([said(call("a")), said(), said(prose("yes"))], output=Yes()).run()
    assert play.outcome == answer("yes")
    assert [message.role for message in play.final] == ["user", "assistant", "user", "user"]
    assert play.final[-1] == told(1, "")


def test_silence_to_a_person_stays_the_providers_error() -> None:
    play = Play([said()], output=Yes()).run()
    assert [issue.code for issue in play.issues] == ["empty_response"]
    assert play.outcome == GIVEN_UP


def test_reasoning_is_kept_with_the_answer_that_is_refused() -> None:
    thought = ReasoningPart(text="hm", replay={"id": "r1"})
    play = Play([said(thought, prose("a")), said(prose("yes"))], output=Yes()).run()
    assert [(part.kind, part.content) for part in play.final[1].parts] == [
        ("prose", "a"),
        ("reasoning", "hm"),
    ]


# --- ids ------------------------------------------------------------------------------------------


def test_every_id_of_a_turn_derives_from_its_message_scope() -> None:
    aside = text_message("u9", "user", "And also?")
    play = Play(
        [
            said(call("")),
            said(prose("a")),
            said(prose("yes")),
            said(call("x"), call("x")),
        ],
        output=Yes(),
        deliveries={2: (aside,)},
        max_turns=4,
        message_scope="fork:t",
    ).run()
    assert [message.id for message in play.final] == [
        "m1",
        "m_standard_fork:t_0_assistant",
        "m_standard_fork:t_0_tool_results",
        "m_standard_fork:t_1_assistant",
        "m_standard_fork:t_1_correction",
        "m_sansio_fork:t_displaced_1",
        "u9",
        "m_standard_fork:t_3_assistant",
        "m_standard_fork:t_3_tool_results",
        "m_standard_fork:t_3_turn_limit",
    ]
    assert [pending.call_id for batch in play.calls for pending in batch] == [
        "call_fork:t_0_0",
        "x",
        "call_fork:t_3_1",
    ]
    # Whose request it is does not change with it.
    assert play.requests[0].scope.turn_id == "t"
    assert play.requests[0].scope.request_id == "s:turn:t:llm:0"


steps = st.sampled_from(["tool", "bad", "good", "silence"])


@given(
    st.lists(steps, min_size=1, max_size=12),
    st.none() | st.integers(1, 6),
    st.sets(st.integers(1, 6)),
)
def test_a_turn_ends_with_an_answer_that_fits_or_with_no_answer(
    wants: Sequence[str], limit: int | None, injected: set[int]
) -> None:
    said_for = {
        "tool": said(call("c")),
        "bad": said(TextPart(text="no")),
        "good": said(TextPart(text="yes")),
        "silence": said(),
    }
    answers: list[LlmResponse] = [said_for[want] for want in wants]
    answers += [said_for["good"]] * 40
    arrivals = {number: (text_message(f"u{number}", "user", "?"),) for number in injected}
    play = Play(answers, output=Yes(), deliveries=arrivals, max_turns=limit).run()
    texts = [getattr(getattr(play.outcome, "result", None), "text", "yes")]
    assert texts == ["yes"]
    assert len({message.id for message in play.final}) == len(play.final)
    row = 0
    for message in play.final:
        if message.id.endswith("_correction"):
            row += 1
        elif not message.id.endswith("_assistant") or message.parts[0].kind == "tool_call":
            row = 0
        assert row <= 2
