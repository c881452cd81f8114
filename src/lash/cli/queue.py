"""`lash queue`: what waits to enter a session."""

import asyncio
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from lash.cli.json_output import write_json
from lash.cli.output import console, print_table
from lash.cli.queued import enters_text, item_kind, item_text, queued_json
from lash.cli.reading import now_ms, reading
from lash.cli.transcript import find_session
from lash.cli.wording import ago, one_line, printable
from lash.sessions.ingress import QueuedItem


def queue(session_id: str, db: str, *, as_json: bool) -> int:
    """Print what waits to enter a session, in order.

    Raises:
        LashError: `session_unknown`.
    """
    items = asyncio.run(_load(session_id, db))
    if as_json:
        write_json({"session_id": session_id, "items": [queued_json(item) for item in items]})
    elif items:
        _print(console(), items)
    else:
        console().print(printable(f"Nothing waits to enter session {session_id}."))
    return 0


async def _load(session_id: str, db: str) -> Sequence[QueuedItem]:
    async with reading(db) as store:
        await find_session(store, session_id)
        return await store.list_queue(session_id)


def _print(out: Console, items: Sequence[QueuedItem]) -> None:
    now = now_ms()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("item", overflow="fold", min_width=12)
    table.add_column("kind", no_wrap=True)
    table.add_column("enters", overflow="fold", min_width=8)
    table.add_column("text", overflow="fold", min_width=12)
    table.add_column("queued", no_wrap=True)
    for item in items:
        table.add_row(
            printable(item.item_id),
            printable(item_kind(item).replace("_", " ")),
            printable(enters_text(item)),
            one_line(item_text(item)),
            ago(item.enqueued_at_ms, now),
        )
    print_table(out, table)
