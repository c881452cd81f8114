"""What a session looks like in a list."""

from lash.sessions.model import Parked, SessionHead, SessionState, SessionSummary


def session_state(*, running: bool, open_turns: int, parked: Parked | None) -> SessionState:
    """Whether a session runs, waits for a driver, waits for a person, or rests."""
    if running:
        return "running"
    if open_turns == 0:
        return "idle"
    return "waiting" if parked is None else "parked"


def summarise(
    head: SessionHead,
    *,
    running: bool,
    open_turns: int,
    queued: int,
    parked: Parked | None,
    updated_at_ms: int,
) -> SessionSummary:
    """A session in a list. `running` means that a live owner holds its lease."""
    return SessionSummary(
        session_id=head.session_id,
        agent=head.agent,
        state=session_state(running=running, open_turns=open_turns + queued, parked=parked),
        turns=head.turn_index,
        open_turns=open_turns,
        usage=head.usage,
        created_at_ms=head.created_at_ms,
        updated_at_ms=updated_at_ms,
        parked=parked,
        queued=queued,
        relation=head.relation,
    )
