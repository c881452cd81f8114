"""Local executors: each performs what it was made for, once, and says so when asked for more."""

from collections.abc import Callable
from typing import get_args

import pytest
from effect_samples import CHECKPOINT, KEY, STEP, SYNC, TOOL, envelope, found, llm_call

from lash.core.cancel import CancelToken
from lash.core.causality import EffectKind
from lash.core.errors import LashError
from lash.effects import executors
from lash.effects.commands import (
    AwaitEventCommand,
    DirectCommand,
    EffectCommand,
    ExecCodeCommand,
    PeekAwaitEventCommand,
    ProcessEffectCommand,
    RuntimeValueCommand,
    SleepCommand,
    ToolBatchCommand,
    TriggerEffectCommand,
    command_kind,
)
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.outcomes import EffectOutcome
from lash.effects.process_commands import AwaitProcess
from lash.effects.trigger_commands import ListTriggers
from lash.turn.tools import PendingToolCall

_PENDING = PendingToolCall(call_id="c1", tool_name="look", args={})
#: One command of every kind.
EVERY_KIND: dict[EffectKind, EffectCommand] = {
    command_kind(command): command
    for command in (
        llm_call(),
        DirectCommand(request=llm_call().request, usage_source="host"),
        ToolBatchCommand(batch_id="b1", calls=(_PENDING,)),
        TOOL,
        ExecCodeCommand(language="lashlang", code="1"),
        CHECKPOINT,
        SYNC,
        SleepCommand(duration_ms=1),
        AwaitEventCommand(key=KEY),
        PeekAwaitEventCommand(key=KEY),
        STEP,
        TriggerEffectCommand(command=ListTriggers(filter={})),
        ProcessEffectCommand(command=AwaitProcess(process_id="p")),
        RuntimeValueCommand(operation="now"),
    )
}


async def done() -> EffectOutcome:
    return found()


async def did(envelope: RuntimeEffectEnvelope) -> EffectOutcome:
    return found(envelope.replay_key)


#: What makes an executor, and the kinds it takes, written by hand.
MADE: list[tuple[str, Callable[[], LocalExecutor], set[str]]] = [
    ("await_event", executors.awaiting, set()),
    ("sleep", executors.sleeping, set()),
    (
        "turn",
        lambda: executors.turn(done),
        {
            "llm_call",
            "tool_batch",
            "exec_code",
            "checkpoint",
            "sync_execution_environment",
            "sleep",
        },
    ),
    ("direct", lambda: executors.direct(done), {"direct"}),
    ("tool_batch", lambda: executors.tool_batch(done), {"tool_batch"}),
    ("tool_attempt", lambda: executors.tool_attempt(done), {"tool_attempt"}),
    ("durable_step", lambda: executors.durable_step(done), {"durable_step"}),
    ("runtime_value", lambda: executors.runtime_value(done), {"runtime_value"}),
    ("processes", lambda: executors.processes(did), {"process"}),
    ("triggers", lambda: executors.triggers(did), {"trigger"}),
    ("testing", lambda: executors.testing(did), set(get_args(EffectKind))),
]


def test_the_table_has_every_kind_of_effect() -> None:
    assert set(EVERY_KIND) == set(get_args(EffectKind))


@pytest.mark.parametrize("kind", list(EVERY_KIND))
@pytest.mark.parametrize(("name", "make", "takes"), MADE, ids=[name for name, _, _ in MADE])
async def test_an_executor_takes_exactly_its_kinds(
    name: str, make: Callable[[], LocalExecutor], takes: set[str], kind: EffectKind
) -> None:
    executor = make()
    asked = envelope(EVERY_KIND[kind], "e7")

    if kind in takes:
        assert await executor.run(asked) in (found(), found("e7"))
        return
    with pytest.raises(LashError) as refused:
        await executor.run(asked)
    assert (refused.value.code, refused.value.terminal) == (
        "runtime_effect_local_executor_mismatch",
        True,
    )
    assert refused.value.details == {"kind": kind, "executor": name}
    assert "e7" in refused.value.message


@pytest.mark.parametrize("kind", list(EVERY_KIND))
async def test_nothing_is_performed_where_no_code_is(kind: EffectKind) -> None:
    executor = executors.unavailable()
    for _ in range(2):
        with pytest.raises(LashError) as refused:
            await executor.run(envelope(EVERY_KIND[kind], "e7"))

        assert refused.value.code == "runtime_effect_local_executor_unavailable"
        assert refused.value.details == {"kind": kind, "replay_key": "e7"}


async def test_an_executor_is_used_up_by_one_execution() -> None:
    runs: list[str] = []

    async def perform() -> EffectOutcome:
        runs.append("run")
        return found()

    executor = executors.durable_step(perform)
    await executor.run(envelope(STEP))
    with pytest.raises(LashError) as refused:
        await executor.run(envelope(STEP, "e2"))

    assert refused.value.code == "runtime_effect_local_executor_consumed"
    assert refused.value.details == {"kind": "durable_step", "executor": "durable_step"}
    assert "e2" in refused.value.message
    assert runs == ["run"]


async def test_an_execution_that_failed_has_used_its_executor_up_too() -> None:
    async def fail() -> EffectOutcome:
        raise ValueError

    executor = executors.tool_attempt(fail)
    with pytest.raises(ValueError, match=r"^$"):
        await executor.run(envelope(TOOL))
    with pytest.raises(LashError) as refused:
        await executor.run(envelope(TOOL))

    assert refused.value.code == "runtime_effect_local_executor_consumed"


async def test_being_handed_the_wrong_effect_does_not_use_an_executor_up() -> None:
    executor = executors.durable_step(done)
    with pytest.raises(LashError):
        await executor.run(envelope(TOOL))

    assert await executor.run(envelope(STEP)) == found()


def test_an_executor_is_claimed_before_it_runs() -> None:
    """So that two tasks cannot both begin with it."""
    executor = executors.durable_step(done)
    executor.claim(envelope(STEP))
    with pytest.raises(LashError) as refused:
        executor.claim(envelope(STEP))

    assert refused.value.code == "runtime_effect_local_executor_consumed"


async def test_an_executor_knows_whether_it_performed_its_effect() -> None:
    performed, replayed, spent = (executors.durable_step(done) for _ in range(3))
    await performed.run(envelope(STEP))
    spent.spend()

    assert (performed.used, replayed.used, spent.used) == (True, False, True)
    with pytest.raises(LashError) as refused:
        await spent.run(envelope(STEP))
    assert refused.value.code == "runtime_effect_local_executor_consumed"


def test_what_goes_with_a_wait_is_carried_along() -> None:
    cancel = CancelToken()
    assert executors.sleeping(cancel).cancel is cancel
    assert executors.turn(done, cancel).cancel is cancel
    waiting = executors.awaiting(cancel, 9)
    assert (waiting.cancel, waiting.deadline_at_ms) == (cancel, 9)
    assert (executors.durable_step(done).cancel, executors.awaiting().deadline_at_ms) == (
        None,
        None,
    )


def test_an_executor_is_shown_by_its_name_only() -> None:
    assert repr(executors.durable_step(done)) == "<lash executor durable_step>"
