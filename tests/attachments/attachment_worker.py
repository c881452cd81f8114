"""What the durability tests run in processes of its own, to be killed at a seam or to run beside others."""

import asyncio
import json
import os
import resource
import signal
import sys
from pathlib import Path

import lash
from lash.core.errors import LashError
from lash.core.seams import Seam, SeamObserver
from lash.runtime.attachments import owned_by_turn
from lash.testing import ScriptedModel, calls, reply

LARGE = 300 * 1024


def content(name: str) -> bytes:
    """Bytes by their name: `small` ones lie in the database, `large` ones beside it."""
    return name.encode() * (LARGE // len(name) + 1) if name.startswith("large") else name.encode()


def killer(wanted: str, nth: int = 1) -> SeamObserver:
    """Dies when a seam is passed for the nth time."""
    left = nth

    def observe(seam: Seam) -> None:
        nonlocal left
        if seam == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return observe


def say(**facts: object) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def put(db: str, seam: str, name: str) -> None:
    """Put bytes as an application does."""
    async with lash.Runtime(db, seams=killer(seam)) as runtime:
        ref = await runtime.session("s").attachments.put(content(name))
        await runtime.session("s").attachments.keep(ref.id)
        say(id=ref.id)


async def sweep(db: str, seam: str) -> None:
    """Delete what nobody refers to."""
    async with lash.Runtime(db, seams=killer(seam)) as runtime:
        say(reclaimed=(await runtime.attachments.reclaim(0)).reclaimed)


async def turn(db: str, seam: str, name: str) -> None:
    """Drive a turn whose tool puts bytes; or go on with one."""

    @lash.tool
    async def draw(ctx: lash.ToolContext) -> str:
        """Draw something."""
        return (await runtime.session(ctx.session_id).attachments.put(content(name))).id

    model = ScriptedModel([calls(("draw", {})), reply("done")])
    agent = lash.Agent("a", model=model, tools=[draw])
    async with lash.Runtime(db, agents=[agent], seams=killer(seam)) as runtime:
        result = await runtime.session("s").run("draw", turn_id="t1")
        say(text=result.text)


async def hammer(db: str, who: str, rounds: str) -> None:
    """Put, read and drop the same few contents that others put as well."""
    async with lash.Runtime(db) as runtime:
        attachments = runtime.session(who).attachments
        for number in range(int(rounds)):
            data = content(("small", "large")[number % 2] + str(number % 4))
            with owned_by_turn(who, "never over"):  # no sweep takes it for abandoned
                ref = await attachments.put(data)
            found = await attachments.get(ref.id)
            if found.data != data:
                say(lost=number)
                return
            await attachments.delete(ref.id)
    say(done=int(rounds))


async def reclaim(db: str) -> None:
    """Sweep until told to stop."""
    reclaimed = deferred = 0
    stop = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    async with lash.Runtime(db) as runtime:
        while not stop.done():
            report = await runtime.attachments.reclaim(0, allow_empty=True)
            reclaimed += report.reclaimed
            deferred += len(report.deferred)
            if report.failed or report.deleted_while_referenced:
                say(failed=report.failed, alarms=report.deleted_while_referenced)
                return
            await asyncio.sleep(0)
    say(reclaimed=reclaimed, deferred=deferred)


async def limited(db: str, source: str) -> None:
    """Put a file that is larger than files may be, then one that is not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 1024 * 1024, resource.RLIM_INFINITY))
    async with lash.Runtime(db) as runtime:
        attachments = runtime.session("s").attachments
        code = ""
        try:
            await attachments.put(Path(source))
        except LashError as error:
            code = error.code
        ref = await attachments.put(content("large"))
        same = (await attachments.get(ref.id)).data == content("large")
        say(code=code, same=same)


async def large(db: str, source: str) -> None:
    """Put a large file and tell by how much the process has grown meanwhile."""
    async with lash.Runtime(db) as runtime:
        attachments = runtime.session("s").attachments
        await attachments.put(content("large"))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ref = await attachments.put(Path(source))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        say(id=ref.id, byte_len=ref.byte_len, grown_kib=grown)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    jobs = {job.__name__: job for job in (put, sweep, turn, hammer, reclaim, limited, large)}
    asyncio.run(jobs[what](*arguments))
