"""`lash sessions`: what a database holds."""

import asyncio
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lash.cli.json_output import write_json
from lash.cli.output import console, print_table
from lash.cli.reading import now_ms, reading
from lash.cli.wording import (
    agent_text,
    ago,
    parked_text,
    printable,
    relation_text,
    waits_for_text,
)
from lash.sessions.model import SessionState, SessionSummary

STYLES: dict[SessionState, str] = {
    "idle": "",
    "running": "green",
    "waiting": "yellow",
    "parked": "bold red",
}


def sessions(db: str, *, as_json: bool) -> int:
    """Print the sessions of a database, most recently changed first."""
    found = asyncio.run(_load(db))
    if as_json:
        write_json({"database": db, "sessions": found})
    elif found:
        _print(console(), found)
    else:
        console().print(f"{db} holds no sessions yet.")
    return 0


async def _load(db: str) -> Sequence[SessionSummary]:
    async with reading(db) as store:
        return await store.list_sessions()


def _print(out: Console, found: Sequence[SessionSummary]) -> None:
    now = now_ms()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("session", overflow="fold", min_width=12)
    table.add_column("agent", overflow="fold", min_width=8)
    table.add_column("state", no_wrap=True)
    for name in ("turns", "open", "queued", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("changed", no_wrap=True)
    for item in found:
        table.add_row(
            printable(item.session_id),
            printable(agent_text(item.agent)),
            Text(item.state, style=STYLES[item.state]),
            str(item.turns),
            str(item.open_turns),
            str(item.queued),
            str(item.usage.total_tokens),
            ago(item.updated_at_ms, now),
        )
    print_table(out, table)
    for item in found:
        if came_from := relation_text(item.relation):
            out.print(Text(printable(f"\n{item.session_id} is {came_from}"), style="dim"))
        if item.parked is not None:
            whom, why = waits_for_text(item.parked), parked_text(item.parked)
            out.print(Text(printable(f"\n{item.session_id} {whom}: {why}"), style="red"))
