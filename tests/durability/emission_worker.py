"""Forks the process that is killed while a process, or a tool, emits an event, and the one that goes on.

As `trigger_worker`. Modes: `process` starts a process that emits, `tool` a turn whose tool does; `recover`
opens the file and asks for nothing. Whatever runs writes a line into the ledger. Run by the tests.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, cast

from crash_jobs import Job, kill_of, leave, serve

import lash
from lash.core.seams import Seam
from lash.testing import KillAt, ScriptedModel, calls, reply

PAID = lash.TriggerEvent("order.paid")


class Shop:
    """What can be run, with a ledger of what really ran."""

    def __init__(self, ledger: Path) -> None:
        log = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def note(line: str) -> str:
            os.write(log, f"{line}\n".encode())
            return line

        @lash.process
        async def refund(ctx: lash.ProcessContext, order: dict[str, Any]) -> str:
            return await ctx.step(note, f"refund {ctx.id}", name="note")

        @lash.process
        async def archive(ctx: lash.ProcessContext, order: dict[str, Any]) -> str:
            return await ctx.step(note, f"archive {ctx.id}", name="note")

        @lash.process
        async def sells(ctx: lash.ProcessContext) -> str:
            note("emits")
            # What it says has to be the same when it is run again.
            order = {"id": "7", "at": (await ctx.now()).isoformat()}
            return (await ctx.triggers.emit(PAID, order)).occurrence_id

        @lash.tool
        async def pay(ctx: lash.ToolContext) -> str:
            """Pay."""
            note("emits")
            await ctx.triggers.emit(PAID, {"id": "7"})
            return "paid"

        model = ScriptedModel([calls(("pay", {})), reply("Done.")])
        self.refund, self.archive, self.sells = refund, archive, sells
        self.agent = lash.Agent("shop", model=model, tools=[pay])


async def facts(runtime: lash.Runtime) -> dict[str, Any]:
    """What is there in the end, in a few words."""
    processes = await runtime.processes.list(status="any")
    occurrences = await runtime.triggers.occurrences()
    turns = await runtime.session("s").turns() if await runtime.sessions() else ()
    emitted = [
        occurrence for turn in turns for call in turn.tool_calls for occurrence in call.emitted
    ]
    return {
        "occurrences": len(occurrences),
        "deliveries": sorted(
            [each.subscription.key, each.state] for each in await runtime.triggers.deliveries()
        ),
        "processes": sorted(
            [each.registration.identity.definition, each.status] for each in processes
        ),
        "told": emitted == [each.occurrence_id for each in occurrences] if turns else None,
        "findings": [each.code for each in await runtime.check()],
    }


async def play(job: Job) -> dict[str, Any]:
    folder, kill, mode = Path(job["folder"]), kill_of(job), job["mode"]
    shop = Shop(folder / "ledger")
    options: dict[str, Any] = {}
    if kill is not None:
        options["seams"] = KillAt(cast("Seam", kill[0]), kill[1])
    if mode != "recover":
        # What was started must not record anything beside what emits, which is killed by the count.
        options |= {"process_concurrency": 1, "run_processes": mode == "process"}
    async with lash.Runtime(
        folder / "agents.db",
        agents=[shop.agent],
        processes=[shop.refund, shop.archive, shop.sells],
        triggers=[PAID],
        **options,
    ) as runtime:
        if mode != "recover":
            await runtime.triggers.subscribe(PAID, shop.refund, key="refunds")
            await runtime.triggers.subscribe(PAID, shop.archive, key="archive")
        if mode == "process":
            await runtime.processes.start(shop.sells, id="p")
        elif mode == "tool":
            await runtime.session("s").run("Pay.")
        await runtime.idle(timeout=30)
        return await facts(runtime)


def perform(job: Job) -> None:
    """One operating-system process of a scene, from here to its end."""
    leave(job, asyncio.run(play(job)), None)


if __name__ == "__main__":
    serve(perform)
