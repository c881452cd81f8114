"""How the standard protocol reads an answer: its text, its reasoning, its calls and their arguments."""

import pytest
from protocol_play import Play, answer, call, ok, prose, said

from lash.llm.response import (
    LlmResponse,
    ReasoningPart,
    ToolCallPart,
)
from lash.protocols.standard import parse_arguments
from lash.turn.messages import Message, Part

# --- reading an answer ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (LlmResponse(full_text="whole"), "whole"),
        (LlmResponse(parts=(prose("part"),), full_text="whole"), "part"),
        (said(prose("a"), prose("b\n"), prose("c")), "a\n\nb\n\nc"),
        (said(prose("a"), prose(""), prose("b")), "a\n\nb"),
        (said(prose("so far", "commentary"), prose("so", "final_answer")), "so"),
        (said(prose("so", "final_answer"), prose("more", "commentary"), prose("!")), "so\n\n!"),
        (said(prose("so far", "commentary")), "so far"),
        (said(prose("so far", "commentary"), prose("plain")), "so far\n\nplain"),
        # A final answer that says nothing has nothing to give the commentary way to.
        (said(prose("so far", "commentary"), prose("", "final_answer")), "so far"),
    ],
)
def test_an_answers_text_is_its_visible_parts(response: LlmResponse, text: str) -> None:
    assert Play([response]).run().outcome == answer(text)


def test_prose_comes_first_and_reasoning_keeps_its_place_before_the_calls() -> None:
    first = ReasoningPart(text="first", replay={"id": "r1"})
    second = ReasoningPart(text="", replay={"id": "r2"})
    trailing = ReasoningPart(text="trailing")
    empty = ReasoningPart(text="")
    play = Play(
        [
            said(
                first, call("a"), prose("One."), empty, second, call("b"), trailing, prose("Two.")
            ),
            said(prose("Done.")),
        ]
    ).run()
    message = play.final[1]
    assert (message.id, message.role) == ("m_standard_t_0_assistant", "assistant")
    name = "m_standard_t_0_assistant"
    assert message.parts == (
        Part(id=f"{name}.p0", kind="prose", content="One."),
        Part(id=f"{name}.p1", kind="prose", content="Two."),
        Part(id=f"{name}.p2", kind="reasoning", content="first", replay={"id": "r1"}),
        Part(id=f"{name}.p3", kind="tool_call", content="{}", tool_call_id="a", tool_name="lookup"),
        Part(id=f"{name}.p4", kind="reasoning", content="", replay={"id": "r2"}),
        Part(id=f"{name}.p5", kind="tool_call", content="{}", tool_call_id="b", tool_name="lookup"),
        Part(id=f"{name}.p6", kind="reasoning", content="trailing"),
    )


def test_a_calls_replay_data_travels_with_it() -> None:
    part = ToolCallPart(call_id="a", tool_name="lookup", input_json="{}", replay={"sig": "x"})
    play = Play([said(part), said(prose("Done."))]).run()
    assert play.final[1].parts[0].replay == {"sig": "x"}


def test_message_ids_follow_from_turn_and_iteration() -> None:
    play = Play([said(call("a")), said(call("a")), said(prose("Done."))]).run()
    assert [message.id for message in play.final] == [
        "m1",
        "m_standard_t_0_assistant",
        "m_standard_t_0_tool_results",
        "m_standard_t_1_assistant",
        "m_standard_t_1_tool_results",
    ]


# --- arguments and call ids -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("", {}),
        (" \n", {}),
        ("{}", {}),
        (' {"a": [1, {"b": null}]} ', {"a": [1, {"b": None}]}),
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_argument_text_that_is_an_object_is_read(text: str, args: object) -> None:
    assert parse_arguments(text) == (args, None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a": ', "not valid JSON"),
        ("{'a': 1}", "not valid JSON"),
        ('{"a": NaN}', "not valid JSON"),
        ('{"a": 1} and more', "not valid JSON"),
        ('{"a": "\ud800"}', "not valid JSON"),
        ('{"a": 1e999}', "not valid JSON"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("[1]", "must be a JSON object, not list"),
        ('"text"', "must be a JSON object, not str"),
        ("7", "must be a JSON object, not int"),
        ("null", "must be a JSON object"),
    ],
)
def test_argument_text_that_is_no_object_is_reported_and_read_as_nothing(
    text: str, complaint: str
) -> None:
    args, error = parse_arguments(text)
    assert args == {}
    assert error is not None
    assert complaint in error


def test_malformed_arguments_reach_the_tool_runner_as_an_error_and_the_history_as_they_are() -> (
    None
):
    play = Play([said(call("a", arguments="{oops")), said(prose("Sorry."))]).run()
    ((pending,),) = play.calls
    assert pending.args == {}
    assert pending.args_error is not None
    assert play.final[1].parts[0].content == "{oops"
    assert play.outcome == answer("Sorry.")


def ids_given_to(*call_ids: str) -> list[str]:
    play = Play([said(*map(call, call_ids)), said(prose("Done."))]).run()
    (batch,) = play.calls
    made = [part.tool_call_id for part in play.final[1].parts]
    answered = [part.tool_call_id for part in play.final[2].parts]
    assert made == answered == [pending.call_id for pending in batch]
    return [pending.call_id for pending in batch]


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a"], ["a", "call_t_0_1"]),
        (["", ""], ["call_t_0_0", "call_t_0_1"]),
        ([" ", "a"], ["call_t_0_0", "a"]),
        (["a", "a", "a"], ["a", "call_t_0_1", "call_t_0_2"]),
        (["", "call_t_0_0"], ["call_t_0_0_", "call_t_0_0"]),
        (["call_t_0_1", ""], ["call_t_0_1", "call_t_0_1_"]),
    ],
)
def test_a_blank_or_repeated_call_id_is_replaced_by_one_of_its_own(
    given: list[str], used: list[str]
) -> None:
    assert ids_given_to(*given) == used


def test_every_call_is_answered_also_with_empty_text() -> None:
    play = Play(
        [said(call("a"), call("b")), said(prose("Done."))], outputs={"a": ok(""), "b": ok("B")}
    ).run()
    name = "m_standard_t_0_tool_results"
    assert play.final[2] == Message(
        id=name,
        role="user",
        parts=(
            Part(
                id=f"{name}.p0",
                kind="tool_result",
                content="",
                tool_call_id="a",
                tool_name="lookup",
            ),
            Part(
                id=f"{name}.p1",
                kind="tool_result",
                content="B",
                tool_call_id="b",
                tool_name="lookup",
            ),
        ),
    )
