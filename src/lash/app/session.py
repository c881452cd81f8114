"""A session as an application holds it: an id, and what can be done with it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self, TypeVar, overload

from lash.app.attachments import SessionAttachments
from lash.app.live import LiveTurn, TypedLiveTurn
from lash.app.plugins import SessionPlugin
from lash.app.prompts import Prompt, Said
from lash.app.queued import QueuedInput
from lash.app.results import (
    HistoryMessage,
    TurnResult,
    TypedTurnResult,
    history_message,
    turn_result,
    typed_result,
)
from lash.app.session_processes import SessionProcesses
from lash.app.session_tools import (
    STALE,
    SessionTools,
    change,
    check_generation,
    replacement,
    session_tools,
)
from lash.app.session_triggers import SessionTriggers
from lash.app.stopping import CancelReceipt, receipt_of
from lash.core.cancel import Cancellation
from lash.core.clock import IdSource
from lash.core.durations import milliseconds
from lash.core.errors import LashError
from lash.core.json import JsonObject, JsonValue, to_json
from lash.core.tiers import DurabilityTier
from lash.llm.direct import output_contract
from lash.runtime.agents import AgentDefinition
from lash.runtime.checks import check_id, check_storable, check_turn_id
from lash.runtime.engine import Engine
from lash.runtime.events import TurnEvent
from lash.runtime.followers import Ticket
from lash.runtime.observing import Observation
from lash.sessions.ingress import (
    ActiveTurn,
    CancelInputOutcome,
    CancelTarget,
    CommandWork,
    EnqueueRequest,
    Ingress,
    NextTurn,
    Payload,
    UserInput,
)
from lash.sessions.model import (
    AgentRef,
    CompactContext,
    ConfigureSession,
    RunOperation,
    SessionCommand,
    SessionHead,
    SessionSummary,
    TurnInput,
    messages_of,
)
from lash.sessions.stopping import CancelRequest
from lash.sessions.tools import ChangeTools
from lash.sessions.usage import SessionUsageReport, report
from lash.tools.catalog import ToolState
from lash.turn.driver import CheckpointKind
from lash.turn.prompt import PromptLayer

T = TypeVar("T")


class SessionHost(Protocol):
    """What a session needs of the runtime it belongs to."""

    @property
    def engine(self) -> Engine:
        """The drivers; raises `runtime_closed` outside the runtime's `async with` block."""
        ...

    @property
    def durability(self) -> DurabilityTier:
        """How much survives the process."""
        ...

    @property
    def ids(self) -> IdSource:
        """Where new ids come from."""
        ...

    def arrival(self, session_id: str) -> AbstractAsyncContextManager[None]:
        """Keeps the callers of one session in their order."""
        ...

    async def agent_for(
        self, session_id: str, name: str | None, *, recorded_will_do: bool = False
    ) -> AgentRef:
        """Which agent takes a session's new input."""
        ...

    def provider_of(self, model: str) -> str:
        """The provider that serves a model, by name; raises what resolving the model raises."""
        ...

    def opened(self, session_id: str, change: int) -> int:
        """Count the handles that are held open; how many there are now."""
        ...

    async def fork(self, source_id: str, new_id: str, node_id: str | None) -> "Session":
        """A new session that shares the history of another one."""
        ...


class Session:
    """One durable conversation. Handles are cheap; any number may name the same session.

    Used as `async with runtime.session(id) as session`, the handle counts as open until the block is
    left, which keeps others from parking or closing the session meanwhile.
    """

    def __init__(self, runtime: SessionHost, session_id: str, agent: str | None) -> None:
        self._runtime = runtime
        self._agent = agent
        self._open = False
        self._closed = False
        self.id = session_id

    def __repr__(self) -> str:
        return f"Session({self.id!r})"

    async def __aenter__(self) -> Self:
        self._check_open()
        self._hold(hold=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hold(hold=False)

    # --- turns ----------------------------------------------------------------------------------

    @overload
    async def run(
        self,
        prompt: Prompt,
        *,
        turn_id: str | None = None,
        source_key: str | None = None,
        prompt_layer: PromptLayer | None = None,
    ) -> TurnResult: ...

    @overload
    async def run(
        self,
        prompt: Prompt,
        *,
        output: type[T],
        turn_id: str | None = None,
        source_key: str | None = None,
        prompt_layer: PromptLayer | None = None,
    ) -> TypedTurnResult[T]: ...

    @overload
    async def run(
        self,
        prompt: Prompt,
        *,
        output: JsonObject,
        turn_id: str | None = None,
        source_key: str | None = None,
        prompt_layer: PromptLayer | None = None,
    ) -> TypedTurnResult[JsonValue]: ...

    async def run(
        self,
        prompt: Prompt,
        *,
        output: object = None,
        turn_id: str | None = None,
        source_key: str | None = None,
        prompt_layer: PromptLayer | None = None,
    ) -> TurnResult:
        """Accept `prompt` durably, drive the turn and return its committed result.

        Once accepted, the turn is finished whatever happens to this call or this process; cancelling
        the call does not cancel the turn. If the turn hands its task to another agent frame, the
        result is that of the turn that finished it.

        Args:
            prompt: What the user says: text, or a list of text and attachments in order. An attachment
                is a reference that `attachments.put` gave, the `Path` of a file, or a
                `lash.InlineSource`, `ExternalUrlSource` or `ProviderFileSource`. Files and bytes are
                stored before anything is accepted, and stay as long as the input waits.
            output: What the answer is to be: a type, `dict` for any JSON object, or a JSON schema.
                An answer that does not fit is sent back to the model, twice at most; the result's
                `output` is the answer, read.
            turn_id: Names the turn. Used again with the same prompt, the call attaches to that turn
                and returns its result.
            source_key: Your own idempotency key, such as a message id, with the same effect. It
                counts from the acceptance it came with: a key added to a turn that is known by its
                id is not kept.
            prompt_layer: What this turn says about the system prompt, on top of agent and session.

        Raises:
            SessionBusyError: Another live process drives the session (retryable).
            ConflictError: `turn_input_conflict`, `session_agent_mismatch`, `session_deleted`,
                `provider_mismatch`.
            ReplayError: The turn's journal and the code disagree; the turn is parked.
            StoreError: The store did not take a write. What was accepted is kept.
            ConfigurationError: `direct_request_invalid`, `type_without_json`: the output cannot be
                asked for.
            LashError: `turn_input_empty`, `turn_input_invalid`, `turn_id_invalid`,
                `source_key_invalid`, `agent_unknown`, `agent_ambiguous`, `runtime_closed`,
                `session_closed`; `attachment_not_found`, for a reference that the session does not
                hold, and what putting an attachment raises; the code of an earlier turn of the session that cannot go on.
        """
        contract = output_contract(output)
        said = Said(prompt, contract, prompt_layer)
        ticket = await self._submit(said, turn_id, source_key, None)
        try:
            result = turn_result(await ticket.record(), ticket.durability)
        finally:
            ticket.leave()
        return result if output is None else typed_result(result, contract.read)

    @overload
    def stream(
        self,
        prompt: Prompt,
        *,
        turn_id: str | None = None,
        source_key: str | None = None,
        prompt_layer: PromptLayer | None = None,
    ) -> LiveTurn: ...

    @overload
    def stream(
        self,
        prompt: Prompt,
        *,
        output: type[T],
        turn_id: str | None = None,
        source_key: str | None = None,
        prompt_layer: PromptLayer | None = None,
    ) -> TypedLiveTurn[T]: ...

    @overload
    def stream(
        self,
        prompt: Prompt,
        *,
        output: JsonObject,
        turn_id: str | None = None,
        source_key: str | None = None,
        prompt_layer: PromptLayer | None = None,
    ) -> TypedLiveTurn[JsonValue]: ...

    def stream(
        self,
        prompt: Prompt,
        *,
        output: object = None,
        turn_id: str | None = None,
        source_key: str | None = None,
        prompt_layer: PromptLayer | None = None,
    ) -> LiveTurn:
        """Like `run`, but tells what happens meanwhile.

        Use it as `async with session.stream(…) as live`, iterate over `live`, then
        `await live.result()`. Leaving the block before the turn's end stops the turn; see `LiveTurn`.
        """
        contract = output_contract(output)

        async def submit(hear: Callable[[TurnEvent], None]) -> Ticket:
            said = Said(prompt, contract, prompt_layer)
            return await self._submit(said, turn_id, source_key, hear)

        async def stop(followed: str) -> object:
            return await self.cancel(followed, origin="stream", reason="the stream was closed")

        if output is None:
            return LiveTurn(submit, stop)
        return TypedLiveTurn[object](submit, stop, contract.read)

    async def wait(
        self,
        turn_id: str,
        timeout: float | None = None,  # noqa: ASYNC109  part of the face
    ) -> TurnResult:
        """The committed turn of an id, whichever process drives it; waits for its end.

        Args:
            turn_id: The turn.
            timeout: Seconds to wait at most; None for as long as it takes.

        Raises:
            LashError: `turn_unknown`, `turn_id_invalid`, `duration_invalid`; `turn_terminal_await_timeout` (retryable, the turn goes on);
                what `run` raises for a turn that cannot go on.
        """
        check_id(turn_id, "turn_id_invalid", "A turn id")
        seconds = None if timeout is None else milliseconds(timeout, "The timeout of wait") / 1000
        ticket = await self._engine.arrivals.attach(self.id, turn_id, None)
        try:
            async with asyncio.timeout(seconds):
                return turn_result(await ticket.record(), ticket.durability)
        except TimeoutError as error:
            raise LashError(
                "turn_terminal_await_timeout",
                f"Turn {turn_id!r} had not come to its end after {timeout} s; it goes on.",
                turn_id=turn_id,
            ) from error
        finally:
            ticket.leave()

    async def cancel(
        self,
        turn_id: str | None = None,
        *,
        request_id: str | None = None,
        origin: str | None = None,
        reason: str | None = None,
    ) -> CancelReceipt:
        """Ask a turn to stop, whichever process drives it. It is committed as cancelled.

        The model call under way is dropped, tools get 50 ms to end by themselves, what was done
        before stays in the history. A request that comes after the turn's end changes nothing and
        says so; one that comes before the turn holds for the turn once it comes.

        Args:
            turn_id: The turn; by default the one that comes first now.
            request_id: Your name for the request; shown in the turn's outcome.
            origin: Who asks.
            reason: Why.

        Raises:
            LashError: `turn_id_invalid`, `invalid_turn_cancel_request`.
        """
        engine = self._engine
        if turn_id is None:
            turns = await engine.store.list_open_turns(self.id)
            if not turns:
                return receipt_of(None, self._runtime.durability)
            turn_id = turns[0].turn_id
        check_id(turn_id, "turn_id_invalid", "A turn id")
        if request_id is not None:
            check_id(request_id, "invalid_turn_cancel_request", "A request id")
        cancellation = check_storable(
            Cancellation(
                request_id=request_id or self._runtime.ids.new("cancel"),
                origin=origin,
                reason=reason,
            ),
            "invalid_turn_cancel_request",
            "The request to stop",
        )
        request = CancelRequest(session_id=self.id, turn_id=turn_id, cancellation=cancellation)
        return receipt_of(await engine.arrivals.request_cancel(request), self._runtime.durability)

    # --- input for later ------------------------------------------------------------------------

    async def enqueue(
        self,
        prompt: Prompt,
        *,
        source_key: str | None = None,
        prompt_layer: PromptLayer | None = None,
    ) -> QueuedInput:
        """Queue input for the next turn, also while another process drives the session.

        The prompt is text, or a list of text and attachments as for `run`.

        Input that waits together is taken together, by one turn. The turn is made and driven without
        anybody waiting for it; `await queued.result()` waits.

        Raises:
            ConflictError: `turn_input_conflict`, `session_agent_mismatch`, `session_deleted`.
            LashError: `turn_input_empty`, `turn_input_invalid`, `source_key_invalid`.
        """
        said = Said(prompt, output_contract(None), prompt_layer)
        return await self._enqueue(said, NextTurn(), source_key)

    async def inject(
        self,
        prompt: Prompt,
        *,
        turn_id: str | None = None,
        boundary: CheckpointKind = "after_work",
        source_key: str | None = None,
    ) -> QueuedInput:
        """Bring input into the turn that runs, in this process or another.

        The turn takes it at its next checkpoint: after its tools have run, or before it comes to its
        end. What it does not take any more goes to the next turn; nothing is lost.

        Args:
            prompt: What the user says: text, or a list of text and attachments as for `run`.
            turn_id: The turn; by default the one that comes first now, or the next if there is none.
            boundary: The earliest checkpoint that may take it: `after_work`, or `before_completion`
                for what is only to be said once the model thinks it is done.
            source_key: Your own idempotency key.

        Raises:
            ConflictError: `turn_input_conflict`, `session_agent_mismatch`, `session_deleted`.
            LashError: `turn_unknown`, `turn_input_empty`, `turn_input_invalid`, `source_key_invalid`.
        """
        said = Said(prompt, output_contract(None), None)
        if turn_id is not None:
            check_id(turn_id, "turn_id_invalid", "A turn id")
        ingress = ActiveTurn(turn_id=turn_id or "", min_boundary=boundary)
        check_storable(ingress, "turn_input_invalid", "Where the input is to enter")
        return await self._enqueue(said, ingress, source_key)

    async def pending(self) -> Sequence[QueuedInput]:
        """Input that waits and that no turn has taken, in order."""
        items = await self._engine.store.list_queue(self.id)
        return [
            QueuedInput(lambda: self._engine, item)
            for item in items
            if isinstance(item.payload, UserInput)
        ]

    async def cancel_pending(
        self, *input_ids: str, source_keys: Sequence[str] = ()
    ) -> Sequence[CancelInputOutcome]:
        """Take input back before a turn takes it, all in one transaction; an outcome for each."""
        if isinstance(source_keys, str):
            source_keys = (source_keys,)  # one key, and not its letters
        for value in (*input_ids, *source_keys):
            check_id(value, "source_key_invalid", "The id or source key of queued input")
        targets = [CancelTarget(kind="input_id", value=item) for item in input_ids]
        targets += [CancelTarget(kind="source_key", value=item) for item in source_keys]
        return await self._engine.arrivals.cancel_items(self.id, targets)

    async def cancel_pending_from(self, input_id: str) -> Sequence[CancelInputOutcome]:
        """Take back an input and everything that was queued after it, in one transaction.

        Raises:
            LashError: `turn_input_unknown`.
        """
        check_id(input_id, "source_key_invalid", "The id of queued input")
        anchor = CancelTarget(kind="input_id", value=input_id)
        outcomes = await self._engine.arrivals.cancel_items_from(self.id, anchor)
        if outcomes is None:
            raise LashError(
                "turn_input_unknown", f"Session {self.id!r} has no queued input {input_id!r}."
            )
        return outcomes

    # --- background work ------------------------------------------------------------------------

    @property
    def attachments(self) -> SessionAttachments:
        """Files and pictures of the session."""
        return SessionAttachments(lambda: self._engine, self.id)

    @property
    def processes(self) -> SessionProcesses:
        """The session's background work: what was started in its name, and what it was handed."""
        return SessionProcesses(
            lambda: self._engine,
            self.id,
            lambda: self._runtime.agent_for(self.id, self._agent),
            self._runtime.ids.new,
        )

    @property
    def triggers(self) -> SessionTriggers:
        """What the session has subscribed to; it ends with the session."""
        return SessionTriggers(lambda: self._engine, self.id)

    def plugin(self, plugin_id: str) -> SessionPlugin:
        """One plugin of the session's agent, to be asked by its operations' names.

        Used as `await session.plugin("notes").call("add", {"note": "Ring back."})`.
        """

        async def queue(command: RunOperation, source_key: str | None) -> QueuedInput:
            if source_key is not None:
                check_id(source_key, "source_key_invalid", "A source key")
            agent = await self._arriving(recorded_will_do=True)
            work = CommandWork(command=command)
            return await self._queue(work, agent, "operation", source_key=source_key)

        return SessionPlugin(
            plugin_id,
            self.id,
            lambda: self._engine,
            arriving=lambda: self._arriving(recorded_will_do=True),
            queue=queue,
            stop=self.cancel,
        )

    # --- the session itself ---------------------------------------------------------------------

    async def compact(self, instructions: str = "") -> TurnResult:
        """Have the model summarise the conversation; from then on it is shown the summary instead.

        A new agent frame begins with the summary. Nothing is deleted: `history(whole=True)` has it
        all. Runs once what was accepted before is done. When the model gives no summary, the turn is
        stopped and the conversation stays as it is.

        Raises as `run` does.
        """
        command = CompactContext(instructions=instructions)
        return await self._command(
            check_storable(command, "session_command_invalid", "What the summary is to keep")
        )

    async def configure(
        self,
        *,
        model: str | None = None,
        prompt: PromptLayer | None = None,
        plugins: Mapping[str, JsonObject | None] | None = None,
    ) -> TurnResult:
        """Change what the session says about its model, prompt and plugins, from the next turn on.

        Args:
            model: A `provider:model` string; "" to go back to the agent's own; None to leave it. It
                may be another provider's.
            prompt: The session's own prompt layer, between those of agent and turn; None to leave it.
            plugins: What plugins find in their `session.options`, by their ids; None for one takes it
                away. Plugins that are not named keep what they have.

        Raises:
            ConfigurationError: What resolving the model raises; nothing was changed.
            LashError: `value_not_json`, `session_command_invalid`.
        """
        provider_id = self._runtime.provider_of(model) if model else None
        told = to_json(plugins or {})
        command = ConfigureSession(
            model=model,
            provider_id=provider_id,
            prompt=prompt,
            plugin_options=told if isinstance(told, dict) else {},
        )
        return await self._command(
            check_storable(command, "session_command_invalid", "The configuration")
        )

    async def tools(self) -> SessionTools:
        """The session's tools as they are here and now: which a model is offered, and which not and why.

        Tools that the session speaks of and nobody has here are in it as orphans; they come back as they
        were left where somebody has them.

        Raises:
            ConfigurationError: `agent_unknown`, `agent_ambiguous`. LashError: `plugin_failed`.
        """
        return session_tools(*await self._standing())

    async def configure_tools(
        self,
        *,
        members: Mapping[str, bool] | None = None,
        only: Sequence[str] | None = None,
        hidden: Sequence[str] | None = None,
        generation: int | None = None,
    ) -> SessionTools:
        """Take tools in and out, by their ids, from the next turn on. Runs once what came before is done.

            await session.configure_tools(members={"tool:refund": False}, hidden=["tool:delete"])

        Forks begin with what their session says, and so do child sessions.

        Args:
            members: Tools that are to take part, or not. What is not named stays.
            only: The only tools that are to take part, in place of all that was said so far; none of them
                goes back to those of the agent.
            hidden: All tools that are never called, whoever has them now or later.
            generation: Change nothing unless the tools are at this generation.

        Returns:
            The tools after the change.

        Raises:
            ConflictError: `tool_catalog_generation_mismatch`; nothing was changed.
            ConfigurationError: `tool_catalog_invalid`: nobody has one of the tools, or several do.
        """
        agent, head = await self._standing()
        wanted = change(
            agent,
            head.tools,
            members=members or {},
            only=only,
            hidden=hidden,
            generation=generation,
        )
        return await self._change_tools(wanted)

    async def apply_tools(self, state: ToolState) -> SessionTools:
        """Have exactly the tools of a snapshot that was read with `tools()`, and changed perhaps.

        Raises:
            ConflictError: `tool_catalog_generation_mismatch`: they were changed since; nothing was changed.
            ConfigurationError: `tool_catalog_invalid`: a tool that is no orphan is had by no source or by
                several, an id or a name is there twice.
        """
        agent, head = await self._standing()
        return await self._change_tools(replacement(agent, head.tools, state))

    async def fork(self, new_id: str, *, at: str | None = None) -> "Session":
        """A new session that begins with this one's history, up to a message.

        The history is shared, not copied, and neither session sees what the other adds.

        Args:
            new_id: The new session; an id that was never used.
            at: The message it begins after (`HistoryMessage.id`); the newest by default.

        Raises:
            ConflictError: `fork_session_exists`, `session_deleted`.
            LashError: `session_unknown`, `fork_point_not_retained`, `fork_point_invalid`,
                `session_id_invalid`.
        """
        check_id(new_id, "session_id_invalid", "A session id")
        self._check_open()
        return await self._runtime.fork(self.id, new_id, at)

    async def park(self) -> "ParkedSession":
        """Let go of a session that nothing is under way in: its memory, and this handle.

        Raises:
            LashError: `session_still_in_use`: a turn runs, somebody waits for one, or another handle
                is open; nothing was changed.
        """
        self._let_go("parked")
        return ParkedSession(self.id, self._agent, self._runtime)

    async def close(self) -> None:
        """Let go of the session for good, as far as this handle is concerned. Raises as `park`."""
        self._let_go("closed")

    # --- looking --------------------------------------------------------------------------------

    def observe(self, cursor: str | None = None) -> Observation:
        """What happens in the session, across turns and processes, from a snapshot on.

            async with session.observe() as items:
                async for item in items: ...

        Yields `Snapshot`, `Event` and `Gap` items, each with a cursor. With a cursor of an item seen
        before, it goes on behind that item, or with a `Gap` and a fresh snapshot if too much has
        happened since. `lash.LiveView` folds items into what is to be shown.

        Raises:
            LashError: `session_cursor_malformed`, `session_cursor_wrong_session`.
        """
        if cursor is not None and not isinstance(cursor, str):
            raise LashError(
                "session_cursor_malformed",
                f"A cursor is text that an observation gave, not {type(cursor).__name__}.",
            )
        return self._engine.observations.observe(self.id, cursor)

    async def history(self, *, whole: bool = False) -> Sequence[HistoryMessage]:
        """The committed messages, oldest first. A running turn is not part of it.

        Args:
            whole: Also what earlier agent frames hold, such as what was said before a summary.
        """
        path = await self._engine.store.load_path(self.id, whole=whole)
        return [history_message(message) for message in messages_of(path)]

    async def turns(self) -> Sequence[TurnResult]:
        """The committed turns, oldest first."""
        records = await self._engine.store.list_turns(self.id)
        return [turn_result(record, self._runtime.durability) for record in records]

    async def usage(self) -> SessionUsageReport:
        """What the session used, by source and model; its child sessions are booked as `child`."""
        return report(await self._engine.store.list_usage(self.id))

    async def info(self) -> SessionSummary | None:
        """The session in brief, or None when nothing was ever accepted in it."""
        return await self._engine.store.load_summary(self.id)

    # --- underneath -----------------------------------------------------------------------------

    @property
    def _engine(self) -> Engine:
        self._check_open()
        return self._runtime.engine

    def _check_open(self) -> None:
        if self._closed:
            raise LashError(
                "session_closed",
                f"This handle on session {self.id!r} was closed; take a new one from the runtime.",
            )

    async def _arriving(self, *, recorded_will_do: bool = False) -> AgentRef:
        """Which agent takes what comes now.

        Callers of one session come in the order in which they called, although one who named no agent has
        to look it up first.
        """
        async with self._runtime.arrival(self.id):
            return await self._runtime.agent_for(
                self.id, self._agent, recorded_will_do=recorded_will_do
            )

    async def _arriving_with(
        self, said: Said, *, recorded_will_do: bool = False
    ) -> tuple[AgentRef, TurnInput]:
        """The same, with the input as it is accepted: what is attached to it is stored before."""
        async with self._runtime.arrival(self.id):
            agent = await self._runtime.agent_for(
                self.id, self._agent, recorded_will_do=recorded_will_do
            )
            return agent, await said.stored(self._engine.attachments.of_session(self.id))

    async def _submit(
        self,
        said: Said,
        turn_id: str | None,
        source_key: str | None,
        hear: Callable[[TurnEvent], None] | None,
    ) -> Ticket:
        if turn_id is not None:
            check_turn_id(turn_id)
        if source_key is not None:
            check_id(source_key, "source_key_invalid", "A source key")
        engine = self._engine
        agent, turn_input = await self._arriving_with(said)
        return await engine.arrivals.submit(
            self.id, agent, turn_input, turn_id=turn_id, source_key=source_key, observer=hear
        )

    async def _enqueue(self, said: Said, ingress: Ingress, source_key: str | None) -> QueuedInput:
        if source_key is not None:
            check_id(source_key, "source_key_invalid", "A source key")
        agent, turn_input = await self._arriving_with(said, recorded_will_do=True)
        payload = UserInput(input=turn_input)
        return await self._queue(payload, agent, "input", ingress, source_key)

    async def _standing(self) -> tuple[AgentDefinition, SessionHead]:
        """Whose session it is here, and where it stands."""
        engine = self._engine
        ref = await self._runtime.agent_for(self.id, self._agent)
        head = await engine.store.load_head(self.id)
        agent = engine.agents.find(ref) or engine.agents.newest(ref.name)
        return agent, head or SessionHead(session_id=self.id, agent=ref, created_at_ms=0)

    async def _change_tools(self, wanted: ChangeTools) -> SessionTools:
        command = check_storable(
            ConfigureSession(tools=wanted), "session_command_invalid", "The change of tools"
        )
        result = await self._command(command)
        agent, head = await self._standing()
        if not result.is_success and result.issues and result.issues[0].code == STALE:
            # Somebody else came in between, while the command waited for its turn.
            check_generation(wanted.expected, head.tools)
        result.raise_for_outcome()
        return session_tools(agent, head)

    async def _command(self, command: SessionCommand) -> TurnResult:
        agent = await self._arriving(recorded_will_do=True)
        return await (await self._queue(CommandWork(command=command), agent, "command")).result()

    async def _queue(
        self,
        payload: Payload,
        agent: AgentRef,
        name: str,
        ingress: Ingress = NextTurn(),  # noqa: B008  a value
        source_key: str | None = None,
    ) -> QueuedInput:
        """Put something into the session's queue, also where another process has the agent."""
        engine = self._engine
        request = EnqueueRequest(
            session_id=self.id,
            item_id=self._runtime.ids.new(name),
            payload=payload,
            ingress=ingress,
            agent=agent,
            source_key=source_key,
            provider_id=engine.agents.provider_of(agent),
        )
        return QueuedInput(lambda: self._engine, await engine.arrivals.enqueue(request))

    def _hold(self, *, hold: bool) -> None:
        if hold != self._open:
            self._open = hold
            self._runtime.opened(self.id, 1 if hold else -1)

    def _let_go(self, what: str) -> None:
        engine = self._engine
        others = self._runtime.opened(self.id, 0) - self._open
        if others or engine.in_use(self.id):
            why = "another handle on it is open" if others else "a turn of it is under way"
            raise LashError(
                "session_still_in_use",
                f"Session {self.id!r} cannot be {what}: {why}. Nothing was changed.",
                session_id=self.id,
            )
        engine.histories.forget(self.id)
        self._hold(hold=False)
        self._closed = True


class ParkedSession:
    """A session that was let go of. `resume` takes it up again; `Runtime.resume` in another runtime.

    Attributes:
        session_id: The session.
        agent: The agent it was asked for with, if it was.
    """

    def __init__(self, session_id: str, agent: str | None, runtime: SessionHost) -> None:
        self.session_id = session_id
        self.agent = agent
        self._runtime = runtime

    def __repr__(self) -> str:
        return f"ParkedSession({self.session_id!r})"

    def resume(self) -> Session:
        """A handle on the session again."""
        return Session(self._runtime, self.session_id, self.agent)
