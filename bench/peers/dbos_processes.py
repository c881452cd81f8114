"""The workloads of `processes.py` on DBOS over SQLite. Run by it, in an environment that has DBOS.

    dbos_processes.py (plain | wal) rates FILE LANES WORKFLOWS WORKFLOWS_EACH STEPS STEPS_EACH
    dbos_processes.py (plain | wal) plant FILE COUNT
    dbos_processes.py (plain | wal) recover FILE COUNT

`plain` is DBOS as it comes: SQLite's rollback journal. `wal` hands it an engine with the pragmas that
lash uses, `journal_mode=WAL` and `synchronous=FULL`. Results are printed as JSON.
"""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from typing import Any

import sqlalchemy  # type: ignore[import-not-found]  # only where DBOS is installed
from dbos import DBOS, SetWorkflowID  # type: ignore[import-not-found]  # as above

#: How often it is looked whether all have ended, in seconds: nobody is told.
_LOOK_S = 0.05


class Held:
    """How many third steps are to be held, and how many are."""

    wanted = 0
    begun = 0


async def _nothing() -> int:
    return 1


async def _third() -> int:
    if Held.wanted:
        Held.begun += 1
        if Held.begun == Held.wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.Event().wait()
    return 1


nothing = DBOS.step()(_nothing)
third = DBOS.step()(_third)


async def _steps(count: int) -> int:
    for _ in range(count):
        await nothing()
    return count


async def _three_steps() -> int:
    return int(await nothing() + await nothing() + await third())


steps = DBOS.workflow()(_steps)
three_steps = DBOS.workflow()(_three_steps)


def launch(flavour: str, file: str) -> None:
    url = f"sqlite:///{file}"
    config: dict[str, Any] = {
        "name": "bench",
        "system_database_url": url,
        "log_level": "ERROR",
        "application_version": "1",
        "executor_id": "bench",
    }
    if flavour == "wal":
        config["system_database_engine"] = _wal_engine(url)
    DBOS(config=config)
    DBOS.launch()


def _wal_engine(url: str) -> Any:
    engine = sqlalchemy.create_engine(url, pool_size=20)

    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = "IMMEDIATE"  # this and the next two as DBOS does
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    sqlalchemy.event.listen(engine, "connect", connected)
    return engine


async def rates(lanes: int, one: int, each: int, step_count: int, steps_each: int) -> None:
    async def lane(count: int) -> None:
        for _ in range(count):
            await steps(1)

    await lane(3)
    facts: dict[str, float] = {}
    for name, done, work in (
        ("process", one, [lane(one)]),
        ("processes", lanes * each, [lane(each) for _ in range(lanes)]),
        ("step", step_count, [steps(step_count)]),
        ("steps", lanes * steps_each, [steps(steps_each) for _ in range(lanes)]),
    ):
        began = time.perf_counter()
        await asyncio.gather(*work)
        facts[name] = done / (time.perf_counter() - began)
    print(json.dumps(facts))


async def plant(count: int) -> None:
    """Begin three-step workflows and be killed as soon as all are in their third step."""
    Held.wanted = count
    for number in range(count):
        with SetWorkflowID(f"planted-{number}"):
            await DBOS.start_workflow_async(three_steps)
    await asyncio.Event().wait()


def recover(flavour: str, file: str, count: int) -> None:
    began = time.perf_counter()
    launch(flavour, file)
    reader = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)
    ended = "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'"
    while reader.execute(ended).fetchone()[0] < count:
        time.sleep(_LOOK_S)
    print(json.dumps({"recovery": time.perf_counter() - began}), flush=True)
    os._exit(0)  # shutting down is not what is measured


def main(flavour: str, role: str, file: str, *counts: str) -> None:
    numbers = [int(count) for count in counts]
    if role == "recover":
        recover(flavour, file, *numbers)
        return
    launch(flavour, file)
    asyncio.run(rates(*numbers) if role == "rates" else plant(*numbers))
    DBOS.destroy()


if __name__ == "__main__":
    main(*sys.argv[1:])
