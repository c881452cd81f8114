"""What hooks are told, and what they may do besides answering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lash.core.errors import LashError
from lash.core.json import Data, JsonObject, JsonValue, to_json
from lash.effects.outcomes import QueuedPrompt
from lash.effects.waits.model import Resolution
from lash.llm.usage import Usage
from lash.tools.manifest import MATERIALIZE, ArgumentProjection
from lash.turn.driver import CheckpointKind
from lash.turn.messages import Role
from lash.turn.outcome import TurnOutcome


class StateKeeper(Protocol):
    """Keeps what a plugin has to remember of a session."""

    def get(self, plugin_id: str) -> JsonValue:
        """What the plugin remembers; None at first."""
        ...

    def put(self, plugin_id: str, state: JsonValue) -> None:
        """Remember this. It is recorded with the effect that the hook belongs to.

        Raises:
            LashError: `value_not_json`.
        """
        ...

    def emit(self, plugin_id: str, name: str, payload: JsonValue) -> None:
        """Tell those who watch the session; nothing is kept."""
        ...


@dataclass(frozen=True, slots=True)
class PluginSession:
    """A session, as one plugin sees it.

    Attributes:
        session_id: The session.
        agent: Whose session it is, by name.
        plugin_id: The plugin.
        options: What the session was given for this plugin.
    """

    session_id: str
    agent: str
    plugin_id: str
    options: JsonObject = field(default_factory=dict)
    _keeper: StateKeeper | None = field(default=None, repr=False)

    @property
    def state(self) -> Any:
        """What this plugin remembers of the session, as JSON; None at first.

        It is kept with the session: what a hook remembers is recorded together with whatever the hook
        belongs to, so that a turn that is resumed remembers the same, and a fork begins with it.
        """
        return None if self._keeper is None else self._keeper.get(self.plugin_id)

    def remember(self, state: object) -> None:
        """Remember this of the session from here on.

        Raises:
            LashError: `value_not_json`; `plugin_state_read_only` where nothing is recorded.
        """
        _writable(self._keeper, self.plugin_id).put(self.plugin_id, to_json(state))

    def emit(self, name: str, payload: object = None) -> None:
        """Tell those who watch the session, live; nothing is kept.

        Raises:
            LashError: `value_not_json`.
        """
        _writable(self._keeper, self.plugin_id).emit(self.plugin_id, name, to_json(payload))


@dataclass(frozen=True, slots=True)
class OperationSession(PluginSession):
    """A session, as a command or a task of a plugin sees it."""

    _queued: list[QueuedPrompt] = field(default_factory=list, repr=False)

    def queue_turn(self, prompt: str, *, source_key: str | None = None) -> None:
        """Have the session take a turn once this is done, together with what is remembered or not at all.

        Args:
            prompt: What is said, as if the user had said it.
            source_key: An idempotency key; one that was used in the session before queues nothing.
        """
        self._queued.append(QueuedPrompt(prompt=prompt, source_key=source_key))


@dataclass(frozen=True, slots=True)
class TurnHook:
    """A turn, as its hooks see it.

    Attributes:
        session: The session.
        turn_id: The turn.
        iteration: How many model calls it has made.
        input: What the user said, if anything.
    """

    session: PluginSession
    turn_id: str
    iteration: int
    input: str = ""


class HistoryEntry(Data):
    """A message of the conversation, as far as it matters what a model is shown of it.

    Attributes:
        id: The message.
        role: Whose it is.
        size: How many bytes of JSON it is to a model. A text among its attachments counts by its bytes,
            a picture or a document as 6,400.
        begins: Whether what is shown may begin here: the user says something, and no tool call of
            before is without its answer.
    """

    id: str
    role: Role
    size: int
    begins: bool


@dataclass(frozen=True, slots=True)
class HistoryHook:
    """The committed conversation that a turn goes on from, as its hook sees it.

    Attributes:
        session: The session.
        turn_id: The turn.
        messages: The conversation, oldest first, without what the turn itself adds. A summary that it
            begins with is always shown.
        context_window_tokens: The model's window, where it is known.
    """

    session: PluginSession
    turn_id: str
    messages: Sequence[HistoryEntry]
    context_window_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class CheckpointHook:
    """A place in a turn where something may be put in.

    Attributes:
        session: The session.
        turn_id: The turn.
        checkpoint: Which place.
        iteration: How many model calls it has made.
    """

    session: PluginSession
    turn_id: str
    checkpoint: CheckpointKind
    iteration: int


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A committed turn.

    Attributes:
        session: The session; nothing can be remembered any more.
        turn_id: The turn.
        outcome: How it ended.
        text: Its final answer, or "".
        usage: What it used.
    """

    session: PluginSession
    turn_id: str
    outcome: TurnOutcome
    text: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class ToolCallHook:
    """A tool call, as its hooks see it.

    Attributes:
        session: The session.
        turn_id: The turn.
        call_id: The model's call.
        tool: The tool, by name.
        args: The arguments as they stand: the model's, or what an earlier plugin has put in their
            place. Before the tool they are not checked yet.
        attempt: Which attempt this is, from 1.
        idempotency_key: The same for every attempt of the call, also after a crash.
        answer: What the outside said, where this plugin has held the call with these arguments.
        argument_projection: How references that code hands in as arguments reach the tool: looked up, or
            as they are in one of the arguments.
    """

    session: PluginSession
    turn_id: str
    call_id: str
    tool: str
    args: Mapping[str, Any]
    attempt: int
    idempotency_key: str
    answer: Resolution | None = None
    argument_projection: ArgumentProjection = MATERIALIZE


def _writable(keeper: StateKeeper | None, plugin_id: str) -> StateKeeper:
    if keeper is None:
        raise LashError(
            "plugin_state_read_only",
            f"Nothing is recorded here, so plugin {plugin_id!r} can remember nothing. Remember it in a "
            "hook of a turn or of a tool call.",
            plugin_id=plugin_id,
        )
    return keeper
