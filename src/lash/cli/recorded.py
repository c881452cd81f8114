"""What the journals of a session hold, as data: turn by turn, or effect by effect."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lash.cli.awaiting import AwaitedAnswer, awaited_answers
from lash.cli.reading import now_ms
from lash.cli.transcript import OpenState, find_session, load_turns, open_states
from lash.core.errors import LashError
from lash.core.scopes import TurnScope, journal_key
from lash.effects.journal import JournalEntry
from lash.effects.keys import cancelled_key
from lash.runtime.stores import Store
from lash.sessions.accepting import KnownTurn
from lash.sessions.model import AcceptedTurn, Parked, SessionSummary, TurnRecord
from lash.turn.outcome import TurnOutcome

TurnState: TypeAlias = Literal["committed"] | OpenState
EffectState: TypeAlias = Literal["recorded", "sleeping"]


@dataclass(frozen=True, slots=True)
class JournaledTurn:
    """A turn and how much was recorded for it.

    Attributes:
        turn_id: The turn.
        state: `committed`, or how the open turn stands.
        outcome: How a committed turn ended.
        parked: Why an open turn does not go on by itself.
        effects: How many effects are recorded.
        bytes: The size of their outcomes.
        retired: Retention removed what was recorded: a turn never ends without a record.
        accepted_at_ms: When its input was accepted.
        committed_at_ms: When it ended.
    """

    turn_id: str
    state: TurnState
    outcome: TurnOutcome | None
    parked: Parked | None
    effects: int
    bytes: int
    retired: bool
    accepted_at_ms: int
    committed_at_ms: int | None


@dataclass(frozen=True, slots=True)
class RecordedEffect:
    """One recorded effect. `number` counts from 1, in the order in which they were recorded."""

    number: int
    kind: str
    key: str
    state: EffectState
    recorded_at_ms: int
    duration_ms: float
    bytes: int
    due_at_ms: int | None


@dataclass(frozen=True, slots=True)
class TurnJournal:
    """What a turn recorded, and what it waits for.

    `asked_for` is another id than the turn's when the turn was begun again since.
    """

    session_id: str
    asked_for: str
    turn: JournaledTurn
    effects: Sequence[RecordedEffect]
    waits: Sequence[AwaitedAnswer]


async def load_overview(
    store: Store, session_id: str
) -> tuple[SessionSummary, Sequence[JournaledTurn]]:
    """A session and its turns, committed ones first, in order.

    Raises:
        LashError: `session_unknown`.
    """
    summary = await find_session(store, session_id)
    records, waiting = await load_turns(store, session_id)
    turns = [_committed(record, await _entries(store, record)) for record in records]
    for turn, state in zip(waiting, open_states(waiting, summary.state), strict=True):
        turns.append(_open(turn, state, await _entries(store, turn)))
    return summary, turns


async def load_turn_journal(store: Store, session_id: str, turn_id: str) -> TurnJournal:
    """What a turn recorded; under an id that was begun again, what the turn it became did.

    Raises:
        LashError: `session_unknown`, `turn_unknown`.
    """
    summary = await find_session(store, session_id)
    known = await find_turn(store, summary, turn_id)
    now = now_ms()
    waits: Sequence[AwaitedAnswer] = ()
    if known.record is not None:
        entries = await _entries(store, known.record)
        turn = _committed(known.record, entries)
    else:
        opened = _opened(known)
        entries = await _entries(store, opened)
        turn = _open(opened, await _state(store, summary, opened), entries)
        waits = await awaited_answers(store, _scope(opened), now)
    return TurnJournal(
        session_id=session_id,
        asked_for=turn_id,
        turn=turn,
        effects=effects_of(entries, now, is_open=known.record is None),
        waits=waits,
    )


async def find_turn(store: Store, session: SessionSummary, turn_id: str) -> KnownTurn:
    """A turn by its id, or the turn that was begun again from it.

    Raises:
        LashError: `turn_unknown`.
    """
    known = await store.find_turn(session.session_id, turn_id)
    if known is None:
        raise LashError(
            "turn_unknown",
            f"Session {session.session_id!r} has no turn {turn_id!r}; `lash journal "
            f"{session.session_id}` lists its turns.",
            session_id=session.session_id,
            turn_id=turn_id,
        )
    return known


def _opened(known: KnownTurn) -> AcceptedTurn:
    if known.open is None:
        raise AssertionError(known.turn_id)  # a known turn is open or committed
    return known.open


async def _state(store: Store, session: SessionSummary, turn: AcceptedTurn) -> OpenState:
    turns = await store.list_open_turns(session.session_id)
    states = zip(turns, open_states(turns, session.state), strict=True)
    found = (state for item, state in states if item.turn_id == turn.turn_id)
    return next(found, "waiting")  # it was committed just now


async def _entries(store: Store, turn: AcceptedTurn | TurnRecord) -> Sequence[JournalEntry]:
    return await store.list_journal(journal_key(_scope(turn)))


def _scope(turn: AcceptedTurn | TurnRecord) -> TurnScope:
    return TurnScope(session_id=turn.session_id, turn_id=turn.turn_id)


def _committed(record: TurnRecord, entries: Sequence[JournalEntry]) -> JournaledTurn:
    return JournaledTurn(
        turn_id=record.turn_id,
        state="committed",
        outcome=record.outcome,
        parked=None,
        effects=len(entries),
        bytes=sum(entry.bytes for entry in entries),
        retired=not entries,
        accepted_at_ms=record.timing.accepted_at_ms,
        committed_at_ms=record.timing.committed_at_ms,
    )


def _open(turn: AcceptedTurn, state: OpenState, entries: Sequence[JournalEntry]) -> JournaledTurn:
    return JournaledTurn(
        turn_id=turn.turn_id,
        state=state,
        outcome=None,
        parked=turn.parked,
        effects=len(entries),
        bytes=sum(entry.bytes for entry in entries),
        retired=False,
        accepted_at_ms=turn.accepted_at_ms,
        committed_at_ms=None,
    )


def effects_of(
    entries: Sequence[JournalEntry], now: int, *, is_open: bool
) -> Sequence[RecordedEffect]:
    """The recorded effects of a scope; `is_open` says that its work is not finished."""
    keys = {entry.replay_key for entry in entries}

    def state(entry: JournalEntry) -> EffectState:
        if entry.kind != "sleep" or entry.due_at_ms is None or entry.due_at_ms <= now:
            return "recorded"
        broken_off = entry.replay_key.endswith(cancelled_key("")) or (
            cancelled_key(entry.replay_key) in keys
        )
        return "sleeping" if is_open and not broken_off else "recorded"

    return [
        RecordedEffect(
            number=number,
            kind=entry.kind,
            key=entry.replay_key,
            state=state(entry),
            recorded_at_ms=entry.recorded_at_ms,
            duration_ms=entry.duration_ms,
            bytes=entry.bytes,
            due_at_ms=entry.due_at_ms,
        )
        for number, entry in enumerate(entries, 1)
    ]
