"""The process that is killed inside an operation, and the one that enters it again. Run by the tests.

    operation_worker.py DATABASE LEDGER [POINT NTH]    go through the operation; die at a point
    operation_worker.py DATABASE LEDGER race           meet another process in one step

The ledger gets a line for every function and model call that really starts; a line written with one
`write` outlives SIGKILL. In a process that is to die the two steps side by side overlap in a fixed
order: both are running, then `left` returns and is recorded, then `right` returns.
"""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

import lash
from lash.core.scopes import RuntimeOperationScope, journal_key
from lash.core.seams import Seam
from lash.llm.request import LlmRequest
from lash.llm.response import LlmResponse
from lash.llm.stream import Emit
from lash.testing import KillAt, ScriptedModel, reply

OPERATION = "import-7"
KEY = journal_key(RuntimeOperationScope(operation_id=OPERATION))


@dataclass
class Rows:
    """What is imported."""

    names: list[str]
    read_at: datetime


class Stage:
    """Keeps the ledger, counts records, and dies on cue."""

    def __init__(self, ledger: Path, point: str, nth: int) -> None:
        self._path = ledger
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._point = point
        self._kill = KillAt(cast("Seam", point), nth)
        self._records = 0
        self.charged = 0
        self.right_started, self.left_recorded = asyncio.Event(), asyncio.Event()
        if not point:
            self.right_started.set()
            self.left_recorded.set()

    def seam(self, seam: Seam) -> None:
        if seam == "record.after":
            self._records += 1
            if self._records == 9:
                self.left_recorded.set()
        self._kill(seam)

    def started(self, what: str) -> None:
        os.write(self._ledger, f"{what}\n".encode())

    def during(self, what: str) -> None:
        if self._point == f"during.{what}":
            os.kill(os.getpid(), signal.SIGKILL)

    def lines(self) -> list[str]:
        return self._path.read_text().split()


class Model(ScriptedModel):
    """Notes every call."""

    def __init__(self, stage: Stage) -> None:
        super().__init__([reply("Two rows.")])
        self._stage = stage

    async def complete(self, request: LlmRequest, emit: Emit) -> LlmResponse:
        self._stage.started("ask")
        self._stage.during("ask")
        return await super().complete(request, emit)


async def go_through(runtime: lash.Runtime, op: lash.Operation, stage: Stage) -> dict[str, object]:
    def load(name: str) -> Rows:  # in a thread
        stage.started("load")
        stage.during("load")
        return Rows([name, "b"], datetime.fromisoformat("2024-02-29T12:00:00+00:00"))

    async def charge(rows: Rows, at: datetime) -> str:
        stage.charged += 1
        what = f"charge{stage.charged}"
        stage.started(what)
        stage.during(what)
        if stage.charged == 1:
            raise OSError("the bank is down")
        return f"{len(rows.names)} rows in {at.tzname()}"

    async def left() -> str:
        stage.started("left")
        await stage.right_started.wait()
        stage.during("left")
        return "left"

    async def right() -> str:
        stage.started("right")
        stage.right_started.set()
        await stage.left_recorded.wait()
        stage.during("right")
        return "right"

    rows = await op.step(load, "a")
    at = await op.now()  # a charge at another time would be another charge
    retry = lash.StepRetry(max_attempts=3, base_delay_ms=1)
    charged = await op.step(charge, rows, at, retry=retry)
    await op.sleep(0.001)
    told = await op.direct("What is it?", model=Model(stage))
    await runtime.completions.resolve(await op.key("approved"), {"by": "ana"})
    approved = await op.wait("approved")
    sides = await asyncio.gather(op.step(left), op.step(right))
    await op.uuid()
    return {
        "rows": [type(rows).__name__, rows.names, rows.read_at.isoformat()],
        "charged": charged,
        "told": told.text,
        "tokens": told.usage.input_tokens,
        "approved": approved,
        "sides": sides,
    }


async def meet(op: lash.Operation, stage: Stage) -> dict[str, object]:
    async def work() -> int:
        stage.started("work")
        async with asyncio.timeout(20):
            while len(stage.lines()) < 2:  # noqa: ASYNC110  the other process has no event of ours
                await asyncio.sleep(0.01)
        return os.getpid()

    async def after(pid: int) -> int:
        return pid

    won = await op.step(work)
    return {"mine": os.getpid(), "won": won, "after": await op.step(after, won)}


async def main(database: Path, ledger: Path, point: str, nth: int) -> None:
    race = point == "race"
    stage = Stage(ledger, "" if race else point, nth)
    async with lash.Runtime(database, seams=stage.seam) as runtime:
        recorded = await runtime.engine.store.list_journal(KEY)
        stage.charged = sum(
            entry.kind == "durable_step" and entry.replay_key.startswith("step:charge:")
            for entry in recorded
        )
        async with runtime.operation(OPERATION) as op:
            facts = await (meet(op, stage) if race else go_through(runtime, op, stage))
        recorded = await runtime.engine.store.list_journal(KEY)
    print(json.dumps({**facts, "recorded": [entry.replay_key for entry in recorded]}))


if __name__ == "__main__":
    database, ledger, *rest = sys.argv[1:]
    point, nth = (*rest, "0")[:2] if rest else ("", "0")
    asyncio.run(main(Path(database), Path(ledger), point, int(nth)))
