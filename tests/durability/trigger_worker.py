"""The process that is killed while it emits an event, and the one that opens the file after it.

    trigger_worker.py DATABASE LEDGER emit [POINT NTH]    subscribe and emit; die at a point
    trigger_worker.py DATABASE LEDGER recover [POINT NTH] open the file, ask for nothing; die at a point
    trigger_worker.py DATABASE LEDGER again               emit the same once more

Each process writes a line into the ledger; a line written with one `write` outlives SIGKILL. Run by the
tests.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, cast

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


async def main(database: Path, ledger: Path, mode: str, point: str = "", nth: str = "0") -> None:
    made = functions(ledger)
    refund, archive = made
    seams = KillAt(cast("Seam", point), int(nth)) if point else None
    options: dict[str, Any] = {"seams": seams} if seams else {}
    async with lash.Runtime(
        database, agents=[AGENT], processes=made, triggers=[PAID], **options
    ) as runtime:
        statuses: list[str] = []
        if mode != "recover":
            subscribe = runtime.triggers.subscribe
            await subscribe(PAID, refund, key="refunds", input={"order_id": lash.from_event("id")})
            await subscribe(PAID, archive, key="archive")
            await subscribe(
                PAID, lash.SessionPrompt("c-{event.id}", "Order {event.id} was paid."), key="tell"
            )
            report = await runtime.triggers.emit(PAID, {"id": "7"}, key="payment-1")
            statuses = [f"{each.key} {each.status}" for each in report.deliveries]
        await runtime.idle(timeout=30)
        print(json.dumps({**await facts(runtime), "statuses": statuses}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
