"""`lash doctor`: whether everything in a database fits together, and what to do if not."""

import asyncio
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import console
from lash.cli.reading import reading
from lash.cli.wording import counted, printable
from lash.sessions.checking import Finding

_RESTORE = (
    "Restore the database from a backup, or remove the session: lash rm SESSION. Its history cannot "
    "be trusted."
)
_REMEDIES = {
    "turn_unsettled": "Open the file with a runtime that has the session's agent: it settles the turn.",
    "item_stuck": "Send the input again under a new source key; the stuck item does no harm.",
    "item_unreachable": "Take it back and send it again: /queue drop in lash chat, or cancel_pending.",
    "lease_abandoned": "Nothing needs to be done: the next runtime takes the session at once.",
    "journal_orphaned": "It costs space only. If it comes again, keep a copy of the file and report it.",
    "wait_abandoned": "It costs space only; lash vacuum removes the promises with their journal.",
    "session_missing": "The rows cost space only. Restore from a backup if the session is missed.",
    "session_not_deleted": "Remove it again: lash rm SESSION.",
    "process_log_broken": "Restore the database from a backup; what the process did cannot be trusted.",
    "process_state_mismatch": "Keep a copy of the file and report it. Its log is the truth, not its row.",
    "process_lease_kept": "Nothing needs to be done: nobody runs what has ended.",
    "process_missing": "The rows cost space only. Restore from a backup if the process is missed.",
    "trigger_row_mismatch": "Keep a copy of the file and report it. Subscribe again, or emit again.",
    "attachment_bytes_missing": "Put the same bytes again, or restore the directory beside the database "
    "from its backup. A tool that was killed before it wrote them leaves the same; nobody misses those.",
    "usage_mismatch": "History is whole; only the token counts of the session cannot be relied on.",
}


def doctor(db: str, *, as_json: bool) -> int:
    """Check a database; 0 when nothing is found, else 1."""
    findings = asyncio.run(_check(db))
    if as_json:
        write_json({"database": db, "findings": [_document(finding) for finding in findings]})
    else:
        _print(console(), db, findings)
    return ExitCode.FAILED if findings else ExitCode.DONE


async def _check(db: str) -> Sequence[Finding]:
    async with reading(db) as store:
        return await store.check()


def remedy(finding: Finding) -> str:
    """What to do about a finding."""
    told = _REMEDIES.get(finding.code, _RESTORE)
    return told.replace("SESSION", finding.session_id or "SESSION")


def _document(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "severity": finding.severity,
        "session_id": finding.session_id,
        "message": finding.message,
        "what_to_do": remedy(finding),
    }


def _print(out: Console, db: str, findings: Sequence[Finding]) -> None:
    if not findings:
        out.print(printable(f"{db}: everything fits together."), soft_wrap=True)
        return
    for finding in findings:
        style = "bold red" if finding.severity == "error" else "yellow"
        where = f" · session {finding.session_id}" if finding.session_id is not None else ""
        head = Text(finding.severity, style=style)
        head.append(printable(f" · {finding.code}{where}"), style="not bold default")
        out.print(head, soft_wrap=True)
        out.print(Text(printable(f"  {finding.message}")), soft_wrap=True)
        out.print(Text(printable(f"  → {remedy(finding)}"), style="dim"), soft_wrap=True)
    out.print(f"{counted(len(findings), 'finding')}.")
