"""Where output goes: a console for people, one JSON document for programs."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from typing import TextIO

import msgspec
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lash.cli.wording import printable
from lash.core.json import JsonValue

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


def write_json(value: object) -> None:
    """Print one JSON document, in ASCII where the output could not carry more."""
    text = json.dumps(plain(value), ensure_ascii=not _takes_unicode(sys.stdout), indent=2)
    sys.stdout.write(f"{text}\n")


def write_json_line(out: TextIO, value: object) -> None:
    """Write one JSON document on a line of its own, at once."""
    out.write(f"{json.dumps(plain(value), ensure_ascii=not _takes_unicode(out))}\n")
    out.flush()


def _takes_unicode(out: TextIO) -> bool:
    return (out.encoding or "").lower().replace("-", "") == "utf8"


def plain(value: object) -> JsonValue:
    """Plain data with every field of every value: keys do not come and go with the content.

    What is stored leaves defaults out, so that stored bytes keep their hash; readers of output want
    the same keys every time.
    """
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        fields: dict[str, JsonValue] = {}
        if config.tag_field is not None:
            fields[config.tag_field] = config.tag
        return fields | {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    builtin: JsonValue = msgspec.to_builtins(value)
    return builtin
