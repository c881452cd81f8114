"""The workloads on DBOS over SQLite: as it comes (`plain`), or with the pragmas lash uses (`wal`)."""

import asyncio
import os
import signal as signals
import sqlite3
import statistics
import time
from pathlib import Path
from typing import Any

import sqlalchemy
from dbos import DBOS, SetWorkflowID

from side_by_side.programs.common import Figures, Sizes, main

#: How often it is looked whether all have ended, in seconds: nobody is told.
_LOOK_S = 0.05


class Stage:
    """How many third steps are to be held, and how many are; when a message was noticed."""

    wanted = 0
    held = 0
    woken: asyncio.Queue[float] = asyncio.Queue()


@DBOS.step()
async def nothing() -> int:
    return 1


@DBOS.step()
async def third() -> int:
    if Stage.wanted:
        Stage.held += 1
        if Stage.held == Stage.wanted:
            os.kill(os.getpid(), signals.SIGKILL)
        await asyncio.Event().wait()
    return 1


@DBOS.workflow()
async def steps(count: int) -> int:
    for _ in range(count):
        await nothing()
    return count


@DBOS.workflow()
async def three_steps() -> int:
    return int(await nothing() + await nothing() + await third())


@DBOS.workflow()
async def listener() -> None:
    await DBOS.recv_async("go", timeout_seconds=60)
    Stage.woken.put_nowait(time.perf_counter())


def launch(flavour: str, folder: Path) -> Path:
    file = folder / "dbos.db"
    config: dict[str, Any] = {
        "name": "bench",
        "system_database_url": f"sqlite:///{file}",
        "log_level": "ERROR",
        "application_version": "1",
        "executor_id": "bench",
    }
    if flavour == "wal":
        config["system_database_engine"] = _wal_engine(f"sqlite:///{file}")
    DBOS(config=config)
    DBOS.launch()
    return file


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


async def in_turn(workflows: int, step_count: int) -> None:
    for _ in range(workflows):
        await steps(step_count)


async def rate(lanes: int, workflows: int, step_count: int) -> float:
    await in_turn(3, 1)
    began = time.perf_counter()
    await asyncio.gather(*(in_turn(workflows, step_count) for _ in range(lanes)))
    return lanes * workflows * step_count / (time.perf_counter() - began)


def rates(flavour: str, folder: Path, name: str, *counts: int) -> Figures:
    launch(flavour, folder)
    figures = {name: asyncio.run(rate(*counts))}
    DBOS.destroy()
    return figures


def steps_one(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    return rates(flavour, folder, "steps_one", 1, 1, sizes["steps"])


def steps_many(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    return rates(flavour, folder, "steps_many", sizes["lanes"], 1, sizes["steps"])


def workflows_one(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    return rates(flavour, folder, "workflows_one", 1, sizes["workflows"], 1)


def workflows_many(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    return rates(flavour, folder, "workflows_many", sizes["lanes"], sizes["workflows"], 1)


def plant(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    """Begin workflows, and be killed when all are in their third step."""
    launch(flavour, folder)
    Stage.wanted = sizes["planted"]

    async def begin() -> None:
        for number in range(Stage.wanted):
            with SetWorkflowID(f"planted-{number}"):
                await DBOS.start_workflow_async(three_steps)
        await asyncio.Event().wait()

    asyncio.run(begin())
    return {}


def recovery(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    """Launch, and wait until all have ended."""
    began = time.perf_counter()
    file = launch(flavour, folder)
    reader = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)
    ended = "SELECT count(*) FROM workflow_status WHERE status = 'SUCCESS'"
    while reader.execute(ended).fetchone()[0] < sizes["planted"]:
        time.sleep(_LOOK_S)
    took = time.perf_counter() - began
    print(f'\n{{"recovery": {took}}}', flush=True)
    os._exit(0)  # shutting down is not what is measured


def signal(flavour: str, folder: Path, sizes: Sizes) -> Figures:
    launch(flavour, folder)

    async def measured() -> float:
        took: list[float] = []
        for number in range(sizes["signals"]):
            handle = await DBOS.start_workflow_async(listener)
            await asyncio.sleep(0.3 + 0.5 * number / sizes["signals"])  # it waits by then
            began = time.perf_counter()
            await DBOS.send_async(handle.workflow_id, "go", "go")
            took.append((await Stage.woken.get() - began) * 1000)
        return statistics.median(took)

    figures = {"signal": asyncio.run(measured())}
    DBOS.destroy()
    return figures


if __name__ == "__main__":
    main(
        {
            "steps_one": steps_one,
            "steps_many": steps_many,
            "workflows_one": workflows_one,
            "workflows_many": workflows_many,
            "plant": plant,
            "recovery": recovery,
            "signal": signal,
        }
    )
