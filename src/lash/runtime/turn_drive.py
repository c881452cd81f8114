"""Driving one turn: perform what its machine asks for, then commit it (ARCHITECTURE D7)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from lash.core.causality import RuntimeInvocation, turn_effect
from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.seams import SeamObserver
from lash.effects import executors
from lash.effects.commands import (
    CheckpointCommand,
    EffectCommand,
    ExecCodeCommand,
    LlmCallCommand,
    SyncExecutionEnvironmentCommand,
    ToolBatchCommand,
    command_kind,
)
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.hosts import EffectHost
from lash.effects.journal import WriteAuthority
from lash.effects.journaling import lease_lost
from lash.effects.outcomes import (
    CheckpointOutcome,
    EffectFailed,
    EffectOutcome,
    LlmCallOutcome,
    SyncExecutionEnvironmentOutcome,
    ToolBatchOutcome,
)
from lash.effects.shielding import shielded
from lash.effects.waits.model import AwaitEventKey, ToolCompletionWait
from lash.llm.retry import LlmCallRecord
from lash.llm.usage import Usage
from lash.protocols.standard import StandardProtocol
from lash.runtime.agents import AgentDefinition
from lash.runtime.cancelling import being_cancelled
from lash.runtime.direct import ResolveModel
from lash.runtime.events import Announce, ModelRequestStarted, UsageReported
from lash.runtime.history import History
from lash.runtime.model_call import ModelCall
from lash.runtime.tool_dispatch import ToolDispatch, call_record
from lash.sessions.model import AcceptedTurn, ToolCallRecord
from lash.sessions.planner import CommitReceipt, TurnCommit
from lash.sessions.store import SessionStore
from lash.turn.events import (
    ErrorReported,
    OutcomeReached,
    SessionStreamEvent,
    ToolCallReported,
)
from lash.turn.exchange import (
    CheckpointCompleted,
    CheckpointEffect,
    DoneEffect,
    EmitEffect,
    EnvironmentSynced,
    ExecCodeEffect,
    LlmCallEffect,
    LlmCompleted,
    MachineResponse,
    OwedEffect,
    SyncExecutionEnvironmentEffect,
    ToolCallsEffect,
    ToolsCompleted,
)
from lash.turn.machine import MachineConfig, TurnMachine
from lash.turn.messages import Message, TurnInputOrigin, text_message, visible_text
from lash.turn.outcome import (
    AssistantMessage,
    Finished,
    RuntimeStopped,
    Stopped,
    TurnIssue,
    TurnOutcome,
)


@dataclass(frozen=True, slots=True)
class DriveContext:
    """What a drive works with.

    Attributes:
        store: Where the turn is committed.
        host: Where promises are kept.
        controller: The door to the outside, with the turn's journal behind it.
        models: Finds the model that a tool's body names.
        clock: Measures the drive.
        announce: Told what is really executed.
        committed: Told of the commit, in the same step in which it is known.
        seams: Told where a crash would be interesting.
        authority: The lease the drive runs under.
        scope_key: The turn's journal.
    """

    store: SessionStore
    host: EffectHost
    controller: EffectController
    models: Callable[[AgentDefinition], ResolveModel]
    clock: Clock
    announce: Announce
    committed: Callable[[CommitReceipt], None]
    seams: SeamObserver
    authority: WriteAuthority
    scope_key: str


@dataclass(slots=True)
class _Ledger:
    """What a drive gathers for the turn's record. All of it derives from recorded outcomes."""

    outcome: TurnOutcome | None = None
    tool_calls: list[ToolCallRecord] = field(default_factory=list)
    llm_calls: list[LlmCallRecord] = field(default_factory=list)
    issues: list[TurnIssue] = field(default_factory=list)


class TurnDrive:
    """One drive of one turn.

    A turn that is resumed is driven again from its beginning; what was recorded is replayed.
    """

    def __init__(
        self, context: DriveContext, agent: AgentDefinition, turn: AcceptedTurn, history: History
    ) -> None:
        self._context = context
        self._agent = agent
        self._turn = turn
        self._history = history
        self._ledger = _Ledger()
        self._started = context.clock.monotonic()
        self._tools = ToolDispatch(
            agent.tools,
            context.controller,
            context.clock,
            announce=context.announce,
            seams=context.seams,
            mint=self._mint,
            models=context.models(agent),
        )
        config = MachineConfig(
            driver=StandardProtocol(),
            session_id=turn.session_id,
            turn_id=turn.turn_id,
            model=agent.model,
            instructions=agent.instructions,
            tools=agent.tool_specs,
            history=history.reference,
            projection=history.projection,
            max_turns=agent.max_turns,
        )
        self._machine = TurnMachine(config, [*history.messages, _input_message(turn)])

    async def run(self) -> CommitReceipt:
        """Drive the turn and commit it.

        Raises:
            ReplayError: The journal records something else than the code asks for.
            LeaseLostError: Another process took over; nothing more was written.
            StoreError: The store did not take a write; the turn stays accepted.
        """
        commit = await self.play()
        self._context.seams("commit.before")
        return await shielded(self._land(commit))

    async def play(self) -> TurnCommit:
        """Drive the turn to its end, and give what is to be committed. Raises as `run` does."""
        machine = self._machine
        while True:
            effect = machine.poll()
            match effect:
                case None:
                    raise LashError(
                        "effect_panicked", f"Turn {self._turn.turn_id} stopped asking for anything."
                    )
                case EmitEffect(event=event):
                    self._note(event)
                case DoneEffect(messages=messages):
                    return self._commit(messages)
                case (
                    SyncExecutionEnvironmentEffect()
                    | LlmCallEffect()
                    | ToolCallsEffect()
                    | ExecCodeEffect()
                    | CheckpointEffect()
                ):
                    await self._perform(effect)
                case _:
                    pass  # progress is kept by the journal, not written on its own

    # --- effects --------------------------------------------------------------------------------

    async def _perform(self, effect: OwedEffect) -> None:
        if being_cancelled():
            # A tool or a provider kept the cancellation to itself; nothing more is begun all the same.
            raise asyncio.CancelledError
        outcome = await self._outcome_of(effect)
        if isinstance(outcome, EffectFailed):
            issue = TurnIssue(
                kind="runtime_effect_controller", code=outcome.code, message=outcome.message
            )
            self._machine.abort(issue)
        else:
            self._machine.respond(self._response(effect.id, outcome))

    async def _outcome_of(self, effect: OwedEffect) -> EffectOutcome:
        match effect:
            case LlmCallEffect():
                return await self._call_model(effect)
            case ToolCallsEffect():
                return await self._run_tools(effect)
            case CheckpointEffect(checkpoint=checkpoint):
                command: EffectCommand = CheckpointCommand(checkpoint=checkpoint)
                return await self._execute(effect.id, command, _nothing_arrived)
            case SyncExecutionEnvironmentEffect(update_machine_config=update):
                command = SyncExecutionEnvironmentCommand(update_machine_config=update)
                return await self._execute(effect.id, command, self._synced)
            case ExecCodeEffect(language=language, code=code):
                command = ExecCodeCommand(language=language, code=code)

                async def refuse() -> EffectOutcome:
                    message = f"No dialect is registered for {language} code."
                    return EffectFailed(code="code_dialect_unknown", message=message)

                return await self._execute(effect.id, command, refuse)

    def _response(self, effect_id: int, outcome: EffectOutcome) -> MachineResponse:
        match outcome:
            case LlmCallOutcome(response=response, failure=failure):
                self._ledger.llm_calls.append(outcome.record)
                result = response or failure
                if result is not None:
                    return LlmCompleted(
                        id=effect_id,
                        result=result,
                        text_streamed=outcome.text_streamed,
                        wasted=outcome.wasted,
                    )
            case ToolBatchOutcome(results=results):
                return ToolsCompleted(id=effect_id, results=results)
            case CheckpointOutcome(delivery=delivery):
                return CheckpointCompleted(id=effect_id, delivery=delivery)
            case SyncExecutionEnvironmentOutcome(environment=environment, error=error):
                self._machine.limit_turns(outcome.max_turns)
                return EnvironmentSynced(id=effect_id, environment=environment, error=error)
            case _:
                pass
        raise LashError(
            "runtime_effect_wrong_outcome",
            f"Effect {effect_id} of turn {self._turn.turn_id} was answered with another kind of "
            "outcome than it asked for.",
        )

    async def _call_model(self, effect: LlmCallEffect) -> EffectOutcome:
        context, iteration = self._context, self._machine.iteration

        async def execute() -> EffectOutcome:
            context.announce(ModelRequestStarted(protocol_iteration=iteration))
            context.seams("model.before")
            call = ModelCall(
                self._agent.provider,
                effect.request,
                self._agent.retry,
                context.clock,
                context.announce,
            )
            outcome = await call.run()
            context.seams("model.after")
            spent = _spent(outcome)
            if spent is not None:
                context.announce(UsageReported(protocol_iteration=iteration, usage=spent))
            return outcome

        return await self._execute(effect.id, LlmCallCommand(request=effect.request), execute)

    async def _run_tools(self, effect: ToolCallsEffect) -> EffectOutcome:
        command = ToolBatchCommand(batch_id=str(effect.id), calls=effect.calls)
        invocation = self._invocation(effect.id, command)

        async def execute() -> EffectOutcome:
            results = await self._tools.run_batch(invocation, effect.calls)
            return ToolBatchOutcome(results=results)

        envelope = RuntimeEffectEnvelope(invocation=invocation, command=command)
        return await self._context.controller.execute(envelope, executors.tool_batch(execute))

    async def _execute(
        self, effect_id: int, command: EffectCommand, perform: executors.Perform
    ) -> EffectOutcome:
        envelope = RuntimeEffectEnvelope(
            invocation=self._invocation(effect_id, command), command=command
        )
        return await self._context.controller.execute(envelope, executors.turn(perform))

    async def _mint(self, call: str) -> AwaitEventKey:
        """The key by which the outside answers a tool call."""
        host = self._context.host
        if not host.capabilities.external_completion_keys:
            raise LashError(
                "tool_completion_key_process_lifetime",
                "The tool wants its answer from outside, but this runtime keeps nothing, so the key "
                "would die with the process. Give the runtime a file, or say process_lifetime_keys=True.",
            )
        wait = ToolCompletionWait(tool_call_id=call)
        return await host.await_event_key(self._context.controller.scope, wait)

    async def _synced(self) -> EffectOutcome:
        """An agent's prompt and tools are fixed while its version runs; its limit may be changed."""
        return SyncExecutionEnvironmentOutcome(max_turns=self._agent.max_turns)

    def _invocation(self, effect_id: int, command: EffectCommand) -> RuntimeInvocation:
        return turn_effect(
            session_id=self._turn.session_id,
            turn_id=self._turn.turn_id,
            turn_index=self._history.head.turn_index + 1,
            protocol_iteration=self._machine.iteration,
            kind=command_kind(command),
            effect_id=effect_id,
        )

    # --- gathering and committing ---------------------------------------------------------------

    def _note(self, event: SessionStreamEvent) -> None:
        ledger = self._ledger
        match event:
            case OutcomeReached(outcome=outcome):
                ledger.outcome = outcome
            case ErrorReported(issue=issue):
                ledger.issues.append(issue)
            case ToolCallReported(call=call):
                ledger.tool_calls.append(call_record(call))
            case _:
                pass  # the rest is for observers of the machine

    def _commit(self, transcript: tuple[Message, ...]) -> TurnCommit:
        context, ledger = self._context, self._ledger
        outcome = ledger.outcome or Stopped(reason=RuntimeStopped())
        added = [
            message
            for message in transcript[len(self._history.messages) :]
            if not message.transient
        ]
        added.extend(_final_message(self._turn.turn_id, added, outcome))
        direct = self._tools.direct_calls
        return TurnCommit(
            session_id=self._turn.session_id,
            turn_id=self._turn.turn_id,
            expected_revision=self._history.head.revision,
            fence=context.authority.fence,
            messages=tuple(added),
            outcome=outcome,
            usage=sum((call.usage for call in direct), self._machine.usage),
            text=_answer(outcome),
            scope_key=context.scope_key,
            tool_calls=tuple(ledger.tool_calls),
            llm_calls=(*ledger.llm_calls, *(call.record for call in direct)),
            issues=(*ledger.issues, *self._drift_issues(), *_restart_issues(self._turn)),
            drive_ms=round((context.clock.monotonic() - self._started) * 1000),
            journal=tuple(context.controller.deferred()),
        )

    async def _land(self, commit: TurnCommit) -> CommitReceipt:
        """Commit and tell, as one: also a drive that is being cancelled tells that it committed."""
        context = self._context
        result = await context.store.commit_turn(commit)
        if not isinstance(result, CommitReceipt):
            if result.code == "session_execution_lease_lost":
                raise lease_lost(context.authority)
            raise LashError(result.code, result.message, turn_id=self._turn.turn_id)
        context.seams("commit.after")
        if not result.replayed:
            self._history.grow(result.head, commit.messages)
        context.committed(result)
        return result

    def _drift_issues(self) -> list[TurnIssue]:
        return [
            TurnIssue(
                kind="drift",
                code="surroundings_drift",
                message=(
                    f"{', '.join(drift.paths)} changed since {drift.replay_key} was recorded; the "
                    "recorded outcome was used."
                ),
                paths=drift.paths,
            )
            for drift in self._context.controller.drift
        ]


def _restart_issues(turn: AcceptedTurn) -> list[TurnIssue]:
    if not turn.restarts:
        return []
    message = (
        "Its surroundings changed while it was under way, so the turn was begun again from its input. "
        "What its tools did before may have been done twice."
    )
    return [TurnIssue(kind="drift", code="turn_restarted", message=message)]


async def _nothing_arrived() -> EffectOutcome:
    """Input that arrives while a turn runs becomes the next turn."""
    return CheckpointOutcome()


def _spent(outcome: LlmCallOutcome) -> Usage | None:
    """What a call used in all; None when the counts make no sense, which the machine reports."""
    result = outcome.response or outcome.failure
    try:
        return (result.usage if result else Usage()) + outcome.wasted
    except LashError:
        return None


def _input_message(turn: AcceptedTurn) -> Message:
    return text_message(
        f"m_turn_{turn.turn_id}_input",
        "user",
        turn.input.text,
        origin=TurnInputOrigin(turn_id=turn.turn_id),
    )


def _answer(outcome: TurnOutcome) -> str:
    match outcome:
        case Finished(result=AssistantMessage(text=text)):
            return text
        case _:
            return ""


def _final_message(turn_id: str, added: list[Message], outcome: TurnOutcome) -> list[Message]:
    """The final answer as a message, unless the history ends with it already (spec 3.6)."""
    text = _answer(outcome)
    if not text:
        return []
    last = added[-1] if added else None
    if last is not None and last.role == "assistant" and visible_text(last) == text:
        return []
    return [text_message(f"m_turn_{turn_id}_final", "assistant", text, kind="prose")]
