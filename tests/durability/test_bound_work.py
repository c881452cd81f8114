"""Work that is bound to its worker: begun once, and given up when that worker is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import lash
from lash.processes.outcomes import ProcessAbandoned

WORKER = """
import asyncio, sys
import lash

@lash.process(recovery="owner_bound")
async def bound(ctx: lash.ProcessContext) -> None:
    await ctx.signal("never")

async def main() -> None:
    async with lash.Runtime(sys.argv[1], processes=[bound]) as runtime:
        await runtime.processes.start(bound, id="b")
        await runtime.idle(timeout=20)
        print("waits", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@lash.process(recovery="owner_bound")
async def bound(ctx: lash.ProcessContext) -> None:
    raise AssertionError("it must never be begun again")


async def test_what_a_killed_worker_had_begun_is_given_up_and_not_begun_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "p.db"
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "waits\n"
        async with lash.Runtime(path, processes=[bound]) as runtime:
            await runtime.idle(timeout=20)
            assert (await runtime.processes.get("b")).outcome is None  # its worker lives
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
            ended = await runtime.processes.handle("b").outcome(timeout=10)
    finally:
        worker.kill()
        worker.communicate()
    assert isinstance(ended, ProcessAbandoned)
    assert ended.evidence.writer == "sweep"
    assert ended.evidence.owner is not None
