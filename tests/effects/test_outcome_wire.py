"""Outcomes as they stand in journals: every byte here is written by hand.

Records of earlier releases are read with these shapes, so a change here is a change of stored data.
"""

from typing import get_args

import msgspec
import pytest
from effect_samples import KEY, KEY_WIRE

from lash.core.causality import EffectKind
from lash.core.json import canonical
from lash.effects.outcomes import (
    AwaitEventOutcome,
    CheckpointOutcome,
    DirectCall,
    DirectOutcome,
    DurableStepOutcome,
    EffectFailed,
    EffectOutcome,
    ExecCodeOutcome,
    LlmCallOutcome,
    PeekAwaitEventOutcome,
    PendingCompletion,
    ProcessOutcome,
    RuntimeValueOutcome,
    SleepOutcome,
    StepFailure,
    SyncExecutionEnvironmentOutcome,
    ToolAttemptOutcome,
    ToolBatchOutcome,
    TriggerOutcome,
)
from lash.effects.process_commands import (
    ProcessesTransferred,
)
from lash.effects.trigger_commands import (
    TriggerMutated,
)
from lash.effects.waits.model import (
    ExternalCompletionError,
    ResolvedCancelled,
    ResolvedErr,
    ResolvedOk,
    ResolvedTimeout,
)
from lash.llm.response import LlmFailure, LlmResponse, TextPart
from lash.llm.retry import AttemptRecord, LlmCallRecord
from lash.llm.usage import Usage
from lash.turn.exchange import CheckpointDelivery, ExecutionEnvironment
from lash.turn.messages import text_message
from lash.turn.tools import (
    CompletedToolCall,
    ToolCancellation,
    ToolCancelled,
    ToolFailed,
    ToolFailure,
    ToolOutput,
    ToolSuccess,
)

_OUTCOME: msgspec.json.Decoder[EffectOutcome] = msgspec.json.Decoder(EffectOutcome)

# --- outcomes -----------------------------------------------------------------------------------------

_LEDGER = LlmCallRecord(
    call_id="r1",
    model="model-1",
    attempts=(
        AttemptRecord(
            ordinal=1,
            started_at_ms=5,
            duration_ms=6,
            outcome="completed",
            position="terminal_observed",
        ),
    ),
)
_RECORD = (
    '{"attempts":[{"duration_ms":6,"ordinal":1,"outcome":"completed",'
    '"position":"terminal_observed","started_at_ms":5}],"call_id":"r1","model":"model-1"}'
)
_ANSWER = LlmResponse(parts=(TextPart(text="hi"),), usage=Usage(input_tokens=7, output_tokens=2))
_RESPONSE = '{"parts":[{"text":"hi","type":"text"}],"usage":{"input_tokens":7,"output_tokens":2}}'
_TROUBLE = LlmFailure(kind="http", message="overloaded", retryable=True, status=529)
_FAILURE = '{"kind":"http","message":"overloaded","retryable":true,"status":529}'
_MESSAGE = '{"id":"m1","parts":[{"content":"hello","id":"m1.p0","kind":"text"}],"role":"user"}'
_REFUSED = ToolFailure(failure_class="execution", code="tool_error", message="no")

OUTCOMES: list[tuple[EffectOutcome, str]] = [
    (
        LlmCallOutcome(
            record=_LEDGER, response=_ANSWER, text_streamed=True, wasted=Usage(input_tokens=1)
        ),
        (
            f'{{"record":{_RECORD},"response":{_RESPONSE},"text_streamed":true,"type":"llm_call",'
            '"wasted":{"input_tokens":1}}'
        ),
    ),
    (
        LlmCallOutcome(record=_LEDGER, failure=_TROUBLE),
        f'{{"failure":{_FAILURE},"record":{_RECORD},"type":"llm_call"}}',
    ),
    (
        DirectOutcome(record=_LEDGER, response=_ANSWER, wasted=Usage(output_tokens=1)),
        f'{{"record":{_RECORD},"response":{_RESPONSE},"type":"direct","wasted":{{"output_tokens":1}}}}',
    ),
    (
        DirectOutcome(record=_LEDGER, failure=_TROUBLE),
        f'{{"failure":{_FAILURE},"record":{_RECORD},"type":"direct"}}',
    ),
    (
        ToolBatchOutcome(
            results=(
                CompletedToolCall(
                    call_id="c1",
                    tool_name="look",
                    args={"order": "7"},
                    output=ToolOutput(outcome=ToolSuccess(payload="sent")),
                    model_text="sent",
                    duration_ms=12,
                    attempts=2,
                ),
            )
        ),
        (
            '{"results":[{"args":{"order":"7"},"attempts":2,"call_id":"c1","duration_ms":12,'
            '"model_text":"sent","output":{"outcome":{"payload":"sent","status":"success"}},'
            '"tool_name":"look"}],"type":"tool_batch"}'
        ),
    ),
    (
        ToolAttemptOutcome(
            output=ToolOutput(outcome=ToolSuccess(payload={"state": "sent"})),
            duration_ms=12,
            direct_calls=(DirectCall(record=_LEDGER, usage=Usage(output_tokens=2)),),
        ),
        (
            f'{{"direct_calls":[{{"record":{_RECORD},"usage":{{"output_tokens":2}}}}],"duration_ms":12,'
            '"output":{"outcome":{"payload":{"state":"sent"},"status":"success"}},'
            '"type":"tool_attempt"}'
        ),
    ),
    (
        ToolAttemptOutcome(
            output=ToolOutput(outcome=ToolFailed(payload=_REFUSED)), retry_in_ms=250
        ),
        (
            '{"output":{"outcome":{"payload":{"code":"tool_error","failure_class":"execution",'
            '"message":"no"},"status":"failure"}},"retry_in_ms":250,"type":"tool_attempt"}'
        ),
    ),
    (
        ToolAttemptOutcome(
            output=ToolOutput(outcome=ToolCancelled(payload=ToolCancellation(message="stop")))
        ),
        (
            '{"output":{"outcome":{"payload":{"message":"stop"},"status":"cancelled"}},'
            '"type":"tool_attempt"}'
        ),
    ),
    (
        ToolAttemptOutcome(pending=PendingCompletion(key=KEY, deadline_at_ms=9)),
        f'{{"pending":{{"deadline_at_ms":9,"key":{KEY_WIRE}}},"type":"tool_attempt"}}',
    ),
    (
        ExecCodeOutcome(response={"value": 2}),
        '{"response":{"value":2},"type":"exec_code"}',
    ),
    (ExecCodeOutcome(error="no such name"), '{"error":"no such name","type":"exec_code"}'),
    (CheckpointOutcome(), '{"type":"checkpoint"}'),
    (
        CheckpointOutcome(
            delivery=CheckpointDelivery(
                committed_user_messages=(text_message("m1", "user", "hello"),)
            )
        ),
        f'{{"delivery":{{"committed_user_messages":[{_MESSAGE}]}},"type":"checkpoint"}}',
    ),
    (
        SyncExecutionEnvironmentOutcome(
            environment=ExecutionEnvironment(instructions="Be long.", tools=()), max_turns=9
        ),
        (
            '{"environment":{"instructions":"Be long.","tools":[]},"max_turns":9,'
            '"type":"sync_execution_environment"}'
        ),
    ),
    (
        SyncExecutionEnvironmentOutcome(error="no such tool"),
        '{"error":"no such tool","type":"sync_execution_environment"}',
    ),
    (SleepOutcome(due_at_ms=1060000), '{"due_at_ms":1060000,"type":"sleep"}'),
    (
        SleepOutcome(due_at_ms=1060000, cancelled=True),
        '{"cancelled":true,"due_at_ms":1060000,"type":"sleep"}',
    ),
    (
        AwaitEventOutcome(resolution=ResolvedOk(payload={"by": "ana"})),
        '{"resolution":{"payload":{"by":"ana"},"status":"ok"},"type":"await_event"}',
    ),
    (
        AwaitEventOutcome(
            resolution=ResolvedErr(
                payload=ExternalCompletionError(code="no", message="not today", raw=[1])
            )
        ),
        (
            '{"resolution":{"payload":{"code":"no","message":"not today","raw":[1]},"status":"err"},'
            '"type":"await_event"}'
        ),
    ),
    (
        AwaitEventOutcome(resolution=ResolvedTimeout()),
        '{"resolution":{"status":"timeout"},"type":"await_event"}',
    ),
    (
        PeekAwaitEventOutcome(resolution=ResolvedCancelled()),
        '{"resolution":{"status":"cancelled"},"type":"peek_await_event"}',
    ),
    (PeekAwaitEventOutcome(), '{"type":"peek_await_event"}'),
    (
        DurableStepOutcome(value={"charge": 7}),
        '{"type":"durable_step","value":{"charge":7}}',
    ),
    (
        DurableStepOutcome(
            failure=StepFailure(type="ValueError", message="no", code="declined"), retry_in_ms=100
        ),
        (
            '{"failure":{"code":"declined","message":"no","type":"ValueError"},"retry_in_ms":100,'
            '"type":"durable_step"}'
        ),
    ),
    (
        TriggerOutcome(result=TriggerMutated(receipt={})),
        '{"result":{"receipt":{},"type":"mutation"},"type":"trigger"}',
    ),
    (
        ProcessOutcome(result=ProcessesTransferred()),
        '{"result":{"op":"transfer"},"type":"process"}',
    ),
    (RuntimeValueOutcome(value=1000000), '{"type":"runtime_value","value":1000000}'),
    (RuntimeValueOutcome(value=0.5), '{"type":"runtime_value","value":0.5}'),
    (RuntimeValueOutcome(value="u_1"), '{"type":"runtime_value","value":"u_1"}'),
    (
        EffectFailed(code="effect_panicked", message="KeyError: 'x'"),
        '{"code":"effect_panicked","message":"KeyError: \'x\'","type":"failed"}',
    ),
]


@pytest.mark.parametrize(("outcome", "wire"), OUTCOMES, ids=[wire[-40:] for _, wire in OUTCOMES])
def test_an_outcome_has_exactly_this_wire_form(outcome: EffectOutcome, wire: str) -> None:
    assert canonical(outcome).decode() == wire
    assert _OUTCOME.decode(wire) == outcome


def test_every_kind_of_effect_has_an_outcome_of_the_same_name() -> None:
    outcomes = {msgspec.json.decode(wire)["type"] for _, wire in OUTCOMES}
    assert outcomes == {*get_args(EffectKind), "failed"}


@pytest.mark.parametrize(
    "wire",
    [
        '{"due_at_ms":1,"type":"nap"}',
        '{"due_at_ms":1}',
        '{"due_at_ms":"1","type":"sleep"}',
        '{"resolution":{"status":"maybe"},"type":"await_event"}',
        '{"resolution":{"payload":1},"type":"await_event"}',
        '{"resolution":null,"type":"await_event"}',
        '{"result":{"op":"unheard"},"type":"process"}',
        '{"result":{"receipt":{},"type":"unheard"},"type":"trigger"}',
        '{"output":{"outcome":{"status":"maybe"}},"type":"tool_attempt"}',
        '{"value":[1],"type":"runtime_value"}',
        '"sleep"',
        "null",
    ],
)
def test_what_is_no_outcome_is_refused(wire: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        _OUTCOME.decode(wire)


def test_what_an_outcome_leaves_out_means_what_it_always_meant() -> None:
    """Values at their default are not written, so a default is as much stored data as a name."""
    answer = _OUTCOME.decode(f'{{"record":{_RECORD},"type":"llm_call"}}')
    assert isinstance(answer, LlmCallOutcome)
    assert (answer.response, answer.failure, answer.text_streamed) == (None, None, False)
    assert answer.wasted == Usage(input_tokens=0, output_tokens=0)
    attempt = _OUTCOME.decode('{"type":"tool_attempt"}')
    assert isinstance(attempt, ToolAttemptOutcome)
    assert (attempt.output, attempt.pending, attempt.duration_ms) == (None, None, 0)
    assert (attempt.retry_in_ms, attempt.direct_calls) == (None, ())
    step = _OUTCOME.decode('{"type":"durable_step"}')
    assert isinstance(step, DurableStepOutcome)
    assert (step.value, step.failure, step.retry_in_ms) == (None, None, None)
    sync = _OUTCOME.decode('{"type":"sync_execution_environment"}')
    assert isinstance(sync, SyncExecutionEnvironmentOutcome)
    assert (sync.environment, sync.error, sync.max_turns) == (None, None, None)
    sleep = _OUTCOME.decode('{"due_at_ms":1,"type":"sleep"}')
    assert isinstance(sleep, SleepOutcome)
    assert not sleep.cancelled
