"""`lash ps --watch` in a terminal: a table on a screen of its own, drawn anew where it changed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lash.cli.output import console
from lash.cli.ps.standing import Standing
from lash.cli.ps.table import COLUMNS, attention_line, cells, counts_text, in_order
from lash.cli.ps.watch import Board
from lash.cli.reading import now_ms
from lash.cli.wording import local_time, printable

#: Which columns a narrow terminal goes without, with the width below which it does.
_SPARE = (("owner", 110), ("attempts", 90), ("age", 75), ("what", 55))

#: Lines that are always there: the header and the footer.
_FRAME = 2


@contextmanager
def full_screen(db: str) -> Iterator["WatchScreen"]:
    """The terminal's other screen; the first one is as it was when this is left."""
    out = console()
    with Live(console=out, screen=True, auto_refresh=False) as live:
        yield WatchScreen(out, live, db)


class WatchScreen:
    """Draws a board."""

    def __init__(self, out: Console, live: Live, db: str) -> None:
        self._out = out
        self._live = live
        self._db = db
        self._drawn: object = None

    def show(self, board: Board) -> None:
        """Draw what is watched, if it does not look as it did."""
        width, height = self._out.size
        processes, now = in_order(board.standings()), now_ms()
        rows = [cells(process, now) for process in processes]
        reasons = [line for line in map(attention_line, processes) if line is not None]
        footer = self._footer(board, processes)
        board.pruned.clear()
        looks = (width, height, [[cell.plain for cell in row] for row in rows], reasons, footer)
        if looks == self._drawn:
            return
        self._drawn = looks
        self._live.update(_page(rows, reasons, footer, width, height), refresh=True)

    def _footer(self, board: Board, processes: Sequence[Standing]) -> str:
        live = [process for process in processes if not process.record.retired]
        told = [counts_text(processes if board.wanted.filter().status != "live" else live)]
        if board.ended:
            told.append(f"{board.ended} ended since {local_time(board.began_ms)[11:]}")
        return printable(" · ".join([*told, self._db, "Ctrl-C ends"]))


def _page(
    rows: Sequence[tuple[Text, ...]],
    reasons: Sequence[Text],
    footer: str,
    width: int,
    height: int,
) -> RenderableType:
    """As much as there is room for; every line is one, so nothing moves."""
    room = max(1, height - _FRAME)
    said = min(len(reasons), max(room // 3, room - len(rows) - 1))
    gap = 1 if said and room - said > 2 else 0
    listed = min(len(rows), max(1, room - said - gap))
    if len(rows) > listed > 1:
        listed -= 1  # for the line that says how many more there are
    hidden = len(rows) - listed
    parts: list[RenderableType] = [_table(rows[:listed], width)]
    if hidden:
        parts.append(_one_line(Text(f"and {hidden} more", style="dim")))
    parts += [Text("")] * gap
    parts += map(_one_line, reasons[:said])
    parts += [Text("")] * (room - listed - bool(hidden) - gap - said)
    parts.append(_one_line(Text(footer, style="reverse")))
    return Group(*parts)


def _table(rows: Sequence[tuple[Text, ...]], width: int) -> Table:
    spared = {name for name, least in _SPARE if width < least}
    kept = [index for index, name in enumerate(COLUMNS) if name not in spared]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index in kept:
        # Only these give way when it gets narrow; their cells are cut, so a row is a line.
        gives_way = COLUMNS[index] in {"process", "what", "waits for"}
        table.add_column(COLUMNS[index], no_wrap=not gives_way, overflow="ellipsis")
    for row in rows:
        table.add_row(*(_one_line(row[index]) for index in kept))
    return table


def _one_line(text: Text) -> Text:
    line = text.copy()
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
