"""An envelope that could not be journaled is refused when it is made."""

import msgspec
import pytest
from effect_samples import attempt, envelope, llm_call

from lash.core.causality import (
    EffectKind,
    EffectSubject,
    ProcessEventSubject,
    ProcessSubject,
    ReplayKey,
    RuntimeInvocation,
    RuntimeScope,
    RuntimeSubject,
)
from lash.core.errors import LashError
from lash.effects.commands import (
    CheckpointCommand,
    DurableStepCommand,
    EffectCommand,
    SleepCommand,
    SyncExecutionEnvironmentCommand,
    ToolBatchCommand,
    command_kind,
)
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.turn.tools import PendingToolCall


def batch(*call_ids: str, batch_id: str = "b1") -> ToolBatchCommand:
    calls = tuple(PendingToolCall(call_id=name, tool_name="look", args={}) for name in call_ids)
    return ToolBatchCommand(batch_id=batch_id, calls=calls)


KEY = ReplayKey(key="e1")


def invocation(
    subject: RuntimeSubject | None = None, replay: ReplayKey | None = KEY
) -> RuntimeInvocation:
    return RuntimeInvocation(
        scope=RuntimeScope(session_id="s"),
        subject=subject or EffectSubject(effect_id="1", kind="sleep"),
        replay=replay,
    )


SLEEP = SleepCommand(duration_ms=5)


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (invocation(ProcessSubject(process_id="p")), "runtime_effect_invocation_subject"),
        (
            invocation(EffectSubject(effect_id=" ", kind="sleep")),
            "runtime_effect_invocation_subject",
        ),
        (
            invocation(EffectSubject(effect_id="1", kind="llm_call")),
            "runtime_effect_invocation_kind",
        ),
        (
            invocation(EffectSubject(effect_id="", kind="sleep")),
            "runtime_effect_invocation_subject",
        ),
        (
            invocation(ProcessEventSubject(process_id="p", sequence=1, event_type="e")),
            "runtime_effect_invocation_subject",
        ),
        (invocation(replay=None), "runtime_effect_replay_required"),
        (invocation(replay=ReplayKey(key="")), "runtime_effect_replay_required"),
    ],
)
def test_an_invocation_that_names_no_effect_is_refused(made: RuntimeInvocation, code: str) -> None:
    with pytest.raises(LashError) as refused:
        RuntimeEffectEnvelope(invocation=made, command=SLEEP)

    assert (refused.value.code, refused.value.terminal) == (code, True)


def test_an_envelope_that_is_read_back_is_checked_as_well() -> None:
    wire = (
        '{"command":{"duration_ms":5,"type":"sleep"},'
        '"invocation":{"replay":{"key":""},"scope":{"session_id":"s"},'
        '"subject":{"effect_id":"1","kind":"sleep","type":"effect"}}}'
    )
    with pytest.raises(LashError) as refused:
        msgspec.json.decode(wire, type=RuntimeEffectEnvelope)

    assert refused.value.code == "runtime_effect_replay_required"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (attempt(call_id=" "), "runtime_effect_tool_attempt_call_id"),
        (attempt(number=0), "runtime_effect_tool_attempt_index"),
        (attempt(number=4, of=3), "runtime_effect_tool_attempt_index"),
        (batch("c1", batch_id=""), "runtime_effect_tool_batch_id"),
        (batch(), "runtime_effect_tool_batch_empty"),
        (batch("c1", " "), "runtime_effect_tool_batch_call_id"),
        (DurableStepCommand(step_id=""), "runtime_effect_durable_step_id"),
        (DurableStepCommand(step_id=" \n"), "runtime_effect_durable_step_id"),
    ],
)
def test_a_command_that_could_not_be_told_apart_is_refused(
    command: EffectCommand, code: str
) -> None:
    with pytest.raises(LashError) as refused:
        envelope(command)

    assert (refused.value.code, refused.value.terminal) == (code, True)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (llm_call(), "llm_call"),
        (batch("c1"), "tool_batch"),
        (attempt(number=1, of=1), "tool_attempt"),
        (attempt(number=3, of=3), "tool_attempt"),
        (CheckpointCommand(checkpoint="after_work"), "checkpoint"),
        (SyncExecutionEnvironmentCommand(update_machine_config=True), "sync_execution_environment"),
        (SLEEP, "sleep"),
        (DurableStepCommand(step_id="charge"), "durable_step"),
    ],
)
def test_a_sound_envelope_knows_its_key_and_kind(command: EffectCommand, kind: EffectKind) -> None:
    assert command_kind(command) == kind
    assert envelope(command, "e7").replay_key == "e7"
