"""A session as it is read: its committed turns with their messages, and the turns still open."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lash.app.results import HistoryMessage, history_message
from lash.core.errors import LashError
from lash.sessions.model import AcceptedTurn, SessionState, SessionSummary, TurnRecord
from lash.sessions.store import SessionStore

OpenState: TypeAlias = Literal["running", "waiting", "parked", "queued"]


@dataclass(frozen=True, slots=True)
class CommittedTurn:
    """A committed turn and the messages it added."""

    record: TurnRecord
    messages: Sequence[HistoryMessage]


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn that is accepted and not committed; `queued` ones wait for the turns before them."""

    turn: AcceptedTurn
    state: OpenState


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything a session holds, in order."""

    session: SessionSummary
    turns: Sequence[CommittedTurn]
    open_turns: Sequence[OpenTurn]


async def load_transcript(store: SessionStore, session_id: str) -> Transcript:
    """Read a session.

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
    # A turn may be committed between two reads. Open turns are read before committed ones and those
    # before the messages, so that none is missed and each record finds its messages.
    accepted = await store.list_open_turns(session_id)
    records = await store.list_turns(session_id)
    messages: dict[str, list[HistoryMessage]] = {}
    for node in await store.load_path(session_id):
        messages.setdefault(node.turn_id, []).append(history_message(node.message))
    committed = {record.turn_id for record in records}
    waiting = [turn for turn in accepted if turn.turn_id not in committed]
    return Transcript(
        session=summary,
        turns=[CommittedTurn(record, messages.get(record.turn_id, ())) for record in records],
        open_turns=[
            OpenTurn(turn, _open_state(turn, summary.state, first=index == 0))
            for index, turn in enumerate(waiting)
        ],
    )


def transcript_json(transcript: Transcript) -> dict[str, object]:
    """The transcript as the JSON document of `lash show`."""
    return {
        "session": transcript.session,
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
                "timing": turn.record.timing,
            }
            for turn in transcript.turns
        ],
        "open_turns": [
            {
                "turn_id": item.turn.turn_id,
                "state": item.state,
                "text": item.turn.input.text,
                "accepted_at_ms": item.turn.accepted_at_ms,
                "parked": item.turn.parked,
            }
            for item in transcript.open_turns
        ],
    }


def _open_state(turn: AcceptedTurn, session: SessionState, *, first: bool) -> OpenState:
    if turn.parked is not None:
        return "parked"
    if not first:
        return "queued"
    return "running" if session == "running" else "waiting"
