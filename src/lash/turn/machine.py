"""The turn machine: one turn as a state machine without I/O (turns spec, section 1).

Every transition of a turn is in this file, which is why it is a long one; what only judges a value
(the end of a model call, a delivery, what a cancelled turn owes) stands beside it. The machine
performs nothing: it is polled for effects, somebody performs them, and it is given the responses.

The rules:

1. At most one effect that needs a response is outstanding; it follows from the state, and is handed
   out once per entry into that state and once more after a restore.
2. A response with another id, or of a kind the state does not wait for, is dropped; nothing changes.
3. A driver's actions are applied in order. `Finish` ends them. If they changed the history, one
   Progress effect reports what is new, before anything outstanding.
4. The environment is synced before the first iteration and before each further one, so that a tool
   that changed the catalogue is seen by the very next model call.
5. Nothing is random: every id derives from the turn's id (or what its host gives instead) and
   counters.
6. A cancellation ends the turn from any state, once, and leaves no tool call unanswered and no answer
   that was not final. A turn that is over stays as it ended.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from lash.core.cancel import Cancellation
from lash.core.errors import LashError
from lash.llm.request import HistoryRef, LlmRequest, LlmScope, ModelSpec, ToolSpec
from lash.llm.response import LlmFailure, LlmResponse
from lash.llm.usage import Usage
from lash.turn.cancelling import answering_actions, cancelled_call, closing_message, open_calls
from lash.turn.completion import (
    failure_issue,
    failure_stop,
    reclassify,
    response_text,
    stop_after,
    stop_issue,
)
from lash.turn.driver import (
    AdvanceProtocolIteration,
    AppendEvents,
    CheckpointResume,
    DriverAction,
    EmitAction,
    Finish,
    ProtocolDriver,
    ResumeFinishing,
    ScheduleTurnLimitFinal,
    StartCheckpoint,
    StartExec,
    StartLlm,
    StartTools,
)
from lash.turn.events import (
    ConversationRecord,
    DoneReported,
    ErrorReported,
    HistoryRecord,
    LlmRequested,
    LlmResponded,
    MessagesInjected,
    OutcomeReached,
    SessionStreamEvent,
    TextEmitted,
    TokenUsage,
    ToolCallReported,
)
from lash.turn.exchange import (
    CheckpointCompleted,
    CheckpointDelivery,
    DoneEffect,
    EmitEffect,
    EnvironmentSynced,
    ExecCompleted,
    LlmCompleted,
    MachineEffect,
    MachineResponse,
    ProgressEffect,
    QueuedEffect,
    ToolsCompleted,
)
from lash.turn.injection import delivered_messages
from lash.turn.messages import Message, text_message
from lash.turn.outcome import (
    AssistantMessage,
    Finished,
    MaxTurns,
    RuntimeStopped,
    Stopped,
    TurnIssue,
    TurnOutcome,
    TurnStop,
    cancelled_by,
)
from lash.turn.output import OutputContract
from lash.turn.projection import Projection
from lash.turn.state import (
    MachineFinished,
    MachineState,
    PrepareIteration,
    PreparingProtocol,
    TurnCheckpoint,
    WaitingCheckpoint,
    WaitingExec,
    WaitingExecutionEnvironment,
    WaitingLlm,
    WaitingTools,
    owed_effect,
)
from lash.turn.tools import CompletedToolCall


def default_limit_message(message_id: str, limit: int) -> Message:
    """The message that announces the last model call before the turn limit."""
    text = f"Turn limit of {limit} reached. Answer now with what you have; no more tools will run."
    return text_message(message_id, "system", text)


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """What a turn runs with. Not stored: a restored machine is given it anew.

    Attributes:
        driver: The turn protocol.
        session_id: The session.
        turn_id: The turn.
        model: The model asked.
        instructions: The system prompt until a sync replaces it.
        tools: The tools on offer until a sync replaces them.
        history: The committed prefix of the transcript, by content.
        projection: The rendering of that prefix.
        sync_execution_environment: Whether the host is asked for prompt and tools before iterations.
        max_turns: How many iterations the turn may make.
        limit_message: Makes the message that announces the limit.
        message_scope: What every message and call id of the turn derives from; None for the turn's
            id. Needed where the session's history may hold another turn of the same id, as a fork's.
        output: What the final answer is to be; None for any text.
    """

    driver: ProtocolDriver
    session_id: str
    turn_id: str
    model: ModelSpec
    history: HistoryRef
    projection: Projection
    instructions: str = ""
    tools: tuple[ToolSpec, ...] = ()
    sync_execution_environment: bool = True
    max_turns: int | None = None
    limit_message: Callable[[str, int], Message] = default_limit_message
    message_scope: str | None = None
    output: OutputContract | None = None


class TurnMachine:
    """One turn. Poll it for effects, perform them, feed back responses, until `DoneEffect`."""

    def __init__(
        self, config: MachineConfig, messages: Sequence[Message], *, run_offset: int = 0
    ) -> None:
        self._config = config
        self._projection = config.projection.fork()
        self._state: MachineState = PreparingProtocol()
        self._handed_out = False
        self._queue: deque[QueuedEffect] = deque()
        self._next_effect_id = 1
        self._messages = list(messages)
        self._next_message_id = len(self._messages)
        self._events: list[HistoryRecord] = []
        self._progress_cursor = 0
        self._iteration = run_offset
        self._run_offset = run_offset
        self._usage = Usage()
        self._instructions = config.instructions
        self._tools = config.tools
        self._synced_iteration: int | None = None
        self._limit_scheduled = False
        self._max_turns = config.max_turns

    # --- what the driver and the host may look at -----------------------------------------------

    @property
    def turn_id(self) -> str:
        """The turn."""
        return self._config.turn_id

    @property
    def message_scope(self) -> str:
        """What the ids of messages and calls derive from."""
        scope = self._config.message_scope
        return self.turn_id if scope is None else scope

    @property
    def messages(self) -> Sequence[Message]:
        """The transcript so far, the session's history first."""
        return self._messages

    @property
    def iteration(self) -> int:
        """How many iterations the turn has made."""
        return self._iteration

    @property
    def run_offset(self) -> int:
        """The iteration at which the turn began."""
        return self._run_offset

    @property
    def max_turns(self) -> int | None:
        """How many iterations the turn may make."""
        return self._max_turns

    @property
    def tools(self) -> tuple[ToolSpec, ...]:
        """The tools on offer."""
        return self._tools

    @property
    def output(self) -> OutputContract | None:
        """What the final answer is to be; None for any text."""
        return self._config.output

    @property
    def usage(self) -> Usage:
        """Tokens used so far, failed attempts included."""
        return self._usage

    @property
    def finished(self) -> bool:
        """Whether the turn is over (its last effects may still be queued)."""
        return isinstance(self._state, MachineFinished)

    def request(self) -> LlmRequest:
        """The model request that the transcript, prompt and tools come to now."""
        config = self._config
        request_id = f"{config.session_id}:turn:{config.turn_id}:llm:{self._iteration}"
        messages = self._projection.extend(self._messages)
        return LlmRequest(
            model=config.model,
            instructions=self._instructions,
            messages=messages,
            tools=self._tools,
            history=config.history,
            scope=LlmScope(
                session_id=config.session_id, turn_id=config.turn_id, request_id=request_id
            ),
            output=config.output.spec if config.output else None,
            has_attachments=self._projection.has_attachments,
        )

    # --- poll and respond -----------------------------------------------------------------------

    def poll(self) -> MachineEffect | None:
        """The next effect, or None when a response is owed or the turn is over."""
        while True:
            if self._queue:
                return self._queue.popleft()
            if not self._handed_out and (effect := owed_effect(self._state)) is not None:
                self._handed_out = True
                return effect
            match self._state:
                case PreparingProtocol():
                    self._begin()
                case PrepareIteration():
                    self._prepare_iteration()
                case _:
                    return None

    def respond(self, response: MachineResponse) -> bool:
        """Feed a response; False when it does not answer the outstanding effect (and is dropped)."""
        state = self._state
        match state, response:
            case WaitingExecutionEnvironment(), EnvironmentSynced() if (
                response.id == state.effect_id
            ):
                self._environment_synced(response)
            case WaitingLlm(), LlmCompleted() if response.id == state.effect_id:
                self._llm_completed(state, response)
            case WaitingTools(), ToolsCompleted() if response.id == state.effect_id:
                self._tools_completed(response)
            case WaitingExec(), ExecCompleted() if response.id == state.effect_id:
                self._become(PrepareIteration())
                self._apply(
                    self._config.driver.handle_exec_result(
                        self, response.result, state.driver_state
                    )
                )
            case WaitingCheckpoint(), CheckpointCompleted() if response.id == state.effect_id:
                self._checkpoint_completed(state, response.delivery)
            case _:
                return False
        return True

    def limit_turns(self, limit: int | None) -> None:
        """Set how many iterations the turn may make, from what was recorded with its environment."""
        self._max_turns = limit

    def show(self, history: HistoryRef, projection: Projection) -> None:
        """Show the model another rendering of the history, from what was recorded at the beginning."""
        self._config = replace(self._config, history=history)
        self._projection = projection.fork()

    def abort(self, issue: TurnIssue) -> None:
        """End the turn because its host cannot perform what it asks for. It still commits.

        Tool calls must be answered rather than aborted: a call without an answer would make the
        history invalid.
        """
        self._fail(issue, RuntimeStopped())

    def cancel(self, cancellation: Cancellation) -> bool:
        """End the turn as cancelled, from whatever state it is in. It still commits.

        Tool calls that nobody has answered are answered with the news that they were cancelled; a
        host that has results of some of them responds with those, and with `cancelled_call` for the
        others, and then cancels. An answer that waits at its last checkpoint is not kept.

        Returns:
            Whether this ended the turn; False, and no change, when it was over before. What a driver
            finished with stays: who wins that race is decided where the turn is committed.
        """
        if self.finished:
            return False
        if isinstance(self._state, WaitingTools):
            results = tuple(cancelled_call(call) for call in self._state.calls)
            self._report_tools(results)
            actions = self._config.driver.handle_tool_results(self, results)
            self._apply(answering_actions(actions))
        unanswered = open_calls(self._messages)
        if unanswered:
            # The driver answers its calls in a later message than the next; there is none.
            message = closing_message(self._message_id("cancelled"), unanswered)
            self._append((ConversationRecord(message=message),))
        self._finish(cancelled_by(cancellation))
        return True

    # --- snapshot -------------------------------------------------------------------------------

    def checkpoint(self) -> TurnCheckpoint:
        """Everything the machine knows, as a value."""
        return TurnCheckpoint(
            state=self._state,
            queued=tuple(self._queue),
            next_effect_id=self._next_effect_id,
            next_message_id=self._next_message_id,
            messages=tuple(self._messages),
            events=tuple(self._events),
            progress_cursor=self._progress_cursor,
            iteration=self._iteration,
            run_offset=self._run_offset,
            usage=self._usage,
            instructions=self._instructions,
            tools=self._tools,
            synced_iteration=self._synced_iteration,
            limit_scheduled=self._limit_scheduled,
            max_turns=self._max_turns,
        )

    @classmethod
    def restore(cls, config: MachineConfig, checkpoint: TurnCheckpoint) -> Self:
        """A machine that goes on from `checkpoint`; an outstanding effect is handed out once more."""
        machine = cls(config, checkpoint.messages, run_offset=checkpoint.run_offset)
        machine._state = checkpoint.state
        machine._queue.extend(checkpoint.queued)
        machine._next_effect_id = checkpoint.next_effect_id
        machine._next_message_id = checkpoint.next_message_id
        machine._events.extend(checkpoint.events)
        machine._progress_cursor = checkpoint.progress_cursor
        machine._iteration = checkpoint.iteration
        machine._usage = checkpoint.usage
        machine._instructions = checkpoint.instructions
        machine._tools = checkpoint.tools
        machine._synced_iteration = checkpoint.synced_iteration
        machine._limit_scheduled = checkpoint.limit_scheduled
        machine._max_turns = checkpoint.max_turns
        return machine

    # --- transitions ----------------------------------------------------------------------------

    def _become(self, state: MachineState) -> None:
        self._state = state
        self._handed_out = False

    def _effect_id(self) -> int:
        effect_id = self._next_effect_id
        self._next_effect_id += 1
        return effect_id

    def _message_id(self, scope: str) -> str:
        number = self._next_message_id
        self._next_message_id += 1
        return f"m_sansio_{self.message_scope}_{scope}_{number}"

    def _begin(self) -> None:
        if self._config.sync_execution_environment:
            self._sync(update=False)
        else:
            self._become(PrepareIteration())

    def _sync(self, *, update: bool) -> None:
        state = WaitingExecutionEnvironment(
            effect_id=self._effect_id(), update_machine_config=update
        )
        self._become(state)

    def _environment_synced(self, response: EnvironmentSynced) -> None:
        if response.error is not None:
            issue = TurnIssue(
                kind="execution_environment", code="reconfigure_failed", message=response.error
            )
            self._fail(issue, RuntimeStopped())
            return
        self._synced_iteration = self._iteration
        if response.environment is not None:
            self._instructions = response.environment.instructions
            self._tools = response.environment.tools
        if response.messages:
            self._append(tuple(ConversationRecord(message=item) for item in response.messages))
        self._become(PrepareIteration())

    def _prepare_iteration(self) -> None:
        if self._config.sync_execution_environment and self._synced_iteration != self._iteration:
            self._sync(update=True)
            return
        iteration = self._iteration
        self._apply(self._config.driver.prepare_protocol_iteration(self))
        if isinstance(self._state, PrepareIteration) and self._iteration == iteration:
            message = "The turn protocol started nothing for an iteration; the turn cannot go on."
            self._fail(TurnIssue(kind="turn_protocol", message=message), RuntimeStopped())

    def _llm_completed(self, state: WaitingLlm, completed: LlmCompleted) -> None:
        result = completed.result
        if not self._book_usage(completed):
            return
        if isinstance(result, LlmFailure):
            self._fail(failure_issue(result), failure_stop(result))
            return
        response = reclassify(result, self._config.model.context_window_tokens)
        stop = stop_after(response)
        if stop is not None:
            self._llm_stopped(response, stop, text_streamed=completed.text_streamed)
            return
        self._become(PrepareIteration())
        actions = self._config.driver.handle_llm_success(
            self, response, state.driver_state, text_streamed=completed.text_streamed
        )
        self._apply(actions)

    def _book_usage(self, completed: LlmCompleted) -> bool:
        try:
            spent = completed.result.usage + completed.wasted
            cumulative = self._usage + spent
        except LashError as error:
            issue = TurnIssue(kind="token_usage_accounting", code=error.code, message=error.message)
            self._fail(issue, RuntimeStopped())
            return False
        self._usage = cumulative
        if spent != Usage():
            self._emit(
                TokenUsage(protocol_iteration=self._iteration, usage=spent, cumulative=cumulative)
            )
        return True

    def _llm_stopped(self, response: LlmResponse, stop: TurnStop, *, text_streamed: bool) -> None:
        """The model stopped short. Its text is shown but never enters history."""
        text = response_text(response)
        if text and not text_streamed:
            self._emit(TextEmitted(text=text))
        self._emit(LlmResponded(protocol_iteration=self._iteration, content=text))
        self._fail(stop_issue(response), stop)

    def _tools_completed(self, response: ToolsCompleted) -> None:
        self._report_tools(response.results)
        self._become(PrepareIteration())
        self._apply(self._config.driver.handle_tool_results(self, response.results))

    def _report_tools(self, results: Sequence[CompletedToolCall]) -> None:
        for result in results:
            self._emit(ToolCallReported(call=result))

    # --- checkpoints ----------------------------------------------------------------------------

    def _checkpoint_completed(self, state: WaitingCheckpoint, delivery: CheckpointDelivery) -> None:
        # Computed before anything changes: a delivery that is refused leaves the turn as it was.
        # The usual delivery is an empty one; then the transcript's length costs nothing.
        kept = () if delivery.empty else self._messages
        injected = delivered_messages(delivery, {item.id for item in kept if not item.transient})
        if not injected:
            # Nothing arrived, or only what the turn has seen: the model has nothing new to say.
            self._resume(state.on_empty)
            return
        if state.checkpoint == "before_completion":
            self._keep_displaced_answer(state.on_empty)
        self._append(tuple(ConversationRecord(message=message) for message in injected))
        self._emit(MessagesInjected(checkpoint=state.checkpoint, messages=injected))
        self._become(PrepareIteration())
        if state.checkpoint == "before_completion" and not self._count_displaced_iteration():
            return
        self._report_progress()

    def _resume(self, resume: CheckpointResume) -> None:
        if isinstance(resume, ResumeFinishing):
            self._finish(resume.outcome)
        else:
            self._become(PrepareIteration())

    def _keep_displaced_answer(self, resume: CheckpointResume) -> None:
        """Keep the answer that an injection pushes away, so that the model and history both see it."""
        if not isinstance(resume, ResumeFinishing):
            return
        match resume.outcome:
            case Finished(result=AssistantMessage(text=text)) if text:
                message_id = self._message_id("displaced")
                message = text_message(message_id, "assistant", text, kind="prose")
                self._append((ConversationRecord(message=message),))
            case _:
                return

    def _count_displaced_iteration(self) -> bool:
        """Count the iteration that an injection before completion costs; False if that ended the turn."""
        self._iteration += 1
        limit = self.max_turns
        if self._limit_scheduled:
            self._report_progress()
            self._finish(Stopped(reason=MaxTurns()))
            return False
        if limit is not None and self._iteration >= self._run_offset + limit:
            self._schedule_limit(self._config.limit_message(self._message_id("turn_limit"), limit))
        return True

    def _schedule_limit(self, message: Message) -> None:
        self._messages.append(message)
        self._limit_scheduled = True

    # --- driver actions -------------------------------------------------------------------------

    def _apply(self, actions: Sequence[DriverAction]) -> None:
        dirty = False
        for action in actions:
            match action:
                case EmitAction(event=event):
                    self._emit(event)
                case AppendEvents(records=records):
                    self._append(records)
                    dirty = True
                case AdvanceProtocolIteration():
                    self._iteration += 1
                    self._synced_iteration = None
                    dirty = True
                case ScheduleTurnLimitFinal(message=message):
                    self._schedule_limit(message)
                    dirty = True
                case Finish(outcome=outcome):
                    if dirty:
                        self._report_progress()
                    self._finish(outcome)
                    return
                case _:
                    self._start(action)
        if dirty:
            self._report_progress()

    def _start(self, action: StartLlm | StartTools | StartExec | StartCheckpoint) -> None:
        effect_id = self._effect_id()
        match action:
            case StartLlm(request=request, driver_state=driver_state):
                requested = LlmRequested(
                    protocol_iteration=self._iteration,
                    message_count=len(request.messages),
                    tools=tuple(tool.name for tool in request.tools),
                )
                self._emit(requested)
                self._become(
                    WaitingLlm(effect_id=effect_id, request=request, driver_state=driver_state)
                )
            case StartTools(calls=calls):
                self._become(WaitingTools(effect_id=effect_id, calls=calls))
            case StartExec(language=language, code=code, driver_state=driver_state):
                self._become(
                    WaitingExec(
                        effect_id=effect_id,
                        language=language,
                        code=code,
                        driver_state=driver_state,
                    )
                )
            case StartCheckpoint(checkpoint=checkpoint, on_empty=on_empty):
                self._become(
                    WaitingCheckpoint(effect_id=effect_id, checkpoint=checkpoint, on_empty=on_empty)
                )

    # --- saying and ending ----------------------------------------------------------------------

    def _append(self, records: Sequence[HistoryRecord]) -> None:
        for record in records:
            self._events.append(record)
            if isinstance(record, ConversationRecord):
                self._messages.append(record.message)

    def _emit(self, event: SessionStreamEvent) -> None:
        self._queue.append(EmitEffect(event=event))

    def _unreported(self) -> tuple[HistoryRecord, ...]:
        delta = tuple(self._events[self._progress_cursor :])
        self._progress_cursor = len(self._events)
        return delta

    def _report_progress(self) -> None:
        effect = ProgressEffect(event_delta=self._unreported(), protocol_iteration=self._iteration)
        self._queue.append(effect)

    def _fail(self, issue: TurnIssue, stop: TurnStop) -> None:
        self._emit(ErrorReported(issue=issue))
        self._finish(Stopped(reason=stop))

    def _finish(self, outcome: TurnOutcome) -> None:
        self._emit(OutcomeReached(outcome=outcome))
        self._emit(DoneReported())
        done = DoneEffect(
            messages=tuple(self._messages),
            event_delta=self._unreported(),
            protocol_iteration=self._iteration,
        )
        self._queue.append(done)
        self._become(MachineFinished())
