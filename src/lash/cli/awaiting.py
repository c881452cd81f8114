"""What an open turn or process waits for: answers from outside that nobody has given yet.

The journal tells which tool calls were left to the outside, also when the process died before it
began to wait; the store's promises tell which of them were answered. Payloads and signatures are
never shown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from lash.cli.wording import local_time, until
from lash.core.scopes import ExecutionScope, journal_key
from lash.effects.journal import JournalRecord
from lash.effects.journaling import decode_outcome
from lash.effects.outcomes import ToolAttemptOutcome
from lash.effects.waits.model import AwaitEventWaitIdentity, CustomWait, ToolCompletionWait
from lash.effects.waits.transitions import WaitRow, is_due
from lash.runtime.stores import Store

AwaitedState: TypeAlias = Literal["waiting", "timed_out"]

_WAIT: msgspec.json.Decoder[AwaitEventWaitIdentity] = msgspec.json.Decoder(AwaitEventWaitIdentity)


@dataclass(frozen=True, slots=True)
class AwaitedAnswer:
    """A promise of a turn without a resolution.

    Attributes:
        key_id: The promise's name. It is not the key, and resolves nothing.
        kind: What sort of promise it is, such as `tool_completion`.
        name: What is waited for: a tool call's place in its turn, or the name the host gave.
        tool: The tool that left its answer to the outside, as far as the journal tells.
        call_id: The model's id of that call.
        state: `timed_out` once its deadline has passed, whether or not anybody was there to see it.
        deadline_at_ms: When it times out; None for never.
        since_ms: When it was left to the outside, or first waited for.
    """

    key_id: str
    kind: str
    name: str
    tool: str | None
    call_id: str | None
    state: AwaitedState
    deadline_at_ms: int | None
    since_ms: int


async def awaited_answers(
    store: Store, scope: ExecutionScope, now_ms: int
) -> tuple[AwaitedAnswer, ...]:
    """What unfinished work waits for, in the order in which it began to."""
    scope_key = journal_key(scope)
    # The journal first: what is answered between the two reads is then told as answered.
    deferred = {call.key_id: call for call in _deferred(await store.load_journal(scope_key))}
    rows = {row.key_id: row for row in await store.list_waits(scope_key)}
    return tuple(
        [
            _of_call(call, rows.get(key_id), now_ms)
            for key_id, call in deferred.items()
            if _is_open(rows.get(key_id))
        ]
        + [
            _of_row(row, now_ms)
            for key_id, row in rows.items()
            if key_id not in deferred and _is_open(row)
        ]
    )


def awaited_text(wait: AwaitedAnswer) -> str:
    """How a wait stands: `waits for an answer until 2026-07-01 12:30:05`."""
    if wait.state == "timed_out" and wait.deadline_at_ms is not None:
        return f"timed out at {local_time(wait.deadline_at_ms)}; the turn goes on with that"
    return f"waits for an answer{until(wait.deadline_at_ms)}"


@dataclass(frozen=True, slots=True)
class _DeferredCall:
    """A tool call that was left to the outside, as its attempt's record tells."""

    key_id: str
    place: str
    tool: str
    call_id: str
    deadline_at_ms: int | None
    since_ms: int


class _Called(msgspec.Struct):
    tool_id: str = ""
    call_id: str = ""


class _Envelope(msgspec.Struct):
    identity: _Called = msgspec.field(default_factory=_Called)


def _deferred(records: Sequence[JournalRecord]) -> Iterator[_DeferredCall]:
    for record in records:
        if record.kind != "tool_attempt":
            continue
        outcome = decode_outcome(record.replay_key, record.outcome)
        pending = outcome.pending if isinstance(outcome, ToolAttemptOutcome) else None
        if pending is None:
            continue
        called = _called(record)
        yield _DeferredCall(
            key_id=pending.key.key_id,
            place=_name(pending.key.wait),
            tool=called.tool_id.removeprefix("tool:"),
            call_id=called.call_id,
            deadline_at_ms=pending.deadline_at_ms,
            since_ms=record.recorded_at_ms,
        )


def _called(record: JournalRecord) -> _Called:
    try:
        return msgspec.json.decode(record.envelope, type=_Envelope).identity
    except msgspec.MsgspecError:
        return _Called()  # it only serves the report


def _is_open(row: WaitRow | None) -> bool:
    """Whether a turn may wait for it. What steers a turn is waited for by others."""
    return row is None or (row.resolution is None and not row.turn_control)


def _of_call(call: _DeferredCall, row: WaitRow | None, now_ms: int) -> AwaitedAnswer:
    deadline = call.deadline_at_ms if row is None else row.deadline_at_ms
    return AwaitedAnswer(
        key_id=call.key_id,
        kind="tool_completion",
        name=call.place,
        tool=call.tool or None,
        call_id=call.call_id or None,
        state=_state(deadline, now_ms),
        deadline_at_ms=deadline,
        since_ms=call.since_ms,
    )


def _of_row(row: WaitRow, now_ms: int) -> AwaitedAnswer:
    try:
        wait = _WAIT.decode(row.wait)
        kind, name = str(wait.__struct_config__.tag), _name(wait)
    except msgspec.MsgspecError:  # written by another version
        kind, name = "unknown", ""
    return AwaitedAnswer(
        key_id=row.key_id,
        kind=kind,
        name=name,
        tool=None,
        call_id=None,
        state=_state(row.deadline_at_ms, now_ms),
        deadline_at_ms=row.deadline_at_ms,
        since_ms=row.created_at_ms,
    )


def _name(wait: AwaitEventWaitIdentity) -> str:
    match wait:
        case ToolCompletionWait(tool_call_id=name) | CustomWait(key=name):
            return name
        case _:
            return str(wait.__struct_config__.tag)


def _state(deadline_at_ms: int | None, now_ms: int) -> AwaitedState:
    return "timed_out" if is_due(deadline_at_ms, now_ms) else "waiting"
