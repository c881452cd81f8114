"""The demo in a terminal: what happens while it happens, then the timeline and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lash.cli.demo.ledger import LedgerLine
from lash.cli.demo.plan import MEANING, KillPoint
from lash.cli.demo.processes import ProcessRun
from lash.cli.demo.report import DemoReport, EffectStory, Fate
from lash.cli.demo.worker import PROMPT
from lash.cli.show import print_turns
from lash.cli.wording import counted, elapsed

_FATE_STYLES: dict[Fate, str] = {
    "": "",
    "recorded": "green",
    "lost": "red",
    "replayed": "cyan",
}
_PROCESS_STYLES = ("yellow", "green")
#: Bars take what the other columns leave of the terminal, within reason. The pids come on top.
_OTHER_COLUMNS = 30
_BAR_CELLS = (8, 64)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time to draw."""

    start_ms: int
    end_ms: int
    style: str
    cut: bool = False


class Screen:
    """Prints the demo, phase by phase."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._cells, _ = _BAR_CELLS
        self._full, self._cut = ("#", "x") if out.options.ascii_only else ("█", "✗")

    def open(self, kill: KillPoint) -> None:
        """Say what is about to be seen."""
        self._line("lash demo", "bold")
        self._line("One turn: three model calls, two tools side by side, then a third.", "dim")
        self._line(f"The user says: {PROMPT}", "dim")
        self._line(f"The process is killed {MEANING[kill.seam]} ({kill}).", "dim")

    def begin(self, pid: int, number: int) -> None:
        """A process begins."""
        told = (
            "begins the turn"
            if number == 1
            else "opens the same file; nobody tells it what was going on"
        )
        self._line()
        self._line(f"Process {number}, pid {pid}, {told}", f"bold {_PROCESS_STYLES[number - 1]}")

    def watch(self, started_at_ms: int, line: LedgerLine) -> None:
        """Something began or ended in the process that runs."""
        sign = "begins" if line.phase == "started" else "is done"
        self._line(f"{_seconds(line.at_ms - started_at_ms)}  {line.label} {sign}")

    def killed(self, run: ProcessRun) -> None:
        """The first process is dead."""
        after = _seconds(run.ended_at_ms - run.started_at_ms)
        self._line(f"{after}  killed: SIGKILL, return code {run.returncode}", "bold red")

    def finish(self, report: DemoReport) -> None:
        """The timeline, the turn and the verdict."""
        self._timeline(report)
        print_turns(self._out, report.transcript)
        self._line()
        self._verdict(report)

    def _line(self, text: str = "", style: str = "") -> None:
        self._out.print(Text(text, style=style))

    # --- the timeline ---------------------------------------------------------------------------

    def _timeline(self, report: DemoReport) -> None:
        first, second = report.first, report.second
        yellow, green = _PROCESS_STYLES
        titles = (f"pid {first.pid}", f"pid {second.pid}")
        fewest, most = _BAR_CELLS
        left = self._out.width - _OTHER_COLUMNS - sum(len(title) for title in titles)
        self._cells = max(fewest, min(most, left))
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("what", no_wrap=True)
        table.add_column(Text(titles[0], style=yellow), no_wrap=True)
        table.add_column(Text(titles[1], style=green), no_wrap=True)
        table.add_column("took", justify="right", no_wrap=True)
        total = elapsed(second.ended_at_ms - first.started_at_ms)
        table.add_column(f"0 to {total}", no_wrap=True)
        lives = [
            Span(first.started_at_ms, first.ended_at_ms, yellow, cut=True),
            Span(second.started_at_ms, second.ended_at_ms, green),
        ]
        table.add_row("process", "killed", "finished", "", self._bar(report, lives))
        for story in report.effects:
            fates = (
                story.fate(first.pid, resumed=False),
                story.fate(second.pid, resumed=report.resumed),
            )
            cells = [Text(fate or "-", style=_FATE_STYLES[fate] or "dim") for fate in fates]
            took = elapsed(story.recorded.duration_ms) if story.recorded else ""
            table.add_row(story.label, *cells, took, self._bar(report, _spans(report, story)))
        self._line()
        self._out.print(table)
        self._line("recorded: it ran, and its outcome was written to the journal", "dim")
        if any(story.fate(first.pid, resumed=False) == "lost" for story in report.effects):
            self._line("lost:     it ran, and the process died before that", "dim")
        if report.replayed:
            self._line("replayed: the outcome was read from the journal; it did not run", "dim")

    def _bar(self, report: DemoReport, spans: Sequence[Span]) -> Text:
        cells = [(" ", "")] * self._cells
        for span in spans:
            begin = self._cell(report, span.start_ms)
            end = max(begin, self._cell(report, span.end_ms) - 1)
            for cell in range(begin, end + 1):
                cut = span.cut and cell == end
                cells[cell] = (self._cut if cut else self._full, span.style)
        return Text.assemble(*cells)

    def _cell(self, report: DemoReport, at_ms: int) -> int:
        begin = report.first.started_at_ms
        length = max(1, report.second.ended_at_ms - begin)
        return min(self._cells - 1, max(0, (at_ms - begin) * self._cells // length))

    # --- the verdict ----------------------------------------------------------------------------

    def _verdict(self, report: DemoReport) -> None:
        working = report.resume.working_after_ms
        if working is None:
            self._line("There was nothing left to do: the turn had been committed.", "green")
        else:
            replayed, effects = len(report.replayed), len(report.effects)
            self._line(
                f"Resumed {elapsed(working)} after opening the file, without waiting for the dead "
                f"process's lease (30 s). {replayed} of {counted(effects, 'effect')} came from the "
                f"journal, {effects - replayed} ran.",
                "green",
            )
        for told in report.verdict.notes:
            self._line(told, "yellow")
        if report.ok:
            kept = "Nothing that was recorded ran again, and the turn was committed once."
            self._line(kept, "bold green")
        for problem in report.verdict.problems:
            self._line(f"BROKEN PROMISE: {problem}", "bold red")


def _spans(report: DemoReport, story: EffectStory) -> list[Span]:
    first = report.first
    lost = story.fate(first.pid, resumed=False) == "lost"
    return [
        Span(
            one.started_at_ms,
            one.ended_at_ms if one.ended_at_ms is not None else first.ended_at_ms,
            _PROCESS_STYLES[0 if one.pid == first.pid else 1],
            cut=lost and one.pid == first.pid,
        )
        for one in story.executions
    ]


def _seconds(ms: int) -> str:
    return f"{ms / 1_000:6.2f} s"
