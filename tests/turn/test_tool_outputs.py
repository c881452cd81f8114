"""What a model is shown of a tool call's output, and how outputs look on the wire."""

import pytest

from lash.core.json import JsonValue, canonical
from lash.turn.tools import (
    FailControl,
    FinishControl,
    RetriesExhausted,
    SafeToRetry,
    SwitchAgentFrameControl,
    ToolCancellation,
    ToolCancelled,
    ToolFailure,
    ToolOutput,
    ToolSuccess,
    failed,
    model_text,
)


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        ("plain text", "plain text"),
        ("", ""),
        (None, "null"),
        (7, "7"),
        ({"b": [1, True], "a": "ü"}, '{"a":"ü","b":[1,true]}'),
    ],
)
def test_a_success_shows_strings_as_they_are_and_other_json_compactly(
    payload: JsonValue, shown: str
) -> None:
    assert model_text(ToolOutput(outcome=ToolSuccess(payload=payload))) == shown


def test_a_failure_and_a_cancellation_say_so() -> None:
    assert (
        model_text(failed("execution", "boom", "It broke.")) == "[Tool execution failed]\nIt broke."
    )
    assert model_text(failed("execution", "boom", "")) == "[Tool execution failed]"
    stopped = ToolOutput(
        outcome=ToolCancelled(payload=ToolCancellation(message="tool call cancelled"))
    )
    assert model_text(stopped) == "[Tool execution cancelled]\ntool call cancelled"


FAILURE = ToolFailure(failure_class="external", code="c", message="m")


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (
            ToolOutput(outcome=ToolSuccess(payload=1)),
            '{"outcome":{"payload":1,"status":"success"}}',
        ),
        (ToolOutput(outcome=ToolSuccess()), '{"outcome":{"status":"success"}}'),
        (
            failed("timeout", "slow", "Late."),
            '{"outcome":{"payload":{"code":"slow","failure_class":"timeout","message":"Late.","source":"runtime"},"status":"failure"}}',
        ),
        (
            ToolOutput(outcome=ToolCancelled(payload=ToolCancellation(message="stop"))),
            '{"outcome":{"payload":{"message":"stop"},"status":"cancelled"}}',
        ),
        (FinishControl(value=[1]), '{"type":"finish","value":[1]}'),
        (
            FailControl(failure=FAILURE),
            '{"failure":{"code":"c","failure_class":"external","message":"m"},"type":"fail"}',
        ),
        (
            SwitchAgentFrameControl(frame_id="f", task="t"),
            '{"frame_id":"f","task":"t","type":"switch_agent_frame"}',
        ),
        (SafeToRetry(after_ms=5), '{"after_ms":5,"type":"safe"}'),
        (RetriesExhausted(attempts=3), '{"attempts":3,"type":"exhausted"}'),
    ],
)
def test_outputs_have_exactly_these_wire_forms(value: object, wire: str) -> None:
    assert canonical(value).decode() == wire
