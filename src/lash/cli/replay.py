"""`lash replay`: drives a recorded turn again with the code of now, and without doing anything."""

import asyncio
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lash.cli.exit_codes import ExitCode
from lash.cli.importing import import_agents
from lash.cli.journal import short_key
from lash.cli.json_output import plain, write_json
from lash.cli.output import console, print_table
from lash.cli.reading import reading
from lash.cli.stand_in import define_without_provider
from lash.cli.wording import agent_text, counted, printable
from lash.core.clock import SystemClock
from lash.core.errors import LashError
from lash.core.json import JsonObject
from lash.effects.divergence import Change
from lash.effects.hosts import StoreEffectHost
from lash.effects.replaying import Divergence, DivergenceKind
from lash.runtime.agents import AgentRegistry
from lash.runtime.replaying import ReplayReport, replay_turn

_WHAT: dict[DivergenceKind, str] = {
    "missing": "it is asked for now and was not recorded",
    "mismatch": "it was recorded as something else",
    "drift": "it was recorded under other surroundings",
    "unused": "it was recorded and is not asked for now",
    "result": "the effects agree, and what came of them does not",
}
#: What ends a replay: there is nothing to go on with.
_STOPPING: tuple[DivergenceKind, ...] = ("missing", "mismatch")
_TREATED: dict[DivergenceKind, str] = {
    "missing": "A runtime that resumed such a turn would carry the effect out then.",
    "mismatch": "A runtime that resumed such a turn would park it: it needs a person.",
    "drift": (
        "A runtime that resumes such a turn uses what was recorded and reports the drift in the "
        "turn's issues (on_drift='accept', the default); 'refuse' parks it, 'restart' begins it again."
    ),
    "unused": "A runtime that resumed such a turn would not notice, and go on without the effect.",
    "result": "A runtime that resumed such a turn would not notice, and commit another result.",
}


def replay(session_id: str, turn_id: str, app: str, db: str, *, as_json: bool) -> int:
    """Replay a turn; 0 when the code of now comes to the same, else 1.

    Raises:
        ConfigurationError: `agent_import_failed`, and what resolving the agents raises.
        LashError: `session_unknown`, `turn_unknown`, `agent_missing`, `journal_retired`.
    """
    agents = AgentRegistry(define_without_provider(agent) for agent in import_agents(app))
    try:
        report = asyncio.run(_replay(session_id, turn_id, agents, db))
    except LashError as error:
        if error.code != "agent_missing":
            raise
        raise _missing_agent(error, app, agents) from error
    if as_json:
        write_json(_document(report, turn_id))
    else:
        _print(console(), report, turn_id)
    return ExitCode.DONE if report.verdict == "identical" else ExitCode.FAILED


async def _replay(session_id: str, turn_id: str, agents: AgentRegistry, db: str) -> ReplayReport:
    async with reading(db) as store:
        clock = SystemClock(asyncio.sleep)
        host = StoreEffectHost(store, clock)
        try:
            return await replay_turn(
                session_id, turn_id, store=store, effects=host, agents=agents, clock=clock
            )
        finally:
            await host.aclose()


def _missing_agent(error: LashError, app: str, agents: AgentRegistry) -> LashError:
    found = ", ".join(repr(name) for name in agents.names)
    return LashError(
        error.code,
        f"The turn belongs to agent {error.details['agent']!r}; --app {app} has {found}.",
        **error.details,
    )


def _document(report: ReplayReport, asked_for: str) -> JsonObject:
    document = plain(report)
    return {"asked_for": asked_for, **document} if isinstance(document, dict) else {}


# --- for people -------------------------------------------------------------------------------------


def _print(out: Console, report: ReplayReport, asked_for: str) -> None:
    out.print(Text(_verdict(report), style="green" if report.verdict == "identical" else "red"))
    facts = [f"turn {report.turn_id}", f"session {report.session_id}"]
    facts.append(f"recorded by {agent_text(report.agent)}")
    if report.replayed_with != report.agent:
        facts.append(f"replayed with {agent_text(report.replayed_with)}")
    out.print(Text(printable(" · ".join(facts)), style="dim"), soft_wrap=True)
    if asked_for != report.turn_id:
        told = f"Turn {asked_for} was begun again; this is the turn it became."
        out.print(Text(printable(told), style="yellow"), soft_wrap=True)
    found = [*([report.divergence] if report.divergence else []), *report.drift]
    for divergence in found:
        _print_divergence(out, divergence, report)
    for what in dict.fromkeys(divergence.what for divergence in found):
        out.print()
        out.print(Text(_TREATED[what], style="dim"), soft_wrap=not out.is_terminal)
    for effect in report.next_effects:
        out.print(Text(printable(f"next comes {_next(effect, report)}")), soft_wrap=True)


def _verdict(report: ReplayReport) -> str:
    effects = counted(report.effects, "effect")
    match report.verdict:
        case "identical":
            if report.committed:
                return f"identical: {effects} and the same result"
            return f"identical so far: {effects}; the turn is open"
        case "drifted":
            return f"drifted: {effects} answered from the journal, under other surroundings"
        case "diverged":
            stopped = report.divergence is not None and report.divergence.what in _STOPPING
            return f"diverged: {effects} answered{', the next in vain' if stopped else ''}"


def _next(effect: str, report: ReplayReport) -> str:
    kind, _, key = effect.partition(" ")
    return f"{kind.replace('_', ' ')} · {short_key(key, report.session_id, report.turn_id)}"


def _print_divergence(out: Console, divergence: Divergence, report: ReplayReport) -> None:
    heading = Text(divergence.what, style="bold")
    facts = [divergence.effect.replace("_", " ")] if divergence.effect else []
    if divergence.replay_key:
        facts.append(short_key(divergence.replay_key, report.session_id, report.turn_id))
    facts.append(_WHAT[divergence.what])
    heading.append(printable(f" · {' · '.join(facts)}"), style="not bold dim")
    out.print()
    out.print(heading, soft_wrap=True)
    rows = Table.grid(padding=(0, 1, 0, 1))
    rows.add_column(width=9, no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row(Text("cause"), Text(printable(divergence.cause)))
    for change in divergence.changes:
        for label, text in _change_rows(change):
            rows.add_row(label, text)
    print_table(out, rows)


def _change_rows(change: Change) -> Sequence[tuple[Text, Text]]:
    rows = [(Text("at"), Text(printable(change.path), style="bold"))]
    for label, value, style in (
        ("before", change.before, "red"),
        ("now", change.after, "green"),
        ("hint", change.hint or None, "yellow"),
    ):
        if value is not None:
            rows.append((Text(f"  {label}", style="dim"), Text(printable(value), style=style)))
    return rows
