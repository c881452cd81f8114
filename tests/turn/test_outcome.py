"""Outcomes as they are stored: each stop has its tag, and records of before still read."""

import msgspec
import pytest

from lash.core.cancel import Cancellation
from lash.turn.outcome import (
    Cancelled,
    Incomplete,
    InvalidInput,
    MaxTurns,
    PluginAbort,
    ProviderStopped,
    RuntimeStopped,
    Stopped,
    SubmittedError,
    ToolFailureStop,
    ToolStopped,
    TurnOutcome,
    TurnStop,
    cancelled_by,
)

STOPS: list[tuple[TurnStop, dict[str, object]]] = [
    (Cancelled(), {"type": "cancelled"}),
    (
        Cancelled(request_id="r", origin="ana", reason="enough"),
        {"type": "cancelled", "request_id": "r", "origin": "ana", "reason": "enough"},
    ),
    (Incomplete(), {"type": "incomplete"}),
    (InvalidInput(), {"type": "invalid_input"}),
    (MaxTurns(), {"type": "max_turns"}),
    (ToolFailureStop(), {"type": "tool_failure"}),
    (ProviderStopped(), {"type": "provider_error"}),
    (
        PluginAbort(code="quota", message="Enough for today."),
        {"type": "plugin_abort", "code": "quota", "message": "Enough for today."},
    ),
    (RuntimeStopped(), {"type": "runtime_error"}),
    (SubmittedError(value=[1]), {"type": "submitted_error", "value": [1]}),
    (SubmittedError(), {"type": "submitted_error"}),
    (
        ToolStopped(tool_name="sum", value=1),
        {"type": "tool_error", "tool_name": "sum", "value": 1},
    ),
]


@pytest.mark.parametrize(("stop", "wire"), STOPS)
def test_every_stop_has_this_wire_form_both_ways(stop: TurnStop, wire: dict[str, object]) -> None:
    stored = msgspec.json.encode(Stopped(reason=stop))
    assert msgspec.json.decode(stored) == {"status": "stopped", "reason": wire}
    assert msgspec.json.decode(stored, type=TurnOutcome) == Stopped(reason=stop)


def test_a_cancellation_becomes_the_evidence_of_its_outcome() -> None:
    assert cancelled_by(Cancellation(request_id="r")) == Stopped(reason=Cancelled(request_id="r"))
    assert cancelled_by(Cancellation(request_id="r", origin="o", reason="w")) == Stopped(
        reason=Cancelled(request_id="r", origin="o", reason="w")
    )
