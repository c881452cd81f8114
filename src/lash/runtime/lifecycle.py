"""Sessions as a whole: one that begins with another's history, and one that is removed for ever."""

from lash.core.errors import ConflictError, LashError
from lash.effects.shielding import shielded
from lash.runtime.engine import Engine
from lash.sessions.deleting import Deleted, DeleteReport
from lash.sessions.forking import Forked, ForkRequest
from lash.sessions.model import SessionHead


async def fork(engine: Engine, request: ForkRequest) -> SessionHead:
    """A new session that shares the history of another one.

    Raises:
        ConflictError: `fork_session_exists`, `session_deleted`.
        LashError: `session_unknown`, `fork_point_not_retained`, `fork_point_invalid`.
    """
    result = await shielded(engine.store.fork_session(request))
    if isinstance(result, Forked):
        return result.head
    conflict = result.code in {"fork_session_exists", "session_deleted"}
    kind = ConflictError if conflict else LashError
    raise kind(result.code, result.message, session_id=request.new_id)


async def delete(engine: Engine, session_id: str) -> DeleteReport | None:
    """Remove a session for ever; None when there is nothing to remove.

    Raises:
        SessionBusyError: Another live process drives the session.
        LashError: `session_still_in_use`: it is driven here.
    """
    if engine.in_use(session_id):
        raise LashError(
            "session_still_in_use",
            f"Session {session_id!r} cannot be deleted: a turn of it is under way. Stop the turn, "
            "or wait for its end. Nothing was changed.",
            session_id=session_id,
        )
    return await shielded(_delete(engine, session_id))


async def _delete(engine: Engine, session_id: str) -> DeleteReport | None:
    result = await engine.claiming(
        session_id, lambda claim: engine.store.delete_session(session_id, claim)
    )
    if not isinstance(result, Deleted):
        return None
    engine.histories.forget(session_id)
    engine.observations.deleted(session_id)
    # The rows are gone already; who waits for them here is told.
    await engine.effects.revoke_await_events_for_session(session_id)
    return result.report
