"""One attempt at a tool call: the atom that is recorded, refusals and what plugins say included."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec

from lash.core.cancel import CancelToken
from lash.core.causality import child_effect
from lash.core.clock import Clock
from lash.core.durations import milliseconds
from lash.core.errors import LashError, StoreError
from lash.core.json import JsonObject, encode
from lash.core.seams import SeamObserver
from lash.core.text import described
from lash.effects import executors
from lash.effects.commands import PreparedToolCall, ToolAttemptCommand
from lash.effects.controller import EffectController
from lash.effects.envelope import RuntimeEffectEnvelope
from lash.effects.outcomes import (
    EffectOutcome,
    PendingCompletion,
    StateChange,
    ToolAttemptOutcome,
)
from lash.effects.waits.board import Parking
from lash.effects.waits.model import AwaitEventKey
from lash.runtime.attachments import SessionAttachmentStore, produced_by_tool
from lash.runtime.containing import contained
from lash.runtime.direct import ResolveModel
from lash.runtime.events import Announce, ToolCallStarted
from lash.runtime.plugins.tool_hooks import (
    Answered,
    BeforeOutcome,
    Held,
    HookedCall,
    Passed,
    ToolHooks,
)
from lash.runtime.selfwaits import inside
from lash.runtime.stopping import check_stop
from lash.runtime.tool_answers import fitting, uncontained, wrong_outcome
from lash.runtime.tool_attachments import OpenAttachments, stored_output
from lash.runtime.tool_calling import BeginChildren, BeginTriggers, Call, MintKey, Resting
from lash.runtime.tool_services import AttemptServices, BeginProcesses, CallWork
from lash.tools.manifest import MATERIALIZE, argument_projection_of
from lash.tools.model import Tool, ToolContext, ToolServices
from lash.tools.transitions import RetryTool, after_attempt
from lash.turn.tools import ToolOutput, failed

#: Makes an output one that can be recorded.
Fitting: TypeAlias = Callable[[Call, ToolOutput], Awaitable[ToolOutput]]


class ToolAttempts:
    """Makes attempts at the tool calls of one turn; see `ToolDispatch` for what it is given."""

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
        slot: Resting | None,
        hooks: ToolHooks | None,
        attachments: OpenAttachments | None,
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
        self._begin_triggers = triggers
        self._slot = slot
        self._hooks = hooks
        self._attachments = attachments

    async def make(self, call: Call, attempt: int) -> ToolAttemptOutcome:
        """Make an attempt, or give what it came to when it was made before."""
        pending = call.pending
        prepared = PreparedToolCall(
            call_id=pending.call_id,
            tool_id=call.tool.id if call.tool else None,
            tool_name=pending.tool_name,
            args=pending.args,
        )
        envelope = RuntimeEffectEnvelope(
            invocation=child_effect(
                call.parent, kind="tool_attempt", suffix=call.attempt_suffix(attempt)
            ),
            command=ToolAttemptCommand(
                call=prepared,
                attempt=attempt,
                max_attempts=max(attempt, call.max_attempts),
                execution_grant=call.granted,
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
            asked = _Asked(self._hooks, call, attempt, self._fitting)
            try:
                context = _context(call, attempt, services, cancel)
                made = await self._made(call, asked, context, services)
            finally:
                cancel.leave()
            return msgspec.structs.replace(
                made,
                plugin_state=asked.changes,
                duration_ms=round((self._clock.monotonic() - begun) * 1000),
                direct_calls=tuple(services.direct_calls),
                children=tuple(services.child_turns),
                emissions=tuple(services.emissions),
            )

        executor = executors.tool_attempt(execute)
        outcome = await self._controller.execute(envelope, executor)
        if not isinstance(outcome, ToolAttemptOutcome):
            return ToolAttemptOutcome(output=uncontained(outcome))
        call.direct_calls += outcome.direct_calls
        # Another attempt finds the same turns again, and they are paid once.
        call.children += [child for child in outcome.children if child not in call.children]
        # What an earlier attempt has emitted, another one finds.
        occurred = [each.occurrence_id for each in outcome.emissions]
        call.emitted += [each for each in occurred if each not in call.emitted]
        call.passed = call.passed or outcome.held_by is None
        if outcome.args is not None and outcome.held_by is None:
            call.args = outcome.args
        if self._hooks is not None:
            self._hooks.states.took_place(outcome.plugin_state)
        return outcome

    async def _made(
        self, call: Call, asked: "_Asked", context: ToolContext, services: AttemptServices
    ) -> ToolAttemptOutcome:
        """What one attempt comes to: what plugins say before it, the body, what they say after it."""
        refused = self._refusal(call)
        if refused is not None:
            return ToolAttemptOutcome(output=refused)
        args = call.args
        if not call.passed:
            before = await asked.before(args)
            if isinstance(before, Answered):
                output = await self._fitting(call, before.output)
                return ToolAttemptOutcome(output=output, shown=asked.shown(args, output))
            if isinstance(before, Held):
                return await self._held(call, asked, before)
            args = before.args
        answer: ToolOutput | PendingCompletion | None = self._misfit(call, args)
        if answer is None:
            answer = await self._run(call, args, context)
            if not isinstance(answer, PendingCompletion):
                answer = await asked.after(args, answer)
        made = self._outcome(call, context.attempt, answer, services.minted)
        if made.output is not None and made.retry_in_ms is None:
            made = msgspec.structs.replace(made, shown=asked.shown(args, made.output))
        return made if args is call.args else msgspec.structs.replace(made, args=args)

    async def _held(self, call: Call, asked: "_Asked", held: Held) -> ToolAttemptOutcome:
        """The call waits until the outside has spoken to a plugin."""
        try:
            # A plugin may hold a call again, and is then told something else by another key.
            key = await self._mint(f"{call.place}:held:{call.holds + 1}:{held.plugin_id}")
            limit = held.hold.timeout
            due = None if limit is None else self._clock.now_ms() + milliseconds(limit, "timeout")
        except StoreError:
            raise
        except LashError as error:
            return ToolAttemptOutcome(
                output=failed("internal", str(error.code), error.message, source="plugin")
            )
        untold = await asked.untold(held, key)
        if untold is not None:
            return ToolAttemptOutcome(output=untold)
        return ToolAttemptOutcome(
            pending=PendingCompletion(key=key, deadline_at_ms=due),
            held_by=held.plugin_id,
            args=None if held.args is call.args else held.args,
        )

    async def finalize(
        self, call: Call, attempt: int, before: ToolAttemptOutcome, output: ToolOutput
    ) -> ToolAttemptOutcome:
        """An answer from outside as the plugins let it stand; recorded, if any of them is asked."""
        if self._hooks is None or not self._hooks.after_any:
            return msgspec.structs.replace(before, output=output)
        pending = call.pending
        prepared = PreparedToolCall(
            call_id=pending.call_id,
            tool_id=call.tool.id if call.tool else None,
            tool_name=pending.tool_name,
            args=pending.args,
        )
        envelope = RuntimeEffectEnvelope(
            invocation=child_effect(
                call.parent, kind="tool_attempt", suffix=f"{call.suffix}:answered"
            ),
            command=ToolAttemptCommand(
                call=prepared,
                attempt=attempt,
                max_attempts=max(attempt, call.max_attempts),
                execution_grant=call.granted,
            ),
        )

        async def execute() -> EffectOutcome:
            check_stop(self._cancel)
            call.executed = True
            asked = _Asked(self._hooks, call, attempt, self._fitting)
            final = await asked.after(call.args, fitting(pending.tool_name, output))
            return ToolAttemptOutcome(
                output=final, shown=asked.shown(call.args, final), plugin_state=asked.changes
            )

        outcome = await self._controller.execute(envelope, executors.tool_attempt(execute))
        if not isinstance(outcome, ToolAttemptOutcome):
            return ToolAttemptOutcome(output=uncontained(outcome))
        self._hooks.states.took_place(outcome.plugin_state)
        return msgspec.structs.replace(outcome, duration_ms=before.duration_ms)

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
            attachments=self._attachments_of(call),
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
            begin_triggers=lambda emissions: self._begin_triggers(call.key, emissions),
        )

    def _refusal(self, call: Call) -> ToolOutput | None:
        """Why a call cannot be one of a tool, before anybody is asked about it."""
        tool, pending = call.tool, call.pending
        if tool is None:
            known = ", ".join(sorted(self._tools)) or "none"
            message = f"There is no tool called {pending.tool_name!r}. Available tools: {known}."
            return failed("unavailable", "tool_unavailable", message)
        if pending.args_error is not None:
            return failed("invalid_request", "invalid_tool_args", pending.args_error)
        return None

    def _misfit(self, call: Call, given: JsonObject) -> ToolOutput | None:
        """Why a tool cannot be run with these arguments."""
        if call.tool is None:
            return wrong_outcome()
        try:
            call.tool.check(msgspec.json.decode(encode(given)))
        except LashError as error:
            return failed("invalid_request", "invalid_tool_args", error.message)
        except Exception as error:  # noqa: BLE001  a validator of the tool's own may raise anything
            return failed("invalid_request", "invalid_tool_args", described(error))
        return None

    async def _run(
        self, call: Call, given: JsonObject, context: ToolContext
    ) -> ToolOutput | PendingCompletion:
        """Run the body once."""
        tool = call.tool
        if tool is None:
            return wrong_outcome()
        # A body may change what it is given; the journal and the next attempt must not see that.
        args: JsonObject = msgspec.json.decode(encode(given))
        self._seams("tool.before")
        with inside(context.session_id), produced_by_tool(tool.name):
            answer = await contained(tool, args, context, self._clock)
        self._seams("tool.after")
        return (
            answer if isinstance(answer, PendingCompletion) else await self._fitting(call, answer)
        )

    async def _fitting(self, call: Call, output: ToolOutput) -> ToolOutput:
        """An output as it is recorded: its attachments are stored before that."""
        name = call.pending.tool_name
        return fitting(name, await stored_output(name, output, self._attachments_of(call)))

    def _attachments_of(self, call: Call) -> SessionAttachmentStore | None:
        return self._attachments and self._attachments(call.parent.scope.session_id)


class _Asked:
    """Asks the plugins around one attempt, if there are any."""

    def __init__(self, hooks: ToolHooks | None, call: Call, attempt: int, fitting: Fitting) -> None:
        self._hooks = hooks
        self._fitting = fitting
        self._call = call
        self._attempt = attempt
        self._states = None if hooks is None else hooks.states.begin()

    @property
    def changes(self) -> Mapping[str, StateChange]:
        """What plugins remember from here on."""
        return {} if self._states is None else self._states.changes

    async def before(self, args: JsonObject) -> BeforeOutcome:
        """What is to become of the call before its tool is run."""
        if self._hooks is None or self._states is None:
            return Passed(args)
        return await self._hooks.before(self._hooked(), args, self._states)

    async def after(self, args: JsonObject, output: ToolOutput) -> ToolOutput:
        """What stands of an answer."""
        if self._hooks is None or self._states is None:
            return output
        left = await self._hooks.after(self._hooked(), args, output, self._states)
        return left if left is output else await self._fitting(self._call, left)

    async def untold(self, held: Held, key: AwaitEventKey) -> ToolOutput | None:
        """Tell the outside by which key it answers; why that cannot be, if it cannot."""
        if self._hooks is None:
            return wrong_outcome()
        return await self._hooks.untold(held, key)

    def shown(self, args: JsonObject, output: ToolOutput) -> str | None:
        """What the model is shown of an answer, if a plugin says it."""
        if self._hooks is None or self._states is None:
            return None
        return self._hooks.shown(self._hooked(), args, output, self._states)

    def _hooked(self) -> HookedCall:
        call = self._call
        return HookedCall(
            turn_id=call.parent.scope.turn_id or "",
            call_id=call.pending.call_id,
            tool=call.pending.tool_name,
            attempt=self._attempt,
            key=call.key,
            answers=call.answers,
            argument_projection=MATERIALIZE
            if call.tool is None
            else argument_projection_of(call.tool),
        )


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
        execution_binding=None if call.grant is None else call.grant.execution_binding,
    )
