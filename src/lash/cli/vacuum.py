"""`lash vacuum`: gives back the space of what nobody will ask for any more."""

import asyncio
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal, TypeAlias

import msgspec

from lash.app.attachments import GRACE
from lash.app.runtime import Runtime
from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.reading import bystander
from lash.cli.wording import counted
from lash.core.errors import LashError
from lash.effects.journal import Retirement
from lash.runtime.attachment_reclaim import ReclaimReport
from lash.sessions.maintenance import VacuumReport

Status: TypeAlias = Literal["removed", "empty", "blocked", "failed"]


@dataclass(frozen=True, slots=True)
class _Done:
    """What was done so far; None for a step that did not come to its end."""

    journals: Retirement | None = None
    rest: VacuumReport | None = None
    attachments: ReclaimReport | None = None
    failure: LashError | None = None

    @property
    def status(self) -> Status:
        """What it came to: `blocked` when all there was is in use, or too young."""
        done, bytes_ = self.rest, self.attachments
        if self.failure is not None or self.journals is None or done is None or bytes_ is None:
            return "failed"
        if done.removed or self.journals.scopes or bytes_.reclaimed:
            return "removed"
        return "blocked" if done.blocked or bytes_.status == "incomplete" else "empty"


def vacuum(older_than: timedelta, db: str, *, as_json: bool) -> int:
    """Give back space; what was removed before a failure is told, and the failure raised.

    Raises:
        LashError: What the store says.
    """
    done = asyncio.run(_vacuum(older_than, db))
    if as_json:
        write_json(
            {
                "status": done.status,
                "older_than_s": round(older_than.total_seconds()),
                "journals": done.journals,
                "rest": done.rest,
                "attachments": done.attachments,
            }
        )
    else:
        _print(done)
    if done.failure is not None:
        raise done.failure
    return ExitCode.DONE


async def _vacuum(older_than: timedelta, db: str) -> _Done:
    async with bystander(db) as runtime:
        done = _Done()
        try:
            done = replace(done, journals=await _retire(runtime, older_than))
            done = replace(done, rest=await runtime.vacuum(older_than))
            done = replace(done, attachments=await _reclaim(runtime, older_than))
        except LashError as failure:
            done = replace(done, failure=failure)
        return done


async def _retire(runtime: Runtime, older_than: timedelta) -> Retirement:
    total = Retirement()
    while True:
        step = await runtime.retire_journals(older_than)
        total = Retirement(
            scopes=total.scopes + step.scopes,
            records=total.records + step.records,
            waits=total.waits + step.waits,
            blobs=total.blobs + step.blobs,
            more=step.more,
        )
        if not step.more or not step.scopes:
            return total


async def _reclaim(runtime: Runtime, older_than: timedelta) -> ReclaimReport:
    """Sweep attachments, with a day's grace at least: somebody may be about to use what was put."""
    try:
        return await runtime.attachments.reclaim(max(older_than, GRACE))
    except LashError as error:
        if error.code != "attachment_roots_empty":
            raise
        found = msgspec.convert(error.details["report"], ReclaimReport)
        return msgspec.structs.replace(found, root_enumeration_failure=error.message)


_MEANS: dict[Status, str] = {
    "removed": "Space was given back; the file uses it again before it grows.",
    "empty": "There was nothing to remove.",
    "blocked": "Nothing could be removed: what there is, is in use or too young.",
    "failed": "It was not finished.",
}


def _print(done: _Done) -> None:
    lines = [f"{done.status}: {_MEANS[done.status]}"]
    if done.journals is not None and done.journals.scopes:
        gone = done.journals
        lines.append(
            f"  journals  {counted(gone.scopes, 'scope')}, {counted(gone.records, 'record')}, "
            f"{counted(gone.waits, 'promise')}"
        )
    rest = done.rest or VacuumReport()
    removed = {
        "node": rest.removed_nodes,
        "payload of the queue": rest.removed_queue_payloads,
        "item that was taken back": rest.removed_cancelled_items,
        "request to stop": rest.removed_cancellations,
        "large outcome": rest.removed_blobs,
        "surrounding": rest.removed_surroundings,
    }
    swept = done.attachments or ReclaimReport()
    removed["attachment"] = swept.reclaimed
    lines += [f"  removed   {what}: {number}" for what, number in removed.items() if number]
    stays = {
        "deleted sessions whose history others share": rest.shared_histories,
        "items that wait to be taken": rest.unfinished_items,
        "settled too lately": rest.recent,
        "attachments that are in use or could not be deleted": len(swept.deferred)
        + len(swept.failed),
        "attachments, to which nobody refers at all": swept.scanned
        if swept.root_enumeration_failure
        else 0,
    }
    lines += [f"  stays     {number} {what}" for what, number in stays.items() if number]
    sys.stdout.write("\n".join(lines) + "\n")
