"""What the machine can do at best: SQLite commits, task switches, calls in threads."""

import asyncio
import time
from pathlib import Path

from raw_store import INSERT, ROW, GroupedWriter, RawWriter, committed_rate, open_raw
from side_by_side.programs.common import Figures, Sizes, main


async def steps_one(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    """Rows, a commit each: by the event loop's own thread, or by one that is asked."""
    count = sizes["steps"]
    if flavour == "inline":
        return {"steps_one": count / _inline(folder / "raw.db", count)}
    return {"steps_one": await committed_rate(RawWriter(folder / "raw.db"), 1, count)}


def _inline(path: Path, count: int) -> float:
    connection = open_raw(path)
    began = time.perf_counter()
    for _ in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, ROW)
        connection.execute("COMMIT")
    took = time.perf_counter() - began
    connection.close()
    return took


async def steps_many(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    """Rows of many at once; those that wait together are one commit."""
    del flavour
    writer = GroupedWriter(folder / "raw.db")
    return {"steps_many": await committed_rate(writer, sizes["lanes"], sizes["steps"])}


async def loop(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    """Two tasks that give way to each other; calls in a thread."""
    del flavour, folder

    async def give_way() -> None:
        for _ in range(sizes["switches"] // 2):
            await asyncio.sleep(0)

    began = time.perf_counter()
    await asyncio.gather(give_way(), give_way())
    switched = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(sizes["hops"]):
        await asyncio.to_thread(int)
    hopped = time.perf_counter() - began
    return {"task_switches": sizes["switches"] / switched, "thread_hops": sizes["hops"] / hopped}


if __name__ == "__main__":
    main({"steps_one": steps_one, "steps_many": steps_many, "loop": loop})
