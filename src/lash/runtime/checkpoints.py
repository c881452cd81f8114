"""What a checkpoint brings into a running turn: taken from the queue, told to observers (spec 6.3)."""

from collections.abc import Sequence

from lash.core.seams import SeamObserver
from lash.effects.journal import WriteAuthority
from lash.effects.journaling import lease_lost
from lash.effects.outcomes import CheckpointOutcome, EffectOutcome
from lash.runtime.events import Announce, QueuedInputAccepted
from lash.sessions.ingress import ProcessWake, QueuedItem, UserInput, message_id_of
from lash.sessions.model import TurnInput
from lash.sessions.queueing import CheckpointClaim, Taken
from lash.sessions.store import SessionStore
from lash.turn.driver import CheckpointKind
from lash.turn.exchange import CheckpointDelivery
from lash.turn.messages import Message, TurnInputOrigin, message_of_pieces


class Checkpoints:
    """The checkpoints of one drive of a turn."""

    def __init__(
        self,
        store: SessionStore,
        authority: WriteAuthority,
        turn_id: str,
        announce: Announce,
        seams: SeamObserver,
    ) -> None:
        self._store = store
        self._authority = authority
        self._turn_id = turn_id
        self._announce = announce
        self._seams = seams

    async def deliver(self, checkpoint: CheckpointKind, effect_key: str) -> EffectOutcome:
        """What arrived for the turn. Idle checkpoints only read.

        Raises:
            LeaseLostError: Another process drives the session; nothing was taken.
        """
        claim = CheckpointClaim(
            session_id=self._authority.session_id,
            turn_id=self._turn_id,
            checkpoint=checkpoint,
            effect_key=effect_key,
            fence=self._authority.fence,
        )
        self._seams("checkpoint.before")
        if not await self._store.has_arrived(claim):
            return CheckpointOutcome()
        taken = await self._store.take(claim)
        self._seams("checkpoint.after")
        if not isinstance(taken, Taken):
            raise lease_lost(self._authority)
        if taken.items:
            ids = tuple(item.item_id for item in taken.items)
            self._announce(QueuedInputAccepted(checkpoint=checkpoint, input_ids=ids))
        return CheckpointOutcome(delivery=delivery_of(self._turn_id, taken.items))


def delivery_of(turn_id: str, items: Sequence[QueuedItem]) -> CheckpointDelivery:
    """What a checkpoint delivers of the items it took."""
    return CheckpointDelivery(
        committed_user_messages=tuple(
            _user_message(turn_id, item.item_id, item.payload.input)
            for item in items
            if isinstance(item.payload, UserInput)
        ),
        turn_causes=tuple(
            item.payload.cause for item in items if isinstance(item.payload, ProcessWake)
        ),
    )


def _user_message(turn_id: str, input_id: str, said: TurnInput) -> Message:
    origin = TurnInputOrigin(turn_id=turn_id, input_id=input_id)
    return message_of_pieces(message_id_of(input_id), "user", said.pieces, origin=origin)
