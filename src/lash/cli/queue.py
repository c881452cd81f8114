"""`lash queue`: what waits to enter a session."""

import asyncio
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from lash.cli.output import console, print_table, write_json
from lash.cli.reading import now_ms, reading
from lash.cli.transcript import find_session
from lash.cli.wording import ago, one_line, printable
from lash.sessions.ingress import CommandWork, QueuedItem, UserInput


def queue(session_id: str, db: str, *, as_json: bool) -> int:
    """Print what waits to enter a session, in order.

    Raises:
        LashError: `session_unknown`.
    """
    items = asyncio.run(_load(session_id, db))
    if as_json:
        write_json({"session_id": session_id, "items": [_document(item) for item in items]})
    elif items:
        _print(console(), items)
    else:
        console().print(printable(f"Nothing waits to enter session {session_id}."))
    return 0


async def _load(session_id: str, db: str) -> Sequence[QueuedItem]:
    async with reading(db) as store:
        await find_session(store, session_id)
        return await store.list_queue(session_id)


def item_kind(item: QueuedItem) -> str:
    """What sort of item it is: `input`, `wake`, or the command's name."""
    match item.payload:
        case CommandWork(command=command):
            return str(command.__struct_config__.tag)
        case UserInput() | None:
            return "input"
        case _:
            return "wake"


def item_text(item: QueuedItem) -> str:
    """What an item of user input says."""
    return item.payload.input.text if isinstance(item.payload, UserInput) else ""


def enters_text(item: QueuedItem) -> str:
    """Where an item will enter, as it stands now."""
    if item.state == "pending_active":
        return f"turn {item.turn_id}" if item.turn_id else "the turn that runs"
    return "the next turn"


def _document(item: QueuedItem) -> dict[str, object]:
    return {
        "item_id": item.item_id,
        "kind": item_kind(item),
        "text": item_text(item),
        "state": item.state,
        "ingress": item.ingress,
        "turn_id": item.turn_id,
        "source_key": item.source_key,
        "enqueued_at_ms": item.enqueued_at_ms,
        "available_at_ms": item.available_at_ms,
    }


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
