"""Where output for people goes: a console, tables that fit it, notes beside the output proper."""

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lash.cli.wording import printable

#: Wider than any row.
_FULL_WIDTH = 10_000


def console() -> Console:
    """A console on stdout: colours in a terminal only, 80 columns in a pipe."""
    return Console(highlight=False, markup=False, emoji=False)


def print_table(out: Console, table: Table) -> None:
    """Print a table: fitted to a terminal, and a row to a line anywhere else.

    In a terminal too narrow for its columns, every row becomes a paragraph: nothing is left out.
    """
    wanted = _width(out, table)
    if not out.is_terminal:
        out.width = max(out.width, wanted.maximum)
    elif wanted.minimum > out.width:
        _print_paragraphs(out, table)
        return
    out.print(table)


def _width(out: Console, table: Table) -> Measurement:
    return out.measure(table, options=out.options.update(max_width=_FULL_WIDTH))


def _print_paragraphs(out: Console, table: Table) -> None:
    for cells in zip(*(tuple(column.cells) for column in table.columns), strict=True):
        told = [cell if isinstance(cell, Text) else Text(str(cell)) for cell in cells]
        named = [
            Text.assemble((f"{column.header}: ", "dim"), cell)
            for column, cell in zip(table.columns, told, strict=True)
            if cell.plain
        ]
        for number, line in enumerate(named):
            out.print(Text("  " if number else "").append_text(line), overflow="fold")


def note(text: str, style: str = "dim") -> None:
    """A line on stderr, beside the output proper."""
    Console(stderr=True).print(Text(printable(text), style=style), soft_wrap=True)
