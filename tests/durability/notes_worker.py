"""A process that has one plugin asked for one command. Run as a script by the tests.

notes_worker.py DATABASE LEDGER SEAM NTH: SEAM says where it kills itself; `body` is inside the command. With
`none` it asks for nothing, finishes what there is and says what became of it.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import cast

import lash
from lash.core.seams import Seam
from lash.plugins import OperationSession, Plugin, command
from lash.testing import KillAt, ScriptedModel, reply


class Notes(Plugin):
    id = "notes"

    def __init__(self, ledger: Path, *, dies: bool) -> None:
        self._ledger = ledger
        self._dies = dies

    @command
    async def add(self, session: OperationSession, note: str) -> int:
        with self._ledger.open("a") as ledger:
            ledger.write(f"{note}\n")
        session.remember([*(session.state or []), note])
        session.queue_turn(f"Read {note}.")
        if self._dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(session.state)


async def main(database: Path, ledger: Path, seam: str, nth: int) -> None:
    model = ScriptedModel([reply("Read.")])
    point = cast("Seam", "accept.before" if seam in ("none", "body") else seam)
    async with lash.Runtime(
        database,
        agents=[lash.Agent("desk", model=model)],
        plugins=[Notes(ledger, dies=seam == "body")],
        seams=KillAt(point, nth if point == seam else 0),
    ) as runtime:
        session = runtime.session("s", agent="desk")
        if seam != "none":
            await session.plugin("notes").call("add", {"note": "a"})
        await runtime.idle(timeout=30)
        head = await runtime.engine.store.load_head("s")
        texts = [message.text for message in await session.history()]
        print(json.dumps([dict(head.config.plugin_state) if head else None, texts]))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
