"""`lash cancel --process`: asks a background process to stop, whoever runs it."""

import asyncio
import sys
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import note
from lash.cli.ps.documents import outcome_json, standing_json
from lash.cli.ps.standing import Standing
from lash.cli.reading import bystander
from lash.cli.steering import end_text, is_run, seen
from lash.cli.wording import one_line, printable
from lash.processes.outcomes import NoLongerRetained, ObservedOutput

_Asked: TypeAlias = Literal["requested", "already_requested", "completion_won_race"]


@dataclass(frozen=True, slots=True)
class _Came:
    """What came of it. `ended` is how it ended, if it did and that was waited for."""

    asked: _Asked
    process: Standing
    ended: ObservedOutput | None


def cancel_process(
    process_id: str, db: str, *, reason: str | None, wait: bool, as_json: bool
) -> int:
    """Ask a process to stop; 0 when it is asked, 1 when it had come to its end.

    Raises:
        LashError: `process_unknown`, `process_no_longer_retained`.
    """
    came = asyncio.run(_cancel(process_id, db, reason, wait=wait, as_json=as_json))
    if as_json:
        write_json(_document(came))
    else:
        sys.stdout.write(printable(f"{_told(came)}\n"))
        if came.ended is not None:
            sys.stdout.write(printable(f"It ended: {end_text(came.ended)}\n"))
    return ExitCode.FAILED if came.asked == "completion_won_race" else ExitCode.DONE


async def _cancel(
    process_id: str, db: str, reason: str | None, *, wait: bool, as_json: bool
) -> _Came:
    async with bystander(db) as runtime:
        processes = runtime.processes
        before = await processes.get(process_id)
        record = before if before.retired else await processes.cancel(process_id, reason)
        process = await seen(runtime, record)
        if record.retired:
            return _Came("completion_won_race", process, record.outcome)
        asked: _Asked = "requested" if before.state.cancel is None else "already_requested"
        if not as_json and not is_run(runtime, record):
            note(_nobody(process), "yellow")
        ended = await processes.handle(process_id).outcome() if wait else None
        return _Came(asked, process, ended)


def _nobody(process: Standing) -> str:
    if process.state == "external":
        return "It is done elsewhere: the request is kept for whoever does it."
    return "Nobody runs it now: the next worker that has its code tells it."


def _told(came: _Came) -> str:
    record = came.process.record
    if came.asked == "completion_won_race":
        return (
            f"completion won: process {record.process_id} had come to its end; nothing was changed."
        )
    if came.asked == "already_requested":
        first = record.state.cancel
        why = f": {one_line(first.reason)}" if first is not None and first.reason else ""
        return f"already requested: process {record.process_id} was asked to stop before{why}."
    return f"requested: process {record.process_id} is told where it waits, or at the next thing it does."


def _document(came: _Came) -> dict[str, object]:
    # One that was pruned meanwhile has no outcome any more.
    ended = None if isinstance(came.ended, NoLongerRetained) else came.ended
    return {
        "process_id": came.process.record.process_id,
        "outcome": came.asked,
        "process": standing_json(came.process),
        "ended": None if ended is None else outcome_json(ended),
    }
