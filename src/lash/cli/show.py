"""`lash show`: a session as a transcript, turn by turn."""

import asyncio
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lash.app.results import HistoryMessage
from lash.cli.awaiting import awaited_text
from lash.cli.json_output import write_json
from lash.cli.output import console
from lash.cli.queued import enters_text, item_kind, item_text, said_text
from lash.cli.reading import now_ms, reading
from lash.cli.transcript import (
    CommittedTurn,
    OpenTurn,
    Transcript,
    command_of,
    load_transcript,
    transcript_json,
)
from lash.cli.wording import (
    agent_text,
    ago,
    arguments_text,
    cancelled_text,
    counted,
    elapsed,
    issue_text,
    local_time,
    one_line,
    outcome_text,
    parked_text,
    printable,
    relation_text,
    tool_line,
    tools_text,
    usage_text,
    waits_for_text,
)
from lash.core.attachments import named_attachment
from lash.sessions.ingress import QueuedItem
from lash.sessions.model import ToolCallRecord

#: Longer results are cut; `--json` has them whole.
_RESULT_LIMIT = 400


def show(session_id: str, db: str, *, as_json: bool) -> int:
    """Print a session of a database."""
    transcript = asyncio.run(_load(session_id, db))
    if as_json:
        write_json(transcript_json(transcript))
    else:
        out = console()
        _print_summary(out, transcript)
        print_turns(out, transcript)
    return 0


async def _load(session_id: str, db: str) -> Transcript:
    async with reading(db) as store:
        return await load_transcript(store, session_id)


def _print_summary(out: Console, transcript: Transcript) -> None:
    session = transcript.session
    changed = ago(session.updated_at_ms, now_ms())
    facts = [
        agent_text(session.agent),
        session.state,
        counted(session.turns, "turn"),
        f"{session.open_turns} open",
        *([f"{session.queued} queued"] if session.queued else []),
        usage_text(session.usage),
        f"changed {changed}",
    ]
    out.print(Text(printable(session.session_id), style="bold"), soft_wrap=True)
    out.print(Text(printable(" · ".join(facts)), style="dim"), soft_wrap=True)
    if came_from := relation_text(session.relation):
        out.print(Text(printable(came_from), style="dim"), soft_wrap=True)
    if tools := tools_text(transcript.tools):
        out.print(Text(printable(tools), style="dim"), soft_wrap=True)


def print_turns(out: Console, transcript: Transcript) -> None:
    """Print the turns of a transcript, committed ones first, and what waits behind them."""
    if transcript.inherited:
        _print_inherited(out, transcript.inherited)
    for number, turn in enumerate(transcript.turns, 1):
        _print_turn(out, f"turn {number}", turn)
    for item in transcript.open_turns:
        _print_open(out, item)
    if transcript.queue:
        _print_queue(out, transcript.queue)


def _print_inherited(out: Console, messages: Sequence[HistoryMessage]) -> None:
    _print_heading(out, "before the fork", [counted(len(messages), "message")])
    rows = _grid()
    results = {result.call_id: result.text for each in messages for result in each.tool_results}
    for message in messages:
        for label, text in _message_rows(message, {}, results):
            rows.add_row(label, text)
    out.print(rows)


def _print_queue(out: Console, items: Sequence[QueuedItem]) -> None:
    _print_heading(out, "queue", [f"{len(items)} waiting"])
    rows = _grid()
    for item in items:
        kind = item_kind(item).replace("_", " ")
        told = f"{one_line(item_text(item)) or kind} · for {enters_text(item)}"
        rows.add_row(Text("queued", style="cyan"), Text(printable(told)))
    out.print(rows)


def _print_turn(out: Console, title: str, turn: CommittedTurn) -> None:
    record = turn.record
    facts = [
        outcome_text(record.outcome),
        local_time(record.timing.committed_at_ms),
        elapsed(record.timing.committed_at_ms - record.timing.accepted_at_ms),
        record.turn_id,
    ]
    _print_heading(out, title, facts)
    rows = _grid()
    calls = {call.call_id: call for call in record.tool_calls}
    results = {
        result.call_id: result.text for message in turn.messages for result in message.tool_results
    }
    for message in turn.messages:
        for label, text in _message_rows(message, calls, results):
            rows.add_row(label, text)
    for name, fact in _turn_facts(turn):
        rows.add_row(Text(name, style="yellow"), Text(printable(fact), style="yellow"))
    for issue in record.issues:
        rows.add_row(Text("issue", style="yellow"), Text(issue_text(issue), style="yellow"))
    rows.add_row(Text("usage", style="dim"), Text(usage_text(record.usage), style="dim"))
    for child in record.children_usage:
        spent = f"{child.session_id} · {child.model} · {usage_text(child.usage)}"
        rows.add_row(Text("child", style="dim"), Text(printable(spent), style="dim"))
    out.print(rows)


def _turn_facts(turn: CommittedTurn) -> Iterator[tuple[str, str]]:
    """What a turn did beside talking."""
    if turn.record.command is not None:
        yield "command", turn.record.command.replace("_", " ")
    for frame in turn.frames:
        yield "frame", f"{frame.frame_id} ({frame.reason.replace('_', ' ')})"
    if turn.record.cancellation is not None:
        yield "cancelled", cancelled_text(turn.record.cancellation)


def _message_rows(
    message: HistoryMessage, calls: dict[str, ToolCallRecord], results: dict[str, str]
) -> Iterator[tuple[Text, Text]]:
    if message.text:
        style = "bold cyan" if message.role == "user" else "bold"
        yield Text(message.role, style=style), Text(printable(message.text))
    if not message.tool_results:  # those of results are named in their text
        for source in message.attachments:
            yield Text("attached", style="cyan"), Text(printable(named_attachment(source)))
    for call in message.tool_calls:
        record = calls.get(call.call_id)
        if record is None:
            line, shown = call.tool, one_line(call.arguments)
        else:
            line, shown = tool_line(record), arguments_text(record.args)
        yield Text("tool", style="magenta"), Text(printable(line))
        for sign, detail in (("←", shown), ("→", results.get(call.call_id, ""))):
            if detail:
                told = f"{sign} {one_line(detail, _RESULT_LIMIT)}"
                yield Text(""), Text(told, style="dim")


def _print_open(out: Console, item: OpenTurn) -> None:
    turn = item.turn
    facts = [item.state, f"accepted {local_time(turn.accepted_at_ms)}", turn.turn_id]
    _print_heading(out, "open turn", facts)
    rows = _grid()
    command = command_of(turn)
    if command is not None:
        told = command.replace("_", " ")
        rows.add_row(Text("command", style="yellow"), Text(told, style="yellow"))
    else:
        rows.add_row(Text("user", style="bold cyan"), Text(printable(said_text(turn.input))))
    if turn.cancellation is not None:
        who = f"asked to stop {cancelled_text(turn.cancellation)}"
        rows.add_row(Text("stop", style="yellow"), Text(printable(who), style="yellow"))
    if turn.parked is not None:
        why = printable(f"{waits_for_text(turn.parked)}: {parked_text(turn.parked)}")
        rows.add_row(Text("parked", style="red"), Text(why, style="red"))
    for wait in item.waits:
        told = one_line(f"{wait.tool or wait.name} · {awaited_text(wait)}")
        rows.add_row(Text("tool", style="magenta"), Text(told, style="yellow"))
    out.print(rows)


def _print_heading(out: Console, title: str, facts: Sequence[str]) -> None:
    heading = Text(title, style="bold")
    heading.append(printable(f" · {' · '.join(facts)}"), style="dim")
    out.print()
    out.print(heading, soft_wrap=True)  # ids stay whole, to be copied


def _grid() -> Table:
    rows = Table.grid(padding=(0, 1, 0, 1))
    rows.add_column(width=9, no_wrap=True)
    rows.add_column(overflow="fold")
    return rows
