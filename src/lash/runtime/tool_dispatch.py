"""Running the tool calls of one message: side by side, attempt by attempt, reported in order.

An attempt is the atom: it is recorded once, refusals included, so that a call refused under one
schema stays refused when a deploy changes the schema. Retries and their waits stand outside.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from lash.core.causality import RuntimeInvocation, child_effect
from lash.core.clock import Clock
from lash.core.errors import LashError
from lash.core.json import JsonObject, digest, encode
from lash.core.seams import SeamObserver
from lash.core.text import described
from lash.effects.commands import (
    EffectFailed,
    EffectOutcome,
    PreparedToolCall,
    SleepCommand,
    SleepOutcome,
    ToolAttemptCommand,
    ToolAttemptOutcome,
)
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.transitions import MAX_OUTCOME_BYTES, largest_part
from lash.runtime.cancelling import being_cancelled
from lash.runtime.events import Announce, ToolCallCompleted, ToolCallStarted
from lash.sessions.model import ToolCallRecord
from lash.tools.model import Tool, ToolContext, ToolRetry, give_up
from lash.tools.transitions import RetryTool, after_attempt
from lash.turn.tools import (
    CompletedToolCall,
    PendingToolCall,
    ToolOutput,
    ToolSuccess,
    failed,
    model_text,
)

#: Room for the outcome's own fields beside the tool's value.
_OUTPUT_LIMIT = MAX_OUTCOME_BYTES - 64 * 1024
_OUTPUT = msgspec.json.Decoder(ToolOutput)


@dataclass(slots=True)
class _Call:
    """One call on its way through attempts; `executed` once anything of it really ran here."""

    parent: RuntimeInvocation
    suffix: str
    pending: PendingToolCall
    tool: Tool | None
    executed: bool = False

    @property
    def policy(self) -> ToolRetry | None:
        return self.tool.retry if self.tool else None

    @property
    def max_attempts(self) -> int:
        return self.policy.max_attempts if self.policy else 1


class ToolDispatch:
    """Runs tool calls of one turn through its effect controller."""

    def __init__(
        self,
        tools: Mapping[str, Tool],
        controller: EffectController,
        clock: Clock,
        announce: Announce,
        seams: SeamObserver,
    ) -> None:
        self._tools = tools
        self._controller = controller
        self._clock = clock
        self._announce = announce
        self._seams = seams

    async def run_batch(
        self, parent: RuntimeInvocation, calls: Sequence[PendingToolCall]
    ) -> tuple[CompletedToolCall, ...]:
        """The answers of `calls`, in call order, whatever order they finished in.

        Calls run side by side; those of a serial tool run afterwards, one at a time.
        """
        results: dict[int, CompletedToolCall] = {}

        async def answer(index: int) -> None:
            results[index] = await self._call(parent, index, calls[index])

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
        return tuple(results[index] for index in range(len(calls)))

    def _is_serial(self, call: PendingToolCall) -> bool:
        tool = self._tools.get(call.tool_name)
        return tool is not None and tool.serial

    async def _call(
        self, parent: RuntimeInvocation, index: int, pending: PendingToolCall
    ) -> CompletedToolCall:
        """One call: attempts until its output stands."""
        call = _Call(
            parent=parent,
            suffix=f"child:{index}:{pending.call_id}",
            pending=pending,
            tool=self._tools.get(pending.tool_name),
        )
        attempt = 1
        while (outcome := await self._attempt(call, attempt)).retry_in_ms is not None:
            await self._sleep(call, attempt, outcome.retry_in_ms)
            attempt += 1
        completed = CompletedToolCall(
            call_id=pending.call_id,
            tool_name=pending.tool_name,
            args=pending.args,
            output=outcome.output,
            model_text=model_text(outcome.output),
            duration_ms=outcome.duration_ms,
            attempts=attempt,
        )
        if call.executed:
            self._announce(ToolCallCompleted(call=call_record(completed)))
        return completed

    async def _attempt(self, call: _Call, attempt: int) -> ToolAttemptOutcome:
        pending = call.pending
        prepared = PreparedToolCall(
            call_id=pending.call_id,
            tool_id=call.tool.id if call.tool else f"tool:{pending.tool_name}",
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
            if not call.executed:
                call.executed = True
                started = ToolCallStarted(
                    call_id=pending.call_id, tool=pending.tool_name, args=pending.args
                )
                self._announce(started)
            begun = self._clock.monotonic()
            output = await self._run(call, _context(call, attempt))
            duration = round((self._clock.monotonic() - begun) * 1000)
            following = after_attempt(output, call.policy, attempt)
            if isinstance(following, RetryTool):
                delay = following.delay_ms
                return ToolAttemptOutcome(output=output, duration_ms=duration, retry_in_ms=delay)
            return ToolAttemptOutcome(output=following.output, duration_ms=duration)

        outcome = await self._controller.execute(envelope, execute)
        if isinstance(outcome, ToolAttemptOutcome):
            return outcome
        return ToolAttemptOutcome(output=_uncontained(outcome))

    async def _run(self, call: _Call, context: ToolContext) -> ToolOutput:
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
        output = await _contained(tool, args, context)
        self._seams("tool.after")
        return _fitting(tool.name, output)

    async def _sleep(self, call: _Call, attempt: int, delay_ms: int) -> None:
        if delay_ms <= 0:
            return
        suffix = f"{call.suffix}:attempt:{attempt}:sleep"
        envelope = RuntimeEffectEnvelope(
            invocation=child_effect(call.parent, kind="sleep", suffix=suffix),
            command=SleepCommand(duration_ms=delay_ms),
        )

        async def unused() -> EffectOutcome:
            return SleepOutcome(due_at_ms=self._clock.now_ms())

        await self._controller.execute(envelope, unused)


def _context(call: _Call, attempt: int) -> ToolContext:
    scope, pending = call.parent.scope, call.pending
    # Call ids are the model's and may repeat within a turn; the effect's place in it does not.
    replay = call.parent.replay.key if call.parent.replay else ""
    key = digest("tool-call", [scope.session_id, scope.turn_id, replay, call.suffix])
    return ToolContext(
        session_id=scope.session_id,
        turn_id=scope.turn_id or "",
        call_id=pending.call_id,
        tool_name=pending.tool_name,
        attempt=attempt,
        max_attempts=call.max_attempts,
        idempotency_key=key,
    )


def call_record(call: CompletedToolCall) -> ToolCallRecord:
    """A completed call as it is reported and kept."""
    return ToolCallRecord(
        call_id=call.call_id,
        tool=call.tool_name,
        args=call.args,
        output=call.output,
        duration_ms=call.duration_ms,
        attempts=call.attempts,
    )


async def _contained(tool: Tool, args: JsonObject, context: ToolContext) -> ToolOutput:
    """Run the body once; whatever goes wrong in it is its answer, unless the turn is being stopped."""
    try:
        output = await tool.run(args, context)
    except asyncio.CancelledError:
        if being_cancelled():
            give_up(context, "stopped")
            raise
        message = f"{tool.name} waited for something that was cancelled."
        return failed("execution", "tool_panicked", message, source="tool")
    except (KeyboardInterrupt, GeneratorExit):
        raise  # somebody ends the process, or the event loop ends the task
    except BaseException as error:  # noqa: BLE001  an exit, a test framework's outcome, a foreign panic
        # Letting it through would end the process, and every one that resumes the turn.
        return failed("execution", "tool_panicked", described(error), source="tool")
    if being_cancelled() and not isinstance(output.outcome, ToolSuccess):
        # It failed because it was stopped: when the turn is resumed, it is to run again.
        raise asyncio.CancelledError
    return output


def _fitting(name: str, output: ToolOutput) -> ToolOutput:
    """The output as it reads back from the journal, or a failure that says why it cannot be kept."""
    try:
        encoded = encode(output)
        kept = _OUTPUT.decode(encoded)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"{name} answered with something that cannot be stored: {described(error)}"
        return failed("execution", "tool_output_not_json", message)
    if len(encoded) <= _OUTPUT_LIMIT:
        return kept
    path, part = largest_part(msgspec.to_builtins(kept.outcome)["payload"])
    kind = "returned" if isinstance(kept.outcome, ToolSuccess) else "failed with"
    message = (
        f"{name} {kind} {len(encoded)} bytes, more than the {_OUTPUT_LIMIT} that can be recorded; "
        f"most of it is at {path} ({part} bytes). Return a summary or a reference instead."
    )
    return failed("resource_limit", "tool_output_too_large", message)


def _uncontained(outcome: EffectOutcome) -> ToolOutput:
    """A call is always answered, also when its effect failed around the tool."""
    if isinstance(outcome, EffectFailed):
        return failed("internal", outcome.code, outcome.message)
    return failed(
        "internal", "runtime_effect_wrong_outcome", "The tool's record is of another kind."
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
