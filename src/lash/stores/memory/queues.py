"""The queues of all sessions in memory, and the requests to stop: the same planner as elsewhere."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from lash.core.cancel import Cancellation
from lash.core.clock import Clock
from lash.core.seams import SeamObserver, unobserved
from lash.sessions.ingress import CancelInputOutcome, CancelTarget, EnqueueRequest, QueuedItem
from lash.sessions.queueing import (
    CheckpointClaim,
    Enqueued,
    EnqueueResult,
    Taken,
    TakeRefused,
    TakeResult,
    plan_checkpoint,
    plan_enqueue,
)
from lash.sessions.stopping import (
    CancelOutcome,
    CancelRequest,
    CancelRequested,
    for_child,
    plan_cancel,
)
from lash.stores.memory.queue import (
    cancel_facts,
    cancel_item,
    checkpoint_facts,
    enqueue_facts,
    find_item,
    has_arrived,
    in_order,
    stop_children,
    waiting,
)
from lash.stores.memory.session import Held


class Queues:
    """Every session's queue. Every method is one transaction, as in `Sessions`."""

    def __init__(
        self, held: Held, clock: Clock, seams: SeamObserver, changed: Callable[[], None]
    ) -> None:
        self._held = held
        self._sessions = held.sessions
        self._deleted = held.deleted
        self._clock = clock
        self._seams = seams
        self._changed = changed

    def enqueue(self, request: EnqueueRequest) -> EnqueueResult:
        """Put an item into a session's queue."""
        return self._enqueue(request, self._seams)

    def put(self, request: EnqueueRequest) -> EnqueueResult:
        """Put an item into a session's queue, as part of a transaction that passed its seam."""
        return self._enqueue(request, unobserved)

    def _enqueue(self, request: EnqueueRequest, seams: SeamObserver) -> EnqueueResult:
        session = self._sessions.get(request.session_id)
        deleted = request.session_id in self._deleted
        facts = enqueue_facts(session, request, self._clock.now_ms(), deleted=deleted)
        missing = self._held.attachments.missing(request.session_id, request.attachment_ids)
        if missing:
            facts = msgspec.structs.replace(facts, missing_attachments=missing)
        result = plan_enqueue(facts, request)
        if not isinstance(result, Enqueued):
            return result
        seams("enqueue.inside")
        now_ms = result.item.enqueued_at_ms
        session = session or self._held.begin(result.head, now_ms)
        session.accepted = result.item.sequence
        session.updated_at_ms = now_ms
        session.queue[result.item.item_id] = result.item
        self._changed()
        return result

    def has_arrived(self, claim: CheckpointClaim) -> bool:
        """Whether a checkpoint would take anything."""
        session = self._sessions.get(claim.session_id)
        return session is not None and has_arrived(session, claim, self._clock.now_ms())

    def take(self, claim: CheckpointClaim) -> TakeResult:
        """Take what a checkpoint admits."""
        session = self._sessions.get(claim.session_id)
        if session is None:
            return TakeRefused()
        result = plan_checkpoint(checkpoint_facts(session, claim, self._clock.now_ms()), claim)
        if isinstance(result, Taken):
            self._seams("checkpoint.inside")
            session.queue.update((item.item_id, item) for item in result.items)
        return result

    def cancel_items(
        self, session_id: str, targets: Sequence[CancelTarget]
    ) -> Sequence[CancelInputOutcome]:
        """Take items back."""
        session = self._sessions.get(session_id)
        now_ms = self._clock.now_ms()
        return [cancel_item(session, target, now_ms) for target in targets]

    def cancel_items_from(
        self, session_id: str, anchor: CancelTarget
    ) -> Sequence[CancelInputOutcome] | None:
        """Take back an item and everything behind it."""
        session = self._sessions.get(session_id)
        first = find_item(session, anchor)
        if session is None or first is None:
            return None
        behind = [
            item
            for item in in_order(session)
            if item.sequence >= first.sequence and item.state != "completed"
        ]
        targets = [CancelTarget(kind="input_id", value=item.item_id) for item in behind]
        return self.cancel_items(session_id, targets)

    def queue(self, session_id: str) -> Sequence[QueuedItem]:
        """What waits and was not taken, in order."""
        session = self._sessions.get(session_id)
        return waiting(session) if session else []

    def find_item(self, session_id: str, target: CancelTarget) -> QueuedItem | None:
        """One item, whatever became of it."""
        return find_item(self._sessions.get(session_id), target)

    def request_cancel(self, request: CancelRequest) -> CancelOutcome:
        """Ask a turn to stop."""
        session = self._sessions.get(request.session_id)
        deleted = request.session_id in self._deleted
        outcome = plan_cancel(cancel_facts(session, request, deleted=deleted), request)
        if isinstance(outcome, CancelRequested) and session is not None:
            self._seams("cancel.inside")
            session.cancels[outcome.turn_id] = outcome.cancellation
            why = for_child(outcome.cancellation)
            stop_children(self._sessions, request.session_id, outcome.turn_id, why)
            self._changed()
        return outcome

    def cancelled(self, session_ids: Sequence[str]) -> Mapping[tuple[str, str], Cancellation]:
        """Who was asked to stop among the open turns of some sessions."""
        return {
            (session_id, turn_id): cancellation
            for session_id in session_ids
            if (session := self._sessions.get(session_id)) is not None
            for turn_id, cancellation in session.cancels.items()
            if turn_id in session.open
        }
