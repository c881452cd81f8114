"""What a durable turn costs: 10 sequential tool calls, 11 scripted model calls, one SQLite file.

    python bench/turn.py [--turns 200] [--json]

Measured beside the raw store in the same run, because a disk's sync is most of the cost and differs
from machine to machine: trust the ratios. The model answers at once and the tools do nothing, so what
is left is the runtime. Not shown: many sessions at once, large tool results, other processes writing.
"""

import argparse
import asyncio
import json
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import lash
from lash.stores.sqlite import SqliteStore
from lash.testing import ScriptedModel, calls, reply

TOOL_CALLS = 10
#: Early and late turns are medians over a few, so that one slow sync does not decide.
SPAN = 9


@lash.tool
async def look_up(order: int) -> dict[str, object]:
    """Look up one order."""
    return {"order": order, "status": "shipped", "carrier": "post", "days": 2}


def agent() -> lash.Agent:
    steps = [calls(("look_up", {"order": number})) for number in range(TOOL_CALLS)]
    model = ScriptedModel([*steps, reply("All of them are on their way.")])
    return lash.Agent("bench", model=model, instructions="Be brief.", tools=[look_up])


async def measure_turns(path: str, turns: int) -> dict[str, float]:
    """Drive `turns` turns of one session; milliseconds each."""
    who = agent()
    model = who.model
    took: list[float] = []
    written: list[int] = []
    async with lash.Runtime(path, agents=[who]) as runtime:
        session = runtime.session("bench")
        store = runtime.engine.store
        before = store.transactions if isinstance(store, SqliteStore) else 0
        for _ in range(turns):
            started = time.perf_counter()
            await session.run("Where are my orders?")
            took.append((time.perf_counter() - started) * 1000)
            written.append(_size(path))
            if isinstance(model, ScriptedModel):
                model.requests.clear()  # kept for tests; here it would be the bench's own growth
        after = store.transactions if isinstance(store, SqliteStore) else 0
    return {
        "median_ms": statistics.median(took),
        "early_ms": statistics.median(took[1 : 1 + SPAN]),
        "late_ms": statistics.median(took[-SPAN:]),
        "p99_ms": sorted(took)[int(len(took) * 0.99) - 1],
        "transactions_per_turn": (after - before) / turns,
        "bytes_per_turn_first_half": _growth(written[: turns // 2]),
        "bytes_per_turn_second_half": _growth(written[turns // 2 :]),
    }


def measure_raw(folder: Path, commits: int) -> float:
    """Milliseconds for as many raw one-row commits as a turn has transactions."""
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, body TEXT)")
    rounds: list[float] = []
    for _ in range(40):
        started = time.perf_counter()
        for _ in range(commits):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO row (body) VALUES (?)", ("x" * 600,))
            connection.execute("COMMIT")
        rounds.append((time.perf_counter() - started) * 1000)
    connection.close()
    return statistics.median(rounds)


def _size(path: str) -> int:
    """Bytes of the database's pages in use, which grow with content and not with checkpoints."""
    if path == ":memory:":
        return 0
    connection = sqlite3.connect(path)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    return int(pages * size)


def _growth(sizes: Sequence[int]) -> float:
    return (sizes[-1] - sizes[0]) / max(1, len(sizes) - 1)


def report(facts: dict[str, dict[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    durable, memory, raw = facts["sqlite"], facts["memory"], facts["raw"]
    table = Table(title=f"A turn with {TOOL_CALLS} tool calls and {TOOL_CALLS + 1} model calls")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("aim", justify="right")
    growth = durable["late_ms"] / durable["early_ms"]
    first, second = durable["bytes_per_turn_first_half"], durable["bytes_per_turn_second_half"]
    rows = [
        ("SQLite, synchronous=FULL: median", f"{durable['median_ms']:.1f} ms", "≤ 25 ms"),
        ("  turn 2 / last turn", f"{durable['early_ms']:.1f} / {durable['late_ms']:.1f} ms", ""),
        ("  last turn to turn 2", f"{growth:.2f}", "≤ 1.3"),
        ("  99th percentile", f"{durable['p99_ms']:.1f} ms", ""),
        ("  transactions per turn", f"{durable['transactions_per_turn']:.1f}", "23"),
        ("  bytes per turn, first / second half", f"{first:,.0f} / {second:,.0f}", ""),
        ("  second half to first half", f"{second / first:.2f}", "constant"),
        ("raw SQLite, as many one-row commits", f"{raw['median_ms']:.1f} ms", ""),
        ("  durable turn to raw commits", f"{durable['median_ms'] / raw['median_ms']:.2f}", ""),
        ("in memory: median", f"{memory['median_ms']:.1f} ms", ""),
        ("  last turn to turn 2", f"{memory['late_ms'] / memory['early_ms']:.2f}", ""),
    ]
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    console.print(f"{versions}, {platform.machine()}. Ratios travel; milliseconds do not.")


async def main(turns: int, *, as_json: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts: dict[str, dict[str, float]] = {}
        for label, path in (("memory", ":memory:"), ("sqlite", str(folder / "bench.db"))):
            print(f"driving {turns} turns on {label} ...", file=sys.stderr)
            facts[label] = await measure_turns(path, turns)
        commits = round(facts["sqlite"]["transactions_per_turn"])
        facts["raw"] = {"median_ms": measure_raw(folder, commits), "commits": float(commits)}
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        report(facts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    asyncio.run(main(options.turns, as_json=options.json))
