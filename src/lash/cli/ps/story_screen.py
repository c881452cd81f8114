"""`lash ps PROCESS`: one process as people read it."""

import asyncio
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lash.cli.awaiting import AwaitedAnswer
from lash.cli.exit_codes import ExitCode
from lash.cli.json_output import write_json
from lash.cli.output import console, print_table
from lash.cli.ps.event_words import (
    PAYLOAD_LIMIT,
    event_name,
    event_text,
    payload_text,
    whole_text,
)
from lash.cli.ps.standing import Standing
from lash.cli.ps.story import Story, arguments_of, load_story, story_json, value_of
from lash.cli.ps.table import attention_line, style_of
from lash.cli.ps.words import (
    attempts_text,
    identity_text,
    originator_text,
    outcome_text,
    owner_text,
    waits_text,
)
from lash.cli.reading import now_ms, reading
from lash.cli.recorded import RecordedEffect
from lash.cli.wording import ago, counted, elapsed, local_time, printable, size_text, until
from lash.core.causality import (
    CausalRef,
    EffectCauseRef,
    ProcessCauseRef,
    ProcessEventCauseRef,
    SessionNodeCauseRef,
    ToolCallCauseRef,
    TriggerOccurrenceCauseRef,
    TurnCauseRef,
)
from lash.processes.outcomes import ProcessSuccess

#: So many events are shown; `--json` has all of them.
_EVENTS = 500


def show_story(process_id: str, db: str, *, payloads: bool, as_json: bool) -> int:
    """Print one process of a database.

    Raises:
        LashError: `process_unknown`, `process_no_longer_retained`.
    """
    story = asyncio.run(_load(process_id, db))
    if as_json:
        write_json(story_json(story, payloads=payloads))
    else:
        _Page(console(), story, payloads=payloads).print()
    return ExitCode.DONE


async def _load(process_id: str, db: str) -> Story:
    async with reading(db) as store:
        return await load_story(store, process_id)


class _Page:
    def __init__(self, out: Console, story: Story, *, payloads: bool) -> None:
        self._out = out
        self._story = story
        self._record = story.process.record
        self._limit = None if payloads else PAYLOAD_LIMIT
        self._payloads = payloads

    def print(self) -> None:
        """Print all of it."""
        self._heading()
        self._events()
        self._journal()
        self._outcome()

    # --- who and what ---------------------------------------------------------------------------

    def _heading(self) -> None:
        process = self._story.process
        heading = Text(printable(process.record.process_id), style="bold")
        heading.append(
            printable(f" · {identity_text(process.record.registration.identity)} · "),
            style="not bold dim",
        )
        heading.append(process.state, style=style_of(process))
        self._out.print(heading, soft_wrap=True)  # ids stay whole, to be copied
        for name, told in self._facts():
            line = Text(f"  {name:<11} ", style="dim")
            line.append(printable(told), style="not dim")
            self._out.print(line, soft_wrap=True)
        why = attention_line(process)
        if why is not None:
            self._out.print(why, soft_wrap=True)

    def _facts(self) -> Iterator[tuple[str, str]]:
        process, record, state = self._story.process, self._record, self._record.state
        if not record.retired and (waits := waits_text(process)):
            yield "waits for", f"{waits}{_since(process)}"
        yield "created", local_time(record.created_at_ms)
        registration = record.registration
        by = originator_text(registration.provenance.originator)
        caused_by = registration.provenance.caused_by
        yield "started by", by if caused_by is None else f"{by}, from {_cause_text(caused_by)}"
        if registration.provenance.parent_id is not None:
            yield "parent", registration.provenance.parent_id
        yield from self._relatives()
        if state.started is not None:
            on = owner_text(state.started.owner)
            gone = "" if process.holder_lives or record.retired else ", not any more"
            yield "attempts", f"{attempts_text(record)}, the last one on {on}{gone}"
        yield from self._surroundings()
        if state.cancel is not None:
            yield (
                "cancel",
                f"asked for {local_time(state.cancel.requested_at_ms)}"
                + (f": {state.cancel.reason}" if state.cancel.reason else ""),
            )
        given_up = state.abandon_request
        if given_up is not None:
            yield (
                "given up",
                f"by {given_up.requested_by}" + (f": {given_up.reason}" if given_up.reason else ""),
            )
        arguments = arguments_of(record)
        if arguments not in (None, {}):
            yield "arguments", payload_text(arguments, self._limit)

    def _relatives(self) -> Iterator[tuple[str, str]]:
        for child in self._story.children:
            what = identity_text(child.record.registration.identity)
            yield "child", f"{child.record.process_id} · {what} · {child.state}"
        there = self._record.state.external_ref
        if there is not None:
            yield "done at", f"{there.backend}:{there.id}"

    def _surroundings(self) -> Iterator[tuple[str, str]]:
        registration, state, env = (
            self._record.registration,
            self._record.state,
            self._story.environment,
        )
        most = registration.max_attempts
        limit = "" if most is None else f", given up after {counted(most, 'attempt')} in vain"
        yield "recovery", f"{registration.disposition.replace('_', ' ')}{limit}"
        if state.segment.ordinal:
            yield "segment", str(state.segment.ordinal)
        if env is not None and env.agent_name is not None:
            yield "agent", f"{env.agent_name} v{env.agent_version or '?'}"
        if env is not None and env.session_id is not None:
            yield "session", env.session_id
        if env is not None and env.plugin_options:
            yield "plugins", ", ".join(sorted(env.plugin_options))
        if state.wake_session_id is not None or self._story.wakes:
            states = Counter(wake.state for wake in self._story.wakes)
            told = ", ".join(f"{number} {name}" for name, number in sorted(states.items()))
            whom = "nobody" if state.wake_session_id is None else f"session {state.wake_session_id}"
            yield "wakes", whom + (f" ({told})" if told else "")
        if self._story.observers:
            yield "seen by", ", ".join(self._story.observers)

    # --- what happened --------------------------------------------------------------------------

    def _events(self) -> None:
        events = self._story.events
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("#", "when", "after"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("event", no_wrap=True)
        table.add_column("what", overflow="fold", min_width=12)
        day, before = "", self._record.created_at_ms
        for index, event in enumerate(events):
            told = local_time(event.occurred_at_ms)
            after = event.occurred_at_ms - before
            before = event.occurred_at_ms
            if index < len(events) - _EVENTS:
                continue
            table.add_row(
                str(event.sequence),
                told.removeprefix(day),
                f"+{elapsed(max(after, 0))}",
                event_name(event),
                printable(whole_text(event) if self._payloads else event_text(event)),
            )
            day = told[:11]
        self._out.print()
        hidden = len(events) - _EVENTS
        if hidden > 0:
            self._out.print(f"The first {counted(hidden, 'event')} are left out; --json has them.")
        print_table(self._out, table)

    # --- what was recorded ----------------------------------------------------------------------

    def _journal(self) -> None:
        story, ordinal = self._story, self._record.state.segment.ordinal
        if not story.effects and not story.waits:
            return
        told = f"journal of segment {ordinal}" if ordinal else "journal"
        heading = Text(told, style="bold")
        heading.append(f" · {counted(len(story.effects), 'effect')}", style="not bold dim")
        self._out.print()
        self._out.print(heading)
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("#", justify="right", no_wrap=True)
        table.add_column("effect", no_wrap=True)
        table.add_column("key", overflow="fold", min_width=12)
        for name in ("recorded", "took", "size"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("state", overflow="fold", min_width=8)
        for effect in story.effects[-_EVENTS:]:
            _add_effect(table, effect)
        for wait in story.waits:
            _add_wait(table, wait)
        print_table(self._out, table)

    def _outcome(self) -> None:
        outcome = self._record.outcome
        if outcome is None:
            return
        told = outcome_text(outcome)
        if isinstance(outcome, ProcessSuccess):
            told = payload_text(value_of(self._record), self._limit)
        line = Text(self._story.process.state, style=style_of(self._story.process))
        line.append(printable(f": {told}" if told else ""), style="not dim default")
        self._out.print()
        self._out.print(line, soft_wrap=True)


def _since(process: Standing) -> str:
    if process.since_ms is None:
        return ""
    return f", since {local_time(process.since_ms)} ({ago(process.since_ms, now_ms())})"


def _add_effect(table: Table, effect: RecordedEffect) -> None:
    due = effect.due_at_ms
    state = "recorded" if due is None else f"due {local_time(due)}"
    table.add_row(
        str(effect.number),
        printable(effect.kind.replace("_", " ")),
        printable(effect.key),
        local_time(effect.recorded_at_ms),
        elapsed(effect.duration_ms),
        size_text(effect.bytes),
        state,
    )


def _add_wait(table: Table, wait: AwaitedAnswer) -> None:
    state = f"waiting{until(wait.deadline_at_ms)}" if wait.state == "waiting" else "timed out"
    told = f"{wait.name} ({wait.tool})" if wait.tool else wait.name
    kind = printable(wait.kind.replace("_", " "))
    table.add_row("", kind, printable(told), "", "", "", Text(state, style="yellow"))


def _cause_text(cause: CausalRef) -> str:  # noqa: PLR0911  a case per cause
    match cause:
        case TurnCauseRef(session_id=session_id, turn_id=turn_id):
            return f"turn {turn_id} of session {session_id}"
        case EffectCauseRef(session_id=session_id):
            return f"an effect in session {session_id}"
        case ToolCallCauseRef(session_id=session_id, call_id=call_id):
            return f"tool call {call_id} of session {session_id}"
        case ProcessCauseRef(process_id=process_id):
            return f"process {process_id}"
        case ProcessEventCauseRef(process_id=process_id, sequence=sequence):
            return f"event {sequence} of process {process_id}"
        case SessionNodeCauseRef(session_id=session_id, node_id=node_id):
            return f"node {node_id} of session {session_id}"
        case TriggerOccurrenceCauseRef(occurrence_id=occurrence_id):
            return f"trigger occurrence {occurrence_id}"
