"""Forks the processes that are killed, and those that find what they left. Run by the tests.

`crash_jobs` says what a job is. Modes: `drive` does what the application does; `again` does the same
once more, as an application would that never heard of the end; `recover` opens the file, asks for
nothing and waits until idle; `resolve`, `stop` and `delete` have no agents; they answer what waits, ask
the turn to stop, or delete its session, and wait until idle.
"""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from crash_jobs import Job, ending, kill_of, leave, other_on, said, serve
from crash_plays import SCENARIOS, other_does
from crash_stage import Ids, Order, Other, PatientClock, Stage

import lash
from lash.core.clock import SystemClock

WITHOUT_AGENTS = {"resolve", "stop", "delete"}
LEASES = "SELECT session_id FROM leases WHERE owner_id IS NOT NULL ORDER BY 1"
QUEUE = "SELECT coalesce(source_key, kind), state, turn_id FROM queue ORDER BY session_id, sequence"


async def facts_of(runtime: lash.Runtime, database: Path) -> dict[str, Any]:
    """What the store shows through the public face, and what must not be left in its tables."""
    sessions = {}
    for summary in await runtime.sessions():
        session = runtime.session(summary.session_id)
        turns = [
            [
                turn.turn_id,
                ending(turn),
                " ".join(
                    f"{call.tool}:{call.output.outcome.__struct_config__.tag}"
                    for call in turn.tool_calls
                ),
                len(turn.llm_calls),
            ]
            for turn in await session.turns()
        ]
        history = [said(message) for message in await session.history(whole=True)]
        sessions[summary.session_id] = {
            "state": summary.state,
            "turns": turns,
            "history": history,
        }
    found = [[finding.code, finding.message] for finding in await runtime.check()]
    with closing(sqlite3.connect(database)) as connection:
        queue = [list(row) for row in connection.execute(QUEUE)]
    return {"sessions": sessions, "queue": queue, "findings": found}


async def play(job: Job, stage: Stage, ids: Ids) -> dict[str, Any]:
    scenario, mode = SCENARIOS[job["scenario"]], job["mode"]
    database = stage.folder / "agents.db"
    clock = PatientClock() if scenario.play.waits else SystemClock(asyncio.sleep)
    agents = [] if mode in WITHOUT_AGENTS else stage.agents()
    opened = time.monotonic()
    async with lash.Runtime(
        database, agents=agents, seams=stage.seam, ids=ids, clock=clock
    ) as runtime:
        if mode in WITHOUT_AGENTS:
            await other_does(runtime, (mode, {}), stage)
        if mode in {"drive", "again"}:
            await scenario.script(runtime, stage)
        await runtime.idle(timeout=20)
        idle_after = time.monotonic() - opened
        facts = await facts_of(runtime, database)
    with closing(sqlite3.connect(database)) as connection:
        leases = [name for (name,) in connection.execute(LEASES)]
    return {**facts, "leases": leases, "idle_after": idle_after, "trace": stage.trace}


def perform(job: Job) -> None:
    """One process of a scene, from here to its end."""
    scenario, folder, kill = SCENARIOS[job["scenario"]], Path(job["folder"]), kill_of(job)
    other: Other | None = None
    if job["mode"] == "drive" and scenario.play.orders:
        elsewhere = Stage(folder, scenario.play, kill=kill, prefix="other.")
        ids = Ids(f"other-{job['label']}")

        async def act(order: Order) -> None:
            async with lash.Runtime(
                folder / "agents.db", agents=elsewhere.agents(), seams=elsewhere.seam, ids=ids
            ) as runtime:
                await other_does(runtime, order, elsewhere)

        other = other_on(elsewhere, act)
    stage = Stage(folder, scenario.play, kill=kill, other=other)
    leave(job, asyncio.run(play(job, stage, Ids(job["label"]))), other)


if __name__ == "__main__":
    serve(perform)
