"""Processes as a table: what needs a person first, and why what does not go on does not."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lash.cli.output import print_table
from lash.cli.ps.standing import Standing
from lash.cli.ps.states import STATES, State
from lash.cli.ps.words import (
    attempts_text,
    attention_text,
    identity_text,
    owner_text,
    waits_text,
)
from lash.cli.wording import age, ago, printable

STYLES: dict[State, str] = {
    "running": "green",
    "waiting": "cyan",
    "parked": "bold yellow",
    "resting": "yellow",
    "ready": "yellow",
    "external": "",
    "stranded": "bold red",
    "completed": "dim",
    "failed": "red",
    "cancelled": "dim",
    "abandoned": "red",
}
_PERSON = "bold red"

COLUMNS: tuple[str, ...] = (
    "process",
    "what",
    "status",
    "waits for",
    "since",
    "attempts",
    "owner",
    "age",
)


def in_order(processes: Iterable[Standing]) -> list[Standing]:
    """What needs a person first, then what else does not go on, then the rest; the oldest first."""

    def place(process: Standing) -> tuple[object, ...]:
        holds_up = attention_text(process) is not None
        rank = (not process.needs_person, not holds_up, process.record.retired)
        return (*rank, process.record.created_at_ms, process.record.process_id)

    return sorted(processes, key=place)


def style_of(process: Standing) -> str:
    """How a process's state looks."""
    return _PERSON if process.needs_person else STYLES[process.state]


def cells(process: Standing, now_ms: int) -> tuple[Text, ...]:
    """A row of the table, in the order of `COLUMNS`."""
    record = process.record
    since = "" if process.since_ms is None else ago(process.since_ms, now_ms)
    told = (
        record.process_id,
        identity_text(record.registration.identity),
        process.state,
        waits_text(process),
        since,
        attempts_text(record),
        _runs_it(process),
        age(now_ms - record.created_at_ms),
    )
    return tuple(
        Text(printable(text), style=style_of(process) if column == "status" else "")
        for column, text in zip(COLUMNS, told, strict=True)
    )


def _runs_it(process: Standing) -> str:
    if process.record.retired or process.state == "external":
        return ""
    if process.holder is None:
        return "nobody"
    return owner_text(process.holder.owner) if process.holder_lives else "gone"


def attention_line(process: Standing) -> Text | None:
    """Why a process does not go on, if it does not, to stand on a line of its own."""
    told = attention_text(process)
    return None if told is None else Text(told, style=style_of(process))


def print_processes(out: Console, processes: Sequence[Standing], now_ms: int) -> None:
    """Print a table of processes, and below it why some do not go on."""
    ordered = in_order(processes)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS:
        if name in {"process", "what", "waits for"}:
            table.add_column(name, overflow="fold", min_width=10)
        else:
            table.add_column(name, no_wrap=True)
    for process in ordered:
        table.add_row(*cells(process, now_ms))
    print_table(out, table)
    for line in map(attention_line, ordered):
        if line is not None:
            out.print(Text("\n").append_text(line), soft_wrap=not out.is_terminal)


def counts_text(processes: Iterable[Standing]) -> str:
    """How many there are, by state: `3 processes · 1 needs a person · 1 parked · 2 running`."""
    by_state: dict[State, int] = {}
    people = total = 0
    for process in processes:
        by_state[process.state] = by_state.get(process.state, 0) + 1
        people += process.needs_person
        total += 1
    told = ["1 process" if total == 1 else f"{total} processes"]
    told += [f"{people} need{'s' if people == 1 else ''} a person"] if people else []
    told += [f"{by_state[state]} {state}" for state in STATES if state in by_state]
    return " · ".join(told)
