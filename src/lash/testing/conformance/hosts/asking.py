"""What the properties of effect hosts ask for: envelopes, executors that count, and every kind of outcome."""

from collections.abc import Mapping

from lash.core.causality import EffectSubject, ReplayKey, RuntimeInvocation, RuntimeScope
from lash.core.json import JsonObject, JsonValue
from lash.core.scopes import RuntimeOperationScope, TurnScope
from lash.effects import executors
from lash.effects.commands import (
    CheckpointCommand,
    DirectCommand,
    DurableStepCommand,
    EffectCommand,
    LlmCallCommand,
    PreparedToolCall,
    ProcessEffectCommand,
    RuntimeValueCommand,
    SleepCommand,
    SyncExecutionEnvironmentCommand,
    ToolAttemptCommand,
    TriggerEffectCommand,
    command_kind,
)
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.executors import LocalExecutor
from lash.effects.outcomes import (
    CheckpointOutcome,
    DirectOutcome,
    DurableStepOutcome,
    EffectFailed,
    EffectOutcome,
    LlmCallOutcome,
    ProcessOutcome,
    RuntimeValueOutcome,
    StepFailure,
    SyncExecutionEnvironmentOutcome,
    ToolAttemptOutcome,
    TriggerOutcome,
)
from lash.effects.process_commands import (
    AwaitProcess,
    CancelProcess,
    DeleteSessionProcesses,
    EmitProcessEvent,
    ListProcesses,
    ParentEnd,
    ParentEnded,
    ProcessAwaited,
    ProcessCancelled,
    ProcessCommand,
    ProcessEffectOutcome,
    ProcessesListed,
    ProcessesTransferred,
    ProcessEventEmitted,
    ProcessSignalled,
    ProcessStarted,
    SessionProcessesDeleted,
    SignalProcess,
    StartProcess,
    TransferProcesses,
)
from lash.effects.trigger_commands import (
    DeleteTrigger,
    DisableTrigger,
    EmittedDelivery,
    EmitTrigger,
    EnableTrigger,
    ListTriggers,
    PruneTriggers,
    RegisterTrigger,
    ReviveTrigger,
    TriggerCommand,
    TriggerConflict,
    TriggerEffectOutcome,
    TriggerEmission,
    TriggerEmitted,
    TriggerMutated,
    TriggersListed,
    TriggersPruned,
    UpdateTrigger,
)
from lash.llm.request import HistoryRef, LlmMessage, LlmRequest, LlmScope, ModelSpec, TextBlock
from lash.llm.response import Evidence, LlmFailure, LlmResponse, TextPart, ToolCallPart
from lash.llm.retry import AttemptError, AttemptRecord, LlmCallRecord, RetryDecision
from lash.llm.usage import Usage
from lash.turn.exchange import CheckpointDelivery, ExecutionEnvironment
from lash.turn.messages import text_message
from lash.turn.tools import ToolOutput, ToolSuccess, failed

#: A scope without a lease, and one whose session has one.
OPERATION = RuntimeOperationScope(operation_id="o")
TURN = TurnScope(session_id="s", turn_id="t1")


def envelope(command: EffectCommand, key: str = "e1") -> RuntimeEffectEnvelope:
    """A command under a replay key."""
    return RuntimeEffectEnvelope(
        invocation=RuntimeInvocation(
            scope=RuntimeScope(session_id="s"),
            subject=EffectSubject(effect_id=key, kind=command_kind(command)),
            replay=ReplayKey(key=key),
        ),
        command=command,
    )


def step(name: str = "charge", given: JsonValue = None) -> DurableStepCommand:
    """A step of host code."""
    return DurableStepCommand(step_id=name, input=given)


def done(value: JsonValue = "done") -> DurableStepOutcome:
    """What a step came to."""
    return DurableStepOutcome(value=value)


def attempt(call_id: str = "c1", args: JsonObject | None = None) -> ToolAttemptCommand:
    """One run of a tool."""
    call = PreparedToolCall(
        call_id=call_id, tool_id="look", tool_name="look", args=args or {"order": "7"}
    )
    return ToolAttemptCommand(call=call, attempt=1, max_attempts=3)


def found(payload: JsonValue) -> ToolAttemptOutcome:
    """What a tool came back with."""
    return ToolAttemptOutcome(output=ToolOutput(outcome=ToolSuccess(payload=payload)))


def sleep(duration_ms: int) -> SleepCommand:
    """A sleep."""
    return SleepCommand(duration_ms=duration_ms)


def llm_call(instructions: str = "Be brief.", text: str = "hello") -> LlmCallCommand:
    """A model call."""
    return LlmCallCommand(request=_request(instructions, text))


def _request(instructions: str, text: str) -> LlmRequest:
    return LlmRequest(
        model=ModelSpec(provider="scripted", name="model-1"),
        instructions=instructions,
        messages=(LlmMessage(role="user", blocks=(TextBlock(text=text),)),),
        tools=(),
        history=HistoryRef(count=0, digest=""),
        scope=LlmScope(session_id="s", request_id="r1"),
    )


class Counted:
    """Hands out executors of one outcome and counts how often they were run.

    Attributes:
        runs: How often.
    """

    def __init__(self, outcome: EffectOutcome | Exception) -> None:
        self.runs = 0
        self._outcome = outcome

    def executor(self) -> LocalExecutor:
        """An executor that performs anything."""
        return executors.testing(self._perform)

    async def _perform(self, envelope: RuntimeEffectEnvelope) -> EffectOutcome:
        del envelope
        self.runs += 1
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


_RECORD = LlmCallRecord(
    call_id="l1",
    model="model-1",
    attempts=(
        AttemptRecord(
            ordinal=1,
            started_at_ms=5,
            duration_ms=7,
            outcome="failed",
            position="output_started",
            retry=RetryDecision(scheduled=True, reason="retryable_failure", delay_ms=2_000),
            error=AttemptError(kind="http", message="overloaded", code="x", status=529),
            evidence=Evidence(request_id="q1"),
        ),
        AttemptRecord(
            ordinal=2,
            started_at_ms=9,
            duration_ms=1,
            outcome="completed",
            position="terminal_observed",
            usage=Usage(input_tokens=1, output_tokens=2, cache_read_input_tokens=3),
        ),
    ),
)
_ANSWER = LlmResponse(
    parts=(
        TextPart(text="Looking. é ☃", phase="commentary"),
        ToolCallPart(call_id="c1", tool_name="look", input_json='{"order": 7', replay={"n": [1]}),
    ),
    usage=Usage(input_tokens=1, output_tokens=2),
    terminal_reason="tool_use",
)
_REFUSAL = LlmFailure(kind="quota", message="no", retryable=True, status=429, retry_after_ms=100)
_DIRECT = DirectCommand(request=_request("Name it.", "a cat"), usage_source="names")
_MESSAGE = text_message("m1", "user", "and this")

#: Every kind of atom, with outcomes of every shape it has: what was asked, and what came of it.
EVERY_OUTCOME: Mapping[str, tuple[EffectCommand, EffectOutcome]] = {
    "llm call": (
        llm_call(),
        LlmCallOutcome(
            record=_RECORD, response=_ANSWER, text_streamed=True, wasted=Usage(output_tokens=4)
        ),
    ),
    "llm call without an answer": (llm_call(), LlmCallOutcome(record=_RECORD, failure=_REFUSAL)),
    "direct completion": (_DIRECT, DirectOutcome(record=_RECORD, response=_ANSWER)),
    "direct completion without an answer": (
        _DIRECT,
        DirectOutcome(record=_RECORD, failure=_REFUSAL, wasted=Usage(input_tokens=9)),
    ),
    "tool attempt": (
        attempt(),
        found({"lines": [1, 2.5, None, True, "é ☃ \u0000"], "deep": {"a": {"b": []}}}),
    ),
    "tool attempt that failed and is tried again": (
        attempt(),
        ToolAttemptOutcome(
            output=failed("execution", "tool_error", "no", source="tool"),
            duration_ms=12,
            retry_in_ms=500,
        ),
    ),
    "step": (step(given={"order": "7"}), done({"charged": 12.5})),
    "step that failed": (
        step(),
        DurableStepOutcome(
            failure=StepFailure(type="Declined", message="no funds", code="declined"),
            retry_in_ms=1_000,
        ),
    ),
    "checkpoint": (
        CheckpointCommand(checkpoint="after_work"),
        CheckpointOutcome(delivery=CheckpointDelivery(committed_user_messages=(_MESSAGE,))),
    ),
    "environment": (
        SyncExecutionEnvironmentCommand(update_machine_config=True),
        SyncExecutionEnvironmentOutcome(
            environment=ExecutionEnvironment(instructions="Be brief.", tools=()), max_turns=4
        ),
    ),
    "clock": (RuntimeValueCommand(operation="now"), RuntimeValueOutcome(value=1_750_000_000_123)),
    "chance": (RuntimeValueCommand(operation="random"), RuntimeValueOutcome(value=0.1)),
    "fresh id": (RuntimeValueCommand(operation="uuid"), RuntimeValueOutcome(value="id_1")),
    "failure around an effect": (step(), EffectFailed(code="effect_panicked", message="é ☃")),
}

_PROCESS: Mapping[str, tuple[ProcessCommand, ProcessEffectOutcome]] = {
    "start": (
        StartProcess(process_id="p", registration={"kind": "python"}, observers=("s",)),
        ProcessStarted(record={"id": "p", "status": {"label": "running"}}),
    ),
    "list": (ListProcesses(session_scope="s"), ProcessesListed(entries=({"id": "p"}, {}))),
    "transfer": (
        TransferProcesses(from_scope="a", to_scope="b", process_ids=("p", "q")),
        ProcessesTransferred(),
    ),
    "delete session": (
        DeleteSessionProcesses(session_id="s"),
        SessionProcessesDeleted(report={"released": ["p"]}),
    ),
    "await": (AwaitProcess(process_id="p"), ProcessAwaited(output={"status": "ok", "value": 7})),
    "cancel": (CancelProcess(process_id="p", reason="no"), ProcessCancelled(record={"id": "p"})),
    "signal": (
        SignalProcess(process_id="p", signal_name="go", signal_id="1", request={"by": "ana"}),
        ProcessSignalled(event={"sequence": 3}),
    ),
    "emit event": (
        EmitProcessEvent(process_id="p", event_key="k", request={"type": "note"}),
        ProcessEventEmitted(event={"sequence": 4}, wake_delivery={"session": "s"}),
    ),
    "parent end": (
        ParentEnd(process_id="p", identity="i", policy="cancel"),
        ParentEnded(outcome={"cancelled": True}),
    ),
}
PROCESS_COMMANDS: Mapping[str, tuple[EffectCommand, EffectOutcome]] = {
    name: (ProcessEffectCommand(command=command), ProcessOutcome(result=result))
    for name, (command, result) in _PROCESS.items()
}

_OWNER: JsonObject = {"type": "session", "session_id": "s"}
_DRAFT: JsonObject = {"source": "clock", "every": 60}
_RECEIPT = TriggerMutated(receipt={"subscription_key": "k", "revision": 2})
_TRIGGER: Mapping[str, tuple[TriggerCommand, TriggerEffectOutcome]] = {
    "emit": (
        EmitTrigger(event="paid", payload={"id": 7}, source=["x"], session_id="s"),
        TriggerEmitted(
            emission=TriggerEmission(
                occurrence_id="o",
                event="paid",
                key="k",
                deliveries=(EmittedDelivery(delivery_id="d", key="k", status="started"),),
            )
        ),
    ),
    "register": (RegisterTrigger(owner_scope=_OWNER, draft=_DRAFT), _RECEIPT),
    "update": (
        UpdateTrigger(owner_scope=_OWNER, subscription_key="k", draft=_DRAFT, expected_revision=1),
        _RECEIPT,
    ),
    "enable": (
        EnableTrigger(owner_scope=_OWNER, subscription_key="k", expected_revision=1),
        _RECEIPT,
    ),
    "disable": (
        DisableTrigger(owner_scope=_OWNER, subscription_key="k", expected_revision=1),
        TriggerConflict(subscription_key="k", reason="revision", existing_revision=7),
    ),
    "delete": (
        DeleteTrigger(owner_scope=_OWNER, subscription_key="k", expected_revision=1),
        _RECEIPT,
    ),
    "revive": (
        ReviveTrigger(owner_scope=_OWNER, subscription_key="k", draft=_DRAFT, expected_revision=1),
        _RECEIPT,
    ),
    "prune": (
        PruneTriggers(owner_scope=_OWNER, subscription_keys=("a", "b")),
        TriggersPruned(receipts=({"key": "a"}, {"key": "b"})),
    ),
    "list": (ListTriggers(filter={"enabled": True}), TriggersListed(records=({"key": "k"},))),
}
TRIGGER_COMMANDS: Mapping[str, tuple[EffectCommand, EffectOutcome]] = {
    name: (TriggerEffectCommand(command=command), TriggerOutcome(result=result))
    for name, (command, result) in _TRIGGER.items()
}
