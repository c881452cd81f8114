"""Forks the process that is killed while it emits an event, and the one that opens the file after it.

As `crash_worker`, with an event. Modes: `emit` subscribes and emits; `recover` opens the file and asks for
nothing; `again` emits the same once more. Each process of the event's writes a line into the ledger; a line
written with one `write` outlives SIGKILL. Run by the tests.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, cast

from crash_jobs import Job, kill_of, leave, serve

import lash
from lash.core.seams import Seam
from lash.processes.outcomes import ProcessSuccess
from lash.testing import KillAt, ScriptedModel, reply

PAID = lash.TriggerEvent("order.paid")
AGENT = lash.Agent("support", model=ScriptedModel([reply("Noted.")]))


def functions(ledger: Path) -> list[lash.ProcessFunction[..., Any]]:
    log = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(line: str) -> str:
        os.write(log, f"{line}\n".encode())
        return line

    @lash.process
    async def refund(ctx: lash.ProcessContext, order_id: str) -> str:
        return await ctx.step(note, f"refund {order_id} {ctx.id}", name="note")

    @lash.process
    async def archive(ctx: lash.ProcessContext, order: dict[str, Any]) -> str:
        return await ctx.step(note, f"archive {order['id']} {ctx.id}", name="note")

    return [refund, archive]


async def facts(runtime: lash.Runtime) -> dict[str, Any]:
    """What is there in the end, in a few words."""
    processes = await runtime.processes.list(status="any")
    deliveries = await runtime.triggers.deliveries()
    found = await runtime.sessions()
    history = await runtime.session("c-7").history() if found else ()
    return {
        "occurrences": [each.key for each in await runtime.triggers.occurrences()],
        "deliveries": sorted([each.subscription.key, each.state] for each in deliveries),
        "processes": sorted(
            [each.registration.identity.definition, each.status] for each in processes
        ),
        "linked": sorted(each.process_id for each in processes)
        == sorted(each.process_id for each in deliveries if each.process_id),
        "results": sorted(
            str(each.outcome.value).rsplit(" ", 1)[0]
            for each in processes
            if isinstance(each.outcome, ProcessSuccess)
        ),
        "said": [[each.role, each.text] for each in history],
        "findings": [each.code for each in await runtime.check()],
    }


async def play(job: Job) -> dict[str, Any]:
    made, folder, kill = (
        functions(Path(job["folder"]) / "ledger"),
        Path(job["folder"]),
        kill_of(job),
    )
    refund, archive = made
    options: dict[str, Any] = {}
    if kill is not None:
        options["seams"] = KillAt(cast("Seam", kill[0]), kill[1])
    async with lash.Runtime(
        folder / "agents.db", agents=[AGENT], processes=made, triggers=[PAID], **options
    ) as runtime:
        statuses: list[str] = []
        if job["mode"] != "recover":
            subscribe = runtime.triggers.subscribe
            await subscribe(PAID, refund, key="refunds", input={"order_id": lash.from_event("id")})
            await subscribe(PAID, archive, key="archive")
            await subscribe(
                PAID, lash.SessionPrompt("c-{event.id}", "Order {event.id} was paid."), key="tell"
            )
            report = await runtime.triggers.emit(PAID, {"id": "7"}, key="payment-1")
            statuses = [f"{each.key} {each.status}" for each in report.deliveries]
        await runtime.idle(timeout=30)
        return {**await facts(runtime), "statuses": statuses}


def perform(job: Job) -> None:
    """One operating-system process of a scene, from here to its end."""
    leave(job, asyncio.run(play(job)), None)


if __name__ == "__main__":
    serve(perform)
