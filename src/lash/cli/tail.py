"""`lash tail`: what happens in a session, from a process that drives nothing."""

import asyncio
import sys

import msgspec
from rich.console import Console
from rich.text import Text

from lash.app.results import HistoryMessage, history_message
from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json_line
from lash.cli.output import console
from lash.cli.reading import existing_store, reading
from lash.cli.transcript import find_session
from lash.cli.wording import (
    cancelled_text,
    counted,
    issue_text,
    one_line,
    outcome_text,
    printable,
    usage_text,
)
from lash.core.clock import SystemClock, SystemIds
from lash.runtime.observed import (
    AgentFrameSwitched,
    Committed,
    Event,
    Gap,
    Item,
    Observed,
    SessionView,
    Snapshot,
)
from lash.runtime.observing import Observation, Observations
from lash.sessions.cursor import format_cursor, parse_cursor
from lash.stores.sqlite import SqliteStore

#: Longer results are cut; `--json` has them whole.
_RESULT_LIMIT = 400


def tail(session_id: str, db: str, *, cursor: str | None, once: bool, as_json: bool) -> int:
    """Follow a session; 130 when interrupted, 0 with `once`.

    Raises:
        LashError: `session_unknown`, `session_deleted`, `session_cursor_malformed`,
            `session_cursor_wrong_session`.
    """
    tailing = _Tail(session_id, cursor, as_json=as_json)
    try:
        asyncio.run(tailing.so_far(db) if once else tailing.follow(db))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.DONE


class _Tail:
    def __init__(self, session_id: str, cursor: str | None, *, as_json: bool) -> None:
        self._session_id = session_id
        self._cursor = cursor
        self._printer = None if as_json else _Printer(console())

    async def follow(self, db: str) -> None:
        """Tell everything, until interrupted."""
        async with existing_store(db) as store, await self._observe(store) as items:
            async for item in items:
                self._tell(item)

    async def so_far(self, db: str) -> None:
        """Tell everything up to the commit that is the newest now."""
        async with reading(db) as store, await self._observe(store) as items:
            head = await store.load_head(self._session_id)
            newest = head.revision if head is not None else 0
            at = self._cursor
            while at is None or parse_cursor(at, self._session_id).revision != newest:
                item = await anext(items)
                self._tell(item)
                at = item.cursor

    async def _observe(self, store: SqliteStore) -> Observation:
        """Read the session, behind the cursor if there is one.

        The run that gave the cursor is over, and its live events with it. Commits are all that a tail
        tells, and the store has those: so it goes on behind the cursor's commit without a gap.
        """
        await find_session(store, self._session_id)
        incarnation, cursor = SystemIds().new("tail"), self._cursor
        if cursor is not None:
            seen = parse_cursor(cursor, self._session_id)
            here = msgspec.structs.replace(seen, incarnation=incarnation, position=0)
            cursor = format_cursor(here)
        observations = Observations(store, SystemClock(asyncio.sleep), incarnation)
        return observations.observe(self._session_id, cursor)

    def _tell(self, item: Item) -> None:
        if self._printer is None:
            write_json_line(sys.stdout, item)
        else:
            self._printer.show(item)
            sys.stdout.flush()


class _Printer:
    """Items as people read them."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def show(self, item: Item) -> None:
        """Print one item."""
        match item:
            case Snapshot(view=view):
                self._view("snapshot", view)
            case Gap(view=view, reason=reason):
                self._view(f"gap, {reason}: everything anew", view)
            case Event(event=event):
                self._event(event)

    def _view(self, what: str, view: SessionView) -> None:
        facts = [counted(view.turn_index, "turn"), usage_text(view.usage)]
        self._line(f"[{what}] {view.session_id} · {' · '.join(facts)}", "dim")
        for message in view.messages:
            self._message(history_message(message))

    def _event(self, event: Observed) -> None:
        match event:
            case Committed(record=record, messages=messages):
                for message in messages:
                    self._message(history_message(message))
                facts = [outcome_text(record.outcome), usage_text(record.usage)]
                if record.command is not None:
                    facts.insert(0, record.command.replace("_", " "))
                self._line(f"[committed] {record.turn_id} · {' · '.join(facts)}", "dim")
                if record.cancellation is not None:
                    self._line(f"[cancelled] {cancelled_text(record.cancellation)}", "yellow")
                for issue in record.issues:
                    self._line(f"[{issue.kind}] {issue_text(issue)}", "yellow")
            case AgentFrameSwitched(frame_id=frame_id):
                self._line(f"[frame] the session goes on in {frame_id}", "dim")
            case _:
                pass  # what happens in turns that run here: none do

    def _message(self, message: HistoryMessage) -> None:
        if message.text:
            self._line(f"{message.role}: {message.text}", "cyan" if message.role == "user" else "")
        for call in message.tool_calls:
            self._line(f"tool: {call.tool} {one_line(call.arguments)}", "magenta")
        for result in message.tool_results:
            self._line(f"→ {one_line(result.text, _RESULT_LIMIT)}", "dim")

    def _line(self, text: str, style: str) -> None:
        self._out.print(Text(printable(text), style=style), soft_wrap=True)
