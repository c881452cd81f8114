"""Tells results: a table for terminals, and one in Markdown."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from side_by_side.results import CONTENDERS, Results, Verdict
from side_by_side.workloads import MEASURES, Unit

_FORMATS: dict[Unit, str] = {
    "/s": "{:,.0f}/s",
    "ms": "{:,.1f} ms",
    "s": "{:,.2f} s",
    "KB": "{:,.0f} KB",
    "MB": "{:,.0f} MB",
}


#: Of the table for terminals: who, the median, the spread, how lash compares, what survives.
_COLUMNS: tuple[tuple[int, JustifyMethod], ...] = (
    (39, "left"),
    (10, "right"),
    (6, "right"),
    (8, "right"),
    (0, "left"),
)


def shown(measure: str, figure: float) -> str:
    """A figure with its unit."""
    return _FORMATS[MEASURES[measure].unit].format(figure)


def rows(results: Results) -> Iterator[tuple[str, list[tuple[str, str, str, str, str]]]]:
    """Each measure's title, and its contenders: name, figure, spread, how lash compares, durability."""
    for measure in MEASURES.values():
        lines = []
        for contender, measured in results.figures.items():
            if measure.name not in measured:
                continue
            figure = results.median(contender, measure.name) or 0.0
            several = len(measured[measure.name]) > 1
            spread = f"± {results.spread(contender, measure.name):.0%}" if several else ""
            times = results.times_as_good(measure.name, "lash", contender)
            compared = "" if times is None or contender == "lash" else f"{times:.2f} x"
            who = CONTENDERS[contender]
            lines.append((who.title, shown(measure.name, figure), spread, compared, who.durable))
        if lines:
            yield measure.title, lines


def table(results: Results) -> RenderableType:
    """All of it, for a terminal."""
    parts: list[RenderableType] = []
    for title, lines in rows(results):
        measured = Table.grid(padding=(0, 2))
        for width, justify in _COLUMNS:
            measured.add_column(min_width=width, justify=justify, no_wrap=True)
        for line in lines:
            measured.add_row(*line)
        parts += [Text(f"\n{title}", style="bold"), measured]
    aims = Table(title="\nAims", pad_edge=False, box=SIMPLE_HEAD)
    for column in ("measure", "beside", "aim", "found", ""):
        aims.add_column(column, no_wrap=column in {"aim", "found", ""})
    for verdict in results.verdicts():
        aims.add_row(*aim_cells(verdict), Text("met" if verdict.met else "missed"))
    if aims.row_count:
        parts.append(aims)
    parts += [
        f"not measured: {CONTENDERS[name].title}: {why}" for name, why in results.missing.items()
    ]
    parts.append(Text(f"\n{settings(results)}"))
    return Group(*parts)


def aim_cells(verdict: Verdict) -> tuple[str, str, str, str]:
    """A verdict's measure, beside whom, what was aimed at and what was found."""
    aim = verdict.aim
    title = MEASURES[aim.measure].title
    if aim.subject != "lash":
        title += f" ({CONTENDERS[aim.subject].title})"
    if aim.against is None:
        figures = shown(aim.measure, aim.at_most or 0.0), shown(aim.measure, verdict.found)
        return title, "", f"≤ {figures[0]}", figures[1]
    beside = CONTENDERS[aim.against].title
    if aim.against_measure is not None:
        beside = MEASURES[aim.against_measure].title
    return title, beside, f"≥ {aim.at_least:.2f} x", f"{verdict.found:.2f} x"


def settings(results: Results) -> str:
    """Where, when and with what, in a line."""
    of = results.machine
    quick = " A quick run: the figures mean nothing." if results.quick else ""
    return (
        f"{of['date']}, {of['cores']} cores, {of['system']}, load {of['load']} at the start, Python "
        f"{of['python']}, SQLite {of['sqlite']}, rounds: {results.rounds}.{quick}"
    )


def markdown(results: Results) -> str:
    """All of it, as a page."""
    lines = ["# Side by side", "", settings(results), ""]
    for title, found in rows(results):
        lines += [f"## {title[0].upper()}{title[1:]}", ""]
        lines += [
            "| | median | spread | lash is | what survives a crash |",
            "|---|--:|--:|--:|---|",
        ]
        lines += [f"| {' | '.join(line)} |" for line in found]
        lines.append("")
    verdicts = results.verdicts()
    if verdicts:
        lines += ["## Aims", "", "| measure | beside | aim | found | |", "|---|---|--:|--:|---|"]
        for verdict in verdicts:
            cells = (*aim_cells(verdict), "met" if verdict.met else "missed")
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    for name, why in results.missing.items():
        lines += [f"Not measured: {CONTENDERS[name].title}: {why}", ""]
    lines += ["Versions: " + "; ".join(versions(results)) + ".", ""]
    return "\n".join(lines)


def versions(results: Results) -> list[str]:
    """What the peers were installed from, each once."""
    found = {
        ", ".join((*environment.requirements, *environment.packages)): None
        for name in results.figures
        if (environment := CONTENDERS[name].environment) is not None
    }
    return list(found) or ["of the standard library"]
