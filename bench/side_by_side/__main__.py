"""Runs the contenders round by round, tells what came of it, and keeps it.

    python -m side_by_side [--peers] [--rounds 5] [--only NAME …] [--quick] [--json] [--keep FOLDER]

In the folder `bench`. `--peers` also runs what people would use instead, each in an environment of its
own under `bench/.venv-peers` that is made once and needs a package index. `--keep` writes the figures as
JSON, the table as Markdown and a plot as SVG.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from side_by_side.contenders import LIMITS, OURS, PEERS, Contender, NotMeasuredError
from side_by_side.plot import svg
from side_by_side.results import Results, machine
from side_by_side.telling import markdown, table
from side_by_side.workloads import WORKLOADS, Workload


def wanted(options: argparse.Namespace) -> tuple[Sequence[Contender], Sequence[Workload]]:
    """Who is measured, in what."""
    contenders = [*OURS, *LIMITS, *(PEERS if options.peers else ())]
    if not options.only:
        return contenders, WORKLOADS
    names = {each.name for each in (*contenders, *WORKLOADS)}
    unknown = sorted(set(options.only) - names)
    if unknown:
        sys.exit(f"there is no {', '.join(unknown)}; there are: {', '.join(sorted(names))}")
    picked = [each for each in contenders if each.name in options.only] or contenders
    return picked, [each for each in WORKLOADS if each.name in options.only] or WORKLOADS


async def measure(
    contenders: Sequence[Contender],
    workloads: Sequence[Workload],
    rounds: int,
    results: Results,
    *,
    quick: bool,
) -> None:
    """Run all of them, round by round; who begins differs from round to round."""
    runs = [
        (number, workload, contender)
        for number in range(rounds)
        for workload in workloads
        if number == 0 or not workload.once
        for contender in _from(number, [c for c in contenders if workload.name in c.workloads])
    ]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(runs))
        for number, workload, contender in runs:
            if contender.name not in results.missing:
                what = f"round {number + 1} of {rounds}: {workload.name} of {contender.title}"
                progress.update(task, description=what)
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                    sizes = workload.quick if quick else workload.sizes
                    try:
                        figures = await contender.run(workload, sizes, Path(folder))
                    except NotMeasuredError as reason:
                        results.missing[contender.name] = f"{workload.name}: {reason}"
                    else:
                        results.note(contender, figures)
            progress.advance(task)


def _from(number: int, contenders: list[Contender]) -> list[Contender]:
    first = number % max(1, len(contenders))
    return contenders[first:] + contenders[:first]


def prepare(contenders: Sequence[Contender], results: Results) -> None:
    """Install what is not installed."""
    for contender in contenders:
        if contender.environment is not None:
            try:
                contender.environment.prepare(lambda what: print(what, file=sys.stderr))
            except NotMeasuredError as reason:
                results.missing[contender.name] = str(reason)


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(prog="side_by_side", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also what people would use instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some contenders or workloads")
    parser.add_argument("--quick", action="store_true", help="a few of everything, in one round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what was measured there")
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    contenders, workloads = wanted(options)
    results = Results(machine=machine(), rounds=rounds, quick=options.quick)
    prepare(contenders, results)
    asyncio.run(measure(contenders, workloads, rounds, results, quick=options.quick))
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        stem = options.keep / str(results.machine["date"])
        stem.with_suffix(".json").write_text(json.dumps(results.plain(), indent=2) + "\n")
        stem.with_suffix(".md").write_text(markdown(results))
        stem.with_suffix(".svg").write_text(svg(results))
    if options.json:
        print(json.dumps(results.plain(), indent=2))
    else:
        Console().print(table(results))


if __name__ == "__main__":
    main()
