"""A session's queue in SQLite: reads facts, calls the planner, persists its plan."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from lash.core.clock import Clock
from lash.core.errors import StoreError
from lash.core.seams import SeamObserver
from lash.sessions.accepting import KnownTurn
from lash.sessions.committing import TurnCommit
from lash.sessions.ingress import (
    MOST_TAKEN,
    ActiveTurn,
    CancelInputOutcome,
    CancelTarget,
    EnqueueRequest,
    Ingress,
    InputCancelled,
    Payload,
    PendingState,
    QueuedItem,
)
from lash.sessions.model import AcceptedTurn, AgentRef, SessionHead
from lash.sessions.queueing import (
    CheckpointClaim,
    CheckpointFacts,
    Enqueued,
    EnqueueFacts,
    EnqueueResult,
    Taken,
    TakeResult,
    after_restart,
    is_candidate,
    plan_cancel_input,
    plan_checkpoint,
    plan_composition,
    plan_enqueue,
    settled,
    would_take,
)
from lash.sessions.stopping import going_on
from lash.stores.sqlite import heads, queries, rows
from lash.stores.sqlite.attachment_refs import missing_refs
from lash.stores.sqlite.columns import Count, Row, checked, decoded, row_type, text
from lash.stores.sqlite.readers import Readers
from lash.stores.sqlite.writer import Writer

_INGRESS: msgspec.json.Decoder[Ingress] = msgspec.json.Decoder(Ingress)
_PAYLOAD: msgspec.json.Decoder[Payload] = msgspec.json.Decoder(Payload)


class QueueTable:
    """The queues of all sessions; see `lash.sessions.store.SessionStore`."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, seams: SeamObserver) -> None:
        self._writer = writer
        self._readers = readers
        self._clock = clock
        self._seams = seams

    # --- entering -------------------------------------------------------------------------------

    async def enqueue(self, request: EnqueueRequest) -> EnqueueResult:
        """Put an item into a session's queue."""

        def operation(connection: sqlite3.Connection) -> EnqueueResult:
            result = enqueue(connection, request, self._clock.now_ms())
            if isinstance(result, Enqueued):
                self._seams("enqueue.inside")
            return result

        return await self._writer.submit(operation)

    # --- checkpoints ----------------------------------------------------------------------------

    async def has_arrived(self, claim: CheckpointClaim) -> bool:
        """Whether a checkpoint would take anything. Reads only."""
        now_ms = self._clock.now_ms()

        def idle(connection: sqlite3.Connection) -> bool:
            return not concerns(connection, claim.session_id, claim.turn_id)

        if await self._readers.read_here(idle):  # as a rule, and too little for another thread
            return False

        def operation(connection: sqlite3.Connection) -> bool:
            candidates = _candidates(connection, claim, now_ms)
            return would_take(_checkpoint_facts(connection, claim, candidates, now_ms), claim)

        return await self._readers.read(operation)

    async def take(self, claim: CheckpointClaim) -> TakeResult:
        """Take what a checkpoint admits."""
        return await self._writer.submit(lambda connection: self._take(connection, claim))

    def _take(self, connection: sqlite3.Connection, claim: CheckpointClaim) -> TakeResult:
        now_ms = self._clock.now_ms()
        candidates = _candidates(connection, claim, now_ms)
        result = plan_checkpoint(_checkpoint_facts(connection, claim, candidates, now_ms), claim)
        if isinstance(result, Taken):
            before = {item.item_id: item for item in candidates}
            for item in result.items:
                if item != before[item.item_id]:
                    change_item(connection, before[item.item_id], item)
            self._seams("checkpoint.inside")
        return result

    # --- taking back and looking ----------------------------------------------------------------

    async def cancel(
        self, session_id: str, targets: Sequence[CancelTarget]
    ) -> Sequence[CancelInputOutcome]:
        """Take items back, all of them or none."""

        def operation(connection: sqlite3.Connection) -> Sequence[CancelInputOutcome]:
            return self._cancel(connection, session_id, targets)

        return await self._writer.submit(operation)

    async def cancel_from(
        self, session_id: str, anchor: CancelTarget
    ) -> Sequence[CancelInputOutcome] | None:
        """Take back an item and everything behind it; None when there is no such item."""

        def operation(connection: sqlite3.Connection) -> Sequence[CancelInputOutcome] | None:
            first = find_item(connection, session_id, anchor)
            if first is None:
                return None
            found = connection.execute(queries.ITEMS_FROM, (session_id, first.sequence)).fetchall()
            targets = [
                CancelTarget(kind="input_id", value=queued_item(row).item_id) for row in found
            ]
            return self._cancel(connection, session_id, targets)

        return await self._writer.submit(operation)

    def _cancel(
        self, connection: sqlite3.Connection, session_id: str, targets: Sequence[CancelTarget]
    ) -> Sequence[CancelInputOutcome]:
        now_ms = self._clock.now_ms()
        return [_cancel(connection, session_id, target, now_ms) for target in targets]

    async def waiting(self, session_id: str) -> Sequence[QueuedItem]:
        """What waits and was not taken, in order."""
        return await self._readers.all(queries.ITEMS_WAITING, session_id, queued_item)

    async def find(self, session_id: str, target: CancelTarget) -> QueuedItem | None:
        """One item, whatever became of it."""
        return await self._readers.read(
            lambda connection: find_item(connection, session_id, target)
        )


# --- entering -----------------------------------------------------------------------------------------


def enqueue(connection: sqlite3.Connection, request: EnqueueRequest, now_ms: int) -> EnqueueResult:
    """Put an item into a session's queue; it is stored when this returns."""
    session_id = request.session_id
    head, accepted = heads.read_head(connection, session_id)
    result = plan_enqueue(_enqueue_facts(connection, request, head, accepted, now_ms), request)
    if not isinstance(result, Enqueued):
        return result
    if result.new_session:
        heads.add_session(connection, result.head, now_ms)
    else:
        connection.execute(queries.COUNT_ACCEPTED, (now_ms, session_id))
    add_item(connection, result.item)
    return result


def _enqueue_facts(
    connection: sqlite3.Connection,
    request: EnqueueRequest,
    head: SessionHead | None,
    accepted: int,
    now_ms: int,
) -> EnqueueFacts:
    session_id, key = request.session_id, request.source_key
    known = find_item(connection, session_id, CancelTarget(kind="input_id", value=request.item_id))
    turn: KnownTurn | None = None
    if known is None and key is not None:
        known = find_item(connection, session_id, CancelTarget(kind="source_key", value=key))
        turn = rows.find_turn_by_source(connection, session_id, key)
    open_turn, is_over = _target(connection, request)
    return EnqueueFacts(
        now_ms=now_ms,
        next_sequence=accepted + 1,
        deleted=head is None and heads.is_deleted(connection, session_id),
        head=head,
        known=known,
        key_of_turn=turn.turn_id if turn else None,
        target=open_turn,
        target_is_over=is_over,
        missing_attachments=missing_refs(connection, session_id, request.attachment_ids),
    )


def _target(
    connection: sqlite3.Connection, request: EnqueueRequest
) -> tuple[AcceptedTurn | None, bool]:
    """The open turn that an item is sent to, and whether the one it names is over."""
    ingress = request.ingress
    if not isinstance(ingress, ActiveTurn):
        return None, False
    if not ingress.turn_id:
        turns = rows.open_turns(connection, request.session_id)
        return (turns[0] if turns else None), False
    known = rows.find_turn(connection, request.session_id, ingress.turn_id)
    if known is None:
        return None, False
    if known.open is not None:
        return known.open, False
    # What is sent to a turn that handed its task over belongs to who goes on with it.
    open_turns = rows.open_turns(connection, request.session_id)
    return going_on(known, known.turn_id, open_turns), True


# --- what belongs into the transactions of turns ------------------------------------------------------


def compose(connection: sqlite3.Connection, head: SessionHead, now_ms: int) -> AcceptedTurn | None:
    """Make the next turn of what waits, if nothing comes first; it is stored when this returns."""
    session_id = head.session_id
    found = connection.execute(queries.ITEMS_DEFERRED, (session_id, now_ms, MOST_TAKEN)).fetchall()
    if not found:
        return None
    waiting = [queued_item(row) for row in found]
    open_turns = rows.open_turns(connection, session_id)
    plan = plan_composition(
        head, waiting, open_turns, lambda taken: rows.has_input(connection, session_id, taken)
    )
    if plan is None:
        return None
    rows.add_input(connection, plan.turn)
    for before, after in zip(waiting, plan.items, strict=False):
        change_item(connection, before, after)
    return rows.with_cancellations(connection, [plan.turn])[0]


def first_waiting(
    connection: sqlite3.Connection, session_id: str, now_ms: int
) -> QueuedItem | None:
    """The first item that a turn could be composed of now."""
    row: Row | None = connection.execute(queries.ITEMS_DEFERRED, (session_id, now_ms, 1)).fetchone()
    return None if row is None else queued_item(row)


def settle(connection: sqlite3.Connection, commit: TurnCommit, now_ms: int) -> None:
    """What a turn shows is part of it now; what it did not take waits for the next one."""
    shown = {message.id for message in commit.messages}
    for item in items_of_turn(connection, commit.session_id, commit.turn_id):
        change_item(connection, item, settled(item, shown), now_ms)


def concerns(connection: sqlite3.Connection, session_id: str, turn_id: str) -> bool:
    """Whether anything waits in a session's queue, or is a turn's own: one look that is cheap."""
    found = connection.execute(queries.QUEUE_CONCERNS, (session_id, session_id, turn_id)).fetchone()
    return bool(found[0])


def _candidates(
    connection: sqlite3.Connection, claim: CheckpointClaim, now_ms: int
) -> Sequence[QueuedItem]:
    """What a checkpoint chooses from, in order."""
    session_id = claim.session_id
    ours = items_of_turn(connection, session_id, claim.turn_id)
    floating = connection.execute(queries.ITEMS_FLOATING, (session_id, now_ms, MOST_TAKEN))
    candidates = [item for item in ours if is_candidate(item, now_ms)]
    candidates += [queued_item(row) for row in floating.fetchall()]
    return sorted(candidates, key=lambda item: item.sequence)


def _checkpoint_facts(
    connection: sqlite3.Connection,
    claim: CheckpointClaim,
    candidates: Sequence[QueuedItem],
    now_ms: int,
) -> CheckpointFacts:
    session_id = claim.session_id
    (command,) = connection.execute(queries.FIRST_COMMAND, (session_id, now_ms)).fetchone()
    turn = connection.execute(queries.HAS_OPEN_INPUT, (session_id, claim.turn_id)).fetchone()
    return CheckpointFacts(
        lease=heads.read_lease(connection, session_id),
        candidates=tuple(candidates),
        command_waits=None if command is None else checked(command, int),
        is_open=turn is not None,
    )


def move(connection: sqlite3.Connection, session_id: str, turn_id: str, again: str) -> None:
    """What waits for a turn, or was taken by it, follows it to the id it begins again under."""
    for item in items_of_turn(connection, session_id, turn_id):
        change_item(connection, item, after_restart(item, again))


def _cancel(
    connection: sqlite3.Connection, session_id: str, target: CancelTarget, now_ms: int
) -> CancelInputOutcome:
    item = find_item(connection, session_id, target)
    outcome = plan_cancel_input(target, item)
    if isinstance(outcome, InputCancelled) and item is not None:
        change_item(connection, item, outcome.item, now_ms)
    return outcome


# --- rows ---------------------------------------------------------------------------------------------


@row_type
class _Item(NamedTuple):
    session_id: str
    item_id: str
    sequence: Count
    source_key: str | None
    ingress: str
    state: PendingState
    content: str
    payload: str | None
    merge_key: str | None
    agent_name: str | None
    agent_version: str | None
    enqueued_at_ms: int
    available_at_ms: int
    turn_id: str | None
    effect_key: str | None
    message_id: str | None


def find_item(
    connection: sqlite3.Connection, session_id: str, target: CancelTarget
) -> QueuedItem | None:
    """An item by its id or source key."""
    query = queries.ITEM if target.kind == "input_id" else queries.ITEM_BY_SOURCE
    row: Row | None = connection.execute(query, (session_id, target.value)).fetchone()
    return None if row is None else queued_item(row)


def items_of_turn(
    connection: sqlite3.Connection, session_id: str, turn_id: str
) -> Sequence[QueuedItem]:
    """What waits for a turn, or was taken by it and is not settled, in order."""
    found = connection.execute(queries.ITEMS_OF_TURN, (session_id, turn_id)).fetchall()
    return [queued_item(row) for row in found]


def add_item(connection: sqlite3.Connection, item: QueuedItem) -> None:
    """Store an item of a session's queue."""
    payload = item.payload
    values = (
        item.session_id,
        item.item_id,
        item.sequence,
        item.source_key,
        text(item.ingress),
        item.state,
        item.content,
        None if payload is None else text(payload),
        item.merge_key,
        item.agent.name if item.agent else None,
        item.agent.version if item.agent else None,
        item.enqueued_at_ms,
        item.available_at_ms,
        item.turn_id,
        item.effect_key,
        item.message_id,
        tag_of(item.ingress),
        "" if payload is None else tag_of(payload),
    )
    connection.execute(queries.ADD_ITEM, values)


def change_item(
    connection: sqlite3.Connection,
    before: QueuedItem,
    after: QueuedItem,
    now_ms: int | None = None,
) -> None:
    """Store what became of an item; `now_ms` is when, if that is the last that becomes of it.

    Raises:
        StoreError: `store_corrupt`: it is not as it was read.
    """
    values = (
        after.state,
        text(after.ingress),
        tag_of(after.ingress),
        after.turn_id,
        after.effect_key,
        after.message_id,
        now_ms if after.state in {"completed", "cancelled"} else None,
        after.session_id,
        after.item_id,
        before.state,
    )
    if connection.execute(queries.CHANGE_ITEM, values).rowcount != 1:
        raise StoreError("store_corrupt", f"Item {after.item_id} changed within a transaction.")


def tag_of(value: msgspec.Struct) -> str:
    """The word that tells a value of a union from its others."""
    return str(value.__struct_config__.tag)


def queued_item(row: Row) -> QueuedItem:
    """An item of the queue from its columns."""
    columns = checked(row, _Item)
    agent = None
    if columns.agent_name is not None:
        agent = AgentRef(name=columns.agent_name, version=columns.agent_version or "1")
    return QueuedItem(
        session_id=columns.session_id,
        item_id=columns.item_id,
        sequence=columns.sequence,
        ingress=decoded(_INGRESS, columns.ingress),
        state=columns.state,
        enqueued_at_ms=columns.enqueued_at_ms,
        content=columns.content,
        payload=None if columns.payload is None else decoded(_PAYLOAD, columns.payload),
        source_key=columns.source_key,
        available_at_ms=columns.available_at_ms,
        merge_key=columns.merge_key,
        agent=agent,
        turn_id=columns.turn_id,
        effect_key=columns.effect_key,
        message_id=columns.message_id,
    )
