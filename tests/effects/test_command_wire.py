"""Commands as they stand on wires: every byte here is written by hand."""

import msgspec
import pytest
from effect_samples import KEY, KEY_WIRE, llm_call, says

from lash.core.json import canonical
from lash.effects.commands import (
    AwaitEventCommand,
    CheckpointCommand,
    DirectCommand,
    DurableStepCommand,
    EffectCommand,
    ExecCodeCommand,
    LlmCallCommand,
    PeekAwaitEventCommand,
    PreparedToolCall,
    ProcessEffectCommand,
    RuntimeValueCommand,
    SleepCommand,
    SyncExecutionEnvironmentCommand,
    ToolAttemptCommand,
    ToolBatchCommand,
    TriggerEffectCommand,
    command_kind,
    is_composite,
)
from lash.effects.process_commands import (
    AwaitProcess,
)
from lash.effects.trigger_commands import (
    ListTriggers,
)
from lash.llm.request import JsonSchemaOutput, ToolSpec
from lash.turn.tools import (
    PendingToolCall,
)

_COMMAND: msgspec.json.Decoder[EffectCommand] = msgspec.json.Decoder(EffectCommand)

_REQUEST = (
    '{"history":{"count":0,"digest":""},"instructions":"Be brief.",'
    '"messages":[{"blocks":[{"text":"hello","type":"text"}],"role":"user"}],'
    '"model":{"name":"model-1","provider":"scripted"},'
    '"scope":{"request_id":"r1","session_id":"s"},"tools":[]}'
)
_REQUEST_WITH_ALL = (
    '{"history":{"count":0,"digest":""},"instructions":"Be brief.",'
    '"messages":[{"blocks":[{"text":"yes?","type":"text"}],"role":"assistant"}],'
    '"model":{"name":"model-1","provider":"scripted"},'
    '"output":{"json_schema":{"type":"object"},"name":"order","strict":true,"type":"json_schema"},'
    '"scope":{"request_id":"r1","session_id":"s"},"tool_choice":"required",'
    '"tools":[{"description":"Look.","input_schema":{"type":"object"},"name":"look"}]}'
)
_CALL = PreparedToolCall(call_id="c1", tool_id="look@1", tool_name="look", args={"order": "7"})
_PENDING = PendingToolCall(call_id="c1", tool_name="look", args={"order": "7"})


def with_all() -> LlmCallCommand:
    request = llm_call(says("yes?", "assistant")).request
    spec = ToolSpec(name="look", description="Look.", input_schema={"type": "object"})
    schema = JsonSchemaOutput(name="order", json_schema={"type": "object"}, strict=True)
    return LlmCallCommand(
        request=msgspec.structs.replace(
            request, tools=(spec,), tool_choice="required", output=schema
        )
    )


# --- commands -----------------------------------------------------------------------------------------

COMMANDS: list[tuple[EffectCommand, str]] = [
    (llm_call(), f'{{"request":{_REQUEST},"type":"llm_call"}}'),
    (with_all(), f'{{"request":{_REQUEST_WITH_ALL},"type":"llm_call"}}'),
    (
        DirectCommand(request=llm_call().request, usage_source="host"),
        f'{{"request":{_REQUEST},"type":"direct","usage_source":"host"}}',
    ),
    (
        ToolBatchCommand(batch_id="b1", calls=(_PENDING,)),
        (
            '{"batch_id":"b1","calls":[{"args":{"order":"7"},"call_id":"c1","tool_name":"look"}],'
            '"type":"tool_batch"}'
        ),
    ),
    (
        ToolAttemptCommand(call=_CALL, attempt=2, max_attempts=3),
        (
            '{"attempt":2,"call":{"args":{"order":"7"},"call_id":"c1","tool_id":"look@1",'
            '"tool_name":"look"},"max_attempts":3,"type":"tool_attempt"}'
        ),
    ),
    (
        ExecCodeCommand(language="lashlang", code="1 + 1"),
        '{"code":"1 + 1","language":"lashlang","type":"exec_code"}',
    ),
    (CheckpointCommand(checkpoint="after_work"), '{"checkpoint":"after_work","type":"checkpoint"}'),
    (
        CheckpointCommand(checkpoint="before_completion"),
        '{"checkpoint":"before_completion","type":"checkpoint"}',
    ),
    (
        SyncExecutionEnvironmentCommand(update_machine_config=True),
        '{"type":"sync_execution_environment","update_machine_config":true}',
    ),
    (SleepCommand(duration_ms=60000), '{"duration_ms":60000,"type":"sleep"}'),
    (AwaitEventCommand(key=KEY), f'{{"key":{KEY_WIRE},"type":"await_event"}}'),
    (PeekAwaitEventCommand(key=KEY), f'{{"key":{KEY_WIRE},"type":"peek_await_event"}}'),
    (
        DurableStepCommand(step_id="charge", input=[7, None], attempt=2, max_attempts=5),
        '{"attempt":2,"input":[7,null],"max_attempts":5,"step_id":"charge","type":"durable_step"}',
    ),
    (DurableStepCommand(step_id="charge"), '{"step_id":"charge","type":"durable_step"}'),
    (
        TriggerEffectCommand(command=ListTriggers(filter={})),
        '{"command":{"filter":{},"op":"list"},"type":"trigger"}',
    ),
    (
        ProcessEffectCommand(command=AwaitProcess(process_id="p")),
        '{"command":{"op":"await","process_id":"p"},"type":"process"}',
    ),
    (RuntimeValueCommand(operation="now"), '{"operation":"now","type":"runtime_value"}'),
    (RuntimeValueCommand(operation="random"), '{"operation":"random","type":"runtime_value"}'),
    (RuntimeValueCommand(operation="uuid"), '{"operation":"uuid","type":"runtime_value"}'),
]


@pytest.mark.parametrize(("command", "wire"), COMMANDS, ids=[wire[-40:] for _, wire in COMMANDS])
def test_a_command_has_exactly_this_wire_form(command: EffectCommand, wire: str) -> None:
    assert canonical(command).decode() == wire
    assert _COMMAND.decode(wire) == command


def test_every_kind_of_command_is_in_the_table_under_its_kind() -> None:
    kinds = {command_kind(command): msgspec.json.decode(wire)["type"] for command, wire in COMMANDS}
    assert sorted(kinds) == [
        "await_event",
        "checkpoint",
        "direct",
        "durable_step",
        "exec_code",
        "llm_call",
        "peek_await_event",
        "process",
        "runtime_value",
        "sleep",
        "sync_execution_environment",
        "tool_attempt",
        "tool_batch",
        "trigger",
    ]
    assert all(kind == tag for kind, tag in kinds.items())


def test_only_batches_and_code_are_interpreted_again() -> None:
    composite = {command_kind(command) for command, _ in COMMANDS if is_composite(command)}
    assert composite == {"tool_batch", "exec_code"}


@pytest.mark.parametrize(
    "wire",
    [
        '{"duration_ms":1,"type":"nap"}',
        '{"duration_ms":1}',
        '{"duration_ms":1,"type":7}',
        '{"duration_ms":"1","type":"sleep"}',
        '{"type":"sleep"}',
        '{"operation":"coin","type":"runtime_value"}',
        '{"checkpoint":"sometime","type":"checkpoint"}',
        '{"command":{"op":"unheard","process_id":"p"},"type":"process"}',
        '{"command":{"process_id":"p","type":"await"},"type":"process"}',
        '{"command":{"filter":{},"op":"unheard"},"type":"trigger"}',
        "[]",
        "null",
    ],
)
def test_what_is_no_command_is_refused(wire: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        _COMMAND.decode(wire)


def test_what_a_command_leaves_out_means_what_it_always_meant() -> None:
    """Values at their default are not written, so a default is as much stored data as a name."""
    step = _COMMAND.decode('{"step_id":"charge","type":"durable_step"}')
    assert isinstance(step, DurableStepCommand)
    assert (step.input, step.attempt, step.max_attempts) == (None, 1, 1)
    call = _COMMAND.decode(f'{{"request":{_REQUEST},"type":"llm_call"}}')
    assert isinstance(call, LlmCallCommand)
    assert (call.request.tool_choice, call.request.output) == ("auto", None)
