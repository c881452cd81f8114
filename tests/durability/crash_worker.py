"""Forks the processes that are killed, and those that find what they left. Run by the tests.

Having everything imported once makes a process cost milliseconds. It reads a job as a JSON line, forks
a process for it, waits for its end and says how it ended:

    {"scenario", "mode", "folder", "label", "kill": [POINT, NTH] or null}

Modes: `drive` does what the application does; `again` does the same once more, as an application
would that never heard of the end; `recover` opens the file, asks for nothing and waits until idle;
`resolve`, `stop` and `delete` have no agents; they answer what waits, ask the turn to stop, or delete
its session, and wait until idle. Each leaves what it found as JSON in the folder.
"""

import asyncio
import gc
import json
import os
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from crash_plays import SCENARIOS, other_does
from crash_stage import Ids, Order, Other, PatientClock, Stage

import lash
from lash.app.results import HistoryMessage
from lash.core.clock import SystemClock
from lash.turn.outcome import AgentFrameSwitch, AssistantMessage, Cancelled, Finished

WITHOUT_AGENTS = {"resolve", "stop", "delete"}
LEASES = "SELECT session_id FROM leases WHERE owner_id IS NOT NULL ORDER BY 1"
QUEUE = "SELECT coalesce(source_key, kind), state, turn_id FROM queue ORDER BY session_id, sequence"


def ending(turn: lash.TurnResult) -> str:
    """How a turn ended, in a few words."""
    match turn.outcome:
        case Finished(result=AssistantMessage(text=text)):
            return text
        case AgentFrameSwitch(frame_id=frame_id, task=task):
            return f"{task} in {frame_id}"
        case lash.Stopped(reason=Cancelled()) if turn.cancellation is not None:
            return f"stopped by {turn.cancellation.origin}"
        case outcome:
            return repr(outcome)


def said(message: HistoryMessage) -> str:
    """A message in a few words."""
    calls = [f"[{call.tool}]" for call in message.tool_calls]
    results = [f"<{result.tool}: {result.text}>" for result in message.tool_results]
    words = [f"{message.role}:", *filter(None, [message.text]), *calls, *results]
    return " ".join(words).replace("\n\n", " ").replace("\n", " ")


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


async def play(job: dict[str, Any], stage: Stage, ids: Ids) -> dict[str, Any]:
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


def perform(job: dict[str, Any]) -> None:
    """One process of a scene, from here to its end."""
    scenario, folder = SCENARIOS[job["scenario"]], Path(job["folder"])
    kill: tuple[str, int] | None = tuple(job["kill"]) if job["kill"] else None
    other: Other | None = None
    if job["mode"] == "drive" and scenario.play.orders:
        elsewhere = Stage(folder, scenario.play, kill=kill, prefix="other.")
        ids = Ids(f"other-{job['label']}")

        def do(order: Order) -> Sequence[str]:
            async def alone() -> None:
                async with lash.Runtime(
                    folder / "agents.db",
                    agents=elsewhere.agents(),
                    seams=elsewhere.seam,
                    ids=ids,
                ) as runtime:
                    await other_does(runtime, order, elsewhere)

            before = len(elsewhere.trace)
            asyncio.run(alone())
            return elsewhere.trace[before:]

        other = Other(do)
    stage = Stage(folder, scenario.play, kill=kill, other=other)
    facts = asyncio.run(play(job, stage, Ids(job["label"])))
    if other is not None:
        facts["other"] = other.close()
    (folder / f"{job['label']}.json").write_text(json.dumps(facts))


def fork(job: dict[str, Any]) -> int:
    """Play a job in a process of its own; how that ended."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        errors = os.open(
            Path(job["folder"]) / f"{job['label']}.err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        )
        os.dup2(errors, 2)
        perform(job)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def empty_database() -> bytes:
    """A database that was opened once: making the tables anew would take most of a scene's time."""

    async def opened(path: Path) -> None:
        async with lash.Runtime(path):
            pass

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        pid = os.fork()  # what opens a database has threads, and this process is to have none
        if pid == 0:
            asyncio.run(opened(path))
            os._exit(0)
        os.waitpid(pid, 0)
        return path.read_bytes()


def main() -> None:
    empty = empty_database()
    gc.freeze()  # what every process shares is not looked through in each of them
    for line in sys.stdin:
        job = json.loads(line)
        database = Path(job["folder"]) / "agents.db"
        if not database.exists():
            database.write_bytes(empty)
        print(fork(job), flush=True)


if __name__ == "__main__":
    main()
