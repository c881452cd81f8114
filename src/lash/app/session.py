"""A session as an application holds it: an id, and what can be done with it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self

from lash.app.results import HistoryMessage, TurnResult, history_message, turn_result
from lash.core.errors import LashError
from lash.core.text import is_utf8
from lash.core.tiers import DurabilityTier
from lash.runtime.engine import Engine
from lash.runtime.events import TurnEvent
from lash.runtime.followers import Ticket
from lash.sessions.model import AgentRef, SessionSummary, TextItem, TurnInput, messages_of


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

    def arrival(self, session_id: str) -> AbstractAsyncContextManager[None]:
        """Keeps the callers of one session in their order."""
        ...

    async def agent_for(self, session_id: str, name: str | None) -> AgentRef:
        """Which agent takes a session's new input."""
        ...


class Session:
    """One durable conversation. Handles are cheap; any number may name the same session."""

    def __init__(self, runtime: SessionHost, session_id: str, agent: str | None) -> None:
        self._runtime = runtime
        self._agent = agent
        self.id = session_id

    def __repr__(self) -> str:
        return f"Session({self.id!r})"

    async def run(
        self, prompt: str, *, turn_id: str | None = None, source_key: str | None = None
    ) -> TurnResult:
        """Accept `prompt` durably, drive the turn and return its committed result.

        Once accepted, the turn is finished whatever happens to this call or this process; cancelling
        the call does not cancel the turn.

        Args:
            prompt: What the user says.
            turn_id: Names the turn. Used again with the same prompt, the call attaches to that turn
                and returns its result.
            source_key: Your own idempotency key, such as a message id, with the same effect. It
                counts from the acceptance it came with: a key added to a turn that is known by its
                id is not kept.

        Raises:
            SessionBusyError: Another live process drives the session (retryable).
            ConflictError: `turn_input_conflict`, `session_agent_mismatch`.
            ReplayError: The turn's journal and the code disagree; the turn is parked.
            StoreError: The store did not take a write. What was accepted is kept.
            LashError: `turn_input_empty`, `turn_input_invalid`, `turn_id_invalid`,
                `source_key_invalid`, `agent_unknown`, `agent_ambiguous`, `runtime_closed`; the code
                of an earlier turn of the session that cannot go on.
        """
        ticket = await self._submit(prompt, turn_id, source_key, None)
        try:
            return turn_result(await ticket.record(), ticket.durability)
        finally:
            ticket.leave()

    def stream(
        self, prompt: str, *, turn_id: str | None = None, source_key: str | None = None
    ) -> "LiveTurn":
        """Like `run`, but tells what happens meanwhile.

        Use it as `async with session.stream(…) as live`, iterate over `live`, then
        `await live.result()`. Leaving the block early stops the listening, not the turn.
        """
        return LiveTurn(self, prompt, turn_id, source_key)

    async def history(self) -> Sequence[HistoryMessage]:
        """The committed messages, oldest first. A running turn is not part of it."""
        path = await self._runtime.engine.store.load_path(self.id)
        return [history_message(message) for message in messages_of(path)]

    async def turns(self) -> Sequence[TurnResult]:
        """The committed turns, oldest first."""
        records = await self._runtime.engine.store.list_turns(self.id)
        return [turn_result(record, self._runtime.durability) for record in records]

    async def info(self) -> SessionSummary | None:
        """The session in brief, or None when nothing was ever accepted in it."""
        sessions = await self._runtime.engine.store.list_sessions()
        return next((item for item in sessions if item.session_id == self.id), None)

    async def _submit(
        self,
        prompt: str,
        turn_id: str | None,
        source_key: str | None,
        live: "LiveTurn | None",
    ) -> Ticket:
        _check_prompt(prompt)
        if turn_id is not None:
            check_id(turn_id, "turn_id_invalid", "A turn id")
        if source_key is not None:
            check_id(source_key, "source_key_invalid", "A source key")
        async with self._runtime.arrival(self.id):
            # Callers of one session are accepted in the order in which they came, although one who
            # named no agent has to look it up first.
            agent = await self._runtime.agent_for(self.id, self._agent)
        return await self._runtime.engine.submit(
            self.id,
            agent,
            TurnInput(items=(TextItem(text=prompt),)),
            turn_id=turn_id,
            source_key=source_key,
            observer=live.hear if live is not None else None,
        )


def check_id(value: object, code: str, what: str) -> None:
    """Refuse an id that could not be stored or told from another.

    Raises:
        LashError: With `code`.
    """
    if not isinstance(value, str):
        raise LashError(code, f"{what} must be text, not {type(value).__name__}.")
    if not value.strip():
        raise LashError(code, f"{what} must not be blank; nothing was accepted. Give it a name.")
    if not is_utf8(value):
        raise LashError(code, f"{what} holds text that UTF-8 cannot carry: {value!r}.")


def _check_prompt(prompt: object) -> None:
    if not isinstance(prompt, str):
        raise LashError(
            "turn_input_invalid",
            f"The prompt must be text, not {type(prompt).__name__}; nothing was accepted.",
        )
    if not prompt.strip():
        raise LashError(
            "turn_input_empty",
            "The prompt is empty; nothing was accepted. Say what the agent should do.",
        )
    if not is_utf8(prompt):
        raise LashError(
            "turn_input_invalid",
            "The prompt holds text that UTF-8 cannot carry (an unpaired surrogate); nothing was "
            "accepted. Decode the text properly, or replace such characters.",
        )


class LiveTurn:
    """A turn that is being followed."""

    def __init__(
        self, session: Session, prompt: str, turn_id: str | None, source_key: str | None
    ) -> None:
        self._session = session
        self._submission = (prompt, turn_id, source_key)
        self._events: asyncio.Queue[TurnEvent | None] = asyncio.Queue()
        self._ticket: Ticket | None = None

    @property
    def turn_id(self) -> str:
        """The turn's id."""
        return self._entered().turn_id

    async def __aenter__(self) -> Self:
        if self._ticket is not None:
            raise LashError(
                "stream_not_entered", "A stream is entered once; ask the session for another one."
            )
        self._ticket = await self._session._submit(*self._submission, self)  # noqa: SLF001  one idea in two classes
        self._ticket.when_done(self._end)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ticket is not None:
            self._ticket.observer = None
        self._end()

    async def __aiter__(self) -> AsyncIterator[TurnEvent]:
        self._entered()
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)  # a second loop ends at once

    async def result(self) -> TurnResult:
        """The committed turn; see `Session.run` for what may be raised."""
        ticket = self._entered()
        return turn_result(await ticket.record(), ticket.durability)

    def hear(self, event: TurnEvent) -> None:
        """Take in an event. Never blocks, so that a slow reader does not hold up the turn."""
        self._events.put_nowait(event)

    def _end(self) -> None:
        self._events.put_nowait(None)

    def _entered(self) -> Ticket:
        if self._ticket is None:
            raise LashError(
                "stream_not_entered",
                "Use the stream inside `async with session.stream(…) as live`.",
            )
        return self._ticket
