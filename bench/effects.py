"""What a recorded effect costs: trivial durable steps, one after the other and from many at once.

    python bench/effects.py [--steps 1000] [--scopes 64] [--rounds 5] [--json]

Measured beside raw SQLite in the same run, round by round in turns: the same bytes in one row, handed
to a thread that commits them and hands the answer back to the event loop. That is the least a durable
effect can cost an asyncio program here; trust the ratios. Also shown: looking up an effect in a journal
of a hundred thousand, and what stays in memory while such a scope is driven (`--large`).
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
import tracemalloc
from pathlib import Path

import lash
from lash.core.scopes import RuntimeOperationScope, journal_key
from lash.stores.sqlite import SqliteStore
from raw_store import RawWriter, committed_rate


async def nothing() -> int:
    return 1


# --- ours -----------------------------------------------------------------------------------------------


async def steps(runtime: lash.Runtime, name: str, count: int) -> None:
    async with runtime.operation(name) as operation:
        for _ in range(count):
            await operation.step(nothing)


async def sequential(runtime: lash.Runtime, name: str, count: int) -> dict[str, float]:
    before = transactions(runtime)
    started = time.perf_counter()
    await steps(runtime, name, count)
    took = time.perf_counter() - started
    return {"rate": count / took, "transactions": (transactions(runtime) - before) / count}


async def at_once(runtime: lash.Runtime, name: str, count: int, scopes: int) -> dict[str, float]:
    each = max(1, count // scopes)
    before = transactions(runtime)
    started = time.perf_counter()
    await asyncio.gather(*(steps(runtime, f"{name}-{scope}", each) for scope in range(scopes)))
    took = time.perf_counter() - started
    done = each * scopes
    return {"rate": done / took, "transactions": (transactions(runtime) - before) / done}


async def replay_rate(runtime: lash.Runtime, name: str, count: int) -> float:
    """Recorded steps answered per second."""
    started = time.perf_counter()
    await steps(runtime, name, count)
    return count / (time.perf_counter() - started)


def transactions(runtime: lash.Runtime) -> int:
    store = runtime.engine.store
    return store.transactions if isinstance(store, SqliteStore) else 0


async def measure(folder: Path, count: int, scopes: int, rounds: int) -> dict[str, float]:
    gathered: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        gathered.setdefault(name, []).append(value)

    async with lash.Runtime(folder / "bench.db") as runtime:
        await steps(runtime, "warm-up", 50)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds} ...", file=sys.stderr)
            note("raw_rate", await committed_rate(RawWriter(folder / "raw.db"), 1, count))
            one = await sequential(runtime, f"one-{number}", count)
            many = await at_once(runtime, f"many-{number}", count * 4, scopes)
            note("sequential_rate", one["rate"])
            note("sequential_transactions", one["transactions"])
            note("scopes_rate", many["rate"])
            note("scopes_transactions", many["transactions"])
            note("replay_rate", await replay_rate(runtime, f"one-{number}", count))
    facts = {name: statistics.median(values) for name, values in gathered.items()}
    facts["sequential_to_raw"] = facts["sequential_rate"] / facts["raw_rate"]
    facts["scopes_to_sequential"] = facts["scopes_rate"] / facts["sequential_rate"]
    return facts


async def measure_large(folder: Path, effects: int) -> dict[str, float]:
    """A scope of very many effects: does a lookup, or memory, grow with it?"""
    store_path = folder / "large.db"
    facts: dict[str, float] = {}
    async with lash.Runtime(store_path) as runtime:
        async with runtime.operation("large") as operation:
            marks = {effects // 100: "early", effects: "late"}
            tracemalloc.start()
            for number in range(1, effects + 1):
                await operation.step(nothing)
                if number in marks:
                    facts[f"memory_{marks[number]}_kib"] = tracemalloc.get_traced_memory()[0] / 1024
                if number % 10_000 == 0:
                    print(f"{number} of {effects} effects ...", file=sys.stderr)
            tracemalloc.stop()
        store = runtime.engine.store
        scope = journal_key(RuntimeOperationScope(operation_id="large"))
        for label, place in (("first", 1), ("last", effects)):
            key = f"step:nothing:{place}:attempt:1"
            started = time.perf_counter()
            for _ in range(200):
                assert await store.lookup(scope, key) is not None
            facts[f"lookup_{label}_us"] = (time.perf_counter() - started) * 1e6 / 200
    return facts


def report(facts: dict[str, float], scopes: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Trivial durable steps, synchronous=FULL")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("aim", justify="right")
    rows = [
        ("raw: thread hop and one committed row", f"{facts['raw_rate']:,.0f}/s", ""),
        ("one scope, one step after the other", f"{facts['sequential_rate']:,.0f}/s", ""),
        ("  to raw", f"{facts['sequential_to_raw']:.2f}", "≥ 0.60"),
        ("  transactions per step", f"{facts['sequential_transactions']:.3f}", "1"),
        (f"{scopes} scopes at once, together", f"{facts['scopes_rate']:,.0f}/s", ""),
        ("  to one scope", f"{facts['scopes_to_sequential']:.1f}", "≥ 8"),
        ("  transactions per step", f"{facts['scopes_transactions']:.3f}", "far below 1"),
        ("recorded steps replayed", f"{facts['replay_rate']:,.0f}/s", ""),
    ]
    if "lookup_first_us" in facts:
        first, last = facts["lookup_first_us"], facts["lookup_last_us"]
        early, late = facts["memory_early_kib"], facts["memory_late_kib"]
        rows += [
            ("a large scope: lookup of its first / last", f"{first:.0f} / {last:.0f} µs", "flat"),
            ("  memory at 1 % / 100 % of it", f"{early:,.0f} / {late:,.0f} KiB", "flat"),
        ]
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    console.print(f"{versions}, {platform.machine()}. Ratios travel; rates do not.")


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = await measure(folder, options.steps, options.scopes, options.rounds)
        if options.large:
            facts |= await measure_large(folder, options.large)
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        report(facts, options.scopes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="per round")
    parser.add_argument("--scopes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--large", type=int, default=0, metavar="N", help="also one scope of N steps"
    )
    parser.add_argument("--json", action="store_true")
    asyncio.run(main(parser.parse_args()))
