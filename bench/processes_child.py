"""The processes that `processes.py` measures, and what it needs other programs for. Run by it.

processes_child.py plant FILE COUNT      begin three-step processes; be killed in their third steps
processes_child.py recover FILE COUNT    finish them; print the seconds it took
processes_child.py park FILE COUNT       have so many wait for a signal; print the MB they take
processes_child.py signal FILE ID        send a signal for every line that is read; print when
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lash

#: How many processes are started at once when many are to wait.
_CHUNK = 500


class Stage:
    """What the processes of this program are told, and tell, outside of their journals."""

    def __init__(self) -> None:
        self.holds = 0  # so many third steps do not return, and the last of them kills
        self.held = 0
        self.through = asyncio.Event()
        self.woken: asyncio.Queue[float] = asyncio.Queue()


STAGE = Stage()


async def nothing() -> int:
    return 1


async def third() -> int:
    if STAGE.holds:
        STAGE.held += 1
        if STAGE.held == STAGE.holds:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.Event().wait()
    return 1


@lash.process
async def steps(ctx: lash.ProcessContext, count: int) -> int:
    for _ in range(count):
        await ctx.step(nothing)
    return count


@lash.process
async def three_steps(ctx: lash.ProcessContext) -> int:
    return await ctx.step(nothing) + await ctx.step(nothing) + await ctx.step(third)


@lash.process
async def steps_and_signal(ctx: lash.ProcessContext, count: int) -> None:
    for _ in range(count):
        await ctx.step(nothing)
    STAGE.through.set()
    await ctx.signal("end")


@lash.process
async def listener(ctx: lash.ProcessContext) -> None:
    while True:
        await ctx.signal("go")
        STAGE.woken.put_nowait(time.perf_counter())


ALL = (steps, three_steps, steps_and_signal, listener)


async def plant(path: str | Path, count: int) -> None:
    """Begin so many, and be killed when all are in their third step."""
    STAGE.holds = count
    async with lash.Runtime(path, processes=ALL, process_concurrency=count) as runtime:
        for number in range(count):
            await runtime.processes.start(three_steps, id=f"planted-{number}")
        await asyncio.Event().wait()


async def recover(path: str | Path, count: int) -> float:
    """Finish what was planted; the seconds that took."""
    began = time.perf_counter()
    async with lash.Runtime(path, processes=ALL) as runtime:
        await runtime.idle()
        took = time.perf_counter() - began
        ended = await runtime.processes.list(status="completed", limit=count + 1)
        assert len(ended) == count
    return took


async def park(path: str, count: int) -> None:
    async with lash.Runtime(path, processes=ALL) as runtime:
        before = _resident_mb()
        for first in range(0, count, _CHUNK):
            starting = (
                runtime.processes.start(listener, id=f"parked-{number}")
                for number in range(first, min(first + _CHUNK, count))
            )
            await asyncio.gather(*starting)
        await runtime.idle()
        print(_resident_mb() - before, flush=True)
        os._exit(0)  # giving so many leases back is not what is measured


def _resident_mb() -> float:
    """How much of this program is in memory."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
    asked = ["ps", "-o", "rss=", "-p", str(os.getpid())]
    return int(subprocess.run(asked, capture_output=True, check=True).stdout) / 1024


async def send(path: str, process_id: str) -> None:
    async with lash.Runtime(path, processes=ALL, run_processes=False) as runtime:
        handle = runtime.processes.handle(process_id)
        while await asyncio.to_thread(sys.stdin.readline):
            began = time.perf_counter()
            await handle.signal("go")
            print(began, flush=True)  # one clock for the whole machine


async def main(role: str, path: str, what: str) -> None:
    if role == "signal":
        await send(path, what)
    elif role == "recover":
        print(await recover(path, int(what)))
    else:
        await {"plant": plant, "park": park}[role](path, int(what))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
