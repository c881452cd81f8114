"""Running the tool calls of one message: side by side, attempt by attempt, reported in order.

An attempt is the atom: it is recorded once, refusals included, so that a call refused under one
schema stays refused when a deploy changes the schema. Retries and their waits stand outside, and so
does the wait for an answer that a tool left to the outside.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TypeAlias

import msgspec

from lash.core.cancel import CancelToken
from lash.core.causality import RuntimeInvocation, child_effect
from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.json import JsonObject, encode
from lash.core.seams import SeamObserver
from lash.core.text import described
from lash.effects import executors
from lash.effects.commands import (
    AwaitEventCommand,
    PreparedToolCall,
    SleepCommand,
    ToolAttemptCommand,
)
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import (
    AwaitEventOutcome,
    DirectCall,
    EffectOutcome,
    PendingCompletion,
    ToolAttemptOutcome,
)
from lash.effects.waits.board import Parking
from lash.effects.waits.model import AwaitEventKey
from lash.runtime.children import CHILD_SOURCE, Children
from lash.runtime.direct import ResolveModel
from lash.runtime.events import (
    Announce,
    ToolCallCompleted,
    ToolCallDeferred,
    ToolCallStarted,
)
from lash.runtime.selfwaits import inside
from lash.runtime.stopping import check_stop, with_grace
from lash.runtime.tool_answers import (
    call_record,
    contained,
    fitting,
    output_of,
    uncontained,
    wrong_outcome,
)
from lash.runtime.tool_calling import Call, Resting
from lash.runtime.tool_services import AttemptServices, BeginProcesses, CallWork
from lash.sessions.model import ChildUsage
from lash.tools.model import Tool, ToolContext, ToolServices
from lash.tools.transitions import RetryTool, after_attempt
from lash.turn.cancelling import cancelled_call
from lash.turn.tools import (
    CompletedToolCall,
    PendingToolCall,
    ToolOutput,
    failed,
    model_text,
)

#: Mints the key by which the outside answers the call of this name.
MintKey: TypeAlias = Callable[[str], Awaitable[AwaitEventKey]]

#: The child sessions of a call: by its id, its key and what gives it up.
BeginChildren: TypeAlias = Callable[[str, str, CancelToken], Children]


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
        slot: What is given back while a call waits for a process.

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
        slot: Resting | None = None,
    ) -> None:
        self._tools = tools
        self._controller = controller
        self._clock = clock
        self._announce = announce
        self._seams = seams
        self._mint = mint
        self._models = models
        self._cancel = cancel
        self._begin_children = children
        self._begin_processes = processes
        self._slot = slot
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
        return Call(
            parent=parent,
            suffix=f"child:{index}:{pending.call_id}",
            pending=pending,
            tool=self._tools.get(pending.tool_name),
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
        while (outcome := await self._attempt(call, attempt)).retry_in_ms is not None:
            await self._sleep(call, attempt, outcome.retry_in_ms)
            attempt += 1
        output = outcome.output
        if outcome.pending is not None:
            if call.executed:
                self._announce_deferral(pending, outcome.pending)
            output = await self._answer_from_outside(call, outcome.pending)
        if output is None:
            output = wrong_outcome()
        completed = CompletedToolCall(
            call_id=pending.call_id,
            tool_name=pending.tool_name,
            args=pending.args,
            output=output,
            model_text=model_text(output),
            duration_ms=outcome.duration_ms,
            attempts=attempt,
        )
        if call.executed:
            self._announce(ToolCallCompleted(call=call_record(completed)))
        return completed

    async def _attempt(self, call: Call, attempt: int) -> ToolAttemptOutcome:
        pending = call.pending
        prepared = PreparedToolCall(
            call_id=pending.call_id,
            tool_id=call.tool.id if call.tool else None,
            tool_name=pending.tool_name,
            args=pending.args,
        )
        suffix = f"{call.suffix}:attempt:{attempt}"
        envelope = RuntimeEffectEnvelope(
            invocation=child_effect(call.parent, kind="tool_attempt", suffix=suffix),
            command=ToolAttemptCommand(
                call=prepared, attempt=attempt, max_attempts=max(attempt, call.max_attempts)
            ),
        )

        async def execute() -> EffectOutcome:
            check_stop(self._cancel)
            if not call.executed:
                call.executed = True
                started = ToolCallStarted(
                    call_id=pending.call_id, tool=pending.tool_name, args=pending.args
                )
                self._announce(started)
            begun = self._clock.monotonic()
            cancel = CancelToken(self._cancel)
            services = self._services(call, envelope.replay_key, cancel, executor.parking)
            try:
                answer = await self._run(call, _context(call, attempt, services, cancel))
            finally:
                cancel.leave()
            made = self._outcome(call, attempt, answer, services.minted)
            return msgspec.structs.replace(
                made,
                duration_ms=round((self._clock.monotonic() - begun) * 1000),
                direct_calls=tuple(services.direct_calls),
                children=tuple(services.child_turns),
            )

        executor = executors.tool_attempt(execute)
        outcome = await self._controller.execute(envelope, executor)
        if not isinstance(outcome, ToolAttemptOutcome):
            return ToolAttemptOutcome(output=uncontained(outcome))
        call.direct_calls += outcome.direct_calls
        # Another attempt finds the same turns again, and they are paid once.
        call.children += [child for child in outcome.children if child not in call.children]
        return outcome

    def _outcome(
        self,
        call: Call,
        attempt: int,
        answer: ToolOutput | PendingCompletion,
        minted: AwaitEventKey | None,
    ) -> ToolAttemptOutcome:
        """What an attempt is recorded as: its answer, and what follows it."""
        if isinstance(answer, PendingCompletion):
            if answer.key == minted:
                return ToolAttemptOutcome(pending=answer)
            message = "The tool left its answer to the outside without this call's own key."
            answer = failed("internal", "pending_tool_missing_completion_key", message)
        following = after_attempt(answer, call.policy, attempt)
        if isinstance(following, RetryTool):
            return ToolAttemptOutcome(output=answer, retry_in_ms=following.delay_ms)
        return ToolAttemptOutcome(output=following.output)

    def _services(
        self, call: Call, attempt_key: str, cancel: CancelToken, parking: Parking | None
    ) -> AttemptServices:
        scope = call.parent.scope

        return AttemptServices(
            session_id=scope.session_id,
            turn_id=scope.turn_id,
            attempt_key=attempt_key,
            key=lambda: self._mint(call.place),
            models=self._models,
            clock=self._clock,
            children=lambda: self._begin_children(call.pending.call_id, call.key, cancel),
            begin_processes=lambda book: self._begin_processes(
                CallWork(
                    call_id=call.pending.call_id,
                    key=call.key,
                    cancel=cancel,
                    pause=lambda process_id: call.pausing(process_id, parking, self._slot),
                    book=book,
                )
            ),
        )

    async def _run(self, call: Call, context: ToolContext) -> ToolOutput | PendingCompletion:
        """Refuse the call, or run the body once."""
        tool, pending = call.tool, call.pending
        if tool is None:
            known = ", ".join(sorted(self._tools)) or "none"
            message = f"There is no tool called {pending.tool_name!r}. Available tools: {known}."
            return failed("unavailable", "tool_unavailable", message)
        if pending.args_error is not None:
            return failed("invalid_request", "invalid_tool_args", pending.args_error)
        # A body may change what it is given; the journal and the next attempt must not see that.
        args: JsonObject = msgspec.json.decode(encode(pending.args))
        try:
            tool.check(args)
        except LashError as error:
            return failed("invalid_request", "invalid_tool_args", error.message)
        except Exception as error:  # noqa: BLE001  a validator of the tool's own may raise anything
            return failed("invalid_request", "invalid_tool_args", described(error))
        self._seams("tool.before")
        with inside(context.session_id):
            answer = await contained(tool, args, context)
        self._seams("tool.after")
        return answer if isinstance(answer, PendingCompletion) else fitting(tool.name, answer)

    def _announce_deferral(self, call: PendingToolCall, pending: PendingCompletion) -> None:
        due = pending.deadline_at_ms
        self._announce(
            ToolCallDeferred(call_id=call.call_id, tool=call.tool_name, deadline_at_ms=due)
        )

    async def _answer_from_outside(self, call: Call, pending: PendingCompletion) -> ToolOutput:
        """Wait, over restarts, for the answer that the tool left to the outside."""
        envelope = RuntimeEffectEnvelope(
            invocation=child_effect(call.parent, kind="await_event", suffix=f"{call.suffix}:await"),
            command=AwaitEventCommand(key=pending.key),
        )
        waiting = executors.awaiting(self._cancel, pending.deadline_at_ms)
        outcome = await self._controller.execute(envelope, waiting)
        # The answer is news where it comes, also in a process that did not run the tool.
        call.executed = call.executed or waiting.used
        if isinstance(outcome, AwaitEventOutcome):
            return output_of(outcome.resolution)
        return uncontained(outcome)

    async def _sleep(self, call: Call, attempt: int, delay_ms: int) -> None:
        if delay_ms <= 0:
            return
        suffix = f"{call.suffix}:attempt:{attempt}:sleep"
        envelope = RuntimeEffectEnvelope(
            invocation=child_effect(call.parent, kind="sleep", suffix=suffix),
            command=SleepCommand(duration_ms=delay_ms),
        )
        await self._controller.execute(envelope, executors.sleeping(self._cancel))


def _context(call: Call, attempt: int, services: ToolServices, cancel: CancelToken) -> ToolContext:
    scope, pending = call.parent.scope, call.pending
    return ToolContext(
        session_id=scope.session_id,
        turn_id=scope.turn_id or "",
        call_id=pending.call_id,
        tool_name=pending.tool_name,
        attempt=attempt,
        max_attempts=call.max_attempts,
        idempotency_key=call.key,
        cancel=cancel,
        services=services,
    )


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
