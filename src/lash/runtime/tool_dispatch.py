"""Running the tool calls of one message: side by side, attempt by attempt, reported in order.

An attempt is the atom: it is recorded once, refusals included, so that a call refused under one
schema stays refused when a deploy changes the schema. Retries and their waits stand outside, and so
does the wait for an answer that a tool left to the outside.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence

from lash.core.cancel import CancelToken
from lash.core.causality import RuntimeInvocation, child_effect
from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.seams import SeamObserver
from lash.effects import executors
from lash.effects.commands import (
    AwaitEventCommand,
    SleepCommand,
)
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import (
    AwaitEventOutcome,
    DirectCall,
    EffectOutcome,
    PendingCompletion,
)
from lash.effects.waits.model import Resolution
from lash.runtime.children import CHILD_SOURCE
from lash.runtime.direct import ResolveModel
from lash.runtime.events import (
    Announce,
    ToolCallCompleted,
    ToolCallDeferred,
)
from lash.runtime.granted_tools import grant_of
from lash.runtime.plugins.tool_hooks import (
    ToolHooks,
)
from lash.runtime.stopping import with_grace
from lash.runtime.tool_answers import (
    call_record,
    output_of,
    uncontained,
    wrong_outcome,
)
from lash.runtime.tool_attachments import OpenAttachments, pieces_of, shown_text
from lash.runtime.tool_attempts import ToolAttempts
from lash.runtime.tool_calling import BeginChildren, BeginTriggers, Call, MintKey, Resting, Word
from lash.runtime.tool_services import BeginProcesses
from lash.sessions.model import ChildUsage
from lash.tools.model import Tool
from lash.turn.cancelling import cancelled_call
from lash.turn.tools import (
    CompletedToolCall,
    PendingToolCall,
    ToolOutput,
)


class ToolDispatch:
    """Runs tool calls of one turn through its effect controller.

    Args:
        tools: The tools, by name.
        controller: Executes and records.
        clock: Measures attempts.
        announce: Told what is really executed.
        seams: Told where a crash would be interesting.
        mint: Mints keys for answers from outside.
        models: Finds the model a body names.
        cancel: Tripped when the calls are to stop.
        children: The child sessions of a call.
        processes: The processes of a call.
        triggers: The triggers of a call.
        slot: What is given back while a call waits for a process.
        hooks: The plugins that are asked around calls.
        attachments: The attachments of a session, by its id; None where nothing is run.

    Attributes:
        direct_calls: What the tools' bodies asked models, in call order; derived from what is
            recorded, so that a replay books it the same.
        children: What child sessions used for the tools, in call order, derived alike.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        controller: EffectController,
        clock: Clock,
        *,
        announce: Announce,
        seams: SeamObserver,
        mint: MintKey,
        models: ResolveModel,
        cancel: CancelToken,
        children: BeginChildren,
        processes: BeginProcesses,
        triggers: BeginTriggers,
        slot: Resting | None = None,
        hooks: ToolHooks | None = None,
        attachments: OpenAttachments | None = None,
    ) -> None:
        self._tools = tools
        self._controller = controller
        self._clock = clock
        self._announce = announce
        self._cancel = cancel
        self._attempts = ToolAttempts(
            tools,
            controller,
            clock,
            announce=announce,
            seams=seams,
            mint=mint,
            models=models,
            cancel=cancel,
            children=children,
            processes=processes,
            triggers=triggers,
            slot=slot,
            hooks=hooks,
            attachments=attachments,
        )
        self.direct_calls: list[DirectCall] = []
        self.children: list[ChildUsage] = []

    async def run_batch(
        self, parent: RuntimeInvocation, calls: Sequence[PendingToolCall]
    ) -> tuple[CompletedToolCall, ...]:
        """The answers of `calls`, in call order, whatever order they finished in.

        Calls run side by side; those of a serial tool run afterwards, one at a time.
        """
        results: dict[int, CompletedToolCall] = {}
        prepared = [self._prepare(parent, index, call) for index, call in enumerate(calls)]

        async def answer(index: int) -> None:
            results[index] = await self._answered(prepared[index])

        serial = [index for index, call in enumerate(calls) if self._is_serial(call)]
        beside = [index for index in range(len(calls)) if index not in serial]
        await _run_all([answer(index) for index in beside])
        for index in serial:
            await answer(index)
        if len(results) != len(calls):
            # A task group takes a member that was cancelled from inside for one that is done.
            raise LashError(
                "tool_batch_result_count_mismatch",
                f"{len(calls) - len(results)} of {len(calls)} tool calls ended without an answer: "
                "the tool cancelled the task it runs in. The turn stays accepted.",
            )
        for call in prepared:
            self.direct_calls += call.direct_calls
            self.children += [
                ChildUsage(
                    session_id=child.session_id,
                    turn_id=child.turn_id,
                    source=CHILD_SOURCE,
                    model=child.model,
                    usage=child.usage,
                )
                for child in call.children
            ]
        return tuple(results[index] for index in range(len(calls)))

    def _is_serial(self, call: PendingToolCall) -> bool:
        tool = self._tools.get(call.tool_name)
        return tool is not None and tool.serial

    def _prepare(self, parent: RuntimeInvocation, index: int, pending: PendingToolCall) -> Call:
        tool = self._tools.get(pending.tool_name)
        return Call(
            parent=parent,
            suffix=f"child:{index}:{pending.call_id}",
            pending=pending,
            tool=tool,
            args=pending.args,
            grant=grant_of(tool),
        )

    async def _answered(self, call: Call) -> CompletedToolCall:
        """One call with its answer: its own, or that it was cancelled because the turn is to stop."""
        name = f"tool {call.pending.tool_name} of session {call.parent.scope.session_id}"
        completed = await with_grace(self._cancel, self._clock, self._call(call), name)
        if completed is None:
            completed = cancelled_call(call.pending)
            if call.executed:
                self._announce(ToolCallCompleted(call=call_record(completed)))
        return completed

    async def _call(self, call: Call) -> CompletedToolCall:
        """One call: attempts until its output stands, or until the outside has given it."""
        pending, attempt = call.pending, 1
        while True:
            outcome = await self._attempts.make(call, attempt)
            if outcome.held_by is not None and outcome.pending is not None:
                args = call.args if outcome.args is None else outcome.args
                resolution = await self._word(call, outcome.pending)
                call.answers[outcome.held_by] = Word(resolution, args)
                call.holds += 1
            elif outcome.retry_in_ms is not None:
                await self._sleep(call, attempt, outcome.retry_in_ms)
                attempt += 1
            else:
                break
        if outcome.pending is not None:
            if call.executed:
                self._announce_deferral(pending, outcome.pending)
            answer = await self._answer_from_outside(call, outcome.pending)
            outcome = await self._attempts.finalize(call, attempt, outcome, answer)
        output = outcome.output or wrong_outcome()
        # What a plugin says instead is text.
        pieces = pieces_of(output) if outcome.shown is None else ()
        completed = CompletedToolCall(
            call_id=pending.call_id,
            tool_name=pending.tool_name,
            args=pending.args,
            output=output,
            model_text=shown_text(output, pieces) if outcome.shown is None else outcome.shown,
            pieces=pieces,
            duration_ms=outcome.duration_ms,
            attempts=attempt,
            emitted=tuple(call.emitted),
        )
        if call.executed:
            self._announce(ToolCallCompleted(call=call_record(completed)))
        return completed

    async def _word(self, call: Call, pending: PendingCompletion) -> Resolution:
        """Wait, over restarts, for what the outside says to a plugin."""
        if call.executed:
            self._announce_deferral(call.pending, pending)
        outcome = await self._awaited(call, pending, f"held:{call.holds + 1}")
        if not isinstance(outcome, AwaitEventOutcome):
            raise LashError(
                "runtime_effect_wrong_outcome", "The record of a wait is of another kind."
            )
        return outcome.resolution

    def _announce_deferral(self, call: PendingToolCall, pending: PendingCompletion) -> None:
        due = pending.deadline_at_ms
        self._announce(
            ToolCallDeferred(call_id=call.call_id, tool=call.tool_name, deadline_at_ms=due)
        )

    async def _answer_from_outside(self, call: Call, pending: PendingCompletion) -> ToolOutput:
        """Wait, over restarts, for the answer that the tool left to the outside."""
        outcome = await self._awaited(call, pending, "await")
        if isinstance(outcome, AwaitEventOutcome):
            return output_of(outcome.resolution)
        return uncontained(outcome)

    async def _awaited(self, call: Call, pending: PendingCompletion, place: str) -> EffectOutcome:
        envelope = RuntimeEffectEnvelope(
            invocation=child_effect(
                call.parent, kind="await_event", suffix=f"{call.suffix}:{place}"
            ),
            command=AwaitEventCommand(key=pending.key),
        )
        waiting = executors.awaiting(self._cancel, pending.deadline_at_ms)
        outcome = await self._controller.execute(envelope, waiting)
        # The answer is news where it comes, also in a process that did not run the tool.
        call.executed = call.executed or waiting.used
        return outcome

    async def _sleep(self, call: Call, attempt: int, delay_ms: int) -> None:
        if delay_ms <= 0:
            return
        suffix = f"{call.suffix}:attempt:{attempt}:sleep"
        envelope = RuntimeEffectEnvelope(
            invocation=child_effect(call.parent, kind="sleep", suffix=suffix),
            command=SleepCommand(duration_ms=delay_ms),
        )
        await self._controller.execute(envelope, executors.sleeping(self._cancel))


async def _run_all(work: Sequence[Coroutine[object, object, None]]) -> None:
    """Run coroutines side by side; the first infrastructure error ends them all."""
    if len(work) == 1:
        await work[0]
        return
    try:
        async with asyncio.TaskGroup() as group:
            for item in work:
                group.create_task(item)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors
