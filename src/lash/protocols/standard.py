"""The standard protocol: the model calls tools natively until it answers (turns spec, section 2)."""

from collections.abc import Sequence

import msgspec

from lash.core.json import JsonObject, JsonValue, is_deep
from lash.llm.response import (
    LlmResponse,
    ReasoningPart,
    ResponsePart,
    TextPart,
    TextPhase,
    ToolCallPart,
)
from lash.turn.assembly import LIMIT_NOTICE
from lash.turn.driver import (
    AdvanceProtocolIteration,
    AppendEvents,
    DriverAction,
    EmitAction,
    ExecResult,
    Finish,
    ResumeFinishing,
    ResumePreparing,
    StartCheckpoint,
    StartLlm,
    StartTools,
    TurnView,
)
from lash.turn.events import ConversationRecord, ErrorReported, LlmResponded, TextEmitted
from lash.turn.messages import Message, Part, PartKind, PluginOrigin, join_prose, text_message
from lash.turn.outcome import (
    AgentFrameSwitch,
    AssistantMessage,
    Finished,
    MaxTurns,
    ProviderStopped,
    RuntimeStopped,
    Stopped,
    ToolStopped,
    ToolValue,
    TurnIssue,
    TurnOutcome,
)
from lash.turn.output import OutputContract, correction_text
from lash.turn.tools import (
    CompletedToolCall,
    FailControl,
    FinishControl,
    PendingToolCall,
    SwitchAgentFrameControl,
    ToolSuccess,
)

PLUGIN_ID = "standard_protocol"

#: How often in a row a model is told that its answer is not what was asked for.
MAX_CORRECTIONS = 2


class StandardProtocol:
    """Native tool calls: ask, run what the model calls, show it the results, ask again."""

    def prepare_protocol_iteration(self, turn: TurnView) -> Sequence[DriverAction]:
        """Ask the model with the whole transcript and the current tools."""
        return (StartLlm(request=turn.request()),)

    def handle_llm_success(
        self,
        turn: TurnView,
        response: LlmResponse,
        driver_state: JsonValue,
        *,
        text_streamed: bool,
    ) -> Sequence[DriverAction]:
        """Finish with the model's prose, run the tools it calls, or have it correct its answer."""
        del driver_state
        parts = _with_call_ids(turn, _normalise(response))
        text = _text(turn, parts)
        said: list[DriverAction] = []
        if text and not text_streamed:
            said.append(EmitAction(event=TextEmitted(text=text)))
        responded = LlmResponded(protocol_iteration=turn.iteration, content=text)
        said.append(EmitAction(event=responded))
        calls = [part for part in parts if isinstance(part, ToolCallPart)]
        if not calls:
            return (*said, *_complete(turn, parts, text))
        return (
            *said,
            AppendEvents(records=(ConversationRecord(message=_assistant(turn, parts)),)),
            StartTools(calls=tuple(_pending(call) for call in calls)),
        )

    def handle_tool_results(
        self, turn: TurnView, results: Sequence[CompletedToolCall]
    ) -> Sequence[DriverAction]:
        """Show the results to the model, unless a tool ended the turn or the limit is reached."""
        answered = AppendEvents(records=(ConversationRecord(message=_tool_results(turn, results)),))
        ended = _controlled(results)
        if ended is not None:
            return (answered, Finish(outcome=ended))
        limit = turn.max_turns
        if limit is not None and _is_last(turn, limit):
            text = f"{LIMIT_NOTICE}{limit}) before a final assistant response."
            notice = text_message(_message_id(turn, "turn_limit"), "system", text, kind="error")
            return (
                answered,
                AdvanceProtocolIteration(),
                AppendEvents(records=(ConversationRecord(message=notice),)),
                Finish(outcome=Stopped(reason=MaxTurns())),
            )
        return (
            answered,
            AdvanceProtocolIteration(),
            StartCheckpoint(checkpoint="after_work", on_empty=ResumePreparing()),
        )

    def handle_exec_result(
        self, turn: TurnView, result: ExecResult, driver_state: JsonValue
    ) -> Sequence[DriverAction]:
        """This protocol runs no code cells; being given one's result ends the turn."""
        del turn, result, driver_state
        issue = TurnIssue(kind=PLUGIN_ID, message="The standard protocol does not run code.")
        return (
            EmitAction(event=ErrorReported(issue=issue)),
            Finish(outcome=Stopped(reason=RuntimeStopped())),
        )


def _message_id(turn: TurnView, role: str) -> str:
    return f"m_standard_{turn.message_scope}_{turn.iteration}_{role}"


def _is_last(turn: TurnView, limit: int) -> bool:
    """Whether the limit allows no further iteration."""
    return turn.iteration + 1 >= turn.run_offset + limit


def _text(turn: TurnView, parts: Sequence[ResponsePart]) -> str:
    """What an answer says. One that is to be read as a value is joined as it came, byte for byte."""
    pieces = [part.text for part in parts if isinstance(part, TextPart)]
    return join_prose(pieces) if turn.output is None else "".join(pieces)


def _normalise(response: LlmResponse) -> Sequence[ResponsePart]:
    """The parts that count: commentary gives way to a final answer; empty text and reasoning go."""
    parts = response.parts
    if not parts and response.full_text:
        parts = (TextPart(text=response.full_text),)
    said = [part for part in parts if _says_something(part)]
    if not any(_has_phase(part, "final_answer") for part in said):
        return said
    return [part for part in said if not _has_phase(part, "commentary")]


def _says_something(part: ResponsePart) -> bool:
    match part:
        case TextPart(text=text):
            return bool(text)
        case ReasoningPart(text=text, replay=replay):
            return bool(text) or replay is not None
        case ToolCallPart():
            return True


def _has_phase(part: ResponsePart, phase: TextPhase) -> bool:
    return isinstance(part, TextPart) and part.phase == phase


def _with_call_ids(turn: TurnView, parts: Sequence[ResponsePart]) -> Sequence[ResponsePart]:
    """Give every call an id of its own: a blank or repeated one could not be answered."""
    given = {part.call_id for part in parts if isinstance(part, ToolCallPart)}
    seen: set[str] = set()
    named: list[ResponsePart] = []
    for index, part in enumerate(parts):
        if not isinstance(part, ToolCallPart):
            named.append(part)
            continue
        call_id = part.call_id
        if not call_id.strip() or call_id in seen:
            call_id = f"call_{turn.message_scope}_{turn.iteration}_{index}"
            while call_id in given:  # the model guessed the name, or read it in the transcript
                call_id += "_"
        seen.add(call_id)
        named.append(msgspec.structs.replace(part, call_id=call_id))
    return named


def _complete(turn: TurnView, parts: Sequence[ResponsePart], text: str) -> Sequence[DriverAction]:
    if not parts and not _answers_a_tool(turn):
        issue = TurnIssue(
            kind="llm_provider",
            code="empty_response",
            message="The model answered with nothing.",
            retryable=True,
        )
        stopped = Stopped(reason=ProviderStopped())
        return (EmitAction(event=ErrorReported(issue=issue)), Finish(outcome=stopped))
    contract = turn.output
    if contract is not None and (problem := contract.problem(text)) is not None:
        return _correct(turn, parts, contract, problem)
    outcome = Finished(result=AssistantMessage(text=text))
    resume = ResumeFinishing(outcome=outcome)
    return (StartCheckpoint(checkpoint="before_completion", on_empty=resume),)


def _correct(
    turn: TurnView, parts: Sequence[ResponsePart], contract: OutputContract, problem: str
) -> Sequence[DriverAction]:
    """Keep the answer, say what is wrong with it and ask again; the last one ends the turn."""
    said = [ConversationRecord(message=_assistant(turn, parts))] if parts else []
    last = turn.max_turns is not None and _is_last(turn, turn.max_turns)
    if last or _corrections(turn) >= MAX_CORRECTIONS:
        issue = TurnIssue(
            kind="structured_output",
            code="invalid_structured_output",
            message=f"The model's answer is not what was asked for: {problem}",
            retryable=True,
        )
        return (
            AppendEvents(records=tuple(said)),
            EmitAction(event=ErrorReported(issue=issue)),
            Finish(outcome=Stopped(reason=ProviderStopped())),
        )
    correction = text_message(
        _message_id(turn, "correction"),
        "user",
        correction_text(contract.spec, problem),
        origin=PluginOrigin(plugin_id=PLUGIN_ID),
    )
    return (
        AppendEvents(records=(*said, ConversationRecord(message=correction))),
        AdvanceProtocolIteration(),
    )


def _corrections(turn: TurnView) -> int:
    """How many corrections in a row led to this answer. Anything else between begins a new row."""
    # Each stands an iteration before the next, after at most one message of the model's.
    told = {message.id for message in turn.messages[-2 * MAX_CORRECTIONS :]}
    number = 0
    while f"m_standard_{turn.message_scope}_{turn.iteration - number - 1}_correction" in told:
        number += 1
    return number


def _answers_a_tool(turn: TurnView) -> bool:
    """Whether the last message shows tool results: silence is then a legitimate end."""
    last = next((item for item in reversed(turn.messages) if not item.transient), None)
    return last is not None and any(part.kind == "tool_result" for part in last.parts)


def _assistant(turn: TurnView, parts: Sequence[ResponsePart]) -> Message:
    """Prose first, then each call preceded by its reasoning, then what reasoning is left."""
    message_id = _message_id(turn, "assistant")
    prose = [part for part in parts if isinstance(part, TextPart)]
    rest = [part for part in parts if not isinstance(part, TextPart)]
    kept = tuple(
        _part(f"{message_id}.p{index}", part) for index, part in enumerate([*prose, *rest])
    )
    return Message(id=message_id, role="assistant", parts=kept)


def _part(part_id: str, part: ResponsePart) -> Part:
    match part:
        case TextPart(text=text):
            kind: PartKind = "prose"
            return Part(id=part_id, kind=kind, content=text)
        case ReasoningPart(text=text, replay=replay):
            return Part(id=part_id, kind="reasoning", content=text, replay=replay)
        case ToolCallPart():
            return Part(
                id=part_id,
                kind="tool_call",
                content=part.input_json,
                tool_call_id=part.call_id,
                tool_name=part.tool_name,
                replay=part.replay,
            )


def _pending(call: ToolCallPart) -> PendingToolCall:
    args, error = parse_arguments(call.input_json)
    return PendingToolCall(
        call_id=call.call_id, tool_name=call.tool_name, args=args, args_error=error
    )


def parse_arguments(text: str) -> tuple[JsonObject, str | None]:
    """The argument object in a model's argument text, and what is wrong with the text if anything.

    Blank text means no arguments.
    """
    if not text.strip():
        return {}, None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        return {}, f"The arguments are not valid JSON: {error}."
    except RecursionError:
        return {}, "The arguments are nested too deeply."
    if is_deep(value):
        return {}, "The arguments are nested too deeply."
    if not isinstance(value, dict):
        return {}, f"The arguments must be a JSON object, not {type(value).__name__}."
    return value, None


def _tool_results(turn: TurnView, results: Sequence[CompletedToolCall]) -> Message:
    """One user message with a result for every call, also where the text is empty."""
    message_id = _message_id(turn, "tool_results")
    parts = tuple(
        Part(
            id=f"{message_id}.p{index}",
            kind="tool_result",
            content=result.model_text,
            tool_call_id=result.call_id,
            tool_name=result.tool_name,
            pieces=result.pieces,
        )
        for index, result in enumerate(results)
    )
    return Message(id=message_id, role="user", parts=parts)


def _controlled(results: Sequence[CompletedToolCall]) -> TurnOutcome | None:
    """The outcome the first successful call with a control asks for. Failed calls ask for nothing."""
    for result in results:
        if not isinstance(result.output.outcome, ToolSuccess):
            continue
        match result.output.control:
            case FinishControl(value=value):
                return Finished(result=ToolValue(tool_name=result.tool_name, value=value))
            case FailControl(failure=failure):
                value = msgspec.to_builtins(failure)
                return Stopped(reason=ToolStopped(tool_name=result.tool_name, value=value))
            case SwitchAgentFrameControl(frame_id=frame_id, task=task) if task.strip():
                return AgentFrameSwitch(frame_id=frame_id, task=task)
            case _:
                continue
    return None
