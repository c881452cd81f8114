"""Input that waits to be taken by a turn, as an application holds it."""

from collections.abc import Callable

from lash.app.results import TurnResult, turn_result
from lash.core.errors import LashError
from lash.runtime.engine import Engine
from lash.sessions.ingress import (
    CancelInputOutcome,
    CancelTarget,
    PendingState,
    QueuedItem,
    UserInput,
)


class QueuedInput:
    """One item of a session's queue. It is durable, whatever becomes of this handle.

    Attributes:
        session_id: The session.
        input_id: The item.
        text: What the user says.
        source_key: The caller's idempotency key.
        state: How it stood when this was read: `pending_active` waits for a checkpoint of the turn
            that runs, `deferred_next_turn` for a turn, `accepted` was taken by a turn that is not
            committed yet, `completed` by one that is; `cancelled` was taken back.
        turn_id: The turn it waits for, or the one that took it.
    """

    def __init__(self, engine: Callable[[], Engine], item: QueuedItem) -> None:
        self._engine = engine
        payload = item.payload
        self.session_id = item.session_id
        self.input_id = item.item_id
        self.text = payload.input.text if isinstance(payload, UserInput) else ""
        self.source_key = item.source_key
        self.state: PendingState = item.state
        self.turn_id = item.turn_id

    def __repr__(self) -> str:
        return f"QueuedInput({self.input_id!r}, state={self.state!r})"

    async def refresh(self) -> "QueuedInput":
        """The item as it stands now.

        Raises:
            LashError: `turn_input_unknown`.
        """
        item = await self._engine().store.find_item(self.session_id, self._target)
        if item is None:
            raise LashError(
                "turn_input_unknown",
                f"Session {self.session_id!r} has no queued input {self.input_id!r}.",
            )
        return QueuedInput(self._engine, item)

    async def cancel(self) -> CancelInputOutcome:
        """Take the input back, unless a turn has taken it."""
        (outcome,) = await self._engine().arrivals.cancel_items(self.session_id, [self._target])
        return outcome

    async def result(self) -> TurnResult:
        """The committed turn that took the input; waits for it.

        Raises:
            LashError: `turn_input_cancelled`, and what `Session.run` raises.
        """
        engine = self._engine()
        while True:
            ticket = await engine.arrivals.follow_item(self.session_id, self.input_id, None)
            try:
                record = await ticket.record()
            finally:
                ticket.leave()
            item = await engine.store.find_item(self.session_id, self._target)
            if item is None or item.state == "completed":
                return turn_result(record, ticket.durability)
            # The turn was begun again without it; another one takes it.

    @property
    def _target(self) -> CancelTarget:
        return CancelTarget(kind="input_id", value=self.input_id)
