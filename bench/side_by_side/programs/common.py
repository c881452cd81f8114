"""What the programs have in common: how they are called, and what is said in the conversation."""

import asyncio
import itertools
import json
import sqlite3
import statistics
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path

Sizes = Mapping[str, int]
Figures = dict[str, float]
#: Does a workload: flavour, a folder of its own, how much of everything.
Work = Callable[[str, Path, Sizes], Figures | Coroutine[None, None, Figures]]

#: A turn is so many tool calls, one after the other, and a model call more.
CALLS = 10
PROMPT = "u" * 200
TOOL_RESULT = "r" * 200
FINAL = "a" * 200


def arguments(number: int) -> dict[str, object]:
    """What the model calls the tool with."""
    return {"q": "something to look up", "k": number}


def main(workloads: Mapping[str, Work]) -> None:
    """Do the workload that the command line names, and print its figures as the last line."""
    flavour, name, folder, sizes = sys.argv[1:]
    done = workloads[name](flavour, Path(folder), json.loads(sizes))
    if isinstance(done, Coroutine):
        done = asyncio.run(done)
    print("\n" + json.dumps(done), flush=True)


def turn_figures(took_ms: Sequence[float], kept: Sequence[int], sizes: Sizes) -> Figures:
    """What a conversation's turns come to: milliseconds each, and bytes on disk after each."""
    figures = {"turn_2": statistics.median(took_ms[1:6])}
    if "middle" in sizes:
        grown = [(after - before) / 1024 for before, after in itertools.pairwise(kept)]
        figures = {
            "turn_50": statistics.median(took_ms[sizes["middle"] - 5 : sizes["middle"]]),
            "turn_200": statistics.median(took_ms[-5:]),
        }
        if any(kept):
            figures["turn_growth"] = statistics.mean(grown[:5])
            figures["turn_200_growth"] = statistics.mean(grown[-5:])
    return figures


def bytes_of(file: Path) -> int:
    """Bytes of an SQLite file's pages in use, whether they have reached the file or its log."""
    if not file.exists():
        return 0
    connection = sqlite3.connect(file, timeout=30)
    try:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    finally:
        connection.close()
    return int((pages - free) * size)
