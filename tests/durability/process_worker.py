"""Forks the operating-system processes of the processes' crash matrix. Run by the tests.

As `crash_worker`, with durable processes. Modes: `drive` does what the application does; `again` does
the same once more, as an application would that never heard of the end; `send` sends what the outside
sends, under the same ids, from a runtime that runs nothing; `recover` opens the file, asks for nothing
and waits until every process has ended.
"""

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from crash_jobs import Job, ending, kill_of, leave, other_on, said, serve
from crash_stage import Ids, Order, Other
from process_plays import SCENARIOS, sent
from process_stage import ProcessStage

import lash
from lash.processes.events import ProcessEvent
from lash.processes.model import ProcessRecord
from lash.processes.outcomes import (
    ProcessAbandoned,
    ProcessCancelled,
    ProcessFailure,
    ProcessSuccess,
)

LEASES = """
    SELECT session_id FROM leases WHERE owner_id IS NOT NULL
    UNION ALL SELECT process_id FROM processes WHERE owner_id IS NOT NULL
"""
QUEUE = "SELECT source_key, state FROM queue ORDER BY session_id, sequence"
#: Effects that are recorded more than once.
TWICE = "SELECT scope, replay_key FROM journal GROUP BY 1, 2 HAVING count(*) > 1"


def outcome_of(record: ProcessRecord) -> object:
    """How a process ended, in a few words."""
    match record.outcome:
        case ProcessSuccess(value=value):
            return value
        case ProcessFailure(code=code, message=message):
            return f"{code}: {message}"
        case ProcessCancelled(message=message):
            return message
        case ProcessAbandoned(evidence=evidence):
            return evidence.writer
        case None:
            return None


def event_of(event: ProcessEvent) -> str:
    """An event of a process's own, or a signal, in a few words."""
    return f"{event.event_type} {json.dumps(event.payload, sort_keys=True)}"


async def facts_of(runtime: lash.Runtime, database: Path) -> dict[str, Any]:
    """What the store shows through the public face, and what must not be left in its tables."""
    processes: dict[str, Any] = {}
    for record in await runtime.processes.list(status="any"):
        name = record.process_id
        events = await runtime.processes.events(name)
        wakes = await runtime.processes.wakes(name)
        kinds = [event.event_type for event in events]
        reference = record.state.external_ref
        processes[name] = {
            "status": record.status,
            "outcome": outcome_of(record),
            "events": [
                event_of(event)
                for event in events
                if not event.event_type.startswith("process.")
                or event.event_type in {"process.wake", "process.cancel_requested"}
            ],
            "wakes": [wake.state for wake in wakes],
            "ends": sum(kinds.count(f"process.{status}") for status in ENDS),
            "begun": kinds.count("process.started"),
            "reference": None if reference is None else f"{reference.backend}:{reference.id}",
            "observers": list(await runtime.engine.store.observers_of(name)),
            "tells": record.state.wake_session_id,
            "parked": None if record.state.parked is None else record.state.parked.message,
        }
    sessions = {}
    for summary in await runtime.sessions():
        session = runtime.session(summary.session_id)
        sessions[summary.session_id] = {
            "state": summary.state,
            "turns": [[turn.turn_id, ending(turn)] for turn in await session.turns()],
            "history": [said(message) for message in await session.history(whole=True)],
        }
    found = [[finding.code, finding.message] for finding in await runtime.check()]
    with closing(sqlite3.connect(database)) as connection:
        queue = [list(row) for row in connection.execute(QUEUE)]
        twice = [list(row) for row in connection.execute(TWICE)]
    return {
        "processes": processes,
        "sessions": sessions,
        "queue": queue,
        "twice": twice,
        "findings": found,
    }


ENDS = ("completed", "failed", "cancelled", "abandoned")


async def settle(runtime: lash.Runtime) -> None:
    """Wait until every process has ended or waits for somebody, and sessions have heard of it."""
    await runtime.idle(timeout=20)
    for record in await runtime.processes.list(status="live", parked=False):
        if record.registration.disposition != "externally_owned":
            await runtime.processes.handle(record.process_id).outcome(timeout=20)
    await runtime.idle(timeout=20)


async def play(job: Job, stage: ProcessStage, ids: Ids) -> dict[str, Any]:
    scenario, mode = SCENARIOS[job["scenario"]], job["mode"]
    database = stage.folder / "agents.db"
    opened = time.monotonic()
    async with lash.Runtime(
        database,
        agents=stage.agents(),
        processes=scenario.functions(stage),
        run_processes=mode != "send",
        process_concurrency=1 if mode == "drive" else 64,
        seams=stage.seam,
        ids=ids,
    ) as runtime:
        match mode:
            case "send":
                await sent(runtime, scenario.send)
            case "recover":
                await settle(runtime)
            case _:
                await stage.until("wakes.after")
                await scenario.script(runtime, stage)
                await settle(runtime)
        settled_after = time.monotonic() - opened
        facts = await facts_of(runtime, database)
    with closing(sqlite3.connect(database)) as connection:
        leases = [name for (name,) in connection.execute(LEASES)]
    return {**facts, "leases": leases, "settled_after": settled_after, "trace": stage.trace}


def perform(job: Job) -> None:
    """One operating-system process of a scene, from here to its end."""
    scenario, folder, kill = SCENARIOS[job["scenario"]], Path(job["folder"]), kill_of(job)
    other: Other | None = None
    drives = job["mode"] == "drive"
    if drives and scenario.play.orders:
        elsewhere = ProcessStage(folder, scenario.play, kill=kill, prefix="other.", gates=None)

        async def act(order: Order) -> None:
            async with lash.Runtime(
                folder / "agents.db",
                run_processes=False,
                seams=elsewhere.seam,
                ids=Ids(f"other-{job['label']}"),
            ) as runtime:
                await scenario.send(runtime)

        other = other_on(elsewhere, act)
    stage = ProcessStage(
        folder, scenario.play, kill=kill, other=other, gates=scenario.gates if drives else None
    )
    leave(job, asyncio.run(play(job, stage, Ids(job["label"]))), other)


if __name__ == "__main__":
    serve(perform)
