"""`lash journal`: what the turns of a session recorded, or what one turn did, effect by effect."""

import asyncio
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lash.cli.awaiting import AwaitedAnswer
from lash.cli.json_output import write_json
from lash.cli.output import console, print_table
from lash.cli.reading import reading
from lash.cli.recorded import (
    JournaledTurn,
    RecordedEffect,
    TurnJournal,
    load_overview,
    load_turn_journal,
)
from lash.cli.wording import (
    counted,
    elapsed,
    local_time,
    outcome_text,
    parked_text,
    printable,
    size_text,
    until,
    waits_for_text,
)
from lash.sessions.model import SessionSummary


def journal(session_id: str, turn_id: str | None, db: str, *, as_json: bool) -> int:
    """Print what a turn recorded, or what the turns of a session did.

    Raises:
        LashError: `session_unknown`, `turn_unknown`.
    """
    if turn_id is None:
        session, turns = asyncio.run(_load_overview(session_id, db))
        if as_json:
            write_json({"session": session, "turns": turns})
        else:
            _print_overview(console(), session, turns)
        return 0
    found = asyncio.run(_load_turn(session_id, turn_id, db))
    if as_json:
        write_json(found)
    else:
        _print_turn(console(), found)
    return 0


def short_key(key: str, session_id: str, turn_id: str) -> str:
    """A replay key without what all keys of a turn begin with: the session, the turn, its index."""
    prefix = f"{session_id}:{turn_id}:"
    index, colon, rest = key.removeprefix(prefix).partition(":")
    return rest if key.startswith(prefix) and colon and index.isdigit() else key


async def _load_overview(
    session_id: str, db: str
) -> tuple[SessionSummary, Sequence[JournaledTurn]]:
    async with reading(db) as store:
        return await load_overview(store, session_id)


async def _load_turn(session_id: str, turn_id: str, db: str) -> TurnJournal:
    async with reading(db) as store:
        return await load_turn_journal(store, session_id, turn_id)


# --- all turns of a session -------------------------------------------------------------------------


def _print_overview(out: Console, session: SessionSummary, turns: Sequence[JournaledTurn]) -> None:
    out.print(Text(printable(session.session_id), style="bold"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("turn", overflow="fold", min_width=12)
    table.add_column("state")
    for name in ("effects", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("journal", no_wrap=True)
    for turn in turns:
        table.add_row(
            printable(turn.turn_id),
            Text(_state_text(turn), style=_STYLES.get(turn.state, "")),
            str(turn.effects),
            size_text(turn.bytes),
            "retired" if turn.retired else "kept",
        )
    print_table(out, table)


#: `open turn` is told of in colour; a committed one is what is expected.
_STYLES = {"running": "green", "waiting": "yellow", "queued": "yellow", "parked": "bold red"}


def _state_text(turn: JournaledTurn) -> str:
    if turn.outcome is not None:
        return f"committed, {outcome_text(turn.outcome)}"
    return f"open, {turn.state}"


# --- one turn ---------------------------------------------------------------------------------------


def _print_turn(out: Console, found: TurnJournal) -> None:
    turn = found.turn
    heading = Text(printable(turn.turn_id), style="bold")
    facts = [
        f"session {found.session_id}",
        _state_text(turn),
        f"accepted {local_time(turn.accepted_at_ms)}",
        counted(turn.effects, "effect"),
        size_text(turn.bytes),
    ]
    heading.append(printable(f" · {' · '.join(facts)}"), style="not bold dim")
    out.print(heading, soft_wrap=True)  # ids stay whole, to be copied
    if found.asked_for != turn.turn_id:
        told = f"Turn {found.asked_for} was begun again; this is the turn it became."
        out.print(Text(printable(told), style="yellow"), soft_wrap=True)
    if turn.parked is not None:
        why = f"parked: it {waits_for_text(turn.parked)}: {parked_text(turn.parked)}"
        out.print(Text(printable(why), style="red"), soft_wrap=True)
    if turn.retired:
        out.print("Its journal was retired: retention removed what it had recorded.")
    elif found.effects or found.waits:
        print_table(out, _effects(found))
    else:
        out.print("Nothing is recorded yet.")


def _effects(found: TurnJournal) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("effect")
    table.add_column("key", overflow="fold", min_width=12)
    for name in ("recorded", "took", "size"):
        table.add_column(name, justify="right")
    table.add_column("state")
    for effect in found.effects:
        _add_effect(table, effect, found)
    for wait in found.waits:
        _add_wait(table, wait)
    return table


def _add_effect(table: Table, effect: RecordedEffect, found: TurnJournal) -> None:
    state = Text("recorded")
    if effect.state == "sleeping" and effect.due_at_ms is not None:
        due = _moment(effect.due_at_ms, found.turn.accepted_at_ms)
        state = Text(f"sleeping until {due}", style="yellow")
    table.add_row(
        str(effect.number),
        printable(effect.kind.replace("_", " ")),
        printable(short_key(effect.key, found.session_id, found.turn.turn_id)),
        _moment(effect.recorded_at_ms, found.turn.accepted_at_ms),
        elapsed(effect.duration_ms),
        size_text(effect.bytes),
        state,
    )


def _add_wait(table: Table, wait: AwaitedAnswer) -> None:
    """A promise has no number: it is not recorded before it is resolved."""
    state = f"waiting{until(wait.deadline_at_ms)}" if wait.state == "waiting" else "timed out"
    told = f"{wait.name} ({wait.tool})" if wait.tool else wait.name
    table.add_row(
        "",
        printable(wait.kind.replace("_", " ")),
        printable(told),
        "",
        "",
        "",
        Text(state, style="yellow"),
    )


def _moment(at_ms: int, turn_began_ms: int) -> str:
    """A moment without its date, on the day on which the turn began."""
    told, day = local_time(at_ms), local_time(turn_began_ms)[:11]
    return told.removeprefix(day)
