"""`lash fork`: begins a session with the history of another one."""

import asyncio
import sys

from lash.cli.json_output import write_json
from lash.cli.reading import bystander
from lash.cli.wording import agent_text, counted, printable
from lash.core.errors import LashError
from lash.sessions.model import SessionSummary


def fork(session_id: str, new_id: str, at: str | None, db: str, *, as_json: bool) -> int:
    """Fork a session.

    Raises:
        ConflictError: `fork_session_exists`, `session_deleted`.
        LashError: `session_unknown`, `fork_point_not_retained`, `fork_point_invalid`,
            `session_id_invalid`.
    """
    forked, messages = asyncio.run(_fork(session_id, new_id, at, db))
    if as_json:
        write_json({"session": forked, "messages": messages})
    else:
        told = (
            f"{forked.session_id} begins with {counted(messages, 'message')} of {session_id}, under "
            f"{agent_text(forked.agent)}."
        )
        sys.stdout.write(f"{printable(told)}\n")
    return 0


async def _fork(
    session_id: str, new_id: str, at: str | None, db: str
) -> tuple[SessionSummary, int]:
    async with bystander(db) as runtime:
        forked = await runtime.session(session_id).fork(new_id, at=at)
        summary = await forked.info()
        if summary is None:
            raise LashError(
                "session_deleted", f"Session {new_id!r} was deleted as soon as it was forked."
            )
        return summary, len(await forked.history(whole=True))
