"""What a process costs: starting and ending, steps, recovery, signals, waiting, replay.

    python bench/processes.py [--rounds 5] [--quick] [--json]

Measured beside raw SQLite in the same run, round by round in turns: a thread that commits one row per
request (`raw_store.RawWriter`), and one that commits all rows that wait for it at once. Trust the ratios.
What is killed, parked or signalled from elsewhere is a
program of its own (`processes_child.py`).
"""

import argparse
import asyncio
import json
import platform
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Coroutine
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import lash
from effects import transactions
from processes_child import ALL, STAGE, listener, steps, steps_and_signal
from raw_store import GroupedWriter, RawWriter, committed_rate
from samples import Facts, Samples

CHILD = Path(__file__).parent / "processes_child.py"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything is measured in a round; what is parked, once."""

    rounds: int = 5
    commits: int = 1_000
    lanes: int = 64
    one: int = 200
    each: int = 20
    steps: int = 1_000
    steps_each: int = 20
    unfinished: int = 1_000
    wakes_here: int = 40
    wakes_elsewhere: int = 30
    replayed: int = 10_000
    parked: int = 10_000


QUICK = Sizes(
    rounds=1,
    commits=100,
    lanes=16,
    one=20,
    each=2,
    steps=100,
    steps_each=5,
    unfinished=50,
    wakes_here=5,
    wakes_elsewhere=3,
    replayed=500,
    parked=200,
)


# --- programs beside this one -----------------------------------------------------------------------


async def program_output(
    program: Path, *words: object, ends: int = 0, python: str | Path = sys.executable
) -> str:
    """What a program prints that ends with a given code."""
    running = await asyncio.create_subprocess_exec(
        python, program, *map(str, words), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await running.communicate()
    if running.returncode != ends:
        message = f"{program.name} {' '.join(map(str, words))} ended with {running.returncode}"
        raise RuntimeError(message)
    return told.decode()


# --- ours ---------------------------------------------------------------------------------------------


async def start_to_finish(runtime: lash.Runtime, count: int, step_count: int) -> None:
    """Processes one after the other."""
    for _ in range(count):
        handle = await runtime.processes.start(steps, step_count)
        assert await handle.result() == step_count


async def measure_rates(store: str | Path, sizes: Sizes, samples: Samples, prefix: str) -> None:
    """Processes of one step, then steps of processes that have many: alone, and from many at once."""
    lanes = range(sizes.lanes)
    async with lash.Runtime(store, processes=ALL) as runtime:

        async def note(name: str, done: int, *work: Coroutine[object, object, None]) -> None:
            before, started = transactions(runtime), time.perf_counter()
            await asyncio.gather(*work)
            samples.note(f"{prefix}{name}_rate", done / (time.perf_counter() - started))
            if runtime.durability == "durable":
                each = (transactions(runtime) - before) / done
                samples.note(f"{prefix}{name}_transactions", each)

        await start_to_finish(runtime, 5, 1)
        await note("process", sizes.one, start_to_finish(runtime, sizes.one, 1))
        some = [start_to_finish(runtime, sizes.each, 1) for _ in lanes]
        await note("processes", sizes.lanes * sizes.each, *some)
        await note("step", sizes.steps, start_to_finish(runtime, 1, sizes.steps))
        long = [start_to_finish(runtime, 1, sizes.steps_each) for _ in lanes]
        await note("steps", sizes.lanes * sizes.steps_each, *long)


async def measure_recovery(path: Path, count: int) -> float:
    """Seconds until the processes of a killed program have ended in another one."""
    await program_output(CHILD, "plant", path, count, ends=-signal.SIGKILL)
    return float(await program_output(CHILD, "recover", path, count))


async def measure_wakes(path: Path, sizes: Sizes, samples: Samples) -> None:
    """From `signal()` to the line after the wait, called here and in another program."""
    async with lash.Runtime(path, processes=ALL) as runtime:
        handle = await runtime.processes.start(listener)
        sender = await asyncio.create_subprocess_exec(
            *(sys.executable, CHILD, "signal", path, handle.id),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert sender.stdin is not None
        assert sender.stdout is not None

        async def from_here() -> float:
            began = time.perf_counter()
            await handle.signal("go")
            return began

        async def from_elsewhere() -> float:
            assert sender.stdin is not None
            assert sender.stdout is not None
            sender.stdin.write(b"go\n")
            return float(await sender.stdout.readline())

        await from_elsewhere()  # it is up
        await STAGE.woken.get()
        for place, send, count in (
            ("here", from_here, sizes.wakes_here),
            ("elsewhere", from_elsewhere, sizes.wakes_elsewhere),
        ):
            took: list[float] = []
            for number in range(count):
                await runtime.idle()
                await asyncio.sleep(0.02 + 0.06 * number / count)  # anywhere between two looks
                began = await send()
                took.append((await STAGE.woken.get() - began) * 1000)
            samples.note(f"wake_{place}_ms", statistics.median(took))
            samples.note(f"wake_{place}_p95_ms", sorted(took)[int(len(took) * 0.95)])
        sender.stdin.close()
        await sender.wait()


async def build_replayed(path: Path, count: int) -> None:
    STAGE.through.clear()
    async with lash.Runtime(path, processes=ALL) as runtime:
        await runtime.processes.start(steps_and_signal, count)
        await STAGE.through.wait()
        await runtime.idle()


async def measure_replay(path: Path) -> float:
    """Seconds from opening to the line behind what was recorded."""
    STAGE.through.clear()
    started = time.perf_counter()
    async with lash.Runtime(path, processes=ALL):
        await STAGE.through.wait()
        return time.perf_counter() - started


# --- all of it ----------------------------------------------------------------------------------------


async def measure(folder: Path, sizes: Sizes) -> Facts:
    samples = Samples()
    say(f"a process of {sizes.replayed:,} steps ...")
    await build_replayed(folder / "replayed.db", sizes.replayed)
    for number in range(sizes.rounds):
        say(f"round {number + 1} of {sizes.rounds} ...")
        raw = folder / "raw.db"
        samples.note("raw_rate", await committed_rate(RawWriter(raw), 1, sizes.commits))
        rows = sizes.commits * 5 // sizes.lanes
        samples.note("grouped_rate", await committed_rate(GroupedWriter(raw), sizes.lanes, rows))
        await measure_rates(folder / "bench.db", sizes, samples, "")
        await measure_rates(":memory:", sizes, samples, "memory_")
        compare_to_raw(samples)
        recovery = await measure_recovery(folder / f"recovery-{number}.db", sizes.unfinished)
        samples.note("recovery_s", recovery)
        await measure_wakes(folder / f"wakes-{number}.db", sizes, samples)
        samples.note("replay_s", await measure_replay(folder / "replayed.db"))
    say(f"{sizes.parked:,} parked processes ...")
    parked = await program_output(CHILD, "park", folder / "parked.db", sizes.parked)
    samples.note("parked_mb", float(parked))
    return samples.facts()


def compare_to_raw(samples: Samples) -> None:
    """Processes beside as many commits as they have, steps beside one: what the raw store did this round."""
    one, grouped = samples.last("raw_rate"), samples.last("grouped_rate")
    writes = samples.last("process_transactions")  # one at a time, so each is a commit of its own
    for name, possible in (
        ("process", one / writes),
        ("processes", grouped / writes),
        ("step", one),
        ("steps", grouped),
    ):
        samples.note(f"{name}_to_raw", samples.last(f"{name}_rate") / possible)
    samples.note("raw_process_rate", one / writes)
    samples.note("raw_processes_rate", grouped / writes)


def say(what: str) -> None:
    print(what, file=sys.stderr)


# --- telling it ---------------------------------------------------------------------------------------

#: What is shown: a fact, its name, its aim. The ratios of a rate or a time are shown beside it.
ROWS = (
    ("raw_rate", "raw: thread hop, one committed row", ""),
    ("grouped_rate", "raw: rows committed together", ""),
    ("process_rate", "one-step processes, one at a time", ""),
    ("process_transactions", "  transactions of each", ""),
    ("raw_process_rate", "  raw: as many one-row commits", ""),
    ("processes_rate", "one-step processes, {lanes} at once", ""),
    ("processes_transactions", "  transactions of each", ""),
    ("raw_processes_rate", "  raw: as many rows, together", ""),
    ("memory_process_rate", "  in memory, one at a time", ""),
    ("memory_processes_rate", "  in memory, {lanes} at once", ""),
    ("step_rate", "steps of one process", ""),
    ("step_transactions", "  transactions of each", ""),
    ("steps_rate", "steps of {lanes} processes at once", ""),
    ("steps_transactions", "  transactions of each", ""),
    ("memory_step_rate", "  in memory, of one", ""),
    ("memory_steps_rate", "  in memory, of {lanes}", ""),
    ("recovery_s", "recovery of {unfinished:,} after SIGKILL", "< 2 s"),
    ("wake_here_ms", "signal() to the line behind a wait", ""),
    ("wake_here_p95_ms", "  95 %", ""),
    ("wake_elsewhere_ms", "  sent by another program", ""),
    ("wake_elsewhere_p95_ms", "  95 %", ""),
    ("replay_s", "opening, replaying {replayed:,} steps", ""),
    ("parked_mb", "memory of {parked:,} that wait", "< 500 MB"),
)

_UNITS = {"rate": "{:,.0f}/s", "s": "{:,.2f} s", "ms": "{:,.2f} ms", "mb": "{:,.0f} MB"}


def report(facts: Facts, sizes: Sizes) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = ["median", "spread", "to raw", "aim"]
    table = Table(title="Processes, synchronous=FULL")
    table.add_column("measure", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for name, label, aim in ROWS:
        stem, _, unit = name.rpartition("_")
        shown = {
            "median": _UNITS.get(unit, "{:,.2f}").format(facts[name]["median"]),
            "spread": _spread(facts[name]),
            "aim": aim,
        }
        if unit in {"rate", "s"}:
            shown["to raw"] = _ratio(facts, f"{stem}_to_raw")
        row = [shown.get(column, "") for column in columns]
        table.add_row(label.format(**asdict(sizes)), *row)
    console = Console()
    console.print(table)
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    console.print(f"{versions}, {platform.machine()}. Ratios travel; rates do not.")


def _spread(fact: dict[str, float]) -> str:
    """Half of what lies between the lowest and the highest, as a part of the median."""
    if fact["n"] < 2:
        return ""
    return f"± {(fact['high'] - fact['low']) / 2 / fact['median']:.0%}"


def _ratio(facts: Facts, name: str) -> str:
    """How many times as fast as the raw store."""
    return f"{facts[name]['median']:.2f}" if name in facts else ""


async def main(options: argparse.Namespace) -> None:
    sizes = QUICK if options.quick else replace(Sizes(), rounds=options.rounds)
    with tempfile.TemporaryDirectory() as name:
        facts = await measure(Path(name), sizes)
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        report(facts, sizes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a few of everything, in seconds")
    parser.add_argument("--json", action="store_true")
    asyncio.run(main(parser.parse_args()))
