"""`lash usage`: what a session used, by what it was spent for and by model."""

import asyncio

from rich.console import Console
from rich.table import Table

from lash.cli.json_output import write_json
from lash.cli.output import console, print_table
from lash.cli.reading import reading
from lash.cli.transcript import find_session
from lash.cli.wording import printable
from lash.llm.usage import Usage
from lash.sessions.usage import SessionUsageReport, report


def usage(session_id: str, db: str, *, as_json: bool) -> int:
    """Print what a session used.

    Raises:
        LashError: `session_unknown`.
    """
    found = asyncio.run(_load(session_id, db))
    if as_json:
        write_json({"session_id": session_id, "usage": found})
    elif found.by_source_model:
        print_usage(console(), found)
    else:
        console().print(printable(f"Session {session_id} has used nothing yet."))
    return 0


async def _load(session_id: str, db: str) -> SessionUsageReport:
    async with reading(db) as store:
        await find_session(store, session_id)
        return report(await store.list_usage(session_id))


def print_usage(out: Console, found: SessionUsageReport) -> None:
    """Print a report as a table, with its total at the end."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("source", overflow="fold", min_width=6)
    table.add_column("model", overflow="fold", min_width=8)
    for name in ("in", "out", "cached", "reasoning", "total"):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in found.by_source_model:
        table.add_row(printable(entry.source), printable(entry.model), *_numbers(entry.usage))
    table.add_row("total", "", *_numbers(found.usage), style="bold")
    print_table(out, table)


def _numbers(used: Usage) -> tuple[str, ...]:
    return (
        str(used.prompt_tokens),
        str(used.output_tokens),
        str(used.cache_read_input_tokens),
        str(used.reasoning_output_tokens),
        str(used.total_tokens),
    )
