"""Random turns: what a model, tools, checkpoints and syncs answer, and a host that answers so.

The host is a function of the effect alone, as a journal is: asked twice, it answers the same.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from hypothesis import strategies as st

from lash.core.json import Data, JsonValue
from lash.llm.request import ToolSpec
from lash.llm.response import (
    LlmFailure,
    LlmResponse,
    ReasoningPart,
    ResponsePart,
    TextPart,
    ToolCallPart,
)
from lash.llm.usage import Usage
from lash.turn.driver import (
    AdvanceProtocolIteration,
    AppendEvents,
    DriverAction,
    ExecResult,
    Finish,
    ResumeFinishing,
    ResumePreparing,
    StartCheckpoint,
    StartExec,
    StartLlm,
    TurnView,
)
from lash.turn.events import ConversationRecord, ProtocolRecord
from lash.turn.exchange import (
    CheckpointCompleted,
    CheckpointDelivery,
    CheckpointEffect,
    EnvironmentSynced,
    ExecCodeEffect,
    ExecCompleted,
    ExecutionEnvironment,
    LlmCallEffect,
    LlmCompleted,
    MachineResponse,
    OwedEffect,
    SyncExecutionEnvironmentEffect,
    ToolCallsEffect,
    ToolsCompleted,
    TurnCause,
)
from lash.turn.messages import Message, text_message
from lash.turn.outcome import AssistantMessage, FinalValue, Finished
from lash.turn.tools import (
    CompletedToolCall,
    FailControl,
    FinishControl,
    PendingToolCall,
    SwitchAgentFrameControl,
    ToolCancellation,
    ToolCancelled,
    ToolControl,
    ToolFailure,
    ToolOutput,
    ToolSuccess,
    failed,
    model_text,
)

T = TypeVar("T")


class Answer(Data):
    """What a model call comes to."""

    result: LlmResponse | LlmFailure
    streamed: bool = False
    wasted: Usage = Usage()


class Sync(Data):
    """What a sync comes to."""

    environment: ExecutionEnvironment | None = None
    error: str | None = None


class TurnScript(Data):
    """A whole turn's answers, by effect id. Past the end everything is quiet, so every turn ends."""

    answers: tuple[Answer, ...] = ()
    deliveries: tuple[CheckpointDelivery, ...] = ()
    syncs: tuple[Sync, ...] = ()
    outputs: Mapping[str, ToolOutput] = {}
    sync: bool = True
    max_turns: int | None = None


def respond(script: TurnScript, effect: OwedEffect) -> MachineResponse:
    """The one answer the script has for an effect."""
    match effect:
        case LlmCallEffect(id=id_):
            quiet = Answer(result=LlmResponse(parts=(TextPart(text="That is all."),)))
            chosen = _at(script.answers, id_, quiet)
            return LlmCompleted(
                id=id_, result=chosen.result, text_streamed=chosen.streamed, wasted=chosen.wasted
            )
        case CheckpointEffect(id=id_):
            delivery = _at(script.deliveries, id_, CheckpointDelivery())
            return CheckpointCompleted(id=id_, delivery=delivery)
        case SyncExecutionEnvironmentEffect(id=id_):
            synced = _at(script.syncs, id_, Sync())
            return EnvironmentSynced(id=id_, environment=synced.environment, error=synced.error)
        case ToolCallsEffect(id=id_, calls=calls):
            return ToolsCompleted(id=id_, results=tuple(_run(script, call) for call in calls))
        case ExecCodeEffect(id=id_, code=code):
            return ExecCompleted(id=id_, result=ExecResult(output={"ran": code}))


def _at(items: Sequence[T], effect_id: int, quiet: T) -> T:
    return items[effect_id - 1] if effect_id <= len(items) else quiet


def _run(script: TurnScript, call: PendingToolCall) -> CompletedToolCall:
    if call.args_error is not None:
        output = failed("invalid_request", "invalid_tool_args", call.args_error)
    else:
        output = script.outputs.get(call.tool_name, ToolOutput(outcome=ToolSuccess(payload="")))
    return CompletedToolCall(
        call_id=call.call_id,
        tool_name=call.tool_name,
        args=call.args,
        output=output,
        model_text=model_text(output),
        duration_ms=len(call.call_id),
    )


class CellProtocol:
    """A small pure protocol that runs code, so that cells, driver state and own events are met too."""

    def prepare_protocol_iteration(self, turn: TurnView) -> Sequence[DriverAction]:
        state: JsonValue = {"iteration": turn.iteration, "seen": [len(turn.messages)]}
        return (StartLlm(request=turn.request(), driver_state=state),)

    def handle_llm_success(
        self, turn: TurnView, response: LlmResponse, driver_state: JsonValue, *, text_streamed: bool
    ) -> Sequence[DriverAction]:
        if any(isinstance(part, ToolCallPart) for part in response.parts):
            code = f"cell({turn.iteration}, {text_streamed})"
            return (StartExec(language="python", code=code, driver_state=[driver_state, 1.5]),)
        ending = Finished(result=AssistantMessage(text=response.full_text or "said"))
        resume = ResumeFinishing(outcome=ending)
        return (StartCheckpoint(checkpoint="before_completion", on_empty=resume),)

    def handle_tool_results(
        self, turn: TurnView, results: Sequence[CompletedToolCall]
    ) -> Sequence[DriverAction]:
        raise AssertionError(turn, results)

    def handle_exec_result(
        self, turn: TurnView, result: ExecResult, driver_state: JsonValue
    ) -> Sequence[DriverAction]:
        message = text_message(
            f"cell_{turn.iteration}", "system", str(result.output), kind="output"
        )
        records = (
            ConversationRecord(message=message),
            ProtocolRecord(plugin_id="cells", payload={"state": driver_state}),
        )
        if turn.iteration >= 4:
            value = Finished(result=FinalValue(value=result.output))
            return (AppendEvents(records=records), Finish(outcome=value))
        return (
            AppendEvents(records=records),
            AdvanceProtocolIteration(),
            StartCheckpoint(checkpoint="after_work", on_empty=ResumePreparing()),
        )


# --- strategies -----------------------------------------------------------------------------------

words = st.sampled_from(["", "hm", "yes\n", "\n\nno", "ünï"])
usages = st.builds(
    Usage,
    input_tokens=st.integers(0, 99),
    output_tokens=st.integers(0, 99),
    reasoning_output_tokens=st.integers(0, 9),
)
replays = st.none() | st.just({"id": "r", "sig": [1, 2]})


def one_in(
    odds: int, rare: st.SearchStrategy[T], usual: st.SearchStrategy[T]
) -> st.SearchStrategy[T]:
    """Mostly `usual`, so that turns grow long, and once in `odds` times `rare`."""
    return st.integers(1, odds).flatmap(lambda number: rare if number == odds else usual)


prose_parts: st.SearchStrategy[ResponsePart] = st.builds(
    TextPart, text=words, phase=st.sampled_from([None, "commentary", "final_answer"])
)
reasoning_parts: st.SearchStrategy[ResponsePart] = st.builds(
    ReasoningPart, text=words, replay=replays
)
call_parts: st.SearchStrategy[ResponsePart] = st.builds(
    ToolCallPart,
    call_id=st.sampled_from(["a", "b", "c", "", " "]),
    tool_name=st.sampled_from(["one", "two", "three"]),
    input_json=st.sampled_from(["{}", '{"q":[1,2.5,null]}', "", "{bad", "[1]", "7"]),
    replay=replays,
)
any_parts = st.lists(prose_parts | reasoning_parts | call_parts, max_size=4)
working_parts = st.builds(lambda some, call: [*some, call], any_parts, call_parts)
responses: st.SearchStrategy[LlmResponse | LlmFailure] = st.builds(
    LlmResponse,
    parts=one_in(3, any_parts, working_parts).map(tuple),
    full_text=words,
    usage=usages,
    terminal_reason=one_in(
        12,
        st.sampled_from(["unknown", "output_limit", "content_filter", "cancelled"]),
        st.sampled_from(["stop", "tool_use"]),
    ),
)
failures: st.SearchStrategy[LlmResponse | LlmFailure] = st.builds(
    LlmFailure,
    kind=st.sampled_from(["http", "timeout"]),
    message=st.just("boom"),
    retryable=st.booleans(),
    terminal_reason=st.sampled_from(["provider_error", "cancelled"]),
    usage=usages,
)
answers = st.builds(
    Answer, result=one_in(12, failures, responses), streamed=st.booleans(), wasted=usages
)


def message_groups(prefix: str, roles: Sequence[str]) -> st.SearchStrategy[tuple[Message, ...]]:
    one = st.builds(
        text_message,
        st.sampled_from([f"{prefix}{number}" for number in range(3)]),
        st.sampled_from(list(roles)),
        words,
    )
    return st.lists(one, max_size=2).map(tuple)


causes = st.builds(
    TurnCause,
    id=st.sampled_from(["w1", "w2"]),
    event_type=st.just("wake"),
    text=words,
    origin=st.none() | st.just("process p"),
)
deliveries = st.just(CheckpointDelivery()) | st.builds(
    CheckpointDelivery,
    committed_user_messages=message_groups("u", ["user"]),
    messages=message_groups("p", ["user", "system"]),
    transient_messages=message_groups("x", ["user", "system"]),
    turn_causes=st.lists(causes, max_size=2).map(tuple),
)
environments = st.builds(
    ExecutionEnvironment,
    instructions=st.sampled_from(["Be brief.", "Be long."]),
    tools=st.lists(
        st.builds(
            ToolSpec,
            name=st.sampled_from(["one", "two"]),
            description=words,
            input_schema=st.just({"type": "object", "required": []}),
        ),
        max_size=2,
    ).map(tuple),
)
syncs = st.builds(
    Sync,
    environment=st.none() | environments,
    error=one_in(12, st.just("no such tool"), st.none()),
)
controls: st.SearchStrategy[ToolControl] = st.one_of(
    st.builds(FinishControl, value=st.just({"v": [1]})),
    st.builds(
        FailControl,
        failure=st.builds(
            ToolFailure,
            failure_class=st.just("external"),
            code=st.just("c"),
            message=st.just("m"),
        ),
    ),
    st.builds(SwitchAgentFrameControl, frame_id=st.just("f"), task=st.sampled_from(["", "go"])),
)
outputs = st.builds(
    ToolOutput,
    outcome=st.one_of(
        st.builds(ToolSuccess, payload=st.sampled_from(["", "text", 7, {"k": [None, 1.5]}])),
        st.just(failed("execution", "boom", "It broke.").outcome),
        st.just(ToolCancelled(payload=ToolCancellation(message="stopped"))),
    ),
    control=one_in(5, controls, st.none()),
)
turn_scripts = st.builds(
    TurnScript,
    answers=st.lists(answers, min_size=8, max_size=16).map(tuple),
    deliveries=st.lists(deliveries, min_size=8, max_size=16).map(tuple),
    syncs=st.lists(syncs, min_size=8, max_size=16).map(tuple),
    outputs=st.fixed_dictionaries({"one": outputs, "two": outputs}),
    sync=st.booleans(),
    max_turns=st.none() | st.integers(1, 5),
)
