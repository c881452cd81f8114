"""A session as it is read: its committed turns with their messages, and the turns still open."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lash.app.results import HistoryMessage, history_message
from lash.cli.awaiting import AwaitedAnswer, awaited_answers
from lash.cli.queued import queued_json
from lash.cli.reading import now_ms
from lash.core.errors import LashError
from lash.core.scopes import TurnScope
from lash.runtime.stores import Store
from lash.sessions.ingress import QueuedItem
from lash.sessions.model import (
    AcceptedTurn,
    FrameOpen,
    SessionState,
    SessionSummary,
    TurnRecord,
)
from lash.sessions.store import SessionStore
from lash.sessions.tools import UNTOLD, SessionToolState

OpenState: TypeAlias = Literal["running", "waiting", "parked", "queued"]


@dataclass(frozen=True, slots=True)
class CommittedTurn:
    """A committed turn, the messages it added and the agent frames it opened."""

    record: TurnRecord
    messages: Sequence[HistoryMessage]
    frames: Sequence[FrameOpen] = ()


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn that is accepted and not committed; `queued` ones wait for the turns before them.

    `waits` are the answers from outside that it waits for.
    """

    turn: AcceptedTurn
    state: OpenState
    waits: Sequence[AwaitedAnswer] = ()


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything a session holds, in order.

    `inherited` is what was said in the session it was forked from; `queue` what waits to enter; `tools`
    what it says about its tools.
    """

    session: SessionSummary
    turns: Sequence[CommittedTurn]
    open_turns: Sequence[OpenTurn]
    inherited: Sequence[HistoryMessage] = ()
    queue: Sequence[QueuedItem] = ()
    tools: SessionToolState = UNTOLD


async def find_session(store: SessionStore, session_id: str) -> SessionSummary:
    """A session in brief.

    Raises:
        LashError: `session_unknown`.
    """
    summaries = await store.list_sessions()
    summary = next((item for item in summaries if item.session_id == session_id), None)
    if summary is None:
        held = (
            f"it holds {len(summaries)}; `lash sessions` lists them" if summaries else "it is empty"
        )
        raise LashError(
            "session_unknown",
            f"There is no session {session_id!r} in this database: {held}.",
            session_id=session_id,
        )
    return summary


async def load_transcript(store: Store, session_id: str) -> Transcript:
    """Read a session.

    Raises:
        LashError: `session_unknown`.
    """
    summary = await find_session(store, session_id)
    queue = await store.list_queue(session_id)  # first: what is taken meanwhile is told as a turn
    records, waiting = await load_turns(store, session_id)
    path = await store.load_path(session_id, whole=True)
    head = await store.load_head(session_id)
    # A fork begins with the nodes of another session, among them turns of the same id perhaps.
    own = [node for node in path if node.session_id == session_id]
    messages: dict[str, list[HistoryMessage]] = {}
    for node in own:
        if node.message is not None:
            messages.setdefault(node.turn_id, []).append(history_message(node.message))
    committed = {record.turn_id for record in records}
    return Transcript(
        session=summary,
        tools=UNTOLD if head is None else head.tools,
        queue=[item for item in queue if item.turn_id not in committed],
        inherited=[
            history_message(node.message)
            for node in path
            if node.message is not None and node.session_id != session_id
        ],
        turns=[
            CommittedTurn(
                record,
                messages.get(record.turn_id, ()),
                [
                    node.frame
                    for node in own
                    if node.frame is not None and node.turn_id == record.turn_id
                ],
            )
            for record in records
        ],
        open_turns=[
            OpenTurn(turn, state, await awaited_answers(store, _scope(turn), now_ms()))
            for turn, state in zip(waiting, open_states(waiting, summary.state), strict=True)
        ],
    )


def transcript_json(transcript: Transcript) -> dict[str, object]:
    """The transcript as the JSON document of `lash show`."""
    return {
        "session": transcript.session,
        "tools": _tools_json(transcript.tools),
        "inherited": transcript.inherited,
        "turns": [
            {
                "turn_id": turn.record.turn_id,
                "revision": turn.record.revision,
                "outcome": turn.record.outcome,
                "text": turn.record.text,
                "messages": turn.messages,
                "tool_calls": turn.record.tool_calls,
                "issues": turn.record.issues,
                "usage": turn.record.usage,
                "children_usage": turn.record.children_usage,
                "cancellation": turn.record.cancellation,
                "command": turn.record.command,
                "frames": turn.frames,
                "timing": turn.record.timing,
            }
            for turn in transcript.turns
        ],
        "open_turns": [
            {
                "turn_id": item.turn.turn_id,
                "state": item.state,
                "text": item.turn.input.text,
                "command": command_of(item.turn),
                "cancellation": item.turn.cancellation,
                "accepted_at_ms": item.turn.accepted_at_ms,
                "parked": item.turn.parked,
                "waits": item.waits,
            }
            for item in transcript.open_turns
        ],
        "queue": [queued_json(item) for item in transcript.queue],
    }


def _tools_json(said: SessionToolState) -> dict[str, object]:
    return {
        "generation": said.generation,
        "members": {tool_id: mark.member for tool_id, mark in sorted(said.marks.items())},
        "others": said.others,
        "hidden": said.hidden,
    }


def command_of(turn: AcceptedTurn) -> str | None:
    """The session command that an open turn carries out, if it does."""
    command = turn.input.command
    return None if command is None else str(command.__struct_config__.tag)


async def load_turns(
    store: SessionStore, session_id: str
) -> tuple[Sequence[TurnRecord], Sequence[AcceptedTurn]]:
    """The committed and the open turns of a session, each in order.

    A turn may be committed between two reads. Open turns are read before committed ones, and those
    before the messages, so that none is missed and each record finds its messages.
    """
    accepted = await store.list_open_turns(session_id)
    records = await store.list_turns(session_id)
    committed = {record.turn_id for record in records}
    return records, [turn for turn in accepted if turn.turn_id not in committed]


def open_states(turns: Sequence[AcceptedTurn], session: SessionState) -> Sequence[OpenState]:
    """How a session's open turns stand, given them in order; one is driven at a time."""
    return [_open_state(turn, session, first=index == 0) for index, turn in enumerate(turns)]


def _open_state(turn: AcceptedTurn, session: SessionState, *, first: bool) -> OpenState:
    if turn.parked is not None:
        return "parked"
    if not first:
        return "queued"
    return "running" if session == "running" else "waiting"


def _scope(turn: AcceptedTurn) -> TurnScope:
    return TurnScope(session_id=turn.session_id, turn_id=turn.turn_id)
