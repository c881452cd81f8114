"""Running the `lash` command as its users do, in a process of its own."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What the machine of a test run may have set must not decide how a test ends.
_OURS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "LASH_MODEL", "FORCE_COLOR", "COLUMNS")


@dataclass(frozen=True)
class Ended:
    """A command that came to its end. No command ever shows a traceback."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Command:
    """A running `python -m lash …`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    async def ended(self) -> Ended:
        out, err = await self._process.communicate()
        assert self._process.returncode is not None
        ended = Ended(self._process.returncode, out.decode(), err.decode())
        assert "Traceback" not in ended.err
        assert "Traceback" not in ended.out
        return ended


async def start(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Command:
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lash",
        *arguments,
        cwd=cwd,
        env=environment | dict(env or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return Command(process)


async def lash(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    return await (await start(*arguments, cwd=cwd, env=env)).ended()
