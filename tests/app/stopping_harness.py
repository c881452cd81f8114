"""Stopped turns in tests: which request stopped a turn, what became of its calls, and that the session goes on."""

from session_harness import is_valid

import lash
from lash.core.cancel import Cancellation
from lash.turn.outcome import Cancelled

#: What a call that was stopped is answered with.
GONE = "[Tool execution cancelled]\ntool call cancelled"


def stopped_by(turn: lash.TurnResult) -> str | None:
    """The request that stopped the turn."""
    assert isinstance(turn.outcome, lash.Stopped)
    assert isinstance(turn.outcome.reason, Cancelled)
    assert turn.cancellation is not None
    assert turn.cancellation.request_id == turn.outcome.reason.request_id
    assert (turn.text, turn.is_success) == ("", False)
    return turn.outcome.reason.request_id


def asked_by(request_id: str, origin: str | None, reason: str | None) -> Cancellation:
    """The evidence that a request with these words leaves."""
    return Cancellation(request_id=request_id, origin=origin, reason=reason)


def went(turn: lash.TurnResult) -> list[str]:
    """What became of each tool call of a turn."""
    return [str(call.output.outcome.__struct_config__.tag) for call in turn.tool_calls]


async def goes_on(runtime: lash.Runtime, session: lash.Session, *, word: str = "Next.") -> None:
    """The session takes the next turn, with a history that every provider takes."""
    assert await is_valid(runtime, session.id)
    turn = await session.run(word)
    assert turn.is_success
    assert await is_valid(runtime, session.id)
    assert await session.pending() == []
