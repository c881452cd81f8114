"""What a request to stop a turn came to, as an application sees it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from lash.app.results import TurnResult, turn_result
from lash.core.cancel import Cancellation
from lash.core.tiers import DurabilityTier
from lash.sessions.stopping import (
    CancelAlreadyRequested,
    CancelOutcome,
    CancelRequested,
    CompletionWonRace,
)

CancelReceiptOutcome: TypeAlias = Literal[
    "requested", "already_requested", "completion_won_race", "unknown_or_revoked"
]


@dataclass(frozen=True, slots=True)
class CancelReceipt:
    """The truth about a request to stop a turn. None of its outcomes is an error.

    Attributes:
        outcome: `requested`: the turn will end as cancelled. `already_requested`: somebody asked
            before, and theirs is what the turn will show. `completion_won_race`: the turn came to its
            end first, see `result`. `unknown_or_revoked`: there is no such session or turn.
        durability: Whether the request survives the process.
        turn_id: The turn that is asked to stop, where there is one.
        cancellation: What the turn will show.
        result: How the turn ended, if it had.
    """

    outcome: CancelReceiptOutcome
    durability: DurabilityTier
    turn_id: str | None = None
    cancellation: Cancellation | None = None
    result: TurnResult | None = None


def receipt_of(outcome: CancelOutcome | None, durability: DurabilityTier) -> CancelReceipt:
    """What a request came to; None when there was nothing to ask."""
    match outcome:
        case CancelRequested(turn_id=turn_id, cancellation=cancellation):
            return CancelReceipt("requested", durability, turn_id, cancellation)
        case CancelAlreadyRequested(turn_id=turn_id, cancellation=cancellation):
            return CancelReceipt("already_requested", durability, turn_id, cancellation)
        case CompletionWonRace(record=record):
            result = turn_result(record, durability)
            return CancelReceipt(
                "completion_won_race", durability, record.turn_id, record.cancellation, result
            )
        case _:
            return CancelReceipt("unknown_or_revoked", durability)
