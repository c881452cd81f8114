"""What readers of a session are told, and the one fold of live events.

Live text is a preview; the committed messages are the truth, and every commit brings its own.
`LiveTurns` is used for snapshots and by the client for what it shows, so that the two cannot disagree.
"""

import io
from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from lash.core.json import Data, JsonObject
from lash.llm.usage import Usage
from lash.runtime.events import (
    ModelAttemptReset,
    ModelRequestStarted,
    ReasoningDelta,
    TextDelta,
    ToolCallCompleted,
    ToolCallDeferred,
    ToolCallStarted,
    TurnEvent,
    TurnRestarted,
)
from lash.runtime.live_replay import GapReason
from lash.sessions.model import ToolCallRecord, TurnRecord
from lash.turn.messages import Message

# --- what readers are told --------------------------------------------------------------------------


class LiveText(Data):
    """Text shown under one correlation id so far. `iteration` is the model call it came from."""

    correlation_id: str
    kind: Literal["text", "reasoning"]
    text: str
    iteration: int = 0


class LiveToolCall(Data):
    """A tool call of a running turn. `call` is its answer, None while it runs or waits."""

    call_id: str
    tool: str
    args: JsonObject
    call: ToolCallRecord | None = None


class LiveTurn(Data):
    """What was shown of a running turn so far, in the order in which it began."""

    turn_id: str
    texts: tuple[LiveText, ...] = ()
    tool_calls: tuple[LiveToolCall, ...] = ()
    iteration: int = 0


class SessionView(Data):
    """A session at one moment: what is committed, and what was shown of its running turns.

    Attributes:
        session_id: The session.
        revision: Its commits so far; 0 also for a session that does not exist yet.
        messages: The committed messages of the active path, first to last.
        turn_index: How many turns were committed.
        usage: Tokens of all committed turns.
        live: The turns that run in this process. Turns driven elsewhere show up when committed.
    """

    session_id: str
    revision: int = 0
    messages: tuple[Message, ...] = ()
    turn_index: int = 0
    usage: Usage = Usage()
    live: tuple[LiveTurn, ...] = ()


class TurnActivity(Data, tag_field="type", tag="turn_activity"):
    """Something happened in a running turn.

    `id` is unique; activities of one `correlation_id` belong together: a piece of text, a tool call
    (`tool:{call id}`), or else the turn.
    """

    id: str
    correlation_id: str
    turn_id: str
    event: TurnEvent


class Committed(Data, tag_field="type", tag="committed"):
    """A turn was committed. Its messages stand for everything that was shown of it live."""

    turn_id: str
    revision: int
    record: TurnRecord
    messages: tuple[Message, ...]


class TurnInterrupted(Data, tag_field="type", tag="turn_interrupted"):
    """The turn is not driven here any more: what was shown of it is withdrawn. It stays accepted."""

    turn_id: str


class AgentFrameSwitched(Data, tag_field="type", tag="agent_frame_switched"):
    """The session goes on in another agent frame."""

    frame_id: str


class QueueChanged(Data, tag_field="type", tag="queue_changed"):
    """Input was queued, taken back, or taken by a turn."""

    kind: Literal["enqueued", "cancelled", "taken"]
    input_ids: tuple[str, ...]


class ProcessChanged(Data, tag_field="type", tag="process_changed"):
    """Background processes of the session were started, cancelled, or ended."""

    kind: Literal["started", "cancelled", "ended"]
    process_ids: tuple[str, ...]


Notice: TypeAlias = Committed | TurnInterrupted | AgentFrameSwitched | QueueChanged | ProcessChanged
Observed: TypeAlias = TurnActivity | Notice


class Snapshot(Data, tag_field="type", tag="snapshot"):
    """Everything so far; replaces what the reader has. `cursor` leads on from here."""

    view: SessionView
    cursor: str


class Event(Data, tag_field="type", tag="event"):
    """The next event. `cursor` leads on from after it."""

    event: Observed
    cursor: str


class Gap(Data, tag_field="type", tag="gap"):
    """Events are missing (`reason`) after the cursor `requested`; the view replaces everything."""

    reason: GapReason
    view: SessionView
    cursor: str
    requested: str


Item: TypeAlias = Snapshot | Event | Gap

# --- the fold of live events ------------------------------------------------------------------------


class _Text:
    __slots__ = ("iteration", "kind", "pieces")

    def __init__(self, kind: Literal["text", "reasoning"], iteration: int) -> None:
        self.kind = kind
        self.iteration = iteration
        self.pieces = io.StringIO()  # grows in constant time per piece


class _Turn:
    __slots__ = ("calls", "iteration", "texts")

    def __init__(self) -> None:
        self.iteration = 0
        self.texts: dict[str, _Text] = {}
        self.calls: dict[str, LiveToolCall] = {}


class LiveTurns:
    """What was shown of running turns: grows by events, empties by commits."""

    def __init__(self, turns: Iterable[LiveTurn] = ()) -> None:
        self._turns: dict[str, _Turn] = {}
        for turn in turns:
            mine = self._turns[turn.turn_id] = _Turn()
            mine.iteration = turn.iteration
            mine.calls = {call.call_id: call for call in turn.tool_calls}
            for text in turn.texts:
                kept = mine.texts[text.correlation_id] = _Text(text.kind, text.iteration)
                kept.pieces.write(text.text)

    def __len__(self) -> int:
        return len(self._turns)

    def apply(self, turn_id: str, event: TurnEvent) -> None:
        """Take in what happened in a turn."""
        match event:
            case TextDelta(text=text, correlation_id=correlation):
                self._write(turn_id, correlation, "text", text)
            case ReasoningDelta(text=text, correlation_id=correlation):
                self._write(turn_id, correlation, "reasoning", text)
            case ModelRequestStarted(protocol_iteration=iteration):
                # A model that is asked once more after a failed drive tells everything anew.
                turn = self._turn(turn_id)
                turn.iteration = iteration
                for key in [key for key, it in turn.texts.items() if it.iteration >= iteration]:
                    del turn.texts[key]
            case ModelAttemptReset(correlation_ids=ids):
                turn = self._turn(turn_id)
                for key in ids:
                    turn.texts.pop(key, None)
            case ToolCallStarted(call_id=call_id, tool=tool, args=args):
                self._call(turn_id, LiveToolCall(call_id=call_id, tool=tool, args=args))
            case ToolCallCompleted(call=call):
                done = LiveToolCall(call_id=call.call_id, tool=call.tool, args=call.args, call=call)
                self._call(turn_id, done)
            case TurnRestarted():
                self.discard(turn_id)
            case _:
                pass  # nothing that stays visible

    def discard(self, turn_id: str) -> bool:
        """The turn is committed or given up: what was shown of it goes. False if nothing was."""
        return self._turns.pop(turn_id, None) is not None

    def view(self) -> tuple[LiveTurn, ...]:
        """What is shown now."""
        return tuple(
            LiveTurn(
                turn_id=turn_id,
                texts=tuple(
                    LiveText(
                        correlation_id=key,
                        kind=text.kind,
                        text=text.pieces.getvalue(),
                        iteration=text.iteration,
                    )
                    for key, text in turn.texts.items()
                ),
                tool_calls=tuple(turn.calls.values()),
                iteration=turn.iteration,
            )
            for turn_id, turn in self._turns.items()
        )

    def _turn(self, turn_id: str) -> _Turn:
        turn = self._turns.get(turn_id)
        if turn is None:
            turn = self._turns[turn_id] = _Turn()
        return turn

    def _write(
        self, turn_id: str, correlation: str, kind: Literal["text", "reasoning"], text: str
    ) -> None:
        turn = self._turn(turn_id)
        shown = turn.texts.get(correlation)
        if shown is None:
            shown = turn.texts[correlation] = _Text(kind, turn.iteration)
        shown.pieces.write(text)

    def _call(self, turn_id: str, call: LiveToolCall) -> None:
        self._turn(turn_id).calls[call.call_id] = call


def correlation(turn_id: str, event: TurnEvent) -> str:
    """What an event belongs to: a text, a tool call, or the turn."""
    match event:
        case TextDelta(correlation_id=correlation) | ReasoningDelta(correlation_id=correlation):
            return correlation
        case ToolCallStarted(call_id=call_id) | ToolCallDeferred(call_id=call_id):
            return f"tool:{call_id}"
        case ToolCallCompleted(call=call):
            return f"tool:{call.call_id}"
        case _:
            return turn_id


def grown(view: SessionView, commit: Committed) -> SessionView:
    """A view with one more turn."""
    return msgspec.structs.replace(
        view,
        revision=commit.revision,
        messages=view.messages + commit.messages,
        turn_index=view.turn_index + 1,
        usage=view.usage + commit.record.usage,
    )
