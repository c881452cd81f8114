"""Driving one turn: perform what its machine asks for, then commit it (ARCHITECTURE D7)."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

import msgspec

from lash.core.cancel import Cancellation, CancelToken
from lash.core.causality import turn_effect
from lash.core.clock import Clock
from lash.core.errors import LashError, ReplayError
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
from lash.effects.journaling import decode_outcome, lease_lost
from lash.effects.outcomes import (
    CheckpointOutcome,
    EffectFailed,
    EffectOutcome,
    LlmCallOutcome,
    SyncExecutionEnvironmentOutcome,
    ToolBatchOutcome,
)
from lash.effects.shielding import shielded
from lash.effects.trigger_commands import TriggerEmission
from lash.effects.waits.model import AwaitEventKey, ToolCompletionWait
from lash.llm.response import LlmFailure
from lash.runtime.agents import AgentDefinition
from lash.runtime.attachments import owned_by_turn
from lash.runtime.cancelling import being_cancelled
from lash.runtime.checkpoints import Checkpoints
from lash.runtime.children import Children, ChildrenHost
from lash.runtime.direct import ResolveModel
from lash.runtime.events import Announce, ModelRequestStarted, UsageReported
from lash.runtime.history import History
from lash.runtime.model_attachments import resolved
from lash.runtime.model_call import ModelCall, unasked
from lash.runtime.plugins.drive import REMEMBERING, TurnPlugins, remembered
from lash.runtime.plugins.operating import Operating
from lash.runtime.stopping import StopRequested, check_stop, unless_stopped, with_grace
from lash.runtime.stores import Store
from lash.runtime.tool_answers import call_record
from lash.runtime.tool_attachments import OpenAttachments
from lash.runtime.tool_calling import BeginTriggers
from lash.runtime.tool_dispatch import ToolDispatch
from lash.runtime.tool_services import CallWork
from lash.runtime.turn_commit import (
    TurnLedger,
    bare_cancelled,
    cancelled,
    commit_of,
    shown_attachments,
)
from lash.runtime.turn_setup import input_messages, message_scope, set_up
from lash.sessions.committing import CommitReceipt, TurnCommit
from lash.sessions.model import AcceptedTurn, SessionHead
from lash.tools.processes import ToolProcesses
from lash.tools.triggers import ToolTriggers
from lash.turn.driver import CheckpointKind
from lash.turn.events import (
    DoneReported,
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
    ExecutionEnvironment,
    LlmCallEffect,
    LlmCompleted,
    MachineResponse,
    OwedEffect,
    SyncExecutionEnvironmentEffect,
    ToolCallsEffect,
    ToolsCompleted,
)
from lash.turn.machine import TurnMachine
from lash.turn.outcome import Cancelled, Stopped, TurnIssue

T = TypeVar("T")


class TurnProcesses(Protocol):
    """Gives the tool calls of turns their processes."""

    def of_turn(
        self,
        work: CallWork,
        *,
        head: SessionHead,
        agent: AgentDefinition,
        turn_id: str,
        announce: Announce,
    ) -> ToolProcesses:
        """The processes of one call."""
        ...


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
        cancel: Tripped once somebody asks the turn to stop.
        resolve_model: Finds the model that a session names.
        children: Runs child sessions; None where nothing is run.
        processes: The processes of tool calls; None where nothing is run.
        triggers: The triggers of tool calls; None where nothing is run.
        attachments: The attachments of a session; None where nothing is run.
    """

    store: Store
    host: EffectHost
    controller: EffectController
    models: Callable[[AgentDefinition], ResolveModel]
    clock: Clock
    announce: Announce
    committed: Callable[[CommitReceipt, TurnCommit], None]
    seams: SeamObserver
    authority: WriteAuthority
    scope_key: str
    cancel: CancelToken
    resolve_model: ResolveModel
    children: ChildrenHost | None = None
    processes: TurnProcesses | None = None
    triggers: BeginTriggers | None = None
    attachments: OpenAttachments | None = None


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
        self._setup = setup = set_up(agent, turn, history, context.resolve_model)
        self._ledger = TurnLedger()
        self._started = context.clock.monotonic()
        self._plugins = (
            TurnPlugins(
                agent,
                turn,
                history,
                window=setup.config.model.context_window_tokens,
                announce=context.announce,
                message_scope=setup.message_scope,
                told=ExecutionEnvironment(
                    instructions=setup.config.instructions, tools=setup.config.tools
                ),
            )
            if agent.plugins and turn.input.command is None
            else None
        )
        self._operating = Operating.of(agent.plugins, turn, history.head, context.announce)
        self._checkpoints = Checkpoints(
            context.store, context.authority, turn.turn_id, context.announce, context.seams
        )
        self._tools = ToolDispatch(
            setup.tools if self._plugins is None else self._plugins.tools,
            context.controller,
            context.clock,
            announce=context.announce,
            seams=context.seams,
            mint=self._mint,
            models=context.models(agent),
            cancel=context.cancel,
            children=self._children,
            processes=self._processes,
            triggers=self._triggers,
            hooks=None if self._plugins is None else self._plugins.tool_hooks,
            attachments=context.attachments,
        )
        self._machine = TurnMachine(setup.config, [*history.messages, *setup.input])

    async def run(self) -> CommitReceipt:
        """Drive the turn and commit it.

        Raises:
            ReplayError: The journal records something else than the code asks for.
            LeaseLostError: Another process took over; nothing more was written.
            StoreError: The store did not take a write; the turn stays accepted.
        """
        with owned_by_turn(self._turn.session_id, self._turn.turn_id):
            commit = await self.play()
        self._context.seams("commit.before")
        return await shielded(self._land(commit))

    async def play(self) -> TurnCommit:
        """Drive the turn to its end, and give what is to be committed. Raises as `run` does."""
        try:
            return await self._play()
        except ReplayError:
            # What was recorded does not fit the code any more. A turn that is to stop ends all the
            # same, with what was replayed so far.
            if self._context.cancel.cancellation is None:
                raise
            self._machine.cancel(self._context.cancel.cancellation)
            return await self._play()

    async def _play(self) -> TurnCommit:
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
                    self._ledger.transcript = messages
                    return self._commit()
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
        try:
            outcome = await self._outcome_of(effect)
        except StopRequested as stop:
            self._machine.cancel(stop.cancellation)
            return
        if self._plugins is not None:
            await self._remember(self._plugins, effect, outcome)
        if self._operating is not None:
            self._operating.took_place(outcome)
        if isinstance(outcome, EffectFailed):
            issue = TurnIssue(
                kind="runtime_effect_controller", code=outcome.code, message=outcome.message
            )
            self._machine.abort(issue)
        else:
            self._machine.respond(self._response(effect.id, outcome))

    async def _remember(
        self, plugins: TurnPlugins, effect: OwedEffect, outcome: EffectOutcome
    ) -> None:
        begins = isinstance(effect, SyncExecutionEnvironmentEffect) and not self._machine.iteration
        if begins and plugins.resumed:
            records = await self._context.store.load_journal(self._context.scope_key)
            plugins.recall(
                decode_outcome(each.replay_key, each.outcome)
                for each in records
                if each.kind in REMEMBERING
            )
        plugins.took_place(outcome)
        if begins and plugins.shown_from is not None:
            self._machine.show(*self._history.from_message(plugins.shown_from))

    async def _outcome_of(self, effect: OwedEffect) -> EffectOutcome:
        match effect:
            case LlmCallEffect():
                return await self._call_model(effect)
            case ToolCallsEffect():
                return await self._run_tools(effect)
            case CheckpointEffect(checkpoint=checkpoint):
                command: EffectCommand = CheckpointCommand(checkpoint=checkpoint)
                envelope = self._envelope(effect.id, command)

                async def deliver() -> EffectOutcome:
                    check_stop(self._context.cancel)
                    return await self._delivered(checkpoint, envelope.replay_key)

                return await self._execute(envelope, deliver)
            case SyncExecutionEnvironmentEffect(update_machine_config=update):
                command = SyncExecutionEnvironmentCommand(update_machine_config=update)
                return await self._execute(self._envelope(effect.id, command), self._synced)
            case ExecCodeEffect(language=language, code=code):
                command = ExecCodeCommand(language=language, code=code)

                async def refuse() -> EffectOutcome:
                    message = f"No dialect is registered for {language} code."
                    return EffectFailed(code="code_dialect_unknown", message=message)

                return await self._execute(self._envelope(effect.id, command), refuse)

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
                put_in = (*outcome.messages, *outcome.transient_messages)
                return EnvironmentSynced(
                    id=effect_id, environment=environment, error=error, messages=put_in
                )
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
            check_stop(context.cancel)
            context.announce(ModelRequestStarted(protocol_iteration=iteration))
            context.seams("model.before")
            outcome = await unless_stopped(context.cancel, context.clock, self._asked(effect))
            context.seams("model.after")
            with suppress(LashError):  # counts that make no sense are the machine's to report
                context.announce(UsageReported(protocol_iteration=iteration, usage=outcome.spent))
            return outcome

        command = LlmCallCommand(request=effect.request)
        return await self._execute(self._envelope(effect.id, command), execute)

    async def _asked(self, effect: LlmCallEffect) -> LlmCallOutcome:
        """Ask the model, with the bytes of what it is shown; they are kept by nobody."""
        context, model = self._context, self._setup.model
        request = await resolved(effect.request, context.attachments)
        if isinstance(request, LlmFailure):
            return unasked(effect.request, request)
        call = ModelCall(
            model.provider,
            request,
            model.retry,
            context.clock,
            context.announce,
            rewrite=None if self._plugins is None else self._plugins.rewrites,
        )
        return await call.run()

    async def _run_tools(self, effect: ToolCallsEffect) -> EffectOutcome:
        command = ToolBatchCommand(batch_id=str(effect.id), calls=effect.calls)
        envelope = self._envelope(effect.id, command)

        async def execute() -> EffectOutcome:
            results = await self._tools.run_batch(envelope.invocation, effect.calls)
            return ToolBatchOutcome(results=results)

        return await self._context.controller.execute(envelope, executors.tool_batch(execute))

    async def _execute(
        self, envelope: RuntimeEffectEnvelope, perform: executors.Perform
    ) -> EffectOutcome:
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

    def _children(self, call_id: str, call_key: str, cancel: CancelToken) -> Children:
        """The child sessions of a tool call."""
        if self._context.children is None:
            raise LashError("tool_context_detached", "No child session can be run here.")
        return Children(
            host=self._context.children,
            parent=self._history.head,
            turn_id=self._turn.turn_id,
            call_id=call_id,
            call_key=call_key,
            announce=self._context.announce,
            cancel=cancel,
            clock=self._context.clock,
        )

    def _processes(self, work: CallWork) -> ToolProcesses:
        """The processes of a tool call."""
        if self._context.processes is None:
            raise LashError("tool_context_detached", "No process can be started here.")
        return self._context.processes.of_turn(
            work,
            head=self._history.head,
            agent=self._agent,
            turn_id=self._turn.turn_id,
            announce=self._context.announce,
        )

    def _triggers(self, call_key: str, emissions: list[TriggerEmission]) -> ToolTriggers:
        """The triggers of a tool call."""
        if self._context.triggers is None:
            raise LashError("tool_context_detached", "No event can be emitted here.")
        return self._context.triggers(call_key, emissions)

    async def _synced(self) -> EffectOutcome:
        """Without plugins an agent's prompt and tools are fixed while its version runs."""
        limit = self._setup.max_turns  # which may be changed meanwhile
        if self._operating is not None:
            return await self._unless_stopped(self._operating.performed(limit))
        if self._plugins is None:
            return SyncExecutionEnvironmentOutcome(max_turns=limit)
        asked = self._plugins.synced(self._machine.iteration, limit)
        return await self._unless_stopped(asked)

    async def _unless_stopped(self, asked: Coroutine[object, object, T]) -> T:
        """What plugins say, who are given up when the turn is to stop. Raises `StopRequested`."""
        cancel = self._context.cancel
        if cancel.cancellation is not None:
            asked.close()
            raise StopRequested(cancel.cancellation)
        name = f"a plugin of turn {self._turn.turn_id}"
        said = await with_grace(cancel, self._context.clock, asked, name)
        if said is None:
            check_stop(cancel)
        return cast("T", said)

    async def _delivered(self, checkpoint: CheckpointKind, effect_key: str) -> EffectOutcome:
        """What arrived for the turn, and what plugins put in."""
        if self._plugins is None:
            return await self._checkpoints.deliver(checkpoint, effect_key)
        # They are asked first: if one of them ends the turn, what waits is the next turn's.
        asked = self._plugins.before_checkpoint(checkpoint, self._machine.iteration)
        said = await self._unless_stopped(asked)
        if isinstance(said, EffectFailed):
            return said
        outcome = await self._checkpoints.deliver(checkpoint, effect_key)
        if not isinstance(outcome, CheckpointOutcome):
            return outcome
        put_in, remembered = said
        delivery = msgspec.structs.replace(
            outcome.delivery,
            messages=(*outcome.delivery.messages, *put_in.messages),
            transient_messages=(*outcome.delivery.transient_messages, *put_in.transient_messages),
        )
        return CheckpointOutcome(delivery=delivery, plugin_state=remembered)

    def _envelope(self, effect_id: int, command: EffectCommand) -> RuntimeEffectEnvelope:
        invocation = turn_effect(
            session_id=self._turn.session_id,
            turn_id=self._turn.turn_id,
            turn_index=self._history.head.turn_index + 1,
            protocol_iteration=self._machine.iteration,
            kind=command_kind(command),
            effect_id=effect_id,
        )
        return RuntimeEffectEnvelope(invocation=invocation, command=command)

    # --- gathering and committing ---------------------------------------------------------------

    def _note(self, event: SessionStreamEvent) -> None:
        ledger = self._ledger
        match event:
            case OutcomeReached(outcome=outcome):
                ledger.outcome = outcome
            case DoneReported():
                ledger.done = True
            case ErrorReported(issue=issue):
                ledger.issues.append(issue)
            case ToolCallReported(call=call):
                ledger.tool_calls.append(call_record(call))
            case _:
                pass  # the rest is for observers of the machine

    def _commit(self) -> TurnCommit:
        context, ledger = self._context, self._ledger
        ledger.usage = self._machine.usage
        ledger.direct_calls = self._tools.direct_calls
        ledger.children = self._tools.children
        ledger.drift = context.controller.drift
        if self._plugins is not None:
            ledger.plugin_state = self._plugins.states.to_commit
            ledger.queued = self._plugins.queued
        if self._operating is not None:
            self._operating.book(ledger)
        stopped = isinstance(ledger.outcome, Stopped) and isinstance(
            ledger.outcome.reason, Cancelled
        )
        cancellation = context.cancel.cancellation if stopped else None
        return commit_of(
            self._turn,
            self._setup,
            ledger,
            head=self._history.head,
            skip=len(self._history.messages),
            fence=context.authority.fence,
            scope_key=context.scope_key,
            journal=context.controller.deferred(),
            drive_ms=round((context.clock.monotonic() - self._started) * 1000),
            cancellation=cancellation,
        )

    def as_cancelled(self, commit: TurnCommit, cancellation: Cancellation) -> TurnCommit:
        """The commit of this turn as one that was asked to stop before it landed."""
        commit = cancelled(commit, self._setup, cancellation)
        if self._operating is None:
            return commit
        # Whoever asked for it is told that it changed nothing.
        return msgspec.structs.replace(commit, plugin_state=None)

    async def _land(self, commit: TurnCommit) -> CommitReceipt:
        """Commit and tell, as one: also a drive that is being cancelled tells that it committed."""
        try:
            receipt = await _landed(self._context, commit)
        except StopRequested as stop:
            # Somebody asked the turn to stop before it came to its end, and was told that it will.
            commit = self.as_cancelled(commit, stop.cancellation)
            receipt = await _landed(self._context, commit)
        if not receipt.replayed and commit.frame is None:
            self._history.grow(receipt.head, commit.messages)
        return receipt


async def commit_undriven(
    context: DriveContext, turn: AcceptedTurn, head: SessionHead, cancellation: Cancellation
) -> None:
    """Commit a turn that is to stop as cancelled, without its agent, which nobody here has.

    Raises:
        LeaseLostError: Another process took over.
        StoreError: The store did not take the write; the turn stays accepted.
    """
    outcomes = [
        decode_outcome(record.replay_key, record.outcome)
        for record in await context.store.load_journal(context.scope_key)
        if record.kind == "llm_call" or record.kind in REMEMBERING
    ]
    commit = bare_cancelled(
        turn,
        head,
        input_messages(turn, message_scope(head, turn.turn_id)),
        calls=[outcome for outcome in outcomes if isinstance(outcome, LlmCallOutcome)],
        fence=context.authority.fence,
        scope_key=context.scope_key,
        cancellation=cancellation,
        plugin_state=None if turn.input.command else remembered(head, outcomes),
    )
    await shielded(_landed(context, commit))


async def _adopting(context: DriveContext, commit: TurnCommit) -> TurnCommit:
    """The commit with the attachments that it keeps: those it shows and that are still there."""
    held = [
        each
        for each in shown_attachments(commit)
        if await context.store.attachments.holds_ref(commit.session_id, each)
    ]
    return msgspec.structs.replace(commit, attachments=tuple(held)) if held else commit


async def _landed(context: DriveContext, commit: TurnCommit) -> CommitReceipt:
    """Commit and tell, as one.

    Raises:
        StopRequested: Somebody asked the turn to stop, and the commit does not say so.
        LeaseLostError: Another process took over.
        LashError: The store refused the commit, by its code.
    """
    result = await context.store.commit_turn(await _adopting(context, commit))
    if not isinstance(result, CommitReceipt) and result.code == "attachment_ref_missing":
        # Somebody deleted one meanwhile: what is gone is not kept, and the turn ends all the same.
        result = await context.store.commit_turn(await _adopting(context, commit))
    if not isinstance(result, CommitReceipt):
        if result.cancellation is not None:
            raise StopRequested(result.cancellation)
        if result.code == "session_execution_lease_lost":
            raise lease_lost(context.authority)
        raise LashError(result.code, result.message, turn_id=commit.turn_id)
    context.seams("commit.after")
    context.committed(result, commit)
    return result
