"""`lash abandon`: gives a process up for ever, and says what that means."""

import asyncio
import sys
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lash.app.runtime import Runtime
from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import note
from lash.cli.ps.documents import standing_json
from lash.cli.ps.standing import Standing
from lash.cli.ps.words import identity_text, waits_text
from lash.cli.reading import bystander
from lash.cli.steering import end_text, is_run, seen
from lash.cli.wording import printable
from lash.core.errors import ConfigurationError, ProcessError
from lash.processes.model import ProcessRecord
from lash.processes.writes import AbandonRun

BY = "lash abandon"

#: How long its worker may take to hear of it, in seconds: it looks once in a second at least.
_HEARS_S = 5.0

_Came: TypeAlias = Literal["abandoned", "requested", "completion_won_race"]


@dataclass(frozen=True, slots=True)
class AbandonOptions:
    """What the command line asked for; None where it said nothing."""

    process_id: str
    reason: str | None
    db: str
    yes: bool
    as_json: bool


def abandon(options: AbandonOptions) -> int:
    """Give a process up; 1 when the answer was no, or it came to another end first.

    Raises:
        ConfigurationError: `usage_invalid` without `yes` where nobody can be asked.
        LashError: `process_unknown`, `process_already_terminal`, `process_no_longer_retained`.
    """
    if not options.yes:
        if options.as_json or sys.stdin is None or not sys.stdin.isatty():
            raise ConfigurationError(
                "usage_invalid",
                "There is nobody to ask whether to give the process up; say --yes to do it.",
            )
        if not _confirmed(asyncio.run(_look(options))):
            note("Nothing was changed.")
            return ExitCode.FAILED
    process = asyncio.run(_abandon(options))
    came = _came(process)
    if options.as_json:
        write_json(
            {
                "process_id": options.process_id,
                "outcome": came,
                "process": standing_json(process),
            }
        )
    else:
        sys.stdout.write(printable(f"{_told(came, process)}\n"))
    return ExitCode.FAILED if came == "completion_won_race" else ExitCode.DONE


async def _look(options: AbandonOptions) -> Standing:
    async with bystander(options.db) as runtime:
        return await seen(runtime, await runtime.processes.get(options.process_id))


def _confirmed(process: Standing) -> bool:
    record = process.record
    facts = [identity_text(record.registration.identity), process.state, waits_text(process)]
    sys.stdout.write(
        printable(
            f"Process {record.process_id} ({', '.join(fact for fact in facts if fact)}).\n"
            "Given up, it ends as abandoned, for ever: its code hears nothing of it and cleans nothing "
            "up, and what it did outside stays as it is.\n"
            "To have it stop in good order: lash cancel --process ID\n"
            "Give it up? [y/N] "
        )
    )
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


async def _abandon(options: AbandonOptions) -> Standing:
    async with bystander(options.db) as runtime:
        record = await runtime.processes.abandon(options.process_id, by=BY, reason=options.reason)
        if is_run(runtime, record):
            record = await _heard(runtime, record)
        else:
            await _end(runtime, record)
            record = await runtime.processes.get(options.process_id)
        return await seen(runtime, record)


async def _end(runtime: Runtime, record: ProcessRecord) -> None:
    """End what nobody runs; whoever takes it up meanwhile is told by the request."""
    held = record.lease.held
    claim = runtime.engine.claim_request(None if held is None else held.fencing_token)
    write = AbandonRun(claim=claim, writer="reconciled_request")
    await runtime.engine.processes.registry.write(record.process_id, write)


async def _heard(runtime: Runtime, record: ProcessRecord) -> ProcessRecord:
    """The process once its worker has let go of it, or as it is after a while."""
    try:
        await runtime.processes.handle(record.process_id).outcome(timeout=_HEARS_S)
    except ProcessError:
        pass  # it is told what was asked for, and that it is not done yet
    return await runtime.processes.get(record.process_id)


def _came(process: Standing) -> _Came:
    if process.state == "abandoned":
        return "abandoned"
    return "completion_won_race" if process.record.retired else "requested"


def _told(came: _Came, process: Standing) -> str:
    process_id, outcome = process.record.process_id, process.record.outcome
    match came:
        case "abandoned":
            return f"abandoned: process {process_id} was given up. Nobody knows how far it got."
        case "requested":
            return (
                f"requested: process {process_id} is given up as soon as its worker hears of it, or "
                "is gone."
            )
        case _:
            how = "." if outcome is None else f": {end_text(outcome)}"
            return f"completion won: process {process_id} had come to its end{how}"
