"""What an executor raises is contained and recorded; what lash itself raises passes and is not."""

import asyncio
import logging

import pytest
from effect_samples import (
    CHECKPOINT,
    KEY,
    STEP,
    SYNC,
    TOOL,
    TURN,
    Executor,
    World,
    envelope,
    found,
    llm_call,
    performing,
)

from lash.core.errors import LashError, LeaseLostError, StoreError
from lash.core.scopes import ProcessScope
from lash.effects import executors
from lash.effects.commands import (
    AwaitEventCommand,
    DirectCommand,
    EffectCommand,
    ExecCodeCommand,
    PeekAwaitEventCommand,
    ProcessEffectCommand,
    RuntimeValueCommand,
    ToolBatchCommand,
    TriggerEffectCommand,
)
from lash.effects.inline import InlineController
from lash.effects.outcomes import (
    AwaitEventOutcome,
    CheckpointOutcome,
    EffectFailed,
    EffectOutcome,
    PeekAwaitEventOutcome,
    ToolAttemptOutcome,
)
from lash.effects.process_commands import AwaitProcess
from lash.effects.trigger_commands import ListTriggers
from lash.effects.waits.model import CustomWait, ResolvedOk
from lash.turn.tools import PendingToolCall, ToolFailed, ToolFailure, ToolOutput

_PENDING = PendingToolCall(call_id="c1", tool_name="look", args={})
_TOOL_PANICKED = ToolAttemptOutcome(
    output=ToolOutput(
        outcome=ToolFailed(
            payload=ToolFailure(
                failure_class="execution",
                code="tool_panicked",
                message="KeyError: 'order'",
                source="tool",
            )
        )
    )
)
_PANICKED = EffectFailed(code="effect_panicked", message="KeyError: 'order'")
_PROCESS = ProcessEffectCommand(command=AwaitProcess(process_id="p"))

#: What a bug in an executor comes to, for every kind of atom that has one.
CONTAINED: list[tuple[EffectCommand, EffectOutcome]] = [
    (TOOL, _TOOL_PANICKED),
    (_PROCESS, EffectFailed(code="process_panicked", message="KeyError: 'order'")),
    (llm_call(), _PANICKED),
    (DirectCommand(request=llm_call().request, usage_source="host"), _PANICKED),
    (STEP, _PANICKED),
    (CHECKPOINT, _PANICKED),
    (SYNC, _PANICKED),
    (TriggerEffectCommand(command=ListTriggers(filter={})), _PANICKED),
    (RuntimeValueCommand(operation="now"), _PANICKED),
]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "lash.effects")


# --- failures of executors ----------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "failure"), CONTAINED)
async def test_a_bug_is_an_outcome_that_is_recorded_and_replayed(
    world: World, command: EffectCommand, failure: EffectOutcome
) -> None:
    broken, fixed = Executor(KeyError("order")), Executor(found())

    assert await world.drive().execute(envelope(command), broken) == failure
    assert await world.keys() == ["e1"]
    again = world.drive()
    assert await again.execute(envelope(command), fixed) == failure
    assert (broken.runs, fixed.runs) == (1, 0)
    assert again.counts.replayed == 1


@pytest.mark.parametrize(("command", "failure"), CONTAINED)
async def test_a_bug_is_contained_where_nothing_is_recorded_too(
    world: World, command: EffectCommand, failure: EffectOutcome
) -> None:
    inline = InlineController(ProcessScope(process_id="p"), world.clock, world.promises())

    assert await inline.execute(envelope(command), Executor(KeyError("order"))) == failure


@pytest.mark.parametrize(
    "command",
    [
        ToolBatchCommand(batch_id="b1", calls=(_PENDING,)),
        ExecCodeCommand(language="lashlang", code="1"),
    ],
)
async def test_a_bug_of_an_interpreter_is_contained_and_tried_again(
    world: World, command: EffectCommand
) -> None:
    assert await world.drive().execute(envelope(command), Executor(KeyError("order"))) == _PANICKED
    assert await world.keys() == []
    assert await world.drive().execute(envelope(command), Executor(found())) == found()


async def test_a_bug_is_told_with_its_traceback(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "lash.effects")
    await world.drive().execute(envelope(TOOL, "e7"), Executor(KeyError("order")))

    (told,) = caplog.records
    assert told.levelno == logging.ERROR
    assert "e7" in told.getMessage()
    assert told.exc_info is not None
    assert isinstance(told.exc_info[1], KeyError)


async def test_an_exception_group_is_a_bug_like_any_other(world: World) -> None:
    group = ExceptionGroup("two things", [KeyError("a"), ValueError("b")])

    outcome = await world.drive().execute(envelope(STEP), Executor(group))

    assert outcome == EffectFailed(
        code="effect_panicked", message="ExceptionGroup: two things (2 sub-exceptions)"
    )


@pytest.mark.parametrize("answer", [None, "text", {"type": "sleep"}, ("sleep", 1)])
async def test_an_executor_that_answers_with_no_outcome_has_failed(
    world: World, answer: object
) -> None:
    async def odd() -> EffectOutcome:
        return answer  # type: ignore[return-value]  # what a wrong executor does

    outcome = await world.drive().execute(envelope(STEP), performing(odd))

    assert isinstance(outcome, EffectFailed)
    assert outcome.code == "effect_panicked"
    assert await world.drive().execute(envelope(STEP), Executor(found())) == outcome


# --- trouble of lash itself ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", [command for command, _ in CONTAINED])
@pytest.mark.parametrize(
    "trouble",
    [
        LashError("session_execution_busy", "try later"),
        StoreError("store_busy", "locked"),
        LeaseLostError("session_execution_lease_lost", "gone"),
    ],
)
async def test_trouble_of_lash_itself_passes_and_records_nothing(
    world: World, command: EffectCommand, trouble: LashError
) -> None:
    drive = world.drive()
    with pytest.raises(LashError) as raised:
        await drive.execute(envelope(command), Executor(trouble))

    assert raised.value is trouble
    assert await world.keys() == []
    assert list(drive.deferred()) == []
    fixed = Executor(CheckpointOutcome())
    await drive.execute(envelope(command), fixed)
    assert fixed.runs == 1


@pytest.mark.parametrize(
    ("executor", "code"),
    [
        (executors.unavailable(), "runtime_effect_local_executor_unavailable"),
        (executors.sleeping(), "runtime_effect_local_executor_mismatch"),
        (executors.awaiting(), "runtime_effect_local_executor_mismatch"),
    ],
)
async def test_an_effect_that_nobody_can_perform_is_told_and_not_recorded(
    world: World, executor: executors.LocalExecutor, code: str
) -> None:
    with pytest.raises(LashError) as refused:
        await world.drive().execute(envelope(TOOL), executor)

    assert refused.value.code == code
    assert await world.keys() == []


async def test_what_is_recorded_needs_no_code_to_perform_it(world: World) -> None:
    await world.drive().execute(envelope(TOOL), Executor(found()))
    once = executors.tool_attempt(lambda: asyncio.sleep(0, found()))

    for _ in range(2):
        assert await world.drive().execute(envelope(TOOL), executors.unavailable()) == found()
    assert await world.drive().execute(envelope(TOOL), once) == found()
    # A replay does not use its executor up.
    assert await world.drive().execute(envelope(TOOL, "e2"), once) == found()


# --- waits go to the host -----------------------------------------------------------------------------


async def test_a_wait_and_a_peek_are_answered_by_the_host(world: World) -> None:
    promises = world.promises()
    key = await promises.await_event_key(ProcessScope(process_id="p"), CustomWait(key="k"))
    peek = PeekAwaitEventCommand(key=key)
    drive = world.drive()

    before = await drive.execute(envelope(peek, "e1"), executors.unavailable())
    await promises.resolve_await_event(key, ResolvedOk(payload=7))
    waited = await drive.execute(envelope(AwaitEventCommand(key=key), "e2"), executors.awaiting())
    after = await drive.execute(envelope(peek, "e3"), executors.unavailable())

    assert before == PeekAwaitEventOutcome(resolution=None)
    assert waited == AwaitEventOutcome(resolution=ResolvedOk(payload=7))
    assert after == PeekAwaitEventOutcome(resolution=ResolvedOk(payload=7))


async def test_a_wait_tells_whether_it_was_waited_or_replayed(world: World) -> None:
    promises = world.promises()
    key = await promises.await_event_key(TURN, CustomWait(key="k"))
    await promises.resolve_await_event(key, ResolvedOk(payload=7))
    wait = envelope(AwaitEventCommand(key=key))
    waited, replayed = executors.awaiting(), executors.awaiting()
    await world.drive().execute(wait, waited)
    await world.drive().execute(wait, replayed)

    assert (waited.used, replayed.used) == (True, False)


async def test_a_recorded_peek_says_what_it_said_although_it_is_resolved_now(world: World) -> None:
    promises = world.promises()
    key = await promises.await_event_key(ProcessScope(process_id="p"), CustomWait(key="k"))
    peek = envelope(PeekAwaitEventCommand(key=key), "e1")
    drive = world.drive()
    await drive.execute(peek, executors.unavailable())
    await drive.execute(envelope(TOOL, "e2"), Executor(found()))
    await promises.resolve_await_event(key, ResolvedOk(payload=7))

    replayed = await world.drive().execute(peek, executors.unavailable())

    assert replayed == PeekAwaitEventOutcome(resolution=None)


async def test_a_recorded_wait_is_replayed_although_its_session_was_deleted(world: World) -> None:
    promises = world.promises()
    key = await promises.await_event_key(TURN, CustomWait(key="k"))
    await promises.resolve_await_event(key, ResolvedOk(payload=7))
    wait = envelope(AwaitEventCommand(key=key))
    await world.drive().execute(wait, executors.awaiting())

    await promises.revoke_await_events_for_session("s")

    assert await world.drive().execute(wait, executors.awaiting()) == AwaitEventOutcome(
        resolution=ResolvedOk(payload=7)
    )


@pytest.mark.parametrize("command", [AwaitEventCommand(key=KEY), PeekAwaitEventCommand(key=KEY)])
async def test_a_key_of_nobodys_is_told_and_nothing_is_recorded(
    world: World, command: EffectCommand
) -> None:
    drive = world.drive()
    with pytest.raises(LashError) as refused:
        await drive.execute(envelope(command), executors.awaiting())

    assert refused.value.code == "await_event_unknown_or_revoked"
    assert "sig" not in refused.value.message
    assert (await world.keys(), list(drive.deferred())) == ([], [])
