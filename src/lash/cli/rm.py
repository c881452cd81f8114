"""`lash rm`: removes a session for ever."""

import asyncio
import sys

from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import note
from lash.cli.reading import bystander, existing_store
from lash.cli.transcript import find_session
from lash.cli.wording import counted, printable
from lash.core.errors import ConfigurationError, LashError
from lash.sessions.deleting import DeleteReport
from lash.sessions.model import SessionSummary


def rm(session_id: str, db: str, *, yes: bool, as_json: bool) -> int:
    """Remove a session; 1 when the answer was no.

    Raises:
        ConfigurationError: `usage_invalid` without `yes` where nobody can be asked.
        SessionBusyError: A live process drives the session.
        LashError: `session_unknown`.
    """
    if not yes:
        if as_json or sys.stdin is None or not sys.stdin.isatty():
            raise ConfigurationError(
                "usage_invalid",
                "There is nobody to ask whether to remove the session; say --yes to do it.",
            )
        if not _confirmed(asyncio.run(_find(session_id, db))):
            note("Nothing was removed.")
            return ExitCode.FAILED
    report = asyncio.run(_remove(session_id, db))
    if as_json:
        write_json(report)
    else:
        _print(report)
    return ExitCode.DONE


async def _find(session_id: str, db: str) -> SessionSummary:
    async with existing_store(db) as store:
        return await find_session(store, session_id)


def _confirmed(session: SessionSummary) -> bool:
    held = [counted(session.turns, "turn")]
    held += [f"{session.open_turns} open"] if session.open_turns else []
    held += [f"{session.queued} queued"] if session.queued else []
    question = f"Remove session {session.session_id} ({', '.join(held)}) for ever? [y/N] "
    sys.stdout.write(printable(question))
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


async def _remove(session_id: str, db: str) -> DeleteReport:
    async with bystander(db) as runtime:
        report = await runtime.delete_session(session_id)
        if report is None:
            raise LashError(
                "session_unknown",
                f"There is no session {session_id!r} in this database, or not any more; nothing was "
                "removed.",
                session_id=session_id,
            )
        return report


def _print(report: DeleteReport) -> None:
    went = [
        counted(report.turns, "turn"),
        *([f"{report.open_turns} unfinished"] if report.open_turns else []),
        *([f"{counted(report.items, 'queued item')}"] if report.items else []),
        *([f"{report.records} recorded effects"] if report.records else []),
        *([f"{counted(report.waits, 'promise')}"] if report.waits else []),
    ]
    lines = [f"Removed {report.session_id}: {', '.join(went)}. Its id will not be used again."]
    if report.orphans:
        lines.append(f"These live on: {', '.join(report.orphans)}.")
    if report.shares_history:
        lines.append("What forks share of its history stays with them.")
    sys.stdout.write(printable("\n".join(lines)) + "\n")
