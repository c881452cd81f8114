"""`lash ps`: the processes of a database, as a table, as they change, or one of them in detail."""

import asyncio
import sys
from dataclasses import dataclass

from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import console
from lash.cli.ps.documents import standing_json
from lash.cli.ps.standing import Standing
from lash.cli.ps.states import StateFilter
from lash.cli.ps.table import print_processes
from lash.cli.ps.wanted import Wanted, shown
from lash.cli.reading import now_ms, reading
from lash.cli.wording import printable
from lash.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class PsRequest:
    """What the command line asked for; None where it said nothing."""

    process_id: str | None
    state: StateFilter | None
    name: str | None
    session: str | None
    db: str
    watch: bool
    payloads: bool
    as_json: bool


def ps(request: PsRequest) -> int:
    """Show processes; 130 when watching was interrupted.

    Raises:
        ConfigurationError: `usage_invalid`.
        LashError: `process_unknown`, `process_no_longer_retained`.
    """
    _check(request)
    if request.process_id is not None:
        from lash.cli.ps.story_screen import show_story

        return show_story(
            request.process_id, request.db, payloads=request.payloads, as_json=request.as_json
        )
    wanted = Wanted(state=request.state or "live", name=request.name, session=request.session)
    if request.watch:
        from lash.cli.ps.watch import watch

        return watch(wanted, request.db, as_json=request.as_json)
    found = asyncio.run(_load(wanted, request.db))
    if request.as_json:
        write_json([standing_json(process) for process in found])
    elif found:
        print_processes(console(), found, now_ms())
    else:
        sys.stdout.write(printable(f"{_none(wanted, request.db)}\n"))
    return ExitCode.DONE


def _check(request: PsRequest) -> None:
    listing = (request.state, request.name, request.session)
    if request.process_id is not None and (request.watch or any(listing)):
        raise ConfigurationError(
            "usage_invalid",
            "PROCESS shows one process; --watch, --all, --status, --name and --session go with the "
            "list.",
        )
    if request.process_id is None and request.payloads:
        raise ConfigurationError("usage_invalid", "--payloads goes with PROCESS.")


async def _load(wanted: Wanted, db: str) -> list[Standing]:
    async with reading(db) as store:
        return await shown(store, wanted, now_ms())


def _none(wanted: Wanted, db: str) -> str:
    if wanted == Wanted():
        return f"{db} holds no live processes; --all shows those that have ended."
    if wanted == Wanted(state="any"):
        return f"{db} holds no processes."
    return f"{db} holds no such processes."
